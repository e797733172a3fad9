"""``moewright place --watch``: a folder of recordings, and a placement file that follows them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import typer

from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.cli.placing.place_request import Placed, PlaceRequest

#: endings of recordings
KINDS = (".npy", ".npz", ".csv", ".json", ".pt")
#: recordings that a placement is made of, the newest
NEWEST = 8


class Writes(Protocol):
    """What writes a placement to its file."""

    output: Path | None

    def __call__(self, found: Placed) -> None: ...


def watch_folder(folder: Path, request: PlaceRequest, write: Writes, every: float, once: bool) -> None:
    """Place the newest recordings of ``folder`` whenever there are new ones, and write the file where there is none or
    where the gain over it pays. Ends after one look with ``once``, else with Ctrl-C. Raises SpecError."""
    if not folder.is_dir():
        raise SpecError("is no folder", file=str(folder), field="--watch")
    seen: set[tuple[str, int, int]] = set()
    while True:
        now = _recordings(folder, write.output)
        if now and {key for key, _ in now} - seen:
            seen |= {key for key, _ in now}
            _follow([path for _, path in now][-NEWEST:], request, write)
        elif once:
            typer.echo(f"moewright: {folder} has no recording", err=True)
        if once:
            return
        try:
            time.sleep(every)
        except KeyboardInterrupt:
            return


def _recordings(folder: Path, output: Path | None) -> list[tuple[tuple[str, int, int], Path]]:
    """Recordings by age, with what tells a new one."""
    found = []
    for path in folder.iterdir():
        if path.suffix.lower() in KINDS and path.is_file() and (output is None or path.resolve() != output.resolve()):
            stat = path.stat()
            found.append(((path.name, stat.st_mtime_ns, stat.st_size), path))
    return sorted(found, key=lambda x: (x[0][1], x[0][0]))


def _follow(paths: list[Path], request: PlaceRequest, write: Writes) -> None:
    """Read, place, and write where it pays; what cannot be read is told and left out."""
    tables: list[np.ndarray] = []
    for path in paths:
        try:
            tables.append(request.read([str(path)]))
        except SpecError as error:
            typer.echo(f"moewright: left out: {error}", err=True)
    if not tables:
        return
    shape = tables[-1].shape[-2:]
    alike = [t if t.ndim == 3 else t[None] for t in tables if t.shape[-2:] == shape]
    if len(alike) < len(tables):
        typer.echo(f"moewright: left out {len(tables) - len(alike)} of other sizes than {shape}", err=True)
    table = np.concatenate(alike)
    assert write.output is not None
    exists = write.output.exists()
    known = replace(request, previous=write.output if exists else request.previous)
    if known.previous is None:
        known = replace(known, gain_at_least=None, cluster=None)
    found = known.placed(table if len(table) > 1 else table[0])
    told = "; ".join(f"{name.lower()} {text}" for name, text in found.told())
    typer.echo(f"moewright: {len(table)} windows: balance {found.placement.balancedness:.4f}; {told}", err=True)
    if not exists or not found.kept:
        write(found)
