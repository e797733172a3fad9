"""When an engine's options came and went: ``history/NAME.yaml``, read off its published versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from moewright.serving.engines.memory_rule import numbers

FOLDER = Path(__file__).parent / "history"


@dataclass(frozen=True, slots=True)
class GoneOption:
    """An option that the newest version does not have: the first and the last version read that has it, and whether a
    value follows (flag, value, list, optional)."""

    name: str
    first: str
    last: str
    follows: str


@dataclass(frozen=True, slots=True)
class OptionHistory:
    """``newest``: the version whose options are stored whole; ``since``: option → the newest version that lacked it."""

    newest: str = ""
    gone: dict[str, GoneOption] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)

    def too_old(self, name: str, version: str) -> bool:
        """Whether ``version`` is known not to have the option yet."""
        return name in self.since and numbers(version) <= numbers(self.since[name])

    def too_new(self, name: str, version: str) -> bool:
        """Whether ``version`` is known not to have the option any more (between two versions read: not known)."""
        return name in self.gone and numbers(version) >= numbers(self.newest)


@cache
def option_history(engine: str) -> OptionHistory:
    """The history of an engine's options; empty where none was read."""
    file = FOLDER / f"{engine}.yaml"
    if not file.is_file():
        return OptionHistory()
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    gone = {name: GoneOption(name, *map(str, row)) for name, row in raw["gone"].items()}
    since = {name: str(version) for version, names in raw["since"].items() for name in names}
    return OptionHistory(str(raw["newest"]), gone, since)
