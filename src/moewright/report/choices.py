"""The sections about the choice: what else there is, what was excluded, why a strategy loses, and the conclusion."""

from __future__ import annotations

import shlex
from pathlib import Path

from moewright.case.case import Case
from moewright.case.serving import ENGINES
from moewright.case.workload import Kind, Objective
from moewright.planning.engine_layouts import by_engine
from moewright.planning.record import Comparison, Crossing, Plan, Result, Status
from moewright.report.blocks import Section, Table, percent, plural
from moewright.units import format_bytes, format_count, format_rate, format_seconds


def answer(result: Result) -> Section:
    """The answer first: what to take, what it gives, why, and how it is started."""
    case = result.case
    return Section(
        f"Plan of {case.model.name} on {case.cluster.gpus} × {case.cluster.device.name}",
        (_conclusion(result), _engines(result), launch_line(result)),
    )


def launch_line(result: Result) -> str:
    """The command that writes an engine's."""
    reasons = by_engine(result.best.strategy, result.case.model)
    runs = [name for name in ENGINES if name in reasons and not reasons[name]]
    if not runs:
        return "moewright launch --matrix says what an engine could run instead."
    return f"Start it: {launch_command(result.case, runs[0])}"


def launch_command(case: Case, engine: str | None) -> str:
    """``moewright launch`` of a case; of one given by options, with those."""
    option = f" --engine {engine}" if engine else ""
    if case.file is None or not Path(case.file).suffix:
        return f"moewright launch, with the same model and options{option}"
    return f"moewright launch {shlex.quote(str(case.file))}{option}"


def _engines(result: Result) -> str:
    """Which engines run the best plan; where none does, why."""
    reasons = by_engine(result.best.strategy, result.case.model)
    runs = [name for name, why in reasons.items() if not why]
    if runs:
        return f"Engines that run this layout: {', '.join(runs)}"
    whys = dict.fromkeys(why.replace(name, "an engine", 1) for name, all_of in reasons.items() for why in all_of)
    return f"No engine runs this layout: {'; '.join(whys)}"


def _rate(plan: Plan) -> str:
    """Throughput against what the bound allows."""
    through = plan.throughput
    most = plan.batch / plan.latency.bound_seconds
    return (
        f"{format_count(through.tokens_per_second)} tokens/s, "
        f"{format_count(through.tokens_per_second_per_gpu)} a GPU, "
        f"{percent(through.sequences_per_second, most)} of the bound"
    )


def a_pass(result: Result) -> str:
    """What the seconds are of: ``a token``, ``a prefill pass``, ``a forward pass``."""
    return {Kind.DECODE: "a token", Kind.PREFILL: "a prefill pass"}.get(result.case.workload.kind, "a forward pass")


def _checked(plan: Plan) -> str:
    of = {status: sum(c.status is status for c in plan.checks) for status in Status}
    parts = [plural(of[Status.PASS], "check") + " passed"]
    parts += [plural(of[Status.WARN], "warning")] if of[Status.WARN] else []
    parts += [f"{of[Status.FAIL]} FAILED"] if of[Status.FAIL] else []
    text = ", ".join(parts)
    if (proof := plan.proof) is not None:
        text += f" ({proof.figures} of {proof.figures + len(proof.unchecked)} figures derived twice)"
    named = [check.name for check in plan.checks if check.status is not Status.PASS]
    return f"{text}; to be looked at: {', '.join(named)}" if named else text


def _choices(title: str, plans: tuple[Plan, ...], best: Plan) -> Section:
    several = len({p.batch for p in (*plans, best)}) > 1
    rows = tuple(
        (
            p.name,
            *([str(p.batch)] if several else []),
            format_seconds(p.latency.seconds),
            f"{p.latency.seconds / best.latency.seconds:.3f}",
            format_count(p.throughput.tokens_per_second_per_gpu),
            format_bytes(p.memory.total),
        )
        for p in plans
    )
    headers = ("strategy", *(["batch"] if several else []), "latency", "× best", "tokens/s a GPU", "memory")
    drop = tuple(headers.index(name) for name in ("× best", "tokens/s a GPU", "memory"))
    return Section(title, (Table(headers, rows, tuple(range(1, len(headers))), drop),))


def alternatives(result: Result) -> Section | None:
    """The next best layouts."""
    if not result.alternatives:
        return None
    return _choices("Alternatives", (result.best, *result.alternatives), result.best)


def frontier(result: Result) -> Section | None:
    """Latency against throughput."""
    if len(result.frontier) < 2:
        return None
    return _choices("Frontier: latency against throughput", result.frontier, result.best)


def excluded(result: Result) -> Section | None:
    """Reasons and counts."""
    if not result.rejected:
        return None
    rows = tuple((reason, str(count)) for reason, count in result.rejected.items())
    seconds = format_seconds(result.search_seconds, 3)
    rate = format_count(result.candidates / result.search_seconds, 3)
    text = f"{result.candidates} legal strategies were priced in {seconds} ({rate} a second). Excluded:"
    return Section("Search", (text, Table(("reason", "excluded"), rows, (1,))))


def comparisons(result: Result) -> list[Section]:
    """Why each strategy of ``--compare`` loses."""
    return [_comparison(c) for c in result.comparisons]


def _comparison(c: Comparison) -> Section:
    gap = sum(c.differences.values())
    rows = tuple(
        (
            name,
            format_seconds(c.terms.get(name, 0.0)),
            format_seconds(c.best_terms.get(name, 0.0)),
            _signed(difference),
            percent(difference, gap),
        )
        for name, difference in c.differences.items()
        if difference
    )
    sums = sum(c.terms.values()), sum(c.best_terms.values())
    total = ("total", format_seconds(sums[0]), format_seconds(sums[1]), _signed(gap), "100.0%")
    table = Table(("term", "this", "best", "difference", "of the gap"), (*rows, total), (1, 2, 3, 4))
    other = c.plan
    verdict = f"{format_seconds(sums[0])} a {c.per}, {c.ratio:.3f} times the best's."
    if c.per != "pass":
        verdict += f" A batch of {other.batch} takes {format_seconds(other.latency.seconds)}."
    crossings = Table(
        ("quantity", "today", "no slower than the best from", "best of all there"),
        tuple(_crossing(x) for x in c.crossings),
        (1,),
    )
    return Section(f"Compared: {other.name}", (verdict, table, crossings))


def _signed(seconds: float) -> str:
    return ("+" if seconds > 0 else "") + format_seconds(seconds)


def _amount(quantity: str, value: float) -> str:
    if quantity.endswith("bandwidth"):
        return format_rate(value)
    return format_seconds(value) if quantity.endswith("latency") else f"{value:,.0f}"


def _crossing(c: Crossing) -> tuple[str, str, str, str]:
    today = _amount(c.quantity, c.today)
    if c.value is None:
        return c.quantity, today, f"nowhere from {_amount(c.quantity, c.low)} to {_amount(c.quantity, c.high)}", "–"
    way = "up" if c.value > c.today else "down"
    return c.quantity, today, f"{_amount(c.quantity, c.value)} {way}", c.best_there or "–"


def _conclusion(result: Result) -> str:
    """What the numbers support, in a few sentences."""
    best, case = result.best, result.case
    t, m = best.latency, best.memory
    name, seconds = max(t.breakdown.items(), key=lambda item: item[1])
    chosen = "the strategy given" if case.strategy else f"the best of {result.candidates} strategies"
    held = f"{format_bytes(m.total)} of {format_bytes(m.usable)} on the fullest GPU"
    if case.goal.objective is Objective.LATENCY:
        first = (
            f"{best.name} is {chosen}: {format_seconds(t.seconds)} for {a_pass(result)} of {_batch(result, best)}, "
            f"{t.seconds / t.bound_seconds - 1:.1%} above the bound of {format_seconds(t.bound_seconds)}; "
            f"{format_count(best.throughput.tokens_per_second)} tokens/s; {held}. "
            f"Its longest term, {words(name)}, is {percent(seconds, t.seconds)} of the time."
        )
    else:
        first = (
            f"{best.name} is {chosen}: {_rate(best)}; {format_seconds(t.seconds)} for {a_pass(result)} of "
            f"{_batch(result, best)}, {percent(seconds, t.seconds)} of it {words(name)}; {held}."
        )
    parts = [first]
    moved = [g for g in best.groups if g.size > 1]
    if moved and all(g.tier == "node" for g in moved):
        parts.append("All its communication stays inside a node.")
    elif not moved:
        parts.append("It needs no communication at all.")
    if result.alternatives:
        parts.append(_second(result))
    for c in result.comparisons:
        worst, of = next(iter(c.differences), ""), "" if c.per == "pass" else f" a {c.per}"
        parts.append(
            f"{c.plan.name} takes {c.ratio:.3g} times as long{of}, most of all for {words(worst)} "
            f"({_signed(c.differences[worst])})."
        )
    parts.append(f"{_checked(best)}.")
    return " ".join(parts)


def _batch(result: Result, plan: Plan) -> str:
    """The batch in the workload's own words."""
    if result.case.workload.kind is Kind.DECODE:
        return plural(plan.batch, "sequence") + " decoding at once"
    return plural(plan.batch, "sequence")


def _second(result: Result) -> str:
    best, second = result.best, result.alternatives[0]
    if result.case.goal.objective is Objective.LATENCY:
        slower = second.latency.seconds / best.latency.seconds - 1
        extra = {k: v - best.latency.breakdown.get(k, 0.0) for k, v in second.latency.breakdown.items()}
        worst = max(extra, key=lambda k: extra[k])
        return f"The next layout, {second.name}, takes {slower:.1%} longer, most of all for {words(worst)}."
    less = 1 - second.throughput.tokens_per_second / best.throughput.tokens_per_second
    return f"The next layout, {second.name}, gives {less:.1%} fewer tokens a second."


def words(name: str) -> str:
    """A term of a breakdown as a reader knows it."""
    return name.replace("_", " ")
