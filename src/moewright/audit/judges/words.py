"""Claims in words, judged by the quantity they speak of and a threshold that the verdict states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.admissible import Doubts
from moewright.audit.quantities.readings import Facts, bounds
from moewright.audit.reading.standing import standing_of
from moewright.audit.reading.word_lists import word_list, wording
from moewright.audit.text.document import Statement
from moewright.planning.record import Plan
from moewright.units import format_bytes, format_count, format_seconds

PERFECT: Final = 0.01  # of the mean, that a perfectly balanced load may exceed it
BALANCED: Final = 0.10
NEGLIGIBLE: Final = 0.05  # of the pass, that negligible communication takes
WELL_WITHIN: Final = 0.5  # of the capacity
OPTIMAL: Final = 1.01  # times the best
MINIMAL: Final = 1.05
HIGH: Final = 0.9  # of the best throughput

_WORK: Final = ("workload.batch", "workload.sequence")
_DEVICE: Final = ("cluster.device.flops", "cluster.device.memory", "cluster.device.memory_bandwidth")
_NETWORK: Final = ("cluster.network.node.bandwidth", "cluster.network.fabric.bandwidth", "cluster.gpus_per_node")
_OF_PLAN: Final = ("model.name", "cluster.gpus", "strategy.ep", "strategy.tp", "strategy.pp", "strategy.dp")
_TIME: Final = (*_WORK, *_DEVICE, *_NETWORK, "workload.causal")


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict on words: the quantity, why, and the fields it needs."""

    quantity: str
    verdict: Verdict
    why: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """What words are judged against: the document's plan and the best (None where there is none); ``name`` of the
    configuration, where there are several."""

    facts: Facts
    plan: Plan | None
    best: Plan | None
    name: str = ""


Judge = Callable[[View, re.Match[str]], Told]


def _unknown(quantity: str, v: View) -> Told:
    reason = v.facts.reason or "the premises do not make a strategy"
    return Told(quantity, Verdict.NOT_CHECKED, f"not known without a strategy: {reason}")


def _balance(v: View, m: re.Match[str]) -> Told:
    if v.plan is None:
        return _unknown("words: balance", v)
    perfect = re.search(r"perfect|100%|exact|fully|equal|完美|完全|±0|绝对", m[0], re.IGNORECASE)
    limit = PERFECT if perfect else BALANCED
    excess = v.plan.balance.straggler - 1
    held = v.plan.balance.experts_per_gpu
    even = (
        f"every GPU holds {held.max:g} experts' worth"
        if held.min == held.max
        else f"GPUs hold {held.min:g} to {held.max:g}"
    )
    how = (
        f"{even}, but tokens choose: even under uniform routing the fullest GPU gets "
        f"{v.plan.balance.straggler:.3f} times the mean (threshold {1 + limit:.2f})"
    )
    if excess <= limit:
        return Told("words: balance", Verdict.HOLDS, how.replace("but tokens choose: even", "and"), _WORK)
    return Told("words: balance", Verdict.WRONG, how, _WORK)


def _ensures(v: View, m: re.Match[str]) -> Told:
    known = (
        ""
        if v.plan is None
        else (
            ": under uniform routing already the fullest GPU is expected to get "
            f"{v.plan.balance.straggler:.3f} times the mean, under real routing more"
        )
    )
    return Told(
        "words: balance",
        Verdict.UNSUPPORTED,
        f"choosing k experts a token says nothing of how many tokens each gets{known}",
    )


def _communication(v: View, m: re.Match[str]) -> Told:
    if v.plan is None:
        return _unknown("words: communication", v)
    spent = sum(o.seconds * o.count for o in v.plan.communication.operations)
    share = spent / v.plan.latency.seconds
    whole = format_seconds(v.plan.latency.seconds)
    why = f"{format_seconds(spent)} of {whole} a pass, {share:.1%} (threshold {NEGLIGIBLE:.0%})"
    return Told("words: communication", Verdict.HOLDS if share <= NEGLIGIBLE else Verdict.WRONG, why, _TIME)


def _bubbles(v: View, m: re.Match[str]) -> Told:
    if v.plan is None:
        return _unknown("words: pipeline bubbles", v)
    s = v.plan.strategy
    share = (s.pp - 1) / (s.micro_batches + s.pp - 1)
    why = (
        "one stage has no bubble"
        if s.pp == 1
        else f"(p − 1) / (m + p − 1) = {share:.1%} with pp {s.pp}, m {s.micro_batches}"
    )
    return Told("words: pipeline bubbles", Verdict.HOLDS if share <= PERFECT else Verdict.WRONG, why)


def _memory(v: View, m: re.Match[str]) -> Told:
    if v.plan is None:
        return _unknown("words: memory", v)
    held = v.plan.memory
    fits = re.search(r"\bfits?\b|enough|足够|放得下", m[0], re.IGNORECASE) and not re.search("well|easily|plenty", m[0])
    limit = 1 - v.facts.case.cluster.reserve if fits else WELL_WITHIN
    share = held.total / held.capacity
    why = f"{format_bytes(held.total)} of {format_bytes(held.capacity)} is {share:.2%} (threshold {limit:.0%})"
    return Told(
        "words: memory", Verdict.HOLDS if share <= limit else Verdict.WRONG, why, (*_WORK, "cluster.device.memory")
    )


def _optimal(v: View, m: re.Match[str]) -> Told:
    if v.plan is None or v.best is None:
        return _unknown("words: optimal", v)
    ratio = v.plan.latency.seconds / v.best.latency.seconds
    why = (
        f"{format_seconds(v.plan.latency.seconds)}, {ratio:.2f} times the best, {v.best.name} (threshold {OPTIMAL:.2f})"
    )
    return Told("words: optimal", Verdict.HOLDS if ratio <= OPTIMAL else Verdict.WRONG, why, _TIME)


def _latency(v: View, m: re.Match[str]) -> Told:
    if v.plan is None or v.best is None:
        return _unknown("words: latency", v)
    ratio = v.plan.latency.seconds / v.best.latency.seconds
    mine, best = (format_seconds(p.latency.seconds) for p in (v.plan, v.best))
    why = f"{mine} is {ratio:.2f} times the best strategy's {best} (threshold {MINIMAL:.2f})"
    return Told("words: latency", Verdict.HOLDS if ratio <= MINIMAL else Verdict.WRONG, why, _TIME)


def _throughput(v: View, m: re.Match[str]) -> Told:
    if v.plan is None or v.best is None:
        return _unknown("words: throughput", v)
    a, b = v.plan.throughput.tokens_per_second, v.best.throughput.tokens_per_second
    why = f"{format_count(a)} tokens/s is {a / b:.0%} of the best strategy's {format_count(b)} (threshold {HIGH:.0%})"
    return Told("words: throughput", Verdict.HOLDS if a >= HIGH * b else Verdict.WRONG, why, _TIME)


def _overlap(v: View, m: re.Match[str]) -> Told:
    if re.search(r"two.batch|dual.batch|micro.?batch|双批|ping.?pong|half|chunk", m.string, re.IGNORECASE):
        return Told(
            "words: overlap",
            Verdict.NOT_CHECKED,
            "overlap of batches is not judged in words; plan prices it as two-batch",
        )
    why = "a layer's experts need its attention's output: inside one batch the two follow each other"
    return Told("words: overlap", Verdict.UNSUPPORTED, why)


def _bound_by(v: View, m: re.Match[str]) -> Told:
    kind = "compute" if re.search(r"comput|计算|rechen", m[0], re.IGNORECASE) else "memory"
    lowest = bounds(v.facts)[v.facts.case.workload.causal]
    found = "compute" if lowest[1].startswith("FLOPs") else "memory"
    why = f"the larger bound, {format_seconds(lowest[0])}, is of {lowest[1]}"
    return Told(
        "words: bound", Verdict.HOLDS if kind == found else Verdict.WRONG, why, (*_WORK, *_DEVICE, "workload.kind")
    )


def _scalable(v: View, m: re.Match[str]) -> Told:
    return Told("words: scaling", Verdict.NOT_CHECKED, "no larger model or cluster is given to scale to")


_JUDGES: Final[dict[str, Judge]] = {
    "ensures": _ensures,
    "balance": _balance,
    "communication": _communication,
    "bubbles": _bubbles,
    "memory": _memory,
    "optimal": _optimal,
    "latency": _latency,
    "throughput": _throughput,
    "overlap": _overlap,
    "bound_by": _bound_by,
    "scalable": _scalable,
}
_COMPILED: Final = tuple((wording(entry), _JUDGES[entry["judge"]]) for entry in word_list("claims")["claims"])
_CORRECT: Final = re.compile(
    r"(?:all|every)[^.;]{0,20}(?:calculation|figure|number)s?[^.;]{0,24}(?:correct|verif|accurate)|"
    r"correct mathematical|mathematically correct|(?:计算|数值)(?:均|全部)?(?:正确|准确)",
    re.IGNORECASE,
)
_NOT: Final = re.compile(
    r"\b(?:too (?:few|small|little|short) to (?:make|be|become)(?: it)?|"
    r"not|no longer|never|nor|isn't|is not|far from|不是|并非|不)\s*(?:the |a |an )?$",
    re.IGNORECASE,
)


#: what makes a balance one that is taken for granted: with perfectly even routing
_ASSUMED: Final = re.compile(
    r"(?:^|[,;] ?)(?:with|under|given|assum\w+|suppos\w+|if|at|for|bei|unter|wenn|avec)\b[^.;]*$|假设[^。;]*$|"
    r"若[^。;]*$",
    re.IGNORECASE,
)


def judge_words(s: Statement, v: View, doubts: Doubts) -> Iterator[Claim]:
    """The claims that statement ``s`` makes in words, one for each kind."""
    told_before: set[str] = set()
    for pattern, judge in _COMPILED:
        for m in pattern.finditer(s.text):
            if (
                s.text.rstrip().endswith(("?", "？"))
                or _NOT.search(s.text[: m.start()])
                or (judge is _balance and _ASSUMED.search(s.text[: m.start()]))
            ):
                continue
            told = judge(v, m)
            if told.quantity not in told_before:
                told_before.add(told.quantity)
                assumed = tuple(x for x in told.needs if x in v.facts.setting.assumed)
                lacking = [x for x in told.needs if x in v.facts.setting.missing]
                if lacking and told.verdict is not Verdict.NOT_CHECKED:
                    yield Claim(
                        s.line,
                        s.text,
                        told.quantity,
                        Verdict.NOT_CHECKED,
                        f"the document gives no {', '.join(lacking)}; add it with --assume",
                    )
                else:
                    fails = told.verdict not in (Verdict.HOLDS, Verdict.NOT_CHECKED)
                    doubt = (standing_of(s, v.name) or doubts.of((*told.needs, *_OF_PLAN))) if fails else ""
                    told = replace(told, verdict=Verdict.NOT_CHECKED, why=f"{doubt}; {told.why}") if doubt else told
                    yield Claim(
                        s.line_of(m.start(), in_text=True),
                        s.text,
                        told.quantity,
                        told.verdict,
                        told.why,
                        assumes=assumed,
                    )
            break


def judge_exactly(s: Statement, claims: list[Claim]) -> Iterator[Claim]:
    """ "Exactly" of what is a fraction of whole things, or an average."""
    if not re.search(r"\bexactly\b|恰好|正好", s.text, re.IGNORECASE):
        return
    for c in claims:
        value = c.claimed
        if value is not None and c.quantity.startswith("count.modules") and value != int(value):
            why = f"modules are whole: no GPU holds exactly {value:g}; it is an average"
            yield Claim(
                s.line, s.text, "words: exactly", Verdict.CONTRADICTED, why, value, value, unit="a plain number"
            )
            return


_STEPS: Final = re.compile(r"→|->|⇒|=>")


def judge_correct(statements: tuple[Statement, ...], claims: list[Claim]) -> Iterator[Claim]:
    """ "All calculations are correct", by how many do not hold."""
    failing = [c for c in claims if c.verdict not in (Verdict.HOLDS, Verdict.NOT_CHECKED)]
    for s in statements:
        steps = len(_STEPS.findall(s.text)) > 1  # of what is to be checked, one after another
        said = _CORRECT.search(s.text) if s.kind != "heading" and not steps else None
        if said is not None and not _NOT.search(s.text[: said.start()]):
            verdict = Verdict.CONTRADICTED if failing else Verdict.HOLDS
            why = (
                f"{len(failing)} of {len(claims)} claims do not hold, the first in line {min(c.line for c in failing)}"
                if failing
                else "every claim that could be checked holds"
            )
            yield Claim(s.line, s.text, "words: correct", verdict, why)
