"""What a rank holds and does, operation by operation: as the plan states it, and as the walk found it."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np

from moewright.planning.proof.figures.compared import Compared
from moewright.planning.proof.figures.walked_plan import CLOCK, EXACT, MEASURED_ABOVE, MEASURED_BELOW, Walked
from moewright.planning.proof.walk import alive_tensors
from moewright.planning.proof.walk.held_tensors import held_bytes
from moewright.planning.proof.walk.steps import Step
from moewright.planning.record import CollectiveOperation, Operation, Plan

Operations: TypeAlias = tuple[Operation, ...] | tuple[CollectiveOperation, ...]

#: operations whose figures hang on the routing
_ROUTED: Final = ("dispatch", "combine", "expert_gather", "expert_reduce", "experts")


def memory_figures(w: Walked) -> dict[str, list[Compared]]:
    """Weights and cache, activations, buffers."""
    m = w.plan.memory
    _, lines = held_bytes(w.walk.scene, w.plan.throughput.batches_in_flight)
    cache = lines.pop("kv_cache")
    weights = [
        Compared(f"memory.weights.{name}", float(getattr(m.weights, name)), size, EXACT) for name, size in lines.items()
    ]
    weights.append(Compared("memory.weights.total", m.weights.total, sum(lines.values()), EXACT))
    drawn = w.tolerance if w.walk.routed else EXACT
    alive, buffers = alive_tensors.peaks(w.walk), alive_tensors.buffers(w.walk)
    peaks = [
        Compared(f"memory.activation_peaks.{name}", m.activation_peaks.get(name, 0.0), size, _tight(name, drawn))
        for name, size in alive.items()
    ]
    peaks.append(Compared("memory.activations", m.activations, max(alive.values(), default=0.0), drawn))
    parts = [
        Compared(f"memory.buffer_parts.{name}", m.buffer_parts.get(name, 0.0), size, _tight(name, drawn))
        for name, size in buffers.items()
    ]
    parts.append(Compared("memory.buffers", m.buffers, sum(buffers.values()), drawn))
    whole = sum(lines.values()) + cache + max(alive.values(), default=0.0) + sum(buffers.values())
    device = w.case.cluster.device
    fits = [
        Compared("memory.total", m.total, whole, drawn),
        Compared("memory.capacity", m.capacity, device.memory, EXACT),
        Compared("memory.usable", m.usable, device.memory - device.memory * w.case.cluster.reserve, EXACT),
    ]
    spread = w.plan.balance.memory_per_gpu
    if spread is not None:
        fits.append(Compared("balance.memory_per_gpu.max", spread.max, sum(lines.values()) + cache, EXACT))
    return {
        "weights_walked": weights,
        "cache_walked": [Compared("memory.kv_cache", m.kv_cache, cache, EXACT)],
        "activations_walked": peaks,
        "buffers_walked": parts,
        "memory_walked": fits,
    }


def _tight(name: str, drawn: float) -> float:
    return drawn if name in ("experts", "dispatch_combine") else 2 * EXACT


def _sums(steps: list[tuple[Step, int]], figure: str) -> dict[str, float]:
    """Name (of a collective with its kind) → sum over the calls of a pass of ``figure``."""
    sums: dict[str, float] = {}
    for step, count in steps:
        if step.seconds > 0:
            value = 1.0 if figure == "count" else float(getattr(step, figure) or 0.0)
            sums[step.name] = sums.get(step.name, 0.0) + value * count
    return sums


def _stated_sums(operations: Operations, figure: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for o in operations:
        value = 1.0 if figure == "count" else float(getattr(o, figure) or 0.0)
        sums[o.name] = sums.get(o.name, 0.0) + value * o.count
    return sums


def operation_figures(w: Walked) -> dict[str, list[Compared]]:
    """FLOPs, memory traffic and bytes sent of every operation of the slowest stage, over a pass."""
    steps = w.stage(slowest_stage(w.plan))
    c, x = w.plan.compute, w.plan.communication
    uneven_prompt = w.case.workload.sequence / max(w.plan.strategy.attention.cp, 1)
    # prompts are priced as if tokens lay side by side without end
    exact = EXACT if w.walk.scene.decoding else EXACT + 2.0 / uneven_prompt
    flops = _compare("compute.operations.{}.flops", c.operations, "flops", _sums(_alone(steps), "flops"), exact, w)
    traffic = _compare(
        "compute.operations.{}.traffic", c.operations, "traffic", _sums(_alone(steps), "traffic"), exact, w
    )
    counts = _compare("compute.operations.{}.count", c.operations, "count", _sums(_alone(steps), "count"), 0.0, w)
    flops.append(Compared("compute.flops_total", c.flops_total, w.whole.flops, exact))
    flops.append(Compared("compute.flops_per_gpu", c.flops_per_gpu, sum(_sums(steps, "flops").values()), w.tolerance))
    inside = tuple(o for o in x.operations if o.name != "stage_transfer")
    shared = [(s, n) for s, n in steps if s.collective]
    sent = _compare("communication.operations.{}.bytes", inside, "bytes", _sums(shared, "sent"), EXACT, w)
    counts += _compare("communication.operations.{}.count", inside, "count", _sums(shared, "count"), 0.0, w)
    for tier, figure in (("node_bytes", "near"), ("fabric_bytes", "far")):
        some = tuple(o for o in inside if getattr(o, tier) is not None)
        walked_ = _sums([(s, n) for s, n in shared if s.near is not None], figure)
        sent += _compare(f"communication.operations.{{}}.{tier}", some, tier, walked_, 0.03, w)
    hop = [o for o in x.operations if o.name == "stage_transfer"]
    for o in hop:
        sent.append(Compared("communication.operations.stage_transfer.bytes", o.bytes, w.hop[0], EXACT))
        counts.append(
            Compared("communication.operations.stage_transfer.count", o.count, w.plan.strategy.micro_batches, 0.0)
        )
    whole = sum(_sums(shared, "sent").values()) + w.hop[0] * w.plan.strategy.micro_batches * bool(hop)
    sent.append(Compared("communication.bytes_per_gpu", x.bytes_per_gpu, whole, max(EXACT, w.tolerance)))
    return {"flops_walked": flops, "traffic_walked": traffic, "bytes_walked": sent, "calls_walked": counts}


def _alone(steps: list[tuple[Step, int]]) -> list[tuple[Step, int]]:
    return [(s, n) for s, n in steps if not s.collective]


def slowest_stage(plan: Plan) -> int:
    """The stage whose operations the plan prints."""
    return int(np.argmax(plan.latency.stage_seconds)) if plan.latency.stage_seconds else 0


def _compare(
    path: str,
    operations: Operations,
    figure: str,
    found: dict[str, float],
    exact: float,
    w: Walked,
) -> list[Compared]:
    stated = _stated_sums(operations, figure)
    return [
        Compared(
            path.format(name),
            stated.get(name, 0.0),
            found.get(name, 0.0),
            max(exact, w.tolerance) if name in _ROUTED and figure != "count" else exact,
        )
        for name in dict.fromkeys((*stated, *found))
    ]


def second_figures(w: Walked) -> dict[str, list[Compared]]:
    """Seconds of every operation: not below what links and peaks allow; by formula as the walk's clock has them, and
    where they were measured within a factor of the floor."""
    steps = w.stage(slowest_stage(w.plan))
    clock, least = _sums(steps, "seconds"), _sums(steps, "least")
    calls = _sums(steps, "count")
    floors: list[Compared] = []
    times: list[Compared] = []
    collectives = tuple(o for o in w.plan.communication.operations if o.name != "stage_transfer")
    for where, operations in (("compute", w.plan.compute.operations), ("communication", collectives)):
        derived = {o.name: all(p.origin == "derived" for p in operations if p.name == o.name) for o in operations}
        for name, stated in _stated_sums(operations, "seconds").items():
            path = f"{where}.operations.{name}.seconds"
            floor, walked_ = least.get(name, 0.0), clock.get(name, 0.0)
            slack = CLOCK + w.tolerance if name in _ROUTED else CLOCK
            if not derived[name]:
                top = MEASURED_ABOVE * floor + 1e-3 * calls.get(name, 0.0)
                floors.append(Compared(path, stated, floor, MEASURED_BELOW, top / floor if floor else float("inf")))
                continue
            floors.append(Compared(path, stated, floor, slack, float("inf")))
            times.append(Compared(path, stated, walked_, slack))
    hop = [o for o in w.plan.communication.operations if o.name == "stage_transfer"]
    for o in hop:
        times.append(Compared("communication.operations.stage_transfer.seconds", o.seconds, w.hop[1], _hop_slack(w)))
    return {"seconds_possible": floors, "seconds_walked": times}


def _hop_slack(w: Walked) -> float:
    return CLOCK if w.derived else 10.0
