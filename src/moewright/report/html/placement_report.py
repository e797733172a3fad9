"""``place --output report.html``."""

from __future__ import annotations

from moewright.placement.expert_placement import ExpertPlacement, evenness
from moewright.report.blocks import Section
from moewright.report.figures.expert_loads_figure import balance_figure, load_maps
from moewright.report.html.report_record import Command, Number, Report
from moewright.report.place_page import place_sections
from moewright.units import format_bytes, format_seconds


def placement_report(p: ExpertPlacement, reach: int | None, more: list[Section], command: str) -> Report:
    """The report of a placement. ``more``: sections about slices; ``command``: how an engine's file is written."""
    layers, gpus = p.gpu_load.shape
    before = float(evenness(p.before).mean())
    text = (
        f"{p.replicas.shape[1]} experts on {p.expert_of_slot.shape[1]} slots of {gpus} GPUs: the mean load of a GPU is "
        f"{p.balancedness:.1%} of the fullest's, {before:.1%} before, and no placement passes {p.bound:.1%}."
    )
    moved = "" if p.moved is None else f"{p.moved} replicas move"
    moved += f", {format_bytes(p.moved_bytes)} of weights" if p.moved_bytes is not None else ""
    return Report(
        f"Placement of {p.replicas.shape[1]} experts on {gpus} GPUs",
        text,
        (
            Number(
                f"{p.balancedness:.4f}",
                "Balancedness",
                f"mean ÷ largest load of {layers} layers; at most {p.bound:.4f}",
            ),
            Number(f"{p.straggler:.4f} ×", "Straggler", "largest ÷ mean load, all layers together"),
            Number(format_seconds(p.seconds), "The search took", moved or f"from {before:.4f} before"),
        ),
        Command(
            command, "Writes the file that an engine reads; sglang, tensorrt-llm and eplb have formats of their own."
        ),
        "The loads, where they come from a recording; loads by name are drawn by a law.",
        "Balance of those loads alone: no seconds are predicted. The bound is a lower bound on the fullest GPU.",
        (balance_figure(p), *load_maps(p)),
        (*place_sections(p, reach), *more),
    )
