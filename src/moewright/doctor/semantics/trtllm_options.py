"""TensorRT-LLM's options and YAML → its layout.

tensorrt_llm/mapping.py: ``moe_tp · moe_ep · moe_cluster = tp · cp``; unset sizes are -1: both unset is moe_tp = tp, one
unset is what the other leaves. Attention data parallelism is all or nothing: with it every rank of tp has its own
requests, and batch sizes are a rank's.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from moewright.case.spelling import did_you_mean
from moewright.doctor.option_values import Given, OptionValues
from moewright.doctor.semantics.engine_reading import EngineReading, ServedLayout
from moewright.launch.engine_options import option_list

MAPPING: Final = "tensorrt_llm/mapping.py, Mapping"
MANIFEST: Final = "tensorrt_llm/usage/llm_args_golden_manifest.json"
#: names of the command line → where the YAML has them
_COMMAND_NAMES: Final = {
    "kv_cache_free_gpu_memory_fraction": "kv_cache_config.free_gpu_memory_fraction",
    "free_gpu_memory_fraction": "kv_cache_config.free_gpu_memory_fraction",
    "tp_size": "tensor_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "ep_size": "moe_expert_parallel_size",
    "cp_size": "context_parallel_size",
}
#: fields whose inside the manifest does not list
_FREE: Final = frozenset(
    [
        "speculative_config",
        "moe_config",
        "sparse_attention_config",
        "torch_compile_config",
        "lora_config",
        "peft_cache_config",
        "kv_connector_config",
        "scheduler_config",
        "otlp_config",
        "model_kwargs",
        "env_overrides",
        "guided_decoding_config",
        "extended_runtime_perf_knob_config",
        "ray_placement_config",
        "sleep_config",
        "cache_transceiver_config",
        "quant_config",
        "perf_metrics_max_requests",
        "build_config",
        "kv_cache_config",
        "cuda_graph_config",
        "attention_dp_config",
    ]
)


def read_trtllm(values: OptionValues, text: str | None) -> EngineReading:
    """The layout of ``trtllm-serve``; ``text``: its YAML. Raises UnknownValueError."""
    r = EngineReading("trtllm", ServedLayout())
    fields = _fields(r, text) if text is not None else {}
    for name, value in fields.items():
        if not isinstance(value, dict):
            values.given[name] = Given(f"{name}:", str(value))
    tp, pp = values.size("tensor_parallel_size"), values.size("pipeline_parallel_size")
    cp, cluster = values.size("context_parallel_size"), max(1, values.size("moe_cluster_parallel_size"))
    apart = str(fields.get("enable_attention_dp", "")).lower() == "true" or values.flag("enable_attention_dp")
    ep, etp = _experts(r, values, tp * cp // cluster)
    attn_tp, attn_dp = (1, tp) if apart else (tp, 1)
    r.layout = ServedLayout(attn_tp, attn_dp, cp, 1, pp, 1, ep, etp, cluster, tp * pp * cp)
    if not apart and tp > 1 and "attention_dp_config" in fields:
        r.problem("attention_dp_config:", "does nothing without enable_attention_dp: true", MAPPING)
    _settings(r, values, fields)
    words = list(values.positional)
    r.model = values.text("model") or (words.pop(0) if words else None)
    for word in words:
        r.problem(word, "is left over: got an unexpected extra argument", "trtllm-serve's argument parser", True)
    return r


def _experts(r: EngineReading, values: OptionValues, ranks: int) -> tuple[int, int]:
    """EP and the tensor size of experts."""
    ep, etp = (values.size(f"moe_{x}_parallel_size", default=-1) for x in ("expert", "tensor"))
    if ep < 1 and etp < 1:
        return 1, ranks
    if ep < 1:
        ep = max(1, ranks // etp)
    elif etp < 1:
        etp = max(1, ranks // ep)
    if ep * etp != ranks:
        what = f"moe_tp {etp} × moe_ep {ep} must be tp {ranks}"
        r.problem(values.written("moe_expert_parallel_size", "moe_tensor_parallel_size"), what, MAPPING, True)
    return ep, etp


def _fields(r: EngineReading, text: str) -> dict[str, Any]:
    """The YAML's fields; what is no field of it is a problem."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        r.problem("--config", f"is no YAML: {' '.join(str(error).split())[:120]}", MANIFEST, True)
        return {}
    fields: dict[str, Any] = raw if isinstance(raw, dict) else {}
    known = {name for option in option_list("trtllm").yaml for name in option.names}
    tops = {name.partition(".")[0] for name in known} | _FREE
    for name in fields:
        if name in tops:
            continue
        if name in _COMMAND_NAMES:
            what = f"is a name of the command line, no field of the YAML: write {_COMMAND_NAMES[name]}"
        else:
            what = f"is no field of the YAML. {did_you_mean(str(name), sorted(tops))}".strip()
        r.problem(f"{name}:", what, MANIFEST, name in _COMMAND_NAMES)
    return fields


def _settings(r: EngineReading, values: OptionValues, fields: dict[str, Any]) -> None:
    cache = fields.get("kv_cache_config")
    cache = cache if isinstance(cache, dict) else {}
    share = cache.get("free_gpu_memory_fraction", values.number("free_gpu_memory_fraction"))
    base = "of what is free after the weights are loaded"
    r.settings["mem_fraction"] = {"value": share or 0.9, "base": base} | ({} if share else {"note": "default"})
    r.settings["kv_dtype"] = str(cache.get("dtype", "auto"))
    x, seqs = r.layout, values.maybe_size("max_batch_size")
    r.settings["max_seqs"] = {"value": seqs, "per": "rank", "total": None if seqs is None else seqs * x.attn_dp}
    chunk = values.maybe_size("max_num_tokens")
    r.settings["chunk"] = {"value": chunk, "per": "rank"}
    graphs = fields.get("cuda_graph_config")
    most = graphs.get("max_batch_size") if isinstance(graphs, dict) else None
    if isinstance(most, int) and seqs and most < seqs:
        what = f"batches above {most} run without CUDA graphs: max_batch_size is {seqs}"
        r.problem("cuda_graph_config.max_batch_size:", what, "TensorRT-LLM, CudaGraphConfig")
    spec = fields.get("speculative_config")
    if isinstance(spec, dict):
        tokens = spec.get("max_draft_len", spec.get("num_nextn_predict_layers"))
        r.settings["spec"] = {"method": spec.get("decoding_type"), "tokens": tokens}
        r.drafts = tokens if isinstance(tokens, int) else 0
    moe = fields.get("moe_config")
    balancer = moe.get("load_balancer") if isinstance(moe, dict) else None
    r.settings["eplb"] = balancer is not None
    if balancer is not None and x.ep == 1:
        r.problem("moe_config.load_balancer:", "balances nothing: ep is 1", MAPPING)
    interval = fields.get("stream_interval")
    if isinstance(interval, int) and interval > 1:
        what = f"answers come {interval} tokens at a time: a benchmark's time between chunks is {interval} tokens wide"
        r.problem("stream_interval:", what, "tensorrt_llm LlmArgs.stream_interval")
    own = {"max_num_seqs": seqs, "max_num_batched_tokens": chunk, "gpu_memory_utilization": share}
    r.overrides = {name: value for name, value in own.items() if value is not None}
    r.longest = values.maybe_size("max_seq_len")
    r.settings["role"] = None
