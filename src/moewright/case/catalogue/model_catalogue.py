"""The models that ship with moewright, by their common names.

Each is a file of ``catalogue/models``: names, source, and the fields of its config.json that ``huggingface``
reads. The index below is kept here so that a look-up opens one file only.
"""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.case.huggingface.config import from_config
from moewright.case.model import ModelSpec
from moewright.errors import SpecError

_FOLDER: Final = Path(__file__).parent / "models"

#: name → its other names; the file is the name in lower case
_INDEX: Final[dict[str, tuple[str, ...]]] = {
    "Mixtral-8x7B": ("Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1"),
    "Mixtral-8x22B": ("Mixtral-8x22B-v0.1", "Mixtral-8x22B-Instruct-v0.1"),
    "Qwen3-30B-A3B": ("Qwen3-30B",),
    "Qwen3-30B-A3B-FP8": (),
    "Qwen3-235B-A22B": ("Qwen3-235B",),
    "Qwen3-235B-A22B-FP8": (),
    "Qwen3-32B": (),
    "Qwen3-Next-80B-A3B": ("Qwen3-Next-80B-A3B-Instruct", "Qwen3-Next"),
    "Qwen3.5-397B-A17B": ("Qwen3.5-397B",),
    "DeepSeek-V2-Lite": (),
    "DeepSeek-V2": (),
    "DeepSeek-V3": ("DeepSeek-R1", "DeepSeek-V3/R1", "DeepSeek-V3-0324", "DeepSeek-V3.1"),
    "DeepSeek-V3.2": (),
    "Kimi-K2": ("Kimi-K2-Instruct",),
    "Kimi-K2.5": (),
    "gpt-oss-20b": (),
    "gpt-oss-120b": (),
    "Llama-4-Scout": ("Llama-4-Scout-17B-16E", "Llama-4-Scout-17B-16E-Instruct"),
    "Llama-4-Maverick": ("Llama-4-Maverick-17B-128E", "Llama-4-Maverick-17B-128E-Instruct"),
    "Llama-3.1-8B": ("Meta-Llama-3.1-8B", "Llama-3.1-8B-Instruct"),
    "Llama-3.1-70B": ("Meta-Llama-3.1-70B", "Llama-3.1-70B-Instruct"),
    "GLM-4.5": (),
    "GLM-4.5-Air": ("GLM-Air",),
    "GLM-5": (),
    "GLM-5-FP8": (),
    "MiniMax-M2": (),
    "MiniMax-M2.5": (),
    "OLMoE-1B-7B": ("OLMoE", "OLMoE-1B-7B-0924"),
    "DBRX": ("dbrx-base", "dbrx-instruct"),
}

#: endings of names that leave the sizes as they are
_VARIANTS: Final = {"instruct", "thinking", "base", "chat", "it", "exp", "hf", "preview"}


def model_names() -> list[str]:
    """The names of the models in the catalogue."""
    return list(_INDEX)


def find_model(name: str) -> str | None:
    """The catalogue's name for ``name``: whatever its case, spaces for hyphens, with or without the
    organisation and a variant of the same sizes (Instruct, Thinking, 2507); None if the catalogue has none."""
    plain = _plain(name[:200])
    for candidate in (plain, plain.rpartition("/")[2]):
        parts = candidate.split("-")
        while parts:
            found = _names().get("-".join(parts))
            if found or not (parts[-1] in _VARIANTS or re.fullmatch(r"\d{4}|v\d(\.\d)?", parts[-1])):
                break
            parts.pop()
        if found:
            return found
    return None


def load_model(name: str) -> ModelSpec:
    """The model of that name; a SpecError that tells the nearest names if there is none."""
    found = find_model(name)
    if found is None:
        raise SpecError(_unknown(name), field="model")
    file = _FOLDER / f"{found.lower()}.yaml"
    entry: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=_loader())
    return replace(from_config(entry["config"], found, file.name), source=str(entry["source"]))


def _loader() -> type:
    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader


def _plain(name: str) -> str:
    return "-".join(name.lower().replace("_", " ").replace("-", " ").split())


@cache
def _names() -> dict[str, str]:
    return {_plain(alias): name for name, others in _INDEX.items() for alias in (name, *others)}


def _unknown(name: str) -> str:
    near = get_close_matches(_plain(name[:100]), _names(), n=4, cutoff=0.5)
    names = list(dict.fromkeys(_names()[match] for match in near)) or model_names()
    hint = "did you mean" if near else "known are"
    return f"no model named {name[:60]!r} in the catalogue; {hint} {', '.join(names)}"
