"""Training steps: predictions of ``data/training.csv``, and the fit of the constants in ``training/work/fitted.yaml``.

    python -m benchmarks.training              # the scoreboard
    python -m benchmarks.training fit          # fit on all rows, and print the constants
    python -m benchmarks.training leave-out    # errors on each GPU kind and model when it is left out of the fit, kept
    python -m benchmarks.training docs         # the tables of docs/training.md

The constants hang on number formats and GPU generations, never on a model. Rows of one configuration in several
releases count as one in the fit, whose loss is robust: two releases of one container differ by up to 60 %.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml
from scipy.optimize import least_squares

from benchmarks.record import keep
from moewright.case.train.train_workload import Graphs
from moewright.training.layouts import Layouts
from moewright.training.stages.step_seconds import evaluate_steps
from moewright.training.validation.measured_steps import MeasuredStep, read_steps
from moewright.training.validation.predicted_steps import (
    PredictedStep,
    case_of_row,
    default_place,
    predict_steps,
    started,
)
from moewright.training.validation.step_scores import errors_of, preferred, relative_errors, summary
from moewright.training.work.delivered import Delivered, fitted, generation_of

DATA = Path(__file__).parent / "data" / "training.csv"
#: what is fitted: name, the least and the most that is physical
BOUNDS = {
    "blackwell bf16": (0.3, 0.8),
    "blackwell fp8": (0.2, 0.8),
    "hopper bf16": (0.3, 0.8),
    "hopper fp8": (0.2, 0.8),
    "blackwell attention": (0.15, 0.95),
    "hopper attention": (0.15, 0.95),
    "bandwidth": (0.4, 0.95),
    "host": (5e-4, 8e-3),
    "host_graphed": (2e-4, 8e-3),
    "host_static": (2e-4, 5e-3),
    "meeting": (1.0, 8.0),
    "hidden": (0.0, 1.0),
}


def vector(d: Delivered) -> np.ndarray:
    """The constants in the order of ``BOUNDS``."""
    p = d.products
    products = [p[g][f] for g in ("blackwell", "hopper") for f in ("bf16", "fp8")]
    attention = [d.attention["blackwell"], d.attention["hopper"]]
    return np.array([*products, *attention, d.bandwidth, d.host, d.host_graphed, d.host_static, d.meeting, d.hidden])


def constants(x: np.ndarray, source: str = "") -> Delivered:
    """``vector`` undone. What NVFP4 reaches is taken as what FP8 does, of twice the peak or more: no row tells."""
    v = [float(round(value, 5)) for value in x]
    blackwell = {"bf16": v[0], "fp8": v[1], "fp4": round(v[1] * 0.75, 5)}
    products = {"blackwell": blackwell, "hopper": {"bf16": v[2], "fp8": v[3]}}
    return Delivered(products, {"blackwell": v[4], "hopper": v[5]}, *v[6:], source=source)


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


def relevant(p: PredictedStep, d: Delivered) -> tuple[object, ...]:
    """The constants that the seconds of ``p`` depend on."""
    training = started(case_of_row(p.row)[1], p.strategy)
    full = training.graphs is Graphs.FULL
    generation = generation_of(p.row.cluster.device)
    host = () if full else (d.host, d.host_graphed, d.host_static, d.meeting)
    shares = tuple(d.products[generation].items())
    overlap = d.hidden if p.strategy.overlap_experts else 0.0
    return (*shares, d.attention[generation], d.bandwidth, overlap, *host)


@dataclass
class Seconds:
    """Predictions of chosen strategies, each made once for the constants that matter to it."""

    rows: list[PredictedStep]
    known: dict[tuple[int, tuple[object, ...]], float] = field(default_factory=dict)

    def all(self, d: Delivered) -> list[float]:
        """Of every row, under ``d``."""
        return [self._one(i, p, d) for i, p in enumerate(self.rows)]

    def _one(self, i: int, p: PredictedStep, d: Delivered) -> float:
        key = i, relevant(p, d)
        if key not in self.known:
            case, training = case_of_row(p.row)
            training = started(training, p.strategy)
            place = default_place(case, training, p.strategy)
            layouts = Layouts.of([p.strategy])
            steps = evaluate_steps(case, training, layouts, (p.strategy.recompute,), d, place)
            self.known[key] = float(steps.seconds[0])
        return self.known[key]


def fit(predicted: Sequence[PredictedStep], start: Delivered, rounds: int = 12) -> Delivered:
    """The constants that predict ``predicted`` best, from ``start``: least squares of the logarithms, with a robust
    loss."""
    rows = configurations(predicted)
    made, measured = Seconds([p for p, _ in rows]), np.array([seconds for _, seconds in rows])
    low, high = (np.array(side) for side in zip(*BOUNDS.values(), strict=True))

    def errors(x: np.ndarray) -> np.ndarray:
        found = np.log(made.all(constants(low + (high - low) * x)) / measured)
        # a weak pull to where the fit starts settles what the rows cannot tell apart
        return np.concatenate([found, 0.05 * (x - first)])

    first = np.clip((vector(start) - low) / (high - low), 0.01, 0.99)
    best = least_squares(errors, first, bounds=(0, 1), loss="soft_l1", f_scale=0.1, diff_step=0.02, max_nfev=rounds)
    return constants(low + (high - low) * best.x, f"{len(rows)} configurations of benchmarks/data/training.csv")


def rows() -> list[MeasuredStep]:
    """All rows that can be read."""
    return read_steps(DATA)[0]


#: where a fit that must not have seen some rows starts
GUESS = Delivered(
    {"blackwell": {"bf16": 0.55, "fp8": 0.45, "fp4": 0.34}, "hopper": {"bf16": 0.55, "fp8": 0.45}},
    {"blackwell": 0.8, "hopper": 0.8},
    *(0.7, 0.004, 0.001, 0.002, 2.0, 0.7),
)


def borrowed(d: Delivered, seen: Sequence[PredictedStep]) -> Delivered:
    """``d``, where a generation that no row of ``seen`` is of takes the other's shares."""
    known = {generation_of(p.row.cluster.device) for p in seen}
    if len(known) == 2:
        return d
    (other,) = known
    shares = {g: d.products[other] for g in d.products}
    return replace(d, products=shares, attention=dict.fromkeys(d.attention, d.attention[other]))


def leave_out() -> list[dict[str, object]]:
    """Errors on each GPU kind and each model when the fit has not seen it, and on all so left out together."""
    predicted = predict_steps(rows(), GUESS)[0]
    found: list[dict[str, object]] = []
    for name, key in (("GPU kind", lambda p: p.row.gpu_kind), ("model", lambda p: p.row.model.name)):
        every: list[float] = []
        for group in sorted({key(p) for p in predicted}):
            seen = [p for p in predicted if key(p) != group]
            d = borrowed(fit(seen, GUESS, 7), seen)
            unseen = predict_steps([p.row for p in predicted if key(p) == group], d)[0]
            errors = [error for _, error in relative_errors(unseen, "tokens_s_gpu")]
            every += errors
            found.append({"left out": name, "which": group, **summary(errors)})
            print(found[-1], flush=True)
        found.append({"left out": name, "which": "all, each left out once", **summary(every)})
        print(found[-1], flush=True)
    return found


def tables(left_out: Sequence[dict[str, object]]) -> str:
    """Markdown: errors in all, by model and GPU kind, of what a fit has not seen, and of every row."""
    found, _ = predict_steps(rows())
    speed, memory = errors_of(found, "tokens_s_gpu"), errors_of(found, "peak_memory")
    rank = preferred(found)
    lines = [
        f"{speed['rows']} measured steps (`benchmarks/data/training.csv`: Megatron-Bridge's public benchmarks and "
        f"SimuMax's tables), {len(vector(fitted()))} constants fitted on them. Of {rank['pairs']} pairs of layouts of "
        f"one model on as many GPUs in one release the faster one is predicted to be in {rank['right']}. One "
        "configuration in two releases differs by 1.3 % in the median and 21 % at p90. "
        "`python -m benchmarks.training docs` makes this part.",
        "",
        "| tokens/s a GPU | rows | median error | mean | p90 | when the fit has not seen it, median |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    unseen = {row["which"]: row["median_ape"] for row in left_out}
    both = [r for r in left_out if str(r["which"]).startswith("all")]
    groups = [("all", speed, " / ".join(f"{r['median_ape']:.1%} by {r['left out']}" for r in both))]
    for kind, fold in (("gpu_kind", str.lower), ("model", str)):
        for group, errors in speed["by"][kind].items():
            told = unseen.get(fold(group))
            groups.append((group, errors, f"{told:.1%}" if isinstance(told, float) else ""))
    for group, e, told in groups:
        lines.append(
            f"| {group} | {e['rows']} | {e['median_ape']:.1%} | {e['mean_ape']:.1%} | {e['p90_ape']:.1%} | {told} |"
        )
    lines += ["", f"Peak memory, {memory['rows']} rows: {memory['median_ape']:.1%} in the median, at most "]
    lines[-1] += f"{max(e for _, e in relative_errors(found, 'peak_memory')):.1%}."
    lines += ["", "| model | GPUs | layout | recipe | release | measured tokens/s a GPU | predicted | error |"]
    lines.append("|---|---|---|---|---|---:|---:|---:|")
    for p in found:
        r, measured = p.row, p.row.tokens_s_gpu or 0.0
        release = "" if r.release is None else f"{r.release[0]}.{r.release[1]:02d}"
        where = f"{r.cluster.gpus} × {r.raw['gpu_kind']}"
        lines.append(
            f"| {r.raw['model']} | {where} | {p.strategy.name} | {r.recipe.name} | {release} | {measured:,.0f} | "
            f"{p.tokens_s_gpu:,.0f} | {p.tokens_s_gpu / measured - 1:+.0%} |"
        )
    return "\n".join(lines)


def write_docs() -> None:
    """The part of docs/training.md between its marks, with the latest results of leaving out."""
    kept = sorted((Path(__file__).parent / "results").glob("training-*.json"))
    left_out = json.loads(kept[-1].read_text())["rows"] if kept else []
    page = Path(__file__).parents[1] / "docs" / "training.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- accuracy -->")
    after = rest.partition("<!-- /accuracy -->")[2]
    made = f"{before}<!-- accuracy -->\n{tables(left_out)}\n<!-- /accuracy -->{after}"
    page.write_text(made, encoding="utf-8")


def main() -> None:
    """What the command line asks for."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else "score"
    if wanted == "leave-out":
        keep("training", leave_out())
        return
    if wanted == "docs":
        write_docs()
        return
    d = fitted()
    if wanted == "fit":
        d = fit(predict_steps(rows(), d)[0], d)
        d = fit(predict_steps(rows(), d)[0], d, 6)
        print(yaml.safe_dump({f: getattr(d, f) for f in d.__slots__}, sort_keys=False))
    predicted, _ = predict_steps(rows(), d)
    for quantity in ("tokens_s_gpu", "peak_memory"):
        print(quantity, errors_of(predicted, quantity))
    print("ranking", preferred(predicted))


if __name__ == "__main__":
    main()
