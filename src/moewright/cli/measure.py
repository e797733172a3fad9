"""``moewright measure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import print_json, progress, write_file
from moewright.cli.run import Devices
from moewright.errors import SpecError

ENDINGS = (".yaml", ".yml", ".json")


@app.command()
def measure(
    source: Annotated[
        Path | None, typer.Argument(metavar="SPEC", help="Whose shapes to measure; none: a sweep.")
    ] = None,
    device: Annotated[
        Devices, typer.Option(help="auto: CUDA where there is one, for one rank or under torchrun.")
    ] = Devices.AUTO,
    ranks: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Processes that measure at once (default: the spec's, or 1).")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A .yaml or .json file (default: printed as YAML).")] = None,
    repetitions: Annotated[int, typer.Option(min=1, max=10_000, help="Of every point.")] = 15,
    warmup: Annotated[int, typer.Option(min=0, max=10_000, help="Calls before them that do not count.")] = 3,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until it is ended.")] = 3600.0,
    as_json: Json = False,
) -> None:
    """Measure this machine's operations, into a profile that a spec names: cluster: {profile: FILE}."""
    import json

    from moewright.case.file.load import load
    from moewright.run.run_error import RunError

    if output is not None and output.suffix.lower() not in ENDINGS:
        raise SpecError(
            f"got {output.name[:60]!r}; expected a file that ends in {', '.join(ENDINGS)}", field="--output"
        )
    case = load(source) if source is not None else None
    count = ranks or (case.cluster.gpus if case else 1)
    try:
        from moewright.run.bench.machine import Effort
        from moewright.run.bench.machine import measure as measured
    except ModuleNotFoundError as error:
        raise RunError(f"measure needs {error.name}: pip install 'moewright[run]'") from None
    with progress(f"Measuring on {count} ranks") as tick:
        profile = measured(case, count, str(device), Effort(warmup, repetitions), tick, timeout)
    if profile is None:  # a rank other than 0
        return
    if output is not None and output.suffix.lower() == ".json":
        text = json.dumps(profile, indent=1) + "\n"
    else:
        import yaml

        text = yaml.safe_dump(profile, sort_keys=False, default_flow_style=None, width=120)
    if output is not None:
        write_file(output, text)
    if as_json:
        print_json(profile)
    elif output is None:
        typer.echo(text, nl=False)
    else:
        points = sum(len(row["points"]) for row in profile["measured"])
        typer.echo(f"{points} points of {profile['machine']}, {count} ranks at once, in {output}")
