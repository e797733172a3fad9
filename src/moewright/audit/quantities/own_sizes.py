"""Sizes that a case has, by which a formula is known to be of it and of no other model or example."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from moewright.audit.quantities.readings import Facts
from moewright.audit.text.clauses import Figure
from moewright.audit.text.numbers import COUNT
from moewright.case.attention_kinds import LatentAttention, SoftmaxAttention
from moewright.case.model import DenseFfn, MoeFfn

#: an operand below this is a factor, and no size
SMALLEST: Final = 128.0
#: quantities that a token's width is a factor of
_OF_TOKENS: Final = ("communication.dispatch", "communication.combine")
#: how far the memory that a GPU reports lies from what it is called
NOMINAL: Final = 0.08
#: FLOPs that a parameter costs a token: forward, with the backward pass, and with the forward pass done again
PASSES: Final = (2.0, 6.0, 8.0)
#: ranks that a size is shared out to, at most
MOST_PARTS: Final = 256
_KIBI: Final = (1.0, 1.024, 1 / 1.024)


def unread_operand(figure: Figure, name: str, f: Facts) -> str:
    """An operand of a figure's own formula that is a whole number, and neither a size of the case, nor a usual product
    of two, nor a part of one; an empty text where there is none."""
    large = [n for n in figure.formula if n.dim == COUNT and n.whole and SMALLEST <= n.value < 1e6 and not n.percent]
    if not large:
        return ""
    hidden, most = f.case.model.hidden_size, max(large, key=lambda n: n.value)
    if name.startswith(_OF_TOKENS) and not any(n.value == hidden for n in large):
        return most.text.strip()  # a token is as wide as its model
    known = _made(tuple(sorted({float(x) for x in _sizes(f) if x}))) | {round(x) for x in _products(f)}
    return next((n.text.strip() for n in large if not any(round(n.value * k) in known for k in _KIBI)), "")


@lru_cache(256)
def _made(own: tuple[float, ...]) -> frozenset[int]:
    """The sizes of a case, and what so many ranks have of them."""
    return frozenset(round(x / k) for x in own for k in range(1, MOST_PARTS + 1) if x % k == 0)


def _sizes(f: Facts) -> list[float]:
    model, w, cluster = f.case.model, f.case.workload, f.case.cluster
    told = not {"workload.batch", "workload.sequence"} & set(f.setting.missing)
    found: list[float] = [model.hidden_size, model.vocab_size, len(model.layers), len(model.moe_layers())]
    found += [len(model.layers) - len(model.moe_layers()), cluster.gpus, cluster.gpus_per_node]
    found += [x for b in w.batch if told for x in (b, w.sequence, b * w.sequence)]
    for layer in {id(x): x for x in model.layers}.values():
        a, ffn = layer.attention, layer.ffn
        if isinstance(a, SoftmaxAttention):
            found += [a.heads, a.kv_heads, a.head_dim, a.v_dim, a.head_dim + a.v_dim]
        if isinstance(a, LatentAttention):
            found += [a.heads, a.q_rank or 0, a.kv_rank, a.nope_dim, a.rope_dim, a.value_dim]
            found += [a.kv_rank + a.rope_dim, a.nope_dim + a.rope_dim, a.nope_dim + a.value_dim]
        if isinstance(ffn, MoeFfn):
            found += [ffn.experts, ffn.top_k, ffn.width, ffn.shared_width, ffn.experts * len(model.moe_layers())]
            found += [x * ffn.top_k for b in w.batch if told for x in (b, b * w.sequence)]
        if isinstance(ffn, DenseFfn):
            found.append(ffn.width)
    return found


def _products(f: Facts) -> list[float]:
    """What all heads are wide, in the whole and in what tensor parallelism leaves of them."""
    given = f.setting.given.get("strategy.tp")
    tp = int(given.value) if given is not None and given.value else 1
    wide: list[float] = []
    for layer in {id(x): x for x in f.case.model.layers}.values():
        a = layer.attention
        if isinstance(a, SoftmaxAttention):
            wide += [a.heads * a.head_dim, a.kv_heads * a.head_dim, (a.heads + 2 * a.kv_heads) * a.head_dim]
        if isinstance(a, LatentAttention):
            parts = (a.nope_dim, a.value_dim, a.nope_dim + a.rope_dim, a.nope_dim + a.value_dim)
            wide += [a.heads * x for x in parts]
    return [x / k for x in wide for k in (1, tp)]
