"""The bytes of all experts or of the model in the one format that the clause names."""

import pytest

from audits import failing, one_wrong

MIXTRAL = "Mixtral-8x7B"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("All experts together take {} in FP8, the attention 2.7 GB in BF16.", "45.1 GB", "90.2 GB", "at 1 byte each"),
        ("The BF16 weights alone are a {} file set.", "93.4 GB", "46.7 GB", "at 2 bytes each take 93.41 GB"),
    ],
)
def test_a_part_in_its_format(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong, MIXTRAL).why


@pytest.mark.parametrize(
    "text",
    [
        "All experts together take 45.1 GB, half of what BF16 would need.",
        "All experts of a stage take 22.5 GB in FP8.",
        "In BF16 all experts take 22.5 GB per GPU.",
    ],
)
def test_parts_of_parts_are_not_judged(text):
    assert [c for c in failing(text, MIXTRAL) if "parameters of" in c.why] == []
