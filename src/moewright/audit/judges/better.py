"""What the planner finds for the same premises: the document's strategy in each reading, the best, and the ratio."""

from __future__ import annotations

from moewright.audit.audit_record import Better, Priced
from moewright.audit.quantities.readings import Facts, bounds
from moewright.errors import MoewrightError
from moewright.planning.record import Plan
from moewright.planning.search import plan as search


def better_of(f: Facts) -> tuple[Better | None, Plan | None]:
    """(the record, the best plan); (None, None) where premises are missing that a plan needs."""
    if f.setting.missing:
        return None, None
    case = f.case
    try:
        best = search(case, top=0).best
    except MoewrightError as error:
        bound = bounds(f)[case.workload.causal]
        return Better(_readings(f, None), *bound, None, str(error)), None
    found = (*_readings(f, best), _priced("best", best, best))
    return Better(found, best.latency.bound_seconds, best.latency.bound_reason, best.to_dict()), best


def _readings(f: Facts, best: Plan | None) -> tuple[Priced, ...]:
    causal = f.case.workload.causal
    return tuple(_priced(name, p, best) for (name, mask), p in f.plans.items() if mask == causal)


def _priced(reading: str, p: Plan, best: Plan | None) -> Priced:
    ratio = 1.0 if best is None else p.latency.seconds / best.latency.seconds
    return Priced(reading, p.name, p.latency.seconds, p.throughput.tokens_per_second, p.memory.total, ratio)
