"""Bytes that every rank must send, from the strategy and from where the unsharded model routed its tokens.

Nothing here looks at the executor: counts follow from who owns which token and which rank holds which expert.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from moewright.place.assignment import Assignment
from moewright.spec.case import Case
from moewright.spec.model import MoeFfn
from moewright.spec.strategy import Dispatch, Overlap


@dataclass(frozen=True, slots=True)
class Prediction:
    """``sent``: operation → bytes of every rank, shape [gpus]; ``copies``: layer → routed copies that every rank
    computes, shape [gpus]."""

    sent: dict[str, np.ndarray]
    copies: dict[int, np.ndarray]


def predict(case: Case, a: Assignment, batch: int, routing: dict[int, np.ndarray], element: int = 4) -> Prediction:
    """What each rank sends in one pass over ``batch`` sequences, in elements of ``element`` bytes.

    ``routing``: layer → experts [batch, length, top_k] of every token.
    """
    s, model = a.strategy, case.model
    tp, stage, gpus = s.attention.tp, s.stage, a.gpus
    replicated = s.experts.dispatch is Dispatch.REPLICATED
    halves = 2 if s.overlap is Overlap.TWO_BATCH else 1
    each = batch // (s.replicas * s.attention.dp)
    size = each // s.micro_batches // halves
    chunks, tokens = s.micro_batches * halves, size * case.workload.sequence
    own = tokens if replicated else -(-tokens // tp)
    row = model.hidden_size * element
    sent: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(gpus, dtype=np.int64))
    copies: dict[int, np.ndarray] = {}

    def shared_out(name: str, ranks: np.ndarray, width: int = row) -> None:
        """A gather or a reduce-scatter of a chunk's tokens over tp, or the all-reduce in its place."""
        if tp > 1:
            whole = 2 * (tp - 1) * tokens * width // tp
            sent[name][ranks] += chunks * (whole if replicated else (tp - 1) * own * width)

    for position, layer in enumerate(model.layers):
        ranks = np.flatnonzero(a.stage_mask(position))
        names = ["attention_reduce"] + ([] if replicated else ["attention_gather"])
        ffn = layer.ffn
        if not isinstance(ffn, MoeFfn):
            names += ["dense_reduce"] + ([] if replicated else ["dense_gather"])
        elif ffn.shared_width and not replicated:
            names += ["shared_gather", "shared_reduce"]
        for name in names:
            shared_out(name, ranks)
        if not isinstance(ffn, MoeFfn):
            continue
        homes = _homes(a.experts[model.moe_layers().index(position)], ffn.experts)
        copies[position] = np.zeros(gpus, dtype=np.int64)
        for replica in range(s.replicas):
            here = ranks[a.ranks.replica[ranks] == replica]
            for chunk in range(chunks):
                goes, count = _goes(a, here, routing[position], homes, (each, size, chunk, own, tokens))
                copies[position][here] += _computed(a, here, count, replicated)
                if replicated:
                    if stage > 1:
                        sent["combine"][here] += 2 * (stage - 1) * tokens * row // stage
                else:
                    _add_exchange(a, here, goes, row, 2 * ffn.top_k * element, sent)
    if s.pp > 1:
        sent["stage_transfer"][a.ranks.stage < s.pp - 1] += chunks * own * row
    if model.vocab_size:
        shared_out("embedding_reduce", np.flatnonzero(a.ranks.stage == 0))
        if not replicated:
            shared_out("head_gather", np.flatnonzero(a.ranks.stage == s.pp - 1))
    return Prediction({name: values for name, values in sent.items() if values.any()}, copies)


def _homes(placed: np.ndarray, experts: int) -> list[list[int]]:
    homes: list[list[int]] = [[] for _ in range(experts)]
    for rank, held in enumerate(placed.tolist()):
        for expert in held:
            homes[expert].append(rank)
    return homes


def _goes(
    a: Assignment, here: np.ndarray, routing: np.ndarray, homes: list[list[int]], sizes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """For the ranks ``here`` of one stage and replica: distinct copies sent to each ep rank, and routed copies
    for each, both [ranks, ep]."""
    each, size, chunk, own, tokens = sizes
    s, ep = a.strategy, a.strategy.experts.ep
    goes, count = np.zeros((len(here), ep), dtype=np.int64), np.zeros((len(here), ep), dtype=np.int64)
    for i, rank in enumerate(here):
        first = (int(a.ranks.replica[rank]) * s.attention.dp + int(a.ranks.dp[rank])) * each + chunk * size
        chosen = routing[first : first + size].reshape(tokens, -1)
        start = 0 if s.experts.dispatch is Dispatch.REPLICATED else int(a.ranks.tp[rank]) * own
        for turn, experts in enumerate(chosen[start : min(start + own, tokens)].tolist()):
            to = [homes[e][turn % len(homes[e])] for e in experts]
            for rank_to in to:
                count[i, rank_to] += 1
            for rank_to in set(to):
                goes[i, rank_to] += 1
    return goes, count


def _computed(a: Assignment, here: np.ndarray, count: np.ndarray, replicated: bool) -> np.ndarray:
    """Routed copies that each of the ranks computes: those for its ep rank, of all ranks' tokens (under
    replicated all ranks have the same)."""
    total = count[0] if replicated else count.sum(axis=0)
    return np.asarray(total[a.ranks.ep[here]])


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
