"""Run a plan, and compare what came out, what moved and what was held with what the plan says."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from moewright.plan.facts import placed
from moewright.plan.plan import Plan
from moewright.run.engine import Outcome, RunError, Shard, refuse
from moewright.run.launch import launch
from moewright.run.mesh import join
from moewright.run.predict import Prediction, predict
from moewright.run.reference import Reference, reference
from moewright.run.weights import RandomSource
from moewright.spec.case import Case

#: largest error against the unsharded pass, over its largest output
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Moved:
    """One operation over all ranks and the whole pass."""

    name: str
    calls: int
    bytes_predicted: int
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed. ``memory``: least and most bytes of weights on a rank, as planned and as held."""

    ranks: int
    strategy: str
    max_error: float
    max_output: float
    collectives: tuple[Moved, ...]
    memory: dict[str, dict[str, float]]
    tokens_per_expert_rank: dict[str, int]
    seconds: dict[str, float]
    verified: bool
    failures: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def run(case: Case, plan: Plan, seed: int = 0, timeout: float = 600.0) -> Report:
    """Execute ``plan`` with random fp32 weights on forked CPU ranks, and verify it. Raises RunError."""
    refuse(case)
    if case.model.precision.default != "fp32" or case.model.precision.activations != "fp32":
        raise RunError(f"{case.file}: model.precision: the executor runs fp32 so far; expected precision: fp32")
    if plan.strategy.attention.cp > 1:
        raise RunError(f"{case.file}: strategy.attention.cp: context parallelism is not run yet; expected 1")
    source, (assignment, _) = RandomSource(seed), placed(case, plan.strategy)
    start = time.perf_counter()

    def work(rank: int) -> tuple[Outcome, float, float]:
        torch.set_grad_enabled(False)
        place = join(plan.strategy)
        loaded = time.perf_counter()
        shard = Shard(case, place, assignment, source)
        begun = time.perf_counter()
        outcome = shard.forward(plan.batch)
        return outcome, begun - loaded, time.perf_counter() - begun

    results = launch(plan.gpus, work, timeout)
    whole = time.perf_counter() - start
    outcomes = [outcome for outcome, _, _ in results]
    busy = max(loading + running for _, loading, running in results)
    load, forward = (max(r[i] for r in results) for i in (1, 2))
    with torch.no_grad():
        truth = reference(case.model, source, plan.batch, case.workload.sequence, case.workload.causal)
    routing = {layer: experts.numpy() for layer, experts in truth.routing.items()}
    expected = predict(case, assignment, plan.batch, routing)
    return _report(case, plan, outcomes, truth, expected, {"launch": whole - busy, "load": load, "forward": forward})


def assembled(outcomes: list[Outcome], like: torch.Tensor) -> torch.Tensor:
    """The output of all ranks as one tensor; NaN where nobody gave any."""
    out = torch.full_like(like, torch.nan)
    length = like.shape[1]
    for piece in (piece for outcome in outcomes for piece in outcome.pieces):
        flat = out[piece.first : piece.first + piece.sequences].view(piece.sequences * length, -1)
        flat[piece.rows[0] : piece.rows[1], piece.columns[0] : piece.columns[1]] = piece.values
    return out


def _report(
    case: Case, plan: Plan, outcomes: list[Outcome], truth: Reference, expected: Prediction, seconds: dict[str, float]
) -> Report:
    out = assembled(outcomes, truth.output)
    largest = float(truth.output.abs().max())
    error = float((out - truth.output).abs().nan_to_num(float("inf")).max())
    failures = []
    if not error <= TOLERANCE * largest:
        failures.append(f"the output differs by {error:.3g}, of at most {TOLERANCE * largest:.3g}")
    moved = _moved(outcomes, expected, failures)
    held = [outcome.weight_bytes for outcome in outcomes]
    if max(held) != round(plan.memory.weights.total):
        failures.append(
            f"the fullest rank holds {max(held)} bytes of weights, the plan says {plan.memory.weights.total:.0f}"
        )
    copies = _copies(outcomes, expected, failures)
    return Report(
        plan.gpus,
        plan.name,
        error,
        largest,
        moved,
        {"weights": {"planned": plan.memory.weights.total, "held_min": min(held), "held_max": max(held)}},
        copies,
        seconds,
        not failures,
        tuple(failures),
    )


def _moved(outcomes: list[Outcome], expected: Prediction, failures: list[str]) -> tuple[Moved, ...]:
    found = {name for outcome in outcomes for name, count in outcome.traffic.counts.items() if count.bytes}
    rows = []
    for name in sorted(found | set(expected.sent)):
        counts = [outcome.traffic.counts.get(name) for outcome in outcomes]
        real = [0 if c is None else c.bytes for c in counts]
        wanted = expected.sent[name].tolist() if name in expected.sent else [0] * len(outcomes)
        wrong = [rank for rank, (is_, should) in enumerate(zip(real, wanted, strict=True)) if is_ != should]
        if wrong:
            r = wrong[0]
            failures.append(
                f"{name}: rank {r} sent {real[r]} bytes where {wanted[r]} were predicted ({len(wrong)} ranks)"
            )
        rows.append(Moved(name, sum(c.calls for c in counts if c), sum(wanted), sum(real)))
    return tuple(rows)


def _copies(outcomes: list[Outcome], expected: Prediction, failures: list[str]) -> dict[str, int]:
    least, most = 0, 0
    values: list[int] = []
    for layer, wanted in expected.copies.items():
        for rank, should in enumerate(wanted.tolist()):
            real = outcomes[rank].copies.get(layer, 0)
            if real != should:
                failures.append(
                    f"layer {layer}: rank {rank} computed {real} routed copies where {should} were predicted"
                )
            if layer in outcomes[rank].copies:
                values.append(real)
    if values:
        least, most = min(values), max(values)
    return {"min": least, "max": most}
