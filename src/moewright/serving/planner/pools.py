"""Pools for the concurrencies that are asked for: x prefill and y decode workers at what keeps c requests in flight.

With n requests on each of y decode workers, X = y·n/(O·T(n)) requests a second are done. Of x prefill workers with r
attention ranks each is busy ρ = X/(x·prefill rate) of the time. A prompt waits for the step under way, and as in a
queue of m = x·r servers of fixed service (Sakasegawa 1977: ρ^(√(2(m+1)) − 1)/(2m(1 − ρ)) services). Then y·n + X·TTFT
are in flight, which grows with n: n is found by bisection, for every y and c at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.strategy import Strategy

#: numbers of workers of a pool that are tried, at most
MOST_COUNTS = 64
#: of a prefill pool's capacity, where no more workers are taken than are needed
MOST_LOAD = 0.9
#: decode workers that are slower than the fastest of their size by less than this at some load are kept
CLOSE = 1.1
_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Prefill:
    """A worker: requests a second of full steps, seconds of a prompt alone and in a full step, and of its cache's way;
    attention ranks."""

    strategy: Strategy
    gpus: int
    rate: float
    alone: float
    full: float
    transfer: float
    ranks: int = 1

    def first(self, busy: np.ndarray, workers: np.ndarray) -> np.ndarray:
        """Seconds to the first token where ``workers`` are ``busy`` so much of the time."""
        service = self.alone + (self.full - self.alone) * busy
        servers = workers * self.ranks
        queue = busy ** (np.sqrt(2 * (servers + 1)) - 1) / (2 * servers * np.maximum(1 - busy, 1e-12))
        return np.asarray(service * (1 + busy / 2 + queue) + self.transfer)


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


def fastest_prefills(workers: list[Prefill]) -> list[Prefill]:
    """Of each size, those that no other beats in requests a second and in seconds of a prompt."""
    kept: list[Prefill] = []
    for gpus in sorted({w.gpus for w in workers}):
        front: list[Prefill] = []
        for w in sorted((w for w in workers if w.gpus == gpus), key=lambda w: (w.alone, -w.rate)):
            if not front or w.rate > front[-1].rate * (1 + 1e-9):
                front.append(w)
        kept += front
    return kept


def fastest_decodes(workers: list[Decode]) -> list[Decode]:
    """Of each size, those that are about the fastest at some number of requests, or hold the most."""
    kept: list[Decode] = []
    for gpus in sorted({w.gpus for w in workers}):
        mine = [w for w in workers if w.gpus == gpus]
        steps = np.array([np.where(2.0 ** np.arange(len(w.steps)) <= w.held, w.steps, np.inf) for w in mine])
        close = ((steps <= CLOSE * steps.min(axis=0)) & np.isfinite(steps)).any(axis=1)
        close[max(range(len(mine)), key=lambda i: (mine[i].held, -mine[i].steps[-1]))] = True
        kept += [w for w, near in zip(mine, close.tolist(), strict=True) if near]
    return kept


@dataclass(frozen=True, slots=True)
class States:
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
        ttft = self.p.first(busy, self.x)
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
    counts: tuple[int | None, int | None] = (None, None),
    thrifty: bool = False,
) -> list[Pair]:
    """For every c of ``asked`` and every y that leaves room: as many prefill workers as there are GPUs for, or where it
    is ``thrifty`` as few as keep up. ``steps``: decode steps of a request; ``counts``: of workers, where given."""
    x, y = counts
    ys = np.array([y]) if y else _counts((gpus - p.gpus) // d.gpus)
    room = (gpus - ys * d.gpus) // p.gpus
    xs = np.full_like(ys, x) if x else room
    fits = (xs >= 1) & (xs <= room)
    if not fits.any():
        return []
    c, some = (a.ravel() for a in np.meshgrid(np.array(asked, dtype=float), ys[fits], indexing="ij"))
    many = np.tile(xs[fits], len(asked))
    states = States(p, d, steps, c, some, many)
    n = states.loads()
    if thrifty and not x:
        needed = np.ceil(states.at(n)[0] / (MOST_LOAD * p.rate)).astype(int)
        states = States(p, d, steps, c, some, np.clip(needed, 1, many))
        n = states.loads()
    return _pairs(states, n)


def _pairs(states: States, n: np.ndarray) -> list[Pair]:
    rate, _, ttft, flight = states.at(n)
    step = states.d.at(n)
    pairs = []
    for i in range(len(n)):
        asked, x, y = int(states.c[i]), int(states.x[i]), int(states.y[i])
        held = y * states.d.held + int(np.ceil(rate[i] * ttft[i]))  # beside those that decode, those before that
        full = n[i] >= states.d.held * (1 - 1e-9)
        stays = min(asked, max(1, int(flight[i]))) if full else asked
        held = held if full else max(held, asked)
        pairs.append(Pair(x, y, asked, stays, held, float(ttft[i]), float(step[i]), float(rate[i])))
    return pairs


def _counts(most: int) -> np.ndarray:
    """1 to ``most``, thinned out."""
    if most <= MOST_COUNTS:
        return np.arange(1, max(0, most) + 1)
    return np.unique(np.round(np.geomspace(1, most, MOST_COUNTS)).astype(int))
