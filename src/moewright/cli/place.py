"""``moewright place``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import write_file
from moewright.errors import SpecError


class Shares(StrEnum):
    EQUAL = "equal"
    OPTIMAL = "optimal"


class Engine(StrEnum):
    MOEWRIGHT = "moewright"
    EPLB = "eplb"
    SGLANG = "sglang"
    TENSORRT_LLM = "tensorrt-llm"
    VLLM = "vllm"


@app.command()
def place(
    loads: Annotated[str, typer.Argument(metavar="LOADS[:KEY]", help="Expert loads: .npz, .npy, .csv or .json.")],
    slots: Annotated[int, typer.Option(help="Physical expert slots of a layer.")],
    gpus: Annotated[int, typer.Option(help="GPUs of a layer.")],
    nodes: Annotated[int, typer.Option(help="Nodes of equally many GPUs.")] = 1,
    groups: Annotated[int, typer.Option(help="Routing groups whose experts stay in a node (1: no limit).")] = 1,
    shares: Annotated[Shares, typer.Option(help="Tokens of an expert over its replicas.")] = Shares.EQUAL,
    previous: Annotated[Path | None, typer.Option(help="A placement file to start from.")] = None,
    moves: Annotated[int | None, typer.Option(min=0, help="Replicas a layer that may move (15 %).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    as_json: Json = False,
    output: Annotated[Path | None, typer.Option(help="A placement file to write.")] = None,
    form: Annotated[Engine, typer.Option("--format", help="Whose file --output writes.")] = Engine.MOEWRIGHT,
    first_layer: Annotated[int, typer.Option(min=0, help="Of the model, for tensorrt-llm.")] = 0,
) -> None:
    """Decide how many replicas each expert gets, and on which GPU each lives."""
    from moewright.place.files import engine_file, read_previous
    from moewright.place.solve import place as solve
    from moewright.spec.loads import read_loads

    name, _, key = loads.rpartition(":") if ":" in loads[2:] else (loads, "", "")
    table = read_loads(name or loads, key or None, idle=True)
    before = None if previous is None else read_previous(previous)
    try:
        found = solve(
            table,
            slots=slots,
            gpus=gpus,
            nodes=nodes,
            groups=groups,
            shares=str(shares),
            previous=before,
            moves=moves,
            seed=seed,
        )
    except SpecError as error:
        raise error.inside(str(previous) if error.field == "previous" else None) from None
    text = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
    if output is not None:
        write_file(output, text if form is Engine.MOEWRIGHT else engine_file(found, str(form), first_layer))
    if as_json:
        typer.echo(text, nl=False)
    elif output is None:
        from moewright.report.place import place_sections
        from moewright.report.terminal import show

        show(place_sections(found))
