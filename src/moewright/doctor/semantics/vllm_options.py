"""vLLM's options → its layout.

``ParallelConfig`` (vllm/config/parallel.py, 0.33): world = pp · tp · pcp, times dp for the whole.
FusedMoEParallelConfig (vllm/model_executor/layers/fused_moe/config.py): without expert parallelism experts are cut
tp · pcp · dp ways; with it EP = tp · pcp · dp and nothing of an expert is cut.
"""

from __future__ import annotations

from typing import Any, Final

from moewright.doctor.option_values import OptionValues, UnknownValueError, whole_number
from moewright.doctor.semantics.engine_reading import EngineReading, ServedLayout, known_text
from moewright.errors import SpecError
from moewright.serving.engines.memory_rule import numbers

PARALLEL: Final = "vllm/config/parallel.py, ParallelConfig (0.33)"
MOE: Final = "vllm/model_executor/layers/fused_moe/config.py, FusedMoEParallelConfig.make (0.33)"


def read_vllm(values: OptionValues, serve: bool) -> EngineReading:
    """The layout of ``vllm serve`` (``serve``: the model may stand without an option). Raises UnknownValueError."""
    tp = values.size("tensor_parallel_size")
    pp = values.size("pipeline_parallel_size")
    pcp = values.size("prefill_context_parallel_size")
    dp = values.size("data_parallel_size")
    dcp = values.size("decode_context_parallel_size")
    spread = values.flag("enable_expert_parallel")
    ranks = tp * pcp * dp
    layout = ServedLayout(tp, dp, pcp, dcp, pp, 1, ranks if spread else 1, 1 if spread else ranks, 1, ranks * pp)
    r = EngineReading("vllm", layout)
    _model(r, values, serve)
    _sizes(r, values)
    _experts(r, values, spread)
    _settings(r, values)
    return r


def _model(r: EngineReading, values: OptionValues, serve: bool) -> None:
    words = list(values.positional)
    tag = words.pop(0) if serve and words else None
    r.model = values.text("model") or tag
    if values.open and r.model is None:
        r.model = None
    elif r.model is None:
        default = "Qwen/Qwen3-0.6B"
        r.problem("model", f"no model is named: vLLM starts {default}, its default", "vLLM, ModelConfig.model", False)
    for word in words:
        r.problem(word, f"is left over: unrecognized arguments: {word}", "vLLM's argument parser", True)


def _sizes(r: EngineReading, values: OptionValues) -> None:
    x = r.layout
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        if name in values.given and values.size(name) < 1:
            r.problem(values.written(name), "must be 1 or more", PARALLEL, True)
    local = values.maybe_size("data_parallel_size_local")
    if local is not None and local > x.attn_dp:
        r.problem(values.written("data_parallel_size_local"), f"{local} is more than dp {x.attn_dp}", PARALLEL, True)
    if x.dcp > 1 and x.attn_cp == 1 and x.attn_tp % x.dcp:
        r.problem(
            values.written("decode_context_parallel_size"),
            f"decode context parallel {x.dcp} lies inside tp, and tp {x.attn_tp} is no multiple of it",
            PARALLEL,
            True,
        )
    elif x.dcp > 1 and x.attn_cp > 1 and x.dcp not in (x.attn_cp, x.attn_tp * x.attn_cp):
        what = f"with prefill context parallel {x.attn_cp} it can be 1, {x.attn_cp} or {x.attn_tp * x.attn_cp}"
        r.problem(values.written("decode_context_parallel_size"), what, PARALLEL, True)
    nodes = values.maybe_size("nnodes")
    ranks = x.world or 1
    if nodes and nodes > 1 and ranks % nodes:
        r.problem(values.written("nnodes"), f"{ranks} ranks do not divide over {nodes} nodes", PARALLEL, True)


def _experts(r: EngineReading, values: OptionValues, spread: bool) -> None:
    x = r.layout
    backend = known_text(values.text("all2all_backend"))
    if backend and not spread:
        r.problem(
            values.written("all2all_backend"),
            f"{backend} does nothing without --enable-expert-parallel: experts are cut {x.etp} ways",
            MOE,
        )
    elif backend and x.attn_dp * x.attn_cp == 1:
        r.problem(
            values.written("all2all_backend"),
            f"{backend} is idle: with data parallel 1 every rank holds all tokens, experts are local, an all-reduce "
            "follows",
            MOE,
        )
    if not spread and x.attn_dp > 1:
        r.problem(
            values.written("data_parallel_size"),
            f"without --enable-expert-parallel the dp ranks cut every expert too: {x.etp} ways (tp × dp), no whole "
            "copies",
            MOE,
        )
    if values.flag("enable_eplb"):
        if not spread:
            what = "EPLB needs --enable-expert-parallel"
            r.problem(values.written("enable_eplb"), what, PARALLEL, True)
        elif x.ep == 1:
            r.problem(values.written("enable_eplb"), "EPLB needs tp · dp above 1", PARALLEL, True)
    elif values.entry("eplb_config", "num_redundant_experts") or values.maybe_size("num_redundant_experts"):
        what = "redundant experts do nothing without --enable-eplb"
        r.problem(values.written("eplb_config", "num_redundant_experts"), what, PARALLEL, True)
    if spread and x.ep == 1 and x.attn_dp == 1:
        what = "expert parallelism of one rank changes nothing"
        r.problem(values.written("enable_expert_parallel"), what, MOE)
    if "mega_moe" in (values.text("moe_backend") or "") and not spread:
        what = f"{values.text('moe_backend')} requires --enable-expert-parallel"
        r.problem(values.written("moe_backend"), what, "vLLM, DeepSeek V4 MegaMoE (vllm-project/vllm#52435)", True)
    if values.flag("enable_dbo") and not (spread and x.attn_dp > 1 and (backend or "").startswith("deepep")):
        what = "dual batch overlap needs attention dp and a DeepEP all-to-all backend; it is off or refused"
        r.problem(values.written("enable_dbo"), what, PARALLEL)


def _settings(r: EngineReading, values: OptionValues) -> None:
    x, version = r.layout, values.version
    old = version is not None and numbers(version) < (0, 20)
    share = values.number("gpu_memory_utilization")
    note = None if share is not None else "default; 0.90 up to about 0.20" if version is None else "default"
    fraction: dict[str, Any] = {"value": share or (0.9 if old else 0.92), "base": "of the whole device"}
    r.settings["mem_fraction"] = fraction | ({"note": note} if note else {})
    r.settings["kv_dtype"] = values.text("kv_cache_dtype") or "auto"
    seqs, chunk = values.maybe_size("max_num_seqs"), values.maybe_size("max_num_batched_tokens")
    r.settings["max_seqs"] = {"value": seqs, "per": "dp rank", "total": None if seqs is None else seqs * x.attn_dp}
    r.settings["chunk"] = {"value": chunk, "per": "dp rank"}
    r.settings["a2a"] = _backend(r, values)
    r.settings["eplb"] = values.flag("enable_eplb")
    redundant = values.entry("eplb_config", "num_redundant_experts") or values.maybe_size("num_redundant_experts")
    r.settings["redundant"] = int(redundant or 0) if values.flag("enable_eplb") else 0
    r.settings["two_batch"] = values.flag("enable_dbo")
    if "enable_prefix_caching" in values.given:
        r.settings["prefix_caching"] = values.flag("enable_prefix_caching")
    method = values.entry("speculative_config", "method") or values.text("spec_method")
    tokens = values.entry("speculative_config", "num_speculative_tokens") or values.maybe_size("spec_tokens")
    r.settings["spec"] = {"method": method, "tokens": tokens} if method or tokens else None
    r.drafts = int(tokens) if isinstance(tokens, int) else 0
    transfer = values.entry("kv_transfer_config", "kv_role")
    r.settings["role"] = {"kv_producer": "prefill", "kv_consumer": "decode", "kv_both": "both"}.get(str(transfer))
    r.quantization = known_text(values.text("quantization"))
    if r.quantization in ("None", "none"):
        what = "is the default: the checkpoint's own quantization stays"
        r.problem(values.written("quantization"), what, "vLLM, ModelConfig.quantization")
        r.quantization = None
    r.dummy = values.text("load_format") == "dummy"
    r.longest = values.maybe_size("max_model_len")
    own = {"max_num_seqs": seqs, "max_num_batched_tokens": chunk, "gpu_memory_utilization": share}
    r.overrides = {name: value for name, value in own.items() if value is not None}


def _backend(r: EngineReading, values: OptionValues) -> str | None:
    """The all-to-all that runs: none without expert parallelism or dp, the default where none is named. Without EP
    tokens are gathered over dp all the same."""
    if r.layout.attn_dp * r.layout.attn_cp == 1:
        return None
    named = known_text(values.text("all2all_backend"))
    return (named or "allgather_reducescatter") if r.layout.ep > 1 else "allgather_reducescatter"


def config_file_words(text: str) -> list[str]:
    """``--config FILE``: its keys as options. A switch that is true is the option alone (false: left out)."""
    import yaml

    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"--config: is no YAML: {' '.join(str(error).split())[:120]}") from None
    words: list[str] = []
    for key, value in raw.items() if isinstance(raw, dict) else ():
        if isinstance(value, bool):
            words += [f"--{key}"] if value else []
        elif isinstance(value, list):
            words += [f"--{key}", *map(str, value)]
        elif isinstance(value, dict):
            import json

            words += [f"--{key}", json.dumps(value)]
        else:
            words += [f"--{key}", str(value)]
    return words


__all__ = ["UnknownValueError", "config_file_words", "read_vllm", "whole_number"]
