"""Seconds, parameters and kept bytes of each kind of layer, and of the model's ends, in every cell of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.model import Layer, MoeFfn
from moewright.case.train.recipe import Recipe
from moewright.case.train.train_strategy import Dispatcher
from moewright.case.train.tuning import WHOLE, LayerTuning
from moewright.cost.arrays import Array, Ints, total, where
from moewright.cost.prices.price import Priced
from moewright.cost.work import GroupedProducts, Pass, Products, Work
from moewright.training.footprint.saved_tensors import saved_tensors, working_bytes
from moewright.training.layouts import DISPATCHERS, EXCHANGES, FASTEST
from moewright.training.work.context_parallel import context_buffers, exchange_reason
from moewright.training.work.delivered import host_seconds
from moewright.training.work.elementwise import expanded_share
from moewright.training.work.held_weights import layer_weights
from moewright.training.work.layer_passes import Ways, layer_passes
from moewright.training.work.layer_units import Setting, Unit
from moewright.training.work.model_ends import end_units, prediction_unit
from moewright.training.work.pass_seconds import joined, pass_seconds_of, weight_seconds_of

#: what attention does over cp
_CONTEXT = ("context_gather", "context_ring", "ring_corrections", "context_exchange", "context_return")


def layer_unit(x: Setting, layer: Layer, tuning: LayerTuning = WHOLE) -> Unit:
    """One kind of layer."""
    p, training, price, constants = x.p, x.training, x.price, x.constants
    passes = layer_passes(p, layer, training, x.ways, tuning)
    forward, backward = price.price(passes.forward), price.price(passes.backward)
    host = host_seconds(training, p.case.cluster.device, constants, isinstance(layer.ffn, MoeFfn))
    modules = _modules(p, layer, forward) if tuning.passes else {}
    return Unit(
        pass_seconds_of(forward, constants, host),
        pass_seconds_of(backward, constants, host if backward else 0.0),
        weight_seconds_of(backward),
        total(w.flops for w in passes.forward),
        layer_weights(layer, p.case.model.hidden_size, p.table, tuning),
        saved_tensors(p, layer, training.recipe, tuning, x.ways.cp_comm_type),
        working_bytes(p, layer, training.recipe) if tuning.passes else np.zeros(len(p.table)),
        buffer_bytes(p, layer, training.recipe, x.ways),
        late_bytes(passes.backward, training.recipe),
        {name: pass_seconds_of(part) for name, part in modules.items()},
        [*forward, *backward],
    )


def _modules(p: Pass, layer: Layer, forward: list[Priced]) -> dict[str, list[Priced]]:
    """The work of the forward pass that each module is, priced; of MLA's projections the part that expands."""
    priced = {id(x.work): x for x in forward}
    share = expanded_share(layer, p.case.model.hidden_size)
    found = {
        name: [priced[id(w)] for w in work] for name, work in module_work(p, layer, [x.work for x in forward]).items()
    }
    found["mla_up_proj"] = [
        Priced(x.work, x.seconds * (share if x.work.name == "attention_projections" else 1.0), x.origin)
        for x in found["mla_up_proj"]
    ]
    return found


def module_work(p: Pass, layer: Layer, forward: list[Work]) -> dict[str, list[Work]]:
    """The work of the ``forward`` pass that each module (``MODULES``) does."""

    def named(*names: str) -> list[Work]:
        return [w for w in forward if w.name in names]

    expands = expanded_share(layer, p.case.model.hidden_size) > 0
    shared = ("shared_gather", "shared_experts", "shared_reduce")
    routed = ("router", "router_choice", "permutation", "dispatch", "dispatch_all", "expert_gather", "experts")
    moe = isinstance(layer.ffn, MoeFfn)
    return {
        "layernorm": named("norms"),
        "moe_act": [],  # fused with the second product's input gradient
        "mla_up_proj": named("attention_projections", "heads") if expands else [],
        "core_attn": named("attention", *_CONTEXT),
        "shared_experts": named(*shared),
        "mlp": [] if moe else named("dense_gather", "dense", "activation", "dense_reduce"),
        "moe": named(*routed, "expert_reduce", "combine", "combine_all", *shared, "activation") if moe else [],
        "full": forward,
    }


def late_bytes(backward: list[Work], recipe: Recipe) -> Array:
    """Bytes that live until gradients of weights which are put off: of each product the input, in the recipe's format,
    and the gradient of its output."""
    size = np.zeros(1)
    for w in backward:
        if not w.name.endswith("_weight_gradient"):
            continue
        if isinstance(w.shape, Products):  # [outputs, tokens] · [tokens, inputs]
            for m in w.shape.matrices:
                size = size + m.depth * (recipe.wide * m.rows + recipe.saved * m.columns)
        elif isinstance(w.shape, GroupedProducts):
            e = w.shape
            size = size + e.copies * (recipe.wide * (e.ups * e.width + e.hidden) + recipe.saved * (e.hidden + e.width))
    return size


def buffer_bytes(p: Pass, layer: Layer, recipe: Recipe, ways: Ways) -> Array:
    """Bytes that a layer's largest exchange needs beside what is kept: tokens gathered over tp, keys over cp, all
    tokens of a stage where a dispatcher gathers them."""
    b, t, hidden = p.batch, p.table, p.case.model.hidden_size
    gathered = where(t.tp > 1, recipe.wide * hidden * b.tokens, 0.0)
    everyone = ways.dispatcher == DISPATCHERS.index(Dispatcher.ALL_GATHER)
    ffn = layer.ffn
    stage = recipe.wide * 2 * ffn.token_width(hidden) * b.routed if isinstance(ffn, MoeFfn) else np.zeros(len(t))
    keys = context_buffers(p, layer.attention, ways.cp_comm_type)
    return np.maximum(np.maximum(gathered, keys), where(everyone & (t.ep > 1), stage, 0.0))


@dataclass(frozen=True, slots=True)
class Cells:
    """Every kind of layer and both ends, in every cell. ``kinds`` [layers]: the kind of each layer in order, those of
    multi-token prediction last (their extra work is a kind of its own, added to the last layer's); layers
    alike of which other parts are trained are of two kinds. ``cp_comm_type`` [cells]: the exchange each takes."""

    p: Pass
    cp_comm_type: Ints
    units: list[Unit]
    kinds: list[int]
    embedding: Unit
    head: Unit


def cells_of(x: Setting) -> Cells:
    """All that is summed up over stages."""
    p, training, model = x.p, x.training, x.p.case.model
    x = replace(x, ways=replace(x.ways, cp_comm_type=fastest_exchange(x)))
    known: dict[tuple[int, LayerTuning], int] = {}
    units: list[Unit] = []
    kinds = [0] * len(model.layers)
    for i, (layer, positions) in enumerate(model.layer_kinds()):
        for position in positions:
            key = i, training.tuning.of_layer(model, position)
            if key not in known:
                known[key] = len(units)
                units.append(layer_unit(x, layer, key[1]))
            kinds[position] = known[key]
    embedding, head = end_units(x)
    if training.prediction_layers:
        deep = units[kinds[-1]]
        units.append(_summed(deep, prediction_unit(x, head)))
        kinds += [len(units) - 1] * training.prediction_layers
    return Cells(p, x.ways.cp_comm_type, units, kinds, embedding, head)


def fastest_exchange(x: Setting) -> Ints:
    """``cp_comm_type`` of each cell, where it is ``FASTEST`` the one by which attention's core with what cp exchanges
    takes least, over all layers and both passes."""
    open_ = x.ways.cp_comm_type == FASTEST
    if not open_.any():
        return x.ways.cp_comm_type
    t, model = x.p.table, x.p.case.model
    seconds = []
    for k, kind in enumerate(EXCHANGES):
        every = replace(x, ways=replace(x.ways, cp_comm_type=np.full(len(t), k)))
        taken = np.zeros(len(t))
        for layer, positions in model.layer_kinds():
            a = layer.attention
            legal = [not exchange_reason(a, kind, int(c), int(n)) for c, n in zip(t.cp, t.tp, strict=True)]
            passes = layer_passes(x.p, layer, x.training, every.ways)
            for work in (passes.forward, passes.backward):
                mine = [w for w in work if w.name in _OF_CONTEXT]
                found = pass_seconds_of(x.price.price(mine))
                taken = taken + len(positions) * found.seconds()
            taken = np.where(legal, taken, np.inf)
        seconds.append(taken)
    return np.asarray(np.where(open_, np.stack(seconds).argmin(axis=0), x.ways.cp_comm_type))


#: what of a layer's work the choice of an exchange hangs on
_OF_CONTEXT = {f"{n}{ending}" for n in (*_CONTEXT, "attention") for ending in ("", "_gradient", "_again")}


def _summed(one: Unit, other: Unit) -> Unit:
    return Unit(
        joined(one.forward, other.forward),
        joined(one.backward, other.backward),
        one.weight_seconds + other.weight_seconds,
        one.flops + other.flops,
        one.weights + other.weights,
        [*one.saved, *other.saved],
        np.maximum(one.working, other.working),
        np.maximum(one.buffers, other.buffers),
        one.late + other.late,
        one.again,
        [*one.operations, *other.operations],
    )
