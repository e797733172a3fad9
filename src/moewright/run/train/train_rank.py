"""What a rank does in a training step: the schedule of its stage, the reduction of gradients, the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.model import ModelSpec
from moewright.case.train.train_strategy import Schedule, Sharding, TrainStrategy
from moewright.case.train.tuning import Tuning
from moewright.placement.stage_orders import Operation, order, place_of, stage_and_chunk
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.progress import inside
from moewright.run.train.operations.kept_tensors import KeptTensors
from moewright.run.train.operations.step_functions import computed_again
from moewright.run.train.optimizer_step import Updated, updated, updated_shards
from moewright.run.train.plain import drawn, is_trained
from moewright.run.train.rank_model import RankModel
from moewright.run.train.sharded_step import embedded, head_loss, layer_of
from moewright.run.train.train_place import TrainPlace, part_of, train_place
from moewright.run.train.weight_shards import ShardedWeights, WholeWeights


@dataclass(frozen=True, slots=True)
class StepJob:
    """``ids`` [global batch, sequence + 1]; ``places``: the chunk of each layer; ``skip``: a collective that is left
    out, for a test that what it guards is seen."""

    model: ModelSpec
    strategy: TrainStrategy
    places: tuple[int, ...]
    ids: Tensor
    tuning: Tuning = field(default_factory=Tuning)
    seed: int = 0
    rate: float = 1e-3
    skip: str = ""

    @property
    def sequence(self) -> int:
        return self.ids.shape[1] - 1

    @property
    def micro(self) -> int:
        """Micro-batches of a rank."""
        return len(self.ids) // (self.strategy.dp * self.strategy.micro_batch)

    def passes_below(self, place: int) -> bool:
        """Whether gradients go from the chunk ``place`` to the one before it."""
        above = [i for i, c in enumerate(self.places) if c >= place]
        own = self.tuning.of_layer(self.model, above[0]) if above else self.tuning.of_head(self.model)
        return own.below


@dataclass(slots=True)
class StepOutcome:
    """A rank's parts of gradients and new weights by parameter, its share of the loss, bytes sent by collective, the
    most chunks that it kept at once, and bytes alive: of weights, gradients, optimizer states, and at the most of
    activations."""

    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    loss: float
    sent: dict[str, int]
    calls: dict[str, int]
    kept: int
    alive: dict[str, int]


@dataclass(slots=True)
class _Chunk:
    """What is kept of a chunk's forward pass."""

    entered: Tensor
    left: Tensor


@dataclass(slots=True)
class _Pipeline:
    """The state of a stage in a step."""

    job: StepJob
    rank: RankModel
    weights: WholeWeights | ShardedWeights
    kept: dict[tuple[int, int], _Chunk] = field(default_factory=dict)
    late: dict[tuple[int, int], list[Callable[[], None]]] = field(default_factory=dict)
    sending: list[tuple[dist.Work | None, Tensor]] = field(default_factory=list)
    here: dict[tuple[int, int, bool], Tensor] = field(default_factory=dict)
    most: int = 0
    loss: float = 0.0


def train_step(job: StepJob) -> StepOutcome:
    """One step on this rank of the world."""
    place, traffic, kept = train_place(job.strategy), Traffic(), KeptTensors()
    whole = drawn(job.model, job.seed, job.tuning)
    own = {n: part_of(n, x, place).clone() for n, x in whole.items() if _here(n, job, place)}
    weights: WholeWeights | ShardedWeights
    if job.strategy.sharding is Sharding.FULL:
        weights = ShardedWeights.of(own, place, traffic, kept)
    else:
        weights = WholeWeights({n: x.requires_grad_(is_trained(n, job.model, job.tuning)) for n, x in own.items()})
        kept.leave_out(own.values())
    state = _Pipeline(job, RankModel(job.model, place, traffic, weights.open, job.sequence, job.tuning, kept), weights)
    s = job.strategy
    for operation in order(place.stage, s.pp, job.micro, s.virtual, schedule_of(s)):
        _done(state, operation)
    for handle, _ in state.sending:
        if handle is not None:
            with inside:
                handle.wait()
    ended = _end_of_step(job, place, traffic, weights)
    sent = {name: count.bytes for name, count in traffic.counts.items()}
    calls = {name: count.calls for name, count in traffic.counts.items()}
    alive = {**ended.alive, "activations": kept.most}
    return StepOutcome(ended.gradients, ended.weights, state.loss, sent, calls, state.most, alive)


def _end_of_step(job: StepJob, place: TrainPlace, traffic: Traffic, weights: WholeWeights | ShardedWeights) -> Updated:
    if isinstance(weights, ShardedWeights):
        return updated_shards(weights, job.rate)
    return updated(weights.w, place, traffic, job.rate, job.skip)


def _done(state: _Pipeline, o: Operation) -> None:
    """One operation of the stage's list."""
    if o.kind == "F":
        _forward(state, o)
    elif o.kind == "W":
        for work in state.late.pop((o.micro, o.chunk)):
            work()
    else:
        _backward(state, o)


def _here(name: str, job: StepJob, p: TrainPlace) -> bool:
    """Whether the parameter is of this rank's stage."""
    s = job.strategy
    if name == "embedding":
        return p.stage == 0
    if name in ("head", "final_norm"):
        return p.stage == stage_and_chunk(s.pp * s.virtual - 1, s.pp, schedule_of(s))[0]
    return stage_and_chunk(job.places[int(name.partition(".")[0])], s.pp, schedule_of(s))[0] == p.stage


def schedule_of(s: TrainStrategy) -> Schedule:
    """Of one stage all schedules are one."""
    return s.schedule if s.pp > 1 else Schedule.ONE_F_ONE_B


def _ids(job: StepJob, p: TrainPlace, micro: int) -> Tensor:
    """The sequences of a micro-batch of this rank's dp coordinate."""
    size = job.strategy.micro_batch
    first = (p.at("dp") * job.micro + micro) * size
    return job.ids[first : first + size]


def _forward(state: _Pipeline, o: Operation) -> None:
    job, r = state.job, state.rank
    p, s = r.place, job.strategy
    place = place_of(p.stage, o.chunk, s.pp, schedule_of(s))
    layers = [i for i, c in enumerate(job.places) if c == place]
    tokens = job.sequence // (s.cp * s.tp)
    with r.kept.watching():
        if place:
            x = torch.empty(tokens, s.micro_batch, job.model.hidden_size)
            x = _receive(state, x, place - 1, place, o.micro)
            x = x.requires_grad_(job.passes_below(place))
        else:
            x = embedded(r, _ids(job, p, o.micro))
        entered = x
        for i in layers:
            if "full" in s.recompute:
                x = computed_again(partial(_layer, r, i), job.tuning.of_layer(job.model, i).trained, x)
            else:
                x = layer_of(r, x, i)
        if place == s.pp * s.virtual - 1:
            x = head_loss(r, x, _ids(job, p, o.micro)) / (len(job.ids) * job.sequence)
            state.loss += float(x.detach())
        else:
            _send(state, x.detach(), place, place + 1, o.micro)
    r.kept.forget()
    state.kept[o.micro, o.chunk] = _Chunk(entered, x)
    state.most = max(state.most, len(state.kept))
    r.kept.count()


def _layer(r: RankModel, i: int, x: Tensor) -> Tensor:
    return layer_of(r, x, i)


def _backward(state: _Pipeline, o: Operation) -> None:
    job, r = state.job, state.rank
    s = job.strategy
    place, chunk = place_of(r.place.stage, o.chunk, s.pp, schedule_of(s)), state.kept.pop((o.micro, o.chunk))
    r.late.on = o.kind == "I"
    if isinstance(state.weights, ShardedWeights):
        state.weights.back = True
    last = place == s.pp * s.virtual - 1
    if chunk.left.requires_grad:
        above = None
        if not last:
            above = _receive(state, torch.empty_like(chunk.left), place + 1, place, o.micro, back=True)
        torch.autograd.backward(chunk.left, above)
    if place and job.passes_below(place):
        assert chunk.entered.grad is not None
        _send(state, chunk.entered.grad, place, place - 1, o.micro, back=True)
    if r.late.on:
        state.late[o.micro, o.chunk] = r.late.take()
        r.late.on = False
    if isinstance(state.weights, ShardedWeights):
        state.weights.back = False
        state.weights.there.clear()


def _tag(place: int, micro: int, back: bool) -> int:
    """Of the message that enters the chunk ``place``: told apart, whatever comes first."""
    return (place * 4096 + micro) * 2 + back


def _rank_of(state: _Pipeline, place: int) -> int:
    """The rank of the stage of ``place`` that stands where this one does."""
    p, s = state.rank.place, state.job.strategy
    return stage_and_chunk(place, s.pp, schedule_of(s))[0] * p.ranks + p.rank % p.ranks


def _send(state: _Pipeline, x: Tensor, place: int, to: int, micro: int, back: bool = False) -> None:
    rank, traffic, x = _rank_of(state, to), state.rank.traffic, x.contiguous()
    if rank == state.rank.place.rank:  # both chunks are on this stage
        state.here[to, micro, back] = x
        return
    with inside:
        state.sending.append((dist.isend(x, rank, tag=_tag(to, micro, back)), x))
    traffic._add("stage_transfer_gradient" if back else "stage_transfer", x.numel() * x.element_size(), 2)


def _receive(state: _Pipeline, x: Tensor, source: int, place: int, micro: int, back: bool = False) -> Tensor:
    if _rank_of(state, source) == state.rank.place.rank:
        return state.here.pop((place, micro, back))
    with inside:
        dist.recv(x, _rank_of(state, source), tag=_tag(place, micro, back))
    return x
