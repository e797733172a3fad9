"""What ``moewright.place`` is given, checked: loads, sizes, an earlier placement."""

from __future__ import annotations

from typing import Any

import numpy as np

from moewright.errors import SpecError


def checked_loads(loads: Any) -> np.ndarray:
    """``loads`` as float64 [windows, layers, experts], one window where they have none. Raises SpecError."""
    try:
        table = np.asarray(loads, dtype=float)
    except (TypeError, ValueError) as error:
        raise SpecError(f"hold no table of numbers: {str(error)[:80]}", field="loads") from None
    if table.ndim == 2:
        table = table[None]
    if table.ndim != 3 or not table.size:
        shape = np.shape(loads)
        raise SpecError(
            f"have shape {shape}; expected [layers, experts] or [windows, layers, experts], none of them 0",
            field="loads",
        )
    bad = np.argwhere(~np.isfinite(table) | (table < 0))
    if len(bad):
        window, layer, expert = (int(x) for x in bad[0])
        where = f" of window {window}" if len(table) > 1 else ""
        raise SpecError(
            f"got {table[window, layer, expert]} for layer {layer}, expert {expert}{where}; expected a number of at "
            "least 0",
            field="loads",
        )
    empty = np.flatnonzero(table.sum(axis=(1, 2)) <= 0)
    if len(table) > 1 and len(empty):
        raise SpecError(f"hold only zeros in window {int(empty[0])}; expected tokens in every window", field="loads")
    return table


def check_sizes(experts: int, slots: int, gpus: int, nodes: int, groups: int, shares: str, moves: int | None) -> None:
    for name, value in (("slots", slots), ("gpus", gpus), ("nodes", nodes), ("groups", groups)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise SpecError(f"got {value!r}; expected a whole number of at least 1", field=name)
    if slots < experts:
        raise SpecError(f"got {slots}; {experts} experts need at least {experts}", field="slots")
    if slots % gpus and gpus % slots:
        raise SpecError(f"got {slots}; expected a multiple or a divisor of the {gpus} GPUs", field="slots")
    if gpus % nodes:
        raise SpecError(f"got {nodes}; expected a divisor of the {gpus} GPUs", field="nodes")
    if groups > 1 and (experts % groups or groups % nodes or slots % nodes or slots < gpus):
        raise SpecError(
            f"got {groups}; to stay in a node, expected a divisor of the {experts} experts that is a multiple of the "
            f"{nodes} nodes, and whole slots",
            field="groups",
        )
    if moves is not None and (isinstance(moves, bool) or not isinstance(moves, (int, np.integer)) or moves < 0):
        raise SpecError(f"got {moves!r}; expected a whole number of at least 0", field="moves")
    if shares not in ("equal", "optimal"):
        raise SpecError(f"got {shares!r}; expected equal or optimal", field="shares")


def checked_previous(previous: Any, layers: int, slots: int, experts: int) -> np.ndarray:
    try:
        before = np.asarray(previous, dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise SpecError(f"holds no table of experts: {str(error)[:80]}", field="previous") from None
    if before.size and before.min() == -1:
        raise SpecError(
            f"has layers with fewer slots than others (-1), as a budget makes them; expected {slots} in each",
            field="previous",
        )
    if before.shape != (layers, slots):
        raise SpecError(f"has shape {before.shape}; expected [{layers}, {slots}]", field="previous")
    if before.min() < 0 or before.max() >= experts:
        raise SpecError(f"names experts beyond 0 to {experts - 1}", field="previous")
    for layer, row in enumerate(before):
        if len(np.unique(row)) < experts:
            raise SpecError(f"leaves an expert of layer {layer} without a slot", field="previous")
    return before
