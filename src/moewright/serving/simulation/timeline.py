"""Queue, batch and cache over time: the replicas' logs of spans, added up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.serving.simulation.replica import CACHED, QUEUED, RUNNING, SECONDS, START, WAITING

#: equal parts of the time that a series has
POINTS = 120


@dataclass(frozen=True, slots=True)
class Course:
    """``columns``: ``time`` (seconds, the middle of each part) and the most ``queued``, ``running`` and ``kv`` (share
    of all caches) in it; ``most``: of the whole time, by the same names."""

    columns: dict[str, list[float]]
    most: dict[str, float]


def course_of(logs: list[np.ndarray], end: float, capacity: float) -> Course:
    """All replicas together until ``end`` seconds; ``capacity``: KV tokens of all their caches."""
    edges = np.linspace(0.0, end, POINTS + 1)
    columns = {"time": _rounded((edges[1:] + edges[:-1]) / 2)}
    most: dict[str, float] = {}
    for name, i in (("queued", WAITING), ("running", RUNNING), ("kv", CACHED)):
        times, values = _total(logs, i)
        values = values / (capacity if name == "kv" else 1.0)
        columns[name] = _rounded(_peaks(times, values, edges))
        most[name] = max(columns[name])
    return Course(columns, most)


def inside(start: np.ndarray, stop: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Seconds of each span from ``start`` to ``stop`` that lie in ``window``."""
    return np.asarray(np.clip(np.minimum(stop, window[1]) - np.maximum(start, window[0]), 0, None))


def mean_in(logs: list[np.ndarray], column: int, window: tuple[float, float]) -> float:
    """The mean over ``window`` of a log's column, added up over the logs."""
    total = 0.0
    for log in logs:
        start, stop = log[:, START], log[:, START] + log[:, SECONDS]
        total += float((log[:, column] * inside(start, stop, window)).sum())
    return total / max(window[1] - window[0], 1e-12)


def means_in(logs: list[np.ndarray], window: tuple[float, float]) -> tuple[float, float]:
    """Mean requests that run (in a prompt or decoding) and that wait in a queue."""
    return mean_in(logs, RUNNING, window), mean_in(logs, QUEUED, window)


def busy_in(logs: list[np.ndarray], window: tuple[float, float]) -> float:
    """The share of ``window`` in which a replica has work, in the mean over ``logs``."""
    ones = [np.hstack([log, np.ones((len(log), 1))]) for log in logs]
    return min(1.0, mean_in(ones, -1, window) / max(1, len(logs)))


def _total(logs: list[np.ndarray], column: int) -> tuple[np.ndarray, np.ndarray]:
    """The column's sum over the logs as steps: (moments, the value from each on)."""
    moments = np.concatenate([np.concatenate([log[:, START], log[:, START] + log[:, SECONDS]]) for log in logs])
    changes = np.concatenate([np.concatenate([log[:, column], -log[:, column]]) for log in logs])
    times, where = np.unique(moments, return_inverse=True)
    return times, np.cumsum(np.bincount(where, weights=changes, minlength=len(times)))


def _peaks(times: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The most of the steps in each part between ``edges``."""
    if not len(times):
        return np.zeros(len(edges) - 1)
    first = np.searchsorted(times, edges[:-1], side="right") - 1  # the step that the part begins in
    last = np.maximum(np.searchsorted(times, edges[1:], side="left"), first + 1)
    found = [values[max(a, 0) : b].max(initial=0.0) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    return np.asarray(np.maximum(np.array(found), 0.0))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
