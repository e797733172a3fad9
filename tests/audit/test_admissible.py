"""A figure that may be meant otherwise is not called wrong; the same figure said plainly is."""

from pathlib import Path

import pytest

from audits import failing
from moewright.audit.audit_document import audit_document
from moewright.audit.audit_record import FAILING
from moewright.audit.text.document import parse

#: 47 B parameters; 93.4 GB of weights, 11.68 GB a GPU with the experts whole
PLAN = """# Mixtral-8x7B

- GPUs: 8
- GPU: H100
- Precision: BF16
- EP: 8
- TP: 1
- DP: 8
- Batch size: 64
- Sequence length: 2048

"""


def judged(text, plan=PLAN):
    claims = audit_document(parse(plan + text, "plan.md"), {}, None).claims
    return [c for c in claims if c.line > plan.count("\n")]


def fails(text, plan=PLAN):
    return [c for c in judged(text, plan) if c.verdict in FAILING]


@pytest.mark.parametrize(
    ("plain", "open_", "reason"),
    [
        ("Expert weights per GPU: 40 GB", "Measured expert weights per GPU: 40 GB", "measurement"),
        ("Expert weights per GPU: 40 GB", "Target for expert weights per GPU: 40 GB", "target"),
        ("Expert weights per GPU: 40 GB", "Expert weights per GPU of the baseline: 40 GB", "another configuration"),
        ("Expert weights per GPU: 40 GB", "Expert weights per GPU: 40-50 GB", "range"),
        ("Expert weights per GPU: 40 GB", "Expert weights per GPU: up to 40 GB", "most or the least"),
        ("Expert weights per GPU: 12.2 GB", "Expert weights per GPU: ~12.2 GB", "approximate"),
        ("Expert weights per GPU: 40 GB", "Expert weights per replica: 40 GB", "replica"),
    ],
)
def test_what_is_open_is_not_checked(plain, open_, reason):
    assert fails(f"- {plain}\n")
    (claim,) = judged(f"- {open_}\n")
    assert claim.verdict not in FAILING
    assert reason in claim.why


def test_a_measured_section_holds_its_figures_open():
    text = "## Benchmark results\n\n- Expert weights per GPU: 40 GB\n"
    assert not fails(text)
    assert fails(text.replace("Benchmark results", "Memory"))


def test_a_field_with_two_values_fails_nothing_that_stands_on_it():
    text = "\n## Decode\n\n- EP: 4\n- Expert weights per GPU: 40 GB\n"
    assert not fails(text)
    assert fails(text.replace("- EP: 4\n", ""))


def test_a_unit_in_the_title_of_a_column():
    text = "| Part | Size per GPU ({}) |\n|---|---|\n| Expert weights | {} |\n"
    (claim,) = judged(text.format("GB", "11.3"))
    assert claim.verdict == "holds"
    assert fails(text.format("GB", "113"))


def test_billions_of_parameters_are_no_bytes():
    text = "- All experts: 32 × 1409 M = {} B\n"
    (claim,) = [c for c in judged(text.format("45.09")) if c.quantity == "arithmetic"]
    assert claim.verdict == "holds"
    assert [c for c in fails(text.format("22.5")) if c.quantity == "arithmetic"]


@pytest.mark.parametrize(
    "text",
    [
        "64 sequences of 4,096 tokens = 262,144 tokens",
        "160 experts = 7.55 GB",
        "$32 / (31.8k × 3600) = $0.28 per million tokens",
        "2 × 4 × 128 × 94 × 2 = 192 512 elements",
    ],
)
def test_what_is_no_whole_equation_is_not_evaluated(text):
    assert not [c for c in judged(f"- {text}\n") if c.quantity == "arithmetic"]


@pytest.mark.parametrize(("gpus", "verdict"), [(32, "holds"), (64, "wrong")])
@pytest.mark.parametrize("sizes", ["EP 8 × expert-DP 4", "TP=4 x PP 2 x DP4", "TP8 × DP4"])
def test_products_of_named_sizes(sizes, gpus, verdict):
    assert [c.verdict for c in judged(f"- {sizes} = {gpus} GPUs\n") if c.quantity == "arithmetic"] == [verdict]


@pytest.mark.parametrize(("written", "verdict"), [("352,3", "holds"), ("704,6", "wrong")])
def test_decimal_commas(written, verdict):
    text = f"- Ein Experte: 3 × 4096 × 14336 × 2 B = {written} MB\n- KV: 131.072 B = 131,072 KB\n"
    verdicts = [str(c.verdict) for c in judged(text) if c.quantity == "arithmetic"]
    assert verdicts == [verdict, "holds"]


def test_redundant_experts_make_other_sizes_legal():
    plan = "# DeepSeek-V3 on 72 H100 GPUs\n\n- GPUs: 72\n- EP: 72\n\n"
    claims = audit_document(parse(plan, "p.md"), {}, None).claims
    assert [str(c.verdict) for c in claims if c.quantity == "strategy"] == ["contradicted"]
    text = plan + "With 32 redundant experts, EP=72 gives 4 experts a GPU.\n"
    assert not [c for c in audit_document(parse(text, "p.md"), {}, None).claims if c.verdict in FAILING]


def test_active_parameters_are_never_all_of_them():
    assert fails("Active parameters per token: 46.7 B")
    assert not fails("Active parameters per token: 12.9 B")


def test_an_equality_before_another_is_read():
    """The number behind its noun belongs to the next equality."""
    (wrong,) = fails("With TP = 4 each GPU holds 32 / 4 = 16 query heads and 8 / 4 = 2 KV heads.")
    assert wrong.quantity == "arithmetic"
    assert not fails("With TP = 4 each GPU holds 32 / 4 = 8 query heads and 8 / 4 = 2 KV heads.")


@pytest.mark.parametrize(
    "text",
    ["The weights and the KV cache fit in 80 GB.", "All of it stays within the 80 GB.", "It uses 14% of the 80 GB."],
)
def test_the_room_that_something_fits_in_is_no_size(text):
    assert not fails(text)


def test_a_heading_that_a_paragraph_begins_with():
    found = parse("# Plan\n\n**Expert weights.** Every GPU holds 40 GB of them. No more.\n", "plan.md").statements
    assert {s.path for s in found[1:]} == {("Plan", "Expert weights")}


@pytest.mark.parametrize(
    ("plain", "open_", "reason"),
    [
        ("Pipeline bubble: 9 %", "Pipeline bubble with 4 virtual stages: 9 %", ""),
        ("KV cache per token: 32 KiB", "KV cache per token: 0.5 × 2 × 8 × 128 × 32 = 32 KiB", "elements of 0.5 bytes"),
    ],
)
def test_what_is_of_another_thing_is_not_checked(plain, open_, reason):
    assert any(c.verdict in FAILING or c.why for c in judged(f"- {plain}\n"))
    assert not fails(f"- {open_}\n")
    assert any(reason in c.why for c in judged(f"- {open_}\n"))


@pytest.mark.parametrize(
    ("plain", "open_"),
    [
        ("Experts per GPU and layer: 2", "With 8 of 16 slots redundant, each GPU has 2 experts per layer"),
        ("TP 4 leaves each GPU 8 KV heads", "The 8 KV heads at TP 4 leave each GPU 2 KV heads"),
        ("Total experts: 8 / 4 = 3", "A pair of GPUs takes 8 / 4 = 2 experts"),
    ],
)
def test_a_count_beside_the_right_one_or_of_its_own_division_is_not_judged(plain, open_):
    assert fails(f"- {plain}\n")
    assert not fails(f"- {open_}\n")


def test_a_count_with_decimals_is_of_a_unit_that_is_not_read():
    head = "\n| Phase | {} | Days |\n|---|---|---|\n| main | 4.5 | 20 |\n| total | 6.0 | 25 |\n"
    assert not fails(head.format("Tokens (Bio)"))


def test_a_section_of_another_model_is_not_judged():
    assert fails("- Weights: 200 GB\n")
    assert not fails("### Qwen 2.5 14B\n\n- Weights: 200 GB\n")
    assert any("may be of Qwen 2.5 14B" in c.why for c in judged("### Qwen 2.5 14B\n\n- Weights: 200 GB\n"))


def test_a_sentence_that_names_the_model_contradicts_its_sizes():
    plan = "# Kimi K2 on 8 H200\n\n"
    (claim,) = fails("Kimi K2 has 256 routed experts in each layer.\n", plan)
    assert claim.why == "Kimi-K2 has 384 (count)"
    assert not fails("Kimi K2 has 48 experts on each GPU, and 60 MoE layers per pass.\n", plan)


def test_rows_of_options_are_of_the_options():
    """A table below the last option tells of all of them, by their letters."""
    plan = PLAN.replace("- EP: 8\n- TP: 1\n- DP: 8\n", "")
    text = (
        "### Option A: TP2, four replicas\n\nA copy spans 2 GPUs.\n\n### Option B: EP8 with DP8\n\nAll 8 GPUs.\n\n"
        "| Option | Weights per GPU |\n|---|---|\n| A | 46.7 GB |\n| B | 14.5 GB |\n"
    )
    assert not fails(text, plan)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("- Latency of a pass: 15 us", ["impossible"]),
        ("- Latency of a pass, each: 15 us", []),
        ("- Latency for 64 tokens: 15 us", []),
        ("- It takes 15 us", []),
        ("- Room in the cache, 15 us away: 4,000 tokens", []),
    ],
)
def test_a_part_of_a_pass_may_take_less_than_the_bound(line, expected):
    text = (Path(__file__).parent / "documents" / "correct-bullets.md").read_text(encoding="utf-8")
    claims = audit_document(parse(f"{text}\n{line}\n", "plan.md"), {}, None).claims
    assert [str(c.verdict) for c in claims if c.verdict in FAILING and "15 us" in c.text] == expected


def test_optimizer_states_are_no_weights():
    text = "| Memory per GPU | GB |\n|---|---|\n| optimizer, experts | 4.83 |"
    assert failing(text, "Mixtral-8x7B in BF16 on 8 H100 GPUs: TP8") == []


def test_experts_that_a_group_may_hold_whole():
    """EP 4 on 8 GPUs without TP: two groups that hold as many each, or experts in halves."""
    title = "Mixtral-8x7B in BF16 on 8 H100 GPUs: attention DP8, TP1, EP4, PP1"
    assert failing("- Expert weights per GPU: 22.5 GB", title) == []
    assert failing("- Expert weights per GPU: 11.3 GB", title) == []


def test_the_width_of_dense_layers_is_none_of_experts():
    assert failing("| Model | |\n|---|---|\n| Dense FFN intermediate size | 18432 |", "DeepSeek-V3 on H100 GPUs") == []


def test_a_format_of_the_cache_and_of_the_rest_is_one_of_the_weights():
    text = "Weights are stored in FP8 for experts, BF16 for the rest and the KV cache.\n\n- Attention weights of the model: 2.68 GB"
    assert failing(text, "Mixtral-8x7B on 8 H100 GPUs: TP8") == []
    text = "Weights are in FP8. The KV cache is in BF16.\n\n- Attention weights of the model: {}"
    assert failing(text.format("1.34 GB"), "Mixtral-8x7B on 8 H100 GPUs: TP8") == []


@pytest.mark.parametrize(("heading", "expected"), [("## Rails", []), ("## Weights", ["impossible"])])
def test_a_section_tells_what_its_figures_are_of_and_the_title_does_not(heading, expected):
    text = (Path(__file__).parent / "documents" / "correct-bullets.md").read_text(encoding="utf-8")
    text = text.replace("# Serving plan for the paper model", "# Serving plan (sizes in bytes and parameters)")
    claims = audit_document(parse(f"{text}\n{heading}\n\n- Per GPU: 1.5 MB\n", "plan.md"), {}, None).claims
    assert [str(c.verdict) for c in claims if c.verdict in FAILING and "1.5 MB" in c.text] == expected


@pytest.mark.parametrize(
    "text",
    [
        "A token takes 2 × 4 × 128 × 2 × 94 = 192,512 bytes over all heads, 48,128 bytes on one GPU.",
        "- Expert input, one layer: 64 × 2 × 4096 × 2 B = 1.049 MB",
    ],
)
def test_what_a_token_has_and_experts_get_is_not_held(text):
    assert (
        failing(text, "Qwen3-235B-A22B in BF16: 64 sequences of 4,096 tokens on 16 GPUs (H200), TP 4, DP 4, EP 16")
        == []
    )
