"""The options of an argparse parser as ``launch/options/*.json`` has them; runs in an engine's environment."""

from __future__ import annotations

import argparse
from typing import Any


def options(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """A row an option: names (full ones first), dest, type, and where there are any nargs, choices, default."""
    rows = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        names = sorted(action.option_strings, key=lambda n: not n.startswith("--"))
        row: dict[str, Any] = {"names": names, "dest": action.dest, "type": kind(action)}
        if action.nargs not in (None, 0):
            row["nargs"] = action.nargs
        if action.choices is not None and row["type"] != "flag":
            row["choices"] = [str(c) for c in action.choices]
            if isinstance(action.choices, (set, frozenset)):
                row["choices"].sort()
        if action.default not in (None, argparse.SUPPRESS):
            plain = isinstance(action.default, (bool, int, float, str))
            row["default"] = action.default if plain else str(action.default)
            if len(str(row["default"])) > 60:
                row["default"] = "…"  # a record of its own
        rows.append(row)
    return rows


def kind(action: argparse.Action) -> str:
    """``flag`` where no value follows, else the name of what converts it."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return "flag"
    return getattr(action.type, "__name__", "str") if action.type is not None else "str"
