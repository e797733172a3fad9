"""Expert loads from a file: how many tokens each expert of each layer received."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from moewright.case.bounded_file import MOST_DATA, MOST_TEXT, check_plain
from moewright.case.loads.recordings import is_recording, read_torch, recorded_loads
from moewright.errors import SpecError

_KINDS: Final = (".npy", ".npz", ".csv", ".json", ".pt")
#: above this, sums of loads are not sure to be finite
_MOST_SUM: Final = 1e307
#: names that a message shows
_SHOWN: Final = 12


def number_table(values: Any) -> np.ndarray:
    """``values`` as float64; raises TypeError, ValueError or OverflowError for what is no table of real numbers."""
    table = np.asarray(values)
    kind = table.dtype.kind
    if kind not in "iuf" and not (kind == "O" and all(type(x) in (int, float) for x in table.ravel())):
        names = {"b": "true or false", "c": "complex numbers", "U": "text", "S": "text", "O": "other things"}
        raise TypeError(f"{names.get(kind, table.dtype.name)} instead of real numbers")
    return table.astype(float)


def sum_is_finite(loads: np.ndarray) -> bool:
    """Whether finite loads of at least 0 have sums that are surely finite too."""
    return bool(float(loads.max()) <= _MOST_SUM / loads.size)


def split_key(text: str, folder: Path = Path()) -> tuple[str, str | None]:
    """File and key of FILE or FILE:KEY, the file being in ``folder``."""
    if ":" not in text[2:] or (folder / text).exists():
        return text, None
    name, _, key = text.rpartition(":")
    return (name, key or None) if name else (text, None)


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
    most = MOST_TEXT if file.suffix.lower() in (".csv", ".json") else MOST_DATA
    check_plain(file, most, "a file of expert loads", "file of loads")
    try:
        loads = number_table(_read(file, key))
    except FileNotFoundError:
        raise SpecError("no such file", file=str(path)) from None
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        RecursionError,
        KeyError,
        OverflowError,
        MemoryError,
        csv.Error,
    ) as error:
        raise SpecError(f"holds no table of loads: {str(error)[:1000]}", file=str(path)) from None
    if not loads.ndim or not loads.size:
        raise SpecError(f"holds an array of shape {loads.shape}; expected [layers, experts]", file=str(path))
    bad = np.argwhere(~np.isfinite(loads) | (loads < 0))
    if len(bad):
        raise SpecError(f"{_told(loads, bad[0])}; expected finite, non-negative numbers", file=str(path))
    if not sum_is_finite(loads):
        raise SpecError(f"holds loads as large as {loads.max():g}, whose sum is beyond 1.8e308", file=str(path))
    while loads.ndim > (3 if windows else 2):
        loads = loads.sum(axis=0)
    if loads.ndim == 1:
        loads = loads[None, :]
    empty = np.flatnonzero(loads.sum(axis=-1) <= 0)
    if len(empty) and not idle:
        raise SpecError(f"holds only zeros in layer {int(empty[0]) % loads.shape[-2]}", file=str(path))
    return loads


def _told(loads: np.ndarray, at: np.ndarray) -> str:
    """The value of ``loads`` at the index ``at``, and where that is."""
    names = [f"window {at[-3]}"] if len(at) == 3 else [f"index {tuple(map(int, at[:-2]))}"] if len(at) > 3 else []
    names += [f"layer {at[-2]}"] if len(at) > 1 else []
    return f"holds {loads[tuple(at)]} for {', '.join([*names, f'expert {at[-1]}'])}"


def _read(file: Path, key: str | None) -> Any:
    kind = file.suffix.lower()
    if key is not None and kind not in (".npz", ".json"):
        raise ValueError(f"a {kind} file has no arrays by name; expected no {key[:40]!r} after a colon")
    if kind == ".pt":
        return recorded_loads(read_torch(file))
    if kind == ".csv":
        with file.open(newline="", encoding="utf-8") as stream:
            return [[float(cell) for cell in row] for row in csv.reader(stream) if row]
    if kind != ".json":
        return _numpy(file, key)
    content = json.loads(file.read_text(encoding="utf-8"))
    if key is None and is_recording(content):
        return recorded_loads(content)
    if isinstance(content, dict):
        return content[_one_of(list(content), key)]
    if key is not None:
        raise ValueError(f"it is a list without names; expected no {key[:40]!r} after a colon")
    return content


def _numpy(file: Path, key: str | None) -> np.ndarray:
    """The array of a .npy, or the one named ``key`` of a .npz; raises OSError, ValueError."""
    try:
        if file.suffix.lower() == ".npy":  # mapped: a header that promises more than the file has is refused
            return np.array(np.load(file, mmap_mode="r", allow_pickle=False))
        _check_archive(file)
        with np.load(file, allow_pickle=False) as archive:
            return np.asarray(archive[_one_of(archive.files, key)])
    except (OSError, ValueError):
        raise
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise ValueError(f"it is damaged: {str(error)[:200]}") from None


def _check_archive(file: Path) -> None:
    """Raises ValueError for an archive that unpacks to more than ``MOST_DATA``, or an array of it that promises more
    than it has."""
    with zipfile.ZipFile(file) as archive:
        if sum(m.file_size for m in archive.infolist()) > MOST_DATA:
            raise ValueError(f"it unpacks to more than {MOST_DATA >> 20} MiB")
        for member in archive.infolist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"its array {member.filename[:40]!r} has a shape of more numbers than it holds")


def _one_of(names: list[str], key: str | None) -> str:
    """``key``, or the only name; raises ValueError."""
    if key is None and len(names) == 1:
        return names[0]
    if key is not None and key in names:
        return key
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    wrong = "" if key is None else f"no array is named {key[:40]!r}; "
    raise ValueError(f"{wrong}name one of its {len(names)} arrays after a colon: {', '.join(names[:_SHOWN])}{more}")
