"""SGLang: ``python3 -m sglang.launch_server``. Rules read in the wheel of 0.5.23: srt/arg_groups/."""

from __future__ import annotations

from math import ceil

from moewright.case.strategy import Overlap, Strategy
from moewright.launch.command import Argument, Command, arguments
from moewright.launch.launch_plan import LaunchPlan, Pool, Role
from moewright.launch.refusal import (
    DEEPEP_DEVICES,
    LOW_LATENCY_TOKENS,
    MORI_DEVICES,
    Refusal,
    decode_cp_refusals,
    exchanged,
    has_experts,
    on,
)
from moewright.launch.servers import BOOTSTRAP_PORT, RENDEZVOUS_PORT, Process

#: formats of the KV cache → --kv-cache-dtype
KV_FORMATS = {"bf16": "bfloat16", "fp8": "fp8_e4m3", "mxfp8": "mxfp8", "nvfp4": "nvfp4"}
#: formats of experts that DeepEP's path multiplies (DeepGEMM, CUTLASS)
EXCHANGED_FORMATS = ("fp8_block", "bf16", "nvfp4")
#: the file that --init-expert-location loads
PLACEMENT_FILE = "expert-location.json"

_EP = "srt/arg_groups/overrides.py: _a2a_ep_size"
_DP = "srt/arg_groups/parallel_hook.py: handle_data_parallelism"
_PP = "srt/arg_groups/validation_hook.py: check_pipeline_parallel_compat"
_CP = "srt/arg_groups/parallel_hook.py: handle_context_parallelism"
_TBO = "srt/arg_groups/validation_hook.py: check_two_batch_overlap"


def sglang_refusals(plan: LaunchPlan, pool: Pool) -> list[Refusal]:
    """What of the pool's strategy SGLang cannot run."""
    s, found = pool.strategy, []
    e, a = s.experts, s.attention
    if has_experts(plan):
        if exchanged(s) and a.dp * a.cp == 1 and backend_of(plan, pool) == "none":
            found.append(Refusal("all-to-all at attention dp 1", _no_exchange(plan, s), _EP))
        if e.redundant and e.ep == 1:
            found.append(
                Refusal(f"{e.redundant} redundant experts", "EPLB needs ep above 1", "handle_eplb_and_dispatch")
            )
    if s.overlap is Overlap.TWO_BATCH and backend_of(plan, pool) == "none" and a.dp == 1:
        found.append(Refusal("two-batch", "without an all-to-all backend it needs attention dp", _TBO))
    if s.pp > 1 and plan.settings.drafts and pool.role is not Role.PREFILL:
        found.append(Refusal(f"{plan.settings.drafts} drafts with PP{s.pp}", "only a prefill worker has both", _PP))
    if a.cp > 1 and pool.dcp > 1:
        found.append(Refusal(f"decode cp {pool.dcp} with prefill cp {a.cp}", "one excludes the other", _CP))
    found += decode_cp_refusals(plan, pool, _CP)
    if plan.apart and pool.role is Role.DECODE and s.pp not in (1, plan.pools[0].strategy.pp):
        found.append(
            Refusal(
                f"decode PP{s.pp} behind prefill PP{plan.pools[0].strategy.pp}",
                "a decode worker has one stage, or as many as prefill",
                "srt/disaggregation/common/conn.py",
            )
        )
    if plan.settings.kv_format not in KV_FORMATS:
        found.append(Refusal(f"KV cache in {plan.settings.kv_format}", f"SGLang has {', '.join(KV_FORMATS)}"))
    if decode_sequences(plan, pool) * plan.settings.width > LOW_LATENCY_TOKENS and low_latency(plan, pool):
        found.append(
            Refusal(
                f"{pool.requests} requests of {plan.settings.width} tokens a rank",
                f"DeepEP's low-latency buffers hold {LOW_LATENCY_TOKENS} tokens",
                "srt/layers/moe/token_dispatcher/deepep.py",
            )
        )
    return found


def _no_exchange(plan: LaunchPlan, s: Strategy) -> str:
    if s.experts.tp > 1:
        return f"an all-to-all backend sets ep to tp, here {s.stage}; experts cut {s.experts.tp} ways need all tokens"
    return (
        f"its all-to-all backends run on Hopper and later with experts in {', '.join(EXCHANGED_FORMATS)}, not on "
        f"{plan.case.cluster.device.name} with {plan.case.model.precision.weight('experts')}"
    )


def backend_of(plan: LaunchPlan, pool: Pool) -> str:
    """--moe-a2a-backend: an exchange where experts are whole on all of tp, and its kernels are for the device and the
    experts' format; else none, where ranks that own different tokens gather them."""
    s, device = pool.strategy, plan.case.cluster.device.name
    if not has_experts(plan) or not exchanged(s) or s.experts.ep != s.stage:
        return "none"
    if plan.case.model.precision.weight("experts") not in EXCHANGED_FORMATS:
        return "none"
    if on(device, DEEPEP_DEVICES):
        return "deepep"
    return "mori" if on(device, MORI_DEVICES) else "none"


def low_latency(plan: LaunchPlan, pool: Pool) -> bool:
    """Whether decodes go through DeepEP's low-latency buffers."""
    return backend_of(plan, pool) == "deepep" and pool.role is not Role.PREFILL


def decode_sequences(plan: LaunchPlan, pool: Pool) -> int:
    """Sequences that decode at once on an attention-dp rank at most: the engine's own limit, but what is planned, up to
    the next captured batch and at least 128 tokens, where buffers are as large as it."""
    c = plan.settings
    if not low_latency(plan, pool):
        return c.max_sequences
    wanted = next((n for n in c.graph_sizes if n >= pool.requests), pool.requests)
    return min(c.max_sequences, max(wanted, 128 // c.width))


def _experts(plan: LaunchPlan, pool: Pool) -> list[tuple[str, object, str] | None]:
    if not has_experts(plan):
        return []
    s = pool.strategy
    e, backend = s.experts, backend_of(plan, pool)
    mode = {Role.PREFILL: "normal", Role.DECODE: "low_latency", Role.SERVE: "auto"}[pool.role]
    whole = f"experts whole on {e.ep} ranks" if e.tp == 1 else f"experts over {e.ep} groups, each cut {e.tp} ways"
    exchange = "tokens go to where their experts are" if backend != "none" else _gathered(s)
    placed = bool(plan.settings.placement)
    return [
        ("--ep-size", e.ep, whole),
        ("--moe-a2a-backend", backend, exchange),
        ("--deepep-mode", mode, f"kernels for {pool.role}") if backend == "deepep" else None,
        ("--ep-num-redundant-experts", e.redundant, "physical experts beyond the logical ones"),
        ("--enable-eplb", e.redundant > 0 and not placed, "it moves experts by the loads that it sees"),
        ("--init-expert-location", PLACEMENT_FILE, "where the plan put the experts, by layer of the model")
        if placed
        else None,
        (
            "--ep-dispatch-algorithm",
            "static" if backend != "none" else "dynamic",
            "which copy of an expert a token takes",
        )
        if placed or e.redundant
        else None,
        ("--enable-two-batch-overlap", s.overlap is Overlap.TWO_BATCH, "two-batch overlap"),
    ]


def _gathered(s: Strategy) -> str:
    if s.attention.dp * s.attention.cp > 1:
        return "ranks gather each other's tokens, and add up what their experts made"
    return "every rank has all tokens; an all-reduce adds up what its experts made"


def _scheduling(plan: LaunchPlan, pool: Pool) -> list[tuple[str, object, str] | None]:
    c, dp = plan.settings, pool.strategy.attention.dp
    sequences = decode_sequences(plan, pool)
    graphs = min(c.graph_sizes[-1], sequences) if c.graph_sizes else None
    chunk = c.max_tokens * dp if c.chunked_prefill else -1
    return [
        ("--context-length", c.context, "longest request planned, and room for a chat template"),
        ("--max-running-requests", sequences * dp, f"{sequences} on each of {dp} attention ranks"),
        (
            "--chunked-prefill-size",
            chunk,
            f"{c.max_tokens} tokens of prompts in a step of each of {dp} attention ranks",
        ),
        ("--max-prefill-tokens", max(c.max_tokens, c.context), "tokens of prompts in a step, whole ones"),
        ("--enable-mixed-chunk", c.mixed, "prompts and decodes in one step"),
        ("--disable-radix-cache", not c.prefix_caching, "no shared beginnings of prompts"),
        ("--mem-fraction-static", f"{pool.memory_fraction:.3f}", "of what is free before loading: weights and cache"),
        ("--kv-cache-dtype", KV_FORMATS[c.kv_format], "format of the cache that the plan was made with"),
        ("--cuda-graph-max-bs-decode", graphs, "largest decode batch in a CUDA graph") if graphs else None,
    ]


def _speculative(plan: LaunchPlan) -> list[tuple[str, object, str] | None]:
    c = plan.settings
    if not c.drafts:
        return []
    return [
        (
            "--speculative-algorithm",
            "EAGLE" if c.own_drafts else "EAGLE3",
            "the model's own prediction layers" if c.own_drafts else "",
        ),
        None if c.own_drafts else ("--speculative-draft-model-path", c.draft_model, "the model that guesses"),
        ("--speculative-num-steps", c.drafts, f"{c.drafts} draft tokens a step"),
        ("--speculative-eagle-topk", 1, "a chain, not a tree"),
        ("--speculative-num-draft-tokens", c.drafts + 1, "checked at once: the drafts and the token before"),
    ]


def _apart(plan: LaunchPlan, process: Process) -> list[tuple[str, object, str] | None]:
    if not plan.apart:
        return []
    prefill = process.pool.role is Role.PREFILL
    return [
        ("--disaggregation-mode", str(process.pool.role), "prompts and answers have GPUs of their own"),
        ("--disaggregation-transfer-backend", "nixl", "the cache goes from prefill to decode"),
        ("--disaggregation-bootstrap-port", BOOTSTRAP_PORT + process.slot, "") if prefill else None,
    ]


def _cp_strategy(plan: LaunchPlan) -> str:
    """Early and late blocks together have equal shares of the causal triangle; an index that picks keys wants every
    so-manieth token (handle_context_parallelism: DeepSeek-V3.2 has no zigzag)."""
    indexed = any(getattr(layer.attention, "indexer", None) is not None for layer in plan.case.model.layers)
    return "interleave" if indexed else "zigzag"


def sglang_command(plan: LaunchPlan, process: Process) -> Command:
    """``sglang.launch_server`` of one process: of several nodes, each with the same options."""
    pool, s = process.pool, process.pool.strategy
    a = s.attention
    rows: list[tuple[str, object, str] | None] = [
        ("--model-path", plan.settings.checkpoint, ""),
        ("--served-model-name", plan.settings.served_name, "the name that clients use"),
        ("--host", "0.0.0.0", ""),
        ("--port", process.port, ""),
        ("--tp-size", s.stage, f"ranks of a stage: attention dp {a.dp} × cp {a.cp} × tp {a.tp}"),
        ("--attn-dp-size", a.dp, f"attention dp {a.dp}"),
        ("--attn-cp-size", a.cp, f"prompts cut {a.cp} ways"),
        ("--enable-prefill-cp", a.cp > 1, "context parallelism of prompts"),
        ("--cp-strategy", _cp_strategy(plan), "which tokens of a prompt a rank has") if a.cp > 1 else None,
        ("--dcp-size", pool.dcp, f"cache of a sequence cut {pool.dcp} ways"),
        ("--pp-size", s.pp, f"{s.pp} pipeline stage{'s' * (s.pp > 1)}"),
        ("--dp-size", 1, "replicas are servers behind a router"),
    ]
    if process.nodes > 1:
        rows += [
            ("--nnodes", process.nodes, "nodes of an instance"),
            ("--node-rank", process.rank, ""),
            ("--dist-init-addr", f"{process.head}:{RENDEZVOUS_PORT}", ""),
        ]
    rows += [*_experts(plan, pool), *_scheduling(plan, pool), *_speculative(plan), *_apart(plan, process)]
    environment: tuple[Argument, ...] = ()
    if low_latency(plan, pool):
        tokens = ceil(decode_sequences(plan, pool) * plan.settings.width / 8) * 8
        why = "tokens of a rank that low-latency buffers hold: its decodes and their drafts"
        environment = (Argument("SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK", str(tokens), why),)
    return Command(("python3", "-m", "sglang.launch_server"), arguments(rows), environment)
