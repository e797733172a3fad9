"""What the page asks for and gets: a spec or options in, a report as plain values out."""

from __future__ import annotations

import hashlib
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import altair as alt

from moewright.case.case import Case
from moewright.case.catalogue.hardware_catalogue import cluster_names, load_cluster
from moewright.case.catalogue.model_catalogue import model_names
from moewright.case.file.files import parse_mapping
from moewright.case.file.load import case_of
from moewright.case.options.commented_spec import commented_spec
from moewright.case.options.from_options import COMMAND_LINE, CaseOptions, by_option, document_of
from moewright.case.serving import ENGINES
from moewright.errors import MoewrightError, SpecError
from moewright.mcp.bounded_results import check_paths
from moewright.report.blocks import Section, Table
from moewright.report.html.render_report import file_text
from moewright.report.html.report_record import Report

#: characters of a spec at most
MOST_SPEC: Final = 1 << 18
#: alternatives, and what of a report the page shows first
ALTERNATIVES: Final = 3
#: the options that a page sends, all texts
OPTIONS: Final = (
    "model",
    "cluster",
    "engine",
    "input",
    "output_tokens",
    "concurrency",
    "ttft",
    "tpot",
    "objective",
    "strategy",
    "routing",
    "precision",
    "kind",
    "batch",
    "sequence",
)


@cache
def nowhere() -> Path:
    """An empty folder: names of files in a spec are looked up there, so that a page reads none."""
    return Path(tempfile.mkdtemp(prefix="moewright-ui-")).resolve()


def choices() -> dict[str, Any]:
    """What lists on the page offer."""
    sizes = {name: load_cluster(name).gpus_per_node for name in cluster_names()}
    return {"models": list(model_names()), "clusters": sizes, "engines": list(ENGINES), "example": example()}


def example() -> str:
    """The spec of the document's case."""
    from importlib import resources

    return resources.files("moewright.ui").joinpath("example.yaml").read_text(encoding="utf-8")


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The report of ``asked`` ({"spec": text} or {"options": {name: text}}) as plain values, with the spec as YAML;
    where it cannot be planned, {"error", "field"}."""
    text = ""
    try:
        text, document, folder = _document(asked)
        for name, value in document.items():
            check_paths(value, folder, name)
        return {"spec": text, **_plain(_report(case_of(document, str(folder / "spec.yaml"))))}
    except SpecError as raised:
        error = raised
        if "options" in asked:
            error = by_option(SpecError(raised.problem, file=COMMAND_LINE, field=raised.field))
        return {"spec": text, "error": _without_folder(error.problem), "field": error.field}
    except MoewrightError as raised:
        return {"spec": text, "error": _without_folder(str(raised)), "field": None}


def _document(asked: dict[str, Any]) -> tuple[str, dict[str, Any], Path]:
    """(YAML, what it holds, the folder that its files are looked up in) of what is asked. Raises SpecError."""
    spec, options = asked.get("spec"), asked.get("options")
    if isinstance(spec, str):
        if len(spec) > MOST_SPEC:
            raise SpecError(f"is longer than {MOST_SPEC} characters", field="spec")
        return spec, parse_mapping(spec, "spec"), nowhere()
    if not isinstance(options, dict):
        raise SpecError("is missing; expected spec or options", field="spec")
    for name, value in options.items():
        if name not in (*OPTIONS, "config") or not isinstance(value, str):
            raise SpecError(f"got {str(name)[:40]!r}; expected texts of {', '.join(OPTIONS)}", field="options")
    given = {name: value.strip() for name, value in options.items() if name != "config" and value.strip()}
    config, folder = options.get("config", "").strip(), nowhere()
    if config:
        folder = _with_config(config)
        given["model"] = "config.json"
    document = document_of(CaseOptions(**{"model": "", **given}))
    return commented_spec(document), document, folder


def _with_config(text: str) -> Path:
    """A folder of its own that holds the pasted ``text`` as config.json, so that specs name it as they would anywhere.
    Raises SpecError for what is no JSON object."""
    parse_mapping(text, "config.json")
    folder = nowhere() / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def _without_folder(text: str) -> str:
    """``text`` without the names of folders that only this process knows."""
    return re.sub(rf"{re.escape(str(nowhere()))}/?([0-9a-f]{{16}}/)?", "", text)


def _report(case: Case) -> Report:
    """Planned anew. The checks that Altair makes of its own input are left to tests: they take half a second."""
    if case.serving is not None:
        from moewright.report.html.serving_report import serving_plan_report
        from moewright.serving.planner.serving_plan import plan_serving
        from moewright.serving.validation.row_steps import default_folder

        return serving_plan_report(plan_serving(case, ALTERNATIVES, tables=default_folder(None, False)))
    if case.training is not None:
        from moewright.report.html.training_report import training_report
        from moewright.training.plan_training import plan_training

        return training_report(plan_training(case, top=ALTERNATIVES))
    from moewright.planning.search import plan
    from moewright.report.html.pass_report import pass_report

    return pass_report(plan(case, top=ALTERNATIVES))


def _plain(report: Report) -> dict[str, Any]:
    return {
        "title": report.title,
        "answer": report.answer,
        "numbers": [{"name": n.name, "value": n.value, "note": n.note} for n in report.numbers],
        "command": report.command.text,
        "note": _without_folder(report.command.note),
        "measured": report.measured,
        "derived": report.derived,
        "figures": [
            {"name": f.name, "title": f.title, "caption": f.caption, "spec": f.spec(), "panel": f.panel}
            for f in report.figures
        ],
        "why_not": [_section(s) for s in report.sections if s.title == "Search"],
        "tables": [_section(s) for s in report.sections[1:] if s.title != "Search"],
    }


def _section(s: Section) -> dict[str, Any]:
    blocks: list[Any] = []
    for block in s.blocks:
        if isinstance(block, Table):
            blocks.append({"headers": block.headers, "rows": block.rows, "numbers": block.numbers})
        else:
            blocks.append(_without_folder(block))
    return {"title": s.title, "blocks": blocks}


def page() -> str:
    """The page, with its styles and scripts."""
    from importlib import resources

    def own(name: str) -> str:
        return resources.files("moewright.ui").joinpath(name).read_text(encoding="utf-8")

    styles = file_text("colours.css") + file_text("report.css") + own("page.css")
    text = own("page.html")
    return text.replace("/*styles*/", styles).replace("/*figures*/", file_text("figures.js") + own("page.js"))


def quickly() -> None:
    """Lets Altair skip its checks of this process's figures."""
    alt.utils.schemapi.debug_mode(False).__enter__()
