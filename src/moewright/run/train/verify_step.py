"""A training step on ranks against the unsharded model's: loss, every gradient, every updated weight, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moewright.case.model import ModelSpec
from moewright.case.train.train_strategy import TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.run.ranks import launcher
from moewright.run.run_error import RunError
from moewright.run.train.plain import adam, drawn, is_trained, loss_of
from moewright.run.train.refused_steps import refuse_step
from moewright.run.train.routed_tokens import exchanged_bytes, expert_copies, placed
from moewright.run.train.train_place import part_of
from moewright.run.train.train_rank import StepJob, StepOutcome, train_step

#: errors against the largest of a tensor that fp32 leaves
TOLERANCE = 1e-4
#: parameters that are executed at most: every rank draws all of them
MOST_PARAMETERS = 200_000_000
MOST_RANKS = 128


@dataclass(frozen=True, slots=True)
class StepReport:
    """``gradient_error``, ``weight_error``: the largest difference of any parameter over the largest of the reference's
    values; ``worst``: which parameter. ``sent``: collective → bytes of each rank; ``exchanged``: the same by where the
    reference's routers send tokens, of dispatch and combine; ``copies``: layer → those of tokens on each rank's
    experts, by micro-batch, by the same. ``kept``: most chunks that each rank kept at once; ``alive``: line → bytes of
    each rank."""

    loss: float
    reference_loss: float
    gradient_error: float
    weight_error: float
    worst: str
    sent: dict[str, list[int]]
    exchanged: dict[str, list[int]]
    copies: dict[int, list[list[int]]]
    kept: list[int]
    alive: dict[str, list[int]]

    @property
    def equal(self) -> bool:
        """Whether gradients and weights are those of the unsharded model, and exchanges carry what they must."""
        near = max(self.gradient_error, self.weight_error) <= TOLERANCE
        return near and all(self.sent.get(name) == bytes_ for name, bytes_ in self.exchanged.items())

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "loss": self.loss,
            "reference_loss": self.reference_loss,
            "gradient_error": self.gradient_error,
            "weight_error": self.weight_error,
            "worst_parameter": self.worst,
            "tolerance": TOLERANCE,
            "sent": self.sent,
            "exchanged_by_routing": self.exchanged,
            "chunks_kept": self.kept,
            "alive": self.alive,
            "equal": self.equal,
        }


def verify_step(
    model: ModelSpec, s: TrainStrategy, t: Training, layers: tuple[int, ...], seed: int = 0, timeout: float = 120.0
) -> StepReport:
    """One step of random sequences under ``s``, ``layers`` of each chunk, on forked ranks."""
    refuse_step(model, s, t)
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(model.vocab_size, (t.global_batch, t.sequence + 1), generator=generator)
    places = tuple(chunk for chunk, count in enumerate(layers) for _ in range(count))
    return run_step(StepJob(model, s, places, ids, t.tuning, seed), timeout)


def run_step(job: StepJob, timeout: float = 120.0) -> StepReport:
    """The job on forked ranks, compared."""
    if sum(x.numel() for x in drawn_shapes(job.model)) > MOST_PARAMETERS:
        raise RunError(f"{job.model.name} has more than {MOST_PARAMETERS} parameters, which run trains at most")
    outcomes: list[StepOutcome] = launcher.forked(job.strategy.gpus, lambda rank, device: train_step(job), timeout)
    return compare(job, outcomes)


def drawn_shapes(model: ModelSpec) -> list[Tensor]:
    """Parameters without storage."""
    from moewright.run.train.plain import shapes

    return [torch.empty(shape, device="meta") for shape in shapes(model).values()]


def compare(job: StepJob, outcomes: list[StepOutcome]) -> StepReport:
    """What the ranks gave against one process."""
    w = drawn(job.model, job.seed, job.tuning)
    w = {name: x.requires_grad_(is_trained(name, job.model, job.tuning)) for name, x in w.items()}
    total, chosen = loss_of(w, job.model, job.ids)
    loss = total / (len(job.ids) * job.sequence)
    loss.backward()  # type: ignore[no-untyped-call]
    errors: dict[str, tuple[float, float]] = {}
    for rank, outcome in enumerate(outcomes):
        p = placed(job.strategy, rank)
        for name, g in outcome.gradients.items():
            whole = w[name].grad
            assert whole is not None
            new = adam(w[name].detach(), whole, job.rate)
            pair = _error(g, part_of(name, whole, p), whole), _error(outcome.weights[name], part_of(name, new, p), new)
            before = errors.get(name, (0.0, 0.0))
            errors[name] = max(before[0], pair[0]), max(before[1], pair[1])
    worst = max(errors, key=lambda n: errors[n][0])
    names = sorted({name for o in outcomes for name in o.sent})
    return StepReport(
        sum(o.loss for o in outcomes) / job.strategy.tp,
        float(loss.detach()),
        max(e for e, _ in errors.values()),
        max(e for _, e in errors.values()),
        worst,
        {name: [o.sent.get(name, 0) for o in outcomes] for name in names},
        exchanged_bytes(job, chosen),
        expert_copies(job, chosen),
        [o.kept for o in outcomes],
        {line: [o.alive[line] for o in outcomes] for line in outcomes[0].alive},
    )


def _error(part: Tensor, wanted: Tensor, whole: Tensor) -> float:
    return float(((part - wanted).abs().max() / whole.abs().max()).detach())
