"""Bytes held, recomputed: weights by kind and scope, KV cache, activations, totals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from moewright.audit.quantities.readings import (
    BYTES,
    EXPERT,
    FLOPS,
    MODEL,
    PLAN,
    WORK,
    Facts,
    Reading,
    Scope,
    labelled,
    moe_layer,
)
from moewright.case.attention_kinds import INDEX_SCALE, LatentAttention, SoftmaxAttention
from moewright.case.model import Layer, ModelSpec, MoeFfn
from moewright.case.precision import element_bytes
from moewright.case.tensors.layer_tensors import all_tensors, layer_tensors
from moewright.cost.shapes import weight_bytes
from moewright.cost.table import Table
from moewright.planning.naming import kv_bytes_per_token, weight_bytes_total
from moewright.planning.record import Plan

_LINES: Final = {
    "attention": ("attention",),
    "experts": ("experts", "shared_experts"),
    "router": ("router",),
    "vocabulary": ("vocabulary",),
}


def _of_index(model: ModelSpec) -> Iterator[tuple[float, str]]:
    """(Bytes of a token that may be left out of its cache, in words): the keys of indexers, or their scales alone."""
    kept = [x.attention for x in model.layers if isinstance(x.attention, SoftmaxAttention | LatentAttention)]
    own = [x.indexer for x in kept if x.indexer is not None and not x.indexer.shared]
    if own:
        yield float(INDEX_SCALE * len(own)), "the scales of its index"
        yield sum(x.key_bytes for x in own), "the keys of its index"


def memory(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case, plan = f.case, f.plan
    model, layers = case.model, len(case.model.layers)
    if part in _LINES or part == "weights":
        yield from _weights(f, part, scope)
    elif part == "kv_cache":
        needs = (*MODEL, *BYTES)
        token = kv_bytes_per_token(model)
        how = f"keys and values of {layers} layers in {model.precision.kv_cache}"
        per = layers if "layer" in scope else 1
        if "token" in scope:
            for label, p in labelled(f, by_mask=False) if "gpu" in scope else ():
                for parts in _cache_parts(f, p):
                    over = f", over {parts} GPUs{label}" if parts > 1 else ", on each GPU"
                    yield Reading(token / per / parts, f"{how}, a token{over}", (*needs, *PLAN))
            if "gpu" not in scope or plan is not None:
                yield Reading(token / per, f"{how}, a token", needs)
            if "gpu" not in scope:
                for less, told in _of_index(model):
                    yield Reading((token - less) / per, f"{how}, a token, without {told}", needs)
        elif "gpu" in scope:
            for label, p in labelled(f, by_mask=False):
                yield Reading(p.memory.kv_cache / per, f"{how}, on the fullest GPU{label}", (*needs, *WORK, *PLAN))
        else:
            tokens = case.workload.batch[0] * case.workload.sequence
            yield Reading(token * tokens / per, f"{how}, {tokens} tokens", (*needs, *WORK))
            for label, p in labelled(f, by_mask=False):
                yield Reading(p.memory.kv_cache / per, f"{how}, on the fullest GPU{label}", (*needs, *WORK, *PLAN))
    elif part in ("activations", "buffers", "total", "utilization", "headroom") and plan is not None:
        every = (*FLOPS, *BYTES, *PLAN)
        for label, p in labelled(f, by_mask=False):
            m = p.memory
            whole = {
                "activations": [(m.activations, "the residual stream twice and the widest operation")],
                "buffers": [(m.buffers, "what a GPU sends and the fullest receives")],
            }.get(part) or [
                (m.total, "weights, KV cache, activations and buffers of the fullest GPU"),
                (m.total - m.buffers, "weights, KV cache and activations"),
                (m.weights.total + m.kv_cache, "weights and KV cache"),
                (m.weights.total + m.activations, "weights and activations"),
            ]
            for value, how in whole:
                if part in ("utilization", "headroom"):
                    used = value / m.capacity
                    device = (*every, "cluster.device.memory")
                    yield Reading(used if part == "utilization" else 1 - used, f"{how}, of the capacity{label}", device)
                else:
                    times = 1 if "all" not in scope or "gpu" in scope else p.gpus
                    yield Reading(value * times, how + label, every)
    elif part == "free" and plan is not None:
        for label, p in labelled(f, by_mask=False):
            free = p.memory.capacity - p.memory.total
            yield Reading(free, f"capacity less what is held{label}", (*FLOPS, *BYTES, *PLAN, "cluster.device.memory"))


def _cache_parts(f: Facts, p: Plan) -> list[int]:
    """Over how many GPUs a token's cache is divided, the likeliest first: tensor parallelism divides no further than
    the KV heads, and a latent not at all; stages hold the layers that they have."""
    attention = moe_layer(f.case).attention
    tp, pp = p.strategy.attention.tp, p.strategy.pp
    heads = min(tp, attention.kv_heads) if isinstance(attention, SoftmaxAttention) else 1
    return list(dict.fromkeys((heads * pp, heads, pp, tp, tp * pp)))


def _weights(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case = f.case
    model, layer = case.model, moe_layer(case)
    kinds = {"experts": ("experts",), "weights": ()}.get(part, (part,))
    tensors = [t for t in layer_tensors(layer, model.hidden_size) if not kinds or t.kind in kinds]
    needs = (*(EXPERT if part == "experts" else (*MODEL, *EXPERT) if part == "weights" else MODEL), *BYTES)

    layer_size = sum(model.precision.tensor_bytes(t) for t in tensors)

    moe = model.moe
    form = model.precision.weight(kinds[0] if kinds else "default")
    width = f"{element_bytes(form):g} B ({form})"
    shape = {
        "attention": f"the attention's matrices ({_matrices(layer, model.hidden_size)}) × {width}",
        "experts": f"{_expert_shape(model.hidden_size, moe)} × {width}",
    }.get(part, f"all weights of a layer × {width}" if part == "weights" else f"{part} × {width}")
    if "expert" in scope and moe is not None and part in ("experts", "weights"):
        experts = [t for t in layer_tensors(layer, model.hidden_size) if t.kind == "experts"]
        one = sum(model.precision.tensor_bytes(t) for t in experts) / moe.experts
        shape = f"{_expert_shape(model.hidden_size, moe)} × {width}"
        if "gpu" in scope:
            for label, p in labelled(f, by_mask=False):
                etp = p.strategy.experts.tp
                yield Reading(one / etp, f"{shape} / {etp} (the experts' tp){label}", (*EXPERT, *BYTES, *PLAN))
        else:
            yield Reading(one, shape, (*EXPERT, *BYTES))
            layers = len(model.moe_layers())
            if "all" in scope:
                yield Reading(one * layers, f"{shape} × {layers} layers", (*EXPERT, *BYTES))
        return
    if "gpu" in scope:
        for label, p in labelled(f, by_mask=False):
            if "layer" in scope:
                table = Table.one(p.strategy, p.batch)
                value = float(weight_bytes(tensors, layer.attention, model.precision, table)[0])
                yield Reading(value, f"{shape}, a GPU's share of a layer{label}", (*needs, *PLAN))
            else:
                w = p.memory.weights
                value = w.total if part == "weights" else sum(getattr(w, line) for line in _LINES[part])
                yield Reading(
                    value, f"{shape}, a GPU's share of all its layers{label}", (*needs, *PLAN, "model.layers")
                )
                if part == "experts" and w.shared_experts:
                    yield Reading(w.experts, f"{shape}, without shared experts{label}", (*needs, *PLAN))
    elif "layer" in scope:
        yield Reading(layer_size, f"{shape}{_all_experts(part, model.moe)}", needs)
    else:
        layers = len(model.moe_layers() if part == "experts" else model.layers)
        if part == "weights":
            yield Reading(weight_bytes_total(model), "all weights of the model", (*needs, "model.vocab_size"))
        else:
            whole = sum(model.precision.tensor_bytes(t) * n for t, n in all_tensors(model) if t.kind in kinds)
            yield Reading(whole, f"{shape}{_all_experts(part, model.moe)} × {layers} layers", (*needs, "model.layers"))


def _expert_shape(hidden: int, moe: MoeFfn | None) -> str:
    """The matrices of an expert with their size: ``2 matrices × 1024 × 2048``."""
    return "none" if moe is None else f"{3 if moe.gated else 2} matrices × {hidden} × {moe.width}"


def _all_experts(part: str, moe: MoeFfn | None) -> str:
    return f" × {moe.experts} experts" if part == "experts" and moe else ""


def _matrices(layer: Layer, hidden: int) -> str:
    """The matrices of an attention with their sizes, equal ones together: ``4 × 1024 × 1024``."""
    from moewright.case.tensors.layer_tensors import attention_tensors

    sizes: dict[tuple[int, int], int] = {}
    for t in attention_tensors(layer.attention, hidden):
        if t.gemm:
            sizes[t.rows, t.columns] = sizes.get((t.rows, t.columns), 0) + 1
    return " + ".join(
        f"{n} × {rows} × {columns}" if n > 1 else f"{rows} × {columns}" for (rows, columns), n in sizes.items()
    )
