"""Decode context parallelism: priced, planned, and run against the unsharded model."""

import numpy as np
import pytest
import torch

from moewright.case.file.load import case_of
from moewright.cost.batch import batch_of
from moewright.cost.layer import layer_work
from moewright.cost.table import Table
from moewright.errors import InfeasibleError
from moewright.planning.evaluate import pass_of
from moewright.planning.search import evaluate, plan
from moewright.planning.space import space
from moewright.run.execute import run
from moewright.run.options import Options

MLA = {"kind": "mla", "heads": 8, "q_rank": 16, "kv_rank": 16, "rope_dim": 4, "nope_dim": 8, "value_dim": 8}
GQA = {"kind": "gqa", "heads": 8, "kv_heads": 2, "head_dim": 8}


def case(attention, strategy=None, gpus=4, sequence=13, batch=4, kind="decode", **more):
    model = {"name": "tiny", "layers": 2, "hidden_size": 32, "vocab_size": 64, "precision": "fp32"}
    experts = {"count": 8, "top_k": 2, "intermediate_size": 16}
    device = {"name": "cpu", "flops": {"fp32": "1 TFLOPS"}, "memory": "1 GB", "memory_bandwidth": "10 GB/s"}
    network = {"node": {"bandwidth": "1 GB/s", "latency": "1 us"}}
    raw = {
        "model": model | {"attention": attention, "experts": experts} | more,
        "cluster": {"gpus": gpus, "gpus_per_node": gpus, "device": device, "network": network},
        "workload": {"kind": kind, "batch": batch, "sequence": sequence},
    }
    return case_of(raw | ({"strategy": strategy} if strategy else {}), "c.yaml")


STRATEGIES = [
    (MLA, {"attention": {"tp": 4, "dcp": 4}, "experts": {"ep": 4}}),
    (MLA, {"attention": {"dp": 2, "tp": 2, "dcp": 2}, "experts": {"ep": 2, "tp": 2}}),
    (MLA, {"attention": {"tp": 4, "dcp": 2}, "experts": {"ep": 4, "dispatch": "replicated"}}),
    (GQA, {"attention": {"tp": 4, "dcp": 2}, "experts": {"ep": 2, "tp": 2}}),
    (GQA, {"pp": 2, "attention": {"tp": 4, "dcp": 2}, "experts": {"ep": 4}}),
]


@pytest.mark.parametrize(("attention", "strategy"), STRATEGIES)
def test_a_run_verifies(attention, strategy):
    """Outputs equal the unsharded model's, bytes of each collective those predicted; with prompts of other lengths."""
    c = case(attention, strategy, gpus=4 * strategy.get("pp", 1))
    made = plan(c)
    assert run(c, made.best, Options(timeout=60)).report.verified
    prompts = [torch.randint(64, (n,)).tolist() for n in (1, 5, 7, 2)]
    done = run(c, made.best, Options(timeout=60, prompts=prompts, generate=4)).report
    assert done.verified, done.failures


@pytest.mark.parametrize(("attention", "copies"), [(MLA, 4), (GQA, 2)])
def test_what_may_be_divided(attention, copies):
    sizes = {int(x) for x in space(case(attention)).table.dcp}
    assert sizes == {d for d in (1, 2, 4) if d <= copies}
    with pytest.raises(InfeasibleError, match=f"dcp exceeds the {copies} ranks of tp 4|dcp 8 does not divide tp 4"):
        evaluate(case(attention), case(attention, {"attention": {"tp": 4, "dcp": 2 * copies}}).strategy)


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"attention": GQA | {"window": 8}}, "decode", "not of windows, indexes or states"),
        ({}, "prefill", "dcp divides the cache that decode reads; the workload is prefill"),
    ],
)
def test_what_may_not(more, kind, told):
    c = case(more.get("attention", MLA), {"attention": {"tp": 4, "dcp": 2}}, kind=kind, sequence=16)
    with pytest.raises(InfeasibleError, match=told):
        plan(c)


@pytest.mark.parametrize("attention", [MLA, GQA])
def test_work_against_a_count_by_hand(attention):
    """FLOPs are those of one rank without it; the cache is read and kept once in all the group; bytes by hand."""
    c = case(attention, sequence=64)
    whole, split = (
        evaluate(c, case(attention, {"attention": {"tp": 4, "dcp": dcp}, "experts": {"ep": 4}}).strategy)
        for dcp in (1, 2)
    )
    assert split.memory.kv_cache == whole.memory.kv_cache / 2
    done = {}
    for p in (whole, split):
        table = Table.one(p.strategy, 4)
        a_pass = pass_of(c, table, batch_of(c.workload, table))
        done[p.name] = {w.name: w for w in layer_work(a_pass, c.model.layers[0]) if w.happens.any()}
    before, after = done[whole.name], done[split.name]
    assert after["attention"].flops == pytest.approx(before["attention"].flops)
    assert after["attention"].traffic == pytest.approx(before["attention"].traffic / 2)
    query, out = (16 + 4, 16) if attention is MLA else (8, 8)
    heads = 4 * 8 * 2 / 4  # sequences · heads of the group
    assert after["query_gather"].shape.sent == heads * query * 2 / 2
    assert after["score_sum_gather"].shape.sent == heads * 2 * 4 / 2
    assert after["attention_output_reduce"].shape.sent == heads * out * 2 / 2
    assert not {"query_gather", "score_sum_gather", "attention_output_reduce"} & before.keys()


def test_the_published_cache():
    """Kimi-K2 on 8 H200, TP8: 715,072 tokens, with dcp 8 eight times as many (vLLM's recipe)."""
    from moewright.serving.engines.deployment import engine_of, workers_of

    tokens = {}
    for dcp in (1, 8):
        work = {"kind": "serving", "engine": "vllm", "input": 8000, "output": 4000, "concurrency": 64}
        strategy = {"attention": {"tp": 8, "dcp": dcp}, "experts": {"ep": 1, "tp": 8}}
        raw = {"model": "Kimi-K2-Thinking", "cluster": {"name": "h200-hgx", "gpus": 8}, "workload": work}
        c = case_of(raw | {"strategy": strategy}, "c.yaml")
        tokens[dcp] = float(workers_of(c, c.strategy, engine_of(c)).model.kv_tokens[0])
    assert tokens[8] == pytest.approx(8 * tokens[1], rel=1e-3)


def test_a_name_is_read_back():
    from moewright.case.file.strategy_text import parse_strategy

    for attention, strategy in STRATEGIES:
        c = case(attention, strategy, gpus=4 * strategy.get("pp", 1))
        s = plan(c).best.strategy
        assert parse_strategy(s.name).strategy.attention == s.attention
        assert type(s).from_dict(s.to_dict()) == s
        assert np.array_equal(Table.one(s, 4).dcp, [s.attention.dcp])
