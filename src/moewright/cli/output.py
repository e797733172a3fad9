"""How a verb writes: formats, files whole or not at all, progress on a terminal."""

from __future__ import annotations

import codecs
import json
import os
import shlex
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.report.blocks import Section
    from moewright.report.html.report_record import Report


#: what stands for characters that a stream's encoding lacks; for any other, a question mark
_SPELT = {"·": ".", "×": "x", "–": "-", "—": "-", "…": "...", "≥": ">=", "≤": "<=", "μ": "u", "−": "-", "→": "->"}
_SPELT |= {"░": ".", "▒": ":", "▓": "*", "█": "#", "─": "-", "Σ": "sum", "÷": "/", "’": "'"}


def _spelt(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SPELT.get(c, "?") for c in error.object[error.start : error.end]), error.end


def spell(stream: Any) -> None:
    """Let ``stream`` spell what its encoding lacks (an ASCII terminal or pipe) where it would raise."""
    codecs.register_error("moewright", _spelt)
    with suppress(AttributeError, ValueError):
        if stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="moewright")


class Format(StrEnum):
    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"
    HTML = "html"


FormatOption = Annotated[Format | None, typer.Option("--format", help="How the report is written.")]
OutputOption = Annotated[
    Path | None, typer.Option(help="Write there instead: a report (.html), .md, .json, or text (.txt).")
]

#: the format that a file's ending asks for
ENDINGS = {
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".md": Format.MARKDOWN,
    ".json": Format.JSON,
    ".txt": Format.TERMINAL,
}


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def format_of(as_json: bool, form: Format | None, output: Path | None) -> Format:
    """The format asked for; a file's ending tells it where nothing else does. Raises SpecError for an ending that no
    format has."""
    if as_json and form not in (None, Format.JSON):
        raise SpecError(f"contradicts --format {form}", field="--json")
    if as_json or form:
        return Format.JSON if as_json else form or Format.TERMINAL
    if output is None:
        return Format.TERMINAL
    found = ENDINGS.get(output.suffix.lower())
    if found is None and (output.is_file() or not output.exists()):  # a pipe or a device gets what a terminal does
        known = ", ".join(e for e in ENDINGS if e != ".htm")
        shown = repr(output.suffix) if output.suffix else "nothing"
        raise SpecError(f"ends in {shown}; expected one of {known}, or --format", file=str(output), field="--output")
    return found or Format.TERMINAL


def deliver(
    kind: Format,
    output: Path | None,
    plain: Callable[[], Any],
    sections: Callable[[], list[Section]],
    report: Callable[[], Report],
) -> None:
    """Print a result, or write it to ``output``, in the format ``kind``; only what that needs is made."""
    if kind is Format.JSON:
        write(json.dumps(plain(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", output)
    elif kind is Format.HTML:
        from moewright.report.html.render_report import render_html

        write(render_html(report(), made_by()), output)
    elif kind is Format.MARKDOWN:
        from moewright.report.markdown import render

        write(render(sections()), output)
    elif output is None:
        write(sections(), None)
    else:
        import io

        from moewright.report.terminal import show

        stream = io.StringIO()
        show(sections(), stream)
        write(stream.getvalue(), output)


def made_by() -> str:
    """This process's command, for a shell."""
    return shlex.join(["moewright", *sys.argv[1:]])


def one_of_tables(tables: Path | None, no_tables: bool) -> None:
    """Raises SpecError where measured kernel tables are both given and not wanted."""
    if tables is not None and no_tables:
        raise SpecError("contradicts --no-tables; give one of the two", field="--tables")


def write(content: str | list[Section], output: Path | None) -> None:
    if isinstance(content, list):
        from moewright.report.terminal import show

        show(content)
    elif output is None:
        sys.stdout.write(content)
    else:
        write_file(output, content)


def write_file(path: Path, content: str, option: str = "--output") -> None:
    """Write ``path`` whole or not at all: a temporary file beside it, then a rename; into what is no file (a pipe, a
    device) as it is, and behind a link the file that it names. Raises SpecError."""
    temporary = None
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_text(content, encoding="utf-8")
            return
        path = path.resolve() if path.is_symlink() else path
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
        raise SpecError(f"cannot be written: {error.strerror or error}", file=str(path), field=option) from None


#: seconds of work after which a terminal is told of it
_QUIET = 0.7


class _Bar:
    """A bar on standard error that begins after ``_QUIET`` seconds, whether or not a share is known by then: without
    one it pulses, with the seconds that have passed."""

    def __init__(self, what: str) -> None:
        self.what, self.share = what, 0.0
        self.lock, self.ended = threading.Lock(), False
        self.shown: tuple[Any, Any] | None = None
        self.timer = threading.Timer(_QUIET, self.begin)
        self.timer.daemon = True
        self.timer.start()

    def begin(self) -> None:
        with self.lock:
            if self.ended or self.shown is not None:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.shown = bar, bar.add_task(self.what, total=None)
            bar.start()
        if self.share:
            self.tell(self.share)

    def tell(self, share: float) -> None:
        self.share = share
        if self.shown is not None:
            bar, task = self.shown
            bar.update(task, total=1.0, completed=share)

    def end(self) -> None:
        self.timer.cancel()
        with self.lock:
            self.ended = True
            if self.shown is not None:
                self.shown[0].stop()


@contextmanager
def progress(what: str, wanted: bool = True) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal, once the work has taken ``_QUIET`` seconds; nothing in a pipe."""
    if not (wanted and sys.stderr.isatty() and sys.stdout.isatty()):
        yield lambda share: None
        return
    bar = _Bar(what)
    try:
        yield bar.tell
    finally:
        bar.end()
