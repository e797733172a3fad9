"""The Hugging Face model types that are known, and how the layers of each are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moewright.case.huggingface.attention_config import (
    dbrx_attention,
    everywhere,
    glm4_moe_attention,
    gpt_oss_attentions,
    latent,
    llama4_attentions,
    llama_attention,
    minimax_attention,
    mixtral_attention,
    olmoe_attention,
    phimoe_attention,
    qwen2_attentions,
    qwen2_moe_attentions,
    qwen3_attentions,
    qwen3_moe_attention,
    qwen3_next_attentions,
    sparse_attentions,
)
from moewright.case.huggingface.attention_families import (
    afmoe_attentions,
    always,
    bailing_attention,
    every,
    flint_slides,
    hunyuan_attentions,
    laguna_attentions,
    late,
    mimo_v2_attentions,
    minimax_m3_attentions,
    plain,
    sarvam_attention,
    step3_attention,
    step_attentions,
)
from moewright.case.huggingface.block_config import (
    deepseek_v4_extra,
    deepseek_v4_layers,
    falcon_h1_layers,
    gemma4_extra,
    gemma4_layers,
    longcat_layers,
    nemotron_h_layers,
    nemotron_nas_layers,
)
from moewright.case.huggingface.ffn_config import (
    arctic_ffns,
    axk1_ffns,
    biased_ffns,
    dbrx_ffns,
    deepseek_ffns,
    dense_ffns,
    ernie_ffns,
    flint_ffns,
    gpt_oss_ffns,
    granite_shared_ffns,
    grok_ffns,
    hunyuan_ffns,
    jamba_ffns,
    kimi_linear_ffns,
    laguna_ffns,
    llama4_ffns,
    minimax_ffns,
    moe_everywhere,
    one_shared_ffns,
    qwen_moe_ffns,
    qwen_shared_ffns,
    sparse_ffns,
    xverse_ffns,
)
from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.state_config import (
    bailing_hybrid_attentions,
    bailing_linear_attentions,
    bamba_attentions,
    granite_hybrid_attentions,
    jamba_attentions,
    kimi_linear_attentions,
    lfm2_attentions,
    minimax_attentions,
)
from moewright.case.model import Attention, Ffn, Layer
from moewright.case.tensors.tensor import Tensor

MOST_LAYERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Family:
    """How one architecture reads: its attentions and feed-forwards, one for each of ``count`` layers; or ``blocks``,
    where a block is not one of each (``depth`` empty: they say how many there are). ``extra``: weights outside of the
    layers. ``tied``: what a missing tie_word_embeddings means."""

    attentions: Callable[[Fields, int], list[Attention]] = lambda f, count: []
    ffns: Callable[[Fields, int], list[Ffn]] = lambda f, count: []
    hidden: str = "hidden_size"
    depth: str = "num_hidden_layers"
    norm_bias: bool = False
    norms: int = 2
    blocks: Callable[[Fields, int], list[Layer]] | None = None
    extra: Callable[[Fields], tuple[Tensor, ...]] = lambda f: ()
    tied: bool = False
    head_bias: str = ""  # the field that says whether the head has a bias
    numbering: str = "layers"  # of a checkpoint's blocks: layers; blocks of one mixer or feed-forward; halves
    modules: tuple[tuple[str, tuple[str, ...]], ...] = ()  # names of modules in checkpoints that differ from the usual


def layers(family: Family, fields: Fields) -> tuple[Layer, ...]:
    """The layers of the model that ``fields`` describe."""
    count = fields.integer(family.depth, most=MOST_LAYERS) if family.depth else 0
    if family.blocks is not None:
        return tuple(family.blocks(fields, count))
    pairs = zip(family.attentions(fields, count), family.ffns(fields, count), strict=True)
    return tuple(Layer(attention, ffn, family.norms, family.norm_bias) for attention, ffn in pairs)


_DEEPSEEK = Family(everywhere(latent), deepseek_ffns)
_SPARSE = Family(sparse_attentions, deepseek_ffns)
_QWEN35 = Family(qwen3_next_attentions, dense_ffns)
_QWEN_NEXT = Family(qwen3_next_attentions, qwen_shared_ffns)
_LLAMA4 = Family(llama4_attentions, llama4_ffns)
_QWEN3 = Family(qwen3_attentions, dense_ffns)
_QWEN3_MOE = Family(everywhere(qwen3_moe_attention), qwen_moe_ffns)
_QWEN2 = Family(qwen2_attentions, dense_ffns)
_GLM4V_MOE = Family(plain(biased=True, output=False), sparse_ffns(first=1, shared=1))
_BAILING = Family(everywhere(bailing_attention), deepseek_ffns)
_BAILING_LINEAR = Family(bailing_linear_attentions, deepseek_ffns)
_STEP = Family(step_attentions, one_shared_ffns(("share_expert_dim", "share_expert_dims"), first=3))
_STEP3 = Family(everywhere(step3_attention), one_shared_ffns(("share_expert_dim",)))
_MINIMAX = Family(minimax_attentions, moe_everywhere)
_MINIMAX_M3 = Family(
    minimax_m3_attentions,
    sparse_ffns(shared=1, dense="dense_intermediate_size", width=("moe_intermediate_size", "intermediate_size")),
)
_GEMMA4 = Family(
    blocks=gemma4_layers,
    extra=gemma4_extra,
    tied=True,
    modules=(
        ("expert_up", ("experts.0.gate_proj", "experts.gate_up_proj")),
        ("expert_down", ("experts.0.down_proj", "experts.down_proj")),
        ("shared_up", ("mlp.gate_proj",)),
        ("shared_down", ("mlp.down_proj",)),
    ),
)
_GEMMA3 = Family(
    plain(head_dim=256, qk_norm="head", slides=every("sliding_window_pattern", 6)), dense_ffns, norms=4, tied=True
)
_MISTRAL = Family(plain(bias=None, slides=always), dense_ffns)
_LLAMA = Family(everywhere(llama_attention), dense_ffns)
_KIMI_LINEAR = Family(kimi_linear_attentions, kimi_linear_ffns)
_V4 = Family(blocks=deepseek_v4_layers, extra=deepseek_v4_extra)
_NEMOTRON_H = Family(blocks=nemotron_h_layers, depth="", numbering="blocks")
_LONGCAT = Family(blocks=longcat_layers, depth="num_layers", numbering="halves")
_ERNIE = Family(plain(bias="use_bias"), ernie_ffns, tied=True, head_bias="use_bias")
_MIMO_V2 = Family(mimo_v2_attentions, sparse_ffns(first=1))
_LFM2_MOE = Family(lfm2_attentions, sparse_ffns(first=2), tied=True)

#: model_type → how it reads
KNOWN: Final[dict[str, Family]] = {
    "afmoe": Family(afmoe_attentions, sparse_ffns(first=1, shared=2, router_bias=True), norms=4),
    "arctic": Family(everywhere(llama_attention), arctic_ffns),
    "axk1": Family(everywhere(latent), axk1_ffns),
    "bailing_hybrid": Family(bailing_hybrid_attentions, sparse_ffns(first=2, shared=1)),
    "bailing_moe": _BAILING,
    "bailing_moe_linear": _BAILING_LINEAR,
    "bailing_moe_v2": _BAILING,
    "bamba": Family(bamba_attentions, dense_ffns),
    "dbrx": Family(everywhere(dbrx_attention), dbrx_ffns, "d_model", "n_layers"),
    "deepseek": Family(plain(), deepseek_ffns),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _SPARSE,
    "deepseek_vl_v2": _DEEPSEEK,
    "deepseek_v4": _V4,
    "dots1": Family(plain(qk_norm="head", slides=late("max_window_layers", 62)), deepseek_ffns),
    "ernie4_5": Family(plain(bias="use_bias", head_dim=128), biased_ffns("use_bias"), tied=True),
    "ernie4_5_moe": _ERNIE,
    "exaone4": Family(plain(bias=None, qk_norm="head", slides=every("sliding_window_pattern", 4)), dense_ffns),
    "exaone_moe": Family(
        plain(bias=None, qk_norm="head", slides=every("sliding_window_pattern", 4)), sparse_ffns(first=1, shared=1)
    ),
    "falcon_h1": Family(blocks=falcon_h1_layers, numbering="halves"),
    "flex_olmo": Family(plain(qk_norm="full"), moe_everywhere),
    "flint": Family(plain(bias=None, head_dim=128, qk_norm="head", sinks=True, slides=flint_slides), flint_ffns),
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "gemma4": _GEMMA4,
    "gemma4_text": _GEMMA4,
    "glm4_moe": Family(everywhere(glm4_moe_attention), deepseek_ffns),
    "glm4_moe_lite": Family(everywhere(latent), sparse_ffns(first=1, shared=1)),
    "glm4v_moe": _GLM4V_MOE,
    "glm4v_moe_text": _GLM4V_MOE,
    "glm_moe_dsa": _SPARSE,
    "gpt_oss": Family(gpt_oss_attentions, gpt_oss_ffns),
    "granite": _LLAMA,
    "granitemoe": Family(everywhere(llama_attention), moe_everywhere),
    "granitemoehybrid": Family(granite_hybrid_attentions, granite_shared_ffns),
    "granitemoeshared": Family(everywhere(llama_attention), granite_shared_ffns),
    "grok": Family(plain(head_dim=128, bias=None), grok_ffns, norms=4, tied=True),
    "hunyuan": Family(hunyuan_attentions, hunyuan_ffns),
    "hunyuan_v1_dense": Family(hunyuan_attentions, dense_ffns),
    "hunyuan_v1_moe": Family(hunyuan_attentions, hunyuan_ffns),
    "hy_v3": Family(plain(head_dim=128, qk_norm="head"), sparse_ffns(first=1, shared=1)),
    "jamba": Family(jamba_attentions, jamba_ffns),
    "kimi_k2": _DEEPSEEK,
    "kimi_k25": _DEEPSEEK,
    "kimi_k3": _KIMI_LINEAR,
    "kimi_linear": _KIMI_LINEAR,
    "kimi_vl": _DEEPSEEK,
    "laguna": Family(laguna_attentions, laguna_ffns),
    "lfm2_moe": _LFM2_MOE,
    "llama": _LLAMA,
    "llama4": _LLAMA4,
    "llama4_text": _LLAMA4,
    "longcat_flash": _LONGCAT,
    "mellum": Family(plain(head_dim=128, qk_norm="head"), qwen_moe_ffns),
    "mimo": Family(qwen2_attentions, dense_ffns),
    "mimo_v2": _MIMO_V2,
    "mimo_v2_flash": _MIMO_V2,
    "minimax": _MINIMAX,
    "minimax_m1": _MINIMAX,
    "minimax_m2": Family(everywhere(minimax_attention), minimax_ffns),
    "minimax_m3": _MINIMAX_M3,
    "minimax_m3_vl": _MINIMAX_M3,
    "minimax_m3_vl_text": _MINIMAX_M3,
    "minimax_text_01": _MINIMAX,
    "ministral": _MISTRAL,
    "ministral3": _MISTRAL,
    "mistral": _MISTRAL,
    "mistral4": Family(everywhere(latent), sparse_ffns(shared=1)),
    "mixtral": Family(everywhere(mixtral_attention), moe_everywhere),
    "nemotron_h": _NEMOTRON_H,
    "nemotron_nas": Family(blocks=nemotron_nas_layers),
    "nemotron-nas": Family(blocks=nemotron_nas_layers),
    "olmoe": Family(everywhere(olmoe_attention), moe_everywhere),
    "phimoe": Family(everywhere(phimoe_attention), moe_everywhere, norm_bias=True, head_bias="lm_head_bias"),
    "qwen2": _QWEN2,
    "qwen2_moe": Family(qwen2_moe_attentions, qwen_shared_ffns),
    "qwen2_5_vl": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen2_vl": _QWEN2,
    "qwen2_vl_text": _QWEN2,
    "qwen3": _QWEN3,
    "qwen3_5": _QWEN35,
    "qwen3_5_moe": _QWEN_NEXT,
    "qwen3_5_moe_text": _QWEN_NEXT,
    "qwen3_5_text": _QWEN35,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_next": _QWEN_NEXT,
    "qwen3_omni_moe": _QWEN3_MOE,
    "qwen3_omni_moe_text": _QWEN3_MOE,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
    "qwen3_vl_text": _QWEN3,
    "sarvam_mla": _DEEPSEEK,
    "sarvam_moe": Family(everywhere(sarvam_attention), deepseek_ffns),
    "seed_oss": Family(plain(biased=True, output=False), dense_ffns),
    "solar_open": Family(plain(head_dim=128), sparse_ffns(shared=1)),
    "step3_text": _STEP3,
    "step3_vl": _STEP3,
    "step3p5": _STEP,
    "step3p7": _STEP,
    "xverse": Family(plain(), xverse_ffns),
}

#: sections of a config that hold the language model, beside a vision or audio tower, outermost first
TEXT_SECTIONS: Final = ("thinker_config", "text_config", "llm_config", "language_config")
