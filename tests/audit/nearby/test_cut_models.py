"""A model cut from another is not taken for that one."""

from audits import failing


def test_a_model_that_is_cut_from_another():
    text = "QW-220 is our {} Qwen3-235B-A22B.\n\n| Model | |\n|---|---|\n| Layers, all MoE | 88 |\n| Hidden size | 4096 |\n"
    assert failing(text.format("cut of"), "Sizing on 32 H20") == []
    assert failing(text.format("name for"), "Sizing on 32 H20") != []
