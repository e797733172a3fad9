"""``moewright serve``: a case, its strategy and its engine → what users of it would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil, floor, log2
from pathlib import Path

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Serving, Start
from moewright.errors import SpecError
from moewright.serving.engines.deployment import Workers, engine_of, longest, pools_of, serving_of, workers_of
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.steady import Terms, held_load, load_at, steady_state
from moewright.serving.simulation.events import Pools, run
from moewright.serving.simulation.metrics import Run, outcome_of
from moewright.serving.simulation.outcome import Outcome
from moewright.serving.simulation.rank import Rank
from moewright.serving.simulation.replica import Replica
from moewright.serving.simulation.requests import count_of, draw, least_of, start_times
from moewright.serving.simulation.step_table import StepTable
from moewright.serving.step import Step, StepModel

Tell = Callable[[float], None]
#: by model, token budget, decode batches and contexts
StepTables = dict[tuple[StepModel, int, tuple[int, ...], tuple[int, int]], StepTable]


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
    known: StepTables | None = None,
) -> Outcome:
    """As ``simulate``, with the workers as they are: one pool of both phases, or one of prefill and one of decode.
    ``engine``: other settings than the case's; ``known``: step tables of earlier simulations, kept there."""
    s, engine = serving_of(case), engine or engine_of(case)
    if all(w.measured for w in pools):
        engine = replace(engine, host_step=0.0, host_sequence=0.0)
    asked = concurrency or (s.concurrency[-1] if s.concurrency else 0)
    clients = min(asked, count_of(s, asked))
    requests = draw(s, clients)
    limit = max(i + o for i, o in zip(requests.inputs, requests.outputs, strict=True))
    _check(pools, limit, case)
    reach = _reach(min(requests.inputs), max(limit, longest(s)))
    replicas = [_replicas(w, s, engine, reach, {} if known is None else known) for w in pools]
    split = len(pools) == 2
    transfer = _transfer(pools)
    ready = Pools(replicas[0], replicas[1] if split else [], transfer, *before_first(pools, s, engine, clients))
    if clients and s.start is Start.SPREAD:
        starts = start_times(s, clients, request_seconds(pools, s, engine))
        requests = replace(requests, starts=starts, lead=clients if len(requests) < least_of(clients) else 0)
    sequences = run(ready, requests, clients, tell)
    return outcome_of(Run(case, engine, pools, replicas, requests, sequences, asked, clients, ready))


def before_first(pools: tuple[Workers, ...], s: Serving, engine: Engine, clients: int) -> tuple[float, float]:
    """Seconds of a request beside the steps that compute its first token (``Engine.before``), at the mean load: what it
    waits on the host in the mean, and what launching its prompt takes beyond the kernels."""
    layers = len(pools[0].case.model.layers)
    prompt, decode, others = request_steps(pools[0], s, engine, clients)
    apart = len(pools) == 2
    whole = float(engine.before(prompt, 0.0 if apart else decode, layers, others if clients and not apart else 0.0)[0])
    launch = float(replace(engine, host_request=0.0).before(prompt, 0.0, layers)[0])
    return whole - launch + (engine.host_apart if apart else 0.0), launch


def request_seconds(pools: tuple[Workers, ...], s: Serving, engine: Engine) -> Callable[[np.ndarray], np.ndarray]:
    """Seconds of a whole request with so many clients at work, in the steady state; prefill and decode apart: of its
    prompt alone and its answer."""
    w = pools[-1]
    ranks = int(w.model.dp[0]) * w.count

    def seconds(clients: np.ndarray) -> np.ndarray:
        if len(pools) == 1:
            state = steady_state(w.model, s, engine, clients / ranks, rounds=4)
            return np.asarray(state.ttft + state.tpot * s.steps * s.per_step)
        answers = Terms(w.model, s, engine)
        first = request_steps(pools[0], s, engine, 1)[0] + sum(before_first(pools, s, engine, 1))
        return np.asarray(first + s.steps * answers.seconds(0 * clients, clients / ranks))

    return seconds


def request_steps(w: Workers, s: Serving, engine: Engine, clients: int) -> tuple[float, float, float]:
    """Seconds of a mean prompt alone, and of a step that decodes what is in flight at ``clients`` (0: at the rate); and
    how many others are in flight on a rank."""
    tokens, ranks = max(1.0, s.input.mean * (1 - s.prefix_cache_hit)), int(w.model.dp[0]) * w.count
    keys = s.input.mean - tokens / 2
    load = clients / ranks
    if not clients:
        load = float(load_at(w.model, s, engine, (s.arriving or 1e-9) / ranks)[0])
    batch = max(1.0, min(load, float(held_load(w.model, s, engine)[0])))
    none = np.zeros(1)
    prompt = w.model.seconds(Step(none + tokens, none + tokens * keys, none, none, none + tokens))
    decode = Terms(w.model, s, engine.without_host()).seconds(none, none + batch)
    return float(prompt[0]), float(decode[0]), batch - 1


def _reach(least: int, most: int) -> tuple[int, int]:
    """The contexts that a step table is of, in quarters of an octave, so that runs of one workload share it."""
    return max(16, int(2 ** (floor(4 * log2(least)) / 4))), ceil(2 ** (ceil(4 * log2(most)) / 4))


def _check(pools: tuple[Workers, ...], limit: int, case: Case) -> None:
    for w in pools:
        if float(w.model.kv_tokens[0]) < limit:
            raise SpecError(
                f"draws a request of {limit} tokens, more than the {int(w.model.kv_tokens[0])} that a rank of "
                f"{w.name} holds",
                file=case.file,
                field="workload",
            )


def _replicas(w: Workers, s: Serving, engine: Engine, reach: tuple[int, int], known: StepTables) -> list[Replica]:
    """``reach``: the least and the most tokens of a context."""
    width = 1 + s.speculative.drafts if s.speculative else 1
    blocks = int(w.model.kv_tokens[0]) // engine.kv_block
    most = min(engine.max_num_seqs, max(1, engine.max_num_batched_tokens // width))
    # no step decodes more sequences than the cache holds of the shortest
    bound = width * min(most, max(1, blocks))
    sizes = sorted({*(x for x in engine.cuda_graph_sizes if x < bound), bound, engine.padded(bound), 1})
    if len(engine.cuda_graph_sizes) == 0:
        sizes = sorted({*sizes, *range(1, min(bound, 65))})
    key = (w.model, engine.max_num_batched_tokens, tuple(sizes), reach)
    table = known.get(key)
    if table is None:
        table = known[key] = StepTable(w.model, engine.max_num_batched_tokens, sizes, reach[1], reach[0])
    drafts = s.speculative.drafts if s.speculative else 0
    # a draft is a pass through one more layer (an MTP module: DeepSeek-V3, arXiv 2412.19437 §2.2)
    drafting = 1 + drafts / len(w.case.model.layers)
    ranks = int(w.model.dp[0])
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
    token, fabric = float(w.model.capacity.token_bytes[0]), w.case.cluster.fabric
    return lambda tokens: tokens * token / fabric.bandwidth + fabric.latency
