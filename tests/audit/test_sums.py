"""Totals of lists, tables and blocks of code, and the part that makes one wrong."""

import pytest

from audits import failing, one_wrong
from moewright.audit.audit_document import audit_document
from moewright.audit.text.document import parse

MODEL = """# Plan

- 48 layers, hidden size 4096, 32 query heads, 4 KV heads, head dim 128
- 96 experts per layer, top-6, expert intermediate size 2304, vocabulary 100,000
- 48 H100 80 GB
"""


def sums(*lines):
    text = MODEL + "\n## Rest\n\n" + "\n".join(lines) + "\n"
    claims = audit_document(parse(text, "t.md"), {}, None).claims
    return [(c.line - 8, str(c.verdict)) for c in claims if c.quantity == "sum"]


@pytest.mark.parametrize(
    "lines",
    [
        ("- buffers: 5.11 GB", "- tables: 11.41 GB", "- a: 1.19 GB; b: 3.71 GB", "- sum: 21.42 GB"),
        ("- buffers: 5.11 GB", "- tables: 11.41 GB", "- sum: 16.52 GB = 20.7% of 80 GB"),
        ("```", "buffers    6.75 GiB", "tables    0.25 GiB", "model state  7.00 GiB", "pool  12.00 GiB", "sum  19.00 GiB", "```"),
        ("- routed: 130.46 B", "- shared: 1.36 B", "- mixing: 1.81 B", "- in total: 133.63 B"),
    ],
)  # fmt: skip
def test_a_total_is_the_sum_of_its_parts(lines):
    assert [v for _, v in sums(*lines)] == ["holds"]


def test_a_total_that_is_no_sum_is_contradicted():
    lines = ("- buffers: 5.11 GB", "- tables: 11.41 GB", "- pool: 2.55 GB", "- sum: 15.07 GB")
    assert sums(*lines) == [(4, "contradicted")]


@pytest.mark.parametrize("part", ["396 MB", "9.51 GB", "190.2 GB", "19.02 MB"])
def test_the_one_part_that_a_usual_factor_makes_right_is_wrong(part):
    lines = (f"- buffers: {part}", "- tables: 11.43 GB", "- pool: 2.57 GB", "- sum: 33.02 GB", "- together: 33.02 GB")
    assert sums(*lines) == [(1, "wrong")]


@pytest.mark.parametrize(
    "lines",
    [
        ("- weights of a stage: 4.20 GB", "- other: 4.58 GB", "- cache per token: 92 KiB", "- cache in total: 61.74 GB"),
        ("- one expert: 28.31 M", "- experts per layer: 2.718 B", "- experts: 130.5 B", "- mixing: 1.81 B", "- total: 135.0 B"),
    ],
)  # fmt: skip
def test_unlike_rows_are_no_parts(lines):
    assert sums(*lines) == []


TITLE = "# Plan für 32 H100 GPUs mit je 80,0 GB\n\n"
PARTS = "| Teil | Rechnung | Parameter (Mrd.) |\n|---|---|---|\n| Experten | 36 · 64 · 18,87 Mio. | 43,49 |\n"


@pytest.mark.parametrize(
    ("total", "verdict"),
    [("Summe | | 45,00", "holds"), ("Summe | | 51,06", "contradicted"), ("Modell | | 51,06", None)],
)
def test_a_row_that_is_called_the_sum_leaves_nothing_out(total, verdict):
    """A model's total may have parts that the table leaves out; in the columns' unit, and with the calculation read."""
    text = f"{TITLE}{PARTS}| Attention | 36 · 41,94 Mio. | 1,51 |\n| {total} |\n"
    claims = audit_document(parse(text, "t.md"), {}, None).claims
    assert [str(c.verdict) for c in claims if c.quantity == "sum"] == ([verdict] if verdict else [])
    assert [str(c.verdict) for c in claims if c.quantity == "arithmetic"] == ["holds", "holds"]


def test_a_calculation_in_a_column_of_its_own_is_judged():
    text = f"{TITLE}{PARTS.replace('43,49', '34,49')}| Attention | 36 · 41,94 Mio. | 1,51 |\n"
    claims = audit_document(parse(text, "t.md"), {}, None).claims
    assert [str(c.verdict) for c in claims if c.quantity == "arithmetic"] == ["wrong", "holds"]


def test_a_column_whose_title_ends_in_a_unit_is_in_it():
    rows = "| part | all GB |\n|---|---|\n| tables | 8,75 |\n| pool | 4,95 |\n| sum | {} |\n"
    for total, verdict in (("13,70", "holds"), ("15,70", "contradicted")):
        claims = audit_document(parse(f"{TITLE}{rows.format(total)}", "t.md"), {}, None).claims
        assert [str(c.verdict) for c in claims if c.quantity == "sum"] == [verdict]


def test_a_total_within_a_range_and_what_is_only_sent_are_no_sums():
    assert failing("- Weights: 16 GB\n- Cache: 2 GB\n- Total: 20-25 GB") == []
    text = "- Model: 160 GB\n- Communication: all-reduce of 40 GB\n- Buffers: 7 GB\n- Total memory: 167 GB"
    assert failing(text) == []


def test_a_part_that_holds_by_the_plan_is_not_blamed_for_its_total():
    """Attention of 1.34 B parameters in BF16 has 2.68 GB, and the total counts it twice."""
    text = "| All GPUs | GB |\n|---|---|\n| Attention in BF16 | 2.68 |\n| Desk | 4.00 |\n| Chair | 3.00 |\n| Sum | {} |"
    claim = one_wrong(text, "9.68", "12.36", "Mixtral-8x7B in BF16 on 8 H100 GPUs, TP8")
    assert claim.quantity == "sum"


LISTED = "Weights per GPU (BF16)\n\n* experts: {}\n* attention: 7.05 GB / 8 = 0.88 GB\n* embedding: 2.47 GB / 8 = 0.31 GB\n* sum: 32.9 GB"


def test_a_part_that_is_worked_out_wrong_operands_and_all():
    claim = one_wrong(LISTED, "80 × 396.4 MB = 31.71 GB", "80 × 792.7 MB = 63.42 GB")
    assert claim.quantity == "sum"
    assert claim.why.endswith("31.71 GB = 63.42 GB / 2")


def test_a_layer_is_no_part_of_the_model():
    rows = "  attention/layer   16.78 M\n  layer            419.56 M\n  embeddings       206.05 M\n  total              6.92 B"
    assert failing(f"```\n{rows}\n```", "OLMoE-1B-7B on 8 A100") == []
