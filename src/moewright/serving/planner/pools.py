"""Pools for the concurrencies that are asked for: x prefill and y decode workers at what keeps c requests in flight.

With n requests on each of y decode workers, X = y·n/(O·T(n)) requests a second are done, of x prefill workers each is
busy ρ = X/(x·prefill rate) of the time, and a prompt takes TTFT (M/D/1, as in ``disaggregate.py``). Then y·n + X·TTFT
are in flight, which grows with n: n is found by bisection, for every x, y and c at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.strategy import Strategy

#: numbers of workers of a pool that are tried, at most
MOST_COUNTS = 24
#: most of a prefill pool's capacity that is used, where there are GPUs for more
MOST_LOAD = 0.9
_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Prefill:
    """A worker: requests a second of full steps, seconds of a prompt alone, and of its cache's way."""

    strategy: Strategy
    gpus: int
    rate: float
    seconds: float
    transfer: float


@dataclass(frozen=True, slots=True)
class Decode:
    """A worker: seconds of a step with 1, 2, 4 … requests (``steps``), and how many it holds."""

    strategy: Strategy
    gpus: int
    steps: np.ndarray
    held: int

    def at(self, load: np.ndarray) -> np.ndarray:
        """Seconds of a step with ``load`` requests, linear between powers of two."""
        n = np.maximum(load, 1.0)
        i = np.minimum(np.log2(n).astype(int), len(self.steps) - 2)
        share = n / 2.0**i - 1
        return np.asarray(self.steps[i] * (1 - share) + self.steps[i + 1] * share)


@dataclass(frozen=True, slots=True)
class Pair:
    """x prefill and y decode workers for ``asked`` requests in flight, of which ``flight`` are where the decode workers
    do not hold more; seconds to the first token and of a step, requests a second, and what is held."""

    x: int
    y: int
    asked: int
    flight: int
    held: int
    ttft: float
    step: float
    rate: float


def best_of(workers: list[Decode]) -> list[Decode]:
    """Of each size, those that are fastest at some number of requests, or hold the most."""
    kept: list[Decode] = []
    for gpus in sorted({w.gpus for w in workers}):
        mine = [w for w in workers if w.gpus == gpus]
        steps = np.array([np.where(2.0 ** np.arange(len(w.steps)) <= w.held, w.steps, np.inf) for w in mine])
        picked = {int(i) for i, least in zip(steps.argmin(axis=0), steps.min(axis=0), strict=True) if least < np.inf}
        picked.add(max(range(len(mine)), key=lambda i: (mine[i].held, -mine[i].steps[-1])))
        kept += [mine[i] for i in sorted(picked)]
    return kept


@dataclass(frozen=True, slots=True)
class _States:
    """Rows of c, y and x, and what they come to with ``n`` requests on each decode worker."""

    p: Prefill
    d: Decode
    steps: float
    c: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def at(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Requests a second, the busy share of prefill, seconds to the first token, requests in flight."""
        rate = self.y * n / (self.steps * self.d.at(n))
        busy = np.minimum(rate / (self.x * self.p.rate), 1 - 1e-12)
        ttft = self.p.seconds * (1 + busy / (2 * (1 - busy))) + self.p.transfer
        return rate, busy, ttft, self.y * n + rate * ttft

    def loads(self) -> np.ndarray:
        """The n at which c are in flight, or what a worker holds."""
        low, high = np.full(len(self.c), 1e-6), np.minimum(float(self.d.held), self.c / self.y)
        for _ in range(_ROUNDS):
            middle = np.sqrt(low * high)
            less = self.at(middle)[3] <= self.c
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        return np.asarray(high)


def pairs_of(
    p: Prefill,
    d: Decode,
    gpus: int,
    asked: tuple[int, ...],
    steps: float,
    x: int | None = None,
    y: int | None = None,
    limit: float | None = None,
) -> list[Pair]:
    """For every c of ``asked`` and every y that leaves room (or ``y``): as few prefill workers (or ``x``) as keep up,
    and are within the ``limit`` of TTFT if any are. ``steps``: decode steps of a request."""
    ys = np.array([y]) if y else _counts((gpus - p.gpus) // d.gpus)
    xs = np.array([x]) if x else _counts((gpus - d.gpus) // p.gpus)
    c, some, many = (a.ravel() for a in np.meshgrid(np.array(asked, dtype=float), ys, xs, indexing="ij"))
    fits = many * p.gpus + some * d.gpus <= gpus
    if not fits.any():
        return []
    states = _States(p, d, steps, c[fits], some[fits], many[fits])
    n = states.loads()
    _, busy, ttft, _ = states.at(n)
    rows = []
    for asked_for, workers in sorted({*zip(states.c.tolist(), states.y.tolist(), strict=True)}):
        mine = np.flatnonzero((states.c == asked_for) & (states.y == workers))
        calm = mine[busy[mine] <= MOST_LOAD]
        soon = calm[ttft[calm] <= (np.inf if limit is None else limit)]
        rows.append(int(next((of[0] for of in (soon, calm) if len(of)), mine[-1])))
    return _pairs(states, n, rows)


def _pairs(states: _States, n: np.ndarray, rows: list[int]) -> list[Pair]:
    rate, _, ttft, flight = states.at(n)
    step = states.d.at(n)
    found = []
    for i in rows:
        asked, x, y = int(states.c[i]), int(states.x[i]), int(states.y[i])
        held = y * states.d.held + int(np.ceil(rate[i] * ttft[i]))  # beside those that decode, those before that
        full = n[i] >= states.d.held * (1 - 1e-9)
        stays = min(asked, max(1, int(flight[i]))) if full else asked
        held = held if full else max(held, asked)
        found.append(Pair(x, y, asked, stays, held, float(ttft[i]), float(step[i]), float(rate[i])))
    return found


def _counts(most: int) -> np.ndarray:
    """1 to ``most``, thinned out."""
    return np.unique(np.round(np.geomspace(1, most, MOST_COUNTS)).astype(int)) if most > 0 else np.array([], dtype=int)
