"""The command in this process: what it prints and how it ends, without another Python that starts for it."""

import contextlib
import io
import os
import sys
from subprocess import CompletedProcess
from unittest.mock import patch

from moewright.cli import main


def moewright(*arguments, cwd=".", **environment):
    """``moewright ARGUMENTS`` in the folder ``cwd``. Forks of it would have this process's threads: for ``run``, take
    a process of its own."""
    words = [str(a) for a in arguments]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status = 0
    with (
        contextlib.chdir(cwd),
        patch.dict(os.environ),
        patch.object(sys, "argv", ["moewright", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.environ.pop("COLUMNS", None)  # of this process's terminal
        os.environ.update(environment)
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return CompletedProcess(words, status, *said)
