"""How fast the planner is: a cold command in CPU seconds, the search alone, strategies a second."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "examples" / "paper.yaml"


def run() -> list[dict[str, Any]]:
    """One row per measurement: the median of several, its target, and the ratio to the target."""
    import moewright
    from moewright.case.catalogue.hardware_catalogue import load_cluster
    from moewright.planning.search import search

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    rows = [
        _row("plan examples/paper.yaml, CPU s of a cold process", _cold("plan", str(PAPER), "--json"), 0.8),
        _row("moewright --help, CPU s of a cold process", _cold("--help"), 0.5),
        _row("import moewright, CPU s over a bare interpreter", _import(), 0.3),
    ]
    paper = moewright.load(PAPER)
    served = moewright.load(ROOT / "examples" / "deepseek-v3-prefill.yaml")
    cases = [("the document's 128 GPUs", paper, 0.05)]
    for gpus, target in ((1024, 0.3), (16384, 2.0)):
        scaled = replace(
            served,
            cluster=load_cluster("h200-hgx", gpus),
            workload=replace(served.workload, batch=(gpus,)),
        )
        cases.append((f"DeepSeek-V3 prefill on {gpus} GPUs", scaled, target))
    for name, case, target in cases:
        seconds, candidates = [], 0
        for _ in range(5):
            start = time.perf_counter()
            candidates = search(case).candidates
            seconds.append(time.perf_counter() - start)
        rows.append(_row(f"search, {name}, s", statistics.median(seconds), target))
        rate = candidates / statistics.median(seconds)
        rows.append({"what": f"strategies a second, {name}", "value": rate, "target": 2e5, "ratio": rate / 2e5})
        print(f"{rows[-1]['what']:62s} {rate:12,.0f}  (at least 200,000; {candidates} candidates)")
    return rows + _serving() + _placing()


def _serving() -> list[dict[str, Any]]:
    """Ten thousand requests simulated."""
    import moewright

    case = moewright.load(ROOT / "examples" / "serve-gpt-oss.yaml")
    assert case.serving is not None
    many = replace(case, serving=replace(case.serving, requests=10_000))
    start = time.process_time()
    moewright.serve(many)
    return [_row("serve, 10,000 requests, CPU s", time.process_time() - start, 10.0)]


def _placing() -> list[dict[str, Any]]:
    """Experts of all layers placed: CPU seconds, after a first layer (which reads what was compiled)."""
    import numpy as np

    import moewright

    rows = []
    for layers, experts, slots, gpus in ((58, 256, 288, 72), (58, 256, 512, 128), (61, 384, 960, 320)):
        loads = np.random.default_rng(0).dirichlet(np.full(experts, 0.3), layers)
        moewright.place(loads[:1], slots=slots, gpus=gpus)
        start = time.process_time()
        moewright.place(loads, slots=slots, gpus=gpus)
        what = f"place {layers} layers of {experts} experts on {slots} slots of {gpus} GPUs, CPU s"
        rows.append(_row(what, time.process_time() - start, 2.0))
    return rows


def _row(what: str, value: float, target: float) -> dict[str, Any]:
    print(f"{what:62s} {value:12.3f}  of {target} allowed, {value / target:.2f}")
    return {"what": what, "value": value, "target": target, "ratio": value / target}


def _cold(*arguments: str) -> float:
    """CPU seconds (user and system) of ``moewright`` with ``arguments``, the median of five processes."""
    return statistics.median(_cpu([sys.executable, "-m", "moewright", *arguments]) for _ in range(5))


def _import() -> float:
    full = statistics.median(_cpu([sys.executable, "-c", "import moewright"]) for _ in range(5))
    bare = statistics.median(_cpu([sys.executable, "-c", "pass"]) for _ in range(5))
    return full - bare


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
