"""Seconds, parameters and kept bytes of each kind of layer, and of the model's ends, in every cell of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.model import Layer, MoeFfn
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, array, total
from moewright.cost.ends import embedding_work, head_work
from moewright.cost.prices.price import Priced
from moewright.cost.shapes import tensor_share
from moewright.cost.table import Table
from moewright.cost.work import Collective, Matrix, Pass, Products, Stream, Work
from moewright.training.footprint.saved_tensors import Saved, saved_tensors, working_bytes
from moewright.training.work.delivered import Delivered, TrainingPrice, host_seconds
from moewright.training.work.layer_passes import backward_work, expanded_share, layer_passes

#: kinds of traffic inside a layer
KINDS = ("tp", "cp", "ep", "etp")
#: bytes of a logit that the loss reads and writes: its 16 bits, fp32 twice
_LOSS = 10.0


@dataclass(frozen=True, slots=True)
class PassSeconds:
    """Arrays [cells] of one pass: ``compute``, ``traffic`` by kind, ``waits`` of the device for its host."""

    compute: Array
    traffic: dict[str, Array]
    waits: Array

    def seconds(self) -> Array:
        """With all traffic exposed."""
        return self.compute + total(self.traffic.values()) + self.waits


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters of a rank [cells]: ``dense`` are the same on all ranks of dp and cp, ``experts`` on those of
    expert-dp; ``narrow_dense`` of the dense ones are matrices in the recipe's format (all experts are)."""

    dense: Array
    narrow_dense: Array
    experts: Array

    def __add__(self, other: Weights) -> Weights:
        return Weights(self.dense + other.dense, self.narrow_dense + other.narrow_dense, self.experts + other.experts)


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind of layer, or an end of the model: priced work of both passes, ``weights_share`` the seconds of weights'
    gradients, what is kept, and for each module that may be computed again the seconds of doing so."""

    forward: PassSeconds
    backward: PassSeconds
    weight_seconds: Array
    flops: Array
    weights: Weights
    saved: list[Saved]
    working: Array
    again: dict[str, PassSeconds]
    operations: list[Priced]


def layer_unit(p: Pass, layer: Layer, training: Training, price: TrainingPrice, constants: Delivered) -> Unit:
    """One kind of layer."""
    passes = layer_passes(p, layer, training)
    forward, backward = price.price(passes.forward), price.price(passes.backward)
    host = host_seconds(training, p.case.cluster.device, constants, isinstance(layer.ffn, MoeFfn))
    return Unit(
        pass_seconds_of(forward, constants, host),
        pass_seconds_of(backward, constants, host),
        _of_weights(backward),
        total(w.flops for w in passes.forward),
        weights_of(layer_tensors(layer, p.case.model.hidden_size), layer, p.table),
        saved_tensors(p, layer, training.recipe),
        working_bytes(p, layer),
        {name: pass_seconds_of(part) for name, part in _modules(p, layer, forward).items()},
        [*forward, *backward],
    )


def _modules(p: Pass, layer: Layer, forward: list[Priced]) -> dict[str, list[Priced]]:
    """The work of the forward pass that each module is."""

    def named(*names: str) -> list[Priced]:
        return [x for x in forward if x.work.name in names]

    share = expanded_share(layer, p.case.model.hidden_size)
    expanded = [
        Priced(x.work, x.seconds * (share if x.work.name == "attention_projections" else 1.0), x.origin)
        for x in named("attention_projections", "heads")
        if share
    ]
    shared = ("shared_gather", "shared_experts", "shared_reduce")
    routed = ("router", "router_choice", "permutation", "dispatch", "expert_gather", "experts", "expert_reduce")
    moe = isinstance(layer.ffn, MoeFfn)
    return {
        "layernorm": named("norms"),
        "moe_act": [],  # fused with the second product's input gradient
        "mla_up_proj": expanded,
        "core_attn": named("attention"),
        "shared_experts": named(*shared),
        "mlp": [] if moe else named("dense_gather", "dense", "activation"),
        "moe": named(*routed, "combine", *shared, "activation") if moe else [],
        "full": forward,
    }


def pass_seconds_of(priced: Sequence[Priced], constants: Delivered | None = None, host: float = 0.0) -> PassSeconds:
    """The seconds of ``priced`` by what they are. The device waits where the ``host`` takes longer to start them than
    they take."""
    compute = total(x.seconds for x in priced if not x.is_collective)
    traffic = {kind: np.zeros_like(compute) for kind in KINDS}
    for x in priced:
        c = x.work.collective
        if c is not None and np.any(x.work.happens):
            traffic[c.group.kind] = traffic[c.group.kind] + x.seconds
    busy = compute + total(traffic.values())
    waits = constants.waiting(busy, host) if constants else np.zeros(busy.shape)
    return PassSeconds(compute, traffic, waits)


def _of_weights(backward: Sequence[Priced]) -> Array:
    return total(x.seconds for x in backward if x.work.name.endswith("_weight_gradient"))


def weights_of(tensors: Sequence[Tensor], layer: Layer, t: Table) -> Weights:
    """A rank's share of ``tensors``."""
    none = np.zeros(len(t))
    dense, narrow, experts = none, none, none
    for x in tensors:
        held = x.parameters * tensor_share(x, layer.attention, t)
        if x.shard == "experts":
            experts = experts + held
            continue
        dense = dense + held
        if x.gemm and x.kind in ("attention", "dense", "shared_experts"):
            narrow = narrow + held
    return Weights(dense, narrow, experts)


# --- the model's ends ---


def end_units(p: Pass, training: Training, price: TrainingPrice) -> tuple[Unit, Unit]:
    """(embedding, head with the loss)."""
    model, t = p.case.model, p.table
    embedding, head = embedding_work(p), head_work(p, True)
    if model.vocab_size:
        columns = model.vocab_size / array(t.tp)
        size = p.batch.tokens * columns * _LOSS
        none = np.zeros(size.shape)
        head.append(Work("loss", "head", Stream(none + 3.0), none, size, size > 0))
    tensors = vocabulary_tensors(model)
    first = [x for x in tensors if x.name == "embedding"]
    last = [x for x in tensors if x.name != "embedding" or model.tied_embeddings]
    layer = model.layers[0]
    made = []
    for work, held in ((embedding, first), (head, last)):
        forward, backward = price.price(work), price.price(backward_work(work, training.gradients))
        logits = p.batch.tokens * (model.vocab_size / array(t.tp)) if work is head else np.zeros(len(t))
        kept = [Saved("logits", 4.0 * logits), Saved("head_input", 2.0 * model.hidden_size * p.batch.own)]
        made.append(
            Unit(
                pass_seconds_of(forward),
                pass_seconds_of(backward),
                _of_weights(backward),
                total(w.flops for w in work),
                weights_of(held, layer, t),
                kept if work is head else [],
                2.0 * logits,
                {},
                [*forward, *backward],
            )
        )
    return made[0], made[1]


def prediction_unit(p: Pass, head: Unit, price: TrainingPrice, training: Training) -> Unit:
    """What a multi-token-prediction layer has beside an ordinary one: the joining of two hidden vectors (a product of
    2h × h), and the head and loss again; the head's weights are the model's own."""
    hidden, b = p.case.model.hidden_size, p.batch
    join = Matrix(b.own, array(float(hidden)), array(2.0 * hidden))
    flops = 2.0 * b.own * 2 * hidden * hidden
    none = np.zeros(len(p.table))
    traffic = 2.0 * (b.own * 3 * hidden + 2 * hidden * hidden)
    work = [Work("prediction_join", "head", Products("dense", (join,)), flops, traffic, flops > 0)]
    forward, backward = price.price(work), price.price(backward_work(work, training.gradients))
    own_forward, own_backward = pass_seconds_of(forward), pass_seconds_of(backward)
    matrix = none + 2.0 * hidden * hidden
    return Unit(
        _joined(own_forward, head.forward),
        _joined(own_backward, head.backward),
        _of_weights(backward) + head.weight_seconds,
        flops + head.flops,
        Weights(matrix + 2.0 * hidden, matrix, none),
        [Saved("prediction_input", 2.0 * 2 * hidden * b.own), *head.saved],
        head.working,
        {},
        [*forward, *backward, *head.operations],
    )


def _joined(one: PassSeconds, other: PassSeconds) -> PassSeconds:
    traffic = {kind: one.traffic[kind] + other.traffic[kind] for kind in KINDS}
    return PassSeconds(one.compute + other.compute, traffic, one.waits + other.waits)


@dataclass(frozen=True, slots=True)
class Cells:
    """Every kind of layer and both ends, in every cell. ``kinds`` [layers]: the kind of each layer in order, those of
    multi-token prediction last (their extra work is a kind of its own, ``prediction``, added to the last layers)."""

    p: Pass
    units: list[Unit]
    kinds: list[int]
    embedding: Unit
    head: Unit


def cells_of(case: Case, training: Training, p: Pass, price: TrainingPrice, constants: Delivered) -> Cells:
    """All that is summed up over stages."""
    model = case.model
    units = [layer_unit(p, layer, training, price, constants) for layer, _ in model.layer_kinds()]
    kinds = [0] * len(model.layers)
    for i, (_, positions) in enumerate(model.layer_kinds()):
        for position in positions:
            kinds[position] = i
    embedding, head = end_units(p, training, price)
    if training.prediction_layers:
        deep = units[kinds[-1]]
        extra = prediction_unit(p, head, price, training)
        units.append(_summed(deep, extra))
        kinds += [len(units) - 1] * training.prediction_layers
    return Cells(p, units, kinds, embedding, head)


def _summed(one: Unit, other: Unit) -> Unit:
    return Unit(
        _joined(one.forward, other.forward),
        _joined(one.backward, other.backward),
        one.weight_seconds + other.weight_seconds,
        one.flops + other.flops,
        one.weights + other.weights,
        [*one.saved, *other.saved],
        np.maximum(one.working, other.working),
        one.again,
        [*one.operations, *other.operations],
    )


def traffic_of(p: Priced) -> str | None:
    """The kind of traffic that ``p`` is, or None of what a rank does alone."""
    shape = p.work.shape
    return shape.group.kind if isinstance(shape, Collective) else None
