"""``moewright serve``: a case, its strategy and its engine → what users of it would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Serving
from moewright.errors import SpecError
from moewright.serving.engines.deployment import Workers, engine_of, pools_of, serving_of, workers_of
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.steady import held_load, load_at
from moewright.serving.simulation.events import Pools, run
from moewright.serving.simulation.metrics import Run, outcome_of
from moewright.serving.simulation.outcome import Outcome
from moewright.serving.simulation.rank import Rank
from moewright.serving.simulation.replica import Replica
from moewright.serving.simulation.requests import count_of, draw
from moewright.serving.simulation.step_table import StepTable
from moewright.serving.step import Step

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
    asked = concurrency or (s.concurrency[-1] if s.concurrency else 0)
    clients = min(asked, count_of(s, asked))
    requests = draw(s, clients)
    limit = max(i + o for i, o in zip(requests.inputs, requests.outputs, strict=True))
    _check(pools, limit, case)
    replicas = [_replicas(w, s, engine, limit) for w in pools]
    split = len(pools) == 2
    transfer = _transfer(pools)
    ready = Pools(replicas[0], replicas[1] if split else [], transfer, before_first(pools, s, engine, clients))
    sequences = run(ready, requests, clients, tell)
    return outcome_of(Run(case, engine, pools, replicas, requests, sequences, asked, clients, ready))


def before_first(pools: tuple[Workers, ...], s: Serving, engine: Engine, clients: int) -> float:
    """Seconds of a request beside the steps that compute its first token (``Engine.before``), at the mean load."""
    layers = len(pools[0].case.model.layers)
    prompt, decode, others = request_steps(pools[0], s, engine, clients)
    if len(pools) == 2:
        return float(engine.before(prompt, 0.0, layers)[0]) + engine.host_apart
    return float(engine.before(prompt, decode, layers, others if clients else 0.0)[0])


def request_steps(w: Workers, s: Serving, engine: Engine, clients: int) -> tuple[float, float, float]:
    """Seconds of a mean prompt alone, and of a step that decodes what is in flight at ``clients`` (0: at the rate); and
    how many others are in flight on a rank."""
    tokens, dp, ranks = (
        max(1.0, s.input.mean * (1 - s.prefix_cache_hit)),
        int(w.model.dp[0]),
        int(w.model.dp[0]) * w.count,
    )
    keys = s.input.mean - tokens / 2
    load = clients / ranks
    if not clients:
        load = float(load_at(w.model, s, engine, (s.arriving or 1e-9) / ranks)[0])
    held = float(held_load(w.model, s, engine)[0])
    batch = max(1.0, min(load, held))
    none = np.zeros(1)
    prompt = w.model.seconds(Step(none + tokens, none + tokens * keys, none, none, none + tokens))
    decode = w.model.seconds(Step(none, none, none + batch, none + batch * s.resident, none + batch * dp))
    return float(prompt[0]), float(decode[0]), batch - 1


def _check(pools: tuple[Workers, ...], limit: int, case: Case) -> None:
    for w in pools:
        if float(w.model.kv_tokens[0]) < limit:
            raise SpecError(
                f"draws a request of {limit} tokens, more than the {int(w.model.kv_tokens[0])} that a rank of "
                f"{w.name} holds",
                file=case.file,
                field="workload",
            )


def _replicas(w: Workers, s: Serving, engine: Engine, limit: int) -> list[Replica]:
    width = 1 + s.speculative.drafts if s.speculative else 1
    blocks = int(w.model.kv_tokens[0]) // engine.kv_block
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
