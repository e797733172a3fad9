"""A plan for serving on a terminal."""

from __future__ import annotations

from moewright.report.blocks import Section, Table, plural
from moewright.report.choices import launch_command
from moewright.serving.planner.option import Choice
from moewright.serving.planner.serving_plan import ServingPlan
from moewright.units import format_count, format_seconds


def plan_sections(p: ServingPlan) -> list[Section]:
    """The answer first, then the frontier, what else there is, and what was left out."""
    case, best = p.case, p.best
    engine = case.serving.engine.name if case.serving else ""
    head = [*_headline(p), _conclusion(p), f"Start it: {launch_command(case, None)}", *_figures(best), *_notes(p)]
    sections = [
        Section(
            f"Plan of {case.model.name} served by {engine} on {case.cluster.gpus} × {case.cluster.device.name}",
            tuple(head),
        ),
        Section("Frontier: tokens/s of a user against tokens/s of a GPU", (_table(p.frontier),)),
    ]
    if p.alternatives:
        sections.append(Section("Alternatives", (_table((best, *p.alternatives)),)))
    text = f"{plural(p.candidates, 'candidate')} and the simulations took {format_seconds(p.search_seconds, 3)}."
    if p.rejected:
        rows = tuple((reason, str(count)) for reason, count in p.rejected.items())
        sections.append(Section("Search", (f"{text} Left out:", Table(("reason", "left out"), rows, (1,)))))
    else:
        sections.append(Section("Search", (text,)))
    return sections


def _headline(p: ServingPlan) -> list[str]:
    """That nothing holds the requests asked for, where that is so."""
    best, limits = p.best, p.case.goal.limits
    if best.holds:
        return []
    where = " within the limits" if limits.ttft is not None or limits.tpot is not None else ""
    return [
        f"Nothing holds the {best.asked} requests asked for{where}: the best of what holds fewer holds {best.held}."
    ]


def _figures(best: Choice) -> list[str]:
    """What the best gives: simulated, then by the formulas that it was found with."""
    formulas = (
        f"{format_count(best.output_per_gpu)} output tokens/s a GPU, {best.per_user:.4g} a user; "
        f"TTFT {format_seconds(best.ttft)}, TPOT {format_seconds(best.tpot)}"
    )
    o = best.simulation
    if o is None or o.tpot is None:
        return [f"At concurrency {best.concurrency}, by the formulas: {formulas}{_ranges(best.ranges)}."]
    lines = [
        f"At concurrency {best.concurrency}, simulated ({plural(o.requests, 'request')}, steps priced by {o.kernels}): "
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
    return lines


def _ranges(ranges: dict[str, tuple[float, float]]) -> str:
    ends = [f"{name.upper()} {format_seconds(low)} to {format_seconds(high)}" for name, (low, high) in ranges.items()]
    return f" (80 % of held-out measured results: {', '.join(ends)})" if ends else ""


def _conclusion(p: ServingPlan) -> str:
    """What is chosen, and what the ends of the frontier give up."""
    best, fast, full = p.best, p.frontier[0], p.frontier[-1]
    text = f"{best.name} at concurrency {best.concurrency} is the best of {plural(p.candidates, 'candidate')}: "
    text += f"a GPU gives {format_count(best.throughput)} tokens/s ({_how(best)})."
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
    """A row a choice: simulated figures, and beside them those of the formulas; where GPUs are left idle, tokens/s of
    those used and of all."""
    idle = any(x.unused for x in choices)
    rows = []
    for c in choices:
        o = c.simulation
        simulated = ("–", "–", "–", "–")
        if o is not None:
            tpot = format_seconds(o.tpot.mean) if o.tpot else "–"
            user = f"{o.per_user:.4g}" if o.per_user else "–"
            simulated = (user, format_seconds(o.ttft.mean), tpot, format_count(o.output_per_gpu))
        formulas = (format_seconds(c.ttft), format_seconds(c.tpot), format_count(c.output_per_gpu))
        flight = f"{c.concurrency}" if c.holds else f"{c.held} of {c.asked}"
        gpus, of_all = ((str(sum(c.gpus)),), (format_count(c.seen.of_cluster),)) if idle else ((), ())
        rows.append((c.name, flight, *gpus, *simulated, *of_all, *formulas))
    headers = (
        *("strategy", "concurrency", *(("GPUs",) if idle else ()), "user", "TTFT", "TPOT", "a GPU"),
        *(("a GPU of all",) if idle else ()),
        *("TTFT, formulas", "TPOT, formulas", "a GPU, formulas"),
    )
    return Table(headers, tuple(rows), tuple(range(1, len(headers))))
