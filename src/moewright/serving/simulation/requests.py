"""The requests of a workload, drawn once from its seed: lengths, arrivals, and decode steps under speculation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moewright.case.serving import Lengths, Serving, Speculative, Spread, Start

#: requests where none are asked for: of a closed loop so many times its concurrency, as InferenceMAX runs
TIMES = 10
LEAST = 200
MOST = 20_000
#: of a closed loop whose clients are spread: answers of one length end within this share of it, as no two users'
#: answers are as long; else requests that end in one step come back in one, and stay together ever after
VARIED = 0.02
#: answers from so many tokens on vary by one at least
LONG = 16


@dataclass(frozen=True, slots=True)
class Requests:
    """A row a request. ``steps``: decode steps after the first token, fewer than tokens under speculation.
    ``arrivals``: seconds, or none of a closed loop. ``starts``: of a closed loop the seconds at which each client
    sends its first request; none where all do at once and stop after the last request; ``lead``: requests before those
    that count, of a run too short to hold its own beginning. ``waits``: what each waits on
    the host, of the mean of all (none: that mean)."""

    inputs: list[int]
    outputs: list[int]
    steps: list[int]
    arrivals: list[float] | None
    starts: list[float] | None = None
    lead: int = 0
    waits: list[float] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def wait(self, index: int) -> float:
        """What request ``index`` of the run (those that lead first) waits on the host, of the mean."""
        return self.waits[(index - self.lead) % len(self.waits)] if self.waits else 1.0


def count_of(s: Serving, concurrency: int) -> int:
    """How many requests a simulation takes."""
    if s.requests is not None:
        return s.requests
    if s.trace is not None:
        return len(s.trace.inputs)
    if not concurrency:
        return 1000
    return min(max(MOST, least_of(concurrency)), max(LEAST, TIMES * concurrency))


def least_of(clients: int) -> int:
    """Requests of a run of which the second half is steady: each client's first starts it up."""
    return 5 * clients // 2


def draw(s: Serving, concurrency: int) -> Requests:
    """The requests that ``s.seed`` stands for; the same for every strategy."""
    n = count_of(s, concurrency)
    # a stream each, so that a change of one leaves the others as they are
    streams = [np.random.default_rng([s.seed, i]) for i in (0, 1, 2, 3, 5)]
    answers = s.output
    if concurrency > 1 and s.start is Start.SPREAD and answers.spread is Spread.FIXED:
        width = int(max(VARIED * answers.nominal, answers.nominal >= LONG)) / answers.nominal
        answers = Lengths(Spread.UNIFORM, answers.nominal, 1 - width, 1 + width)
    inputs, outputs = _lengths(s.input, n, streams[0]), _lengths(answers, n, streams[1])
    arrivals = None
    if s.trace is not None and not concurrency:
        arrivals = [s.trace.arrivals[i % len(s.trace.arrivals)] for i in range(n)]
        span = s.trace.arrivals[-1] * (1 + 1 / len(s.trace.arrivals))
        arrivals = [a + span * (i // len(s.trace.arrivals)) for i, a in enumerate(arrivals)]
    elif s.rate is not None:
        gaps = streams[2].gamma(s.burstiness, 1 / (s.rate * s.burstiness), n)
        arrivals = np.cumsum(gaps).tolist()
    steps = outputs - 1 if s.speculative is None else _accepted(outputs - 1, s.speculative, streams[3])
    return Requests(inputs.tolist(), outputs.tolist(), steps.tolist(), arrivals, waits=_waits(n, streams[4]))


def _waits(n: int, draws: np.random.Generator) -> list[float]:
    """A request comes at any moment between two looks of the host at its queue: evenly from 0 to twice the mean, two
    in a row as far from it on either side, so that few requests have the mean too."""
    first = draws.uniform(0, 1, (n + 1) // 2)
    return [float(x) for x in np.stack([first, 2 - first], axis=1).ravel()[:n]]


def start_times(s: Serving, clients: int, seconds: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """When each of ``clients`` sends its first request, so that they go through their requests evenly: each at a phase
    drawn from 0 to 1, the next where those before it have gone that much further. ``seconds``: of a whole request with
    so many clients at work."""
    phases = np.sort(np.random.default_rng([s.seed, 4]).random(clients))
    at_work = np.unique(np.round(np.geomspace(1, max(clients, 1), 8)))
    pace = np.interp(np.arange(1, clients + 1), at_work, seconds(at_work))
    gaps = np.diff(phases, prepend=phases[0]) * pace
    return [float(t) for t in np.cumsum(gaps)]


def _lengths(x: Lengths, n: int, draws: np.random.Generator) -> np.ndarray:
    if x.spread is Spread.LIST:
        return np.resize(np.array(x.values, dtype=np.int64), n)
    if x.spread is Spread.FIXED:
        return np.full(n, int(x.nominal))
    if x.spread is Spread.UNIFORM:
        low, high = (max(1, int(x.nominal * share + 1e-6)) for share in (x.low, x.high))
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
