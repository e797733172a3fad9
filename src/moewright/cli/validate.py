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
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Measured serving or training results, a row each.")],
    tables: Annotated[Path | None, typer.Option(help="A folder of measured kernel tables.")] = None,
    no_tables: Annotated[bool, typer.Option("--no-tables", help="Price by the roofline alone.")] = False,
    as_json: Json = False,
    output: Annotated[Path | None, typer.Option(help="A CSV of the rows with the predictions added.")] = None,
) -> None:
    """Predict measured results (TTFT and TPOT of serving, steps and memory of training), and score the predictions."""
    from moewright.serving.validation.row_steps import default_folder
    from moewright.serving.validation.rows import read_rows
    from moewright.serving.validation.scoreboard import scoreboard, with_predictions

    if output is not None and output.suffix.lower() != ".csv":
        raise SpecError(f"ends in {output.suffix or 'nothing'!r}; expected .csv", file=str(output), field="--output")
    if output is not None and output.exists() and file.exists() and output.samefile(file):
        raise SpecError("is the file to be read; expected another", file=str(output), field="--output")
    one_of_tables(tables, no_tables)
    from moewright.training.validation.measured_steps import is_training_table

    if is_training_table(file):
        _validate_training(file, tables is not None or no_tables, as_json, output)
        return
    with progress(f"Predicting {file.name[:60]}", not as_json) as tell:
        rows, skipped, columns = read_rows(file)
        board, found = scoreboard(rows, skipped, default_folder(tables, no_tables), tell)
    if output is not None:
        write_file(output, with_predictions(rows, found, columns))
    if as_json:
        print_json(board)
    else:
        from moewright.report.serving_pages.scoreboard_page import validate_sections
        from moewright.report.terminal import show

        show(validate_sections(board))


def _validate_training(file: Path, tables: bool, as_json: bool, output: Path | None) -> None:
    from moewright.training.validation.measured_steps import read_steps
    from moewright.training.validation.predicted_steps import predict_steps
    from moewright.training.validation.step_scores import step_board, with_step_predictions
    from moewright.training.work.delivered import fitted

    if tables:
        raise SpecError("is of serving results; training steps are priced by the formulas", field="--tables")
    rows, unread, columns = read_steps(file)
    with progress(f"Predicting {file.name[:60]}", not as_json):
        predicted, unpriced = predict_steps(rows)
    board = step_board(rows, predicted, [*unread, *unpriced], fitted().source)
    if output is not None:
        write_file(output, with_step_predictions(rows, predicted, columns))
    if as_json:
        print_json(board)
    else:
        from moewright.report.serving_pages.scoreboard_page import training_sections
        from moewright.report.terminal import show

        show(training_sections(board))
