"""What a rank does in a training step: the schedule of its stage, the reduction of gradients, the optimizer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from moewright.case.model import ModelSpec
from moewright.case.train.train_strategy import Schedule, Sharding, TrainStrategy
from moewright.placement.stage_orders import Operation, order
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.progress import inside
from moewright.run.train.plain import adam, drawn
from moewright.run.train.sharded_step import RankModel, embedded, head_loss, layer_of
from moewright.run.train.train_place import TrainPlace, is_expert, is_whole, part_of, train_place


@dataclass(frozen=True, slots=True)
class StepJob:
    """``ids`` [global batch, sequence + 1]; ``places``: the chunk of each layer; ``skip``: a collective that is left
    out, for a test that what it guards is seen."""

    model: ModelSpec
    strategy: TrainStrategy
    places: tuple[int, ...]
    ids: Tensor
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


@dataclass(slots=True)
class StepOutcome:
    """A rank's parts of gradients and new weights by parameter, its share of the loss, bytes sent by collective, what
    its routers chose, and the most chunks that it kept at once."""

    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    loss: float
    sent: dict[str, int]
    calls: dict[str, int]
    chosen: dict[int, list[Tensor]]
    kept: int


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
    kept: dict[tuple[int, int], _Chunk] = field(default_factory=dict)
    sending: list[tuple[dist.Work | None, Tensor]] = field(default_factory=list)
    most: int = 0
    loss: float = 0.0


def train_step(job: StepJob) -> StepOutcome:
    """One step on this rank of the world."""
    place, traffic = train_place(job.strategy), Traffic()
    whole = drawn(job.model, job.seed)
    w = {name: part_of(name, x, place).clone().requires_grad_() for name, x in whole.items() if _here(name, job, place)}
    state = _Pipeline(job, RankModel(job.model, place, traffic, w, job.sequence))
    s = job.strategy
    schedule = s.schedule if s.pp > 1 else Schedule.ONE_F_ONE_B
    for operation in order(place.stage, s.pp, job.micro, s.virtual, schedule):
        (_forward if operation.kind == "F" else _backward)(state, operation)
    for handle, _ in state.sending:
        if handle is not None:
            with inside:
                handle.wait()
    gradients, weights = _reduced_and_updated(job, place, traffic, w)
    sent = {name: count.bytes for name, count in traffic.counts.items()}
    calls = {name: count.calls for name, count in traffic.counts.items()}
    return StepOutcome(gradients, weights, state.loss, sent, calls, state.rank.chosen, state.most)


def _here(name: str, job: StepJob, p: TrainPlace) -> bool:
    """Whether the parameter is of this rank's stage."""
    s = job.strategy
    if name == "embedding":
        return p.stage == 0
    if name in ("head", "final_norm"):
        return p.stage == s.pp - 1
    return job.places[int(name.partition(".")[0])] % s.pp == p.stage


def _ids(job: StepJob, p: TrainPlace, micro: int) -> Tensor:
    """The sequences of a micro-batch of this rank's dp coordinate."""
    size = job.strategy.micro_batch
    first = (p.at("dp") * job.micro + micro) * size
    return job.ids[first : first + size]


def _forward(state: _Pipeline, o: Operation) -> None:
    job, r = state.job, state.rank
    p, s = r.place, job.strategy
    place = o.chunk * s.pp + p.stage
    layers = [i for i, c in enumerate(job.places) if c == place]
    tokens = job.sequence // (s.cp * s.tp)
    if place:
        x = torch.empty(tokens, s.micro_batch, job.model.hidden_size)
        _receive(state, x, -1, place, o.micro)
        entered = x = x.requires_grad_()
    else:
        x = embedded(r, _ids(job, p, o.micro))
        entered = x
    for i in layers:
        x = _computed_again(r, x, i) if "full" in s.recompute else layer_of(r, x, i)
    if place == s.pp * s.virtual - 1:
        x = head_loss(r, x, _ids(job, p, o.micro)) / (len(job.ids) * job.sequence)
        state.loss += float(x.detach())
    else:
        _send(state, x.detach(), 1, place, o.micro)
    state.kept[o.micro, o.chunk] = _Chunk(entered, x)
    state.most = max(state.most, len(state.kept))


def _computed_again(r: RankModel, x: Tensor, i: int) -> Tensor:
    """Layer ``i``, of which the input alone is kept; the whole of it is computed again."""
    with set_checkpoint_early_stop(False):
        made: Tensor = checkpoint(layer_of, r, x, i, use_reentrant=False)
    return made


def _backward(state: _Pipeline, o: Operation) -> None:
    job, p = state.job, state.rank.place
    s = job.strategy
    place, chunk = o.chunk * s.pp + p.stage, state.kept.pop((o.micro, o.chunk))
    if place == s.pp * s.virtual - 1:
        torch.autograd.backward(chunk.left)
    else:
        above = torch.empty_like(chunk.left)
        _receive(state, above, 1, place, o.micro, back=True)
        torch.autograd.backward(chunk.left, above)
    if place:
        assert chunk.entered.grad is not None
        _send(state, chunk.entered.grad, -1, place, o.micro, back=True)


def _tag(place: int, micro: int, back: bool) -> int:
    """Of the message that leaves or enters the chunk ``place``: told apart, whatever comes first."""
    return (place * 4096 + micro) * 2 + back


def _send(state: _Pipeline, x: Tensor, step: int, place: int, micro: int, back: bool = False) -> None:
    p, s = state.rank.place, state.job.strategy
    to = (p.rank + step * p.ranks) % s.gpus
    x = x.contiguous()
    if to == p.rank:  # one stage of several chunks
        raise AssertionError("one stage has one chunk")
    with inside:
        state.sending.append((dist.isend(x, to, tag=_tag(place + step, micro, back)), x))
    traffic = state.rank.traffic
    traffic._add("stage_transfer_gradient" if back else "stage_transfer", x.numel() * x.element_size(), 2)


def _receive(state: _Pipeline, x: Tensor, step: int, place: int, micro: int, back: bool = False) -> None:
    p, s = state.rank.place, state.job.strategy
    with inside:
        dist.recv(x, (p.rank + step * p.ranks) % s.gpus, tag=_tag(place, micro, back))


# --- once a step ---


def _reduced_and_updated(
    job: StepJob, p: TrainPlace, traffic: Traffic, w: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients summed over the ranks that hold the same weights, and the weights after a step of Adam: of a rank's
    share of them where the optimizer is divided, which then are gathered."""
    gradients = {name: x.grad if x.grad is not None else torch.zeros_like(x) for name, x in w.items()}
    for name, g in gradients.items():
        if is_whole(name) and job.skip != "replicated_gradients":
            traffic.all_reduce("replicated_gradients", g, p.tp)
    weights: dict[str, Tensor] = {}
    for experts in (False, True):
        names = [n for n in w if is_expert(n) == experts]
        if not names:
            continue
        group, name = (p.same_experts, "expert_gradients") if experts else (p.dense, "dense_gradients")
        flat = torch.cat([gradients[n].flatten() for n in names])
        own = torch.cat([w[n].detach().flatten() for n in names])
        flat, new = _step(job, group, name, traffic, flat, own)
        sizes = [w[n].numel() for n in names]
        parts = torch.split(flat, sizes), torch.split(new, sizes)
        for n, g, x in zip(names, *parts, strict=True):
            gradients[n], weights[n] = g.view_as(w[n]), x.view_as(w[n])
    return gradients, weights


def _step(
    job: StepJob, group: dist.ProcessGroup, name: str, traffic: Traffic, flat: Tensor, own: Tensor
) -> tuple[Tensor, Tensor]:
    """(summed gradients, new weights) of one buffer."""
    size = dist.get_world_size(group)
    if job.skip == name:
        return flat, adam(own, flat, job.rate)
    if job.strategy.sharding is Sharding.NONE or size == 1:
        flat = traffic.all_reduce(name, flat, group)
        return flat, adam(own, flat, job.rate)
    pad = -len(flat) % size
    flat, own = (torch.nn.functional.pad(x, (0, pad)) for x in (flat, own))
    part = traffic.reduce_scatter(name, flat, group)
    mine = own.chunk(size)[dist.get_rank(group)]
    new = traffic.all_gather(f"{name}_weights", adam(mine, part, job.rate), group)
    with inside:
        parts = [torch.empty_like(part) for _ in range(size)]
        dist.all_gather(parts, part, group=group)  # for the comparison alone
    end = len(flat) - pad
    return torch.cat(parts)[:end], new[:end]
