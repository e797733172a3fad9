"""``moewright audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import PRINTED, Json, app
from moewright.cli.output import Format, FormatOption, OutputOption, deliver, format_of, progress, write, write_file
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.audit.audit_record import Audit
    from moewright.report.html.report_record import Report


@app.command()
def audit(
    document: Annotated[Path, typer.Argument(help="A strategy in Markdown, or claims in YAML.")],
    as_json: Json = False,
    form: FormatOption = None,
    output: OutputOption = None,
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
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE]",
            help="Print the premises and claims that were read, as YAML; with a FILE, judge those that somebody read.",
        ),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Let a program read it: an assistant that answers a prompt on standard input ('ollama run qwen3').",
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
    from moewright.audit.audit_document import audit_by_assistant
    from moewright.audit.audit_record import fails, verdicts_of

    failing = verdicts_of(fail_on)
    printed = [option for option, given in (("--premises", premises), ("--claims", claims)) if given == PRINTED]
    kind = Format.TERMINAL if printed else format_of(as_json, form, output)
    for option, other in ((x, "--interactive") for x in printed if interactive):
        raise SpecError(f"contradicts {other}; give one of the two", field=option)
    if len(printed) > 1:
        raise SpecError("contradicts --claims, which prints the premises too", field="--premises")
    given = None if spec is None else str(spec)
    own, typed = (None if x == PRINTED else x for x in (premises, claims))
    reading = ""
    if reader is not None:
        others = {"--spec": spec, "--premises": premises, "--claims": typed, "--interactive": interactive or None}
        for option in (name for name, value in others.items() if value is not None):
            raise SpecError("contradicts --reader, by which all is read; give one of the two", field=option)
        with progress(f"{reader.split()[0][:30] if reader.strip() else 'Nobody'} reads {document.name[:60]}") as tell:
            found, reading = audit_by_assistant(document, reader, assume or [], tell)
    else:
        with progress(f"Auditing {document.name[:60]}"):
            found = run(document, assume or [], given, own, typed)
    if interactive:
        asked = [f"{field}={answer}" for field, answer in _answers(found)]
        with progress(f"Auditing {document.name[:60]}"):
            found = run(document, [*(assume or []), *asked], given, own, typed)
    if printed:
        write(reading or _printed(found, printed[0]), output)
        return
    if annotate is not None:
        write_file(annotate, annotated(document, found), "--annotate")
    from moewright.report.audit_page import audit_sections

    def report() -> Report:
        from moewright.audit.text.document import read_text
        from moewright.report.html.audit_report import audit_report

        return audit_report(read_text(document), found)

    deliver(kind, output, found.to_dict, lambda: audit_sections(found), report)
    if fails(found, failing):
        raise typer.Exit(1)


def _printed(found: Audit, option: str) -> str:
    """What was read, as YAML: premises alone, or all."""
    if option == "--claims":
        from moewright.audit.typed.typed_audit import reading_yaml

        return reading_yaml(found)
    from moewright.audit.reading.corrections import premises_yaml

    return premises_yaml(found)


def _answers(found: Audit) -> list[tuple[str, str]]:
    """What the user says of the premises in doubt; an empty answer leaves one as it is."""
    from moewright.audit.reading.corrections import doubtful

    answers = []
    for field, why in doubtful(found):
        answer = typer.prompt(f"{field} ({why})", default="", show_default=False, err=True).strip()
        if answer:
            answers.append((field, answer))
    return answers
