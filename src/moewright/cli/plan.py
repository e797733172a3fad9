"""``moewright plan``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import Format, FormatOption, OutputOption, deliver, format_of, one_of_tables, progress
from moewright.cli.spec import case_options as o
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.case.case import Case
    from moewright.case.strategy import StrategySpec
    from moewright.report.html.report_record import Report


@app.command()
def plan(
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
    objective: o.ObjectiveName = None,
    strategy: o.StrategyText = None,
    routing: o.RoutingText = None,
    precision: o.PrecisionText = None,
    kind_name: o.KindName = None,
    batch: o.BatchText = None,
    sequence: o.SequenceText = None,
    as_json: Json = False,
    form: FormatOption = None,
    output: OutputOption = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Why does this one lose? dp=64,tp=2,ep=64,etp=2, a name as printed, or a spec file."),
    ] = None,
    top: Annotated[int, typer.Option(min=0, max=100, help="Alternatives to show.")] = 5,
    ranks: Annotated[
        int | None, typer.Option(min=0, help="Ranks of the layout to show, beside the last (--verbose: 4).")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="A folder of measured kernel tables to price with, or `installed`: those of the package."),
    ] = None,
    no_tables: Annotated[bool, typer.Option("--no-tables", help="Simulate serving by the roofline alone.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="All sections: hardware, model, balance, checks, search.")
    ] = False,
    kernels: Annotated[
        str | None, typer.Option(help="With --tables, of a pass: the engine whose kernels are meant (vllm).")
    ] = None,
) -> None:
    """Find the best parallel strategy for a model on a cluster, derive every number, and check it."""
    given = {**locals(), "model": spec, "input": input_tokens, "kind": kind_name}
    from moewright.case.options.from_options import case_from, options_of
    from moewright.planning.search import plan as search

    kind = format_of(as_json, form, output)
    case = case_from(options_of(given))
    one_of_tables(tables, no_tables)
    if case.serving is not None:
        from moewright.serving.validation.row_steps import default_folder

        if kernels is not None:
            raise SpecError("is of a pass; a serving workload names its engine", field="--kernels")
        tables = None if tables == Path("installed") else tables
        _serving(case, kind, output, top, bool(compare), default_folder(tables, no_tables))
        return
    if case.training is not None:
        _refuse_tables(tables is not None or kernels is not None or no_tables)
        _training(case, kind, output, top, compare or [], verbose)
        return
    if no_tables:
        raise SpecError(
            f"is of a serving workload; {case.workload.kind} is priced by the formulas unless --tables is given",
            field="--no-tables",
        )
    case = _priced_by(case, tables, kernels)
    wanted = [_compared(text) for text in compare or []]
    with progress(f"Planning {case.model.name} on {case.cluster.gpus} GPUs") as tell:
        result = search(case, wanted, top, tell)
    from moewright.report.plan_page import sections

    full = verbose or kind is Format.MARKDOWN

    def report() -> Report:
        from moewright.report.html.pass_report import pass_report

        return pass_report(result)

    deliver(kind, output, result.to_dict, lambda: sections(result, ranks, full), report)


def _priced_by(case: Case, tables: Path | None, kernels: str | None) -> Case:
    """``case`` with the tables that were asked for. Raises SpecError where they are not there, or not of its device."""
    from moewright.case.case import TableSource
    from moewright.case.serving import ENGINES
    from moewright.cost.prices.silicon import SYSTEMS, system_of, tables_folder

    if tables is None:
        if kernels is not None:
            raise SpecError("chooses among measured tables; give --tables too", field="--kernels")
        return case
    if kernels is not None and kernels not in ENGINES:
        raise SpecError(f"got {kernels[:40]!r}; expected one of {', '.join(ENGINES)}", field="--kernels")
    folder = tables_folder(None if tables == Path("installed") else tables)
    if folder is None:
        raise SpecError("no tables are installed: pip install 'moewright[silicon]'", field="--tables")
    device = case.cluster.device.name
    if system_of(device, folder) is None:
        known = ", ".join(sorted(name for name in SYSTEMS if system_of(name, folder) is not None))
        raise SpecError(f"has no tables of {device}; it has {known or 'none that is known'}", field="--tables")
    return replace(case, tables=TableSource(folder, kernels or "vllm"))


def _serving(case: Case, kind: Format, output: Path | None, top: int, compared: bool, tables: Path | None) -> None:
    from moewright.report.serving_pages.serving_plan_page import plan_sections
    from moewright.serving.planner.serving_plan import plan_serving

    if compared:
        raise SpecError("is of a pass's seconds; a serving workload has none to compare", field="--compare")
    with progress(f"Planning {case.model.name} on {case.cluster.gpus} GPUs") as tell:
        found = plan_serving(case, top, tell, tables)

    def report() -> Report:
        from moewright.report.html.serving_report import serving_plan_report

        return serving_plan_report(found)

    deliver(kind, output, found.to_dict, lambda: plan_sections(found), report)


def _refuse_tables(given: bool) -> None:
    if given:
        raise SpecError("is not of a training step, which is priced by the formulas", field="--tables")


def _training(case: Case, kind: Format, output: Path | None, top: int, compare: list[str], verbose: bool) -> None:
    from moewright.case.file.training_section import parse_train_sizes
    from moewright.report.training.train_page import train_sections
    from moewright.training.plan_training import plan_training

    wanted = [parse_train_sizes(text) for text in compare]
    with progress(f"Planning {case.model.name} on {case.cluster.gpus} GPUs") as tell:
        result = plan_training(case, wanted, top, tell)

    def report() -> Report:
        from moewright.report.html.training_report import training_report

        return training_report(result)

    deliver(kind, output, result.to_dict, lambda: train_sections(result, verbose or kind is Format.MARKDOWN), report)


def _compared(text: str) -> StrategySpec:
    """A strategy named on the command line."""
    from moewright.case.file.strategy_text import parse_strategy

    if Path(text).suffix.lower() in (".yaml", ".yml", ".toml", ".json"):
        from moewright.case.file.files import read_mapping
        from moewright.case.file.strategy_section import strategy_of

        section = read_mapping(text).get("strategy")
        if section is None:
            raise SpecError("is missing; a file to compare with needs one", file=text, field="strategy")
        return strategy_of(section, text)
    return parse_strategy(text)
