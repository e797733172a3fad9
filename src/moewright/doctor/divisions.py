"""What a model's sizes allow of a layout: heads, KV heads, vocabulary, experts, and blocks of FP8 scales."""

from __future__ import annotations

from typing import Final

from moewright.case.model import (
    CompressedAttention,
    DenseFfn,
    LatentAttention,
    LinearAttention,
    ModelSpec,
    MoeFfn,
    SoftmaxAttention,
)
from moewright.case.precision import plain_format
from moewright.doctor.semantics.engine_reading import EngineReading
from moewright.doctor.semantics.sglang_options import SPANNING

#: rows and columns that share a scale in a checkpoint of FP8 by blocks
BLOCK: Final = 128
VLLM_BLOCKS: Final = "vllm/model_executor/layers/quantization/fp8.py (validate_fp8_block_shape, Fp8MoEMethod)"
SGLANG_BLOCKS: Final = "sglang/srt/layers/quantization/fp8.py (validate_block_quant_shapes)"
#: embeddings are filled up to a multiple of this
PADDING: Final = 64


def check_divisions(r: EngineReading, model: ModelSpec, version: tuple[int, ...] | None = None) -> None:
    """Note what ``model`` does not allow of the layout, and what its sizes make of it."""
    _attention(r, model)
    if not r.trains:
        _vocabulary(r, model)
    _experts(r, model)
    if r.engine in ("vllm", "sglang"):
        _blocks(r, model, version)
    if r.layout.pp > len(model.layers):
        r.problem("pp", f"{r.layout.pp} stages for {len(model.layers)} layers", model.name, True)


def _attention(r: EngineReading, model: ModelSpec) -> None:
    tp = r.layout.attn_tp
    copied = 0
    for layer, _ in model.layer_kinds():
        a = layer.attention
        heads = (
            [a.key_heads, a.value_heads]
            if isinstance(a, LinearAttention)
            else [a.heads]
            if isinstance(a, SoftmaxAttention | LatentAttention | CompressedAttention)
            else []
        )
        for count in heads:
            if count % tp:
                r.problem("tp", f"{count} attention heads do not divide over tp {tp}", f"config of {model.name}", True)
        if not isinstance(a, SoftmaxAttention):
            continue
        if a.kv_heads % tp and tp % a.kv_heads:
            what = f"{a.kv_heads} KV heads and tp {tp}: neither is a multiple of the other"
            r.problem("tp", what, f"config of {model.name}", True)
        elif tp > a.kv_heads:
            copied = max(copied, tp // a.kv_heads)
    if copied > r.layout.dcp:
        what = f"the KV cache is kept {copied} times: tp {tp} is above the number of KV heads"
        r.problem("tp", what, f"config of {model.name}")
    latent = any(isinstance(x.attention, LatentAttention) for x in model.layers)
    if latent and tp > r.layout.dcp and not r.trains:
        kept = tp // max(1, r.layout.dcp)
        r.problem(
            "tp", f"the latent KV cache is the same on every rank of tp: kept {kept} times", f"config of {model.name}"
        )


def _vocabulary(r: EngineReading, model: ModelSpec) -> None:
    tp = r.layout.attn_tp
    padded = -(-model.vocab_size // PADDING) * PADDING
    if model.vocab_size and padded % tp:
        what = f"a vocabulary of {model.vocab_size} ({padded} when filled up) cannot be divided by {tp}"
        r.problem("tp", what, "VocabParallelEmbedding of vLLM and SGLang", True)


def _experts(r: EngineReading, model: ModelSpec) -> None:
    ffn, x = model.moe, r.layout
    if ffn is None:
        if x.ep > 1:
            r.problem("ep", f"{model.name} has no experts: ep {x.ep} divides nothing", f"config of {model.name}")
        return
    slots = ffn.experts + int(r.settings.get("redundant") or 0)
    if slots % x.ep:
        stops = r.engine != "vllm" or bool(r.settings.get("eplb"))
        what = f"{slots} experts do not divide over ep {x.ep}"
        r.problem("ep", what, f"config of {model.name}", stops)
    if ffn.width % x.etp:
        r.problem("etp", f"experts of width {ffn.width} cannot be cut {x.etp} ways", f"config of {model.name}", True)
    elif plain_format(model.precision.weight("experts")) == "mxfp4" and ffn.width // x.etp % BLOCK and x.etp > 1:
        what = f"experts of {ffn.width} cut {x.etp} ways are {ffn.width // x.etp} wide: kernels of MXFP4 fill them up"
        r.problem("etp", what, "vLLM, Mxfp4MoEMethod")


def _blocks(r: EngineReading, model: ModelSpec, version: tuple[int, ...] | None) -> None:
    """FP8 scales stand for blocks of 128: a rank's part must be whole blocks."""
    x = r.layout
    source = VLLM_BLOCKS if r.engine == "vllm" else SGLANG_BLOCKS
    stage = x.attn_tp * x.attn_dp * x.attn_cp
    spread = r.engine == "sglang" and str(r.settings.get("a2a")).split()[0] in SPANNING
    shared = (1 if spread else stage) if r.engine == "sglang" else x.attn_tp
    dense = x.attn_tp if r.engine == "vllm" or x.attn_dp == 1 else 1
    seen: set[str] = set()

    def cut(kind: str, width: int, parts: int, name: str, option: str) -> None:
        if model.precision.weight(kind) != "fp8_block" or parts < 2 or not width or name in seen:
            return
        if width % parts == 0 and width // parts % BLOCK:
            seen.add(name)
            what = (
                f"{name} of {width} cut {parts} ways are {width // parts} wide, no multiple of the FP8 block of {BLOCK}"
            )
            r.problem(option, what, source, True)

    for layer, _ in model.layer_kinds():
        ffn = layer.ffn
        if isinstance(ffn, MoeFfn):
            cut("experts", ffn.width, x.etp, "experts", "etp")
            cut("shared_experts", ffn.shared_width, shared, "shared experts", "tp")
        elif isinstance(ffn, DenseFfn):
            cut("dense", ffn.width, dense, "dense layers", "tp")
        a = layer.attention
        if isinstance(a, SoftmaxAttention):
            cut("attention", a.heads * a.v_dim, x.attn_tp, "attention outputs", "tp")
        old = r.engine == "sglang" and version is not None and version < (0, 5, 14)
        if isinstance(a, LinearAttention) and old and a.value_heads // x.attn_tp % BLOCK:
            what = (
                f"{a.value_heads} gates of linear attention cut {x.attn_tp} ways are no whole FP8 block (until 0.5.14)"
            )
            stops = model.precision.weight("attention") == "fp8_block"
            r.problem("tp", what, "sgl-project/sglang#19045", stops)
