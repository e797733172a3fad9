"""Ratios that words tell: of the mean, above a need, of active parameters, a fraction, in another format, a price."""

import pytest

from audits import failing, one_wrong

COUNTS = (
    "| Model | Value |\n|---|---|\n| Total parameters | 131.6 B |\n| Active parameters per token | 36.5 B |\n"
    "| Share active | {} |"
)
ACTIVE = "| Part | Parameters |\n|---|---|\n| experts | 96.64 B |\n| rest | 11.13 B |\n| **sum** | 107.77 B |\n\n## Active parameters\n\n- what a token passes: {}"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("The mean is 16,384 tokens, the fullest has 22,100, {} times the mean.", "1.35", "1.53", "is 1.35"),
        ("平均 16,384 个，最热专家 22,100 个，是平均值的 {} 倍。", "1.35", "1.53", "is 1.35"),
        ("We reach 10,290 tokens/s, {} above the 5,200 asked for.", "98 %", "198 %", "97.9% above it"),
        (COUNTS, "27.7 %", "25.0 %", "27.7%"),
        (ACTIVE, "17.2 B", "107.8 B", "the total of line 7"),
        ("It sends 402.7 MB, of which 15/16 leave the rank: {}.", "377.5 MB", "339.7 MB", "15/16 of 402.7 MB is 377.5"),
        ("In FP8 all take 314.9 GB. In BF16 the same would be {}.", "629.8 GB", "1,259.5 GB", "629.8 GB at 2"),
        ("188.2 thousand GPU-hours, ${} at $4.20.", "0.79M", "7.90M", "cost 790,440"),
        ("- Total: 6.92 B; active per token: 1.28 B, that is {}.", "18.5 %", "81.5 %", ""),
    ],
)
def test_ratios(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong).why


@pytest.mark.parametrize(
    "text",
    [
        "The mean is 16,384 tokens; another has 24,576, 1.5 times the mean.",
        "We reach 10,290 tokens/s, 97.9 % above the 5,200 asked for.",
        "First 7,800 tokens/s, then 13,000, 150 % above the 5,200 asked for.",
        "It sends 402.7 MB; half from each GPU, 15/16 of it leave: 188.8 MB.",
        "In FP8 all take 314.9 GB. In BF16 the dense ones alone take 12.0 GB.",
        "10.21 ms; at 80 % load we wait 8.17 ms more.",
    ],
)
def test_other_ratios(text):
    assert failing(text) == []
