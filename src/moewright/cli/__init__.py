"""The command line: a file a verb, no logic. Everything else is imported when a verb runs."""

from __future__ import annotations

# ruff: noqa: I001
import os
import sys

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
    """``arguments`` with what ``audit --premises`` prints by where no file of premises follows it."""
    found = []
    for i, argument in enumerate(arguments):
        found.append(argument)
        following = arguments[i + 1 : i + 2]
        if argument == "--premises" and not (following and following[0].lower().endswith((".yaml", ".yml"))):
            found.append(PRINTED)
    return found


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        spell(stream)
    try:
        app(_bare(sys.argv[1:]))
    except MoewrightError as raised:
        from moewright.case.options.from_options import by_option

        error = by_option(raised) if isinstance(raised, SpecError) else raised
        line = " ".join(str(error).split())
        print(f"moewright: {line}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
