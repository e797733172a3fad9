"""Equal shares against a mixed-integer solver (HiGHS): python -m benchmarks.mixed FOLDER [PREFIX], that of
benchmarks.place; all cases, or those that begin so.

A program over the number of replicas of every expert decides whether a largest load t can be. With two slots a GPU it
is exact: replicas can be paired if and only if, for every v > t / 2, at most as many weigh v and more as weigh t − v
and less (the heaviest goes with the lightest). With more slots a GPU it is a relaxation, so that only what it rules
out is proved: replicas above t / 2 sit on GPUs of their own, with slots a GPU − 1 of the others each, t their mean
load at most."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

import moewright
from benchmarks.limit import counted
from benchmarks.record import keep

#: every so many layers of a case; a gap of balancedness not asked about; seconds of the solver per question
_STEP, _CLOSE, _SECONDS = 20, 0.001, 10.0
#: balancednesses asked about, over what is reached
_MORE = (1.002, 1.005, 1.01, 1.02, 1.05, 1.1)


def possible(load: np.ndarray, slots: int, gpus: int, level: float) -> bool | None:
    """Whether a largest load of ``level`` passes the program; None: the solver ran out of time. False is a proof."""
    each, most = slots // gpus, slots - len(load) + 1
    expert, count = (x.ravel() for x in np.meshgrid(np.arange(len(load)), np.arange(1, most + 1), indexing="ij"))
    weight = load[expert] / count
    used = weight <= level * (1 + 1e-9)
    if len(np.unique(expert[used])) < len(load):
        return False
    expert, count, weight = expert[used], count[used], weight[used]
    rows, low, high = [count.astype(float)], [float(slots)], [float(slots)]
    heavy = np.unique(weight[weight > level / 2 * (1 + 1e-9)])
    width = len(count)
    if each == 2:
        for v in heavy:
            rows.append(count * ((weight >= v).astype(float) - (weight <= level - v + 1e-9 * level)))
            low.append(-np.inf)
            high.append(0.0)
        table = np.array(rows)
    else:  # a choice z ≤ count · y of companions, Σ z = (each − 1) · heavy ones, mean of their GPUs at most t
        big = weight > level / 2 * (1 + 1e-9)
        rows += [np.where(big, count * (each - 1.0), 0), np.where(big, count * (weight - level), 0)]
        low, high = [*low, 0.0, -np.inf], [*high, 0.0, 0.0]
        rows.append(np.where(big, count.astype(float), 0))
        low, high = [*low, 0.0], [*high, float(gpus)]
        beside = np.array([np.zeros(width), -np.ones(width), weight, np.zeros(width)])
        table = np.hstack([np.array(rows), beside])
    total = table.shape[1]
    one = csr_array((np.ones(width), (expert, np.arange(width))), shape=(len(load), total))
    rules = [LinearConstraint(csr_array(table), low, high), LinearConstraint(one, 1, 1)]
    if total > width:
        at = np.arange(width)
        linked = csr_array(
            (
                np.concatenate([np.ones(width), -np.where(big, 0.0, count)]),
                (np.tile(at, 2), np.concatenate([at + width, at])),
            ),
            shape=(width, total),
        )
        rules.append(LinearConstraint(linked, -np.inf, 0))
    whole = np.arange(total) < width
    limits = Bounds(0, np.where(whole, 1.0, np.inf))
    found = milp(
        np.zeros(total),
        constraints=rules,
        integrality=whole.astype(int),
        bounds=limits,
        options={"time_limit": _SECONDS},
    )
    return {0: True, 2: False}.get(found.status)


def limit(load: np.ndarray, slots: int, gpus: int, reached: float) -> tuple[float, float]:
    """Two balancednesses: the least that is proved out of reach, and the largest that the program admits."""
    mean, out, admitted = load.sum() / gpus, counted(load, slots, gpus), reached
    for more in _MORE:
        if out - admitted <= _CLOSE or reached * more >= out:
            break
        answer = possible(load, slots, gpus, mean / (reached * more))
        if answer:
            admitted = reached * more
        elif answer is False:
            out = reached * more
    return out, admitted


def run(folder: Path, prefix: str = "") -> list[dict[str, Any]]:
    rows = []
    with np.load(folder / "expert-loads.npz") as archive:
        for case in json.loads((folder / "eplb-results.json").read_text()):
            if not f"{case['case']} {case['kind']}".startswith(prefix):
                continue
            loads = archive[f"{case['case']}__{case['kind']}"].astype(float)[::_STEP]
            sizes = {"slots": case["slots"], "gpus": case["gpus"]}
            reached = moewright.place(loads, **sizes).layer_balancedness
            start = time.perf_counter()
            found = np.array([limit(load, *sizes.values(), float(r)) for load, r in zip(loads, reached, strict=True)])
            row = {
                "case": f"{case['case']} {case['kind']}",
                "each": case["slots"] // case["gpus"],
                "layers": len(loads),
                "reached": float(reached.mean()),
                "limit": float(found[:, 0].mean()),
                "bound": float(np.mean([counted(load, *sizes.values()) for load in loads])),
                "part": float((reached / found[:, 0]).mean()),
                "worst": float((reached / found[:, 0]).min()),
                "seconds": time.perf_counter() - start,
            }
            rows.append(row)
            print(" ".join(f"{v:8.4f}" if isinstance(v, float) else f"{v!s:22}" for v in row.values()), flush=True)
    return rows


if __name__ == "__main__":
    keep("mixed", run(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""), beside=True)
