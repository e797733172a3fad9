"""Prices from a profile: on the points, between them, beyond them; and what is refused."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cases import value
from moewright.case.file.load import case_of
from moewright.case.profile import Series
from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy
from moewright.cost import network
from moewright.cost.layer import collective_work
from moewright.cost.prices.profile_curves import along, curve_seconds
from moewright.cost.prices.profiled import Profiled
from moewright.errors import SpecError
from moewright.planning.detail import detail

POINTS = [[1, 1e-5], [16, 4e-5], [256, 6.4e-4]]
PROFILE = {
    "moewright_profile": 1,
    "name": "m",
    "ranks": 4,
    "precision": "fp32",
    "memory": 1e9,
    "measured": [
        {"operation": "gemm", "key": [64, 32], "points": POINTS},
        {"operation": "memory", "key": [], "points": [[1024, 1e-6], [65536, 2e-5]]},
        {"operation": "all_gather", "key": [2], "points": [[64, 1e-4], [65536, 1e-3]]},
    ],
}
SPEC = {
    "model": {
        "layers": 2,
        "hidden_size": 32,
        "attention": {"kind": "mha", "heads": 4, "head_dim": 8},
        "experts": {"count": 4, "top_k": 2, "intermediate_size": 64, "gated": False},
        "vocab_size": 0,
        "precision": "fp32",
    },
    "cluster": {"profile": "p.yaml", "gpus": 4},
    "workload": {"kind": "forward", "batch": 8, "sequence": 16},
}


def case(tmp_path, **change):
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({**PROFILE, **change}))
    return case_of(SPEC, str(tmp_path / "spec.yaml"))


def test_prices_are_the_points(tmp_path):
    device = case(tmp_path).cluster.device
    assert device.flops == {"fp32": pytest.approx(2 * 64 * 32 * 16 / 4e-5)}

    def price(size, key=(64, 32)):
        return value(curve_seconds(device.measured, "gemm", tuple(np.array([k]) for k in key), np.array([size])))

    assert [price(size) for size, _ in POINTS] == pytest.approx([seconds for _, seconds in POINTS])
    assert price(4) == pytest.approx(2e-5)  # halfway in logarithms
    assert price(512) == pytest.approx(1.28e-3)  # the last point's efficiency
    assert price(16, (128, 32)) == pytest.approx(8e-5)  # twice as wide as the nearest that was measured
    assert price(0) == 0
    assert curve_seconds(device.measured, "send", (np.array([2]),), np.array([8])) is None


@given(st.floats(0.01, 1e5), st.floats(0.01, 1e5))
def test_more_work_never_takes_less_time(a, b):
    series = Series((64.0, 32.0), tuple((float(s), t) for s, t in POINTS))
    low, high = sorted((a, b))
    assert along(series, low) <= along(series, high) * (1 + 1e-12)


def test_candidates_at_once_and_one_by_one_agree(tmp_path):
    profile = case(tmp_path).cluster.device.measured
    widths, rows = np.array([16, 64, 100, 64]), np.array([1.0, 3.0, 700.0, 0.0])
    together = curve_seconds(profile, "gemm", (widths, np.array([32])), rows)
    alone = [
        value(curve_seconds(profile, "gemm", (np.array([w]), np.array([32])), np.array([r])))
        for w, r in zip(widths, rows, strict=True)
    ]
    assert together == pytest.approx(alone)


def test_a_collective_of_the_profile(tmp_path):
    known = case(tmp_path)
    price, always = Profiled(known.cluster, known.model.precision), np.array([True])
    for ranks, seconds in ((2, 1e-3), (1, 0.0)):
        g = network.group("tp", np.array([ranks]), np.array([1]), known.cluster)
        work = collective_work("tokens", "all_gather", g, np.array([65536.0]), always)
        assert price.price([work])[0].seconds == pytest.approx(seconds)


def test_experts_of_the_profile_are_found_by_what_their_first_product_is_wide(tmp_path):
    """The case's are not gated: 64 wide. Each active expert takes what the curve says of its rows."""
    curves = [
        {"operation": "experts", "key": [32, w], "points": [[1, s], [64, 8 * s]]} for w, s in ((64, 1e-5), (1, 9))
    ]
    known = case(tmp_path, measured=[*PROFILE["measured"], *curves])
    strategy = Strategy(attention=AttentionParallel(dp=4), experts=ExpertParallel(4))
    (experts,) = [o for o in detail(known, strategy, 8).compute.operations if o.name == "experts"]
    assert 1e-5 <= experts.seconds <= 1e-3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"moewright_profile": 2}, "moewright_profile"),
        ({"measured": []}, "measured"),
        ({"measured": PROFILE["measured"][1:]}, "measured"),
        ({"measured": [{"operation": "dance", "points": POINTS}]}, "measured[0].operation"),
        ({"measured": [{"operation": "gemm", "key": [1], "points": POINTS}]}, "measured[0].key"),
        ({"measured": [{"operation": "gemm", "key": [1, 2], "points": [[1, -1]]}]}, "measured[0].points"),
        ({"ranks": "many"}, "ranks"),
        ({"memory": 0}, "memory"),
        ({"ranks": 2}, "cluster.gpus"),
        ({"precision": "fp9"}, "precision"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_bad_profile_is_one_error_that_names_the_field(tmp_path, change, field):
    with pytest.raises(SpecError) as caught:
        case(tmp_path, **change)
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_profile(tmp_path):
    with pytest.raises(SpecError, match=r"cluster\.profile"):
        case_of(SPEC, str(tmp_path / "spec.yaml"))
