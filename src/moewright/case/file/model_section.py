"""The ``model`` section of a spec file: written out, a name of the catalogue, or a config.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from moewright.case.file.records import (
    ATTENTIONS,
    ExpertsRecord,
    LatentRecord,
    LinearRecord,
    ModelRecord,
    NamedModelRecord,
    PrecisionRecord,
    SoftmaxRecord,
    shown,
)
from moewright.case.file.sections import section
from moewright.case.model import (
    Attention,
    DenseFfn,
    Ffn,
    Indexer,
    LatentAttention,
    Layer,
    LinearAttention,
    ModelSpec,
    MoeFfn,
    SoftmaxAttention,
)
from moewright.case.model_source import named_model
from moewright.case.precision import KNOWN_FORMATS, Precision, is_format
from moewright.errors import SpecError


def read_model(value: Any, file: str, folder: Path) -> ModelSpec:
    """The model of a spec file's ``model`` section. Raises SpecError."""
    if isinstance(value, str):
        return _named(value, file, folder)
    if isinstance(value, dict) and set(value) <= set(NamedModelRecord.model_fields):
        record = section(NamedModelRecord, value, file, "model")
        model = _named(record.name, file, folder)
        if record.precision is None:
            return model
        return replace(model, precision=_precision(record.precision, file, model.precision))
    return _written_out(section(ModelRecord, value, file, "model"), file)


def _named(name: str, file: str, folder: Path) -> ModelSpec:
    try:
        return named_model(name, folder)
    except SpecError as error:
        if error.file is not None:
            raise
        raise SpecError(error.problem, file=file, field="model") from None


def _written_out(m: ModelRecord, file: str) -> ModelSpec:
    def fail(field: str, message: str) -> SpecError:
        return SpecError(message, file=file, field=f"model.{field}")

    pattern = m.attention if isinstance(m.attention, list) else [m.attention]
    if not pattern:
        raise fail("attention", "got []; expected an attention, or a list of them that repeats over the layers")
    several = isinstance(m.attention, list)
    attentions = [
        _attention(a, file, f"model.attention.{i}" if several else "model.attention") for i, a in enumerate(pattern)
    ]
    dense_layers = m.dense_layers if m.experts else m.layers
    if dense_layers > m.layers:
        raise fail("dense_layers", f"got {dense_layers}; expected at most layers, {m.layers}")
    if dense_layers and m.intermediate_size is None:
        missing = "experts, or intermediate_size for a dense model" if m.experts is None else "intermediate_size"
        raise fail("intermediate_size", f"is missing; {dense_layers} layers are dense: give {missing}")
    if m.intermediate_size is not None and not dense_layers:
        raise fail("intermediate_size", f"got {m.intermediate_size}, but no layer is dense; expected dense_layers too")
    moe = None if m.experts is None else _experts(m.experts, file)
    dense = DenseFfn(m.intermediate_size or 1, m.gated, m.bias)
    layers = []
    for i in range(m.layers):
        ffn: Ffn = dense if moe is None or i < dense_layers else moe
        layers.append(Layer(attentions[i % len(attentions)], ffn, m.norms))
    return ModelSpec(
        m.name,
        m.hidden_size,
        tuple(layers),
        m.vocab_size,
        m.tied_embeddings,
        final_norm=m.vocab_size > 0,
        precision=_precision(m.precision, file, None),
        source=file,
    )


def _attention(value: Any, file: str, path: str) -> Attention:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in ATTENTIONS:
        found = shown(kind) if isinstance(value, dict) else shown(value)
        raise SpecError(f"got {found}; expected one of {', '.join(ATTENTIONS)}", file=file, field=f"{path}.kind")
    a = section(ATTENTIONS[kind], value, file, path)

    def fail(field: str, message: str) -> SpecError:
        return SpecError(message, file=file, field=f"{path}.{field}")

    if isinstance(a, LatentRecord):
        index = None if a.indexer is None else Indexer(a.indexer.heads, a.indexer.dim, a.indexer.top_k)
        return LatentAttention(a.heads, a.q_rank, a.kv_rank, a.nope_dim, a.rope_dim, a.value_dim, a.bias, index)
    if isinstance(a, LinearRecord):
        if a.value_heads % a.key_heads:
            raise fail("value_heads", f"got {a.value_heads}; expected a multiple of key_heads {a.key_heads}")
        return LinearAttention(a.key_heads, a.value_heads, a.key_dim, a.value_dim, a.conv_kernel)
    a = cast(SoftmaxRecord, a)
    if kind == "gqa" and a.kv_heads is None:
        raise fail("kv_heads", "is missing; gqa needs the number of KV heads")
    if kind == "mha" and a.kv_heads not in (None, a.heads):
        raise fail("kv_heads", f"got {a.kv_heads}; mha has as many as heads, {a.heads}; write kind: gqa")
    kv_heads = a.kv_heads or a.heads
    if a.heads % kv_heads:
        raise fail("kv_heads", f"got {kv_heads}; expected a divisor of heads {a.heads}")
    if a.window and a.chunk:
        raise fail("chunk", "got both window and chunk; expected one of them")
    return SoftmaxAttention(
        *(a.heads, kv_heads, a.head_dim, a.value_dim, a.qkv_bias, a.output_bias, a.qk_norm, a.output_gate, a.sinks),
        window=a.window,
        chunk=a.chunk,
    )


def _experts(e: ExpertsRecord, file: str) -> MoeFfn:
    def fail(field: str, message: str) -> SpecError:
        return SpecError(message, file=file, field=f"model.experts.{field}")

    if e.top_k > e.count:
        raise fail("top_k", f"got {e.top_k}; expected at most count, {e.count}")
    if e.count % e.groups:
        raise fail("groups", f"got {e.groups}; expected a divisor of count {e.count}")
    top_groups = e.top_groups or e.groups
    if top_groups > e.groups or top_groups * (e.count // e.groups) < e.top_k:
        least = -(-e.top_k * e.groups // e.count)
        raise fail("top_groups", f"got {top_groups}; expected from {least}, enough for top_k {e.top_k}, to {e.groups}")
    return MoeFfn(
        *(e.count, e.top_k, e.intermediate_size, e.gated, e.bias, e.router_bias, e.shared_intermediate_size),
        *(e.shared_gated, e.shared_gate, e.groups, top_groups),
    )


def _precision(value: Any, file: str, base: Precision | None) -> Precision:
    """One format for all, or a format by kind of number (what is left out is ``base``'s, or bf16)."""
    if isinstance(value, str):
        if not is_format(value):
            raise SpecError(
                f"got {shown(value)}; expected one of {KNOWN_FORMATS}, or a mapping of them",
                file=file,
                field="model.precision",
            )
        return uniform(value)
    p = section(PrecisionRecord, value, file, "model.precision")
    b = base or Precision()
    default, weights = b.default, b.weights
    if isinstance(p.weights, str):
        default, weights = p.weights, uniform(p.weights).weights
    elif p.weights is not None:
        weights = {**weights, **p.weights}
        default = weights.pop("default", default)
    return Precision(
        default,
        weights,
        p.activations or b.activations,
        p.kv_cache or b.kv_cache,
        p.dispatch or b.dispatch,
        p.combine or b.combine,
    )


def uniform(name: str) -> Precision:
    """What one format for a whole model means: weights in it; activations, KV cache and dispatch too where it
    has matrix units (8 bits and more; bf16 beside 4-bit weights); sums and norms never below 16 bits."""
    wide = name if name in ("fp32", "bf16", "fp16") else "bf16"
    eight = {"fp8_block": "fp8"}.get(name, name)
    narrow = eight if eight in ("fp8", "int8") else wide
    return Precision(name, {} if name == wide else {"norm": wide}, narrow, narrow, narrow, wide)
