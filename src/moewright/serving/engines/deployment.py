"""A case's serving side made ready: the engine, the strategy as engines run it, pools, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from moewright.case.case import Case
from moewright.case.serving import Pool, Serving
from moewright.case.strategy import Strategy, StrategySpec
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.naming import strategy_name
from moewright.serving.engines.engine import Engine, load_engine
from moewright.serving.engines.gpu_counts import too_small
from moewright.serving.engines.kernel_prices import MeasuredModel, measured_model
from moewright.serving.engines.strategies import engine_strategy
from moewright.serving.step import StepModel


@dataclass(frozen=True, slots=True)
class Workers:
    """Replicas of one strategy: ``case`` has the GPUs of all of them where they are a strategy's own replicas, of
    one worker where they are a pool's."""

    case: Case
    strategy: Strategy
    count: int
    model: StepModel

    @property
    def gpus(self) -> int:
        return self.count * self.strategy.pp * self.strategy.stage

    @property
    def measured(self) -> bool:
        """Whether steps are priced by measured kernels (host time of a step included)."""
        return isinstance(self.model, MeasuredModel)

    @property
    def name(self) -> str:
        return strategy_name(self.strategy, self.case.model)

    def held(self, s: Serving, engine: Engine) -> int:
        """Requests in their decode phase that the cache and the engine hold at once, over all replicas."""
        return min(self.held_by(s, engine))

    def held_by(self, s: Serving, engine: Engine) -> tuple[int, int]:
        """``held`` as the cache alone has it, of mean requests with as much of their answers kept free as the engine
        reserves, and as max_num_seqs (under drafts the budget of a step too) has it."""
        tokens = s.input.mean + s.output.mean * (1 + engine.reserve) / 2
        width = 1 + s.speculative.drafts if s.speculative else 1
        most = min(engine.max_num_seqs, max(1, engine.max_num_batched_tokens // width))
        ranks = self.count * int(self.model.dp[0])
        return ranks * int(max(0.0, float(self.model.kv_tokens[0])) // tokens), ranks * most


def serving_of(case: Case) -> Serving:
    """The serving workload of ``case``. Raises SpecError where it has none."""
    if case.serving is None:
        raise SpecError(
            f"got {case.workload.kind}; expected serving, with input, output and concurrency or rate",
            file=case.file,
            field="workload.kind",
        )
    return case.serving


def workers_of(
    case: Case, want: StrategySpec, engine: Engine, count: int | None = None, tables: Path | None = None
) -> Workers:
    """Workers of the strategy ``want``, completed for ``case`` as engines run it. ``count``: of a pool's, each on
    all of the case's GPUs; ``tables``: measured kernels to price steps with, where they have the device. Raises
    SpecError, InfeasibleError."""
    strategy = engine_strategy(case, want, engine)
    model = measured_model(case, strategy, engine, tables) or StepModel.of(case, strategy, engine)
    s = serving_of(case)
    if float(model.kv_tokens[0]) < longest(s):
        raise InfeasibleError(
            f"{strategy_name(strategy, case.model)} does not hold one request of {longest(s)} tokens beside its "
            f"weights: {too_small(case, model.table, engine, longest(s))}"
        )
    return Workers(case, strategy, count or strategy.replicas, model)


def longest(s: Serving) -> int:
    """Tokens of the longest request."""
    if s.trace is not None:
        return max(i + o for i, o in zip(s.trace.inputs, s.trace.outputs, strict=True))
    return s.longest


def pools_of(case: Case, engine: Engine, tables: Path | None = None) -> tuple[Workers, Workers]:
    """The prefill and the decode pool that a spec names in full. Raises SpecError for what is left open or does not
    fit the cluster."""
    s = serving_of(case)
    assert s.disaggregated is not None
    pools = [(name, getattr(s.disaggregated, name)) for name in ("prefill", "decode")]
    found = [_workers(case, engine, name, pool, tables) for name, pool in pools]
    used = sum(w.gpus for w in found)
    if used > case.cluster.gpus:
        raise SpecError(
            f"prefill {found[0].gpus} and decode {found[1].gpus} GPUs are more than cluster.gpus {case.cluster.gpus}",
            file=case.file,
            field="workload.disaggregated",
        )
    return found[0], found[1]


def _workers(case: Case, engine: Engine, name: str, pool: Pool, tables: Path | None) -> Workers:
    field = f"workload.disaggregated.{name}"
    for part in ("strategy", "gpus", "replicas"):
        if getattr(pool, part) is None:
            raise SpecError(
                "is missing; required are gpus (of one worker), strategy and replicas",
                file=case.file,
                field=f"{field}.{part}",
            )
    own = worker_case(case, pool.gpus or 1, field)
    return workers_of(own, pool.strategy or StrategySpec(), engine, pool.replicas, tables)


def worker_case(case: Case, gpus: int, field: str = "workload.disaggregated") -> Case:
    """``case`` on ``gpus`` of its GPUs. Raises SpecError where those are no whole nodes or part of one."""
    node = case.cluster.gpus_per_node
    if gpus > case.cluster.gpus or (gpus > node and gpus % node) or (gpus < node and node % gpus):
        raise SpecError(
            f"got {gpus}; expected a part of a node of {node} that divides it, or whole nodes, "
            f"of {case.cluster.gpus} GPUs",
            file=case.file,
            field=f"{field}.gpus",
        )
    cluster = replace(case.cluster, gpus=gpus, gpus_per_node=min(node, gpus))
    return replace(case, cluster=cluster)


def engine_of(case: Case) -> Engine:
    """The engine of ``case``; on a machine that was measured itself, without the host seconds, which are fitted on
    GPU servers."""
    engine = load_engine(serving_of(case).engine, case.cluster.device)
    engine = engine.without_host() if case.cluster.device.measured is not None else engine
    c = case.calibration
    return engine if c is None else engine.slower_host(c.factor("first_token"), c.factor("decode_base"))
