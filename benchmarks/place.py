"""Placement beside what DeepSeek's EPLB reached: python -m benchmarks.place FOLDER, a folder with
expert-loads.npz (``CASE__KIND`` → tokens [layers, experts]) and eplb-results.json (sizes, EPLB's results, bound)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import moewright
from benchmarks.eplb import balanced, grouped, largest
from benchmarks.record import keep

#: every so many layers is solved again with free shares
_STEP = 8


def run(folder: Path) -> list[dict[str, Any]]:
    """One row per case: balancedness with equal shares, beside EPLB's and the bound, and of every ``_STEP``-th layer
    with free shares; ``worst``, ``worst_grouped``: EPLB's largest GPU load over ours (its global and its grouped
    policy) in the layer of all where we gain least; after a drift of 10 % (lognormal), all layers: EPLB made afresh,
    and ours from the earlier placement, with the part of the replicas that moved and the seconds."""
    rows = []
    with np.load(folder / "expert-loads.npz") as archive:
        moewright.place(np.ones((8, 8)) + np.arange(8), slots=16, gpus=8)  # compiled, or read from the cache
        for case in json.loads((folder / "eplb-results.json").read_text()):
            loads, sizes = archive[f"{case['case']}__{case['kind']}"], {"slots": case["slots"], "gpus": case["gpus"]}
            moewright.place(loads[:1], **sizes)
            start = time.perf_counter()
            equal = moewright.place(loads, **sizes)
            seconds = time.perf_counter() - start
            free = moewright.place(loads[::_STEP], **sizes, shares="optimal")
            drifted = loads * np.random.default_rng(0).lognormal(sigma=0.1, size=loads.shape)
            moewright.place(drifted[:1], **sizes, previous=equal.expert_of_slot[:1])
            kept = moewright.place(drifted, **sizes, previous=equal.expert_of_slot)
            theirs = [largest(load, balanced(load, *sizes.values())) for load in loads]
            fresh = [d.sum() / case["gpus"] / largest(d, balanced(d, *sizes.values())) for d in drifted]
            row = {
                "case": f"{case['case']} {case['kind']}",
                "bound": equal.bound,
                "eplb": case["eplb_global"]["balancedness"],
                "equal": equal.balancedness,
                "worst": float(np.min(theirs / equal.gpu_load.max(axis=1))),
                "worst_grouped": _grouped(loads, case),
                "sampled_equal": float(equal.layer_balancedness[::_STEP].mean()),
                "sampled_optimal": free.balancedness,
                "seconds": seconds,
                "eplb_seconds": case["eplb_global"]["seconds"],
                "drift_eplb": float(np.mean(fresh)),
                "drift_kept": kept.balancedness,
                "drift_moved": (kept.moved or 0) / kept.expert_of_slot.size,
                "drift_seconds": kept.seconds,
            }
            rows.append(row)
            print(" ".join(f"{v:8.4f}" if isinstance(v, float) else f"{v:22s}" for v in row.values()), flush=True)
    return rows


def _grouped(loads: np.ndarray, case: dict[str, Any]) -> float:
    """EPLB's largest load over ours, groups in nodes, in the layer where we gain least; 0 where groups do not divide
    over the nodes (EPLB then follows its global policy)."""
    groups, nodes = case["expert_groups"], case["nodes"]
    if groups == 1 or groups % nodes:
        return 0.0
    ours = moewright.place(loads, slots=case["slots"], gpus=case["gpus"], nodes=nodes, groups=groups)
    theirs = [largest(load, grouped(load, case["slots"], case["gpus"], nodes, groups)) for load in loads]
    return float(np.min(theirs / ours.gpu_load.max(axis=1)))


if __name__ == "__main__":
    keep("place", run(Path(sys.argv[1])))
