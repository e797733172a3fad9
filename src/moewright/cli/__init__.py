"""The command line: a file a verb, no logic. Everything else is imported when a verb runs."""

from __future__ import annotations

# ruff: noqa: I001
import errno
import io
import os
import sys
from contextlib import suppress

# verbs join the app, and --help shows them, in this order
from moewright.cli import plan, serve, fit, launch, place, run, measure, audit, validate  # noqa: F401
from moewright.cli.engines import doctor, calibrate  # noqa: F401
from moewright.cli.spec import init  # noqa: F401
from moewright.cli.servers import ui  # noqa: F401
from moewright.cli import catalogue  # noqa: F401
from moewright.cli.servers import assistants  # noqa: F401
from moewright.cli.app import PRINTED, app
from moewright.cli.output import spell
from moewright.errors import MoewrightError, SpecError


def _bare(arguments: list[str]) -> list[str]:
    """``arguments`` with what ``audit --premises`` and ``--claims`` print by where no file follows them."""
    found = []
    for i, argument in enumerate(arguments):
        found.append(argument)
        following = arguments[i + 1 : i + 2]
        if argument in ("--premises", "--claims") and not (
            following and following[0].lower().endswith((".yaml", ".yml"))
        ):
            found.append(PRINTED)
    return found


class _Closed(io.TextIOBase):
    """Stands for a standard output that was closed before the start: whoever writes is told."""

    def write(self, _: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def main() -> None:
    """Run the command line; a user's mistake, or an output that takes no more, is one line on stderr and an exit
    status."""
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or _Closed()
    for stream in (sys.stdout, sys.stderr):
        spell(stream)
    status: int | str | None = 0
    try:
        try:
            app(_bare(sys.argv[1:]))
        except SystemExit as done:
            status = done.code
        sys.stdout.flush()
        sys.exit(status)
    except MoewrightError as raised:
        from moewright.case.options.from_options import by_option

        error = by_option(raised) if isinstance(raised, SpecError) else raised
        line = " ".join(str(error).split())
        print(f"moewright: {line}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        _silence()
        sys.exit(0)
    except OSError as error:  # files that are read and written have errors of their own; this is standard output
        where = f"{error.filename}: " if error.filename else "standard output: cannot be written: "
        _silence()
        with suppress(OSError):
            print(f"moewright: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(SpecError.exit_status)


def _silence() -> None:
    """What is still buffered goes nowhere, so that nothing fails again at the end."""
    if not isinstance(sys.stdout, _Closed):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
