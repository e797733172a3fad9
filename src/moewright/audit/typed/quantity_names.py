"""Quantities that a claim may be typed as, and what they may be per."""

from __future__ import annotations

from typing import Final

#: quantity → the unit that its value has
QUANTITIES: Final[dict[str, str]] = {
    **{
        f"memory.{part}": "69 MB"
        for part in ("attention", "experts", "router", "vocabulary", "weights", "kv_cache", "activations", "buffers")
    },
    "memory.total": "69 MB",
    "memory.free": "63 GB",
    "memory.utilization": "0.11 %",
    "memory.headroom": "99.8 %",
    **{f"compute.{part}": "4.3 TFLOP" for part in ("attention", "projections", "scores", "experts", "router", "total")},
    "compute.utilization": "24 %",
    "compute.headroom": "76 %",
    **{f"communication.{part}": "20 MB" for part in ("attention", "experts", "dispatch", "combine", "total")},
    **{
        f"time.{part}": "2.3 ms"
        for part in (
            "total",
            "compute",
            "communication",
            "attention",
            "experts",
            "dispatch",
            "combine",
            "bubble",
            "bound",
        )
    },
    "throughput.tokens": "56 M tokens/s",
    "throughput.sequences": "55 K sequences/s",
    "share.communication": "55 %",
    "share.bubble": "0 %",
    "share.straggler": "1.04",
    **{
        f"count.{part}": "8"
        for part in (
            *("experts", "modules", "modules.experts", "modules.attention", "heads", "layers", "tokens", "sequences"),
            *("parameters", "parameters.attention", "parameters.experts", "parameters.vocabulary", "parameters.router"),
        )
    },
}
SCOPES: Final = ("gpu", "layer", "expert", "token", "active", "all")
