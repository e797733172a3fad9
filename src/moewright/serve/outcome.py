"""What a simulation found: the record that ``moewright serve --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence as Values
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moewright.serve.predict import served_range


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
    """Workers of one phase (``all``: of both): their strategy, and what their caches hold."""

    phase: str
    name: str
    strategy: dict[str, Any]
    replicas: int
    gpus: int
    attention_ranks: int
    kv_tokens: int
    held: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """``concurrency``: asked for, None at a rate; ``held``: what the caches hold of mean requests; ``running`` and
    ``queued``: means over time. Statistics leave the first ``warmup`` requests out; throughput is of the time in
    which the queue of clients was full (``window``). ``parts``: share of the GPUs' busy seconds; ``starved``: share
    of steps at which a queue's head waited, by reason. ``series``: columns over time."""

    engine: str
    pools: tuple[Pooled, ...]
    gpus: int
    concurrency: int | None
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
    running: float
    queued: float
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
    measured: bool = False

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Mean TTFT and TPOT: the seconds that 80 % of measured results lay between where this was predicted."""
        apart = len(self.pools) > 1
        found = {"ttft": served_range("ttft", self.ttft.mean, apart, self.measured, self.engine)}
        if self.tpot is not None:
            found["tpot"] = served_range("tpot", self.tpot.mean, apart, self.measured, self.engine)
        return found

    @property
    def kernels(self) -> str:
        """What steps are priced with."""
        return "measured tables" if self.measured else "roofline"

    @property
    def holds(self) -> bool:
        """Whether the caches hold the concurrency asked for."""
        return self.concurrency is None or self.held >= self.concurrency

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the requests themselves are left out (``--output`` writes them)."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("served", "measured")}
        plain["kernels"] = self.kernels
        plain["ranges"] = {name: list(ends) for name, ends in self.ranges.items()}
        for name in ("ttft", "tpot", "itl", "e2e"):
            value = plain[name]
            plain[name] = None if value is None else asdict(value)
        plain["pools"] = [asdict(p) for p in self.pools]
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
