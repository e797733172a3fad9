"""What a token keeps and sends: KV heads, compressed values, all layers, a copy for each expert."""

import pytest

from audits import DEEPSEEK, MIXTRAL, failing, one_wrong

QUERY, LATENT = "keys and values of 32 query heads; there are 8 KV heads", "MLA keeps 512 + 64 values"
LAYER, COPY = "that is what one layer keeps of a token; all 32 keep 131.1 kB", "one copy of"


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        (MIXTRAL, "A token's KV cache takes {}.", "128 KiB", "512 KiB", QUERY),
        (MIXTRAL, "The cache of 2048 tokens takes {}.", "268.4 MB", "1.074 GB", QUERY),
        (DEEPSEEK, "The KV cache of a token takes {} in every layer.", "1,152 bytes", "81,920 bytes", LATENT),
        (DEEPSEEK, "The KV cache of a token takes {}.", "70.3 KB", "5.0 MB", LATENT),
        (
            MIXTRAL,
            "One token adds {} to the cache of keys and values.",
            "32 × 2 × 8 × 128 × 2 B = 131,072 B",
            "2 × 8 × 128 × 2 B = 4,096 B",
            LAYER,
        ),
        (MIXTRAL, "Summed over the layers a token of the cache takes {}.", "131,072 B", "4,096 B", LAYER),
        (
            MIXTRAL,
            "The cache of a token:\n\n    2 * 32 * {}",
            "8 * 128 * 2 B = 131,072 B",
            "32 * 128 * 2 B = 524,288 B",
            QUERY,
        ),
        (MIXTRAL, "Dispatch of 1024 tokens sends {} in BF16.", "16.8 MB", "8.39 MB", COPY),
        (MIXTRAL, "For dispatch a token takes {}.", "2 × 4096 × 2 B = 16,384 B", "4096 × 2 B = 8,192 B", COPY),
    ],
)
def test_slips_of_a_token(title, text, right, wrong, why):
    claim = one_wrong(text, right, wrong, title)
    assert claim.quantity == "slip"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "Uncompressed, a token's KV cache takes 512 KiB.",
        "One token adds 2 × 8 × 128 × 2 B = 4,096 B in a layer to the cache.",
        "One token adds 2 × 8 × 128 × 2 B = 4,096 B to the cache.\n\nIn all it keeps 128 KiB.",
        "Dispatch sends 4096 × 2 B = 8,192 B for each copy of a token.",
        "A token's vector has 4096 × 2 B = 8,192 B for dispatch.",
        "Dispatch of 1024 tokens in BF16 reads 8.39 MB.\n\nIt sends 16.8 MB.",
    ],
)
def test_another_cache_a_layer_or_one_copy_is_not_wrong(text):
    assert failing(text, MIXTRAL) == []


def test_nothing_is_said_of_a_model_that_the_document_does_not_give():
    assert failing("A token's KV cache takes 512 KiB.", "A model on 8 H100 GPUs") == []
    assert len(failing("A token's KV cache takes 512 KiB.", MIXTRAL)) == 1


def test_what_a_gpu_keeps_of_a_token_is_not_what_its_group_keeps():
    title, text = f"{MIXTRAL}\n\n- TP: 4\n- DP: 2\n\n", "KV cache of a token on each GPU: {}"
    assert failing(text.format("32,768 B"), title) == []
    (claim,) = failing(text.format("131,072 B"), title)
    assert claim.why == "that is of all of the tp 4; a GPU keeps 32.77 kB"
    assert failing(text.format("131,072 B (replicated)"), title) == []


def test_copies_that_a_card_receives_are_no_tokens():
    assert failing("A card receives 256 tokens in FP8, 256 × 7168 × 1 B = 1.84 MB of dispatch.", DEEPSEEK) == []


def test_the_tokens_of_a_card_over_top_k_explain_no_dispatch():
    """8 cards are no 8 tokens with 8 experts each."""
    text = "There are 8 cards.\n\n- Dispatch of 64 tokens in FP8: {}"
    assert "top 8 makes 3.670 MB" in one_wrong(text, "3.67 MB", "0.459 MB", DEEPSEEK).why


QWEN = "Qwen3-235B-A22B in BF16 on 16 H200"


def test_a_cache_of_one_byte_at_two():
    claim = one_wrong(
        "- `--kv-cache-dtype fp8`: {} per token",
        "2 × 4 × 128 × 94 × 1 B = 96,256 bytes",
        "2 × 4 × 128 × 94 × 2 B = 192,512 bytes",
        QWEN,
    )
    assert claim.why == "that is at 2 bytes; in fp8 96.26 kB"


def test_a_cache_in_the_format_that_a_table_gives():
    text = "| Item | Value |\n|---|---|\n| Weights / KV cache | BF16 / FP8 |\n\nKV cache per token: {}"
    claim = one_wrong(text, "96,256 bytes", "192,512 bytes", QWEN)
    assert claim.why.startswith("that is in bf16; the cache is in fp8, as the document says: 96.26 kB")


def test_a_dispatch_of_up_to_so_many_tokens():
    text = "## What the options imply\n\n- `--max-num-batched-tokens 8192`: dispatch of up to {} per layer"
    claim = one_wrong(text, "8192 × 8 × 4096 × 2 B = 536.9 MB", "8192 × 4096 × 2 B = 67.1 MB", QWEN)
    assert claim.quantity == "slip"
