"""The work of a layer's forward and backward pass, on the list of ``cost.layer``.

Backward, every product is done twice: the gradient of its input (columns and depth change places) and of its weight
(over the tokens, added to what micro-batches before left). Attention's core takes 2.5 times its forward FLOPs: five
products for two (Dao, arXiv 2307.08691 §3.1.2). A gather is answered by a reduce-scatter and the other way round;
where a layer's input is kept divided over tp, it is gathered again for its weights' gradients (Korthikanti et al.,
arXiv 2205.05198 §4.2.2). Dispatch and combine change places. What is frozen has no gradient of weights, and where
nothing before an operation is trained it has none of its input either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.model import Layer, MoeFfn
from moewright.case.train.train_workload import Graphs, Training
from moewright.case.train.tuning import WHOLE, LayerTuning
from moewright.cost.arrays import Ints, where
from moewright.cost.layer import layer_work
from moewright.cost.network import sent_bytes
from moewright.cost.work import AttentionScores, Collective, GroupedProducts, Matrix, Pass, Products, Stream, Work
from moewright.training.work.adapters import adapter_work
from moewright.training.work.context_parallel import context_work, ring_gradient
from moewright.training.work.elementwise import streams
from moewright.training.work.token_dispatch import dispatched

#: products of attention's core backward, over those forward
CORE = 2.5
#: the collective that is another's gradient
_MIRROR = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather"}
#: where gradients pass an operation: how deep in its layer it stands (``tuning.DEPTHS``), and parts whose own gradients
#: come by it
_PASSES: dict[str, tuple[float, tuple[str, ...]]] = {
    "norms": (0.0, ("norms",)),
    "residual_streams": (0.0, ()),
    **dict.fromkeys(("attention_gather", "attention_projections", "attention_adapters"), (1.0, ())),
    **dict.fromkeys(("heads", "casts"), (1.5, ())),
    **dict.fromkeys(("context_gather", "context_ring", "context_exchange", "attention", "picked_keys"), (2.0, ())),
    **dict.fromkeys(("ring_corrections", "context_return", "output_projection", "output_adapters"), (3.0, ())),
    "attention_reduce": (3.5, ()),
    "router_choice": (5.0, ("router",)),
    "dense_reduce": (5.0, ("dense",)),
    "shared_reduce": (5.0, ("shared_experts",)),
    "activation": (5.0, ("dense", "shared_experts")),
    "experts": (5.0, ("router",)),
    **dict.fromkeys(("biased_activation", "expert_reduce", "combine", "combine_all"), (5.0, ("router", "experts"))),
    "loss": (5.0, ("head",)),
}
#: of all other operations
_ELSEWHERE: tuple[float, tuple[str, ...]] = (5.0, ())
#: the part whose weights an operation multiplies with
_PART = {
    "attention_projections": "attention",
    "output_projection": "attention",
    "router": "router",
    "experts": "experts",
    "shared_experts": "shared_experts",
    "dense": "dense",
    "embedding": "embedding",
    "head": "head",
}
#: the part whose weights' gradients need what is gathered again
_GATHERED_FOR = {
    "attention_gather": ("attention",),
    "dense_gather": ("dense",),
    "shared_gather": ("shared_experts",),
    "head_gather": ("head",),
}
#: operations of several products one after another, whose inner ones need gradients of inputs whatever is below
_INNER = ("experts", "shared_experts", "dense", "attention_projections")


@dataclass(frozen=True, slots=True)
class LayerPasses:
    """Work of one kind of layer, of a micro-batch: forward and backward."""

    forward: list[Work]
    backward: list[Work]


@dataclass(frozen=True, slots=True)
class Ways:
    """How each cell exchanges what it does: positions in ``EXCHANGES`` and ``DISPATCHERS``, shape [cells]."""

    cp_comm_type: Ints
    dispatcher: Ints


def layer_passes(p: Pass, layer: Layer, training: Training, ways: Ways, tuning: LayerTuning = WHOLE) -> LayerPasses:
    """The work of both passes through ``layer``, of which ``tuning`` is trained."""
    work = [w for w in layer_work(p, layer) if w.name != "context_gather"]
    if isinstance(layer.ffn, MoeFfn):
        work = dispatched(p, layer.ffn, work, ways.dispatcher)
    before, after = context_work(p, layer.attention, ways.cp_comm_type)
    at = next((i for i, w in enumerate(work) if isinstance(w.shape, AttentionScores)), len(work))
    work = [*work[:at], *before, *work[at : at + 1], *after, *work[at + 1 :]]
    if training.graphs is Graphs.FULL:
        work = [_without_passes(w) for w in work]
    forward = [*work, *adapter_work(p, layer, tuning), *streams(p, layer, training)]
    return LayerPasses(forward, backward_work(forward, training.gradients, tuning))


def _without_passes(w: Work) -> Work:
    """Experts whose activation is part of the product before it: no pass between products."""
    shape = w.shape
    return replace(w, shape=replace(shape, room=np.zeros_like(shape.room))) if isinstance(shape, GroupedProducts) else w


def backward_work(forward: list[Work], gradients: float, tuning: LayerTuning = WHOLE) -> list[Work]:
    """The work of the backward pass, ``gradients`` bytes an element of a weight's gradient."""
    work: list[Work] = []
    for w in reversed(forward):
        shape, passes = w.shape, _passes(w.name, tuning)
        if isinstance(shape, Products | GroupedProducts):
            work += _gradients(w, gradients, tuning, passes)
            continue
        if isinstance(shape, Collective) and _gathered_again(w, tuning):
            work.append(replace(w, name=f"{w.name}_again"))
        if not passes:
            continue
        if isinstance(shape, AttentionScores):
            work.append(replace(w, name=f"{w.name}_gradient", flops=w.flops * CORE, traffic=w.traffic * CORE))
        elif isinstance(shape, Stream):
            twice = Stream(shape.kernels * 2, shape.norms * 2)
            work.append(replace(w, name=f"{w.name}_gradient", shape=twice, traffic=w.traffic * 2))
        elif shape.collective == "ring":
            work.append(ring_gradient(w, shape))
        else:
            work.append(replace(w, name=f"{w.name}_gradient", shape=_mirrored(shape)))
    return work


def _passes(name: str, tuning: LayerTuning) -> bool:
    """Whether gradients pass the operation ``name``."""
    depth, parts = _PASSES.get(name, _ELSEWHERE)
    return tuning.reaches(depth) or any(tuning.has(part) for part in parts)


def _gathered_again(w: Work, tuning: LayerTuning) -> bool:
    """Whether what ``w`` gathered is not kept and needed: a product's input for its weight's gradient, or keys."""
    if w.name == "context_gather":
        return _passes(w.name, tuning)
    return any(tuning.has(part) for part in _GATHERED_FOR.get(w.name, ()))


def _mirrored(c: Collective) -> Collective:
    collective = _MIRROR.get(c.collective, c.collective)
    sent = c.sent if c.collective == "all_to_all" else sent_bytes(collective, c.group.size, c.buffer)
    return replace(c, collective=collective, sent=sent, counted=False)


def _gradients(w: Work, gradients: float, tuning: LayerTuning, passes: bool) -> list[Work]:
    """Of products: the gradients of inputs where ``passes``, those of weights where they are trained."""
    adapter = w.name.endswith("_adapters")
    part = _PART.get(w.name, "")
    weights = adapter or part in tuning.parts
    inputs = passes or adapter or (w.name in _INNER and tuning.has(part))
    made = _expert_gradients if isinstance(w.shape, GroupedProducts) else _product_gradients
    of_input, of_weight = made(w, gradients)
    return [x for x, wanted in ((of_input, inputs), (of_weight, weights)) if wanted]


def _product_gradients(w: Work, gradients: float) -> tuple[Work, Work]:
    shape = w.shape
    assert isinstance(shape, Products)
    inputs = tuple(Matrix(m.rows, m.depth, m.columns) for m in shape.matrices)
    weights = tuple(Matrix(m.columns, m.depth, m.rows) for m in shape.matrices)
    elements = sum((m.columns * m.depth for m in shape.matrices), start=np.zeros(1))
    added = where(w.happens, 2.0 * gradients * elements, 0.0)
    return (
        replace(w, name=f"{w.name}_input_gradient", shape=Products(shape.kind, inputs)),
        replace(w, name=f"{w.name}_weight_gradient", shape=Products(shape.kind, weights), traffic=w.traffic + added),
    )


def _expert_gradients(w: Work, gradients: float) -> tuple[Work, Work]:
    shape = w.shape
    assert isinstance(shape, GroupedProducts)
    local = shape.ffn.experts / shape.ep
    elements = local * (shape.ups + 1) * shape.width * shape.hidden
    added = where(w.happens, 2.0 * gradients * elements, 0.0)
    # the passes between the products are counted once, with the gradient of the input
    alone = replace(shape, room=np.zeros_like(shape.room))
    return (
        replace(w, name=f"{w.name}_input_gradient"),
        replace(w, name=f"{w.name}_weight_gradient", shape=alone, traffic=w.traffic + added),
    )
