"""A pass, its throughput, and counts of modules: as the plan states them, and as the walk found them."""

from __future__ import annotations

from math import ceil

from moewright.case.model import MoeFfn
from moewright.planning.proof.figures.compared import Compared
from moewright.planning.proof.figures.rank_figures import slowest_stage
from moewright.planning.proof.figures.walked_plan import CLOCK, EXACT, Walked
from moewright.planning.proof.walk import pipeline_clock
from moewright.planning.proof.walk.held_tensors import layers_of
from moewright.planning.record import CollectiveOperation, Operation


def pass_figures(w: Walked) -> dict[str, list[Compared]]:
    """Stages, and the pass that they make: micro-batches through stages one by one."""
    plan, s = w.plan, w.plan.strategy
    taken, hop = plan.latency, next((o.seconds for o in plan.communication.operations if o.collective == "send"), 0.0)
    stages = taken.stage_seconds
    spread = CLOCK + (w.tolerance if w.walk.routed else 0.0)
    figures: list[Compared] = []
    if w.derived:
        figures += [
            Compared(f"latency.stage_seconds.{i}", stated, w.stage_seconds(i), spread)
            for i, stated in enumerate(stages)
        ]
        layers = w.case.model.layers
        mean = sum(w.layer_seconds(x) for x in layers) * s.micro_batches / len(layers)
        figures.append(Compared("latency.per_layer_seconds", taken.per_layer_seconds, mean, spread))
    if w.walk.scene.decoding:
        latency = period = pipeline_clock.decode_round(stages, s.micro_batches, hop)
    else:
        ends = pipeline_clock.pass_through(stages, s.micro_batches, hop, batches=3)
        latency, period = ends[0], ends[2] - ends[1]
    figures.append(Compared("latency.seconds", taken.seconds, latency, EXACT))
    own = "tpot" if w.walk.scene.decoding else "ttft"
    limited = taken.tpot_seconds if w.walk.scene.decoding else taken.ttft_seconds
    if limited is not None:
        figures.append(Compared(f"latency.{own}_seconds", limited, latency, EXACT))
    return {"pass_walked": figures + _rates(w, period, latency)}


def _rates(w: Walked, period: float, latency: float) -> list[Compared]:
    plan, case = w.plan, w.case
    t, tokens = plan.throughput, plan.batch * (1 if w.walk.scene.decoding else case.workload.sequence)
    bound = max(w.whole.delivered, w.whole.reading)
    figures = [
        Compared("throughput.tokens_per_second", t.tokens_per_second, tokens / period, EXACT),
        Compared("throughput.sequences_per_second", t.sequences_per_second, plan.batch / period, EXACT),
        Compared(
            "throughput.tokens_per_second_per_gpu",
            t.tokens_per_second_per_gpu,
            tokens / period / case.cluster.gpus,
            EXACT,
        ),
        Compared("throughput.batches_in_flight", t.batches_in_flight, ceil(latency / period - 1e-6), 0.0),
        Compared("latency.bound_seconds", plan.latency.bound_seconds, bound, 2 * EXACT),
        Compared("compute.utilization", plan.compute.utilization, w.whole.at_peak / plan.latency.seconds, 2 * EXACT),
    ]
    price = case.cluster.device.price
    if t.cost_per_million_tokens is not None and price is not None:
        hourly = price * case.cluster.gpus
        found = hourly / 3600 * period / tokens * 1e6
        figures.append(Compared("throughput.cost_per_million_tokens", t.cost_per_million_tokens, found, EXACT))
    return figures + _shares_of_latency(w)


def _shares_of_latency(w: Walked) -> list[Compared]:
    """The breakdown: calls times their seconds, what overlap hides, and what is left for want of micro-batches."""
    plan, s = w.plan, w.plan.strategy
    parts = plan.latency.breakdown
    spent: dict[str, float] = {}
    operations: tuple[Operation | CollectiveOperation, ...] = (*plan.compute.operations, *plan.communication.operations)
    for o in operations:
        if o.name != "stage_transfer":
            spent[o.name] = spent.get(o.name, 0.0) + o.seconds * o.count
    figures = [Compared(f"latency.breakdown.{name}", parts.get(name, 0.0), x, EXACT) for name, x in spent.items()]
    slowest = plan.latency.stage_seconds[slowest_stage(plan)] if plan.latency.stage_seconds else 0.0
    busy = sum(spent.values()) + parts.get("hidden_by_overlap", 0.0)
    figures.append(Compared("latency.stage_seconds", slowest * s.micro_batches, busy, EXACT))
    if w.derived and "hidden_by_overlap" in parts:
        layers = layers_of(w.case.model, s.pp)[slowest_stage(plan)]
        hidden = sum(w.hidden(x) for x in layers) * s.micro_batches
        slack = CLOCK + w.tolerance
        figures.append(Compared("latency.breakdown.hidden_by_overlap", -parts["hidden_by_overlap"], hidden, slack))
    return figures + _idle(w, parts)


def _idle(w: Walked, parts: dict[str, float]) -> list[Compared]:
    """What is left of a pass: the messages between stages, and waiting."""
    plan, s = w.plan, w.plan.strategy
    if s.pp == 1:
        return []
    left = plan.latency.seconds - sum(v for k, v in parts.items() if k not in ("stage_transfer", "pipeline_bubble"))
    hop = next((o.seconds for o in plan.communication.operations if o.collective == "send"), 0.0)
    crossed = s.pp if w.walk.scene.decoding else s.pp - 1
    moved = min(sum(hop for _ in range(crossed)), max(left, 0.0))
    return [
        Compared("latency.breakdown.stage_transfer", parts.get("stage_transfer", 0.0), moved, EXACT),
        Compared("latency.breakdown.pipeline_bubble", parts.get("pipeline_bubble", 0.0), left - moved, EXACT),
    ]


def count_figures(w: Walked) -> dict[str, list[Compared]]:
    """Modules, and whole experts a GPU."""
    m, model, s = w.plan.modules, w.case.model, w.plan.strategy
    experts = sum(x.ffn.experts for x in model.layers if isinstance(x.ffn, MoeFfn))
    whole = experts + len(model.layers)
    figures = [
        Compared("modules.experts", m.experts, experts, 0.0),
        Compared("modules.attention", m.attention, len(model.layers), 0.0),
        Compared("modules.total", m.total, whole, 0.0),
        Compared("modules.per_gpu", m.per_gpu, whole * s.replicas / w.case.cluster.gpus, EXACT),
    ]
    held = [sum(isinstance(x.ffn, MoeFfn) for x in layers) for layers in layers_of(model, s.pp)]
    if model.moe is not None:
        slots = w.walk.scene.slots.shape[2] / s.experts.tp
        figures += [
            Compared("balance.experts_per_gpu.min", w.plan.balance.experts_per_gpu.min, min(held) * slots, EXACT),
            Compared("balance.experts_per_gpu.max", w.plan.balance.experts_per_gpu.max, max(held) * slots, EXACT),
        ]
    return {"routing_walked": w.routing, "modules_walked": figures}
