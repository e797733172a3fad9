"""Units at the edge: parsed by dimension, printed so that they read back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright import units


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("1.8 TB/s", "bytes/s", 1.8e12),
        ("450GB/s", "bytes/s", 450e9),
        ("64 GB", "bytes", 64e9),
        ("64 GiB", "bytes", 64 * 2**30),
        ("2 us", "seconds", 2e-6),
        ("2 μs", "seconds", 2e-6),
        ("50 ms", "seconds", 0.05),
        ("400 TFLOPS", "FLOP/s", 4e14),
        ("1.979 PFLOPs/s", "FLOP/s", 1.979e15),
        ("2.5 USD/h", "price", 2.5),
        (5e9, "bytes", 5e9),
        ("1e9", "bytes", 1e9),
    ],
)
def test_parsed(text, dimension, value):
    assert units.parse(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("1.8 TB", "bytes/s"),
        ("1.8 TB/s", "bytes"),
        ("400 TFLOP", "FLOP/s"),
        ("fast", "bytes"),
        ("", "seconds"),
        ("nan", "bytes"),
        (math.nan, "bytes"),
        (math.inf, "seconds"),
        (True, "bytes"),
        (None, "bytes"),
        ("1 GB 2", "bytes"),
        ("1e999 B", "bytes"),
        (10**400, "bytes"),
    ],
)
def test_refused_with_what_is_accepted(text, dimension):
    with pytest.raises(ValueError, match=dimension):
        units.parse(text, dimension)


@given(st.floats(1e-2, 1e17))
def test_printed_bytes_read_back(value):
    assert units.parse(units.format_bytes(value, 8), "bytes") == pytest.approx(value, rel=1e-6)


@given(st.floats(1e-9, 1e6))
def test_printed_seconds_read_back(value):
    assert units.parse(units.format_seconds(value, 8), "seconds") == pytest.approx(value, rel=1e-6)


@given(st.floats(1, 1e17))
def test_no_more_digits_than_asked(value):
    number = units.format_flops(value, 4).split()[0]
    assert len(number.replace(".", "").lstrip("0")) <= 4


@given(st.text(max_size=40), st.sampled_from(list(units.DIMENSIONS)))
def test_any_text_is_a_number_or_a_clear_error(text, dimension):
    try:
        assert math.isfinite(units.parse(text, dimension))
    except ValueError as error:
        assert "expected" in str(error)
