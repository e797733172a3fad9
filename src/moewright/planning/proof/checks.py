"""The checks of a plan, each computed from the actual assignment of all ranks, with its derivation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.tensors.layer_tensors import layer_tensors, total_parameters
from moewright.case.workload import Kind
from moewright.placement.assignment import (
    Assignment,
    attention_copies,
    expert_copies,
    experts_held,
    held_parameters,
    held_weight_bytes,
    rank_share,
)
from moewright.placement.ranks import groups_of
from moewright.planning.bounds import model_flops
from moewright.planning.choosing.limits import limits_of, own_limit
from moewright.planning.evaluate import Evaluation
from moewright.planning.proof.rank_totals import Facts, bytes_sent, cache_held, flops_done, gather, tokens_per_replica
from moewright.planning.record import Check, Plan, Spread, Status
from moewright.units import format_bytes, format_count, format_flops, format_seconds

#: largest over mean from which a spread is a warning
UNEVEN = 1.1


def checked(case: Case, plan: Plan, e: Evaluation) -> Plan:
    """``plan`` with its checks, and the spreads over ranks that they found."""
    facts = gather(case, plan, e)
    held = held_weight_bytes(facts.assignment) + cache_held(facts)
    flops, sent = flops_done(facts), bytes_sent(facts)
    copies = facts.copies
    balance = replace(
        plan.balance,
        experts_per_gpu=_spread(experts_held(facts.assignment)),
        tokens_per_gpu_sampled=None if copies is None else _spread(copies),
        memory_per_gpu=_spread(held),
        flops_per_gpu=_spread(flops),
        bytes_per_gpu=_spread(sent),
    )
    checks = [check for make in CHECKS for check in make(facts)]
    checks += [
        _even("memory_balanced", "weights and KV cache", held, format_bytes),
        _even("compute_balanced", "FLOPs of a pass, routing sampled", flops, format_flops),
        _even("communication_balanced", "bytes sent in a pass, routing sampled", sent, format_bytes),
        _conserved_flops(facts, flops),
    ]
    return replace(plan, balance=balance, checks=tuple(checks))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _spread(values: np.ndarray) -> Spread:
    return Spread(float(values.min()), float(values.max()))


def _verdict(good: bool, otherwise: Status = Status.FAIL) -> Status:
    return Status.PASS if good else otherwise


def group_sizes(f: Facts) -> Iterator[Check]:
    """The sizes of the two foldings multiply to the GPUs."""
    s = f.plan.strategy
    a, e, gpus = s.attention, s.experts, f.case.cluster.gpus
    attention, experts = a.repeated * a.dp * a.cp * a.tp, e.ep * e.tp
    whole = s.replicas * s.pp * attention
    yield Check(
        "group_sizes",
        _verdict(whole == gpus and attention == experts),
        f"replicas {s.replicas} × pp {s.pp} × repeated {a.repeated} × dp {a.dp} × cp {a.cp} × tp {a.tp} = {whole}, "
        f"GPUs {gpus}; a stage as ep {e.ep} × experts' tp {e.tp} = {experts}, as attention {attention}",
    )


def group_membership(f: Facts) -> Iterator[Check]:
    """Every rank is in exactly one group of each kind."""
    wrong = [
        kind
        for kind, ranks in groups_of(f.plan.strategy).items()
        if not np.array_equal(np.sort(ranks, axis=None), np.arange(f.case.cluster.gpus))
    ]
    kinds = ", ".join(f"{len(r)} {kind} of {r.shape[1]}" for kind, r in groups_of(f.plan.strategy).items())
    yield Check(
        "group_membership",
        _verdict(not wrong),
        f"each of {f.case.cluster.gpus} ranks once in: {kinds}" if not wrong else f"not once each in {wrong}",
    )


def modules_placed(f: Facts) -> Iterator[Check]:
    """Every expert slice and attention head of every layer is somewhere, and as often as the strategy says."""
    s, model = f.plan.strategy, f.case.model
    covered = sorted(p for held in f.assignment.layers for p in held)
    complete = covered == list(range(len(model.layers)))
    heads = attention_copies(f.assignment)
    want = s.attention.repeated * s.attention.dp * s.attention.cp
    for position, layer in enumerate(model.layers):
        complete &= bool((heads[position, : layer.attention.heads] == want).all())
    m = f.plan.modules
    text = f"{m.attention} attentions, each{_slices(s.attention.tp)} {want} times in a replica"
    text = text.replace(" 1 times", " once")
    if model.moe is not None:
        copies = expert_copies(f.assignment)
        extra = int((copies.sum(axis=1) - copies.shape[1]).max())
        complete &= bool((copies >= 1).all()) and extra == s.experts.redundant
        more = f" and {_counted(extra, 'further slot')} a layer" if extra else ""
        text = f"{m.experts} experts, each{_slices(copies.shape[2])} once{more} in a replica; {text}"
    text += (
        f"; {m.total} modules × {_counted(s.replicas, 'replica')} over {f.case.cluster.gpus} GPUs = "
        f"{m.per_gpu:.6g} per GPU; "
        f"{_where(f.assignment)}"
    )
    yield Check("modules_placed", _verdict(complete), text)


def _slices(count: int) -> str:
    return f" in {count} slices" if count > 1 else ""


def _where(a: Assignment) -> str:
    """Where the modules of the first and the last rank of a replica are."""
    parts = []
    last = int(np.flatnonzero(a.ranks.replica == 0)[-1])
    for rank in dict.fromkeys((0, last)):
        held = a.layers[a.ranks.stage[rank]]
        text = f"rank {rank} holds layers {held.start}-{held.stop - 1}"
        if len(a.experts):
            ids = a.experts[0][a.ranks.ep[rank]]
            run = len(ids) > 1 and ids[-1] - ids[0] == len(ids) - 1
            shown = f"{ids[0]}-{ids[-1]}" if run else ", ".join(map(str, ids[:8])) + (" …" if len(ids) > 8 else "")
            text += f", expert{'s' if len(ids) > 1 else ''} {shown}"
            if a.strategy.experts.tp > 1:
                text += f" slice {a.ranks.etp[rank] + 1} of {a.strategy.experts.tp}"
        parts.append(text)
    return ", ".join(parts)


def memory_fits(f: Facts) -> Iterator[Check]:
    """The fullest GPU holds no more than the capacity less the reserve."""
    m = f.plan.memory
    yield Check(
        "memory_fits",
        _verdict(m.total <= m.usable),
        f"weights {format_bytes(m.weights.total)} + KV cache {format_bytes(m.kv_cache)} + activations "
        f"{format_bytes(m.activations)} + buffers {format_bytes(m.buffers)} = {format_bytes(m.total)} of "
        f"{format_bytes(m.usable)} usable ({format_bytes(m.capacity)} less a reserve of {f.case.cluster.reserve:.0%})",
    )


def bound(f: Facts) -> Iterator[Check]:
    """The projection is not below what the hardware could do at best."""
    latency = f.plan.latency
    yield Check(
        "not_below_bound",
        _verdict(latency.seconds >= latency.bound_seconds * (1 - 1e-9)),
        f"{format_seconds(latency.seconds)} is {latency.seconds / latency.bound_seconds:.3f} × the bound of "
        f"{format_seconds(latency.bound_seconds)}: {latency.bound_reason}",
    )
    parts = sum(latency.breakdown.values())
    yield Check(
        "latency_adds_up",
        _verdict(abs(parts - latency.seconds) <= 1e-9 * latency.seconds),
        f"the terms of the breakdown add up to {format_seconds(parts)}",
    )


def limits_met(f: Facts) -> Iterator[Check]:
    """TTFT and TPOT are within the limits, where these are given."""
    limits, taken = limits_of(f.case), f.plan.latency
    if not limits:
        return
    seconds = {"ttft": taken.ttft_seconds, "tpot": taken.tpot_seconds}
    parts = [
        f"{name} {format_seconds(seconds[name] or 0.0)} of {format_seconds(limit)}" for name, limit in limits.items()
    ]
    if len(limits) > 1 or own_limit(f.case) not in limits:
        s, w = f.plan.strategy, f.case.workload
        if w.kind is Kind.DECODE:
            ranks = _counted(s.replicas * s.attention.dp, "attention rank")
            parts.append(f"ttft is the prefill of one prompt of {w.sequence} tokens on each of {ranks}, none waiting")
        else:
            parts.append(f"tpot is a decode step of {f.plan.batch} sequences with {w.sequence} tokens of context")
    met = all((seconds[name] or 0.0) <= limit for name, limit in limits.items())
    yield Check("limits_met", _verdict(met), "; ".join(parts))


def parameters_conserved(f: Facts) -> Iterator[Check]:
    """Distinct shards of one replica add up to the model's parameters; what is held more often is said."""
    a, model, s = f.assignment, f.case.model, f.plan.strategy
    held = held_parameters(a)
    total = total_parameters(model)
    distinct = total if _covers(f) else 0
    copies = float(held.sum()) / total
    yield Check(
        "parameters_conserved",
        _verdict(_covers(f) and float(held[a.ranks.replica == 0].sum()) >= total * (1 - 1e-9)),
        f"the shards of one replica cover {format_count(distinct)} of the model's {format_count(total)} parameters; "
        f"all ranks hold {format_count(float(held.sum()))}, {copies:.4g} times the model in "
        f"{_counted(s.replicas, 'replica')}",
    )


def _covers(f: Facts) -> bool:
    """Whether every tensor's shards on the ranks of one replica make it whole."""
    a, first = f.assignment, f.assignment.ranks.replica == 0
    for layer, positions in f.case.model.layer_kinds():
        here = np.flatnonzero(first & a.stage_mask(positions[0]))
        for tensor in layer_tensors(layer, f.case.model.hidden_size):
            share = rank_share(a, tensor, layer.attention)[here]
            folded = a.ranks.ep[here] * a.strategy.experts.tp + a.ranks.etp[here]
            place = folded if tensor.shard == "experts" else a.ranks.tp[here]
            if tensor.shard == "none":
                place = np.zeros_like(place)
            _, one_each = np.unique(place, return_index=True)
            if share[one_each].sum() < 1 - 1e-9:
                return False
    return True


def tokens_conserved(f: Facts) -> Iterator[Check]:
    """Sequences over the attention ranks add up to the batch, routed copies to tokens times top_k."""
    s, w = f.plan.strategy, f.case.workload
    each = f.plan.batch // (s.replicas * s.attention.dp)
    groups = len(np.unique(np.stack([f.assignment.ranks.replica, f.assignment.ranks.dp]), axis=1).T)
    per_sequence = 1 if w.kind is Kind.DECODE else w.sequence
    text = f"{_counted(groups, 'attention group')} × {_counted(each, 'sequence')} = batch {f.plan.batch}"
    if s.attention.repeated > 1:
        text += f", each computed by {s.attention.repeated} tp groups"
    good = groups * each == f.plan.batch
    if f.copies is not None and f.case.model.moe is not None:
        tokens = tokens_per_replica(f.case, f.plan)
        expected = tokens * f.case.model.moe.top_k
        sums = f.copies.sum(axis=2)
        good &= bool(np.allclose(sums, expected))
        text += (
            f"; each replica's ranks compute {format_count(float(sums.mean()))} routed copies a layer = "
            f"{format_count(tokens)} tokens × top {f.case.model.moe.top_k}"
        )
    yield Check(
        "tokens_conserved", _verdict(good), f"{text}; {format_count(f.plan.batch * per_sequence)} tokens in all"
    )


def straggler_seen(f: Facts) -> Iterator[Check]:
    """The straggler that the plan counts with, beside the one of the sample."""
    if f.copies is None or f.plan.strategy.experts.ep == 1:
        return
    s = f.plan.strategy
    parts = s.micro_batches * (2 if s.overlap == "two_batch" else 1)
    seen = float((f.copies.max(axis=2) / f.copies.mean(axis=2)).mean())
    said = f.plan.balance.straggler
    routing = "uniform" if f.loads is None else f.case.routing.source
    chunked = f"; priced per chunk, of which a pass has {parts}" if parts > 1 else ""
    # chunks of a batch are smaller than the batch that was sampled, and fluctuate more
    close = abs(said - seen) <= 0.1 * seen if parts == 1 else said >= 0.95 * seen
    yield Check(
        "experts_balanced",
        _verdict(close and said <= UNEVEN, Status.WARN),
        f"{routing} routing: the fullest of {s.experts.ep} ep ranks gets {said:.4f} times the mean tokens{chunked}; in "
        f"the sample ({_counted(f.copies.shape[0], 'replica')} × {_counted(f.copies.shape[1], 'layer')}) "
        f"{seen:.4f}, from "
        f"{f.copies.min():.6g} to {f.copies.max():.6g} routed copies on a rank",
    )


def _even(name: str, what: str, values: np.ndarray, show: Callable[[float], str]) -> Check:
    low, high, mean = float(values.min()), float(values.max()), float(values.mean())
    spread = float(values.std())
    ratio = high / mean if mean else 1.0
    return Check(
        name,
        _verdict(ratio <= UNEVEN, Status.WARN),
        f"{what} over {len(values)} ranks: from {show(low)} to {show(high)}, mean {show(mean)}, standard deviation "
        f"{show(spread)}; the fullest has {ratio:.4f} times the mean",
    )


def _conserved_flops(f: Facts, flops: np.ndarray) -> Check:
    """FLOPs over all ranks against the model's: more is work done more than once."""
    total, done = sum(model_flops(f.case, f.plan.batch).values()), float(flops.sum())
    ratio = done / total
    status = Status.FAIL if ratio < 1 - 1e-6 else _verdict(ratio <= 1.005, Status.WARN)
    repeated = "" if ratio <= 1 + 1e-6 else f": {format_flops(done - total)} are work done more than once"
    return Check(
        "flops_conserved",
        status,
        f"all ranks together do {format_flops(done)}, {ratio:.4f} times the model's {format_flops(total)}{repeated}",
    )


CHECKS: tuple[Callable[[Facts], Iterator[Check]], ...] = (
    group_sizes,
    group_membership,
    modules_placed,
    memory_fits,
    bound,
    limits_met,
    parameters_conserved,
    tokens_conserved,
    straggler_seen,
)
