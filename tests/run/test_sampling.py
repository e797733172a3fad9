"""Sampling draws from what temperature and top-p leave, and the same wherever it is done."""

import pytest

torch = pytest.importorskip("torch")

from moewright.run.model.sampling import Sampling  # noqa: E402


def test_the_likeliest_without_a_temperature():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 1.0, 2.0]])
    assert Sampling().pick(logits, (0, 1), 0).tolist() == [1, 0]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (2.0, 0.5)])
def test_shares_of_many_draws(temperature, top_p):
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5])
    shares = (logits / temperature).softmax(0)
    order = shares.argsort(descending=True)
    kept, total = [], 0.0
    for i in order.tolist():  # the smallest set that reaches top_p
        if total >= top_p:
            break
        kept.append(i)
        total += float(shares[i])
    draws = 6000
    picked = Sampling(temperature, top_p, 3).pick(logits.expand(draws, -1), tuple(range(draws)), 7)
    found = torch.bincount(picked, minlength=5) / draws
    for i in range(5):
        want = float(shares[i]) / total if i in kept else 0.0
        assert abs(float(found[i]) - want) <= 5 * (want * (1 - want) / draws) ** 0.5 + 1e-9


def test_a_draw_depends_on_seed_sequence_and_step_alone():
    logits = torch.randn(4, 50)
    s = Sampling(1.0, 0.9, 5)
    together = s.pick(logits, (3, 1, 8, 2), 4)
    assert [int(s.pick(logits[i : i + 1], (q,), 4)) for i, q in enumerate((3, 1, 8, 2))] == together.tolist()
    assert any(
        Sampling(1.0, 0.9, seed).pick(logits, (3, 1, 8, 2), 4).tolist() != together.tolist() for seed in range(6, 12)
    )
