"""The command line in this process."""

import contextlib
import io
import sys
from dataclasses import dataclass

from moewright.cli import main


@dataclass
class Result:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self):
        return self.stdout + self.stderr


def invoke(arguments):
    """``moewright`` with ``arguments``."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["moewright", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
    return Result(code or 0, out.getvalue(), err.getvalue())
