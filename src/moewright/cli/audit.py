"""``moewright audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import Format, format_of, write, write_file

if TYPE_CHECKING:
    from moewright.audit.audit_record import Audit
    from moewright.report.blocks import Section


@app.command()
def audit(
    document: Annotated[Path, typer.Argument(help="A strategy in Markdown, or claims in YAML.")],
    as_json: Json = False,
    form: Annotated[Format | None, typer.Option("--format", help="How the report is written.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write there (.md, .json: in that format) instead.")] = None,
    assume: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for what the document does not give: top_k=2.")
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="A spec file that gives the whole case.")] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Verdicts that make the exit status 1: impossible,wrong (default: all that fail)."),
    ] = None,
    annotate: Annotated[Path | None, typer.Option(help="Write a copy of DOCUMENT with the verdicts there.")] = None,
) -> None:
    """Recompute the claims of a strategy DOCUMENT, one by one, and say which hold.

    Exit status: 0 where all that could be checked holds, 1 where some does not, 2 for an unreadable document.
    """
    from moewright.audit.annotate import annotated
    from moewright.audit.audit_document import audit as run
    from moewright.audit.audit_record import fails, verdicts_of

    failing = verdicts_of(fail_on)
    kind = format_of(as_json, form, output)
    found = run(document, assume or [], None if spec is None else str(spec))
    if annotate is not None:
        write_file(annotate, annotated(document, found), "--annotate")
    write(_report(found, kind, output), output)
    if fails(found, failing):
        raise typer.Exit(1)


def _report(found: Audit, kind: Format, output: Path | None) -> str | list[Section]:
    if kind is Format.JSON:
        return json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    from moewright.report.audit_page import audit_sections

    sections = audit_sections(found)
    if kind is Format.MARKDOWN:
        from moewright.report.markdown import render

        return render(sections)
    if output is None:
        return sections
    import io

    from moewright.report.terminal import show

    stream = io.StringIO()
    show(sections, stream)
    return stream.getvalue()
