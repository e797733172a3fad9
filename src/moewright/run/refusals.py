"""What the executor does not run, and what this machine has no room for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from moewright.case.case import Case
from moewright.case.model import DenseFfn, LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.strategy import Strategy
from moewright.case.tensors.layer_tensors import total_parameters
from moewright.placement.assignment import assign
from moewright.planning.record import Plan
from moewright.run.model.numerics import Numerics
from moewright.run.options import FORMATS
from moewright.run.ranks import launcher
from moewright.run.run_error import RunError
from moewright.run.weights.checkpoint import Checkpoint
from moewright.run.weights.rank_weights import layer_weights, vocabulary_weights

#: bytes of a forked rank beside its weights (measured: 1.15 GB for 128 of them)
_RANK = 9e6


def refuse(case: Case) -> None:
    """Raises RunError for what the executor does not run."""
    model = case.model

    def no(field: str, message: str) -> RunError:
        return RunError(f"{case.file}: {field}: {message}")

    if model.head_bias:
        raise no("model", "a bias on the head is not run yet")
    for layer, _ in model.layer_kinds():
        _refuse_attention(layer, no)
        _refuse_rest(layer, model, no)


def _refuse_attention(layer: Layer, no: Callable[[str, str], RunError]) -> None:
    a = layer.attention
    if isinstance(a, SoftmaxAttention):
        if a.output_gate or a.chunk or a.qk_norm == "full":
            raise no("model.attention", "gated outputs, chunks and norms over all heads are not run yet")
    elif not isinstance(a, LatentAttention) or a.indexer:
        raise no("model.attention", f"{type(a).__name__} of this kind is not run yet; expected mha, gqa or mla")


def _refuse_rest(layer: Layer, model: ModelSpec, no: Callable[[str, str], RunError]) -> None:
    a, ffn = layer.attention, layer.ffn
    if layer.norms not in (0, 2) or layer.norm_bias:
        raise no("model.norms", f"got {layer.norms}; expected two plain ones a layer, or none")
    if (
        (isinstance(a, SoftmaxAttention) and (a.q_rank or a.tied_values or a.shared_cache or a.indexer))
        or a.extra
        or layer.extra
        or model.extra
    ):
        raise no("model", "weights beside plain attention, feed-forwards and norms are not run yet")
    if isinstance(ffn, MoeFfn) and (ffn.latent or ffn.zero_experts or ffn.extra):
        raise no("model.experts", "latent experts and experts that compute nothing are not run yet")
    if isinstance(ffn, DenseFfn) and not ffn.width:
        raise no("model", "layers without a feed-forward are not run yet")
    biased = ffn.shared_bias if isinstance(ffn, MoeFfn) else ffn.bias
    if biased:
        raise no("model", "biases of dense and shared feed-forwards are not run yet")


def check_folder(model: ModelSpec, laws: Numerics, source: Checkpoint) -> None:
    """Raises RunError where the folder lacks a tensor that any rank will want, or has one of another shape."""
    source.census = True
    experts = model.moe.experts if model.moe else 0
    every = np.broadcast_to(np.arange(experts), (len(model.moe_layers()), 1, experts))
    whole = assign(model, Strategy(), every)
    for position in range(len(model.layers)):
        layer_weights(source, model, laws, whole, position, 0)
    vocabulary_weights(source, model, 1, 0, first=True, last=True)
    source.census = False


def check_room(model: ModelSpec, plan: Plan, verify: bool, device: torch.device) -> None:
    """Raises RunError where the machine has too little memory for all shards and ranks."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return
    if device.type == "cuda" and not verify:
        return
    weights = plan.strategy.replicas * total_parameters(model)  # what is held more often still comes on top
    need = weights * torch.empty(0, dtype=FORMATS[model.precision.default]).element_size() + plan.gpus * _RANK
    if need > free and not launcher.under_torchrun():
        raise RunError(
            f"{model.name}: {plan.gpus} ranks need {need / 1e9:.1f} GB at least; this machine has {free / 1e9:.1f} GB "
            "free"
        )
