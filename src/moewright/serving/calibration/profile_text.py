"""A calibration as the file that later plans take, each term with what it stands before."""

from __future__ import annotations

from moewright.case.file.calibration_file import TERMS, CalibratedTerm, Calibration


def profile_text(calibration: Calibration, deployment: str, sources: list[str]) -> str:
    """YAML of ``calibration``: one factor a term with its spread and the points that say it."""
    lines = [
        f"# {deployment}",
        *(f"# from {source}" for source in sources),
        "# calibration: THIS_FILE in a spec",
        "terms:",
    ]
    for name, meaning in TERMS.items():
        term: CalibratedTerm = getattr(calibration, name)
        row = f"  {name}: {{factor: {term.factor:.4f}, spread: {term.spread:.4f}, points: {term.points}}}"
        lines.append(f"{row}  # {meaning}")
    return "\n".join(lines) + "\n"
