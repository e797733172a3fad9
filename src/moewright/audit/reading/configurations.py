"""The configurations of a document: prefill and decode, options, models of a table, each with its own premises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import Any, Final

from moewright.audit.reading.premises import Premise, catalogued, catalogued_names
from moewright.audit.reading.wordings import COMPILED, DERIVED, PER_GPU
from moewright.audit.text.column_units import PLAIN
from moewright.audit.text.document import Document, Statement
from moewright.audit.text.numbers import COUNT, tokens_of

#: configurations of a document that are priced; what stands under further ones is not judged
MOST_CONFIGURATIONS: Final = 24
#: what a title calls a configuration, a phase, or one of several choices
_NAMED: Final = re.compile(
    r"\b(?:prefill|decod\w+|training|inference|serving|options?|scenarios?|config(?:uration)?s?|plans?|strateg(?:y|ies)|"
    r"deployments?|variants?|setups?|proposals?|proposed|baseline|profiles?|tiers?|examples?|cases?|alternatives?|"
    r"layouts?|phase|current|optimized)\b|\b[ETPDC]P[ =:-]?\d+|\d+ ?[x×] ?(?:[ABHL]\d{2,3}|GB\d00|MI3|GPU)|"
    r"\d+[ -]GPUs?\b|预填充|解码|方案|配置|场景|Variante|Szenario|Konfiguration|Vorschlag",
    re.IGNORECASE | re.ASCII,
)
#: the letter that a title begins with: A, B (proposed), C1: DP attention
_INITIAL: Final = re.compile(r"^[A-Z]\d?(?=$|\s*[(:=–-])")
#: what the title of a column, beside others, calls one of several choices: A, B (proposed), today
_CHOICE: Final = re.compile(
    rf"{_INITIAL.pattern}|^(?:(?:as is|to be|today|now|old|new|existing|before|after|target|planned)\b|"
    r"(?:heute|bisher|alt|neu|Ist|Soll|Plan)\b|现状|现在|当前|原|新|目标)",
)
#: titles that say nothing of a configuration
_GENERAL: Final = re.compile(
    r"^(?:parallel\w* )?(?:configurations?|strateg(?:y|ies)|plan|deployment|inference|serving|training)$", re.IGNORECASE
)
_PHASES: Final = ((re.compile(r"prefill|预填充", re.I), "prefill"), (re.compile(r"decod|解码", re.I), "decode"))
#: fields of which several values make several configurations
_TELLING: Final = ("strategy.", "cluster.gpus", "cluster.device.name", "model.", "workload.", "nodes")
#: fields of a table's columns, of which each row gives its own
_COLUMNS: Final = ("strategy.", "cluster.gpus", "nodes", "model.", "workload.batch", "workload.sequence")
#: rows that are parts of one configuration
_PARTS: Final = re.compile(
    r"\b(?:stages?|ranks?|groups?|nodes?|layers?|components?|modules?|parts?|operat\w+|ops?|kernels?|steps?|tensors?|"
    r"matri\w+|blocks?|phases?|dimensions?|axis|axes|total|sum)\b|阶段|模块|组件|合计|算子",
    re.IGNORECASE,
)

_MODELS: Final = re.compile(r"^(?:models?(?: name)?|checkpoints?|模型(?:名称)?|Modelle?)$", re.IGNORECASE)
#: the title of a column that is of a model of that size
_SIZED: Final = re.compile(r"\b\d+(?:\.\d+)?[BT]\b(?!/)")


@dataclass(frozen=True, slots=True)
class Configuration:
    """One of a document's configurations: under a title (``path``), in a ``column`` or in the row on ``line`` of table
    ``group``. ``premises``: its own, with what it inherits; ``own``: fields that it gives itself; ``contested``: those
    that it gives several values; ``unpriced``: why nothing can be held against it."""

    name: str
    path: tuple[str, ...]
    group: int = 0
    column: str = ""
    line: int = 0
    premises: tuple[Premise, ...] = ()
    own: frozenset[str] = frozenset()
    contested: tuple[tuple[str, tuple[object, ...]], ...] = ()
    unpriced: str = ""


_LETTER: Final = re.compile(
    r"(?:Option|Variante?|Layout|Plan|Alternative|Scenario|方案|选项)\s*([A-Z\d])\b", re.IGNORECASE
)
_LONE: Final = re.compile(r"([A-Z])$")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the configurations of a document stand."""

    sections: dict[tuple[str, ...], Configuration]
    columns: dict[tuple[int, str], Configuration]
    rows: dict[int, Configuration]

    def at(self, s: Statement | None) -> Configuration | None:
        """The innermost configuration that ``s`` stands in, or None."""
        if s is None:
            return None
        if s.kind == "cell":
            inside = self.rows.get(s.line) or self.columns.get((s.group, s.column))
            inside = inside or self._lettered(s) or self._in_another_table(s)
            if inside is not None:
                return inside
        return self.around((*s.path, s.text) if s.kind == "heading" else s.path)

    def _lettered(self, s: Statement) -> Configuration | None:
        """The section that the row or the column of a cell is named after: A, of "Option A: ..."."""
        names = {m[1].upper(): c for c in self.sections.values() if (m := _LETTER.match(c.name))}
        if len(names) < 2:
            return None
        told = ((_LETTER.match(x.strip()) or _LONE.match(x.strip())) for x in (s.row, s.column))
        return next((names[m[1].upper()] for m in told if m is not None and m[1].upper() in names), None)

    def _in_another_table(self, s: Statement) -> Configuration | None:
        """The column of another table, with the same title or letter, where that is one configuration."""
        key = _title_key(s.column)
        found = [c for c in self.columns.values() if key and _title_key(c.column) == key]
        return found[0] if len(found) == 1 else None

    def around(self, path: tuple[str, ...]) -> Configuration | None:
        """The innermost section that is a configuration and has ``path`` in it."""
        return next((self.sections[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.sections), None)

    def all(self) -> tuple[Configuration, ...]:
        """Every configuration."""
        return (*self.sections.values(), *self.columns.values(), *self.rows.values())


def _title_key(title: str) -> str:
    """What columns of different tables have in common that are of one thing: the letter, or else the whole title."""
    first = _INITIAL.match(title.strip())
    return first[0] if first is not None else title.strip()


def configurations_of(document: Document, premises: list[Premise]) -> Places:
    """The configurations of ``document``; none where it has only one. A configuration is a section, a column or a row
    that is named like one, beside another one that gives a field another value. ``premises``: all that it gives."""
    rows = {c.line: c for c in _rows(document)}
    tables = {c.group for c in rows.values()}
    columns = {(c.group, c.column): c for c in _columns(document, premises) if c.group not in tables}
    places = Places({c.path: c for c in _sections(premises, _title(document))}, columns, rows)
    levels: dict[int, list[Premise]] = {}
    for p in premises:
        levels.setdefault(id(places.at(p.where)), []).append(p)
    outside = levels.get(id(None), [])
    sizes: dict[tuple[object, ...], set[str]] = {}
    for c in places.all():
        sizes.setdefault(_beside(c), set()).update(p.field for p in _own(c, levels) if p.field in _LAYOUT)

    def whole(c: Configuration) -> Configuration:
        return _inheriting(c, places, levels, outside, sizes[_beside(c)])

    return Places(
        {path: whole(c) for path, c in places.sections.items()},
        {place: whole(c) for place, c in places.columns.items()},
        {line: whole(c) for line, c in places.rows.items()},
    )


def _inheriting(
    c: Configuration, places: Places, levels: dict[int, list[Premise]], outside: list[Premise], beside: set[str]
) -> Configuration:
    """``c`` with its own premises, then those of the configurations around it, then those of none; of the sizes of a
    strategy that it and those ``beside`` it have, no other than its own, where it has any."""
    mine = _own(c, levels)
    sizes = {p.field for p in mine if p.field in _LAYOUT}
    others = beside - sizes if sizes else set()
    gpus = {p.value for p in outside if p.field == "cluster.gpus"}
    mine = [p for p in mine if not (p.field == "cluster.gpus" and _fills(mine, gpus - {p.value}))]
    chain = [mine]
    path = c.path if c.group else c.path[:-1]
    while path:
        around = places.around(path)
        if around is None:
            break
        chain.append(levels.get(id(around), []))
        path = around.path[:-1]
    chain.append(outside)
    taken: dict[str, Premise] = {}
    contested: dict[str, tuple[object, ...]] = {}
    for level in chain:
        before = set(taken)
        values: dict[str, dict[object, None]] = {}
        for p in level:
            if level is not mine and p.field in others:
                continue
            if p.field not in before and not (p.field == "cluster.gpus" and "nodes" in before):
                taken.setdefault(p.field, p)
                values.setdefault(p.field, {})[p.value] = None
        contested |= {f: tuple(v) for f, v in values.items() if len(v) > 1}
    if _phase_of(c.name) and not {"cluster.gpus", "nodes"} & {p.field for p in mine}:
        contested["cluster.gpus"] = ("those of the whole", "a part of them")
    return replace(
        c, premises=tuple(taken.values()), own=frozenset(p.field for p in mine), contested=tuple(contested.items())
    )


def _own(c: Configuration, levels: dict[int, list[Premise]]) -> list[Premise]:
    """What ``c`` gives itself."""
    mine = [*c.premises, *levels.get(id(c), [])]
    return mine + _phase(c, mine)


def _beside(c: Configuration) -> tuple[object, ...]:
    """What the configurations of one table, or of one section, have in common."""
    return (c.group,) if c.group else c.path[:-1]


#: sizes of a strategy, and those that make the GPUs of all
_LAYOUT: Final = tuple(f"strategy.{name}" for name in ("tp", "pp", "dp", "cp", "ep", "etp"))
_FILLING: Final = _LAYOUT[:4]


def _fills(mine: list[Premise], gpus: set[Any]) -> bool:
    """Whether the sizes of a strategy, each told once, take one of ``gpus`` in all."""
    sizes: dict[str, set[Any]] = {}
    for p in mine:
        if p.field in _FILLING:
            sizes.setdefault(p.field, set()).add(p.value)
    told = [next(iter(v)) for v in sizes.values() if len(v) == 1]
    return len(told) == len(sizes) > 1 and prod(told) in gpus


def _phase_of(name: str) -> str:
    """The kind of pass that a name tells, or an empty text."""
    kinds = [kind for pattern, kind in _PHASES if pattern.search(name)]
    return kinds[0] if len(kinds) == 1 else ""


def _phase(c: Configuration, mine: list[Premise]) -> list[Premise]:
    kind = _phase_of(c.name)
    if not kind or not mine or any(p.field == "workload.kind" for p in mine):
        return []
    return [Premise("workload.kind", kind, mine[0].line, mine[0].text)]


def _title(document: Document) -> str:
    """The document's first heading, where it names a model, which the sections beside it are of too, as on slides."""
    first = document.statements[0] if document.statements else None
    if first is None or first.kind != "heading" or _phase_of(first.text) or _LETTER.match(first.text):
        return ""
    return first.text if any(model for model, _ in catalogued_names(first.text[:200])) else ""


def _sections(premises: list[Premise], title: str) -> Iterator[Configuration]:
    """Sibling sections named like configurations, of which one field has different values; ``title``: of all."""
    by_parent: dict[tuple[str, ...], dict[str, list[Premise]]] = {}
    for p in premises:
        path = _path(p)
        for depth in range(len(path)):
            if _is_named(path[depth]) and (depth or path[depth] != title):
                by_parent.setdefault(path[:depth], {}).setdefault(path[depth], []).append(p)
    for parent, sections in by_parent.items():
        if len(sections) < 2 or not _differ(list(sections.values())):
            continue
        for name in sections:
            yield Configuration(name, (*parent, name))


def _path(p: Premise) -> tuple[str, ...]:
    if p.where is None:
        return p.path
    return (*p.where.path, p.where.text) if p.where.kind == "heading" else p.where.path


@lru_cache(4096)
def _is_named(title: str) -> bool:
    """Whether a title names one of several configurations."""
    if _GENERAL.search(title):
        return False
    return bool(_NAMED.search(title)) or any(any(pair) for pair in catalogued_names(title[:200]))


def _differ(sections: list[list[Premise]]) -> bool:
    """Whether a telling field has a value in one of the sections that it has not in another that gives it."""
    values: dict[str, set[object]] = {}
    for section in sections:
        first = {p.field: p.value for p in reversed(section)}
        for name, value in first.items():
            if name.startswith(_TELLING):
                values.setdefault(name, set()).add(value)
    return any(len(v) > 1 for v in values.values())


def _columns(document: Document, premises: list[Premise]) -> Iterator[Configuration]:
    """Columns of a table that are named like configurations, where rows give fields different values."""
    cells = [s for s in document.statements if s.kind == "cell" and s.column]
    by_table: dict[int, dict[str, list[Premise]]] = {}
    tables = {s.group for s in cells}
    for p in premises:
        if p.where is None or p.where.group not in tables or p.where.kind != "cell":
            continue
        if _is_named(p.where.column) or _CHOICE.match(p.where.column):
            by_table.setdefault(p.where.group, {}).setdefault(p.where.column, []).append(p)
    for group, table in groupby(cells, key=lambda s: s.group):
        sized: dict[str, list[Statement]] = {}
        for s in table:
            if _SIZED.search(s.column):
                sized.setdefault(s.column, []).append(s)
        if len(sized) > 1:
            by_table.pop(group, None)
            yield from (_of_model(title, column, title) for title, column in sized.items())
    for group, columns in by_table.items():
        if len(columns) < 2 or not _differ(list(columns.values())):
            continue
        first = next(s for s in cells if s.group == group)
        for title in columns:
            yield Configuration(title, first.path, group, column=title)


def _rows(document: Document) -> Iterator[Configuration]:
    """Rows of a table whose columns are fields: each is a configuration of its own."""
    cells = [s for s in document.statements if s.kind == "cell"]
    for group, all_cells in groupby(cells, key=lambda s: s.group):
        table = list(all_cells)
        fields = {s.column: _field(s.column) for s in table}
        told = any(not PLAIN.fullmatch(s.column) for s in table)  # a column that says what is in it
        if _MODELS.search(table[0].corner) and told and len({s.line for s in table}) > 1:
            yield from (_of_model(row[0].row, list(row)) for row in _lines(table))
            continue
        corner = _field(table[0].corner)
        known = {f for f in (*fields.values(), corner) if f}
        sizes = {f for f in known if not f.startswith("model.")}
        if not (sizes or len(known) > 1) or _PARTS.search(table[0].corner) or len({s.line for s in table}) < 2:
            continue
        for row in _lines(table):
            line = row[0].line
            own = [p for s in row for p in _cell(fields[s.column], s)]
            if corner and row[0].row.replace(",", "").isdigit():
                own.append(Premise(corner, int(row[0].row.replace(",", "")), line, row[0].text, where=row[0]))
            own += _models(row[0].row, row[0])
            if own and not _PARTS.search(row[0].row):
                yield Configuration(row[0].row, row[0].path, group, line=line, premises=tuple(own))


def _lines(table: list[Statement]) -> Iterator[list[Statement]]:
    return (list(cells) for _, cells in groupby(table, key=lambda s: s.line))


def _of_model(name: str, cells: list[Statement], column: str = "") -> Configuration:
    """The row, or the column, that is of the model ``name``."""
    first = cells[0]
    own = (*(p for s in cells for p in _cell("" if column else _field(s.column), s)), *_models(name, first))
    known = any(p.field == "model.name" for p in own)
    reason = "" if known else f"it is of {name[:60]}, which is no model of the catalogue"
    line = 0 if column else first.line
    return Configuration(name, first.path, first.group, column=column, line=line, premises=own, unpriced=reason)


def _field(title: str) -> str:
    """The field that a column's title names, or an empty text."""
    plain = re.sub(r"[(\[][^)\]]*[)\]]|^#\s*-?|^num(?:ber)? (?:of )?", "", title).strip(" #")
    if not plain or len(plain) > 32 or PER_GPU.search(title) or DERIVED.search(title):
        return ""
    if re.search(r"\bE?[ETDPC]P\s*[=:]?\s*\d", plain):  # EP 8: a choice, of which the column has the figures
        return ""
    found = next((field for pattern, field, dims in COMPILED if COUNT in dims and pattern.search(plain)), "")
    return found if found.startswith(_COLUMNS) else ""


def _cell(name: str, s: Statement) -> Iterator[Premise]:
    """The premise of a cell that is one whole number."""
    tokens = tokens_of(s.value)
    n = tokens[0].number if len(tokens) == 1 else None
    if name and n is not None and n.dim == COUNT and not n.percent and n.value == int(n.value) and n.value > 0:
        yield Premise(name, int(n.value), s.line, s.text, where=s)


def _models(name: str, s: Statement) -> Iterator[Premise]:
    """The model that a row or a column is named after."""
    plain = re.sub(r"[(\[].*", "", name).strip(" *")
    model, _ = catalogued(plain)
    if model and any(c.isdigit() for c in plain):
        yield Premise("model.name", model, s.line, s.text, where=s)
