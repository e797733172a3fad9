"""The reference pages that are made from the code: the command line, the spec, the JSON of a plan, the catalogue.

``conf.py`` writes them before each build; ``docs/reference/`` is not committed, but for its hand-written pages.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo

import moewright
import moewright.cli  # every verb joins the app
from moewright.case.file.schema import schema
from moewright.cli.app import app
from moewright.planning import record
from moewright.report.catalogue_page import list_clusters, list_devices, list_models
from moewright.report.markdown import render

NOTE = "<!-- made from the code by docs/reference_pages.py -->\n\n"


def write(folder: Path) -> None:
    """All pages, into ``folder``; a page that has not changed is left alone."""
    folder.mkdir(exist_ok=True)
    pages = {"cli": command_line(), "spec-fields": spec_fields(), "json": plan_json(), "catalogue": catalogue()}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def command_line() -> str:
    """Every verb with its arguments and options."""
    parts = [
        f"{NOTE}# Command line\n\n{_cell(str(app.info.help))}\n",
        "Exit status: 0; 1 where what was checked does not hold; 2 bad input; 3 not legal, or does not fit; 4 a run "
        "that failed. Output respects `NO_COLOR` and the terminal's width (`COLUMNS`).\n",
    ]
    for command in app.registered_commands:
        function = command.callback
        assert function is not None
        name = command.name or function.__name__
        options = [_Parameter.of(p) for p in _parameters(function)]
        words = [p.names if p.required else f"[{p.names}]" for p in options if p.argument]
        parts.append(f"## {name}\n\n{inspect.cleandoc(function.__doc__ or '')}\n")
        parts.append(f"```\n{' '.join(['moewright', name, *words, '[OPTIONS]'])}\n```\n")
        rows = [f"| {p.shown} | {p.takes} | {_cell(p.help)} |" for p in options]
        parts.append("| option | takes | what it does |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """(name, annotation, default) of a verb's parameters."""
    hints = typing.get_type_hints(function, include_extras=True)
    return [(n, hints[n], p.default) for n, p in inspect.signature(function).parameters.items()]


@dataclasses.dataclass(frozen=True)
class _Parameter:
    names: str
    argument: bool
    required: bool
    takes: str
    help: str

    @property
    def shown(self) -> str:
        return f"`{self.names}`" if self.argument else ", ".join(f"`{n}`" for n in self.names.split())

    @staticmethod
    def of(parameter: tuple[str, Any, Any]) -> _Parameter:
        name, hint, default = parameter
        kind, info = typing.get_args(hint)[:2]
        argument = isinstance(info, ArgumentInfo)
        required = default is inspect.Parameter.empty
        help_text = info.help or ""
        if not required and default not in (None, False, True, ""):
            help_text += f" Default: {getattr(default, 'value', default)}."
        if argument:
            return _Parameter(info.metavar or name.upper(), True, required, "", help_text)
        first = [info.default] if isinstance(info.default, str) and info.default.startswith("-") else []
        names = " ".join([*first, *(info.param_decls or ())]) or f"--{name.replace('_', '-')}"
        names = names.replace("/", " ")
        return _Parameter(names, False, required, _takes(kind, info), help_text)


def _takes(kind: Any, info: Any) -> str:
    """What an option takes, of its type."""
    parts = [x for x in (typing.get_args(kind) or (kind,)) if x is not type(None)]
    one = parts[0]
    if typing.get_args(one):  # list[str] | None
        one = typing.get_args(one)[0]
    if one is bool:
        return ""
    if inspect.isclass(one) and issubclass(one, enum.Enum):
        return ", ".join(f"`{member.value}`" for member in one)
    ends = [f"{word} {value:g}" for word, value in (("from", info.min), ("to", info.max)) if value is not None]
    name = info.metavar or {int: "number", float: "number", Path: "file"}.get(one, "text")
    return " ".join([_cell(name), *ends])


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def spec_fields() -> str:
    """Every field of a spec file, record by record, from its JSON Schema."""
    whole = schema()
    parts = [
        f"{NOTE}# Fields of a spec file\n",
        "Of [a spec](../spec.md), from the JSON Schema that `moewright schema` prints. Quantities are numbers in SI, "
        "or texts with a unit.\n",
        f"## The file\n\n{_fields(whole)}",
    ]
    for name, one in whole.get("$defs", {}).items():
        if "properties" in one:
            parts.append(f"## {_words(name)}\n\n{_cell(one.get('description', ''))}\n\n{_fields(one)}")
    return "\n".join(parts)


def _fields(one: dict[str, Any]) -> str:
    needed = one.get("required", [])
    rows = [
        f"| `{name}` | {_kind(of)} | {'yes' if name in needed else ''} | {_cell(str(of.get('description', '')))} |"
        for name, of in one.get("properties", {}).items()
    ]
    return "| field | takes | required | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _kind(of: dict[str, Any]) -> str:
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return f"[{_words(name)}](#{_words(name).lower().replace(' ', '-')})"
    if "anyOf" in of:
        return " or ".join(dict.fromkeys(_kind(x) for x in of["anyOf"]))
    if "enum" in of:
        return ", ".join(f"`{x}`" for x in of["enum"][:12])
    if "const" in of:
        return f"`{of['const']}`"
    if of.get("type") == "array":
        return f"list of {_kind(of.get('items', {}))}"
    return f"{of.get('type', 'any')}"


def _words(name: str) -> str:
    """``NamedClusterRecord`` as ``Named cluster``."""
    name = name.removesuffix("Record")
    spaced = "".join(f" {c.lower()}" if c.isupper() and i else c for i, c in enumerate(name))
    return spaced[:1].upper() + spaced[1:]


def plan_json() -> str:
    """The keys of every command's JSON, from what it prints of an example; and what the records of a plan say."""
    parts = [
        f"{NOTE}# JSON\n",
        "Every command has `--json`: one object, SI units (bytes, seconds, FLOPs, bytes/s), no figures rounded. The "
        "tables have the keys of an example each, with one of its values.\n",
    ]
    for command, value in _examples():
        parts.append(f"## {command}\n\n| key | as in the example |\n|---|---|\n" + "\n".join(_keys(value)) + "\n")
    parts.append("## What the records of a plan mean\n")
    for one in _records():
        parts.append(f"**{one.__name__}**: {_described(one)}\n")
    return "\n".join(parts)


def _examples() -> Iterator[tuple[str, dict[str, Any]]]:
    """A command, and the object that it prints with ``--json``."""
    from moewright.audit.audit_document import audit
    from moewright.case.loads.synthetic import synthetic_loads
    from moewright.cli.fit import USUAL, _case
    from moewright.doctor.diagnose import Question, diagnose
    from moewright.serving.planner.fitting import fit

    examples = Path(__file__).parents[1] / "examples"
    yield "plan, of a pass", moewright.plan(moewright.load(examples / "paper.yaml"), top=1).to_dict()
    served = moewright.load(examples / "serve-gpt-oss.yaml")
    assert served.serving is not None
    served = dataclasses.replace(served, serving=dataclasses.replace(served.serving, requests=100))
    yield "plan, of a serving workload", moewright.plan_serving(served, top=1).to_dict()
    yield "plan, of training", moewright.plan_training(moewright.load(examples / "train-paper.yaml"), top=1).to_dict()
    yield "serve", moewright.serve(served).to_dict()
    case, engine = _case("Qwen3-30B-A3B", USUAL[0], {"name": "vllm"}, None, 0)
    yield "fit", fit(case, engine, 8192, 1, 8).to_dict()
    placed = moewright.place(synthetic_loads("zipf:1.0", 2, 8, 0.0, 0), slots=8, gpus=4)
    yield "place", placed.to_dict()
    yield "audit", audit(examples / "strategy-ep64-tp2.md", [], None, None).to_dict()
    text = (examples / "vllm-deepseek.sh").read_text(encoding="utf-8")
    yield "doctor", diagnose(text, Question("h200-hgx", 16)).to_dict()


def _keys(value: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """Rows of the keys below ``value``; of a list its first entry's."""
    if isinstance(value, dict) and depth < 4 and all(isinstance(k, str) and len(k) < 40 for k in value):
        for key, inner in list(value.items())[:40]:
            yield from _keys(inner, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], dict) and depth < 4:
        yield from _keys(value[0], f"{path}[]", depth)
    elif path:
        shown = str(value) if not isinstance(value, float) else f"{value:.6g}"
        shown = shown.replace(f"{Path(__file__).parents[1]}/", "")
        yield f"| `{path}` | `{_cell(shown[:48] + ('…' if len(shown) > 48 else '')).replace('`', '')}` |"


def _records() -> Iterator[type]:
    skipped = ("Sample", "Result")
    for one in vars(record).values():
        mine = inspect.isclass(one) and one.__module__ == record.__name__ and dataclasses.is_dataclass(one)
        if mine and one.__name__ not in skipped:
            yield one
    yield record.Result


def _described(one: type) -> str:
    doc = inspect.cleandoc(one.__doc__ or "")
    return "" if doc.startswith(f"{one.__name__}(") else doc.replace("``", "`").replace("<", "&lt;")


def catalogue() -> str:
    """Models, devices and clusters."""
    pages = [list_models()[1], list_devices()[1], list_clusters()[1]]
    intro = (
        "Of the package; `moewright models NAME`, `devices NAME` and `clusters NAME` explain one, with the source of "
        "each figure. A model is also any Hugging Face config, a device or a cluster any that a [spec](../spec.md) "
        "writes out.\n"
    )
    body = render(pages).split("\n", 1)[1]
    return f"{NOTE}# Catalogue\n\n{intro}\n## Models\n{body}"
