"""What a rank computes a training step with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moewright.case.model import ModelSpec
from moewright.case.train.tuning import Tuning
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.train.operations.kept_tensors import KeptTensors
from moewright.run.train.operations.step_functions import from_inputs
from moewright.run.train.operations.step_products import LateGradients, ProductCall
from moewright.run.train.plain import EPS
from moewright.run.train.train_place import TrainPlace

Open = Callable[[str], Mapping[str, Tensor]]


@dataclass(slots=True)
class RankModel:
    """What a rank computes with. ``open``: its parts of the parameters of a layer (``"0"``, …) or of an end
    (``embedding``, ``head``) by kind, leaves of the graph or gathered from shards."""

    model: ModelSpec
    place: TrainPlace
    traffic: Traffic
    open: Open
    sequence: int
    tuning: Tuning
    kept: KeptTensors = field(default_factory=KeptTensors)
    late: LateGradients = field(default_factory=LateGradients)

    @property
    def again(self) -> tuple[str, ...]:
        """Modules that are computed again."""
        return self.place.strategy.recompute

    def call(self, name: str) -> ProductCall:
        """Products whose input is gathered over tp as ``name``; of a rank's own input where that is empty."""
        return ProductCall(name, self.place.tp, self.traffic, self.late)

    def normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """The norm of ``x``; not kept where norms are computed again."""

        own = x.detach()

        def norm() -> Tensor:
            return torch.nn.functional.rms_norm(own, (own.shape[-1],), weight, EPS)

        y = from_inputs(lambda a, b: torch.nn.functional.rms_norm(a, (a.shape[-1],), b, EPS), x, weight)
        return self.kept.make_again(y, norm, own) if "layernorm" in self.again else y
