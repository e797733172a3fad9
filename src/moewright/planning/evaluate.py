"""Seconds, memory and throughput of every candidate of a table at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.precision import element_bytes
from moewright.case.workload import Kind
from moewright.cost import memory
from moewright.cost.arrays import Array, array, total
from moewright.cost.batch import Batch, batch_of
from moewright.cost.ends import embedding_work, head_work
from moewright.cost.layer import layer_work
from moewright.cost.network import Groups
from moewright.cost.pipeline import overlapped, pass_seconds, round_seconds, stage_seconds
from moewright.cost.prices.measured import Measured
from moewright.cost.prices.price import Price, Priced
from moewright.cost.prices.profiled import Profiled
from moewright.cost.prices.roofline import Roofline
from moewright.cost.prices.silicon import system_of, tables_of
from moewright.cost.shapes import groups_of
from moewright.cost.table import Table
from moewright.cost.work import Collective, Pass, Work
from moewright.planning.bounds import check_units
from moewright.planning.expert_loads import expert_load, moes


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """One kind of layer: its priced operations (per chunk), and seconds of one micro-batch with what overlap hides."""

    operations: list[Priced]
    seconds: Array
    hidden: Array


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Arrays [rows]. ``seconds``: latency of the batch (decode: one step). ``period``: seconds between batches when the
    pipeline is kept full, ``in_flight`` of them in it. ``slowest``: the stage that sets the pace. ``transfer``: one
    message between stages. ``memory``: bytes by line of the fullest stage, ``memory_total`` with activations and
    buffers."""

    work: Pass
    layers: list[LayerTimes]
    embedding: list[Priced]
    head: list[Priced]
    seconds: Array
    period: Array
    slowest: Array
    in_flight: Array
    transfer: Array
    memory: dict[str, Array]
    activations: Array
    buffers: Array
    memory_total: Array
    straggler: Array


def price_of(case: Case) -> Price:
    """The price of a case by its own device: a machine's profile where it was measured, the tables that the case names
    where they have it, else the roofline."""
    precision, cluster = case.model.precision, case.cluster
    if case.tables is not None and (system := system_of(cluster.device.name, case.tables.folder)) is not None:
        return Measured(cluster, precision, tables_of(case.tables.folder, system, case.tables.engine))
    return Roofline(cluster, precision) if cluster.device.measured is None else Profiled(cluster, precision)


def pass_of(case: Case, table: Table, batch: Batch, groups: Groups | None = None) -> Pass:
    """The way of ``batch`` through the layers, under every row of ``table``."""
    groups = groups or groups_of(table, case.cluster)
    loads = {moe: expert_load(case, table, batch.routed, moe, groups.ep) for moe in moes(case)}
    return Pass(case, table, batch, groups, loads)


def layer_times(price: Price, t: Table, work: list[Work]) -> LayerTimes:
    """``work`` of a layer priced, and its seconds under the overlap of ``t``."""
    priced = price.price(work)
    compute = total(x.seconds for x in priced if not x.is_collective)
    exchange = total(x.seconds for x in priced if x.is_collective)
    return LayerTimes(priced, *overlapped(compute, exchange, t))


def end_passes(p: Pass) -> Pass:
    """``p`` with the chunk of a whole micro-batch, as the model's ends see it: halves of two_batch together."""
    b, halves = p.batch, array(p.table.halves)
    whole = replace(
        b,
        prompts=b.prompts * halves,
        decodes=b.decodes * halves,
        tokens=b.tokens * halves,
        own=b.own * halves,
        routed=b.routed * halves,
        logits=b.logits * halves,
    )
    return replace(p, batch=whole)


def boundary_bytes(p: Pass) -> Array:
    """Bytes of a micro-batch's residual stream that a rank hands to the next stage."""
    model = p.case.model
    return p.batch.own * p.table.halves * model.hidden_size * element_bytes(model.precision.residual)


def hop_seconds(price: Price, p: Pass) -> Array:
    """Seconds of handing a micro-batch on to the next stage."""
    g, size = p.groups.pp, boundary_bytes(p)
    none = np.zeros(size.shape)
    happens = (g.size > 1) & (size > 0)
    send = Work("stage_transfer", "communication", Collective("send", g, size, size), none, none, happens)
    return price.price([send])[0].seconds


def evaluate_table(case: Case, table: Table, price: Price | None = None) -> Evaluation:
    """Price every row of ``table``, by ``price`` or by the case's own."""
    check_units(case)
    price = price or price_of(case)
    p = pass_of(case, table, batch_of(case.workload, table))
    layers = [layer_times(price, table, layer_work(p, layer)) for layer, _ in case.model.layer_kinds()]
    whole = end_passes(p)
    embedding = price.price(embedding_work(whole))
    head = price.price(head_work(whole, case.workload.kind is Kind.FORWARD))
    transfer = hop_seconds(price, p)
    ends = (total(x.seconds for x in end) for end in (embedding, head))
    stages = stage_seconds(case.model, table.pp, [x.seconds for x in layers], *ends)
    micro = array(table.micro_batches)
    if case.workload.kind is Kind.DECODE:
        seconds = period = round_seconds(stages, table.pp, micro, transfer)
    else:
        seconds, period = pass_seconds(stages, table.pp, micro, transfer)
    # a pipeline that is kept full holds the caches of all batches in it
    in_flight = np.ceil(seconds / period - 1e-9)
    lines = memory.stage_memory(p, in_flight)
    activations, buffers = memory.activation_bytes(p), memory.buffer_bytes(p)
    first = next(iter(p.loads.values()), None)
    return Evaluation(
        p,
        layers,
        embedding,
        head,
        seconds,
        period,
        stages.which,
        in_flight,
        transfer,
        lines,
        activations,
        buffers,
        sum(lines.values(), start=np.zeros(1)) + activations + buffers,
        np.ones(table.pp.shape) if first is None else first.straggler,
    )
