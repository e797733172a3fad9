"""What a rank holds while nothing runs: its slices of every tensor, and the caches of its sequences."""

from __future__ import annotations

from moewright.case.attention_kinds import Attention
from moewright.case.model import Layer, ModelSpec
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.planning.proof.walk.mixer_walk import kv_heads_of, state_bytes, token_bytes, tokens_kept
from moewright.planning.proof.walk.number_widths import matrix_bytes, number_bytes
from moewright.planning.proof.walk.scene import Scene

#: kind of tensor → line of the plan's memory; all others are counted as other
_LINES = ("attention", "experts", "shared_experts", "router", "vocabulary")


def slice_of(x: Tensor, a: Attention, scene: Scene) -> float:
    """How many of the tensors ``x`` counts a rank holds, in whole ones, of the rank with most."""
    tp = scene.strategy.attention.tp
    if x.shard == "none":
        return float(x.count)
    if x.shard == "experts":
        slots, parts = scene.slots.shape[2], scene.strategy.experts.tp
        # what is added to an output has its rows divided, the first ranks one more
        return float(slots * -(-x.rows // parts) / x.rows if x.name == "expert_down_bias" else slots / parts)
    if x.shard == "vocabulary":
        return x.count * -(-x.rows // tp) / x.rows
    if x.shard == "kv_heads" and a.kv_heads:
        return x.count * kv_heads_of(a, tp) / a.kv_heads
    return x.count / tp


def layer_weights(scene: Scene, layer: Layer) -> dict[str, float]:
    """Bytes of one layer's weights on a rank, by line."""
    lines = dict.fromkeys((*_LINES, "other"), 0.0)
    for x in layer_tensors(layer, scene.case.model.hidden_size):
        line = x.kind if x.kind in _LINES else "other"
        lines[line] += matrix_bytes(scene.case.model.precision, x) * slice_of(x, layer.attention, scene)
    return lines


def end_weights(scene: Scene, stage: int, last: int) -> dict[str, float]:
    """Bytes of embedding, head and final norm on a rank of ``stage``: a tied head is the embedding, held twice where
    the two ends are different stages."""
    model = scene.case.model
    lines = dict.fromkeys((*_LINES, "other"), 0.0)
    for x in vocabulary_tensors(model):
        ends = {0, last} if x.name == "embedding" and model.tied_embeddings else {0 if x.name == "embedding" else last}
        if stage in ends:
            line = x.kind if x.kind in _LINES else "other"
            lines[line] += matrix_bytes(model.precision, x) * slice_of(x, model.layers[0].attention, scene)
    return lines


def layer_cache(scene: Scene, layer: Layer, in_flight: int) -> float:
    """Bytes of one layer's cache on a rank: a part of the tokens of each of its sequences, of all batches in flight."""
    a, s = layer.attention, scene.strategy.attention
    element = number_bytes(scene.case.model.precision.kv_cache)
    kept = -(-tokens_kept(a, scene.case.workload.sequence) // (s.cp * s.dcp))
    one = kept * token_bytes(a, element, s.tp) + state_bytes(a, element, s.tp)
    return scene.batch // (scene.strategy.replicas * s.dp) * in_flight * one


def layers_of(model: ModelSpec, pp: int) -> list[list[Layer]]:
    """The layers of each stage, one after another; the first stages take what does not divide evenly."""
    left, stages = list(model.layers), []
    for stage in range(pp):
        take = -(-len(left) // (pp - stage))
        stages.append(left[:take])
        left = left[take:]
    return stages


def held_bytes(scene: Scene, in_flight: int) -> tuple[int, dict[str, float]]:
    """(the fullest stage, bytes by line of a rank there, ``kv_cache`` among them)."""
    stages = layers_of(scene.case.model, scene.strategy.pp)
    memo: dict[Layer, dict[str, float]] = {}
    best: tuple[int, dict[str, float]] = (0, {})
    for stage, layers in enumerate(stages):
        lines = {**end_weights(scene, stage, len(stages) - 1), "kv_cache": 0.0}
        for layer in layers:
            if layer not in memo:
                memo[layer] = {**layer_weights(scene, layer), "kv_cache": layer_cache(scene, layer, in_flight)}
            for line, size in memo[layer].items():
                lines[line] += size
        if not best[1] or sum(lines.values()) > sum(best[1].values()) * (1 + 1e-12):
            best = stage, lines
    return best
