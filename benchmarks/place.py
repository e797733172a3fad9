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


def run(folder: Path) -> list[dict[str, Any]]:
    """One row per case: balancedness with equal and with optimal shares, beside EPLB's and the bound."""
    rows = []
    with np.load(folder / "expert-loads.npz") as archive:
        moewright.place(np.ones((1, 8)) + np.arange(8), slots=16, gpus=8)  # compiled, or read from the cache
        for case in json.loads((folder / "eplb-results.json").read_text()):
            loads, sizes = archive[f"{case['case']}__{case['kind']}"], {"slots": case["slots"], "gpus": case["gpus"]}
            start = time.perf_counter()
            equal = moewright.place(loads, **sizes)
            seconds = time.perf_counter() - start
            free = moewright.place(loads, **sizes, shares="optimal")
            drifted = loads * np.random.default_rng(0).lognormal(sigma=0.1, size=loads.shape)
            fresh = moewright.place(drifted, **sizes)
            kept = moewright.place(drifted, **sizes, previous=equal.expert_of_slot)
            row = {
                "case": f"{case['case']} {case['kind']}",
                "bound": equal.bound,
                "eplb": case["eplb_global"]["balancedness"],
                "equal": equal.balancedness,
                "optimal": free.balancedness,
                "seconds": seconds,
                "eplb_seconds": case["eplb_global"]["seconds"],
                "drift_fresh": fresh.balancedness,
                "drift_kept": kept.balancedness,
                "drift_moved": (kept.moved or 0) / kept.expert_of_slot.size,
            }
            rows.append(row)
            print(" ".join(f"{v:8.4f}" if isinstance(v, float) else f"{v:22s}" for v in row.values()), flush=True)
    return rows


if __name__ == "__main__":
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    found = run(Path(sys.argv[1]))
    file = Path(__file__).parent / "results" / f"place-{day}.json"
    file.write_text(json.dumps({"date": day, "rows": found}, indent=1) + "\n")
