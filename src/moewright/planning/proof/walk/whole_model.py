"""The same walk with one rank that holds everything: the model's own FLOPs, and the bytes that must be read once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.case.strategy import Strategy
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.workload import Kind
from moewright.planning.proof.walk import mixer_walk as mixer
from moewright.planning.proof.walk.layer_walk import Routed, Walk, walk_head, walk_layer
from moewright.planning.proof.walk.number_widths import matrix_bytes, matrix_unit, number_bytes
from moewright.planning.proof.walk.scene import Circle, Scene, scene_of, share_of

#: step → kind of the weights that it multiplies
KINDS = {
    "attention_projections": "attention",
    "output_projection": "attention",
    "attention": "attention_scores",
    "dense": "dense",
    "router": "router",
    "experts": "experts",
    "shared_experts": "shared_experts",
    "head": "vocabulary",
}


@dataclass(frozen=True, slots=True)
class Whole:
    """FLOPs of a pass; seconds that they take all GPUs at their peaks, and at the delivered rate; seconds of reading
    once what must be read."""

    flops: float
    at_peak: float
    delivered: float
    reading: float


def alone(case: Case, batch: int) -> Walk:
    """A walk of one rank that has the whole model and the whole batch."""
    one = replace(case.cluster, gpus=1, nodes=())
    scene = scene_of(replace(case, cluster=one), Strategy(), batch, np.zeros((1, 1, 1), dtype=np.int64), None)
    self_ = np.zeros((1, 1), dtype=np.int64)
    circle = Circle(1, np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64), self_, self_)
    share = share_of(scene, 1)
    routed = {
        f: Routed(1.0, 1.0, f.experts * touched(f, share.stage), 0.0, 0.0)
        for f in (x.ffn for x in case.model.layers)
        if isinstance(f, MoeFfn)
    }
    circles = dict.fromkeys(("tp", "cp", "dcp", "ep", "etp", "stage", "pp"), circle)
    return Walk(scene, share, circles, routed)


def touched(ffn: MoeFfn, tokens: float) -> float:
    """Share of the experts that any of ``tokens`` tokens chooses, where each set is as likely."""
    return float(1.0 - (1.0 - ffn.top_k / ffn.experts) ** tokens)


def whole_model(case: Case, batch: int) -> Whole:
    """FLOPs, and the least seconds, of ``batch`` sequences on all GPUs of the cluster."""
    walk, device = alone(case, batch), case.cluster.device
    by_kind: dict[str, float] = {}
    for layer, positions in case.model.layer_kinds():
        for step in walk_layer(walk, layer):
            if kind := KINDS.get(step.name):
                by_kind[kind] = by_kind.get(kind, 0.0) + step.flops * len(positions)
        for x in layer.extra:  # matrices beside attention and feed-forward, such as hyper-connections'
            if x.gemm:
                flops = 2.0 * walk.share.tokens * x.rows * x.columns * x.count
                by_kind[x.kind] = by_kind.get(x.kind, 0.0) + flops * len(positions)
    for step in walk_head(walk, case.workload.kind is Kind.FORWARD):
        if kind := KINDS.get(step.name):
            by_kind[kind] = by_kind.get(kind, 0.0) + step.flops
    peaks = {kind: device.flops[matrix_unit(case.model.precision, kind, device.flops)] for kind in by_kind}
    at_peak = sum(flops / peaks[kind] for kind, flops in by_kind.items()) / case.cluster.gpus
    read = _read_once(walk) / device.bandwidth_utilization / device.memory_bandwidth / case.cluster.gpus
    return Whole(sum(by_kind.values()), at_peak, at_peak / device.mfu, read)


def _read_once(walk: Walk) -> float:
    """Weights, of experts those that any token chooses, the head, and in decode each cached key that a query sees."""
    scene: Scene = walk.scene
    model, w = scene.case.model, scene.case.workload
    read = 0.0
    for layer, positions in model.layer_kinds():
        one = 0.0
        for x in layer_tensors(layer, model.hidden_size):
            chosen = (
                touched(layer.ffn, walk.share.stage) if x.shard == "experts" and isinstance(layer.ffn, MoeFfn) else 1.0
            )
            one += matrix_bytes(model.precision, x) * x.count * chosen
        if scene.decoding:
            a, element = layer.attention, number_bytes(model.precision.kv_cache)
            seen = min(mixer.tokens_kept(a, w.sequence), mixer.decode_seen(a, w.sequence))
            one += scene.batch * (seen * mixer.token_bytes(a, element, 1) + mixer.state_bytes(a, element, 1))
        read += one * len(positions)
    for x in vocabulary_tensors(model):
        if x.name == "head" or (x.name == "embedding" and model.tied_embeddings):
            read += matrix_bytes(model.precision, x) * x.count
    return read
