"""Counts, recomputed: experts, modules, heads, tokens, parameters."""

from __future__ import annotations

from collections.abc import Iterator

from moewright.audit.quantities.readings import EXPERT, MODEL, PLAN, WORK, Facts, Reading, Scope, moe_layer
from moewright.case.model import MoeFfn
from moewright.case.tensors.layer_tensors import active_parameters, layer_tensors, parameters_by_kind, total_parameters
from moewright.case.workload import Kind


def count(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    """Readings of the count of ``part`` (experts, modules, heads, layers, tokens, sequences, parameters …)."""
    model, moe, plan = f.case.model, f.case.model.moe, f.plan
    if part == "experts" and moe is not None:
        yield from _experts(f, moe, scope)
    elif part in ("modules", "modules.experts", "modules.attention") and moe is not None:
        yield from _modules(f, moe, part, scope)
    elif part == "heads" and plan is not None:
        heads, tp = moe_layer(f.case).attention.heads, plan.strategy.attention.tp
        yield Reading(heads / tp, f"{heads} / tp {tp}", ("model.attention.heads",))
    elif part == "layers" and plan is not None:
        pp = plan.strategy.pp
        yield Reading(len(model.layers) / pp, f"{len(model.layers)} / pp {pp}", ("model.layers",))
    elif part in ("tokens", "sequences"):
        yield from _tokens(f, part, scope)
    elif part == "parameters":
        yield from _parameters(f, scope)
    elif part.startswith("parameters."):
        kind = part.partition(".")[2]
        layer = sum(t.parameters for t in layer_tensors(moe_layer(f.case), model.hidden_size) if t.kind == kind)
        whole = parameters_by_kind(model)[kind]
        fields = MODEL if kind == "attention" else EXPERT
        readings = [(float(layer), f"{kind} of a layer"), (float(whole), f"{kind} of all layers")]
        if "gpu" in scope:
            if plan is None or kind not in ("experts", "attention"):
                return
            s = plan.strategy
            ranks = s.experts.ep * s.experts.tp if kind == "experts" else s.attention.tp
            of = f"over {'ep ' + str(s.experts.ep) if kind == 'experts' else 'tp ' + str(s.attention.tp)}"
            readings = [(v / ranks / pp, f"{how} {of}") for (v, how), pp in zip(readings, (1, s.pp), strict=True)]
        for value, how in readings if "layer" in scope else reversed(readings):
            yield Reading(value, how, fields)


def _experts(f: Facts, moe: MoeFfn, scope: Scope) -> Iterator[Reading]:
    layers, plan = len(f.case.model.moe_layers()), f.plan
    needs = ("model.experts.count", "model.layers")
    if "gpu" not in scope:
        if "layer" not in scope:
            yield Reading(moe.experts * layers, f"{moe.experts} × {layers} layers", needs)
        yield Reading(moe.experts, "experts of a layer", needs)
        return
    if plan is None:
        return
    s, planned = plan.strategy, (*needs, *PLAN)
    slots = f"({moe.experts} + {s.experts.redundant})" if s.experts.redundant else f"{moe.experts}"
    of_rank, how = (moe.experts + s.experts.redundant) / s.experts.ep, f"{slots} / ep {s.experts.ep}"
    if "layer" in scope:
        yield Reading(of_rank / s.experts.tp, f"{slots} / (ep {s.experts.ep} × tp {s.experts.tp})", planned)
        yield Reading(of_rank, how, planned)
        return
    most = plan.balance.experts_per_gpu.max
    yield Reading(most, f"{moe.experts} × {layers} / {s.gpus // s.replicas} GPUs", planned)
    yield Reading(of_rank, f"{how}, a layer", planned)
    yield Reading(of_rank * layers / s.pp, f"{how} × {layers} layers", planned)


def _modules(f: Facts, moe: MoeFfn, part: str, scope: Scope) -> Iterator[Reading]:
    attention, experts = len(f.case.model.layers), moe.experts * len(f.case.model.moe_layers())
    total = {"modules": attention + experts, "modules.experts": experts, "modules.attention": attention}[part]
    needs = ("model.experts.count", "model.layers")
    if "gpu" in scope:
        gpus = f.case.cluster.gpus
        yield Reading(total / gpus, f"{total} / {gpus} GPUs, an average", (*needs, *PLAN))
    else:
        how = f"{experts} experts + {attention} attentions" if part == "modules" else "one a layer"
        yield Reading(total, how, needs)


def _tokens(f: Facts, part: str, scope: Scope) -> Iterator[Reading]:
    w, moe, plan = f.case.workload, f.case.model.moe, f.plan
    batch = w.batch[0]
    total = batch * (w.sequence if part == "tokens" and w.kind is not Kind.DECODE else 1)
    if "gpu" in scope:
        if plan is None:
            return
        groups = plan.strategy.replicas * plan.strategy.attention.dp
        yield Reading(total / groups, f"{total} / {groups} attention groups", (*WORK, *PLAN))
        yield Reading(total / plan.gpus, f"{total} / {plan.gpus} GPUs", (*WORK, *PLAN))
    elif "expert" in scope and moe is not None:
        yield Reading(total * moe.top_k / moe.experts, f"{total} × top {moe.top_k} / {moe.experts}", WORK)
    else:
        yield Reading(total, f"{batch} sequences × {w.sequence}" if part == "tokens" else "the batch", WORK)


def _parameters(f: Facts, scope: Scope) -> Iterator[Reading]:
    model, moe = f.case.model, f.case.model.moe
    layer = layer_tensors(moe_layer(f.case), model.hidden_size)
    if "expert" in scope and moe is not None:
        one = sum(t.parameters for t in layer if t.kind == "experts") / moe.experts
        yield Reading(one, f"{3 if moe.gated else 2} × {model.hidden_size} × {moe.width}", EXPERT)
    elif "active" in scope:
        active, table = active_parameters(model), model.vocab_size * model.hidden_size
        yield Reading(active, "parameters that one token passes", (*MODEL, *EXPERT))
        yield Reading(active + table, "parameters that one token passes, and the embedding's table", (*MODEL, *EXPERT))
    elif "layer" in scope:
        yield Reading(sum(t.parameters for t in layer), "parameters of a layer", (*MODEL, *EXPERT))
    else:
        yield Reading(total_parameters(model), "parameters of the model", (*MODEL, *EXPERT))
        yield Reading(active_parameters(model), "parameters that one token passes", (*MODEL, *EXPERT))
