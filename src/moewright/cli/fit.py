"""``moewright fit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import FormatOption, OutputOption, deliver, format_of, progress
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.report.html.report_record import Report

#: clusters that are looked at where none is named
USUAL = ("h100-hgx", "h200-hgx", "dgx-b200", "mi300x-oam")


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="A name, a path to a config.json or its folder, or a Hugging Face id.")],
    cluster: Annotated[
        str | None, typer.Option(help="Of the catalogue, with the most GPUs there are: h200-hgx or h200-hgx:16.")
    ] = None,
    engine: Annotated[str, typer.Option(help="vllm, sglang or trtllm.")] = "vllm",
    engine_version: Annotated[str | None, typer.Option(help="The engine's version, whose memory rule holds.")] = None,
    context: Annotated[str, typer.Option(help="Tokens of a request, prompt and answer (8k, 128Ki).")] = "8192",
    concurrency: Annotated[str, typer.Option(help="Requests to be held at once.")] = "1",
    kv_cache: Annotated[str | None, typer.Option(help="The cache's number format, instead of the model's.")] = None,
    memory_fraction: Annotated[
        float | None, typer.Option(help="The engine's memory fraction, instead of its own.")
    ] = None,
    drafts: Annotated[int, typer.Option(min=0, max=16, help="Tokens drafted by the model's own MTP layers.")] = 0,
    as_json: Json = False,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Does MODEL fit, with how much room for the cache, and how many GPUs does it take?"""
    from moewright.case.file.count_text import read_count
    from moewright.serving.planner.fit_question import cluster_and_most, fit_case
    from moewright.serving.planner.fitting import fit as fitted

    kind_of_report = format_of(as_json, form, output)
    tokens, requests = read_count(context, "--context"), read_count(concurrency, "--concurrency")
    settings: dict[str, Any] = {"name": engine}
    if engine_version is not None:
        settings["version"] = engine_version
    if memory_fraction is not None:
        if not 0 < memory_fraction <= 1:
            raise SpecError(f"got {memory_fraction:g}; expected above 0, at most 1", field="--memory-fraction")
        settings["gpu_memory_utilization"] = memory_fraction
    name, most = cluster_and_most(cluster, "--cluster") if cluster is not None else (None, None)
    found = []
    with progress(f"Fitting {model[:60]}"):
        for kind in (name,) if name is not None else USUAL:
            case, profile = fit_case(model, kind, settings, "command line", kv_cache, drafts)
            found.append(fitted(case, profile, tokens, requests, most))
    from moewright.report.serving_pages.fit_page import fit_sections, overview

    def plain() -> dict[str, Any]:
        first = found[0].to_dict()
        return first if name is not None else {**first, "clusters": [x.to_dict() for x in found]}

    def report() -> Report:
        from moewright.report.html.engine_reports import fit_report

        return fit_report(found)

    deliver(
        kind_of_report, output, plain, lambda: fit_sections(found[0]) if name is not None else overview(found), report
    )
