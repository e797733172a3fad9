"""quantization_config (and ModelOpt's hf_quant_config.json) → Precision, and the layers' own formats.

A ``Precision`` has one format per kind of tensor; checkpoints choose per module. Each matrix of the model is
matched, by its name in the checkpoint, with the lists of modules left alone (or quantized). The format that holds
most of a kind's parameters is the kind's; a layer whose tensor has another one says so in its ``formats``, so that
every byte is counted as shipped. Embeddings, head, norms and router stay in the checkpoint's dtype unless a config
says otherwise, as every loader of these formats keeps them.

Dispatch and cache follow what serving engines run:
* FP8 weights: DeepEP dispatches FP8 and combines BF16 (DeepSeek-V3, arXiv 2412.19437 §3.3).
* MXFP4, INT4 and other weight-only formats: activations stay BF16, so dispatch does too.
* NVFP4 weights with quantized inputs: FP8 dispatch (DeepEP sends FP8 or BF16; NVFP4 dispatch exists in
  TensorRT-LLM and is not assumed), BF16 combine.
* the KV cache stays in the dtype unless kv_cache_scheme or kv_cache_quant_algo says FP8 or NVFP4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from moewright.case.huggingface.families import Family
from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.quantization.module_names import MODULES, OUTER
from moewright.case.huggingface.quantization.scheme import PLAIN, Scheme
from moewright.case.huggingface.quantization.schemes import kv_cache, schemes
from moewright.case.model import Layer, MoeFfn, NoAttention
from moewright.case.precision import Precision
from moewright.case.tensors.layer_tensors import Tensor, layer_tensors

_DTYPES: Final = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The formats of a checkpoint: by kind, and in ``layers`` where a layer's differ; and what is to be said."""

    precision: Precision
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor of the layer at ``position``, and the names its module may have."""

    position: int
    tensor: Tensor
    modules: list[str]


def checkpoint(
    config: Fields, quantization: Fields | None, layers: tuple[Layer, ...], hidden: int, family: Family
) -> Checkpoint:
    """The formats of a checkpoint: ``config`` for its dtype, ``quantization`` for the rest, ``family`` for the names
    of its modules."""
    dtype = _DTYPES.get(config.text(config.first("dtype", "torch_dtype")) or "bfloat16", "bf16")
    plain = Precision(dtype, {}, *(dtype,) * 4)
    if quantization is None:
        return Checkpoint(plain, layers)
    known = schemes(quantization, config.text("expert_dtype"))
    places = list(_places(layers, hidden, family))
    chosen = [_scheme(known, place) for place in places]
    winners = _winners(places, chosen)
    formats = {kind: scheme.weights for kind, scheme in winners.items() if scheme and scheme.weights}
    formats |= _outer_formats(known)
    of_most = winners.get("experts") or winners.get("dense") or next((s for s in winners.values() if s), None)
    activations = (of_most.activations if of_most else None) or dtype
    low = activations in ("fp8", "int8", "nvfp4")
    cache = kv_cache(quantization)
    precision = Precision(
        default=dtype,
        weights=formats,
        activations=activations,
        kv_cache=cache or dtype,
        dispatch=("int8" if activations == "int8" else "fp8") if low else dtype,
        combine=dtype,
    )
    notes = () if cache else (f"KV cache in {dtype}: the checkpoint names no format of its own for it",)
    return Checkpoint(precision, _with_formats(layers, places, chosen, precision), notes)


def _scheme(known: list[Scheme], place: _Place) -> Scheme | None:
    return next((s for s in known if s.applies(place.tensor.kind, place.modules)), None)


def _places(layers: tuple[Layer, ...], hidden: int, family: Family) -> Iterator[_Place]:
    tensors: dict[Layer, list[Tensor]] = {}
    names = MODULES | dict(family.modules)
    numbers = _block_numbers(layers, family.numbering)
    for position, (layer, (mixer, feed)) in enumerate(zip(layers, numbers, strict=True)):
        for tensor in tensors.setdefault(layer, layer_tensors(layer, hidden)):
            own = mixer if tensor.kind == "attention" else feed
            modules = [f"model.layers.{own}.{name}" for name in names.get(tensor.name, ())]
            if modules:
                yield _Place(position, tensor, modules)


def _block_numbers(layers: tuple[Layer, ...], numbering: str) -> Iterator[tuple[int, int]]:
    """The numbers that a checkpoint gives to the mixer and to the feed-forward of each layer."""
    block = 0
    for position, layer in enumerate(layers):
        if numbering == "blocks":
            feed = block + (not isinstance(layer.attention, NoAttention))
            yield block, feed
            block = feed + (isinstance(layer.ffn, MoeFfn) or layer.ffn.width > 0)
        else:
            own = position // 2 if numbering == "halves" else position
            yield own, own


def _winners(places: list[_Place], chosen: list[Scheme | None]) -> dict[str, Scheme | None]:
    """For each kind of tensor, the scheme that holds most of its parameters."""
    tallies: dict[str, Counter[int]] = {}
    by_id = {id(scheme): scheme for scheme in chosen}
    for place, scheme in zip(places, chosen, strict=True):
        tallies.setdefault(place.tensor.kind, Counter())[id(scheme)] += place.tensor.parameters
    return {kind: by_id[tally.most_common(1)[0][0]] for kind, tally in tallies.items()}


def _outer_formats(known: list[Scheme]) -> dict[str, str]:
    for scheme in known:
        if scheme.applies("vocabulary", [*OUTER["embedding"], *OUTER["head"]]) and scheme.weights:
            return {"vocabulary": scheme.weights}
    return {}


def _with_formats(
    layers: tuple[Layer, ...], places: list[_Place], chosen: list[Scheme | None], precision: Precision
) -> tuple[Layer, ...]:
    """``layers``, each with the formats of the tensors that differ from their kind's."""
    own: dict[int, dict[str, str]] = {}
    for place, scheme in zip(places, chosen, strict=True):
        name = (scheme.weights if scheme else PLAIN) or precision.default
        if name != precision.weight(place.tensor.kind):
            own.setdefault(place.position, {})[place.tensor.name] = name
    if not own:
        return layers
    return tuple(replace(layer, formats=tuple(own[i].items())) if i in own else layer for i, layer in enumerate(layers))
