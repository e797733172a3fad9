"""Embedding and head: the work at the two ends of the model, of a whole micro-batch (halves of two_batch meet again
before the head)."""

from __future__ import annotations

import numpy as np

from moewright.case.precision import element_bytes
from moewright.cost.arrays import array, where
from moewright.cost.layer import collective_work
from moewright.cost.work import Matrix, Pass, Products, Stream, Work


def embedding_work(p: Pass) -> list[Work]:
    """Rows looked up in a table divided over tp, and their sum (reduce-scatter or all-reduce)."""
    model, b, replicated = p.case.model, p.batch, p.table.replicated
    if not model.vocab_size:
        return []
    buffer = b.tokens * model.hidden_size * element_bytes(model.precision.residual)
    none = np.zeros(buffer.shape)
    lookup = Work("embedding", "head", Stream(where(buffer > 0, 1.0, 0.0)), none, 2 * buffer, buffer > 0)
    return [
        lookup,
        collective_work("embedding_reduce", "reduce_scatter", p.groups.tp, buffer, ~replicated),
        collective_work("embedding_reduce", "all_reduce", p.groups.tp, buffer, replicated),
    ]


def head_work(p: Pass, all_logits: bool) -> list[Work]:
    """Logits of the head's tokens over a vocabulary divided over tp. Under all_to_all those tokens, divided over
    tp too, come together first. ``all_logits``: of a forward pass, which leaves them divided; else the logits of
    one token a sequence are gathered after."""
    model, b, t = p.case.model, p.batch, p.table
    if not model.vocab_size:
        return []
    wide = element_bytes(model.precision.residual)
    columns = model.vocab_size / array(t.tp)
    weights = columns * model.hidden_size
    read = weights * element_bytes(model.precision.weight("vocabulary"))
    traffic = where(b.logits > 0, read + b.logits * 2.0 * (model.hidden_size + columns), 0.0)
    shape = Products("vocabulary", (Matrix(b.logits, columns, array(float(model.hidden_size))),))
    head = Work("head", "head", shape, 2.0 * b.logits * weights, traffic, b.logits > 0)
    together = b.logits * model.hidden_size * wide
    work = [collective_work("head_gather", "all_gather", p.groups.tp, together, ~t.replicated), head]
    if all_logits:
        return work
    buffer = b.logits * model.vocab_size * wide
    everywhere = np.ones(buffer.shape, dtype=np.bool_)
    return [*work, collective_work("logits_gather", "all_gather", p.groups.tp, buffer, everywhere)]
