"""Figures of known quantities against the planner's own numbers: a verdict, the right value, the step astray."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.quantities.known import readings
from moewright.audit.quantities.readings import Facts, Reading, Scope, bounds
from moewright.audit.reading.meaning import Meaning
from moewright.audit.text.clauses import Figure
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, NAMES, SECONDS, Dim, Number
from moewright.case.workload import Kind
from moewright.planning.naming import weight_bytes_total
from moewright.units import format_quantity

#: what ~ and ≈ allow before a figure of a known quantity
LOOSE: Final = 0.05
#: of a figure of one digit, half of its last place is much: no more than this is taken for rounding
COARSE: Final = 0.1
#: most that rounded inputs of a formula may leave open
INPUTS: Final = 0.03

#: of a figure that holds as a limit alone
IS_SAID: Final = "is said to be what it is"
#: words before a figure that make it a lower or an upper limit of what it speaks of
_LEAST: Final = r"\b(?:at least|(?:no|not) (?:less|fewer) than|(?<!no )(?<!not )more than)\b|至少|不少于|不低于"
_MOST: Final = r"\b(?:at most|(?:no|not) more than|(?<!no )(?<!not )(?:less|fewer) than)\b|至多|不超过|不高于"
#: numbers with a unit each, and signs between them
_EXPRESSION: Final = r"(?>\s*+(?:[\d.,]++\s*+[A-Za-zμ/%]*+|[×÷/*+=()≈~-])){0,24}?"


@dataclass(frozen=True, slots=True)
class Stated:
    """A figure that the document states of a quantity, for later places that use it."""

    number: Number
    line: int
    name: str
    explicit: Scope


@dataclass(slots=True)
class Context:
    """What judging a configuration needs: the facts, its name, the ``formats`` that the document names, those of its
    cache alone, the ``other_parts`` that its model has besides, whether it speaks of ``micro_batches``, and what it
    states of its quantities."""

    facts: Facts
    name: str = ""
    formats: tuple[str, ...] = ()
    cache_formats: tuple[str, ...] = ()
    other_parts: str = ""
    micro_batches: bool = False
    stated: dict[tuple[float, Dim], list[Stated]] = field(default_factory=dict)
    known: dict[tuple[str, Scope], list[Reading]] = field(default_factory=dict)

    def state(self, figures: Iterable[Stated]) -> None:
        """Take figures as stated."""
        for s in figures:
            if s.number.dim != COUNT:
                self.stated.setdefault((s.number.value, s.number.dim), []).append(s)

    def readings(self, name: str, scope: Scope) -> list[Reading]:
        """Readings of a quantity, derived once."""
        if (name, scope) not in self.known:
            self.known[name, scope] = readings(self.facts, name, scope)
        return self.known[name, scope]

    def find(self, n: Number) -> list[Stated]:
        """Statements of the same figure, whatever its spacing; none of a plain count."""
        return self.stated.get((n.value, n.dim), [])


def unit_of(n: Number, name: str = "") -> str:
    """The unit in which figures such as ``n`` are printed."""
    if name == "compute.delivered":
        return "FLOP/s"
    if n.percent or (name.startswith(("share", "balance")) and n.dim == COUNT and n.value < 0.5):
        return "share"
    return NAMES.get(n.dim, "")


def matches(n: Number, value: float, inputs: float = 0.0) -> bool:
    """Whether ``value`` is what ``n`` says, within half of its last place (5 % where it is approximate), and what the
    rounded ``inputs`` of its formula leave open (a share)."""
    for said, half in ((n.value, n.half), (n.binary, n.half * (n.binary / n.value if n.value else 1))):
        room = max(half, LOOSE * abs(said)) if n.approx else min(half, COARSE * abs(said))
        room += inputs * abs(said)
        if n.whole and n.dim == COUNT and abs(said) < 1000 and not n.approx:
            room = 1e-6
        if abs(said - value) <= room * (1 + 1e-9) + 1e-12 * abs(value):
            return True
    return False


def judge_figure(figure: Figure, s: Statement, meaning: Meaning, c: Context) -> Claim:
    """The verdict on a figure of a known quantity."""
    n, f = figure.number, c.facts
    unit = unit_of(n, meaning.name)
    found = [(scope, r) for scope in meaning.scopes for r in c.readings(meaning.name, scope)]
    inputs = min(INPUTS, max((x.slack for x in figure.formula if not x.whole and not x.percent), default=0.0))
    likely = found[0][0] if found else meaning.explicit

    def claim(verdict: Verdict, why: str, r: Reading | None = None, scope: Scope = likely) -> Claim:
        assumed = tuple(x for x in dict.fromkeys(r.needs if r else ()) if x in f.setting.assumed)
        quantity = label(meaning.name, scope)
        return Claim(
            s.line_of(n.at), s.text, quantity, verdict, why, n.value, None if r is None else r.value, assumed, unit
        )

    unbroken = not f.setting.missing and figure.role != "operand"
    if not found and unbroken and (limit := _beyond(figure, meaning, f)):
        return claim(Verdict.IMPOSSIBLE, f"{n.text} is {limit}, whatever the strategy")
    if not found:
        return claim(
            Verdict.NOT_CHECKED,
            f"not known without a strategy: {f.reason}"
            if f.plan is None and f.reason
            else "the planner has no such quantity in this scope",
        )
    lacking = [x for x in dict.fromkeys(found[0][1].needs) if x in f.setting.missing]
    if lacking:
        return claim(Verdict.NOT_CHECKED, f"the document gives no {', '.join(lacking)}; add it with --assume")
    for scope, r in found:
        if matches(n, r.value, inputs):
            return claim(Verdict.HOLDS, f"{format_quantity(r.value, unit)}: {r.how}", r, scope)
    first = found[0][1]
    # of the most throughput itself "at most" is a name, and the figure is to be right
    side = "" if meaning.name == "throughput.most" else _side(figure, s)
    if side and any((r.value >= n.value) if side == "least" else (r.value <= n.value) for _, r in found):
        return claim(Verdict.HOLDS, f"{_right(first, unit)}, and {n.text} {IS_SAID} at {side}", first)
    other = _elsewhere(figure, s, meaning, c)
    if other:
        return claim(Verdict.CONTRADICTED, f"{other}; right is {_right(first, unit)}", first)
    bound = _beyond(figure, meaning, f)
    if bound and figure.role != "operand":
        return claim(Verdict.IMPOSSIBLE, f"{n.text} is {bound}; right is {_right(first, unit)}", first)
    if figure.role == "operand":
        note = f"; it is {bound}" if bound else ""
        why = f"nothing in the document derives {n.text}{note}; right is {_right(first, unit)}"
        return claim(Verdict.UNSUPPORTED, why, first)
    link = _wrong_link(figure, meaning, f)
    if link:
        return claim(Verdict.UNSUPPORTED, f"{link}; right is {_right(first, unit)}", first)
    return claim(Verdict.WRONG, f"{n.text}, but right is {_right(first, unit)}{_step(n, figure, found, f)}", first)


def _side(figure: Figure, s: Statement) -> str:
    """Whether a figure is said to be the least of its quantity, or the most, or ("") the quantity itself: in the words
    before it, or before the expression that it is the result of."""

    def said(pattern: str) -> bool:
        if not re.search(pattern, f"{figure.words} | {s.text}", re.IGNORECASE):
            return False
        formula = rf"(?:{pattern}){_EXPRESSION}\s*{re.escape(figure.number.text)}"
        return bool(re.search(pattern, figure.words, re.IGNORECASE) or re.search(formula, s.text, re.IGNORECASE))

    least, most = said(_LEAST), said(_MOST)
    return "" if least == most else "least" if least else "most"


def label(name: str, scope: Scope) -> str:
    """The name of a quantity with its scope: ``memory.experts per expert``."""
    told = _scope(scope - {"all"})
    return f"{name} {told}" if told else name


def _scope(scope: Scope) -> str:
    order = [x for x in ("token", "expert", "layer", "gpu", "all", "active") if x in scope]
    words = {"gpu": "per GPU", "all": "in all", "active": "active"}
    return " ".join(words.get(x, f"per {x}") for x in order)


def _right(r: Reading, unit: str) -> str:
    return f"{format_quantity(r.value, unit)}: {r.how}"


def _elsewhere(figure: Figure, s: Statement, meaning: Meaning, c: Context) -> str:
    """A total that is taken for a figure per layer, or the reverse, by where else the document has it."""
    n = figure.number
    if n.dim not in (SECONDS, BYTES, FLOP) or figure.formula or n.approx:
        return ""
    here = "layer" in meaning.explicit
    if not here and "all" not in meaning.explicit:
        return ""
    for st in c.find(n):
        if st.name == meaning.name and st.line < s.line_of(n.at) and ("layer" in st.explicit) != here:
            kinds = ("a layer", "a whole pass") if here else ("a whole pass", "a layer")
            return f"line {st.line} has {n.text} for {kinds[1]}; here it is used for {kinds[0]}"
    return ""


#: how near a bound rounding may come
NEARLY: Final = 0.02


def _beyond(figure: Figure, meaning: Meaning, f: Facts) -> str:
    """The physical bound that a figure breaks, with its derivation, or an empty text."""
    n, case = figure.number, f.case
    lowest = bounds(f)
    told = " or ".join(
        f"{format_quantity(v, 'seconds')}{'' if len(lowest) == 1 else ' causal' if m else ' with the full mask'}"
        for m, (v, _) in lowest.items()
    )
    least, why = min(lowest.values())
    reach = (n.value + n.half) * (1 + NEARLY)
    if meaning.name in ("time.total", "time.compute") and "token" not in meaning.explicit:
        layers = len(case.model.layers) if "layer" in meaning.explicit else 1
        if reach < f.unbeaten / layers:
            per = f", {format_quantity(least / layers, 'seconds')} a layer" if layers > 1 else ""
            return f"below the bound of {told}{per} ({_bound_how(why, f)})"
    if meaning.name in ("throughput.tokens", "throughput.sequences"):
        batch, w = case.workload.batch[0], case.workload
        amount = batch * (w.sequence if meaning.name == "throughput.tokens" and w.kind is not Kind.DECODE else 1)
        most = amount / least / (case.cluster.gpus if "gpu" in meaning.explicit else 1)
        if n.value - n.half > most * least / f.unbeaten * (1 + NEARLY):
            limit = format_quantity(most, "per second")
            return f"above {limit}, what the bound of {told} allows ({_bound_how(why, f)})"
    if meaning.name in ("memory.total", "memory.weights") and "gpu" in meaning.explicit and n.dim == BYTES:
        least_bytes = weight_bytes_total(case.model) / case.cluster.gpus
        if n.binary + n.half < least_bytes:
            return (
                f"below {format_quantity(least_bytes, 'bytes')}, the model's weights over all {case.cluster.gpus} GPUs"
            )
    if n.percent and meaning.name.endswith(("utilization", "headroom")) and n.value > 1:
        return "a share above 100%"
    return ""


def _bound_how(why: str, f: Facts) -> str:
    from moewright.cost.prices.roofline import unit_of as unit_name
    from moewright.planning.bounds import model_flops

    case, device = f.case, f.case.cluster.device
    if why.startswith("FLOPs"):
        total = sum(model_flops(case, case.workload.batch[0]).values())
        peak = device.flops[unit_name(case.model.precision, "experts", device)]
        rate = format_quantity(peak, "FLOP/s")
        return f"{format_quantity(total, 'FLOPs')} over {case.cluster.gpus} × {rate} × {device.mfu:g}"
    return why


def _wrong_link(figure: Figure, meaning: Meaning, f: Facts) -> str:
    """A time of communication that is worked out with the bandwidth of a GPU's own memory."""
    if not meaning.name.startswith("time.") or meaning.name in ("time.bound", "time.total"):
        return ""
    network = meaning.name in ("time.communication", "time.dispatch", "time.combine")
    device, cluster = f.case.cluster.device, f.case.cluster
    tiers = (cluster.node.bandwidth, cluster.fabric.bandwidth)
    for n in figure.formula:
        if network and n.dim == BYTE_RATE and n.value == device.memory_bandwidth and n.value not in tiers:
            return f"{n.text} is the bandwidth of a GPU's own memory; between GPUs there is a network, slower by far"
    return ""


def _step(n: Number, figure: Figure, found: list[tuple[Scope, Reading]], f: Facts) -> str:
    """The step where a wrong figure goes astray, where its ratio to a reading is a known factor."""
    model, w, moe = f.case.model, f.case.workload, f.case.model.moe
    plan = f.plan
    factors = {
        "1,000": 1e3,
        "1,000,000": 1e6,
        f"{len(model.layers)} layers": float(len(model.layers)),
        f"{f.case.cluster.gpus} GPUs": float(f.case.cluster.gpus),
        f"{w.sequence} tokens of a sequence": float(w.sequence),
        f"{w.batch[0]} sequences": float(w.batch[0]),
    }
    if moe is not None:
        factors |= {f"{moe.experts} experts": float(moe.experts), f"top {moe.top_k}": float(moe.top_k)}
    if plan is not None:
        factors[f"tp {plan.strategy.attention.tp}"] = float(plan.strategy.attention.tp)
    if n.slack > 0.06 or n.dim not in (BYTES, FLOP, COUNT) or n.percent:
        factors = {}
    for _, r in found[:1]:
        ratio = n.value / r.value if r.value else 0.0
        if n.dim == BYTES and any(abs(v / r.value / 2 - 1) < 0.01 + n.slack for v in (n.value, n.binary) if r.value):
            return "; twice that, as with elements of 2 bytes instead of 1" if "1 B" in r.how else "; twice that"
        for name, factor in factors.items():
            if factor == 1 or not ratio:
                continue
            room = n.slack + 0.06 * (n.dim == BYTES) + 1e-3
            if abs(ratio / factor - 1) <= room:
                return f"; too large by a factor of {name}"
            if abs(ratio * factor - 1) <= room:
                return f"; too small by a factor of {name}"
    if len(figure.formula) > 1 and found[0][1].value:
        return f"; the formula written gives {n.value / found[0][1].value:.3g} times that"
    return ""
