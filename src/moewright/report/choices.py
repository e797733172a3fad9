"""The sections about the choice: what else there is, what was excluded, why a strategy loses, and the conclusion."""

from __future__ import annotations

from moewright.case.workload import Kind, Objective
from moewright.planning.engine_layouts import by_engine
from moewright.planning.record import Comparison, Crossing, Plan, Result, Status
from moewright.report.blocks import Section, Table, percent, plural
from moewright.units import format_bytes, format_count, format_rate, format_seconds


def summary(result: Result) -> Section:
    """The answer first."""
    plan, case, t = result.best, result.case, result.best.latency
    chosen = "The strategy given" if case.strategy else f"Best of {result.candidates} strategies"
    if case.goal.objective is Objective.LATENCY:
        speed = (
            f"{format_seconds(t.seconds)} {_pass(result)}, {t.seconds / t.bound_seconds:.2f} times the bound of "
            f"{format_seconds(t.bound_seconds)}; {format_count(plan.throughput.tokens_per_second)} tokens/s"
        )
    else:
        speed = f"{_rate(plan)}; {format_seconds(t.seconds)} {_pass(result)} with a batch of {plan.batch}"
    return Section(
        f"Plan of {case.model.name} on {case.cluster.gpus} × {case.cluster.device.name}",
        (
            f"{chosen}: {plan.name}",
            f"{speed}; {format_bytes(plan.memory.total)} of {format_bytes(plan.memory.usable)} on the fullest GPU; "
            f"{_checked(plan)}",
            _engines(result),
        ),
    )


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


def _pass(result: Result) -> str:
    return "a token" if result.case.workload.kind is Kind.DECODE else "a pass"


def _checked(plan: Plan) -> str:
    of = {status: sum(c.status is status for c in plan.checks) for status in Status}
    parts = [plural(of[Status.PASS], "check") + " passed"]
    parts += [plural(of[Status.WARN], "warning")] if of[Status.WARN] else []
    parts += [f"{of[Status.FAIL]} FAILED"] if of[Status.FAIL] else []
    proof = plan.proof
    if proof is None:
        return ", ".join(parts)
    return f"{', '.join(parts)} ({proof.figures} of {proof.figures + len(proof.unchecked)} figures derived twice)"


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
    return Section(title, (Table(headers, rows, tuple(range(1, len(headers)))),))


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
    if c.per == "sequence":
        verdict += f" A batch of {other.batch} takes {format_seconds(other.latency.seconds)}."
    crossings = Table(
        ("quantity", "today", "no slower than the best from", "best of all there"),
        tuple(_crossing(x) for x in c.crossings),
        (1, 2),
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


def conclusion(result: Result) -> Section:
    """What the numbers support, in a few sentences."""
    best, case = result.best, result.case
    t = best.latency
    name, seconds = max(t.breakdown.items(), key=lambda item: item[1])
    if case.goal.objective is Objective.LATENCY:
        first = (
            f"{best.name} takes {format_seconds(t.seconds)} {_pass(result)}, "
            f"{t.seconds / t.bound_seconds - 1:.1%} above what {case.cluster.gpus} such GPUs could do at best; "
            f"its longest term, {words(name)}, is {percent(seconds, t.seconds)} of it."
        )
    else:
        first = (
            f"{best.name} gives {_rate(best)} for {case.cluster.gpus} such GPUs; with a batch of {best.batch} it takes "
            f"{format_seconds(t.seconds)} {_pass(result)}, {percent(seconds, t.seconds)} of it {words(name)}."
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
        worst, of = next(iter(c.differences), ""), "" if c.per == "pass" else " a sequence"
        parts.append(
            f"{c.plan.name} takes {c.ratio:.3g} times as long{of}, most of all for {words(worst)} "
            f"({_signed(c.differences[worst])})."
        )
    warned = [check.name for check in best.checks if check.status is not Status.PASS]
    if warned:
        parts.append(f"To be looked at: {', '.join(warned)}.")
    return Section("Conclusion", (" ".join(parts),))


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
