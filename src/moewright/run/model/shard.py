"""One rank's pass under a strategy: the operations that ``cost.operations`` prices, in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.case.model import LatentAttention, ModelSpec, MoeFfn
from moewright.case.strategy import Dispatch, Gate
from moewright.placement.assignment import Assignment, head_slices
from moewright.run.bench.clock import Clock
from moewright.run.model import layers
from moewright.run.model.numerics import Numerics
from moewright.run.model.products import linear, unwaiting
from moewright.run.model.sharded_attention import Cache, Step, attention, new_cache
from moewright.run.model.split_cache import SplitCache
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.mesh import Place
from moewright.run.ranks.schedule import Chunk, last
from moewright.run.weights.rank_weights import Weights, layer_weights, part_of, vocabulary_weights
from moewright.run.weights.weight_source import Source


@dataclass(frozen=True, slots=True)
class Logits:
    """What a rank of the last stage has of a chunk's output: ``rows`` of its wanted tokens, ``columns`` of the
    vocabulary (or of the hidden width, for a model without one)."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    values: Tensor


@dataclass(slots=True)
class Tally:
    """What a rank did. ``copies``: routed copies its experts computed, by layer; ``loads``: by layer, how many of
    this rank's own tokens chose each expert."""

    traffic: Traffic = field(default_factory=Traffic)
    copies: dict[int, int] = field(default_factory=dict)
    loads: dict[int, Tensor] = field(default_factory=dict)


class Shard:
    """What one rank holds, and its passes over chunks of tokens."""

    def __init__(
        self,
        model: ModelSpec,
        numerics: Numerics,
        place: Place,
        assignment: Assignment,
        source: Source,
        device: torch.device,
        causal: bool = True,
    ) -> None:
        self.model, self.numerics, self.place, self.causal = model, numerics, place, causal
        self.device, self.dtype = device, source.dtype
        s = place.strategy
        self.tp, self.tp_part = s.attention.tp, place.at("tp")
        self.replicated = s.experts.dispatch is Dispatch.REPLICATED
        self.alone = s.experts.ep == s.experts.tp == 1
        self.positions = assignment.layers[place.at("stage")]
        self.first, self.last = place.at("stage") == 0, place.at("stage") == s.pp - 1
        self.weights: dict[int, Weights] = {
            i: _to(layer_weights(source, model, numerics, assignment, i, place.rank), device) for i in self.positions
        }
        self.ends = _to(vocabulary_weights(source, model, self.tp, self.tp_part, self.first, self.last), device)
        if model.tied_embeddings and "embedding" in self.ends and "head" in self.ends:
            self.ends["head"] = self.ends["embedding"]
        self.homes = {
            i: _homes(assignment, model, i, device) for i in self.positions if isinstance(model.layers[i].ffn, MoeFfn)
        }
        self.columns = part_of(model.hidden_size, place.at("etp"), s.experts.tp)
        self.caches: dict[int, Cache] = {}
        self.fixed = False  # in a graph, or to be: nothing may wait for the device
        self.choices: dict[int, list[Tensor]] | None = None  # experts that own tokens chose, where wanted
        self.tally = Tally()
        self.mark: Callable[[str], None] = lambda name: None
        self.passed: Callable[[], None] = lambda: None  # told of each layer passed

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights held; a correction of the router's choice is a buffer and not counted."""
        held = {id(t): t for w in (*self.weights.values(), self.ends) for name, t in w.items() if name != "correction"}
        return sum(t.nbytes for t in held.values())

    @property
    def unwaiting(self) -> bool:
        """Whether a graph can hold this rank's passes: no product of experts waits for the device."""
        experts = [w[name] for w in self.weights.values() for name in ("experts_up", "experts_down") if name in w]
        return all(unwaiting(m, self.dtype, self.device) for m in experts)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the KV cache held."""
        return sum(cache.bytes for cache in self.caches.values())

    def allocate(self, sequences: int, room: int) -> None:
        """A cache for ``sequences`` of up to ``room`` tokens."""
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        room = -(-room // self.place.strategy.attention.dcp)
        for i in self.positions:
            a = self.model.layers[i].attention
            heads = 1 if isinstance(a, LatentAttention) else len(head_slices(a, self.tp)[self.tp_part][1])
            self.caches[i] = new_cache(a, heads, sequences, room, like)

    def begin(self, clock: Clock | None = None) -> None:
        """Count anew; ``clock`` is told of each operation that ends."""
        self.tally = Tally()
        self.mark = clock.computed if clock else lambda name: None
        self.tally.traffic.done = clock.moved if clock else None

    def forward(self, chunk: Chunk, inputs: Tensor | None, every: bool, step: Step | None = None) -> Logits | None:
        """One pass of ``chunk``: ``inputs`` are its token ids [tokens], or hidden states [tokens, hidden] of a model
        without an embedding; other stages than the first get theirs from the stage before. The last stage gives the
        output of all its tokens (``every``), or of the last of each sequence. ``step``: not the chunk's own."""
        if step is None:
            step = Step(chunk, self.numerics, self.device, self.dtype, self.causal, self._gathered(chunk))
            step.split = self._split()
        tokens = chunk.tokens
        if self.first:
            assert inputs is not None
            x = self._embed(inputs)
        else:
            x = torch.empty(self._own(tokens), self.model.hidden_size, dtype=self.dtype, device=self.device)
            self.tally.traffic.receive("wait", x, self.place.previous)
        for position in self.positions:
            x = self._layer(position, x, step, tokens)
            self.passed()
        if self.last:
            return self._finish(x, chunk, every)
        self.tally.traffic.send("stage_transfer", x, self.place.next)
        return None

    def _split(self) -> SplitCache | None:
        """How the tokens of a sequence are divided over the ranks of dcp, where they are."""
        parts = self.place.strategy.attention.dcp
        if parts == 1:
            return None
        assert self.place.dcp is not None
        return SplitCache(self.tp_part % parts, parts, self.place.dcp, self.tally.traffic)

    def _gathered(self, chunk: Chunk) -> Callable[[Tensor], Tensor] | None:
        """Rows of a chunk's tokens → those of the whole prompts, in the order of the cp ranks."""
        if chunk.parts == 1:
            return None
        counts = [chunk.of_part(part).tokens for part in range(chunk.parts)]
        return lambda x: self.tally.traffic.gather_rows("context_gather", x, counts, self.place.cp)

    def whole_logits(self, part: Logits) -> Tensor:
        """Logits [sequences, vocabulary] from the parts of the tp ranks."""
        if self.tp == 1:
            return part.values
        most = -(-self.model.vocab_size // self.tp)
        mine = F.pad(part.values, (0, most - part.values.shape[1])).T
        every = self.tally.traffic.all_gather("logits_gather", mine, self.place.tp)
        sizes = [part_of(self.model.vocab_size, i, self.tp) for i in range(self.tp)]
        kept = [every[i * most : i * most + s.stop - s.start] for i, s in enumerate(sizes)]
        return torch.cat(kept).T

    def _own(self, tokens: int) -> int:
        """Rows of a chunk that this rank holds between attention and experts."""
        return tokens if self.replicated else -(-tokens // self.tp)

    def _offset(self, own: int) -> int:
        return 0 if self.replicated else self.tp_part * own

    def first_own(self, tokens: int) -> int:
        """The first of a chunk's ``tokens`` that this rank owns."""
        return self._offset(self._own(tokens))

    def _embed(self, inputs: Tensor) -> Tensor:
        if not self.model.vocab_size:
            if self.replicated or self.tp == 1:
                return inputs
            return _filled(inputs, self.tp).chunk(self.tp)[self.tp_part]
        if self.tp == 1:
            out = F.embedding(inputs, self.ends["embedding"])
            self.mark("embedding")
            return out
        mine = part_of(self.model.vocab_size, self.tp_part, self.tp)
        here = (inputs >= mine.start) & (inputs < mine.stop)
        part = F.embedding(torch.where(here, inputs - mine.start, 0), self.ends["embedding"]) * here[:, None]
        self.mark("embedding")
        return self._apart("embedding_reduce", part)

    def _layer(self, position: int, x: Tensor, step: Step, tokens: int) -> Tensor:
        layer, w, n = self.model.layers[position], self.weights[position], self.numerics
        normed = layers.rms_norm(x, w.get("norm0"), n.eps)
        self.mark("norms")
        whole = self._together("attention_gather", normed)[:tokens]
        out = attention(whole, w, layer.attention, step, self.caches.get(position), self.tp_part == 0)
        self.mark("attention")
        x = x + self._apart("attention_reduce", out)
        normed = layers.rms_norm(x, w.get("norm1"), n.eps)
        self.mark("norms")
        ffn = layer.ffn
        if not isinstance(ffn, MoeFfn):
            whole = self._together("dense_gather", normed)[:tokens]
            out = layers.mlp(whole, w["up"], w["down"], ffn.gated, n)
            self.mark("dense")
            return x + self._apart("dense_reduce", out)
        shared = self._shared(normed, w, ffn, tokens)
        experts, weights = self._routed(normed, w, ffn)
        own = max(0, min(tokens - self._offset(len(normed)), len(normed)))  # rows that are not filling
        self._record(position, experts[:own], ffn)
        self.mark("router")
        if self.replicated or self.alone:
            return x + self._here(position, normed, experts, weights, ffn, shared)
        routed = self._exchanged(position, normed[:own], experts[:own], weights[:own], ffn)
        x = x.clone() if shared is None else x + shared
        x[:own] += routed
        return x

    def _routed(self, x: Tensor, w: Weights, ffn: MoeFfn) -> tuple[Tensor, Tensor]:
        """(experts, weights) of the tokens, found here, or by the tp group's first rank for all of it."""
        if self.place.strategy.experts.gate is Gate.EACH:
            return layers.route(x, w, ffn, self.numerics)
        if self.tp_part == 0:
            experts, weights = layers.route(x, w, ffn, self.numerics)
            told = torch.cat([weights.float().view(torch.int32), experts.to(torch.int32)], dim=1)
        else:
            told = torch.empty(len(x), 2 * ffn.top_k, dtype=torch.int32, device=x.device)
        told = self.tally.traffic.broadcast("gate_broadcast", told, self.place.tp)
        weights, experts = told.chunk(2, dim=1)
        return experts.long(), weights.contiguous().view(torch.float32)

    def _record(self, position: int, experts: Tensor, ffn: MoeFfn) -> None:
        """Loads of the experts; what several ranks repeat is counted by one."""
        if self.replicated and (self.place.at("repeat") or self.tp_part):
            return
        if self.choices is not None:
            self.choices.setdefault(position, []).append(experts)
        found = layers.counted(experts, ffn.experts)
        known = self.tally.loads.get(position)
        if known is None:
            self.tally.loads[position] = found
        else:
            known += found  # in place, as a graph has to

    def _together(self, name: str, x: Tensor) -> Tensor:
        """Tokens divided over tp, all of them."""
        return x if self.replicated else self.tally.traffic.all_gather(name, x, self.place.tp)

    def _apart(self, name: str, partial: Tensor) -> Tensor:
        """Partial sums [tokens, hidden] of the tp ranks → the sum, of this rank's tokens."""
        if self.tp == 1:
            return partial
        if self.replicated:
            return self.tally.traffic.all_reduce(name, partial, self.place.tp)
        return self.tally.traffic.reduce_scatter(name, _filled(partial, self.tp), self.place.tp)

    def _shared(self, x: Tensor, w: Weights, ffn: MoeFfn, tokens: int) -> Tensor | None:
        if not ffn.shared_width:
            return None
        gate = torch.sigmoid(F.linear(x, w["shared_gate"])) if "shared_gate" in w else None
        whole = self._together("shared_gather", x)[:tokens]
        out = layers.mlp(whole, w["shared_up"], w["shared_down"], ffn.shared_gated, self.numerics)
        self.mark("shared_experts")
        if not self.replicated:
            out = self._apart("shared_reduce", out)
        elif self.place.at("repeat"):  # added in the combine, by one of the groups that repeat the attention
            return torch.zeros_like(out)
        return out if gate is None else out * gate

    def _homes_of(self, position: int, experts: Tensor) -> tuple[Tensor, Tensor]:
        """(ep rank, slot), both [tokens, top_k], where each choice is computed: replicas in turn."""
        ranks, slots, copies = self.homes[position]
        if ranks.shape[1] == 1:
            return ranks[:, 0][experts], slots[:, 0][experts]
        turn = torch.arange(len(experts), device=self.device)[:, None] % copies[experts]
        return ranks[experts, turn], slots[experts, turn]

    def _here(
        self, position: int, x: Tensor, experts: Tensor, weights: Tensor, ffn: MoeFfn, shared: Tensor | None
    ) -> Tensor:
        """Every rank has all tokens: each computes the experts it holds, one all-reduce adds up."""
        ranks, slots = self._homes_of(position, experts)
        local = slots if self.alone else torch.where(ranks == self.place.at("ep"), slots, -1)
        out = self._compute(position, x, local, weights, ffn)
        if shared is not None:
            out = out + shared
        return self.tally.traffic.all_reduce("combine", out, self.place.stage) if self.replicated else out

    def _compute(self, position: int, x: Tensor, slots: Tensor, weights: Tensor, ffn: MoeFfn) -> Tensor:
        done = self.tally.copies
        copies = slots.numel() if self.alone else int((slots >= 0).sum())
        done[position] = done.get(position, 0) + copies
        w, n = self.weights[position], self.numerics
        out = layers.experts(x, layers.Chosen(slots, weights, copies, self.fixed), w, ffn, n, self.columns)
        self.mark("experts")
        return out

    def _exchanged(self, position: int, x: Tensor, experts: Tensor, weights: Tensor, ffn: MoeFfn) -> Tensor:
        """Tokens travel to the ep ranks of their experts, once to each, and their sums back. With a row go its
        slots there (−1 for a choice that lives elsewhere) and its weights, 4 bytes each."""
        traffic, ep, etp = self.tally.traffic, self.place.ep, self.place.etp
        ranks, slots = self._homes_of(position, experts)
        size, k, hidden = dist.get_world_size(ep), experts.shape[1], x.shape[1]
        goes = torch.zeros(len(x), size, dtype=torch.bool, device=x.device).scatter_(1, ranks, True)
        to, row = goes.T.nonzero(as_tuple=True)  # by destination, then by token
        send = goes.sum(0).tolist()
        receive = traffic.counts_of(send, ep, self.device)
        local = torch.where(ranks[row] == to[:, None], slots[row], -1).to(torch.int32)
        parts = [x[row], weights[row].float(), local]
        rows = torch.cat([_as(part, torch.uint8) for part in parts], dim=1)
        rows = traffic.exchange("dispatch", rows, send, receive, ep, 8 * k)

        members, mine = dist.get_world_size(etp), len(rows)
        counts = traffic.counts_of([mine] * members, etp, self.device)
        if members > 1:
            rows = traffic.exchange("expert_gather", rows.repeat(members, 1), [mine] * members, counts, etp, 8 * k)
        width = hidden * x.element_size()
        every, chosen_weights, chosen = torch.split(rows, [width, 4 * k, 4 * k], dim=1)
        part = self._compute(
            position,
            _as(every, self.dtype),
            _as(chosen, torch.int32).long(),
            _as(chosen_weights, torch.float32),
            ffn,
        )
        total = traffic.exchange("expert_reduce", part, counts, [mine] * members, etp)
        if members > 1:
            total = total.view(members, mine, hidden).sum(0)
        back = traffic.exchange("combine", total, receive, send, ep)
        return torch.zeros_like(x).index_add_(0, row, back)

    def _finish(self, x: Tensor, chunk: Chunk, every: bool) -> Logits | None:
        """The final norm and the logits; what this rank has of the output. None where another has the same."""
        tokens, hidden = chunk.tokens, self.model.hidden_size
        own, start = len(x), self._offset(len(x))
        x = layers.rms_norm(x, self.ends.get("final_norm"), self.numerics.eps)
        if not self.model.vocab_size:
            if self.replicated and self.tp_part:
                return None
            stop = max(min(start + own, tokens), start)
            return Logits((start, stop), (0, hidden), x[: stop - start])
        if every:
            x = self._together("head_gather", x)[:tokens]
        else:
            x = self._last_rows(x, chunk, start)
        values = linear(x, self.ends["head"])
        self.mark("head")
        mine = part_of(self.model.vocab_size, self.tp_part, self.tp)
        return Logits((0, len(x)), (mine.start, mine.stop), values)

    def _last_rows(self, x: Tensor, chunk: Chunk, start: int) -> Tensor:
        """Of [own, hidden] divided over tp: the last token of every sequence, [sequences, hidden], on all of tp."""
        ends = torch.from_numpy(last(chunk))
        if self.replicated or self.tp == 1:
            # in decode all are: a graph could not ask which
            return x if len(ends) == len(x) else x[ends.to(self.device)]
        owner = ends // len(x)
        counts = torch.bincount(owner, minlength=self.tp).tolist()
        mine = x[(ends[owner == self.tp_part] - start).to(self.device)]
        return self.tally.traffic.gather_rows("head_gather", mine, counts, self.place.tp)


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The same bytes as ``dtype``: copied, so that rows begin where it may."""
    return x.clone(memory_format=torch.contiguous_format).view(dtype)


def _to(weights: Weights, device: torch.device) -> Weights:
    return {name: t.to(device) for name, t in weights.items()}


def _filled(x: Tensor, parts: int) -> Tensor:
    """``x`` with zero rows added until ``parts`` divide it."""
    missing = -len(x) % parts
    return x if not missing else torch.cat([x, x.new_zeros(missing, *x.shape[1:])])


def _homes(a: Assignment, model: ModelSpec, position: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(ep rank, slot), both [experts, most replicas], and the number of replicas [experts]."""
    placed = a.experts[model.moe_layers().index(position)]
    ffn = model.layers[position].ffn
    assert isinstance(ffn, MoeFfn)
    found: list[list[tuple[int, int]]] = [[] for _ in range(ffn.experts)]
    for rank, held in enumerate(placed.tolist()):
        for slot, expert in enumerate(held):
            found[expert].append((rank, slot))
    most = max(map(len, found))
    table = torch.tensor([[home[i % len(home)] for i in range(most)] for home in found], device=device)
    return table[:, :, 0], table[:, :, 1], torch.tensor([len(home) for home in found], device=device)
