"""What every rank holds, enumerated: its heads, its experts and slices, its layers, bytes and parameters.

Shards are counted out rank by rank and head by head, not by the formulas of ``cost``, so that the checks
of a plan compare two derivations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moewright.case.model import Attention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.precision import element_bytes
from moewright.case.strategy import Strategy
from moewright.case.tensors.layer_tensors import Tensor, layer_tensors, vocabulary_tensors
from moewright.cost.arrays import array
from moewright.cost.attention import cache_bytes, cached_tokens, index_bytes
from moewright.placement.ranks import Ranks, rank_coordinates, stage_layers


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where the modules of ``model`` are under ``strategy``. ``experts``: expert ids by slot, shape
    [MoE layers, ep, slots] (the same in every replica). ``layers``: those of each stage."""

    model: ModelSpec
    strategy: Strategy
    ranks: Ranks
    layers: list[range]
    experts: np.ndarray

    @property
    def gpus(self) -> int:
        return len(self.ranks.stage)

    def stage_mask(self, position: int) -> np.ndarray:
        """Which ranks hold layer ``position``, shape [gpus]."""
        stage = next((i for i, held in enumerate(self.layers) if position in held), -1)
        return np.asarray(self.ranks.stage == stage)

    def kinds_held(self) -> list[tuple[Layer, np.ndarray]]:
        """Each kind of layer with how many of it every rank holds, shape [gpus]."""
        found = []
        for layer, positions in self.model.layer_kinds():
            per_stage = np.array([sum(p in held for p in positions) for held in self.layers])
            found.append((layer, per_stage[self.ranks.stage]))
        return found


def assign(model: ModelSpec, s: Strategy, experts: np.ndarray) -> Assignment:
    """The assignment of ``model`` to the ranks of ``s`` with ``experts`` placed as ``place_experts`` says."""
    return Assignment(model, s, rank_coordinates(s), stage_layers(len(model.layers), s.pp), experts)


def head_slices(attention: Attention, tp: int) -> list[tuple[range, list[int]]]:
    """Per tp rank: its query heads, and the KV heads that those read."""
    if not attention.kv_heads:
        return [(range(0), []) for _ in range(tp)]
    each, per_kv = attention.heads // tp, attention.heads // attention.kv_heads
    slices = [range(i * each, (i + 1) * each) for i in range(tp)]
    return [(heads, sorted({h // per_kv for h in heads})) for heads in slices]


def rows_of(whole: int, parts: int) -> np.ndarray:
    """Rows of each of ``parts`` shards of ``whole`` rows: the first ones hold one more."""
    each, more = divmod(whole, parts)
    return each + (np.arange(parts) < more).astype(int)


def rank_share(a: Assignment, tensor: Tensor, attention: Attention) -> np.ndarray:
    """Part of ``tensor`` that every rank holds where its layer is on that rank, shape [gpus]."""
    tp, r = a.strategy.attention.tp, a.ranks
    if tensor.shard == "heads":
        return np.asarray(np.array([len(q) for q, _ in head_slices(attention, tp)])[r.tp] / attention.heads)
    if tensor.shard == "kv_heads":
        return np.asarray(np.array([len(kv) for _, kv in head_slices(attention, tp)])[r.tp] / attention.kv_heads)
    if tensor.shard in ("width", "vocabulary"):
        whole = tensor.columns if tensor.name.endswith("_down") else tensor.rows
        return np.asarray(rows_of(whole, tp)[r.tp] / whole)
    if tensor.shard == "experts":
        slots, parts = slots_held(a), a.strategy.experts.tp
        if tensor.name.endswith("_down_bias"):
            return np.asarray(slots[r.ep] / tensor.count * rows_of(tensor.rows, parts)[r.etp] / tensor.rows)
        return np.asarray(slots[r.ep] / tensor.count / parts)
    return np.ones(a.gpus)


def slots_held(a: Assignment) -> np.ndarray:
    """Expert slots of each ep rank in one layer, shape [ep]."""
    return np.full(a.strategy.experts.ep, a.experts.shape[2] if len(a.experts) else 0)


def experts_held(a: Assignment) -> np.ndarray:
    """Whole experts' worth on every rank over its layers, shape [gpus]."""
    held = np.zeros(a.gpus)
    for layer, count in a.kinds_held():
        if isinstance(layer.ffn, MoeFfn):
            held += count * slots_held(a)[a.ranks.ep] / a.strategy.experts.tp
    return held


def expert_copies(a: Assignment) -> np.ndarray:
    """How many ranks of one replica hold each slice of each expert, shape [MoE layers, experts, etp]."""
    moe = a.model.moe
    assert moe is not None
    copies = np.zeros((len(a.experts), moe.experts, a.strategy.experts.tp), dtype=int)
    first = a.ranks.replica == 0
    for index, position in enumerate(a.model.moe_layers()):
        here = np.flatnonzero(first & a.stage_mask(position))
        slots = a.experts[index][a.ranks.ep[here]]
        slices = np.broadcast_to(a.ranks.etp[here][:, None], slots.shape)
        np.add.at(copies[index], (slots, slices), 1)
    return copies


def attention_copies(a: Assignment) -> np.ndarray:
    """How many ranks of one replica hold each query head of each layer, shape [layers, heads of the widest]."""
    widest = max(layer.attention.heads for layer in a.model.layers)
    copies = np.zeros((len(a.model.layers), widest), dtype=int)
    first = a.ranks.replica == 0
    for stage, held in enumerate(a.layers):
        ranks_of_tp = np.bincount(a.ranks.tp[first & (a.ranks.stage == stage)], minlength=a.strategy.attention.tp)
        for position in held:
            attention = a.model.layers[position].attention
            for count, (heads, _) in zip(ranks_of_tp, head_slices(attention, len(ranks_of_tp)), strict=True):
                copies[position, heads.start : heads.stop] += count
    return copies


def held_cache_bytes(a: Assignment, sequences: int, length: int) -> np.ndarray:
    """Bytes of KV cache on every rank that keeps ``sequences`` sequences of ``length`` tokens, shape [gpus]."""
    s, precision, held = a.strategy, a.model.precision, np.zeros(a.gpus)
    for layer, count in a.kinds_held():
        attention = layer.attention
        if isinstance(attention, SoftmaxAttention):
            heads = np.array([len(kv) for _, kv in head_slices(attention, s.attention.tp)])[a.ranks.tp]
            width = 0 if attention.shared_cache else attention.head_dim + attention.v_dim
            token = heads * width * element_bytes(precision.kv_cache) + index_bytes(attention)
            fixed: np.ndarray | float = 0.0
        else:
            of_token, of_sequence = cache_bytes(attention, precision, array(s.attention.tp))
            token, fixed = of_token[0], of_sequence[0]
        kept = np.ceil(cached_tokens(attention, length) / s.attention.cp / s.attention.dcp)
        held += count * sequences * (token * kept + fixed)
    return held


def held_parameters(a: Assignment) -> np.ndarray:
    """Parameters on every rank, shape [gpus]."""
    return _held(a, lambda tensor: tensor.parameters)


def held_weight_bytes(a: Assignment) -> np.ndarray:
    """Bytes of weights on every rank, shape [gpus]."""
    precision = a.model.precision
    return _held(a, precision.tensor_bytes)


def _held(a: Assignment, weight: Callable[[Tensor], float]) -> np.ndarray:
    model, held = a.model, np.zeros(a.gpus)
    for layer, count in a.kinds_held():
        for tensor in layer_tensors(layer, model.hidden_size):
            share = rank_share(a, tensor, layer.attention)
            held += count * share * weight(tensor)
    first, last = a.ranks.stage == 0, a.ranks.stage == a.strategy.pp - 1
    for tensor in vocabulary_tensors(model):
        here = last
        if tensor.name == "embedding":
            here = first | last if model.tied_embeddings else first
        held += here * rank_share(a, tensor, model.layers[0].attention) * weight(tensor)
    return held
