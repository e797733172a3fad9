"""Configs of Hugging Face families, drawn small, and the parameters that transformers counts for them.

The model of each config is built by transformers without memory (device "meta") and its parameters are
summed: shared ones once, buffers (the routers' correction biases among them) not, vision towers and
multi-token-prediction layers not. kimi_k2 and kimi_k25 are the deepseek_v3 architecture (their own
config.json says so: DeepseekV3ForCausalLM), so they are built as that.
"""

import torch
import yaml
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from moewright.case.catalogue.model_catalogue import FOLDER
from moewright.case.huggingface.config import from_config
from moewright.case.model import LatentAttention, LinearAttention
from moewright.case.tensors.layer_tensors import active_parameters, total_parameters

ARCHITECTURE = {
    "kimi_k2": "deepseek_v3",
    "kimi_k25": "deepseek_v3",
    "llama4": "llama4_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}


def catalogue_config(name):
    file = FOLDER / f"{name.lower()}.yaml"
    return yaml.safe_load(file.read_text())


def meta_model(config):
    """The model of transformers for the text part of ``config``, without memory."""
    config = {**config.get("text_config", {}), **({} if "text_config" in config else config)}
    model_type = config.pop("model_type")
    config.pop("quantization_config", None)
    if model_type == "dbrx":  # transformers reads the base of the rotary embedding here
        config["attn_config"] = {"rope_theta": 5e5, **config["attn_config"]}
    built = AutoConfig.for_model(ARCHITECTURE.get(model_type, model_type), **config)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(built)


def meta_counts(model, top_k):
    """Total and active parameters of a transformers model. Active: of the parameters that stack all
    experts, top_k of them; of an embedding that is not the head too, one row."""
    total = active = 0
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        size = parameter.numel()
        total += size
        if ".experts." in name:
            size = size // stacked_experts(model.config) * top_k
        elif parameter is model.get_input_embeddings().weight and not tied:
            size = parameter.shape[1]
        active += size
    return total, active


def stacked_experts(config):
    """Experts of a config of transformers, under the name its family has."""
    if config.model_type == "dbrx":
        return config.ffn_config.moe_num_experts
    names = ("n_routed_experts", "num_local_experts", "num_experts")
    return next(getattr(config, name) for name in names if getattr(config, name, None))


def assert_same_counts(config):
    spec = from_config(config, "test")
    top_k = spec.moe.top_k if spec.moe else 0
    model = meta_model(config)
    assert (total_parameters(spec), active_parameters(spec)) == meta_counts(model, top_k)
    kinds = getattr(model.config, "layer_types", None)
    if kinds and set(kinds) <= NAMED:  # not those of Nemotron 3, whose blocks are halves of layers, nor of DeepSeek-V4
        assert [kind_of(layer.attention) for layer in spec.layers] == kinds


#: what ``kind_of`` tells apart
NAMED = {"linear_attention", "indexed_attention", "full_attention", "chunked_attention", "sliding_attention"}


def kind_of(attention):
    """What transformers calls an attention in layer_types."""
    if isinstance(attention, LinearAttention):
        return "linear_attention"
    if isinstance(attention, LatentAttention):
        return "indexed_attention" if attention.indexer else "full_attention"
    if attention.chunk:
        return "chunked_attention"
    return "sliding_attention" if attention.window else "full_attention"


# --------------------------------------------------------------------- families, small random configs

small = st.integers(1, 5)


@st.composite
def grouped(draw, model_type, **more):
    """Fields that most families with grouped-query attention share."""
    kv_heads = draw(st.sampled_from([1, 2, 4]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 3]))
    head_dim = 8 * draw(small)
    return {
        "model_type": model_type,
        "hidden_size": heads * 8 * draw(small),
        "num_hidden_layers": draw(st.integers(1, 6)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": draw(st.integers(10, 90)),
        "intermediate_size": 8 * draw(small),
        "tie_word_embeddings": draw(st.booleans()),
        **{name: draw(values) for name, values in more.items()},
    }


@st.composite
def with_experts(draw, base, names, top_k="num_experts_per_tok"):
    config = draw(base)
    config[names] = draw(st.integers(2, 8))
    config[top_k] = draw(st.integers(1, config[names]))
    return config


@st.composite
def without_head_dim(draw, base):
    config = draw(base)
    config.pop("head_dim")
    return config


@st.composite
def latent(draw, model_type, **more):
    config = draw(grouped(model_type, attention_bias=st.booleans(), **more))
    groups, per_group = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    open_groups = draw(st.integers(1, groups))
    config.pop("head_dim")
    return config | {
        "num_key_value_heads": config["num_attention_heads"],
        "q_lora_rank": draw(more.get("q_lora_rank", st.integers(1, 20))),
        "kv_lora_rank": draw(st.integers(1, 20)),
        "qk_nope_head_dim": 4 * draw(small),
        "qk_rope_head_dim": 4 * draw(small),
        "v_head_dim": 4 * draw(small),
        "moe_intermediate_size": 4 * draw(small),
        "n_group": groups,
        "topk_group": open_groups,
        "n_routed_experts": groups * per_group,
        "num_experts_per_tok": draw(st.integers(1, open_groups * per_group)),
        "n_shared_experts": draw(st.integers(1, 3)),
        "first_k_dense_replace": draw(st.integers(0, config["num_hidden_layers"])),
    }


@st.composite
def sparse(draw, model_type):
    config = draw(latent(model_type))
    config |= {"index_n_heads": draw(small), "index_head_dim": 24 + 4 * draw(small), "index_topk": 16}
    if model_type == "glm_moe_dsa" and draw(st.booleans()):
        config |= {
            "index_topk_freq": draw(st.integers(1, 3)),
            "index_skip_topk_offset": draw(st.integers(1, 3)),
        }
    return config


@st.composite
def qwen_moe(draw, model_type, **more):
    names = ["moe_intermediate_size", "shared_expert_intermediate_size"]
    base = with_experts(grouped(model_type, **dict.fromkeys(names, small), **more), "num_experts")
    config = draw(base)
    if draw(st.booleans()):
        config["decoder_sparse_step"] = draw(st.integers(1, 3))
        config["mlp_only_layers"] = draw(st.lists(st.integers(0, config["num_hidden_layers"] - 1), max_size=3))
    return config


linear = {
    "linear_num_key_heads": st.just(2),
    "linear_num_value_heads": st.sampled_from([2, 4]),
    "linear_key_head_dim": st.sampled_from([8, 16]),
    "linear_value_head_dim": st.sampled_from([8, 16]),
    "linear_conv_kernel_dim": st.integers(2, 4),
    "full_attention_interval": st.integers(1, 4),
}


@st.composite
def hybrid_moe(draw, model_type):
    """Qwen3.5 has experts in every layer."""
    config = draw(qwen_moe(model_type, **linear))
    return {k: v for k, v in config.items() if k not in ("decoder_sparse_step", "mlp_only_layers")}


@st.composite
def llama4(draw):
    config = draw(with_experts(grouped("llama4_text", attention_bias=st.booleans()), "num_local_experts"))
    return config | {"intermediate_size_mlp": 24, "interleave_moe_layer_step": draw(st.integers(1, 3))}


@st.composite
def glm4_moe(draw):
    config = draw(latent("glm4_moe", use_qk_norm=st.booleans()))
    kv_heads = draw(st.sampled_from([1, config["num_attention_heads"]]))
    return config | {"head_dim": 16, "num_key_value_heads": kv_heads}


@st.composite
def dbrx(draw):
    experts = draw(st.integers(2, 8))
    return {
        "model_type": "dbrx",
        "d_model": 8 * 4 * draw(small),
        "n_heads": 4,
        "n_layers": draw(small),
        "vocab_size": draw(st.integers(10, 90)),
        "attn_config": {"kv_n_heads": draw(st.sampled_from([1, 2, 4]))},
        "ffn_config": {
            "ffn_hidden_size": 8 * draw(small),
            "moe_num_experts": experts,
            "moe_top_k": draw(st.integers(1, experts)),
        },
    }


bias = {"attention_bias": st.booleans()}
late = {
    "use_sliding_window": st.booleans(),
    "sliding_window": st.just(8),
    "max_window_layers": st.integers(0, 6),
}
FAMILIES = {
    "dbrx": dbrx(),
    "deepseek_v2": latent("deepseek_v2", q_lora_rank=st.none() | small, mlp_bias=st.booleans()),
    "deepseek_v3": latent("deepseek_v3", q_lora_rank=st.none() | small),
    "deepseek_v32": sparse("deepseek_v32"),
    "glm4_moe": glm4_moe(),
    "glm_moe_dsa": sparse("glm_moe_dsa"),
    "gpt_oss": with_experts(grouped("gpt_oss", sliding_window=st.just(8), **bias), "num_local_experts"),
    "granitemoe": without_head_dim(with_experts(grouped("granitemoe", **bias), "num_local_experts")),
    "kimi_k2": latent("kimi_k2"),
    "llama": grouped("llama", mlp_bias=st.booleans(), **bias),
    "llama4_text": llama4(),
    "minimax_m2": with_experts(grouped("minimax_m2"), "num_local_experts"),
    "mixtral": with_experts(grouped("mixtral", sliding_window=st.none() | st.just(8)), "num_local_experts"),
    "olmoe": without_head_dim(with_experts(grouped("olmoe", **bias), "num_experts")),
    "phimoe": without_head_dim(
        with_experts(grouped("phimoe", lm_head_bias=st.booleans(), **bias), "num_local_experts")
    ),
    "qwen2": without_head_dim(grouped("qwen2", **late)),
    "qwen2_moe": without_head_dim(qwen_moe("qwen2_moe", qkv_bias=st.booleans(), **late)),
    "qwen3": grouped("qwen3", **bias, **late),
    "qwen3_5_moe_text": hybrid_moe("qwen3_5_moe_text"),
    "qwen3_5_text": grouped("qwen3_5_text", **linear, **bias),
    "qwen3_moe": qwen_moe("qwen3_moe", **bias),
    "qwen3_next": qwen_moe("qwen3_next", **linear),
}
