"""vLLM: ``vllm serve``. Rules read in the wheel of 0.33.0: config/parallel.py, config/model.py, config/vllm.py."""

from __future__ import annotations

import json

from moewright.case.strategy import Overlap
from moewright.launch.command import Argument, Command, arguments
from moewright.launch.launch_plan import LaunchPlan, Pool, Role
from moewright.launch.refusal import (
    DEEPEP_DEVICES,
    LOW_LATENCY_TOKENS,
    Refusal,
    decode_cp_refusals,
    exchanged,
    has_experts,
    on,
    shared_heads,
)
from moewright.launch.servers import RENDEZVOUS_PORT, TRANSFER_PORT, Process

#: hidden sizes that DeepEP's low-latency kernels are built for (prepare_finalize/deepep_ll.py)
LOW_LATENCY_WIDTHS = (2048, 2560, 3072, 4096, 5120, 6144, 7168, 8192)
#: formats of the KV cache → --kv-cache-dtype
KV_FORMATS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "fp8_e4m3", "nvfp4": "nvfp4"}

_EP = "config/parallel.py: EP group = TP × PCP × DP (docs: Expert Parallel Deployment)"
_DCP = "config/model.py: verify_with_parallel_config"
_DBO = "config/vllm.py: 'Microbatching currently only supports …'"


def vllm_refusals(plan: LaunchPlan, pool: Pool) -> list[Refusal]:
    """What of the pool's strategy vLLM cannot run."""
    s, found = pool.strategy, []
    e, a = s.experts, s.attention
    if has_experts(plan):
        if e.ep > 1 and e.tp > 1:
            found.append(
                Refusal(
                    f"moe EP{e.ep}×TP{e.tp}",
                    f"vLLM has EP = TP·PCP·DP, here {s.stage}, or none: experts cut both ways cannot be asked for",
                    _EP,
                )
            )
        if exchanged(s) and a.dp == 1 and a.cp == 1:
            found.append(
                Refusal(
                    "all-to-all at attention dp 1",
                    "without data parallelism every rank of vLLM keeps all tokens, and an all-reduce adds up what its "
                    "experts make",
                    "config/parallel.py: use_all2all",
                )
            )
        if e.redundant and e.ep == 1:
            found.append(Refusal(f"{e.redundant} redundant experts", "EPLB needs expert parallelism", _EP))
    found += _overlap_refusals(plan, pool)
    found += decode_cp_refusals(plan, pool, _DCP)
    heads = shared_heads(plan.case.model)
    if pool.dcp > 1 and a.cp > 1 and pool.dcp not in (a.cp, a.tp * a.cp):
        found.append(Refusal(f"decode cp {pool.dcp}", "beside prefill cp it is 1, pcp or tp·pcp", _DCP))
    if pool.dcp > 1 and plan.apart and (heads is not None or pool.dcp != max(a.tp, a.cp)):
        found.append(
            Refusal(
                f"decode cp {pool.dcp} with prefill apart",
                "NIXL moves a cache that is whole, or of MLA and cut by all of tp",
                "config/vllm.py: NixlConnector",
            )
        )
    if plan.settings.kv_format not in KV_FORMATS:
        found.append(Refusal(f"KV cache in {plan.settings.kv_format}", f"vLLM has {', '.join(KV_FORMATS)}"))
    ranks = s.pp * a.tp * a.cp
    node = plan.case.cluster.host_gpus
    if pool.gpus > node and ranks % node and node % ranks:
        found.append(
            Refusal(
                f"{ranks} GPUs of a data-parallel rank",
                f"they are neither whole nodes of {node} nor a part that divides one",
                "config/parallel.py: nnodes_within_dp",
            )
        )
    return found


def _overlap_refusals(plan: LaunchPlan, pool: Pool) -> list[Refusal]:
    s = pool.strategy
    if s.overlap is not Overlap.TWO_BATCH:
        return []
    if not has_experts(plan) or s.experts.ep == 1 or s.attention.dp == 1:
        return [
            Refusal("two-batch", "dual batch overlap hides the all-to-all of EP, which needs EP and dp above 1", _DBO)
        ]
    if not on(plan.case.cluster.device.name, DEEPEP_DEVICES):
        return [Refusal("two-batch", f"its kernels (DeepEP) are not for {plan.case.cluster.device.name}", _DBO)]
    if s.attention.cp > 1:
        return [Refusal("two-batch with cp", "context parallelism has a model runner without dual batch overlap", _DBO)]
    return []


def all_to_all_backend(plan: LaunchPlan, pool: Pool) -> tuple[str, str]:
    """The exchange of an EP group over several attention ranks, and why: DeepEP's two kinds of kernels where prompts
    and decodes are apart, since its low-latency buffers do not hold a prompt; where they are mixed the gathers that
    run everywhere, but under dual batch overlap."""
    deepep = on(plan.case.cluster.device.name, DEEPEP_DEVICES)
    narrow = plan.case.model.hidden_size in LOW_LATENCY_WIDTHS
    if deepep and pool.role is Role.PREFILL:
        return "deepep_high_throughput", "prompts alone: tokens go only to where their experts are"
    if deepep and narrow and pool.role is Role.DECODE:
        return "deepep_low_latency", "decodes alone: within CUDA graphs, tokens go only to where their experts are"
    if deepep and pool.strategy.overlap is Overlap.TWO_BATCH:
        return "deepep_high_throughput", "dual batch overlap has no gathers, and low-latency buffers hold no prompts"
    return "allgather_reducescatter", "prompts and decodes share steps: gathers, which no kernel library limits"


def _experts(plan: LaunchPlan, pool: Pool) -> list[tuple[str, object, str] | None]:
    if not has_experts(plan):
        return []
    s = pool.strategy
    e = s.experts
    spread = e.ep > 1
    rows: list[tuple[str, object, str] | None] = [
        ("--enable-expert-parallel", True, f"experts whole, {e.ep} ranks")
        if spread
        else ("--disable-expert-parallel", True, f"each expert cut over {e.tp} ranks")
    ]
    if spread and s.attention.dp * s.attention.cp > 1:
        backend, why = all_to_all_backend(plan, pool)
        rows.append(("--all2all-backend", backend, why))
    if e.redundant:
        config = json.dumps({"num_redundant_experts": e.redundant})
        rows.append(("--enable-eplb", True, "physical experts beyond the logical ones; it moves them by itself"))
        rows.append(("--eplb-config", config, f"{e.redundant} redundant experts"))
    else:
        rows.append(("--disable-eplb", True, "no redundant experts"))
    two = s.overlap is Overlap.TWO_BATCH
    rows.append(
        ("--enable-dbo" if two else "--disable-dbo", True, "two-batch overlap" if two else "no two-batch overlap")
    )
    if two:
        rows.append(("--dbo-decode-token-threshold", 32, "tokens from which a step of decodes is halved"))
        rows.append(("--dbo-prefill-token-threshold", 512, "the same of a step with prompts"))
    return rows


def tokens_of_step(plan: LaunchPlan, pool: Pool) -> int:
    """The token budget of a data-parallel rank: the plan's, but where low-latency buffers are as large as it: then
    what the decodes planned fill."""
    spread = has_experts(plan) and pool.strategy.experts.ep > 1 and pool.strategy.attention.dp > 1
    if spread and all_to_all_backend(plan, pool)[0] == "deepep_low_latency":
        return min(LOW_LATENCY_TOKENS, max(128, -(-pool.requests * plan.settings.width // 64) * 64))
    return plan.settings.max_tokens


def _scheduling(plan: LaunchPlan, pool: Pool) -> list[tuple[str, object, str] | None]:
    c, tokens = plan.settings, tokens_of_step(plan, pool)
    sequences = min(c.max_sequences, tokens)
    sizes = c.graph_sizes
    own = sizes == _default_sizes(sizes[-1]) if sizes else True
    graphs: tuple[str, object, str] | None = None
    if sizes and own:
        graphs = ("--max-cudagraph-capture-size", sizes[-1], "largest decode batch in a CUDA graph")
    elif sizes:
        config = json.dumps({"cudagraph_capture_sizes": list(sizes)})
        graphs = ("--compilation-config", config, "decode batches in CUDA graphs")
    return [
        ("--max-model-len", c.context, "longest request planned, and room for a chat template"),
        ("--max-num-seqs", sequences, "sequences in a step of a data-parallel rank"),
        ("--max-num-batched-tokens", tokens, "tokens in a step of a data-parallel rank: the chunk of a prompt"),
        ("--enable-chunked-prefill" if c.chunked_prefill else "--disable-chunked-prefill", True, "prompts in chunks"),
        (
            "--enable-prefix-caching" if c.prefix_caching else "--disable-prefix-caching",
            True,
            "shared beginnings of prompts",
        ),
        ("--gpu-memory-utilization", f"{pool.memory_fraction:.3f}", "of all memory: weights, activations and cache"),
        ("--kv-cache-dtype", KV_FORMATS[c.kv_format], "format of the cache that the plan was made with"),
        graphs,
    ]


def _default_sizes(largest: int) -> tuple[int, ...]:
    """What vLLM captures up to ``largest`` (config/vllm.py: _set_cudagraph_sizes)."""
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)]
    return tuple(n for n in sizes if n <= largest)


def _speculative(plan: LaunchPlan) -> list[tuple[str, object, str] | None]:
    c = plan.settings
    if not c.drafts:
        return []
    config: dict[str, object] = {"method": "mtp", "num_speculative_tokens": c.drafts}
    if not c.own_drafts:
        config = {"method": "eagle3", "model": c.draft_model, "num_speculative_tokens": c.drafts}
    return [("--speculative-config", json.dumps(config), f"{c.drafts} draft tokens a step")]


def vllm_command(plan: LaunchPlan, process: Process) -> Command:
    """``vllm serve`` of one process. An instance of several nodes is started with the same options on each."""
    pool, s = process.pool, process.pool.strategy
    a = s.attention
    served = [
        ("--served-model-name", plan.settings.served_name, "the name that clients use"),
        ("--host", "0.0.0.0", ""),
        ("--port", process.port, ""),
    ]
    sizes = [
        ("--tensor-parallel-size", a.tp, f"attention tp {a.tp}"),
        ("--pipeline-parallel-size", s.pp, f"{s.pp} pipeline stage{'s' * (s.pp > 1)}"),
        ("--data-parallel-size", a.dp, f"attention dp {a.dp}"),
        ("--prefill-context-parallel-size", a.cp, f"prompts cut {a.cp} ways"),
        ("--decode-context-parallel-size", pool.dcp, f"cache of a sequence cut {pool.dcp} ways"),
    ]
    nodes: list[tuple[str, object, str] | None] = []
    if process.nodes > 1:
        nodes = [
            ("--nnodes", process.nodes, "nodes of an instance"),
            ("--node-rank", process.rank, ""),
            ("--master-addr", process.head, ""),
            ("--master-port", RENDEZVOUS_PORT, ""),
            ("--data-parallel-rpc-port", RENDEZVOUS_PORT + 1, "") if a.dp > 1 else None,
            ("--headless", not process.leads, "no API server on this node"),
        ]
    transfer: list[tuple[str, object, str] | None] = []
    environment: list[tuple[str, object, str]] = []
    if plan.apart:
        config = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        transfer = [("--kv-transfer-config", json.dumps(config), "the cache goes from prefill to decode by NIXL")]
        environment = [
            ("VLLM_NIXL_SIDE_CHANNEL_HOST", process.host, "where the other side finds this cache"),
            ("VLLM_NIXL_SIDE_CHANNEL_PORT", TRANSFER_PORT + 100 * process.slot, ""),
        ]
    rows = [
        *(served if process.leads else served[:1]),
        *sizes,
        *nodes,
        *_experts(plan, pool),
        *_scheduling(plan, pool),
        *_speculative(plan),
        *transfer,
    ]
    variables = tuple(Argument(n, str(v), w) for n, v, w in environment)
    return Command(("vllm", "serve", plan.settings.checkpoint), arguments(rows), variables)
