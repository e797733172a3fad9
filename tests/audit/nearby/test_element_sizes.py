"""Bytes are parameters times the bytes of each; the work of a token is that of its active parameters."""

import pytest

from audits import audited, failing, one_wrong

TABLE = """| Part | Parameters | Bytes each | Memory |
|---|---|---|---|
| Experts | 45.1 B | 1 | 45.1 GB |
| Attention | 1.34 B | 2 | {} |"""
MODEL = "The model has 46.7 B parameters in total, of which 12.9 B are active.\n\n"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("- Parameters: 46.7 B\n- Master copies, 4 bytes each: {}", "186.8 GB", "93.4 GB", "take 186.8 GB"),
        ("There are 46.7 B parameters. Moments take 8 bytes per parameter: {}.", "373.6 GB", "37.36 GB", "take 373.6 GB"),
        (TABLE, "2.68 GB", "1.34 GB", "1.34 B at 2 bytes each take 2.680 GB"),
        (TABLE, "2.68 GB", "3.11 GB", "take 2.680 GB"),
    ],
)  # fmt: skip
def test_bytes_of_so_many_parameters(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "memory"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "- Parameters: 46.7 B\n- Master copies, 4 bytes each / 2 nodes: 93.4 GB",
        "- Parameters: 46.7 B\n- Scales, 4 bytes each: 11.2 GB",
        TABLE.format("3.11 GB").replace("| 2 |", "| 2.1 |"),
    ],
)
def test_other_bytes_are_not_wrong(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (MODEL + "- Work of a token: {}", "6 × 12.9 B = 77.4 GFLOP", "6 × 46.7 B = 280.2 GFLOP"),
        (MODEL + "- A token of a prompt: {}", "2 × 12.9e9 = 25.8 GFLOP", "2 × 46.7e9 = 93.4 GFLOP"),
        (
            "- Total parameters: 46.7 B\n- Active parameters: 12.9 B\n- Training: {} a token",
            "6 × 12.9 B = 77.4 GFLOP",
            "6 × 46.7 B = 280.2 GFLOP",
        ),
    ],
)
def test_work_of_a_token(text, right, wrong):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "compute"
    assert "are all parameters; a token passes 12.9" in claim.why
    assert claim.computed == pytest.approx(claim.claimed * 12.9 / 46.7)


def test_a_dense_model_works_with_all_parameters():
    assert failing(f"{MODEL}- A dense model of that size: 6 × 46.7 B = 280.2 GFLOP") == []
    assert failing("The model has 46.7 B parameters in total.\n\n- Work: 6 × 46.7 B = 280.2 GFLOP") == []
    assert audited(f"{MODEL}- Work: 6 × 46.7 B = 280.2 GFLOP")[-1].verdict == "wrong"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("- Total parameters: 46.7 B\n- The whole model in BF16: {}", "93.4 GB", "46.7 GB", "at 2 bytes each take 93.40 GB"),
        ("- Total parameters: 46.7 B\n- One copy in FP8 takes {}", "46.7 GB", "46.7 TB", "at 1 byte each take 46.70 GB"),
    ],
)  # fmt: skip
def test_bytes_of_a_whole_model_in_one_format(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "memory"
    assert why in claim.why


def test_bytes_of_a_part_of_it_are_others():
    total = "- Total parameters: 46.7 B\n"
    assert failing(f"{total}- The model in FP8 takes 93.4 GB on each node") == []
    assert failing(f"{total}- The model with its optimizer in FP8 takes 93.4 GB") == []
    assert len(failing(f"{total}- The model in FP8 takes 93.4 GB")) == 1


def test_work_of_a_token_with_all_parameters():
    text = "Prefill does {} per token (scores not counted)."
    claim = one_wrong(text, "25.8 GFLOP", "93.4 GFLOP", "Mixtral-8x7B")
    assert "2 for each of all 46.7" in claim.why
    assert failing("A dense model would need 93.4 GFLOP per token.", "Mixtral-8x7B") == []


def test_a_format_beside_a_formula():
    table = "| Item | Formula of bytes | GB |\n|---|---|---|\n| BF16 weights | 2.492 B x {} bytes | {} |"
    right, wrong = table.format(2, 4.98), table.format(1, 2.49)
    assert failing(right) == []
    assert [c.why for c in failing(wrong)] == ["an element of bf16 has 2 bytes, not 1"]


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("| State | Format | GB |\n|---|---|---|\n| moments | {} | 7.0 |", "FP32, 4 B", "FP32, 2 B"),
        ("The shadow copy is kept in {}.", "FP32 (4 bytes)", "FP32 (2 bytes)"),
    ],
)
def test_the_size_right_behind_a_format(text, right, wrong):
    assert "an element of FP32 has 4 bytes, not 2" in one_wrong(text, right, wrong).why


def test_formats_that_change_have_other_sizes():
    assert failing("From FP32 (2 bytes less) to BF16 is one step.") == []


def test_work_of_all_parameters_in_bare_billions():
    """2 × 46.7 = 93.4 GFLOP, where a token passes 12.9 B."""
    text = "- All parameters: 46.70 B\n- Active parameters: 12.88 B\n- Work of a token: 2 × {} GFLOP"
    assert "a token passes 12.88 B" in one_wrong(text, "12.88 = 25.76", "46.70 = 93.4").why
