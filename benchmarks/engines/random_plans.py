"""Random legal plans to be exported: model, cluster, strategy of one or two pools, settings."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

from moewright.case.case import Case
from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.model import ModelSpec
from moewright.case.strategy import (
    AttentionParallel,
    Dispatch,
    ExpertParallel,
    Overlap,
    Strategy,
)
from moewright.case.workload import Kind, Workload
from moewright.errors import MoewrightError
from moewright.launch.engine_options import engine_versions
from moewright.launch.launch_plan import LaunchPlan, Pool, Role, Settings, checkpoint_of
from moewright.planning.space import space

MODELS = (
    *("DeepSeek-V3", "DeepSeek-V2-Lite", "Qwen3-235B-A22B-FP8", "Qwen3-30B-A3B", "gpt-oss-120b", "Mixtral-8x7B"),
    *("GLM-4.5", "Kimi-K2", "Llama-3.1-70B", "Llama-4-Maverick", "Qwen3-Next-80B-A3B", "DeepSeek-V3.2"),
)
CLUSTERS = ("h200-hgx", "h100-hgx", "a100-hgx", "mi300x-oam", "gb200-nvl72", "l40s-pcie")
SIZES = (1, 2, 4, 8, 16, 32, 64)


def random_plan(draw: random.Random, engine: str) -> LaunchPlan:
    """A plan that is legal for its model and cluster, whatever ``engine`` makes of it."""
    model = _model(draw.choice(MODELS))
    while True:
        gpus = draw.choice(SIZES)
        try:
            cluster = load_cluster(draw.choice(CLUSTERS), gpus)
        except MoewrightError:
            continue
        break
    apart = gpus > 1 and engine != "megatron" and draw.random() < 0.3
    roles = (Role.PREFILL, Role.DECODE) if apart else (Role.SERVE,)
    pools = []
    for role in roles:
        one = legal_strategy(draw, Case(model, cluster, _workload()), gpus // len(roles), role)
        room = max(1, gpus // len(roles) // one.gpus)
        count = 1 if engine == "megatron" else draw.choice([n for n in (1, 2, 3, 4, 8) if n <= room])
        tps = [d for d in (1, 2, 4, 8) if one.attention.tp % d == 0]
        dcp = draw.choice(tps) if draw.random() < 0.15 else 1
        one = replace(one, attention=replace(one.attention, dcp=dcp))
        pools.append(Pool(role, one, count, draw.choice((1, 7, 32, 128, 500)), draw.uniform(0.5, 0.95)))
    case = Case(model, cluster, _workload(draw.choice((1, 16, 256))))
    version = engine_versions(engine)[0]
    plan = LaunchPlan(case, engine, version, "random", tuple(pools), random_settings(draw, model))
    return placed(draw, plan) if draw.random() < 0.3 else plan


@cache
def _model(name: str) -> ModelSpec:
    return load_model(name)


def _workload(batch: int = 4096) -> Workload:
    return Workload(Kind.PREFILL, (batch,), 4096)


def legal_strategy(draw: random.Random, case: Case, gpus: int, role: Role) -> Strategy:
    """A strategy of one instance on at most ``gpus`` GPUs, drawn until the planner's own rules take it."""
    model, node = case.model, case.cluster.host_gpus
    for _ in range(400):
        stage = draw.choice([n for n in SIZES if n <= gpus])
        pp = draw.choice([n for n in (1, 2, 4, 8) if n * stage <= gpus])
        if pp * stage > node and pp * stage % node:
            continue
        dp, cp = (draw.choice([n for n in SIZES if stage % n == 0]) for _ in range(2))
        if draw.random() < 0.8 or role is Role.DECODE:
            cp = 1
        if stage % (dp * cp):
            continue
        ep = draw.choice([n for n in SIZES if stage % n == 0])
        strategy = Strategy(
            pp=pp,
            overlap=Overlap.TWO_BATCH if draw.random() < 0.1 else Overlap.NONE,
            attention=AttentionParallel(dp, cp, stage // (dp * cp)),
            experts=_experts(draw, model, ep, stage, dp * cp == 1),
        )
        if _legal(case, strategy):
            return strategy
    return Strategy()


def _experts(draw: random.Random, model: ModelSpec, ep: int, stage: int, alone: bool) -> ExpertParallel:
    if model.moe is None:
        return ExpertParallel(1, stage, 0, Dispatch.ALL_TO_ALL)
    more = draw.choice((1, 4)) * ep if ep > 1 and draw.random() < 0.3 else 0
    redundant = -model.moe.experts % ep + more
    replicated = alone and stage > 1 and draw.random() < 0.6
    return ExpertParallel(ep, stage // ep, redundant, Dispatch.REPLICATED if replicated else Dispatch.ALL_TO_ALL)


def _legal(case: Case, strategy: Strategy) -> bool:
    cluster = replace(case.cluster, gpus=strategy.gpus, gpus_per_node=min(case.cluster.gpus_per_node, strategy.gpus))
    try:
        space(replace(case, cluster=cluster, strategy=strategy.spec))
    except MoewrightError:
        return False
    return True


def random_settings(draw: random.Random, model: ModelSpec) -> Settings:
    own = model.prediction_layers > 0
    drafts = draw.choice((1, 2, 3)) if draw.random() < 0.3 else 0
    return Settings(
        checkpoint_of(model),
        model.name,
        draw.choice((2048, 8192, 20224)),
        draw.choice((2048, 8192, 16384)),
        draw.choice((64, 256, 1024, 2048)),
        draw.choice(("bf16", "bf16", "fp8")),
        draw.choice((16, 32, 64)),
        draw.random() < 0.7,
        draw.random() < 0.8,
        draw.random() < 0.3,
        draw.choice(((), (1, 2, 4, 8), (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)))),
        drafts,
        own,
    )


def placed(draw: random.Random, plan: LaunchPlan) -> LaunchPlan:
    """``plan`` with some placement of its experts."""
    moe = plan.case.model.moe
    if moe is None or plan.pools[-1].strategy.experts.ep == 1:
        return plan
    slots = moe.experts + plan.redundant
    row = [i % moe.experts for i in range(slots)]
    rows = {}
    for layer in plan.case.model.moe_layers():
        draw.shuffle(row)
        rows[layer] = tuple(row)
    return replace(plan, settings=replace(plan.settings, placement=rows))
