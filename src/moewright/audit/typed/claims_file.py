"""Claims in YAML, for use in CI: ``claims: [{quantity: memory.total, value: 69 MB, per: gpu}]`` beside the sections of
a spec file, or with ``spec: FILE``; an ``expression`` of other claims as in a typed reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from moewright.audit.audit_record import Audit
from moewright.audit.judges.better import better_of
from moewright.audit.quantities.readings import Facts, facts_of
from moewright.audit.reading.document_case import Assumption, Setting
from moewright.audit.text.document import read_text
from moewright.audit.typed.typed_claims import judge_typed
from moewright.audit.typed.typed_reading import typed_claims
from moewright.case.file.files import read_mapping
from moewright.case.file.load import SECTIONS, case_of, load
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import complete


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
    claims = typed_claims(entries, path, lines)
    found = tuple(judge_typed(claims, (), lambda _: facts, path, admit=False))
    return Audit(path, (), tuple(setting.assumed.values()), (), found, better_of(facts)[0])


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
