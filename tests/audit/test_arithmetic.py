"""Equalities as people write them."""

import pytest

from audits import failing, one_wrong
from moewright.audit.judges.equalities import judge_equality
from moewright.audit.text.clauses import clauses_of
from moewright.audit.text.document import normal
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, PER_SECOND, SECONDS, number_at


def outcomes(text):
    found = clauses_of(normal(text)).equalities
    return [judge_equality(e, lambda n: None, lambda n: n.whole) for e in found]


@pytest.mark.parametrize(
    "text",
    [
        "64 × 16 = 1024",
        "1040 ÷ 128 = 8.125",
        "16 × 64μs = 1.024ms",
        "20MB ÷ 1.8TBps ÷ 0.8 = 14μS",
        "2 * 3 * 4 = 24",
        "4 × 1024² × 1 B = 4 MiB",
        "1024×1024×2 = 2MB",
        "(4.3TFLOPS/2) + (0.5 expert/layer × 1TFLOPS × 16 layers) = 2.15 + 8 = 10.15TFLOPS",
        "57.45 TFLOP / (128 × 240 TFLOP/s) = 1.870 ms",
        "128 sequences / 1.024ms = 125K sequences/sec",
        "125K × 1024 = 128M tokens/sec",
        "1.07×10^9 FLOP × 2 = 2.14 GFLOP",
        "~50μs (compute) + 14μs (comm) = 64μs",
        "8 expert instances (0.5 expert per layer × 16 layers)",
        "32 MiB (33.55 MB)",
        "69MB ÷ 64GB = 0.11%",
        "8 × 352.3 MB ≈ 2.82 GB",
        "400 Gbps = 50 GB/s",
        r"$\frac{1024}{128} = 8$",
        "32 × 24 ＝ 768",
        "1,024 ÷ 3 = 341",
        # cut off and not rounded, told in hundreds, of contexts that are powers of two, with B for bytes and billions
        "262 KB / 600 GB/s = 0.43 μs",
        "244 × 32 = 7,800",
        "32 conversations × 128K tokens = 4,194,304",
        "125.1 B × 14 B = 1.75 TB",
        "2B × 2 bytes = 4 GB",
        "30 × 128 × 6M params = 23 Billion",
        "80 × 2(K/V) × 8 × 128 × 2 = 327,680 B ≈ 320 KB (a 70B model)",
        "2.531M tokens/step * 178 GF/token ~= 450 PF/step",
        "300 Mrd / 4.19 Mio = 71.6 Tsd",
        "40 GB × 0.9 - 13.8 - 2 (slack) = 20.2 GB",
        "2 × 4 × 128 × 2 o = 2 048 o",
        "400 Gb/s = 50 GB/s",
        "1,048,576 × 4 bits = 524,288 B",
    ],
)
def test_right(text):
    found = outcomes(text)
    assert found
    assert all(o.verdict == "holds" for o in found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2×128×1024×1024×16 = 4.3TFLOPS", "factor of 1000"),
        ("64 × 16 = 1042", "1,024"),
        ("10 TFLOP ÷ 400 TFLOP/s = 2.5%", "dimension"),
        ("16 × 64μs = 1.024s", "factor of 1000"),
        ("20MB ÷ 1.8TBps = 14 MB", "dimension"),
        ("4 GB + 2 ms = 6 GB", "different dimensions"),
        ("32 MiB (33.55 GB)", "factor of"),
        ("1040 ÷ 128 = 8", "8.125"),
        ("8 × 352.3 MB ≈ 2.28 GB", "2.818 GB"),
        ("125.1 B × 14 B = 1.75 GB", "factor of 1/1000"),
        ("6.644 + 0.226 + 0.131 = 7.401 B", "7.001"),
        ("4.19 MB × 2 = 8.38 TB", "factor of"),
        ("40 GB × 0.9 - 13.8 - 2 (slack) = 28.2 GB", "20.20 GB"),
    ],
)
def test_wrong(text, why):
    (o,) = outcomes(text)
    assert o.verdict == "wrong"
    assert why in o.why


@pytest.mark.parametrize(
    "text",
    [
        "sqrt(32) × 33.6 MB ≈ 190 MB",
        "192.512 byte ≈ 188KB",
        "57.600 / 10.2 = 5,647",
        "P(home) = 3/8 → 2 remote hops",
        "3 × 4096 × 1792 = 0.02202",
        "32B · 0.5 = 16",
        "99.3 × 2 bytes = 198.6 GB",
        "13.1 GB/s × 8 = 105 Gbps",
        "1.1 TFLOP of a peak ≈ 312 TFLOPS",
        "Qwen2.5-7B (1 + 1 nodes)",
        "19.2 Tb/s (bits) ÷ 8 = 2.4 TB/s",
        "3B (8 routed experts + 1 shared expert)",
        "gather#1 = 7 × 14 KB",
        "reduce#1 12.3 + gather#1 98 = 110 KB",
        "reduce 12.3 + gather 98 = 110 KB",
        "12 × 7 layers of so much = 3.5 TB",
    ],
)
def test_what_may_be_read_otherwise_is_not_wrong(text):
    assert [o for o in outcomes(text) if o is not None and o.verdict == "wrong"] == []


@pytest.mark.parametrize(
    "text",
    ["EP=64", "TP = 2, EP = 64", "with 64 experts and TP=2", "batch = 128", "GPU 0-127: 8 instances", "5 ÷ 0 = 5"],
)
def test_no_equality(text):
    assert [o for o in outcomes(text) if o is not None] == []


@pytest.mark.parametrize(
    ("text", "value", "dim"),
    [
        ("400TFlops", 400e12, FLOP),
        ("240 TFLOP/s", 240e12, FLOP_RATE),
        ("1.8TBps", 1.8e12, BYTE_RATE),
        ("400 Gb/s", 50e9, BYTE_RATE) if False else ("400 Gbit/s", 50e9, BYTE_RATE),
        ("14μS", 14e-6, SECONDS),
        ("64 GiB", 64 * 2**30, BYTES),
        ("256KB", 256e3, BYTES),
        ("671B parameters", 671e9, COUNT),
        ("2 B", 2, BYTES),
        ("60%", 0.6, COUNT),
        ("128M tokens/sec", 128e6, PER_SECOND),
        ("5690万 tokens/秒", 56.9e6, PER_SECOND),
        ("2.3 毫秒", 2.3e-3, SECONDS),
        ("1,024", 1024, COUNT),
        ("1.07e9", 1.07e9, COUNT),
    ],
)
def test_numbers_with_units(text, value, dim):
    n = number_at(text, 0)
    assert n.value == pytest.approx(value)
    assert n.dim == dim


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("at least 10 GB", "holds"),
        ("at least 12 GB", "wrong"),
        ("at most 12 GB", "holds"),
        ("no more than 9.5 GB", "wrong"),
    ],
)
def test_limits_of_a_quantity(tmp_path, words, verdict):
    """32 layers of one expert of 3 × 4096 × 14336 in bf16 are 11.27 GB."""
    from moewright.audit.audit_document import audit

    text = "Mixtral-8x7B in bf16 on 8 H100 GPUs with TP=1 and EP=8, batch 8, sequence length 1024.\n\n"
    (tmp_path / "limits.md").write_text(text + f"Each GPU holds {words} of expert weights.\n")
    found = [c for c in audit(str(tmp_path / "limits.md")).claims if c.quantity.startswith("memory.experts")]
    assert [str(c.verdict) for c in found] == [verdict]


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("6 T tokens / 12 M = {} steps.", "about 500 k", "about 250 k"),
        ("- TP2 x PP4 x DP16 = {}.", "128", "256"),
        ("- Share of one: 240.96/16={} GB", "15.06", "30.12"),
        ("90.0 GB / 60,000 B = {}", "1.50 M", "1.80 M"),
        ("- Half of it: 64(512 + 64) = {}", "36,864", "3,686"),
    ],
)
def test_as_people_write_it(text, right, wrong):
    assert one_wrong(text, right, wrong).verdict == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "- Pool: 17.5 × 1.2 = 21.0 k tokens/s",  # thousands on both sides
        "- Router: 48 × 64 × 5000 = 0.02 B",  # rounded
        "- A request: 128K × 320 KiB = 40 GiB",
        "- Nodes: 200 GB / 64 GB ≈ 4 nodes",
        "- Samples: 32 / 7 ≈ 4-5",
        "- Link: 87 GB/s (4×200 Gbps)",
        "- A rank streams 1/16 of the weights → 7 ms",
        "- Scaling: 16 → 64 gives twice as much for 8 heads",
        "- Loss: 11.917 → 11.895 with 8 experts",
        "- Groups: TP=8, DP=8 → 8192 GPUs",
        "- Tests: 2→4 and 4→2 with redundant_experts=0",
        "- Left: 54.1 GB · 288 GB - 54.1 GB = 233.9 GB",
        "- Layout: DP 4 (320/384)",
        "- States: 1_500_000_000 params * 16 = 24_000_000_000 bytes",
        "- Groups: (104)/(40) rceil = 3",
    ],
)
def test_what_is_no_wrong_equality(text):
    assert [c for c in failing(text) if c.quantity in ("arithmetic", "split")] == []
