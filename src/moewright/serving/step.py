"""Seconds of one engine step, prompts and decodes together, from the planner's own operations.

Matrix products see the tokens of both; attention is two kernels, one of the prompts' pairs and one of the decodes'
context; experts see the tokens of all attention-dp ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import Attention, LatentAttention, Layer, LinearAttention, SoftmaxAttention
from moewright.case.precision import element_bytes
from moewright.case.strategy import Strategy
from moewright.case.workload import Kind
from moewright.cost import network
from moewright.cost.efficiency import latent_decode_seconds
from moewright.cost.operations import Operation, Pricing, layer_operations
from moewright.cost.roofline import compute_seconds, unit_of
from moewright.cost.shapes import Shapes, attention_cap, cache_bytes, shapes
from moewright.cost.table import Numbers, Table
from moewright.cost.vocabulary import embedding_operations, head_operations
from moewright.planning.evaluate import expert_load, moes, stage_counts
from moewright.serving.engines.capacity import Capacity, capacity
from moewright.serving.engines.engine import Engine

#: an operation's name → the group it is counted in; collectives are communication
_GROUPS = {
    **dict.fromkeys(("attention", "attention_projections", "output_projection"), "attention"),
    **dict.fromkeys(("experts", "router"), "experts"),
    **dict.fromkeys(("dense", "shared_experts"), "dense"),
    **dict.fromkeys(("embedding", "head"), "head"),
    "norms": "norms",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine step works on; arrays [n] or scalars. Of the fullest attention-dp rank, save ``tokens``."""

    prefill_tokens: Numbers  # new prompt tokens in this step
    prefill_pairs: Numbers  # sum over those tokens of the keys each attends to (context included)
    decode_sequences: Numbers  # sequences that decode one token (times 1 + drafts under speculation)
    decode_context: Numbers  # sum of their context tokens
    tokens: Numbers  # tokens of all attention-dp ranks together (what experts see)


class StepModel:
    """Steps of one strategy (a table of one row, as scalars), or of a table's rows, a step for each."""

    def __init__(self, case: Case, table: Table, engine: Engine, length: float | None = None) -> None:
        self.case, self.table = case, table
        s = case.serving
        self.capacity: Capacity = capacity(
            case, table, engine, length or (s.input.mean + s.output.mean if s else case.workload.sequence)
        )
        self.kv_tokens: Numbers = self.capacity.tokens
        self.dp: Numbers = table.dp

    @staticmethod
    def of(case: Case, strategy: Strategy, engine: Engine) -> StepModel:
        """The model of one strategy."""
        return StepModel(case, Table.one(strategy, strategy.replicas * strategy.attention.dp), engine)

    def seconds(self, step: Step) -> np.ndarray:
        """GPU seconds of one step through the whole model."""
        if not self.case.cluster.forwarding or self.case.cluster.gpus <= self.case.cluster.gpus_per_node:
            return np.asarray(self._seconds(step, Kind.PREFILL)[0], dtype=float)
        # steps that only decode use low-latency kernels, which send straight to the destination
        mixed, alone = self._seconds(step, Kind.PREFILL)[0], self._seconds(step, Kind.DECODE)[0]
        return np.asarray(np.where(np.asarray(step.prefill_tokens) > 0, mixed, alone), dtype=float)

    def parts(self, step: Step) -> dict[str, float]:
        """Seconds of one step (scalars) by group of operations; they add up to ``seconds``."""
        kind = Kind.PREFILL if float(step.prefill_tokens) > 0 else Kind.DECODE
        total, groups = self._seconds(step, kind)
        scale = float(total) / max(sum(float(v) for v in groups.values()), 1e-30)
        return {name: float(v) * scale for name, v in groups.items() if float(v) > 0}

    def _seconds(self, step: Step, kind: Kind) -> tuple[Numbers, dict[str, Numbers]]:
        t = self.table
        sequences = step.decode_sequences + np.where(np.asarray(step.prefill_tokens) > 0, 1, 0)
        micro = np.clip(sequences, 1, t.pp)
        parts = micro * np.where(t.two_batch, 2, 1)
        case = replace(self.case, workload=replace(self.case.workload, kind=kind))
        p = _pricing(case, t, _divided(step, parts), sequences / parts)
        times: list[Numbers] = []
        groups: dict[str, Numbers] = {}
        for layer, positions in case.model.layer_kinds():
            seconds, found = _layer(p, layer, _divided(step, parts))
            times.append(seconds)
            for name, value in found.items():
                groups[name] = groups.get(name, 0.0) + value * len(positions)
        halves = np.where(t.two_batch, 2, 1)
        ends = [embedding_operations(p), head_operations(p)]
        for o in (o for end in ends for o in end):
            name = _group(o)
            groups[name] = groups.get(name, 0.0) + o.seconds * halves
        first, last = (sum((o.seconds for o in end), start=0.0) * halves for end in ends)
        boundary = p.shapes.own * halves * case.model.hidden_size * element_bytes(case.model.precision.residual)
        hop = network.send_seconds(p.shapes.pp, boundary, case.cluster)
        return _pipeline(case, t.pp, times, (first, last), hop, micro), groups


def _divided(step: Step, parts: Numbers) -> Step:
    return Step(*(getattr(step, name) / parts for name in Step.__slots__))


def _pricing(case: Case, t: Table, step: Step, sequences: Numbers) -> Pricing:
    base = shapes(case, t)
    tokens = step.prefill_tokens + step.decode_sequences
    own = np.where(t.replicated, tokens, np.ceil(tokens / t.tp))
    routed = np.where(t.replicated, tokens, step.tokens)
    s: Shapes = replace(base, sequences=sequences, tokens=tokens, own=own, routed=routed)
    return Pricing(case, t, s, {m: expert_load(case, t, routed, m) for m in moes(case)})


def _layer(p: Pricing, layer: Layer, step: Step) -> tuple[Numbers, dict[str, Numbers]]:
    """Seconds of one layer, both halves under two_batch (as ``evaluate``: 2 · max(C, X) + min(C, X)), and by group."""
    operations = [o for o in layer_operations(p, layer) if o.name != "attention"]
    operations += _attention(p, layer.attention, step)
    halves = np.where(p.table.two_batch, 2, 1)
    groups: dict[str, Numbers] = {}
    for o in operations:
        name = _group(o)
        groups[name] = groups.get(name, 0.0) + o.seconds * halves
    compute = sum((o.seconds for o in operations if not o.collective), start=0.0)
    exchange = sum((o.seconds for o in operations if o.collective), start=0.0)
    hidden = np.where(p.table.two_batch, np.minimum(compute, exchange), 0.0)
    return (compute + exchange) * halves - hidden, groups


def _group(o: Operation) -> str:
    return "communication" if o.collective else _GROUPS.get(o.name, "other")


def _attention(p: Pricing, attention: Attention, step: Step) -> list[Operation]:
    """Scores and values of the prompts' pairs, and of the decodes against their caches."""
    tp, device = p.table.tp, p.case.cluster.device
    unit = unit_of(p.case.model.precision, "attention_scores", device)
    token, state = cache_bytes(attention, p.case.model.precision, tp)
    prompt, decode = _pair_flops(attention)
    keys = step.decode_context / np.maximum(step.decode_sequences, 1e-9)
    cap = attention_cap(attention)
    seen = step.decode_sequences * (np.minimum(keys, cap) if cap else keys)
    if isinstance(attention, LinearAttention):
        flops = prompt * step.prefill_tokens, decode * step.decode_sequences
    else:
        flops = prompt * _capped(step, cap), decode * seen
    read = seen * token + 2 * state * step.decode_sequences
    if isinstance(attention, LatentAttention) and attention.indexer:
        index = attention.index_flops
        flops = flops[0] + index * step.prefill_pairs, flops[1] + index * step.decode_context
        read = read + attention.indexer.key_bytes * (step.decode_context - seen)
    written = step.prefill_tokens * (token + 4.0 * _width(attention) / tp)
    answers = compute_seconds(flops[1] / tp, read, device, unit)
    if isinstance(attention, LatentAttention):
        answers = answers + np.where(np.asarray(step.decode_sequences) > 0, latent_decode_seconds(device), 0.0)
    return [
        Operation("attention", compute_seconds(flops[0] / tp, written, device, unit)),
        Operation("attention", answers),
    ]


def _pair_flops(a: Attention) -> tuple[float, float]:
    """FLOPs of a query and a key, all heads, in a prompt and in decode (``cost.operations.score_flops``)."""
    if isinstance(a, SoftmaxAttention):
        each = 2.0 * a.heads * (a.head_dim + a.v_dim)
        return each, each
    if isinstance(a, LinearAttention):
        return a.state_flops, a.state_flops
    assert isinstance(a, LatentAttention)  # others are refused when the case is read
    absorbed = 2.0 * a.heads * (2 * a.kv_rank + a.rope_dim)
    return absorbed if a.indexer else 2.0 * a.heads * (a.nope_dim + a.rope_dim + a.value_dim), absorbed


def _width(a: Attention) -> float:
    """Elements of a query and its output, all heads, halved: each is 2 bytes."""
    if isinstance(a, SoftmaxAttention):
        return a.heads * (a.head_dim + a.v_dim) / 2
    if isinstance(a, LinearAttention):
        return (2 * a.key_heads * a.key_dim + 3 * a.value_heads * a.value_dim) / 2
    assert isinstance(a, LatentAttention)
    return a.heads * (a.nope_dim + a.rope_dim + 3 * a.value_dim) / 2


def _capped(step: Step, cap: int | None) -> Numbers:
    """Pairs of the prompts where a query sees ``cap`` keys at most: tokens of mean k keys, taken as even from 0 to
    2k, see cap − cap²/4k of them in the mean (with k = S/2 the S·cap − cap²/2 of ``visible_pairs``)."""
    if not cap:
        return step.prefill_pairs
    mean = step.prefill_pairs / np.maximum(step.prefill_tokens, 1e-9)
    return step.prefill_tokens * np.where(2 * mean > cap, cap - cap**2 / np.maximum(4 * mean, 1e-9), mean)


def _pipeline(
    case: Case, pp: Numbers, times: list[Numbers], ends: tuple[Numbers, Numbers], hop: Numbers, micro: Numbers
) -> Numbers:
    """Seconds in which every sequence has passed all stages: ``micro`` parts go round (``evaluate._pipeline``)."""
    found: Numbers = 0.0
    for stages in np.unique(pp):
        counts = stage_counts(case, int(stages))
        each = [sum((n * t for n, t in zip(row, times, strict=True)), start=0.0) for row in counts]
        each[0] = each[0] + ends[0]
        each[-1] = each[-1] + ends[1]
        slowest, through = each[0], sum(each)
        for other in each[1:]:
            slowest = np.maximum(slowest, other)
        seconds = np.maximum(micro * slowest, through + (stages if stages > 1 else 0) * hop)
        found = seconds if np.ndim(pp) == 0 else np.where(pp == stages, seconds, found)
    return found
