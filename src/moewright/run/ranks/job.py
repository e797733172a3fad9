"""What every rank of a run does: load its part, pass the tokens, generate; and what it has to tell after."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.model import ModelSpec, MoeFfn
from moewright.case.strategy import Strategy
from moewright.placement.assignment import Assignment
from moewright.run.bench.clock import Clock
from moewright.run.formats.fp8_blocks import Sizes
from moewright.run.formats.scaled import Kept
from moewright.run.model.numerics import Numerics
from moewright.run.model.sampling import Sampling
from moewright.run.model.shard import Logits, Shard, Tally
from moewright.run.model.static import Decoder
from moewright.run.ranks import schedule
from moewright.run.ranks.mesh import Place, join
from moewright.run.ranks.progress import inside
from moewright.run.ranks.schedule import Chunk
from moewright.run.weights.weight_source import Source


@dataclass(frozen=True, slots=True)
class Job:
    """``prompts``: ids [length] of every sequence, or hidden states [length, hidden]. ``given``: tokens at their
    ends that are fed one by one after the rest (decode). ``new_tokens`` to generate (0: a single pass), ended
    early when all sequences have met a ``stop`` id. ``every``: output of all tokens, else of the last ones.
    ``keep``: outputs and routing, for the verification. ``trace``: when each operation ended. ``static``: decode
    in fixed shapes, of one rank only. ``eight``: what it saves to hold FP8 weights as they are; None where none are.
    ``inputs``: where the matrices of this process keep what they were multiplied with."""

    model: ModelSpec
    numerics: Numerics
    strategy: Strategy
    assignment: Assignment
    source: Source
    prompts: tuple[Tensor, ...]
    causal: bool = True
    given: int = 0
    new_tokens: int = 0
    every: bool = False
    cached: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    stop: frozenset[int] = frozenset()
    keep: bool = True
    trace: bool = False
    static: bool = False
    eight: Sizes | None = None
    inputs: Kept | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence that the first pass takes."""
        return [len(p) - self.given for p in self.prompts]

    @property
    def holds_cache(self) -> bool:
        """Whether keys and values are kept."""
        return self.cached or self.steps > 1

    @property
    def room(self) -> int:
        """Tokens of a sequence that the cache has room for."""
        return max(self.lengths) + self.steps - 1

    @property
    def steps(self) -> int:
        """Passes: the prompts', then one for each token that follows."""
        return 1 + self.given + max(0, self.new_tokens - 1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the output: ``values`` of the wanted tokens ``rows`` of ``chunk`` in pass ``step``."""

    step: int
    chunk: Chunk
    logits: Logits


@dataclass(frozen=True, slots=True)
class Choice:
    """Experts [own tokens, top_k] that a rank's own tokens of ``chunk`` chose, the first of them being ``start``."""

    chunk: Chunk
    position: int
    start: int
    experts: Tensor


@dataclass(slots=True)
class Outcome:
    """What a rank has to tell. ``generated``: sequence → ids, of the ranks that know them. ``ended``: seconds from
    the start until each pass was through. ``graph``: whether decode was a CUDA graph. ``inputs``: what FP8 matrices
    were multiplied with, where it is to be verified."""

    pieces: list[Piece] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    generated: dict[int, list[int]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    weight_bytes: int = 0
    cache_bytes: int = 0
    ended: list[float] = field(default_factory=list)
    load: float = 0.0
    clock: Clock | None = None
    graph: bool = False
    inputs: Kept | None = None

    def on_host(self) -> Outcome:
        """The same with all tensors on the host, where other ranks can read them."""
        self.tally.loads = {position: found.cpu() for position, found in self.tally.loads.items()}
        self.pieces = [replace(p, logits=replace(p.logits, values=p.logits.values.cpu())) for p in self.pieces]
        return self


class Worker:
    """One rank at work. ``tell(step, ids by sequence)`` hears of tokens as this rank learns of them, ``tick`` of the
    share of its layers' passes that are done."""

    def __init__(
        self,
        job: Job,
        device: torch.device,
        tell: Callable[[int, dict[int, int]], None] | None = None,
        tick: Callable[[float], None] | None = None,
    ) -> None:
        self.job, self.device, self.tell = job, device, tell
        begun = time.perf_counter()
        self.place: Place = join(job.strategy, device.type)
        self.shard = Shard(job.model, job.numerics, self.place, job.assignment, job.source, device, job.causal)
        s = job.strategy
        group = self.place.at("replica") * s.attention.dp + self.place.at("dp")
        self.group = group * s.attention.cp + self.place.at("cp")
        self.outcome = Outcome(load=time.perf_counter() - begun, weight_bytes=self.shard.weight_bytes)
        if tick is not None:
            whole, passed = job.steps * schedule.chunks(s) * len(self.shard.positions), itertools.count(1)
            self.shard.passed = lambda: tick(next(passed) / whole)
        self.decoders: dict[int, Decoder] = {}
        self.pending: list[tuple[dist.Work, Tensor]] = []

    def run(self) -> Outcome:
        """All passes."""
        job, out = self.job, self.outcome
        waiting = schedule.prompts(job.strategy, job.lengths, self.group)
        if job.holds_cache:
            self.shard.allocate(sum(len(c.sequences) for c in waiting), job.room)
            out.cache_bytes = self.shard.cache_bytes
        with inside:
            dist.barrier()  # seconds count from here
        clock = out.clock = Clock(self.device, job.trace)
        told = clock if job.trace or self.device.type == "cpu" else None  # on CUDA an event for each takes its time
        static = job.static and self.shard.unwaiting
        out.graph = static and self.device.type == "cuda"
        self.shard.begin(told)
        clock.begin()
        ids: list[Tensor | None] = [None] * len(waiting)
        for step in range(job.steps):
            if job.given and step == 1:
                self.shard.begin(told)  # what fills the cache is not what is measured
                out.pieces.clear()
                out.choices.clear()
                clock.begin()
            for i, chunk in enumerate(waiting):
                if step:
                    waiting[i] = chunk = chunk.after()
                ids[i] = self._pass(step, chunk, ids[i], static)
            out.ended.append(clock.seconds)
            if job.stop and self._all_stopped():
                break
        if job.new_tokens and self.shard.first and job.strategy.pp > 1:  # the last tokens, to be told
            for chunk in waiting:
                self._learn(len(out.ended) - 1, chunk, self._returned(chunk))
        with inside:
            for work, _ in self.pending:
                work.wait()
        clock.end()
        out.tally, out.inputs = self.shard.tally, job.inputs
        self.shard.begin(None)
        return out.on_host()

    def _pass(self, step: int, chunk: Chunk, ids: Tensor | None, static: bool) -> Tensor | None:
        """One chunk through this rank's stage; the ids that follow, where this rank finds them."""
        job, shard = self.job, self.shard
        inputs = None
        if shard.first:
            if step == 0 or job.given:
                rows = [job.prompts[chunk.sequences[i]][start:stop] for i, start, stop in chunk.spans()]
                inputs = torch.cat(rows).to(self.device)
            else:
                if job.strategy.pp > 1:
                    ids = self._returned(chunk)
                    self._learn(step - 1, chunk, ids)
                inputs = ids
        if job.keep:
            shard.choices = {}
        if step and static and inputs is not None:
            if chunk.slot not in self.decoders:
                self.decoders[chunk.slot] = Decoder(shard, chunk, job.room)
            part = self.decoders[chunk.slot](chunk, inputs)
        else:
            part = shard.forward(chunk, inputs, job.every)
        if job.keep:
            start = shard.first_own(chunk.tokens)
            for position, found in (shard.choices or {}).items():
                kept = torch.cat(found).to(torch.int16).cpu()
                self.outcome.choices.append(Choice(chunk, position, start, kept))
        if part is None or not shard.last:
            return None
        if job.keep and not self.place.at("repeat"):
            self.outcome.pieces.append(Piece(step, chunk, part))
        if not job.new_tokens:
            return None
        picked = job.sampling.pick(shard.whole_logits(part), chunk.sequences, step)
        if job.strategy.pp > 1:
            self._return(picked)
        self._learn(step, chunk, picked)
        return picked

    def _learn(self, step: int, chunk: Chunk, ids: Tensor) -> None:
        found = dict(zip(chunk.sequences, ids.tolist(), strict=True))
        for sequence, token in found.items():
            self.outcome.generated.setdefault(sequence, []).append(token)
        if self.tell is not None:
            self.tell(step, found)

    def _return(self, ids: Tensor) -> None:
        """From the last stage to the first: what it must pass next. Not waited for, or both would wait."""
        s = self.job.strategy
        ids = ids.cpu()
        work = dist.isend(ids, self.place.rank - (s.pp - 1) * s.stage, group=self.place.ids)
        assert work is not None
        self.pending.append((work, ids))

    def _returned(self, chunk: Chunk) -> Tensor:
        s = self.job.strategy
        ids = torch.empty(len(chunk.sequences), dtype=torch.int64)
        with inside:
            dist.recv(ids, self.place.rank + (s.pp - 1) * s.stage, group=self.place.ids)
        return ids.to(self.device)

    def _all_stopped(self) -> bool:
        """Whether all sequences of all ranks have met a stop id."""
        known = self.outcome.generated.values() if self.shard.last else ()
        going = torch.tensor([sum(not self.job.stop.intersection(ids) for ids in known)], device=self.device)
        with inside:
            dist.all_reduce(going)
        return not int(going)


def loads_of(outcomes: list[Outcome], model: ModelSpec) -> Tensor:
    """How often each expert was chosen, [MoE layers, experts], over all ranks."""
    moe = model.moe
    assert moe is not None
    total = torch.zeros(len(model.moe_layers()), moe.experts, dtype=torch.int64)
    for outcome in outcomes:
        for position, found in outcome.tally.loads.items():
            assert isinstance(model.layers[position].ffn, MoeFfn)
            total[model.moe_layers().index(position)] += found.cpu()
    return total
