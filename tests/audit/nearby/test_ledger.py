"""Figures as they may be meant, and what is worked out of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.audit.nearby.ledger import (
    ABOUT,
    Ledger,
    among,
    exactly,
    is_amount,
    meet,
    over,
    ranges,
    slip,
    sum_of,
    times,
)
from moewright.audit.text.clauses import clauses_of
from moewright.audit.text.document import parse
from moewright.audit.text.numbers import BYTES, Number, tokens_of

VALUES = st.floats(1e-6, 1e15)
RANGES = st.tuples(VALUES, st.floats(0, 0.5)).map(lambda x: (x[0], x[0] * (1 + x[1])))
SEVERAL = st.lists(RANGES, min_size=1, max_size=3).map(tuple)
#: figures of three digits or more, as they are told
AMOUNTS = st.integers(100, 99999)
UNITS = st.sampled_from(["GB", "MB", "KiB", "TFLOP", "ms", "GB/s", "tokens/s"])


def number(text: str) -> Number:
    (n,) = (t.number for t in tokens_of(text) if t.number is not None)
    return n


@given(AMOUNTS, UNITS, st.integers(0, 2), st.floats(-0.49, 0.49))
def test_a_figure_meets_what_it_was_rounded_from(digits, unit, places, away):
    n = number(f"{digits / 10**places:.{places}f} {unit}")
    exact = (digits + away) / 10**places * n.factor
    assert meet(ranges(n), ((exact, exact),), 1e-12)


@given(AMOUNTS, UNITS, st.sampled_from([-1, 1]), st.floats(1.5, 50))
def test_and_nothing_a_last_place_away(digits, unit, sign, away):
    n = number(f"{digits / 10:.1f} {unit}")
    other = (digits + sign * away) / 10 * n.factor
    assert not meet(ranges(n)[:1], ((other, other),), 0.0)


@given(AMOUNTS)
def test_bytes_may_be_of_1024_and_nothing_else_may(digits):
    value = digits * 2.0**30
    assert meet(ranges(number(f"{digits} GB")), ((value, value),))
    assert len(ranges(number(f"{digits} GiB"))) == len(ranges(number(f"{digits} ms"))) == 1


@given(st.integers(2, 10**6))
def test_a_number_of_things_is_exact_unless_it_is_about(count):
    assert ranges(number(f"{count} experts")) == ((count, count),)
    ((low, high),) = ranges(number(f"~{count} experts"))
    assert low <= count * (1 - ABOUT) * (1 + 1e-12)
    assert high >= count * (1 + ABOUT) * (1 - 1e-12)


@given(SEVERAL, SEVERAL)
def test_what_meets_meets_both_ways_and_itself(a, b):
    assert meet(a, a, 0.0)
    assert meet(a, b) == meet(b, a)
    assert meet(a, b) >= meet(a, b, 0.0)


@given(SEVERAL, SEVERAL)
def test_over_inverts_times(a, b):
    product, part = times(a, b), over(a, b)
    assert len(product) == len(part) == len(a) * len(b)
    assert all(low <= high for low, high in (*product, *part))
    for one in a:
        assert meet(over(product, b), (one,), 1e-9)
        assert meet(times(part, b), (one,), 1e-9)


@given(SEVERAL, SEVERAL, SEVERAL)
def test_times_is_commutative_and_grows_with_its_ranges(a, b, c):
    assert sorted(times(a, b)) == sorted(times(b, a))
    assert set(times(a, b)) <= set(times(a, b + c))


def test_nothing_is_divided_by_what_may_be_nothing():
    assert over(((1.0, 2.0),), ((0.0, 1.0), (2.0, 2.0))) == ((0.5, 1.0),)


@given(st.sampled_from([2, 4, 8, 10, 100, 1000, 1024, 10**6, 2**20]), st.floats(-0.9, 0.9))
def test_a_slip_is_told_both_ways_within_its_room(factor, away):
    room = 0.005
    assert slip(factor * (1 + away * room), room).endswith("times too large")
    assert slip(1 / factor * (1 + away * room), room).endswith("times too small")


@given(st.floats(1.05, 1.9) | st.floats(2.1, 3.9) | st.floats(4.1, 7.8) | st.floats(11, 95) | st.floats(-5, 0))
def test_what_is_no_usual_factor_is_no_slip(ratio):
    assert slip(ratio, 0.01) == ""
    assert ratio <= 0 or slip(1 / ratio, 0.01) == ""


@given(st.integers(3, 300).filter(lambda n: n not in (4, 8, 10, 100)))
def test_a_factor_that_was_forgotten_is_called_by_its_name(count):
    assert slip(1 / count, 0.001, ((float(count), "the layers"),)) == "the layers times too small"
    assert slip(1.0, 0.001, ((float(count), "the layers"),)) == ""


def ledger(text: str) -> Ledger:
    return Ledger.of((s, clauses_of(s.value)) for s in parse(text, "plan.md").statements)


def test_figures_of_a_document_by_statement_and_by_dimension():
    found = ledger("- Layers: 32\n- Weights: 1.41 GB a layer, 45.1 GB in all\n- Share: 56%\n")
    assert list(found.counts) == [32]
    assert [x.number.text for x in found.alike(BYTES)] == ["1.41 GB", "45.1 GB"]
    assert [[x.line for x in entries] for entries in found.entries] == [[1], [2, 2], [3]]
    assert [x.number.text for x in found.before(2)] == ["45.1 GB", "1.41 GB", "32"]
    assert [x.number.text for x in found.before(2, 1)] == ["45.1 GB", "1.41 GB"]


def test_before_a_heading_and_beside_a_column_nothing_is_near():
    found = ledger("- A: 1.5 GB\n\n# B\n\n- C: 2.5 GB\n")
    assert list(found.before(len(found.entries) - 1)) == []
    table = ledger("| Part | GB | ms |\n|---|---|---|\n| A | 1.5 GB | 3.5 ms |\n| B | 2.5 GB | 4.5 ms |\n")
    (last,) = (x for entries in table.entries for x in entries if x.number.text == "4.5 ms")
    assert [x.number.text for x in table.before(last.index)] == ["3.5 ms"]
    assert [x.number.text for x in table.row(last)] == ["2.5 GB"]


@pytest.mark.parametrize(
    ("text", "amount"),
    [("3.2 GB", True), ("46.7 B", True), ("2 B", False), ("32 layers", False), ("3%", False), ("0 GB", False)],
)
def test_what_is_an_amount(text, amount):
    n = next(f.number for f in clauses_of(text, parameters=text.startswith("46")).figures)
    assert is_amount(n) is amount


POSITIVE = st.floats(1e-3, 1e6, allow_nan=False)


@given(st.lists(st.tuples(POSITIVE, st.floats(1.0, 1.3)), max_size=3), st.lists(POSITIVE, max_size=30))
def test_among_is_what_each_alone_meets(spans, values):
    a = [(low, low * wide) for low, wide in spans]
    alone = {v for v in values if meet(a, exactly(v))}
    assert set(among(a, sorted(values))) == alone


FIGURES = ["1.2 GB", "1.25 GB", "~1 GB", "1 GiB", "1.1 GB", "950 MB", "~0.6 GB", "12 GB", "1,288 MB"]


@given(st.lists(st.sampled_from(FIGURES), min_size=1, max_size=8), st.sampled_from(FIGURES))
def test_what_stands_elsewhere_is_what_another_statement_has(texts, own):
    told = parse("\n".join(f"- {t}" for t in [own, *texts]), "d")
    ledger = Ledger.of((s, clauses_of(s.value)) for s in told.statements)
    n = ledger.entries[0][0].number
    others = [x for x in ledger.alike(n.dim) if x.index != 0]
    assert ledger.stands_elsewhere(n, 0) == any(meet(ranges(n), ranges(x.number), 1e-3) for x in others)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
def test_the_sum_of_numbers_by_whole_ones(values):
    """In tenths, against integers."""
    numbers = [t.number for x in values for t in tokens_of(f"{x / 10:.1f} GB") if t.number is not None]
    (low, high), _ = sum_of(numbers)
    assert low <= sum(values) * 1e8 <= high
    assert high - low <= len(values) * 1.0001e8
