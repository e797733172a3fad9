"""The command line: a file a verb, no logic. Everything else is imported when a verb runs."""

from __future__ import annotations

import os
import sys

# the order of the verbs in --help
from moewright.cli import plan, run, catalogue  # noqa: F401, I001
from moewright.cli.app import app
from moewright.errors import MoewrightError


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit status."""
    try:
        app()
    except MoewrightError as error:
        line = " ".join(str(error).split())
        print(f"moewright: {line}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
