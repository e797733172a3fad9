"""``moewright launch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import one_of_tables, print_json, progress, write_file
from moewright.cli.spec import case_options as o
from moewright.errors import InfeasibleError, SpecError

if TYPE_CHECKING:
    from moewright.case.case import Case
    from moewright.launch.launch_folder import Launch
    from moewright.launch.launch_plan import LaunchPlan
    from moewright.launch.nearest import Nearest


@app.command()
def launch(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="PLAN_OR_SPEC",
            help="A spec file, what `plan --json` wrote, or a model with the options below.",
            autocompletion=o.complete_models,
        ),
    ],
    cluster: o.Cluster = None,
    input_tokens: o.Input = None,
    output_tokens: o.OutputTokens = None,
    concurrency: o.Concurrency = None,
    ttft: o.Ttft = None,
    tpot: o.Tpot = None,
    objective: o.ObjectiveName = None,
    strategy: o.StrategyText = None,
    precision: o.PrecisionText = None,
    engine: Annotated[str | None, typer.Option(help="vllm, sglang, trtllm or megatron (the spec's engine).")] = None,
    engine_version: Annotated[str | None, typer.Option(help="Whose options are written (the newest known).")] = None,
    target: Annotated[str, typer.Option(help="shell, docker, kubernetes, llm-d, dynamo or slurm.")] = "shell",
    output: Annotated[Path | None, typer.Option(help="A folder to write, instead of printing.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Path or id of the weights (the model's own id).")] = None,
    draft: Annotated[str | None, typer.Option(help="Path or id of the model that guesses tokens.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image (the engine's own).")] = None,
    as_json: Json = False,
    take_nearest: Annotated[
        bool, typer.Option("--nearest", help="Where the engine cannot run the plan: the nearest that it can.")
    ] = False,
    matrix: Annotated[bool, typer.Option("--matrix", help="Print which engine runs which plan, and why not.")] = False,
    tables: Annotated[Path | None, typer.Option(help="A folder of measured kernel tables.")] = None,
    no_tables: Annotated[bool, typer.Option("--no-tables", help="Price by the roofline alone.")] = False,
) -> None:
    """Write everything that starts the plan of PLAN_OR_SPEC on an engine: commands, files, what to expect."""
    given = {**locals(), "model": spec, "input": input_tokens, "engine_version": None}
    from moewright.launch.exporters.engine_export import version_of
    from moewright.launch.launch_folder import launch as folder_of
    from moewright.launch.launch_folder import target_of
    from moewright.launch.read_launch import drafted, for_engine, launch_plan, told
    from moewright.serving.validation.row_steps import default_folder

    one_of_tables(tables, no_tables)
    target_of(target)
    if matrix:
        _matrix(_case_of(given), as_json, default_folder(tables, no_tables))
        return
    if engine is not None:
        version_of(engine, engine_version)
    case = _case_of(given)
    if engine is None:
        if case.serving is None:
            raise SpecError(
                "is missing; a pass names no engine: expected vllm, sglang, trtllm or megatron", field="--engine"
            )
        engine = case.serving.engine.name
    options = version_of(engine, engine_version)
    case = for_engine(case, engine, options.version if engine_version else None)
    named = drafted(case, options.version) if case.serving is not None and engine == case.serving.engine.name else None
    instead = None if named is None else _instead(named, take_nearest)
    with progress(f"Planning {case.model.name} for {engine}") as tell:
        measured = default_folder(tables, no_tables)
        plan = launch_plan(case if instead is None else instead.case, engine, options.version, measured, tell)
    instead = _instead(plan, take_nearest)
    plan = plan if instead is None else instead.plan
    found = folder_of(told(plan, checkpoint, draft, image), target)
    if output is not None:
        _write(found, output)
    if as_json:
        print_json(found.to_dict())
    elif output is None:
        for file in found.files:
            typer.echo(f"==> {file.path} <==\n{file.text}")


def _instead(plan: LaunchPlan, take_nearest: bool) -> Nearest | None:
    """None where the engine runs ``plan``; else the nearest that it runs, where the user takes that. Raises
    InfeasibleError with both."""
    from moewright.launch.exporters.engine_export import refusals
    from moewright.launch.launch_folder import refused_text
    from moewright.launch.nearest import nearest

    reasons = refusals(plan, plan.engine)
    if not reasons:
        return None
    found = nearest(plan)
    text = refused_text(plan, [r.text for r in reasons])
    if found is None:
        raise InfeasibleError(f"{text}; it runs no layout of these GPUs that holds the model")
    if not take_nearest:
        raise InfeasibleError(f"{text}; the nearest that it can: {found.text}; --nearest launches that")
    typer.echo(f"moewright: {text}; launched is the nearest that it can: {found.text}", err=True)
    return found


def _case_of(given: dict[str, Any]) -> Case:
    """The case of a spec, of a plan's file, or of a model with options."""
    from moewright.case.options.from_options import case_from_options, is_spec, option_of, options_of
    from moewright.launch.read_launch import read_case

    options = options_of(given)
    if not is_spec(options.model):
        return case_from_options(options)
    for name in options.given:
        if name != "engine":
            what = f"is of a model named on the command line; {options.model[:80]} says it itself"
            raise SpecError(what, field=option_of(name))
    return read_case(Path(options.model))


def _matrix(case: Case, as_json: bool, tables: Path | None) -> None:
    from moewright.launch.matrix import matrix

    with progress(f"Planning {case.model.name}"):
        rows = matrix(case, tables=tables)
    if as_json:
        print_json([cell.to_dict() for row in rows for cell in row])
        return
    from moewright.report.launch_page import matrix_sections
    from moewright.report.terminal import show

    show(matrix_sections(case, rows))


def _write(found: Launch, folder: Path) -> None:
    """The files in ``folder``, which is made where it is not there. Raises SpecError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"cannot be made: {error.strerror}", file=str(folder), field="--output") from None
    for file in found.files:
        path = folder / file.path
        write_file(path, file.text)
        if file.path.endswith(".sh"):
            path.chmod(0o755)
    typer.echo(f"moewright: wrote {len(found.files)} files into {folder}", err=True)
