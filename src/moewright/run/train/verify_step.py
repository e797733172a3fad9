"""A training step on ranks against the unsharded model's: loss, every gradient, every updated weight, bytes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moewright.case.model import ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.train.train_strategy import Schedule, Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.run.ranks import launcher
from moewright.run.run_error import RunError
from moewright.run.train.plain import adam, drawn, loss_of
from moewright.run.train.train_place import TrainPlace, part_of, positions_of
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
    reference's routers send tokens, of dispatch and combine. ``kept``: most chunks that each rank kept at once."""

    loss: float
    reference_loss: float
    gradient_error: float
    weight_error: float
    worst: str
    sent: dict[str, list[int]]
    exchanged: dict[str, list[int]]
    kept: list[int]

    @property
    def equal(self) -> bool:
        """Whether gradients and weights are those of the unsharded model, and exchanges carry what they must."""
        near = max(self.gradient_error, self.weight_error) <= TOLERANCE
        return near and all(self.sent[name] == bytes_ for name, bytes_ in self.exchanged.items())

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
            "equal": self.equal,
        }


def refuse_step(model: ModelSpec, s: TrainStrategy, t: Training) -> None:
    """Raises RunError, naming what it is, for a model or strategy that cannot be executed yet."""
    for layer in model.layers:
        a, ffn = layer.attention, layer.ffn
        plain = isinstance(a, SoftmaxAttention) and not (
            a.window or a.chunk or a.sinks or a.output_gate or a.indexer or a.qkv_bias or a.output_bias or a.extra
        )
        if not plain or (isinstance(a, SoftmaxAttention) and a.qk_norm != "none"):
            raise RunError(f"{model.name}: attention of its kind is not trained by run yet; expected plain mha or gqa")
        if not ffn.gated or ffn.bias:
            raise RunError(f"{model.name}: a feed-forward without gate or with biases is not trained by run yet")
        if isinstance(ffn, MoeFfn) and (ffn.groups > 1 or ffn.latent or ffn.shared_gate or ffn.zero_experts):
            raise RunError(f"{model.name}: routers with groups, latent or gated experts are not trained by run yet")
        if isinstance(a, SoftmaxAttention) and a.kv_heads % s.tp:
            raise RunError(f"strategy.attention.tp: got {s.tp}; run trains with a divisor of {a.kv_heads} KV heads")
    if not model.vocab_size or model.tied_embeddings or model.vocab_size % s.tp:
        raise RunError(f"{model.name}: run trains models with an untied vocabulary that tp {s.tp} divides")
    if s.schedule not in (Schedule.ONE_F_ONE_B, Schedule.INTERLEAVED):
        raise RunError(f"strategy.schedule: got {s.schedule}; run executes 1f1b and interleaved")
    if s.sharding is Sharding.FULL:
        raise RunError("strategy.sharding: got fsdp; run executes none and optimizer")
    if set(s.recompute) - {"full"}:
        raise RunError(f"workload.recompute: got {'+'.join(s.recompute)}; run executes none and full")
    if t.prediction_layers or t.capacity is not None or t.optimizer.name != "adam":
        raise RunError("workload: multi-token prediction, a capacity and other optimizers than adam are not run yet")
    if t.sequence % (2 * s.cp) or t.sequence % (s.cp * s.tp) or s.gpus > MOST_RANKS:
        raise RunError(f"sequence {t.sequence} must divide over 2·cp and cp·tp, and ranks be {MOST_RANKS} at most")


def verify_step(
    model: ModelSpec, s: TrainStrategy, t: Training, layers: tuple[int, ...], seed: int = 0, timeout: float = 120.0
) -> StepReport:
    """One step of random sequences under ``s``, ``layers`` of each chunk, on forked ranks."""
    refuse_step(model, s, t)
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(model.vocab_size, (t.global_batch, t.sequence + 1), generator=generator)
    places = tuple(chunk for chunk, count in enumerate(layers) for _ in range(count))
    return run_step(StepJob(model, s, places, ids, seed), timeout)


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
    w = {name: x.requires_grad_() for name, x in drawn(job.model, job.seed).items()}
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
        _exchanged(job, chosen, outcomes),
        [o.kept for o in outcomes],
    )


def _error(part: Tensor, wanted: Tensor, whole: Tensor) -> float:
    return float((part - wanted).abs().max() / whole.abs().max())


def placed(s: TrainStrategy, rank: int) -> TrainPlace:
    """A rank's coordinates, without groups."""
    none: Any = None
    return TrainPlace(s, rank, none, none, none, none, none, none)


def _exchanged(job: StepJob, chosen: list[Tensor], outcomes: list[StepOutcome]) -> dict[str, list[int]]:
    """Bytes that leave each rank in dispatch and combine, forward and backward, by the reference's routing: a token
    goes once to each other rank of ep that has any of its experts, and comes back."""
    s, h = job.strategy, job.model.hidden_size
    if s.ep == 1:
        return {}
    away: dict[str, list[int]] = defaultdict(lambda: [0] * s.gpus)
    moe = [i for i, layer in enumerate(job.model.layers) if isinstance(layer.ffn, MoeFfn)]
    for i, choice in zip(moe, chosen, strict=True):
        ffn = job.model.layers[i].ffn
        assert isinstance(ffn, MoeFfn)
        for rank in range(s.gpus):
            p = placed(s, rank)
            if job.places[i] % s.pp != p.stage:
                continue
            size = len(job.ids) // s.dp
            mine = choice[positions_of(p, job.sequence), p.at("dp") * size : (p.at("dp") + 1) * size]
            to = torch.zeros(*mine.shape[:2], s.ep, dtype=torch.bool).scatter(2, mine // (ffn.experts // s.ep), True)
            first = rank - p.rank % p.ranks + (p.rank % p.ranks) // (s.ep * s.etp) * s.ep * s.etp + p.at("etp")
            for other in range(s.ep):
                if other != p.at("ep"):
                    rows = int(to[..., other].sum()) * h * 4
                    away["dispatch"][rank] += rows
                    away["combine"][first + other * s.etp] += rows
    again = 2 if "full" in s.recompute else 1
    found = {}
    for name, mirror in (("dispatch", "combine"), ("combine", "dispatch")):
        found[name] = [again * bytes_ for bytes_ in away[name]]
        found[f"{name}_gradient"] = away[mirror]
    return found
