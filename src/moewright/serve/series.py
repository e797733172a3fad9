"""Queue, batch and cache over time: a replica's log of spans, read at evenly spaced moments."""

from __future__ import annotations

import numpy as np

#: moments of a series
POINTS = 120
_START, _SECONDS, _WAITING, _RUNNING, _CACHED = 0, 1, 7, 8, 9


def series_of(
    logs: list[np.ndarray], end: float, window: tuple[float, float], capacity: list[float]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """(columns ``time``, ``queued``, ``running``, ``kv`` (share of all caches), means of them over ``window``)."""
    moments = (np.arange(POINTS) + 0.5) * end / POINTS
    columns = {"queued": np.zeros(POINTS), "running": np.zeros(POINTS), "kv": np.zeros(POINTS)}
    means = {"queued": 0.0, "running": 0.0, "kv_peak": 0.0}
    for log, tokens in zip(logs, capacity, strict=True):
        if not len(log):
            continue
        start, stop = log[:, _START], log[:, _START] + log[:, _SECONDS]
        at = np.searchsorted(start, moments, side="right") - 1
        busy = (at >= 0) & (moments <= stop[np.maximum(at, 0)])
        inside = np.clip(np.minimum(stop, window[1]) - np.maximum(start, window[0]), 0, None)
        span = max(window[1] - window[0], 1e-12)
        for name, i in (("queued", _WAITING), ("running", _RUNNING), ("kv", _CACHED)):
            columns[name] += np.where(busy, log[np.maximum(at, 0), i], 0.0)
            if name in means:
                means[name] += float((log[:, i] * inside).sum() / span)
        means["kv_peak"] = max(means["kv_peak"], float(log[:, _CACHED].max() / tokens))
    columns["kv"] /= sum(capacity)
    rounded = {name: [float(f"{v:.6g}") for v in values] for name, values in columns.items()}
    return {"time": [float(f"{t:.6g}") for t in moments], **rounded}, means
