"""Load windows with topic drift: a plan made of some windows, judged on others: python -m benchmarks.robust"""

from __future__ import annotations

import numpy as np

import moewright
from benchmarks.eplb import balanced
from benchmarks.record import keep


def topic_windows(windows: int, layers: int, experts: int, seed: int) -> np.ndarray:
    """Loads [windows, layers, experts]: each window a mixture (Dirichlet 0.3) of 8 topics with loads of their own."""
    rng = np.random.default_rng(seed)
    topics = rng.lognormal(sigma=1.5, size=(8, layers, experts))
    topics /= topics.sum(axis=2, keepdims=True)
    return np.einsum("wt,tle->wle", rng.dirichlet(np.full(8, 0.3), windows), topics)


def judged(held: np.ndarray, windows: np.ndarray) -> float:
    """Mean balancedness of ``held`` [layers, gpus, slots] over ``windows``, equal shares."""
    found = []
    for layer, slots in enumerate(held):
        each = windows[:, layer] / np.bincount(slots.ravel(), minlength=windows.shape[2])
        loads = each[:, slots].sum(axis=2)
        found.append(loads.mean(axis=1) / loads.max(axis=1))
    return float(np.mean(found))


def run(layers: int = 4) -> list[dict[str, float]]:
    """A row per number of GPUs: EPLB on the mean of 32 windows and moewright on all of them, on 32 held-out ones."""
    rows = []
    for gpus, slots in ((8, 288), (32, 288), (72, 288)):
        windows = topic_windows(64, layers, 256, gpus)
        seen, later = windows[:32], windows[32:]
        eplb = np.stack([balanced(load, slots, gpus) for load in seen.mean(axis=0)])
        ours = moewright.place(seen, slots=slots, gpus=gpus)
        row = {
            "gpus": gpus,
            "eplb": judged(eplb, later),
            "moewright": judged(ours.expert_of_slot.reshape(layers, gpus, -1), later),
            "seconds": ours.seconds / layers,
        }
        rows.append(row)
        print(" ".join(f"{k} {v:.4f}" for k, v in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    keep("robust", run())
