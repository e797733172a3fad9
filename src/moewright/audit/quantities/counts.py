"""Counts, recomputed: experts, modules, heads, tokens, parameters."""

from __future__ import annotations

from collections.abc import Iterator

from moewright.audit.quantities.readings import EXPERT, MODEL, PLAN, WORK, Facts, Reading, Scope, moe_layer
from moewright.case.tensors import active_parameters, all_tensors, layer_tensors, total_parameters
from moewright.case.workload import Kind


def count(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
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
                    each / s.experts.tp, f"{moe.experts} / (ep {s.experts.ep} × tp {s.experts.tp})", (*needs, *PLAN)
                )
                yield Reading(each, f"{moe.experts} / ep {s.experts.ep}", (*needs, *PLAN))
            else:
                yield Reading(
                    plan.balance.experts_per_gpu.max,
                    f"{moe.experts} × {layers} / {s.gpus // s.replicas} GPUs",
                    (*needs, *PLAN),
                )
                yield Reading(each, f"{moe.experts} / ep {s.experts.ep}, a layer", (*needs, *PLAN))
                yield Reading(
                    each * layers / s.pp, f"{moe.experts} / ep {s.experts.ep} × {layers} layers", (*needs, *PLAN)
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
            yield Reading(total / gpus, f"{total} / {gpus} GPUs, an average", (*needs, *PLAN))
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
            yield Reading(total / groups, f"{total} / {groups} attention groups", (*WORK, *PLAN))
            yield Reading(total / plan.gpus, f"{total} / {plan.gpus} GPUs", (*WORK, *PLAN))
        elif "expert" in scope and moe is not None:
            yield Reading(total * moe.top_k / moe.experts, f"{total} × top {moe.top_k} / {moe.experts}", WORK)
        else:
            yield Reading(total, f"{batch} sequences × {w.sequence}" if part == "tokens" else "the batch", WORK)
    elif part == "parameters":
        yield from _parameters(f, scope)
    elif part.startswith("parameters."):
        kind = part.partition(".")[2]
        layer = sum(t.parameters for t in layer_tensors(moe_layer(case), model.hidden_size) if t.kind == kind)
        whole = sum(t.parameters * n for t, n in all_tensors(model) if t.kind == kind)
        fields = MODEL if kind == "attention" else EXPERT
        found = [(float(layer), f"{kind} of a layer"), (float(whole), f"{kind} of all layers")]
        for value, how in found if "layer" in scope else reversed(found):
            yield Reading(value, how, fields)


def _parameters(f: Facts, scope: Scope) -> Iterator[Reading]:
    model, moe = f.case.model, f.case.model.moe
    layer = layer_tensors(moe_layer(f.case), model.hidden_size)
    if "expert" in scope and moe is not None:
        one = sum(t.parameters for t in layer if t.kind == "experts") / moe.experts
        yield Reading(one, f"{3 if moe.gated else 2} × {model.hidden_size} × {moe.width}", EXPERT)
    elif "active" in scope:
        yield Reading(active_parameters(model), "parameters that one token passes", (*MODEL, *EXPERT))
    elif "layer" in scope:
        yield Reading(sum(t.parameters for t in layer), "parameters of a layer", (*MODEL, *EXPERT))
    else:
        yield Reading(total_parameters(model), "parameters of the model", (*MODEL, *EXPERT))
        yield Reading(active_parameters(model), "parameters that one token passes", (*MODEL, *EXPERT))
