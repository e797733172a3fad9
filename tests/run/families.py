"""Tiny random models of each family, made with transformers and saved as it saves them."""

import torch
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 16,
    "beta_fast": 32.0, "beta_slow": 1.0,
}  # fmt: skip
FAMILIES = ("mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss", "qwen2_moe")


def config(family, pick):
    """A config of ``family``; ``pick(*choices)`` decides what is open."""
    heads = pick(4, 8)
    common = {
        "vocab_size": pick(96, 97),
        "hidden_size": 32,
        "num_hidden_layers": pick(2, 3),
        "num_attention_heads": heads,
        "num_key_value_heads": pick(1, 2, heads),
        "max_position_embeddings": 128,
        "tie_word_embeddings": pick(False, True),
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    experts, top_k = pick(4, 8), pick(1, 2, 3)
    if family == "mixtral":
        more = {"num_local_experts": experts, "intermediate_size": 24, "sliding_window": pick(None, 4)}
        return MixtralConfig(**common, **more, num_experts_per_tok=top_k)
    if family == "qwen3_moe":
        more = {
            "num_experts": experts,
            "moe_intermediate_size": 24,
            "norm_topk_prob": pick(True, False),
            "head_dim": 16,
        }
        layers = {"intermediate_size": 40, "mlp_only_layers": pick([], [0]), "decoder_sparse_step": 1}
        return Qwen3MoeConfig(**common, **more, **layers, num_experts_per_tok=top_k)
    if family == "qwen2_moe":
        more = {"num_experts": experts, "moe_intermediate_size": 24, "norm_topk_prob": pick(True, False)}
        layers = {"shared_expert_intermediate_size": 16, "intermediate_size": 40}
        return Qwen2MoeConfig(**common, **more, **layers, num_experts_per_tok=top_k)
    if family == "gpt_oss":
        rope = pick({"rope_type": "default", "rope_theta": 150000.0}, {**YARN, "truncate": False})
        more = {"num_local_experts": experts, "intermediate_size": 24, "head_dim": 8, "sliding_window": 4}
        return GptOssConfig(**common, **more, num_experts_per_tok=top_k, rope_parameters=rope, swiglu_limit=1.0)
    common["num_key_value_heads"] = heads
    groups = pick(1, 4)
    yarn = {**YARN, "mscale": 1.0, "mscale_all_dim": 0.7}
    return DeepseekV3Config(
        **common, n_routed_experts=8, num_experts_per_tok=top_k, n_group=groups, topk_group=min(groups, 2),
        moe_intermediate_size=24, intermediate_size=40, n_shared_experts=pick(1, 2), first_k_dense_replace=1,
        q_lora_rank=pick(None, 24), kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=12, v_head_dim=12,
        routed_scaling_factor=2.5, rope_parameters=pick({"rope_type": "default", "rope_theta": 10000.0}, yarn),
    )  # fmt: skip


MODELS = {
    "mixtral": MixtralForCausalLM,
    "qwen3_moe": Qwen3MoeForCausalLM,
    "deepseek_v3": DeepseekV3ForCausalLM,
    "gpt_oss": GptOssForCausalLM,
    "qwen2_moe": Qwen2MoeForCausalLM,
}


def model(family, pick, seed, **changed):
    """A model with weights large enough that every part of it shows in the logits; ``changed``: of its config."""
    described = config(family, pick)
    described.update(changed)
    made = MODELS[family]._from_config(described, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*made.named_parameters(), *made.named_buffers()):
            if "inv_freq" in name:
                continue
            drawn = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() == 1:
                tensor.copy_((1.0 if "norm" in name else 0.0) + 0.2 * drawn)
            else:
                tensor.copy_(drawn * tensor.shape[-1] ** -0.5)
    return made
