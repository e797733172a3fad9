"""A report as one HTML file: no other file, no network. The drawing is done by Vega (``vega.js``)."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from moewright.report.blocks import Table
from moewright.report.html.report_record import Report
from moewright.version import __version__


def render_html(report: Report, made_by: str = "") -> str:
    """The file's text. ``made_by``: the command that made it."""
    return str(
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            made_by=made_by,
            version=__version__,
            styles=Markup(file_text("colours.css") + file_text("report.css")),
            vega=Markup(file_text("vega.js")) if report.figures else None,
            behaviour=Markup(file_text("figures.js") + file_text("report.js")),
            specs=[script_json({"name": f.name, "spec": f.spec(), "panel": f.panel}) for f in report.figures],
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("moewright.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.filters["anchor"] = anchor
    environment.filters["ticks"] = ticks
    return environment


def anchor(title: str) -> str:
    """A heading's name in links: ``memory-per-gpu``."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def ticks(text: str) -> Markup:
    """``text`` with what stands between backticks as code."""
    parts = text.split("`")
    pieces = [Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts)]
    return Markup("").join(pieces)


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


@cache
def file_text(name: str) -> str:
    """A file beside this one."""
    return resources.files("moewright.report.html").joinpath(name).read_text(encoding="utf-8")
