"""ModelSpec: a transformer as a list of layers, each an attention and a feed-forward of some kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from moewright.case.attention_kinds import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    LinearAttention,
    NoAttention,
    SoftmaxAttention,
    UnknownAttention,
)
from moewright.case.precision import Precision
from moewright.case.tensors.tensor import Tensor

__all__ = [
    "Attention",
    "CompressedAttention",
    "DenseFfn",
    "Ffn",
    "Indexer",
    "LatentAttention",
    "Layer",
    "LinearAttention",
    "ModelSpec",
    "MoeFfn",
    "NoAttention",
    "SoftmaxAttention",
    "UnknownAttention",
]


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """A dense feed-forward of ``width``; gated: three matrices, else two. Width 0: the layer has none."""

    width: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """``experts`` routed experts of ``width``, ``top_k`` of them per token, and shared experts that all
    tokens pass, ``shared_width`` wide in all (so is a dense network beside the experts: Arctic, Gemma 4).
    ``groups``/``top_groups``: node-limited routing. ``latent``: tokens go through so few dimensions to the routed
    experts and back (Nemotron 3). ``zero_experts``: further choices of the router that compute nothing
    (LongCat-Flash), so that fewer than ``top_k`` experts work for a token."""

    experts: int
    top_k: int
    width: int
    gated: bool = True
    bias: bool = False  # of the experts' matrices
    router_bias: bool = False  # a parameter of the router (not a correction buffer)
    shared_width: int = 0
    shared_gated: bool = True
    shared_gate: bool = False  # a sigmoid gate h → 1 on the shared expert's output
    groups: int = 1
    top_groups: int = 1
    shared_bias: bool = False  # of the shared experts' matrices
    latent: int | None = None
    zero_experts: int = 0
    extra: tuple[Tensor, ...] = ()  # further weights that every token passes

    @property
    def working(self) -> float:
        """Experts that work for a token on average: ``top_k``, less those of the choices that compute nothing."""
        return self.top_k * self.experts / (self.experts + self.zero_experts)

    def token_width(self, hidden: int) -> int:
        """Numbers of a token that dispatch sends and an expert takes."""
        return self.latent or hidden


Ffn = DenseFfn | MoeFfn


@dataclass(frozen=True, slots=True)
class Layer:
    attention: Attention
    ffn: Ffn
    norms: int = 2  # norm vectors of hidden_size
    norm_bias: bool = False
    extra: tuple[Tensor, ...] = ()  # weights beside attention, feed-forward and norms
    formats: tuple[tuple[str, str], ...] = ()  # name of a tensor → its number format, where not its kind's


@dataclass(frozen=True)  # without slots: its layer kinds are found once and kept
class ModelSpec:
    """A model; ``layers`` in order. ``vocab_size`` 0: no embedding and no head."""

    name: str
    hidden_size: int
    layers: tuple[Layer, ...]
    vocab_size: int
    tied_embeddings: bool = False
    head_bias: bool = False
    final_norm: bool = True
    precision: Precision = field(default_factory=Precision)
    source: str = ""
    prediction_layers: int = 0  # multi-token-prediction layers the weights carry; not part of a forward pass
    tower_parameters: int = 0  # of encoders of images and sound beside it, about; in no total
    max_position: int | None = None
    extra: tuple[Tensor, ...] = ()  # weights outside of the layers, beside embedding, head and final norm
    #: what a reader of the numbers must know, such as a vision tower left out
    notes: tuple[str, ...] = field(default=(), compare=False)

    def layer_kinds(self) -> list[tuple[Layer, list[int]]]:
        """Distinct layers with the positions they stand at, in order of first appearance."""
        return self._kinds

    @cached_property
    def _kinds(self) -> list[tuple[Layer, list[int]]]:
        kinds: dict[Layer, list[int]] = {}
        for position, layer in enumerate(self.layers):
            kinds.setdefault(layer, []).append(position)
        return list(kinds.items())

    @property
    def attention(self) -> Attention:
        """The attention of the first layer that keeps keys and values; of a model without any, the first layer's."""
        kept = (x.attention for x in self.layers if not isinstance(x.attention, LinearAttention | NoAttention))
        return next(kept, self.layers[0].attention)

    def moe_layers(self) -> list[int]:
        """Positions of the layers with experts."""
        return [i for i, layer in enumerate(self.layers) if isinstance(layer.ffn, MoeFfn)]

    @property
    def moe(self) -> MoeFfn | None:
        """The experts of the first layer that has any, or None for a dense model."""
        positions = self.moe_layers()
        ffn = self.layers[positions[0]].ffn if positions else None
        return ffn if isinstance(ffn, MoeFfn) else None
