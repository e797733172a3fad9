"""Quantities with units: "1.8 TB/s" ↔ 1.8e12. Used at the edge only; inside, everything is SI.

SI prefixes are powers of 1000; KiB, MiB, GiB, TiB are powers of 1024. Times are seconds, sizes
bytes, rates bytes/s, work FLOPs and FLOPs/s (a multiply-add is 2), prices currency per hour.
"""

from __future__ import annotations

import math
import re

PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
TIME = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"^([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*)$", re.ASCII)

DIMENSIONS = {
    "bytes": "64 GB or 64 GiB",
    "bytes/s": "1.8 TB/s",
    "seconds": "2 us or 50 ms",
    "FLOP/s": "400 TFLOPS",
    "price": "2.5 USD/h",
    "count": "a plain number",
}


def _shown(value: object) -> str:
    """``value`` as a message shows it, cut short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse(value: object, dimension: str) -> float:
    """A number (already SI) or a text such as ``"1.8 TB/s"`` → a finite float in SI units.

    Raises ValueError, with what would be accepted, for another dimension, NaN, infinity or nonsense.
    """
    wanted = f"expected {dimension}, such as {DIMENSIONS[dimension]}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"got {_shown(value)}; {wanted}")
    if isinstance(value, str):
        match = _NUMBER.match(value.strip())
        if not match:
            raise ValueError(f"got {_shown(value)}; {wanted}")
        unit = match[2].strip()
        factor = _factor(unit, dimension) if unit else 1.0
        if factor is None:
            raise ValueError(f"got {_shown(value)}, whose unit {_shown(unit)} is not one of {dimension}; {wanted}")
        number = float(match[1].replace("_", "")) * factor
    else:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"got {_shown(value)}, which is not finite; {wanted}")
    return number


def _factor(unit: str, dimension: str) -> float | None:
    unit = unit.replace(" ", "")
    if dimension == "seconds":
        return TIME.get(unit)
    if dimension == "price":
        return 1.0 if unit in ("USD/h", "EUR/h", "/h", "$/h") else None
    if dimension == "bytes/s":
        for end in ("Bps", "B/s"):
            if unit.endswith(end):
                return _prefix(unit[: -len(end)])
        return None
    if dimension == "bytes":
        return _prefix(unit[:-1]) if unit.endswith("B") else None
    if dimension == "FLOP/s":
        for end in ("FLOPS", "FLOPs/s", "FLOP/s", "Flops", "flops", "OPS"):
            if unit.endswith(end) and unit[: -len(end)] in PREFIX:
                return PREFIX[unit[: -len(end)]]
        return None
    return {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}.get(unit) if dimension == "count" else None


def _prefix(prefix: str) -> float | None:
    return PREFIX.get(prefix, BINARY.get(prefix))


def _scaled(value: float, unit: str, digits: int) -> str:
    if value == 0:
        return f"0 {unit}".strip()
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        # the threshold is where rounding would otherwise print four digits before the point
        if abs(value) >= factor * (1 - 0.5 * 10.0**-digits):
            return f"{_significant(value / factor, digits)} {prefix}{unit}"
    return f"{_significant(value, digits)} {unit}".strip()


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 12)}f}"


def format_bytes(value: float, digits: int = 4) -> str:
    """Bytes → ``"33.55 MB"`` (powers of 1000)."""
    return _scaled(value, "B", digits)


def format_rate(value: float, digits: int = 3) -> str:
    """Bytes/s → ``"50.0 GB/s"``."""
    return _scaled(value, "B/s", digits)


def format_flops(value: float, digits: int = 4) -> str:
    """FLOPs → ``"57.45 TFLOP"``."""
    return _scaled(value, "FLOP", digits)


def format_count(value: float, digits: int = 4) -> str:
    """A plain number → ``"671.0 B"``: parameters and tokens, where B is 10⁹."""
    text = _scaled(value, "", digits).strip()
    return text.replace(" G", " B")


def format_seconds(value: float, digits: int = 4) -> str:
    """Seconds → ``"1.870 ms"``."""
    if value == 0:
        return "0 s"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(value) >= factor * (1 - 0.5 * 10.0**-digits):
            return f"{_significant(value / factor, digits)} {unit}"
    return f"{_significant(value / 1e-9, digits)} ns"


def format_quantity(value: float, dimension: str, digits: int = 4) -> str:
    """A value of ``dimension`` (as ``DIMENSIONS`` names them; FLOPs for work, share for a percentage) as a text;
    a whole count in full."""
    match dimension:
        case "bytes":
            return format_bytes(value, digits)
        case "bytes/s":
            return format_rate(value, digits)
        case "seconds":
            return format_seconds(value, digits)
        case "FLOPs":
            return format_flops(value, digits)
        case "FLOP/s":
            return _scaled(value, "FLOP/s", digits)
        case "share":
            return f"{value:.4g}" if abs(value) > 10 else f"{_significant(100 * value, digits)}%"
        case "per second":
            return f"{format_count(value, digits)}/s"
    whole = abs(value) < 1e7 and value == round(value)
    return f"{round(value):,}" if whole else f"{value:.6g}" if abs(value) < 1e7 else format_count(value, digits)
