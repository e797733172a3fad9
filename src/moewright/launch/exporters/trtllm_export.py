"""TensorRT-LLM: ``trtllm-serve`` with a YAML. Paths and values after its llm_args manifest (options/trtllm-*.json)."""

from __future__ import annotations

from typing import Any

import yaml

from moewright.case.strategy import Overlap
from moewright.launch.command import Command, arguments
from moewright.launch.launch_plan import LaunchPlan, Pool, Role
from moewright.launch.refusal import Refusal, exchanged, has_experts
from moewright.launch.servers import Process

#: formats of the KV cache → kv_cache_config.dtype
KV_FORMATS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "fp8", "nvfp4": "nvfp4"}
_DP = "tensorrt_llm/llmapi/llm_args.py: enable_attention_dp"
_WIDE = "tensorrt_llm: 'Attention DP should be used with WideEP'"


def trtllm_refusals(plan: LaunchPlan, pool: Pool) -> list[Refusal]:
    """What of the pool's strategy TensorRT-LLM cannot run."""
    s, found = pool.strategy, []
    e, a = s.experts, s.attention
    if a.dp > 1 and a.tp > 1:
        found.append(
            Refusal(
                f"attn DP{a.dp}×TP{a.tp}",
                f"attention DP is all or nothing: DP{a.dp * a.tp}×TP1, or DP1×TP{a.dp * a.tp}",
                _DP,
            )
        )
    if a.cp > 1:
        found.append(
            Refusal(f"prefill cp {a.cp}", "its context parallelism (HELIX) is of decodes", "cp_config.cp_type")
        )
    if pool.dcp > 1:
        found.append(
            Refusal(f"decode cp {pool.dcp}", "HELIX adds GPUs to tp, and does not share those of tp", "cp_config")
        )
    if s.overlap is Overlap.TWO_BATCH:
        found.append(Refusal("two-batch", "it has no option for two-batch overlap"))
    if has_experts(plan):
        if exchanged(s) and a.dp == 1:
            found.append(
                Refusal("all-to-all at attention dp 1", "without attention DP every rank keeps all tokens", _DP)
            )
        if e.redundant and (e.ep == 1 or a.dp == 1):
            found.append(
                Refusal(f"{e.redundant} redundant experts", "its load balancer needs ep and attention DP", _WIDE)
            )
    if plan.settings.kv_format not in KV_FORMATS:
        found.append(Refusal(f"KV cache in {plan.settings.kv_format}", f"TensorRT-LLM has {', '.join(KV_FORMATS)}"))
    if plan.settings.drafts and not plan.settings.own_drafts:
        found.append(
            Refusal(
                f"{plan.settings.drafts} drafts",
                f"{plan.case.model.name} has no prediction layers, and no draft is named",
            )
        )
    return found


def config_of(plan: LaunchPlan, pool: Pool) -> dict[str, Any]:
    """The content of the pool's YAML."""
    c, s = plan.settings, pool.strategy
    graphs = [n for n in c.graph_sizes if n <= c.max_sequences]
    content: dict[str, Any] = {
        "tensor_parallel_size": s.stage,
        "pipeline_parallel_size": s.pp,
        "context_parallel_size": 1,
        "enable_attention_dp": s.attention.dp > 1,
        **_experts(plan, pool),
        "max_batch_size": c.max_sequences,
        "max_num_tokens": max(c.max_tokens, c.context) if not c.chunked_prefill else c.max_tokens,
        "max_seq_len": c.context,
        "enable_chunked_prefill": c.chunked_prefill,
        "kv_cache_config": {
            "dtype": KV_FORMATS[c.kv_format],
            "free_gpu_memory_fraction": round(pool.memory_fraction, 3),
            "enable_block_reuse": c.prefix_caching,
            "tokens_per_block": c.kv_block,
        },
        "scheduler_config": {"capacity_scheduler_policy": "GUARANTEED_NO_EVICT"},
    }
    if graphs:
        content["cuda_graph_config"] = {"enable_padding": True, "batch_sizes": graphs}
    if c.drafts:
        content["speculative_config"] = {"decoding_type": "MTP", "num_nextn_predict_layers": c.drafts}
    if plan.apart:
        content["cache_transceiver_config"] = {"backend": "DEFAULT", "max_tokens_in_buffer": c.context}
        if pool.role is Role.PREFILL:
            content["disable_overlap_scheduler"] = True
    return content


def _experts(plan: LaunchPlan, pool: Pool) -> dict[str, Any]:
    if not has_experts(plan):
        return {}
    e, moe = pool.strategy.experts, plan.case.model.moe
    sizes: dict[str, Any] = {"moe_expert_parallel_size": e.ep, "moe_tensor_parallel_size": e.tp}
    if e.redundant or plan.settings.placement:
        assert moe is not None
        balancer: dict[str, Any] = {"num_slots": moe.experts + e.redundant, "layer_updates_per_iter": 0}
        if plan.settings.placement:
            rows = {layer: list(row) for layer, row in plan.settings.placement.items()}
            balancer["initial_global_assignments"] = rows
        sizes["moe_config"] = {"load_balancer": balancer}
    return sizes


def config_file(pool: Pool) -> str:
    return f"{pool.role}.yaml"


def trtllm_files(plan: LaunchPlan) -> dict[str, str]:
    """The YAML of each pool."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return {
        config_file(p): yaml.dump(
            config_of(plan, p), Dumper=dumper, sort_keys=False, default_flow_style=None, width=110
        )
        for p in plan.pools
    }


def trtllm_command(plan: LaunchPlan, process: Process) -> Command:
    """``trtllm-serve`` of one instance; over several nodes it is started on every rank by MPI (``srun``)."""
    rows = [
        ("--host", "0.0.0.0", ""),
        ("--port", process.port, ""),
        ("--backend", "pytorch", "the backend that the YAML is for"),
        ("--gpus_per_node", process.gpus, "GPUs that this instance has on a node"),
        ("--config", config_file(process.pool), "all that the plan decided"),
    ]
    program: tuple[str, ...] = ("trtllm-serve", plan.settings.checkpoint)
    if process.nodes > 1:
        program = ("trtllm-llmapi-launch", *program)
    return Command(program, arguments(rows))
