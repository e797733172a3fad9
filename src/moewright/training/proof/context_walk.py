"""What the ranks of cp send each other in a layer, walked block by block."""

from __future__ import annotations

from math import inf

from moewright.case.attention_kinds import Attention, LatentAttention, LinearAttention, NoAttention, SoftmaxAttention
from moewright.case.model import Layer, MoeFfn
from moewright.case.train.train_strategy import ContextExchange, Dispatcher
from moewright.planning.proof.walk import step_clock
from moewright.training.proof.step_walk import StepWalk

_WIDE = 2.0


def block_bytes(w: StepWalk, a: Attention) -> float:
    """Keys and values of a rank's own tokens, of its own heads."""
    tokens, tp = w.walk.share.tokens, w.strategy.tp
    if isinstance(a, LatentAttention) and not a.indexer:
        return _WIDE * tokens * (a.heads // tp) * (a.nope_dim + a.rope_dim + a.value_dim)
    if isinstance(a, SoftmaxAttention):
        heads = 0 if a.shared_cache else max(1, -(-a.kv_heads // tp))
        index = a.indexer.key_bytes if a.indexer else 0.0
        return tokens * (_WIDE * heads * (a.head_dim + a.v_dim) + index)
    return tokens * a.token_bytes(_WIDE) if not isinstance(a, LinearAttention | NoAttention) else 0.0


def exchange_seconds(w: StepWalk, layer: Layer) -> float:
    """Forward and backward. Gathered: keys, keys again, the sums of their gradients. A ring: every block but the own
    one forward, the same backward, and gradients once around. Of heads against tokens the least: the own part leaves
    four times over the fastest link."""
    s, cluster, circle = w.strategy, w.case.cluster, w.walk.circles["cp"]
    n, block = s.cp, block_bytes(w, layer.attention)
    if n == 1 or not block:
        return 0.0
    if s.cp_comm_type is ContextExchange.ALL_GATHER:
        return 3 * step_clock.gather_clock(circle, n * block, cluster)
    if s.cp_comm_type is ContextExchange.RING:
        hops = sum(1 for _ in range(1, n)) + sum(2 for _ in range(1, n)) + 1
        return hops * step_clock.send_clock(circle, block, cluster)
    most = cluster.node.bandwidth + cluster.fabric.bandwidth
    return 2 * block * (n - 1) / n / most


def exchange_room_of(w: StepWalk) -> float | None:
    """How far above the walk an exchange of heads, of which only the least is walked, may be; None of the others."""
    swaps = w.strategy.cp > 1 and w.strategy.cp_comm_type is ContextExchange.ALL_TO_ALL
    return inf if swaps else None


def exchange_room(w: StepWalk, layer: Layer) -> float:
    """Bytes that the largest exchange of a layer needs beside what is kept."""
    s, share, hidden = w.strategy, w.walk.share, w.case.model.hidden_size
    rooms = [_WIDE * hidden * share.tokens if s.tp > 1 else 0.0]
    block = block_bytes(w, layer.attention) if s.cp > 1 else 0.0
    if s.cp_comm_type is ContextExchange.ALL_GATHER:
        rooms.append(block * s.cp + block * s.cp)  # of all, and their gradients
    elif s.cp_comm_type is ContextExchange.RING:
        rooms.append(block + block + block + block)  # at work and coming, and their gradients
    if s.dispatcher is Dispatcher.ALL_GATHER and s.ep > 1 and isinstance(layer.ffn, MoeFfn):
        rooms.append((_WIDE + _WIDE) * (layer.ffn.latent or hidden) * share.own * s.ep * s.etp)
    return max(rooms)
