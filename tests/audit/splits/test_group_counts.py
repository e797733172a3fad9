"""GPUs in groups of so many ranks are so many groups."""

import pytest

from audits import failing, one_wrong

PLAN = "- TP2, PP2, DP16 on 64 GPUs, EP16\n"


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (PLAN + "- EP groups: {}", "4", "8"),
        (PLAN + "- There are {} TP groups in the cluster.", "32", "64"),
        (PLAN + "- That makes {} EP groups.", "2", "8"),
    ],
)
def test_groups(text, right, wrong):
    claim = one_wrong(text, right, wrong, "Plan")
    assert claim.quantity == "count.groups"


def test_groups_told_with_their_quotient():
    text = "There are {} EP groups of 16 ranks in all (64 / 16)."
    assert one_wrong(text, "4", "8", "Plan").quantity == "arithmetic"


@pytest.mark.parametrize(
    "said",
    [
        "EP groups: 3",  # no slip: of something else
        "4 TP groups in a node",
        "16 DP groups: one a copy",
    ],
)
def test_other_groups(said):
    assert failing(f"{PLAN}- {said}", "Plan") == []
