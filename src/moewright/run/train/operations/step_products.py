"""Products of a step with a rank's weights: inputs gathered over tp, adapters beside them, gradients of weights at once
or put off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.run.ranks.counted_collectives import Traffic

#: W, and where it has adapters A and B
Matrix = tuple[Tensor, Tensor | None, Tensor | None]


@dataclass(slots=True)
class LateGradients:
    """Gradients of weights that a schedule puts off: work that is waiting, by operation."""

    on: bool = False
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def take(self) -> list[Callable[[], None]]:
        """What waits."""
        taken, self.waiting = self.waiting, []
        return taken


@dataclass(frozen=True, slots=True)
class ProductCall:
    """``name`` of the gathering of a product's input over ``group``; empty where it is not gathered."""

    name: str
    group: dist.ProcessGroup
    traffic: Traffic
    late: LateGradients

    def gathered(self, x: Tensor, ending: str = "") -> Tensor:
        return self.traffic.all_gather(f"{self.name}{ending}", x, self.group) if self.name else x

    def scattered(self, x: Tensor) -> Tensor:
        return self.traffic.reduce_scatter(f"{self.name}_gradient", x, self.group) if self.name else x


def matrix(w: Mapping[str, Tensor], kind: str) -> Matrix:
    """The weight ``kind`` with its adapters."""
    return w[kind], w.get(f"{kind}.lora_a"), w.get(f"{kind}.lora_b")


def _flat(x: Tensor, width: int) -> Tensor:
    """A weight as [outputs, inputs]."""
    return x.reshape(-1, width)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: ProductCall, x: Tensor, *weights: Tensor | None) -> Any:
        whole = call.gathered(x)
        width = whole.shape[-1]
        outputs, inner = [], []
        for w, a, b in _triples(weights):
            y = whole @ _flat(w, width).T
            if a is not None and b is not None:
                inner.append(whole @ _flat(a, width).T)
                y = y + inner[-1] @ _flat(b, a.shape[0]).T
            outputs.append(y)
        ctx.call, ctx.weights = call, weights
        read = any(w is not None and w.requires_grad for w in weights)
        ctx.save_for_backward(x if read else None, *weights, *inner)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        count = len(ctx.weights)
        x, saved, inner = ctx.saved_tensors[0], ctx.saved_tensors[1 : count + 1], list(ctx.saved_tensors[count + 1 :])
        call, triples = ctx.call, _triples(saved)
        below = None
        if ctx.needs_input_grad[1]:
            width = triples[0][0].shape[-1] if x is None else x.shape[-1]
            parts = [_input_gradient(g, m, _width(m, g)) for g, m in zip(gradients, triples, strict=True)]
            assert all(p.shape[-1] == parts[0].shape[-1] for p in parts), width
            below = call.scattered(sum(parts[1:], start=parts[0]))
        if x is None:
            return None, below, *(None,) * count

        def found() -> list[Tensor | None]:
            rows = call.gathered(x, "_again").flatten(0, -2)
            made: list[Tensor | None] = []
            left = iter(inner)
            for g, m in zip(gradients, triples, strict=True):
                made += _weight_gradients(g.flatten(0, -2), rows, m, left)
            return made

        return None, below, *_now_or_late(call.late, ctx.weights, ctx.needs_input_grad[2:], found)


def _width(m: Matrix, g: Tensor) -> int:
    return m[0].numel() // g.shape[-1]


def _input_gradient(g: Tensor, m: Matrix, width: int) -> Tensor:
    w, a, b = m
    below = g @ _flat(w, width)
    if a is not None and b is not None:
        below = below + (g @ _flat(b, a.shape[0])) @ _flat(a, width)
    return below


def _weight_gradients(g: Tensor, rows: Tensor, m: Matrix, inner: Any) -> list[Tensor | None]:
    w, a, b = m
    made: list[Tensor | None] = [(g.T @ rows).view_as(w) if w.requires_grad else None]
    if a is None or b is None:
        return [*made, None, None]
    t = next(inner).flatten(0, -2)
    return [*made, ((g @ _flat(b, a.shape[0])).T @ rows).view_as(a), (g.T @ t).view_as(b)]


def _now_or_late(
    late: LateGradients, weights: Any, wanted: Any, found: Callable[[], list[Tensor | None]]
) -> list[Tensor | None]:
    if not late.on:
        return [g if want else None for g, want in zip(found(), wanted, strict=True)]

    @torch.no_grad()
    def add() -> None:
        for w, g in zip(weights, found(), strict=True):
            if w is not None and w.requires_grad and g is not None:
                w.grad = g.clone() if w.grad is None else w.grad + g

    late.waiting.append(add)
    return [None] * len(weights)


def _triples(weights: Any) -> list[Matrix]:
    return [(weights[i], weights[i + 1], weights[i + 2]) for i in range(0, len(weights), 3)]


def products(call: ProductCall, x: Tensor, *matrices: Matrix) -> tuple[Tensor, ...]:
    """(all members' parts of x) · Wᵀ of each of ``matrices``, and of x·Aᵀ·Bᵀ beside."""
    made: tuple[Tensor, ...] = _Products.apply(call, x, *(w for m in matrices for w in m))  # type: ignore[no-untyped-call]
    return made


class _ExpertProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, late: LateGradients, x: Tensor, counts: list[int], *weights: Tensor | None) -> Tensor:
        w, a, b = weights
        assert w is not None
        out = x.new_zeros(len(x), w[0].numel() // x.shape[1])
        inner = None if a is None else x.new_zeros(len(x), a.shape[1])
        for e, rows in _slices(counts):
            out[rows] = x[rows] @ _flat(w[e], x.shape[1]).T
            if a is not None and b is not None and inner is not None:
                inner[rows] = x[rows] @ _flat(a[e], x.shape[1]).T
                out[rows] += inner[rows] @ _flat(b[e], a.shape[1]).T
        ctx.late, ctx.counts, ctx.weights, ctx.width = late, counts, weights, x.shape[1]
        read = any(y is not None and y.requires_grad for y in weights)
        ctx.save_for_backward(x if read else None, *weights, inner)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, w, a, b, inner = ctx.saved_tensors
        g, counts = gradients[0], ctx.counts
        below = None
        if ctx.needs_input_grad[1]:
            below = g.new_zeros(len(g), ctx.width)
            for e, rows in _slices(counts):
                own = (w[e], None if a is None else a[e], None if b is None else b[e])
                below[rows] = _input_gradient(g[rows], own, ctx.width)
        if x is None:
            return None, below, None, None, None, None

        def found() -> list[Tensor | None]:
            of_w, of_a, of_b = (None if y is None else torch.zeros_like(y) for y in (w, a, b))
            for e, rows in _slices(counts):
                if of_w is not None:
                    of_w[e] = (g[rows].T @ x[rows]).view_as(w[e])
                if of_a is not None and of_b is not None:
                    of_a[e] = ((g[rows] @ _flat(b[e], a.shape[1])).T @ x[rows]).view_as(a[e])
                    of_b[e] = (g[rows].T @ inner[rows]).view_as(b[e])
            return [of_w, of_a, of_b]

        return None, below, None, *_now_or_late(ctx.late, ctx.weights, ctx.needs_input_grad[3:], found)


def _slices(counts: list[int]) -> list[tuple[int, slice]]:
    ends = [sum(counts[: e + 1]) for e in range(len(counts))]
    return [(e, slice(end - n, end)) for e, (n, end) in enumerate(zip(counts, ends, strict=True)) if n]


def expert_products(late: LateGradients, x: Tensor, counts: list[int], matrix: Matrix) -> Tensor:
    """Rows [Σ counts, width] in the order of their experts, each times its expert's matrix."""
    made: Tensor = _ExpertProducts.apply(late, x, counts, *matrix)  # type: ignore[no-untyped-call]
    return made
