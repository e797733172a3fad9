"""Known quantities of a case, recomputed by the planner's own cost model: name and scope → readings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.case import Setting
from moewright.cost.shapes import weight_bytes
from moewright.cost.table import Table
from moewright.plan.describe import kv_bytes_per_token, weight_bytes_total
from moewright.plan.detail import detail
from moewright.plan.evaluate import bound_seconds, model_flops
from moewright.plan.plan import Plan
from moewright.spec.case import Case
from moewright.spec.model import Layer, MoeFfn
from moewright.spec.precision import element_bytes
from moewright.spec.strategy import (
    AttentionParallel,
    Dispatch,
    ExpertParallel,
    Overlap,
    Strategy,
    StrategySpec,
)
from moewright.spec.tensors import active_parameters, all_tensors, layer_tensors, total_parameters
from moewright.spec.workload import Kind

Scope = frozenset[str]

_MODEL: Final = ("model.layers", "model.hidden_size", "model.attention.heads")
_EXPERT: Final = ("model.hidden_size", "model.experts.count", "model.experts.intermediate_size", "model.experts.gated")
_BYTES: Final = ("model.precision",)
_WORK: Final = ("workload.batch", "workload.sequence", "workload.kind")
_FLOPS: Final = (*_MODEL, *_EXPERT, *_WORK, "model.experts.top_k", "workload.causal", "model.vocab_size")
_PLAN: Final = ("cluster.gpus",)
_DEVICE: Final = ("cluster.device.flops", "cluster.device.mfu")
_MEMORY_RATE: Final = ("cluster.device.memory_bandwidth", "cluster.device.bandwidth_utilization")
_NETWORK: Final = tuple(f"cluster.network.{t}.{p}" for t in ("node", "fabric") for p in ("bandwidth", "latency"))
_TIME: Final = (*_FLOPS, *_BYTES, *_PLAN, *_DEVICE, *_MEMORY_RATE, *_NETWORK, "cluster.gpus_per_node")


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a quantity may be taken to have (SI), how it is derived, and the fields it needs."""

    value: float
    how: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A setting with the plans of the document's strategy, by reading (split, broadcast) and causal mask."""

    setting: Setting
    plans: dict[tuple[str, bool], Plan]
    reason: str  # why there is no plan

    @property
    def case(self) -> Case:
        return self.setting.case

    @property
    def plan(self) -> Plan | None:
        """The plan of the reading that comes first."""
        return next(iter(self.plans.values()), None)


def facts_of(setting: Setting, specs: dict[str, StrategySpec], reason: str) -> Facts:
    """Plans of every reading; both masks where the mask is assumed."""
    plans = {}
    causal = setting.case.workload.causal
    masks = (causal, not causal) if "workload.causal" in setting.assumed else (causal,)
    for name, spec in specs.items():
        for mask in masks:
            case = replace(setting.case, workload=replace(setting.case.workload, causal=mask))
            plans[name, mask] = detail(case, strategy_of(spec), case.workload.batch[0])
    return Facts(setting, plans, reason)


def strategy_of(s: StrategySpec) -> Strategy:
    """A completed StrategySpec as a Strategy."""
    attention = AttentionParallel(s.dp or 1, s.cp or 1, s.tp or 1, s.repeated or 1)
    experts = ExpertParallel(s.ep or 1, s.etp or 1, s.redundant or 0, s.dispatch or Dispatch.ALL_TO_ALL)
    return Strategy(s.replicas or 1, s.pp or 1, s.micro_batches or 1, s.overlap or Overlap.NONE, attention, experts)


def moe_layer(case: Case) -> Layer:
    """The layer that documents mean: the first with experts, or the first."""
    positions = case.model.moe_layers()
    return case.model.layers[positions[0] if positions else 0]


def bounds(f: Facts) -> dict[bool, tuple[float, str]]:
    """Causal mask or not → (seconds that no strategy beats, why)."""
    causal = f.case.workload.causal
    masks = (causal, not causal) if "workload.causal" in f.setting.assumed else (causal,)
    return {m: _bound(f.case, m) for m in masks}


def _bound(case: Case, causal: bool) -> tuple[float, str]:
    return bound_seconds(replace(case, workload=replace(case.workload, causal=causal)), case.workload.batch[0])


def readings(f: Facts, name: str, scope: Scope) -> list[Reading]:
    """The readings of quantity ``name`` in ``scope``, the likeliest first; none for what is not known."""
    group, _, part = name.partition(".")
    found: Iterator[Reading]
    if group == "memory":
        found = _memory(f, part, scope)
    elif group == "compute":
        found = _compute(f, part, scope)
    elif group == "communication":
        found = _communication(f, part, scope)
    elif group == "time":
        found = _time(f, part, scope)
    elif group == "throughput":
        found = _throughput(f, part, scope)
    elif group == "share":
        found = _share(f, part)
    elif group == "count":
        found = _count(f, part, scope)
    else:
        found = iter(())
    unique: list[Reading] = []
    for r in found:
        if not any(abs(r.value - u.value) <= 1e-9 * abs(u.value) for u in unique):
            unique.append(r)
    return unique


_LINES: Final = {
    "attention": ("attention",),
    "experts": ("experts", "shared_experts"),
    "router": ("router",),
    "vocabulary": ("vocabulary",),
}


def _memory(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case, plan = f.case, f.plan
    model, layers = case.model, len(case.model.layers)
    if part in _LINES or part == "weights":
        yield from _weights(f, part, scope)
    elif part == "kv_cache":
        needs = (*_MODEL, *_BYTES)
        token = kv_bytes_per_token(model)
        how = f"keys and values of {layers} layers in {model.precision.kv_cache}"
        per = layers if "layer" in scope else 1
        if "token" in scope:
            yield Reading(token / per, f"{how}, a token", needs)
        elif "gpu" in scope:
            for label, p in _labelled(f):
                yield Reading(p.memory.kv_cache / per, f"{how}, on the fullest GPU{label}", (*needs, *_WORK, *_PLAN))
        else:
            tokens = case.workload.batch[0] * case.workload.sequence
            yield Reading(token * tokens / per, f"{how}, {tokens} tokens", (*needs, *_WORK))
            for label, p in _labelled(f):
                yield Reading(p.memory.kv_cache / per, f"{how}, on the fullest GPU{label}", (*needs, *_WORK, *_PLAN))
    elif part in ("activations", "buffers", "total", "utilization", "headroom") and plan is not None:
        every = (*_FLOPS, *_BYTES, *_PLAN)
        for label, p in _labelled(f):
            m = p.memory
            whole = {
                "activations": [(m.activations, "the residual stream twice and the widest operation")],
                "buffers": [(m.buffers, "what a GPU sends and the fullest receives")],
            }.get(part) or [
                (m.total, "weights, KV cache, activations and buffers of the fullest GPU"),
                (m.total - m.buffers, "weights, KV cache and activations"),
                (m.weights.total + m.kv_cache, "weights and KV cache"),
                (m.weights.total + m.activations, "weights and activations"),
            ]
            for value, how in whole:
                if part in ("utilization", "headroom"):
                    used = value / m.capacity
                    device = (*every, "cluster.device.memory")
                    yield Reading(used if part == "utilization" else 1 - used, f"{how}, of the capacity{label}", device)
                else:
                    times = 1 if "all" not in scope or "gpu" in scope else p.gpus
                    yield Reading(value * times, how + label, every)
    elif part == "free" and plan is not None:
        for label, p in _labelled(f):
            free = p.memory.capacity - p.memory.total
            yield Reading(
                free, f"capacity less what is held{label}", (*_FLOPS, *_BYTES, *_PLAN, "cluster.device.memory")
            )


def _labelled(f: Facts) -> list[tuple[str, Plan]]:
    """Plans with a remark on the reading, where there are several."""
    several = len({name for name, _ in f.plans}) > 1
    masks = len({mask for _, mask in f.plans}) > 1
    found = []
    for (name, mask), plan in f.plans.items():
        notes = []
        if several:
            notes.append({"split": "tokens split", "broadcast": "all tokens on every GPU"}[name])
        if masks:
            notes.append("causal" if mask else "full mask")
        found.append((f" ({', '.join(notes)})" if notes else "", plan))
    return found


def _weights(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case = f.case
    model, layer = case.model, moe_layer(case)
    kinds = {"experts": ("experts",), "weights": ()}.get(part, (part,))
    tensors = [t for t in layer_tensors(layer, model.hidden_size) if not kinds or t.kind in kinds]
    needs = (*(_EXPERT if part == "experts" else (*_MODEL, *_EXPERT) if part == "weights" else _MODEL), *_BYTES)

    layer_size = sum(t.parameters * element_bytes(model.precision.weight(t.kind)) for t in tensors)

    moe = model.moe
    form = model.precision.weight(kinds[0] if kinds else "default")
    width = f"{element_bytes(form):g} B ({form})"
    shape = {
        "attention": f"the attention's matrices ({_matrices(layer, model.hidden_size)}) × {width}",
        "experts": f"{3 if moe and moe.gated else 2} matrices × {model.hidden_size} × {moe.width if moe else 0} × {width}",
    }.get(part, f"all weights of a layer × {width}" if part == "weights" else f"{part} × {width}")
    if "expert" in scope and moe is not None and part in ("experts", "weights"):
        experts = [t for t in layer_tensors(layer, model.hidden_size) if t.kind == "experts"]
        one = sum(t.parameters * element_bytes(model.precision.weight(t.kind)) for t in experts) / moe.experts
        shape = f"{3 if moe.gated else 2} matrices × {model.hidden_size} × {moe.width} × {width}"
        if "gpu" in scope:
            for label, p in _labelled(f):
                etp = p.strategy.experts.tp
                yield Reading(one / etp, f"{shape} / {etp} (the experts' tp){label}", (*_EXPERT, *_BYTES, *_PLAN))
        else:
            yield Reading(one, shape, (*_EXPERT, *_BYTES))
            layers = len(model.moe_layers())
            if "all" in scope:
                yield Reading(one * layers, f"{shape} × {layers} layers", (*_EXPERT, *_BYTES))
        return
    if "gpu" in scope:
        for label, p in _labelled(f):
            if "layer" in scope:
                table = Table.one(p.strategy, p.batch)
                value = float(weight_bytes(tensors, layer.attention, model.precision, table))
                yield Reading(value, f"{shape}, a GPU's share of a layer{label}", (*needs, *_PLAN))
            else:
                w = p.memory.weights
                value = w.total if part == "weights" else sum(getattr(w, line) for line in _LINES[part])
                yield Reading(
                    value, f"{shape}, a GPU's share of all its layers{label}", (*needs, *_PLAN, "model.layers")
                )
                if part == "experts" and w.shared_experts:
                    yield Reading(w.experts, f"{shape}, without shared experts{label}", (*needs, *_PLAN))
    elif "layer" in scope:
        yield Reading(layer_size, f"{shape}{_all_experts(part, model.moe)}", needs)
    else:
        layers = len(model.layers)
        if part == "weights":
            yield Reading(weight_bytes_total(model), "all weights of the model", (*needs, "model.vocab_size"))
        else:
            whole = sum(
                t.parameters * n * element_bytes(model.precision.weight(t.kind))
                for t, n in all_tensors(model)
                if t.kind in kinds
            )
            yield Reading(whole, f"{shape}{_all_experts(part, model.moe)} × {layers} layers", (*needs, "model.layers"))


def _all_experts(part: str, moe: MoeFfn | None) -> str:
    return f" × {moe.experts} experts" if part == "experts" and moe else ""


def _matrices(layer: Layer, hidden: int) -> str:
    """The matrices of an attention with their sizes, equal ones together: ``4 × 1024 × 1024``."""
    from moewright.spec.tensors import attention_tensors

    sizes: dict[tuple[int, int], int] = {}
    for t in attention_tensors(layer.attention, hidden):
        if t.gemm:
            sizes[t.rows, t.columns] = sizes.get((t.rows, t.columns), 0) + 1
    return " + ".join(
        f"{n} × {rows} × {columns}" if n > 1 else f"{rows} × {columns}" for (rows, columns), n in sizes.items()
    )


_KINDS: Final = {
    "attention": ("attention", "attention_scores"),
    "projections": ("attention",),
    "scores": ("attention_scores",),
    "experts": ("experts", "shared_experts"),
    "router": ("router",),
}


def _compute(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case = f.case
    batch, model = case.workload.batch[0], case.model
    causal = case.workload.causal
    if part == "delivered":
        device = case.cluster.device
        for unit, peak in device.flops.items():
            if not model.precision.default.startswith(unit) and len(device.flops) > 1 and unit not in ("fp8", "bf16"):
                continue
            yield Reading(peak * device.mfu, f"{unit} peak × mfu {device.mfu:g}", _DEVICE)
        return
    if part in ("utilization", "headroom"):
        for label, p in _labelled(f):
            for value, over in (
                (p.compute.utilization, "all GPUs' peaks"),
                (p.compute.utilization / case.cluster.device.mfu, "the delivered rate"),
            ):
                used = value if part == "utilization" else 1 - value
                yield Reading(
                    used, f"{'' if part == 'utilization' else '1 less '}all FLOPs over {over} in the pass{label}", _TIME
                )
        return
    masks = (causal, not causal) if "workload.causal" in f.setting.assumed else (causal,)
    for mask in masks:
        work = model_flops(replace(case, workload=replace(case.workload, causal=mask)), batch)
        value = sum(v for kind, v in work.items() if part == "total" or kind in _KINDS.get(part, ()))
        layers = len(model.moe_layers()) if part in ("experts", "router") and model.moe else len(model.layers)
        note = (
            ""
            if len(masks) == 1 or part in ("experts", "router", "projections")
            else " (causal)"
            if mask
            else " (full mask)"
        )
        how = _work_formula(case, part) + note
        if part in ("experts", "router"):
            needs: tuple[str, ...] = (*_EXPERT, *_WORK, "model.experts.top_k")
        else:
            needs = _FLOPS if part == "total" else (*_MODEL, *_WORK, "workload.causal")
        if "layer" in scope:
            value, how = value / layers, f"{how}, a layer"
        if "expert" in scope and model.moe is not None:
            instances = model.moe.experts * (1 if "layer" in scope else layers)
            value, how = value / instances, f"{how}, over {model.moe.experts} experts"
        if "token" in scope:
            tokens = batch * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence)
            value, how = value / tokens, f"{how}, a token"
        if "gpu" in scope:
            for label, p in _labelled(f):
                s = p.strategy
                copies = s.attention.repeated if part not in ("experts",) else 1
                if "expert" in scope:
                    yield Reading(value / s.experts.tp, f"{how}, over the experts' tp {s.experts.tp}", (*needs, *_PLAN))
                    continue
                pp = s.pp if "layer" in scope else 1
                yield Reading(value * copies * pp / p.gpus, f"{how}, over {p.gpus} GPUs{label}", (*needs, *_PLAN))
                if part == "total" and "layer" not in scope:
                    yield Reading(p.compute.flops_per_gpu, f"of the fullest GPU{label}", (*needs, *_PLAN))
        else:
            yield Reading(value, how, needs)


def _work_formula(case: Case, part: str) -> str:
    w, model = case.workload, case.model
    tokens = w.batch[0] * (1 if w.kind is Kind.DECODE else w.sequence)
    moe = model.moe
    if part == "experts" and moe:
        m = 3 if moe.gated else 2
        return f"2 × {tokens} tokens × top {moe.top_k} × {m} × {model.hidden_size} × {moe.width}"
    if part == "attention":
        return f"2 × {tokens} tokens × the projections' weights, and 4 × tokens × keys seen × heads × head_dim"
    return {"projections": f"2 × {tokens} tokens × weights", "scores": "4 × tokens × keys seen × heads × head_dim"}.get(
        part, f"all products of {tokens} tokens"
    )


def _operations(plan: Plan, part: str) -> list[tuple[float, float]]:
    """(bytes, seconds) in a pass of the collectives of ``part``."""
    found = []
    for o in plan.communication.operations:
        side = "attention" if o.name.startswith(("attention", "context")) else "experts"
        if part in ("total", side, o.name):
            found.append((o.bytes * o.count, o.seconds * o.count))
    return found


def _communication(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case = f.case
    needs = (*_FLOPS, *_BYTES, *_PLAN)
    for label, p in _labelled(f):
        layers = (
            len(case.model.moe_layers() if part not in ("total", "attention") else case.model.layers) / p.strategy.pp
        )
        per = max(layers, 1) if "layer" in scope else 1
        value = sum(b for b, _ in _operations(p, part)) / per
        where = "a layer" if "layer" in scope else "a pass"
        yield Reading(value, f"what a GPU sends {where}{label}", needs)
        moe = case.model.moe
        if part in ("dispatch", "combine") and moe is not None:
            tokens = p.batch * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence) / p.gpus
            form = getattr(case.model.precision, part)
            size = tokens * moe.top_k * case.model.hidden_size * element_bytes(form)
            times = 1 if "layer" in scope else layers
            yield Reading(
                size * times, f"{tokens:g} tokens × top {moe.top_k} × {case.model.hidden_size} × {form}{label}", needs
            )


def _time(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case, layers = f.case, len(f.case.model.layers)
    per = layers if "layer" in scope else 1
    if part == "bound":
        for mask, (value, why) in bounds(f).items():
            note = f" ({'causal' if mask else 'full mask'})" if len(bounds(f)) > 1 else ""
            yield Reading(value / per, why + note, tuple(n for n in _TIME if n not in _NETWORK))
        return
    for label, p in _labelled(f):
        t = p.latency
        exchange = sum(s for _, s in _operations(p, "total"))
        parts = {
            "total": t.seconds if "layer" not in scope else t.per_layer_seconds * layers,
            "communication": exchange,
            "compute": t.seconds
            - exchange
            - t.breakdown.get("pipeline_bubble", 0.0)
            - t.breakdown.get("hidden_by_overlap", 0.0),
            "attention": sum(
                t.breakdown.get(n, 0.0) for n in ("attention_projections", "attention", "output_projection")
            ),
            "experts": t.breakdown.get("experts", 0.0),
            "bubble": t.breakdown.get("pipeline_bubble", 0.0),
        }
        if part in parts:
            yield Reading(parts[part] / per, f"the planner's estimate{label}", _TIME)
        if part in ("dispatch", "combine"):
            yield Reading(sum(s for _, s in _operations(p, part)) / per, f"of its collectives{label}", _TIME)
        if part == "compute":
            device = case.cluster.device
            repeat = p.strategy.attention.repeated
            if repeat == 1:
                ideal = bounds(f).get(label.find("full mask") < 0, next(iter(bounds(f).values())))
                if ideal[1].startswith("FLOPs"):
                    needs = tuple(n for n in _TIME if n not in _NETWORK)
                    yield Reading(
                        ideal[0] / per, f"all FLOPs over the delivered rate of {p.gpus} × {device.name}{label}", needs
                    )


def _throughput(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    if part == "most":
        for seconds, why in bounds(f).values():
            w = f.case.workload
            tokens = w.batch[0] * (1 if w.kind is Kind.DECODE else w.sequence)
            share = f.case.cluster.gpus if "gpu" in scope else 1
            yield Reading(tokens / seconds / share, why, tuple(n for n in _TIME if n not in _NETWORK))
        return
    for label, p in _labelled(f):
        t = p.throughput
        value = t.tokens_per_second if part == "tokens" else t.sequences_per_second
        if "gpu" in scope:
            value /= p.gpus
        yield Reading(value, f"the planner's estimate{label}", _TIME)


def _share(f: Facts, part: str) -> Iterator[Reading]:
    for label, p in _labelled(f):
        t = p.latency
        exchange = sum(s for _, s in _operations(p, "total"))
        if part == "communication":
            yield Reading(exchange / t.seconds, f"communication over the pass{label}", _TIME)
            yield Reading(exchange / max(t.seconds - exchange, 1e-12), f"communication over the rest{label}", _TIME)
        elif part == "bubble":
            s = p.strategy
            yield Reading((s.pp - 1) / (s.micro_batches + s.pp - 1), "(p − 1) / (m + p − 1) of the time", ())
            yield Reading((s.pp - 1) / s.micro_batches, "(p − 1) / m of the busy time", ())
        elif part == "straggler":
            yield Reading(
                p.balance.straggler, f"expected fullest rank over the mean{label}", (*_EXPERT, *_WORK, *_PLAN)
            )
            yield Reading(
                p.balance.straggler - 1, f"expected excess of the fullest rank{label}", (*_EXPERT, *_WORK, *_PLAN)
            )


def _count(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case, plan = f.case, f.plan
    model, moe = case.model, case.model.moe
    if part == "experts" and moe is not None:
        layers = len(model.moe_layers())
        needs = ("model.experts.count", "model.layers")
        if "gpu" in scope and plan is None:
            return
        if "gpu" in scope and plan is not None:
            s = plan.strategy
            each = moe.experts / s.experts.ep
            if "layer" in scope:
                yield Reading(
                    each / s.experts.tp, f"{moe.experts} / (ep {s.experts.ep} × tp {s.experts.tp})", (*needs, *_PLAN)
                )
                yield Reading(each, f"{moe.experts} / ep {s.experts.ep}", (*needs, *_PLAN))
            else:
                yield Reading(
                    plan.balance.experts_per_gpu.max,
                    f"{moe.experts} × {layers} / {s.gpus // s.replicas} GPUs",
                    (*needs, *_PLAN),
                )
                yield Reading(each, f"{moe.experts} / ep {s.experts.ep}, a layer", (*needs, *_PLAN))
                yield Reading(
                    each * layers / s.pp, f"{moe.experts} / ep {s.experts.ep} × {layers} layers", (*needs, *_PLAN)
                )
        elif "layer" in scope:
            yield Reading(moe.experts, "experts of a layer", needs)
        elif "gpu" not in scope:
            yield Reading(moe.experts * layers, f"{moe.experts} × {layers} layers", needs)
            yield Reading(moe.experts, "experts of a layer", needs)
    elif part in ("modules", "modules.experts", "modules.attention") and moe is not None:
        attention, experts = len(model.layers), moe.experts * len(model.moe_layers())
        total = {"modules": attention + experts, "modules.experts": experts, "modules.attention": attention}[part]
        needs = ("model.experts.count", "model.layers")
        if "gpu" in scope:
            gpus = case.cluster.gpus
            yield Reading(total / gpus, f"{total} / {gpus} GPUs, an average", (*needs, *_PLAN))
        else:
            yield Reading(
                total, f"{experts} experts + {attention} attentions" if part == "modules" else "one a layer", needs
            )
    elif part == "heads" and plan is not None:
        heads = moe_layer(case).attention.heads
        yield Reading(
            heads / plan.strategy.attention.tp, f"{heads} / tp {plan.strategy.attention.tp}", ("model.attention.heads",)
        )
    elif part == "layers" and plan is not None:
        yield Reading(
            len(model.layers) / plan.strategy.pp, f"{len(model.layers)} / pp {plan.strategy.pp}", ("model.layers",)
        )
    elif part in ("tokens", "sequences"):
        batch, w = case.workload.batch[0], case.workload
        total = batch * (w.sequence if part == "tokens" and w.kind is not Kind.DECODE else 1)
        if "gpu" in scope:
            if plan is None:
                return
            a = plan.strategy.attention
            groups = plan.strategy.replicas * a.dp
            yield Reading(total / groups, f"{total} / {groups} attention groups", (*_WORK, *_PLAN))
            yield Reading(total / plan.gpus, f"{total} / {plan.gpus} GPUs", (*_WORK, *_PLAN))
        elif "expert" in scope and moe is not None:
            yield Reading(total * moe.top_k / moe.experts, f"{total} × top {moe.top_k} / {moe.experts}", _WORK)
        else:
            yield Reading(total, f"{batch} sequences × {w.sequence}" if part == "tokens" else "the batch", _WORK)
    elif part == "parameters":
        yield from _parameters(f, scope)


def _parameters(f: Facts, scope: Scope) -> Iterator[Reading]:
    model, moe = f.case.model, f.case.model.moe
    layer = layer_tensors(moe_layer(f.case), model.hidden_size)
    if "expert" in scope and moe is not None:
        one = sum(t.parameters for t in layer if t.kind == "experts") / moe.experts
        yield Reading(one, f"{3 if moe.gated else 2} × {model.hidden_size} × {moe.width}", _EXPERT)
    elif "active" in scope:
        yield Reading(active_parameters(model), "parameters that one token passes", (*_MODEL, *_EXPERT))
    elif "layer" in scope:
        yield Reading(sum(t.parameters for t in layer), "parameters of a layer", (*_MODEL, *_EXPERT))
    else:
        yield Reading(total_parameters(model), "parameters of the model", (*_MODEL, *_EXPERT))
        yield Reading(active_parameters(model), "parameters that one token passes", (*_MODEL, *_EXPERT))
