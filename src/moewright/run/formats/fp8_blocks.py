"""Which matrices of a folder are held in FP8, and what they and their scales take on every rank.

A matrix is held in FP8 if the slices of all ranks begin on borders of its blocks, and if those that lie one above
the other in one product fill theirs; else every rank multiplies it out. Derived from sizes alone, not from what
``weights`` reads, so that the comparison of bytes compares two derivations. MLA's ``kv_b_proj`` is always multiplied
out: decode absorbs it into the queries, which is no product of activations with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from moewright.case.model import LatentAttention, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.strategy import Strategy
from moewright.placement.assignment import Assignment, head_slices
from moewright.run.formats.fp8 import Choice
from moewright.run.formats.scaled import BLOCK
from moewright.run.weights.rank_weights import part_of

#: a tensor's name here → (height, width) of the blocks of its scales in the folder (width 0: whole rows); None where
#: it is not FP8
Form = Callable[[str], tuple[int, int] | None]
#: of one rank: the rows of each tensor of a product, and the columns of all
Cut = tuple[tuple[slice, ...], slice]


@dataclass(frozen=True, slots=True)
class Product:
    """Tensors whose rows lie one above the other in one product: names, the whole rows of each, columns, and the cut
    of each of the ranks of ``axis`` (tp or etp). ``slots``: such products on a rank, one for each expert there."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    columns: int
    axis: str
    cuts: tuple[Cut, ...]
    slots: int = 1

    def whole(self, height: int, width: int) -> bool:
        """Whether blocks of ``height`` × ``width`` are cut nowhere."""
        for rows, columns in self.cuts:
            if columns.start % (width or BLOCK) or any(r.start % height for r in rows):
                return False
            if any((r.stop - r.start) % height for r in rows[:-1]):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that every rank holds less than with all weights in the run's format, and bytes of its scales, both
    [gpus]. ``every``: all matrices that a plan may price as FP8 are so."""

    saved: np.ndarray
    scales: np.ndarray
    every: bool


def products(model: ModelSpec, s: Strategy, position: int, slots: int) -> Iterator[tuple[Product, int]]:
    """The products of the layer at ``position`` that may be FP8, and how many experts have such a one (0: it is not
    an expert's; names of experts have * for the number). ``slots``: experts on a rank."""
    layer, hidden, tp = model.layers[position], model.hidden_size, s.attention.tp
    name, a, ffn = f"layers.{position}", layer.attention, layer.ffn
    if isinstance(a, SoftmaxAttention):
        yield from ((p, 0) for p in _softmax(name, a, hidden, tp))
    elif isinstance(a, LatentAttention):
        yield from ((p, 0) for p in _latent(name, a, hidden, tp))
    if not isinstance(ffn, MoeFfn):
        yield from ((p, 0) for p in _mlp(f"{name}.dense", ffn.width, hidden, ffn.gated, "tp", tp))
        return
    etp = s.experts.tp
    yield from ((p, ffn.experts) for p in _mlp(f"{name}.experts.*", ffn.width, hidden, ffn.gated, "etp", etp, slots))
    if ffn.shared_width:
        yield from ((p, 0) for p in _mlp(f"{name}.shared", ffn.shared_width, hidden, ffn.shared_gated, "tp", tp))


def _softmax(name: str, a: SoftmaxAttention, hidden: int, tp: int) -> Iterator[Product]:
    parts = head_slices(a, tp)
    rows = (a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.v_dim)
    cuts = []
    for queries, kv in parts:
        q = slice(queries.start * a.head_dim, queries.stop * a.head_dim)
        k, v = (slice(kv[0] * dim, (kv[-1] + 1) * dim) for dim in (a.head_dim, a.v_dim))
        cuts.append(((q, k, v), slice(0, hidden)))
    yield Product(tuple(f"{name}.{p}_proj" for p in "qkv"), rows, hidden, "tp", tuple(cuts))
    yield _output(name, hidden, a.heads, a.v_dim, [q for q, _ in parts])


def _output(name: str, hidden: int, heads: int, dim: int, parts: list[range]) -> Product:
    cuts = tuple(((slice(0, hidden),), slice(q.start * dim, q.stop * dim)) for q in parts)
    return Product((f"{name}.o_proj",), (hidden,), heads * dim, "tp", cuts)


def _latent(name: str, a: LatentAttention, hidden: int, tp: int) -> Iterator[Product]:
    heads, dim = [q for q, _ in head_slices(a, tp)], a.nope_dim + a.rope_dim

    def same(tensor: str, rows: int) -> Product:
        return Product((f"{name}.{tensor}",), (rows,), hidden, "tp", (((slice(0, rows),), slice(0, hidden)),) * tp)

    columns = hidden if a.q_rank is None else a.q_rank
    cuts = tuple(((slice(q.start * dim, q.stop * dim),), slice(0, columns)) for q in heads)
    if a.q_rank is not None:
        yield same("q_a_proj", a.q_rank)
    yield Product((f"{name}.q{'' if a.q_rank is None else '_b'}_proj",), (a.heads * dim,), columns, "tp", cuts)
    yield same("kv_a_proj", a.kv_rank + a.rope_dim)
    yield _output(name, hidden, a.heads, a.value_dim, heads)


def _mlp(name: str, width: int, hidden: int, gated: bool, axis: str, parts: int, slots: int = 1) -> Iterator[Product]:
    ups = ("gate", "up") if gated else ("up",)
    mine = [part_of(width, part, parts) for part in range(parts)]
    up = tuple(((m,) * len(ups), slice(0, hidden)) for m in mine)
    down = tuple(((slice(0, hidden),), m) for m in mine)
    yield Product(tuple(f"{name}.{u}" for u in ups), (width,) * len(ups), hidden, axis, up, slots)
    yield Product((f"{name}.down",), (hidden,), width, axis, down, slots)


def held(model: ModelSpec, s: Strategy, form: Form, choice: Choice) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the tensors that every rank holds in FP8, and of those that it multiplies out though they are FP8 in
    the folder."""
    kept: set[str] = set()
    wide: set[str] = set()
    for position in range(len(model.layers)):
        for product, experts in products(model, s, position, 1):
            forms = {name: form(name) for name in _numbered(product.names, experts)}
            if _fits(product, set(forms.values()), choice):
                kept.update(forms)
            else:
                wide.update(name for name, found in forms.items() if found is not None)
    return frozenset(kept), frozenset(wide)


def _numbered(names: tuple[str, ...], experts: int) -> list[str]:
    return [n.replace("*", str(e)) for n in names for e in range(experts)] if experts else list(names)


def _fits(product: Product, forms: set[tuple[int, int] | None], choice: Choice) -> bool:
    """Whether all have one form, no block is cut, and the products take every rank's part."""
    if len(forms) != 1:
        return False
    (form,) = forms
    if form is None or not product.whole(*form):
        return False
    sizes = ((sum(r.stop - r.start for r in rows), columns.stop - columns.start) for rows, columns in product.cuts)
    return all(choice.takes(rows, columns, *form) for rows, columns in sizes)


def sizes(a: Assignment, kept: frozenset[str], form: Form, element: int) -> Sizes:
    """What it saves to hold ``kept`` in FP8 and not in ``element`` bytes for each."""
    saved, scales = np.zeros(a.gpus), np.zeros(a.gpus)
    slots, every = a.experts.shape[2] if len(a.experts) else 0, True
    for position, layer in enumerate(a.model.layers):
        here, every = a.stage_mask(position), every and not isinstance(layer.attention, LatentAttention)
        for product, experts in products(a.model, a.strategy, position, slots):
            first = product.names[0].replace("*", "0")
            found = form(first) if first in kept else None
            if found is None:
                every = False
                continue
            times = product.slots if experts else 1
            each = np.array([_bytes(cut, *found) for cut in product.cuts]) * times
            codes, beside = (here * x[a.ranks.tp if product.axis == "tp" else a.ranks.etp] for x in each.T)
            saved += codes * (element - 1) - beside
            scales += beside
    return Sizes(saved, scales, every)


def _bytes(cut: Cut, height: int, width: int) -> tuple[int, int]:
    """Of codes and of scales."""
    rows, columns = [r.stop - r.start for r in cut[0]], cut[1].stop - cut[1].start
    scales = sum(-(-r // height) for r in rows) * (-(-columns // width) if width else 1)
    return sum(rows) * columns, 4 * scales
