"""A plan of training as Megatron's options: legal ones, with the sizes that were planned."""

import pytest
import yaml

from launch.test_exports import parsed
from moewright.case.file.load import case_of
from moewright.doctor.diagnose import Question, diagnose
from moewright.launch.command import Command, arguments
from moewright.launch.engine_options import option_list
from moewright.launch.exporters.engine_export import commands
from moewright.launch.exporters.megatron_training import training_launch, training_rows
from moewright.launch.read_launch import settings_of
from moewright.serving.engines.engine import load_engine
from moewright.training.plan_training import plan_training
from training.command import invoke

SPEC = {
    "model": "Qwen3-30B-A3B",
    "cluster": {"name": "h100-hgx", "gpus": 32},
    "workload": {"kind": "train", "global_batch": 256, "sequence": 4096},
}

CASES = [
    ({"precision": "fp8", "recompute": ["layernorm", "moe_act"]}, {"pp": 4, "virtual_stages": 2, "experts": {"ep": 8}}),
    ({"precision": "mxfp8", "gradients": "bf16", "graphs": "full", "balanced": True}, {"pp": 1, "sharding": "fsdp"}),
    ({"precision": "nvfp4", "recompute": "full", "capacity_factor": 1.5}, {"pp": 2, "experts": {"ep": 4, "tp": 2}}),
    ({"optimizer": "muon", "prediction_layers": 1}, {"pp": 2, "attention": {"tp": 2}, "experts": {"ep": 16}}),
    ({"optimizer": "adam_lean"}, {"attention": {"cp": 2}, "pp": 1}),
    ({}, {"attention": {"cp": 2, "tp": 1, "cp_comm_type": "ring"}, "pp": 2, "virtual_stages": 2, "experts": {"ep": 8}}),
    ({}, {"attention": {"cp": 2, "cp_comm_type": "all_to_all"}, "pp": 1, "overlap_grad_reduce": False}),
    ({}, {"attention": {"cp": 4, "cp_comm_type": "all_gather"}, "sharding": "none", "pp": 4}),
    ({}, {"experts": {"ep": 8, "dispatcher": "all_to_all"}, "pp": 1, "overlap_experts": False}),
    ({}, {"experts": {"ep": 4, "dispatcher": "all_gather"}, "attention": {"tp": 2}, "overlap_tp": True, "pp": 1}),
    ({"recompute": ["core_attn"]}, {"overlap_param_gather": False, "pp": 2, "layers": [20, 28], "virtual_stages": 1}),
]


@pytest.mark.parametrize(("workload", "strategy"), CASES)
def test_doctor_reads_the_strategy_back_from_the_command_of_a_node(workload, strategy):
    case = case_of({**SPEC, "workload": {**SPEC["workload"], **workload}, "strategy": strategy}, "train.yaml")
    plan = plan_training(case, top=0).best
    made = engine_commands_of(case, plan)
    d = diagnose(made, Question("h100-hgx", 32))
    assert d.reading.training == plan.strategy
    assert d.starts
    assert d.reading.layout_name == plan.strategy.name
    assert d.to_dict()["strategy"]["cp_comm_type"] == plan.strategy.cp_comm_type


def engine_commands_of(case, plan):
    """The command of the first node, as a script has it."""
    settings = settings_of(case, load_engine("vllm", case.cluster.device), None)
    launch = training_launch(case, plan, "0.20", settings)
    return commands(launch)[0][1].text()


READ = [
    ("--context-parallel-size 2", {"cp": 2, "cp_comm_type": "ring"}),
    ("--context-parallel-size 4 --cp-comm-type a2a", {"cp": 4, "cp_comm_type": "all_to_all"}),
    ("--expert-model-parallel-size 4 --num-experts 8", {"ep": 4, "dispatcher": "all_gather", "etp": 1}),
    (
        "--expert-model-parallel-size 4 --num-experts 8 --moe-token-dispatcher-type flex",
        {"dispatcher": "deepep", "overlap_experts": False},
    ),
    ("--recompute-granularity selective", {"recompute": ("core_attn",)}),
    ("--recompute-granularity full --recompute-method uniform", {"recompute": ("full",)}),
    ("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout 'Et*3|(tt|)*2,tm|L'", None),
    ("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout 'E(tt|)*3tmL'", {"layers": (2, 2, 2, 2)}),
    (
        "--pipeline-model-parallel-size 2 --num-layers 8 --num-layers-per-virtual-pipeline-stage 2",
        {"virtual": 2, "schedule": "interleaved", "layers": (2, 2, 2, 2)},
    ),
    ("--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params", {"sharding": "fsdp"}),
    ("", {"sharding": "none", "overlap_grad_reduce": False, "overlap_tp": False}),
]


@pytest.mark.parametrize(("options", "wanted"), READ)
def test_options_of_a_script_are_read_by_the_parsers_defaults(options, wanted):
    text = (
        f"torchrun --nproc-per-node 8 pretrain_gpt.py --tensor-model-parallel-size 1 {options} --global-batch-size 64"
    )
    d = diagnose(text, Question("h100-hgx", 8))
    if wanted is None:  # five chunks on two stages
        assert any("expected E, t, m and L in a multiple of pp 2 chunks" in p.what for p in d.problems)
        return
    found = d.reading.training
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_adapters_are_not_what_pretrain_gpt_trains(tmp_path):
    file = tmp_path / "train.yaml"
    workload = {**SPEC["workload"], "lora": {"rank": 8}}
    file.write_text(yaml.safe_dump({**SPEC, "workload": workload, "strategy": {"pp": 1}}), encoding="utf-8")
    refused = invoke(["launch", str(file), "--engine", "megatron"])
    assert refused.exit_code == 3
    assert "frozen parts and adapters: pretrain_gpt.py trains all of a model" in refused.stderr


@pytest.mark.parametrize(("workload", "strategy"), CASES)
def test_every_option_is_one_that_megatron_takes(workload, strategy):
    case = case_of({**SPEC, "workload": {**SPEC["workload"], **workload}, "strategy": strategy}, "train.yaml")
    plan = plan_training(case, top=0).best
    s = plan.strategy
    values = parsed(option_list("megatron"), Command(("torchrun",), arguments(training_rows(plan, case))))
    assert values["tensor_model_parallel_size"] == s.tp
    assert values["context_parallel_size"] == s.cp
    assert values["pipeline_model_parallel_size"] == s.pp
    assert values["expert_model_parallel_size"] == s.ep
    assert values["expert_tensor_parallel_size"] == s.etp
    assert values.get("use_distributed_optimizer", False) == (s.sharding != "none")
    layout = values.get("pipeline_model_parallel_layout")
    if s.pp > 1:
        chunks = layout.split("|")
        assert len(chunks) == s.pp * s.virtual
        assert chunks[0].startswith("E")
        assert chunks[-1].endswith("L")
        assert layout.count("t") == 48
        assert "m" not in "".join(chunks[:-1])
        assert layout.count("m") == case.training.prediction_layers
    assert ("fp8_recipe" in values) == (workload.get("precision") in ("fp8", "mxfp8"))
    assert ("recompute_granularity" in values) == bool(s.recompute)


def test_launch_of_a_training_spec_is_one_job_on_all_nodes(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({**SPEC, "strategy": {"pp": 2, "virtual_stages": 1}}), encoding="utf-8")
    shown = invoke(["launch", str(file), "--engine", "megatron"]).stdout
    assert "--nnodes 4" in shown
    assert "--global-batch-size 256" in shown
    assert "a training step" in shown
    refused = invoke(["launch", str(file), "--engine", "vllm"])
    assert refused.exit_code == 2
    assert "got 'train', which vllm does not; expected --engine megatron" in refused.stderr
    file.write_text(yaml.safe_dump({**SPEC, "strategy": {"pp": 2, "schedule": "zero_bubble"}}), encoding="utf-8")
    refused = invoke(["launch", str(file), "--engine", "megatron"])
    assert "schedule zero_bubble: Megatron runs 1f1b and interleaved" in refused.stderr
