"""Amounts of a GPU and of the cluster, tokens of the fullest expert, micro-batches, times of rows and of lists."""

import pytest

from audits import audited, failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("That is 343.6 GB over the cluster. Per card that is {} GB.", "10.74", "42.95"),
        ("It takes 16,777,216 tokens, that's 1.18 TB, {} GB per GPU.", "36.9", "147.5"),
        ("- 并发 256 路，共 403.7 GB，平均每卡 {} GB", "12.6", "50.5"),
        ("The cluster makes 11,378 token/s, or about {} token/s per GPU.", "356", "1,422"),
        ("- 5,120 tok/s for the whole cluster, {} per GPU, 40 tok/s per user", "160", "640"),
    ],
)
def test_over_the_gpus_of_the_cluster(text, right, wrong):
    assert one_wrong(text, right, wrong).quantity in ("memory", "throughput")


@pytest.mark.parametrize(
    "text",
    [
        "A replica has 343.6 GB. Per card that is 42.95 GB.",
        "Each node keeps 1.18 TB, 147.5 GB per GPU.",
        "The attention takes 6.7 GB in total, with TP 8 that is 0.84 GB per GPU.",
        "A group of 8 GPUs holds 403.7 GB in total, 50.5 GB per GPU.",
    ],
)
def test_over_the_gpus_of_a_part(text):
    assert not [c for c in failing(text) if c.quantity == "memory"]


@pytest.mark.parametrize(
    ("text", "right", "wrong", "quantity"),
    [
        (
            "The hottest expert draws 1.5 times its share, so it sees {} tokens instead of 128.",
            "192",
            "256",
            "count.tokens",
        ),
        ("- Sizes: TP 2, PP 4, DP 4\n- GBS 1024, MBS 1: {} micro-batches per replica", "256", "128", "count.micro"),
        (
            "| Step | How | Time |\n|---|---|---|\n| Send | to others: 1.180 MB at 25 GB/s | {} |",
            "47.2 µs",
            "47.2 ms",
            "time",
        ),
        ("- out: 5.51 MB/layer → 110 µs @ 50 GB/s\n- back: 11.0 MB/layer → {} µs", "220", "55", "time"),
        ("- cache: 70,272 B/token\n- full MHA: 4.00 MB/token, i.e. {}× more", "56.9", "28.4", "ratio"),
        (
            "We plan 30 ms per step. It has 3,072 conversations in flight and emits {} tokens/s.",
            "102,400",
            "92,160",
            "through",
        ),
        ("- experts 38.65 B, attention 1.342 B, embeddings 1.049 B; {} B altogether", "41.04", "51.04", "sum"),
        ("- 17.3 Mio. Parameter, in FP8 somit {} MB", "17.3", "34.6", "memory"),
        ("- 44.04M params → 44.04 {} in FP8", "MB", "GB", "memory"),
        ("2.448 M tokens/s overall.\n\nFor 2 T tokens it takes {} days.", "9.46", "22.7", "time"),
        (
            "- Expert params: 32 × 18.87 M = 603.8 M; attention: 4 × 41.94 M = 167.8 M\n- Weights bf16: {} GB",
            "1.54",
            "0.772",
            "multiple",
        ),
    ],
)
def test_what_follows_from_the_figures_beside_it(text, right, wrong, quantity):
    assert one_wrong(text, right, wrong).quantity.startswith(quantity)


@pytest.mark.parametrize(
    ("line", "right", "wrong"),
    [
        ("3 * hidden * ffn   # {} params in an expert", "176,160,768", "117,440,512"),
        ("46.7e9 * 2    # {} GB", "93.4", "186.8"),
        ("0.676 / 1.36   # MFU {}", "50%", "40%"),
        ("1.34 / 2.039    # {} ms kv", "0.66", "5.27"),
    ],
)
def test_a_line_of_code_with_its_value_behind_it(line, right, wrong):
    code = "```python\nhidden, ffn = 4096, 14336\n{}\n```"
    (claim,) = failing(code.format(line.format(wrong)))
    assert (failing(code.format(line.format(right))), claim.line) == ([], 5)


def test_a_comparison_is_no_equality():
    assert failing("It needs `ret.lda % 16 == 0` there.") == []


def test_a_row_that_has_a_further_amount():
    """0.82 GB has the floor of 0.2 GB in it, which other rows do not have."""
    rows = "".join(f"| m{x} | {x}.0 | 0 | {x * 0.03277:.3f} GB |\n" for x in (24, 36, 96, 188))
    table = f"| model | KB/token | floor | 32K |\n|---|---|---|---|\n{rows}| gemma | 20.0 | 0.2 GB | 0.855 GB |"
    assert failing(table) == []


def test_a_unit_that_the_corner_or_a_column_of_its_own_gives():
    corner = "| GB | A |\n|---|---|\n| Experts | 28.4 |\n| Attention | 3.35 |\n| All weights | {} |"
    assert one_wrong(corner, "31.8", "37.8").quantity == "sum"
    column = "| | value | unit |\n|---|---|---|\n| read 27.90 GB at 4.8 TB/s | {} | ms |"
    assert one_wrong(column, "5.81", "9.81").claimed == pytest.approx(9.81e-3)


def test_a_wiki_heading_is_a_heading():
    assert failing("== Decode at 256 sequences of 16,384 tokens ==\n\nThere is room for 1.96 M tokens.") == []


def test_sizes_in_french():
    from moewright.audit.audit_document import audit_document
    from moewright.audit.text.document import parse

    text = (
        "# Note\n\nLe modèle compte 20 couches : 40 experts routés par couche, 3 retenus par jeton. La dimension cachée "
        "vaut 3072, la largeur d'un expert 2304 ; l'attention a 24 têtes de requête et 4 têtes clé-valeur, de "
        "dimension 128.\n\nNous disposons de 5 serveurs de 8 A100, soit 40 GPU.\n"
    )
    given = {p.field: p.value for p in audit_document(parse(text, "x"), {}, None).premises}
    model = ("layers", "hidden_size", "experts.count", "experts.top_k", "experts.intermediate_size", "attention.heads")
    assert [given[f"model.{x}"] for x in model] == [20, 3072, 40, 3, 2304, 24]
    assert given["cluster.gpus"] == 40


def test_a_format_that_might_be():
    text = "Weights and cache are in BF16.\n\n- 每 token：2 × 4 × 128 × 2 B × 94 = 192,512 B\n- 若改用 FP8 KV，降到一半"
    assert not [c for c in audited(text, "Qwen3-235B-A22B on 32 H20 GPUs") if str(c.verdict) == "wrong"]


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [("- per card: 653.9 / 64 ≈ {} GB", "10.2", "5.11"), ("- in all: 654 × 3 ≈ {} GB", "1,960", "981")],
)
def test_about_with_a_unit_on_one_side(text, right, wrong):
    """A figure that has its unit on the right of ≈ alone is as near as any other must be."""
    assert one_wrong(text, right, wrong).quantity == "arithmetic"
