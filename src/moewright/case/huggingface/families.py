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
from moewright.case.huggingface.ffn_config import (
    dbrx_ffns,
    deepseek_ffns,
    dense_ffns,
    gpt_oss_ffns,
    llama4_ffns,
    minimax_ffns,
    moe_everywhere,
    qwen_moe_ffns,
    qwen_shared_ffns,
)
from moewright.case.huggingface.fields import Fields
from moewright.case.model import Attention, Ffn, Layer

MOST_LAYERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Family:
    """How one architecture reads: its attentions and feed-forwards, one for each of ``count`` layers."""

    attentions: Callable[[Fields, int], list[Attention]]
    ffns: Callable[[Fields, int], list[Ffn]]
    hidden: str = "hidden_size"
    depth: str = "num_hidden_layers"
    norm_bias: bool = False


def layers(family: Family, fields: Fields) -> tuple[Layer, ...]:
    """The layers of the model that ``fields`` describe."""
    count = fields.integer(family.depth, most=MOST_LAYERS)
    pairs = zip(family.attentions(fields, count), family.ffns(fields, count), strict=True)
    return tuple(Layer(attention, ffn, norm_bias=family.norm_bias) for attention, ffn in pairs)


_DEEPSEEK = Family(everywhere(latent), deepseek_ffns)
_SPARSE = Family(sparse_attentions, deepseek_ffns)
_QWEN35 = Family(qwen3_next_attentions, dense_ffns)
_QWEN_NEXT = Family(qwen3_next_attentions, qwen_shared_ffns)
_LLAMA4 = Family(llama4_attentions, llama4_ffns)

#: model_type → how it reads
KNOWN: Final[dict[str, Family]] = {
    "dbrx": Family(everywhere(dbrx_attention), dbrx_ffns, "d_model", "n_layers"),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _SPARSE,
    "glm4_moe": Family(everywhere(glm4_moe_attention), deepseek_ffns),
    "glm_moe_dsa": _SPARSE,
    "gpt_oss": Family(gpt_oss_attentions, gpt_oss_ffns),
    "granitemoe": Family(everywhere(llama_attention), moe_everywhere),
    "kimi_k2": _DEEPSEEK,
    "kimi_k25": _DEEPSEEK,
    "llama": Family(everywhere(llama_attention), dense_ffns),
    "llama4": _LLAMA4,
    "llama4_text": _LLAMA4,
    "minimax_m2": Family(everywhere(minimax_attention), minimax_ffns),
    "mixtral": Family(everywhere(mixtral_attention), moe_everywhere),
    "olmoe": Family(everywhere(olmoe_attention), moe_everywhere),
    "phimoe": Family(everywhere(phimoe_attention), moe_everywhere, norm_bias=True),
    "qwen2": Family(qwen2_attentions, dense_ffns),
    "qwen2_moe": Family(qwen2_moe_attentions, qwen_shared_ffns),
    "qwen3": Family(qwen3_attentions, dense_ffns),
    "qwen3_5": _QWEN35,
    "qwen3_5_moe": _QWEN_NEXT,
    "qwen3_5_moe_text": _QWEN_NEXT,
    "qwen3_5_text": _QWEN35,
    "qwen3_moe": Family(everywhere(qwen3_moe_attention), qwen_moe_ffns),
    "qwen3_next": _QWEN_NEXT,
}

#: types whose config holds the language model in ``text_config``, beside a vision tower
NESTED: Final = frozenset({"kimi_k25", "llama4", "qwen3_5", "qwen3_5_moe"})
