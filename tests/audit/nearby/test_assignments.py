"""Calculations in blocks of code."""

import pytest

from moewright.audit.judges.calculations.assignments import judge_assignments
from moewright.audit.text.document import parse


def verdicts(*lines, fence="python"):
    text = "\n".join([f"```{fence}", *lines, "```", ""])
    found = parse(text, "t.md")
    return [str(c.verdict) for c in judge_assignments(found.statements, found.lines).claims]


def why(*lines):
    text = "\n".join(["```", *lines, "```", ""])
    found = parse(text, "t.md")
    return judge_assignments(found.statements, found.lines).claims[-1].why


EXPERT = "expert = 3 * 3072 * 4096"


@pytest.mark.parametrize(
    "line",
    [
        "experts = 24 * 32 * expert   # 28_991_029_248 (~28.99 B)",
        "experts = 24 * 32 * expert   # 28.99 B parameters, in bf16 58 GB",
        "w = (32 // 16) * 24 * expert * 2   # 3_623_878_656 -> 3.62 GB",
        "share = expert / (24 * 32 * expert)   # 0.13%",
        "print(expert * 2 / 1e6)   # 75.5 MB",
        "expert / 2**20   # 36",
        "experts = 24 * 32 * expert = 28,991,029,248",
        "experts = 24 * 32 * expert → 28.99 B",
    ],
)
def test_a_result_in_the_digits_shown_holds(line):
    assert set(verdicts(EXPERT, line)) == {"holds"}


@pytest.mark.parametrize(
    "line",
    [
        "experts = 24 * 32 * expert   # 28_991_029_284",
        "experts = 24 * 32 * expert   # 2.899 B",
        "kv = 2 * 4 * 128 * 2 * 24 * 8192   # 384 GiB",
        "kv = 2 * 4 * 128 * 2 * 24   # 24,576 bytes = 24 KiB",
        "active = 24 * 2 * expert / (24 * 32 * expert)   # 8.6%",
    ],
)
def test_another_result_is_wrong(line):
    assert verdicts(EXPERT, line) == ["wrong"]


@pytest.mark.parametrize(
    "line",
    [
        "w = expert * 2   # 2 bytes each",
        "w = 3 * expert   # 3 matrices",
        "w = expert   # 75.5 MB",
        "w = other * expert   # 12",
        "layers = 48   # 45 of them MoE",
        "w = 2 ** 20000",
        "w = expert * 8192   # 8192 tokens",
        "w = expert * 2 / 1e9   # 75.5 MB",
    ],
)
def test_a_remark_is_no_result(line):
    assert verdicts(EXPERT, line) == []


def test_names_are_forgotten_in_a_loop_and_kept_from_block_to_block():
    assert verdicts(EXPERT, "for i in range(3):", "    expert = expert * 2   # 12", "x = expert * 2   # 12") == []
    text = "```\nn = 12 * 12\n```\n\nThen\n\n```\nm = n * 2  # 289\n```\n"
    found = parse(text, "t.md")
    assert [str(c.verdict) for c in judge_assignments(found.statements, found.lines).claims] == ["wrong"]


def test_shell_and_c_and_a_prompt_are_read():
    assert verdicts("E=$((3 * 5120 * 1536))   # 23592960", fence="bash") == ["holds"]
    assert verdicts("double w = 3 * 5120 * 1536;  // 23592961", fence="c") == ["wrong"]
    assert verdicts(">>> 3 * 5120 * 1536", "23592960") == ["holds"]


def test_the_factor_is_told():
    assert why("kv = 2 * 4 * 128 * 2 * 24 * 8192  # 384 GiB") == "the line gives 402.7 MB: wrong by a factor of 1024"
