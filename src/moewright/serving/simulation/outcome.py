"""What a simulation found: the record that ``moewright serve --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence as Values
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moewright.serving.validation.predictions import served_range

#: what steps are priced with: measured kernel tables, the roofline, or the points of ``moewright measure``
TABLES, ROOFLINE, PROFILE = "measured tables", "roofline", "this machine's profile"


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds: mean and percentiles."""

    mean: float
    p50: float
    p90: float
    p99: float

    @staticmethod
    def of(values: Values[float], weights: Values[int] | None = None) -> Summary | None:
        """None of no values. A percentile is the least value that so much of the weight does not exceed."""
        if not len(values):
            return None
        x = np.asarray(values, dtype=float)
        w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
        order = np.argsort(x, kind="stable")
        x, w = x[order], w[order]
        cumulative = np.cumsum(w)
        picked = [float(x[np.searchsorted(cumulative, q * cumulative[-1] * (1 - 1e-12))]) for q in (0.5, 0.9, 0.99)]
        return Summary(float((x * w).sum() / cumulative[-1]), *picked)


@dataclass(frozen=True, slots=True)
class Served:
    """One request: tokens, seconds of its arrival, first and last token, and how often it was preempted."""

    input: int
    output: int
    arrival: float
    first: float
    done: float
    preempted: int

    @property
    def ttft(self) -> float:
        return self.first - self.arrival

    @property
    def e2e(self) -> float:
        return self.done - self.arrival

    @property
    def tpot(self) -> float | None:
        return (self.done - self.first) / (self.output - 1) if self.output > 1 else None


@dataclass(frozen=True, slots=True)
class Pooled:
    """Workers of one phase (``all``: of both): their strategy; mean requests that they hold (``held``), that their
    caches would and that the engine's max_num_seqs allows; the share of the window in which they had work, and
    how many requests waited in their queues; ``memory`` of one GPU by the engine's rule."""

    phase: str
    name: str
    strategy: dict[str, Any]
    replicas: int
    gpus: int
    attention_ranks: int
    kv_tokens: int
    held: int
    held_by_cache: int
    held_by_engine: int
    busy: float
    queued: float
    memory: dict[str, str | float | int]

    @property
    def bound(self) -> str:
        """What limits the requests that it holds."""
        return "cache" if self.held_by_cache < self.held_by_engine else "max_num_seqs"


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit of the spec in seconds, beside the simulated mean."""

    limit: float
    mean: float

    @property
    def met(self) -> bool:
        return self.mean <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """``over``: seconds that are too many (0 where it is met); ``times``: the mean over the limit."""
        over = max(0.0, self.mean - self.limit)
        return {**asdict(self), "met": self.met, "over": over, "times": self.mean / self.limit}


@dataclass(frozen=True, slots=True)
class Outcome:
    """``concurrency``: clients, None at a rate; ``asked``: the same where there are not fewer requests than that;
    ``held``: what the caches and the engine hold of mean requests.

    Latencies leave the first ``warmup`` requests out. All else is of the ``window`` (seconds from, to), in which all
    clients are at work, or in which arrivals go on and the first ones are done: throughput; requests ``in_flight``,
    which are ``running`` (in a prompt or decoding), ``queued``, or ``outside`` both (the host before the queue, a
    cache on its way); ``arrivals_per_second`` at a rate, and whether it
    ``keeps_up`` (None: the run is too short to tell). ``parts``: share of the GPUs' busy seconds; ``starved``:
    share of steps at which a queue's head waited, by reason. ``series``: columns over time. ``limits``: of the spec,
    by metric. ``kernels``: what steps are priced with; ``origins``: share of the GPUs' busy seconds that is
    measured, interpolated, derived; ``derived``: operations that the tables lack, of a hundredth of them or more."""

    engine: str
    pools: tuple[Pooled, ...]
    gpus: int
    gpus_unused: int
    concurrency: int | None
    asked: int | None
    rate: float | None
    held: int
    requests: int
    warmup: int
    ttft: Summary
    tpot: Summary | None
    itl: Summary | None
    e2e: Summary
    output_per_gpu: float
    total_per_gpu: float
    per_user: float | None
    requests_per_second: float
    arrivals_per_second: float | None
    keeps_up: bool | None
    in_flight: float
    running: float
    queued: float
    outside: float
    most_running: int
    kv_peak: float
    preemptions: int
    steps: int
    seconds: float
    window: tuple[float, float]
    parts: dict[str, float]
    binds: str
    starved: dict[str, float]
    series: dict[str, list[float]]
    served: tuple[Served, ...]
    limits: dict[str, Limited]
    kernels: str
    origins: dict[str, float]
    derived: tuple[str, ...]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Mean TTFT and TPOT: the seconds that 80 % of measured results lay between where this was predicted. None of
        a machine of its own profile: those results are of GPU servers."""
        if self.kernels == PROFILE:
            return {}
        apart, tables = len(self.pools) > 1, self.kernels == TABLES
        found = {"ttft": served_range("ttft", self.ttft.mean, apart, tables, self.engine)}
        if self.tpot is not None:
            found["tpot"] = served_range("tpot", self.tpot.mean, apart, tables, self.engine)
        return found

    @property
    def whole(self) -> bool:
        """Whether the window is the whole run."""
        return self.window == (0.0, self.seconds)

    @property
    def holds(self) -> bool:
        """Whether the caches hold the concurrency asked for."""
        return self.concurrency is None or self.held >= self.concurrency

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the requests themselves are left out (``--output`` writes them)."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "served"}
        plain["ranges"] = {name: list(ends) for name, ends in self.ranges.items()}
        for name in ("ttft", "tpot", "itl", "e2e"):
            value = plain[name]
            plain[name] = None if value is None else asdict(value)
        plain["pools"] = [{**asdict(p), "bound": p.bound} for p in self.pools]
        plain["memory"] = self.pools[-1].memory
        plain["limits"] = {name: x.to_dict() for name, x in self.limits.items()}
        plain["holds"] = self.holds
        plain["window"] = list(self.window)
        return plain


def rows_csv(served: Values[Served]) -> str:
    """Requests as .csv: a trace file that can be served again, with what each waited."""
    lines = ["arrival,input,output,ttft,tpot,e2e,preempted"]
    for r in served:
        tpot = "" if r.tpot is None else f"{r.tpot:.9g}"
        lines.append(f"{r.arrival:.9g},{r.input},{r.output},{r.ttft:.9g},{tpot},{r.e2e:.9g},{r.preempted}")
    return "\n".join(lines) + "\n"
