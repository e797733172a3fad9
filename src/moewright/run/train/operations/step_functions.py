"""Operations of a step that save what fused kernels save, and no more: each computes the rest again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moewright.run.train.plain import rotated

Function = Callable[..., Tensor]


def _keep_inputs(ctx: Any, function: Function, inputs: tuple[Tensor, ...]) -> Tensor:
    ctx.function = function
    ctx.save_for_backward(*inputs)
    return function(*inputs)


def _done_again(ctx: Any, wanted: tuple[bool, ...]) -> tuple[list[Tensor], Tensor]:
    """The inputs that were kept, with gradients where ``wanted``, and what the function makes of them."""
    inputs = [x.detach().requires_grad_(w) for x, w in zip(ctx.saved_tensors, wanted, strict=True)]
    with torch.enable_grad():
        return inputs, ctx.function(*inputs)


class _FromInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, *inputs: Tensor) -> Tensor:
        return _keep_inputs(ctx, function, inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        wanted = ctx.needs_input_grad[1:]
        inputs, out = _done_again(ctx, wanted)
        found = iter(torch.autograd.grad(out, [x for x, w in zip(inputs, wanted, strict=True) if w], gradients[0]))
        return None, *(next(found) if w else None for w in wanted)


def from_inputs(function: Function, *inputs: Tensor) -> Tensor:
    """``function`` of ``inputs``, which alone are kept."""
    made: Tensor = _FromInputs.apply(function, *inputs)  # type: ignore[no-untyped-call]
    return made


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor) -> Tensor:
        ctx.positions = positions
        return rotated(x, positions)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return rotated(gradients[0], -ctx.positions), None


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary embedding; its gradient turns back, and nothing is kept."""
    made: Tensor = _Turned.apply(x, positions)  # type: ignore[no-untyped-call]
    return made


class _Routed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, top_k: int) -> Tensor:
        scores = logits.softmax(-1)
        chosen = torch.zeros(logits.shape, dtype=torch.bool).scatter(-1, scores.topk(top_k, -1).indices, True)
        share = torch.where(chosen, scores, 0.0)
        share = share / share.sum(-1, keepdim=True)
        ctx.save_for_backward(scores, share, chosen)
        return share

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        scores, share, chosen = ctx.saved_tensors
        inner = gradients[0] - (gradients[0] * share).sum(-1, keepdim=True)
        of_scores = torch.where(chosen, inner, 0.0) / torch.where(chosen, scores, 0.0).sum(-1, keepdim=True)
        return scores * (of_scores - (of_scores * scores).sum(-1, keepdim=True)), None


def routed(logits: Tensor, top_k: int) -> Tensor:
    """[tokens, experts]: the softmax, of the ``top_k`` largest made to sum to one, 0 elsewhere."""
    made: Tensor = _Routed.apply(logits, top_k)  # type: ignore[no-untyped-call]
    return made


class _LookedUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        here = (ids >= 0) & (ids < len(table))
        ctx.ids, ctx.here, ctx.rows = ids[here], here, len(table)
        return torch.nn.functional.embedding(ids.clamp(0, len(table) - 1), table) * here[..., None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        g = gradients[0]
        return g.new_zeros(ctx.rows, g.shape[-1]).index_add(0, ctx.ids, g[ctx.here]), None


def looked_up(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of ``table``, zeros for ids that it has not."""
    made: Tensor = _LookedUp.apply(table, ids)  # type: ignore[no-untyped-call]
    return made


class _AddedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, count: int) -> Tensor:
        ctx.index = index
        return rows.new_zeros(count, *rows.shape[1:]).index_add(0, index, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        back: Any = gradients[0][ctx.index]
        return back, None, None


def added_rows(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """[count, …]: the sums of the rows of each ``index``."""
    made: Tensor = _AddedRows.apply(rows, index, count)  # type: ignore[no-untyped-call]
    return made


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, reduce: tuple[Function, Function]) -> Tensor:
        largest, add = reduce
        top = largest(logits.max(-1).values)
        here = (target >= 0) & (target < logits.shape[-1])
        index = target.clamp(0, logits.shape[-1] - 1)[..., None]
        shares = (logits - top[..., None]).exp_()
        own = logits.gather(-1, index)[..., 0] * here
        mass, own = add(torch.stack((shares.sum(-1), own)))
        shares /= mass[..., None]
        ctx.save_for_backward(shares)
        ctx.index, ctx.here = index, here
        loss: Tensor = (mass.log() + top - own).sum()
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (shares,) = ctx.saved_tensors
        g = shares.scatter_add(-1, ctx.index, -ctx.here[..., None].to(shares.dtype))
        return g * gradients[0], None, None


def cross_entropy(logits: Tensor, target: Tensor, reduce: tuple[Function, Function]) -> Tensor:
    """The sum over tokens, of logits divided over the vocabulary; ``reduce``: the largest and the sum over the ranks
    that have the rest. The softmax is kept."""
    made: Tensor = _CrossEntropy.apply(logits, target, reduce)  # type: ignore[no-untyped-call]
    return made


class _ComputedAgain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, anchor: Tensor | None, *inputs: Tensor) -> Tensor:
        return _keep_inputs(ctx, function, inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        wanted = ctx.needs_input_grad[2:]
        inputs, out = _done_again(ctx, wanted)
        torch.autograd.backward(out, gradients[0])
        return None, None, *(x.grad if w else None for x, w in zip(inputs, wanted, strict=True))


def computed_again(function: Function, trained: bool, *inputs: Tensor) -> Tensor:
    """``function``, of which ``inputs`` alone are kept; backward it is done again whole, with its collectives.
    ``trained``: whether it has parameters with gradients, which it may have where no input has any."""
    if not trained and not any(x.requires_grad for x in inputs):
        return function(*inputs)
    anchor = torch.zeros((), requires_grad=True) if trained else None
    made: Tensor = _ComputedAgain.apply(function, anchor, *inputs)  # type: ignore[no-untyped-call]
    return made


def activated(up: Tensor, weights: Tensor | None = None) -> Tensor:
    """silu(gate) · value of [..., 2 · width], times the weight of each row."""
    gate, value = up.chunk(2, -1)
    done: Tensor = torch.nn.functional.silu(gate) * value
    return done if weights is None else done * weights[..., None]
