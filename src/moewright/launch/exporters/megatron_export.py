"""Megatron-LM: ``torchrun pretrain_gpt.py``. Rules after ``validate_args`` (megatron/training/arguments.py)."""

from __future__ import annotations

from moewright.case.model import DenseFfn, LatentAttention, MoeFfn, SoftmaxAttention
from moewright.case.strategy import Overlap, Strategy, stage_layers
from moewright.case.train.train_strategy import Schedule
from moewright.launch.command import Command, arguments
from moewright.launch.exporters.megatron_training import training_rows
from moewright.launch.launch_plan import LaunchPlan, Pool
from moewright.launch.refusal import Refusal, exchanged, has_experts
from moewright.launch.servers import RENDEZVOUS_PORT, Process
from moewright.training.plan_training import training_of

Row = tuple[str, object, str] | None
_ARGUMENTS = "megatron/training/arguments.py: validate_args"


def megatron_refusals(plan: LaunchPlan, pool: Pool) -> list[Refusal]:
    """What of the plan Megatron cannot run."""
    s, model, found = pool.strategy, plan.case.model, []
    e = s.experts
    kinds = {type(layer.attention) for layer in model.layers}
    if len({layer.attention for layer in model.layers}) > 1 or not kinds <= {SoftmaxAttention, LatentAttention}:
        names = ", ".join(sorted(k.__name__ for k in kinds))
        found.append(
            Refusal(
                f"attention of {model.name}",
                f"only layers alike, of full softmax or latent attention, are exported; it has {names}",
            )
        )
    if has_experts(plan):
        if s.stage > 1 and not exchanged(s):
            found.append(
                Refusal(
                    "replicated dispatch",
                    "Megatron divides tokens over tp (sequence parallelism) and exchanges them: dispatch all_to_all",
                    _ARGUMENTS,
                )
            )
        if e.redundant:
            found.append(Refusal(f"{e.redundant} redundant experts", "training has each expert once"))
    if plan.training is not None and plan.training.strategy.schedule not in (
        Schedule.ONE_F_ONE_B,
        Schedule.INTERLEAVED,
    ):
        schedule = plan.training.strategy.schedule
        found.append(Refusal(f"schedule {schedule}", "Megatron runs 1f1b and interleaved", _ARGUMENTS))
    if plan.training is not None and not training_of(plan.case).tuning.whole:
        found.append(
            Refusal(
                "frozen parts and adapters",
                "pretrain_gpt.py trains all of a model; Megatron-Bridge and ms-swift train adapters",
                _ARGUMENTS,
            )
        )
    if plan.training is None and s.overlap is Overlap.TWO_BATCH and (s.pp > 1 or e.ep == 1):
        found.append(Refusal("two-batch", "it needs ep above 1, and with pp virtual stages", _ARGUMENTS))
    if pool.dcp > 1:
        found.append(Refusal(f"decode cp {pool.dcp}", "training decodes nothing"))
    return found


def _attention(plan: LaunchPlan) -> list[Row]:
    first = plan.case.model.layers[0].attention
    rows: list[Row] = [("--num-attention-heads", first.heads, "")]
    if isinstance(first, LatentAttention):
        return [
            *rows,
            ("--multi-latent-attention", True, ""),
            ("--q-lora-rank", first.q_rank, "") if first.q_rank else None,
            ("--kv-lora-rank", first.kv_rank, ""),
            ("--qk-head-dim", first.nope_dim, ""),
            ("--qk-pos-emb-head-dim", first.rope_dim, ""),
            ("--v-head-dim", first.value_dim, ""),
        ]
    if isinstance(first, SoftmaxAttention):
        rows.append(("--kv-channels", first.head_dim, ""))
        if first.kv_heads != first.heads:
            rows += [("--group-query-attention", True, ""), ("--num-query-groups", first.kv_heads, "")]
        rows.append(("--qk-layernorm", first.qk_norm != "none", ""))
    return rows


def _feed_forward(plan: LaunchPlan) -> list[Row]:
    layers = plan.case.model.layers
    dense = next((x.ffn for x in layers if isinstance(x.ffn, DenseFfn)), None)
    moe = plan.case.model.moe
    width = dense.width if dense is not None else moe.width if moe is not None else 0
    gated = dense.gated if dense is not None else moe is None or moe.gated
    rows: list[Row] = [("--ffn-hidden-size", width, ""), ("--swiglu", gated, "gated feed-forward")]
    if moe is None:
        return rows
    pattern = [int(isinstance(x.ffn, MoeFfn)) for x in layers]
    return [
        *rows,
        ("--num-experts", moe.experts, ""),
        ("--moe-ffn-hidden-size", moe.width, ""),
        ("--moe-router-topk", moe.top_k, ""),
        ("--moe-layer-freq", str(pattern).replace(" ", ""), "which layers have experts") if 0 in pattern else None,
        ("--moe-shared-expert-intermediate-size", moe.shared_width, "") if moe.shared_width else None,
        ("--moe-router-num-groups", moe.groups, "") if moe.groups > 1 else None,
        ("--moe-router-group-topk", moe.top_groups, "") if moe.groups > 1 else None,
        ("--moe-grouped-gemm", True, "all experts of a rank in one product"),
    ]


def _model(plan: LaunchPlan) -> list[Row]:
    m = plan.case.model
    sequence = plan.case.workload.sequence
    return [
        ("--num-layers", len(m.layers), m.name),
        ("--hidden-size", m.hidden_size, ""),
        *_attention(plan),
        *_feed_forward(plan),
        ("--normalization", "RMSNorm", ""),
        ("--position-embedding-type", "rope", ""),
        ("--untie-embeddings-and-output-weights", not m.tied_embeddings, ""),
        ("--seq-length", sequence, "tokens of a sequence"),
        ("--max-position-embeddings", max(sequence, m.max_position or 0), ""),
        ("--bf16", True, ""),
    ]


def _pipeline(plan: LaunchPlan, s: Strategy) -> list[Row]:
    layers = len(plan.case.model.layers)
    rows: list[Row] = [("--pipeline-model-parallel-size", s.pp, f"{s.pp} pipeline stage{'s' * (s.pp > 1)}")]
    if s.pp > 1 and layers % s.pp:
        stages = ["t" * len(stage) for stage in stage_layers(layers, s.pp)]
        stages[0], stages[-1] = f"E{stages[0]}", f"{stages[-1]}L"
        rows.append(("--pipeline-model-parallel-layout", "|".join(stages), "layers of each stage"))
    return rows


def _parallel(plan: LaunchPlan, pool: Pool) -> list[Row]:
    s = pool.strategy
    a, e = s.attention, s.experts
    rows: list[Row] = [
        ("--tensor-model-parallel-size", a.tp, f"attention tp {a.tp}"),
        ("--sequence-parallel", a.tp > 1, "tokens divided over tp outside of products, which MoE needs"),
        *_pipeline(plan, s),
        ("--context-parallel-size", a.cp, f"sequences cut {a.cp} ways"),
    ]
    if has_experts(plan):
        rows += [
            ("--expert-model-parallel-size", e.ep, f"experts over {e.ep} ranks"),
            (
                "--expert-tensor-parallel-size",
                e.tp,
                f"an expert cut {e.tp} ways (unset it would be {a.tp}, that of attention)",
            ),
            ("--moe-token-dispatcher-type", "alltoall", "tokens go to where their experts are"),
            ("--overlap-moe-expert-parallel-comm", s.overlap is Overlap.TWO_BATCH, "two-batch overlap"),
        ]
    return rows


def batch_sizes(plan: LaunchPlan, pool: Pool) -> tuple[int, int]:
    """(sequences of a micro-batch, of a step over all GPUs), of the largest batch planned."""
    s, batch = pool.strategy, plan.case.workload.batch[-1]
    ranks = s.replicas * s.attention.dp
    return max(1, batch // ranks // s.micro_batches), max(1, batch // ranks) * ranks


def megatron_command(plan: LaunchPlan, process: Process) -> Command:
    """``torchrun`` of one node; data, tokenizer, optimizer and schedule are the user's, behind it."""
    pool = process.pool
    micro, whole = batch_sizes(plan, pool)
    parallel = _parallel(plan, pool) if plan.training is None else training_rows(plan.training, plan.case)
    rows = [
        *parallel,
        ("--micro-batch-size", micro, "sequences of a micro-batch"),
        ("--global-batch-size", whole, "sequences of a step"),
        *_model(plan),
    ]
    program = (
        *("torchrun", "--nproc-per-node", str(process.gpus), "--nnodes", str(process.nodes)),
        *("--node-rank", process.rank, "--master-addr", process.head, "--master-port", str(RENDEZVOUS_PORT)),
        "pretrain_gpt.py",
    )
    return Command(program, arguments(rows))
