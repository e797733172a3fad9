"""What a forward pass needs beside sizes: norms' epsilon, rotary frequencies, the router's and the gate's law.

Read from a model's config.json where there is one, as Hugging Face transformers 5 reads it; a model that is
written out in a spec has the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moewright.case.huggingface.json_files import read_json
from moewright.case.model import LatentAttention, ModelSpec
from moewright.run.run_error import RunError

#: families whose mathematics is known here; a config.json of another is refused
FAMILIES = ("deepseek_v3", "glm4_moe", "gpt_oss", "kimi_k2", "llama", "mixtral", "qwen2_moe", "qwen3", "qwen3_moe")
_SIGMOID = ("deepseek_v3", "kimi_k2", "glm4_moe")


@dataclass(frozen=True, slots=True)
class Numerics:
    """``scoring``: chosen (softmax over the chosen logits), softmax (over all) or sigmoid (DeepSeek-V3, arXiv
    2412.19437 §2.1.2); ``normalize``: chosen weights add up to 1, times ``routed_scale``. ``limit``: of gpt-oss's
    clamped gate, with its ``alpha``. ``rotated``: share of a head that turns. ``interleaved``: pairs are
    neighbours (0, 1), (2, 3) … and not halves apart. ``score_scale``: on top of 1/√d."""

    eps: float = 1e-6
    theta: float = 10_000.0
    rotated: float = 1.0
    interleaved: bool = False
    scaling: Mapping[str, Any] = field(default_factory=dict)
    max_position: int = 0
    score_scale: float = 1.0
    scoring: str = "chosen"
    normalize: bool = True
    routed_scale: float = 1.0
    correction: bool = False
    limit: float | None = None
    alpha: float = 1.702
    activation: str = "silu"

    def frequencies(self, dim: int) -> tuple[Tensor, float]:
        """Inverse frequencies [rotated · dim / 2], and the factor on cosine and sine."""
        turned = int(dim * self.rotated)
        plain = self.theta ** (-torch.arange(0, turned, 2, dtype=torch.float32) / turned)
        s, kind = self.scaling, self.scaling.get("rope_type", "default")
        if kind == "default":
            return plain, 1.0
        if kind == "linear":
            return plain / float(s["factor"]), 1.0
        if kind == "llama3":
            return self._llama3(plain), 1.0
        return self._yarn(plain, turned)

    def _llama3(self, plain: Tensor) -> Tensor:
        """Llama 3.1: long wavelengths slowed by ``factor``, a ramp between."""
        s = self.scaling
        low, high, context = s["low_freq_factor"], s["high_freq_factor"], s["original_max_position_embeddings"]
        ramp = ((context * plain / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
        slowed: Tensor = plain * (ramp + (1 - ramp) / s["factor"])
        return slowed

    def _yarn(self, plain: Tensor, dim: int) -> tuple[Tensor, float]:
        """YaRN (arXiv 2309.00071 §3): dimensions that turn often keep their frequency, slow ones are
        interpolated, with a ramp between ``beta_fast`` and ``beta_slow`` turns over the original context."""
        s = self.scaling
        context = s.get("original_max_position_embeddings") or self.max_position
        factor = s.get("factor") or self.max_position / context

        def turning(turns: float) -> float:
            return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        low, high = turning(s.get("beta_fast") or 32), turning(s.get("beta_slow") or 1)
        if s.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (max(high - low, 0.001))).clamp(0, 1)
        amplitude = s.get("attention_factor")
        if amplitude is None:
            both = s.get("mscale") and s.get("mscale_all_dim")
            amplitude = (
                magnitude(factor, s["mscale"]) / magnitude(factor, s["mscale_all_dim"]) if both else magnitude(factor)
            )
        return plain / factor * ramp + plain * (1 - ramp), float(amplitude)


def magnitude(factor: float, scale: float = 1.0) -> float:
    """YaRN's growth of attention with the context's factor: 0.1 · scale · ln(factor) + 1."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def config_of(model: ModelSpec) -> dict[str, Any] | None:
    """The config.json that ``model`` was read from (of a nested one, the language model's), or None."""
    path = Path(model.source)
    if path.suffix != ".json" or not path.is_file():
        return None
    content = read_json(path)
    if "model_type" not in content:
        return None
    return {**content, **content["text_config"]} if isinstance(content.get("text_config"), dict) else content


def numerics(model: ModelSpec) -> Numerics:
    """The numerics of ``model``. Raises RunError for a family whose mathematics is not known here."""
    config = config_of(model)
    if config is None:
        grouped = model.moe is not None and model.moe.groups > 1
        latent = any(isinstance(layer.attention, LatentAttention) for layer in model.layers)
        return Numerics(scoring="sigmoid" if grouped else "chosen", correction=grouped, interleaved=latent)
    family = config["model_type"]
    if family not in FAMILIES:
        raise RunError(
            f"{model.source}: model_type: got {family!r}, which is not run yet; known are {', '.join(FAMILIES)}"
        )
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    if rope["rope_type"] not in ("default", "linear", "llama3", "yarn"):
        raise RunError(f"{model.source}: rope_type: got {rope['rope_type']!r}; known are default, linear, llama3, yarn")
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "gelu", "relu"):
        raise RunError(f"{model.source}: hidden_act: got {activation!r}; known are silu, gelu, relu")
    sigmoid = family in _SIGMOID
    found = Numerics(
        eps=config.get("rms_norm_eps", 1e-6),
        theta=rope.get("rope_theta") or config.get("rope_theta") or _THETA.get(family, 10_000.0),
        rotated=rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0,
        interleaved=config.get("rope_interleave", True) and family in ("deepseek_v3", "kimi_k2"),
        scaling=rope,
        max_position=config.get("max_position_embeddings") or 0,
        score_scale=_score_scale(rope) if sigmoid else 1.0,
        scoring="sigmoid" if sigmoid else "softmax" if family in ("qwen2_moe", "qwen3_moe") else "chosen",
        normalize=bool(config.get("norm_topk_prob", family not in ("qwen2_moe", "qwen3_moe"))),
        routed_scale=float(config.get("routed_scaling_factor", 1.0)) if sigmoid else 1.0,
        correction=sigmoid,
        limit=float(config.get("swiglu_limit", 7.0)) if family == "gpt_oss" else None,
        alpha=float(config.get("swiglu_alpha", 1.702)),
        activation=activation,
    )
    found.frequencies(8)  # a scaling that lacks a figure shows here
    return found


_THETA = {"gpt_oss": 150_000.0, "mixtral": 1e6}


def _score_scale(rope: Mapping[str, Any]) -> float:
    """DeepSeek: the softmax scale grows with the square of YaRN's magnitude."""
    if rope["rope_type"] == "default" or not rope.get("mscale_all_dim"):
        return 1.0
    return magnitude(float(rope["factor"]), float(rope["mscale_all_dim"])) ** 2
