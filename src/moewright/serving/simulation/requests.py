"""The requests of a workload, drawn once from its seed: lengths, arrivals, and decode steps under speculation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.serving import Lengths, Serving, Speculative, Spread

#: requests where none are asked for: of a closed loop so many times its concurrency, as InferenceMAX runs
TIMES = 10
LEAST = 200
MOST = 20_000


@dataclass(frozen=True, slots=True)
class Requests:
    """A row a request. ``arrivals``: seconds, or none of a closed loop. ``steps``: decode steps after the first
    token, fewer than tokens under speculation."""

    inputs: list[int]
    outputs: list[int]
    steps: list[int]
    arrivals: list[float] | None

    def __len__(self) -> int:
        return len(self.inputs)


def count_of(s: Serving, concurrency: int) -> int:
    """How many requests a simulation takes."""
    if s.requests is not None:
        return s.requests
    if s.trace is not None:
        return len(s.trace.inputs)
    return min(MOST, max(LEAST, TIMES * concurrency)) if concurrency else 1000


def draw(s: Serving, concurrency: int) -> Requests:
    """The requests that ``s.seed`` stands for; the same for every strategy."""
    n = count_of(s, concurrency)
    # a stream each, so that a change of one leaves the others as they are
    streams = [np.random.default_rng([s.seed, i]) for i in range(4)]
    inputs, outputs = _lengths(s.input, n, streams[0]), _lengths(s.output, n, streams[1])
    arrivals = None
    if s.trace is not None and not concurrency:
        arrivals = [s.trace.arrivals[i % len(s.trace.arrivals)] for i in range(n)]
        span = s.trace.arrivals[-1] * (1 + 1 / len(s.trace.arrivals))
        arrivals = [a + span * (i // len(s.trace.arrivals)) for i, a in enumerate(arrivals)]
    elif s.rate is not None:
        gaps = streams[2].gamma(s.burstiness, 1 / (s.rate * s.burstiness), n)
        arrivals = np.cumsum(gaps).tolist()
    steps = outputs - 1 if s.speculative is None else _accepted(outputs - 1, s.speculative, streams[3])
    return Requests(inputs.tolist(), outputs.tolist(), steps.tolist(), arrivals)


def _lengths(x: Lengths, n: int, draws: np.random.Generator) -> np.ndarray:
    if x.spread is Spread.LIST:
        return np.resize(np.array(x.values, dtype=np.int64), n)
    if x.spread is Spread.FIXED:
        return np.full(n, int(x.nominal))
    if x.spread is Spread.UNIFORM:
        low, high = max(1, int(x.nominal * x.low)), max(1, int(x.nominal * x.high))
        return draws.integers(low, high + 1, n)
    drawn = draws.lognormal(np.log(x.nominal) - x.sigma**2 / 2, x.sigma, n)
    return np.clip(np.round(drawn), 1, x.most).astype(np.int64)


def _accepted(tokens: np.ndarray, s: Speculative, draws: np.random.Generator) -> np.ndarray:
    """Steps in which each request's ``tokens`` are there: a step gives 1 and its run of right drafts."""
    steps = np.zeros_like(tokens)
    left = tokens.copy()
    while (going := left > 0).any():
        right = draws.random((int(going.sum()), s.drafts)) < s.acceptance
        left[going] -= 1 + np.cumprod(right, axis=1).sum(axis=1)
        steps[going] += 1
    return steps
