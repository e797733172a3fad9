"""A case and its plan executed: the job that follows from them, its launch, and the report of what it showed."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from moewright.case.case import Case
from moewright.planning.record import Plan
from moewright.run.make_job import make_setting
from moewright.run.make_report import make_report
from moewright.run.options import Options
from moewright.run.ranks import launcher
from moewright.run.ranks.job import Job, Outcome, Worker
from moewright.run.verification.verify import Report


@dataclass(slots=True)
class Ran:
    """A run's report, and what it came from."""

    report: Report
    job: Job
    outcomes: list[Outcome]


#: told of tokens as rank 0 learns them: step, sequence → id
Tell = Callable[[int, dict[int, int]], None]


def run(
    case: Case,
    plan: Plan,
    options: Options | None = None,
    tell: Tell | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Ran | None:
    """Execute ``plan``, and verify it. None on the ranks other than 0 that torchrun started. ``progress`` hears of the
    share of the passes that forked ranks have done. Raises RunError."""
    o = options or Options()
    begun = time.perf_counter()
    peers = launcher.join(plan.gpus) if launcher.under_torchrun() else None
    with launcher.heard_by(peers):
        setting = make_setting(case, plan, o)
    done = multiprocessing.get_context("fork").RawValue("d", 0.0)  # the ranks' to write, this process's to read

    def tick(share: float) -> None:
        done.value = share

    def work(rank: int, on: torch.device) -> Outcome:
        torch.set_grad_enabled(False)
        return Worker(setting.job, on, *((tell, tick) if rank == 0 else (None, None))).run()

    if peers is not None:
        outcomes = launcher.world(peers, work, o.timeout, o.device)
        if outcomes is None:
            return None
    elif plan.gpus == 1:
        with torch.no_grad():
            outcomes = launcher.alone(work, o.timeout, setting.device)
    else:
        outcomes = launcher.forked(plan.gpus, work, o.timeout, lambda: progress(done.value))
    report = make_report(setting, outcomes, time.perf_counter() - begun)
    return Ran(report, setting.job, outcomes)
