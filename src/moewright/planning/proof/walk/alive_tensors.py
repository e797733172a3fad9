"""What lives on a rank inside a micro-batch: tensors named one by one, and those alive together added up."""

from __future__ import annotations

from moewright.case.attention_kinds import LatentAttention, SoftmaxAttention
from moewright.case.model import Layer, MoeFfn
from moewright.case.workload import Kind
from moewright.planning.proof.walk.layer_walk import Walk
from moewright.planning.proof.walk.mixer_walk import WIDE, alive_numbers
from moewright.planning.proof.walk.number_widths import number_bytes


def _residual(walk: Walk) -> dict[str, float]:
    """The residual stream, and the sum that takes its place: it is not added up in place."""
    one = walk.share.own * walk.scene.case.model.hidden_size * WIDE
    return {"residual": one, "residual after the sum": one}


def _attention(walk: Walk, layer: Layer) -> dict[str, float]:
    share, a, hidden = walk.share, layer.attention, walk.scene.case.model.hidden_size
    s = walk.scene.strategy.attention
    act = number_bytes(walk.scene.case.model.precision.activations)
    gathered = 0.0  # keys and values of other ranks of cp, heads of this rank
    others = share.tokens * (s.cp - 1)
    if isinstance(a, SoftmaxAttention):
        gathered = others * a.kv_heads * (a.head_dim + a.v_dim) / s.tp
    elif isinstance(a, LatentAttention) and a.indexer:
        gathered = others * (a.kv_rank + a.rope_dim)
    elif isinstance(a, LatentAttention):
        gathered = others * a.heads * (a.nope_dim + a.rope_dim + a.value_dim) / s.tp
    return {
        "normed input": share.tokens * hidden * act,
        "queries, keys, values, outputs": share.tokens * alive_numbers(a, s.tp) * WIDE,
        "others' keys and values": gathered * WIDE,
        "partial sums": share.tokens * hidden * WIDE,
    }


def _experts(walk: Walk, ffn: MoeFfn) -> dict[str, float]:
    """Copies themselves lie in what dispatch received, a buffer. Fused kernels over replicated tokens have room for
    every copy, whosever expert it goes to."""
    hidden, act = walk.scene.case.model.hidden_size, number_bytes(walk.scene.case.model.precision.activations)
    works = ffn.experts / (ffn.experts + ffn.zero_experts)
    copies = walk.share.stage * ffn.top_k * works if walk.scene.replicated else walk.copies(ffn)
    width = ffn.width / walk.scene.strategy.experts.tp
    return {
        "up": copies * width * (2 if ffn.gated else 1) * WIDE,
        "activation": copies * width * act,
        "outputs": copies * (ffn.latent or hidden) * WIDE,
    }


def _dense(walk: Walk, width: float, gated: bool) -> dict[str, float]:
    hidden, tokens = walk.scene.case.model.hidden_size, walk.share.tokens
    return {
        "up": tokens * width * (2 if gated else 1) * WIDE,
        "activation": tokens * width * WIDE,
        "partial sums": tokens * hidden * WIDE,
    }


def _head(walk: Walk) -> dict[str, float]:
    whole = walk.scene.case.workload.kind is not Kind.FORWARD
    columns = walk.scene.case.model.vocab_size / (1 if whole else walk.scene.strategy.attention.tp)
    return {"logits": walk.share.wanted * columns * WIDE}


def peaks(walk: Walk) -> dict[str, float]:
    """Bytes alive at the end of the widest operations; of two halves of a micro-batch both."""
    most: dict[str, float] = {}

    def ends(name: str, tensors: dict[str, float]) -> None:
        alive = walk.scene.halves * sum((_residual(walk) | tensors).values())
        most[name] = max(most.get(name, 0.0), alive)

    for layer, _ in walk.scene.case.model.layer_kinds():
        ends("attention", _attention(walk, layer))
        if isinstance(layer.ffn, MoeFfn):
            ends("experts", _experts(walk, layer.ffn))
        elif layer.ffn.width:
            ends("dense", _dense(walk, layer.ffn.width / walk.scene.strategy.attention.tp, layer.ffn.gated))
    if walk.scene.case.model.vocab_size:
        ends("head", _head(walk))
    return most


def buffers(walk: Walk) -> dict[str, float]:
    """Bytes of communication buffers: what comes together over tp; what dispatch and combine send and receive, with
    what the ranks of etp gather of it; the message that a stage sends while it receives the next."""
    scene, share, s = walk.scene, walk.share, walk.scene.strategy
    precision, hidden = scene.case.model.precision, scene.case.model.hidden_size
    together = share.own * s.attention.tp * walk.bytes_of("activations") if s.attention.tp > 1 else 0.0
    moved = 0.0
    both = number_bytes(precision.dispatch) + number_bytes(precision.combine)
    for ffn, routed in walk.routed.items():
        if s.experts.ep * s.experts.tp > 1:
            out = share.own * routed.ranks
            into = out * routed.fullest
            gathered = s.experts.tp * into if s.experts.tp > 1 else 0.0
            moved = max(moved, (out + into + gathered) * (ffn.latent or hidden) * both)
    moved = max(moved, _low_latency(walk))
    if scene.replicated:
        moved = share.tokens * walk.bytes_of("combine")
    return {
        "token_gather": scene.halves * together,
        "dispatch_combine": scene.halves * moved,
        "stage_transfer": 2 * share.own * hidden * WIDE if s.pp > 1 else 0.0,
    }


def _low_latency(walk: Walk) -> float:
    """DeepEP's buffer of its low-latency kernels (csrc/config.hpp), message by message: two sets, each with what a rank
    sends, room for every rank's tokens at every expert of the group, and a counter an expert, all to 128 bytes."""
    scene, moe = walk.scene, walk.scene.case.model.moe
    e = scene.strategy.experts
    if moe is None or not scene.case.cluster.forwarding or not scene.decoding or e.ep == 1 or scene.replicated:
        return 0.0
    hidden, tokens = moe.latent or scene.case.model.hidden_size, -(-walk.share.own // 1)
    slots = moe.experts + e.redundant
    scales = hidden // 128
    out, back = 16 + max(2 * hidden, hidden + 4 * scales), 2 * hidden + 2 * 2 * scales
    one_set = max(tokens * out, slots * tokens * back) + slots * tokens * max(out, back) + -(-4 * slots // 128) * 128
    return float(-(-2 * one_set // 128) * 128)
