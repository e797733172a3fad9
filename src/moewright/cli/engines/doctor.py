"""``moewright doctor``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import FormatOption, OutputOption, deliver, format_of, progress
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.doctor.weighing import AskedWorkload
    from moewright.report.html.report_record import Report


@app.command()
def doctor(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND_OR_FILE",
            help="A command in quotes (or after --), a script, a manifest, a compose file; - for standard input.",
        ),
    ],
    cluster: Annotated[str | None, typer.Option(help="What it runs on, such as h200-hgx:8.")] = None,
    input_tokens: Annotated[str | None, typer.Option("--input", help="Tokens of a prompt, such as 4k.")] = None,
    output_tokens: Annotated[str | None, typer.Option(help="Tokens of an answer.")] = None,
    concurrency: Annotated[str | None, typer.Option(help="Requests that clients keep open at once.")] = None,
    engine_version: Annotated[
        str | None, typer.Option(help="The engine's version: the same line means different layouts by version.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A variable that the script leaves open.")
    ] = None,
    as_json: Json = False,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Say what an engine makes of a launch command: its layout, whether it starts and fits, and what is wrong."""
    from moewright.case.options.named_cluster import split_cluster
    from moewright.doctor.diagnose import Question, diagnose

    written = format_of(as_json, form, output)
    text, folder, name = _text_of(command)
    kind, gpus = split_cluster(cluster) if cluster is not None else (None, None)
    question = Question(
        kind,
        gpus,
        _workload(input_tokens, output_tokens, concurrency),
        _version(engine_version),
        dict(_pair(v) for v in values or []),
        folder,
    )
    try:
        with progress("Reading the command", not as_json):
            found = diagnose(text, question)
    except SpecError as error:
        raise error.inside(file=name) from None
    from moewright.report.engines.doctor_page import doctor_sections

    def report() -> Report:
        from moewright.report.html.engine_reports import doctor_report

        return doctor_report(found, kind, text)

    deliver(written, output, found.to_dict, lambda: doctor_sections(found, kind), report)
    if not found.sound:
        raise typer.Exit(1)


def _text_of(command: list[str]) -> tuple[str, Path | None, str | None]:
    """The text to read, the folder where files that it names may lie, and the file's name for messages."""
    from moewright.case.bounded_file import decoded, read_bounded
    from moewright.doctor.read_text import MOST_BYTES

    if command == ["-"]:
        content = sys.stdin.buffer.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SpecError(f"is larger than {MOST_BYTES >> 20} MiB; no launch command is", file="standard input")
        return decoded(content, Path("standard input")), Path(), "standard input"
    if len(command) > 1:
        return shlex.join(command), Path(), None
    text = command[0]
    file = Path(text)
    one_word = "\n" not in text and " " not in text.strip() and len(text) < 4096
    try:
        there = len(text) < 4096 and "\0" not in text and file.exists()
    except OSError:
        there = False
    if there or (one_word and ("/" in text or file.suffix.lower() in (".sh", ".yaml", ".yml", ".json", ".txt"))):
        content = read_bounded(file, MOST_BYTES, "a launch command, a script or a manifest", "launch file")
        return decoded(content, file), file.parent, str(file)
    if not text.strip():
        raise SpecError("is empty; expected a command or a file", field="COMMAND_OR_FILE")
    if len(text) > MOST_BYTES:
        raise SpecError(f"is larger than {MOST_BYTES >> 20} MiB; no launch command is", field="COMMAND_OR_FILE")
    return text, Path(), None


def _workload(inputs: str | None, outputs: str | None, clients: str | None) -> AskedWorkload | None:
    """The workload, where all of it is given."""
    from moewright.case.file.count_text import read_count
    from moewright.doctor.weighing import AskedWorkload

    given = {"--input": inputs, "--output-tokens": outputs, "--concurrency": clients}
    if not any(given.values()):
        return None
    for name, text in given.items():
        if text is None:
            raise SpecError("is missing; a workload needs --input, --output-tokens and --concurrency", field=name)
    sizes = [read_count(text or "", name) for name, text in given.items()]
    return AskedWorkload(*sizes)


def _version(text: str | None) -> str | None:
    from re import fullmatch

    if text is not None and not fullmatch(r"v?\d{1,4}(\.\d{1,5}){0,3}\S{0,20}", text):
        raise SpecError(f"got {text[:40]!r}; expected a version such as 0.11.1", field="--engine-version")
    return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SpecError(f"got {text[:60]!r}; expected NAME=VALUE", field="--set")
    return name, value
