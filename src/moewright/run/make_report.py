"""What a run showed, in one record."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from moewright.case.case import Case
from moewright.case.precision import Precision
from moewright.case.tensors.layer_tensors import layer_tensors
from moewright.case.workload import Kind
from moewright.errors import MoewrightError
from moewright.planning.record import Plan
from moewright.planning.search import evaluate
from moewright.run.make_job import Setting
from moewright.run.ranks import launcher
from moewright.run.ranks.job import Job, Outcome
from moewright.run.verification.verify import Findings, Generation, Overhead, Report, compare, inputs_of, memory_lines


def make_report(s: Setting, outcomes: list[Outcome], whole: float) -> Report:
    """The report of a run of ``whole`` seconds."""
    job, o, plan = s.job, s.options, s.plan
    ran = len(outcomes[0].ended)
    load, forward = max(x.load for x in outcomes), max(x.ended[-1] for x in outcomes)
    same = _same_weights(s.case.model.precision, job)
    if o.verify:
        with torch.no_grad():
            found = compare(job, outcomes, plan if same else None)
    else:
        found = Findings()
    memory = {
        line: {
            "predicted_min": min(wanted),
            "predicted_max": max(wanted),
            "held_min": min(held),
            "held_max": max(held),
        }
        for line, held, wanted in memory_lines(job, outcomes)
    }
    threads = torch.get_num_threads() if plan.gpus == 1 else 1
    return Report(
        plan.gpus,
        plan.name,
        s.case.model.name,
        s.weights,
        s.precision,
        _device(s.device, threads, outcomes),
        found.error,
        found.largest,
        found.moved,
        memory,
        found.copies,
        {"launch": max(whole - load - forward, 0.0), "load": load, "forward": forward},
        o.verify and not found.failures,
        tuple(found.failures),
        _generation(s, outcomes, ran) if o.generate else None,
        _operations(outcomes),
        _overhead(outcomes, forward) if s.device.type == "cpu" and plan.gpus > 1 else None,
        None if s.fp8 is None else s.fp8.says,
        s.checksums,
    )


def _device(device: torch.device, threads: int, outcomes: list[Outcome]) -> str:
    if device.type == "cuda":
        return "cuda, decode as a graph" if outcomes[0].graph else "cuda"
    return f"cpu, {threads} thread{'s' if threads > 1 else ''} a rank"


def _same_weights(priced: Precision, job: Job) -> bool:
    """Whether the run's weights have the formats that the plan prices."""
    if job.eight is None:
        return priced == job.model.precision
    tensors = (t for layer, _ in job.model.layer_kinds() for t in layer_tensors(layer, job.model.hidden_size))
    kinds = {t.kind for t in tensors if t.kind in ("attention", "experts", "shared_experts", "dense")}
    eights = {priced.weight(kind) for kind in kinds} <= {"fp8", "fp8_block"}
    return eights and job.eight.every and priced.default == job.model.precision.default


def _operations(outcomes: list[Outcome]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, seconds in ((n, s) for o in outcomes if o.clock for n, s in o.clock.spent.items()):
        total[name] = total.get(name, 0.0) + seconds / len(outcomes)
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def _overhead(outcomes: list[Outcome], forward: float) -> Overhead | None:
    """Of ranks that share this machine; those of several have cores of their own that are not known here."""
    if launcher.under_torchrun():
        return None
    cores = min(len(os.sched_getaffinity(0)), len(outcomes))
    computation = sum(o.clock.computing for o in outcomes if o.clock) / cores
    return Overhead(computation, cores, forward / computation) if computation else None


def _generation(s: Setting, outcomes: list[Outcome], ran: int) -> Generation:
    job, t = s.job, s.tokenizer
    _, generated = inputs_of(job, outcomes, ran)
    asked = len(s.options.prompts) or len(job.prompts)
    ids = [_until_stop(generated[i], job.stop) for i in range(asked)]
    ttft = max(x.ended[0] for x in outcomes)
    ended = [max(times) for times in zip(*(x.ended for x in outcomes), strict=True)]
    more = [len(i) - 1 for i in ids if len(i) > 1]
    tpot = sum(ended[n] - ttft for n in more) / sum(more) if more else None
    batch, longest = len(job.prompts), max(job.lengths)
    return Generation(
        tuple(map(tuple, ids)),
        ttft,
        tpot,
        sum(map(len, ids)) / ended[max(map(len, ids), default=1) - 1],
        _predicted(s.case, s.plan, Kind.PREFILL, batch, longest),
        _predicted(s.case, s.plan, Kind.DECODE, batch, longest + ran // 2),
        None if t is None else tuple(t.decode(i) for i in ids),
    )


def _until_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in stop), len(ids))
    return ids[:end]


def _predicted(case: Case, plan: Plan, kind: Kind, batch: int, sequence: int) -> float | None:
    """Seconds that the cost model gives a pass of ``kind``; None where the plan's strategy is not legal for it."""
    workload = replace(case.workload, kind=kind, batch=(batch,), sequence=sequence)
    try:
        found = evaluate(replace(case, workload=workload, goal=type(case.goal)()), plan.strategy, batch)
    except MoewrightError:
        return None
    return found.latency.seconds
