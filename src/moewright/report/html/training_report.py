"""``plan --output report.html`` of a training step."""

from __future__ import annotations

from moewright.report.blocks import percent
from moewright.report.figures.cluster_map import training_map
from moewright.report.figures.frontier_figure import training_frontier
from moewright.report.figures.parts_figure import training_memory, training_parts
from moewright.report.figures.schedule_figure import schedule_figure, stage_memory_figure
from moewright.report.html.launch_text import training_command
from moewright.report.html.report_record import Number, Report
from moewright.report.training.train_page import LINES, PARTS, train_sections
from moewright.training.training_record import TrainingResult
from moewright.units import format_bytes, format_count, format_seconds


def training_report(r: TrainingResult) -> Report:
    """The report of a search of training layouts."""
    case, best = r.case, r.best
    figures = [
        training_frontier(r),
        training_parts(r, PARTS),
        schedule_figure(r),
        stage_memory_figure(r),
        training_memory(r, LINES),
        training_map(r),
    ]
    text = (
        f"{best.strategy.name} is the best of {r.candidates} legal layouts on {case.cluster.gpus} × "
        f"{case.cluster.device.name}: a step takes {format_seconds(best.seconds)}, {best.mfu:.1%} of the peak FLOPs"
    )
    if r.walls:
        text += f"; what is lost most is {PARTS[r.walls[0].name]}, {r.walls[0].share:.1%}"
    days = f"{best.days:.3g} days for all tokens" if best.days is not None else f"{best.micro_batches} micro-batches"
    return Report(
        f"Plan of training {case.model.name} on {case.cluster.gpus} × {case.cluster.device.name}",
        f"{text}.",
        (
            Number(format_seconds(best.seconds), "A step", days),
            Number(
                f"{format_count(best.tokens_s_gpu)} tokens/s",
                "Throughput of a GPU",
                f"{best.mfu:.1%} of its peak FLOPs",
            ),
            Number(
                format_bytes(best.peak),
                "Peak memory of a GPU",
                f"{percent(best.peak, best.usable)} of {format_bytes(best.usable)} usable",
            ),
        ),
        training_command(case, best),
        "How much of a peak products, attention and traffic deliver was fitted on published training steps; "
        "docs/training.md says on which, and how far off others were.",
        "FLOPs, bytes and what each rank holds are counted exactly; seconds by formulas with those fitted shares"
        + (
            f", the pipeline also simulated operation by operation ({format_seconds(r.simulated)})."
            if r.simulated
            else "."
        ),
        tuple(f for f in figures if f is not None),
        tuple(train_sections(r)),
    )
