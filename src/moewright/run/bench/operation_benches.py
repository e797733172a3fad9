"""What a rank measures: seconds of one operation of the executor at one size, all ranks at once.

Every bench makes its operands and returns the call to time. Sizes and keys are those of ``case.profile``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812

from moewright.case.model import MoeFfn
from moewright.run.model.layers import Chosen, rms_norm, route
from moewright.run.model.layers import experts as experts_pass
from moewright.run.model.numerics import Numerics
from moewright.run.model.products import linear
from moewright.run.ranks.counted_collectives import _all_gather, _reduce_scatter

Call = Callable[[], object]
#: local experts that the experts bench spreads its rows over
SLOTS = 4


def seconds_of(call: Call, device: torch.device, warmup: int, repetitions: int) -> list[float]:
    """Seconds of each of ``repetitions``, after ``warmup`` that do not count."""
    for _ in range(warmup):
        call()
    found = []
    for _ in range(repetitions):
        _wait(device)
        begun = time.perf_counter()
        call()
        _wait(device)
        found.append(time.perf_counter() - begun)
    return found


def after_work(call: Call, device: torch.device, warmup: int, repetitions: int) -> list[float]:
    """Seconds that ``call`` adds to a loop of a product and it: ranks come to a collective from work of their own, not
    from the collective before, and where they share cores they come one after another."""
    x, w = torch.ones(64, 256, device=device), torch.ones(256, 256, device=device)

    def work() -> object:
        return [linear(x, w) for _ in range(8)]

    def both() -> None:
        work()
        call()

    alone = seconds_of(work, device, warmup, repetitions)
    dist.barrier()
    together = seconds_of(both, device, warmup, repetitions)
    bare = seconds_of(call, device, warmup, repetitions)
    least = sum(bare) / len(bare)
    added = (sum(together) - sum(alone)) / repetitions
    return [max(least, added)] * repetitions


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make(operation: str, key: tuple[int, ...], size: int, like: torch.Tensor, group: dist.ProcessGroup | None) -> Call:
    """The call that is ``operation`` of that key at ``size``. ``like`` gives device and format."""
    if operation == "gemm":
        x, w = like.new_ones(size, key[1]), like.new_ones(key[0], key[1])
        return lambda: linear(x, w)
    if operation == "experts":
        return _experts(key, size, like)
    if operation == "router":
        return _router(key, size, like)
    if operation == "norms":
        x, w = like.new_ones(max(1, size // 128), 128), like.new_ones(128)
        return lambda: rms_norm(x + x, w, 1e-6)
    if operation == "memory":
        source = like.new_ones(max(1, size // (2 * like.element_size())))
        target = torch.empty_like(source)
        return lambda: target.copy_(source)  # reads half of size, writes half
    if operation == "launch":
        one = like.new_ones(1)
        return lambda: one.add_(1)
    if operation.startswith("attention"):
        return _attention(operation, key[0], size, like)
    assert group is not None
    return _collective(operation, key[0], size, like, group)


def _router(key: tuple[int, ...], tokens: int, like: torch.Tensor) -> Call:
    """The product, and the choice of two experts."""
    hidden, experts = key
    x = torch.randn_like(like.new_empty(tokens, hidden))
    w = {"router": torch.randn_like(like.new_empty(experts, hidden))}
    ffn = MoeFfn(experts, min(2, experts), 1)
    return lambda: route(x, w, ffn, Numerics())


def _experts(key: tuple[int, ...], rows: int, like: torch.Tensor) -> Call:
    """``rows`` copies for each of SLOTS experts, not gated: products, activation, sorting and weighted sum."""
    hidden, width = key
    ffn = MoeFfn(SLOTS, 1, width, gated=False)
    w = {"experts_up": like.new_ones(SLOTS, width, hidden), "experts_down": like.new_ones(SLOTS, hidden, width)}
    x = like.new_ones(rows * SLOTS, hidden)
    slots = torch.arange(rows * SLOTS, device=like.device)[:, None] % SLOTS
    weights = torch.ones(rows * SLOTS, 1, device=like.device)
    return lambda: experts_pass(x, Chosen(slots, weights), w, ffn, Numerics(), slice(0, hidden))


def attention_shape(operation: str, width: int, size: int) -> tuple[int, int]:
    """(sequences of 16 queries, or of one, each over 16 and 64 keys; that size counts as): for ``size`` as sought."""
    if operation == "attention_prefill":  # 2 · 128 causal pairs · (d + d)
        one = 2 * 128 * 2 * width
    else:
        one = 64 * 2 * width * 4
    count = max(1, size // one)
    return count, count * one


def _attention(operation: str, width: int, size: int, like: torch.Tensor) -> Call:
    heads, _ = attention_shape(operation, width, size)
    queries, keys = (16, 16) if operation == "attention_prefill" else (1, 64)
    q = torch.randn_like(like.new_empty(1, heads, queries, width))
    k = torch.randn_like(like.new_empty(1, heads, keys, width))
    return lambda: F.scaled_dot_product_attention(q, k, k, is_causal=queries > 1)


def _collective(name: str, ranks: int, size: int, like: torch.Tensor, group: dist.ProcessGroup) -> Call:
    """``size``: bytes of the whole buffer; of an all-to-all those that leave a rank."""
    count = max(ranks, size // like.element_size() // ranks * ranks)
    x = like.new_ones(count)
    if name == "all_reduce":
        return lambda: dist.all_reduce(x, group=group)
    if name == "broadcast":
        return lambda: dist.broadcast(x, src=dist.get_global_rank(group, 0), group=group)
    if name == "all_gather":
        mine = like.new_ones(count // ranks)
        return lambda: _all_gather(x, mine, group=group)
    if name == "reduce_scatter":
        mine = like.new_ones(count // ranks)
        return lambda: _reduce_scatter(mine, x, group=group)
    if name == "all_to_all":  # the part that stays travels nowhere: size counts the others
        whole = like.new_ones(max(1, count // max(ranks - 1, 1)) * ranks)
        out = torch.empty_like(whole)
        return lambda: dist.all_to_all_single(out, whole, group=group)
    return _send(x, group)


def _send(x: torch.Tensor, group: dist.ProcessGroup) -> Call:
    """A message to the neighbour and back; half of it is one."""
    rank = dist.get_rank(group)
    peer = dist.get_global_rank(group, rank ^ 1)

    def call() -> None:
        if rank % 2 == 0:
            dist.send(x, peer, group=group)
            dist.recv(x, peer, group=group)
        else:
            dist.recv(x, peer, group=group)
            dist.send(x, peer, group=group)

    return call


def median(values: list[float]) -> float:
    return statistics.median(values)
