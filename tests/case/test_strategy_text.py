"""Strategies in one line: short forms; nonsense is refused. ``test_strategy.py`` reads names back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.case.file.strategy_text import parse_strategy
from moewright.case.strategy import StrategySpec
from moewright.errors import SpecError


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
