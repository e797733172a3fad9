"""Times and rates of steps: by a rate that siblings have, by the sequences of a step, at an efficiency."""

import pytest

from audits import failing, one_wrong

LIST = "The HBM gives 4 TB/s.\n\n- read weights: 8.00 GB, 2.00 ms\n- read cache: 20.00 GB, {}"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (LIST, "5.00 ms", "7.50 ms", "20.00 GB at 4 TB/s, as in line 5"),
        ("TPOT is 20 ms at batch 128, i.e. {} tokens/s per replica.", "6,400", "7,200", "128 in 20 ms are 6400"),
        ("20.42 GB at 2 TB/s: 10.21 ms; at 80 % efficiency {}.", "12.76 ms", "8.17 ms", "of the rate is 12.76 ms"),
        ("Each loads 32.9 GB at 5 GB/s from local NVMe: {}, and 40 s of warm-up.", "6.6 s", "164.5 s", "6.580 s"),
        ("每请求 0.786 GB,单网卡 40 GB/s 需 {}", "19.7 ms", "49.2 ms", "19.65 ms"),
    ],
)
def test_times(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong).why


@pytest.mark.parametrize(
    "text",
    [
        LIST.replace("read cache", "exchange").replace("read weights", "load weights").format("7.50 ms"),
        LIST.format("10.00 ms over 2 layers"),  # so many times it
        LIST.format("7.50 ms, with overlap"),
        "TPOT is 20 ms at batch 128, i.e. 25,600 tokens/s on 4 replicas.",
        "TPOT is 20 ms at batch 128. The target is 9,000 tokens/s.",
        "A step sends 0.79 MB. At the 45 GB/s we measured per GPU over the 400 Gb/s fabric this is 17.5 μs.",
        "At 30 % of 4 × 733 TFLOPS 104.4 TFLOP take 118.7 ms.",
        "104.4 TFLOP over 4 × 733 TFLOPS at 30 % take 118.7 ms.",
        "A prompt takes 2 × 12.75 B × 4,096 = 104.4 TFLOP; at 30 % of 4 × 733 TFLOPS that is 119 ms.",
    ],
)
def test_other_times(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("256 sequences in 17.1 ms: at most {} tokens/s.", "15.0 K", "3.7 K", "256 in 17.1 ms are 1.497e+04 a second"),
        (
            "There are 128 sequences.\n\nA step takes 118.8 GB / 5.3 TB/s = 22.4 ms, so no more than {} tokens/s.",
            "5.71K",
            "5.71M",
            "128 in 22.4 ms are 5714 a second",
        ),
    ],
)
def test_sequences_in_a_time(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "throughput"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "256 sequences in 17.1 ms: 936 tokens/s per GPU.",
        "There are 128 sequences.\n\nA step takes 118.8 GB / 5.3 TB/s = 22.4 ms, so no more than 9.3M tokens/s.",
        "There are 128 sequences and 1,280 tokens.\n\nA step takes 118.8 GB / 5.3 TB/s = 22.4 ms, so no more than 57.14K tokens/s.",
    ],
)
def test_rates_of_something_else(text):
    assert failing(text) == []


def test_at_least_so_long():
    text = "- 全部层合计 43.27 PFLOP\n- 32 张卡提供 32 × 148 × 0.6 = 2842 TFLOPS，至少需要 {} 秒"
    claim = one_wrong(text, "15.23", "1.523")
    assert claim.why.startswith("43.27 PFLOP at 2842 TFLOPS take 15.23 s")


def test_minutes_for_hours():
    claim = one_wrong("398.4 EFLOP / 22.15 PFLOPS = 17,986 s = {} h.", "5.00", "300")
    assert claim.quantity == "arithmetic"
