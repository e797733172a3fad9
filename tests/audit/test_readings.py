"""How premises and figures are written: symbols, options of a command, titles of paragraphs, parts of a system."""

import pytest

from moewright.audit.audit_document import audit_document
from moewright.audit.audit_record import FAILING, Audit
from moewright.audit.text.document import parse


def of(text: str) -> Audit:
    return audit_document(parse(text, "plan.md"), {}, None)


def premises(text: str) -> dict[str, object]:
    return {p.field: p.value for p in of(text).premises}


def verdicts(text: str) -> dict[str, str]:
    return {c.quantity: str(c.verdict) for c in of(text).claims}


def test_symbols_that_are_given_a_value_are_premises() -> None:
    read = premises(
        "Let $L = 32$ layers, $E = 8$ experts per layer, $B = 128$ sequences of $S = 2048$ tokens on 8 GPUs."
    )
    assert read == {
        "model.layers": 32,
        "model.experts.count": 8,
        "workload.batch": 128,
        "workload.sequence": 2048,
        "cluster.gpus": 8,
    }
    # a result is none
    assert "model.layers" not in premises("On 8 GPUs, with 64 / 2 = 32 layers.")


def test_options_of_a_command_in_a_code_block_are_premises() -> None:
    block = "```\n{}--num-layers 56 --num-experts 8\n--tensor-model-parallel-size=4\n--master_port 6000\n```\nOn 256 GPUs.\n"
    wanted = {"model.layers": 56, "model.experts.count": 8, "strategy.tp": 4, "cluster.gpus": 256}
    assert premises(block.format("")) == wanted
    assert premises(block.format("torchrun train.py ")) == wanted


def test_experts_copied_over_a_part_of_the_data_parallel_ranks_are_a_legal_layout() -> None:
    text = "```\n--tensor-model-parallel-size 4\n--expert-model-parallel-size 8\n--expert-tensor-parallel-size 1\n```\n"
    text += "Mixtral-8x22B on 64 H100 GPUs, DP=16.\n\n- Experts per GPU per layer: {}\n"
    assert verdicts(text.format(1))["count.experts per layer per GPU"] == "holds"
    assert verdicts(text.format(2))["count.experts per layer per GPU"] == "wrong"


def test_the_title_of_a_paragraph_names_its_first_sentence() -> None:
    text = "Mixtral-8x7B on 8 H100 GPUs in BF16, TP=8.\n\n**KV cache.** $2 \\times {} \\times 128 \\times 2 \\times 32 = {}$ bytes per token.\n"
    assert verdicts(text.format(8, 131072))["memory.kv_cache per token"] == "holds"
    assert verdicts(text.format(32, 524288))["memory.kv_cache per token"] == "wrong"


@pytest.mark.parametrize(
    "part", ["every group of 4 GPUs", "each stage has 16 GPUs", "4 GPUs per replica", "4 nodes with 8 GPUs"]
)
def test_gpus_of_a_part_are_not_those_of_the_system(part: str) -> None:
    assert premises(f"Mixtral-8x7B on 32 GPUs, {part}.")["cluster.gpus"] == 32
    assert not [c for c in of(f"Mixtral-8x7B on 32 GPUs, {part}.").claims if c.quantity.startswith("premise")]


def test_gradients_stand_to_weights_as_their_formats_do() -> None:
    text = "On 8 GPUs.\n\n- BF16 weights: 4.54 GB\n- FP32 gradients: {}\n"
    assert verdicts(text.format("9.07 GB"))["memory.gradients"] == "holds"
    assert verdicts(text.format("4.54 GB"))["memory.gradients"] == "wrong"
    # where something else divides the one, nothing is said
    assert "memory.gradients" not in verdicts(text.format("4.54 GB, sharded over 2"))


def test_layers_with_experts_of_a_named_model_contest_nothing() -> None:
    text = "DeepSeek-V2 on 8 H800 GPUs: 60 layers, of which 59 layers have experts. Active: {} parameters a token.\n"
    assert "wrong" in verdicts(text.format("236B")).values()
    assert "wrong" not in verdicts(text.format("21B")).values()


def failing(text: str) -> list[str]:
    return [f"{c.line} {c.quantity}" for c in of(text).claims if c.verdict in FAILING]


LISTS = "On 64 GPUs with 64 GB each.\n\n- Attention weights: 16 GB\n- Expert weights: 8 GB\n- Activations: {}\n- Communication buffers: 8 GB\n- Total: 56 GB\n"


def test_buffers_that_are_named_after_communication_are_part_of_a_total() -> None:
    assert not failing(LISTS.format("24 GB"))
    assert failing(LISTS.format("34 GB")) == ["7 sum"]
    # what may be anything adds up to anything
    assert not failing(LISTS.format("10-100 GB"))


def test_rates_by_the_millisecond_are_rates() -> None:
    assert not failing(
        "128 sequences of 512 tokens on 8 GPUs.\n\n- Throughput: 11.8 tokens/ms\n- In all: 11.8 tokens/ms × 8 = 94.4 tokens/ms\n"
    )
    assert failing("On 8 GPUs.\n\n- In all: 11.8 tokens/ms × 8 = 194.4 tokens/ms\n") == ["3 arithmetic"]


def test_names_of_devices_and_identifiers_are_no_numbers() -> None:
    assert "cluster.gpus" not in premises("How many H100 GPUs to run Mixtral-8x7B on, and how many B200 GPUs?")
    assert not failing("Mistral 7B with `prune_layers=2` on 8 GPUs.")


def test_a_conflict_of_parameters_and_sizes_is_told_once() -> None:
    text = """Model: 16 layers, hidden size 512, 16 heads, 16 experts per layer, expert width 1024, three matrices, on 32 GPUs.

- Total parameters: 10B
- Parameters per layer: 625M
- Full model: 10B parameters
"""
    assert failing(text) == ["3 count.parameters"]


@pytest.mark.parametrize(
    "text",
    [
        "On 8 GPUs, `TP=8` and `DP=8` are the same to the experts.",
        "- Token dimension: 512\n- Hidden size: 1024\n- 8 GPUs",
        "1024 GPUs ÷ 256 expert modules = 4 GPUs per expert module, in a model of 16 layers with 16 experts per layer.",
        "| Part | 7B | 70B |\n|---|---|---|\n| Weights (fp16) | 14 GB | 140 GB |\n| Gradients (fp16) | 14 GB | 140 GB |\n\nOn 8 GPUs.",
    ],
)
def test_what_may_be_meant_otherwise_is_not_accused(text: str) -> None:
    assert not failing(text)


@pytest.mark.parametrize(
    "text",
    [
        "- bf16: 2048 × 14336 × 2 B = 59 MB/layer = 4.1 GB total",
        "- GPU cache: 32-64 experts (~4-8GB), CPU cache: 256-512 experts (~30-60GB)",
        "Practical efficiency: 25% (sparsity + overhead) = 120 tokens/ms",
        "Mixtral-8x7B on 8 GPUs. A 70B-parameter model in FP16 needs 70 × 10^9 × 2 B = 140 GiB.",
        "A MoE of 16 layers with 16 experts per layer. Each GPU handles:\n\n1. **1 expert instance** (from EP)\n2. 8 layers per pipeline stage",
        "Mixtral-8x7B on 8 GPUs in BF16, TP=8.\n\nSo the weights take 11.5 GB, roughly 14.4% of the card.",
        "| Part | Parameters |\n|---|---|\n| One expert | 176.2 M |\n| router.weight | 32,768 |\n\nMixtral-8x7B on 8 GPUs.",
        "| Part | GB |\n|---|---|\n| Experts | 11.27 |\n\nMixtral-8x7B on 8 GPUs, TP=8, BF16.",
        "On 8 GPUs:\n\n| Part | Bytes per parameter |\n|---|---|\n| weights | 2 |\n| optimizer | 12 / 8 = 1.5 |\n\nMixtral-8x7B.",
        "Mixtral-8x7B on 8 GPUs. For models > 100B parameters, use PP.",
        "Mixtral-8x7B on 8 GPUs. 8 Experts = 8 × 2,099,712",
        "On 8 GPUs: 16.49 GB = 20.6% of the card.",
        "On 8 GPUs, 96 requests/s hand over 96 × 287.8 MB = 27.6 GB/s.",
        "**Degrees.** TP 4 x PP 8 x DP 8 = 256 GPUs. 128 users x 8192 tokens x 48 KiB = 48 GiB.",
        "With Mixtral-8x7B on 8 GPUs:\n\n| Model | KV per token | Weights |\n|---|---|---|\n| Llama 3.2 3B | 112 KB | 2.0 GB |\n| Qwen 2.5 1.5B | 28 KB | 1.0 GB |\n",
    ],
)
def test_what_is_no_claim_of_this_plan_is_not_accused(text: str) -> None:
    assert not failing(text)


def test_layers_of_a_stage_are_not_those_of_the_model() -> None:
    assert "model.layers" not in premises("- Balanced 8 layers per stage on 8 GPUs")


def test_rows_of_a_table_of_models_are_held_against_their_own_models() -> None:
    table = "On 8 GPUs:\n\n| Model | KV cache per token |\n|---|---|\n| Mixtral-8x7B | 131,072 bytes |\n| Qwen3-30B-A3B | {} bytes |\n"
    assert not failing(table.format("98,304"))
    assert failing(table.format("131,072")) == ["6 memory.kv_cache per token"]
