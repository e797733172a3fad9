"""One rank's forward pass under a strategy: the operations that ``cost.operations`` prices, in their order."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.errors import MoewrightError
from moewright.place.assignment import Assignment
from moewright.run import layers
from moewright.run.mesh import Place
from moewright.run.traffic import Traffic
from moewright.run.weights import RandomSource, layer_weights, vocabulary_weights
from moewright.spec.case import Case
from moewright.spec.model import ModelSpec, MoeFfn, SoftmaxAttention
from moewright.spec.strategy import Dispatch, Overlap
from moewright.spec.workload import Kind


class RunError(MoewrightError):
    """A plan that cannot be run here, or a run that failed; the message names the cause, and the rank."""

    exit_status = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the output: ``rows`` of the tokens of sequences ``first`` … , ``columns`` of the width."""

    first: int
    sequences: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    values: Tensor


@dataclass(slots=True)
class Outcome:
    """What a rank has to tell after its pass. ``copies``: routed copies its experts computed, by layer."""

    pieces: list[Piece] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    copies: dict[int, int] = field(default_factory=dict)
    weight_bytes: int = 0


def refuse(case: Case) -> None:
    """Raises RunError for what the executor does not run yet."""
    model, w = case.model, case.workload
    if w.kind is not Kind.FORWARD:
        raise RunError(f"{case.file}: workload.kind: {w.kind} is not run yet; expected forward")
    for layer, _ in model.layer_kinds():
        a, ffn = layer.attention, layer.ffn
        if not isinstance(a, SoftmaxAttention) or a.sinks or a.output_gate or a.qkv_bias or a.output_bias:
            raise RunError(f"{case.file}: model.attention: this kind is not run yet; expected plain mha or gqa")
        if a.qk_norm == "full" or layer.norms not in (0, 2) or layer.norm_bias:
            raise RunError(f"{case.file}: model.norms: expected two plain ones a layer, or none")
        if ffn.bias or (isinstance(ffn, MoeFfn) and (ffn.groups > 1 or ffn.shared_gate or ffn.router_bias)):
            raise RunError(f"{case.file}: model.experts: biases, groups and shared gates are not run yet")


class Shard:
    """What one rank holds, and its pass over the batch."""

    def __init__(self, case: Case, place: Place, assignment: Assignment, source: RandomSource) -> None:
        self.case, self.place, self.assignment, self.source = case, place, assignment, source
        self.model: ModelSpec = case.model
        s = place.strategy
        self.replicated = s.experts.dispatch is Dispatch.REPLICATED
        self.outcome = Outcome()
        self.positions = assignment.layers[place.at("stage")]
        self.first, self.last = place.at("stage") == 0, place.at("stage") == s.pp - 1
        self.weights = {i: layer_weights(source, self.model, assignment, i, place.rank) for i in self.positions}
        self.ends = vocabulary_weights(source, self.model, s.attention.tp, place.at("tp"), self.first, self.last)
        held = {id(t): t for w in (*self.weights.values(), self.ends) for t in w.values()}
        self.outcome.weight_bytes = sum(t.numel() * t.element_size() for t in held.values())
        self.homes = {i: _homes(assignment, self.model, i) for i in self.positions if _moe(self.model, i)}

    def forward(self, batch: int) -> Outcome:
        """The pass over ``batch`` sequences of the whole cluster; this rank's part of the output."""
        s = self.place.strategy
        each = batch // (s.replicas * s.attention.dp)
        first = (self.place.at("replica") * s.attention.dp + self.place.at("dp")) * each
        halves = 2 if s.overlap is Overlap.TWO_BATCH else 1
        size = each // s.micro_batches // halves
        rows = self._own(size)
        for micro in range(s.micro_batches):
            if not self.first:
                whole = torch.empty(halves * rows, self.model.hidden_size)
                dist.recv(whole, self.place.previous)
            done = []
            for half in range(halves):
                start = first + (micro * halves + half) * size
                x = self._embed(start, size) if self.first else whole[half * rows : (half + 1) * rows]
                for position in self.positions:
                    x = self._layer(position, x, size)
                done.append(x)
                if self.last:
                    self._finish(x, start, size)
            if not self.last:
                self.outcome.traffic.send("stage_transfer", torch.cat(done), self.place.next)
        return self.outcome

    def _own(self, sequences: int) -> int:
        """Rows of a chunk that this rank holds between attention and experts."""
        tokens, tp = sequences * self.case.workload.sequence, self.place.strategy.attention.tp
        return tokens if self.replicated else -(-tokens // tp)

    def _mine(self, whole: Tensor) -> Tensor:
        """This rank's rows of [tokens, …], filled up with zeros to equal parts."""
        if self.replicated:
            return whole
        tp, part = self.place.strategy.attention.tp, self.place.at("tp")
        return _filled(whole, tp).chunk(tp)[part]

    def _embed(self, first: int, sequences: int) -> Tensor:
        length, model = self.case.workload.sequence, self.model
        names = range(first, first + sequences)
        if not model.vocab_size:
            return self._mine(torch.cat([self.source.inputs(i, length, model.hidden_size) for i in names]))
        ids = torch.cat([self.source.tokens(i, length, model.vocab_size) for i in names])
        start, stop = self._vocabulary()
        here = (ids >= start) & (ids < stop)
        part = torch.zeros(len(ids), model.hidden_size)
        part[here] = self.ends["embedding"][ids[here] - start]
        if self.replicated:
            return self.outcome.traffic.all_reduce("embedding_reduce", part, self.place.tp)
        filled = _filled(part, self.place.strategy.attention.tp)
        return self.outcome.traffic.reduce_scatter("embedding_reduce", filled, self.place.tp)

    def _vocabulary(self) -> tuple[int, int]:
        tp, part = self.place.strategy.attention.tp, self.place.at("tp")
        parts = torch.arange(self.model.vocab_size).tensor_split(tp)[part]
        return int(parts[0]), int(parts[-1]) + 1

    def _layer(self, position: int, x: Tensor, sequences: int) -> Tensor:
        layer, w = self.model.layers[position], self.weights[position]
        tokens = sequences * self.case.workload.sequence
        assert isinstance(layer.attention, SoftmaxAttention)
        whole = self._together("attention_gather", layers.rms_norm(x, w.get("norm0")))[:tokens]
        out = layers.attention(whole, w, layer.attention, sequences, self.case.workload.causal)
        x = x + self._apart("attention_reduce", out)
        normed = layers.rms_norm(x, w.get("norm1"))
        ffn = layer.ffn
        if not isinstance(ffn, MoeFfn):
            whole = self._together("dense_gather", normed)[:tokens]
            return x + self._apart("dense_reduce", layers.mlp(whole, w["up"], w["down"], ffn.gated))
        shared = self._shared(normed, w, ffn, tokens)
        experts, weights = layers.route(normed, w["router"], ffn)
        real = max(0, min(tokens - self._offset(len(normed)), len(normed)))  # rows that are not filling
        if self.replicated:
            return x + self._here(position, normed, experts, weights, ffn, shared)
        routed = self._exchanged(position, normed[:real], experts[:real], weights[:real], ffn)
        x = x.clone() if shared is None else x + shared
        x[:real] += routed
        return x

    def _offset(self, rows: int) -> int:
        return 0 if self.replicated else self.place.at("tp") * rows

    def _together(self, name: str, x: Tensor) -> Tensor:
        """Tokens divided over tp, all of them."""
        return x if self.replicated else self.outcome.traffic.all_gather(name, x, self.place.tp)

    def _apart(self, name: str, partial: Tensor) -> Tensor:
        """Partial sums [tokens, hidden] of the tp ranks → the sum, of this rank's tokens."""
        if self.replicated:
            return self.outcome.traffic.all_reduce(name, partial, self.place.tp)
        return self.outcome.traffic.reduce_scatter(
            name, _filled(partial, self.place.strategy.attention.tp), self.place.tp
        )

    def _shared(self, x: Tensor, w: dict[str, Tensor], ffn: MoeFfn, tokens: int) -> Tensor | None:
        if not ffn.shared_width:
            return None
        if self.replicated:  # added in the combine, by one of the groups that repeat the attention
            part = layers.mlp(x, w["shared_up"], w["shared_down"], ffn.shared_gated)
            return part if self.place.at("repeat") == 0 else torch.zeros_like(part)
        whole = self._together("shared_gather", x)[:tokens]
        return self._apart("shared_reduce", layers.mlp(whole, w["shared_up"], w["shared_down"], ffn.shared_gated))

    def _homes_of(self, position: int, experts: Tensor) -> tuple[Tensor, Tensor]:
        """(ep rank, slot), both [tokens, top_k], where each choice is computed: replicas in turn."""
        ranks, slots, copies = self.homes[position]
        turn = torch.arange(len(experts))[:, None] % copies[experts]
        return ranks[experts, turn], slots[experts, turn]

    def _here(
        self, position: int, x: Tensor, experts: Tensor, weights: Tensor, ffn: MoeFfn, shared: Tensor | None
    ) -> Tensor:
        """Every rank has all tokens: each computes the experts it holds, one all-reduce adds up."""
        ranks, slots = self._homes_of(position, experts)
        local = torch.where(ranks == self.place.at("ep"), slots, -1)
        out = self._compute(position, x, local, weights, ffn)
        if shared is not None:
            out = out + shared
        return self.outcome.traffic.all_reduce("combine", out, self.place.stage)

    def _compute(self, position: int, x: Tensor, slots: Tensor, weights: Tensor, ffn: MoeFfn) -> Tensor:
        w = self.weights[position]
        done = self.outcome.copies
        done[position] = done.get(position, 0) + int((slots >= 0).sum())
        return layers.grouped(x, slots, weights, w["experts_up"], w["experts_down"], ffn.gated)

    def _exchanged(self, position: int, x: Tensor, experts: Tensor, weights: Tensor, ffn: MoeFfn) -> Tensor:
        """Tokens travel to the ep ranks of their experts, once to each, and their sums back."""
        traffic, ep, etp = self.outcome.traffic, self.place.ep, self.place.etp
        ranks, slots = self._homes_of(position, experts)
        size, k = dist.get_world_size(ep), experts.shape[1]
        goes = torch.zeros(len(x), size, dtype=torch.bool).scatter_(1, ranks, True)
        to, row = goes.T.nonzero(as_tuple=True)  # by destination, then by token
        send = goes.sum(0).tolist()
        receive = traffic.counts_of(send, ep)
        local = torch.where(ranks[row] == to[:, None], slots[row], -1)
        rows = torch.cat([x[row], local.to(x.dtype), weights[row]], dim=1)
        rows = traffic.exchange("dispatch", rows, send, receive, ep, 2 * k)

        members, mine = dist.get_world_size(etp), len(rows)
        counts = traffic.counts_of([mine] * members, etp)
        if members > 1:
            rows = traffic.exchange("expert_gather", rows.repeat(members, 1), [mine] * members, counts, etp, 2 * k)
        every, chosen = rows[:, : -2 * k], rows[:, -2 * k :]
        part = self._compute(position, every, chosen[:, :k].long(), chosen[:, k:], ffn)
        parts = traffic.exchange("expert_reduce", part, counts, [mine] * members, etp)
        total = parts.view(members, mine, x.shape[1]).sum(0)
        back = traffic.exchange("combine", total, receive, send, ep)
        return torch.zeros_like(x).index_add_(0, row, back)

    def _finish(self, x: Tensor, first: int, sequences: int) -> None:
        """The final norm and the logits; what this rank has of the output."""
        tokens = sequences * self.case.workload.sequence
        x = layers.rms_norm(x, self.ends.get("final_norm"))
        if self.place.at("repeat"):
            return
        if self.model.vocab_size:
            whole = self._together("head_gather", x)[:tokens]
            values = whole @ self.ends["head"].T
            rows, columns = (0, tokens), self._vocabulary()
        else:
            start = self._offset(len(x))
            stop = min(start + len(x), tokens)
            values = x[: max(stop - start, 0)]
            rows, columns = (start, max(stop, start)), (0, self.model.hidden_size)
        if not (self.replicated and not self.model.vocab_size and self.place.at("tp")):
            self.outcome.pieces.append(Piece(first, sequences, rows, columns, values))


def _moe(model: ModelSpec, position: int) -> bool:
    return isinstance(model.layers[position].ffn, MoeFfn)


def _filled(x: Tensor, parts: int) -> Tensor:
    """``x`` with zero rows added until ``parts`` divide it."""
    missing = -len(x) % parts
    return x if not missing else torch.cat([x, x.new_zeros(missing, *x.shape[1:])])


def _homes(a: Assignment, model: ModelSpec, position: int) -> tuple[Tensor, Tensor, Tensor]:
    """(ep rank, slot), both [experts, most replicas], and the number of replicas [experts]."""
    placed = torch.tensor(a.experts[model.moe_layers().index(position)])
    ffn = model.layers[position].ffn
    assert isinstance(ffn, MoeFfn)
    found: list[list[tuple[int, int]]] = [[] for _ in range(ffn.experts)]
    for rank, held in enumerate(placed.tolist()):
        for slot, expert in enumerate(held):
            found[expert].append((rank, slot))
    most = max(map(len, found))
    table = torch.tensor([[home[i % len(home)] for i in range(most)] for home in found])
    return table[:, :, 0], table[:, :, 1], torch.tensor([len(home) for home in found])
