"""``fit`` and ``doctor`` as reports."""

from __future__ import annotations

from moewright.doctor.diagnose import Diagnosis
from moewright.report.blocks import plural
from moewright.report.engines.doctor_page import doctor_sections
from moewright.report.figures.parts_figure import stacked
from moewright.report.figures.serving_figure import MEMORY_PARTS, memory_figure
from moewright.report.figures.theme import BAD, EXPERTS, GOOD, IDLE, Figure
from moewright.report.html.report_record import Command, Number, Report
from moewright.report.serving_pages.fit_page import fit_sections, overview
from moewright.serving.planner.fitting import GIB, Fit, Layout
from moewright.units import format_bytes, format_count, format_seconds

#: layouts drawn at most
MOST_LAYOUTS = 14


def fit_report(several: list[Fit]) -> Report:
    """The report of a model's fit; of several kinds of GPU where there are."""
    found = several[0]
    sections = fit_sections(found) if len(several) == 1 else [*overview(several), *fit_sections(found)]
    answer = sections[0].blocks[0]
    if len(several) > 1:
        asked = "One request" if found.concurrency == 1 else f"{found.concurrency} requests"
        fewest = [f"{f.fewest} × {f.device}" if f.fewest else f"no {f.device}" for f in several]
        answer = f"{asked} of {format_count(found.context)} tokens under {found.engine.name}: {', '.join(fewest)}."
    best = next((x for x in found.layouts if x.fits and x.gpus == found.fewest), None)
    model, kind = found.case.model.name, found.case.cluster.name
    command = Command("", "No layout holds the requests.")
    numbers: tuple[Number, ...] = ()
    if best is not None:
        sizes = f"--cluster {kind}:{best.gpus} --engine {found.engine.name}"
        command = Command(
            f"moewright launch {model} {sizes} --strategy '{best.name}' --input {max(1, found.context - 1)} "
            f"--output-tokens 1 --concurrency {found.concurrency}",
            "Writes the engine's command for this layout, with the reason for each option.",
        )
        numbers = (
            Number(f"{best.gpus} × {found.device}", "Fewest GPUs", best.name),
            Number(
                f"{best.weights / GIB:.1f} GiB", "Weights of a GPU", f"{best.rest / GIB:.1f} GiB for the engine itself"
            ),
            Number(f"{best.requests:,}", "Requests held at once", f"of {format_count(found.context)} tokens"),
        )
    return Report(
        f"Fit of {model} on {', '.join(f.device for f in several)}",
        answer if isinstance(answer, str) else "",
        numbers,
        command,
        f"What {found.engine.name} takes beside weights and cache was fitted on start-up logs (docs/fit.md).",
        "Weights and cache are counted tensor by tensor.",
        tuple(layouts_figure(f, len(several) > 1) for f in several if f.layouts),
        tuple(sections),
    )


def layouts_figure(found: Fit, named: bool = False) -> Figure:
    """The memory of a GPU under each layout."""
    capacity = found.case.cluster.device.memory
    picked: list[Layout] = [x for x in found.layouts if x.fits][:MOST_LAYOUTS]
    picked += [x for x in found.layouts if not x.fits][: max(3, MOST_LAYOUTS - len(picked))][:3]
    picked.sort(key=lambda x: x.gpus)
    bars = []
    for x in picked:
        name = x.name.removeprefix("R1 · ").removeprefix("PP1 · ")
        parts = {"weights": x.weights, "the engine itself": x.rest, "KV cache": max(x.kv_cache, 0.0)}
        held = f"{x.requests:,} requests" if x.fits else "does not fit"
        parts |= {"missing": -x.kv_cache} if x.kv_cache < 0 else {}
        bars.append((f"{x.gpus} GPUs: {name}" if x.gpus > 1 else f"1 GPU: {name}", held, parts))
    colour = {"weights": EXPERTS, "the engine itself": IDLE, "KV cache": GOOD, "missing": BAD}
    chart = stacked(bars, colour, "a GPU (GiB)", 1 / GIB, (capacity / GIB, "capacity"), form=format_bytes)
    title = f"Memory of a GPU{f' of {found.device}' if named else ''}, layout by layout"
    return Figure(f"memory-{found.device}", title, "Of the fullest GPU, by the rule of the engine's version.", chart)


def doctor_report(d: Diagnosis, cluster: str | None, text: str) -> Report:
    """The report of a launch command; ``text``: the command."""
    starts = {True: "starts", False: "does not start", None: "may or may not start"}[d.starts]
    fits = {True: "it fits in memory", False: "it does not fit in memory", None: "whether it fits cannot be told"}[
        d.fit.fits
    ]
    name = d.model.name if d.model else "the model"
    answer = f"{name} under {d.engine} {d.version or ''}".rstrip() + f" {starts}, and {fits}"
    if d.problems:
        answer += f"; {plural(len(d.problems), 'option')} to know about"
    e = d.expects or {}
    numbers = [Number(d.reading.layout_name, "Layout", f"{d.reading.layout.gpus_total or '?'} GPUs")]
    if e.get("ttft"):
        numbers.append(Number(format_seconds(e["ttft"]), "Time to first token (TTFT)"))
    if e.get("tpot"):
        output = f"{format_count(e['output_per_gpu'])} tokens/s of a GPU"
        numbers.append(Number(format_seconds(e["tpot"]), "Time of each further token (TPOT)", output))
    memory = d.fit.memory or {}
    if memory.get("capacity"):
        held = sum(float(v) for k, v in memory.items() if k in MEMORY_PARTS and k != "kv_cache")
        numbers.append(
            Number(format_bytes(held), "A GPU needs beside the cache", f"of {format_bytes(float(memory['capacity']))}")
        )
    if len(numbers) < 3:
        stops = sum(p.stops for p in d.problems)
        numbers.append(Number(str(len(d.problems)), "Options to know about", f"{stops} of them stop it"))
    figures = []
    if memory.get("capacity") and memory.get("fraction"):
        figures.append(memory_figure([(d.reading.layout_name, memory)]))
    command = (
        Command(d.better, "Better on the same GPUs.") if d.better else Command(text.strip(), "The command as read.")
    )
    missing = f" Not said, or taken for granted: {', '.join(d.missing)}." if d.missing else ""
    return Report(
        f"What this command does: {name}, {d.engine}",
        f"{answer}.",
        tuple(numbers[:3]),
        command,
        "What an engine makes of each option is read from its source, named beside it; memory by rules fitted on "
        "start-up logs.",
        f"The layout, whether it fits, and what users would see.{missing}",
        tuple(figures),
        tuple(doctor_sections(d, cluster)),
    )
