"""Simulations of choices, and what they say about those that were not simulated.

The steady state is priced by formulas for all choices at once. Where there are tables of measured kernels a choice is
priced again by them (two steps of it: hundredths of a second), and simulated with them (tenths). What was not
simulated is predicted by that times what simulations came to over theirs: of the same strategies at other
concurrencies, or, where there are none, of all in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log
from pathlib import Path
from statistics import median

import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Strategy
from moewright.serving.engines.deployment import Workers, engine_of, serving_of, worker_case
from moewright.serving.engines.kernel_prices import measured_model
from moewright.serving.planner.option import Choice
from moewright.serving.planner.phases import decode_of, prefill_of
from moewright.serving.planner.pools import Decode, Prefill
from moewright.serving.planner.repricing import repriced, repriced_pools
from moewright.serving.simulation.simulate import StepTables, simulate_pools
from moewright.serving.step import StepModel

#: requests of a simulation at a rate, and of a closed loop unless so many clients need more
MOST_REQUESTS, LONG = 2000, 1000
#: how much better than predicted a choice may be, in all and in seconds to the first token, beyond the two per cent for
#: which nothing is simulated: of workers that were simulated, of a pair of pools of which each was with others, of
#: others, and by formulas where there are tables
NEAR, AKIN, FAR, UNPRICED = (0.01, 0.15), (0.02, 0.2), (0.05, 0.3), (0.2, 0.5)
#: workers that were simulated from which on their middle counts in full
ENOUGH = 3
#: workers that are priced by measured kernels together
AT_ONCE = 8
METRICS = ("ttft", "tpot", "output_per_gpu")


class Trials:
    """What was simulated: ``runs``, by choice; and the models of workers and their step tables."""

    def __init__(self, case: Case, folder: Path | None) -> None:
        self.case, self.folder = case, folder
        self.runs: dict[Choice, Choice] = {}
        self.priced: dict[Choice, Choice] = {}
        self._models: dict[tuple[Strategy, int], tuple[Case, StepModel]] = {}
        self._tables: StepTables = {}
        self._prefills: dict[tuple[Strategy, int], Prefill] = {}
        self._decodes: dict[tuple[Strategy, int], Decode] = {}

    def run(self, choice: Choice) -> Choice:
        """``choice`` with its simulation."""
        if choice not in self.runs:
            s = serving_of(self.case)
            if s.concurrency:
                s = replace(s, concurrency=(choice.concurrency,))
            s = replace(s, requests=self._requests(choice.concurrency))
            outcome = simulate_pools(replace(self.case, serving=s), self._pools(choice), known=self._tables)
            self.runs[choice] = replace(choice, simulation=outcome)
        return self.runs[choice]

    def _requests(self, clients: int) -> int:
        s = serving_of(self.case)
        if not s.concurrency:
            return min(MOST_REQUESTS, s.requests or MOST_REQUESTS)
        wanted = max(200, min(4 * clients, LONG), 3 * clients)
        return min(wanted, s.requests or wanted)

    def _pools(self, c: Choice) -> tuple[Workers, ...]:
        return tuple(self._workers(*of) for of in zip(c.strategies, c.replicas, c.gpus, strict=True))

    def _workers(self, strategy: Strategy, count: int, gpus: int) -> Workers:
        apart = serving_of(self.case).disaggregated is not None
        key = (strategy, gpus // count)
        if key not in self._models:
            own = worker_case(self.case, gpus // count) if apart else self.case
            engine = engine_of(self.case)
            model = measured_model(own, strategy, engine, self.folder) or StepModel.of(own, strategy, engine)
            self._models[key] = own, model
        own, model = self._models[key]
        return Workers(own, strategy, count, model)

    def forecast(self, choices: list[Choice]) -> list[Forecast]:
        """What each of ``choices`` would be simulated to give."""
        ratios = _Ratios()
        for choice, run in self.runs.items():
            ratios.add(choice, _logs(self.priced.get(choice, choice), run.seen))
        return [self._forecast(c, ratios) for c in choices]

    def _forecast(self, c: Choice, ratios: _Ratios) -> Forecast:
        priced = self.priced.get(c)
        certain = priced is not None or self.folder is None
        logs, near = ratios.of(c)
        slack, first = near if certain or near is NEAR else UNPRICED
        base = priced or c
        ttft, tpot, output = (getattr(base, m) * exp(x) for m, x in zip(METRICS, logs, strict=True))
        likely = replace(c, ttft=ttft, tpot=tpot, output_per_gpu=output)
        hoped = replace(c, ttft=ttft / (1 + first), tpot=tpot / (1 + slack), output_per_gpu=output * (1 + slack))
        return Forecast(c, likely, hoped)

    def price(self, hopeful: list[Choice], others: list[Choice]) -> bool:
        """Whether the first of ``hopeful`` was priced by measured kernels just now, and with it the workers of the
        first few of them at every concurrency of ``others``: their steady states with the seconds of their steps as
        measured kernels have them. False where it was before, or there are none."""
        if self.folder is None or hopeful[0] in self.priced:
            return False
        wanted = list(dict.fromkeys(c.strategies for c in hopeful if c not in self.priced))[:AT_ONCE]
        alike: dict[tuple[Strategy, ...], list[Choice]] = {strategies: [] for strategies in wanted}
        for c in others:
            if c.strategies in alike:
                alike[c.strategies].append(c)
        for of in alike.values():
            self.priced |= dict(zip(of, self._reprice(of), strict=True))
        return True

    def _reprice(self, choices: list[Choice]) -> list[Choice]:
        """``choices`` of the same workers."""
        s, engine, pools = serving_of(self.case), engine_of(self.case), self._pools(choices[0])
        if not any(w.measured for w in pools):
            return choices
        if len(pools) == 1:
            return repriced(choices, pools[0], s, engine)
        first, last = pools
        keys = [(w.strategy, w.gpus // w.count) for w in pools]
        if keys[0] not in self._prefills:
            self._prefills[keys[0]] = prefill_of(first, engine, s)
        if keys[1] not in self._decodes:
            self._decodes[keys[1]] = decode_of(last, engine, s)
        return repriced_pools(choices, self._prefills[keys[0]], self._decodes[keys[1]], s)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of a ``choice`` that was not simulated: its figures as they are ``likely``, and as good as may be ``hoped``."""

    choice: Choice
    likely: Choice
    hoped: Choice


class _Ratios:
    """Logarithms of simulated over predicted figures, by workers and the requests on each that decodes."""

    def __init__(self) -> None:
        self.of_pair: dict[tuple[Strategy, ...], list[tuple[float, list[float]]]] = {}
        self.of_first: dict[Strategy, list[list[float]]] = {}
        self.of_last: dict[Strategy, list[list[float]]] = {}

    def add(self, c: Choice, logs: list[float]) -> None:
        self.of_pair.setdefault(c.strategies, []).append((_place(c), logs))
        self.of_first.setdefault(c.strategies[0], []).append(logs)
        self.of_last.setdefault(c.strategies[-1], []).append(logs)

    def of(self, c: Choice) -> tuple[list[float], tuple[float, float]]:
        """What ``c`` is likely to be over its prediction, and how much better it may be."""
        if c.strategies in self.of_pair:
            points = sorted(self.of_pair[c.strategies])
            places = [place for place, _ in points]
            return [float(np.interp(_place(c), places, [x[i] for _, x in points])) for i in range(len(METRICS))], NEAR
        if not self.of_pair:
            return [0.0] * len(METRICS), FAR
        first, last = self.of_first.get(c.strategies[0]), self.of_last.get(c.strategies[-1])
        if first and last:  # prefill workers make the first token, decode workers the others
            return [median(x[0] for x in first), *(median(x[i] for x in last) for i in (1, 2))], AKIN
        return self.middle, FAR

    @cached_property
    def middle(self) -> list[float]:
        """Of all workers; few runs say little of others."""
        trust = min(1.0, len(self.of_pair) / ENOUGH)
        logs = [x for points in self.of_pair.values() for _, x in points]
        return [trust * median(x) for x in zip(*logs, strict=True)]


def _logs(predicted: Choice, seen: Choice) -> list[float]:
    """Logarithms of simulated over predicted figures."""
    return [log(max(getattr(seen, m), 1e-12) / max(getattr(predicted, m), 1e-12)) for m in METRICS]


def _place(c: Choice) -> float:
    """Where ``c`` lies between others of the same workers: the logarithm of the requests on each that decodes."""
    return log(c.concurrency / c.replicas[-1])
