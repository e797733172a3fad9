"""``moewright audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import PRINTED, Json, app
from moewright.cli.output import Format, format_of, write, write_file
from moewright.errors import SpecError

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
    premises: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE]", help="Print what was read for given, as YAML; with a FILE, take it from there instead."
        ),
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Ask for the premises that are in doubt, then audit.")
    ] = False,
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
    shown = premises == PRINTED
    if shown and interactive:
        raise SpecError("contradicts --interactive; give one of the two", field="--premises")
    found = run(document, assume or [], None if spec is None else str(spec), None if shown else premises)
    if interactive:
        asked = [f"{field}={answer}" for field, answer in _answers(found)]
        found = run(document, [*(assume or []), *asked], None if spec is None else str(spec), premises)
    if shown:
        from moewright.audit.reading.corrections import premises_yaml

        write(premises_yaml(found), output)
        return
    if annotate is not None:
        write_file(annotate, annotated(document, found), "--annotate")
    write(_report(found, kind, output), output)
    if fails(found, failing):
        raise typer.Exit(1)


def _answers(found: Audit) -> list[tuple[str, str]]:
    """What the user says of the premises in doubt; an empty answer leaves one as it is."""
    from moewright.audit.reading.corrections import doubtful

    answers = []
    for field, why in doubtful(found):
        answer = typer.prompt(f"{field} ({why})", default="", show_default=False, err=True).strip()
        if answer:
            answers.append((field, answer))
    return answers


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
