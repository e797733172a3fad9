"""Files that someone else wrote, read within bounds."""

from __future__ import annotations

import stat
from pathlib import Path

from moewright.errors import SpecError


def read_bounded(file: Path, most: int, expected: str, kind: str, *, plain: bool = False) -> bytes:
    """The bytes of ``file``. Raises SpecError for one that is missing, a folder where ``expected`` (a spec file) is
    wanted, unreadable, or of more than ``most`` bytes, which no ``kind`` (spec) has; with ``plain`` also for a device
    or a pipe, which might never end."""
    shown = str(file)[:200]
    try:
        if file.is_dir():
            raise SpecError(f"is a folder; expected {expected}", file=shown)
        if plain and not stat.S_ISREG(file.stat().st_mode):
            raise SpecError(f"is no plain file; expected {expected}", file=shown)
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except FileNotFoundError:
        raise SpecError("no such file", file=shown) from None
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=shown) from None
    if len(content) > most:
        size = f"{most >> 20} MiB" if most > 1 << 20 else f"{most >> 10} KiB"
        raise SpecError(f"is larger than {size}; no {kind} is", file=shown)
    return content


def decoded(content: bytes, file: Path) -> str:
    """``content`` as text in UTF-8. Raises SpecError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise SpecError(f"is not text in UTF-8: byte {error.start} is {byte:#04x}", file=str(file)[:200]) from None
