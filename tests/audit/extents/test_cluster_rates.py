"""Tokens a second of a GPU are those of the cluster over its GPUs."""

import pytest

from audits import failing, one_wrong

SENTENCE = "The cluster delivers 12,800 tokens/s, or {} per GPU."
ROWS = "| Item | Value |\n|---|---|\n| Output of the cluster | 12,800 tokens/s |\n| Output per GPU | {} tokens/s |"


@pytest.mark.parametrize("text", [SENTENCE, ROWS])
def test_over_all_gpus(text):
    claim = one_wrong(text, "400", "800")
    assert claim.quantity == "throughput"
    assert "over 32 GPUs" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE.replace("The cluster delivers", "A replica delivers").format("800"),
        f"16 GPUs are idle.\n\n{SENTENCE.format('800')}",  # 16 GPUs are told too
        SENTENCE.format("~800"),
    ],
)
def test_what_is_of_something_else(text):
    assert failing(text) == []
