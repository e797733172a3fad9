"""What a rank holds: its slices of every tensor, laid out as the engine multiplies them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from moewright.case.model import LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.placement.assignment import Assignment, head_slices
from moewright.run.formats.scaled import Scaled, stack, stack_rows
from moewright.run.model.numerics import Numerics
from moewright.run.run_error import RunError
from moewright.run.weights.weight_source import WHOLE, Source

#: by name a Tensor, or a Scaled for a matrix that is held in FP8
Weights = dict[str, Any]


def part_of(size: int, part: int, parts: int) -> slice:
    """The ``part``-th of ``parts`` parts of ``size``, the first ones one longer (as torch.tensor_split)."""
    each, more = divmod(size, parts)
    start = part * each + min(part, more)
    return slice(start, start + each + (part < more))


def matrix(source: Source, names: list[tuple[str, int, slice]], columns: int, part: slice = WHOLE) -> Tensor | Scaled:
    """Rows of several tensors (name, whole rows, which of them), one above the other, in the columns ``part``."""
    found = [source.scaled(name, (rows, columns), mine, part) for name, rows, mine in names]
    scaled = [s for s in found if s is not None]
    if len(scaled) == len(found):
        return scaled[0] if len(scaled) == 1 else stack_rows(scaled)
    read = [source.tensor(name, (rows, columns), mine, part) for name, rows, mine in names]
    return read[0] if len(read) == 1 else torch.cat(read)


def layer_weights(
    source: Source, model: ModelSpec, numerics: Numerics, a: Assignment, position: int, rank: int
) -> Weights:
    """What ``rank`` holds of the layer at ``position``."""
    layer: Layer = model.layers[position]
    s, hidden, name = a.strategy, model.hidden_size, f"layers.{position}"
    tp, part = s.attention.tp, int(a.ranks.tp[rank])
    weights = attention_weights(source, name, layer.attention, hidden, tp, part)
    for i in range(layer.norms):
        weights[f"norm{i}"] = source.tensor(f"{name}.norm{i}", (hidden,))
    ffn = layer.ffn
    if not isinstance(ffn, MoeFfn):
        return weights | mlp_weights(source, f"{name}.dense", ffn.width, hidden, ffn.gated, tp, part)
    weights["router"] = source.tensor(f"{name}.router", (ffn.experts, hidden))
    if ffn.router_bias:
        weights["router_bias"] = source.tensor(f"{name}.router_bias", (ffn.experts,))
    if numerics.correction:
        weights["correction"] = source.tensor(f"{name}.correction", (ffn.experts,)).float()
    held = a.experts[model.moe_layers().index(position)][a.ranks.ep[rank]].tolist()
    weights |= _experts(source, name, ffn, hidden, held, s.experts.tp, int(a.ranks.etp[rank]))
    if ffn.shared_width:
        shared = mlp_weights(source, f"{name}.shared", ffn.shared_width, hidden, ffn.shared_gated, tp, part)
        weights |= {f"shared_{k}": v for k, v in shared.items()}
    if ffn.shared_gate:
        weights["shared_gate"] = source.tensor(f"{name}.shared_gate", (1, hidden))
    return weights


def attention_weights(source: Source, name: str, a: object, hidden: int, tp: int, part: int) -> Weights:
    """One attention on one of ``tp`` ranks: its query heads, and the KV heads that they read; of a latent
    attention its heads, and the compressing matrices whole. Row-parallel biases are held by all and added once."""
    if isinstance(a, LatentAttention):
        return _latent(source, name, a, hidden, tp, part)
    if not isinstance(a, SoftmaxAttention):
        raise RunError(f"layer {name}: {type(a).__name__} is not run yet")
    queries, keys = head_slices(a, tp)[part]
    q = slice(queries.start * a.head_dim, queries.stop * a.head_dim)
    k = slice(keys[0] * a.head_dim, (keys[-1] + 1) * a.head_dim)
    v = slice(keys[0] * a.v_dim, (keys[-1] + 1) * a.v_dim)
    sizes = {"q": (a.heads * a.head_dim, q), "k": (a.kv_heads * a.head_dim, k), "v": (a.kv_heads * a.v_dim, v)}
    read = source.tensor
    columns = slice(queries.start * a.v_dim, queries.stop * a.v_dim)
    weights: Weights = {
        "qkv": matrix(source, [(f"{name}.{p}_proj", size, rows) for p, (size, rows) in sizes.items()], hidden),
        "o": matrix(source, [(f"{name}.o_proj", hidden, WHOLE)], a.heads * a.v_dim, columns),
    }
    if a.qkv_bias:
        weights["qkv_bias"] = torch.cat([read(f"{name}.{p}_bias", (size,), rows) for p, (size, rows) in sizes.items()])
    if a.output_bias:
        weights["o_bias"] = read(f"{name}.o_bias", (hidden,))
    if a.qk_norm == "head":
        weights["q_norm"] = read(f"{name}.q_norm", (a.head_dim,))
        weights["k_norm"] = read(f"{name}.k_norm", (a.head_dim,))
    if a.sinks:
        weights["sinks"] = read(f"{name}.sinks", (a.heads,), slice(queries.start, queries.stop))
    return weights


def _latent(source: Source, name: str, a: LatentAttention, hidden: int, tp: int, part: int) -> Weights:
    heads, _ = head_slices(a, tp)[part]
    q_dim, kv_dim = a.nope_dim + a.rope_dim, a.nope_dim + a.value_dim
    rows = slice(heads.start * q_dim, heads.stop * q_dim)
    read = source.tensor
    weights: Weights = {}
    if a.q_rank is None:
        weights["q"] = matrix(source, [(f"{name}.q_proj", a.heads * q_dim, rows)], hidden)
    else:
        weights["q_a"] = matrix(source, [(f"{name}.q_a_proj", a.q_rank, WHOLE)], hidden)
        weights["q_a_norm"] = read(f"{name}.q_a_norm", (a.q_rank,))
        weights["q_b"] = matrix(source, [(f"{name}.q_b_proj", a.heads * q_dim, rows)], a.q_rank)
    weights["kv_a"] = matrix(source, [(f"{name}.kv_a_proj", a.kv_rank + a.rope_dim, WHOLE)], hidden)
    weights["kv_a_norm"] = read(f"{name}.kv_a_norm", (a.kv_rank,))
    weights["kv_b"] = read(
        f"{name}.kv_b_proj", (a.heads * kv_dim, a.kv_rank), slice(heads.start * kv_dim, heads.stop * kv_dim)
    )
    columns = slice(heads.start * a.value_dim, heads.stop * a.value_dim)
    weights["o"] = matrix(source, [(f"{name}.o_proj", hidden, WHOLE)], a.heads * a.value_dim, columns)
    if a.bias:
        if a.q_rank is not None:
            weights["q_a_bias"] = read(f"{name}.q_a_bias", (a.q_rank,))
        weights["kv_a_bias"] = read(f"{name}.kv_a_bias", (a.kv_rank + a.rope_dim,))
        weights["o_bias"] = read(f"{name}.o_bias", (hidden,))
    return weights


def mlp_weights(source: Source, name: str, width: int, hidden: int, gated: bool, parts: int, part: int) -> Weights:
    """A feed-forward's two products, the ``part``-th of ``parts`` of its width; of gate and up the same rows."""
    mine = part_of(width, part, parts)
    up = matrix(source, [(f"{name}.{p}", width, mine) for p in (("gate", "up") if gated else ("up",))], hidden)
    return {"up": up, "down": matrix(source, [(f"{name}.down", hidden, WHOLE)], width, mine)}


def _experts(source: Source, name: str, ffn: MoeFfn, hidden: int, held: list[int], parts: int, part: int) -> Weights:
    """Up [slots, ups · width, hidden], down [slots, hidden, width] and their biases. Of a divided expert's down
    bias each part adds its own columns, and holds only those."""
    each = [mlp_weights(source, f"{name}.experts.{e}", ffn.width, hidden, ffn.gated, parts, part) for e in held]
    weights = {"experts_up": _stack([w.pop("up") for w in each]), "experts_down": _stack([w.pop("down") for w in each])}
    if ffn.bias:
        mine, columns = part_of(ffn.width, part, parts), part_of(hidden, part, parts)
        kinds = ("gate", "up") if ffn.gated else ("up",)
        read = source.tensor
        weights["experts_up_bias"] = torch.stack(
            [torch.cat([read(f"{name}.experts.{e}.{p}_bias", (ffn.width,), mine) for p in kinds]) for e in held]
        )
        weights["experts_down_bias"] = torch.stack(
            [read(f"{name}.experts.{e}.down_bias", (hidden,), columns) for e in held]
        )
    return weights


def _stack(each: list[Any]) -> Tensor | Scaled:
    """torch.stack that lets go of what it has copied."""
    if isinstance(each[0], Scaled):
        return stack(each)
    out: Tensor = each[0].new_empty(len(each), *each[0].shape)
    for i in range(len(each)):
        out[i], each[i] = each[i], out
    return out


def vocabulary_weights(source: Source, model: ModelSpec, tp: int, part: int, first: bool, last: bool) -> Weights:
    """Embedding (first stage), head and final norm (last), rows of the vocabulary divided over tp."""
    weights: Weights = {}
    if model.vocab_size:
        shape, mine = (model.vocab_size, model.hidden_size), part_of(model.vocab_size, part, tp)
        if first or (last and model.tied_embeddings):
            weights["embedding"] = source.tensor("embedding", shape, mine)
        if last:
            weights["head"] = weights["embedding"] if model.tied_embeddings else source.tensor("head", shape, mine)
    if last and model.final_norm:
        weights["final_norm"] = source.tensor("final_norm", (model.hidden_size,))
    return weights
