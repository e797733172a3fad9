"""Work and what it takes, recomputed: FLOPs, bytes sent, seconds, throughput, shares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Final

from moewright.audit.quantities.readings import (
    BYTES,
    DEVICE,
    EXPERT,
    FLOPS,
    MODEL,
    NETWORK,
    PLAN,
    TIME,
    WORK,
    Facts,
    Reading,
    Scope,
    bounds,
    labelled,
    masks_of,
)
from moewright.case.case import Case
from moewright.case.precision import element_bytes
from moewright.case.tensors.layer_tensors import active_parameters
from moewright.case.workload import Kind
from moewright.planning.bounds import model_flops
from moewright.planning.record import Plan

_KINDS: Final = {
    "attention": ("attention", "attention_scores"),
    "projections": ("attention",),
    "scores": ("attention_scores",),
    "experts": ("experts", "shared_experts"),
    "router": ("router",),
}


def compute(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    """FLOPs of a part of the model; the delivered rate; the utilization reached and what is left of it."""
    if part == "delivered":
        device = f.case.cluster.device
        for unit, peak in device.flops.items():
            yield Reading(peak * device.mfu, f"{unit} peak × mfu {device.mfu:g}", DEVICE)
            if "gpu" not in scope:
                gpus = f.case.cluster.gpus
                how = f"{gpus} GPUs × {unit} peak × mfu {device.mfu:g}"
                yield Reading(gpus * peak * device.mfu, how, (*DEVICE, *PLAN))
    elif part in ("utilization", "headroom"):
        for label, p in labelled(f):
            reached = p.compute.utilization
            for value, over in (
                (reached, "all GPUs' peaks"),
                (reached / f.case.cluster.device.mfu, "the delivered rate"),
            ):
                how = f"all FLOPs over {over} in the pass{label}"
                yield Reading(value, how, TIME) if part == "utilization" else Reading(1 - value, f"1 less {how}", TIME)
    else:
        masks = masks_of(f.setting)
        for mask in masks:
            case = replace(f.case, workload=replace(f.case.workload, causal=mask))
            noted = len(masks) > 1 and part not in ("experts", "router", "projections")
            note = (" (causal)" if mask else " (full mask)") if noted else ""
            for value, how in _works(case, part):
                yield from _scoped(f, part, scope, value, how + note)


def _works(case: Case, part: str) -> Iterator[tuple[float, str]]:
    """(FLOPs of a pass, how); of a total also the usual estimates that leave something out."""
    batch, w = case.workload.batch[0], case.workload
    work = model_flops(case, batch)
    yield (
        sum(v for kind, v in work.items() if part == "total" or kind in _KINDS.get(part, ())),
        _work_formula(case, part),
    )
    if part == "total":
        tokens = batch * (1 if w.kind is Kind.DECODE else w.sequence)
        yield (
            sum(work.values()) - work["attention_scores"],
            f"all products of {tokens} tokens but the attention's scores",
        )
        yield 2.0 * active_parameters(case.model) * tokens, f"2 × active parameters × {tokens} tokens"
        yield work.get("experts", 0.0) + work.get("attention", 0.0) + work["attention_scores"], "attention and experts"


def _scoped(f: Facts, part: str, scope: Scope, value: float, how: str) -> Iterator[Reading]:
    """Work of a whole pass, in a scope of it."""
    case, model = f.case, f.case.model
    layers = len(model.moe_layers()) if part in ("experts", "router") and model.moe else len(model.layers)
    if part in ("experts", "router"):
        needs: tuple[str, ...] = (*EXPERT, *WORK, "model.experts.top_k")
    else:
        needs = FLOPS if part == "total" else (*MODEL, *WORK, "workload.causal")
    if "layer" in scope:
        value, how = value / layers, f"{how}, a layer"
    if "expert" in scope and model.moe is not None:
        instances = model.moe.experts * (1 if "layer" in scope else layers)
        value, how = value / instances, f"{how}, over {model.moe.experts} experts"
    if "token" in scope:
        tokens = case.workload.batch[0] * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence)
        value, how = value / tokens, f"{how}, a token"
    if "gpu" not in scope:
        yield Reading(value, how, needs)
        return
    for label, p in labelled(f):
        s = p.strategy
        if "expert" in scope:
            yield Reading(value / s.experts.tp, f"{how}, over the experts' tp {s.experts.tp}", (*needs, *PLAN))
            continue
        copies = s.attention.repeated if part != "experts" else 1
        pp = s.pp if "layer" in scope else 1
        yield Reading(value * copies * pp / p.gpus, f"{how}, over {p.gpus} GPUs{label}", (*needs, *PLAN))
        if part == "total" and "layer" not in scope:
            yield Reading(p.compute.flops_per_gpu, f"of the fullest GPU{label}", (*needs, *PLAN))


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


#: bytes of an element that is sent: that of the model, or one or two
_SENT: Final = (1.0, 2.0)


def _of_token(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    """Bytes that a token's routed copies have: top_k × hidden size × bytes of an element, once or there and back."""
    model, moe = f.case.model, f.case.model.moe
    ways = {"dispatch": ("dispatch",), "combine": ("combine",)}.get(part, ("dispatch", "combine"))
    if moe is None or part == "attention":
        return
    layers = 1 if "layer" in scope else len(model.moe_layers())
    own = tuple(element_bytes(getattr(model.precision, way)) for way in ways)
    needs = ("model.hidden_size", "model.experts.top_k", *(() if layers == 1 else ("model.layers",)))
    for sizes in dict.fromkeys((own, *product(_SENT, repeat=len(ways)))):
        size = sum(sizes)
        how = f"top {moe.top_k} × {model.hidden_size} × {size:g} B ({' and '.join(ways)})"
        yield Reading(
            moe.top_k * model.hidden_size * size * layers, how + (f" × {layers} layers" if layers > 1 else ""), needs
        )


def communication(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    """Bytes that a GPU sends: as the planner counts them, and every routed copy of its tokens, the usual estimate."""
    case, model = f.case, f.case.model
    needs = (*FLOPS, *BYTES, *PLAN)
    moe = model.moe
    if "token" in scope:
        yield from _of_token(f, part, scope)
        return
    for label, p in labelled(f):
        held = model.layers if part in ("total", "attention") else model.moe_layers()
        layers = max(len(held) / p.strategy.pp, 1)
        value = sum(b for b, _ in _operations(p, part)) / (layers if "layer" in scope else 1)
        where = "a layer" if "layer" in scope else "a pass"
        yield Reading(value, f"what a GPU sends {where}{label}", needs)
        ways = [way for way in ("dispatch", "combine") if part in (way, "experts", "total")]
        if moe is not None and ways and p.strategy.experts.ep > 1 and p.strategy.attention.repeated == 1:
            tokens = p.batch * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence) / p.gpus
            size = sum(element_bytes(getattr(model.precision, way)) for way in ways)
            copies = tokens * moe.top_k * model.hidden_size * size
            times = 1 if "layer" in scope else len(model.moe_layers()) / p.strategy.pp
            how = f"{tokens:g} tokens × top {moe.top_k} × {model.hidden_size} × {size:g} B{label}"
            yield Reading(copies * times, f"{how} ({' and '.join(ways)})", needs)


def time(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    case, layers = f.case, len(f.case.model.layers)
    per = layers if "layer" in scope else 1
    if part == "bound":
        for mask, (value, why) in bounds(f).items():
            note = f" ({'causal' if mask else 'full mask'})" if len(bounds(f)) > 1 else ""
            needs = tuple(n for n in TIME if n not in NETWORK)
            yield Reading(value / per, why + note, needs)
            if why.startswith("FLOPs"):
                yield Reading(value / per * case.cluster.device.mfu, f"FLOPs at the peak of all GPUs{note}", needs)
        return
    for label, p in labelled(f):
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
            yield Reading(parts[part] / per, f"the planner's estimate{label}", TIME)
        if part in ("dispatch", "combine"):
            yield Reading(sum(s for _, s in _operations(p, part)) / per, f"of its collectives{label}", TIME)
        if part == "compute":
            device = case.cluster.device
            repeat = p.strategy.attention.repeated
            if repeat == 1:
                ideal = bounds(f).get(label.find("full mask") < 0, next(iter(bounds(f).values())))
                if ideal[1].startswith("FLOPs"):
                    needs = tuple(n for n in TIME if n not in NETWORK)
                    yield Reading(
                        ideal[0] / per, f"all FLOPs over the delivered rate of {p.gpus} × {device.name}{label}", needs
                    )


def throughput(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    if part == "most":
        for seconds, why in bounds(f).values():
            w = f.case.workload
            tokens = w.batch[0] * (1 if w.kind is Kind.DECODE else w.sequence)
            share = f.case.cluster.gpus if "gpu" in scope else 1
            yield Reading(tokens / seconds / share, why, tuple(n for n in TIME if n not in NETWORK))
        return
    for label, p in labelled(f):
        t = p.throughput
        value = t.tokens_per_second if part == "tokens" else t.sequences_per_second
        if "gpu" in scope:
            value /= p.gpus
        yield Reading(value, f"the planner's estimate{label}", TIME)


def share(f: Facts, part: str) -> Iterator[Reading]:
    for label, p in labelled(f):
        t = p.latency
        exchange = sum(s for _, s in _operations(p, "total"))
        if part == "communication":
            yield Reading(exchange / t.seconds, f"communication over the pass{label}", TIME)
            yield Reading(exchange / max(t.seconds - exchange, 1e-12), f"communication over the rest{label}", TIME)
        elif part == "bubble":
            s = p.strategy
            yield Reading((s.pp - 1) / (s.micro_batches + s.pp - 1), "(p − 1) / (m + p − 1) of the time", ())
            yield Reading((s.pp - 1) / s.micro_batches, "(p − 1) / m of the busy time", ())
        elif part == "straggler":
            yield Reading(p.balance.straggler, f"expected fullest rank over the mean{label}", (*EXPERT, *WORK, *PLAN))
            yield Reading(
                p.balance.straggler - 1, f"expected excess of the fullest rank{label}", (*EXPERT, *WORK, *PLAN)
            )
