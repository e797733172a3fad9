"""SGLang's options → its layout, by version.

``tp-size`` is the world of one stage: attention has tp ÷ (dp · cp) of it, experts ep · moe_dp groups of the rest
(sglang/srt/arg_groups/parallel_hook.py, 0.5.23; server_args.py before).
"""

from __future__ import annotations

from typing import Any, Final

from moewright.doctor.option_values import OptionValues, version_of_options
from moewright.doctor.semantics.engine_reading import EngineReading, ServedLayout, known_text
from moewright.serving.engines.memory_rule import numbers

PARALLEL: Final = "sglang/srt/arg_groups/parallel_hook.py (0.5.23)"
A2A: Final = "sglang/srt/arg_groups/overrides.py, _a2a_ep_size (0.5.23)"
#: all-to-all backends that set ep to tp (0.5.23, _A2A_EP_SPANNING_BACKENDS)
SPANNING: Final = frozenset(
    [
        "megamoe",
        "deepep",
        "deepep_v2",
        "mooncake",
        "nixl",
        "ascend_fuseep",
        "flashinfer",
        "flashinfer_megamoe",
        "mori",
        "pplx",
    ]
)
#: before this the all-to-all, the EP of all ranks and DP attention had options of their own
DP_IS_TP_UNTIL: Final = (0, 4, 3)


def read_sglang(values: OptionValues) -> EngineReading:
    """The layout of ``sglang.launch_server``. Raises UnknownValueError."""
    version = numbers(values.version or version_of_options(values) or "99")
    tp, pp = values.size("tp_size"), values.size("pp_size")
    cp, moe_dp = values.size("attn_cp_size"), values.size("moe_dp_size")
    r = EngineReading("sglang", ServedLayout())
    attn_dp, replicas = _data_parallel(r, values, tp, version)
    ep = _expert_parallel(r, values, tp)
    parts = attn_dp * cp
    attn_tp, left = divmod(tp, parts)
    if left:
        what = f"tp {tp} is no multiple of attention dp {attn_dp}" + (f" × cp {cp}" if cp > 1 else "")
        r.problem(values.written("attn_dp_size", "dp_size", "attn_cp_size"), what, PARALLEL, True)
    etp, left = divmod(tp, ep * moe_dp)
    if left or not etp:
        what = f"tp {tp} is no multiple of ep {ep}" + (f" × moe dp {moe_dp}" if moe_dp > 1 else "")
        r.problem(values.written("ep_size"), what, PARALLEL, True)
    dcp = values.size("dcp_size")
    r.layout = ServedLayout(max(attn_tp, 1), attn_dp, cp, dcp, pp, replicas, ep, max(etp, 1), moe_dp, tp * pp)
    _experts(r, values)
    _settings(r, values)
    _rest(r, values)
    return r


def _data_parallel(r: EngineReading, values: OptionValues, tp: int, version: tuple[int, ...]) -> tuple[int, int]:
    """Attention dp, and replicas."""
    dp, attn = values.size("dp_size"), values.size("attn_dp_size")
    option = values.written("enable_dp_attention") or "--enable-dp-attention"
    if values.flag("enable_dp_attention") and attn == 1:
        if version[:3] <= DP_IS_TP_UNTIL:
            return tp, 1
        if dp == 1:
            stops = version[:3] < (0, 4, 9)
            what = "does nothing without a size" if not stops else "asserts a dp size above 1"
            r.problem(option, f"{what}: give --attn-dp-size {tp} (before 0.5.22: --dp-size {tp})", PARALLEL, stops)
            return 1, 1
        if version >= (0, 5, 22):
            what = f"with --dp-size {dp} is read as --attn-dp-size {dp}; the old spelling goes after 2026-12-31"
            r.problem(option, what, PARALLEL)
        return dp, 1
    if attn > 1 and dp > 1:
        r.problem(values.written("dp_size"), "replicas with attention dp are not supported", PARALLEL, True)
    if dp > 1 and attn == 1:
        r.problem(
            values.written("dp_size"),
            f"{dp} whole replicas of {tp} GPUs each, behind one port: no attention dp (that is --attn-dp-size)",
            PARALLEL,
        )
    return attn, dp


def _expert_parallel(r: EngineReading, values: OptionValues, tp: int) -> int:
    """Groups of experts after what sets them anew."""
    ep = values.size("ep_size")
    backend = known_text(values.text("moe_a2a_backend"))
    for option in ("enable_deepep_moe", "enable_ep_moe"):
        if values.flag(option):
            if ep not in (1, tp):
                r.problem(values.written("ep_size"), f"{ep} is set to tp {tp} by {values.written(option)}", A2A)
            return tp
    if backend in SPANNING:
        if ep != tp and "ep_size" in values.given:
            r.problem(values.written("ep_size"), f"{ep} is silently set to tp {tp} by {backend}", A2A)
        elif tp > 1 and "ep_size" not in values.given:
            r.problem(values.written("moe_a2a_backend"), f"{backend} sets ep to tp {tp}", A2A)
        return tp
    return ep


def _experts(r: EngineReading, values: OptionValues) -> None:
    x = r.layout
    backend = known_text(values.text("moe_a2a_backend"))
    if values.flag("enable_eplb") and x.ep == 1:
        r.problem(values.written("enable_eplb"), "EPLB asserts ep above 1", PARALLEL, True)
    redundant = values.maybe_size("ep_num_redundant_experts")
    if redundant and x.ep == 1:
        r.problem(values.written("ep_num_redundant_experts"), "redundant experts need ep above 1", PARALLEL)
    if backend == "pplx" and x.attn_dp < 2:
        r.problem(values.written("moe_a2a_backend"), "pplx asserts attention dp of 2 or more", A2A, True)
    if backend == "flashinfer" and x.attn_tp > 1:
        r.problem(values.written("moe_a2a_backend"), "flashinfer asserts attention dp equal to tp", A2A, True)
    has_mode = backend in ("deepep", "deepep_v2", "mooncake", "mori", "nixl", "pplx")
    if values.text("deepep_mode") and not has_mode and not values.flag("enable_deepep_moe"):
        what = "does nothing without an all-to-all backend (--moe-a2a-backend deepep)"
        r.problem(values.written("deepep_mode"), what, A2A)
    if "moe_dense_tp_size" in values.given and x.attn_dp == 1:
        what = "is ignored without attention dp: dense layers and shared experts stay cut by tp"
        r.problem(values.written("moe_dense_tp_size"), what, "SemiAnalysisAI/InferenceX#1157")
    if x.moe_dp > 1 and x.moe_dp != x.attn_cp:
        r.problem(values.written("moe_dp_size"), f"{x.moe_dp} must equal attention cp {x.attn_cp}", PARALLEL, True)
    if values.flag("enable_two_batch_overlap") and backend in (None, "none") and not values.flag("enable_deepep_moe"):
        what = "two-batch overlap has no all-to-all to hide without --moe-a2a-backend"
        r.problem(values.written("enable_two_batch_overlap"), what, A2A)
    if backend == "deepep" and values.text("deepep_mode") == "normal":
        r.problem(values.written("deepep_mode"), "normal turns CUDA graphs off", "sglang ServerArgs, DeepEP MoE")
    if values.flag("enable_dp_lm_head") and x.attn_dp == 1:
        r.problem(values.written("enable_dp_lm_head"), "does nothing without attention dp", PARALLEL)


def _rest(r: EngineReading, values: OptionValues) -> None:
    x = r.layout
    if x.attn_cp > 1 and not values.flag("enable_prefill_cp") and values.version is None:
        r.problem(values.written("attn_cp_size"), "needs --enable-prefill-cp with --cp-strategy", PARALLEL)
    if x.dcp > 1 and values.flag("enable_prefill_cp"):
        r.problem(
            values.written("dcp_size"), "decode and prefill context parallelism exclude each other", PARALLEL, True
        )
    nodes = values.maybe_size("nnodes") or 1
    if nodes > 1 and (x.world or 1) % nodes:
        what = f"tp · pp = {x.world} ranks do not divide over {nodes} nodes"
        r.problem(values.written("nnodes"), what, "sglang ServerArgs.check_server_args", True)
    if nodes > 1 and x.replicas > 1:
        what = "replicas cannot span nodes: multi-node data parallel needs attention dp"
        r.problem(values.written("dp_size"), what, "sglang ServerArgs.check_server_args", True)
    for word in values.positional:
        r.problem(word, f"is left over: unrecognized arguments: {word}", "sglang's argument parser", True)


def _settings(r: EngineReading, values: OptionValues) -> None:
    x = r.layout
    share = values.number("mem_fraction_static")
    base = "weights and cache together, of the whole device"
    r.settings["mem_fraction"] = {"value": share, "base": base} | ({} if share else {"note": "by the engine's rule"})
    r.settings["kv_dtype"] = values.text("kv_cache_dtype") or "auto"
    seqs, chunk = values.maybe_size("max_running_requests"), values.maybe_size("chunked_prefill_size")
    r.settings["max_seqs"] = {"value": seqs, "per": "server"}
    effective: Any = None if chunk is None else "off" if chunk < 0 else chunk // x.attn_dp
    r.settings["chunk"] = {"value": chunk, "effective": effective}
    if chunk and chunk > 0 and x.attn_dp > 1:
        what = f"{chunk} is divided by attention dp: {effective} tokens a rank"
        r.problem(values.written("chunked_prefill_size"), what, PARALLEL)
    mode = values.text("deepep_mode")
    backend = "deepep" if values.flag("enable_deepep_moe") else values.text("moe_a2a_backend") or "none"
    r.settings["a2a"] = f"{backend} {mode}" if mode and backend != "none" else backend
    r.settings["eplb"] = values.flag("enable_eplb")
    r.settings["redundant"] = values.maybe_size("ep_num_redundant_experts") or 0
    r.settings["two_batch"] = values.flag("enable_two_batch_overlap")
    off = values.flag("disable_cuda_graph", "disable_decode_cuda_graph") or (mode == "normal" and backend == "deepep")
    r.settings["cuda_graph"] = not off
    r.settings["prefix_caching"] = not values.flag("disable_radix_cache")
    method = values.text("speculative_algorithm")
    steps, tokens = values.maybe_size("speculative_num_steps"), values.maybe_size("speculative_num_draft_tokens")
    r.settings["spec"] = {"method": method, "steps": steps, "draft_tokens": tokens} if method else None
    r.drafts = steps or 0
    role = values.text("disaggregation_mode")
    r.settings["role"] = role if role in ("prefill", "decode") else None
    r.model = values.text("model_path")
    r.dummy = values.text("load_format") == "dummy"
    r.longest = values.maybe_size("context_length")
    r.quantization = known_text(values.text("quantization"))
    if r.model is None and not values.open:
        r.problem("--model-path", "is missing, and required", "sglang's argument parser", True)
    own: dict[str, Any] = {"gpu_memory_utilization": share}
    own["max_num_seqs"] = None if seqs is None else max(1, seqs // x.attn_dp)
    own["max_num_batched_tokens"] = effective if isinstance(effective, int) and effective > 0 else None
    r.overrides = {name: value for name, value in own.items() if value is not None}
