"""Wide expert parallelism: tokens travel to their experts' ranks. Seconds of the experts of one rank, of dispatch and
of combine, by the kernels that engines have for it (DeepEP's normal and low-latency ones, TensorRT-LLM's over NVLink).

The experts' tables count the tokens of all ranks, those of dispatch and combine a rank's own.
"""

from __future__ import annotations

import numpy as np

from moewright.cost.prices.silicon.curves import Curve
from moewright.cost.prices.silicon.tables import MOE_FORMATS, Family, Found, Key, Tables

#: GPUs of a node in DeepEP's tables
NODE = 8
_SHAPE = ("hidden_size", "inter_size", "topk", "num_experts", "moe_ep_size")
_WEIGHTS = (3.0, 3.0, 1.0, 1.0, 1.0)


def experts(tables: Tables, sizes: tuple[int, int, int, int], ep: int, dtype: str, low_latency: bool) -> Found | None:
    """Curve over the tokens of all ``ep`` ranks, evenly spread over the experts; ``sizes``: hidden, width, top-k,
    experts. Another shape's takes the ratio of the weights on a rank."""

    def make() -> Found | None:
        phase = "generation" if low_latency else "context"
        options = [(f"wideep_{phase}_moe_perf", "uniform"), ("wideep_moe_perf", "power_law_1.01_eplb")]
        if tables.engine == "trtllm":
            options.reverse()
        for name, spread in options:
            choose: dict[str, tuple[str, ...]] = {"moe_dtype": MOE_FORMATS[dtype][:2], "distribution": (spread,)}
            near = tables.nearest(name, _SHAPE, (*sizes, ep), _WEIGHTS, choose)
            if near is None:
                continue
            table, key = near
            hidden, width, top_k, count, _ = sizes[0], sizes[1], sizes[2], sizes[3], ep
            factor = (hidden * width * top_k / ep) / (key[0] * key[1] * key[2] / key[4])
            tag = "measured" if key == (hidden, width, top_k, count, ep) else "derived"
            return Found(table.curve(key, "num_tokens"), factor, tag, table.source)
        return None

    return tables.keep(("wide", sizes, ep, dtype, low_latency), make)


def exchange(
    tables: Tables, phase: str, sizes: tuple[int, int, int], ep: int, low_latency: bool
) -> tuple[Found, int] | None:
    """``phase`` dispatch or combine: curve over a rank's own tokens, and the ranks it was measured on; ``sizes``:
    hidden, top-k, experts."""

    def make() -> tuple[Found, int] | None:
        for look in (_nvlink, _deepep, _engine_own):
            known = look(tables, phase, sizes, ep, low_latency)
            if known is not None:
                return known
        return None

    return tables.keep(("exchange", phase, sizes, ep, low_latency), make)


def _scaled(table: Family, key: Key, sizes: tuple[int, int, int]) -> tuple[float, str]:
    """(factor, tag) of a table's (hidden, top-k, experts) standing for ``sizes``: bytes a token."""
    factor = sizes[0] / key[0] * min(sizes[1], 8) / min(key[1], 8)
    return factor, "measured" if tuple(key[:3]) == sizes else "derived"


def _deepep(
    tables: Tables, phase: str, sizes: tuple[int, int, int], ep: int, low_latency: bool
) -> tuple[Found, int] | None:
    """DeepEP's own tables, by nodes of 8 GPUs."""
    name = "wideep_deepep_ll_perf" if low_latency else "wideep_deepep_normal_perf"
    nodes = max(1, round(ep / NODE))
    names = ("hidden_size", "num_topk", "num_experts", "node_num")
    near = tables.of_engine("sglang").nearest(name, names, (*sizes, nodes), (1.0, 1.0, 0.2, 4.0))
    if near is None:
        return None
    table, key = near
    rows, columns = table.groups[key], table.columns
    if low_latency:
        micro = columns[f"{phase}_avg_t_us"][rows]
    else:
        micro = columns[f"{phase}_transmit_us"][rows] + columns[f"{phase}_notify_us"][rows]
    tokens, best = _least(columns["num_token"][rows], micro.astype(float))
    factor, tag = _scaled(table, key, sizes)
    return Found(Curve.of(tokens, best * 1e-6), factor, tag, table.source), key[3] * NODE


def _nvlink(
    tables: Tables, phase: str, sizes: tuple[int, int, int], ep: int, low_latency: bool
) -> tuple[Found, int] | None:
    """TensorRT-LLM's all-to-all over an NVLink domain, whatever the phase: preparation goes with the dispatch."""
    if tables.engine != "trtllm":
        return None
    names = ("hidden_size", "topk", "num_experts", "moe_ep_size")
    curves = []
    for operation in (f"alltoall_{phase}", "alltoall_prepare")[: 2 if phase == "dispatch" else 1]:
        near = tables.nearest(
            "trtllm_alltoall_perf",
            names,
            (*sizes, ep),
            (1.0, 1.0, 0.2, 2.0),
            {
                "op_name": (operation,),
                "moe_dtype": ("fp8", "nvfp4", "bfloat16"),
                "kernel_source": ("NVLinkOneSided", "NVLinkTwoSided"),
            },
            own=True,
        )
        if near is not None:
            curves.append(near)
    if not curves or abs(np.log(curves[0][1][3] / ep)) > np.log(1.5):
        return None
    table, key = curves[0]
    total = table.curve(key, "num_tokens")
    for other, at in curves[1:]:
        more = other.curve(at, "num_tokens")
        total = Curve.of(total.size, total(total.size) + more(total.size))
    factor, tag = _scaled(table, key, sizes)
    return Found(total, factor, tag, table.source), key[3]


def _engine_own(
    tables: Tables, phase: str, sizes: tuple[int, int, int], ep: int, low_latency: bool
) -> tuple[Found, int] | None:
    """An engine's own measurement of its dispatch kernels on one node."""
    names = ("hidden_size", "topk", "num_experts", "ep_size")
    kind = "ll" if low_latency else "ht"
    backends = tuple(f"{of}deepep_{kind}" for of in ("", "trtllm_"))
    choose = {"phase": (phase,), "comm_backend": backends}
    near = tables.nearest("moe_a2a_perf", names, (*sizes, ep), (1.0, 1.0, 0.2, 1.0), choose)
    if near is None:
        return None
    table, key = near
    factor, tag = _scaled(table, key, sizes)
    return Found(table.curve(key, "num_tokens"), factor, tag, table.source), key[3]


def _least(size: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the settings (streaming multiprocessors given to it) measured at one size, the fastest."""
    keys, where = np.unique(size, return_inverse=True)
    best = np.full(len(keys), np.inf)
    np.minimum.at(best, where, seconds)
    return keys, best
