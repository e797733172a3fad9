"""What of a model is trained: parts of its layers, layers from one on, adapters of low rank beside frozen matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace

from moewright.case.model import DenseFfn, Layer, ModelSpec, MoeFfn, NoAttention
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.tensors.tensor import Tensor

#: parts of a model that are trained or frozen together
PARTS = ("embedding", "attention", "norms", "router", "experts", "shared_experts", "dense", "head")
#: parts whose matrices take adapters
TARGETS = ("attention", "experts", "shared_experts", "dense")
#: second products of a pair, whose input is divided over tp instead of their output
INNER = ("o_proj", "o_a_proj", "out_proj", "_down")


@dataclass(frozen=True, slots=True)
class Lora:
    """Beside each frozen matrix W [out, in] of ``targets`` two of rank r, x·(W + B·A)ᵀ: A [r, in], B [out, r] (Hu et
    al., arXiv 2106.09685). Every matrix of the checkpoint has its own pair."""

    rank: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tuning:
    """``parts`` that are trained (all by default); the first ``frozen_layers`` layers, with the embedding, are not.
    ``lora``: adapters in the other layers, beside what is frozen."""

    parts: tuple[str, ...] = PARTS
    frozen_layers: int = 0
    lora: Lora | None = None

    @property
    def whole(self) -> bool:
        """Whether everything is trained."""
        return set(self.parts) == set(PARTS) and not self.frozen_layers and self.lora is None

    def trains_embedding(self, model: ModelSpec) -> bool:
        """A tied embedding is trained with the head."""
        trained = "embedding" in self.parts and not self.frozen_layers
        return bool(model.vocab_size) and (trained or (model.tied_embeddings and "head" in self.parts))

    def of_layer(self, model: ModelSpec, i: int) -> LayerTuning:
        """What is trained of layer ``i``, and below it."""
        if self.whole:
            return WHOLE
        own = self._own(model.layers[i], i)
        below = self.trains_embedding(model) or any(self._own(x, j).trained for j, x in enumerate(model.layers[:i]))
        return replace(own, below=below)

    def of_head(self, model: ModelSpec) -> LayerTuning:
        """Of the head, and all layers below it."""
        parts = ("head",) if "head" in self.parts or (model.tied_embeddings and self.trains_embedding(model)) else ()
        layers = any(self._own(x, j).trained for j, x in enumerate(model.layers))
        below = layers or self.trains_embedding(model) or "norms" in self.parts
        return LayerTuning(parts, below=below)

    def _own(self, layer: Layer, i: int) -> LayerTuning:
        if i < self.frozen_layers:
            return LayerTuning((), (), 0, False)
        there = parts_of(layer)
        parts = tuple(x for x in self.parts if x in there)
        targets = tuple(x for x in self.lora.targets if x in there) if self.lora else ()
        return LayerTuning(parts, targets, self.lora.rank if targets and self.lora else 0, False)


@dataclass(frozen=True, slots=True)
class LayerTuning:
    """Of one layer: ``parts`` trained in full, ``adapted`` parts with adapters of ``rank``; ``below``: whether anything
    before the layer is trained, so that gradients pass through all of it."""

    parts: tuple[str, ...]
    adapted: tuple[str, ...] = ()
    rank: int = 0
    below: bool = True

    @property
    def trained(self) -> bool:
        """Whether the layer has anything that is trained."""
        return bool(self.parts or self.adapted)

    @property
    def passes(self) -> bool:
        """Whether the layer has a backward pass at all."""
        return self.below or self.trained

    def has(self, part: str) -> bool:
        """Whether ``part`` has gradients of weights, its own or of its adapters."""
        return part in self.parts or part in self.adapted

    def reaches(self, depth: float) -> bool:
        """Whether gradients pass what stands ``depth`` deep in the layer (``DEPTHS``)."""
        return self.below or any(DEPTHS.get(part, _BEHIND) < depth for part in (*self.parts, *self.adapted))


#: where in a layer a part stands: gradients pass what is deeper than the least of those that are trained. Parts beside
#: each other are all behind attention
DEPTHS = {"embedding": -1.0, "norms": 0.0, "attention": 1.0}
_BEHIND = 6.0
WHOLE = LayerTuning(tuple(x for x in PARTS if x not in ("embedding", "head")))


def part_of_tensor(x: Tensor) -> str:
    """The part of the model that ``x`` is of."""
    if x.kind == "vocabulary":
        return "embedding" if x.name == "embedding" else "head"
    return {"norm": "norms"}.get(x.kind, x.kind)


def parts_of(layer: Layer) -> set[str]:
    """The parts that a layer has."""
    found = {"norms"} if layer.norms else set()
    if not isinstance(layer.attention, NoAttention):
        found.add("attention")
    if isinstance(layer.ffn, DenseFfn):
        return found | ({"dense"} if layer.ffn.width else set())
    shared = isinstance(layer.ffn, MoeFfn) and (layer.ffn.shared_width or layer.ffn.latent)
    return found | {"router", "experts"} | ({"shared_experts"} if shared else set())


def adapters(x: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(A, B) of ``x``: the axis that is divided over ranks with ``x`` is divided with it, the other one whole."""
    if x.shard == "experts":
        first = second = "experts"
    else:
        first, second = (x.shard, "none") if x.name.endswith(INNER) else ("none", x.shard)
    return (
        Tensor(f"{x.name}_lora_a", rank, x.columns, x.kind, first, x.count),
        Tensor(f"{x.name}_lora_b", x.rows, rank, x.kind, second, x.count),
    )


def adapter_tensors(layer: Layer, hidden: int, tuning: LayerTuning) -> list[Tensor]:
    """All adapters of ``layer``."""
    targets = [x for x in layer_tensors(layer, hidden) if x.gemm and part_of_tensor(x) in tuning.adapted]
    return [a for x in targets for a in adapters(x, tuning.rank)]


def trained_parameters(model: ModelSpec, tuning: Tuning) -> int:
    """Parameters with gradients, those of adapters among them."""
    count = 0
    for i, layer in enumerate(model.layers):
        own = tuning.of_layer(model, i)
        tensors = layer_tensors(layer, model.hidden_size)
        count += sum(x.parameters for x in tensors if part_of_tensor(x) in own.parts)
        count += sum(x.parameters for x in adapter_tensors(layer, model.hidden_size, own))
    for x in vocabulary_tensors(model):
        if x.name == "embedding":
            count += x.parameters * tuning.trains_embedding(model)
        else:
            count += x.parameters * (part_of_tensor(x) in tuning.parts)
    return count
