"""A plan for serving on a terminal."""

from __future__ import annotations

from moewright.report.blocks import Section, Table, plural
from moewright.serve.choice import Choice
from moewright.serve.plan import ServingPlan
from moewright.units import format_count, format_seconds


def plan_sections(p: ServingPlan) -> list[Section]:
    """The answer first, then the frontier, what else there is, and what was left out."""
    case, best = p.case, p.best
    engine = case.serving.engine.name if case.serving else ""
    head = [
        f"Best of {plural(p.candidates, 'candidate')}: {best.name}",
        f"with {best.concurrency} in flight: {format_count(best.output_per_gpu)} output tokens/s a GPU, "
        f"{best.per_user:.4g} a user; TTFT {format_seconds(best.ttft)}, TPOT {format_seconds(best.tpot)} "
        f"(steady state, means)",
    ]
    head.append(f"Of held-out measured results, 80 % lie within {_range(best, 'ttft')} and {_range(best, 'tpot')}.")
    o = best.simulation
    if o is not None and o.tpot is not None:
        head.append(
            f"simulated with steps priced by {o.kernels}, {plural(o.requests, 'request')}: "
            f"{format_count(o.output_per_gpu)} output tokens/s a GPU; TTFT "
            f"{format_seconds(o.ttft.mean)} (p99 {format_seconds(o.ttft.p99)}), TPOT {format_seconds(o.tpot.mean)} "
            f"(p99 {format_seconds(o.tpot.p99)}); binds: {o.binds}"
        )
        low, high = best.range_of("ttft")
        if not low <= o.ttft.mean <= high:
            head.append(
                "The simulated TTFT lies outside that range: the steady state takes prompts to arrive evenly, and these "
                "come in waves (equal lengths, few clients) or queue."
            )
    if not best.holds:
        head.append(f"No cache here holds the {best.asked} requests asked for: this one holds {best.held}.")
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


def _range(c: Choice, metric: str) -> str:
    low, high = c.range_of(metric)
    return f"{metric.upper()} {format_seconds(low)} to {format_seconds(high)}"


def _conclusion(p: ServingPlan) -> str:
    """What is chosen, and what the ends of the frontier give up."""
    best, fast, full = p.best, p.frontier[0], p.frontier[-1]
    text = f"{best.name} with {best.concurrency} in flight gives {format_count(best.output_per_gpu)} tokens/s a GPU."
    if len(p.frontier) > 1:
        text += (
            f" A user gets from {full.per_user:.4g} tokens/s, where a GPU gives {format_count(full.output_per_gpu)}, "
            f"to {fast.per_user:.4g}, where it gives {format_count(fast.output_per_gpu)}."
        )
    return text


def _table(choices: tuple[Choice, ...]) -> Table:
    """A row a choice; simulated figures where there are some."""
    rows = []
    for c in choices:
        o = c.simulation
        cells = (format_seconds(c.ttft), format_seconds(c.tpot), format_count(c.output_per_gpu))
        simulated = ("", "", "")
        if o is not None and o.tpot is not None:
            simulated = (format_seconds(o.ttft.mean), format_seconds(o.tpot.mean), format_count(o.output_per_gpu))
        held = f"{c.concurrency}" if c.holds else f"{c.held} of {c.asked}"
        rows.append((c.name, held, f"{c.per_user:.4g}", *cells, *simulated))
    headers = ("strategy", "in flight", "user", "TTFT", "TPOT", "a GPU", "TTFT, sim.", "TPOT, sim.", "a GPU, sim.")
    return Table(headers, tuple(rows), tuple(range(1, 9)))
