"""The checks of a training plan: its memory, rates, traffic and pipeline against the walk of its ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Final

from moewright.case.case import Case
from moewright.case.model import Layer, MoeFfn
from moewright.case.train.train_strategy import Dispatcher, Schedule, Sharding
from moewright.case.train.train_workload import Training
from moewright.case.workload import Kind, Workload
from moewright.placement.stage_orders import order
from moewright.planning.proof.figures.compared import Compared, check_of
from moewright.planning.proof.walk import step_clock
from moewright.planning.proof.walk.layer_walk import walk_head, walk_layer
from moewright.planning.proof.walk.number_widths import matrix_unit
from moewright.planning.proof.walk.scene import Circle, scene_of
from moewright.planning.proof.walk.whole_model import whole_model
from moewright.planning.record import Proof
from moewright.training.proof.context_walk import exchange_room, exchange_room_of, exchange_seconds
from moewright.training.proof.step_walk import StepWalk, backward_alive, kept_of, step_walk, without
from moewright.training.training_record import StageFigures, TrainingPlan

#: sums of the same tensors; what hangs on the routing's straggler; seconds by the same links
EXACT, ROUTED, CLOCK = 2e-3, 0.03, 0.05
#: seconds of computing over what the peaks allow, at most
SLOWEST: Final = 40.0
#: collective → the group that it runs in
_GROUPS: Final = {
    "dispatch": "ep",
    "combine": "ep",
    "expert_gather": "etp",
    "expert_reduce": "etp",
}
#: schedules that put gradients of weights off
_LATE: Final = (Schedule.ZERO_BUBBLE, Schedule.DUALPIPE_V)
#: gathers whose result is not kept, and that the backward pass does again
_AGAIN: Final = ("attention_gather", "dense_gather", "shared_gather")
WHAT: Final = {
    "memory_walked": "bytes of the fullest rank, tensor by tensor",
    "stages_walked": "bytes of each stage's ranks",
    "rates_walked": "FLOPs, rates and days from the step's seconds",
    "step_possible": "seconds of each part against what peaks and links allow",
    "pipeline_walked": "parts of the step, added up and put in order",
}


def proven_step(
    case: Case, training: Training, plan: TrainingPlan, stages: tuple[StageFigures, ...], straggler: float
) -> TrainingPlan:
    """``plan`` (with the layers of each chunk) and the checks of its walk."""
    w = step_walk(case, training, plan.strategy, straggler)
    whole = training.tuning.whole  # what is frozen is not walked
    figures = {
        "memory_walked": list(_memory(w, plan)) if whole else [],
        "stages_walked": list(_stages(w, stages)) if whole else [],
        "rates_walked": list(_rates(w, plan)),
        "step_possible": list(_seconds(w, plan, stages)) if whole else [],
        "pipeline_walked": list(_pipeline(plan, stages)) if whole else [],
    }
    checks = [c for name, what in WHAT.items() if (c := check_of(name, what, figures[name])) is not None]
    seen = {c.figure for family in figures.values() for c in family}
    stated = {f"parts.{name}" for name in plan.parts} | {f"memory.{name}" for name in plan.memory}
    stated |= {"seconds", "tokens_s", "tokens_s_gpu", "mfu", "micro_batches", "hidden", "peak", "usable"}
    stated |= {name for name in ("days", "gpu_hours", "cost") if getattr(plan, name) is not None}
    proof = Proof(len(w.walk.scene.ranks), len(seen), tuple(sorted(stated - seen)))
    return replace(plan, checks=tuple(checks), proof=proof)


# --- memory ---


def stage_bytes(w: StepWalk, stage: int) -> dict[str, float]:
    """Bytes of a rank of ``stage`` by line."""
    s, t, recipe = w.strategy, w.training, w.training.recipe
    held, copies, expert_copies = w.parameters(stage), s.dp * s.cp, s.expert_dp
    dense = held.matrices + held.rest
    weights = held.matrices * recipe.weights + held.rest * 2.0
    of_experts = held.experts * recipe.weights
    states = dense + held.experts
    if s.sharding is not Sharding.NONE:
        states = dense / copies + held.experts / expert_copies
    gradients = dense + held.experts
    if s.sharding is Sharding.FULL:
        gradients = dense / copies + held.experts / expert_copies
        one, next_ = _largest(w), _largest(w)
        weights, of_experts = weights / copies, of_experts / expert_copies + (one + next_) * recipe.weights
    return {
        "weights": weights + of_experts,
        "gradients": t.gradients * gradients,
        "optimizer": t.optimizer.states * states,
        **_micro_batches(w, stage),
        "buffers": max((exchange_room(w, layer) for layer in w.stages[stage][0]), default=0.0),
    }


def _largest(w: StepWalk) -> float:
    """Parameters of the largest layer on a rank."""
    every = [w.of_layer(layer) for layer, _ in w.case.model.layer_kinds()]
    every += [w.of_prediction()] if w.training.prediction_layers else []
    return max(p.matrices + p.rest + p.experts for p in every)


def _micro_batches(w: StepWalk, stage: int) -> dict[str, float]:
    """What is kept of micro-batches in flight, the loss, and the most beside it."""
    layers, deep = w.stages[stage]
    share, model, again = w.walk.share, w.case.model, w.strategy.recompute
    logits = share.tokens * model.vocab_size / w.strategy.tp
    vectors = 2 if model.final_norm else 1  # into the last norm, and out of it
    head = (4.0 * logits + 2.0 * model.hidden_size * share.own * vectors) if model.vocab_size else 0.0
    kept = sum(without(kept_of(w, layer), again) for layer in layers)
    inside = [_inside(w, layer) for layer in layers]
    if deep:  # each joins two vectors, and has the head and the loss again
        join = 2.0 * 2 * model.hidden_size * share.own
        kept += deep * (without(kept_of(w, model.layers[-1]), again) + join + head)
        inside.append(max(_inside(w, model.layers[-1]), 2.0 * logits + _again(w, model.layers[-1])))
    loss, working = 0.0, max(inside, default=0.0)
    if stage == w.loss:
        loss, working = head, max(working - head, 2.0 * logits, 0.0)
    return {"activations": kept * in_flight(w, stage), "logits": loss, "working": working}


def _again(w: StepWalk, layer: Layer) -> float:
    kept = kept_of(w, layer)
    return without(kept, ()) - without(kept, w.strategy.recompute)


def _inside(w: StepWalk, layer: Layer) -> float:
    """The most inside the backward pass, what is computed again with it."""
    return backward_alive(w, layer) + _again(w, layer)


def in_flight(w: StepWalk, stage: int) -> float:
    """Micro-batches whose activations a stage keeps at most, counted along its order of operations."""
    s = w.strategy
    micro = w.training.global_batch // (s.dp * s.micro_batch)
    late = s.schedule in _LATE and s.pp > 1
    if s.pp == 1:
        most = 1
    else:
        schedule = s.schedule if late or s.virtual == 1 or micro % s.pp == 0 else None
        most, held = 0, 0
        if schedule is None:  # no list of them: warm-up and the one at work
            most = min(2 * (s.pp - 1 - stage) + (s.virtual - 1) * s.pp + 1, micro * s.virtual)
        else:
            for x in order(stage, s.pp, min(micro, 4 * s.pp), s.virtual, schedule):
                held += {"F": 1, "B": -1, "I": -1}.get(x.kind, 0)
                most = max(most, held)
    beside = s.overlap_experts and not late
    return float(min((most + beside) / s.virtual, micro))


def _memory(w: StepWalk, plan: TrainingPlan) -> Iterator[Compared]:
    every = [stage_bytes(w, stage) for stage in range(w.strategy.pp)]
    stage = max(range(w.strategy.pp), key=lambda i: sum(every[i].values()))
    lines = every[stage]
    for name, size in lines.items():
        slack = ROUTED if name in ("activations", "working") and w.walk.routed else EXACT
        yield Compared(
            f"memory.{name}",
            plan.memory.get(name, 0.0),
            size,
            slack,
            _late_room(w, stage, size) if name == "activations" else None,
        )
    whole = sum(lines.values())
    yield Compared("peak", plan.peak, whole, ROUTED, _late_room(w, stage, whole))
    device, share = w.case.cluster.device, w.case.cluster.reserve
    left = device.memory - device.memory * share
    yield Compared("usable", plan.usable, left - left * w.training.fragmentation, EXACT)


def _late_room(w: StepWalk, stage: int, size: float) -> float | None:
    """How far above ``size`` bytes a stage may be where gradients of weights are put off. What waits for these is not
    walked: inputs and outputs of products, no more than three times what a micro-batch keeps with nothing computed
    again, of as many as there are stages and chunks."""
    s = w.strategy
    if s.schedule not in _LATE or s.pp == 1:
        return None
    kept = sum(without(kept_of(w, layer), ()) for layer in w.stages[stage][0])
    return 1.0 + 3.0 * s.pp * s.virtual * kept / max(size, 1.0)


def _stages(w: StepWalk, stages: tuple[StageFigures, ...]) -> Iterator[Compared]:
    for x in stages:
        layers, deep = w.stages[x.stage]
        yield Compared(f"stages.{x.stage}.layers", x.layers, len(layers) + deep, 0.0)
        whole = sum(stage_bytes(w, x.stage).values())
        yield Compared(f"stages.{x.stage}.peak", x.peak, whole, ROUTED, _late_room(w, x.stage, whole))


# --- rates ---


def _rates(w: StepWalk, plan: TrainingPlan) -> Iterator[Compared]:
    t, s, case = w.training, w.strategy, w.case
    tokens, gpus = t.global_batch * t.sequence, case.cluster.gpus
    rate = tokens / plan.seconds
    yield Compared("tokens_s", plan.tokens_s, rate, EXACT)
    yield Compared("tokens_s_gpu", plan.tokens_s_gpu, rate / gpus, EXACT)
    yield Compared("micro_batches", plan.micro_batches, t.global_batch // s.dp // s.micro_batch, 0.0)
    unit = matrix_unit(case.model.precision, "experts", case.cluster.device.flops)
    peak = case.cluster.device.flops[unit] * gpus
    if t.tuning.whole:
        yield Compared("mfu", plan.mfu, 3 * _forward_flops(w) / plan.seconds / peak, 2 * EXACT)
    if t.tokens is not None and plan.days is not None and plan.gpu_hours is not None:
        steps = t.tokens / tokens
        yield Compared("days", plan.days, steps * plan.seconds / (24 * 60 * 60), EXACT)
        hours = steps * plan.seconds / (60 * 60) * gpus
        yield Compared("gpu_hours", plan.gpu_hours, hours, EXACT)
        if plan.cost is not None and case.cluster.device.price is not None:
            yield Compared("cost", plan.cost, hours * case.cluster.device.price, EXACT)


def _forward_flops(w: StepWalk) -> float:
    """Of all tokens of a step through the model, and through what predicts further tokens."""
    t, model, more = w.training, w.case.model, w.training.prediction_layers
    deep = replace(model, layers=(*model.layers, *[model.layers[-1]] * more))
    work = Workload(Kind.FORWARD, (t.global_batch,), t.sequence)
    flops = whole_model(replace(w.case, model=deep, workload=work), t.global_batch).flops
    join, head = 2 * model.hidden_size * model.hidden_size, model.hidden_size * model.vocab_size
    return flops + more * 2.0 * (join + head) * t.global_batch * t.sequence


# --- seconds ---


def _seconds(w: StepWalk, plan: TrainingPlan, stages: tuple[StageFigures, ...]) -> Iterator[Compared]:
    """Each part: not below what peaks and links allow; traffic as the walk's own clock has it."""
    slowest = max(stages, key=lambda x: x.forward + x.backward).stage
    layers, deep = w.stages[slowest]
    layers = layers + [w.case.model.layers[-1]] * deep
    compute, traffic = 0.0, dict.fromkeys(("tp", "cp", "ep", "etp"), 0.0)
    for layer in layers:
        traffic["cp"] += exchange_seconds(w, layer)
        for step in walk_layer(w.walk, layer):
            if not step.collective:
                again = 1 if "full" in w.strategy.recompute else 0
                compute += step.least * ((3.5 if step.name == "attention" else 3.0) + again)
            elif step.name not in ("dispatch", "combine", "context_gather"):
                calls = 3 if step.name in _AGAIN else 2
                traffic[_GROUPS.get(step.name, "tp")] += calls * step.seconds
    if slowest == w.loss:
        compute += sum(3.0 * step.least for step in walk_head(w.walk, True) if not step.collective)
    micro = plan.micro_batches
    yield Compared("parts.compute", plan.parts["compute"], compute * micro, CLOCK, SLOWEST)
    yield Compared("parts.cp_traffic", _all(plan, "cp_traffic"), traffic["cp"] * micro, CLOCK, exchange_room_of(w))
    fewer = w.strategy.dispatcher is Dispatcher.DEEPEP
    slices = traffic["etp"] * micro if fewer else 0.0
    yield Compared("parts.etp_traffic", plan.parts["etp_traffic"], slices, CLOCK + ROUTED, None if fewer else inf)
    # the model's ends have traffic over tp of their own
    ends = 1.5 if slowest in (0, w.loss) else 1.0 + CLOCK
    yield Compared(
        "parts.tp_traffic", _all(plan, "tp_traffic"), traffic["tp"] * micro, CLOCK, ends + 3.0 / max(len(layers), 1)
    )
    yield Compared("parts.ep_traffic", _all(plan, "ep_traffic"), _exchange_floor(w, layers) * micro, CLOCK, 20.0)
    yield from _once(w, plan, slowest)


def _all(plan: TrainingPlan, name: str) -> float:
    """Traffic that is exposed, with what overlap hides of it."""
    return plan.parts[name] + plan.hidden.get(name, 0.0)


def _exchange_floor(w: StepWalk, layers: list[Layer]) -> float:
    """Seconds in which a rank's copies leave over all links at once, there and back, forward and backward."""
    cluster, circle = w.case.cluster, w.walk.circles["ep"]
    if circle.size == 1:
        return 0.0
    most = cluster.node.bandwidth + (cluster.fabric.bandwidth if (circle.spans > 1).any() else 0.0)
    sent = sum(
        step.sent
        for layer in layers
        if isinstance(layer.ffn, MoeFfn)
        for step in walk_layer(w.walk, layer)
        if step.name in ("dispatch", "combine")
    )
    return 2 * sent / most


def _once(w: StepWalk, plan: TrainingPlan, slowest: int) -> Iterator[Compared]:
    """What a step does once: messages between stages, gradients, weights, optimizer."""
    s, t, cluster = w.strategy, w.training, w.case.cluster
    hop = 0.0
    if s.pp > 1:
        size = w.walk.share.own * w.case.model.hidden_size * 2.0
        alone = 0 if s.virtual > 1 else plan.micro_batches - 1
        hop = 2 * (s.pp - 1 + alone) * step_clock.send_clock(w.walk.circles["pp"], size, cluster)
    yield Compared("parts.stage_transfer", plan.parts["stage_transfer"], hop, CLOCK)
    held = max((w.parameters(i) for i in range(s.pp)), key=lambda p: p.matrices + p.rest + p.experts)
    dense = held.matrices + held.rest
    often = plan.micro_batches if s.sharding is Sharding.FULL else 1
    groups = (_circle(w, s.dp * s.cp, s.tp), _circle(w, s.expert_dp, s.ep * s.etp))
    whole = s.sharding is Sharding.NONE  # an all-reduce, and nothing to gather
    clock = step_clock.reduce_clock if whole else step_clock.gather_clock
    reduce = sum(
        often * clock(g, size * t.gradients, cluster)
        for g, size in zip(groups, (dense, held.experts), strict=True)
        if g.size > 1
    )
    wide = held.matrices * t.recipe.gather + held.rest * 2.0
    gather = sum(
        (2 * often if often > 1 or s.sharding is Sharding.FULL else 1) * step_clock.gather_clock(g, size, cluster)
        for g, size in zip(groups, (wide, held.experts * t.recipe.gather), strict=True)
        if g.size > 1 and not whole
    )
    yield Compared("parts.gradient_reduction", _all(plan, "gradient_reduction"), reduce, CLOCK)
    yield Compared("parts.weight_gathering", _all(plan, "weight_gathering"), gather, CLOCK)
    mine = dense + held.experts
    if s.sharding is not Sharding.NONE:
        mine = dense / (s.dp * s.cp) + held.experts / s.expert_dp
    moved = mine * (2 * t.optimizer.states + 2 * t.gradients + t.recipe.weights)
    floor = moved / cluster.device.memory_bandwidth
    yield Compared("parts.optimizer", plan.parts["optimizer"], floor, CLOCK, 4.0 + 1e-3 / max(floor, 1e-12))


def _circle(w: StepWalk, size: int, stride: int) -> Circle:
    """The group of ``size`` ranks ``stride`` apart that each walked rank is in."""
    one = replace(w.walk.scene.strategy.attention, dp=1, tp=stride, cp=size, repeated=1)
    s = replace(w.walk.scene.strategy, pp=w.strategy.gpus // (size * stride), attention=one)
    return scene_of(w.case, s, 1, w.walk.scene.slots, None).circle("cp")


def _pipeline(plan: TrainingPlan, stages: tuple[StageFigures, ...]) -> Iterator[Compared]:
    """The parts add up to the step; a stage waits for all others once a micro-batch of the warm-up, at least."""
    yield Compared("seconds", plan.seconds, sum(plan.parts.values()), EXACT)
    both = [x.forward + x.backward for x in stages]
    whole = max(both) * plan.micro_batches
    inside = ("compute", "host", "tp_traffic", "cp_traffic", "ep_traffic", "etp_traffic")
    yield Compared("parts.host", sum(plan.parts[name] for name in inside), whole, EXACT)
    others = sum(both) - max(both)
    if len(both) == 1:
        yield Compared("parts.bubble", plan.parts["bubble"], 0.0, 0.0)
        return
    s = plan.strategy
    # weights' gradients fill most of what would be idle
    filled = 0.2 if s.schedule in (Schedule.ZERO_BUBBLE, Schedule.DUALPIPE_V) else 1.0
    least = others / s.virtual * filled
    yield Compared("parts.bubble", plan.parts["bubble"], least, CLOCK, 5.0 + whole / max(least, 1e-12))
