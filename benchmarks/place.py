"""Placement beside what DeepSeek's EPLB reached: python -m benchmarks.place FOLDER, a folder with
expert-loads.npz (``CASE__KIND`` → tokens [layers, experts]) and eplb-results.json (sizes, EPLB's results, bound)."""

from __future__ import annotations

import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import moewright
from benchmarks.eplb import balanced, largest
from moewright.place.joint import part_experts

#: every so many layers is solved again with free shares, after a drift, and against EPLB layer by layer
_STEP = 8


def run(folder: Path) -> list[dict[str, Any]]:
    """One row per case: balancedness with equal and with optimal shares, beside EPLB's and the bound; ``worst_layer``:
    EPLB's largest GPU load over ours in the sampled layer where we gain least; ``long``: shares free, ten times the
    exchanges (where the search for two slots a GPU applies); after a drift of 10 % (lognormal): both made afresh, and
    ours from the earlier placement with the part of the replicas that moved."""
    rows = []
    with np.load(folder / "expert-loads.npz") as archive:
        moewright.place(np.ones((8, 8)) + np.arange(8), slots=16, gpus=8)  # compiled, or read from the cache
        for case in json.loads((folder / "eplb-results.json").read_text()):
            loads, sizes = archive[f"{case['case']}__{case['kind']}"], {"slots": case["slots"], "gpus": case["gpus"]}
            moewright.place(loads[:1], **sizes)
            start = time.perf_counter()
            equal = moewright.place(loads, **sizes)
            seconds = time.perf_counter() - start
            some = loads[::_STEP].astype(float)
            free = moewright.place(some, **sizes, shares="optimal")
            drifted = some * np.random.default_rng(0).lognormal(sigma=0.1, size=some.shape)
            kept = moewright.place(drifted, **sizes, previous=equal.expert_of_slot[::_STEP])
            theirs = [largest(load, balanced(load, *sizes.values())) for load in some]
            fresh = [d.sum() / case["gpus"] / largest(d, balanced(d, *sizes.values())) for d in drifted]
            row = {
                "case": f"{case['case']} {case['kind']}",
                "bound": equal.bound,
                "eplb": case["eplb_global"]["balancedness"],
                "equal": equal.balancedness,
                "worst_layer": float(np.min(theirs / equal.gpu_load[::_STEP].max(axis=1))),
                "sampled_equal": float(equal.layer_balancedness[::_STEP].mean()),
                "sampled_optimal": free.balancedness,
                "long": _long(some, **sizes),
                "seconds": seconds,
                "eplb_seconds": case["eplb_global"]["seconds"],
                "drift_eplb": float(np.mean(fresh)),
                "drift_kept": kept.balancedness,
                "drift_moved": (kept.moved or 0) / kept.expert_of_slot.size,
            }
            rows.append(row)
            print(" ".join(f"{v:8.4f}" if isinstance(v, float) else f"{v:22s}" for v in row.values()), flush=True)
    return rows


def _long(loads: np.ndarray, slots: int, gpus: int) -> float:
    """Balancedness of the best parts that three million exchanges find (``place.joint``); 0 where they do not apply."""
    extra = slots - loads.shape[1]
    if slots != 2 * gpus or not 0 < extra < gpus:
        return 0.0
    found = []
    for load in loads:
        part, width = part_experts(load, slots, gpus, 3_000_000, 1)
        found.append(load.sum() / gpus / (np.bincount(part, weights=load, minlength=len(width)) / width).max())
    return float(np.mean(found))


if __name__ == "__main__":
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    found = run(Path(sys.argv[1]))
    file = Path(__file__).parent / "results" / f"place-{day}.json"
    file.write_text(json.dumps({"date": day, "rows": found}, indent=1) + "\n")
