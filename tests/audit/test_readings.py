"""How premises and figures are written: symbols, options of a command, titles of paragraphs, parts of a system."""

import pytest

from moewright.audit.audit_document import audit_document
from moewright.audit.audit_record import Audit
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
