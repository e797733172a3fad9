"""The headers of safetensors files and the index over them, read as what somebody else wrote.

The format: 8 bytes of the header's length, the header in JSON, then the tensors' bytes without a gap
(github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moewright.case.bounded_file import check_plain
from moewright.errors import SpecError
from moewright.run.run_error import RunError

#: bytes of a header at most, as the library that writes them has it, and of an index
MOST_HEADER: Final = 100_000_000
MOST_INDEX: Final = 64 << 20
#: bytes of a file that is opened at all
MOST_FILE: Final = 1 << 42
INDEX: Final = "model.safetensors.index.json"
#: format → bits of a number
_BITS: Final = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor as a file's header tells it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return -(-math.prod(self.shape) * _BITS[self.dtype] // 8)


def read_entries(folder: Path) -> dict[str, Entry]:
    """Every tensor of a folder. Raises RunError for files that are missing, truncated or not safetensors, an index
    that is none, or that names tensors which its files lack, or another number of bytes than they have."""
    index = folder / INDEX
    named = _index(index) if index.exists() else None
    files = (
        sorted(folder.glob("*.safetensors")) if named is None else [folder / n for n in sorted(set(named[0].values()))]
    )
    entries: dict[str, Entry] = {}
    for file in files:
        if named is not None and not file.is_file():
            raise RunError(f"{file}: no such file; {INDEX} names it")
        for name, entry in _header(file).items():
            if name in entries:
                raise RunError(f"{file}: has {name[:80]}, which {entries[name].file.name} has too")
            entries[name] = entry
    if named is not None:
        _compare(index, named, entries)
    return entries


def _compare(index: Path, named: tuple[dict[str, str], int | None], entries: dict[str, Entry]) -> None:
    places, total = named
    for name, place in places.items():
        if name not in entries or entries[name].file.name != place:
            raise RunError(f"{index}: says that {name[:80]} is in {place}, which has no such tensor")
    held = sum(entries[name].size for name in places)
    if total is not None and total != held:
        raise RunError(f"{index}: metadata.total_size: got {total}; its tensors have {held} bytes in their files")


def _index(file: Path) -> tuple[dict[str, str], int | None]:
    """(tensor → name of its file, bytes of all). Raises RunError."""
    content = _json(file, _bytes(file, MOST_INDEX, "an index of weights"))
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise RunError(f"{file}: is not an index of weights: it has no weight_map")
    for name, place in places.items():
        good = isinstance(place, str) and place.endswith(".safetensors") and len(place) <= 200
        if not good or any(c in place for c in "/\\\0") or place.startswith("."):
            raise RunError(
                f"{file}: weight_map: {name[:80]}: got {str(place)[:60]!r}; expected a .safetensors file here"
            )
    metadata = content.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    if total is not None and (isinstance(total, bool) or not isinstance(total, int) or total < 0):
        raise RunError(f"{file}: metadata.total_size: got {str(total)[:40]}; expected a number of bytes")
    return places, total


def _bytes(file: Path, most: int, expected: str) -> bytes:
    try:
        check_plain(file, most, expected, "index")
        return file.read_bytes()
    except SpecError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from None


def _json(file: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file}: is not JSON: {' '.join(str(error).split())[:120]}") from None


def _header(file: Path) -> dict[str, Entry]:
    """The tensors that a file says it holds. Raises RunError where it is shorter than that."""
    try:
        check_plain(file, MOST_FILE, "a safetensors file", "safetensors file")
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                raise RunError(f"{file}: is truncated: {size} bytes, too few for its header")
            if length > MOST_HEADER:
                raise RunError(f"{file}: is not a safetensors file: a header of {length} bytes")
            raw = stream.read(length)
    except SpecError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from None
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise RunError(f"{file}: is not a safetensors file") from None
    if not isinstance(header, dict):
        raise RunError(f"{file}: is not a safetensors file")
    header.pop("__metadata__", None)
    found, spans = {}, []
    for name, told in header.items():
        found[name], span = _entry(file, name, told)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise RunError(f"{file}: is not a safetensors file: its tensors overlap or leave a gap at byte {end}")
        end = stop
    if size - 8 - length < end:
        raise RunError(f"{file}: is truncated: {size} bytes, its header promises {8 + length + end}")
    return found


def _entry(file: Path, name: str, told: Any) -> tuple[Entry, tuple[int, int]]:
    """A tensor and its (start, end). Raises RunError."""

    def wrong(what: str) -> RunError:
        return RunError(f"{file}: is not a safetensors file: {name[:80]!r} {what}")

    if not isinstance(told, dict):
        raise wrong("has no description")
    dtype, shape, span = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise wrong(f"has the format {str(dtype)[:40]!r}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(_count(n) for n in shape):
        raise wrong(f"has the shape {str(shape)[:60]}")
    if not isinstance(span, list) or len(span) != 2 or not all(_count(n) for n in span):
        raise wrong(f"has the offsets {str(span)[:60]}")
    entry = Entry(file, dtype, tuple(shape))
    if span[1] - span[0] != entry.size:
        raise wrong(f"has {span[1] - span[0]} bytes, and a shape of {entry.size}")
    return entry, (span[0], span[1])


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48
