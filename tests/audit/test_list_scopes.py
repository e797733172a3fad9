"""A figure of one layer in a list whose others are of all layers."""

import pytest

from audits import failing, one_wrong

COUNTED = " (16 experts per layer)"
TITLE = "Qwen3-30B-A3B in BF16, EP 8 and DP 8 on 8 GPUs (A100)"
ROWS = "## Memory of one GPU\n\n| Component | Size per GPU |\n|---|---|\n| Expert weights{} | {{}} |\n| Attention weights | 1.81 GB |"


def test_one_layer_among_all():
    claim = one_wrong(ROWS.format(COUNTED), "7.25 GB", "151 MB", TITLE)
    assert claim.quantity == "memory.experts per GPU"
    assert "one layer, where the rest of the list is of all of them: 7.248 GB" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        ROWS.format(" per layer").format("151 MB"),  # that is said
        ROWS.format(COUNTED).format("151 MB").replace("Memory of one GPU", "Memory of one layer"),
        ROWS.format(COUNTED)
        .format("151 MB")
        .replace("| Attention weights | 1.81 GB |", "| Buffers | 0.4 GB |"),  # nothing else
    ],
)
def test_what_is_said_or_alike_is_not_accused(text):
    assert failing(text, TITLE) == []
