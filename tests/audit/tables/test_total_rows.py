"""Totals that another cell calls a sum, and the totals of a model's parts."""

import pytest

from audits import failing, one_wrong

SUM = """| Concepto | Cálculo | Resultado |
|---|---|---|
| Pesos de expertos | 590 · 23.59 M · 2 B | 27.84 GB |
| Pesos replicados | | 25.94 GB |
| Pesos por GPU | suma | {} |"""
MODEL = """- 48 layers, hidden size 5120, 160 experts of width 2560 (SwiGLU), 6 chosen per token
- 40 query heads, 8 KV heads, head dim 128, vocabulary 128,000, untied

"""
PARTS = """| Block | 48 layers |
|---|---|
| 160 experts | 301.99 B |
| Attention | 3.02 B |
| Embeddings (in + out) | 1.31 B |
| **Total** | **{}** |"""


def test_a_row_that_is_called_a_sum():
    claim = one_wrong(SUM, "53.78 GB", "57.38 GB")
    assert "27.84 GB + 25.94 GB is 53.78 GB" in claim.why


def test_the_total_of_a_model_that_neither_rows_nor_sizes_make():
    claim = one_wrong(MODEL + PARTS, "306.32 B", "316.32 B", "Orion")
    assert claim.quantity == "count.parameters"
    assert "neither its rows nor the sizes" in claim.why


@pytest.mark.parametrize("total", ["306.3 B", "305.0 B", "306.5 B"])
def test_other_ways_to_count_are_not_wrong(total):
    assert failing(MODEL + PARTS.format(total), "Orion") == []


def test_money_adds_up():
    text = "| Position | Betrag (€) |\n|---|---:|\n| Server | 790.000 |\n| Netz | 48.000 |\n| Summe | {} |\n\nDas sind 0,8 MB."
    assert failing(text.format("838.000")) == []
    assert [c.quantity for c in failing(text.format("938.000"))] == ["sum"]


def test_a_subtotal_in_a_column_of_money():
    text = "| # | Item | Sum |\n|---|---|---|\n| 1 | Servers | 400,000.00 |\n| 2 | Cables | 20,500.50 |\n| | Subtotal | {} |"
    assert "420500" in one_wrong(text, "420,500.50", "402,500.50").why.replace(",", "").replace(".", "")[:200]
