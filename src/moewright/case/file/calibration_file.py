"""Factors that measured results of a deployment give for parts of a prediction: ``calibration: FILE`` of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moewright.case.file.files import read_mapping
from moewright.errors import SpecError

#: what a factor stands before, in the order of a request's life
TERMS: Final = {
    "first_token": "the host's seconds and waits before a first token, beside the steps that compute it",
    "prompt": "what prompt tokens add to a step",
    "decode_base": "a step that decodes one sequence",
    "decode_growth": "what further sequences add to a step",
}
#: factors beyond this are no correction
WIDEST: Final = 20.0


@dataclass(frozen=True, slots=True)
class CalibratedTerm:
    """``factor`` on the predicted seconds, its ``spread`` (a standard deviation of its logarithm), and the measured
    ``points`` that say it."""

    factor: float = 1.0
    spread: float = 0.0
    points: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A factor for each of ``TERMS``; ``source``: where they come from."""

    first_token: CalibratedTerm = CalibratedTerm()
    prompt: CalibratedTerm = CalibratedTerm()
    decode_base: CalibratedTerm = CalibratedTerm()
    decode_growth: CalibratedTerm = CalibratedTerm()
    source: str = ""

    def factor(self, name: str) -> float:
        """The factor of a term."""
        term: CalibratedTerm = getattr(self, name)
        return term.factor

    def with_terms(self, terms: dict[str, CalibratedTerm]) -> Calibration:
        """The same with other terms, by name."""
        own: dict[str, CalibratedTerm] = {name: getattr(self, name) for name in TERMS}
        return Calibration(**{**own, **terms}, source=self.source)

    @property
    def of_steps(self) -> bool:
        """Whether it changes the seconds of a step."""
        return any(self.factor(name) != 1.0 for name in ("prompt", "decode_base", "decode_growth"))


def read_calibration(value: Any, file: str, folder: Path) -> Calibration:
    """The calibration in the file that a spec names. Raises SpecError."""
    if not isinstance(value, str) or not value.strip():
        raise SpecError(
            f"got {str(value)[:60]!r}; expected a file of `moewright calibrate`", file=file, field="calibration"
        )
    path = folder / value
    raw = read_mapping(path)
    terms = raw.get("terms")
    if not isinstance(terms, dict):
        raise SpecError("is missing; expected a file of `moewright calibrate`", file=str(path), field="terms")
    for name in terms:
        if name not in TERMS:
            raise SpecError(f"unknown term; known are {', '.join(TERMS)}", file=str(path), field=f"terms.{name}"[:80])
    return Calibration(
        **{name: _term(row, str(path), f"terms.{name}") for name, row in terms.items()}, source=str(value)
    )


def _term(row: Any, file: str, field: str) -> CalibratedTerm:
    if not isinstance(row, dict) or set(row) - {"factor", "spread", "points", "of"} or "factor" not in row:
        raise SpecError("expected a mapping with factor, spread and points", file=file, field=field)
    values = {"factor": row["factor"], "spread": row.get("spread", 0.0), "points": row.get("points", 0)}
    for name, value in values.items():
        least, most = (1 / WIDEST, WIDEST) if name == "factor" else (0, 1e9)
        good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        if not good:
            raise SpecError(
                f"got {str(value)[:40]!r}; expected a number from {least:g} to {most:g}",
                file=file,
                field=f"{field}.{name}",
            )
    return CalibratedTerm(float(values["factor"]), float(values["spread"]), int(values["points"]))
