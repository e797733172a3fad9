"""Families beyond grouped and latent attention: totals against transformers on the meta device, small random configs.

Every model type that is known is built here or in ``hf_configs``, or has no class in transformers, is a nested
config of one that is tested, or is counted by hand.
"""

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases import value
from hf_configs import FAMILIES, grouped, latent, small
from moewright.case.huggingface.config import KNOWN, from_config
from moewright.case.huggingface.module_reader import Reader
from moewright.case.model import (
    CompressedAttention,
    LatentAttention,
    LinearAttention,
    MoeFfn,
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.tensors.layer_tensors import active_parameters, total_parameters
from moewright.cost.arrays import array
from moewright.cost.attention import decode_keys
from moewright.errors import SpecError

TOWERS = ("visual", "vision", "audio", "projector", "patch_merge", "merger")


def built(config):
    """The model of transformers for ``config``, without memory."""
    config = {"pad_token_id": 0, **config}
    made = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        try:
            return transformers.AutoModelForCausalLM.from_config(made)
        except ValueError:
            return transformers.AutoModelForImageTextToText.from_config(made)


def language_parameters(model):
    return sum(p.numel() for name, p in model.named_parameters() if not any(tower in name for tower in TOWERS))


@st.composite
def moe(draw, base, **more):
    """``base`` with routed experts in the commonest names."""
    config = draw(base)
    count = draw(st.integers(2, 8))
    config |= {"moe_intermediate_size": 8 * draw(small), "num_experts_per_tok": draw(st.integers(1, count))}
    spelling = more.pop("spelling", "num_experts")
    return config | {spelling: count} | {name: draw(values) for name, values in more.items()}


@st.composite
def mamba2(draw, base, **more):
    """``base`` with a Mamba-2 layer of as many channels as mamba_expand times the hidden size."""
    config = draw(base)
    return config | {
        "mamba_n_heads": config["num_attention_heads"],
        "mamba_n_groups": draw(st.sampled_from([1, 2])),
        "mamba_d_state": 4 * draw(small),
        "mamba_d_conv": draw(st.integers(2, 4)),
        "mamba_conv_bias": draw(st.booleans()),
        "mamba_proj_bias": False,
        **{name: draw(values) for name, values in more.items()},
    }


@st.composite
def patterned(draw, base, field, kinds):
    """``base`` with a kind from ``kinds`` for each layer."""
    config = draw(base)
    count = config["num_hidden_layers"]
    return config | {field: draw(st.lists(st.sampled_from(kinds), min_size=count, max_size=count))}


@st.composite
def nemotron_h(draw):
    config = draw(moe(grouped("nemotron_h"), spelling="n_routed_experts"))
    letters = draw(st.lists(st.sampled_from("ME*-"), min_size=2, max_size=9))
    config.pop("num_hidden_layers")
    return config | {
        "tie_word_embeddings": False,
        "hybrid_override_pattern": "".join(letters),
        "intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 8 * draw(small),
        "moe_latent_size": draw(st.none() | st.integers(4, 9)),
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "n_groups": draw(st.sampled_from([1, 2])),
        "ssm_state_size": 4 * draw(small),
        "use_conv_bias": draw(st.booleans()),
    }


@st.composite
def kimi_linear(draw):
    config = draw(latent("kimi_linear"))
    count = config["num_hidden_layers"]
    full = sorted(draw(st.sets(st.integers(1, count), min_size=1)))
    for name in ("n_group", "topk_group", "attention_bias", "n_shared_experts"):
        config.pop(name)
    return config | {
        "tie_word_embeddings": False,
        "q_lora_rank": None,
        "num_experts": config.pop("n_routed_experts"),
        "num_experts_per_token": config.pop("num_experts_per_tok"),
        "num_shared_experts": draw(st.integers(1, 2)),
        "linear_attn_config": {
            "full_attn_layers": full,
            "kda_layers": [i for i in range(1, count + 1) if i not in full],
            "head_dim": 8 * draw(small),
            "num_heads": draw(small),
            "short_conv_kernel_size": draw(st.integers(2, 4)),
        },
    }


@st.composite
def bailing_hybrid(draw):
    config = draw(latent("bailing_hybrid"))
    config.pop("attention_bias")
    return config | {
        "tie_word_embeddings": False,
        "q_lora_rank": None,
        "head_dim": 8 * draw(small),
        "num_experts": config.pop("n_routed_experts"),
        "num_shared_experts": config.pop("n_shared_experts"),
        "layer_group_size": draw(st.integers(1, 4)),
    }


@st.composite
def longcat(draw):
    config = draw(latent("longcat_flash"))
    for name in (
        "first_k_dense_replace",
        "n_shared_experts",
        "num_hidden_layers",
        "intermediate_size",
        "attention_bias",
    ):
        config.pop(name)
    width = config.pop("moe_intermediate_size")
    for name in ("n_group", "topk_group", "num_experts_per_tok"):
        config.pop(name)
    return config | {
        "num_layers": draw(st.integers(1, 3)),
        "q_lora_rank": 8,
        "ffn_hidden_size": 16,
        "expert_ffn_hidden_size": width,
        "moe_topk": 2,
        "zero_expert_num": 0,
    }


@st.composite
def deepseek_v4(draw):
    config = draw(moe(grouped("deepseek_v4"), spelling="n_routed_experts", n_shared_experts=st.just(1)))
    count = config["num_hidden_layers"]
    config.pop("intermediate_size")
    return config | {
        "num_key_value_heads": 1,
        "head_dim": 16 * draw(small),
        "num_attention_heads": 4,
        "q_lora_rank": 4 * draw(small),
        "qk_rope_head_dim": 8,
        "o_groups": draw(st.sampled_from([1, 2, 4])),
        "o_lora_rank": 8,
        "sliding_window": 16,
        "index_n_heads": draw(small),
        "index_head_dim": 8 * draw(small),
        "index_topk": 4,
        "hc_mult": draw(st.integers(2, 4)),
        "compress_ratios": draw(st.lists(st.sampled_from([0, 4, 128]), min_size=count, max_size=count)),
    }


@st.composite
def gemma4(draw):
    config = draw(patterned(grouped("gemma4_text"), "layer_types", ["sliding_attention", "full_attention"]))
    config["layer_types"][-1] = "full_attention"
    experts = draw(st.booleans())
    shared = draw(st.integers(0, 1)) if config["layer_types"][:-1].count("full_attention") else 0
    return config | {
        "tie_word_embeddings": True,
        "global_head_dim": 16 * draw(small),
        "num_global_key_value_heads": draw(st.sampled_from([1, config["num_key_value_heads"]])),
        "attention_k_eq_v": draw(st.booleans()),
        "hidden_size_per_layer_input": draw(st.sampled_from([0, 8])),
        "vocab_size_per_layer_input": 24,
        "num_kv_shared_layers": shared,
        "enable_moe_block": experts,
        **({"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 8} if experts else {}),
    }


@st.composite
def jamba(draw):
    config = draw(grouped("jamba"))
    config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    period, experts = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    return config | {
        "num_experts": draw(st.sampled_from([1, 4])),
        "num_experts_per_tok": 1,
        "attn_layer_period": period,
        "attn_layer_offset": draw(st.integers(0, period - 1)),
        "expert_layer_period": experts,
        "expert_layer_offset": draw(st.integers(0, experts - 1)),
        "mamba_d_state": 4 * draw(small),
        "mamba_dt_rank": draw(st.sampled_from(["auto", 5])),
        "mamba_conv_bias": draw(st.booleans()),
        "mamba_proj_bias": draw(st.booleans()),
    }


@st.composite
def minimax_m3(draw):
    text = draw(moe(grouped("minimax_m3_vl_text"), spelling="num_local_experts"))
    count = text["num_hidden_layers"]
    freq = st.lists(st.integers(0, 1), min_size=count, max_size=count)
    text.pop("moe_intermediate_size")
    text.pop("model_type")
    text |= {
        "tie_word_embeddings": False,
        "dense_intermediate_size": 24,
        "shared_intermediate_size": text["intermediate_size"],
        "moe_layer_freq": draw(freq),
        "sparse_attention_config": {
            "sparse_attention_freq": draw(freq),
            "sparse_num_index_heads": draw(small),
            "sparse_index_dim": 8,
            "sparse_block_size": 4,
            "sparse_topk_blocks": 2,
        },
    }
    return {"model_type": "minimax_m3_vl", "text_config": text, "tie_word_embeddings": False}


@st.composite
def nested(draw, outer, inner):
    """The text config of a model with a vision tower."""
    text = draw(inner)
    text["num_hidden_layers"] = min(3, text["num_hidden_layers"])
    text.pop("model_type")
    tied = text.pop("tie_word_embeddings")
    return {"model_type": outer, "text_config": text | {"tie_word_embeddings": tied}, "tie_word_embeddings": tied}


@st.composite
def without(draw, base, *names):
    config = draw(base)
    return {name: value for name, value in config.items() if name not in names}


@st.composite
def step(draw):
    text = draw(
        patterned(
            moe(grouped("step3p5"), spelling="n_routed_experts"), "layer_types", ["sliding_attention", "full_attention"]
        )
    )
    count = text["num_hidden_layers"]
    text.pop("model_type")
    text |= {
        "sliding_window": 8,
        "share_expert_dim": 8 * draw(small),
        "moe_layers_enum": ",".join(str(i) for i in range(count) if draw(st.booleans())),
        "attention_other_setting": {"num_attention_heads": 2 * text["num_attention_heads"]},
        "tie_word_embeddings": False,
    }
    return {"model_type": "step3p7", "text_config": text, "tie_word_embeddings": False}


@st.composite
def ernie(draw):
    config = draw(grouped("ernie4_5_moe", use_bias=st.booleans()))
    config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    return config | {
        "moe_num_experts": 4,
        "moe_k": draw(st.integers(1, 4)),
        "moe_intermediate_size": 8 * draw(small),
        "moe_num_shared_experts": draw(st.integers(1, 2)),
        "moe_layer_start_index": draw(st.integers(0, 2)),
        "moe_layer_end_index": draw(st.sampled_from([-1, 2])),
        "moe_layer_interval": draw(st.integers(1, 2)),
    }


@st.composite
def falcon_h1(draw):
    base = mamba2(grouped("falcon_h1", mlp_bias=st.booleans()), mamba_rms_norm=st.booleans())
    config = draw(base)
    return config | {"mamba_d_ssm": config["mamba_n_heads"] * 8 * draw(small), "mamba_d_head": "auto"}


bias = {"attention_bias": st.booleans()}
SPARSE = ("mlp_layer_types", ["dense", "sparse"])
slides = {"sliding_window": st.just(8)}
dense_first = {"first_k_dense_replace": st.integers(0, 3), "num_shared_experts": st.integers(1, 2)}
NEW = {
    "afmoe": moe(
        grouped("afmoe", **slides, num_dense_layers=st.integers(0, 3), global_attn_every_n_layers=st.integers(1, 4)),
        num_shared_experts=st.integers(1, 2),
    ),
    "axk1": without(latent("axk1"), "attention_bias"),
    "bailing_hybrid": bailing_hybrid(),
    "bamba": mamba2(
        without(grouped("bamba", **bias, attn_layer_indices=st.lists(st.integers(0, 5), max_size=3)), "head_dim")
    ),
    "deepseek_v4": deepseek_v4(),
    "dots1": moe(
        grouped(
            "dots1", **bias, **slides, max_window_layers=st.integers(0, 6), first_k_dense_replace=st.integers(0, 2)
        ),
        spelling="n_routed_experts",
        n_shared_experts=st.integers(1, 2),
    ),
    "ernie4_5": grouped("ernie4_5", use_bias=st.booleans()),
    "ernie4_5_moe": ernie(),
    "exaone4": grouped("exaone4", **slides, sliding_window_pattern=st.integers(1, 4)),
    "exaone_moe": moe(grouped("exaone_moe", **slides, sliding_window_pattern=st.integers(1, 4)), **dense_first),
    "falcon_h1": falcon_h1(),
    "flex_olmo": without(moe(grouped("flex_olmo", **bias)), "head_dim", "moe_intermediate_size"),
    "flint": moe(grouped("flint", **slides), shared_expert_intermediate_size=small.map(lambda n: 8 * n)),
    "gemma3_text": grouped("gemma3_text", **bias, **slides),
    "gemma4_text": gemma4(),
    "glm4_moe_lite": patterned(without(latent("glm4_moe_lite"), "first_k_dense_replace"), *SPARSE),
    "glm4v_moe": nested(
        "glm4v_moe",
        moe(
            grouped("glm4v_moe_text", **bias),
            spelling="n_routed_experts",
            n_shared_experts=st.integers(1, 2),
            first_k_dense_replace=st.integers(0, 2),
        ),
    ),
    "granitemoehybrid": mamba2(
        patterned(
            without(
                grouped(
                    "granitemoehybrid",
                    **bias,
                    num_local_experts=st.sampled_from([0, 4]),
                    num_experts_per_tok=st.just(2),
                ),
                "head_dim",
            ),
            "layer_types",
            ["mamba", "attention"],
        ),
        shared_intermediate_size=small.map(lambda n: 8 * n),
    ),
    "granitemoeshared": without(
        grouped(
            "granitemoeshared",
            **bias,
            num_local_experts=st.just(4),
            num_experts_per_tok=st.just(2),
            shared_intermediate_size=st.sampled_from([0, 8]),
        ),
        "head_dim",
    ),
    "hunyuan_v1_dense": grouped("hunyuan_v1_dense", **bias),
    "hunyuan_v1_moe": grouped("hunyuan_v1_moe", **bias, num_experts=st.just(4), moe_topk=st.integers(1, 3)),
    "hy_v3": patterned(moe(grouped("hy_v3"), num_shared_experts=st.integers(1, 2)), *SPARSE),
    "jamba": jamba(),
    "kimi_linear": kimi_linear(),
    "laguna": moe(
        patterned(grouped("laguna", **slides), "layer_types", ["sliding_attention", "full_attention"]),
        shared_expert_intermediate_size=small.map(lambda n: 8 * n),
    ),
    "lfm2_moe": moe(
        patterned(
            without(grouped("lfm2_moe", num_dense_layers=st.integers(0, 3), conv_bias=st.booleans()), "head_dim"),
            "layer_types",
            ["conv", "full_attention"],
        ),
    ),
    "longcat_flash": longcat(),
    "mellum": moe(grouped("mellum")),
    "mimo_v2_flash": moe(
        patterned(
            grouped("mimo_v2_flash", **bias, v_head_dim=small.map(lambda n: 8 * n)),
            "layer_types",
            ["sliding_attention", "full_attention"],
        ),
        spelling="n_routed_experts",
    ),
    "minimax": patterned(
        grouped("minimax", num_local_experts=st.just(4), num_experts_per_tok=st.integers(1, 4)),
        "layer_types",
        ["linear_attention", "full_attention"],
    ),
    "minimax_m3_vl": minimax_m3(),
    "ministral3": grouped("ministral3"),
    "mistral": grouped("mistral", sliding_window=st.none() | st.just(8)),
    "mistral4": latent("mistral4"),
    "nemotron_h": nemotron_h(),
    "qwen3_vl": nested("qwen3_vl", grouped("qwen3_vl_text")),
    "qwen3_vl_moe": nested("qwen3_vl_moe", moe(grouped("qwen3_vl_moe_text"))),
    "sarvam_mla": without(latent("sarvam_mla"), "attention_bias"),
    "sarvam_moe": moe(grouped("sarvam_moe"), **dense_first),
    "seed_oss": grouped("seed_oss", **bias),
    "solar_open": moe(grouped("solar_open"), spelling="n_routed_experts", n_shared_experts=st.integers(1, 2)),
    "step3p7": step(),
}
#: types whose layers are those of another that is built, under a name of its own
SAME = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "glm4v_moe_text": "glm4v_moe",
    "granite": "llama",
    "kimi_k25": "kimi_k2",
    "kimi_k3": "kimi_linear",
    "kimi_vl": "deepseek_v3",
    "deepseek_vl_v2": "deepseek_v2",
    "llama4": "llama4_text",
    "mimo": "qwen2",
    "mimo_v2": "mimo_v2_flash",
    "minimax_m1": "minimax",
    "minimax_m3": "minimax_m3_vl",
    "minimax_m3_vl_text": "minimax_m3_vl",
    "minimax_text_01": "minimax",
    "ministral": "mistral",
    "nemotron-nas": "nemotron_nas",
    "qwen2_5_vl": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen2_vl_text": "qwen2",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_omni_moe": "qwen3_moe",
    "qwen3_omni_moe_text": "qwen3_moe",
    "qwen3_vl_moe_text": "qwen3_vl_moe",
    "qwen3_vl_text": "qwen3_vl",
    "step3_vl": "step3_text",
    "step3p5": "step3p7",
}
#: types that transformers has no class for: the model of each card, with its total in billions
CARDS = {
    "arctic": (
        {
            "hidden_size": 7168,
            "intermediate_size": 4864,
            "num_hidden_layers": 35,
            "num_attention_heads": 56,
            "num_key_value_heads": 8,
            "num_local_experts": 128,
            "num_experts_per_tok": 2,
            "moe_layer_frequency": 1,
            "parallel_attn_mlp_res": True,
            "vocab_size": 32000,
        },
        (480, 17),
    ),
    "bailing_moe": (
        {
            "hidden_size": 5376,
            "intermediate_size": 12288,
            "moe_intermediate_size": 3072,
            "num_hidden_layers": 88,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_experts": 64,
            "num_experts_per_tok": 4,
            "num_shared_experts": 1,
            "vocab_size": 126464,
            "tie_word_embeddings": False,
        },
        (290, 28.8),  # Ling-plus
    ),
    "bailing_moe_v2": (
        {
            "hidden_size": 8192,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "use_qk_norm": True,
            "num_experts": 256,
            "num_experts_per_tok": 8,
            "num_shared_experts": 1,
            "first_k_dense_replace": 4,
            "n_group": 8,
            "topk_group": 4,
            "vocab_size": 157184,
        },
        (1000, 50),  # Ling-1T
    ),
    "bailing_moe_linear": (
        {
            "hidden_size": 2048,
            "intermediate_size": 5120,
            "moe_intermediate_size": 512,
            "num_hidden_layers": 20,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "use_qk_norm": True,
            "layer_group_size": 5,
            "num_experts": 256,
            "num_experts_per_tok": 8,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
            "vocab_size": 157184,
        },
        (16.4, 1.6),  # Ring-mini-linear-2.0
    ),
    "deepseek": (
        {
            "hidden_size": 2048,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "n_routed_experts": 64,
            "num_experts_per_tok": 6,
            "n_shared_experts": 2,
            "first_k_dense_replace": 1,
            "vocab_size": 102400,
        },
        (16.4, 2.8),  # deepseek-moe-16b
    ),
    "grok": (
        {
            "hidden_size": 6144,
            "intermediate_size": 32768,
            "num_hidden_layers": 64,
            "num_attention_heads": 48,
            "num_key_value_heads": 8,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "vocab_size": 131072,
        },
        (314, 86),  # Grok-1
    ),
    "step3_text": (
        {
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "num_hidden_layers": 61,
            "num_attention_heads": 64,
            "num_attention_groups": 1,
            "head_dim": 256,
            "share_q_dim": 2048,
            "moe_num_experts": 48,
            "moe_top_k": 3,
            "moe_intermediate_size": 5120,
            "share_expert_dim": 5120,
            "moe_layers_enum": ",".join(map(str, range(4, 60))),
            "vocab_size": 128815,
        },
        (316, 38),
    ),
}
CARDS["xverse"] = (
    {
        "hidden_size": 6144,
        "intermediate_size": 4096,
        "num_hidden_layers": 50,
        "num_attention_heads": 48,
        "num_key_value_heads": 16,
        "num_experts": 64,
        "moe_top_k": 6,
        "num_shared_experts": 2,
        "vocab_size": 100534,
    },
    (255.4, 36.5),
)  # XVERSE-MoE-A36B
CARDS["hunyuan"] = (
    {
        "hidden_size": 6400,
        "intermediate_size": 18304,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "num_experts": 16,
        "moe_topk": 1,
        "num_shared_expert": 1,
        "use_cla": True,
        "cla_share_factor": 2,
        "tie_word_embeddings": True,
        "vocab_size": 128512,
    },
    (389, 52),
)  # Hunyuan-Large
BY_HAND = {"nemotron_nas"}


def test_every_known_type_is_tested():
    assert set(KNOWN) == set(FAMILIES) | set(NEW) | set(SAME) | set(CARDS) | BY_HAND
    assert set(SAME.values()) <= set(FAMILIES) | set(NEW) | set(CARDS) | BY_HAND
    assert not [t for t in CARDS if t in transformers.CONFIG_MAPPING]


@pytest.mark.parametrize("family", NEW)
def test_totals_equal_transformers(family):
    @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(NEW[family])
    def check(config):
        model = from_config(config, "x")
        assert total_parameters(model) == language_parameters(built(config))
        assert 0 < active_parameters(model) <= total_parameters(model)

    check()


@pytest.mark.parametrize("family", CARDS)
def test_totals_of_cards(family):
    """Types without a class: within 2 % of what the model's card prints, active within 8 %."""
    config, (total, active) = CARDS[family]
    model = from_config({"model_type": family, **config}, "x")
    assert total_parameters(model) / 1e9 == pytest.approx(total, rel=0.02)
    few = active_parameters(model)
    many = few + (0 if model.tied_embeddings else model.vocab_size * model.hidden_size)
    assert few / 1e9 * 0.92 <= active <= many / 1e9 * 1.08


#: with a vision tower that is larger than the small text model
NESTED = {"minimax_m3_vl", "glm4v_moe", "step3p7", "qwen3_vl", "qwen3_vl_moe"}
MODULES = sorted({*NEW, *FAMILIES} & {*transformers.CONFIG_MAPPING} - NESTED - {"dbrx"})


@pytest.mark.parametrize("family", MODULES)
def test_the_reader_of_modules_agrees(family):
    """The second reader, of types that are not known, finds the same totals in the modules; and the same experts and
    heads, or says that the layer is of no known form."""

    @settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given({**FAMILIES, **NEW}[family])
    def check(config):
        mine, model = from_config(config, "x"), built(config)
        read = Reader(model, model.config.get_text_config()).model("x", None, family)
        assert total_parameters(read) == total_parameters(mine)
        if len(read.layers) == len(mine.layers):
            for ours, theirs in zip(mine.layers, read.layers, strict=True):
                if isinstance(theirs.attention, SoftmaxAttention | LatentAttention | LinearAttention):
                    assert type(ours.attention) is type(theirs.attention)
                    assert ours.attention.heads == theirs.attention.heads
                    assert ours.attention.token_bytes(2.0) >= theirs.attention.token_bytes(2.0)
                if isinstance(theirs.ffn, MoeFfn):
                    same = (theirs.ffn.experts, theirs.ffn.top_k, theirs.ffn.width, theirs.ffn.gated)
                    assert (ours.ffn.experts, ours.ffn.top_k, ours.ffn.width, ours.ffn.gated) == same

    check()


# ------------------------------------------------------------------------------ what each kind keeps and does


def test_state_of_a_mamba_layer():
    """Nemotron-3 Super: 128 heads of 64 channels with a state of 128 in fp32, and 3 of 10,240 channels in 16 bits."""
    mamba = LinearAttention(8, 128, 128, 64, 4, rule="mamba2")
    assert mamba.conv_channels == 128 * 64 + 2 * 8 * 128
    assert mamba.sequence_bytes(2.0) == 128 * 64 * 128 * 4 + 3 * 10240 * 2
    assert mamba.token_bytes(2.0) == 0
    assert mamba.state_flops == 2 * 2 * 128 * 64 * 128  # the update and the reading
    delta = LinearAttention(16, 32, 128, 128, 4)
    assert delta.state_flops == 3 * 2 * 32 * 128 * 128  # a delta rule reads before it writes


def test_compressed_attention_sees_window_and_entries():
    """DeepSeek-V4: the last 128 keys, and an entry for every 4 or 128 tokens."""
    model = from_config(
        {
            **dict.fromkeys(("hidden_size", "vocab_size"), 64),
            "model_type": "deepseek_v4",
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "q_lora_rank": 8,
            "moe_intermediate_size": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "compress_ratios": [0, 4, 128],
        },
        "x",
    )
    window, sparse, heavy = (layer.attention for layer in model.layers)
    assert all(isinstance(a, CompressedAttention) for a in (window, sparse, heavy))
    assert [value(decode_keys(a, array(100))) for a in (window, sparse, heavy)] == [100, 100 + 25, 100 + 100 / 128]
    assert [value(decode_keys(a, array(100_000))) for a in (window, sparse, heavy)] == [
        128,
        128 + 512,
        128 + 100_000 / 128,
    ]
    assert window.token_bytes(2.0) == 0
    assert heavy.token_bytes(2.0) == 512 * 2 / 128
    assert sparse.token_bytes(2.0) == (512 * 2 + 128 + 4) / 4
    assert sparse.index_flops == 2 * 64 * 128 / 4
    assert window.sequence_bytes(1.0) == 128 * 512


def test_layers_without_attention_and_without_feed_forward():
    config = {
        "model_type": "nemotron_h",
        "hybrid_override_pattern": "EM*-",
        "hidden_size": 32,
        "vocab_size": 16,
        "intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "moe_shared_expert_intermediate_size": 8,
    }
    first, second, third = from_config(config, "x").layers
    assert isinstance(first.attention, NoAttention)
    assert isinstance(second.attention, LinearAttention)
    assert second.ffn.width == 0
    assert isinstance(third.attention, SoftmaxAttention)
    assert third.ffn.width == 16


def test_choices_that_compute_nothing():
    """LongCat-Flash: 12 of 768 choices, 256 of which do nothing, so 8 experts work for a token; 27 B active."""
    config = {
        "model_type": "longcat_flash",
        "hidden_size": 6144,
        "num_layers": 28,
        "num_attention_heads": 64,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "ffn_hidden_size": 12288,
        "expert_ffn_hidden_size": 2048,
        "n_routed_experts": 512,
        "zero_expert_num": 256,
        "moe_topk": 12,
        "vocab_size": 131072,
    }
    model = from_config(config, "x")
    assert model.moe.working == 8
    assert total_parameters(model) / 1e9 == pytest.approx(560, rel=0.01)
    assert active_parameters(model) / 1e9 == pytest.approx(27, rel=0.03)


def test_pruned_blocks():
    """Llama-Nemotron: a block without attention, and one whose feed-forward is narrower."""
    whole = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.0}}
    config = {
        "model_type": "nemotron-nas",
        "hidden_size": 768,
        "num_attention_heads": 8,
        "num_hidden_layers": 3,
        "vocab_size": 32,
        "block_configs": [
            whole,
            {"attention": {"no_op": True}, "ffn": {"ffn_mult": 2.625}},
            {**whole, "ffn": {"no_op": True}},
        ],
    }
    first, second, third = from_config(config, "x").layers
    assert (first.attention.heads, first.attention.kv_heads) == (8, 4)
    assert first.ffn.width == 512  # two thirds of 768, in 256s
    assert isinstance(second.attention, NoAttention)
    assert second.ffn.width == 1536  # 2 · 2.625 · 768 / 3 = 1344, in 256s
    assert third.ffn.width == 0
    assert [layer.norms for layer in (first, second, third)] == [2, 1, 1]


def test_a_dense_type_with_experts_is_refused():
    """OpenMoE ships as model_type llama with 32 experts: read as a Llama it would lose nine tenths of its weights."""
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 32,
        "num_experts": 32,
    }
    with pytest.raises(SpecError, match=r"num_experts: got 32 experts, which a model of type llama does not have"):
        from_config(config, "x")
    assert from_config({**config, "num_experts": 1}, "x").moe is None
