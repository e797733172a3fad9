"""Bytes that every rank must send, from the strategy and from where the unsharded model routed its tokens.

Nothing here looks at the executor: counts follow from who owns which token and which rank holds which expert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.case.model import LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.strategy import Dispatch, Gate
from moewright.cost.layer import CHOICE
from moewright.placement.assignment import Assignment, head_slices, rows_of
from moewright.run.ranks.schedule import Chunk, last, positions


@dataclass(frozen=True, slots=True)
class Prediction:
    """``sent``: operation → bytes of every rank, shape [gpus]; ``copies``: layer → routed copies that every rank
    computes, shape [gpus]."""

    sent: dict[str, np.ndarray]
    copies: dict[int, np.ndarray]


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes to price: for each, the chunks of every attention group (replica · dp + its dp coordinate).
    ``every``: logits of all tokens are wanted; ``sampled``: tokens follow from them."""

    chunks: Sequence[Sequence[Sequence[Chunk]]]
    every: bool
    sampled: bool


def predict(
    model: ModelSpec, a: Assignment, passes: Passes, routing: dict[int, np.ndarray], element: int = 4
) -> Prediction:
    """What each rank sends over all ``passes``, in elements of ``element`` bytes.

    ``routing``: layer → experts [batch, length, top_k] of every token.
    """
    sent: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(a.gpus, dtype=np.int64))
    copies = {i: np.zeros(a.gpus, dtype=np.int64) for i in model.moe_layers()}
    group = (a.ranks.replica * a.strategy.attention.dp + a.ranks.dp) * a.strategy.attention.cp + a.ranks.cp
    for groups in passes.chunks:
        for index in range(len(groups[0])):
            now = [chunks[index] for chunks in groups]
            tokens = np.array([chunk.tokens for chunk in now])[group]
            sequences = np.array([len(last(chunk)) for chunk in now])[group]
            _even(model, a, tokens, sequences, passes, element, sent)
            if a.strategy.attention.dcp > 1 and any(now[0].starts):
                _split_caches(model, a, tokens, element, sent)
            for position in model.moe_layers():
                _routed(model, a, position, now, routing[position], element, sent, copies[position])
            if not passes.every and model.vocab_size and a.strategy.experts.dispatch is not Dispatch.REPLICATED:
                _last_rows(model, a, now, group, element, sent)
    return Prediction({name: values for name, values in sent.items() if values.any()}, copies)


def _even(
    model: ModelSpec,
    a: Assignment,
    tokens: np.ndarray,
    sequences: np.ndarray,
    passes: Passes,
    element: int,
    sent: dict[str, np.ndarray],
) -> None:
    """Everything but the exchanges: what follows from the number of tokens alone."""
    s, tp, row = a.strategy, a.strategy.attention.tp, model.hidden_size * element
    replicated = s.experts.dispatch is Dispatch.REPLICATED
    own = tokens if replicated else -(-tokens // tp)
    gated = s.experts.gate is Gate.LEADER
    once = 2 * (tp - 1) * tokens * row // tp if replicated else (tp - 1) * own * row
    first, final = a.ranks.stage == 0, a.ranks.stage == s.pp - 1

    def over_tp(name: str, here: np.ndarray) -> None:
        if tp > 1:
            sent[name] += np.where(here, once, 0)

    for position, layer in enumerate(model.layers):
        ffn, here = layer.ffn, a.stage_mask(position)
        if s.attention.cp > 1:
            sent["context_gather"] += here * tokens * (s.attention.cp - 1) * _cached_width(layer, a) * element
        names = ["attention_reduce"] + ([] if replicated else ["attention_gather"])
        if not isinstance(ffn, MoeFfn):
            names += ["dense_reduce"] + ([] if replicated else ["dense_gather"])
        elif ffn.shared_width and not replicated:
            names += ["shared_gather", "shared_reduce"]
        for name in names:
            over_tp(name, here)
        if isinstance(ffn, MoeFfn) and gated:
            sent["gate_broadcast"] += np.where(here & (a.ranks.tp == 0), (tp - 1) * tokens * ffn.top_k * CHOICE, 0)
    if s.pp > 1:
        sent["stage_transfer"] += np.where(final, 0, own * row)
    if not model.vocab_size:
        return
    over_tp("embedding_reduce", first)
    if passes.every and not replicated:
        over_tp("head_gather", final)
    if passes.sampled:
        widest = int(rows_of(model.vocab_size, tp)[0])
        sent["logits_gather"] += np.where(final, (tp - 1) * widest * sequences * element, 0)


def _split_caches(
    model: ModelSpec, a: Assignment, tokens: np.ndarray, element: int, sent: dict[str, np.ndarray]
) -> None:
    """Decode context parallelism: each rank's queries to the other ranks of its group; the fp32 sums of all the group's
    heads; and their outputs, but for its own heads. MLA's queries and outputs are as wide as its latent."""
    dcp = a.strategy.attention.dcp
    for position, layer in enumerate(model.layers):
        here, at = a.stage_mask(position), layer.attention
        heads = at.heads // a.strategy.attention.tp
        if isinstance(at, LatentAttention):
            query, out = at.kv_rank + at.rope_dim, at.kv_rank
        else:
            assert isinstance(at, SoftmaxAttention)
            query, out = at.head_dim, at.v_dim
        others = here * tokens * heads * (dcp - 1)
        sent["query_gather"] += others * query * element
        sent["score_sum_gather"] += others * dcp * 4
        sent["attention_output_reduce"] += others * out * element


def _cached_width(layer: Layer, a: Assignment) -> np.ndarray | int:
    """Elements of keys and values (of MLA: latent and rotated key) that a token leaves on every rank."""
    attention = layer.attention
    if isinstance(attention, SoftmaxAttention):
        heads = np.array([len(kv) for _, kv in head_slices(attention, a.strategy.attention.tp)])
        return np.asarray(heads[a.ranks.tp] * (attention.head_dim + attention.v_dim))
    assert isinstance(attention, LatentAttention)
    return attention.kv_rank + attention.rope_dim


def _last_rows(
    model: ModelSpec,
    a: Assignment,
    now: list[Chunk],
    group: np.ndarray,
    element: int,
    sent: dict[str, np.ndarray],
) -> None:
    """The last tokens of the sequences, from the tp ranks that own them to the others."""
    tp = a.strategy.attention.tp
    for rank in np.flatnonzero(a.ranks.stage == a.strategy.pp - 1):
        chunk = now[group[rank]]
        ends = last(chunk)
        mine = int((ends // -(-chunk.tokens // tp) == a.ranks.tp[rank]).sum())
        sent["head_gather"][rank] += (tp - 1) * mine * model.hidden_size * element


def _routed(
    model: ModelSpec,
    a: Assignment,
    position: int,
    now: list[Chunk],
    routing: np.ndarray,
    element: int,
    sent: dict[str, np.ndarray],
    copies: np.ndarray,
) -> None:
    """Dispatch and combine of one layer, one chunk of every group."""
    s, ffn = a.strategy, model.layers[position].ffn
    assert isinstance(ffn, MoeFfn)
    replicated = s.experts.dispatch is Dispatch.REPLICATED
    homes = _homes(a.experts[model.moe_layers().index(position)], ffn.experts)
    row, ranks = model.hidden_size * element, np.flatnonzero(a.stage_mask(position))
    for replica in range(s.replicas):
        here = ranks[a.ranks.replica[ranks] == replica]
        each = s.attention.dp * s.attention.cp
        first = replica * each
        goes, count = _goes(a, here, now[first : first + each], routing, homes)
        # under replicated all ranks have the same tokens
        copies[here] += (count[0] if replicated else count.sum(axis=0))[a.ranks.ep[here]]
        if not replicated:
            _add_exchange(a, here, goes, row, ffn.top_k * CHOICE, sent)
        elif s.stage > 1:
            sent["combine"][here] += 2 * (s.stage - 1) * now[first].tokens * row // s.stage


def _homes(placed: np.ndarray, experts: int) -> list[list[int]]:
    homes: list[list[int]] = [[] for _ in range(experts)]
    for rank, held in enumerate(placed.tolist()):
        for expert in held:
            homes[expert].append(rank)
    return homes


def _goes(
    a: Assignment, here: np.ndarray, chunks: list[Chunk], routing: np.ndarray, homes: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """For the ranks ``here`` of one stage and replica: distinct copies sent to each ep rank, and routed copies
    for each, both [ranks, ep]."""
    s, ep, tp = a.strategy, a.strategy.experts.ep, a.strategy.attention.tp
    goes, count = np.zeros((len(here), ep), dtype=np.int64), np.zeros((len(here), ep), dtype=np.int64)
    replicated = s.experts.dispatch is Dispatch.REPLICATED
    of_group = []
    for chunk in chunks:
        row, position = positions(chunk)
        of_group.append(routing[np.array(chunk.sequences)[row], position])
    for i, rank in enumerate(here):
        chosen = of_group[a.ranks.dp[rank] * s.attention.cp + a.ranks.cp[rank]]
        own = len(chosen) if replicated else -(-len(chosen) // tp)
        start = 0 if replicated else int(a.ranks.tp[rank]) * own
        for turn, experts in enumerate(chosen[start : start + own].tolist()):
            to = [homes[e][turn % len(homes[e])] for e in experts]
            for rank_to in to:
                count[i, rank_to] += 1
            for rank_to in set(to):
                goes[i, rank_to] += 1
    return goes, count


def _add_exchange(
    a: Assignment, here: np.ndarray, goes: np.ndarray, row: int, choices: int, sent: dict[str, np.ndarray]
) -> None:
    """Dispatch, gather over etp, reduce over etp, combine; and the choices that travel with the tokens."""
    ep, etp = a.ranks.ep[here], a.ranks.etp[here]
    members = a.strategy.experts.tp
    away = goes.copy()
    away[np.arange(len(here)), ep] = 0
    # rank (e, t) receives from the ranks of its own etp coordinate
    arrived = np.array([goes[etp == t][:, e].sum() for e, t in zip(ep, etp, strict=True)])
    others = np.array([arrived[(ep == e)].sum() for e in ep]) - arrived
    back = arrived - goes[np.arange(len(here)), ep]
    if a.strategy.experts.ep > 1:
        sent["dispatch"][here] += away.sum(axis=1) * row
        sent["dispatch_routing"][here] += away.sum(axis=1) * choices
        sent["combine"][here] += back * row
    if members > 1:
        sent["expert_gather"][here] += arrived * (members - 1) * row
        sent["expert_gather_routing"][here] += arrived * (members - 1) * choices
        sent["expert_reduce"][here] += others * row
