"""One strategy in full: its evaluation as scalars, turned into the record of a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.case.strategy import Strategy
from moewright.case.workload import Goal, Kind
from moewright.cost.arrays import Array
from moewright.cost.memory import activation_parts, buffer_parts
from moewright.cost.network import Group, exchange_tiers
from moewright.cost.pipeline import stage_counts
from moewright.cost.prices.price import Origin, Priced, shares
from moewright.cost.prices.roofline import unit_of
from moewright.cost.table import Table
from moewright.placement.assignment import Assignment
from moewright.placement.ranks import groups_of, stage_layers
from moewright.planning.bounds import bound_seconds, model_flops
from moewright.planning.choosing.limits import limits_of, other_phase, other_seconds, own_limit
from moewright.planning.evaluate import Evaluation, boundary_bytes, evaluate_table
from moewright.planning.naming import strategy_name
from moewright.planning.proof.checks import checked
from moewright.planning.proof.rank_totals import placed
from moewright.planning.proof.walk_checks import proven
from moewright.planning.record import (
    Balance,
    CollectiveOperation,
    Communication,
    Compute,
    Latency,
    Memory,
    Modules,
    Operation,
    Placement,
    Plan,
    RankGroup,
    Spread,
    Throughput,
    Weights,
)


def detail(case: Case, strategy: Strategy, batch: int, placement: bool = False) -> Plan:
    """The plan of ``strategy``: every number derived again, one by one, and checked; with its ``placement`` and the
    walk of its ranks (``planning.proof.walk``) where asked for."""
    e = evaluate_table(case, Table.one(strategy, batch))
    plan = checked(case, _plan(case, strategy, batch, e), e)
    if not placement:
        return plan
    assignment, loads = placed(case, strategy)
    walked = proven(case, plan, assignment.experts, loads, _phases(case, strategy, batch))
    return replace(walked, placement=_placement(assignment))


def _phases(case: Case, strategy: Strategy, batch: int) -> dict[str, tuple[Case, Plan]]:
    """Name of a limit → the phase that it is held against with its plan, where that is not the case's own."""
    found = {}
    for name in limits_of(case):
        if name != own_limit(case) and (case.workload.kind is Kind.DECODE or strategy.attention.cp == 1):
            phase, s, size = other_phase(case, strategy, batch)
            found[name] = phase, _plan(replace(phase, goal=Goal()), s, size, evaluate_table(phase, Table.one(s, size)))
    return found


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

    operation: Priced
    count: int


def calls(case: Case, s: Strategy, e: Evaluation) -> list[Call]:
    """Operations of a rank in the slowest stage, with their number of calls."""
    stage = int(e.slowest[0])
    chunks = int(e.work.table.chunks[0])
    every: list[Call] = []
    for layer, count in zip(e.layers, stage_counts(case.model, s.pp)[stage], strict=True):
        every += [Call(o, int(count) * chunks) for o in layer.operations if count]
    if stage == 0:
        every += [Call(o, s.micro_batches) for o in e.embedding]
    if stage == s.pp - 1:
        every += [Call(o, s.micro_batches) for o in e.head]
    return [c for c in every if float(c.operation.seconds[0]) > 0]


def _plan(case: Case, s: Strategy, batch: int, e: Evaluation) -> Plan:
    every = calls(case, s, e)
    flops = model_flops(case, batch)
    bound, reason = bound_seconds(case, batch)
    seconds, device = _first(e.seconds), case.cluster.device
    needed = sum(v / device.flops[unit_of(case.model.precision, k, device)] for k, v in flops.items())
    lines = {k: _first(v) for k, v in e.memory.items()}
    cache = lines.pop("kv_cache")
    layers_seconds = sum(
        _first(t.seconds) * len(positions) for t, (_, positions) in zip(e.layers, case.model.layer_kinds(), strict=True)
    )
    return Plan(
        name=strategy_name(s, case.model),
        strategy=s,
        gpus=s.gpus,
        batch=batch,
        memory=Memory(
            Weights(**lines, total=sum(lines.values())),
            cache,
            _first(e.activations),
            _first(e.buffers),
            _first(e.memory_total),
            device.memory,
            device.memory * (1 - case.cluster.reserve),
            {k: _first(v) for k, v in activation_parts(e.work).items()},
            {k: _first(v) for k, v in buffer_parts(e.work).items()},
        ),
        compute=Compute(
            sum(flops.values()),
            sum(_first(c.operation.work.flops) * c.count for c in every),
            needed / (s.gpus * seconds),
            _operations(every),
        ),
        communication=_communication(case, s, e, every),
        latency=Latency(
            seconds,
            bound,
            reason,
            layers_seconds * s.micro_batches / len(case.model.layers),
            _breakdown(case, s, e, every),
            stage_seconds=_stage_seconds(case, s, e),
            origins=shares([replace(c.operation, seconds=c.operation.seconds * c.count) for c in every]),
            **_limited(case, s, batch, seconds),
        ),
        throughput=throughput(case, batch, _first(e.period), s.gpus, int(e.in_flight[0])),
        balance=_balance(case, s, e),
        modules=_modules(case, s),
        groups=_groups(case, s),
    )


def _limited(case: Case, s: Strategy, batch: int, seconds: float) -> dict[str, float]:
    """``ttft_seconds`` and ``tpot_seconds``, those that the case limits."""
    own, limited = own_limit(case), {}
    for name in limits_of(case):
        taken = seconds if name == own else _first(other_seconds(case, Table.one(s, batch))[0])
        limited[f"{name}_seconds"] = taken
    return limited


def throughput(case: Case, batch: int, period: float, gpus: int, in_flight: int) -> Throughput:
    """Tokens and sequences per second when a batch is finished every ``period`` seconds."""
    tokens = batch * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence)
    rate = tokens / period
    price = case.cluster.device.price
    cost = None if price is None else price * gpus / 3600 / rate * 1e6
    return Throughput(rate, batch / period, rate / gpus, cost, in_flight)


def _tier(g: Group) -> str:
    return "node" if g.local.flat[0] >= g.size.flat[0] else "fabric"


def _first(values: Array) -> float:
    """The figure of the one row that is evaluated."""
    return float(values.flat[0])


def _operations(every: list[Call]) -> tuple[Operation, ...]:
    """What the rank does alone, calls of one kind together."""
    kinds: dict[tuple[str, float, float], Operation] = {}
    for c in every:
        work = c.operation.work
        if work.collective is not None:
            continue
        flops, traffic, seconds = _first(work.flops), _first(work.traffic), _first(c.operation.seconds)
        origin = Origin(int(c.operation.origin.flat[0])).name.lower()
        one = Operation(work.name, flops, traffic, seconds, origin, c.count)
        key = (work.name, flops, seconds)
        kinds[key] = replace(one, count=one.count + kinds[key].count) if key in kinds else one
    return tuple(kinds.values())


def _communication(case: Case, s: Strategy, e: Evaluation, every: list[Call]) -> Communication:
    kinds: dict[tuple[str, str, int, float], CollectiveOperation] = {}
    for c in every:
        work, shape = c.operation.work, c.operation.work.collective
        if shape is None:
            continue
        tiers: tuple[float, float] | tuple[None, None] = (None, None)
        if shape.collective == "all_to_all":
            near, far = exchange_tiers(shape.group, shape.to_ranks, shape.to_nodes, shape.forwarding)
            tiers = _first(near), _first(far)
        one = CollectiveOperation(
            work.name,
            shape.collective,
            shape.group.kind,
            int(shape.group.size.flat[0]),
            _tier(shape.group),
            _first(shape.sent),
            _first(c.operation.seconds),
            c.count,
            Origin(int(c.operation.origin.flat[0])).name.lower(),
            *tiers,
        )
        key = (one.name, one.collective, one.group_size, one.bytes)
        kinds[key] = replace(one, count=one.count + kinds[key].count) if key in kinds else one
    operations = list(kinds.values())
    if s.pp > 1:
        size, seconds = _first(boundary_bytes(e.work)), _first(e.transfer)
        tier = _tier(e.work.groups.pp)
        operations.append(CollectiveOperation("stage_transfer", "send", "pp", 2, tier, size, seconds, s.micro_batches))
    return Communication(sum(o.bytes * o.count for o in operations), tuple(operations))


def _breakdown(case: Case, s: Strategy, e: Evaluation, every: list[Call]) -> dict[str, float]:
    """Seconds by name; they add up to the latency."""
    parts: dict[str, float] = {}
    for c in every:
        name = c.operation.work.name
        parts[name] = parts.get(name, 0.0) + _first(c.operation.seconds) * c.count
    counts = stage_counts(case.model, s.pp)[int(e.slowest[0])]
    hidden = sum(_first(t.hidden) * int(n) for t, n in zip(e.layers, counts, strict=True)) * s.micro_batches
    if hidden:
        parts["hidden_by_overlap"] = -hidden
    idle = _first(e.seconds) - sum(parts.values())
    if s.pp > 1:
        hops = s.pp if case.workload.kind is Kind.DECODE else s.pp - 1
        transfer = min(hops * _first(e.transfer), max(idle, 0.0))
        parts["stage_transfer"] = transfer
        parts["pipeline_bubble"] = idle - transfer
    return parts


def _stage_seconds(case: Case, s: Strategy, e: Evaluation) -> tuple[float, ...]:
    """Seconds of one micro-batch in each stage."""
    kinds = np.array([_first(t.seconds) for t in e.layers])
    stages = stage_counts(case.model, s.pp) @ kinds
    stages[0] += sum(_first(o.seconds) for o in e.embedding)
    stages[-1] += sum(_first(o.seconds) for o in e.head)
    return tuple(stages.tolist())


def _balance(case: Case, s: Strategy, e: Evaluation) -> Balance:
    slots = [
        sum((m.experts + s.experts.redundant) / s.experts.ep / s.experts.tp for m in _experts_of(case, layers))
        for layers in stage_layers(len(case.model.layers), s.pp)
    ]
    balance = Balance(Spread(min(slots), max(slots)), _first(e.straggler))
    load = next(iter(e.work.loads.values()), None)
    if load is None:
        return balance
    return replace(
        balance,
        active_experts=_first(load.active),
        distinct_ranks=_first(load.ranks),
        distinct_nodes=_first(load.nodes),
    )


def _experts_of(case: Case, layers: range) -> list[MoeFfn]:
    ffns = (case.model.layers[i].ffn for i in layers)
    return [f for f in ffns if isinstance(f, MoeFfn)]


def _modules(case: Case, s: Strategy) -> Modules:
    experts = sum(m.experts for m in _experts_of(case, range(len(case.model.layers))))
    attention = len(case.model.layers)
    total = experts + attention
    return Modules(experts, attention, total, total * s.replicas / s.gpus)


def _groups(case: Case, s: Strategy) -> tuple[RankGroup, ...]:
    sizes = case.cluster.sizes
    node = np.repeat(np.arange(len(sizes)), sizes)
    return tuple(
        RankGroup(
            *(kind, ranks.shape[1], len(ranks), tuple(int(r) for r in ranks[0])),
            "node" if (node[ranks] == node[ranks[:, :1]]).all() else "fabric",
        )
        for kind, ranks in groups_of(s).items()
        if kind not in ("stage", "replica") or ranks.shape[1] > 1
    )
