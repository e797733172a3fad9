"""What holds in all rows of a table but one."""

import pytest

from audits import failing
from moewright.audit.tables.columns import judge_columns
from moewright.audit.text.clauses import clauses_of
from moewright.audit.text.document import parse


def judged(rows, head="| Option | A | B | C |"):
    text = "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows]) + "\n"
    said = [(s, clauses_of(s.value)) for s in parse(text, "t.md").statements]
    return [(c.line, c.claimed, c.computed) for c in judge_columns(said, [])]


SUMS = "| Option | Experts | Other | KV | Sum | Share of card |"
SHARES = "| Per GPU | GB | Share of 80 GB |"
OPTIONS = "| | A | B | C |"
BLOCKS = "| block | params per layer (M) | layers | all (B) |"


@pytest.mark.parametrize(
    ("head", "rows", "line", "right"),
    [
        (
            SUMS,
            [
                "| A | 52.85 GB | 1.14 GB | 30.06 GB | 84.06 GB | 59.6% |",
                "| B | 26.42 GB | 4.57 GB | 15.03 GB | 46.03 GB | 32.6% |",
                "| C | 13.21 GB | 9.14 GB | 7.52 GB | 39.87 GB | 21.2% |",
            ],
            5,
            29.87e9,
        ),
        (
            SHARES,
            [
                "| Experts | 15.23 | 19.0% |",
                "| Attention | 1.91 | 2.4% |",
                "| KV | 19.33 | 24.2% |",
                "| Weights | 19.46 | 32.4% |",
            ],
            6,
            0.243,
        ),
        (
            OPTIONS,
            [
                "| GPUs | 8 | 16 | 32 |",
                "| memory per GPU (GB) | 141 | 141 | 80 |",
                "| memory, all GPUs (GB) | 1,128 | 2,256 | 3,560 |",
            ],
            5,
            2560e9,
        ),
        (
            BLOCKS,
            [
                "| experts | 2,415.92 | 94 | 227.10 |",
                "| attention | 71.30 | 94 | 6.70 |",
                "| shared | 18.87 | 94 | 17.74 |",
            ],
            5,
            1.774,
        ),
    ],
)
def test_the_one_row_that_breaks_a_relation_is_wrong(head, rows, line, right):
    ((at, _, computed),) = judged(rows, head)
    assert at == line
    assert computed == pytest.approx(right, rel=0.002)


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        # two rows disagree
        (SUMS, ["| A | 5.20 GB | 1.10 GB | 3.00 GB | 9.30 GB | |", "| B | 4.10 GB | 2.20 GB | 1.10 GB | 9.40 GB | |", "| C | 1.30 GB | 2.50 GB | 1.30 GB | 5.90 GB | |"]),
        # other cards
        (OPTIONS, ["| weights (GB) | 30.69 | 32.36 | 18.17 |", "| KV (GB) | 10.00 | 11.00 | 9.50 |", "| % of memory | 21.8% | 23.0% | 22.7% |"]),
        # what overlaps takes less
        (OPTIONS, ["| compute | 10.2 ms | 11.4 ms | 12.1 ms |", "| network | 4.1 ms | 5.2 ms | 6.3 ms |", "| step | 14.3 ms | 16.6 ms | 13.5 ms |"]),
        # another format
        (OPTIONS, ["| dispatch (MB) | 33.6 | 67.1 | 67.1 |", "| tokens per expert | 512 | 1,024 | 2,048 |", "| combine (MB) | 67.1 | 67.1 | 67.1 |"]),
        # a row that says how it differs
        ("| Cluster | GPUs | Price each | Price |", ["| own | 32 | 2.10 | 67.20 |", "| rented | 48 | 2.60 | 124.80 |", "| rented, 20% off | 64 | 2.60 | 133.12 |"]),
        # powers of two
        ("| Option | TP | DP | GPUs |", ["| A | 2 | 8 | 16 |", "| B | 4 | 8 | 32 |", "| C | 4 | 8 | 64 |"]),
    ],
)  # fmt: skip
def test_a_doubt_is_no_verdict(head, rows):
    assert judged(rows, head) == []


def test_a_title_that_speaks_of_a_column_excepts_it():
    rows = "| Reads | 10.0 | 12.0 | {} |\n| Sends | 5.0 | 6.0 | 7.0 |\n| {} | 15.0 | 18.0 | 40.0 |"
    table = "| ms | A | B | C |\n|---|---|---|---|\n" + rows
    assert failing(table.format("13.0", "Total (C: two passes)")) == []
    assert len(failing(table.format("13.0", "Total"))) == 1
