"""Rewrites the output that README.md and docs/*.md show: ``python docs/outputs.py``, or of some: ``… outputs.py fit``.

A block of output follows a comment that names its command, and, after a colon, the sections that are kept::

    <!-- moewright plan examples/paper.yaml: Alternatives, Conclusion -->

The head, up to the first empty line, is always kept, and ``head`` keeps no more. ``files node-0.sh, serve.yaml`` keeps
files that ``launch`` prints, and nothing else. ``tests/end_to_end/test_readme.py``
fails where a block is not what its command prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(
    r"(<!-- moewright (?P<command>[^>]*?)(?:: (?P<sections>[^>]*?))? -->\n```\n)(?P<shown>.*?)(?=```)", re.S
)


@cache
def printed(command: str) -> str:
    """What ``moewright COMMAND`` prints where there is no terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "moewright", *command.split()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "PYTHONPATH": "src"},
    )
    if done.returncode not in (0, 1):  # 1: an audit that found wrong claims
        raise RuntimeError(f"moewright {command}: {done.stderr}")
    return done.stdout.strip() + "\n"


def kept(output: str, sections: str | None) -> str:
    """The head of ``output`` and the named sections. Raises ValueError for a section that it lacks."""
    if sections is None:  # all of it
        return output
    if sections.startswith("files "):
        _, *cut = re.split(r"^==> (.*) <==\n", output, flags=re.M)
        files = dict(zip(cut[::2], cut[1::2], strict=True))
        return "\n\n".join(f"==> {n} <==\n{files[n].strip()}" for n in sections[6:].split(", ")) + "\n"
    head, *rest = output.strip().split("\n\n")
    chosen = [head]
    for name in sections.split(", ") if sections != "head" else ():
        found = [part for part in rest if re.match(rf"{re.escape(name)}( \(|\n|$)", part)]
        if not found:
            raise ValueError(f"no section {name!r}; sections are {', '.join(p.splitlines()[0] for p in rest)}")
        chosen += found[:1]
    return "\n\n".join(chosen) + "\n"


def rewritten(text: str, shown: Callable[[str], str] = printed) -> str:
    """``text`` with each block of output as its command gives it now."""
    return BLOCK.sub(lambda m: m[1] + kept(shown(m["command"]), m["sections"]), text)


def main(words: list[str]) -> None:
    """Rewrite every block, or those whose command has one of ``words`` in it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")

        def one(match: re.Match[str]) -> str:
            wanted = not words or any(word in match["command"] for word in words)
            return rewritten(match[0] + "```")[:-3] if wanted else match[0]

        page.write_text(BLOCK.sub(one, text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
