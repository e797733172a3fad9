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
from moewright.cli.output import made_by, progress, write_file
from moewright.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    from moewright.cli.placing.place_request import Placed, PlaceRequest
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
    VLLM_ASCEND = "vllm-ascend"
    HTML = "html"


@app.command()
def place(
    loads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LOADS[:KEY]...",
            help="Expert loads: .npz, .npy, .csv, .json, a recording .pt, or uniform, zipf:1.0, lognormal:1.0, "
            "dirichlet:0.3. Several recordings are windows, in order.",
        ),
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Physical expert slots of a layer.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of a layer.")] = None,
    nodes: Annotated[int, typer.Option(help="Nodes of equally many GPUs.")] = 1,
    groups: Annotated[int, typer.Option(help="Routing groups whose experts stay in a node (1: no limit).")] = 1,
    shares: Annotated[Shares, typer.Option(help="Tokens of an expert over its replicas.")] = Shares.EQUAL,
    previous: Annotated[
        Path | None, typer.Option(help="A placement file to start from, of moewright or of any engine.")
    ] = None,
    previous_gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs that --previous was made for, where the file does not tell.")
    ] = None,
    lost: Annotated[
        str | None,
        typer.Option(metavar="7,12", help="GPUs of --previous that are gone; others keep their experts."),
    ] = None,
    moves: Annotated[
        int | None, typer.Option(min=0, help="Replicas that may move in each layer (15 % of all).")
    ] = None,
    gain_at_least: Annotated[
        float | None,
        typer.Option(min=0, help="Keep --previous unless the largest loads fall by this part, such as 0.02."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Of the catalogue: its links price the move from --previous, with --model.")
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
    sweep: Annotated[
        str | None, typer.Option(metavar="slots=256..512", help="Balance and bytes by number of slots, in a table.")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="Of a GPU, for experts' weights: marks what fits, with --sweep and --model.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="A folder of recordings: write --output anew when new ones make it pay.")
    ] = None,
    every: Annotated[float | None, typer.Option(min=0.1, help="Seconds between looks at --watch (10).")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look at --watch once and end.")] = False,
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
    first_layer: Annotated[
        int | None, typer.Option(min=0, help="Of the model, for tensorrt-llm where no --model is named.")
    ] = None,
) -> None:
    """Decide how many replicas each expert gets, and on which GPU each lives."""
    from moewright.cli.placing.place_request import ByName, PlaceRequest, checked_sizes

    engine = form or _format_of(output)
    _needs("--slack", slack, affinity, "--affinity")
    _needs("--format", form, output, "--output")
    _needs("--first-layer", first_layer, engine is Engine.TENSORRT_LLM, "--format tensorrt-llm")
    for option, given in (("--moves", moves), ("--previous-gpus", previous_gpus), ("--lost", lost)):
        _needs(option, given, previous, "--previous")
    _needs("--gain-at-least", gain_at_least, previous or watch, "--previous or --watch")
    _needs("--cluster", cluster, model and (previous or watch), "--model, and --previous or --watch")
    _needs("--memory-limit", memory_limit, sweep and model, "--sweep and --model")
    _needs("--every", every, watch, "--watch")
    _needs("--once", once or None, watch, "--watch")
    number, wide = checked_sizes(slots, gpus, sweep)
    _needs("--width", width, number < wide, "fewer slots than GPUs, which it cuts experts for")
    names = ByName(layers, experts, correlation, seed)
    options = {"slots": number, "gpus": wide, "nodes": nodes, "groups": groups, "shares": str(shares), "seed": seed}
    options |= {"moves": moves, "traffic": traffic, "budget": budget, "seconds": seconds, "slack": slack or 0.01}
    request = PlaceRequest(options, model, previous, previous_gpus, lost, gain_at_least, cluster, affinity, names)
    if watch is not None:
        from moewright.cli.placing.place_watch import watch_folder

        _needs("--watch", watch, output, "--output")
        _refuse("--watch", loads or sweep, "LOADS or --sweep; the folder has the loads")
        write = Writer(engine, first_layer, output)
        watch_folder(watch, request, write, 10.0 if every is None else every, once)
        return
    if not loads:
        raise SpecError("is missing; expected a file of loads, or a name such as zipf:1.0", field="LOADS")
    table = request.read(loads)
    if sweep is not None:
        _refuse("--sweep", previous or output, "--previous or --output; it compares, and writes no placement")
        _swept(table, sweep, request, memory_limit, as_json)
        return
    with progress(f"Placing {table.shape[-2]} layers of {table.shape[-1]} experts"):
        found = request.placed(table)
    sliced = None if width is None else _slices(found.loads, number, wide, width)
    content = found.to_dict() | {"model": model, "width": width}
    content["slices"] = sliced and [{**s.to_dict(), "best": s is sliced[0]} for s in sliced]
    text = json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"
    if output is not None:
        Writer(engine, first_layer, output)(found, text, sliced, budget)
    if as_json:
        typer.echo(text, nl=False)
    elif output is None:
        _show(found, sliced, budget)


class Writer:
    """Writes placements to one file in one engine's format."""

    def __init__(self, engine: Engine, first_layer: int | None, output: Path | None) -> None:
        self.engine, self.first_layer, self.output = engine, first_layer, output

    def __call__(
        self, found: Placed, text: str = "", sliced: list[Sliced] | None = None, budget: int | None = None
    ) -> None:
        from moewright.placement.files.engine_files import engine_file

        p, output, engine = found.placement, self.output, self.engine
        assert output is not None
        if engine is Engine.HTML:
            write_file(output, _report(p, found.loads, budget, sliced))
            _tell(f"wrote {output}: a report")
            return
        own = engine is Engine.MOEWRIGHT
        content = text or json.dumps(found.to_dict() | {"model": found.model}, allow_nan=False) + "\n"
        if not own:
            content = engine_file(p, str(engine), self.first_layer, found.engine_layers())
        write_file(output, content)
        layers, gpus = p.gpu_load.shape
        _tell(f"wrote {output}: {layers} layers of {p.slots} slots on {gpus} GPUs, for {engine}")
        if engine is Engine.VLLM:
            _tell(f"{output}: vLLM up to 0.33 loads no placement file; this is what its open changes propose")
        if not own and found.shares == "optimal":
            _tell(f"{output}: the format of {engine} has no shares; its replicas get what the engine gives them")


def _swept(table: np.ndarray, text: str, request: PlaceRequest, limit: str | None, as_json: bool) -> None:
    """Print what each number of slots reaches."""
    from moewright.placement.slot_sweep import knee, sweep, swept_slots
    from moewright.report.place_page import sweep_sections
    from moewright.report.terminal import show

    room = None if limit is None else _bytes(limit)
    options = request.sized(table)
    numbers = swept_slots(text, options["gpus"], table.shape[-1])
    with progress(f"{len(numbers)} numbers of slots", not as_json) as told:
        points = sweep(table, numbers, options, lambda n: told((numbers.index(n) + 1) / len(numbers)))
    best = knee(points)
    if as_json:
        rows = [
            {**p.to_dict(), "knee": i == best, "fits": room is None or (p.bytes_per_gpu or 0) <= room}
            for i, p in enumerate(points)
        ]
        typer.echo(json.dumps({"sweep": rows, "memory_limit": room}, allow_nan=False))
    else:
        show(sweep_sections(points, best, room))


def _bytes(text: str) -> float:
    from moewright.units import parse

    try:
        return parse(text, "bytes")
    except ValueError as error:
        raise SpecError(str(error), field="--memory-limit") from None


def _show(found: Placed, sliced: list[Sliced] | None, budget: int | None) -> None:
    from moewright.report.place_page import place_sections, slice_sections
    from moewright.report.terminal import show

    p = found.placement
    show(place_sections(p, _reach(p, found.loads, budget), found.told()))
    if sliced is not None:
        typer.echo("")
        show(slice_sections(sliced, p.gpu_load.shape[1] // p.slots))


def _refuse(option: str, other: object, named: str) -> None:
    if other:
        raise SpecError(f"cannot go with {named}", field=option)


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
