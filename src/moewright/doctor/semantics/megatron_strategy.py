"""Megatron-LM's options → the training strategy that they make, by the names and defaults of its parser.

megatron/training/arguments.py (core 0.20): keys pass around a ring unless ``--cp-comm-type`` says otherwise, tokens are
gathered by all ranks of ep unless ``--moe-token-dispatcher-type`` does, selective recomputation without modules is that
of attention's core; megatron/core/transformer/pipeline_parallel_layer_layout.py: ``t`` is a layer, ``m`` one of
multi-token prediction, ``E`` and ``L`` the model's ends, ``|`` ends a chunk, ``(…)*n`` and ``t*n`` repeat.
"""

from __future__ import annotations

import re
from typing import Final

from moewright.case.train.train_strategy import (
    MODULES,
    ContextExchange,
    Dispatcher,
    Schedule,
    Sharding,
    TrainStrategy,
)
from moewright.doctor.option_values import OptionValues
from moewright.doctor.semantics.engine_reading import EngineReading, ServedLayout

ARGUMENTS: Final = "Megatron-LM, megatron/training/arguments.py (core 0.20)"
_EXCHANGES: Final = {
    "p2p": ContextExchange.RING,
    "all_gather": ContextExchange.ALL_GATHER,
    "allgather": ContextExchange.ALL_GATHER,
    "a2a": ContextExchange.ALL_TO_ALL,
}
_DISPATCHERS: Final = {
    "flex": Dispatcher.DEEPEP,
    "alltoall": Dispatcher.ALL_TO_ALL,
    "allgather": Dispatcher.ALL_GATHER,
}
#: symbols of a layout at most, repeats written out
_MOST: Final = 100_000


def read_strategy(r: EngineReading, values: OptionValues, x: ServedLayout, micro: int | None) -> TrainStrategy | None:
    """The strategy of the sizes ``x`` (with the world's ranks known), or None; what cannot be expressed is a problem of
    ``r``."""
    if x.world is None or x.world % (x.pp * x.attn_tp * x.attn_cp) or x.world % (x.pp * x.ep * x.etp):
        return None
    layers = layout_layers(r, values, x.pp)
    virtual = _virtual(values, x.pp, layers)
    layers = layers or _evenly(values, x.pp * virtual)
    exchange = _exchange(r, values) if x.attn_cp > 1 else ContextExchange.ALL_GATHER
    dispatcher = _dispatcher(values) if x.ep > 1 else Dispatcher.DEEPEP
    if exchange is None or dispatcher is None:
        return None
    divided = values.flag("use_distributed_optimizer")
    return TrainStrategy(
        *(x.attn_dp, x.attn_cp, x.attn_tp, x.pp, virtual, x.ep, x.etp, micro or 1),
        Schedule.INTERLEAVED if virtual > 1 else Schedule.ONE_F_ONE_B,
        _recomputed(r, values),
        _sharding(values),
        values.flag("overlap_moe_expert_parallel_comm"),
        layers,
        exchange,
        dispatcher,
        values.flag("tp_comm_overlap"),
        values.flag("overlap_grad_reduce"),
        values.flag("overlap_param_gather") if divided or _sharding(values) is Sharding.FULL else True,
    )


def layout_layers(r: EngineReading, values: OptionValues, pp: int) -> tuple[int, ...] | None:
    """Layers of each chunk, those of multi-token prediction among them, where a layout is written out."""
    text = values.text("pipeline_model_parallel_layout")
    if not text:
        return None
    plain = _written_out(text.replace(",", "").replace(" ", ""))
    chunks = plain.split("|") if plain is not None else []
    if plain is None or set(plain) - set("EtmL|") or len(chunks) % pp:
        what = f"got {text[:40]!r}; expected E, t, m and L in a multiple of pp {pp} chunks, each ended by |"
        r.problem("--pipeline-model-parallel-layout", what, ARGUMENTS, True)
        return None
    return tuple(chunk.count("t") + chunk.count("m") for chunk in chunks)


def _written_out(text: str) -> str | None:
    """``text`` without repeats; None where it is too long or not well formed."""
    repeat = re.compile(r"(?:\(([^()]*)\)|([EtmL|]))\*(\d{1,5})")
    while match := repeat.search(text):
        part = (match[1] if match[1] is not None else match[2]) * int(match[3])
        text = text[: match.start()] + part + text[match.end() :]
        if len(text) > _MOST:
            return None
    return text


def _virtual(values: OptionValues, pp: int, layers: tuple[int, ...] | None) -> int:
    if layers is not None:
        return len(layers) // pp
    stages, each = (
        values.maybe_size("num_virtual_stages_per_pipeline_rank"),
        values.maybe_size("num_layers_per_virtual_pipeline_stage"),
    )
    count = values.maybe_size("num_layers")
    if stages:
        return max(stages, 1)
    return max(count // pp // each, 1) if each and count and pp > 1 else 1


def _evenly(values: OptionValues, chunks: int) -> tuple[int, ...] | None:
    """Layers of each chunk where all have as many; None where they do not, or options move some."""
    count = (values.maybe_size("num_layers") or 0) + (values.maybe_size("mtp_num_layers") or 0)
    moved = (
        "account_for_embedding_in_pipeline_split",
        "account_for_loss_in_pipeline_split",
        "decoder_first_pipeline_num_layers",
        "decoder_last_pipeline_num_layers",
    )
    even = count and count % chunks == 0 and not any(name in values.given for name in moved)
    return (count // chunks,) * chunks if even else None


def _exchange(r: EngineReading, values: OptionValues) -> ContextExchange | None:
    given = values.given["cp_comm_type"].value if "cp_comm_type" in values.given else "p2p"
    kinds = set(map(str, given)) if isinstance(given, list) else {str(given)}
    known = _EXCHANGES.get(next(iter(kinds))) if len(kinds) == 1 else None
    if known is None:
        what = (
            f"{' '.join(sorted(kinds))}: exchanges that differ or are of two tiers are not expressed in a strategy here"
        )
        r.problem("--cp-comm-type", what, ARGUMENTS)
    return known


def _dispatcher(values: OptionValues) -> Dispatcher | None:
    if values.flag("moe_enable_deepep"):
        return Dispatcher.DEEPEP
    return _DISPATCHERS.get(values.text("moe_token_dispatcher_type") or "allgather")


def _recomputed(r: EngineReading, values: OptionValues) -> tuple[str, ...]:
    if values.text("recompute_granularity") == "full":
        return ("full",)
    if values.text("recompute_granularity") != "selective" and not values.flag("recompute_activations"):
        return ()
    given = values.given["recompute_modules"].value if "recompute_modules" in values.given else ["core_attn"]
    names = [str(given)] if not isinstance(given, list) else list(map(str, given))
    for name in names:
        if name not in MODULES:
            r.problem("--recompute-modules", f"got {name[:40]!r}; known are {', '.join(MODULES[:-1])}", ARGUMENTS)
    return tuple(m for m in MODULES if m in names)


def _sharding(values: OptionValues) -> Sharding:
    whole = values.text("data_parallel_sharding_strategy") in ("optim_grads_params", "hybrid")
    if values.flag("use_torch_fsdp2") or (values.flag("use_megatron_fsdp") and whole):
        return Sharding.FULL
    return Sharding.OPTIMIZER if values.flag("use_distributed_optimizer") else Sharding.NONE
