"""A document as somebody read it: premises, configurations and claims with their types, in YAML.

``{reader: NAME, premises: [...], configurations: {NAME: [...]}, let: {...}, claims: [...]}``; a claim is of a quantity
that the planner knows, or stands in a relation to an expression of other figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from moewright.audit.audit_record import Unread
from moewright.audit.quantities.readings import Scope
from moewright.audit.reading.document_case import FIELDS
from moewright.audit.reading.premises import Premise
from moewright.audit.text.document import normal
from moewright.audit.text.expressions import EXTREMES, ROUNDINGS, Node, Operation, Part, fold, numbers_in, whole
from moewright.audit.text.numbers import COUNT, MOST_BILLIONS, Number, Token, in_billions, is_bare, number_at, tokens_of
from moewright.audit.typed.quantity_names import QUANTITIES, SCOPES
from moewright.audit.typed.source_lines import SourceLines, source_lines
from moewright.audit.typed.typed_premises import typed_premises
from moewright.audit.typed.typed_values import typed_value
from moewright.case.file.files import read_mapping
from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError

#: how a claim stands to its expression
RELATIONS: Final = ("=", "~", "<=", ">=", "<", ">")
#: claims of a reading that are taken
MOST_CLAIMS: Final = 2000
#: what a configuration has of its own where its name is of nothing that is known
_APART: Final = {"model.name": "model.", "cluster.device.name": "cluster.device."}
#: letters of an expression as it is written
MOST_LETTERS: Final = 2_000
#: numbers and signs of an expression
MOST_TOKENS: Final = 400
#: mistakes that are told at once
MOST_ERRORS: Final = 8
_FIELDS: Final = ("line", "value", "id", "quantity", "per", "configuration", "relation", "expression", "text")
_PARTS: Final = ("reader", "document", "premises", "configurations", "let", "claims")
_NAME: Final = re.compile(r"[A-Za-z_][\w.]{0,59}")
_FUNCTION: Final = re.compile(rf"({'|'.join((*EXTREMES, *ROUNDINGS))})\((.*)\)", re.IGNORECASE | re.DOTALL)
#: a comma that parts thousands
_PARTED: Final = re.compile(r"\d,\d{3}(?!\d)")
#: brackets inside of brackets
_MOST_BRACKETS: Final = 50
#: functions inside of functions
_MOST_NESTED: Final = 6
#: a figure or a premise that an expression names
REFERENCE: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class TypedClaim:
    """A figure of a document with what it is said to be: ``quantity`` with its ``scope``, or ``relation`` to
    ``expression`` (as written); neither where the reader does not know. ``index`` counts from 0."""

    index: int
    line: int
    value: str
    number: Number
    id: str = ""
    quantity: str = ""
    scope: Scope = frozenset()
    configuration: str = ""
    relation: str = "="
    expression: str = ""


@dataclass(frozen=True, slots=True)
class TypedReading:
    """A reading: whose it is, premises of the document, those that each configuration has besides, claims, ``let``:
    expressions by names, ``unread``: premises that no case has, and ``apart``: what a configuration does not inherit,
    since it gives something there that was not read."""

    reader: str
    premises: tuple[Premise, ...]
    configurations: Mapping[str, tuple[Premise, ...]]
    claims: tuple[TypedClaim, ...]
    let: Mapping[str, str]
    unread: tuple[Unread, ...] = ()
    apart: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_reading(path: str | Path, lines: Sequence[str] = ()) -> TypedReading:
    """The reading in a file, of a document of these ``lines``. Raises SpecError."""
    return typed_reading(read_mapping(path), str(path), lines)


def typed_reading(raw: Mapping[str, Any], file: str, lines: Sequence[str] = ()) -> TypedReading:
    """The reading that a mapping writes; ``lines``: the document. Raises SpecError."""
    unknown = [name for name in raw if name not in _PARTS]
    if unknown:
        raise SpecError(f"unknown field; known are {', '.join(_PARTS)}", file=file, field=str(unknown[0])[:60])
    reader = raw.get("reader")
    if not isinstance(reader, str) or not 0 < len(reader.strip()) <= 120:
        raise SpecError(
            f"got {str(reader)[:60]!r}; expected who read the document, such as 'Jane Doe' or a model's name",
            file=file,
            field="reader",
        )
    parts = raw.get("configurations", {})
    if not isinstance(parts, dict):
        raise SpecError(
            f"got {str(parts)[:60]!r}; expected premises by name: {{decode: [{{field: strategy.ep, value: 64}}]}}",
            file=file,
            field="configurations",
        )
    source = source_lines(tuple(lines))
    unread: dict[tuple[int, str], Unread] = {}
    premises = typed_premises(raw.get("premises", []), "premises", file, unread, source)
    named: dict[str, tuple[Premise, ...]] = {}
    apart: dict[str, tuple[str, ...]] = {}
    for name, rows in parts.items():
        dropped: dict[tuple[int, str], Unread] = {}
        named[str(name)] = typed_premises(rows, f"configurations.{name}", file, dropped, source)
        apart[str(name)] = tuple(_APART.get(f, f) for _, f in dropped)
        unread |= dropped
    entries = raw.get("claims")
    if not isinstance(entries, list) or len(entries) > MOST_CLAIMS:
        raise SpecError(
            f"expected a list of at most {MOST_CLAIMS:,} claims such as "
            "[{line: 12, value: 20.4 GB, expression: 16 * 58 * 22 MB}]",
            file=file,
            field="claims",
        )
    let = _let(raw.get("let", {}), file)
    claims = typed_claims(entries, file, configurations=tuple(named), source=source)
    both = next((c for c in claims if c.id in let), None)
    if both is not None:
        raise SpecError(f"{both.id!r} is a name of let too", file=file, field=f"claims.{both.index}.id")
    return TypedReading(reader.strip(), premises, named, claims, let, tuple(unread.values()), apart)


def _let(raw: Any, file: str) -> dict[str, str]:
    """Expressions by names. Raises SpecError."""
    if not isinstance(raw, dict):
        raise SpecError(
            f"got {str(raw)[:60]!r}; expected expressions by names: {{token: 2 * 8 * 128 * 2 B}}",
            file=file,
            field="let",
        )
    for name, expression in raw.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpecError(f"got {str(name)[:60]!r}; expected a name of letters and digits", file=file, field="let")
        _check_expression(str(expression), f"let.{name}", file)
    return {name: str(expression) for name, expression in raw.items()}


def typed_claims(
    entries: Sequence[Any],
    file: str,
    lines: Sequence[int] | None = None,
    configurations: Sequence[str] = (),
    source: SourceLines | None = None,
) -> tuple[TypedClaim, ...]:
    """The claims that ``entries`` write, each with its ``line`` of a document (``source``), or with that of ``lines``
    where they are of none. Raises SpecError, which tells all mistakes at once."""
    source = source or source_lines(())
    claims: list[TypedClaim] = []
    errors: list[SpecError] = []
    seen: dict[str, int] = {}
    for i, entry in enumerate(entries):
        line = None if lines is None else lines[i] if i < len(lines) else 1
        try:
            c = _claim(entry, i, file, configurations, line, source)
            if c.id and c.id in seen:
                raise SpecError(f"{c.id!r} is the name of claims.{seen[c.id]} too", field=f"claims.{i}.id")
        except SpecError as error:
            errors.append(error)
        else:
            seen[c.id] = i
            claims.append(c)
    if errors:
        more = "; ".join(f"{e.field}: {e.problem}" for e in errors[1:MOST_ERRORS])
        rest = f"; and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        raise SpecError(f"{errors[0].problem}{'; ' if more else ''}{more}{rest}", file=file, field=errors[0].field)
    return tuple(claims)


def _claim(
    entry: Any, index: int, file: str, configurations: Sequence[str], line: int | None, source: SourceLines
) -> TypedClaim:
    where = f"claims.{index}"
    needed, known = ({"line", "value"}, _FIELDS) if line is None else ({"value"}, _FIELDS[1:])
    whole_entry = isinstance(entry, dict) and needed <= set(entry) <= set(known)
    if not whole_entry or (line is not None and not {"quantity", "expression"} & set(entry)):
        wanted = "line and value" if line is None else "value, and quantity or expression"
        raise SpecError(
            f"got {str(entry)[:60]!r}; expected a mapping with {wanted}; known are {', '.join(known)}",
            file=file,
            field=where,
        )
    line = entry["line"] if line is None else line
    if type(line) is not int or line < 1:
        raise SpecError(f"got {str(line)[:60]!r}; expected a line number", file=file, field=f"{where}.line")
    where = f"{where} (line {line})"
    number = typed_value(str(entry["value"]), source.line(line), source.commas)
    if number is None:
        raise SpecError(
            f"got {str(entry['value'])[:60]!r}; expected a number with its unit, such as 20.4 GB, 39 %, 1.35x or 96",
            file=file,
            field=f"{where}.value",
        )
    return _typed(entry, index, line, number, configurations, where, file)


def _typed(
    entry: Mapping[str, Any],
    index: int,
    line: int,
    number: Number,
    configurations: Sequence[str],
    where: str,
    file: str,
) -> TypedClaim:
    said = normal(str(entry["value"]))
    quantity, scope = str(entry.get("quantity", "")), _scope(entry.get("per", []), where, file)
    if quantity != "" and quantity not in QUANTITIES:
        near = did_you_mean(quantity, tuple(QUANTITIES))
        raise SpecError(
            f"got {quantity[:60]!r}; {near}expected one of {', '.join(QUANTITIES)}",
            file=file,
            field=f"{where}.quantity",
        )
    like = number_at(QUANTITIES[quantity], 0) if quantity else None
    if like is not None and like.dim == COUNT and is_bare(number) and number.value < MOST_BILLIONS:
        number = in_billions(number)  # 671 B of parameters
    if like is not None and number.dim != like.dim:
        raise SpecError(
            f"got {said[:60]!r}, which no {quantity} is; expected a value such as {QUANTITIES[quantity]}",
            file=file,
            field=f"{where}.value",
        )
    configuration = str(entry.get("configuration", ""))
    if configuration and configuration not in configurations:
        known = ", ".join(configurations) or "there are none"
        raise SpecError(
            f"got {configuration[:60]!r}; expected one of configurations: {known}",
            file=file,
            field=f"{where}.configuration",
        )
    relation, expression = str(entry.get("relation", "=")), str(entry.get("expression", ""))
    if relation == "~":
        number = replace(number, approx=True)
    if relation not in RELATIONS or (relation not in ("=", "~") and not expression):
        raise SpecError(
            f"got {relation[:20]!r}; expected one of {', '.join(RELATIONS)}, a limit with its expression",
            file=file,
            field=f"{where}.relation",
        )
    if expression:
        _check_expression(expression, f"{where}.expression", file)
    name = _id_of(entry, where, file)
    return TypedClaim(index, line, said, number, name, quantity, scope, configuration, relation, expression)


def _id_of(entry: Mapping[str, Any], where: str, file: str) -> str:
    """The name of a claim, which may be empty. Raises SpecError."""
    said = entry.get("id", "")
    if isinstance(said, bool):
        told = f"YAML reads {'yes, on or true' if said else 'no, off or false'} so: quote it"
        raise SpecError(f"got {said}, as {told}, or take another name", file=file, field=f"{where}.id")
    name = str(said)
    if name and not _NAME.fullmatch(name):
        raise SpecError(f"got {name[:60]!r}; expected a name of letters and digits", file=file, field=f"{where}.id")
    return name


def _check_expression(expression: str, where: str, file: str) -> None:
    node = node_of(REFERENCE.sub("2", expression[:MOST_LETTERS]))
    if node is None or len(expression) > MOST_LETTERS:
        long = f", at most {MOST_TOKENS} of them together" if len(expression) > MOST_TOKENS else ""
        raise SpecError(
            f"got {expression[:80]!r}; expected numbers with units, + - * / ^ ( ), max, min, ceil, floor, round, and "
            f"{{names}} of claims, let or premises{long}",
            file=file,
            field=where,
        )
    if unit := _unknown_unit(node):
        raise SpecError(
            f"got {expression[:80]!r}, in which {unit[:20]!r} is no known unit; known are bytes (B, GB, GiB), bits, s, "
            "FLOP, tokens and those a second; write others without, and their factors as numbers",
            file=file,
            field=where,
        )


def _scope(per: Any, where: str, file: str) -> Scope:
    scope = frozenset([per] if isinstance(per, str) else [str(x) for x in per] if isinstance(per, list) else [str(per)])
    if not scope <= set(SCOPES):
        raise SpecError(f"got {str(per)[:60]!r}; expected some of {', '.join(SCOPES)}", file=file, field=f"{where}.per")
    return scope


def node_of(expression: str, depth: int = 0) -> Node | None:
    """The expression that a text writes, or None where it is none; ``depth``: functions that it stands in."""
    tokens = fold(tokens_of(normal(expression.replace("**", "^"))))
    if _brackets(tokens) > _MOST_BRACKETS:
        return None
    return whole([_typed_token(t, depth) for t in tokens], MOST_TOKENS)


def _typed_token(t: Token, depth: int) -> Token:
    """A token of an expression: ^ raises to a power, K of things may be 1024, and a function is of its arguments."""
    if t.kind == "stop" and depth < _MOST_NESTED and (called := _FUNCTION.fullmatch(t.text)):
        return Part("part", t.text, t.at, node=_called(called[1].lower(), called[2], depth + 1))
    n = t.number
    if n is not None and n.dim == COUNT and n.factor == 1e3 and n.text.endswith(("K", "k")):
        return replace(t, number=replace(n, binary=n.value * 1.024))
    return replace(t, kind="op") if t.text == "^" else t


def _brackets(tokens: Sequence[Token]) -> int:
    """How deep the brackets of an expression are."""
    steps = accumulate((t.kind == "open") - (t.kind == "close") for t in tokens)
    return max(steps, default=0)


def _called(name: str, inside: str, depth: int) -> Node | None:
    """What a function gives: the smallest or largest of several, or one rounded to a whole number."""
    given = [node_of(part, depth) for part in _arguments(inside)]
    nodes = [node for node in given if node is not None]
    if len(nodes) < len(given) or (len(nodes) == 1) != (name in ROUNDINGS):
        return None
    if name in ROUNDINGS:
        return Operation(name, nodes[0], nodes[0])
    return reduce(partial(Operation, name), nodes)


def _arguments(inside: str) -> list[str]:
    """What stands between the commas of a function, but for those of thousands and of functions inside."""
    parts, depth, start = [], 0, 0
    for i, sign in enumerate(inside):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0 and not _PARTED.match(inside, max(0, i - 1)):
            parts.append(inside[start:i])
            start = i + 1
    return [*parts, inside[start:]]


#: a word behind a number that looks like a unit, and is none that is known
_UNKNOWN_UNIT: Final = re.compile(r"(?:[kKMGTPmµμn]?(?:W|Wh|J|V|A|Hz|t|[Tt]ok|C|g|m)|[kMGT][A-Z]\w*)(?:/.*)?")


def _unknown_unit(node: Node) -> str:
    """The first word of an expression that looks like a unit which nobody here knows, or an empty text."""
    words = (n.noun.split()[0] for n in numbers_in(node) if n.noun.strip() and n.dim == COUNT)
    return next((w for w in words if _UNKNOWN_UNIT.fullmatch(w)), "")


def guide() -> str:
    """How a reading is written, in Markdown."""
    return (Path(__file__).parent / "reading_guide.md").read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """The JSON Schema of a reading."""
    value = {"type": ["boolean", "number", "string"]}
    premise = {
        "type": "object",
        "required": ["field", "value"],
        "properties": {
            "field": {"enum": list(FIELDS)},
            "value": value,
            "line": {"type": "integer", "minimum": 1},
            "text": {"type": "string"},
        },
        "additionalProperties": False,
    }
    scope = {"enum": list(SCOPES)}
    claim = {
        "type": "object",
        "required": ["line", "value"],
        "properties": {
            "line": {"type": "integer", "minimum": 1},
            "value": {
                "type": ["string", "number"],
                "description": "the figure as written on that line, with the unit that the line or its column gives",
            },
            "id": {"type": "string", "pattern": f"^{_NAME.pattern}$"},
            "quantity": {"enum": list(QUANTITIES), "description": "what the planner has"},
            "per": {"anyOf": [scope, {"type": "array", "items": scope}]},
            "configuration": {"type": "string"},
            "relation": {"enum": list(RELATIONS)},
            "expression": {
                "type": ["string", "number"],
                "description": "what it must follow from: numbers with units, + - * / ^ ( ), {id} and {field}",
            },
            "text": {"type": "string"},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A reading of a document",
        "type": "object",
        "required": ["reader", "claims"],
        "properties": {
            "reader": {"type": "string", "minLength": 1, "maxLength": 120},
            "document": {"type": "string"},
            "premises": {"type": "array", "items": premise},
            "configurations": {"type": "object", "additionalProperties": {"type": "array", "items": premise}},
            "let": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
            "claims": {"type": "array", "maxItems": MOST_CLAIMS, "items": claim},
        },
        "additionalProperties": False,
    }
