"""The rate of a GPU is that of all GPUs over a number that the document names."""

import pytest

from audits import failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The cluster gives 64,000 tokens/s in all, {} tokens/s per GPU.", "2,000", "2,400"),
        ("- Throughput in total: 64,000 tokens/s\n- Throughput per GPU: {} tokens/s", "2,000", "1,600"),
        ("| Rate | Value |\n|---|---|\n| Whole pool, total | 64,000 tok/s |\n| Per GPU | {} tok/s |", "2,000", "3,000"),
    ],
)
def test_the_rate_of_a_gpu(text, right, wrong):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "throughput"
    assert claim.computed == pytest.approx(2000)
    assert "which is no number of GPUs or groups of the document; over 32" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "A replica of 4 GPUs gives 64,000 tokens/s in all, 16,000 tokens/s per GPU.",
        "4 groups of 10 GPUs give 64,000 tokens/s in all, 1,600 tokens/s per GPU.",
        "The cluster gives 64,000 tokens/s in all, about 2,400 tokens/s per GPU.",
        "The cluster gives 64,000 tokens/s in all, 75 requests/s per GPU.",
        "A prompt sees 5,000 tokens/s, and there are 2,400 tokens/s per GPU.",
    ],
)
def test_other_rates_are_not_wrong(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Decode has 48 GPUs, with 112 GB of cache per GPU and {} over the decode side.", "5.4 TB", "5.4 GB"),
        ("The total traffic is {}, spread over 32 GPUs, per GPU 0.58 GB/s.", "18.6 GB/s", "18.6 MB/s"),
    ],
)
def test_bytes_of_all_gpus(text, right, wrong):
    assert failing(text.format(right)) == []
    (claim,) = failing(text.format(wrong))
    assert "on each of" in claim.why


def test_bytes_of_some_gpus_are_not_wrong():
    assert failing("Decode has 48 GPUs, with 112 GB of cache per GPU and 5.4 GB over the decode side's links.") != []
    assert failing("Decode has 48 GPUs, with 112 GB of cache per GPU and 3.1 GB in total for tables.") == []
