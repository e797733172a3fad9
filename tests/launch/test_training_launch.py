"""A plan of training as Megatron's options: legal ones, with the sizes that were planned."""

import pytest
import yaml

from launch.test_exports import parsed
from moewright.case.file.load import case_of
from moewright.launch.command import Command, arguments
from moewright.launch.engine_options import option_list
from moewright.launch.exporters.megatron_training import training_rows
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
]


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
