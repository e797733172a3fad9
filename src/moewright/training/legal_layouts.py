"""The legal layouts of a training step, as one table; sizes that a user gives and that cannot be are refused with the
nearest that can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from moewright.case.case import Case
from moewright.case.model import DenseFfn, LinearAttention, MoeFfn
from moewright.case.train.train_strategy import Schedule, Sharding, TrainSizes
from moewright.case.train.train_workload import Training
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import divisors
from moewright.training.layouts import SCHEDULES, SHARDINGS, Layouts
from moewright.training.legal_schedules import check_schedule
from moewright.training.legal_ways import check_ways, exchanges, way_columns

#: micro-batches and chunks a stage that are tried where none is given
MICRO_BATCHES = (1, 2, 4, 8, 16)
VIRTUAL = (1, 2, 3, 4, 6, 8, 12, 16)
#: ranks of context parallelism that are tried at most where none is given
MOST_CP = 16


def chunk_layers(case: Case, training: Training) -> int:
    """Layers that are divided over chunks: those of multi-token prediction among them."""
    return len(case.model.layers) + training.prediction_layers


def tp_divides(case: Case, tp: int) -> bool:
    """Whether heads, KV heads and widths divide over ``tp`` ranks."""
    for layer, _ in case.model.layer_kinds():
        a = layer.attention
        width = layer.ffn.width if isinstance(layer.ffn, DenseFfn) else layer.ffn.shared_width
        if a.heads % tp or width % tp:
            return False
        if a.kv_heads and a.kv_heads % tp and (tp % a.kv_heads or isinstance(a, LinearAttention)):
            return False
    return True


def cp_divides(case: Case, training: Training, cp: int) -> bool:
    """Whether a sequence divides over ``cp`` ranks, in two halves each so that causal work is even."""
    linear = any(isinstance(layer.attention, LinearAttention) for layer in case.model.layers)
    return cp == 1 or (training.sequence % (2 * cp) == 0 and not linear)


def _experts_of(case: Case) -> list[MoeFfn]:
    return list(dict.fromkeys(x.ffn for x in case.model.layers if isinstance(x.ffn, MoeFfn)))


# --- what a user gives ---


def check_sizes(case: Case, training: Training) -> None:
    """Raises SpecError, with the nearest legal value, for a size that no layout of the cluster can have."""
    s, gpus, layers = training.sizes, case.cluster.gpus, chunk_layers(case, training)
    moe = _experts_of(case)[0]
    of_gpus = divisors(gpus)
    fields: list[tuple[str, int | None, Callable[[int], bool], Iterable[int], str]] = [
        ("attention.tp", s.tp, lambda n: tp_divides(case, n), of_gpus, "divides heads, KV heads and widths"),
        ("attention.cp", s.cp, lambda n: cp_divides(case, training, n), of_gpus, _cp_reason(training)),
        ("pp", s.pp, lambda n: n <= layers, of_gpus, f"divides {gpus} GPUs, and is no more than {layers} layers"),
        ("experts.ep", s.ep, lambda n: moe.experts % n == 0, of_gpus, f"divides {gpus} GPUs and {moe.experts} experts"),
        ("experts.tp", s.etp, lambda n: moe.width % n == 0, of_gpus, f"divides {gpus} GPUs and the width {moe.width}"),
        ("attention.dp", s.dp, lambda n: training.global_batch % n == 0, of_gpus, _batch_reason(training, gpus)),
        ("experts.dp", s.expert_dp, lambda n: True, of_gpus, f"divides {gpus} GPUs"),
    ]
    for name, value, legal, among, reason in fields:
        if value is not None:
            known = [n for n in among if legal(n)]
            if value not in known:
                raise _refused(case, f"strategy.{name}", value, known, reason)
    _check_together(case, training)


def _cp_reason(training: Training) -> str:
    return f"divides the sequence of {training.sequence} tokens in 2·cp parts, and no layer has a running state"


def _batch_reason(training: Training, gpus: int) -> str:
    return f"divides {gpus} GPUs and the global batch {training.global_batch}"


def _refused(case: Case, field: str, value: int, known: list[int], reason: str) -> SpecError:
    near = sorted(sorted(known, key=lambda n: (abs(np.log(n / value)), n))[:2])
    nearest = " or ".join(map(str, near)) or "none"
    return SpecError(f"got {value}; expected one that {reason}; nearest: {nearest}", file=case.file, field=field)


def _check_together(case: Case, training: Training) -> None:
    s, gpus = training.sizes, case.cluster.gpus
    pp, cp, tp = s.pp or 1, s.cp or 1, s.tp or 1
    if gpus % (pp * cp * tp):
        raise SpecError(
            f"pp {pp} × cp {cp} × tp {tp} is {pp * cp * tp}; expected a divisor of cluster.gpus, {gpus}",
            file=case.file,
            field="strategy",
        )
    if s.pp is not None and s.cp is not None and s.tp is not None and s.dp not in (None, gpus // (pp * cp * tp)):
        raise SpecError(
            f"got {s.dp}; {gpus} GPUs over pp {pp} × cp {cp} × tp {tp} leave dp {gpus // (pp * cp * tp)}",
            file=case.file,
            field="strategy.attention.dp",
        )
    if s.pp is not None:
        _check_experts(case, s, gpus // s.pp)
    _check_micro_batch(case, training, gpus // (pp * cp * tp) if s.pp and s.cp and s.tp else s.dp)
    _check_pipeline(case, training)
    check_schedule(case, training, chunk_layers(case, training), MICRO_BATCHES)
    check_ways(case, training)


def _check_micro_batch(case: Case, training: Training, dp: int | None) -> None:
    """A micro-batch divides the sequences of a rank; of any rank where ``dp`` is open."""
    size, batch = training.sizes.micro_batch, training.global_batch
    if size is None or batch % ((dp or 1) * size) == 0:
        return
    each = batch // (dp or 1)
    of = f"the {each} sequences of a rank" if dp else f"the global batch {batch}"
    raise _refused(case, "workload.micro_batch", size, divisors(each), f"divides {of}")


def _check_experts(case: Case, s: TrainSizes, stage: int) -> None:
    """The experts' sizes must make up a stage."""
    ep, etp = s.ep or 1, s.etp or 1
    if stage % (ep * etp):
        known = [
            n for n in divisors(stage // etp if stage % etp == 0 else stage) if _experts_of(case)[0].experts % n == 0
        ]
        raise _refused(case, "strategy.experts.ep", ep, known, f"with tp {etp} divides the {stage} ranks of a stage")
    if s.expert_dp is not None and s.ep is not None and stage != ep * etp * s.expert_dp:
        raise SpecError(
            f"got {s.expert_dp}; {stage} ranks of a stage over ep {ep} × tp {etp} leave dp {stage // (ep * etp)}",
            file=case.file,
            field="strategy.experts.dp",
        )


def _check_pipeline(case: Case, training: Training) -> None:
    s, layers = training.sizes, chunk_layers(case, training)
    virtual = s.virtual or 1
    if s.pp is not None and s.pp * virtual > layers:
        known = [v for v in range(1, layers // s.pp + 1)]
        raise _refused(
            case, "strategy.virtual_stages", virtual, known, f"with pp {s.pp} is no more than {layers} layers"
        )
    if virtual > 1 and s.pp == 1:
        raise SpecError(
            f"got {virtual}; one stage has one chunk: expected 1", file=case.file, field="strategy.virtual_stages"
        )
    needs = {
        Schedule.ONE_F_ONE_B: (1, 1),
        Schedule.ZERO_BUBBLE: (1, 1),
        Schedule.DUALPIPE_V: (2, 2),
        Schedule.INTERLEAVED: (2, layers),
    }
    if s.schedule is not None and s.virtual is not None and not needs[s.schedule][0] <= virtual <= needs[s.schedule][1]:
        least = needs[s.schedule][0]
        more = " or more" if least != needs[s.schedule][1] else ""
        raise SpecError(
            f"got {virtual}; schedule {s.schedule} expects {least}{more}",
            file=case.file,
            field="strategy.virtual_stages",
        )
    if s.layers is not None:
        chunks = (s.pp or len(s.layers) // virtual) * virtual
        if len(s.layers) != chunks or sum(s.layers) != layers:
            got = f"got {len(s.layers)} chunks, {sum(s.layers)} layers"
            raise SpecError(
                f"{got}; expected {chunks} (pp × virtual_stages) of {layers}",
                file=case.file,
                field="strategy.layers",
            )


# --- the table ---


def legal_layouts(case: Case, training: Training) -> tuple[Layouts, Counter[str]]:
    """Every legal layout that the given sizes allow, and how many are left out by reason. Raises SpecError for sizes
    that cannot be, InfeasibleError where none is left."""
    check_sizes(case, training)
    s, rejected = training.sizes, Counter[str]()
    rows: list[tuple[int, ...]] = []
    for pp in _tried(s.pp, divisors(case.cluster.gpus)):
        if pp > chunk_layers(case, training):
            continue
        stage = case.cluster.gpus // pp
        for tp in _tried(s.tp, divisors(stage)):
            if not tp_divides(case, tp) or (s.tp is None and tp > case.cluster.gpus_per_node):
                rejected["tp does not divide heads or widths, or crosses nodes"] += 1
                continue
            for cp in _tried(s.cp, [n for n in divisors(stage // tp) if n <= MOST_CP]):
                dp = stage // tp // cp if stage % (tp * cp) == 0 else 0
                if not dp or not cp_divides(case, training, cp) or (s.dp is not None and s.dp != dp):
                    rejected["cp does not divide the sequence"] += 1
                    continue
                if reason := exchanges(case, s, cp, tp):
                    rejected[reason] += 1
                    continue
                if training.global_batch % dp:
                    rejected["dp does not divide the global batch"] += 1
                    continue
                rows += _foldings(case, training, (dp, cp, tp, pp), rejected)
    if not rows:
        reasons = "; ".join(f"{reason} ({n})" for reason, n in rejected.most_common(3))
        raise InfeasibleError(f"no legal layout: {reasons or 'the sizes given leave none'}")
    return Layouts.from_rows(rows), rejected


def _tried(wanted: int | None, among: Iterable[int]) -> list[int]:
    return list(among) if wanted is None else [wanted]


def _foldings(
    case: Case, training: Training, attention: tuple[int, int, int, int], rejected: Counter[str]
) -> list[tuple[int, ...]]:
    """Rows of one folding of attention: experts, micro-batches, chunks, schedules, sharding."""
    dp, cp, tp, pp = attention
    s, stage = training.sizes, dp * cp * tp
    rows: list[tuple[int, ...]] = []
    etp = s.etp or 1
    micro_batches = [n for n in _tried(s.micro_batch, MICRO_BATCHES) if (training.global_batch // dp) % n == 0]
    if not micro_batches:
        rejected["micro_batch does not divide the sequences of a rank"] += 1
    for ep in _tried(s.ep, divisors(stage)):
        legal = stage % (ep * etp) == 0 and all(m.experts % ep == 0 and m.width % etp == 0 for m in _experts_of(case))
        if not legal or (s.expert_dp is not None and stage != ep * etp * s.expert_dp):
            rejected["ep does not divide the experts or the stage"] += 1
            continue
        for micro_batch in micro_batches:
            micro = training.global_batch // dp // micro_batch
            for virtual, schedule in _schedules(case, training, pp, micro):
                for sharding in _shardings(s, pp, dp * cp):
                    able = ep > 1 and (virtual > 1 or pp == 1)
                    if s.overlap_experts and not able:
                        rejected["expert traffic overlaps with nothing"] += 1
                        continue
                    overlap = able and s.overlap_experts is not False
                    sizes = (dp, cp, tp, pp, virtual, ep, etp, micro_batch, schedule, sharding)
                    rows.append((*sizes, *way_columns(s, cp, overlap)))
    return rows


def _schedules(case: Case, training: Training, pp: int, micro: int) -> list[tuple[int, int]]:
    """(chunks a stage, schedule) that suit ``micro`` micro-batches."""
    s, layers = training.sizes, chunk_layers(case, training)
    found = []
    for virtual in _tried(s.virtual, VIRTUAL if pp > 1 else (1,)):
        if pp * virtual > layers or (s.layers is not None and len(s.layers) != pp * virtual):
            continue
        if virtual == 1:
            suits = [s.schedule or Schedule.ONE_F_ONE_B]
        elif s.schedule is Schedule.DUALPIPE_V:
            suits = [Schedule.DUALPIPE_V]
        else:
            suits = [Schedule.INTERLEAVED]
        for schedule in suits:
            chunks = {
                Schedule.INTERLEAVED: virtual > 1 and micro % pp == 0,
                Schedule.DUALPIPE_V: virtual == 2 and micro >= 2 * pp,
            }
            wanted = s.schedule is None or s.schedule is schedule or pp == 1
            if wanted and chunks.get(schedule, virtual == 1):
                found.append((virtual, SCHEDULES.index(schedule if pp > 1 else Schedule.ONE_F_ONE_B)))
    return found


def _shardings(s: TrainSizes, pp: int, ranks: int) -> list[int]:
    """The distributed optimizer; without a pipeline sharded weights too."""
    if s.sharding is not None:
        return [SHARDINGS.index(s.sharding)]
    kinds = [Sharding.OPTIMIZER, Sharding.FULL] if pp == 1 and ranks > 1 else [Sharding.OPTIMIZER]
    return [SHARDINGS.index(kind) for kind in kinds]
