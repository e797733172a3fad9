"""A plan of training as Megatron-LM's options. Rules after ``validate_args`` (megatron/training/arguments.py)."""

from __future__ import annotations

from moewright.case.case import Case
from moewright.case.strategy import AttentionParallel, ExpertParallel, Overlap, Strategy
from moewright.case.train.recipe import Recipe
from moewright.case.train.train_strategy import ContextExchange, Dispatcher, Sharding, TrainStrategy
from moewright.case.train.train_workload import Graphs, Training
from moewright.launch.launch_plan import Expectation, LaunchPlan, Pool, Role, Settings
from moewright.training.plan_training import training_of
from moewright.training.training_record import TrainingPlan

Row = tuple[str, object, str] | None
#: ``--cp-comm-type`` of each exchange
EXCHANGES = {ContextExchange.ALL_GATHER: "all_gather", ContextExchange.RING: "p2p", ContextExchange.ALL_TO_ALL: "a2a"}
#: GPUs of a node, beyond which links are a rack's
_NODE = 8
_RECIPES = {"fp8": "tensorwise", "fp8_block": "blockwise", "mxfp8": "mxfp8"}


def training_launch(case: Case, plan: TrainingPlan, version: str, settings: Settings) -> LaunchPlan:
    """One job on all GPUs of ``case``."""
    s = plan.strategy
    expected = (
        Expectation("a training step", plan.seconds, "s"),
        Expectation("tokens a second and GPU", plan.tokens_s_gpu, "tokens/s"),
        Expectation("GB of memory at the peak of the fullest GPU", plan.peak / 1e9, "GB"),
    )
    pool = Pool(Role.TRAIN, pass_strategy(s, plan.micro_batches), 1, s.micro_batch, 0.0)
    return LaunchPlan(case, "megatron", version, s.name, (pool,), settings, expected, training=plan)


def pass_strategy(s: TrainStrategy, micro_batches: int) -> Strategy:
    """The same sizes as a pass has them: ranks with the same experts are replicas of a stage, as far as dp divides."""
    replicas = s.expert_dp if s.dp % s.expert_dp == 0 else 1
    attention = AttentionParallel(s.dp // replicas, s.cp, s.tp)
    return Strategy(replicas, s.pp, micro_batches, Overlap.NONE, attention, ExpertParallel(s.ep, s.etp))


def training_rows(plan: TrainingPlan, case: Case) -> list[Row]:
    """Options of the layout, of what is computed again, of the optimizer and of the number formats."""
    s, t = plan.strategy, training_of(case)
    overlap = s.overlap_experts and (s.pp == 1 or s.virtual > 1)
    return [
        ("--tensor-model-parallel-size", s.tp, f"attention tp {s.tp}"),
        ("--sequence-parallel", s.tp > 1, "tokens divided over tp outside of products, which MoE needs"),
        *_stages(s, t, len(case.model.layers)),
        ("--context-parallel-size", s.cp, f"sequences cut {s.cp} ways"),
        ("--cp-comm-type", EXCHANGES[s.cp_comm_type], f"keys by {s.cp_comm_type}; unset a ring") if s.cp > 1 else None,
        ("--tp-comm-overlap", s.overlap_tp, "gathers and reductions beside products"),
        ("--expert-model-parallel-size", s.ep, f"experts over {s.ep} ranks"),
        ("--expert-tensor-parallel-size", s.etp, f"an expert cut {s.etp} ways (unset it would be {s.tp})"),
        *_dispatched(s, case),
        ("--overlap-moe-expert-parallel-comm", overlap, "behind another micro-batch"),
        *_recomputed(s),
        *_optimizer(s, t),
        *_formats(t.recipe),
        ("--moe-expert-capacity-factor", t.capacity, "places of an expert over the mean") if t.capacity else None,
        ("--moe-pad-expert-input-to-capacity", t.capacity is not None, "all places are filled"),
        ("--mtp-num-layers", t.prediction_layers, "multi-token prediction") if t.prediction_layers else None,
        ("--moe-router-force-load-balancing", t.balanced, "a benchmark's routing"),
        ("--cuda-graph-impl", "full_iteration", "whole iterations as graphs") if t.graphs is Graphs.FULL else None,
    ]


def _dispatched(s: TrainStrategy, case: Case) -> list[Row]:
    """How tokens reach their experts. DeepEP is of nodes, HybridEP of racks; both take weights of experts in fp32
    (megatron/core/transformer/moe/token_dispatcher.py)."""
    if s.dispatcher is Dispatcher.ALL_GATHER:
        return [("--moe-token-dispatcher-type", "allgather", "all tokens to all ranks of ep")]
    if s.dispatcher is Dispatcher.ALL_TO_ALL or s.ep == 1:
        return [("--moe-token-dispatcher-type", "alltoall", "each copy of a token to the rank of its expert")]
    backend = "hybridep" if (case.cluster.board or case.cluster.gpus_per_node) > _NODE else "deepep"
    return [
        ("--moe-token-dispatcher-type", "flex", "a token once to each rank that has any of its experts"),
        ("--moe-flex-dispatcher-backend", backend, "the kernels that do so"),
        ("--moe-router-dtype", "fp32", "which these kernels take"),
    ]


def _stages(s: TrainStrategy, t: Training, layers: int) -> list[Row]:
    """Stages, and which layers each chunk has: E embedding, t a layer, m one of multi-token prediction, L the loss."""
    rows: list[Row] = [("--pipeline-model-parallel-size", s.pp, f"{s.pp} pipeline stage{'s' * (s.pp > 1)}")]
    if s.pp == 1 or s.layers is None:
        return rows
    kinds = "t" * layers + "m" * t.prediction_layers
    ends = [sum(s.layers[: i + 1]) for i in range(len(s.layers))]
    chunks = [kinds[end - count : end] for end, count in zip(ends, s.layers, strict=True)]
    chunks[0], chunks[-1] = f"E{chunks[0]}", f"{chunks[-1]}L"
    virtual = f", {s.virtual} a stage in turn" if s.virtual > 1 else ""
    return [*rows, ("--pipeline-model-parallel-layout", "|".join(chunks), f"layers of each chunk{virtual}")]


def _recomputed(s: TrainStrategy) -> list[Row]:
    if not s.recompute:
        return []
    if "full" in s.recompute:
        return [
            ("--recompute-granularity", "full", "of each layer its input is kept"),
            ("--recompute-method", "uniform", ""),
            ("--recompute-num-layers", 1, ""),
        ]
    return [
        ("--recompute-granularity", "selective", "what is computed again instead of kept"),
        ("--recompute-modules", s.recompute, ""),
    ]


def _optimizer(s: TrainStrategy, t: Training) -> list[Row]:
    full = s.sharding is Sharding.FULL
    return [
        ("--use-distributed-optimizer", s.sharding is not Sharding.NONE, "states divided over dp"),
        ("--overlap-grad-reduce", s.overlap_grad_reduce, "behind the last backward pass"),
        (
            "--overlap-param-gather",
            s.overlap_param_gather and s.sharding is not Sharding.NONE,
            "behind the first forward pass",
        ),
        ("--use-megatron-fsdp", full, "weights and gradients divided too"),
        ("--data-parallel-sharding-strategy", "optim_grads_params", "") if full else None,
        ("--accumulate-allreduce-grads-in-fp32", t.gradients > 2, "gradients kept and reduced in fp32"),
        ("--grad-reduce-in-bf16", t.gradients <= 2, "gradients reduced in 16 bits"),
        ("--optimizer", "muon", "") if t.optimizer.name == "muon" else None,
        ("--use-precision-aware-optimizer", t.optimizer.name == "adam_lean", "moments in 16 bits"),
    ]


def _formats(recipe: Recipe) -> list[Row]:
    if recipe.name == "nvfp4":
        return [("--fp4-format", "e2m1", "products in NVFP4"), ("--fp4-recipe", "nvfp4", "")]
    if recipe.name not in _RECIPES:
        return []
    return [
        ("--fp8-format", "e4m3", f"products in {recipe.name}"),
        ("--fp8-recipe", _RECIPES[recipe.name], ""),
        ("--fp8-param-gather", True, "weights gathered in FP8"),
    ]
