"""The scoreboard on a terminal."""

from __future__ import annotations

from typing import Any

from moewright.report.blocks import Section, Table, facts

_SHOWN = 12


def validate_sections(board: dict[str, Any]) -> list[Section]:
    """Errors in all and by kind, the ranking of layouts, and the rows left out with the reasons."""
    rank = board["ranking"]
    lines = [
        ("rows", f"{board['rows']} in the file, {board['predicted']} predicted"),
        ("kernels", board["kernels"]),
        ("constants", board["fitted"]),
        ("best layout", _rank(rank, "the fewest GPUs", rank["fewest_gpus"])),
        ("of as many GPUs", _rank(rank["same_gpus"], "any of them", rank["same_gpus"]["without"])),
    ]
    for metric in ("tpot", "ttft"):
        if board[metric]:
            lines.append(
                (f"{metric.upper()} range", f"holds {board[metric]['covered']:.0%} of the rows (made for 80 %)")
            )
    sections = [Section("Predicted against measured", (facts(*lines), _total(board)))]
    for kind in ("model", "system", "backend", "layout"):
        if board["tpot"]:
            sections.append(Section(f"By {kind}", (_by(board, kind),)))
    return sections + _left_out(board)


def training_sections(board: dict[str, Any]) -> list[Section]:
    """Errors of training steps in all, by model and by GPU kind, and the rows left out with the reasons."""
    rank = board["ranking"]
    right = f"{rank['right']} of {rank['pairs']} pairs" if rank["pairs"] else "no two rows differ in layout only"
    lines = [
        ("rows", f"{board['rows']} in the file, {board['predicted']} predicted"),
        ("constants", board["fitted"]),
        ("the faster layout preferred", right),
    ]
    named = {"tokens_s_gpu": "tokens/s a GPU", "peak_memory": "peak memory"}
    total = [(text, *_three(board[key])) for key, text in named.items() if board[key]["rows"]]
    table = Table(("", "rows", "median error", "mean", "p90"), tuple(total), (1, 2, 3, 4))
    sections = [Section("Predicted against measured", (facts(*lines), table))]
    for kind in ("model", "gpu_kind"):
        groups = board["tokens_s_gpu"]["by"][kind]
        rows = tuple((name, *_three(errors)) for name, errors in groups.items())
        head = (kind.replace("_", " "), "rows", "median error", "mean", "p90")
        sections.append(Section(f"By {kind.replace('_', ' ')}", (Table(head, rows, (1, 2, 3, 4)),)))
    return sections + _left_out(board)


def _three(errors: dict[str, Any]) -> tuple[str, str, str, str]:
    median, mean, p90 = (_percent(errors[name]) for name in ("median_ape", "mean_ape", "p90_ape"))
    return str(errors["rows"]), median, mean, p90


def _left_out(board: dict[str, Any]) -> list[Section]:
    if not board["skipped"]:
        return []
    places: dict[str, list[str]] = {}
    for skip in board["skipped_lines"]:
        places.setdefault(skip["reason"], []).append(str(skip["line"]))
    rows = tuple((", ".join(at[:8]) + (" …" if len(at) > 8 else ""), reason) for reason, at in places.items())
    return [Section("Rows not predicted", (Table(("line", "reason"), rows),))]


def _rank(rank: dict[str, Any], other: str, without: float) -> str:
    if not rank["choices"]:
        return "no two rows differ in layout only"
    right = f"predicted right in {rank['agreement']:.0%} of {rank['choices']} choices"
    return f"{right}; {rank['mean_loss']:.1%} lost in the mean ({without:.1%} by taking {other})"


def _total(board: dict[str, Any]) -> Table:
    rows = [(m.upper(), *_cells(board[m])) for m in ("tpot", "ttft") if board[m]]
    return Table(("", "median error", "mean", "p90", "bias"), tuple(rows), (1, 2, 3, 4))


def _by(board: dict[str, Any], kind: str) -> Table:
    tpot, ttft = board["tpot"]["by"][kind], board["ttft"]["by"][kind]
    names = list(tpot)[:_SHOWN]
    rows = [(name, str(tpot[name]["rows"]), *_cells(tpot[name]), _percent(ttft[name]["median_ape"])) for name in names]
    if len(tpot) > len(names):
        rows.append((f"… and {len(tpot) - len(names)} more (--json has all)", "", "", "", "", "", ""))
    head = (kind, "rows", "TPOT median error", "mean", "p90", "bias", "TTFT median error")
    return Table(head, tuple(rows), tuple(range(1, 7)))


def _cells(error: dict[str, Any]) -> tuple[str, str, str, str]:
    bias = f"{error['bias']:+.1%}"
    return _percent(error["median_ape"]), _percent(error["mean_ape"]), _percent(error["p90_ape"]), bias


def _percent(value: float) -> str:
    return f"{value:.1%}"
