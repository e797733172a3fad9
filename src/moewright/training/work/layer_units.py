"""One kind of layer, or an end of the model: its priced work and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array
from moewright.cost.prices.price import Priced
from moewright.cost.work import Pass
from moewright.training.footprint.saved_tensors import Saved
from moewright.training.work.delivered import Delivered, TrainingPrice
from moewright.training.work.held_weights import Weights
from moewright.training.work.layer_passes import Ways
from moewright.training.work.pass_seconds import PassSeconds


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind of layer, or an end of the model: priced work of both passes, ``weights_share`` the seconds of weights'
    gradients, what is kept, what of it lives until gradients of weights that are put off
    (``late``), and for each module that may be computed again the seconds of doing so."""

    forward: PassSeconds
    backward: PassSeconds
    weight_seconds: Array
    flops: Array
    weights: Weights
    saved: list[Saved]
    working: Array
    buffers: Array
    late: Array
    again: dict[str, PassSeconds]
    operations: list[Priced]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all layers share: the pass, the training, its price, how cells exchange what they do."""

    p: Pass
    training: Training
    price: TrainingPrice
    constants: Delivered
    ways: Ways
