"""What a simulation's requests and logs come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from moewright.case.case import Case
from moewright.serving.engines.deployment import Workers, serving_of
from moewright.serving.engines.engine import Engine
from moewright.serving.simulation.busy_time import mean_steps, origin_shares, time_shares
from moewright.serving.simulation.events import Pools
from moewright.serving.simulation.outcome import PROFILE, ROOFLINE, TABLES, Limited, Outcome, Pooled, Served, Summary
from moewright.serving.simulation.rank import Sequence
from moewright.serving.simulation.replica import (
    CAUSE,
    QUEUED,
    STARVED,
    STEPS,
    Replica,
)
from moewright.serving.simulation.requests import Requests
from moewright.serving.simulation.timeline import busy_in, course_of, inside, means_in

#: a rate is not kept up with where fewer than this share of what arrives is done, and so many standard deviations of
#: the arrivals fewer
BEHIND, DEVIATIONS = 0.95, 3.0
#: of a run too short for that, where the queue doubled and holds so much of all requests
BEHIND_QUEUE = 0.05
#: a prefill pool binds from this busy share on
BUSY = 0.9


@dataclass(frozen=True, slots=True)
class Run:
    """A simulation that is over. ``asked``: concurrency (0: at a rate), ``clients``: no more than there are
    requests."""

    case: Case
    engine: Engine
    pools: tuple[Workers, ...]
    replicas: list[list[Replica]]
    requests: Requests
    sequences: list[Sequence]
    asked: int
    clients: int
    ready: Pools

    @property
    def phases(self) -> tuple[str, ...]:
        return ("prefill", "decode") if len(self.pools) == 2 else ("all",)


@dataclass(frozen=True, slots=True)
class Rates:
    """Of a second in the window: tokens of answers, all tokens, requests done, and arrived."""

    output: float
    total: float
    done: float
    arrived: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run's records say before they are summed up. ``flow``: all requests; ``served``: without those that lead;
    ``logs``: those of every pool's replicas, ``every``: those that are not empty."""

    flow: tuple[Served, ...]
    served: tuple[Served, ...]
    warmup: int
    end: float
    window: tuple[float, float]
    rates: Rates
    logs: list[list[np.ndarray]]
    every: list[np.ndarray]


def _measured(run: Run) -> Measured:
    flow = _served(run)
    served = flow[run.requests.lead :]
    warmup = _warmup(run, served)
    window = _window(served, run, warmup)
    logs = [[_log(r) for r in pool] for pool in run.replicas]
    every = [log for pool in logs for log in pool if len(log)]
    end = max(r.done for r in served)
    return Measured(flow, served, warmup, end, window, _rates(flow, window, run.clients), logs, every)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of the requests after the warm-up."""

    ttft: Summary
    tpot: Summary | None
    itl: Summary | None
    e2e: Summary


def _latencies(run: Run, measured: tuple[Served, ...]) -> Latencies:
    first, whole = Summary.of([r.ttft for r in measured]), Summary.of([r.e2e for r in measured])
    assert first is not None
    assert whole is not None
    tpot = Summary.of([r.tpot for r in measured if r.tpot is not None])
    itl = [x for r in run.replicas[-1] for x in r.itl]
    return Latencies(first, tpot, Summary.of([v for v, _ in itl], [n for _, n in itl]), whole)


def outcome_of(run: Run) -> Outcome:
    """The record of a run."""
    s, m = serving_of(run.case), _measured(run)
    window, rates = m.window, m.rates
    took = _latencies(run, m.served[m.warmup :])
    course = course_of(
        m.every, m.end, sum(float(w.model.kv_tokens[0]) * int(w.model.dp[0]) * w.count for w in run.pools)
    )
    running, queued = means_in(m.every, window)
    steps = sum(int(log[:, STEPS].sum()) for log in m.every)
    causes = {n: sum(float(log[log[:, CAUSE] == i, STEPS].sum()) for log in m.every) for i, n in enumerate(STARVED)}
    gpus = sum(w.gpus for w in run.pools)
    parted = zip(run.pools, run.phases, m.logs, strict=True)
    pools = tuple(_pooled(run, w, phase, of, window) for w, phase, of in parted)
    means = mean_steps(run.replicas, run.pools, m.logs)
    parts, (origins, derived) = time_shares(means), origin_shares(means)
    return Outcome(
        engine=run.engine.name,
        pools=pools,
        gpus=gpus,
        gpus_unused=max(0, run.case.cluster.gpus - gpus),
        concurrency=run.clients or None,
        asked=run.asked or None,
        rate=s.rate if not run.clients else None,
        held=pools[-1].held,
        requests=len(m.served),
        warmup=m.warmup,
        ttft=took.ttft,
        tpot=took.tpot,
        itl=took.itl,
        e2e=took.e2e,
        output_per_gpu=rates.output / gpus,
        total_per_gpu=rates.total / gpus,
        per_user=1 / took.tpot.mean if took.tpot and took.tpot.mean else None,
        requests_per_second=rates.done,
        arrivals_per_second=None if run.clients else rates.arrived,
        keeps_up=True if run.clients else _keeps_up(rates, window, m.served, m.every),
        in_flight=_overlap([(r.arrival, r.done) for r in m.flow], window),
        running=running,
        queued=queued,
        outside=_overlap(_outside(run), window),
        most_running=round(course.most["running"]),
        kv_peak=course.most["kv"],
        preemptions=sum(rank.preemptions for pool in run.replicas for r in pool for rank in r.ranks),
        steps=steps,
        seconds=m.end,
        window=window,
        parts=parts,
        binds=_binds(pools, parts, causes, steps),
        starved={name: value / steps for name, value in causes.items() if name and value},
        series=course.columns,
        served=m.served,
        limits=_limits(run.case, took.ttft, took.tpot),
        kernels=_kernels(run),
        origins=origins,
        derived=derived,
    )


def _log(replica: Replica) -> np.ndarray:
    return np.array(replica.log, dtype=float).reshape(-1, QUEUED + 1)


def _kernels(run: Run) -> str:
    if run.case.cluster.device.measured is not None:
        return PROFILE
    return TABLES if all(w.measured for w in run.pools) else ROOFLINE


def _limits(case: Case, ttft: Summary, tpot: Summary | None) -> dict[str, Limited]:
    limits = case.goal.limits
    found = {}
    if limits.ttft is not None:
        found["ttft"] = Limited(limits.ttft, ttft.mean)
    if limits.tpot is not None and tpot is not None:
        found["tpot"] = Limited(limits.tpot, tpot.mean)
    return found


def _pooled(run: Run, w: Workers, phase: str, logs: list[np.ndarray], window: tuple[float, float]) -> Pooled:
    plain = replace(w.strategy, replicas=1 if w.count != w.strategy.replicas else w.strategy.replicas).to_dict()
    s = serving_of(run.case)
    cache, engine = w.held_by(s, run.engine)
    return Pooled(
        phase,
        w.name,
        plain,
        w.count,
        w.gpus,
        int(w.model.dp[0]),
        int(w.model.kv_tokens[0]),
        min(cache, engine),
        cache,
        engine,
        busy_in(logs, window),
        means_in(logs, window)[1],
        w.model.capacity.to_dict(run.engine.name),
    )


def _outside(run: Run) -> list[tuple[float, float]]:
    """The seconds (from, to) in which requests are in no replica: on the host before the queue, and where their
    cache goes to another worker."""
    before = [run.ready.launch + run.ready.wait * run.requests.wait(q.index) for q in run.sequences]
    found = [(q.arrival, q.arrival + b) for q, b in zip(run.sequences, before, strict=True)]
    if run.ready.decode:
        found += [(q.first - run.ready.transfer(q.input), q.first) for q in run.sequences]
    return found


def _overlap(times: list[tuple[float, float]], window: tuple[float, float]) -> float:
    """How many of ``times`` (from, to) go on at once, in the mean over ``window``."""
    start, stop = np.array(times, dtype=float).T
    return float(inside(start, stop, window).sum() / max(window[1] - window[0], 1e-12))


def _served(run: Run) -> tuple[Served, ...]:
    """All requests of the run that were followed to their ends, those that lead first."""
    r = run.requests
    rows = [(q.index - r.lead) % len(r) for q in run.sequences]
    return tuple(
        Served(r.inputs[i], r.outputs[i], q.arrival, q.first, q.done, q.preempted)
        for i, q in zip(rows, run.sequences, strict=True)
    )


def _warmup(run: Run, served: tuple[Served, ...]) -> int:
    """Requests whose latencies do not count: twice the clients, and all until the last client is at work; at a rate a
    tenth. None where all clients start at once: a benchmark that does so counts them all."""
    if not run.clients:
        return min(len(served) // 10, len(served) // 2)
    if run.requests.starts is None:
        return 0
    early = sum(r.arrival < run.requests.starts[-1] for r in served)
    return min(max(min(2 * run.clients, len(served) // 2), early), 3 * len(served) // 4)


def _window(served: tuple[Served, ...], run: Run, warmup: int) -> tuple[float, float]:
    """Seconds (from, to) of what is counted. Of a closed loop, while all clients are at work: from the first request
    whose latency counts to the start of the last. Of arrivals, from the end of the first ``warmup`` requests to the
    last arrival. The whole run where all clients start at once, and where that is under a twentieth of it, or a fifth
    of the time of arrivals."""
    end, last = max(r.done for r in served), max(r.arrival for r in served)
    if run.clients and run.requests.starts is None:
        return 0.0, end
    if run.clients:
        begin, least = served[warmup].arrival, 0.05 * end
    else:
        begin, least = max((r.done for r in served[:warmup]), default=end), 0.2 * last
    return (begin, last) if last - begin > least else (0.0, end)


def _rates(served: tuple[Served, ...], window: tuple[float, float], clients: int) -> Rates:
    """What is done in ``window``. Tokens by the share of each request's time in it (prompts until their first token,
    answers from there on); requests of a closed loop by the share of their tokens, so that the rates belong
    together, of arrivals by their ends."""
    begin, end = window
    a, f, d, i, o = (
        np.array([getattr(r, n) for r in served], dtype=float) for n in ("arrival", "first", "done", "input", "output")
    )

    def part(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        return np.asarray(np.minimum(inside(start, stop, window) / np.maximum(stop - start, 1e-12), 1))

    answers = part(f, d) * np.maximum(o - 1, 0) + ((f >= begin) & (f <= end))
    total = answers.sum() + (part(a, f) * i).sum()
    seconds = max(end - begin, 1e-12)
    each = (answers / o).sum() if clients else ((d > begin) & (d <= end)).sum()
    arrived = ((a > begin) & (a <= end)).sum() / seconds
    if begin == 0.0:  # the whole run: arrivals over their own time
        arrived = len(a) / max(float(a.max()), 1e-12)
    return Rates(*(float(x) for x in (answers.sum() / seconds, total / seconds, each / seconds, arrived)))


def _keeps_up(
    rates: Rates, window: tuple[float, float], served: tuple[Served, ...], logs: list[np.ndarray]
) -> bool | None:
    """Whether as many requests are done as arrive, but for chance. Where the window is the whole run, and nothing
    steady: False where the queue grew all along, else None."""
    if window[0] > 0:
        seconds = window[1] - window[0]
        behind = (rates.arrived - rates.done) * seconds
        return rates.done >= BEHIND * rates.arrived or behind <= DEVIATIONS * sqrt(rates.arrived * seconds)
    last = served[-1].arrival
    early, late = (means_in(logs, (last * a, last * b))[1] for a, b in ((0.25, 0.5), (0.75, 1.0)))
    grew = late > 2 * early and late > BEHIND_QUEUE * len(served)
    return False if grew else None


def _binds(pools: tuple[Pooled, ...], parts: dict[str, float], causes: dict[str, float], steps: int) -> str:
    """Of pools, prefill where it is busy and has the longer queue, else decode; the longest part; and what kept
    requests waiting in more than a tenth of the steps."""
    name, share = next(iter(parts.items()))
    text = f"{name}, {share:.0%} of the busy time"
    if len(pools) == 2:
        prefill, decode = pools
        full = prefill.busy >= BUSY and prefill.queued > decode.queued
        first, other = (prefill, decode) if full else (decode, prefill)
        text = (
            f"the {first.phase} pool, busy {first.busy:.0%} of the time with {first.queued:.1f} in its queue "
            f"({other.phase}: {other.busy:.0%}, {other.queued:.1f}); {text}"
        )
    words = {
        "kv": "the KV cache is full",
        "sequences": "max_num_seqs is reached",
        "budget": "the token budget is spent",
    }
    cause = max(words, key=lambda c: causes[c])
    if causes[cause] > 0.1 * steps:
        text += f"; requests wait since {words[cause]} in {causes[cause] / steps:.0%} of the steps"
    return text
