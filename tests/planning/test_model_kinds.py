"""Models of every kind of layer are planned, prompts and decodes, and their plans' checks hold."""

import json

import pytest

from moewright.case.file.load import load
from moewright.planning.proof.checks import Status
from moewright.planning.search import plan

SMALL = {"hidden_size": 256, "vocab_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8}
EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
CONFIGS = {
    "compressed": {
        **SMALL,
        **EXPERTS,
        "model_type": "deepseek_v4",
        "q_lora_rank": 64,
        "compress_ratios": [0, 4, 128, 4],
    },
    "without attention": {
        **SMALL,
        **EXPERTS,
        "model_type": "nemotron_h",
        "hybrid_override_pattern": "EM*-",
        "intermediate_size": 128,
        "moe_shared_expert_intermediate_size": 64,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "mamba_num_heads": 8,
        "mamba_head_dim": 32,
        "ssm_state_size": 16,
        "n_groups": 8,
    },
    "softmax with an index": {
        **SMALL,
        **EXPERTS,
        "model_type": "minimax_m3",
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 128,
        "num_local_experts": 8,
    },
}


@pytest.mark.parametrize("kind", ["prefill", "decode"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_plan_and_its_checks(name, kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]))
    (tmp_path / "s.yaml").write_text(
        "model: .\ncluster: {name: h200-hgx, gpus: 8}\n" + f"workload: {{kind: {kind}, batch: 8, sequence: 1024}}\n"
    )
    best = plan(load(tmp_path / "s.yaml")).best
    assert [c.name for c in best.checks if c.status is Status.FAIL] == []
    assert best.latency.seconds >= best.latency.bound_seconds
