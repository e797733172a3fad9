"""Rows of a sweep against the numbers that they are named by."""

import pytest

from audits import failing, one_wrong

HEAD = "| EP (GPUs) | Experts per layer and GPU | Leaves the GPU |\n|---|---|---|\n"
ROWS = HEAD + "| 8 | 20 | 87.5% |\n| 16 | 10 | {} |\n| 40 | 4 | 97.5% |\n| 80 | 2 | 98.75% |"
COUNTS = HEAD + "| 8 | 20 | 87.5% |\n| 16 | 10 | 93.75% |\n| 40 | {} | 97.5% |\n| 80 | 2 | 98.75% |"
BATCHES = (
    "| Sequences | Dispatch (FP8) | Step |\n|---|---|---|\n"
    "| 16 | 0.655 MB | 7.61 ms |\n| 32 | 1.31 MB | 10.7 ms |\n| 64 | {} | 16.9 ms |"
)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "told"),
    [
        (ROWS, "93.75%", "6.25%", "is 1 - 1 / the number of the row"),
        (COUNTS, "4", "8", "× the number of the row is 160"),
        (BATCHES, "2.62 MB", "0.328 MB", "× the number of the row"),
    ],
)
def test_a_row_that_breaks_the_sweep(text, right, wrong, told):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "table"
    assert told in claim.why


@pytest.mark.parametrize(
    "text",
    [
        BATCHES.format("1.9 MB"),  # another law, and no slip
        BATCHES.format("0.328 MB").replace("| 16 |", "| small |"),  # no sweep
        ROWS.format("6.25%")
        .replace("87.5%", "12.5%")
        .replace("97.5%", "2.5%")
        .replace("98.75", "1.25"),  # what stays, in most
        COUNTS.format("8").replace("| 80 | 2 |", "| 80 | 9 |"),
        ROWS.format("6.25%").replace("97.5%", "2.5%"),  # two of four
    ],
)
def test_other_tables_are_none(text):
    assert failing(text) == []
