"""The ends of the model in training: embedding, head with the loss, heads of multi-token prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moewright.case.tensors.layer_tensors import vocabulary_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.train_workload import Training
from moewright.case.train.tuning import WHOLE, LayerTuning, part_of_tensor
from moewright.cost.arrays import Array, array, total
from moewright.cost.ends import embedding_work, head_work
from moewright.cost.work import Matrix, Pass, Products, Stream, Work
from moewright.training.footprint.saved_tensors import Saved
from moewright.training.work.held_weights import Weights, weights_of
from moewright.training.work.layer_passes import backward_work
from moewright.training.work.layer_units import Setting, Unit
from moewright.training.work.pass_seconds import joined, pass_seconds_of, weight_seconds_of

#: bytes of a logit that the loss reads and writes: its 16 bits, fp32 twice
_LOSS = 10.0


def end_units(x: Setting) -> tuple[Unit, Unit]:
    """(embedding, head with the loss)."""
    p, training = x.p, x.training
    model, t, tuning = p.case.model, p.table, training.tuning
    embedding, head = embedding_work(p), head_work(p, True)
    if model.vocab_size:
        columns = model.vocab_size / array(t.tp)
        size = p.batch.tokens * columns * _LOSS
        nothing = np.zeros(size.shape)
        head.append(Work("loss", "head", Stream(nothing + 3.0), nothing, size, size > 0))
    tensors = vocabulary_tensors(model)
    first = [y for y in tensors if y.name == "embedding"]
    last = [y for y in tensors if y.name != "embedding" or model.tied_embeddings]
    logits = p.batch.tokens * (model.vocab_size / array(t.tp))
    none = np.zeros(len(t))
    top = tuning.of_head(model)
    start = WHOLE if tuning.trains_embedding(model) else LayerTuning((), below=False)
    return (
        _end(x, embedding, backward_work(embedding, training.gradients, start), first, [], none),
        _end(x, head, backward_work(head, training.gradients, top), last, head_saved(p, training), 2.0 * logits),
    )


def head_saved(p: Pass, training: Training) -> list[Saved]:
    """What the final norm, the head and the loss keep: their inputs."""
    model, wide = p.case.model, training.recipe.wide
    if not model.vocab_size:
        return []
    top, own = training.tuning.of_head(model), p.batch.own * model.hidden_size
    logits = p.batch.tokens * (model.vocab_size / array(p.table.tp))
    kept = [Saved("logits", 4.0 * logits)]
    if top.has("head"):
        kept.append(Saved("head_input", wide * own))
    if top.below and model.final_norm:
        kept.append(Saved("final_norm_input", wide * own))
    return kept


def _end(x: Setting, work: list[Work], back: list[Work], held: list[Tensor], kept: list[Saved], working: Array) -> Unit:
    model, t, tuning = x.p.case.model, x.p.table, x.training.tuning
    forward, backward = x.price.price(work), x.price.price(back)
    weights = weights_of(held, model.layers[0], t)
    if not tuning.whole:
        parts = set(tuning.parts) | ({"embedding"} if tuning.trains_embedding(model) else set())
        parts -= set() if tuning.trains_embedding(model) else {"embedding"}
        learned = [y for y in held if part_of_tensor(y) in parts]
        weights = replace(weights, trained=weights_of(learned, model.layers[0], t))
    return Unit(
        pass_seconds_of(forward),
        pass_seconds_of(backward),
        weight_seconds_of(backward),
        total(w.flops for w in work),
        weights,
        kept,
        working,
        np.zeros(len(t)),
        np.zeros(len(t)),
        {},
        [*forward, *backward],
    )


def prediction_unit(x: Setting, head: Unit) -> Unit:
    """What a multi-token-prediction layer has beside an ordinary one: the joining of two hidden vectors (a product of
    2h × h), and the head and loss again; the head's weights are the model's own."""
    p, price, training = x.p, x.price, x.training
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
        joined(own_forward, head.forward),
        joined(own_backward, head.backward),
        weight_seconds_of(backward) + head.weight_seconds,
        flops + head.flops,
        Weights(matrix + 2.0 * hidden, matrix, none, none),
        [Saved("prediction_input", training.recipe.wide * 2 * hidden * b.own), *head.saved],
        head.working,
        none,
        none,
        {},
        [*forward, *backward, *head.operations],
    )
