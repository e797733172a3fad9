"""``plan --output report.html`` of a pass."""

from __future__ import annotations

from moewright.case.workload import Kind, Objective
from moewright.planning.record import Result, Status
from moewright.report.blocks import percent
from moewright.report.choices import a_pass, words
from moewright.report.figures.cluster_map import cluster_map
from moewright.report.figures.frontier_figure import pass_frontier
from moewright.report.figures.layer_timeline import layer_timeline
from moewright.report.figures.parts_figure import pass_memory, pass_parts, shown_plans
from moewright.report.html.launch_text import pass_command
from moewright.report.html.report_record import Number, Report
from moewright.report.plan_page import origins_of, sections
from moewright.units import format_bytes, format_count, format_seconds


def pass_report(result: Result) -> Report:
    """The report of a search."""
    case, plan = result.case, result.best
    several = result.sample is None or result.sample.of > 1 or result.comparisons
    figures = (
        *((pass_frontier(result),) if several else ()),
        pass_parts(shown_plans(result), _pass(result)),
        layer_timeline(case, plan),
        pass_memory(result),
        cluster_map(case, plan),
    )
    return Report(
        f"Plan of {case.model.name} on {case.cluster.gpus} × {case.cluster.device.name}",
        pass_answer(result),
        _numbers(result),
        pass_command(case, plan),
        measured_text(plan.latency.origins),
        derived_text(result),
        figures,
        tuple(sections(result)),
    )


def _pass(result: Result) -> str:
    return "a decode step" if result.case.workload.kind is Kind.DECODE else "a pass"


def pass_answer(result: Result) -> str:
    """What to do, in one sentence."""
    best, case = result.best, result.case
    t, gpus = best.latency, f"{case.cluster.gpus} × {case.cluster.device.name}"
    chosen = "the strategy given" if case.strategy else f"the best of {result.candidates} legal strategies"
    text = f"{best.name} is {chosen} on {gpus}: "
    if case.goal.objective is Objective.LATENCY:
        text += f"{a_pass(result)} takes {format_seconds(t.seconds)}, {t.seconds / t.bound_seconds:.2f} times the bound"
        name, seconds = max(t.breakdown.items(), key=lambda item: item[1])
        text += f", {percent(seconds, t.seconds)} of it {words(name)}"
    else:
        text += f"it gives {format_count(best.throughput.tokens_per_second)} tokens/s with a batch of {best.batch}"
        reached = best.throughput.sequences_per_second * t.bound_seconds
        text += f", {percent(reached, best.batch)} of what the bound allows"
    if result.comparisons:
        c = result.comparisons[0]
        text += f"; {c.plan.name} takes {c.ratio:.3g} times as long"
    return f"{text}."


def _numbers(result: Result) -> tuple[Number, ...]:
    plan = result.best
    t, through, m = plan.latency, plan.throughput, plan.memory
    name = "Time of a token (TPOT)" if result.case.workload.kind is Kind.DECODE else "Latency of a pass"
    return (
        Number(format_seconds(t.seconds), name, f"bound {format_seconds(t.bound_seconds)}: {t.bound_reason}"),
        Number(
            f"{format_count(through.tokens_per_second_per_gpu)} tokens/s",
            "Throughput of a GPU",
            f"{format_count(through.tokens_per_second)} tokens/s in all",
        ),
        Number(
            format_bytes(m.total),
            "Memory of the fullest GPU",
            f"{percent(m.total, m.usable)} of {format_bytes(m.usable)} usable",
        ),
    )


def measured_text(origins: dict[str, float]) -> str:
    """What of the seconds was measured."""
    shares = [f"{origins[k]:.0%} {k}" for k in ("measured", "interpolated") if origins.get(k, 0.0) > 0]
    if shares:
        return f"Of the seconds: {' and '.join(shares)} by kernel tables or a profile of this machine."
    return (
        "None of the seconds: they come from formulas with the peaks, bandwidths and efficiencies that the spec or the "
        "catalogue gives. Use them to compare strategies; --tables prices with measured kernels."
    )


def derived_text(result: Result) -> str:
    """What stands on formulas, and what has been checked."""
    plan = result.best
    passed = sum(c.status is Status.PASS for c in plan.checks)
    failed = [c.name for c in plan.checks if c.status is not Status.PASS]
    proof, twice = plan.proof, ""
    if proof is not None:
        whole = proof.figures + len(proof.unchecked)
        twice = f" {proof.figures} of {whole} figures were derived a second time, by walking {proof.ranks} ranks:"
    text = f"Seconds: {origins_of(plan)}.{twice} {passed} of {len(plan.checks)} checks passed"
    return f"{text}; to be looked at: {', '.join(failed)}." if failed else f"{text}."
