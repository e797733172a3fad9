"""A model in a few rows, the same in a plan's report and in the catalogue."""

from __future__ import annotations

from typing import Any

from moewright.report.blocks import plural
from moewright.units import format_bytes, format_count


def model_rows(m: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a model that ``describe_model`` described."""
    e, p, parameters = m["experts"], m["precision"], m["parameters"]
    attention = "; ".join(f"{plural(a['layers'], 'layer')} of {a['kind']}" for a in m["attention"])
    weights = ", ".join(name if kind == "default" else f"{kind} {name}" for kind, name in p["weights"].items())
    rows = [
        ("Layers", f"{m['layers']}, hidden size {m['hidden_size']}, vocabulary {m['vocab_size'] or 'none'}"),
        ("Attention", attention),
    ]
    if e:
        routed = f"{plural(m['moe_layers'], 'layer')} of {e['count']} experts, top {e['top_k']}, "
        routed += f"{e['intermediate_size']} wide, {'gated' if e['gated'] else 'two matrices'}"
        routed += f"; shared experts {e['shared_intermediate_size']} wide" if e["shared_intermediate_size"] else ""
        rows.append(("Experts", routed))
    return [
        *rows,
        ("Parameters", f"{parameters['total']:,} ({format_count(parameters['total'])})"),
        ("Active", f"{parameters['active']:,} ({format_count(parameters['active'])}) for a token"),
        ("Weights", f"{format_bytes(m['weight_bytes'])}: {weights}"),
        ("KV cache", f"{format_bytes(m['kv_bytes_per_token'])} a token in {p['kv_cache']}, undivided"),
        ("Activations", f"{p['activations']}, dispatch {p['dispatch']}, combine {p['combine']}"),
        ("Model from", m["source"]),
        *(("Note", note) for note in m.get("notes", ())),
    ]
