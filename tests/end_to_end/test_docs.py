"""The documentation site: reference pages are what the code has, every page has its place."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import typer

import moewright
from moewright.cli import app

DOCS = Path(__file__).parents[2] / "docs"


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


pages = module("reference_pages")


def test_the_command_line_is_described_as_it_is():
    text = pages.command_line()
    verbs = typer.main.get_command(app).commands
    parts = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert set(parts) == set(verbs)
    for name, command in verbs.items():
        taken = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")} - {"--help"}
        # --verify/--no-verify stand as one
        told = {o for o in re.findall(r"`(-[^`]+)`", parts[name]) if " " not in o}
        missing = {o for o in taken if o not in told and not o.startswith("--no-")}
        assert missing <= {"-h", "-i", "-v"}, name
        assert told <= taken, name


def test_every_field_of_a_spec_and_of_a_plan_is_described():
    fields = pages.spec_fields()
    for name in ("model", "cluster", "workload", "routing", "limits"):
        assert f"| `{name}` |" in fields
    for one in pages._records():
        assert one.__doc__
    keys = "\n".join(pages._keys({"best": {"name": "R1", "parts": [{"seconds": 1.0}, {"seconds": 2.0}]}, "none": None}))
    assert keys.count("\n") == 2
    assert "| `best.parts[].seconds` | `1` |" in keys
    assert "DeepSeek" in pages.catalogue()


def test_every_page_is_in_the_contents():
    listed = set()
    for block in re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S):
        listed |= {line for line in block.splitlines() if line and not line.startswith(":")}
    made = {"reference/cli", "reference/spec-fields", "reference/json", "reference/catalogue"}
    there = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md") if "_build" not in p.parts}
    assert listed == (there | made) - {"index"}


def test_every_public_name_is_documented():
    text = (DOCS / "reference" / "python.md").read_text()
    for name in dir(moewright):
        if name not in ("MoewrightError", "SpecError", "InfeasibleError", "__version__"):  # of automodule
            assert re.search(rf"\.{name}$", text, re.M), name


def test_terms_are_in_order():
    terms = re.findall(r"^(\S.*)\n  \S", (DOCS / "glossary.md").read_text(), re.M)
    assert len(terms) > 30
    assert [t.lower() for t in terms] == sorted(t.lower() for t in terms)


def test_pictures_are_what_the_code_draws():
    pytest.importorskip("vl_convert")
    draw = module("draw")
    for path, text in draw.drawn(draw.pass_figures()):
        shape = re.sub(r"[\d.]+", "0", text)
        assert re.sub(r"[\d.]+", "0", path.read_text()) == shape, path.name
