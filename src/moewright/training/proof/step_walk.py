"""Ranks of a training step, walked: the parameters that each holds, the tensors that each keeps of a micro-batch, and
its operations forward and back. Nothing here knows ``moewright.cost`` or how a step is priced."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.attention_kinds import (
    Attention,
    CompressedAttention,
    LatentAttention,
    LinearAttention,
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.case import Case
from moewright.case.model import Layer, MoeFfn
from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.train_strategy import ContextExchange, Schedule, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.planning.proof.walk.drawn_tokens import choices
from moewright.planning.proof.walk.held_tensors import slice_of
from moewright.planning.proof.walk.layer_walk import Routed, Walk
from moewright.planning.proof.walk.scene import Scene, Share, scene_of

#: bytes of a number of the residual stream, and of what activation functions keep
_WIDE = 2.0
#: tokens whose destinations are counted
_DRAWN = 4096
_NARROW = ("attention", "dense", "shared_experts")


@dataclass(frozen=True, slots=True)
class Kept:
    """``size`` bytes of a micro-batch; a recomputation of any of ``modules`` does without."""

    size: float
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameters:
    """Of a rank: ``matrices`` in the recipe's format, ``rest`` in 16 bits, ``experts``."""

    matrices: float = 0.0
    rest: float = 0.0
    experts: float = 0.0

    def __add__(self, other: Parameters) -> Parameters:
        return Parameters(self.matrices + other.matrices, self.rest + other.rest, self.experts + other.experts)


@dataclass(frozen=True, slots=True)
class StepWalk:
    """``stages``: for each the layers that it has and how many of multi-token prediction; ``first``, ``loss``: the
    stages of the model's ends."""

    case: Case
    training: Training
    strategy: TrainStrategy
    walk: Walk
    stages: list[tuple[list[Layer], int]]
    loss: int

    def parameters(self, stage: int) -> Parameters:
        """Parameters of a rank of ``stage``."""
        layers, deep = self.stages[stage]
        held = sum((self.of_layer(layer) for layer in layers), Parameters())
        for _ in range(deep):
            held += self.of_prediction()
        model = self.case.model
        for x in vocabulary_tensors(model):
            ends = {self.loss} if x.name != "embedding" else {0, self.loss} if model.tied_embeddings else {0}
            if stage in ends:
                # a tied embedding on one stage is held by both of its ends, as they are priced
                twice = 2 if x.name == "embedding" and model.tied_embeddings and self.loss == 0 else 1
                for _ in range(twice):
                    held += self._tensor(x, model.layers[0].attention)
        return held

    def of_layer(self, layer: Layer) -> Parameters:
        """Parameters of a rank in one layer."""
        hidden = self.case.model.hidden_size
        return sum((self._tensor(x, layer.attention) for x in layer_tensors(layer, hidden)), Parameters())

    def of_prediction(self) -> Parameters:
        """A layer of multi-token prediction: an ordinary one, the product that joins two hidden vectors, two norms."""
        hidden = self.case.model.hidden_size
        return self.of_layer(self.case.model.layers[-1]) + Parameters(2.0 * hidden * hidden, 2.0 * hidden)

    def _tensor(self, x: Tensor, a: Attention) -> Parameters:
        size = slice_of(x, a, self.walk.scene) * x.rows * x.columns
        if x.shard == "experts":
            return Parameters(experts=size)
        return Parameters(matrices=size) if x.gemm and x.kind in _NARROW else Parameters(rest=size)


def step_walk(case: Case, training: Training, s: TrainStrategy, straggler: float) -> StepWalk:
    """The walk of ``s``, whose ``layers`` are those of each chunk. ``straggler``: copies of the fullest rank over the
    mean."""
    recipe = training.recipe
    plain = tuple(replace(layer, formats=()) for layer in case.model.layers)
    case = replace(case, model=replace(case.model, layers=plain, precision=recipe.precision))
    sizes = Strategy(pp=s.pp, attention=AttentionParallel(s.dp, s.cp, s.tp), experts=ExpertParallel(s.ep, s.etp))
    moe = case.model.moe
    slots = np.zeros((1, s.ep, moe.experts // s.ep if moe else 0), dtype=np.int64)
    scene = scene_of(case, sizes, s.dp * s.micro_batch, slots, None)
    tokens = s.micro_batch * training.sequence / s.cp
    own = tokens / s.tp
    share = Share(s.micro_batch, tokens, own, own * s.ep * s.etp, tokens)
    routed = {f: _routed(f, scene, straggler) for f in (x.ffn for x in plain) if isinstance(f, MoeFfn)}
    circles = {kind: scene.circle(kind) for kind in ("tp", "cp", "dcp", "ep", "etp", "stage", "pp")}
    walk = Walk(scene, share, circles, routed)
    assert s.layers is not None
    stages: list[tuple[list[Layer], int]] = [([], 0) for _ in range(s.pp)]
    units: list[Layer | None] = [*plain, *[None] * training.prediction_layers]
    chunks = [chunk for chunk, count in enumerate(s.layers) for _ in range(count)]
    for unit, chunk in zip(units, chunks, strict=True):
        layers, deep = stages[stage_of_chunk(chunk, s)]
        stages[stage_of_chunk(chunk, s)] = (layers, deep + 1) if unit is None else ([*layers, unit], deep)
    return StepWalk(case, training, s, walk, stages, stage_of_chunk(len(s.layers) - 1, s))


def _routed(ffn: MoeFfn, scene: Scene, straggler: float) -> Routed:
    """Destinations of tokens that are drawn from the router's law."""
    parts = scene.strategy.experts.ep
    chosen = np.sort(choices(np.random.default_rng(21), ffn, _DRAWN, None) * parts // ffn.experts, axis=1)
    distinct = 1 + float((np.diff(chosen, axis=1) > 0).sum(axis=1).mean())
    return Routed(distinct, straggler, ffn.experts / parts, 0.0, 0.0)


def stage_of_chunk(chunk: int, s: TrainStrategy) -> int:
    """Chunks lie on the stages one after another, round by round; of DualPipeV there and back."""
    if s.schedule is Schedule.DUALPIPE_V and chunk >= s.pp:
        return 2 * s.pp - 1 - chunk
    return chunk % s.pp


# --- what is kept between the two passes ---


def kept_of(w: StepWalk, layer: Layer) -> list[Kept]:
    """Tensors that ``layer`` keeps of a micro-batch, its own input first."""
    hidden, share, saved = w.case.model.hidden_size, w.walk.share, w.training.recipe.saved
    kept: list[Kept] = []
    if not isinstance(layer.attention, NoAttention):
        kept += [Kept(_WIDE * hidden * share.own), Kept(saved * hidden * share.own, ("layernorm",))]
        kept += _attention(w, layer.attention)
    ffn, tp = layer.ffn, w.strategy.tp
    if isinstance(ffn, MoeFfn):
        kept += [Kept(_WIDE * hidden * share.own), Kept(_WIDE * hidden * share.own, ("layernorm",))]
        kept += _experts(w, ffn)
    elif ffn.width:
        width = share.tokens * ffn.width / tp
        kept += [Kept(_WIDE * hidden * share.own), Kept(saved * hidden * share.own, ("layernorm",))]
        kept += [Kept(_WIDE * width * (2 if ffn.gated else 1), ("mlp",)), Kept(saved * width, ("mlp",))]
    return [kept[0], *(Kept(x.size, (*x.modules, "full")) for x in kept[1:])]


def _attention(w: StepWalk, a: Attention) -> list[Kept]:
    share, tp, recipe = w.walk.share, w.strategy.tp, w.training.recipe
    tokens = share.tokens / tp
    if isinstance(a, LatentAttention):
        q, kv = a.q_rank or 0, a.kv_rank
        heads = a.heads * ((a.nope_dim + a.rope_dim) + (a.nope_dim + a.rope_dim) + a.value_dim)
        return [
            Kept(_WIDE * (q + kv + a.rope_dim) * share.own),
            Kept(recipe.saved * (q + kv) * share.tokens, ("mla_up_proj",)),
            Kept(_WIDE * heads * tokens, ("mla_up_proj",)),
            *_core(w, tokens, a.heads, a.value_dim),
        ]
    if isinstance(a, SoftmaxAttention):
        query, key, value = a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
        before = query + key if a.qk_norm != "none" else 0
        return [
            Kept(_WIDE * (query + key + value + (query if a.output_gate else 0)) * tokens),
            Kept(_WIDE * before * tokens, ("layernorm",)),
            *_core(w, tokens, a.heads, a.v_dim),
        ]
    if isinstance(a, CompressedAttention):
        divided = 2 * a.heads * a.head_dim + a.output_groups * a.output_rank
        whole = a.q_rank + 2 * a.head_dim
        return [
            Kept(_WIDE * (divided * tokens + whole * share.tokens)),
            *_core(w, tokens, a.heads, a.head_dim),
        ]
    if isinstance(a, LinearAttention):
        inner = a.value_heads * a.value_dim
        before = a.conv_channels + inner + a.value_heads
        return [Kept(_WIDE * (before + a.conv_channels) * tokens), Kept(_WIDE * (inner + inner) * tokens)]
    return []


def _core(w: StepWalk, tokens: float, heads: int, value: int) -> list[Kept]:
    """Outputs, once more in the output projection's own format, and an fp32 sum of each query's scores."""
    recipe = w.training.recipe
    once = heads * value * tokens
    again = 0.0 if recipe.compute == "bf16" else recipe.saved * once
    kept = [Kept(_WIDE * once + again), Kept(4.0 * heads * tokens, ("core_attn",))]
    if w.strategy.cp > 1 and w.strategy.cp_comm_type is ContextExchange.ALL_TO_ALL:
        kept.append(Kept(_WIDE * once, ("core_attn",)))  # by heads, before it comes back by tokens
    return kept


def _experts(w: StepWalk, ffn: MoeFfn) -> list[Kept]:
    share, s, saved, hidden = w.walk.share, w.strategy, w.training.recipe.saved, w.case.model.hidden_size
    copies = w.walk.copies(ffn)
    width, shared = copies * ffn.width / s.etp, share.tokens * ffn.shared_width / s.tp
    scores = (ffn.experts + ffn.zero_experts) * share.own
    kept = [
        Kept(4.0 * scores + 4.0 * scores + scores, ("moe",)),  # logits, probabilities, which were chosen
        Kept(saved * (ffn.latent or hidden) * copies, ("moe",)),
        Kept(_WIDE * width * (2 if ffn.gated else 1), ("moe",)),
        Kept(4.0 * copies, ("moe",)),  # the weight of each
        Kept(saved * width, ("moe", "moe_act")),
        Kept(saved * (ffn.latent or 0) * 2 * share.own, ("moe",)),
    ]
    if ffn.shared_width:
        of_shared = (_WIDE * (2 if ffn.shared_gated else 1) * shared, saved * shared)
        kept += [Kept(size, ("moe", "shared_experts")) for size in of_shared]
    return kept


def without(kept: list[Kept], modules: tuple[str, ...]) -> float:
    """Bytes that stay where ``modules`` are computed again."""
    return sum(x.size for x in kept if not any(m in modules for m in x.modules))


def backward_alive(w: StepWalk, layer: Layer) -> float:
    """The most beside what is kept, inside the layer's backward pass: gradients of the residual and its sum, and those
    of attention's inputs and outputs with copies of them, or of what stands inside the feed-forward."""
    share, s, a, ffn = w.walk.share, w.strategy, layer.attention, layer.ffn
    hidden = w.case.model.hidden_size
    heads = 0.0
    if isinstance(a, LatentAttention):
        one = a.heads * ((a.nope_dim + a.rope_dim) * 2 + a.value_dim * 2)
        heads = (one + one) * share.tokens / s.tp
    elif isinstance(a, SoftmaxAttention):
        one = (a.heads + a.kv_heads) * (a.head_dim + a.v_dim)
        heads = (one + one) * share.tokens / s.tp
    if isinstance(ffn, MoeFfn):
        wide = (3 if ffn.gated else 2) * ffn.width / s.etp
        inner = w.walk.copies(ffn) * ((ffn.latent or hidden) + wide)
    else:
        inner = share.tokens * 4 * ffn.width / s.tp
    return _WIDE * (hidden * share.own + hidden * share.own + max(heads, inner))
