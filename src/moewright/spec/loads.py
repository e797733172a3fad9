"""Expert loads from a file: how many tokens each expert of each layer received."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from moewright.errors import SpecError
from moewright.spec.recordings import is_recording, read_torch, recorded_loads

_KINDS: Final = (".npy", ".npz", ".csv", ".json", ".pt")
_MOST_BYTES: Final = 1 << 28


def read_loads(path: str | Path, key: str | None = None, idle: bool = False, windows: bool = False) -> np.ndarray:
    """Loads of shape [layers, experts], as float64, of any scale; a single row serves all layers. A .npz
    (or a JSON object) of several arrays needs ``key``; more than two dimensions are summed over the first, but
    for the windows of [windows, layers, experts] where ``windows``. A .pt file is a recording of an engine
    (``recordings.py``).

    Raises SpecError for a file that cannot be read, and for loads that are negative, not finite, or all 0
    in a layer (unless ``idle``).
    """
    file = Path(path)
    if file.suffix.lower() not in _KINDS:
        raise SpecError(f"ends in {file.suffix or 'nothing'!r}; expected loads in {', '.join(_KINDS)}", file=str(path))
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SpecError(f"is larger than {_MOST_BYTES >> 20} MiB", file=str(path))
        loads = np.asarray(_read(file, key), dtype=float)
    except FileNotFoundError:
        raise SpecError("no such file", file=str(path)) from None
    except (OSError, ValueError, TypeError, EOFError, RecursionError, KeyError) as error:
        raise SpecError(f"holds no table of loads: {str(error)[:200]}", file=str(path)) from None
    while loads.ndim > (3 if windows else 2):
        loads = loads.sum(axis=0)
    if loads.ndim == 1:
        loads = loads[None, :]
    if loads.ndim not in (2, 3) or not loads.size:
        raise SpecError(f"holds an array of shape {loads.shape}; expected [layers, experts]", file=str(path))
    if not np.isfinite(loads).all() or (loads < 0).any():
        raise SpecError("holds loads that are negative or not finite", file=str(path))
    empty = np.flatnonzero(loads.sum(axis=-1) <= 0)
    if len(empty) and not idle:
        raise SpecError(f"holds only zeros in layer {int(empty[0]) % loads.shape[-2]}", file=str(path))
    return loads


def _read(file: Path, key: str | None) -> Any:
    kind = file.suffix.lower()
    if kind == ".pt":
        return recorded_loads(read_torch(file))
    if kind == ".csv":
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.reader(stream) if row]
        return [[float(cell) for cell in row] for row in rows]
    if kind == ".npy":
        return np.load(file, allow_pickle=False)
    content: Any
    if kind == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
    else:
        content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return content
    if key is None and is_recording(content):
        return recorded_loads(content)
    if key is None and len(content) == 1:
        key = next(iter(content))
    if key is None or key not in content:
        raise ValueError(f"name one of its arrays after a colon: {', '.join(map(str, list(content)[:12]))}")
    return content[key]
