"""``moewright serve``: a case, its strategy and its engine → what users of it would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from moewright.errors import SpecError
from moewright.serve.engine import Engine
from moewright.serve.grid import StepTable
from moewright.serve.loop import Pools, run
from moewright.serve.outcome import Outcome, Pooled, Served, Summary
from moewright.serve.rank import Rank, Sequence
from moewright.serve.replica import STARVED, Replica
from moewright.serve.requests import Requests, draw
from moewright.serve.series import series_of
from moewright.serve.setting import Workers, engine_of, pools_of, serving_of, workers_of
from moewright.serve.steady import held_load, load_at
from moewright.serve.step import Step
from moewright.spec.case import Case
from moewright.spec.serving import Serving

#: columns of a replica's log (``Replica.finish``)
START, SECONDS, STEPS, PREFILL, PAIRS, DECODE, CONTEXT, WAITING, RUNNING, CACHED, CAUSE, CHUNKS = range(12)

Tell = Callable[[float], None]


def simulate(
    case: Case, concurrency: int | None = None, tell: Tell = lambda share: None, tables: Path | None = None
) -> Outcome:
    """Serve the case's requests, step by step. ``concurrency``: where the case offers several (else its most);
    ``tables``: a folder of measured kernels to price steps with, where they have the device.

    Raises SpecError, and InfeasibleError where a strategy is not legal or holds not one request.
    """
    s, engine = serving_of(case), engine_of(case)
    if s.disaggregated is not None:
        pools: tuple[Workers, ...] = pools_of(case, engine, tables)
    elif case.strategy is not None:
        pools = (workers_of(case, case.strategy, engine, tables=tables),)
    else:
        raise SpecError("is missing; a simulation needs one", file=case.file, field="strategy")
    return simulate_pools(case, pools, concurrency, tell)


def simulate_pools(
    case: Case,
    pools: tuple[Workers, ...],
    concurrency: int | None = None,
    tell: Tell = lambda share: None,
    engine: Engine | None = None,
) -> Outcome:
    """As ``simulate``, with the workers as they are: one pool of both phases, or one of prefill and one of decode.
    ``engine``: other settings than the case's."""
    s, engine = serving_of(case), engine or engine_of(case)
    if all(w.measured for w in pools):
        engine = replace(engine, host_step=0.0, host_sequence=0.0)
    clients = concurrency or (s.concurrency[-1] if s.concurrency else 0)
    requests = draw(s, clients)
    limit = max(i + o for i, o in zip(requests.inputs, requests.outputs, strict=True))
    _check(pools, limit, case)
    replicas = [_replicas(w, s, engine, limit) for w in pools]
    split = len(pools) == 2
    transfer = _transfer(pools)
    ready = Pools(replicas[0], replicas[1] if split else [], transfer, before_first(pools, s, engine, clients))
    sequences = run(ready, requests, clients, tell)
    return _outcome(case, pools, replicas, requests, sequences, clients)


def before_first(pools: tuple[Workers, ...], s: Serving, engine: Engine, clients: int) -> float:
    """Seconds of a request beside the steps that compute its first token (``Engine.before``), at the mean load."""
    layers = len(pools[0].case.model.layers)
    prompt, decode, others = request_steps(pools[0], s, engine, clients)
    if len(pools) == 2:
        return float(engine.before(prompt, 0.0, layers)) + engine.host_apart
    return float(engine.before(prompt, decode, layers, others if clients else 0.0))


def request_steps(w: Workers, s: Serving, engine: Engine, clients: int) -> tuple[float, float, float]:
    """Seconds of a mean prompt alone, and of a step that decodes what is in flight at ``clients`` (0: at the rate); and
    how many others are in flight on a rank."""
    tokens, dp, ranks = max(1.0, s.input.mean * (1 - s.prefix_cache_hit)), int(w.model.dp), int(w.model.dp) * w.count
    keys = s.input.mean - tokens / 2
    load = clients / ranks
    if not clients:
        rate = s.rate if s.rate is not None else _arrivals(s)
        load = float(load_at(w.model, s, engine, np.asarray(rate / ranks)))
    held = float(held_load(w.model, s, engine))
    batch = max(1.0, min(load, held))
    none = np.zeros(1)
    prompt = w.model.seconds(Step(none + tokens, none + tokens * keys, none, none, none + tokens))
    decode = w.model.seconds(Step(none, none, none + batch, none + batch * s.resident, none + batch * dp))
    return float(prompt[0]), float(decode[0]), batch - 1


def _arrivals(s: Serving) -> float:
    """Requests a second of a trace."""
    assert s.trace is not None
    times = s.trace.arrivals
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)


def _check(pools: tuple[Workers, ...], limit: int, case: Case) -> None:
    for w in pools:
        if float(w.model.kv_tokens) < limit:
            raise SpecError(
                f"draws a request of {limit} tokens, more than the {int(w.model.kv_tokens)} that a rank of "
                f"{w.name} holds",
                file=case.file,
                field="workload",
            )


def _replicas(w: Workers, s: Serving, engine: Engine, limit: int) -> list[Replica]:
    width = 1 + s.speculative.drafts if s.speculative else 1
    blocks = int(w.model.kv_tokens) // engine.kv_block
    most = min(engine.max_num_seqs, max(1, engine.max_num_batched_tokens // width))
    # no step decodes more sequences than the cache holds of the shortest
    bound = width * min(most, max(1, blocks))
    sizes = sorted({*(x for x in engine.cuda_graph_sizes if x < bound), bound, engine.padded(bound), 1})
    if len(engine.cuda_graph_sizes) == 0:
        sizes = sorted({*sizes, *range(1, min(bound, 65))})
    table = StepTable(w.model, engine.max_num_batched_tokens, sizes, limit)
    drafts = s.speculative.drafts if s.speculative else 0
    # a draft is a pass through one more layer (an MTP module: DeepSeek-V3, arXiv 2412.19437 §2.2)
    drafting = 1 + drafts / len(w.case.model.layers)
    ranks = int(w.model.dp)
    return [
        Replica(table, engine, [Rank(engine, blocks, width, s.prefix_cache_hit) for _ in range(ranks)], drafting)
        for _ in range(w.count)
    ]


def _transfer(pools: tuple[Workers, ...]) -> Callable[[int], float]:
    """Seconds of a prompt's cache from a prefill worker to a decode worker: the bytes of its fullest GPU over the
    fabric, since each GPU sends its own share at the same time."""
    if len(pools) == 1:
        return lambda tokens: 0.0
    w = pools[0]
    token, fabric = float(w.model.capacity.token_bytes), w.case.cluster.fabric
    return lambda tokens: tokens * token / fabric.bandwidth + fabric.latency


def _outcome(
    case: Case,
    pools: tuple[Workers, ...],
    replicas: list[list[Replica]],
    requests: Requests,
    sequences: list[Sequence],
    clients: int,
) -> Outcome:
    s, engine = serving_of(case), engine_of(case)
    served = tuple(
        Served(i, o, q.arrival, q.first, q.done, q.preempted)
        for i, o, q in zip(requests.inputs, requests.outputs, sequences, strict=True)
    )
    warmup = min(2 * clients if clients else len(served) // 10, len(served) // 2)
    measured = served[warmup:]
    window = _window(served, clients)
    rates = _rates(served, window)
    logs = [np.array(r.log, dtype=float).reshape(-1, 12) for pool in replicas for r in pool]
    phases = ("prefill", "decode") if len(pools) == 2 else ("all",)
    held = pools[-1].held(s, engine)
    itl = [x for r in replicas[-1] for x in r.itl]
    tpot = Summary.of([r.tpot for r in measured if r.tpot is not None])
    parts = _parts(pools, replicas)
    series, means = series_of(logs, max(r.done for r in served), window, _kv(pools))
    gpus = sum(w.gpus for w in pools)
    steps = sum(int(log[:, STEPS].sum()) for log in logs)
    causes = {name: sum(float(log[log[:, CAUSE] == i, STEPS].sum()) for log in logs) for i, name in enumerate(STARVED)}
    first = Summary.of([r.ttft for r in measured])
    whole = Summary.of([r.e2e for r in measured])
    assert first is not None
    assert whole is not None
    return Outcome(
        engine.name,
        tuple(_pooled(w, phase, s, engine) for w, phase in zip(pools, phases, strict=True)),
        gpus,
        clients or None,
        s.rate if not clients else None,
        held,
        len(served),
        warmup,
        first,
        tpot,
        Summary.of([v for v, _ in itl], [n for _, n in itl]),
        whole,
        rates[0] / gpus,
        rates[1] / gpus,
        1 / tpot.mean if tpot and tpot.mean else None,
        rates[2],
        means["running"],
        means["queued"],
        int(max(float(log[:, RUNNING].max()) if len(log) else 0.0 for log in logs)),
        means["kv_peak"],
        sum(rank.preemptions for pool in replicas for r in pool for rank in r.ranks),
        steps,
        max(r.done for r in served),
        window,
        parts,
        _binds(parts, causes, steps),
        {name: value / steps for name, value in causes.items() if name and value},
        series,
        served,
        all(w.measured for w in pools),
    )


def _pooled(w: Workers, phase: str, s: Serving, engine: Engine) -> Pooled:
    plain = replace(w.strategy, replicas=1 if w.count != w.strategy.replicas else w.strategy.replicas).to_dict()
    tokens = int(w.model.kv_tokens)
    return Pooled(phase, w.name, plain, w.count, w.gpus, int(w.model.dp), tokens, w.held(s, engine))


def _kv(pools: tuple[Workers, ...]) -> list[float]:
    """KV tokens of each replica, in the order of the logs."""
    return [float(w.model.kv_tokens) * int(w.model.dp) for w in pools for _ in range(w.count)]


def _window(served: tuple[Served, ...], clients: int) -> tuple[float, float]:
    """The time in which all clients are at work: from the end of the first ``clients`` requests to the start of the
    last; the whole run where that is no time."""
    end = max(r.done for r in served)
    done = sorted(r.done for r in served)
    begin = done[clients - 1] if 0 < clients < len(done) else served[0].arrival
    last = max(r.arrival for r in served) if clients else end
    return (begin, last) if last - begin > 0.2 * end else (0.0, end)


def _rates(served: tuple[Served, ...], window: tuple[float, float]) -> tuple[float, float, float]:
    """Output tokens, all tokens and requests a second in ``window``: each request counted by the share of its time
    in it (prompts at their first token, answers from there on)."""
    begin, end = window
    a, f, d, i, o = (
        np.array([getattr(r, n) for r in served], dtype=float) for n in ("arrival", "first", "done", "input", "output")
    )

    def inside(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        span = np.maximum(stop - start, 1e-12)
        return np.asarray(np.clip((np.minimum(stop, end) - np.maximum(start, begin)) / span, 0, 1))

    out = (inside(f, d) * np.maximum(o - 1, 0) + ((f >= begin) & (f <= end))).sum()
    total = out + (inside(a, f) * i).sum()
    seconds = max(end - begin, 1e-12)
    # requests as answers are: by the share of each one's tokens, so that the three rates belong together
    each = (inside(f, d) * np.maximum(o - 1, 0) + ((f >= begin) & (f <= end))) / o
    return float(out / seconds), float(total / seconds), float(each.sum() / seconds)


def _parts(pools: tuple[Workers, ...], replicas: list[list[Replica]]) -> dict[str, float]:
    """Shares of the busy seconds by group of operations, of the mean step with prompts, the mean one without, and
    the host."""
    found: dict[str, float] = {}
    for w, pool in zip(pools, replicas, strict=True):
        log = np.concatenate([np.array(r.log, dtype=float).reshape(-1, 12) for r in pool])
        for chosen in (log[:, PREFILL] > 0, log[:, PREFILL] == 0):
            rows = log[chosen]
            steps = rows[:, STEPS]
            if not steps.sum():
                continue
            p, k, d, c = ((rows[:, i] * steps).sum() / steps.sum() for i in (PREFILL, PAIRS, DECODE, CONTEXT))
            step = Step(p, k, d, c, (p + d) * int(w.model.dp))
            scale = w.gpus / sum(x.gpus for x in pools)
            gpu = w.model.parts(step)
            seconds = rows[:, SECONDS].sum()
            host = min(0.9, pool[0].engine.host_step * steps.sum() / seconds)
            whole = sum(gpu.values())
            for name, value in gpu.items():
                found[name] = found.get(name, 0.0) + value / whole * (1 - host) * seconds * scale
            found["host"] = found.get("host", 0.0) + host * seconds * scale
    whole = sum(found.values()) or 1.0
    return dict(sorted(((n, v / whole) for n, v in found.items()), key=lambda x: -x[1]))


def _binds(parts: dict[str, float], causes: dict[str, float], steps: int) -> str:
    """The longest part; and what kept requests waiting in more than a tenth of the steps."""
    name, share = next(iter(parts.items()))
    text = f"{name}, {share:.0%} of the busy time"
    words = {
        "kv": "the KV cache is full",
        "sequences": "max_num_seqs is reached",
        "budget": "the token budget is spent",
    }
    cause = max(words, key=lambda c: causes[c])
    if causes[cause] > 0.1 * steps:
        text += f"; requests wait since {words[cause]} in {causes[cause] / steps:.0%} of the steps"
    return text
