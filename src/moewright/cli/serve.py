"""``moewright serve``."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import FormatOption, deliver, format_of, one_of_tables, progress, write_file
from moewright.cli.spec import case_options as o
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.case.case import Case
    from moewright.report.html.report_record import Report


@app.command()
def serve(
    spec: o.ModelOrSpec,
    cluster: o.Cluster = None,
    engine: o.EngineName = None,
    engine_version: o.EngineVersion = None,
    input_tokens: o.Input = None,
    output_tokens: o.OutputTokens = None,
    concurrency: o.Concurrency = None,
    rate: o.RequestRate = None,
    prefix_hit: o.PrefixHit = None,
    ttft: o.Ttft = None,
    tpot: o.Tpot = None,
    strategy: o.StrategyText = None,
    routing: o.RoutingText = None,
    precision: o.PrecisionText = None,
    as_json: Json = False,
    requests: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="How many, instead of the spec's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of lengths and arrivals.")] = None,
    tables: Annotated[Path | None, typer.Option(help="A folder of measured kernel tables.")] = None,
    no_tables: Annotated[bool, typer.Option("--no-tables", help="Price by the roofline alone.")] = False,
    form: FormatOption = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write a row a request there (.csv), or instead a report (.html), .md, .json, .txt."),
    ] = None,
) -> None:
    """Simulate an engine that serves requests: what its users would see, and what binds."""
    given = {**locals(), "model": spec, "input": input_tokens}
    from moewright.case.options.from_options import case_from, is_spec, options_of
    from moewright.serving.planner.chosen import chosen
    from moewright.serving.simulation.outcome import rows_csv
    from moewright.serving.simulation.simulate import simulate
    from moewright.serving.validation.row_steps import default_folder

    rows = output is not None and output.suffix.lower() == ".csv"
    kind = format_of(as_json, form, None if rows else output)
    one_of_tables(tables, no_tables)
    case = case_from(options_of(given), ("engine", "concurrency", "rate", "requests"))
    case = _overridden(case, requests, engine, concurrency, rate, seed) if is_spec(spec) else _seeded(case, seed)
    with progress(f"Serving {case.model.name} on {case.cluster.gpus} GPUs") as tell:
        case = chosen(case)
        found = simulate(case, tell=tell, tables=default_folder(tables, no_tables))
    if output is not None and rows:
        write_file(output, rows_csv(found.served))
    from moewright.report.serving_pages.serve_page import serve_sections
    from moewright.report.terminal import console

    def report() -> Report:
        from moewright.report.html.serving_report import serve_report

        return serve_report(case, found)

    deliver(kind, None if rows else output, found.to_dict, lambda: serve_sections(case, found, console().width), report)


def _seeded(case: Case, seed: int | None) -> Case:
    """``case`` with another seed, where one is given."""
    return case if seed is None or case.serving is None else replace(case, serving=replace(case.serving, seed=seed))


def _overridden(
    case: Case, requests: int | None, engine: str | None, concurrency: str | None, rate: float | None, seed: int | None
) -> Case:
    """``case`` with what the command line sets otherwise."""
    from moewright.case.file.count_text import read_count
    from moewright.case.serving import EngineSpec
    from moewright.serving.engines.deployment import serving_of
    from moewright.serving.engines.engine import load_engine

    s = serving_of(case)
    if engine is not None:
        try:
            load_engine(engine)
        except SpecError as error:
            raise SpecError(error.problem, field="--engine") from None
        s = replace(s, engine=EngineSpec(engine))
    if concurrency is not None and rate is not None:
        raise SpecError("contradicts --rate; give one of the two", field="--concurrency")
    if concurrency is not None:
        s = replace(s, concurrency=(read_count(concurrency, "--concurrency", most=1 << 24),), rate=None)
    if rate is not None:
        if not math.isfinite(rate):
            raise SpecError(f"got {rate}; expected requests a second, above 0 and finite", field="--rate")
        if s.trace is not None:
            raise SpecError("contradicts workload.trace, which has arrivals of its own", field="--rate")
        s = replace(s, concurrency=(), rate=rate)
    s = replace(s, requests=requests or s.requests, seed=s.seed if seed is None else seed)
    return replace(case, serving=s)
