"""The greedy rules of ``packing``, compiled, with arrays that a search fills again and again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.kernel import kernel


@kernel
def copy(source: np.ndarray, target: np.ndarray) -> None:
    """The numbers of ``source`` into ``target``, of the same shape (an assignment to a slice takes seconds to
    compile)."""
    for i in range(source.size):
        target.flat[i] = source.flat[i]


class Packing(NamedTuple):
    """GPUs being filled. ``held`` [gpus, slots a GPU] experts, ``used`` and ``filled`` [gpus]; a heap of the GPUs with
    room by load (``heap_load``, ``heap_gpu``), and those put aside because they hold the expert being placed."""

    held: np.ndarray
    used: np.ndarray
    filled: np.ndarray
    heap_load: np.ndarray
    heap_gpu: np.ndarray
    aside_gpu: np.ndarray


@kernel
def new_packing(gpus: int, each: int) -> Packing:
    held, used = np.empty((gpus, each), dtype=np.int64), np.empty(gpus, dtype=np.int64)
    heap_gpu, aside_gpu = np.empty(gpus, dtype=np.int64), np.empty(gpus, dtype=np.int64)
    return Packing(held, used, np.empty(gpus), np.empty(gpus), heap_gpu, aside_gpu)


@kernel
def _before(load: float, gpu: int, other_load: float, other_gpu: int) -> bool:
    return load < other_load or (load == other_load and gpu < other_gpu)


@kernel
def _push(loads: np.ndarray, gpus: np.ndarray, size: int, load: float, gpu: int) -> None:
    """``gpu`` into a heap of ``size``."""
    i = size
    while i > 0:
        above = (i - 1) // 2
        if not _before(load, gpu, loads[above], gpus[above]):
            break
        loads[i], gpus[i] = loads[above], gpus[above]
        i = above
    loads[i], gpus[i] = load, gpu


@kernel
def _sink(loads: np.ndarray, gpus: np.ndarray, size: int, load: float, gpu: int) -> None:
    """``gpu`` in the place of the first of a heap of ``size``."""
    i = 0
    while True:
        below = 2 * i + 1
        if below >= size:
            break
        if below + 1 < size and _before(loads[below + 1], gpus[below + 1], loads[below], gpus[below]):
            below += 1
        if not _before(loads[below], gpus[below], load, gpu):
            break
        loads[i], gpus[i] = loads[below], gpus[below]
        i = below
    loads[i], gpus[i] = load, gpu


@kernel
def _drop_first(loads: np.ndarray, gpus: np.ndarray, size: int) -> None:
    """The first out of a heap of ``size``."""
    if size > 1:
        _sink(loads, gpus, size - 1, loads[size - 1], gpus[size - 1])


@kernel
def heaviest_first(weights: np.ndarray) -> np.ndarray:
    """Indices of ``weights``, the heaviest first, of equal ones the first first (a heap: NumPy's sorts take seconds to
    compile)."""
    n = len(weights)
    heap, index, order = np.empty(n), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    for i in range(n):
        _push(heap, index, i, -weights[i], i)
    for i in range(n):
        order[i] = index[0]
        _drop_first(heap, index, n - i)
    return order


@kernel
def replicate(load: np.ndarray, slots: int, most: int) -> np.ndarray:
    """Replicas of each expert, shape [experts], as ``packing.replicate``."""
    n = len(load)
    counts = np.ones(n, dtype=np.int64)
    heap, index = np.empty(n), np.empty(n, dtype=np.int64)
    for e in range(n):
        _push(heap, index, e, -load[e], e)
    for _ in range(slots - n):
        e = index[0]
        counts[e] += 1
        weight = load[e] / counts[e] if counts[e] < most else -1.0 * counts[e]
        _sink(heap, index, n, -weight, e)
    return counts


@kernel
def fill(load: np.ndarray, counts: np.ndarray, order: np.ndarray, apart: bool, p: Packing) -> None:
    """Fill ``p`` with ``counts`` replicas, experts in ``order`` (heaviest replica first), each to the emptiest GPU with
    room (``apart``: without one of it, where there is such a one)."""
    held, used, filled, heap_load, heap_gpu, aside_gpu = p
    each = held.shape[1]
    first = _first_row(load, counts, order, p)
    size = len(held)
    for e in order[first:]:
        weight, aside = load[e] / counts[e], 0
        for _ in range(counts[e]):
            if size > 0:
                g = heap_gpu[0]
            else:
                aside -= 1
                g = _emptiest_last(filled, aside_gpu, aside)
            held[g, used[g]] = e
            used[g] += 1
            filled[g] += weight
            if used[g] < each and size > 0 and (counts[e] == 1 or not apart):
                _sink(heap_load, heap_gpu, size, filled[g], g)
                continue
            if used[g] < each:
                aside_gpu[aside] = g
                aside += 1
            if size > 0:
                _drop_first(heap_load, heap_gpu, size)
                size -= 1
        for i in range(aside):
            _push(heap_load, heap_gpu, size, filled[aside_gpu[i]], aside_gpu[i])
            size += 1


@kernel
def _first_row(load: np.ndarray, counts: np.ndarray, order: np.ndarray, p: Packing) -> int:
    """The heaviest experts whose replicas go to GPUs that are all empty, one each; how many experts. The heap of ``p``
    is then of all GPUs."""
    gpus, each = p.held.shape
    held, used, filled = p.held, p.used, p.filled
    for g in range(gpus):
        used[g], filled[g] = 0, 0.0
    placed, experts = 0, 0
    while each > 1 and experts < len(order) and placed + counts[order[experts]] <= gpus:
        e = order[experts]
        for g in range(placed, placed + counts[e]):
            held[g, 0], used[g], filled[g] = e, 1, load[e] / counts[e]
        placed += counts[e]
        experts += 1
    at = gpus - placed
    for i in range(at):
        p.heap_load[i], p.heap_gpu[i] = 0.0, placed + i
    last = placed
    for k in range(experts):  # the lightest first: sorted, which is a heap
        e = order[experts - 1 - k]
        last -= counts[e]
        for g in range(last, last + counts[e]):
            p.heap_load[at], p.heap_gpu[at] = filled[g], g
            at += 1
    return experts


@kernel
def _emptiest_last(filled: np.ndarray, gpus: np.ndarray, last: int) -> int:
    """The emptiest of ``gpus`` up to ``last``, the first of equal ones, exchanged with the last."""
    best = 0
    for i in range(1, last + 1):
        if _before(filled[gpus[i]], gpus[i], filled[gpus[best]], gpus[best]):
            best = i
    gpus[best], gpus[last] = gpus[last], gpus[best]
    return int(gpus[last])


@kernel
def pack(load: np.ndarray, counts: np.ndarray, gpus: int, apart: bool) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], as ``packing.pack`` (``apart``: doubles are avoided)."""
    p = new_packing(gpus, counts.sum() // gpus)
    fill(load, counts, heaviest_first(load / counts), apart, p)
    return p.held


@kernel
def gpu_loads(load: np.ndarray, held: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Load of each GPU, shape [gpus], a replica carrying an equal share."""
    filled = np.zeros(len(held))
    for g in range(len(held)):
        for e in held[g]:
            filled[g] += load[e] / counts[e]
    return filled


@kernel
def holds(row: np.ndarray, e: int) -> bool:
    """Whether ``e`` is in ``row``."""
    for x in row:  # noqa: SIM110  the compiler knows no any()
        if x == e:
            return True
    return False
