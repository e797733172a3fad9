"""A strategy in one line: ``dp64,tp2,ep64`` (or ``dp=64,…``), a plan's own name, or ``EP64×TP2`` as documents write."""

from __future__ import annotations

import re
from typing import Any, Final

from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.errors import SpecError

_SIZES: Final = ("replicas", "pp", "micro_batches", "dp", "cp", "tp", "repeated", "dcp", "ep", "etp", "redundant")
_EXAMPLE: Final = "dp64,tp2,ep64 or dp=64,tp=2,ep=64,etp=2 or R1 · PP1 · attn DP64×TP2 · moe EP64×TP2 · all-to-all"
_SHORT: Final = re.compile(r"(r|replicas|pp|dp|cp|tp|dcp|ep|etp|repeated|redundant)(\d{1,7})", re.IGNORECASE)
_PART: Final = re.compile(r"(dp|cp|tp|ep)(\d+)(?:\+(\d+))?(?:/dcp(\d{1,7}))?", re.IGNORECASE)


def parse_strategy(text: str, field: str = "--compare") -> StrategySpec:
    """The strategy that ``text`` names; what it leaves out is None. Raises SpecError, in ``field``."""
    try:
        return _parsed(text)
    except SpecError as error:
        raise SpecError(error.problem, field=field) from None


def _parsed(text: str) -> StrategySpec:
    cleaned = text.strip()
    fields: dict[str, Any] = {}
    parts = [part for part in re.split(r"[,\s]+", cleaned) if part]
    if "=" in cleaned:
        for part in re.split(r"[,\s]+", cleaned):
            _pair(part, fields, text)
    elif parts and all(_SHORT.fullmatch(part) or _is_word(part) for part in parts):
        for part in parts:
            short = _SHORT.fullmatch(part)
            name = "replicas" if short and short[1].lower() == "r" else (short[1].lower() if short else "")
            _pair(f"{name}={short[2]}" if short else _as_pair(part), fields, text)
    else:
        for part in re.split(
            r"\s*[·;,]\s*", cleaned.replace("x", "×").replace("*", "×").replace(" ×", "×").replace("× ", "×")
        ):
            _named(part.strip(), fields, text)
    if not fields:
        raise _error(text, "names no size")
    return StrategySpec(**fields)


def _is_word(part: str) -> bool:
    """Whether ``part`` names a dispatch or an overlap."""
    return part.replace("-", "_").lower() in (*Dispatch, *Overlap)


def _as_pair(word: str) -> str:
    plain = word.replace("-", "_").lower()
    return f"dispatch={plain}" if plain in list(Dispatch) else f"overlap={plain}"


def _error(text: str, why: str) -> SpecError:
    return SpecError(f"got {text[:100]!r}, which {why}; expected a strategy such as {_EXAMPLE}")


def _set(fields: dict[str, Any], name: str, value: Any, text: str) -> None:
    if name in fields:
        raise _error(text, f"gives {name} twice")
    fields[name] = value


def _pair(part: str, fields: dict[str, Any], text: str) -> None:
    name, _, value = part.partition("=")
    if name in _SIZES and value.isascii() and value.isdigit() and len(value) < 8:
        if int(value) == 0 and name != "redundant":
            raise _error(text, f"has {name} 0")
        _set(fields, name, int(value), text)
    elif name == "dispatch" and value.replace("-", "_") in list(Dispatch):
        _set(fields, name, Dispatch(value.replace("-", "_")), text)
    elif name == "overlap" and value.replace("-", "_") in list(Overlap):
        _set(fields, name, Overlap(value.replace("-", "_")), text)
    elif name == "gate" and value in list(Gate):
        _set(fields, name, Gate(value), text)
    else:
        known = ", ".join((*_SIZES, "dispatch", "gate", "overlap"))
        raise _error(text, f"has {part[:40]!r}; known are {known}")


def _named(part: str, fields: dict[str, Any], text: str) -> None:
    """One piece of a plan's name."""
    plain = part.replace("-", "_").lower()
    single = re.fullmatch(r"(r|pp)(\d{1,7})(?:/(\d{1,7}))?", plain)
    if single:
        _set(fields, "replicas" if single[1] == "r" else "pp", int(single[2]), text)
        if single[3]:
            _set(fields, "micro_batches", int(single[3]), text)
    elif plain in list(Dispatch):
        _set(fields, "dispatch", Dispatch(plain), text)
    elif plain in list(Overlap):
        _set(fields, "overlap", Overlap(plain), text)
    elif plain.removeprefix("gate_") in list(Gate):
        _set(fields, "gate", Gate(plain.removeprefix("gate_")), text)
    else:
        _folding(part, fields, text)


def _folding(part: str, fields: dict[str, Any], text: str) -> None:
    """``attn DP64×TP2 repeated ×64``, ``moe EP64×TP2+8``, or ``EP64×TP2``: the same tp for both foldings."""
    match = re.fullmatch(
        r"(?:(attn|moe)\s+)?([^\s]+)(?:\s*repeated\s*×?\s*(\d{1,7})|×repeated×?(\d{1,7}))?", part, re.IGNORECASE
    )
    if not match:
        raise _error(text, f"has {part[:40]!r}")
    which = (match[1] or "").lower()
    for size in match[2].rstrip("×").split("×"):
        found = _PART.fullmatch(size)
        if not found or len(found[2]) > 7:
            raise _error(text, f"has {size[:40]!r}")
        name = found[1].lower()
        if (name == "ep") != (which == "moe") and which and not (name == "tp" and which == "moe"):
            raise _error(text, f"has {name} under {which}")
        value = int(found[2])
        if name == "tp" and which != "attn":
            _set(fields, "etp", value, text)
        if name != "tp" or which != "moe":
            _set(fields, name, value, text)
        if found[3]:
            _set(fields, "redundant", int(found[3]), text)
        if found[4]:
            if name != "tp" or which == "moe":
                raise _error(text, f"has dcp under {which or name}")
            _set(fields, "dcp", int(found[4]), text)
    repeated = match[3] or match[4]
    if repeated:
        _set(fields, "repeated", int(repeated), text)
