"""How ranks exchange what they do: which ways are legal, and options of a spec that would change nothing."""

from __future__ import annotations

from moewright.case.case import Case
from moewright.case.train.train_strategy import ContextExchange, Dispatcher, Schedule, Sharding, TrainSizes
from moewright.case.train.train_workload import Training
from moewright.errors import SpecError
from moewright.training.layouts import DISPATCHERS, EXCHANGES, FASTEST
from moewright.training.work.context_parallel import exchange_reason


def way_columns(s: TrainSizes, cp: int, overlap: bool) -> tuple[int, ...]:
    """Columns of a layout, as given: how keys pass over cp (the fastest way where it is not), how tokens reach their
    experts, and what of experts, tp, gradients and weights overlaps."""
    comm = FASTEST if s.cp_comm_type is None else EXCHANGES.index(s.cp_comm_type)
    dispatcher = DISPATCHERS.index(s.dispatcher or Dispatcher.DEEPEP)
    on = (overlap, bool(s.overlap_tp), s.overlap_grad_reduce is not False, s.overlap_param_gather is not False)
    return comm if cp > 1 else 0, dispatcher, *map(int, on)


def exchanges(case: Case, s: TrainSizes, cp: int, tp: int) -> str:
    """Why no exchange over cp, or not the one that is given, is legal; empty where one is."""
    if cp == 1:
        return ""
    kinds = list(ContextExchange) if s.cp_comm_type is None else [s.cp_comm_type]
    reasons = [_of_layers(case, kind, cp, tp) for kind in kinds]
    return "" if "" in reasons else reasons[0]


def _of_layers(case: Case, kind: ContextExchange, cp: int, tp: int) -> str:
    found = (exchange_reason(layer.attention, kind, cp, tp) for layer, _ in case.model.layer_kinds())
    return next((reason for reason in found if reason), "")


def check_ways(case: Case, training: Training) -> None:
    """Raises SpecError for an option that would change nothing, or that no layout of the sizes given can have."""
    s = training.sizes
    refusals = [
        ("strategy.attention.cp_comm_type", s.cp_comm_type, s.cp == 1, "with cp 1 no keys are exchanged"),
        ("strategy.experts.dispatcher", s.dispatcher, s.ep == 1, "with ep 1 no token is dispatched"),
        ("strategy.overlap_experts", s.overlap_experts, s.ep == 1, "with ep 1 no token is dispatched"),
        ("strategy.overlap_tp", s.overlap_tp, s.tp == 1, "with tp 1 nothing is gathered or reduced"),
        (
            "strategy.overlap_param_gather",
            s.overlap_param_gather,
            s.sharding is Sharding.NONE,
            "with sharding none no weights are gathered",
        ),
    ]
    for field, value, idle, why in refusals:
        if value is not None and idle:
            raise SpecError(f"got {str(value).lower()}, which changes nothing: {why}", file=case.file, field=field)
    if s.cp_comm_type is not None and s.cp is not None:
        reason = _of_layers(case, s.cp_comm_type, s.cp, s.tp or 1)
        if reason:
            legal = [str(k) for k in ContextExchange if not _of_layers(case, k, s.cp, s.tp or 1)]
            raise SpecError(
                f"got {s.cp_comm_type}; {reason}; legal: {', '.join(legal) or 'none'}",
                file=case.file,
                field="strategy.attention.cp_comm_type",
            )
    alone = s.virtual in (None, 1) and s.schedule in (Schedule.ONE_F_ONE_B, Schedule.ZERO_BUBBLE)
    if s.overlap_experts and s.pp not in (None, 1) and (alone or s.virtual == 1):
        raise SpecError(
            "got true; of several stages one micro-batch's experts overlap with another's layers where a stage has "
            "chunks: expected virtual_stages of 2 or more",
            file=case.file,
            field="strategy.overlap_experts",
        )
    lora = training.tuning.lora
    if lora is not None and "experts" in lora.targets and (s.etp or 1) > 1:
        raise SpecError(
            f"got {s.etp}; adapters of experts are not divided: expected 1", file=case.file, field="strategy.experts.tp"
        )
