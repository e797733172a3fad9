"""Which layers stand on which stage: contiguous chunks whose slowest is as fast as can be.

Embedding and loss count as work of the first and last chunk, so that these hold fewer layers. The least bound that a
greedy filling keeps is found by bisection (a filling that takes as many layers as fit needs the fewest chunks).
"""

from __future__ import annotations

import numpy as np

from moewright.cost.arrays import Array, Ints

#: halvings of the bound: to a thousandth of a layer
_HALVINGS = 10


def split(seconds: Array, first: Array, last: Array, chunks: int) -> Ints:
    """The chunk of each layer, shape [rows, layers], non-decreasing. ``seconds`` [rows, layers]; ``first``, ``last``
    [rows]: of the model's ends."""
    rows, _ = seconds.shape
    if chunks == 1:
        return np.zeros(seconds.shape, dtype=np.int64)
    whole = seconds.sum(axis=1) + first + last
    low = np.maximum(whole / chunks, np.maximum(first, last))
    low = np.maximum(low, seconds.max(axis=1)) * (1 - 1e-12)
    high = np.maximum(whole / chunks + seconds.max(axis=1), np.maximum(first, last) + seconds.max(axis=1))
    low = np.minimum(low, high)
    best = _fill(seconds, first, last, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        place = _fill(seconds, first, last, middle)
        fits = place[:, -1] < chunks
        best[fits] = place[fits]
        high, low = np.where(fits, middle, high), np.where(fits, low, middle)
    assert best.shape[0] == rows
    return np.minimum(best[:, :-1], chunks - 1)


def _fill(seconds: Array, first: Array, last: Array, bound: Array) -> Ints:
    """The chunk of each layer, and of the loss, [rows, layers + 1], where each takes as many as keep ``bound``."""
    rows, layers = seconds.shape
    place = np.zeros((rows, layers + 1), dtype=np.int64)
    load, chunk = first.copy(), np.zeros(rows, dtype=np.int64)
    for i in range(layers + 1):
        more = seconds[:, i] if i < layers else last
        full = (load + more > bound) & (load > 0)
        chunk = chunk + full
        load = np.where(full, more, load + more)
        place[:, i] = chunk
    return place


def even(layers: int, chunks: int) -> list[int]:
    """Layers of each of ``chunks`` chunks, the first ones holding one more where they do not divide."""
    least, more = divmod(layers, chunks)
    return [least + (i < more) for i in range(chunks)]
