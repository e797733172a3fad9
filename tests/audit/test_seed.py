"""The document that started it: every verdict that must come out, by general rules."""

from collections import Counter
from pathlib import Path

import pytest

from moewright.audit.audit_document import audit
from moewright.audit.audit_record import Verdict

DOCUMENT = Path(__file__).parents[2] / "examples" / "strategy-ep64-tp2.md"


@pytest.fixture(scope="module")
def found():
    return audit(DOCUMENT)


def the(found, line, quantity, claimed=None):
    (claim,) = [
        c
        for c in found.claims
        if c.line == line and c.quantity == quantity and (claimed is None or c.claimed == pytest.approx(claimed))
    ]
    return claim


def test_premises(found):
    given = {p.field: (p.value, p.line) for p in found.premises}
    assert given["cluster.device.flops"] == (400e12, 5)
    assert given["cluster.device.mfu"] == (0.6, 6)
    assert given["cluster.device.memory_bandwidth"] == (1.8e12, 7)
    assert given["cluster.device.bandwidth_utilization"] == (0.8, 8)
    assert given["cluster.gpus"][0] == 128
    assert given["model.experts.top_k"] == (2, 85)
    assert given["strategy.broadcast"] == (True, 103)
    assert {a.field for a in found.assumptions} >= {"workload.causal", "cluster.network.fabric.bandwidth"}
    assert found.missing == ()


@pytest.mark.parametrize(
    ("line", "quantity", "verdict", "claimed"),
    [
        (26, "arithmetic", "holds", 1024),
        (26, "count.experts in all", "holds", 1024),
        (28, "count.experts per GPU", "holds", 8),
        (106, "count.experts per layer per GPU", "holds", 0.5),
        (54, "split", "holds", 8),
        (56, "split", "holds", 1024),
        (61, "memory.attention per layer", "wrong", 2e6),
        (62, "memory.experts per expert", "wrong", 8e6),
        (64, "sum", "contradicted", 69e6),
        (64, "memory.total per GPU", "wrong", 69e6),
        (68, "arithmetic", "wrong", 4.3e12),
        (68, "compute.attention per layer", "wrong", 4.3e12),
        (69, "arithmetic", "wrong", 1e12),
        (69, "compute.experts per expert", "wrong", 1e12),
        (70, "mixed sum", "wrong", None),
        (71, "arithmetic", "wrong", 0.025),
        (78, "sum", "holds", 20e6),
        (79, "arithmetic", "holds", 14e-6),
        (79, "time.communication", "unsupported", 14e-6),
        (85, "words: balance", "unsupported", None),
        (89, "words: pipeline bubbles", "holds", None),
        (90, "time.communication per layer", "contradicted", 14e-6),
        (113, "time.compute per layer", "unsupported", 50e-6),
        (113, "time.communication per layer", "contradicted", 14e-6),
        (114, "arithmetic", "holds", 1.024e-3),
        (114, "time.total in all", "impossible", 1.024e-3),
        (118, "arithmetic", "holds", 128e6),
        (118, "throughput.tokens", "impossible", 128e6),
        (61, "memory.attention per GPU", "wrong", 1e6),
        (130, "count.modules.attention", "holds", 16),
        (132, "count.modules per GPU", "holds", 8.125),
        (135, "count.modules per GPU", "holds", 8.125),
        (135, "words: exactly", "contradicted", 8.125),
        (144, "words: memory", "holds", None),
        (149, "words: correct", "contradicted", None),
    ],
)
def test_verdict(found, line, quantity, verdict, claimed):
    quantity = quantity.removesuffix(" in all")
    assert the(found, line, quantity, claimed).verdict == verdict


def test_memory_headroom_figure_is_wrong(found):
    (figure,) = [c for c in found.claims if c.line == 144 and c.quantity.startswith("memory.headroom")]
    assert figure.verdict == Verdict.WRONG


def test_right_values_by_hand(found):
    # four 1024² matrices in fp8; two 1024 × 2048 matrices; 8 T h² + 2 T S h of causal attention; a 64th of 2·2·T·2·h·f
    tokens = 128 * 1024
    assert the(found, 61, "memory.attention per layer").computed == 4 * 1024 * 1024
    assert the(found, 62, "memory.experts per expert").computed == 2 * 1024 * 2048
    attention = 8 * tokens * 1024**2 + 2 * tokens * 1024 * 1024
    assert the(found, 68, "compute.attention per layer").computed == attention
    assert the(found, 69, "compute.experts per expert").computed == 2 * tokens * 2 * 2 * 1024 * 2048 / 64


def test_factor_and_dimension_are_named(found):
    assert "factor of 1000" in the(found, 68, "arithmetic").why
    assert "factor of 1000" in the(found, 69, "arithmetic").why
    assert "dimension" in the(found, 71, "arithmetic").why


def test_both_bounds_are_told(found):
    why = the(found, 114, "time.total").why
    assert "1.870 ms causal" in why
    assert "2.013 ms" in why


def test_the_straggler_is_computed(found):
    assert "1.037" in the(found, 85, "words: balance").why


def test_verdicts_that_lean_on_assumptions_say_so(found):
    assert "workload.causal" in the(found, 114, "time.total").assumes
    assert the(found, 62, "memory.experts per expert").assumes == ()


def test_the_better_plan(found):
    split, broadcast, best = found.better.strategies
    assert (split.reading, broadcast.reading, best.reading) == ("split", "broadcast", "best")
    assert "DP64×TP2" in split.name
    assert "repeated ×64" in broadcast.name
    assert best.ratio == 1 < split.ratio < broadcast.ratio
    assert broadcast.seconds > 45.8e-3  # what its attention alone needs
    assert found.better.bound == pytest.approx(1.870e-3, rel=1e-3)


def test_no_verdict_of_the_document_is_lost(found):
    """How many claims have each verdict: a change of any of them is to be looked at."""
    counts = Counter(str(c.verdict) for c in found.claims)
    assert counts == {
        "holds": 49,
        "wrong": 38,
        "impossible": 6,
        "contradicted": 6,
        "unsupported": 4,
        "not checked": 4,
    }
