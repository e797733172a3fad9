"""Formulas in symbols against the values that the document gives them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.audit.judges.calculations.formulas import judge_formulas

SIZES = "$L = 40$, $d = 4096$, $f = 6144$, $E = 32$, $k = 2$, $p_e = 3 d f = 75.50 \\times 10^6$"


def judged(text):
    return [c for c in judge_formulas([SIZES, text]) if c.line == 2]


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("$L E p_e = {} \\times 10^9$", "96.64", "69.64"),
        ("$E / k = {}$", "16", "8"),
        ("$\\frac{{E - k}}{{E}} = {}\\,\\%$", "93.75", "6.25"),
        ("$L\\,(d^2 + k\\, p_e) = {} \\times 10^9$", "6.711", "3.691"),
        ("$2 \\cdot p_e \\cdot 2\\,\\text{{B}} = {}\\,\\text{{MB}}$", "302", "151"),
        ("$8 p_e = {}$ M in all", "604", "304"),  # its unit behind the formula
    ],
)
def test_the_number_behind_a_formula(text, right, wrong):
    (good,), (bad,) = judged(text.format(right)), judged(text.format(wrong))
    assert (str(good.verdict), str(bad.verdict)) == ("holds", "wrong")


@pytest.mark.parametrize(
    "text",
    [
        "$L E q = 5$",  # a symbol without a value
        "$E = 64$, $E / k = 32$",  # several values
        "$\\sum_i p_i = 7$",
        "$p_e = 75.50$ M",
        "$L p_e = 3.02$",  # in billions, as may be said elsewhere
        "$k^{99} = 3$",
    ],
)
def test_what_is_not_known_has_no_verdict(text):
    assert not [c for c in judged(text) if str(c.verdict) == "wrong"]


def test_what_follows_from_a_wrong_value_is_not_accused():
    lines = ["$d = 10$, $f = 20$, $p = 3 d f = 700$", "$q = 2 p = 1200$"]
    assert [(c.line, str(c.verdict)) for c in judge_formulas(lines)] == [(1, "wrong"), (2, "holds")]


@given(st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 99)), min_size=1, max_size=5), st.integers(1, 99))
def test_formulas_by_exact_fractions(steps, first):
    """Evaluated from the left with brackets, by fractions."""
    names = "abcdefgh"
    value, text = Fraction(first), names[0]
    given_ = [f"${names[0]} = {first}$"]
    for i, (sign, x) in enumerate(steps, 1):
        value = {"+": value + x, "-": value - x, "*": value * x, "/": value / x}[sign]
        text = f"({text} {sign.replace('*', chr(92) + 'cdot')} {names[i]})"
        given_.append(f"${names[i]} = {x}$")
    if value < Fraction(1, 100):
        return
    lines = [", ".join(given_), f"${text} = {float(value):.6f}$", f"${text} = {float(value) * 1.07:.6f}$"]
    assert [str(c.verdict) for c in judge_formulas(lines) if c.line > 1] == ["holds", "wrong"]
