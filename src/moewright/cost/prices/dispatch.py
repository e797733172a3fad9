"""Two ways that engines bring tokens to their experts, of which the faster is taken.

Gathered: every rank gathers all tokens of the stage, computes those of its experts, and a reduce-scatter adds up
(vLLM's and SGLang's default on one node). Travelling: an all-to-all takes each token to the ranks of its experts
(DeepEP, TensorRT-LLM over NVLink).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moewright.cost.arrays import Bools, where
from moewright.cost.prices.price import Priced


def faster(ways: Sequence[Sequence[Priced]], possible: Sequence[Bools], travels: Bools) -> list[Priced]:
    """Of several ``ways`` to do the same operations, the fastest of those ``possible`` in every row where the tokens'
    way is open (``travels``); the first elsewhere."""
    totals = []
    for way, allowed in zip(ways, possible, strict=True):
        seconds = sum((x.seconds for x in way), start=np.zeros(1))
        totals.append(where(allowed, seconds, np.inf))
    best = np.where(travels, np.stack(np.broadcast_arrays(*totals)).argmin(axis=0), 0)
    out = []
    for options in zip(*ways, strict=True):
        seconds = np.choose(best, [np.broadcast_to(x.seconds, best.shape) for x in options])
        origin = np.choose(best, [np.broadcast_to(x.origin, best.shape) for x in options])
        out.append(Priced(options[0].work, seconds, origin.astype(np.int8)))
    return out
