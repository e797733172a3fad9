"""Embedding and head: the operations at the two ends of the model."""

from __future__ import annotations

import numpy as np

from moewright.case.precision import element_bytes
from moewright.case.workload import Kind
from moewright.cost import network
from moewright.cost.operations import Operation, Pricing
from moewright.cost.roofline import compute_seconds, unit_of
from moewright.cost.table import Numbers


def head_tokens(p: Pricing) -> Numbers:
    """Tokens of a chunk whose logits are wanted: all of a forward pass, else one per sequence."""
    return p.shapes.tokens if p.case.workload.kind is Kind.FORWARD else p.shapes.sequences


def embedding_operations(p: Pricing) -> list[Operation]:
    """Rows looked up in a table divided over tp, and their sum (reduce-scatter or all-reduce)."""
    model, s, t = p.case.model, p.shapes, p.table
    if not model.vocab_size:
        return []
    width = model.hidden_size * element_bytes(model.precision.residual)
    unit = unit_of(model.precision, "vocabulary", p.case.cluster.device)
    lookup = s.tokens * width * 2
    seconds = compute_seconds(0.0, lookup, p.case.cluster.device, unit)
    buffer = s.tokens * width
    replicated = np.asarray(t.replicated)
    summed = np.where(
        replicated,
        network.reduce_seconds(s.tp, buffer, p.case.cluster),
        network.gather_seconds(s.tp, buffer, p.case.cluster),
    )
    kind = np.where(replicated, 2.0, 1.0)
    sent = network.sent_bytes("reduce_scatter", s.tp.size, buffer) * kind
    return [
        Operation("embedding", seconds, traffic=lookup),
        Operation("embedding_reduce", summed, collective="reduce_scatter", group=s.tp, bytes=sent),
    ]


def head_operations(p: Pricing) -> list[Operation]:
    """Logits of the head's tokens over a vocabulary divided over tp. Under all_to_all those tokens, divided over
    tp too, come together first; logits of one token per sequence are gathered after."""
    model, s, t = p.case.model, p.shapes, p.table
    if not model.vocab_size:
        return []
    tokens = head_tokens(p)
    weights = model.vocab_size * model.hidden_size / t.tp
    flops = 2.0 * tokens * weights
    traffic = weights * element_bytes(model.precision.weight("vocabulary")) + tokens * 2.0 * (
        model.hidden_size + model.vocab_size / t.tp
    )
    unit = unit_of(model.precision, "vocabulary", p.case.cluster.device)
    wide = element_bytes(model.precision.residual)
    together = np.where(p.table.replicated, 0.0, tokens * model.hidden_size * wide)
    gather = Operation(
        "head_gather",
        np.where(p.table.replicated, 0.0, network.gather_seconds(s.tp, together, p.case.cluster)),
        collective="all_gather",
        group=s.tp,
        bytes=network.sent_bytes("all_gather", s.tp.size, together),
    )
    head = Operation("head", compute_seconds(flops, traffic, p.case.cluster.device, unit), flops, traffic)
    if p.case.workload.kind is Kind.FORWARD:
        return [gather, head]
    buffer = tokens * model.vocab_size * wide
    seconds = network.gather_seconds(s.tp, buffer, p.case.cluster)
    sent = network.sent_bytes("all_gather", s.tp.size, buffer)
    return [gather, head, Operation("logits_gather", seconds, collective="all_gather", group=s.tp, bytes=sent)]
