"""One strategy in full: its evaluation as scalars, turned into the record of a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.case.precision import element_bytes
from moewright.case.strategy import Strategy
from moewright.case.workload import Kind
from moewright.cost.network import Group
from moewright.cost.operations import Operation
from moewright.cost.roofline import unit_of
from moewright.cost.table import Table
from moewright.placement.assignment import Assignment
from moewright.placement.ranks import groups_of, stage_layers
from moewright.planning.checks import checked
from moewright.planning.evaluate import Evaluation, bound_seconds, evaluate_table, model_flops, stage_counts
from moewright.planning.limits import limits_of, other_seconds, own_limit
from moewright.planning.naming import strategy_name
from moewright.planning.rank_totals import placed
from moewright.planning.record import (
    Balance,
    CollectiveOperation,
    Communication,
    Compute,
    Latency,
    Memory,
    Modules,
    Placement,
    Plan,
    RankGroup,
    Spread,
    Throughput,
    Weights,
)


def detail(case: Case, strategy: Strategy, batch: int, placement: bool = False) -> Plan:
    """The plan of ``strategy``: every number derived again, one by one, and checked; with its ``placement``
    where asked for."""
    e = evaluate_table(case, Table.one(strategy, batch))
    plan = checked(case, _plan(case, strategy, batch, e), e)
    return replace(plan, placement=_placement(placed(case, strategy)[0])) if placement else plan


def _placement(a: Assignment) -> Placement:
    r, first = a.ranks, a.ranks.replica == 0
    columns = ("rank", "stage", "repeat", "dp", "cp", "tp", "ep", "etp")
    rows = np.stack([np.arange(a.gpus), *(getattr(r, name) for name in columns[1:])], axis=1)[first]
    tables, of_layer = a.experts, np.empty(0, dtype=int)
    if a.experts.size:
        tables, of_layer = np.unique(a.experts, axis=0, return_inverse=True)
    return Placement(
        len(rows),
        columns,
        tuple(map(tuple, rows.tolist())),
        tuple((held.start, held.stop) for held in a.layers),
        tuple(a.model.moe_layers()),
        tuple(of_layer.ravel().tolist()),
        tuple(tuple(map(tuple, table.tolist())) for table in tables),
    )


@dataclass(frozen=True, slots=True)
class Call:
    """An operation of the rank that sets the pace, and how often it runs in a pass."""

    operation: Operation
    count: int


def calls(case: Case, s: Strategy, e: Evaluation) -> list[Call]:
    """Operations of a rank in the slowest stage, with their number of calls."""
    stage = int(e.slowest)
    chunks = int(e.pricing.table.chunks)
    found = []
    for layer, count in zip(e.layers, stage_counts(case, s.pp)[stage], strict=True):
        found += [Call(o, int(count) * chunks) for o in layer.operations if count]
    if stage == 0:
        found += [Call(o, chunks) for o in e.embedding]
    if stage == s.pp - 1:
        found += [Call(o, chunks) for o in e.head]
    return [c for c in found if float(c.operation.seconds) > 0]


def _plan(case: Case, s: Strategy, batch: int, e: Evaluation) -> Plan:
    every = calls(case, s, e)
    flops = model_flops(case, batch)
    bound, reason = bound_seconds(case, batch)
    seconds, device = float(e.seconds), case.cluster.device
    needed = sum(v / device.flops[unit_of(case.model.precision, k, device)] for k, v in flops.items())
    lines = {k: float(v) for k, v in e.memory.items()}
    cache = lines.pop("kv_cache")
    layers_seconds = sum(
        float(t.seconds) * len(positions) for t, (_, positions) in zip(e.layers, case.model.layer_kinds(), strict=True)
    )
    return Plan(
        name=strategy_name(s, case.model),
        strategy=s,
        gpus=s.gpus,
        batch=batch,
        memory=Memory(
            Weights(**lines, total=sum(lines.values())),
            cache,
            float(e.activations),
            float(e.buffers),
            float(e.memory_total),
            device.memory,
            device.memory * (1 - case.cluster.reserve),
        ),
        compute=Compute(
            sum(flops.values()),
            sum(float(c.operation.flops) * c.count for c in every),
            needed / (s.gpus * seconds),
        ),
        communication=_communication(case, s, e, every),
        latency=Latency(
            seconds,
            bound,
            reason,
            layers_seconds * s.micro_batches / len(case.model.layers),
            _breakdown(case, s, e, every),
            **_limited(case, s, batch, seconds),
        ),
        throughput=throughput(case, batch, float(e.period), s.gpus, int(e.in_flight)),
        balance=_balance(case, s, float(e.straggler)),
        modules=_modules(case, s),
        groups=_groups(case, s),
    )


def _limited(case: Case, s: Strategy, batch: int, seconds: float) -> dict[str, float]:
    """``ttft_seconds`` and ``tpot_seconds``, those that the case limits."""
    own, found = own_limit(case), {}
    for name in limits_of(case):
        taken = seconds if name == own else float(other_seconds(case, Table.one(s, batch))[0])
        found[f"{name}_seconds"] = taken
    return found


def throughput(case: Case, batch: int, period: float, gpus: int, in_flight: int) -> Throughput:
    """Tokens and sequences per second when a batch is finished every ``period`` seconds."""
    tokens = batch * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence)
    rate = tokens / period
    price = case.cluster.device.price
    cost = None if price is None else price * gpus / 3600 / rate * 1e6
    return Throughput(rate, batch / period, rate / gpus, cost, in_flight)


def _tier(g: Group) -> str:
    return "node" if float(g.local) >= float(g.size) else "fabric"


def _communication(case: Case, s: Strategy, e: Evaluation, every: list[Call]) -> Communication:
    found: dict[tuple[Any, ...], CollectiveOperation] = {}
    for c in every:
        o = c.operation
        if not o.collective or o.group is None:
            continue
        one = CollectiveOperation(
            *(
                o.name,
                o.collective,
                o.group.kind,
                int(o.group.size),
                _tier(o.group),
                float(o.bytes),
                float(o.seconds),
                c.count,
            )
        )
        key = (one.name, one.collective, one.group_size, one.bytes)
        found[key] = replace(one, count=one.count + found[key].count) if key in found else one
    if s.pp > 1:
        shapes, chunks = e.pricing.shapes, int(e.pricing.table.chunks)
        wide = element_bytes(case.model.precision.residual)
        size = float(shapes.own) * chunks / s.micro_batches * case.model.hidden_size * wide
        found[("stage",)] = CollectiveOperation(
            "stage_transfer", "send", "pp", 2, _tier(shapes.pp), size, float(e.transfer), s.micro_batches
        )
    operations = tuple(found.values())
    return Communication(sum(o.bytes * o.count for o in operations), operations)


def _breakdown(case: Case, s: Strategy, e: Evaluation, every: list[Call]) -> dict[str, float]:
    """Seconds by name; they add up to the latency."""
    parts: dict[str, float] = {}
    for c in every:
        parts[c.operation.name] = parts.get(c.operation.name, 0.0) + float(c.operation.seconds) * c.count
    counts = stage_counts(case, s.pp)[int(e.slowest)]
    hidden = sum(float(t.hidden) * int(n) for t, n in zip(e.layers, counts, strict=True)) * s.micro_batches
    if hidden:
        parts["hidden_by_overlap"] = -hidden
    idle = float(e.seconds) - sum(parts.values())
    if s.pp > 1:
        hops = s.pp if case.workload.kind is Kind.DECODE else s.pp - 1
        transfer = min(hops * float(e.transfer), max(idle, 0.0))
        parts["stage_transfer"] = transfer
        parts["pipeline_bubble"] = idle - transfer
    return parts


def _balance(case: Case, s: Strategy, straggler: float) -> Balance:
    held = [
        sum((m.experts + s.experts.redundant) / s.experts.ep / s.experts.tp for m in _experts_of(case, layers))
        for layers in stage_layers(len(case.model.layers), s.pp)
    ]
    return Balance(Spread(min(held), max(held)), straggler)


def _experts_of(case: Case, layers: range) -> list[MoeFfn]:
    ffns = (case.model.layers[i].ffn for i in layers)
    return [f for f in ffns if isinstance(f, MoeFfn)]


def _modules(case: Case, s: Strategy) -> Modules:
    experts = sum(m.experts for m in _experts_of(case, range(len(case.model.layers))))
    attention = len(case.model.layers)
    total = experts + attention
    return Modules(experts, attention, total, total * s.replicas / s.gpus)


def _groups(case: Case, s: Strategy) -> tuple[RankGroup, ...]:
    node = case.cluster.gpus_per_node
    return tuple(
        RankGroup(
            *(kind, ranks.shape[1], len(ranks), tuple(int(r) for r in ranks[0])),
            "node" if len(np.unique(ranks[0] // node)) == 1 else "fabric",
        )
        for kind, ranks in groups_of(s).items()
        if kind not in ("stage", "replica") or ranks.shape[1] > 1
    )
