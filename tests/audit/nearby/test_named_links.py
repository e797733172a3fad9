"""Times over a link whose rate stands elsewhere."""

import pytest

from audits import CLUSTER, failing, one_wrong

TEXT = "The cards are joined by PCIe 4.0 x16 (32 GB/s each way).\n\n- A card sends 13.27 MB\n- Over PCIe that is {}"


def test_a_time_over_a_named_link():
    claim = one_wrong(TEXT, "0.415 ms", "41.5 ms")
    assert claim.quantity == "time"
    assert "13.27 MB over PCIe at 32 GB/s (line 3) take 414.7 us: 100 times too large" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        TEXT.format("0.83 ms"),  # both ways
        TEXT.format("1.66 ms"),  # four of them
        TEXT.format("41.5 ms").replace("Over PCIe", "Over NVLink"),
        TEXT.format("41.5 ms").replace("each way).", "each way). An older PCIe has 16 GB/s."),  # of two
        TEXT.format("41.5 ms").replace("13.27 MB", "13.27 MB in each of 100 chunks"),
    ],
)
def test_other_rates_and_parts_are_none(text):
    assert failing(text, CLUSTER) == []
