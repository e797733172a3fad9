"""Claims in YAML, for use in CI: ``claims: [{quantity: memory.total, value: 69 MB, per: gpu}]`` beside the sections of
a spec file, or with ``spec: FILE``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.audit.audit_record import Audit, Claim
from moewright.audit.judges.better import better_of
from moewright.audit.judges.figures import Context, judge_figure
from moewright.audit.quantities.readings import Facts, Scope, facts_of
from moewright.audit.reading.document_case import Assumption, Setting
from moewright.audit.reading.meaning import Meaning
from moewright.audit.text.clauses import Figure
from moewright.audit.text.document import Statement, normal, read_text
from moewright.audit.text.numbers import number_at
from moewright.case.file.files import read_mapping
from moewright.case.file.load import SECTIONS, case_of, load
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import complete

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
            "parameters",
        )
    },
}
SCOPES: Final = ("gpu", "layer", "expert", "token", "active", "all")


def audit_claims(path: str, assumed: dict[str, Any], spec: str | None) -> Audit:
    """The audit of the claims in a YAML file. Raises SpecError."""
    text = read_text(path)
    raw = read_mapping(path)
    entries = raw.pop("claims", None)
    if not isinstance(entries, list):
        raise SpecError(
            "is missing; expected a list such as [{quantity: memory.total, value: 69 MB, per: gpu}]",
            file=path,
            field="claims",
        )
    own = raw.pop("spec", None)
    if assumed:
        raise SpecError("is for documents; claims in YAML come with a spec", file=path, field="--assume")
    if own is not None and not isinstance(own, str):
        raise SpecError(f"got {str(own)[:60]!r}; expected the path of a spec file", file=path, field="spec")
    unknown = [name for name in raw if name not in SECTIONS]
    if unknown:
        known = ", ".join(("claims", "spec", *SECTIONS))
        raise SpecError(f"unknown field; known are {known}", file=path, field=str(unknown[0])[:60])
    if spec is None and own is not None:
        spec = str(Path(path).parent / own)
    case = load(spec) if spec is not None else case_of(raw, path)
    assumptions = {} if spec is None else {"spec": Assumption("spec", spec, "a spec file")}
    return _judged(Setting(case, {}, assumptions, ()), entries, _lines(text), path)


def judge_claims(spec: dict[str, Any], entries: Sequence[Any], path: str) -> Audit:
    """The audit of ``entries``, claims as in the file, about the strategy of ``spec``; their lines count from 1.
    Raises SpecError."""
    return _judged(Setting(case_of(spec, path), {}, {}, ()), entries, list(range(1, len(entries) + 1)), path)


def _judged(setting: Setting, entries: Sequence[Any], lines: list[int], path: str) -> Audit:
    facts = _facts(setting)
    context = Context(facts)
    found = [_claim(entry, i, lines[i] if i < len(lines) else 1, path, context) for i, entry in enumerate(entries)]
    return Audit(path, (), tuple(setting.assumed.values()), (), tuple(found), better_of(facts)[0])


def _facts(setting: Setting) -> Facts:
    case = setting.case
    if case.strategy is None:
        from moewright.planning.search import plan

        best = plan(case, top=0).best
        return Facts(setting, {("split", case.workload.causal): best}, "")
    try:
        return facts_of(setting, {"split": complete(case.strategy, case)}, "")
    except InfeasibleError as error:
        return Facts(setting, {}, str(error))


def _lines(text: str) -> list[int]:
    """The line of each entry of ``claims``."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in getattr(node, "value", []):
        if key.value == "claims":
            return [item.start_mark.line + 1 for item in value.value]
    return []


def _claim(entry: Any, index: int, line: int, path: str, context: Context) -> Claim:
    field = f"claims.{index}"
    if not isinstance(entry, dict) or not {"quantity", "value"} <= set(entry) <= {"quantity", "value", "per"}:
        raise SpecError(
            f"got {str(entry)[:60]!r}; expected a mapping with quantity, value and, if wanted, per",
            file=path,
            field=field,
        )
    name = entry["quantity"]
    if name not in QUANTITIES:
        raise SpecError(
            f"got {str(name)[:60]!r}; expected one of {', '.join(QUANTITIES)}", file=path, field=f"{field}.quantity"
        )
    per = entry.get("per", [])
    scope: Scope = frozenset([per] if isinstance(per, str) else per if isinstance(per, list) else [str(per)])
    if not scope <= set(SCOPES):
        raise SpecError(f"got {str(per)[:60]!r}; expected some of {', '.join(SCOPES)}", file=path, field=f"{field}.per")
    said = normal(str(entry["value"]))
    number = number_at(said, 0) if said else None
    like = number_at(QUANTITIES[name], 0)
    if number is None or like is None or len(number.text) < len(said.rstrip()) or number.dim != like.dim:
        raise SpecError(
            f"got {str(entry['value'])[:60]!r}; expected a value such as {QUANTITIES[name]}",
            file=path,
            field=f"{field}.value",
        )
    text = f"{name}: {said}" + (f" per {' and '.join(sorted(scope))}" if scope else "")
    statement = Statement(line, text, name, said, (), "item")
    return judge_figure(Figure(number, "lone", ""), statement, Meaning(name, (scope,), scope), context)
