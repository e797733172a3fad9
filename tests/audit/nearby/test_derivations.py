"""A figure follows from what is told just before it, but for a slip that is usual."""

import pytest

from audits import failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong", "quantity", "why"),
    [
        ("Experts take 352.3 MB on a GPU, that is {}.", "0.3523 GB", "352.3 GB", "derivation", "1000 times too large"),
        ("- A layer: 352.3 MB\n- The stage of 16 layers has {}", "5.637 GB", "5.637 TB", "derivation", "352.3 MB × 16 is 5.637 GB"),
        ("- The stage of 16 layers: 5.637 GB\n- With 16 layers one has {}", "352.3 MB", "352.3 KB", "derivation", "1000 times too small"),
        ("Weights take 11.27 GB, the cache 21.40 GB, together {}.", "32.67 GB", "34.67 GB", "sum", "11.27 GB + 21.40 GB is 32.67 GB"),
        ("Compute takes 12.40 ms and the network 3.15 ms, a total of {}.", "15.55 ms", "16.55 ms", "sum", "is 15.55 ms"),
    ],
)  # fmt: skip
def test_what_follows(text, right, wrong, quantity, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == quantity
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "Experts take 352.3 MB on a GPU, vs 352.3 GB.",
        "Experts take 352.3 MB on a GPU, up to 352.3 GB.",
        "Experts take 352.3 MB on a GPU, about 352 GB.",
        "- All of it: 352.3 GB\n\n## Experts\n\nExperts take 352.3 MB on a GPU, that is 352.3 GB.",
        "Weights take 11.27 GB, the cache 21.40 GB, 2.00 GB are free; together 34.67 GB.",
        "Weights take 11.27 GB, the cache 21.40 GB and with the rest 34.67 GB.",
        "Weights take 1.10 GB, the cache 2.10 GB, together 90.0 GB.",
    ],
)
def test_what_is_apart_or_no_sum_is_not_wrong(text):
    assert failing(text) == []


def test_bytes_of_so_many_tokens_of_another_section():
    text = "- Cache per token: 128 KiB\n\n## Context\n\nA context of 32768 tokens takes {}."
    claim = one_wrong(text, "4.29 GB", "4.29 TB")
    assert claim.quantity == "memory"
    assert "32,768 tokens at 128 KiB (line 3) take 4.295 GB: 1000 times too large" in claim.why
    assert failing(text.replace("context", "request").format("2.15 GB")) == []
    log = "- Cache per token: 128 KiB\n## Log\n\n- Log per token: 131 bytes\n\n## Context\n\nA context of 32768 tokens writes 4.29 MB."
    assert failing(log) == []


def test_what_many_have_together():
    text = "Conversations have 197 MB each. With 256 users their caches together occupy {}."
    claim = one_wrong(text, "50.4 GB", "38.3 GB")
    assert "256 × 197 MB is 50.43 GB" in claim.why
    assert failing("Conversations have 197 MB each. With 256 users both directions together take 100.8 GB.") == []


def test_bytes_of_millions_of_tokens():
    text = "- Cache per token: 163,840 B\n\n## Demand\n\nAll of them keep 25.6 M tokens, {} of cache."
    claim = one_wrong(text, "4.19 TB", "4.19 GB")
    assert "25,600,000 tokens at 163,840 B" in claim.why
