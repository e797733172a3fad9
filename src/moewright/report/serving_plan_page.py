"""A plan for serving on a terminal."""

from __future__ import annotations

from moewright.report.blocks import Section, Table, plural
from moewright.serving.planner.option import Choice
from moewright.serving.planner.serving_plan import ServingPlan
from moewright.units import format_count, format_seconds


def plan_sections(p: ServingPlan) -> list[Section]:
    """The answer first, then the frontier, what else there is, and what was left out."""
    case, best = p.case, p.best
    engine = case.serving.engine.name if case.serving else ""
    head = [f"Best of {plural(p.candidates, 'candidate')}: {best.name}", *_found(best), *_notes(p)]
    found = [
        Section(
            f"Plan of {case.model.name} served by {engine} on {case.cluster.gpus} × {case.cluster.device.name}",
            tuple(head),
        ),
        Section("Frontier: tokens/s of a user against tokens/s of a GPU", (_table(p.frontier),)),
    ]
    if p.alternatives:
        found.append(Section("Alternatives", (_table((best, *p.alternatives)),)))
    text = f"{plural(p.candidates, 'candidate')} and the simulations took {format_seconds(p.search_seconds, 3)}."
    if p.rejected:
        rows = tuple((reason, str(count)) for reason, count in p.rejected.items())
        found.append(Section("Search", (f"{text} Left out:", Table(("reason", "left out"), rows, (1,)))))
    else:
        found.append(Section("Search", (text,)))
    found.append(Section("Conclusion", (_conclusion(p),)))
    return found


def _found(best: Choice) -> list[str]:
    """What the best gives: simulated, then by the formulas that it was found with."""
    formulas = (
        f"{format_count(best.output_per_gpu)} output tokens/s a GPU, {best.per_user:.4g} a user; "
        f"TTFT {format_seconds(best.ttft)}, TPOT {format_seconds(best.tpot)}"
    )
    o = best.simulation
    if o is None or o.tpot is None:
        return [f"with {best.concurrency} in flight, by the formulas: {formulas}{_ranges(best.ranges)}."]
    lines = [
        f"with {best.concurrency} in flight, simulated ({plural(o.requests, 'request')}, steps priced by {o.kernels}): "
        f"{format_count(o.output_per_gpu)} output tokens/s a GPU, {best.of_user:.4g} a user; TTFT "
        f"{format_seconds(o.ttft.mean)} (p99 {format_seconds(o.ttft.p99)}), TPOT {format_seconds(o.tpot.mean)} "
        f"(p99 {format_seconds(o.tpot.p99)}){_ranges(o.ranges)}; binds: {o.binds}.",
        f"By the formulas of the search: {formulas}{_ranges(best.ranges)}.",
    ]
    low, high = best.ranges.get("ttft", (0.0, float("inf")))
    if not low <= o.ttft.mean <= high:
        lines.append(
            "The simulated TTFT lies outside the formulas' range: the steady state takes prompts to arrive evenly, and "
            "these come in waves (equal lengths, few clients) or queue."
        )
    return lines


def _notes(p: ServingPlan) -> list[str]:
    """What is to be known beside the figures."""
    best, lines = p.best, []
    if best.unused:
        used = sum(best.gpus)
        lines.append(
            f"{used} of {used + best.unused} GPUs are used, {best.unused} are idle: tokens/s a GPU are of those used; "
            f"of all it is {format_count(best.throughput * used / (used + best.unused))}."
        )
    if not best.holds:
        lines.append(f"Nothing here holds the {best.asked} requests asked for: this one holds {best.held}.")
    better = [c for c in p.alternatives if c.simulation and c.holds >= best.holds and p.within(c)]
    first = max(better, key=lambda c: c.throughput, default=best)
    if p.by_throughput and best.simulation and first.throughput > best.throughput * 1.005:
        lines.append(
            f"Simulated, an alternative gives more: {first.name}, {format_count(first.throughput)} tokens/s a GPU with "
            f"{first.concurrency} in flight."
        )
    return lines


def _ranges(ranges: dict[str, tuple[float, float]]) -> str:
    ends = [f"{name.upper()} {format_seconds(low)} to {format_seconds(high)}" for name, (low, high) in ranges.items()]
    return f" (80 % of held-out measured results: {', '.join(ends)})" if ends else ""


def _conclusion(p: ServingPlan) -> str:
    """What is chosen, and what the ends of the frontier give up."""
    best, fast, full = p.best, p.frontier[0], p.frontier[-1]
    text = f"{best.name} with {best.concurrency} in flight gives {format_count(best.throughput)} tokens/s a GPU"
    text += f" ({_how(best)})."
    if len(p.frontier) > 1:
        how = {_how(fast), _how(full)}
        text += (
            f" A user gets from {full.of_user:.4g} tokens/s, where a GPU gives {format_count(full.throughput)}, "
            f"to {fast.of_user:.4g}, where it gives {format_count(fast.throughput)} ({' and '.join(sorted(how))})."
        )
    return text


def _how(c: Choice) -> str:
    return "by the formulas" if c.simulation is None else "simulated"


def _table(choices: tuple[Choice, ...]) -> Table:
    """A row a choice: simulated figures, and beside them those of the formulas."""
    rows = []
    for c in choices:
        o = c.simulation
        simulated = ("–", "–", "–", "–")
        if o is not None:
            tpot = format_seconds(o.tpot.mean) if o.tpot else "–"
            user = f"{o.per_user:.4g}" if o.per_user else "–"
            simulated = (user, format_seconds(o.ttft.mean), tpot, format_count(o.output_per_gpu))
        formulas = (format_seconds(c.ttft), format_seconds(c.tpot), format_count(c.output_per_gpu))
        held = f"{c.concurrency}" if c.holds else f"{c.held} of {c.asked}"
        gpus = (str(sum(c.gpus)),) if any(x.unused for x in choices) else ()
        rows.append((c.name, held, *gpus, *simulated, *formulas))
    gpus = ("GPUs",) if any(x.unused for x in choices) else ()
    headers = (
        *("strategy", "in flight", *gpus, "user", "TTFT", "TPOT", "a GPU"),
        *("TTFT, formulas", "TPOT, formulas", "a GPU, formulas"),
    )
    return Table(headers, tuple(rows), tuple(range(1, len(headers))))
