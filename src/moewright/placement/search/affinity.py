"""Experts chosen together put close together: slots exchanged where balance allows.

``counts`` [experts, experts] says how many tokens chose both of two experts. A token's pair is split where its two
replicas are on different GPUs. Replicas are drawn independently by their shares, so that the pairs split over GPUs
are Σ_{a<b} counts[a, b] · (1 − Σ_g f[a, g] · f[b, g]), f being the part of an expert's tokens on a GPU. How many
distinct GPUs a token visits does not follow from pairs: the k experts of a token on D GPUs split at least
(D − 1) · k / 2 of its pairs, so that pairs · 2 / k bounds the copies beyond the first from above, exact when all k are
together or all apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from moewright.case.loads.read_loads import number_table
from moewright.errors import SpecError
from moewright.placement.compiled.together import NODE_WEIGHT, Exchange, exchange
from moewright.placement.expert_placement import Affinity


def make_affinity(split: np.ndarray, pairs: float, token_bytes: float | None, top_k: int) -> Affinity:
    """The record of ``split`` [before or after, GPUs or nodes]."""
    after, before = split[1].tolist(), split[0].tolist()
    if token_bytes is None:
        return Affinity(pairs, *after, *before)
    each = 2 * token_bytes / top_k
    return Affinity(pairs, *after, *before, *(each * x for x in after), *(each * x for x in before))


def checked_affinity(counts: Any, layers: int, experts: int) -> np.ndarray:
    """``counts`` [experts, experts] or [layers, experts, experts] as [layers, experts, experts], diagonal 0.
    Raises SpecError."""
    try:
        table = number_table(counts)
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(f"holds no table of numbers: {str(error)[:80]}", field="affinity") from None
    if table.shape not in ((experts, experts), (1, experts, experts), (layers, experts, experts)):
        raise SpecError(
            f"has shape {table.shape}; expected [{experts}, {experts}] or [{layers}, {experts}, {experts}]",
            field="affinity",
        )
    table = np.broadcast_to(table, (layers, experts, experts)).copy()
    bad = np.argwhere(~np.isfinite(table) | (table < 0))
    if not len(bad):
        bad = np.argwhere(~np.isclose(table, table.transpose(0, 2, 1), rtol=1e-6, atol=0))
    if len(bad):
        layer, a, b = (int(x) for x in bad[0])
        raise SpecError(
            f"got {table[layer, a, b]} for experts {a} and {b} of layer {layer}, {table[layer, b, a]} for {b} and {a}; "
            "expected numbers of at least 0, the same both ways",
            field="affinity",
        )
    table[:, np.arange(experts), np.arange(experts)] = 0
    return table


def fractions(held: np.ndarray, share: np.ndarray, experts: int, parts: int) -> np.ndarray:
    """Part of each expert's tokens on each of ``parts`` runs of GPUs, shape [experts, parts]; both [gpus, slots]."""
    found = np.zeros((experts, parts))
    where = np.repeat(np.arange(parts), held.size // parts)
    np.add.at(found, (held.ravel(), where), share.ravel())
    return found


def split_pairs(counts: np.ndarray, held: np.ndarray, share: np.ndarray, nodes: int) -> tuple[float, float]:
    """Expected pairs split over GPUs, and over nodes."""
    whole = counts.sum() / 2
    found = []
    for parts in (len(held), nodes):
        f = fractions(held, share, len(counts), parts)
        found.append(max(0.0, float(whole - (f * (counts @ f)).sum() / 2)))
    return found[0], found[1]


def draw_together(loads: np.ndarray, held: np.ndarray, counts: np.ndarray, how: Exchange) -> np.ndarray:
    """``held`` [gpus, slots a GPU] with slots exchanged, equal shares, so that fewer pairs are split; in each window of
    ``loads`` [windows, experts] the largest load grows by at most the part ``how.slack``."""
    if counts.sum() <= 0 or len(held) < 2:
        return held
    many = np.bincount(held.ravel(), minlength=len(counts))
    share = 1.0 / many
    best, least = held, np.inf
    for start in (held, held if how.stay else _regroup(held, counts, share, how.nodes)):
        found = exchange(loads, start, counts, share, how)
        if not how.stay:
            found = _regroup(found, counts, share, how.nodes)
        over_gpus, over_nodes = split_pairs(counts, found, share[found], how.nodes)
        if over_gpus + NODE_WEIGHT * over_nodes < least:
            best, least = found, over_gpus + NODE_WEIGHT * over_nodes
        if how.stay or how.nodes == 1:
            break
    return best


def _regroup(held: np.ndarray, counts: np.ndarray, share: np.ndarray, nodes: int) -> np.ndarray:
    """``held`` with whole GPUs exchanged between nodes, as long as that splits fewer pairs over nodes."""
    gpus = len(held)
    if nodes == 1:
        return held
    f = fractions(held, share[held], len(counts), gpus)
    between = f.T @ counts @ f  # pairs of GPUs: what they would share in a node
    order, node = np.arange(gpus), np.repeat(np.arange(nodes), gpus // nodes)
    for _ in range(10 * gpus):
        own = between[np.ix_(order, order)]
        towards = np.stack([own[:, node == n].sum(axis=1) for n in range(nodes)], axis=1)
        stays = towards[np.arange(gpus), node]
        gain = towards[:, node] - stays[:, None]
        gain = gain + gain.T - 2 * own + np.diag(own)[None, :] + np.diag(own)[:, None]
        gain[node[:, None] == node[None, :]] = 0
        g, h = divmod(int(np.argmax(gain)), gpus)
        if gain[g, h] <= 1e-9 * between.sum():
            break
        order[[g, h]] = order[[h, g]]
    return held[order]
