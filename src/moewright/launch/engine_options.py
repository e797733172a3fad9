"""The options that an engine's own argument parser takes, by engine and version: ``options/NAME-VERSION.json``.

``python -m benchmarks.engines options`` makes the files again from the engines' wheels.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError

FOLDER = Path(__file__).parent / "options"
#: how files name an engine → how users do
_USER_NAMES = {"megatron-core": "megatron"}

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class EngineOption:
    """``names``: all spellings, the full one first (none of a positional argument); ``type``: the parser's own
    conversion (int, float, str, flag where no value follows, loads of JSON, …); ``nargs`` as argparse has it;
    ``default`` None also where the parser has none."""

    names: tuple[str, ...]
    dest: str
    type: str
    nargs: str | int | None = None
    choices: tuple[str, ...] | None = None
    default: Value | list[Value] = None


@dataclass(frozen=True, slots=True)
class OptionList:
    """All options of an engine's version, and where they were read. ``config_keys``: keys that its JSON-valued options
    take, by the record they fill; ``yaml``: paths of the YAML that TensorRT-LLM is started with, as options."""

    engine: str
    version: str
    source: str
    options: tuple[EngineOption, ...]
    config_keys: dict[str, tuple[str, ...]]
    yaml: tuple[EngineOption, ...] = ()

    @property
    def by_name(self) -> dict[str, EngineOption]:
        """Every spelling → its option."""
        return {name: option for option in self.options for name in option.names}


@cache
def _files() -> dict[tuple[str, str], Path]:
    """(engine, version) → file."""
    known = {}
    for path in sorted(FOLDER.glob("*.json")):
        match = re.fullmatch(r"(.+?)-(\d[\w.]*)", path.stem)
        if match:
            known[_USER_NAMES.get(match[1], match[1]), match[2]] = path
    return known


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def engine_versions(engine: str) -> tuple[str, ...]:
    """Versions of ``engine`` whose options are stored, the newest first."""
    return tuple(sorted((v for name, v in _files() if name == engine), key=_order, reverse=True))


@cache
def option_list(engine: str, version: str | None = None) -> OptionList:
    """The options of ``engine``; without a version of the newest that is stored. Raises SpecError for another."""
    versions = engine_versions(engine)
    if not versions:
        names = sorted({name for name, _ in _files()})
        raise SpecError(
            f"got {engine[:40]!r}; {did_you_mean(engine, names)}expected one of {', '.join(names)}", field="engine"
        )
    version = version or versions[0]
    if version not in versions:
        raise SpecError(
            f"got {version[:40]!r}; options of {engine} are known of {', '.join(versions)}", field="engine version"
        )
    plain = json.loads(_files()[engine, version].read_text(encoding="utf-8"))
    keys = {record: tuple(names) for record, names in plain.get("config_keys", {}).items()}
    options, yaml = (tuple(_option(row) for row in plain.get(part, ())) for part in ("options", "yaml"))
    return OptionList(engine, version, plain["source"], options, keys, yaml)


def _option(row: dict[str, Any]) -> EngineOption:
    choices = tuple(row["choices"]) if row.get("choices") else None
    return EngineOption(tuple(row["names"]), row["dest"], row["type"], row.get("nargs"), choices, row.get("default"))


def engine_options(engine: str, version: str | None = None) -> tuple[EngineOption, ...]:
    """Every option of ``engine``'s parser. Raises SpecError for an engine or version that is not stored."""
    return option_list(engine, version).options
