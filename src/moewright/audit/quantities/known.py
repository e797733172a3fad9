"""Known quantities of a case: name and scope → readings, by the planner's own cost model."""

from __future__ import annotations

from collections.abc import Iterator

from moewright.audit.quantities.counts import count
from moewright.audit.quantities.held_bytes import memory
from moewright.audit.quantities.rates import communication, compute, share, throughput, time
from moewright.audit.quantities.readings import Facts, Reading, Scope


def readings(f: Facts, name: str, scope: Scope) -> list[Reading]:
    """The readings of quantity ``name`` in ``scope``, the likeliest first; none for what is not known."""
    group, _, part = name.partition(".")
    found: Iterator[Reading]
    if group == "memory":
        found = memory(f, part, scope)
    elif group == "compute":
        found = compute(f, part, scope)
    elif group == "communication":
        found = communication(f, part, scope)
    elif group == "time":
        found = time(f, part, scope)
    elif group == "throughput":
        found = throughput(f, part, scope)
    elif group == "share":
        found = share(f, part)
    elif group == "count":
        found = count(f, part, scope)
    else:
        found = iter(())
    unique: list[Reading] = []
    for r in found:
        if not any(abs(r.value - u.value) <= 1e-9 * abs(u.value) for u in unique):
            unique.append(r)
    return unique
