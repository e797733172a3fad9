"""A model from a Hugging Face config.json: a file, a folder that holds one, or the parsed mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moewright.case.huggingface.families import KNOWN, NESTED, layers
from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.quantization import precision
from moewright.case.model import ModelSpec
from moewright.errors import SpecError

__all__ = ["KNOWN", "from_config", "read_config"]

_MOST_BYTES: Final = 64 << 20


def read_config(path: str | Path) -> ModelSpec:
    """The model of a config.json (or of the folder that holds one). ModelOpt's hf_quant_config.json
    beside it counts where the config itself has no quantization_config."""
    file = Path(path)
    try:
        if file.is_dir():
            file = file / "config.json"
        # in a folder of many models both names have the same beginning
        beside = file.with_name(f"{file.name.removesuffix('config.json')}hf_quant_config.json")
        sidecar = _read_mapping(beside).get("quantization") if beside.is_file() else None
    except (OSError, ValueError) as fault:
        raise SpecError(f"cannot be read: {fault}", file=str(path)[:200]) from None
    config = _read_mapping(file)
    if sidecar is not None and not isinstance(sidecar, Mapping):
        raise SpecError("expected a mapping", file=str(beside), field="quantization")
    resolved = file.resolve()
    name = resolved.parent.name if resolved.name == "config.json" else resolved.stem
    return from_config(config, name, str(file), quantization=sidecar)


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SpecError(f"is larger than {_MOST_BYTES >> 20} MiB; no config.json is", file=str(file))
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SpecError("no such file", file=str(file)) from None
    except OSError as fault:
        raise SpecError(f"cannot be read: {fault.strerror or fault}", file=str(file)) from None
    except (ValueError, RecursionError) as fault:
        raise SpecError(f"is not JSON: {str(fault)[:200]}", file=str(file)) from None
    if not isinstance(content, dict):
        raise SpecError(f"holds a {type(content).__name__}; expected a JSON object", file=str(file))
    return content


def from_config(
    config: Mapping[str, Any],
    name: str,
    file: str | None = None,
    *,
    quantization: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """The model that the fields of a config.json describe. Of a nested config (text and vision) it is the
    language model. ``quantization`` stands in for a missing quantization_config. Multi-token-prediction
    layers are noted as ``prediction_layers`` and not counted."""
    outer = Fields(config, file)
    model_type = _known_type(outer)
    inner, family = outer, KNOWN[model_type]
    if model_type in NESTED and "text_config" in config:
        inner = outer.section("text_config")
        family = KNOWN[_known_type(inner) if inner.has("model_type") else model_type]
    hidden = inner.integer(family.hidden)
    stack = layers(family, inner)
    return ModelSpec(
        name=name,
        hidden_size=hidden,
        layers=stack,
        vocab_size=inner.integer("vocab_size"),
        tied_embeddings=outer.flag("tie_word_embeddings", inner.flag("tie_word_embeddings", False)),
        head_bias=model_type == "phimoe" and inner.flag("lm_head_bias", False),
        precision=precision(inner, _quantization(outer, inner, quantization), stack, hidden),
        source=file or "",
        prediction_layers=_prediction_layers(inner),
        max_position=inner.optional(inner.first("max_position_embeddings", "max_seq_len"), most=1 << 40),
    )


def _known_type(fields: Fields) -> str:
    model_type = fields.text("model_type")
    known = ", ".join(sorted(KNOWN))
    if model_type is None:
        raise fields.error("model_type", f"is missing; known are {known}")
    if model_type not in KNOWN:
        raise fields.error("model_type", f"got {model_type[:60]!r}; known are {known}")
    return model_type


def _quantization(outer: Fields, inner: Fields, beside: Mapping[str, Any] | None) -> Fields | None:
    for fields in (outer, inner):
        if fields.has("quantization_config"):
            return fields.section("quantization_config")
    return Fields(beside, outer.file, "quantization") if beside is not None else None


def _prediction_layers(f: Fields) -> int:
    spellings = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers", "num_mtp_layers")
    return f.integer(f.first(*spellings), 0, least=0)
