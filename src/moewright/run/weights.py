"""Weights by name, each rank reading only its slices: random ones that are the same on any number of ranks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from moewright.place.assignment import Assignment, head_slices
from moewright.spec.model import Layer, ModelSpec, MoeFfn, SoftmaxAttention


@dataclass(frozen=True, slots=True)
class RandomSource:
    """Every tensor is drawn whole from a generator of its own, seeded by ``seed`` and the tensor's name, and
    then cut: the model does not depend on how it is divided."""

    seed: int = 0

    def matrix(self, name: str, rows: int, columns: int) -> Tensor:
        """[rows, columns], normal, of variance 1 / columns."""
        drawn: Tensor = torch.randn(rows, columns, generator=self._generator(name))
        return drawn.mul_(columns**-0.5)

    def vector(self, name: str, size: int, around: float = 0.0) -> Tensor:
        """[size], normal of deviation 0.1 around ``around``."""
        return around + 0.1 * torch.randn(size, generator=self._generator(name))

    def inputs(self, sequence: int, length: int, hidden: int) -> Tensor:
        """Hidden states [length, hidden] of one sequence, for a model without an embedding."""
        return torch.randn(length, hidden, generator=self._generator(f"inputs {sequence}"))

    def tokens(self, sequence: int, length: int, vocabulary: int) -> Tensor:
        """Token ids [length] of one sequence."""
        return torch.randint(vocabulary, (length,), generator=self._generator(f"tokens {sequence}"))

    def _generator(self, name: str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def cut(x: Tensor, part: int, parts: int, dim: int = 0) -> Tensor:
    """The ``part``-th of ``parts`` equal parts of ``x`` along ``dim``, as a tensor of its own."""
    return x.chunk(parts, dim)[part].clone() if parts > 1 else x


def cut_up(x: Tensor, part: int, parts: int, ups: int) -> Tensor:
    """A part of the first matrix of a feed-forward, [ups · width, hidden]: of gate and up the same rows."""
    if parts == 1:
        return x
    return torch.cat([cut(half, part, parts) for half in x.chunk(ups)])


def attention_weights(
    source: RandomSource, name: str, a: SoftmaxAttention, hidden: int, tp: int, rank: int
) -> dict[str, Tensor]:
    """The weights of one attention on one of ``tp`` ranks: its query heads, and the KV heads that they read."""
    queries, keys = head_slices(a, tp)[rank]
    q = slice(queries.start * a.head_dim, queries.stop * a.head_dim)
    k = slice(keys[0] * a.head_dim, (keys[-1] + 1) * a.head_dim)
    v = slice(keys[0] * a.v_dim, (keys[-1] + 1) * a.v_dim)
    o = slice(queries.start * a.v_dim, queries.stop * a.v_dim)
    weights = {
        "q": source.matrix(f"{name}.q_proj", a.heads * a.head_dim, hidden)[q].clone(),
        "k": source.matrix(f"{name}.k_proj", a.kv_heads * a.head_dim, hidden)[k].clone(),
        "v": source.matrix(f"{name}.v_proj", a.kv_heads * a.v_dim, hidden)[v].clone(),
        "o": source.matrix(f"{name}.o_proj", hidden, a.heads * a.v_dim)[:, o].clone(),
    }
    if a.qk_norm == "head":
        weights["q_norm"] = source.vector(f"{name}.q_norm", a.head_dim, 1.0)
        weights["k_norm"] = source.vector(f"{name}.k_norm", a.head_dim, 1.0)
    return weights


def mlp_weights(
    source: RandomSource, name: str, width: int, hidden: int, gated: bool, parts: int, part: int
) -> dict[str, Tensor]:
    """A feed-forward's two products, the ``part``-th of ``parts`` of its width."""
    ups = 2 if gated else 1
    return {
        "up": cut_up(source.matrix(f"{name}.up", ups * width, hidden), part, parts, ups),
        "down": cut(source.matrix(f"{name}.down", hidden, width), part, parts, 1),
    }


def layer_weights(source: RandomSource, model: ModelSpec, a: Assignment, position: int, rank: int) -> dict[str, Tensor]:
    """What ``rank`` holds of the layer at ``position``, by name."""
    layer: Layer = model.layers[position]
    s, hidden, name = a.strategy, model.hidden_size, f"layers.{position}"
    tp, part = s.attention.tp, int(a.ranks.tp[rank])
    assert isinstance(layer.attention, SoftmaxAttention)
    weights = attention_weights(source, name, layer.attention, hidden, tp, part)
    for i in range(layer.norms):
        weights[f"norm{i}"] = source.vector(f"{name}.norm{i}", hidden, 1.0)
    ffn = layer.ffn
    if not isinstance(ffn, MoeFfn):
        return weights | mlp_weights(source, f"{name}.dense", ffn.width, hidden, ffn.gated, tp, part)
    weights["router"] = source.matrix(f"{name}.router", ffn.experts, hidden)
    held = a.experts[model.moe_layers().index(position)][a.ranks.ep[rank]]
    each = [
        mlp_weights(source, f"{name}.experts.{e}", ffn.width, hidden, ffn.gated, s.experts.tp, int(a.ranks.etp[rank]))
        for e in held
    ]
    weights["experts_up"] = torch.stack([w["up"] for w in each])
    weights["experts_down"] = torch.stack([w["down"] for w in each])
    if ffn.shared_width:
        shared = mlp_weights(source, f"{name}.shared", ffn.shared_width, hidden, ffn.shared_gated, tp, part)
        weights |= {f"shared_{k}": v for k, v in shared.items()}
    return weights


def vocabulary_weights(
    source: RandomSource, model: ModelSpec, tp: int, part: int, first: bool, last: bool
) -> dict[str, Tensor]:
    """Embedding (first stage), head and final norm (last), rows of the vocabulary divided over tp."""
    weights: dict[str, Tensor] = {}
    if model.vocab_size:
        table = source.matrix("embedding", model.vocab_size, model.hidden_size)
        if first or (last and model.tied_embeddings):
            weights["embedding"] = table.tensor_split(tp)[part].clone()
        if last:
            head = table if model.tied_embeddings else source.matrix("head", model.vocab_size, model.hidden_size)
            weights["head"] = weights["embedding"] if model.tied_embeddings else head.tensor_split(tp)[part].clone()
    if last and model.final_norm:
        weights["final_norm"] = source.vector("final_norm", model.hidden_size, 1.0)
    return weights
