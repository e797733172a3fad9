"""The model that a command names, as far as this machine knows it: a folder, the catalogue, installed configs."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final

from moewright.case.catalogue.model_catalogue import catalogue_reading, find_model
from moewright.case.huggingface.config import read_config
from moewright.case.model import ModelSpec
from moewright.errors import MoewrightError
from moewright.serving.validation.checkpoints import in_format, shipped

_FORMAT: Final = re.compile(r"(.+?)[-_.](fp8|nvfp4|fp4|mxfp4|bf16|awq|int4|w4a16)(?:[-_.](?:kv|dynamic|block|v\d))?")
#: models of the same sizes as one that is known (their config.json files)
_SAME_SIZES: Final = {
    "deepseek-v3.1-terminus": "deepseek-v3",
    "deepseek-v3.2-speciale": "deepseek-v3.2",
    "kimi-k2.6": "kimi-k2.5",
    "minimax-m2.1": "minimax-m2",
}
#: ends of a checkpoint's name → the format of its weights
_FORMATS: Final = {
    "fp8": "fp8",
    "nvfp4": "fp4",
    "fp4": "fp4",
    "mxfp4": "fp4",
    "bf16": "bf16",
    "awq": "int4",
    "int4": "int4",
    "w4a16": "int4",
}


def known_model(name: str, quantization: str | None = None) -> ModelSpec | None:
    """The model of ``name`` (a path, an id, a bare name), in the format that its name or ``quantization`` tells; None
    where it is not known here. Nothing is fetched."""
    if not name or len(name) > 300:
        return None
    own = Path(name).expanduser()
    if (own / "config.json").is_file():
        try:
            return read_config(own)
        except MoewrightError:
            return None
    bare = PurePosixPath(name.rstrip("/")).name
    model, ending = _of_catalogue(bare)
    if model is None:
        model, ending = _of_installed(name, bare)
    if model is None:
        return None
    if ending is None and quantization in ("fp8", "nvfp4", "modelopt_fp4") and shipped(model) == "bf16":
        if quantization == "fp8":  # quantized while it is loaded: one scale a tensor, no blocks
            model = in_format(model, "fp8")
            weights = {kind: "fp8" for kind in model.precision.weights}
            return replace(model, name=bare, precision=replace(model.precision, weights=weights))
        ending = "fp4"
    return replace(model if ending is None else in_format(model, ending), name=bare)


def _of_catalogue(bare: str) -> tuple[ModelSpec | None, str | None]:
    for plain, ending in _plainer(bare):
        found = find_model(_SAME_SIZES.get(plain.lower(), plain))
        if found is not None:
            return catalogue_reading(found).model, ending
    return None, None


def _plainer(bare: str) -> list[tuple[str, str | None]]:
    """The name, and the name without the format at its end, with that format."""
    names: list[tuple[str, str | None]] = [(bare, None)]
    match = re.fullmatch(
        r"(.+?)[-_.](fp8|nvfp4|fp4|mxfp4|bf16|awq|int4|w4a16)(?:[-_.](?:kv|dynamic|block|v\d))?", bare.lower()
    )
    if match:
        names.append((match[1], _FORMATS[match[2]]))
    return [*names, *((re.sub(r"-(instruct|thinking|chat|it)(-\d{4})?$", "", n.lower()), f) for n, f in names)]


@cache
def _installed() -> dict[str, Path]:
    """Configs of models that the package with measured tables brings: the id's last part in lower case → file."""
    spec = find_spec("aiconfigurator_core")
    folder = Path(spec.origin).parent / "model_configs" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        return {}
    ends = "_config.json"
    return {
        f.name.partition("--")[2].removesuffix(ends).lower(): f
        for f in sorted(folder.glob(f"*--*{ends}"))
        if not f.name.endswith("hf_quant_config.json")
    }


def _of_installed(name: str, bare: str) -> tuple[ModelSpec | None, str | None]:
    for plain, ending in _plainer(bare):
        for key in (plain.lower(), f"{plain.lower()}-instruct"):
            if key in _installed():
                try:
                    return read_config(_installed()[key]), ending
                except MoewrightError:
                    return None, None
    return None, None
