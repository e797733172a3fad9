"""Exported commands, scripts and manifests read back by the doctor's own reader: the same strategy."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from benchmarks.engines.random_plans import random_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.doctor.diagnose import Question, diagnose
from moewright.launch.exporters.engine_export import commands, export_of, refusals
from moewright.launch.launch_folder import launch
from moewright.launch.launch_plan import LaunchPlan, Pool
from moewright.launch.servers import nodes_used

SEEDS = st.integers(0, 1 << 32)


def startable(seed: int, engine: str, apart: bool | None = None) -> LaunchPlan:
    draw = random.Random(seed)
    while True:
        plan = random_plan(draw, engine)
        if not refusals(plan, engine) and apart in (None, plan.apart):
            return replace(plan, settings=replace(plan.settings, draft_model="some/draft"))


def question(plan: LaunchPlan) -> Question:
    nodes = {f"NODE_{i}": f"10.0.0.{i}" for i in range(nodes_used(plan))}
    return Question(version=plan.version, values=nodes)


def meant(plan: LaunchPlan, pool: Pool) -> dict[str, int]:
    """Sizes of one instance; without experts theirs mean nothing."""
    layout = pool.layout.to_dict()
    layout |= {"replicas": 1, "gpus_total": layout["world"]}
    return {k: v for k, v in layout.items() if plan.case.model.moe is not None or k not in ("ep", "etp")}


def text_of(plan: LaunchPlan, pool: Pool) -> str:
    """The command of an instance's first node, and the engine's files."""
    command = next(c for p, c in commands(plan) if p.pool is pool and p.leads)
    files = export_of(plan.engine).files(plan)
    return command.text() + "".join(f"\n# {n}\n{t}" for n, t in files.items() if n == command.value("--config"))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@given(seed=SEEDS)
@settings(max_examples=12)
def test_a_command_read_back_is_the_strategy(engine: str, seed: int) -> None:
    plan = startable(seed, engine)
    for pool in plan.pools:
        text = text_of(plan, pool)
        found = diagnose(text, question(plan))
        layout = found.reading.layout.to_dict()
        assert found.engine == engine
        assert {k: layout[k] for k in meant(plan, pool)} == meant(plan, pool), text


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_script_of_a_node_read_back_is_the_strategy(engine: str, seed: int) -> None:
    plan = startable(seed, engine, apart=False)
    script = next(f.text for f in launch(plan).files if f.path == "node-0.sh")
    layout = diagnose(script, question(plan)).reading.layout.to_dict()
    wanted = meant(plan, plan.pools[0])
    for name in ("attn_tp", "attn_dp", "attn_cp", "dcp", "pp", *(k for k in ("ep", "etp") if k in wanted)):
        assert layout[name] == wanted[name], script


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_manifest_read_back_is_the_strategy(engine: str, seed: int) -> None:
    plan = startable(seed, engine, apart=False)
    text = next(f.text for f in launch(plan, "kubernetes").files if f.path == "manifest.yaml")
    layout = diagnose(text, question(plan)).reading.layout.to_dict()
    wanted = meant(plan, plan.pools[0])
    for name in ("attn_tp", "attn_dp", "attn_cp", "dcp", "pp", *(k for k in ("ep", "etp") if k in wanted)):
        assert layout[name] == wanted[name], text


@given(seed=SEEDS)
@settings(max_examples=10)
def test_the_doctor_names_no_mistake_in_what_is_exported(seed: int) -> None:
    plan = startable(seed, "sglang")
    for pool in plan.pools:
        found = diagnose(text_of(plan, pool), question(plan))
        assert not [p for p in found.problems if p.stops], [p.what for p in found.problems]
