"""What engines record of expert loads, as [windows, layers, experts]; sources in docs/place.md.

SGLang: the expert distribution recorder writes ``expert_distribution_recorder_{time}.pt``. ``stat`` and
``stat_approx``: ``logical_count`` [steps, layers, experts], summed over ranks. ``per_pass`` and ``per_token``: one file
a rank, ``records`` of ``global_physical_count`` [layers, slots] (``per_token``: ``topk_ids_of_layer`` [layers, tokens,
k], physical, padded with −1) and ``last_physical_to_logical_map`` [layers, slots].
vLLM (V1 engine): no file of its own. Saved copies of its ``expert_load_window`` [steps, layers, slots] with
``physical_to_logical_map`` [layers, slots] are read; so are the routed experts of ``--enable-return-routed-experts``
[tokens, layers, k] under ``routed_experts``. Its log lines hold totals only (``read_vllm_log``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from moewright.errors import SpecError

#: experts of a layer that a recording of routed experts may have
MOST_EXPERTS: Final = 1 << 16
_LINE: Final = re.compile(r"EPLB step:.*?avg_tokens=([\d.]+), max_tokens=([\d.]+), balancedness=([\d.]+)")


def read_torch(file: Path) -> Any:
    """The content of a .pt file, tensors as arrays; raises SpecError without torch."""
    try:
        import torch
    except ImportError:
        raise SpecError(
            "is a .pt file, which takes torch to read; pip install moewright[run]", file=str(file)
        ) from None
    try:
        return _plain(torch.load(file, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise SpecError("no such file", file=str(file)) from None
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        first = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise SpecError(f"holds no tensors: {first}", file=str(file)) from None


def recorded_loads(content: Any) -> Any:
    """Loads of a recording; raises ValueError with what was expected."""
    if not isinstance(content, dict):
        return content
    if "logical_count" in content:
        return _busy(np.asarray(content["logical_count"], dtype=float))
    if "expert_load_window" in content and "physical_to_logical_map" in content:
        window = np.asarray(content["expert_load_window"], dtype=float)
        return _busy(_logical(window, np.asarray(content["physical_to_logical_map"])))
    if "routed_experts" in content:
        return _counted(np.asarray(content["routed_experts"]))
    if "records" in content and "last_physical_to_logical_map" in content:
        slots = np.asarray(content["last_physical_to_logical_map"])
        counts = np.array([_physical(record, slots) for record in content["records"]], dtype=float)
        if not len(counts):
            raise ValueError("records is empty")
        return _busy(_logical(counts, slots))
    raise ValueError(
        f"it has {', '.join(map(str, list(content)[:8]))}; expected logical_count, records with "
        "last_physical_to_logical_map, expert_load_window with physical_to_logical_map, or routed_experts"
    )


def is_recording(content: Any) -> bool:
    """Whether ``content`` has the keys of a recording."""
    names = {"logical_count", "records", "expert_load_window", "routed_experts"}
    return isinstance(content, dict) and bool(names & set(content))


def read_vllm_log(text: str) -> list[tuple[float, float, float]]:
    """(mean, largest, balancedness) of each line that vLLM's EPLB logs: Σ over layers of the mean and of the largest
    rank's tokens, and their quotient. They say how even a placement was, not which expert was hot."""
    return [(float(a), float(b), float(c)) for a, b, c in _LINE.findall(text)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.float().numpy() if hasattr(value, "numpy") else value


def _busy(steps: np.ndarray) -> np.ndarray:
    """``steps`` [steps, layers, experts] without those of zeros only, which buffers leave."""
    if steps.ndim != 3:
        raise ValueError(f"counts of shape {steps.shape}; expected [steps, layers, experts]")
    used: np.ndarray = steps[steps.sum(axis=(1, 2)) > 0]
    if not len(used):
        raise ValueError("no step has any token")
    return used


def _logical(counts: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """``counts`` [steps, layers, slots] per logical expert."""
    if counts.ndim != 3 or slots.shape != counts.shape[1:]:
        raise ValueError(f"counts of shape {counts.shape} do not go with a map of shape {slots.shape}")
    slots = _ids(slots, slots.shape[1], "physical_to_logical_map", least=0)
    found = np.zeros((*counts.shape[:2], int(slots.max()) + 1))
    for layer, row in enumerate(slots):
        np.add.at(found[:, layer].T, row, counts[:, layer].T)
    return found


def _physical(record: Any, slots: np.ndarray) -> np.ndarray:
    if "global_physical_count" in record:
        return np.asarray(record["global_physical_count"], dtype=float)
    if slots.ndim != 2:
        raise ValueError(f"last_physical_to_logical_map of shape {slots.shape}; expected [layers, slots]")
    chosen = _ids(np.asarray(record["topk_ids_of_layer"]), slots.shape[1], "topk_ids_of_layer")
    counts = [np.bincount(row[row >= 0].ravel(), minlength=slots.shape[1]) for row in chosen]
    return np.array(counts, dtype=float)


def _ids(values: np.ndarray, below: int, name: str, least: int = -1) -> np.ndarray:
    """``values`` as whole numbers from ``least`` (−1: none) to below ``below``; raises ValueError."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name} holds {values.dtype}; expected numbers of experts")
    good = np.isfinite(values) & (values >= least) & (values < below) & (values == np.floor(values))
    if not good.all():
        wrong = values[~good].ravel()[0]
        raise ValueError(f"{name} has expert {wrong:g}; expected whole numbers from {max(least, 0)} to {below - 1}")
    return values.astype(int)


def _counted(chosen: np.ndarray) -> np.ndarray:
    """Loads [1, layers, experts] of ``chosen`` [tokens, layers, k]."""
    if chosen.ndim != 3 or not chosen.size:
        raise ValueError(f"routed_experts of shape {chosen.shape}; expected [tokens, layers, k]")
    ids = np.moveaxis(_ids(chosen, MOST_EXPERTS, "routed_experts"), 1, 0)
    experts = int(ids.max()) + 1
    return np.array([np.bincount(row[row >= 0].ravel(), minlength=experts) for row in ids], dtype=float)[None]
