"""What an engine cannot run: the reason, the nearest plan that it can, and what that costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from command import moewright
from moewright.case.case import Case
from moewright.case.file.load import case_of
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy
from moewright.launch.engine_options import engine_versions
from moewright.launch.exporters.engine_export import refusals
from moewright.launch.launch_plan import LaunchPlan, Role
from moewright.launch.matrix import cell, matrix
from moewright.launch.nearest import distance, nearest, refused_figures
from moewright.launch.read_launch import drafted, for_engine
from moewright.serving.planner.candidates import every_choice


def spec(strategy: str = "", **workload: object) -> dict[str, object]:
    import yaml

    made: dict[str, object] = {
        "model": "DeepSeek-V3",
        "cluster": {"name": "h200-hgx", "gpus": 16},
        "workload": {"kind": "serving", "engine": "sglang", "input": 4000, "output": 1000, "concurrency": 256}
        | workload,
    }
    return made | ({"strategy": yaml.safe_load(strategy)} if strategy else {})


BOTH_WAYS = "{attention: {dp: 4, tp: 4}, experts: {ep: 4, tp: 4}}"


def plan_of(engine: str, strategy: str) -> LaunchPlan:
    case = for_engine(case_of(spec(strategy), "spec.yaml"), engine, None)
    made = drafted(case, engine_versions(engine)[0])
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("engine", "strategy", "reason"),
    [
        ("vllm", BOTH_WAYS, "vLLM has EP = TP·PCP·DP, here 16, or none"),
        ("trtllm", BOTH_WAYS, "attention DP is all or nothing: DP16×TP1, or DP1×TP16"),
        ("vllm", "{attention: {tp: 16}, experts: {ep: 16, dispatch: all_to_all}}", "keeps all tokens"),
        ("trtllm", "{overlap: two_batch, attention: {dp: 16}, experts: {ep: 16}}", "two-batch"),
        ("vllm", "{attention: {tp: 16}, experts: {ep: 1, tp: 16}, overlap: two_batch}", "needs EP and dp above 1"),
    ],
)
def test_the_reason_is_the_engines_own(engine: str, strategy: str, reason: str) -> None:
    found = refusals(plan_of(engine, strategy), engine)
    assert any(reason in r.text for r in found), found


def test_sglang_cuts_experts_both_ways() -> None:
    assert refusals(plan_of("sglang", BOTH_WAYS), "sglang") == []


@pytest.mark.parametrize("engine", ["vllm", "trtllm"])
def test_the_nearest_runs_and_is_priced(engine: str) -> None:
    plan = plan_of(engine, BOTH_WAYS)
    found = nearest(plan)
    assert found is not None
    assert refusals(found.plan, engine) == []
    assert found.plan.gpus == 16
    assert found.output is not None
    assert all(found.seconds)
    assert all(found.output)
    # no other that the engine runs has sizes nearer to it
    tables = every_choice(replace(plan.case, strategy=None), waiting=True)[0]
    meant = replace(plan.pools[0].strategy, replicas=plan.pools[0].count)
    chosen = replace(found.plan.pools[0].strategy, replicas=found.plan.pools[0].count)
    assert _apart(chosen, meant) == min(_apart(c.strategies[0], meant) for c in tables if c.unused == 0)


def _apart(strategy: Strategy, meant: Strategy) -> float:
    from moewright.cost.table import Table

    return float(distance(Table.one(strategy, strategy.gpus), meant)[0])


def test_what_a_refused_plan_would_take_is_what_the_planner_says_of_one_that_runs() -> None:
    plan = plan_of("sglang", BOTH_WAYS)
    choice = every_choice(plan.case, waiting=True)[0][0]
    tpot, output = refused_figures(plan) or (0.0, 0.0)
    assert tpot == pytest.approx(choice.tpot, rel=0.02)
    assert output == pytest.approx(choice.output_per_gpu, rel=0.02)


def test_redundant_experts_and_overlap_of_each_engine() -> None:
    strategy = Strategy(
        overlap=Overlap.TWO_BATCH,
        attention=AttentionParallel(dp=16),
        experts=ExpertParallel(16, 1, 32, Dispatch.ALL_TO_ALL),
    )
    plan = plan_of("vllm", "{attention: {dp: 16}, experts: {ep: 16}}").with_strategies(strategy)
    assert refusals(plan, "vllm") == []
    assert [r.feature for r in refusals(plan, "trtllm")] == ["two-batch"]
    on_l40s = replace(plan.case, cluster=replace(plan.case.cluster, device=_l40s()))
    assert any("DeepEP" in r.reason for r in refusals(replace(plan, case=on_l40s), "vllm"))


def _l40s():
    from moewright.case.catalogue.hardware_catalogue import load_device

    return load_device("l40s")


def test_a_plan_that_runs_tells_the_version_that_decides() -> None:
    made = cell(plan_of("vllm", "{attention: {dp: 16}, experts: {ep: 16}}"))
    assert (made.since, made.feature, made.reasons) == ("0.11.1", "all-to-all", ())
    made = cell(plan_of("sglang", "{attention: {tp: 16}, experts: {ep: 16}}"))
    assert (made.since, made.feature) == ("0.4.1", "ep")
    assert cell(plan_of("trtllm", BOTH_WAYS)).since == ""


def test_a_matrix_has_a_row_a_plan() -> None:
    case: Case = case_of(
        {
            "model": "Mixtral-8x7B",
            "cluster": {"name": "h100-hgx", "gpus": 8},
            "workload": {"kind": "decode", "batch": 64, "sequence": 2048},
        },
        "spec.yaml",
    )
    rows = matrix(case, top=3)
    assert [c.engine for c in rows[0]] == ["vllm", "sglang", "trtllm", "megatron"]
    assert 1 <= len(rows) <= 4
    assert len({row[0].plan for row in rows}) == len(rows)


def test_the_command_refuses_with_the_nearest_and_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec(BOTH_WAYS)))
    done = moewright("launch", str(path), "--engine", "vllm", "--no-tables")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "the nearest that it can" in done.stderr
    assert "--nearest" in done.stderr
    taken = moewright("launch", str(path), "--engine", "vllm", "--no-tables", "--nearest", "--json")
    assert taken.returncode == 0, taken.stderr
    made = json.loads(taken.stdout)
    assert made["layout"]["ep"] in (1, 16)
    assert made["engine"] == "vllm"
    assert {"README.md", "node-0.sh", "node-1.sh", "health.sh", "benchmark.sh"} <= {f["path"] for f in made["files"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "vlm"), "--engine: got 'vlm'; did you mean vllm"),
        (("--engine", "vllm", "--engine-version", "0.1"), "--engine-version: got '0.1'"),
        (("--target", "kubernets"), "--target: got 'kubernets'; did you mean kubernetes"),
        (("--engine", "megatron"), "workload.kind"),
        (("--target", "dynamo", "--no-tables"), "--image"),
        (("--output", "/dev/null/x", "--no-tables"), "--output"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec("{attention: {tp: 16}, experts: {ep: 16}}")))
    done = moewright("launch", str(path), *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


@pytest.mark.slow
def test_a_plans_json_is_launched_as_planned(tmp_path: Path) -> None:
    path, plan = tmp_path / "spec.json", tmp_path / "plan.json"
    path.write_text(json.dumps(spec()))
    done = moewright("plan", str(path), "--no-tables", "--json")
    plan.write_text(done.stdout)
    best = json.loads(done.stdout)["best"]
    made = json.loads(moewright("launch", str(plan), "--no-tables", "--json").stdout)
    assert made["name"] == best["name"]
    s = best["strategy"]
    assert made["layout"]["attn_dp"] == s["attention"]["dp"]
    assert made["layout"]["gpus_total"] == best["gpus"]


def test_roles_are_of_the_pools() -> None:
    pool = {"gpus": 8, "replicas": 1, "strategy": {"attention": {"dp": 8}, "experts": {"ep": 8}}}
    case = case_of(spec(disaggregated={"prefill": pool, "decode": pool}), "spec.yaml")
    made = drafted(for_engine(case, "sglang", None), "0.5.23")
    assert made is not None
    assert [p.role for p in made.pools] == [Role.PREFILL, Role.DECODE]
    assert made.apart
