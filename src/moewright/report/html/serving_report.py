"""``serve`` and ``plan`` of a serving workload as a report."""

from __future__ import annotations

from collections.abc import Mapping

from moewright.case.case import Case
from moewright.report.blocks import origins_text, percent
from moewright.report.figures.cluster_map import worker_map
from moewright.report.figures.frontier_figure import serving_frontier
from moewright.report.figures.serving_figure import (
    cache_figure,
    engine_memory,
    latencies_figure,
    requests_figure,
    shares_figure,
    spread_figure,
)
from moewright.report.figures.theme import Figure
from moewright.report.html.launch_text import served_command, serving_command
from moewright.report.html.report_record import Number, Report
from moewright.report.serving_pages.serve_page import serve_sections
from moewright.report.serving_pages.serving_plan_page import plan_sections
from moewright.serving.planner.serving_plan import ServingPlan
from moewright.serving.simulation.outcome import PROFILE, TABLES, Outcome
from moewright.units import format_count, format_seconds


def serve_report(case: Case, o: Outcome) -> Report:
    """A simulation: what users see."""
    names = " and ".join(f"{p.phase} {p.name}" if len(o.pools) > 1 else p.name for p in o.pools)
    text = f"{o.gpus} × {case.cluster.device.name} as {names} give a user the first token after "
    text += format_seconds(o.ttft.mean)
    if o.tpot is not None:
        text += f" and a further one every {format_seconds(o.tpot.mean)}"
    text += f", in the mean; what binds is {o.binds}."
    missed = [name.upper() for name, x in o.limits.items() if not x.met]
    if missed:
        text += f" It misses the limit of {' and '.join(missed)}."
    return Report(
        f"{case.model.name} served by {o.engine} on {o.gpus} × {case.cluster.device.name}",
        text,
        _numbers(o, o.ranges),
        served_command(case),
        _measured(o),
        _derived(o),
        tuple(_outcome_figures(o)),
        tuple(serve_sections(case, o)),
    )


def serving_plan_report(p: ServingPlan) -> Report:
    """A search: the best choice, its simulation, the frontier."""
    case, best, o = p.case, p.best, p.best.simulation
    engine = case.serving.engine.name if case.serving else ""
    text = (
        f"On {case.cluster.gpus} × {case.cluster.device.name} run {best.name} at concurrency "
        f"{best.concurrency}: a GPU gives {format_count(best.throughput)} output tokens/s, a user gets "
        f"{best.of_user:.4g}, the first after {format_seconds(best.seen.ttft)}."
    )
    if not best.holds:
        text = f"Nothing holds the {best.asked} requests asked for; the best holds {best.held}. {text}"
    figures: list[Figure] = [serving_frontier(p)]
    if o is not None:
        figures += _outcome_figures(o)
    if len(best.strategies) == 1 and not best.unused:
        figures.append(worker_map(case, best.strategies[0]))
    return Report(
        f"Plan of {case.model.name} served by {engine} on {case.cluster.gpus} × {case.cluster.device.name}",
        text,
        _numbers(o, o.ranges) if o is not None else (),
        serving_command(case, best),
        "Nothing." if o is None else _measured(o),
        "The search ranks by formulas of a steady state; what is shown was simulated. "
        + ("" if o is None else _derived(o)),
        tuple(figures),
        tuple(plan_sections(p)),
    )


def _outcome_figures(o: Outcome) -> list[Figure]:
    spread = spread_figure(o)
    figures = [requests_figure(o), latencies_figure(o)]
    if spread is not None:
        figures.append(spread)
    return [*figures, shares_figure(o), engine_memory(o), cache_figure(o)]


def _numbers(o: Outcome, ranges: Mapping[str, tuple[float, float]]) -> tuple[Number, ...]:
    def within(name: str, p99: float) -> str:
        text = f"p99 {format_seconds(p99)}"
        if name in ranges:
            low, high = ranges[name]
            text += f"; 80 % of measured results: {format_seconds(low)} to {format_seconds(high)}"
        return text

    numbers = [Number(format_seconds(o.ttft.mean), "Time to first token (TTFT)", within("ttft", o.ttft.p99))]
    if o.tpot is not None:
        numbers.append(
            Number(format_seconds(o.tpot.mean), "Time of each further token (TPOT)", within("tpot", o.tpot.p99))
        )
    per_user = f"{o.per_user:.4g} a user; " if o.per_user else ""
    numbers.append(
        Number(
            f"{format_count(o.output_per_gpu)} tokens/s",
            "Output of a GPU",
            f"{per_user}{format_count(o.requests_per_second)} requests/s in all",
        )
    )
    return tuple(numbers)


def _measured(o: Outcome) -> str:
    if o.kernels == TABLES:
        return (
            f"Steps are priced by kernel tables ({origins_text(o.origins, o.derived)} of the busy seconds); memory by "
            "the engine's rule, fitted on start-up logs; ranges by how far off predictions of measured results were."
        )
    if o.kernels == PROFILE:
        return "Steps are priced by points that `moewright measure` took on this machine."
    return (
        "Of the seconds nothing: no kernel tables of this device are at hand. Memory follows the engine's rule, fitted "
        "on start-up logs; ranges say how far off predictions of measured results were."
    )


def _derived(o: Outcome) -> str:
    share = percent(o.origins.get("derived", 1.0), 1.0)
    return (
        f"The engine's scheduler is simulated, {o.steps:,} steps of {o.requests} requests; {share} of the busy seconds "
        "come from formulas. Nothing was run on these GPUs."
    )
