"""What ``moewright.place`` is given, checked: loads, sizes, options, an earlier placement."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from moewright.case.loads.read_loads import number_table, sum_is_finite
from moewright.errors import SpecError
from moewright.placement.expert_placement import ExpertPlacement
from moewright.placement.files.engine_files import read_previous
from moewright.placement.request import Request

#: seeds below this
SEEDS = 2**32


def _numbers(values: Any, field: str, message: str) -> np.ndarray:
    try:
        return number_table(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(f"{message}: {str(error)[:80]}", field=field) from None


def checked_loads(loads: Any) -> np.ndarray:
    """``loads`` as float64 [windows, layers, experts], one window where they have none. Raises SpecError."""
    table = _numbers(loads, "loads", "hold no table of numbers")
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
    if not sum_is_finite(table):
        raise SpecError(
            f"are as large as {table.max():g}, and their sum is beyond what a number holds (1.8e308); expected smaller "
            "loads, of any scale",
            field="loads",
        )
    empty = np.flatnonzero(table.sum(axis=(1, 2)) <= 0)
    if len(table) > 1 and len(empty):
        raise SpecError(f"hold only zeros in window {int(empty[0])}; expected tokens in every window", field="loads")
    return table


def check_sizes(experts: int, r: Request) -> None:
    """Raises SpecError for sizes that cannot be placed."""
    slots, gpus, nodes, groups = r.slots, r.gpus, r.nodes, r.groups
    for name, value in (("slots", slots), ("gpus", gpus), ("nodes", nodes), ("groups", groups)):
        whole(name, value, 1)
    if slots < experts:
        raise SpecError(f"got {slots}; {experts} experts need at least {experts}", field="slots")
    if slots % gpus and gpus % slots:
        raise SpecError(f"got {slots}; expected a multiple or a divisor of the {gpus} GPUs", field="slots")
    if slots > experts * gpus:
        raise SpecError(
            f"got {slots}; {experts} experts on {gpus} GPUs use at most {experts * gpus}, one of each expert a GPU",
            field="slots",
        )
    if gpus % nodes:
        raise SpecError(f"got {nodes}; expected a divisor of the {gpus} GPUs", field="nodes")
    if groups > 1 and nodes == 1:
        raise SpecError(f"got {groups}; with one node there is no node to stay in, expected nodes", field="groups")
    if groups > 1 and (experts % groups or groups % nodes or slots % nodes or slots < gpus):
        raise SpecError(
            f"got {groups}; to stay in a node, expected a divisor of the {experts} experts that is a multiple of the "
            f"{nodes} nodes, and whole slots",
            field="groups",
        )
    if r.shares not in ("equal", "optimal"):
        raise SpecError(f"got {r.shares!r}; expected equal or optimal", field="shares")


def check_options(r: Request, windows: int) -> None:
    """Raises SpecError for options out of range, or that do nothing beside the others or ``windows`` load windows."""
    whole("seed", r.seed, 0, SEEDS - 1)
    if r.moves is not None:
        whole("moves", r.moves, 0)
        if r.previous is None:
            raise SpecError("does nothing without previous; expected an earlier placement", field="moves")
    if r.previous is None and (r.lost or r.previous_gpus is not None):
        field = "lost" if r.lost else "previous_gpus"
        raise SpecError("does nothing without previous; expected an earlier placement", field=field)
    if r.previous_gpus is not None:
        whole("previous_gpus", r.previous_gpus, 1)
    if r.traffic is not None:
        _real("traffic", r.traffic)
        if r.nodes == 1 or r.groups == 1:
            raise SpecError("does nothing without nodes and groups; expected more than one of each", field="traffic")
        if r.previous is not None:
            raise SpecError("cannot go with previous; expected a placement made afresh", field="traffic")
    _real("slack", r.slack)
    for name, value in (("expert_bytes", r.expert_bytes), ("token_bytes", r.token_bytes), ("seconds", r.seconds)):
        if value is not None:
            _real(name, value)
    if r.seconds is not None:
        _check_seconds(r, windows)


def _check_seconds(r: Request, windows: int) -> None:
    """Raises SpecError where the search is none that goes on."""
    given = {"previous": r.previous, "affinity": r.affinity, "budget": r.budget, "groups": r.groups > 1 or None}
    given |= {"shares optimal": r.shares == "optimal" or None, "several load windows": windows > 1 or None}
    other = [name for name, value in given.items() if value is not None]
    if other:
        raise SpecError(f"cannot go with {other[0]}; expected equal shares of one load, made afresh", field="seconds")


def check_router(experts: int, r: Request) -> None:
    """Raises SpecError for a router that is none, and, where it is used, for one that does not fit the experts."""
    groups, top_k, top_groups = r.router
    for name, value in (("top_k", top_k), ("top_groups", top_groups), ("router_groups", groups)):
        whole(name, value, 1)
    if r.token_bytes is None and r.traffic is None:
        return
    if experts % groups:
        raise SpecError(f"got {groups}; expected a divisor of the {experts} experts", field="router_groups")
    if top_groups > groups:
        raise SpecError(f"got {top_groups}; expected at most the router's {groups} groups", field="top_groups")
    most = experts // groups * top_groups
    if top_k > most:
        raise SpecError(f"got {top_k}; expected at most {most}, the experts of {top_groups} groups", field="top_k")


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raises SpecError unless ``value`` is a whole number from ``least`` to ``most``."""
    good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not good or value < least or (most is not None and value > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise SpecError(f"got {_short(value)}; expected a whole number {expected}", field=name)


def _real(name: str, value: Any) -> None:
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not good or not 0 <= value < math.inf:
        raise SpecError(f"got {_short(value)}; expected a number of at least 0", field=name)


def _short(value: Any) -> str:
    """``value`` as a message shows it (an int of more than 4,300 digits has no text)."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 40 else f"{text[:37]}..."


def checked_previous(previous: Any, layers: int, slots: int | None, experts: int) -> np.ndarray:
    """Expert ids [layers, slots] of an earlier placement: a table, the record that ``place`` returns, its
    dictionary, or the path of a placement file. ``slots`` None: it may have any number. Raises SpecError."""
    before = _table_of(previous)
    if before.size and before.min() == -1:
        raise SpecError(
            "has layers with fewer slots than others (-1), as a budget makes them; expected equally many in each",
            field="previous",
        )
    if before.ndim != 2 or len(before) != layers or (slots is not None and before.shape[1] != slots):
        wanted = "slots" if slots is None else slots
        raise SpecError(f"has shape {before.shape}; expected [{layers}, {wanted}]", field="previous")
    bad = np.argwhere((before < 0) | (before >= experts))
    if len(bad):
        layer, slot = (int(x) for x in bad[0])
        raise SpecError(
            f"has expert {before[layer, slot]:.0f} in layer {layer}, slot {slot}; expected 0 to {experts - 1}",
            field="previous",
        )
    if (before != np.floor(before)).any():
        layer, slot = (int(x) for x in np.argwhere(before != np.floor(before))[0])
        raise SpecError(
            f"has {before[layer, slot]} in layer {layer}, slot {slot}; expected whole numbers of experts",
            field="previous",
        )
    for layer, row in enumerate(before):
        if len(np.unique(row)) < experts:
            raise SpecError(f"leaves an expert of layer {layer} without a slot", field="previous")
    return before.astype(np.int64)


def _table_of(previous: Any) -> np.ndarray:
    if isinstance(previous, ExpertPlacement):
        previous = previous.expert_of_slot
    elif isinstance(previous, (str, Path)):
        previous = read_previous(Path(previous))
    elif isinstance(previous, dict):
        previous = previous.get("expert_of_slot")
    table = _numbers(previous, "previous", "holds no table of experts")
    if not np.isfinite(table).all():
        raise SpecError("holds numbers that are not finite; expected expert ids", field="previous")
    return table
