"""Training steps: predictions of ``data/training.csv``, and the fit of the constants in ``training/work/fitted.yaml``.

    python -m benchmarks.training              # the scoreboard
    python -m benchmarks.training fit          # fit on all rows, and print the constants
    python -m benchmarks.training leave-out    # errors on each GPU kind and model when it is left out of the fit

The constants hang on number formats and GPU generations, never on a model. Rows of one configuration in several
releases count as one in the fit, whose loss is robust: two releases of one container differ by up to 60 %.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from scipy.optimize import least_squares

from moewright.training.layouts import Layouts
from moewright.training.stages.step_seconds import evaluate_steps
from moewright.training.validation.measured_steps import MeasuredStep, read_steps
from moewright.training.validation.predicted_steps import PredictedStep, case_of_row, default_place, predict_steps
from moewright.training.validation.step_scores import errors_of, preferred, relative_errors, summary
from moewright.training.work.delivered import Delivered, fitted

DATA = Path(__file__).parent / "data" / "training.csv"
#: what is fitted: name, the least and the most that is physical
BOUNDS = {
    "blackwell bf16": (0.3, 0.9),
    "blackwell fp8": (0.2, 0.9),
    "hopper bf16": (0.3, 0.9),
    "hopper fp8": (0.2, 0.9),
    "fused": (1.0, 2.0),
    "blackwell attention": (0.15, 0.8),
    "hopper attention": (0.15, 0.8),
    "bandwidth": (0.4, 0.95),
    "host": (5e-4, 8e-3),
    "host_static": (2e-4, 5e-3),
    "meeting": (1.0, 8.0),
    "hidden": (0.0, 1.0),
}


def vector(d: Delivered) -> np.ndarray:
    """The constants in the order of ``BOUNDS``."""
    p = d.products
    products = [p[g][f] for g in ("blackwell", "hopper") for f in ("bf16", "fp8")]
    attention = [d.attention["blackwell"], d.attention["hopper"]]
    return np.array([*products, d.fused, *attention, d.bandwidth, d.host, d.host_static, d.meeting, d.hidden])


def constants(x: np.ndarray, source: str = "") -> Delivered:
    """``vector`` undone. What NVFP4 reaches is taken as what FP8 does, of twice the peak or more: no row tells."""
    v = [float(round(value, 5)) for value in x]
    blackwell = {"bf16": v[0], "fp8": v[1], "fp4": round(v[1] * 0.75, 5)}
    products = {"blackwell": blackwell, "hopper": {"bf16": v[2], "fp8": v[3]}}
    return Delivered(products, v[4], {"blackwell": v[5], "hopper": v[6]}, *v[7:], source=source)


def configurations(predicted: Sequence[PredictedStep]) -> list[tuple[PredictedStep, float]]:
    """One of each configuration of a software generation, with the median of its measured seconds."""
    groups: dict[tuple[object, ...], list[PredictedStep]] = defaultdict(list)
    for p in predicted:
        r = p.row
        if r.seconds:
            _, training = case_of_row(r)
            key = (r.model.name, r.gpu_kind, p.strategy, r.global_batch, r.sequence, training)
            groups[key].append(p)
    return [(g[0], float(np.median([p.row.seconds for p in g]))) for g in groups.values()]


def seconds(p: PredictedStep, d: Delivered) -> float:
    """The prediction under ``d`` of a strategy that is already chosen."""
    case, training = case_of_row(p.row)
    layouts = Layouts.of([p.strategy])
    steps = evaluate_steps(
        case, training, layouts, (p.strategy.recompute,), d, default_place(case, training, p.strategy)
    )
    return float(steps.seconds[0])


def fit(predicted: Sequence[PredictedStep], start: Delivered, rounds: int = 12) -> Delivered:
    """The constants that predict ``predicted`` best, from ``start``: least squares of the logarithms, with a robust
    loss."""
    rows = configurations(predicted)
    low, high = (np.array(side) for side in zip(*BOUNDS.values(), strict=True))

    def errors(x: np.ndarray) -> np.ndarray:
        d = constants(low + (high - low) * x)
        found = np.log([seconds(p, d) / measured for p, measured in rows])
        # a weak pull to where the fit starts settles what the rows cannot tell apart
        return np.concatenate([found, 0.05 * (x - first)])

    first = np.clip((vector(start) - low) / (high - low), 0.01, 0.99)
    best = least_squares(errors, first, bounds=(0, 1), loss="soft_l1", f_scale=0.1, diff_step=0.02, max_nfev=rounds)
    return constants(low + (high - low) * best.x, f"{len(rows)} configurations of benchmarks/data/training.csv")


def rows() -> list[MeasuredStep]:
    """All rows that can be read."""
    return read_steps(DATA)[0]


def leave_out(start: Delivered) -> None:
    """Errors on each GPU kind and each model when the fit has not seen it."""
    predicted = predict_steps(rows(), start)[0]
    for name, key in (("GPU kind", lambda p: p.row.gpu_kind), ("model", lambda p: p.row.model.name)):
        every = []
        for group in sorted({key(p) for p in predicted}):
            seen = [p for p in predicted if key(p) != group]
            d = fit(seen, start, 6)
            unseen = predict_steps([p.row for p in predicted if key(p) == group], d)[0]
            errors = [error for _, error in relative_errors(unseen, "tokens_s_gpu")]
            every += errors
            print(f"{name} {group}: {summary(errors)}", flush=True)
        print(f"{name}, all left out in turn: {summary(every)}", flush=True)


def main() -> None:
    """What the command line asks for."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else "score"
    if wanted == "leave-out":
        leave_out(fitted())
        return
    d = fitted()
    if wanted == "fit":
        predicted = predict_steps(rows(), d)[0]
        d = fit(predicted, d)
        d = fit(predict_steps(rows(), d)[0], d)
        print(yaml.safe_dump({f: getattr(d, f) for f in d.__slots__}, sort_keys=False))
    predicted, _ = predict_steps(rows(), replace(d))
    for quantity in ("tokens_s_gpu", "peak_memory"):
        print(quantity, errors_of(predicted, quantity))
    print("ranking", preferred(predicted))


if __name__ == "__main__":
    main()
