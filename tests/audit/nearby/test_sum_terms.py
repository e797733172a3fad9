"""Terms of a sum that stand nowhere, and the figure above that is one but for a factor."""

import pytest

from audits import CLUSTER, failing, one_wrong

LIST = "- Experts: 128 × 94.37 MB = 12.08 GB\n- Attention: {}\n- KV cache: 549.8 GB / 64 = 8.59 GB\n- Sum: 12.08 + 1.41 + 8.59 = 22.08 GB"


def test_the_one_part_that_the_sum_takes_otherwise():
    claim = one_wrong(LIST, "16 × 88.1 MB = 1.41 GB", "64 × 88.1 MB = 5.64 GB", CLUSTER)
    assert claim.quantity == "sum"
    assert claim.why == "the sum of line 6 takes 1.410 GB"


@pytest.mark.parametrize(
    "text",
    [
        LIST.format("3.33 GB"),  # by no factor
        LIST.format("5.64 GB, of which each stage has 1.41 GB"),
        LIST.format("88.1 MB per layer"),
    ],
)
def test_other_terms_are_none(text):
    assert failing(text, CLUSTER) == []
