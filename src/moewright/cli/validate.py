"""``moewright validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import one_of_tables, print_json, progress, write_file
from moewright.errors import SpecError


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Measured serving results, a row each.")],
    tables: Annotated[Path | None, typer.Option(help="A folder of measured kernel tables.")] = None,
    no_tables: Annotated[bool, typer.Option("--no-tables", help="Price by the roofline alone.")] = False,
    as_json: Json = False,
    output: Annotated[Path | None, typer.Option(help="A CSV of the rows with the predictions added.")] = None,
) -> None:
    """Predict TTFT and TPOT of measured serving results, and score the predictions."""
    from moewright.serving.validation.row_steps import default_folder
    from moewright.serving.validation.rows import read_rows
    from moewright.serving.validation.scoreboard import scoreboard, with_predictions

    if output is not None and output.suffix.lower() != ".csv":
        raise SpecError(f"ends in {output.suffix or 'nothing'!r}; expected .csv", file=str(output), field="--output")
    if output is not None and output.exists() and file.exists() and output.samefile(file):
        raise SpecError("is the file to be read; expected another", file=str(output), field="--output")
    one_of_tables(tables, no_tables)
    rows, skipped, columns = read_rows(file)
    folder = default_folder(tables, no_tables)
    with progress("predicting", not as_json) as tell:
        board, found = scoreboard(rows, skipped, folder, tell)
    if output is not None:
        write_file(output, with_predictions(rows, found, columns))
    if as_json:
        print_json(board)
    else:
        from moewright.report.serving_pages.scoreboard_page import validate_sections
        from moewright.report.terminal import show

        show(validate_sections(board))
