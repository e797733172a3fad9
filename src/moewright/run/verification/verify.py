"""A run held against the unsharded model and against what the plan predicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moewright.placement.assignment import held_cache_bytes, held_weight_bytes
from moewright.planning.record import Plan
from moewright.run.model.reference import Recorded, Reference, reference
from moewright.run.ranks import schedule
from moewright.run.ranks.job import Job, Outcome
from moewright.run.verification.predicted_bytes import Passes, Prediction, predict

#: largest difference of the outputs over the largest output, by format; routing is compared in fp32 only
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes of one operation over all ranks. ``group_size``: ranks of a group; ``calls``: over all ranks."""

    name: str
    group_size: int
    calls: int
    bytes_predicted: int
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated. ``tokens``: ids of every prompt; ``text``: the same, where there is a tokenizer.
    ``ttft``, ``tpot``: seconds measured, ``predicted_*`` the plan's. ``tokens_per_second`` and
    ``tpot`` are of the tokens that came out, of all sequences; a stop id, and what is passed after it, is none."""

    tokens: tuple[tuple[int, ...], ...]
    ttft: float
    tpot: float | None
    tokens_per_second: float
    predicted_ttft: float | None = None
    predicted_tpot: float | None = None
    text: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a run on CPU ranks takes over the sum of its parts: ``computation`` is the CPU time of all ranks'
    operations without the collectives, in seconds of ``cores`` cores; ``ratio`` the passes' time over it."""

    computation: float
    cores: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed; ``failures`` is empty exactly when it is ``verified``, or where it was not asked to be.
    ``memory``: line → predicted (of the fullest rank) and held (min, max over the ranks), in bytes.
    ``fp8``: what was made of FP8 weights; None where there are none. ``checksums``: what was compared of the weights'
    files, which both sides of the verification read; None of random weights.
    ``operations``: seconds of each, the mean over the ranks (on CUDA only of a run that is profiled)."""

    ranks: int
    strategy: str
    model: str
    weights: str
    precision: str
    device: str
    max_error: float | None
    max_logit: float | None
    collectives: tuple[Moved, ...]
    memory: dict[str, dict[str, float]]
    tokens_per_expert_rank: dict[str, int]
    seconds: dict[str, float]
    verified: bool
    failures: tuple[str, ...] = ()
    generation: Generation | None = None
    operations: dict[str, float] = field(default_factory=dict)
    overhead: Overhead | None = None
    fp8: str | None = None
    checksums: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(slots=True)
class Findings:
    """What the comparison found."""

    error: float | None = None
    largest: float | None = None
    moved: tuple[Moved, ...] = ()
    copies: dict[str, int] = field(default_factory=lambda: {"min": 0, "max": 0})
    failures: list[str] = field(default_factory=list)


def passes_of(job: Job, ran: int) -> Passes:
    """The passes of ``job`` that were measured, of ``ran`` in all."""
    s = job.strategy
    now = [schedule.prompts(s, job.lengths, group) for group in range(schedule.groups(s))]
    all_passes = [now]
    for _ in range(ran - 1):
        now = [[chunk.after() for chunk in chunks] for chunks in now]
        all_passes.append(now)
    return Passes(all_passes[1 if job.given else 0 :], job.every, job.new_tokens > 0)


def inputs_of(job: Job, outcomes: list[Outcome], ran: int) -> tuple[list[Tensor], dict[int, list[int]]]:
    """What each sequence consisted of in the end (all but its last generated id), and what was generated."""
    generated: dict[int, list[int]] = {}
    for outcome in outcomes:
        generated.update(outcome.generated)
    whole = []
    for i, prompt in enumerate(job.prompts):
        more = generated.get(i, [])[: ran - 1]
        whole.append(torch.cat([prompt, torch.tensor(more, dtype=prompt.dtype)]) if more else prompt)
    return whole, generated


def compare(job: Job, outcomes: list[Outcome], plan: Plan | None) -> Findings:
    """The run against the unsharded pass over what it passed, and against the plan (None: of another format)."""
    ran = len(outcomes[0].ended)
    whole, generated = inputs_of(job, outcomes, ran)
    longest = max(len(w) for w in whole)
    recorded = _recorded(outcomes, len(whole), longest)
    found = Findings()
    tolerance = TOLERANCE[job.source.dtype]
    truth = _truth(job, outcomes, whole, longest, recorded, tolerance)
    if job.source.dtype == torch.float32 and truth.unlike:
        found.failures.append(f"{truth.unlike} tokens were routed to other experts than the unsharded model's")
    _compare_output(job, outcomes, truth, generated, tolerance, found)
    routing = {layer: experts.numpy() for layer, experts in truth.routing.items()}
    element = torch.empty(0, dtype=job.source.dtype).element_size()
    expected = predict(job.model, job.assignment, passes_of(job, ran), routing, element)
    found.moved = _moved(outcomes, expected, found.failures)
    found.copies = _copies(outcomes, expected, found.failures)
    compare_memory(job, outcomes, plan, found)
    return found


def compare_memory(job: Job, outcomes: list[Outcome], plan: Plan | None, found: Findings) -> None:
    """Weights and cache of every rank against those of its assignment. Where ``plan`` has the format that ran,
    its weights, which are those of the stage that holds most with its cache, must be some rank's."""
    for line, held, wanted in memory_lines(job, outcomes):
        wrong = [rank for rank, (is_, should) in enumerate(zip(held, wanted, strict=True)) if abs(is_ - should) > 0.5]
        if wrong:
            r = wrong[0]
            found.failures.append(f"rank {r} holds {held[r]} bytes of {line}, its assignment says {wanted[r]:.0f}")
    sizes = {o.weight_bytes for o in outcomes}
    # a plan prices one scale for 128 × 128 values, or none; a folder may have more
    slack = 0.5 + (0 if job.eight is None else float(job.eight.scales.max()))
    if plan is not None and all(abs(size - plan.memory.weights.total) > slack for size in sizes):
        found.failures.append(
            f"no rank holds the plan's {plan.memory.weights.total:.0f} bytes of weights; the fullest has {max(sizes)}"
        )


def memory_lines(job: Job, outcomes: list[Outcome]) -> list[tuple[str, list[int], list[float]]]:
    """(line, bytes that every rank held, bytes that its assignment says)."""
    wanted = held_weight_bytes(job.assignment) - (0 if job.eight is None else job.eight.saved)
    lines = [("weights", [o.weight_bytes for o in outcomes], wanted.tolist())]
    if job.holds_cache:
        s = job.strategy
        cache = held_cache_bytes(job.assignment, len(job.prompts) // (s.replicas * s.attention.dp), job.room)
        lines.append(("kv_cache", [o.cache_bytes for o in outcomes], cache.tolist()))
    return lines


def _recorded(outcomes: list[Outcome], batch: int, longest: int) -> dict[int, Tensor]:
    """Experts that the run chose, [batch, length, top_k] by layer; 0 … top_k − 1 where no token was."""
    found: dict[int, Tensor] = {}
    for choice in (c for o in outcomes for c in o.choices):
        k = choice.experts.shape[1]
        if choice.position not in found:
            found[choice.position] = torch.full((batch, longest, k), -1)
        row, position = schedule.positions(choice.chunk)
        mine = slice(choice.start, choice.start + len(choice.experts))
        sequences = torch.from_numpy(np.array(choice.chunk.sequences)[row[mine]])
        found[choice.position][sequences, torch.from_numpy(position[mine])] = choice.experts.long()
    return found


def _quantised(outcomes: list[Outcome]) -> dict[tuple[str, int], Tensor]:
    """What the ranks multiplied FP8 matrices with, [rows, columns] by input and group of columns."""
    found: dict[tuple[str, int], list[Tensor]] = {}
    for key, rows in ((k, rows) for o in outcomes for k, rows in (o.inputs or {}).items()):
        found.setdefault(key, []).extend(codes.float() * scales[:, None] for codes, scales in rows)
    return {key: torch.unique(torch.cat(rows), dim=0) for key, rows in found.items()}


def _truth(
    job: Job,
    outcomes: list[Outcome],
    whole: list[Tensor],
    longest: int,
    recorded: dict[int, Tensor],
    tolerance: float,
) -> Reference:
    """The unsharded pass of every sequence, those of one length together; rows beyond a sequence's end are NaN.
    A token that no rank recorded (it filled a cache before the measured pass) keeps the pass's own experts."""
    truth: Reference | None = None
    loose = 1e-5 if job.source.dtype == torch.float32 else float("inf")
    loose = loose if job.eight is None else max(loose, tolerance)
    quantised = _quantised(outcomes)
    for length in sorted({len(w) for w in whole}):
        rows = [i for i, w in enumerate(whole) if len(w) == length]
        inputs = torch.stack([whole[i] for i in rows])
        forced = {layer: r[rows, :length] for layer, r in recorded.items()}
        followed = Recorded(forced, loose, quantised, tolerance)
        part = reference(job.model, job.numerics, job.source, inputs, job.causal, followed)
        if truth is None:
            truth = Reference(torch.full((len(whole), longest, part.output.shape[-1]), torch.nan))
            truth.routing = {
                layer: torch.zeros(len(whole), longest, r.shape[-1], dtype=r.dtype) for layer, r in part.routing.items()
            }
        truth.output[rows, :length] = part.output
        truth.unlike += part.unlike
        for layer, experts in part.routing.items():
            truth.routing[layer][rows, :length] = experts
    assert truth is not None
    return truth


def output_of(job: Job, outcomes: list[Outcome], shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """What the ranks gave, put together: values [sequences, length, width] (NaN where nobody gave any), and which
    tokens' output was wanted [sequences, length]."""
    out, wanted = torch.full(shape, torch.nan), torch.zeros(shape[:2], dtype=torch.bool)

    def tokens(chunk: schedule.Chunk) -> tuple[np.ndarray, np.ndarray]:
        row, position = schedule.positions(chunk)
        if not job.every and job.model.vocab_size:  # of each sequence the last token
            ends = schedule.last(chunk)
            row, position = row[ends], position[ends]
        return np.array(chunk.sequences)[row], position

    for piece in (p for o in outcomes for p in o.pieces):
        sequences, position = tokens(piece.chunk)
        mine, columns = slice(*piece.logits.rows), slice(*piece.logits.columns)
        at = (torch.from_numpy(sequences[mine]), torch.from_numpy(position[mine]))
        out[at[0], at[1], columns] = piece.logits.values.float().cpu()
    for groups in passes_of(job, len(outcomes[0].ended)).chunks:
        for chunk in (c for chunks in groups for c in chunks):
            sequences, position = tokens(chunk)
            wanted[sequences, position] = True
    return out, wanted


def _compare_output(
    job: Job, outcomes: list[Outcome], truth: Reference, generated: dict[int, list[int]], tolerance: float, f: Findings
) -> None:
    """Every output that was wanted against the truth; one that nobody gave is not finite."""
    batch, longest, width = truth.output.shape
    out, wanted = output_of(job, outcomes, (batch, longest, width))
    wrong = int((~out[wanted].isfinite()).sum())
    if wrong or not truth.output[wanted].isfinite().all():
        whose = f"{wrong} of {out[wanted].numel()} values" if wrong else "those of the unsharded model"
        f.failures.append(f"outputs are not finite: {whose}")
        return
    f.largest = float(truth.output[wanted].abs().max())
    f.error = float((out - truth.output)[wanted].abs().max())
    if not f.error <= tolerance * f.largest:
        f.failures.append(f"the output differs by {f.error:.3g}, of at most {tolerance * f.largest:.3g}")
    if job.new_tokens and job.sampling.temperature <= 0:
        wrong = 0
        for sequence, ids in generated.items():
            start = job.lengths[sequence] - 1
            rows = truth.output[sequence, start : start + len(ids)]
            best, got = rows.amax(-1), rows.gather(1, torch.tensor(ids)[: len(rows), None])[:, 0]
            wrong += int((best - got > 2 * tolerance * f.largest).sum())
        if wrong:
            f.failures.append(f"{wrong} generated tokens are not the unsharded model's likeliest")


def _moved(outcomes: list[Outcome], expected: Prediction, failures: list[str]) -> tuple[Moved, ...]:
    counted = [o.tally.traffic.counts for o in outcomes]
    found = {name for counts in counted for name, count in counts.items() if count.bytes}
    rows = []
    for name in sorted(found | set(expected.sent)):
        each = [counts.get(name) for counts in counted]
        real = [0 if c is None else c.bytes for c in each]
        wanted = expected.sent[name].tolist() if name in expected.sent else [0] * len(outcomes)
        wrong = [rank for rank, (is_, should) in enumerate(zip(real, wanted, strict=True)) if is_ != should]
        if wrong:
            r = wrong[0]
            failures.append(
                f"{name}: rank {r} sent {real[r]} bytes where {wanted[r]} were predicted ({len(wrong)} ranks)"
            )
        size = max((c.group for c in each if c), default=1)
        rows.append(Moved(name, size, sum(c.calls for c in each if c), sum(wanted), sum(real)))
    return tuple(rows)


def _copies(outcomes: list[Outcome], expected: Prediction, failures: list[str]) -> dict[str, int]:
    values: list[int] = []
    for layer, wanted in expected.copies.items():
        for rank, should in enumerate(wanted.tolist()):
            real = outcomes[rank].tally.copies.get(layer, 0)
            if real != should:
                failures.append(
                    f"layer {layer}: rank {rank} computed {real} routed copies where {should} were predicted"
                )
            if layer in outcomes[rank].tally.copies:
                values.append(real)
    return {"min": min(values, default=0), "max": max(values, default=0)}
