"""Megatron-LM's options (and ms-swift's) → its layout.

megatron/training/arguments.py, validate_args: dp = world ÷ (tp · pp · cp); expert data parallelism = world ÷ (pp · ep ·
etp); an unset expert tensor size is tp in Megatron-LM, 1 in ms-swift (swift/megatron/argument/megatron_args.py).
"""

from __future__ import annotations

from typing import Any, Final

from moewright.doctor.option_values import OptionValues, UnknownValueError
from moewright.doctor.semantics.engine_reading import EngineReading, ServedLayout
from moewright.doctor.semantics.megatron_strategy import read_strategy
from moewright.doctor.shell.expansion import MARK

VALIDATE: Final = "Megatron-LM, megatron/training/arguments.py, validate_args (core 0.20)"


def read_megatron(values: OptionValues, kind: str, world: int | None) -> EngineReading:
    """The layout of a training script with Megatron's options on ``world`` ranks (None: not said). Raises
    UnknownValueError."""
    r = EngineReading("megatron", ServedLayout(), trains=True)
    tp, pp = values.size("tensor_model_parallel_size"), values.size("pipeline_model_parallel_size")
    cp, ep = values.size("context_parallel_size"), values.size("expert_model_parallel_size")
    swift = kind == "ms-swift"
    etp = values.size("expert_tensor_parallel_size", default=1 if swift else tp)
    dp = 1
    if world is not None:
        dp = _data_parallel(r, values, world, (tp, pp, cp, ep, etp))
    r.layout = ServedLayout(tp, dp, cp, 1, pp, 1, ep, etp, 1, world)
    if not swift and tp > 1 and ep > 1 and "expert_tensor_parallel_size" not in values.given:
        what = f"is not set, so it is tp: every expert is cut {tp} ways; --expert-tensor-parallel-size 1 keeps it whole"
        r.problem("--expert-tensor-parallel-size", what, VALIDATE)
    _rules(r, values, swift)
    _settings(r, values, world, dp)
    if kind == "megatron-lm":  # tools around it have defaults of their own
        r.training = read_strategy(r, values, r.layout, values.maybe_size("micro_batch_size"))
    if r.training is not None:
        r.settings["vpp"] = r.training.virtual
    return r


def _data_parallel(r: EngineReading, values: OptionValues, world: int, sizes: tuple[int, int, int, int, int]) -> int:
    tp, pp, cp, ep, etp = sizes
    dp, left = divmod(world, tp * pp * cp)
    if left or not dp:
        what = f"{world} GPUs are no multiple of tp {tp} × pp {pp} × cp {cp} = {tp * pp * cp}"
        r.problem(values.written("tensor_model_parallel_size", "pipeline_model_parallel_size"), what, VALIDATE, True)
    if world % (pp * ep * etp):
        what = f"{world} GPUs are no multiple of ep {ep} × etp {etp} × pp {pp} = {pp * ep * etp}"
        r.problem(values.written("expert_model_parallel_size", "tensor_model_parallel_size"), what, VALIDATE, True)
    return max(dp, 1)


def _rules(r: EngineReading, values: OptionValues, swift: bool) -> None:
    x = r.layout
    experts = values.maybe_size("num_experts")
    if experts and experts % x.ep:
        what = f"{experts} experts do not divide over ep {x.ep}"
        r.problem(values.written("expert_model_parallel_size"), what, VALIDATE, True)
    if x.ep > 1 and "num_experts" in values.given and not experts:
        r.problem(values.written("expert_model_parallel_size"), "needs --num-experts", VALIDATE, True)
    if experts and x.attn_tp > 1 and not values.flag("sequence_parallel"):
        what = "experts with tp above 1 need --sequence-parallel when training"
        r.problem(values.written("tensor_model_parallel_size"), what, VALIDATE, True)
    if values.flag("sequence_parallel") and x.attn_tp == 1 and not swift:
        r.problem("--sequence-parallel", "is turned off: tp is 1", VALIDATE)
    layers, virtual = values.maybe_size("num_layers"), values.maybe_size("num_layers_per_virtual_pipeline_stage")
    laid_out = any(
        name in values.given
        for name in (
            "pipeline_model_parallel_layout",
            "decoder_first_pipeline_num_layers",
            "decoder_last_pipeline_num_layers",
            "account_for_embedding_in_pipeline_split",
            "account_for_loss_in_pipeline_split",
            "num_layers_in_first_pipeline_stage",
        )
    )
    if layers and layers % x.pp and not laid_out:
        what = f"{layers} layers do not divide over pp {x.pp}"
        r.problem(values.written("pipeline_model_parallel_size"), what, VALIDATE, True)
    if virtual and x.pp == 1:
        what = "interleaving needs pp above 1"
        r.problem(values.written("num_layers_per_virtual_pipeline_stage"), what, VALIDATE, True)
    heads, groups = values.maybe_size("num_attention_heads"), values.maybe_size("num_query_groups")
    if heads and heads % x.attn_tp:
        what = f"{heads} heads do not divide over tp {x.attn_tp}"
        r.problem(values.written("tensor_model_parallel_size"), what, VALIDATE, True)
    if groups and groups % x.attn_tp and x.attn_tp % groups:
        what = f"{groups} query groups and tp {x.attn_tp}: neither is a multiple of the other"
        r.problem(values.written("tensor_model_parallel_size"), what, VALIDATE, True)
    if values.text("moe_token_dispatcher_type") == "allgather" and x.ep > 1:
        what = "allgather sends every token to every rank of ep; alltoall sends what is routed"
        r.problem(values.written("moe_token_dispatcher_type"), what, "Megatron-LM, MoE README")


def _settings(r: EngineReading, values: OptionValues, world: int | None, dp: int) -> None:
    micro, whole = values.maybe_size("micro_batch_size"), values.maybe_size("global_batch_size")
    x = r.layout
    if micro and whole and world:
        batches, left = divmod(whole, micro * dp)
        if left:
            what = f"{whole} is no multiple of micro-batch {micro} × dp {dp} = {micro * dp}"
            r.problem(values.written("global_batch_size"), what, VALIDATE, True)
        r.settings["num_microbatches"] = batches
        if x.pp > 1 and batches < x.pp:
            bubble = (x.pp - 1) / (batches + x.pp - 1)
            what = f"{batches} micro-batches on {x.pp} stages: {bubble:.0%} of the time is bubble"
            r.problem(values.written("global_batch_size"), what, "Megatron-LM, pipeline schedules")
    expert_dp = None if world is None else world // (x.pp * x.ep * x.etp) or None
    r.settings |= {
        "tp": x.attn_tp,
        "dp": None if world is None else dp,
        "cp": x.attn_cp,
        "expert_dp": expert_dp,
        "vpp": values.maybe_size("num_layers_per_virtual_pipeline_stage", "num_virtual_stages_per_pipeline_rank"),
        "mbs": micro,
        "gbs": whole,
        "seq": values.maybe_size("seq_length", "max_length"),
        "lora": values.text("train_type", "tuner_type") == "lora",
    }
    r.model = values.text("load", "model", "tokenizer_model", "hf_model", "mcore_model")


def world_of(before: tuple[str, ...], environment: dict[str, str]) -> int | None:
    """Ranks that ``torchrun`` (or ms-swift's environment) starts; None where nothing says it. Raises
    UnknownValueError."""
    given: dict[str, str] = {}
    for i, word in enumerate(before):
        name, equals, value = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if word.startswith("-") and name in ("nproc_per_node", "nnodes"):
            given[name] = value if equals else before[i + 1] if i + 1 < len(before) else ""
    names = {"nproc_per_node": ("NPROC_PER_NODE",), "nnodes": ("NNODES",)}
    for name, variables in names.items():
        for variable in variables:
            if name not in given and variable in environment and not any("torchrun" in w for w in before):
                given[name] = environment[variable]
    if "nproc_per_node" not in given:
        return None
    counts = [_count(given[name], f"--{name}") for name in ("nproc_per_node", "nnodes") if name in given]
    sizes: list[Any] = [c for c in counts if c is not None]
    return None if len(sizes) < len(counts) else sizes[0] * (sizes[1] if len(sizes) > 1 else 1)


def _count(text: str, option: str) -> int | None:
    mark = MARK.search(text)
    if mark:
        raise UnknownValueError(mark[1], option)
    last = text.rpartition(":")[2]
    return int(last) if last.isdigit() else None
