"""Checksums of weights' files, where they are known: a verification reads the same files on both sides, and does not
see what was changed in them.

Known are SHA-256 sums in a file of sums beside them (``SHA256SUMS``, ``sha256sum.txt``, ``checksums.txt``, or
``NAME.sha256``), those that the Hub's client keeps (``.cache/huggingface/download/NAME.metadata``, the second line of
files in LFS), and the names of files that the Hub's cache holds by their sum (``blobs/``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moewright.run.run_error import RunError

_SUM: Final = re.compile(r"[0-9a-f]{64}")
_LISTS: Final = ("SHA256SUMS", "sha256sum.txt", "sha256sums.txt", "SHA256SUMS.txt", "checksums.txt")
_LINE: Final = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(\S.*)")
#: bytes of a file of sums that are read
_MOST: Final = 1 << 20
_BLOCK: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Known:
    """A file's SHA-256, and where it stands."""

    digest: str
    told: str


def known_sums(files: list[Path]) -> dict[Path, Known]:
    """The sums that are known of ``files``, all of one folder."""
    found: dict[Path, Known] = {}
    if not files:
        return found
    folder = files[0].parent
    listed: dict[str, Known] = {}
    for name in (*_LISTS, *(f"{f.name}.sha256" for f in files)):
        for line in _text(folder / name).splitlines():
            match = _LINE.fullmatch(line.strip())
            if match:
                listed[match[2].strip()] = Known(match[1].lower(), name)
            elif name.endswith(".sha256") and _SUM.fullmatch(line.strip().lower()):
                listed[name.removesuffix(".sha256")] = Known(line.strip().lower(), name)
    for file in files:
        told = _text(folder / ".cache" / "huggingface" / "download" / f"{file.name}.metadata").split("\n")
        blob = file.resolve().name
        if file.name in listed:
            found[file] = listed[file.name]
        elif len(told) > 1 and _SUM.fullmatch(told[1].strip()):
            found[file] = Known(told[1].strip(), "the Hub's metadata")
        elif file.is_symlink() and _SUM.fullmatch(blob):
            found[file] = Known(blob, "the Hub's cache")
    return found


def check_sums(files: list[Path], tell: Callable[[float], None] = lambda share: None) -> str:
    """Read every file with a known sum and compare; what was compared, in words. Raises RunError for the first that
    differs."""
    known = known_sums(files)
    whole, read = sum(f.stat().st_size for f in known) or 1, 0
    for file, one in known.items():
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                read += len(block)
                tell(read / whole)
        if digest.hexdigest() != one.digest:
            raise RunError(
                f"{file}: is not what it was: its SHA-256 is {digest.hexdigest()[:16]}…, {one.told} says "
                f"{one.digest[:16]}…"
            )
    if not known:
        return "no checksum of its files is known: sizes are compared, and a changed value is not seen"
    rest = "" if len(known) == len(files) else f"; of {len(files) - len(known)} more none is known"
    count = f"{len(known)} file{'s' if len(known) > 1 else ''}"
    return f"SHA-256 of {count} compared with {', '.join(sorted({k.told for k in known.values()}))}{rest}"


def _text(file: Path) -> str:
    try:
        if not file.is_file() or file.stat().st_size > _MOST:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
