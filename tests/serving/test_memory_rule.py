"""Memory as engines divide it: their rules by hand, and what they printed when they started."""

from dataclasses import replace

import numpy as np
import pytest

from moewright.case.case import Case
from moewright.case.file.load import case_of
from moewright.case.serving import EngineSpec
from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy
from moewright.cost.table import Table
from moewright.errors import SpecError
from moewright.serving.engines.engine import load_engine
from moewright.serving.engines.memory_rule import GIB, numbers
from moewright.serving.engines.strategies import engine_strategy
from moewright.serving.step import StepModel

A100 = "a100-80"


def memory_of(model, device, tp=1, experts=None, attention=None, **engine):
    network = {"node": {"bandwidth": "100 GB/s", "latency": "2 us"}}
    strategy = {"attention": attention or {"tp": tp}} | ({"experts": experts} if experts else {})
    raw = {
        "model": model,
        "cluster": {"gpus": tp, "gpus_per_node": tp, "device": device, "network": network},
        "workload": {"kind": "serving", "input": 4000, "output": 96, "concurrency": 4, "engine": engine},
        "strategy": strategy,
    }
    case: Case = case_of(raw, "c.yaml")
    chosen = engine_strategy(case, case.strategy, load_engine(case.serving.engine))
    return StepModel.of(case, chosen, load_engine(case.serving.engine)).capacity


#: of public start-up logs: engine, version, what was set; GiB of the cache as printed, and the share it may be off by
LOGS = [
    ("sglang", "0.4.1", "llama-3.1-8b", "h100-sxm", {}, {}, 54.26, 0.01),
    ("sglang", "0.4.4", "llama-3.1-8b", "h100-sxm", {}, {}, 54.04, 0.01),
    ("vllm", "0.6", "llama-3.1-8b", "h100-sxm", {}, {}, 54.93, 0.01),
    ("vllm", "0.10.2", "qwen3-next-80b-a3b", "h200", {"tp": 2, "experts": {"ep": 1, "tp": 2}}, {}, 44.59, 0.03),
    ("vllm", "0.11.1", "kimi-k2-thinking", "h200", {"tp": 8, "experts": {"ep": 1, "tp": 8}}, {}, 46.8, 0.03),
]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log[0]} {log[1]} {log[2]}")
def test_the_cache_is_what_engines_printed(log):
    engine, version, model, device, layout, settings, printed, off = log
    held = memory_of(model, device, **layout, name=engine, version=version, **settings)
    assert held.kv_cache[0] / GIB == pytest.approx(printed, rel=off)


def test_what_does_not_start_is_short_by_as_much():
    """gpt-oss-120b on one H100 under vLLM 0.10: weights 65.97 GiB, padded for Marlin; cache −2.14 GiB."""
    held = memory_of("gpt-oss-120b", "h100-sxm", name="vllm", version="0.10.1")
    assert held.weights[0] / GIB == pytest.approx(65.97, rel=0.005)
    assert held.kv_cache[0] / GIB == pytest.approx(-2.14, abs=0.5)
    assert held.to_dict("vllm")["kv_tokens"] == 0


def test_the_parts_add_up():
    for name in ("vllm", "sglang", "trtllm"):
        held = memory_of("qwen3-30b-a3b", "h200", name=name)
        parts = held.to_dict(name)
        rest = sum(parts[x] for x in ("activations", "buffers", "graphs", "other"))
        whole = parts["weights"] + parts["kv_cache"] + (0 if name == "sglang" else rest)
        assert whole == pytest.approx(parts["usable"])
        assert 0 < parts["usable"] < parts["capacity"]


def test_the_sampler_of_start_up():
    """1,024 rows × 201,088 entries × 38.5 B: the 7.38 GiB that vLLM 0.10 prints; 256 rows on an A100 or where given."""
    rows = {d: memory_of("gpt-oss-20b", d, name="vllm", version="0.10") for d in ("h200", A100)}
    peak = {d: (m.activations + m.buffers)[0] / GIB for d, m in rows.items()}
    assert peak["h200"] == pytest.approx(1024 * 201088 * 38.5 / GIB)
    assert peak[A100] == pytest.approx(256 * 201088 * 38.5 / GIB)
    fewer = memory_of("gpt-oss-20b", "h200", name="vllm", version="0.10", max_num_seqs=256)
    assert (fewer.activations + fewer.buffers)[0] / GIB == pytest.approx(peak[A100])


def test_graphs_are_inside_the_budget_from_0_20_on():
    before, after = (memory_of("qwen3-30b-a3b", "h200", name="vllm", version=v) for v in ("0.19", "0.20"))
    assert before.graphs == 0 < after.graphs
    assert (before.fraction[0], after.fraction[0]) == (0.9, 0.92)


def fraction_of(version, device, latent=False, **attention):
    """SGLang's fraction of a worker of those attention groups."""
    engine = load_engine(EngineSpec("sglang", (("version", version),)))
    chosen = Strategy(attention=AttentionParallel(**attention), experts=ExpertParallel(1, 1))
    hardware = case_of(
        {
            "model": "llama-3.1-8b",
            "cluster": {"name": device, "gpus": 8},
            "workload": {"kind": "decode", "batch": 8, "sequence": 64},
        },
        "c.yaml",
    ).cluster.device
    return float(engine.memory.fractions(hardware, Table.one(chosen, 8), latent)[0]), hardware.memory / 2**20


def test_sglangs_fraction_by_hand():
    assert [fraction_of("0.4.3", "h100-hgx", tp=n)[0] for n in (1, 2, 4, 8)] == [0.88, 0.87, 0.85, 0.81]
    share, mib = fraction_of("0.4.6", "h200-hgx", tp=8)
    assert share == pytest.approx(min(0.81 + 48 * 1024 * 0.19 / mib, (mib - 18 * 1024) / mib))
    share, mib = fraction_of("0.5.2", "h100-hgx", tp=8)
    assert share == pytest.approx(1 - (9.5 + 4) * 1024 / mib)
    share, mib = fraction_of("0.5.2", "h100-hgx", dp=8)
    assert share == pytest.approx(1 - (9.5 + 4 + 4) * 1024 / mib)
    # 512 + 1.5 · 8192 + 2 · 512 + 1024
    share, mib = fraction_of("0.5.5", "h200-hgx", tp=8)
    assert share == pytest.approx(1 - 14848 / mib, abs=5e-4)
    share, _ = fraction_of("0.5.23", "h200-hgx", latent=True, tp=8)
    assert share == pytest.approx(1 - (14848 + 1536) / mib, abs=5e-4)
    share, _ = fraction_of("0.5.5", "h200-hgx", dp=8)
    assert share == pytest.approx(1 - (14848 + 4.5 * 512 * 8) / mib, abs=5e-4)
    assert fraction_of("0.5.5", "h200-hgx", dp=16)[0] == 0.85  # its own rule: 0.64


def test_a_smaller_graph_keeps_less_from_sglangs_cache():
    """512 + 1.5 · 8192 + 2 · 64 + 3 · 64 · 8 + 1024 MiB, but for MLA 1536 more."""
    experts, attention = {"ep": 8, "tp": 1}, {"dp": 8}
    held = memory_of("DeepSeek-R1", "h200", 8, experts, attention, name="sglang", cuda_graph_sizes=[1, 64])
    assert held.fraction[0] == pytest.approx(1 - (512 + 12288 + 128 + 1536 + 1024 + 1536) / 143771, abs=5e-4)


def test_latent_attention_keeps_copies_of_its_up_projections():
    """DeepSeek-R1 with attention dp: SGLang printed 105.59 GiB, of which 61 · 128 · 256 · 512 in 16 bits are copies."""
    experts, attention = {"ep": 8, "tp": 1, "redundant": 32}, {"dp": 8}
    layout = {"tp": 8, "experts": experts, "attention": attention}
    held = memory_of("DeepSeek-R1", "h200", **layout, name="sglang", version="0.4.6")
    assert held.weights[0] / GIB == pytest.approx(105.59, rel=0.005)
    plain = memory_of("DeepSeek-R1", "h200", **layout, name="trtllm")
    assert held.weights[0] - plain.weights[0] == pytest.approx(61 * 128 * 256 * 512 * 2)


def test_a_fraction_that_is_given_is_taken():
    for name in ("vllm", "sglang", "trtllm"):
        held = memory_of("llama-3.1-8b", "h100-sxm", name=name, gpu_memory_utilization=0.5)
        assert held.fraction[0] == 0.5


def test_versions_are_numbers():
    assert numbers("0.9.2") < numbers("0.11.0") == numbers("v0.11.0rc1")
    old, new = (load_engine(EngineSpec("vllm", (("version", v),))).memory for v in ("0.9.2", "1.0"))
    assert (old.since, new.since) == ("0.8", "0.20")
    for wrong in (0.9, "newest", ""):
        with pytest.raises(SpecError, match=r"workload.engine.version.*in quotes"):
            memory_of("llama-3.1-8b", "h100-sxm", name="vllm", version=wrong)


def test_ranks_between_those_of_the_file():
    """By the logarithm: two ranks lie half-way between one and four."""
    rule = replace(load_engine("vllm").memory, other={"*": {1: 1.0, 4: 3.0}})
    device = case_of(
        {
            "model": "llama-3.1-8b",
            "cluster": {"name": "h200-hgx", "gpus": 8},
            "workload": {"kind": "decode", "batch": 8, "sequence": 64},
        },
        "c.yaml",
    ).cluster.device
    assert rule.other_bytes(device, np.array([1.0, 2.0, 4.0, 8.0])) == pytest.approx(np.array([1, 2, 3, 3]) * GIB)
