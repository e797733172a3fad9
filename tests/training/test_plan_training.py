"""A plan of training from a spec file to the page and the JSON."""

import json
from dataclasses import replace

import pytest
import yaml
from jsonschema import Draft202012Validator

from moewright.case.file.load import case_of
from moewright.case.file.schema import schema
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.search import search
from moewright.training.plan_training import plan_training
from training.command import invoke

SPEC = {
    "model": "Qwen3-30B-A3B",
    "cluster": {"name": "h100-hgx", "gpus": 32},
    "workload": {
        "kind": "train",
        "global_batch": "512 sequences",
        "sequence": 4096,
        "micro_batch": "auto",
        "tokens": "1.5 T",
        "precision": "fp8",
    },
}


def spec(**workload):
    return {**SPEC, "workload": {**SPEC["workload"], **workload}}


def run(tmp_path, *arguments, raw=SPEC):
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return invoke(["plan", str(file), *arguments])


def test_a_plan_of_training_as_json(tmp_path):
    result = run(tmp_path, "--json", "--compare", "pp=4,ep=8,tp=1")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    best = plan["best"]
    assert plan["workload"]["kind"] == "train"
    assert best["tokens_s"] == pytest.approx(512 * 4096 / best["step_seconds"])
    assert best["days"] == pytest.approx(1.5e12 / best["tokens_s"] / 86400)
    assert best["gpu_hours"] == pytest.approx(best["days"] * 24 * 32)
    assert sum(best["breakdown"].values()) == pytest.approx(best["step_seconds"])
    assert best["memory"]["fits"]
    assert best["worst_routing_peak"] >= best["memory"]["peak"]
    assert 0 < best["mfu"] < 1
    assert all(p["step_seconds"] >= best["step_seconds"] for p in plan["alternatives"])
    front = [(p["step_seconds"], p["memory"]["peak"]) for p in plan["frontier"]]
    assert front == sorted(front)
    assert [peak for _, peak in front] == sorted((peak for _, peak in front), reverse=True)
    compared = plan["comparisons"][0]
    assert compared["strategy"]["pp"] == 4
    assert compared["slower"] >= 1
    assert sum(compared["differences"].values()) == pytest.approx(compared["step_seconds"] - best["step_seconds"])


def test_a_plan_of_training_on_a_page(tmp_path):
    page = run(tmp_path, "--format", "markdown").stdout
    for words in ("tokens/s a GPU", "model FLOPs utilisation", "GPU-hours", "Next wall", "Frontier", "experts.tp 1"):
        assert words in page


def test_stages_of_a_pipeline_are_shown_with_their_memory(tmp_path):
    raw = {**SPEC, "strategy": {"pp": 4, "virtual_stages": 2, "experts": {"ep": 8}}}
    plan = json.loads(run(tmp_path, "--json", raw=raw).stdout)
    best = plan["best"]
    assert [s["stage"] for s in best["stages"]] == [0, 1, 2, 3]
    assert sum(s["layers"] for s in best["stages"]) == 48
    assert max(s["peak"] for s in best["stages"]) == pytest.approx(best["memory"]["peak"], rel=0.01)
    parts = best["breakdown"]
    once = sum(parts[n] for n in ("gradient_reduction", "weight_gathering", "optimizer"))
    assert best["simulated_pipeline_seconds"] == pytest.approx(best["step_seconds"] - once, rel=0.03)
    page = run(tmp_path, raw=raw).stdout
    assert "Memory over a step" in page


def test_layers_are_where_the_spec_puts_them(tmp_path):
    raw = {**SPEC, "strategy": {"pp": 2, "layers": [20, 28], "virtual_stages": 1}}
    plan = json.loads(run(tmp_path, "--json", raw=raw).stdout)
    assert [s["layers"] for s in plan["best"]["stages"]] == [20, 28]


BAD = [
    ({"global_batch": 0}, "workload.global_batch", "expected a whole number of sequences from 1"),
    ({"tokens": 0}, "workload.tokens", "expected a number of tokens above 0"),
    ({"tokens": "15 parsecs"}, "workload.tokens", "such as 512 or '15 T'"),
    ({"precision": "fp7"}, "workload.precision", "expected one of bf16, fp8, fp8_block, mxfp8, nvfp4"),
    ({"recompute": ["layernorms"]}, "workload.recompute", "did you mean layernorm?"),
    ({"lora": {"rank": 0}}, "workload.lora.rank", "expected a whole number from 1"),
    ({"lora": {"rank": 8, "targets": ["atention"]}}, "workload.lora.targets", "did you mean attention?"),
    ({"lora": {"rank": 8, "targets": ["dense"]}}, "workload.lora.targets", "Qwen3-30B-A3B has not; it has embedding"),
    ({"trainable": ["attention"], "lora": {"rank": 8}}, "workload.lora.targets", "trains whole; expected parts that"),
    ({"trainable": "none"}, "workload.trainable", "leaves nothing to train"),
    ({"frozen_layers": 49}, "workload.frozen_layers", "expected 48 at most"),
    ({"trainable": ["router"], "prediction_layers": 1}, "workload.prediction_layers", "expected 0"),
    ({"capacity_factor": 0}, "workload.capacity_factor", "a number above 0"),
    ({"optimizer": "sgd"}, "workload.optimizer", "expected one of adam, adam_lean, muon"),
]


@pytest.mark.parametrize(("workload", "field", "says"), BAD)
def test_bad_input_is_one_line(workload, field, says, tmp_path):
    result = run(tmp_path, raw=spec(**workload))
    assert result.exit_code == 2
    assert field in result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_dense_model_and_another_verb_refuse_training(tmp_path):
    with pytest.raises(SpecError, match="has no experts"):
        case_of({**SPEC, "model": "Qwen3-32B"}, "train.yaml")
    with pytest.raises(SpecError, match="got 'train', which is no pass"):
        search(case_of(SPEC, "train.yaml"))
    assert "--tables" in run(tmp_path, "--tables", "installed").stderr


def test_what_does_not_fit_says_what_needs_least():
    case = case_of({**SPEC, "model": "DeepSeek-V3", "cluster": {"name": "h100-hgx", "gpus": 8}}, "train.yaml")
    with pytest.raises(InfeasibleError, match=r"none of \d+ legal layouts fits: .* needs least"):
        plan_training(case)


def test_the_worst_routing_fills_a_rank_with_every_copy_it_can_get():
    """ep 8 of 128 experts and top 8: a rank of 16 experts may get all 8 copies of a token, 8 times the mean."""
    case = case_of({**SPEC, "strategy": {"pp": 1, "attention": {"tp": 1, "cp": 1}, "experts": {"ep": 8}}}, "train.yaml")
    found = plan_training(case, top=0)
    best = found.best
    copies = 8 * best.strategy.micro_batch * 4096
    each = 1.0 * 2048 + 2 * 2 * 768 + 1.0 * 768  # fp8 input, two 16-bit widths, fp8 activation
    kept = 48 * 7 * copies * each if not best.strategy.recompute else 0
    assert found.worst_peak - best.peak >= 0.9 * kept
    with_capacity = replace(case, training=replace(case.training, capacity=1.0))
    assert plan_training(with_capacity, top=0).worst_peak is None
    assert found.worst_peak > best.peak


def test_the_schema_accepts_a_training_spec():
    validator = Draft202012Validator(schema())
    validator.validate(SPEC)
    validator.validate({**SPEC, "strategy": {"pp": 4, "virtual_stages": 2, "experts": {"ep": 8, "dp": 1}}})
    assert not validator.is_valid(spec(precision="fp7"))


def test_deepseek_v3_on_2048_gpus_is_searched_whole():
    raw = {
        "model": "DeepSeek-V3",
        "cluster": {"name": "h800-hgx", "gpus": 2048},
        "workload": {
            "kind": "train",
            "global_batch": 15360,
            "sequence": 4096,
            "tokens": "14.8 T",
            "precision": "fp8_block",
        },
    }
    result = plan_training(case_of(raw, "train.yaml"))
    assert result.candidates > 10_000
    assert result.best.fits
    # 2.664 M GPU-hours by DeepSeek's own framework (arXiv 2412.19437 §1)
    assert result.best.gpu_hours == pytest.approx(2.664e6, rel=0.5)


def test_more_bandwidth_between_nodes_is_no_slower():
    case = case_of(
        {**SPEC, "strategy": {"experts": {"ep": 32}, "attention": {"tp": 1, "cp": 1}, "pp": 1}}, "train.yaml"
    )
    fabric = replace(case.cluster.fabric, bandwidth=case.cluster.fabric.bandwidth * 4)
    faster = plan_training(replace(case, cluster=replace(case.cluster, fabric=fabric)))
    assert faster.best.seconds < plan_training(case).best.seconds


def test_a_plan_that_megatron_does_not_run_says_so_instead_of_a_command(tmp_path):
    page = run(tmp_path, raw=spec(lora={"rank": 8})).stdout
    assert "Megatron-LM does not run frozen parts and adapters: no command starts this plan." in page
    assert "Trained are" in page
    assert "Start it" not in page
    late = run(tmp_path, raw={**SPEC, "strategy": {"pp": 4, "schedule": "zero_bubble"}}).stdout
    assert "Megatron-LM does not run schedule zero_bubble" in late
    assert "Start it: moewright launch" in run(tmp_path).stdout
