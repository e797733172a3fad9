"""Figures that were worked out, and rounded, are never called wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import failing

pytestmark = pytest.mark.slow

#: figures of three digits or more and how they are written
FIGURES = st.integers(100, 9999).map(lambda n: (n / 10, f"{n / 10:.1f}"))
COUNTS = st.integers(2, 512)
DIGITS = st.integers(3, 5)
few = settings(max_examples=40, deadline=None)


def rounded(value: float, digits: int) -> str:
    """``value`` with so many significant digits, as a person writes it."""
    places = max(0, digits - len(str(int(value)))) if value >= 1 else digits + 1
    return f"{value:.{places}f}"


@few
@given(FIGURES, FIGURES, DIGITS)
def test_times(amount, rate, digits):
    text = f"A GPU sends {amount[1]} MB. At {rate[1]} GB/s that takes {{}} µs."
    assert failing(text.format(rounded(1000 * amount[0] / rate[0], digits))) == []


@few
@given(FIGURES, FIGURES, st.integers(1, 2))
def test_shares(one, other, places):
    part, whole = sorted((one, other))
    text = f"The cache takes {part[1]} GB, or {100 * part[0] / whole[0]:.{places}f}% of the {whole[1]} GB."
    assert failing(text) == []


@few
@given(FIGURES, COUNTS, DIGITS)
def test_multiples(one, layers, digits):
    assert failing(f"- One layer: {one[1]} MB\n- All {layers} layers: {rounded(one[0] * layers, digits)} MB") == []
    every = rounded(one[0] * layers / 1000, digits)
    assert failing(f"- One layer: {one[1]} MB\n- The {layers} layers together hold {every} GB.") == []


@few
@given(FIGURES, FIGURES)
def test_sums(one, other):
    text = f"Weights take {one[1]} GB, the cache {other[1]} GB, together {one[0] + other[0]:.1f} GB."
    assert failing(text) == []


@few
@given(FIGURES, st.sampled_from([1, 2, 4, 8]), DIGITS)
def test_bytes_of_parameters(parameters, size, digits):
    every = rounded(parameters[0] * size, digits)
    assert failing(f"- Parameters: {parameters[1]} B\n- Copies, {size} bytes each: {every} GB") == []


@few
@given(st.integers(100, 9999), COUNTS)
def test_rates(each, gpus):
    text = f"- GPUs: {gpus}\n- Throughput in total: {each * gpus:,} tokens/s\n- Throughput per GPU: {each:,} tokens/s"
    assert failing(text, "Plan for H100 GPUs") == []
