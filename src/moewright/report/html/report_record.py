"""What a report is, whatever command makes it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from moewright.report.blocks import Section
from moewright.report.figures.theme import Figure


@dataclass(frozen=True, slots=True)
class Number:
    """One of the figures of the first screen: ``value`` with its unit, what it is, and what to hold it against."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What to copy: ``text`` for a shell, and what it does; ``text`` empty: none, ``note`` says why."""

    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """``answer``: one sentence. ``measured`` and ``derived``: what stands on measurements, and what on formulas.
    ``document``: a text with marks, as HTML. ``sections``: every table, as the terminal has them."""

    title: str
    answer: str
    numbers: tuple[Number, ...]
    command: Command
    measured: str
    derived: str
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    document: Markup | None = None
    document_title: str = ""
