"""Strategies in one line: a plan's own name reads back; nonsense is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.case.file.strategy_text import parse_strategy
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy, StrategySpec
from moewright.errors import SpecError

SIZE = st.integers(1, 4096)


@given(
    st.builds(
        Strategy,
        SIZE,
        SIZE,
        SIZE,
        st.sampled_from(Overlap),
        st.builds(AttentionParallel, SIZE, SIZE, SIZE, SIZE),
        st.builds(ExpertParallel, SIZE, SIZE, st.integers(0, 99), st.sampled_from(Dispatch)),
    ),
    st.booleans(),
)
def test_a_name_reads_back(s, ascii_signs):
    name = s.name.replace("×", "x") if ascii_signs else s.name
    found = parse_strategy(name)
    a, e = s.attention, s.experts
    wanted = {
        "replicas": s.replicas,
        "pp": s.pp,
        "micro_batches": s.micro_batches,
        "overlap": s.overlap,
        "dp": a.dp,
        "cp": a.cp,
        "tp": a.tp,
        "repeated": a.repeated,
        "ep": e.ep,
        "etp": e.tp,
        "redundant": e.redundant,
        "dispatch": e.dispatch,
    }
    usual = {"micro_batches": 1, "overlap": Overlap.NONE, "cp": 1, "repeated": 1, "redundant": 0}
    for field, value in wanted.items():
        got = getattr(found, field)
        assert got == value or (got is None and usual.get(field) == value), field


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dp=64,tp=2,ep=64,etp=2", StrategySpec(dp=64, tp=2, ep=64, etp=2)),
        ("EP64×TP2", StrategySpec(tp=2, ep=64, etp=2)),
        ("ep64 x tp2", StrategySpec(tp=2, ep=64, etp=2)),
        ("tp=2 repeated=64 ep=64 etp=2 dispatch=replicated", None),
        ("R16 · PP2/4 · moe EP8×TP1+8 · two-batch", None),
    ],
)
def test_short_forms(text, found):
    got = parse_strategy(text)
    assert found is None or got == found


@pytest.mark.parametrize(
    "text", ["", "fast", "dp=0", "dp=x", "dp=4,dp=4", "xp=3", "EP", "moe DP4", "dp=²", "EP64×EP64"]
)
def test_nonsense(text):
    with pytest.raises(SpecError, match=r"expected|known"):
        parse_strategy(text)


@given(st.text(alphabet="dpetcrx=×·,0123456789 RPEDTattnmoe-+/", max_size=40))
def test_any_text_is_a_strategy_or_a_spec_error(text):
    try:
        assert isinstance(parse_strategy(text), StrategySpec)
    except SpecError as error:
        assert error.exit_status == 2
