"""A rank's part of the layers of a training step: tokens divided over tp between attention and experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.model import Attention, LatentAttention, MoeFfn
from moewright.run.train.expert_step import experts_of_rank
from moewright.run.train.operations.context_exchange import Core, attended
from moewright.run.train.operations.graph_collectives import scatter
from moewright.run.train.operations.step_functions import (
    activated,
    computed_again,
    cross_entropy,
    from_inputs,
    looked_up,
    turned,
)
from moewright.run.train.operations.step_products import matrix, products
from moewright.run.train.plain import EPS
from moewright.run.train.rank_model import RankModel
from moewright.run.train.train_place import group_positions


def embedded(r: RankModel, ids: Tensor) -> Tensor:
    """Hidden states of the rank's own tokens [tokens, batch, hidden] of ``ids`` [batch, sequence + 1]: each tp rank
    looks up its rows of the vocabulary, for the tokens of all."""
    table, p = r.open("embedding")["embedding"], r.place
    at = group_positions(p, r.sequence, p.at("cp"))
    return scatter(looked_up(table, ids[:, at].T - p.at("tp") * len(table)), "embedding_reduce", p.tp, r.traffic)


def layer_of(r: RankModel, x: Tensor, i: int) -> Tensor:
    """Layer ``i`` of [own tokens, batch, hidden]."""
    layer, w, own = r.model.layers[i], r.open(str(i)), r.tuning.of_layer(r.model, i)
    x = x + _attention(r, r.normed(x, w["norm1"]), w, layer.attention)
    y = r.normed(x, w["norm2"])
    ffn = layer.ffn
    if not isinstance(ffn, MoeFfn):
        return x + _module(r, "mlp", lambda z: _feed_forward(r, z, w, "dense"), y, own.has("dense"))

    def moe(z: Tensor) -> Tensor:
        done = experts_of_rank(r, z, w, ffn)
        if not ffn.shared_width:
            return done
        alone = "" if "moe" in r.again else "shared_experts"
        return done + _module(r, alone, lambda a: _feed_forward(r, a, w, "shared"), z, own.has("shared_experts"))

    return x + _module(r, "moe", moe, y, any(own.has(part) for part in ("router", "experts", "shared_experts")))


def _module(r: RankModel, name: str, function: Callable[[Tensor], Tensor], x: Tensor, trained: bool) -> Tensor:
    """``function``, computed again where ``name`` is."""
    return computed_again(function, trained, x) if name in r.again else function(x)


# --- attention ---


def _attention(r: RankModel, y: Tensor, w: Mapping[str, Tensor], a: Attention) -> Tensor:
    p = r.place
    at, core = group_positions(p, r.sequence, p.at("cp")), Core.of(p, r.sequence, r.traffic)
    made = _latent(r, y, w, a, at) if isinstance(a, LatentAttention) else _grouped(r, y, w, a, at)
    if "core_attn" in r.again:
        done = computed_again(lambda q, k, v: attended(core, q, k, v), False, *made)
    else:
        done = attended(core, *made)
    (out,) = products(r.call(""), done.flatten(2), matrix(w, "o"))
    return scatter(out, "attention_reduce", p.tp, r.traffic)


def _grouped(
    r: RankModel, y: Tensor, w: Mapping[str, Tensor], a: Attention, at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    heads = (a.heads // r.place.strategy.tp, *(a.kv_heads // r.place.strategy.tp,) * 2)
    made = products(r.call("attention_gather"), y, *(matrix(w, kind) for kind in "qkv"))
    q, k, v = (x.view(*x.shape[:-1], n, -1) for x, n in zip(made, heads, strict=True))
    return turned(q, at), turned(k, at), v


def _latent(
    r: RankModel, y: Tensor, w: Mapping[str, Tensor], a: LatentAttention, at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, then what they expand to, which is not kept where MLA's expansion is computed again."""
    kinds = ("q_a", "kv_a") if a.q_rank else ("q_b", "kv_a")
    source, low = products(r.call("attention_gather"), y, *(matrix(w, kind) for kind in kinds))
    made = _expanded(r, source, low, w, a, at)
    if "mla_up_proj" in r.again:
        kept = source.detach(), low.detach()

        def remade(which: int) -> Tensor:
            return _expanded(r, *kept, w, a, at)[which]

        for n, x in enumerate(made):
            r.kept.make_again(x, partial(remade, n), *kept)
    return made


def _expanded(
    r: RankModel, source: Tensor, low: Tensor, w: Mapping[str, Tensor], a: LatentAttention, at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    def latent(x: Tensor, weight: Tensor) -> Tensor:
        x = x[..., : len(weight)]
        y = from_inputs(lambda s, t: torch.nn.functional.rms_norm(s, (len(t),), t, EPS), x, weight)
        if "mla_up_proj" not in r.again:
            return y
        own = x.detach()
        return r.kept.make_again(y, lambda: torch.nn.functional.rms_norm(own, (len(weight),), weight, EPS), own)

    if a.q_rank:
        (source,) = products(r.call(""), latent(source, w["q_a_norm"]), matrix(w, "q_b"))
    queries = source.view(*source.shape[:-1], -1, a.nope_dim + a.rope_dim)
    plain, rope = torch.split(queries, [a.nope_dim, a.rope_dim], -1)
    (both,) = products(r.call(""), latent(low, w["kv_a_norm"]), matrix(w, "kv_b"))
    wide = both.view(*both.shape[:-1], -1, a.nope_dim + a.value_dim)
    keys, values = torch.split(wide, [a.nope_dim, a.value_dim], -1)
    shared = turned(low[..., None, a.kv_rank :], at).expand(-1, -1, keys.shape[2], -1)
    return torch.cat((plain, turned(rope, at)), -1), torch.cat((keys, shared), -1), values.contiguous()


# --- feed-forward, head ---


def _feed_forward(r: RankModel, y: Tensor, w: Mapping[str, Tensor], kind: str) -> Tensor:
    """A dense feed-forward, or the shared experts, of the part of the width that is here."""
    (up,) = products(r.call(f"{kind}_gather"), y, matrix(w, f"{kind}_up"))
    (down,) = products(r.call(""), from_inputs(activated, up), matrix(w, f"{kind}_down"))
    return scatter(down, f"{kind}_reduce", r.place.tp, r.traffic)


def head_loss(r: RankModel, x: Tensor, ids: Tensor) -> Tensor:
    """Sum of the cross-entropies of the tokens of this rank's tp group, of logits divided over the vocabulary: what the
    softmax needs of the others is summed up over tp."""
    p, w = r.place, r.open("head")
    y = from_inputs(lambda a, b: torch.nn.functional.rms_norm(a, (a.shape[-1],), b, EPS), x, w["final_norm"])
    (logits,) = products(r.call("head_gather"), y, matrix(w, "head"))
    at = group_positions(p, r.sequence, p.at("cp"))
    target = ids[:, at + 1].T - p.at("tp") * len(w["head"])

    def largest(values: Tensor) -> Tensor:
        if p.strategy.tp > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX, group=p.tp)
        return values

    return cross_entropy(logits, target, (largest, lambda y: r.traffic.all_reduce("loss_sums", y, p.tp)))
