"""Formulas that an independent calculator found wrong once: each held to what is right."""

from dataclasses import replace

import numpy as np
import pytest

import moewright
from cases import paper, served, value
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy, StrategySpec
from moewright.case.workload import Kind, Routing
from moewright.cost.attention import decode_keys
from moewright.cost.memory import activation_parts
from moewright.cost.table import Table
from moewright.planning.evaluate import evaluate_table


def one(case, strategy):
    return evaluate_table(case, Table.one(strategy, case.workload.batch[0]))


def test_no_rank_gets_more_than_one_copy_of_a_token_for_each_of_its_experts():
    """Qwen3-235B, prefill, dp 64, ep 64, zipf 1: an expert's share is at most 1/8, its rank's straggler at most 8."""
    case = served("Qwen3-235B-A22B", 64, Kind.PREFILL, 64, routing=Routing(zipf=1.0))
    e = one(case, Strategy(attention=AttentionParallel(dp=64), experts=ExpertParallel(64)))
    assert value(e.straggler) <= 64 / 8 * 1.02
    plan = moewright.evaluate(case, StrategySpec(dp=64, ep=64))
    sampled = plan.balance.tokens_per_gpu_sampled
    mean = 64 * case.workload.sequence * 8 / 64
    assert sampled.max / mean == pytest.approx(value(e.straggler), rel=0.1)  # one law for formula and sample


def test_mla_under_context_parallelism_holds_the_keys_and_values_of_the_whole_prompt():
    """DeepSeek-V3, cp 8, 131,072 tokens: 8.4 GB more than those of a rank's own tokens."""
    case = served(gpus=8, kind=Kind.PREFILL, batch=1, sequence=131_072)
    e = one(case, Strategy(attention=AttentionParallel(cp=8), experts=ExpertParallel(8)))
    expanded = 128 * (128 + 64 + 128) * 2
    assert value(activation_parts(e.work)["attention"]) > 131_072 * expanded
    own = 131_072 / 8 * (7168 * 3 + 128 * (2 * 192 + 2 * 128) * 2) + 4 * 131_072 / 8 * 7168
    assert value(activation_parts(e.work)["attention"]) - own == pytest.approx(131_072 * 7 / 8 * expanded, rel=0.02)


@pytest.mark.parametrize(("context", "keys"), [(1, 1), (8192, 8192), (8193, 1), (20_000, 3616)])
def test_chunked_attention_sees_its_chunk_alone(context, keys):
    """Llama 4: ((S − 1) mod 8192) + 1 keys, counted position by position."""
    attention = next(x.attention for x in load_model("llama-4-scout").layers if x.attention.chunk)
    counted = sum(1 for k in range(context) if k // 8192 == (context - 1) // 8192)
    assert value(decode_keys(attention, np.array([float(context)]))) == counted == keys


def test_a_chunk_of_spread_contexts_is_its_mean():
    attention = next(x.attention for x in load_model("llama-4-scout").layers if x.attention.chunk)
    positions = np.arange(8193, 8193 + 8192, dtype=float)
    mean = np.mean(decode_keys(attention, positions))
    assert value(decode_keys(attention, np.array([20_000.0]), spread=True)) == pytest.approx(mean)


def test_two_batches_meet_before_the_head():
    """Weights of the head are read once: one call of a whole micro-batch, not one for each half."""
    case = served(gpus=64)
    s = Strategy(attention=AttentionParallel(dp=64), experts=ExpertParallel(64))
    whole, halves = (one(case, replace(s, overlap=o)) for o in (Overlap.NONE, Overlap.TWO_BATCH))
    seconds = [[value(o.seconds) for o in e.head if o.work.name == "head"] for e in (whole, halves)]
    assert seconds[0] == pytest.approx(seconds[1])
    plan = moewright.evaluate(case, StrategySpec(dp=64, ep=64, overlap=Overlap.TWO_BATCH))
    (head,) = (o for o in plan.compute.operations if o.name == "head")
    assert head.count == 1


def test_sparse_attention_prefills_in_the_latents_space():
    """Its queries and outputs are as wide as the latent: more than those of expanded heads."""
    case = served("deepseek-v3.2", 16, Kind.PREFILL, 16, 8192)
    plain = served("DeepSeek-V3", 16, Kind.PREFILL, 16, 8192)
    s = Strategy(attention=AttentionParallel(dp=16), experts=ExpertParallel(16))
    sparse, dense = (value(activation_parts(one(c, s).work)["attention"]) for c in (case, plain))
    wider = 8192 * 128 * ((192 + 1088 + 128) - (2 * 192 + 2 * 128)) * 2
    assert sparse - dense == pytest.approx(wider, rel=0.01)


def test_replicated_tokens_take_room_for_every_copy_in_memory_too():
    case = paper(gpus=8, batch=(8,))
    s = Strategy(attention=AttentionParallel(tp=8), experts=ExpertParallel(8, dispatch=Dispatch.REPLICATED))
    experts = value(activation_parts(one(case, s).work)["experts"])
    copies = 8 * 1024 * 2  # of all ranks' experts
    assert experts == pytest.approx(copies * ((2 + 1) * 2048 + 2 * 1024) + 4 * 8 * 1024 * 1024)


def test_biases_of_experts_are_in_sixteen_bits():
    """gpt-oss-120b: 36 layers of 128 experts, 2 · 2880 + 2880 numbers each, 2 bytes and not 4.25 bits."""
    model = load_model("gpt-oss-120b")
    from moewright.case.tensors.layer_tensors import all_tensors

    biases = [(t, n) for t, n in all_tensors(model) if t.name.startswith("expert_") and t.name.endswith("_bias")]
    stored = sum(model.precision.tensor_bytes(t) * n for t, n in biases)
    assert stored == 36 * 128 * 3 * 2880 * 2


def test_the_plan_holds_what_a_checker_needs():
    plan = moewright.evaluate(served(gpus=16), StrategySpec(dp=16, ep=16)).to_dict()
    operations = {o["name"]: o for o in plan["compute"]["operations"]}
    assert operations["experts"]["flops"] > 0
    assert operations["experts"]["traffic"] > 0
    assert operations["experts"]["origin"] == "derived"
    assert 1 <= plan["balance"]["active_experts"] <= 16
    assert 1 <= plan["balance"]["distinct_nodes"] <= plan["balance"]["distinct_ranks"] <= 8
    assert sum(plan["latency"]["stage_seconds"]) == pytest.approx(plan["latency"]["seconds"])
    peaks = plan["memory"]["activation_peaks"]
    assert max(peaks.values()) == pytest.approx(plan["memory"]["activations"])
    assert sum(plan["memory"]["buffer_parts"].values()) == pytest.approx(plan["memory"]["buffers"])
    (dispatch,) = (o for o in plan["communication"]["operations"] if o["name"] == "dispatch")
    assert dispatch["node_bytes"] > 0
    assert dispatch["fabric_bytes"] > 0
    assert sum(plan["latency"]["origins"].values()) == pytest.approx(1)
