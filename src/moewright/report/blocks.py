"""What a report is made of, whatever it is printed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from moewright.planning.record import Check, Proof


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under ``headers`` (all empty: no header line). ``numbers``: columns aligned right. ``drop``: those
    that a narrow terminal leaves out, the first of them first; empty: numbers from the right, but one."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and the paragraphs and tables under it."""

    title: str
    blocks: tuple[str | Table, ...] = field(default_factory=tuple)


def facts(*rows: tuple[str, str] | None) -> Table:
    """A table of names and values; None rows are left out."""
    return Table(("", ""), tuple(row for row in rows if row is not None))


def percent(part: float, whole: float) -> str:
    """``part`` of ``whole`` as a percentage."""
    return f"{part / whole:.1%}" if whole else "–"


def check_table(checks: Sequence[Check]) -> Table:
    """Every check with its derivation."""
    return Table(("status", "check", "derivation"), tuple((c.status.value, c.name, c.detail) for c in checks))


def proof_text(proof: Proof) -> str:
    """How much of a plan was derived a second time, and what was not."""
    text = (
        f"A walk of {plural(proof.ranks, 'rank')}, tensor by tensor, derived {proof.figures} figures again without the "
        "formulas that gave them."
    )
    return f"{text} Not derived again: {', '.join(proof.unchecked)}." if proof.unchecked else text


def plural(count: float, noun: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{count:g} {noun}" if count == 1 else f"{count:g} {noun}s"


def origins_text(shares: Mapping[str, float], lacking: Iterable[str]) -> str:
    """How seconds came to be: "formulas", or the shares of measured tables, and the operations that they lack."""
    parts = [f"{shares[name]:.0%} {name}" for name in ("measured", "interpolated") if shares.get(name, 0.0) > 0]
    if not parts:
        return "formulas"
    return "; ".join([*parts, f"{shares.get('derived', 0.0):.0%} derived ({', '.join(lacking) or 'none'})"])
