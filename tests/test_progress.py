"""A terminal is never left without a word: work that says no share pulses."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

from moewright.cli import output

ROOT = Path(__file__).parents[1]
SLOW = """
import sys, time
from moewright.cli import output
with output.progress("Thinking") as tell:
    time.sleep(1.6)
    if sys.argv[1] == "shares":
        tell(0.5); time.sleep(0.4)
print("done")
"""


def at_a_terminal(*arguments):
    """What a program prints at a terminal, and when its first output came."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", "COLUMNS": "80"}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text, first = b"", None
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break
        if not part:
            break
        first = first or time.monotonic() - start
        text += part
    os.close(ours)
    process.wait()
    return text.decode(errors="replace"), first


def test_work_without_a_share_pulses():
    text, first = at_a_terminal("-c", SLOW, "none")
    assert "Thinking" in text
    assert "done" in text
    assert first < 1.6 + 0.5


def test_quick_work_says_nothing(monkeypatch):
    bar = output._Bar("x")
    bar.tell(0.5)
    bar.end()
    assert bar.shown is None
    bar.begin()  # too late
    assert bar.shown is None
