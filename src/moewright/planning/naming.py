"""Model, cluster and workload as a plan's JSON shows them."""

from __future__ import annotations

from typing import Any

from moewright.case.case import Case
from moewright.case.model import (
    CompressedAttention,
    LatentAttention,
    LinearAttention,
    ModelSpec,
    NoAttention,
    SoftmaxAttention,
    UnknownAttention,
)
from moewright.case.precision import element_bytes
from moewright.case.strategy import Strategy
from moewright.case.tensors.layer_tensors import active_parameters, all_tensors, total_parameters


def attention_name(attention: object) -> str:
    """A short description of an attention, such as ``GQA 64 heads, 8 KV heads × 128``."""
    if isinstance(attention, SoftmaxAttention):
        kind = "MHA" if attention.heads == attention.kv_heads else "GQA"
        kv = "" if kind == "MHA" else f", {attention.kv_heads} KV heads"
        cap = f", window {attention.window}" if attention.window else ""
        cap = f", chunk {attention.chunk}" if attention.chunk else cap
        cap += f", sparse top {attention.indexer.top_k}" if attention.indexer else ""
        cap += ", cache of an earlier layer" if attention.shared_cache else ""
        return f"{kind} {attention.heads} heads × {attention.head_dim}{kv}{cap}"
    if isinstance(attention, LatentAttention):
        sparse = f", sparse top {attention.indexer.top_k}" if attention.indexer else ""
        sparse += " by the index of an earlier layer" if attention.indexer and attention.indexer.shared else ""
        return f"MLA {attention.heads} heads, rank {attention.kv_rank} + {attention.rope_dim}{sparse}"
    if isinstance(attention, CompressedAttention):
        sparse = f", top {attention.indexer.top_k}" if attention.indexer else ""
        entries = f", an entry for {attention.ratio} tokens{sparse}" if attention.ratio else ""
        return f"shared key {attention.heads} heads × {attention.head_dim}, window {attention.window}{entries}"
    if isinstance(attention, NoAttention):
        return "no attention"
    if isinstance(attention, UnknownAttention):
        return f"{attention.name}, of no known form"
    assert isinstance(attention, LinearAttention)
    rules = {
        "gated_delta": "gated delta",
        "kda": "Kimi delta",
        "lightning": "lightning",
        "mamba1": "Mamba",
        "mamba2": "Mamba-2",
        "convolution": "short convolution",
    }
    return f"{rules[attention.rule]} {attention.value_heads} heads × {attention.key_dim}×{attention.value_dim}"


def strategy_name(s: Strategy, model: ModelSpec) -> str:
    """The short name of ``s`` for ``model``."""
    return s.dense_name if model.moe is None else s.name


def kv_bytes_per_token(model: ModelSpec) -> float:
    """Bytes that one more token of context adds to the cache of the whole model, unsharded (a window or
    chunk that is full adds none; counted before that)."""
    element = element_bytes(model.precision.kv_cache)
    return sum(layer.attention.token_bytes(element) for layer in model.layers)


def weight_bytes_total(model: ModelSpec) -> float:
    """Bytes of all weights, block scales included."""
    return sum(model.precision.tensor_bytes(tensor) * count for tensor, count in all_tensors(model))


def describe_model(model: ModelSpec) -> dict[str, Any]:
    """The model's sizes, parameters, bytes and precision."""
    moe, p = model.moe, model.precision
    return {
        "name": model.name,
        "layers": len(model.layers),
        "moe_layers": len(model.moe_layers()),
        "hidden_size": model.hidden_size,
        "vocab_size": model.vocab_size,
        "attention": [
            {"kind": attention_name(a), "layers": sum(layer.attention == a for layer in model.layers)}
            for a in dict.fromkeys(layer.attention for layer in model.layers)
        ],
        "experts": None
        if moe is None
        else {
            "count": moe.experts,
            "top_k": moe.top_k,
            "intermediate_size": moe.width,
            "gated": moe.gated,
            "shared_intermediate_size": moe.shared_width,
        },
        "parameters": {"total": total_parameters(model), "active": active_parameters(model)},
        "weight_bytes": weight_bytes_total(model),
        "kv_bytes_per_token": kv_bytes_per_token(model),
        "precision": {
            "weights": {"default": p.default, **p.weights},
            "activations": p.activations,
            "kv_cache": p.kv_cache,
            "dispatch": p.dispatch,
            "combine": p.combine,
        },
        "source": model.source,
        "notes": list(model.notes),
    }


def describe_case(case: Case) -> dict[str, Any]:
    """``model``, ``cluster``, ``workload``, ``objective``, ``limits`` and ``routing`` of a case."""
    c, w, d = case.cluster, case.workload, case.cluster.device
    return {
        "model": describe_model(case.model),
        "cluster": {
            "name": c.name,
            "gpus": c.gpus,
            "gpus_per_node": c.gpus_per_node,
            **({"nodes": list(c.nodes)} if c.nodes else {}),
            "device": {
                "name": d.name,
                "flops": d.flops,
                "mfu": d.mfu,
                "memory": d.memory,
                "memory_bandwidth": d.memory_bandwidth,
                "bandwidth_utilization": d.bandwidth_utilization,
                "launch": d.launch,
                "price": d.price,
            },
            "network": {
                "node": {"bandwidth": c.node.bandwidth, "latency": c.node.latency},
                "fabric": {"bandwidth": c.fabric.bandwidth, "latency": c.fabric.latency},
                "forwarding": c.forwarding,
            },
            "reserve": c.reserve,
        },
        "workload": {
            "kind": str(w.kind),
            "batch": w.batch[0] if len(w.batch) == 1 else list(w.batch),
            "sequence": w.sequence,
            "causal": w.causal,
        },
        "objective": str(case.goal.objective),
        "limits": {"ttft": case.goal.limits.ttft, "tpot": case.goal.limits.tpot},
        "routing": case.routing.source,
    }
