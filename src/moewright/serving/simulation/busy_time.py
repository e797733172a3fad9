"""What the GPUs' busy seconds go to, and how their prices came to be: by steps that stand for many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.cost.prices.price import Origin
from moewright.serving.engines.deployment import Workers
from moewright.serving.simulation.replica import CONTEXT, DECODE, PAIRS, PREFILL, SECONDS, STEPS, Replica
from moewright.serving.step import Step


@dataclass(frozen=True, slots=True)
class MeanStep:
    """A step that stands for many of ``workers``: its ``seconds`` are theirs in all, weighted by the pool's share of
    the GPUs, the host's share of them in ``host``."""

    workers: Workers
    step: Step
    seconds: float
    host: float


def mean_steps(
    replicas: Sequence[Sequence[Replica]], pools: Sequence[Workers], logs: Sequence[Sequence[np.ndarray]]
) -> list[MeanStep]:
    """Of every pool the mean step with prompts, and the mean one without."""
    found = []
    for w, pool, of in zip(pools, replicas, logs, strict=True):
        log = np.concatenate(of)
        for chosen in (log[:, PREFILL] > 0, log[:, PREFILL] == 0):
            rows = log[chosen]
            steps = rows[:, STEPS]
            if not steps.sum():
                continue
            p, k, d, c = ((rows[:, i] * steps).sum() / steps.sum() for i in (PREFILL, PAIRS, DECODE, CONTEXT))
            scale = w.gpus / sum(x.gpus for x in pools)
            seconds = rows[:, SECONDS].sum()
            host = min(0.9, pool[0].engine.host_step * steps.sum() / seconds)
            found.append(MeanStep(w, Step(p, k, d, c, (p + d) * int(w.model.dp[0])), seconds * scale, host))
    return found


def time_shares(steps: list[MeanStep]) -> dict[str, float]:
    """Shares of the busy seconds by group of operations, and of the host."""
    found: dict[str, float] = {}
    for m in steps:
        gpu = m.workers.model.parts(m.step)
        whole = sum(gpu.values())
        for name, value in gpu.items():
            found[name] = found.get(name, 0.0) + value / whole * (1 - m.host) * m.seconds
        found["host"] = found.get("host", 0.0) + m.host * m.seconds
    whole = sum(found.values()) or 1.0
    return dict(sorted(((n, v / whole) for n, v in found.items() if v > 0), key=lambda x: -x[1]))


def origin_shares(steps: list[MeanStep]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Shares of the GPU's busy seconds that are measured, interpolated, derived; and which operations are derived in
    a hundredth of them or more, the longest first."""
    found, names = dict.fromkeys((o.name.lower() for o in Origin), 0.0), defaultdict[str, float](float)
    for m in steps:
        priced = m.workers.model.priced(m.step).operations
        whole = sum(float(x.seconds[0]) * count for x, count in priced)
        for x, count in priced:
            share = float(x.seconds[0]) * count / whole * (1 - m.host) * m.seconds
            origin = Origin(int(x.origin[0]))
            found[origin.name.lower()] += share
            if origin is Origin.DERIVED:
                names[x.work.name] += share
    whole = sum(found.values()) or 1.0
    shares = {name: value / whole for name, value in found.items()}
    return shares, tuple(sorted((n for n, v in names.items() if v >= 0.01 * whole), key=lambda n: -names[n]))
