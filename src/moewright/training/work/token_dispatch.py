"""Dispatch and combine of a layer by the dispatcher: what ``cost.layer`` lists is DeepEP's way, each token once to
every rank that has any of its experts. The other two of Megatron-Core: each copy by itself, or all tokens to all ranks
(``--moe-token-dispatcher-type`` flex, alltoall, allgather)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moewright.case.model import MoeFfn
from moewright.case.precision import element_bytes
from moewright.case.train.train_strategy import Dispatcher
from moewright.cost.arrays import Array, Bools, Ints, where
from moewright.cost.layer import collective_work
from moewright.cost.network import group
from moewright.cost.work import Collective, Pass, Work
from moewright.training.layouts import DISPATCHERS


def dispatched(p: Pass, ffn: MoeFfn, work: list[Work], chosen: Ints) -> list[Work]:
    """``work`` of a layer with the exchanges of ``chosen`` dispatchers [cells]."""
    if not np.any(chosen):
        return work
    copies, gathered = (chosen == DISPATCHERS.index(d) for d in (Dispatcher.ALL_TO_ALL, Dispatcher.ALL_GATHER))
    found: list[Work] = []
    for w in work:
        c = w.collective
        if c is None or w.name not in ("dispatch", "combine", "expert_gather", "expert_reduce"):
            found.append(w)
            continue
        changed = _copy_by_copy(p, ffn, w, c, copies) if c.collective == "all_to_all" else _slices(p, ffn, w, c, copies)
        found.append(_nowhere(changed, gathered))
        if c.collective == "all_to_all" and gathered.any():
            found.append(_gathered(p, ffn, w, gathered))
    return found


def _copy_by_copy(p: Pass, ffn: MoeFfn, w: Work, c: Collective, where_: Bools) -> Work:
    """Every copy to the rank of its expert: of ``working`` copies of a token (ep − 1)/ep leave the rank."""
    t, b, straggler = p.table, p.batch, p.loads[ffn].straggler
    sent = where(w.happens, b.own * ffn.working * (t.ep - 1) / t.ep * _width(p, ffn, w), 0.0)
    shape = replace(
        c,
        sent=where(where_, sent, c.sent),
        to_ranks=where(where_, sent * straggler, c.to_ranks),
        to_nodes=where(where_, 0.0, c.to_nodes),
        forwarding=np.asarray(c.forwarding & ~where_),
    )
    return replace(w, shape=shape)


def _slices(p: Pass, ffn: MoeFfn, w: Work, c: Collective, where_: Bools) -> Work:
    """Gathering and adding up over etp: of all copies that a rank has received."""
    received = p.batch.own * ffn.working * p.loads[ffn].straggler * p.table.etp * _width(p, ffn, w)
    whole = collective_work(w.name, c.collective, c.group, received, np.ones(len(p.table), dtype=np.bool_), c.counted)
    assert whole.collective is not None
    shape = replace(
        c,
        buffer=where(where_, whole.collective.buffer, c.buffer),
        sent=where(where_, whole.collective.sent, c.sent),
    )
    return replace(w, shape=shape)


def _gathered(p: Pass, ffn: MoeFfn, w: Work, where_: Bools) -> Work:
    """All tokens of the ranks of ep and etp to each, and the sums of their outputs back."""
    t = p.table
    together = group("ep", t.ep * t.etp, np.ones_like(t.ep), p.case.cluster)
    buffer = p.batch.routed * _width(p, ffn, w)
    kind = "all_gather" if w.name == "dispatch" else "reduce_scatter"
    return collective_work(f"{w.name}_all", kind, together, buffer, where_)


def _width(p: Pass, ffn: MoeFfn, w: Work) -> float:
    """Bytes of a token on its way."""
    precision = p.case.model.precision
    there = w.name in ("dispatch", "expert_gather")
    return ffn.token_width(p.case.model.hidden_size) * element_bytes(precision.dispatch if there else precision.combine)


def _nowhere(w: Work, where_: Bools) -> Work:
    """``w``, which does not happen ``where_``."""
    c = w.collective
    assert c is not None

    def kept(x: Array) -> Array:
        return where(where_, 0.0, x)

    shape = replace(c, buffer=kept(c.buffer), sent=kept(c.sent), to_ranks=kept(c.to_ranks), to_nodes=kept(c.to_nodes))
    return replace(w, shape=shape, happens=np.asarray(w.happens & ~where_))
