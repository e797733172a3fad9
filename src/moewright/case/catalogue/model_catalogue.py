"""The models that ship with moewright, by their common names.

Each is a file of ``catalogue/models``: its names in one line, its source, and the fields of its config.json
that ``huggingface`` reads. A look-up reads the names of all, and one file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.case.huggingface.config import Reading, reading_of_fields
from moewright.case.model import ModelSpec
from moewright.case.spelling import known_or_near, near_names
from moewright.errors import SpecError

FOLDER: Final = Path(__file__).parent / "models"

#: endings of names that leave the sizes as they are, and, but for the first, the formats too
_REASONING: Final = "thinking"
_VARIANTS: Final = {_REASONING, "instruct", "base", "chat", "it", "exp", "hf", "preview"}
_DATED: Final = re.compile(r"\d{4}|v\d(\.\d)?")


@cache
def _files() -> dict[str, tuple[str, ...]]:
    """Name of each model, in order, with its other names."""
    found = {}
    for file in sorted(FOLDER.glob("*.yaml")):
        with file.open(encoding="utf-8") as stream:
            line = next(line for line in stream if line.startswith("names:"))
            first, *others = yaml.load(line, Loader=_loader())["names"]
        found[str(first)] = tuple(map(str, others))
    return found


def model_names() -> list[str]:
    """The names of the models in the catalogue."""
    return list(_files())


def other_names(name: str) -> tuple[str, ...]:
    """The other names of the catalogue's model ``name``."""
    return _files()[name]


@cache
def all_names() -> dict[str, str]:
    """Every name as it is compared → the catalogue's."""
    return {_plain(alias): name for name, others in _files().items() for alias in (name, *others)}


def find_name(name: str) -> str | None:
    """The catalogue's name for ``name``, whatever its case, spaces for hyphens; None if it has none."""
    return all_names().get(_plain(name[:200]))


def find_alias(name: str) -> str | None:
    """The same, and for names that cannot be another checkpoint's: of the organisation that published the model, and
    a variant of the same sizes and formats (Instruct, 2507); None for any other."""
    plain = _plain(name[:200])
    organisation, _, bare = plain.rpartition("/")
    found = _without_variants(bare, _VARIANTS - {_REASONING})
    if found is None or (organisation and organisation != _organisation(found)):
        return None
    return found


def find_model(name: str) -> str | None:
    """The catalogue's model of the same sizes as ``name``, whose formats may be others: with or without any
    organisation and a variant (Instruct, Thinking, 2507); None if the catalogue has none."""
    plain = _plain(name[:200])
    return _without_variants(plain, _VARIANTS) or _without_variants(plain.rpartition("/")[2], _VARIANTS)


def _without_variants(plain: str, variants: set[str]) -> str | None:
    parts = plain.split("-")
    while parts:
        found = all_names().get("-".join(parts))
        if found or not (parts[-1] in variants or _DATED.fullmatch(parts[-1])):
            return found
        parts.pop()
    return None


def load_model(name: str) -> ModelSpec:
    """The model of that name; a SpecError that tells the nearest names if there is none."""
    found = find_name(name) or find_alias(name)
    if found is None:
        near = list(dict.fromkeys(all_names()[n] for n in near_names(_plain(name[:100]), all_names(), 4, 0.5)))
        hint = f"did you mean {', '.join(near)}" if near else f"{known_or_near('', model_names())} (moewright models)"
        raise SpecError(f"no model named {name[:60]!r} in the catalogue; {hint}", field="model")
    return catalogue_reading(found).model


@cache
def catalogue_reading(name: str) -> Reading:
    """The catalogue's model ``name``, and how its config was read; one reading of each, which nobody changes."""
    entry = _entry(name)
    reading = reading_of_fields(entry["config"], name, f"{name.lower()}.yaml")
    return replace(reading, model=replace(reading.model, source=str(entry["source"])))


def _organisation(name: str) -> str:
    return str(_entry(name)["source"]).removeprefix("https://huggingface.co/").partition("/")[0].lower()


@cache
def _entry(name: str) -> dict[str, Any]:
    file = FOLDER / f"{name.lower()}.yaml"
    entry: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=_loader())
    return entry


def _loader() -> type:
    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader


def _plain(name: str) -> str:
    return "-".join(name.lower().replace("×", "x").replace("_", " ").replace("-", " ").split())
