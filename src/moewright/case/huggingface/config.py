"""A model from a Hugging Face config.json: a file, a folder that holds one, or the parsed mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moewright.case.huggingface import module_reader
from moewright.case.huggingface.attention_config import PREDICTION_NAMES
from moewright.case.huggingface.families import KNOWN, TEXT_SECTIONS, Family, layers
from moewright.case.huggingface.ffn_config import EXPERTS, dense_ffns
from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.json_files import read_json
from moewright.case.huggingface.quantization.tensor_formats import checkpoint
from moewright.case.huggingface.towers import tower_parameters
from moewright.case.model import ModelSpec
from moewright.case.spelling import known_or_near
from moewright.errors import SpecError

__all__ = ["KNOWN", "Reading", "from_config", "read_config", "reading_of", "reading_of_fields"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A model, and how its config was read: ``read`` is each field's path with whether the file has it and the value
    that counts; ``unread`` are the fields that nothing looked at."""

    model: ModelSpec
    read: dict[str, tuple[bool, Any]]
    unread: tuple[str, ...]


def read_config(path: str | Path) -> ModelSpec:
    """The model of a config.json (or of the folder that holds one). ModelOpt's hf_quant_config.json
    beside it counts where the config itself has no quantization_config."""
    return reading_of(path).model


def reading_of(path: str | Path) -> Reading:
    """The model of a config.json (or of the folder that holds one), and how its fields were read."""
    file = Path(path)
    try:
        if file.is_dir():
            file = file / "config.json"
        # in a folder of many models both names have the same beginning
        beside = file.with_name(f"{file.name.removesuffix('config.json')}hf_quant_config.json")
        sidecar = read_json(beside).get("quantization") if beside.is_file() else None
    except (OSError, ValueError) as fault:
        raise SpecError(f"cannot be read: {fault}", file=str(path)[:200]) from None
    config = read_json(file)
    if sidecar is not None and not isinstance(sidecar, Mapping):
        raise SpecError("expected a mapping", file=str(beside), field="quantization")
    resolved = file.resolve()
    name = resolved.parent.name if resolved.name == "config.json" else resolved.stem
    return _reading(config, name, str(file), sidecar)


def reading_of_fields(config: Mapping[str, Any], name: str, file: str | None = None) -> Reading:
    """The model of a parsed config.json, and how its fields were read."""
    return _reading(config, name, file, None)


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
    return _reading(config, name, file, quantization).model


def _reading(config: Mapping[str, Any], name: str, file: str | None, quantization: Mapping[str, Any] | None) -> Reading:
    outer = Fields(config, file)
    inner, notes = _language_model(outer)
    family, told = _family(outer, inner)
    if family is None:
        return _built(outer, inner, name, quantization)
    try:
        return _read(outer, inner, family, (*notes, *told), name, quantization)
    except SpecError as fault:
        # the section of a language model leaves out what its class has as a default
        leaves_out = inner is not outer and "is missing" in fault.problem
        more = _with_defaults(inner) if leaves_out and module_reader.available() else None
        if more is None:
            raise
        told = (*told, f"fields that the file leaves out are as transformers has them for {inner.text('model_type')}")
        return _read(outer, more, family, (*notes, *told), name, quantization)


def _with_defaults(inner: Fields) -> Fields | None:
    """``inner`` with what it leaves out as transformers' configuration class has it."""
    try:
        plain = module_reader.filled(inner.raw)
    except SpecError:
        return None
    return None if plain is None else Fields(plain, inner.file, inner.path, inner.read)


def _built(outer: Fields, inner: Fields, name: str, quantization: Mapping[str, Any] | None) -> Reading:
    """The model of a type that is not known, as transformers builds it."""
    model_type = outer.text("model_type") or inner.text("model_type")
    model = module_reader.read_modules(outer.raw, name, outer.file) if module_reader.available() else None
    if model is None:
        if model_type is None:
            raise outer.error("model_type", f"is missing; {_known(None)}")
        raise outer.error("model_type", f"got {model_type[:60]!r}; {_known(model_type)}")
    found = checkpoint(inner, _quantization(outer, inner, quantization), model.layers, model.hidden_size, Family())
    notes = (*model.notes, *found.notes)
    model = replace(model, layers=found.layers, precision=found.precision, notes=notes)
    return Reading(model, inner.read, _unread(outer.raw, inner.read))


def _known(model_type: str | None) -> str:
    near = known_or_near(model_type or "", KNOWN)
    more = "" if module_reader.available() else "; with transformers and torch installed, all that they build are read"
    return f"{near}{more}"


def _read(
    outer: Fields,
    inner: Fields,
    family: Family,
    notes: tuple[str, ...],
    name: str,
    quantization: Mapping[str, Any] | None,
) -> Reading:
    hidden = inner.integer(family.hidden)
    stack = layers(family, inner)
    found = checkpoint(inner, _quantization(outer, inner, quantization), stack, hidden, family)
    tied = inner.flag("tie_word_embeddings", family.tied)
    if outer is not inner and "tie_word_embeddings" in outer.raw:
        tied = outer.flag("tie_word_embeddings", tied)
    model = ModelSpec(
        name=name,
        hidden_size=hidden,
        layers=found.layers,
        vocab_size=inner.integer("vocab_size"),
        tied_embeddings=tied,
        head_bias=bool(family.head_bias) and inner.flag(family.head_bias, False),
        precision=found.precision,
        source=outer.file or "",
        prediction_layers=inner.integer(inner.first(*PREDICTION_NAMES), 0, least=0),
        max_position=inner.optional(inner.first("max_position_embeddings", "max_seq_len"), most=1 << 40),
        extra=family.extra(inner),
        notes=(*notes, *found.notes),
    )
    _refuse_lost_experts(family, inner)
    towers = tower_parameters(outer.raw)
    model = replace(
        model, tower_parameters=towers, notes=(*model.notes, *_prediction_note(model), *_tower_note(towers))
    )
    return Reading(model, inner.read, _unread(outer.raw, inner.read))


def _refuse_lost_experts(family: Family, f: Fields) -> None:
    """Raises SpecError where a config of a dense type tells of experts: it is another model's under that name."""
    for name in (*EXPERTS, "num_moe_experts", "n_experts"):
        count = f.raw.get(name)
        if family.ffns is dense_ffns and type(count) is int and count > 1:
            raise f.error(name, f"got {count} experts, which a model of type {f.text('model_type')} does not have here")


def _tower_note(parameters: int) -> tuple[str, ...]:
    if not parameters:
        return ()
    text = f"encoders of about {parameters / 1e6:.0f} M parameters: in an engine's memory, in no total"
    return (text,)


def _prediction_note(model: ModelSpec) -> tuple[str, ...]:
    if not model.prediction_layers:
        return ()
    number = model.prediction_layers
    return (f"{number} multi-token-prediction layer{'s' if number > 1 else ''} of the checkpoint, not counted",)


def _language_model(outer: Fields) -> tuple[Fields, tuple[str, ...]]:
    """The section of the language model, if the config has one beside a vision or audio tower."""
    fields = outer
    for section in TEXT_SECTIONS:
        if section in fields.raw and not fields.has("num_hidden_layers"):
            fields = fields.section(section)
    if fields is outer:
        return fields, ()
    towers = [name for name in outer.raw if name.endswith("_config") and name not in TEXT_SECTIONS]
    towers = [t for t in towers if isinstance(outer.raw[t], Mapping) and t != "quantization_config"]
    beside = f"; not counted: {', '.join(towers[:6])}" if towers else ""
    return fields, (f"the language model of {fields.path}{beside}",)


def _family(outer: Fields, inner: Fields) -> tuple[Family | None, tuple[str, ...]]:
    """How the model reads: by the model_type of its language model, of the whole, or by its class's name."""
    types = [t for t in (inner.text("model_type"), outer.text("model_type")) if t is not None]
    for model_type in types:
        if model_type in KNOWN:
            return KNOWN[model_type], ()
    for name in [*(inner.texts("architectures") or []), *(outer.texts("architectures") or [])]:
        known = _by_class().get(_bare(name))
        if known:
            return KNOWN[known], (f"read as {known}, after its class {name[:60]}",)
    return None, ()


def _bare(name: str) -> str:
    for ending in ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model"):
        name = name.removesuffix(ending)
    return name.lower().replace("_", "").replace("-", "")


def _by_class() -> dict[str, str]:
    return {_bare(model_type): model_type for model_type in KNOWN}


def _quantization(outer: Fields, inner: Fields, beside: Mapping[str, Any] | None) -> Fields | None:
    for fields in (outer, inner):
        for name in ("quantization_config", "compression_config"):
            if fields.has(name):
                return fields.section(name)
        # MLX writes its own key, of a mapping with bits and group_size
        if isinstance(fields.raw.get("quantization"), Mapping):
            return fields.section("quantization")
    return Fields(beside, outer.file, "quantization", inner.read) if beside is not None else None


def _unread(config: Mapping[str, Any], read: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields that nothing looked at, those of sections that were entered by their path."""
    entered = {path.rpartition(".")[0] for path in read}
    names: list[str] = []

    def walk(mapping: Mapping[str, Any], path: str) -> None:
        for name, value in mapping.items():
            at = f"{path}.{name}" if path else str(name)
            if at in entered and isinstance(value, Mapping):
                walk(value, at)
            elif at not in read:
                names.append(at)

    walk(config, "")
    return tuple(names)
