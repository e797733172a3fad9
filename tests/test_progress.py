"""A terminal is never left without a word: work that says no share pulses."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from moewright.cli import output

ROOT = Path(__file__).parents[1]
SLOW = """
import sys
from moewright.cli import output
with output.progress("Thinking"):
    sys.stdin.readline()  # until the reader has seen a word
print("done")
"""


def test_work_without_a_share_pulses():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", SLOW]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while b"Thinking" not in seen and select.select([ours], [], [], 120)[0]:
            seen += os.read(ours, 1 << 16)
        process.communicate(b"\n")
    assert b"Thinking" in seen
    assert process.returncode == 0
    os.close(ours)


def test_quick_work_says_nothing(monkeypatch):
    bar = output._Bar("x")
    bar.tell(0.5)
    bar.end()
    assert bar.shown is None
    bar.begin()  # too late
    assert bar.shown is None
