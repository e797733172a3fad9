"""What an executed training step showed: gradients and weights against one process, bytes against the plan's."""

from __future__ import annotations

from typing import Any

from moewright.report.blocks import Section, Table, facts
from moewright.units import format_bytes


def step_report(
    measured: dict[str, Any], predicted: dict[str, list[int]], memory: dict[str, list[int]], stage: int
) -> dict[str, Any]:
    """``measured`` of a step with what was ``predicted`` for the ranks of each stage beside it; ``stage``: its ranks;
    ``memory``: bytes that each rank must hold, by line. ``bytes_equal``: every collective sends what was predicted, and
    no other sends anything but what routing decides. ``memory_equal``: every line of every rank is as predicted."""
    sent: dict[str, list[int]] = measured["sent"]
    compared = {}
    for name, wanted in predicted.items():
        counted = [max(sent.get(name, [0])[i * stage : (i + 1) * stage] or [0]) for i in range(len(wanted))]
        compared[name] = {"predicted": wanted, "sent": counted, "equal": counted == wanted}
    routed = measured["exchanged_by_routing"]
    for name, by_rank in routed.items():
        counted, wanted = sent.get(name, [0] * len(by_rank)), by_rank
        compared[name] = {"predicted": wanted, "sent": counted, "equal": counted == wanted}
    beside = sorted(name for name in sent if name not in compared)
    lines = {
        name: {"predicted": wanted, "alive": measured["alive"][name], "equal": measured["alive"][name] == wanted}
        for name, wanted in memory.items()
    }
    bytes_equal, memory_equal = (all(c["equal"] for c in x.values()) for x in (compared, lines))
    return {
        **{k: v for k, v in measured.items() if k not in ("sent", "exchanged_by_routing", "alive")},
        "collectives": compared,
        "not_predicted": beside,
        "memory": lines,
        "memory_not_compared": sorted(set(measured["alive"]) - set(lines)),
        "bytes_equal": bytes_equal,
        "memory_equal": memory_equal,
        "verified": measured["equal"] and bytes_equal and memory_equal,
    }


def step_sections(report: dict[str, Any], name: str) -> list[Section]:
    """The verdict, then bytes by collective."""
    rows = tuple(
        (collective, format_bytes(max(c["predicted"])), format_bytes(max(c["sent"])), "yes" if c["equal"] else "NO")
        for collective, c in report["collectives"].items()
    )
    verdict = "verified" if report["verified"] else "NOT verified"
    return [
        Section(
            f"Training step of {name}: {verdict}",
            (
                facts(
                    ("loss", f"{report['loss']:.6f} ({report['reference_loss']:.6f} in one process)"),
                    ("largest error of a gradient", f"{report['gradient_error']:.1e} ({report['worst_parameter']})"),
                    ("of an updated weight", f"{report['weight_error']:.1e}"),
                    ("tolerated", f"{report['tolerance']:.0e} of the largest value"),
                    ("chunks kept at most, by rank", ", ".join(map(str, report["chunks_kept"][:16]))),
                    ("counted, not predicted", ", ".join(report["not_predicted"]) or "none"),
                ),
            ),
        ),
        Section("Bytes sent by the fullest rank", (Table(("collective", "predicted", "sent", "equal"), rows, (1, 2)),)),
        Section("Bytes alive on the fullest rank", (_memory(report), *_not_compared(report))),
    ]


#: what each line of memory is
_LINES = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer states",
    "activations": "activations kept at the peak",
}


def _memory(report: dict[str, Any]) -> Table:
    rows = tuple(
        (_LINES[name], format_bytes(max(c["predicted"])), format_bytes(max(c["alive"])), "yes" if c["equal"] else "NO")
        for name, c in report["memory"].items()
    )
    return Table(("what", "predicted", "alive", "equal on every rank"), rows, (1, 2))


def _not_compared(report: dict[str, Any]) -> list[str]:
    names = [_LINES[name] for name in report["memory_not_compared"]]
    return [f"Not compared under this schedule: {', '.join(names)}."] if names else []
