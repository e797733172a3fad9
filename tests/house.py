"""The rules of the house, read from the source: what stands where, what knows what, and how large anything is."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: rooms along the street; a room knows those before its step, and not its neighbours on the same step
STREET = (
    ("case",),
    ("cost",),
    ("placement",),
    ("planning",),
    ("serving", "training", "run"),
    ("launch", "audit"),
    ("doctor",),
    ("report",),
    ("mcp",),
    ("ui",),
    ("cli",),
)
STEP = {room: step for step, rooms in enumerate(STREET) for room in rooms}
#: modules beside the rooms that every room may use
BASE = ("errors", "units", "version")
#: packages that only one folder imports
ONLY = {"torch": "run", "safetensors": "run", "tokenizers": "run", "numba": "placement/compiled"}
FILES, LINES, PARAMETERS = 14, 60, 8
#: where numbers are computed, so that types say what they are
ARITHMETIC = (
    "cost",
    "placement/compiled",
    "placement/packing.py",
    "placement/ranks.py",
    "planning/evaluate.py",
    "planning/proof/rank_totals.py",
    "planning/proof/sampled_routing.py",
)


@dataclass(frozen=True, slots=True)
class Source:
    """A module of the package at ``root``: its dotted name below the package, and its tree."""

    path: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        """The first folder; the command line for what is run as a program; "" for what stands beside the rooms."""
        if self.path.endswith("__main__.py"):
            return "cli"
        return self.path.split("/")[0] if "/" in self.path else ""


def read(root: Path) -> list[Source]:
    """Every module below ``root``, the folder of the package."""
    paths = sorted(root.rglob("*.py"))
    return [Source(p.relative_to(root).as_posix(), ast.parse(p.read_text(encoding="utf-8"))) for p in paths]


def imports(source: Source, package: str) -> Iterator[tuple[str, str]]:
    """(top-level package, dotted name below ``package`` or "") of every import, also inside functions. A relative import
    counts as one of the package."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, below = alias.name.partition(".")
                yield top, below if top == package else ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = source.path.removesuffix(".py").split("/")
                base = ".".join([package, *parts[: len(parts) - node.level], *([base] if base else [])])
            top, _, below = base.partition(".")
            if top != package:
                yield top, ""
                continue
            for alias in node.names:
                yield top, f"{below}.{alias.name}".strip(".")


def edges(sources: list[Source], package: str) -> dict[str, set[str]]:
    """The modules that each module imports."""
    known = {s.name for s in sources} | {""}
    found: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for top, name in imports(source, package):
            if top == package:
                target = name if name in known else name.rpartition(".")[0]
                found[source.name].add(target)
    return found


def upward(sources: list[Source], package: str) -> list[str]:
    """Imports against the street, or of the whole package from a room."""
    rooms = {s.name: s.room for s in sources} | {"": ""}
    found = []
    known = edges(sources, package)
    for source in sources:
        for target in sorted(known.get(source.name, ())):
            if source.path in ("__init__.py", "__main__.py") or target in BASE:
                continue
            here, there = source.room, rooms.get(target, target.split(".")[0])
            if here and here == there:
                continue
            if here not in STEP or there not in STEP or STEP[there] >= STEP[here]:
                found.append(f"{source.name} → {target or package}")
    return found


def strangers(sources: list[Source], package: str) -> list[str]:
    """Imports of packages that belong to another folder."""
    return sorted(
        f"{s.name} → {top}"
        for s in sources
        for top in {top for top, _ in imports(s, package)}
        if top in ONLY and not s.path.startswith(f"{ONLY[top]}/")
    )


def circles(sources: list[Source], package: str) -> list[str]:
    """Sets of modules that import one another around a circle (Tarjan's strongly connected components)."""
    graph = {name: targets - {name, ""} for name, targets in edges(sources, package).items() if name}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for target in sorted(graph.get(name, ())):
            if target not in number:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], number[target])
        if low[name] == number[name]:
            circle = [stack.pop()]
            while circle[-1] != name:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(" ↔ ".join(sorted(circle)))

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return found


def namesakes(sources: list[Source]) -> list[str]:
    """Module names that stand in two rooms."""
    rooms = defaultdict(set)
    for source in sources:
        stem = source.path.rpartition("/")[2].removesuffix(".py")
        if not stem.startswith("__"):
            rooms[stem].add(source.room)
    return sorted(f"{stem}: {', '.join(sorted(where))}" for stem, where in rooms.items() if len(where) > 1)


def crowded(sources: list[Source]) -> list[str]:
    """Folders of more modules than ``FILES``."""
    folders = defaultdict(int)
    for source in sources:
        folders[source.path.rpartition("/")[0]] += 1
    return sorted(folder for folder, number in folders.items() if number > FILES)


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether Typer makes a command of it: its parameters are options of the command line."""
    calls = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return any(isinstance(c, ast.Attribute) and c.attr in ("command", "callback") for c in calls)


def long(sources: list[Source]) -> list[str]:
    """Functions of more than ``LINES`` lines, the options of a command not counted."""
    found = []
    for source in sources:
        for function in _functions(source):
            first = function.body[0].lineno if _is_command(function) else function.lineno
            if (function.end_lineno or first) - first + 1 > LINES:
                found.append(f"{source.path}: {function.name}")
    return sorted(found)


def wide(sources: list[Source]) -> list[str]:
    """Functions of more than ``PARAMETERS`` parameters, but commands; ``self`` and ``cls`` not counted."""
    found = []
    for source in sources:
        for function in _functions(source):
            a = function.args
            names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))]
            number = len(names) - (names[:1] in (["self"], ["cls"]))
            if number > PARAMETERS and not _is_command(function):
                found.append(f"{source.path}: {function.name}")
    return sorted(found)


def untyped(sources: list[Source]) -> list[str]:
    """Modules of arithmetic that say ``Any``."""
    found = []
    for source in sources:
        if not any(source.path == a or source.path.startswith(f"{a}/") for a in ARITHMETIC):
            continue
        named = (n.id if isinstance(n, ast.Name) else getattr(n, "attr", "") for n in ast.walk(source.tree))
        if "Any" in named:
            found.append(source.path)
    return sorted(found)
