"""Files that someone else wrote, read within bounds."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any, Final

from moewright.errors import SpecError

#: bytes of a file of data (loads, traces, results) that is read at most
MOST_DATA: Final = 1 << 28
#: the same of one in text, whose numbers take several times their characters in memory
MOST_TEXT: Final = 1 << 26


def read_bounded(file: Path, most: int, expected: str, kind: str) -> bytes:
    """The bytes of ``file``. Raises SpecError for one that is missing, a folder where ``expected`` (a spec file) is
    wanted, a device or a pipe, which might never end, unreadable, or of more than ``most`` bytes, which no ``kind``
    (spec) has."""
    check_plain(file, most, expected, kind)
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(error, file) from None
    if len(content) > most:
        raise _too_large(file, most, kind)
    return content


def check_plain(file: Path, most: int, expected: str, kind: str) -> None:
    """Raises SpecError where ``read_bounded`` would, without reading: for what another library reads itself."""
    try:
        found = file.stat()
    except FileNotFoundError:
        raise SpecError("no such file", file=str(file)[:200]) from None
    except (OSError, ValueError) as error:
        raise _unreadable(error, file) from None
    if stat.S_ISDIR(found.st_mode):
        raise SpecError(f"is a folder; expected {expected}", file=str(file)[:200])
    if not stat.S_ISREG(found.st_mode):
        raise SpecError(f"is no plain file; expected {expected}", file=str(file)[:200])
    if found.st_size > most:
        raise _too_large(file, most, kind)


def _unreadable(error: Exception, file: Path) -> SpecError:
    return SpecError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=str(file)[:200])


def _too_large(file: Path, most: int, kind: str) -> SpecError:
    size = f"{most >> 20} MiB" if most > 1 << 20 else f"{most >> 10} KiB"
    return SpecError(f"is larger than {size}; no {kind} is", file=str(file)[:200])


def read_table(file: Path, expected: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(columns, (line, fields) of each row) of a CSV table with a header. Raises SpecError."""
    text = decoded(read_bounded(file, MOST_TEXT >> 1, expected, "table"), file)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = list(reader.fieldnames or [])
        return columns, [(reader.line_num, {k: v or "" for k, v in row.items() if k}) for row in reader]
    except csv.Error as error:
        raise SpecError(f"is not a CSV table: {error}", file=str(file)[:200]) from None


def json_of(file: Path, most: int, expected: str, kind: str) -> Any:
    """What the JSON in ``file`` says. Raises SpecError."""
    text = decoded(read_bounded(file, most, expected, kind), file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"is not JSON: {reason}", file=str(file)[:200]) from None


def decoded(content: bytes, file: Path) -> str:
    """``content`` as text in UTF-8. Raises SpecError."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise SpecError(f"is not text in UTF-8: byte {error.start} is {byte:#04x}", file=str(file)[:200]) from None
