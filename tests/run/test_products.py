"""Matrix products by the executor's ways equal a plain sum of products."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from moewright.case.model import MoeFfn  # noqa: E402
from moewright.run.model import layers, products  # noqa: E402
from moewright.run.model.numerics import Numerics  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any),
    wide=st.sampled_from([3, 8, 24, 64]),
    out=st.sampled_from([1, 5, 16]),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_grouped_is_each_slots_own_product(counts, wide, out, dtype):
    torch.manual_seed(sum(counts) * wide + out)
    rows, matrices = torch.randn(sum(counts), wide).to(dtype), torch.randn(len(counts), out, wide).to(dtype)
    slot = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    want = torch.einsum("ni,noi->no", rows.double(), matrices[slot].double())
    got = products.grouped(rows, matrices, torch.tensor(counts).cumsum(0).to(torch.int32))
    assert got.shape == want.shape
    assert (got.double() - want).abs().max() <= TOLERANCE[dtype] * want.abs().max().clamp(min=1)


def test_large_matrices_and_few_rows():
    torch.manual_seed(0)
    for dtype in TOLERANCE:
        matrices, rows = torch.randn(4, 1100, 1024).to(dtype), torch.randn(8, 1024).to(dtype)
        ends = torch.tensor([2, 4, 6, 8], dtype=torch.int32)
        want = torch.stack([rows[i].double() @ matrices[i // 2].double().T for i in range(8)])
        assert (products.grouped(rows, matrices, ends).double() - want).abs().max() <= TOLERANCE[
            dtype
        ] * want.abs().max()
        one = products.linear(rows[:1], matrices[0], torch.ones(1100, dtype=dtype))
        assert (one.double() - want[0] - 1).abs().max() <= TOLERANCE[dtype] * want.abs().max()


@pytest.mark.parametrize("tokens", [1, 40, 4000])  # the last in parts, expert after expert
def test_experts_are_the_weighted_sum_of_the_chosen(tokens):
    torch.manual_seed(tokens)
    count, k, hidden, width = 8, 2, 48, 600
    ffn = MoeFfn(count, k, width, bias=True)
    w = {
        "experts_up": torch.randn(count, 2 * width, hidden) * hidden**-0.5,
        "experts_down": torch.randn(count, hidden, width) * width**-0.5,
        "experts_up_bias": torch.randn(count, 2 * width),
        "experts_down_bias": torch.randn(count, hidden),
    }
    x, slots = torch.randn(tokens, hidden), torch.stack([torch.randperm(count)[:k] for _ in range(tokens)])
    slots[torch.rand(slots.shape) < 0.2] = -1  # live elsewhere
    shares = torch.rand(tokens, k)
    n = Numerics()
    want = torch.zeros(tokens, hidden)
    for e in range(count):
        done = layers.activate(x @ w["experts_up"][e].T + w["experts_up_bias"][e], True, n) @ w["experts_down"][e].T
        want += (shares * (slots == e)).sum(1, keepdim=True) * (done + w["experts_down_bias"][e])
    got = layers.experts(x, layers.Chosen(slots, shares), w, ffn, n, slice(0, hidden))
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()
