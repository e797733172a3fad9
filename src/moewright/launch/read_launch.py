"""A spec, or what ``plan --json`` wrote, made into what is to be started on an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from moewright.case.case import Case
from moewright.case.file.load import case_of, load
from moewright.case.model import LatentAttention
from moewright.case.serving import ENGINES, Disaggregated, EngineSpec, Serving
from moewright.case.serving import Pool as PoolSpec
from moewright.case.strategy import Dispatch, Strategy, StrategySpec
from moewright.case.workload import Kind
from moewright.cost.table import Table
from moewright.errors import SpecError
from moewright.launch.exporters.megatron_training import training_launch
from moewright.launch.launch_plan import (
    Expectation,
    LaunchPlan,
    Pool,
    Role,
    Settings,
    caches_prefixes,
    checkpoint_of,
    context_length,
    draft_tokens,
)
from moewright.planning.complete import complete
from moewright.planning.naming import strategy_name
from moewright.planning.plan_schema import MOST_BATCH, origin_of, plan_strategy, whole
from moewright.planning.read_plan import plan_file
from moewright.planning.record import Plan
from moewright.planning.search import plan as search
from moewright.serving.engines.deployment import worker_case
from moewright.serving.engines.engine import Engine, load_engine
from moewright.serving.planner.option import Choice
from moewright.serving.planner.serving_plan import plan_serving
from moewright.training.plan_training import plan_training

Tell = Callable[[float], None]


def read_case(path: Path) -> Case:
    """The case of a spec, or of a plan's JSON with its strategies and concurrency fixed. Raises SpecError."""
    found = plan_file(path)
    if found is None:
        return load(path)
    spec, best = found.get("spec"), found["best"]
    if not isinstance(spec, dict):
        raise SpecError("holds no spec; expected a plan that `moewright plan --json` made of a file", file=str(path))
    return _fixed(case_of(spec, str(origin_of(found, path))), best, str(path))


def _fixed(case: Case, best: dict[str, Any], file: str) -> Case:
    """``case`` with what ``best`` chose. Raises SpecError for what is no plan."""
    serving = case.serving
    if serving is None:
        workload = replace(case.workload, batch=(whole(best.get("batch"), file, "best.batch", most=MOST_BATCH),))
        return replace(
            case, workload=workload, strategy=plan_strategy(best.get("strategy"), file, "best.strategy").spec
        )
    if serving.concurrency:
        concurrency = whole(best.get("concurrency"), file, "best.concurrency", most=MOST_BATCH)
        serving = replace(serving, concurrency=(concurrency,))
    if "strategy" in best:
        strategy = plan_strategy(best["strategy"], file, "best.strategy").spec
        return replace(case, serving=serving, strategy=strategy)
    pools = []
    for name in ("prefill", "decode"):
        pool = best.get(name)
        if not isinstance(pool, dict):
            raise SpecError("holds no strategy", file=file, field=f"best.{name}")
        strategy = plan_strategy(pool.get("strategy"), file, f"best.{name}.strategy").spec
        count = whole(pool.get("replicas"), file, f"best.{name}.replicas")
        gpus = whole(pool.get("gpus"), file, f"best.{name}.gpus")
        pools.append(PoolSpec(gpus // count, strategy, count))
    return replace(case, serving=replace(serving, disaggregated=Disaggregated(*pools)))


def for_engine(case: Case, engine: str, version: str | None) -> Case:
    """``case`` for ``engine``: another engine's settings are left behind; a version's memory rule applies where
    it is given."""
    if case.serving is None or engine not in ENGINES:
        return case
    spec = case.serving.engine if case.serving.engine.name == engine else EngineSpec(engine)
    if version is not None:
        own = tuple((k, v) for k, v in spec.overrides if k != "version")
        spec = EngineSpec(engine, (*own, ("version", version)))
    return replace(case, serving=replace(case.serving, engine=spec))


def launch_plan(
    case: Case, engine: str, version: str, tables: Path | None = None, tell: Tell = lambda share: None
) -> LaunchPlan:
    """The best plan of ``case`` (the only one, where it names its strategy) as ``engine`` is to run it. Raises
    SpecError, InfeasibleError."""
    if case.serving is not None:
        if engine not in ENGINES:
            raise SpecError(
                f"got a serving workload; {engine} trains: expected forward, prefill or decode, whose sizes it "
                f"takes, or an engine of {', '.join(ENGINES)}",
                file=case.file,
                field="workload.kind",
            )
        return serving_launch(case, plan_serving(case, 0, tell, tables).best, version)
    if case.training is not None:
        if engine in ENGINES:
            raise SpecError(
                f"got 'train', which {engine} does not; expected --engine megatron",
                file=case.file,
                field="workload.kind",
            )
        profile = load_engine("vllm", case.cluster.device)  # of whose settings a training job takes none
        return training_launch(
            case, plan_training(case, top=0, progress=tell).best, version, settings_of(case, profile, None)
        )
    plan = search(case, top=0, progress=tell).best
    return pass_launch(case, plan, engine, version)


def drafted(case: Case, version: str) -> LaunchPlan | None:
    """The strategies that a serving spec names itself, not priced, whatever the engine makes of them; None where the
    planner chooses, among those that the engine runs. Raises SpecError, InfeasibleError for what no engine could."""
    assert case.serving is not None
    apart = case.serving.disaggregated
    if apart is None:
        return None if case.strategy is None else _drafted(case, version, [(Role.SERVE, case, case.strategy, None)])
    pools = [(Role.PREFILL, apart.prefill), (Role.DECODE, apart.decode)]
    rows = []
    for role, pool in pools:
        if pool.gpus is None or pool.strategy is None or pool.replicas is None:
            return None
        rows.append((role, worker_case(case, pool.gpus), pool.strategy, pool.replicas))
    return _drafted(case, version, rows)


def _drafted(case: Case, version: str, rows: Sequence[tuple[Role, Case, StrategySpec, int | None]]) -> LaunchPlan:
    assert case.serving is not None
    engine = load_engine(case.serving.engine, case.cluster.device)
    pools, names = [], []
    for role, own, want, count in rows:
        full = complete(replace(want, micro_batches=1), own)
        strategy = full.strategy
        alone = strategy.attention.dp * strategy.attention.cp == 1
        if want.dispatch is None and alone and strategy.stage > 1:
            full = replace(full, dispatch=Dispatch.REPLICATED)
            strategy = full.strategy
        one = replace(strategy, replicas=1)
        many = strategy.replicas if count is None else count
        names.append(strategy_name(strategy, case.model))
        pools.append(Pool(role, one, many, 1, memory_fraction(case, engine, one)))
    load = case.serving.concurrency[-1:]
    pools = [replace(p, requests=max(1, ceil((load or (1,))[0] / (p.count * p.strategy.attention.dp)))) for p in pools]
    settings = settings_of(case, engine, case.serving)
    flight = load[0] if load else None
    return LaunchPlan(case, engine.name, version, " + ".join(names), tuple(pools), settings, concurrency=flight)


def serving_launch(case: Case, choice: Choice, version: str) -> LaunchPlan:
    """A choice of a serving plan."""
    assert case.serving is not None
    serving, engine = case.serving, load_engine(case.serving.engine, case.cluster.device)
    apart = len(choice.strategies) > 1
    roles = (Role.PREFILL, Role.DECODE) if apart else (Role.SERVE,)
    simulation = choice.simulation
    pools = []
    for i, (role, strategy, count) in enumerate(zip(roles, choice.strategies, choice.replicas, strict=True)):
        one = replace(strategy, replicas=1)
        ranks = count * one.attention.dp
        memory = dict(simulation.pools[i].memory) if simulation is not None else {}
        fraction = memory_fraction(case, engine, one)
        pools.append(Pool(role, one, count, max(1, ceil(choice.concurrency / ranks)), fraction, memory=memory))
    name = _engine_name(case)
    plan = LaunchPlan(
        case,
        name,
        version,
        choice.name,
        tuple(pools),
        settings_of(case, engine, serving),
        _expected(choice),
        concurrency=choice.concurrency if serving.concurrency else None,
        rate=serving.arriving if not serving.concurrency else None,
    )
    return _placed(plan)


def _engine_name(case: Case) -> str:
    assert case.serving is not None
    return case.serving.engine.name


def pass_launch(case: Case, plan: Plan, engine: str, version: str) -> LaunchPlan:
    """The strategy of a pass, with the scheduler's defaults of ``engine`` and requests as long as its sequences; a
    training engine takes the whole as one job."""
    profile = load_engine(engine if engine in ENGINES else "vllm", case.cluster.device)
    one, count = plan.strategy, 1
    if engine in ENGINES:
        one, count = replace(plan.strategy, replicas=1, micro_batches=1), plan.strategy.replicas
    requests = max(1, ceil(plan.batch / (plan.strategy.replicas * plan.strategy.attention.dp)))
    role = Role.SERVE if engine in ENGINES else Role.TRAIN
    pool = Pool(role, one, count, requests, memory_fraction(case, profile, one))
    what = {Kind.DECODE: "a decode step", Kind.PREFILL: "a prefill pass", Kind.FORWARD: "a forward pass"}
    workload = case.workload
    expected = (
        Expectation(f"{what[workload.kind]} of {plan.batch} sequences of {workload.sequence} tokens",
                    plan.latency.seconds, "s"),
    )  # fmt: skip
    notes = []
    if plan.strategy.micro_batches > 1 and engine in ENGINES:
        notes.append(
            f"{plan.strategy.micro_batches} micro-batches: the engine's scheduler makes its own, one a pipeline stage"
        )
    return _placed(
        LaunchPlan(
            replace(case, workload=replace(workload, batch=(plan.batch,))),
            engine,
            version,
            plan.name,
            (pool,),
            settings_of(case, profile, None),
            expected,
            tuple(notes),
            concurrency=plan.batch,
        )
    )


def settings_of(case: Case, engine: Engine, serving: Serving | None) -> Settings:
    """What every instance is told: of the plan's engine, or its profile's defaults for a pass."""
    model = case.model
    longest = case.workload.sequence if serving is None else _longest(serving)
    return Settings(
        checkpoint_of(model),
        served_name(model.name),
        context_length(longest, model),
        engine.max_num_batched_tokens,
        engine.max_num_seqs,
        model.precision.kv_cache,
        engine.kv_block,
        caches_prefixes(model, serving.prefix_cache_hit if serving is not None else 0.0),
        engine.chunked_prefill,
        engine.mixed,
        engine.cuda_graph_sizes,
        draft_tokens(serving.speculative if serving is not None else None),
        model.prediction_layers > 0,
    )


def served_name(name: str) -> str:
    """A name that all servers take: no spaces, and no colon, which SGLang keeps for adapters."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)


def _longest(serving: Serving) -> int:
    if serving.trace is not None:
        return max(i + o for i, o in zip(serving.trace.inputs, serving.trace.outputs, strict=True))
    return serving.longest


def memory_fraction(case: Case, engine: Engine, strategy: Strategy) -> float:
    """The fraction that the plan was made with: the user's, or the one of the engine's own rule."""
    if engine.gpu_memory_utilization is not None:
        return engine.gpu_memory_utilization
    latent = any(isinstance(layer.attention, LatentAttention) for layer in case.model.layers)
    table = Table.of([strategy], [strategy.replicas * strategy.attention.dp])
    return float(engine.memory.fractions(case.cluster.device, table, latent)[0])


def _expected(choice: Choice) -> tuple[Expectation, ...]:
    """What users and GPUs will see: simulated means, and what 80 % of measured results lay between."""
    o = choice.simulation
    if o is None:
        return ()
    ranges = o.ranges
    rows = [("TTFT", o.ttft.mean, "s", ranges.get("ttft"))]
    if o.tpot is not None:
        rows.append(("TPOT", o.tpot.mean, "s", ranges.get("tpot")))
    rows.append(("output tokens/s a GPU", o.output_per_gpu, "tokens/s", None))
    return tuple(Expectation(n, v, u, *(ends or (None, None))) for n, v, u, ends in rows)


def _placed(plan: LaunchPlan) -> LaunchPlan:
    """``plan`` with its experts placed by the loads of its routing, where those are recorded layer by layer."""
    loads, moe = plan.case.routing.loads, plan.case.model.moe
    pool = plan.pools[-1]
    e = pool.strategy.experts
    if loads is None or moe is None or e.ep == 1:
        return plan
    from moewright.placement.search.solve import place

    layers = plan.case.model.moe_layers()
    table = np.asarray(loads, dtype=np.float64)
    if len(table) == 1:
        table = np.repeat(table, len(layers), axis=0)
    nodes = pool.nodes(plan.case.cluster.host_gpus)
    nodes = nodes if e.ep % nodes == 0 else 1
    found = place(table, slots=moe.experts + e.redundant, gpus=e.ep, nodes=nodes)
    rows = {layer: tuple(int(x) for x in row) for layer, row in zip(layers, found.expert_of_slot, strict=True)}
    return replace(plan, settings=replace(plan.settings, placement=rows))


def told(plan: LaunchPlan, checkpoint: str | None, draft: str | None, image: str | None) -> LaunchPlan:
    """``plan`` with what the user names: the weights, the model that guesses, the container's image."""
    settings = plan.settings
    if checkpoint is not None:
        settings = replace(settings, checkpoint=checkpoint)
    if draft is not None:
        settings = replace(settings, draft_model=draft, own_drafts=False)
    return replace(plan, settings=settings, image=image or plan.image)
