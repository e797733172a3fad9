"""``moewright place``."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import made_by, write_file
from moewright.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    from moewright.placement.expert_placement import ExpertPlacement
    from moewright.placement.slices import Sliced


class Shares(StrEnum):
    EQUAL = "equal"
    OPTIMAL = "optimal"


class Engine(StrEnum):
    MOEWRIGHT = "moewright"
    EPLB = "eplb"
    SGLANG = "sglang"
    TENSORRT_LLM = "tensorrt-llm"
    VLLM = "vllm"
    HTML = "html"


@app.command()
def place(
    loads: Annotated[
        str,
        typer.Argument(
            metavar="LOADS[:KEY]",
            help="Expert loads: .npz, .npy, .csv, .json, a recording .pt, or uniform, zipf:1.0, lognormal:1.0, "
            "dirichlet:0.3.",
        ),
    ],
    slots: Annotated[int, typer.Option(help="Physical expert slots of a layer.")],
    gpus: Annotated[int, typer.Option(help="GPUs of a layer.")],
    nodes: Annotated[int, typer.Option(help="Nodes of equally many GPUs.")] = 1,
    groups: Annotated[int, typer.Option(help="Routing groups whose experts stay in a node (1: no limit).")] = 1,
    shares: Annotated[Shares, typer.Option(help="Tokens of an expert over its replicas.")] = Shares.EQUAL,
    previous: Annotated[Path | None, typer.Option(help="A placement file to start from.")] = None,
    moves: Annotated[
        int | None, typer.Option(min=0, help="Replicas that may move in each layer (15 % of all).")
    ] = None,
    traffic: Annotated[
        float | None, typer.Option(min=0, help="Weight of copies between nodes beside balance, with --groups.")
    ] = None,
    affinity: Annotated[
        str | None,
        typer.Option(metavar="FILE[:KEY]", help="Counts of tokens that chose two experts, put close together."),
    ] = None,
    slack: Annotated[
        float | None, typer.Option(min=0, help="Part the largest load may grow by, for --affinity (0.01).")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(min=0, help="Slots over all layers beyond --slots, a multiple of the GPUs, where they help most."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of the catalogue: bytes of an expert and of a token.")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Of an expert: compare slices, where slots are fewer than GPUs.")
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Of loads by name (1).")] = None,
    experts: Annotated[int | None, typer.Option(min=1, help="Of loads by name (256).")] = None,
    correlation: Annotated[
        float | None, typer.Option(help="Of each layer with the one before, loads by name (0).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search, and of loads by name.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="The search goes on so long while it finds, and no longer.")
    ] = None,
    as_json: Json = False,
    output: Annotated[Path | None, typer.Option(help="A placement file to write, or a report (.html).")] = None,
    form: Annotated[
        Engine | None, typer.Option("--format", help="Whose file --output writes (moewright), or html: a report.")
    ] = None,
    first_layer: Annotated[int | None, typer.Option(min=0, help="Of the model, for tensorrt-llm (0).")] = None,
) -> None:
    """Decide how many replicas each expert gets, and on which GPU each lives."""
    from moewright.placement.engine_files import engine_file, model_sizes, read_previous
    from moewright.placement.search.solve import place as solve

    engine = form or _format_of(output)
    _needs("--slack", slack, affinity, "--affinity")
    _needs("--format", form, output, "--output")
    _needs("--first-layer", first_layer, engine is Engine.TENSORRT_LLM, "--format tensorrt-llm")
    _needs("--width", width, slots < gpus, "fewer slots than GPUs, which it cuts experts for")
    _needs("--moves", moves, previous, "--previous")
    table = _loads(loads, layers, experts, correlation, seed)
    before = None if previous is None else read_previous(previous)
    sizes = {} if model is None else model_sizes(model, table.shape)
    together = None if affinity is None else _read(affinity)
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
            traffic=traffic,
            affinity=together,
            slack=0.01 if slack is None else slack,
            budget=budget,
            seed=seed,
            seconds=seconds,
            **sizes,
        )
    except SpecError as error:
        files = {"previous": previous, "affinity": affinity}
        raise error.inside(str(files[error.field]) if error.field in files else None) from None
    total = table.sum(axis=0) if table.ndim == 3 else table
    sliced = None if width is None else _slices(total, slots, gpus, width)
    content = found.to_dict() | {"model": model, "width": width}
    content["slices"] = sliced and [{**s.to_dict(), "best": s is sliced[0]} for s in sliced]
    text = json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"
    if engine is Engine.HTML and output is not None:
        write_file(output, _report(found, total, budget, sliced))
        _tell(f"wrote {output}: a report")
    elif output is not None:
        own = engine is Engine.MOEWRIGHT
        write_file(output, text if own else engine_file(found, str(engine), first_layer or 0))
        _tell(f"wrote {output}: {total.shape[0]} layers of {slots} slots on {gpus} GPUs, for {engine}")
        if not own and shares is Shares.OPTIMAL:
            _tell(f"{output}: the format of {engine} has no shares; its replicas get what the engine gives them")
    if as_json:
        typer.echo(text, nl=False)
    elif output is None:
        from moewright.report.place_page import place_sections, slice_sections
        from moewright.report.terminal import show

        show(place_sections(found, _reach(found, total, budget)))
        if sliced is not None:
            typer.echo("")
            show(slice_sections(sliced, gpus // slots))


def _format_of(output: Path | None) -> Engine:
    return Engine.HTML if output is not None and output.suffix.lower() in (".html", ".htm") else Engine.MOEWRIGHT


def _reach(found: ExpertPlacement, loads: np.ndarray, budget: int | None) -> int | None:
    """Slots from which on 0.95 is within reach, where it is not yet."""
    from moewright.placement.expert_placement import slots_for

    return slots_for(loads, found.gpu_load.shape[1], 0.95) if found.bound < 0.95 and budget is None else None


def _report(found: ExpertPlacement, loads: np.ndarray, budget: int | None, sliced: list[Sliced] | None) -> str:
    """The placement as HTML."""
    from moewright.report.html.placement_report import placement_report
    from moewright.report.html.render_report import render_html
    from moewright.report.place_page import slice_sections

    more = [] if sliced is None else slice_sections(sliced, found.gpu_load.shape[1] // found.slots)
    command = shlex.join(
        ["moewright", *_without_output(sys.argv[1:]), "--format", "vllm", "--output", "placement.json"]
    )
    return render_html(placement_report(found, _reach(found, loads, budget), more, command), made_by())


def _without_output(words: list[str]) -> list[str]:
    """``words`` of a command line without --output and --format."""
    kept, at = [], 0
    while at < len(words):
        name = words[at].partition("=")[0]
        if name in ("--output", "--format"):
            at += 1 if "=" in words[at] else 2
            continue
        kept.append(words[at])
        at += 1
    return kept


def _needs(option: str, given: object, other: object, name: str) -> None:
    """Refuse ``option`` where what it needs, ``other``, is not there either."""
    if given is not None and (other is None or other is False):
        raise SpecError(f"does nothing without {name}", field=option)


def _tell(line: str) -> None:
    typer.echo(f"moewright: {line}", err=True)


def _slices(loads: np.ndarray, slots: int, gpus: int, width: int) -> list[Sliced]:
    from moewright.placement.slices import place_slices

    return place_slices(loads, slots=slots, gpus=gpus, width=width)


def _loads(text: str, layers: int | None, experts: int | None, correlation: float | None, seed: int) -> np.ndarray:
    from moewright.case.loads.synthetic import is_synthetic, synthetic_loads

    if is_synthetic(text) and not Path(text).exists():
        return synthetic_loads(text, layers or 1, experts or 256, correlation or 0.0, seed)
    for option, value in (("--layers", layers), ("--experts", experts), ("--correlation", correlation)):
        _needs(option, value, None, "loads by name; a file has its own")
    return _read(text)


def _read(text: str) -> np.ndarray:
    """The table of ``text``, FILE or FILE:KEY."""
    from moewright.case.loads.read_loads import read_loads, split_key

    return read_loads(*split_key(text), idle=True, windows=True)
