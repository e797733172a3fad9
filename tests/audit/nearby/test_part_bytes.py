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


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("- Expert parameters of the model: {}", "45.1 B", "1.41 B", "one of 32 layers has; all have 45.10 B"),
        ("The attention has {} parameters in all 32 layers.", "1.34 B", "41.9 M", "all have 1.342 B"),
        ("- Experts, whole model: {}", "90.2 GB", "2.82 GB", "all have 90.19 GB"),
    ],
)
def test_what_one_layer_has_is_not_what_all_have(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong, MIXTRAL).why


@pytest.mark.parametrize("text", ["- Expert parameters of a layer: 1.41 B", "- Active experts, whole model: 2.82 GB"])
def test_a_layer_or_what_is_active_may_have_as_much(text):
    assert [c for c in failing(text, MIXTRAL) if "layers has" in c.why] == []
