"""The checks that hold a plan against the walk of its ranks, and the figures that no check looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from moewright.case.case import Case
from moewright.planning.proof.figures.compared import Compared, check_of
from moewright.planning.proof.figures.pass_figures import count_figures, pass_figures
from moewright.planning.proof.figures.rank_figures import memory_figures, operation_figures, second_figures
from moewright.planning.proof.figures.walked_plan import EXACT, Walked, walked
from moewright.planning.proof.walk.scene import Floats, Ints
from moewright.planning.record import Plan, Proof

#: what each check compares
WHAT: Final = {
    "weights_walked": "weights of the fullest rank, slice by slice",
    "cache_walked": "KV cache of the fullest rank, sequence by sequence",
    "activations_walked": "tensors alive at the end of each wide operation",
    "buffers_walked": "what collectives send and receive into",
    "memory_walked": "all of them on the fullest rank",
    "flops_walked": "FLOPs of each operation, query by query and product by product",
    "traffic_walked": "memory bytes of each operation",
    "bytes_walked": "bytes of each collective, by tier",
    "calls_walked": "calls of each operation",
    "routing_walked": "the routing's expectations against tokens that were drawn and followed",
    "seconds_possible": "seconds of each operation against the links' and the peaks' floor",
    "seconds_walked": "seconds of each operation against the walk's own clock",
    "pass_walked": "stages, latency and throughput, micro-batch by micro-batch",
    "modules_walked": "modules and experts a GPU",
    "limits_walked": "the phase that a limit is held against, in full",
}
#: parts of a plan that are given, or that other checks look at as a whole
_GIVEN: Final = ("strategy", "gpus", "batch", "groups", "checks", "placement", "proof", "name")


def proven(
    case: Case, plan: Plan, slots: Ints, loads: Floats | None, phases: Mapping[str, tuple[Case, Plan]] | None = None
) -> Plan:
    """``plan`` with the checks of the walk, its experts in ``slots`` [MoE layers, ep, slots] by ``loads``. ``phases``:
    limit → the other phase that it is held against, with its plan, which is walked too."""
    w = walked(case, plan, slots, loads)
    figures = families(w)
    for limit, (phase, other) in (phases or {}).items():
        figures["limits_walked"] = _other_phase(plan, limit, other, walked(phase, other, slots, loads))
    checks = [
        check for name, what in WHAT.items() if (check := check_of(name, what, figures.get(name, []))) is not None
    ]
    seen = {c.figure for family in figures.values() for c in family}
    stated = set(_paths(plan.to_dict()))
    proof = Proof(len(w.walk.scene.ranks), len(stated & seen), tuple(sorted(stated - seen)))
    return replace(plan, checks=(*plan.checks, *checks), proof=proof)


def _other_phase(plan: Plan, limit: str, other: Plan, w: Walked) -> list[Compared]:
    """The seconds of ``limit`` beside those of the other phase's plan, and what in that disagrees with its walk."""
    own = Compared(f"latency.{limit}_seconds", getattr(plan.latency, f"{limit}_seconds"), other.latency.seconds, EXACT)
    inside = [replace(c, figure=f"{limit}: {c.figure}") for family in families(w).values() for c in family]
    return [own, *inside]


def families(w: Walked) -> dict[str, list[Compared]]:
    """Name of a check → the figures that it compares."""
    found: dict[str, list[Compared]] = {}
    for make in (memory_figures, operation_figures, second_figures, pass_figures, count_figures):
        found |= make(w)
    return found


def _paths(plain: dict[str, Any]) -> Iterator[str]:
    """The path of every figure of a plan, operations by their names."""
    for name, value in plain.items():
        if name not in _GIVEN:
            yield from _below(name, value)


def _below(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _below(f"{path}.{name}", inner)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            if isinstance(inner, dict):
                named = {k: v for k, v in inner.items() if k not in ("name", "group_size")}
                yield from _below(f"{path}.{inner.get('name', i)}", named)
            else:
                yield from _below(f"{path}.{i}", inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path
