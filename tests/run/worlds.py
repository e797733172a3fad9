"""Worlds of forked ranks, for test_run: a process of its own, in which torch has run nothing yet.

python worlds.py strategies SEED COUNT | broken | dies | fails | hangs | waits
"""

import json
import multiprocessing
import os
import sys
import time
from dataclasses import replace

import numpy as np

import moewright
from moewright.case.case import Case
from moewright.case.cluster import Cluster, Device, Tier
from moewright.case.model import DenseFfn, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.precision import Precision
from moewright.case.strategy import Dispatch, Gate, StrategySpec
from moewright.case.workload import Kind, Workload
from moewright.planning.space import space
from moewright.run.execute import run
from moewright.run.options import Options
from moewright.run.ranks import launcher
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.launcher import forked
from moewright.run.ranks.progress import inside
from moewright.run.run_error import RunError

FP32 = Precision("fp32", {}, "fp32", "fp32", "fp32", "fp32")
CPU = Device("cpu", {"fp32": 1e11}, 8e9, 1e10)


def tiny(gpus, kind=0, batch=8, pass_kind=0):
    """Small models of several kinds: dense first layer, shared experts, windows, odd sizes, no vocabulary."""
    attention = SoftmaxAttention(
        4, (2, 4, 1)[kind % 3], 8, qk_norm=("head", "none")[kind % 2], window=(None, 4)[kind // 2 % 2]
    )
    norms, gated, vocabulary = (2, 0)[kind == 3], kind % 2 == 0, (96, 97, 0)[kind % 3]
    moe = Layer(attention, MoeFfn(8, 2, 32, gated=gated, shared_width=(32, 0)[kind % 2]), norms=norms)
    layers = ((Layer(attention, DenseFfn(64, gated), norms=norms),) if kind < 2 else ()) + (moe,) * 2
    model = ModelSpec(
        "tiny", 32, layers, vocabulary, kind == 1 and vocabulary > 0, final_norm=vocabulary > 0, precision=FP32
    )
    cluster = Cluster("c", gpus, 4, CPU, Tier(1e9, 1e-5), Tier(1e8, 1e-4))
    work = (Kind.FORWARD, Kind.PREFILL, Kind.DECODE)[pass_kind]
    return Case(model, cluster, Workload(work, (batch,), (8, 5)[kind % 2], causal=kind != 2), file="tiny")


def strategies(seed, count):
    """Random legal strategies on 1 to 8 ranks, each run and verified."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        kind, pass_kind = int(rng.integers(4)), int(rng.integers(3))
        case = tiny(int(rng.choice([1, 2, 4, 6, 8])), kind, int(rng.choice([8, 12, 24])), pass_kind if kind != 2 else 0)
        table = space(case).table
        rows = np.flatnonzero(table.cp > 1) if rng.integers(4) == 0 else np.flatnonzero(table.cp == 1)
        strategy, batch = table.row(int(rng.choice(rows if len(rows) else len(table))))
        if strategy.experts.dispatch is Dispatch.REPLICATED and strategy.attention.tp > 1 and rng.integers(2):
            strategy = replace(strategy, experts=replace(strategy.experts, gate=Gate.LEADER))
        plan = moewright.evaluate(case, strategy, batch)
        can = case.model.vocab_size and case.workload.causal and strategy.attention.cp == 1
        generate = int(rng.integers(2)) * 4 if can else 0
        report = run(case, plan, Options(seed=int(rng.integers(99)), timeout=60, generate=generate)).report
        fixed = (
            {}
            if generate
            else {
                o.name: round(o.bytes * o.count)
                for o in plan.communication.operations
                if o.collective != "all_to_all" and not o.name.startswith("expert_")
            }
        )
        moved = {c.name: c.bytes_moved for c in report.collectives}
        print(json.dumps({**report.to_dict(), "gpus": plan.gpus, "pp": strategy.pp, "fixed": fixed, "moved": moved}))


def broken():
    """A collective that does nothing, and one that counts too little: both must be found."""
    case = tiny(4)
    plan = moewright.evaluate(case, StrategySpec(dp=2, tp=2, ep=4, etp=1))
    Traffic.reduce_scatter, kept = lambda self, name, x, group: x[: len(x) // 2].clone(), Traffic.reduce_scatter
    lost = run(case, plan, Options(timeout=60)).report
    Traffic.reduce_scatter = kept
    add = Traffic._add
    Traffic._add = lambda self, name, size, *more, **beside: add(
        self, name, size - 4 * (name == "dispatch"), *more, **beside
    )
    short = run(case, plan, Options(timeout=60)).report
    Traffic._add = add
    false = replace(plan, memory=replace(plan.memory, weights=replace(plan.memory.weights, total=1.0)))
    wrong = run(case, false).report
    print(json.dumps([r.to_dict() for r in (lost, short, wrong)]))


#: how many ranks have come to where they hang or wait
READY = multiprocessing.get_context("fork").Value("i", 0)
RANKS, TIMEOUT = 4, 900.0


class Clock:
    """The launcher's clock, which passes ``TIMEOUT`` in the first sleep after all ranks are where they hang, wait or
    have ended: nothing depends on how fast this machine is, and what moved before the sleep moved long ago."""

    time = staticmethod(time.time)

    def __init__(self, folder):
        self.folder = folder  # where ranks leave what they found
        self.passed = 0.0

    def sleep(self, seconds):
        time.sleep(seconds)
        there = READY.value + len(list(self.folder.glob("*.pt")))
        self.passed = 2 * TIMEOUT if there >= RANKS else 0.0

    def monotonic(self):
        return time.monotonic() + self.passed


def ready():
    with READY.get_lock():
        READY.value += 1


def ends(work):
    """How a world ends in which a rank does not do its part; and what is left of it."""
    watch = launcher._watch

    def watched(processes, folder, *more):
        launcher.time = Clock(folder)
        watch(processes, folder, *more)

    launcher._watch = watched
    try:
        forked(RANKS, work, TIMEOUT)
        message = "nothing"
    except RunError as error:
        message = str(error)
    children = os.popen(f"ps -o pid= --ppid {os.getpid()} | wc -l").read()
    print(json.dumps({"message": message, "children": int(children)}))


def dies(rank, device):
    import torch.distributed as dist

    if rank == 2:
        os.kill(os.getpid(), 9)
    dist.barrier()


def hangs(rank, device):
    if rank == 1:
        ready()
        time.sleep(600)


def waits(rank, device):
    import torch.distributed as dist

    if rank == 2:
        ready()
        time.sleep(600)
    with inside:
        ready()
        dist.barrier()


def fails(rank, device):
    if rank == 3:
        raise ValueError("no such weight")
    time.sleep(600)


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "strategies":
        strategies(int(sys.argv[2]), int(sys.argv[3]))
    elif what == "broken":
        broken()
    else:
        work = {"dies": dies, "hangs": hangs, "waits": waits, "fails": fails}[what]
        ends(work)
