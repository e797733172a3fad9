"""Seconds of each kind of kernel: matrix products, experts, attention. Sizes are those of one rank."""

from __future__ import annotations

import numpy as np

from moewright.cost.prices.silicon.curves import Curve
from moewright.cost.prices.silicon.tables import FEW_ROWS, GEMM_FORMATS, MOE_FORMATS, Family, Found, Tables, fastest


def gemm(tables: Tables, n: int, k: int, dtype: str) -> Found | None:
    """Curve over the rows of [rows, k] · [k, n]. Between measured widths the logarithm of time is linear in those
    of ``n`` and ``k``; beyond them it grows with their product."""
    return tables.keep(("gemm", n, k, dtype), lambda: fastest(_gemm(t, n, k, dtype) for t in tables.others()))


def _gemm(tables: Tables, n: int, k: int, dtype: str) -> Found | None:
    options = tables.families("gemm_perf", ("n", "k"), {"gemm_dtype": GEMM_FORMATS[dtype]}, own=True)
    if not options:
        return None
    exact = [t for t in options if (n, k) in t.groups]
    if exact:
        full = (t for t in exact if len(t.groups[n, k]) >= FEW_ROWS)
        table = next(full, None) or max(exact, key=lambda t: len(t.groups[n, k]))
        return Found(table.curve((n, k), "m"), 1.0, "measured", table.source)
    table = max(options, key=lambda t: len(t.groups))  # between widths: in the table that has most
    widths, depths = _axis(table, 0), _axis(table, 1)
    at_n, at_k = float(np.clip(n, widths[0], widths[-1])), float(np.clip(k, depths[0], depths[-1]))
    corners = [(a, b, wa * wb) for a, wa in _between(widths, at_n) for b, wb in _between(depths, at_k) if wa * wb > 0]
    corners = [(a, b, w) for a, b, w in corners if (a, b) in table.groups]
    if not corners:
        return None
    total = sum(w for _, _, w in corners)
    curves = [(table.curve((int(a), int(b)), "m"), w / total) for a, b, w in corners]
    rows = curves[0][0].size
    logs = sum((np.log(c(rows)) * w for c, w in curves), start=np.zeros(len(rows)))
    # the blend's own product: n · k where all corners were measured and surround it, so that the factor is 1
    work = np.exp(sum(np.log(a * b) * w / total for a, b, w in corners))
    return Found(Curve.of(rows, np.exp(logs)), float(n * k / work), "interpolated", table.source)


def _axis(table: Family, position: int) -> np.ndarray:
    return np.unique([key[position] for key in table.groups]).astype(float)


def _between(axis: np.ndarray, value: float) -> list[tuple[float, float]]:
    """The knots around ``value`` with their weights, linear in the logarithm."""
    if len(axis) == 1:
        return [(float(axis[0]), 1.0)]
    i = int(np.clip(np.searchsorted(axis, value, side="right") - 1, 0, len(axis) - 2))
    low, high = axis[i], axis[i + 1]
    w = float(np.log(value / low) / np.log(high / low))
    return [(float(low), 1 - w), (float(high), w)]


def experts(tables: Tables, sizes: tuple[int, int, int, int], tp: int, ep: int, dtype: str, skew: str) -> Found | None:
    """Curve over the tokens that all ranks of ``ep`` bring together: seconds of the experts of the fullest rank.
    ``sizes``: hidden, width, top-k, experts.

    ``skew``: how tokens choose (balanced, power_law_1.01, power_law_1.2). A shape that was not measured is taken
    from the nearest one with the ratio of the weights that a rank holds.
    """
    names = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")

    hidden, width, top_k, _ = sizes

    def make() -> Found | None:
        wanted = (*sizes, tp, ep)
        for form in MOE_FORMATS[dtype]:
            best: tuple[float, Found] | None = None
            for one in tables.others():
                choose: dict[str, tuple[str, ...]] = {"moe_dtype": (form,), "distribution": (skew,)}
                near = one.nearest("moe_perf", names, wanted, (3.0, 3.0, 1.0, 1.0, 1.1, 1.0), choose, own=True)
                if near is None:
                    continue
                table, key = near
                if key == wanted:
                    return Found(table.curve(key, "num_tokens"), 1.0, "measured", table.source)
                h, f, k, _, t, p = key
                factor = (hidden * width * top_k / (tp * ep)) / (h * f * k / (t * p))
                distance = abs(float(np.log(factor)))
                if best is None or distance < best[0]:
                    best = distance, Found(table.curve(key, "num_tokens"), factor, "derived", table.source)
            if best is not None:
                return best[1]
        return None

    return tables.keep(("moe", sizes, tp, ep, dtype, skew), make)


def prefill_attention(tables: Tables, heads: int, kv_heads: int, head_dim: int, window: int, kv: str) -> Found | None:
    """Surface over (sequences, tokens of each): causal attention of whole prompts."""
    return _attention(tables, "context_attention_perf", ("batch_size", "isl"), heads, kv_heads, head_dim, window, kv)


def decode_attention(tables: Tables, heads: int, kv_heads: int, head_dim: int, window: int, kv: str) -> Found | None:
    """Surface over (sequences, tokens of context of each): one new token each."""
    return _attention(
        tables, "generation_attention_perf", ("batch_size", "step"), heads, kv_heads, head_dim, window, kv
    )


def _attention(
    tables: Tables, name: str, axes: tuple[str, str], heads: int, kv_heads: int, head_dim: int, window: int, kv: str
) -> Found | None:
    def make() -> Found | None:
        formats = ("fp8", "bfloat16") if kv == "fp8" else ("bfloat16", "fp8")
        names = ("num_heads", "num_key_value_heads", "head_dim", "window_size")
        wanted = (heads, kv_heads, head_dim, window)
        choose: dict[str, tuple[int | float | str, ...]] = {"kv_cache_dtype": formats, "window_size": (window, 0)}
        near = tables.nearest(name, names, wanted, (1.0, 2.0, 3.0, 10.0), choose)
        if near is None:
            return None
        table, key = near
        factor = 1.0
        if key != wanted:  # prompts work on query heads, decode reads keys and values
            reads = name.startswith("generation")
            factor = (kv_heads * head_dim) / (key[1] * key[2]) if reads else heads * head_dim / (key[0] * key[2])
        return Found(table.surface(key, *axes), factor, "measured" if key == wanted else "derived", table.source)

    return tables.keep((name, heads, kv_heads, head_dim, window, kv), make)


def latent_module(tables: Tables, phase: str, heads: int, dtype: str, kv: str, sparse: str = "") -> Found | None:
    """A whole MLA block (its projections and attention, without norms and all-reduce) of DeepSeek-V3's sizes with
    ``heads`` on the rank: surface over (sequences, prompt tokens or context). ``sparse``: the model whose sparse
    attention is meant, as its tables name it. An engine's own tables of the block as wide expert parallelism runs it
    come first."""

    def wide() -> Found | None:
        if sparse or dtype != "fp8_block" or kv != "fp8":
            return None
        name, axis = f"wideep_{phase}_mla_perf", "isl"
        near = tables.nearest(name, ("num_heads",), (heads,), (1.0,), own=True)
        if near is None or near[1] != (heads,):
            return None
        return Found(near[0].surface(near[1], "batch_size", axis), 1.0, "measured", near[0].source)

    def make() -> Found | None:
        own = wide()
        if own is not None:
            return own
        name = f"{'dsa' if sparse else 'mla'}_{phase}_module_perf"
        choose: dict[str, tuple[int | float | str, ...]] = {
            "gemm_type": GEMM_FORMATS[dtype],
            "kv_cache_dtype": ("fp8", "bfloat16") if kv == "fp8" else ("bfloat16", "fp8"),
        }
        if sparse:
            choose["model"] = (sparse,)
        if phase == "context":
            choose["step"] = (0,)
        near = tables.nearest(name, ("num_heads",), (heads,), (1.0,), choose)
        if near is None:
            return None
        table, key = near
        axes = ("batch_size", "isl" if phase == "context" else "step")
        return Found(
            table.surface(key, *axes), heads / key[0], "measured" if key == (heads,) else "derived", table.source
        )

    return tables.keep(("mla", phase, heads, dtype, kv, sparse), make)


def linear_attention(tables: Tables, phase: str, key_heads: int, value_heads: int) -> Found | None:
    """Curve over tokens (context) or sequences (generation): the gated delta rule with its convolution."""

    def make() -> Found | None:
        names = ("num_k_heads", "num_v_heads")
        near = tables.nearest("gdn_perf", names, (key_heads, value_heads), (1.0, 2.0), {"phase": (phase,)})
        if near is None:
            return None
        table, key = near
        rows = table.groups[key]
        columns = table.columns
        size = columns["num_tokens" if phase == "context" else "batch_size"][rows]
        if phase == "context":
            one = columns["batch_size"][rows] == columns["batch_size"][rows].min()
            rows, size = rows[one], size[one]
        total: np.ndarray | None = None
        grid = np.unique(size)
        for kernel in np.unique(columns["kernel_source"][rows]):
            mine = columns["kernel_source"][rows] == kernel
            curve = Curve.of(size[mine], columns["seconds"][rows][mine])
            total = curve(grid) if total is None else total + curve(grid)
        assert total is not None
        factor = value_heads / key[1]
        return Found(
            Curve.of(grid, total), factor, "measured" if key == (key_heads, value_heads) else "derived", table.source
        )

    return tables.keep(("gdn", phase, key_heads, value_heads), make)
