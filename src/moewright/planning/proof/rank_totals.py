"""What the checks of a plan look at: arrays over all ranks, from the actual assignment and a sampled routing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Dispatch, Strategy
from moewright.case.tensors.layer_tensors import layer_tensors
from moewright.case.workload import Kind
from moewright.cost.attention import expanded_by_all, score_flops
from moewright.placement.assignment import Assignment, assign, held_cache_bytes, rank_share
from moewright.placement.experts import place_experts
from moewright.placement.ranks import groups_of
from moewright.planning.evaluate import Evaluation
from moewright.planning.expert_loads import expert_shares
from moewright.planning.proof.sampled_routing import sample_copies
from moewright.planning.record import Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at. ``copies``: sampled routed copies, shape [replicas, layers, ep], of one
    layer and micro-batch together; None for a dense model."""

    case: Case
    plan: Plan
    evaluation: Evaluation
    assignment: Assignment
    loads: np.ndarray | None
    copies: np.ndarray | None


def placed(case: Case, s: Strategy) -> tuple[Assignment, np.ndarray | None]:
    """Where everything is under ``s``, and the expert loads [layers or 1, experts] that the experts were
    placed by (None: uniform)."""
    moe = case.model.moe
    if moe is None:
        return assign(case.model, s, np.empty((0, s.experts.ep, 0), dtype=int)), None
    layers = len(case.model.moe_layers())
    loads = None if case.routing.uniform else expert_shares(case, moe)
    slots = place_experts(np.ones((1, moe.experts)) if loads is None else loads, s.experts.ep, s.experts.redundant)
    return assign(case.model, s, slots[np.arange(layers) % len(slots)]), loads


def gather(case: Case, plan: Plan, e: Evaluation) -> Facts:
    """The facts of ``plan``, whose evaluation is ``e``."""
    a, loads = placed(case, plan.strategy)
    moe = case.model.moe
    copies = None if moe is None else sample_copies(a, moe, tokens_per_replica(case, plan), loads)
    return Facts(case, plan, e, a, loads, copies)


def tokens_per_replica(case: Case, plan: Plan) -> int:
    return plan.batch // plan.strategy.replicas * (1 if case.workload.kind is Kind.DECODE else case.workload.sequence)


def cache_held(f: Facts) -> np.ndarray:
    """Bytes of KV cache on every rank, of all batches in the pipeline, shape [gpus]."""
    s, w = f.plan.strategy, f.case.workload
    sequences = f.plan.batch // (s.replicas * s.attention.dp)
    return held_cache_bytes(f.assignment, sequences * f.plan.throughput.batches_in_flight, w.sequence)


def flops_done(f: Facts) -> np.ndarray:
    """FLOPs of every rank in one pass, shape [gpus]: heads, widths and rows as assigned, experts as sampled."""
    a, model, w, s = f.assignment, f.case.model, f.case.workload, f.plan.strategy
    sequences = f.plan.batch / (s.replicas * s.attention.dp)
    tokens = sequences * (1 if w.kind is Kind.DECODE else w.sequence / s.attention.cp)
    own = tokens if s.experts.dispatch is Dispatch.REPLICATED else tokens / s.attention.tp
    done = np.zeros(a.gpus)
    for layer, count in a.kinds_held():
        heads = 1 / s.attention.tp
        done += count * score_flops(layer.attention, w) * sequences * heads / s.attention.cp
        for tensor in (t for t in layer_tensors(layer, model.hidden_size) if t.gemm):
            if tensor.shard == "experts" and f.copies is not None:
                per_copy = 2.0 * tensor.rows * tensor.columns / s.experts.tp
                mean = f.copies.mean(axis=1)[np.arange(s.replicas) % len(f.copies)]  # [replicas, ep]
                done += count * per_copy * mean[a.ranks.replica, a.ranks.ep]
            else:
                worked = own if tensor.kind == "router" else tokens
                if expanded_by_all(tensor, layer.attention):
                    worked = tokens * s.attention.cp
                done += count * 2.0 * tensor.parameters * rank_share(a, tensor, layer.attention) * worked
    if model.vocab_size:
        logits = tokens if w.kind is Kind.FORWARD else sequences
        # of a prompt divided over cp, the rank of the last token has the head to compute
        heads = (a.ranks.stage == s.pp - 1) & ((w.kind is Kind.FORWARD) | (a.ranks.cp == 0))
        done += heads * 2.0 * logits * model.vocab_size * model.hidden_size / s.attention.tp
    return done


def bytes_sent(f: Facts) -> np.ndarray:
    """Bytes that every rank sends in one pass, shape [gpus]; the combine's follow the sampled copies."""
    s = f.plan.strategy
    groups = groups_of(s)
    sent = np.zeros(f.case.cluster.gpus)
    uneven = np.ones_like(sent)
    if f.copies is not None:
        mean = f.copies.mean(axis=1)[np.arange(s.replicas) % len(f.copies)]
        uneven = (mean / mean.mean(axis=1, keepdims=True))[f.assignment.ranks.replica, f.assignment.ranks.ep]
    for o in f.plan.communication.operations:
        ranks = groups[o.group]
        if o.collective == "send":
            sent[ranks[:, :-1]] += o.bytes * o.count
        else:
            routed = o.name == "combine" and o.collective == "all_to_all"
            sent[ranks] += (o.bytes * uneven[ranks] if routed else o.bytes) * o.count
    return sent
