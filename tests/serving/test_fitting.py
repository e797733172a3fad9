"""How a model fits: budgets, refusals and the fewest GPUs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from moewright.case.file.count_text import read_count
from moewright.case.file.load import case_of
from moewright.cli import app
from moewright.cost.exchange_buffers import low_latency_bytes
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.serving.engines.capacity import capacity
from moewright.serving.engines.deployment import engine_of
from moewright.serving.engines.gpu_counts import fewest_gpus
from moewright.serving.engines.strategies import legal
from moewright.serving.planner.fitting import fit
from moewright.serving.planner.serving_plan import plan_serving

GIB = float(1 << 30)


def case(model="DeepSeek-V3", cluster="h200-hgx", gpus=8, engine="vllm", strategy=None, **work):
    workload = {"kind": "serving", "input": 1024, "output": 1024, "concurrency": 4, "engine": engine, **work}
    raw = {"model": model, "cluster": {"name": cluster, "gpus": gpus}, "workload": workload}
    return case_of(raw | ({"strategy": strategy} if strategy else {}), "c.yaml")


def fitted(c, context=8192, concurrency=1, most=None):
    return fit(c, engine_of(c), context, concurrency, most)


def test_the_fewest_gpus_by_trying_every_size():
    """What fits is what a plan of that size finds, size after size."""
    c = case(cluster="h100-hgx")
    found = fitted(c, context=2048)
    assert found.fewest == 16
    with pytest.raises(InfeasibleError, match=r"GB a GPU are missing .* the fewest that do are 16, as R1 · PP2"):
        plan_serving(c)
    assert plan_serving(case(cluster="h100-hgx", gpus=16)).best.holds


def test_every_layout_has_its_own_arithmetic():
    c = case("Qwen3-235B-A22B-FP8", "h100-hgx")
    for x in fitted(c, most=8).layouts:
        layers = -(-94 // x.strategy.pp)  # of the fullest stage
        per_token = layers * 2 * max(1, 4 // x.strategy.attention.tp) * 128 * 2 / x.strategy.attention.dcp
        assert x.token_bytes == pytest.approx(per_token)
        if x.kv_cache > 0:
            assert x.kv_tokens == pytest.approx(x.kv_cache / per_token, abs=16)
            assert x.requests == x.kv_tokens // 8192 * x.strategy.attention.dp * x.strategy.replicas
        assert x.fits == (x.requests >= 1 and "does not load" not in x.why_not)


def test_what_engines_refuse_is_not_what_fits():
    found = fitted(case("Qwen3-235B-A22B-FP8", "h100-hgx"), most=8)
    refused = [x for x in found.layouts if x.strategy.experts.tp == 8]
    assert refused
    assert all("1536 divided by experts.tp is no multiple of the 128" in x.why_not for x in refused)
    plain = fitted(case("Qwen3-235B-A22B", "h200-hgx"), most=8)
    assert any(x.fits for x in plain.layouts if x.strategy.experts.tp == 8)


def test_more_requests_take_no_fewer_gpus():
    c = case("gpt-oss-120b", "h100-hgx")
    counts = [fewest_gpus(c, engine_of(c), 32768, n)[0] for n in (1, 16, 64, 256, 1024)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_other_formats_of_the_weights():
    found = fitted(case("DeepSeek-V3", "h200-hgx"), most=8)
    by_name = {p.name: p for p in found.precisions}
    assert by_name["weights bf16"].fewest[0] == 16
    assert by_name["weights nvfp4"].fewest[0] == 4
    assert by_name["weights bf16"].weights == pytest.approx(2 * 671.0e9, rel=0.001)


@pytest.mark.parametrize(
    ("engine", "dp", "tp", "ep", "etp", "told"),
    [
        (
            "vllm",
            8,
            1,
            4,
            2,
            "by ep or all by tp, not by both; the nearest that does: R1 · PP1 · attn DP8×TP1 · moe EP8×TP1",
        ),
        ("trtllm", 2, 4, 8, 1, "attention dp is all ranks of a stage or none"),
    ],
)
def test_what_an_engine_cannot_say_is_refused_with_the_nearest(engine, dp, tp, ep, etp, told):
    c = case(engine=engine, strategy={"attention": {"dp": dp, "tp": tp}, "experts": {"ep": ep, "tp": etp}})
    with pytest.raises(InfeasibleError, match=told):
        legal(c, engine_of(c))


def test_prediction_layers_cost_weights_and_cache():
    """DeepSeek-V3's MTP layer: 11.5 B parameters beside embedding and head (README_WEIGHTS.md of the checkpoint)."""
    strategy = {"attention": {"dp": 1, "tp": 8}, "experts": {"ep": 1, "tp": 8}}
    plain, drafted = (
        case(strategy=strategy, **more) for more in ({}, {"speculative": {"drafts": 3, "acceptance": 0.7}})
    )
    without, having = (StepCapacity(c) for c in (plain, drafted))
    joined = 2 * 2 * 7168 * 7168  # the matrix that joins hidden state and embedding is whole on every rank, in 16 bits
    latents = 7168 * (1536 + 576) + 2 * 256 * 7168  # and so are the latents' projections and the router
    expected = (11.5e9 + joined / 2) / 8 + 7 / 8 * (joined + latents)
    assert having.weights - without.weights == pytest.approx(expected, rel=0.01)
    assert having.token_bytes == pytest.approx(without.token_bytes * 62 / 61)
    dense = case("qwen3-30b-a3b", gpus=2, speculative={"drafts": 1, "acceptance": 0.5})
    assert StepCapacity(dense).weights == StepCapacity(case("qwen3-30b-a3b", gpus=2)).weights  # it has none


class StepCapacity:
    """Numbers of the first row's capacity."""

    def __init__(self, c):
        engine = engine_of(c)
        self.all = capacity(c, legal(c, engine)[0], engine, 2048)
        self.weights, self.token_bytes = (float(np.ravel(x)[0]) for x in (self.all.weights, self.all.token_bytes))
        self.buffers = float(np.ravel(self.all.buffers)[0])


def test_deepep_reserves_its_low_latency_buffer():
    """1.78 GiB of DeepSeek-V3 for 128 tokens a rank; counted between nodes, or where it is asked for."""
    assert low_latency_bytes(np.array([128.0]), 7168, np.array([256.0]))[0] / GIB == pytest.approx(1.777, abs=0.001)
    wide = {"attention": {"dp": 16}, "experts": {"ep": 16}}
    by = {
        kind: StepCapacity(
            case("DeepSeek-V3", "h800-hgx", 16, {"name": "sglang", "all_to_all": kind}, strategy=wide)
        ).buffers
        for kind in ("none", "auto", "deepep_low_latency", "deepep_high_throughput")
    }
    assert (by["auto"] - by["none"]) / GIB == pytest.approx(1.777, abs=0.001)
    assert by["deepep_low_latency"] == by["auto"]
    assert (by["deepep_high_throughput"] - by["none"]) / GIB == pytest.approx(2.0)


def test_redundant_experts_have_room_for_the_next_placement():
    sizes = {}
    for redundant in (0, 32):
        strategy = {"attention": {"dp": 8}, "experts": {"ep": 8, "redundant": redundant}}
        sizes[redundant] = StepCapacity(case(strategy=strategy, engine={"name": "vllm", "all_to_all": "none"}))
    one_layer = 36 * 3 * 7168 * 2048 * (1 + 4 / 128**2)  # 288 slots of 8 ranks
    assert one_layer <= sizes[32].buffers - sizes[0].buffers < 1.4 * one_layer  # a token also reaches more ranks


@pytest.mark.parametrize(
    ("device", "tokens", "sequences"), [("a100-hgx", 2048, 256), ("h100-hgx", 8192, 1024), ("dgx-b200", 16384, 1024)]
)
def test_defaults_by_device(device, tokens, sequences):
    engine = engine_of(case("qwen3-30b-a3b", device, 2))
    assert (engine.max_num_batched_tokens, engine.max_num_seqs) == (tokens, sequences)
    own = engine_of(case("qwen3-30b-a3b", device, 2, {"name": "vllm", "max_num_seqs": 77}))
    assert own.max_num_seqs == 77


@pytest.mark.parametrize(
    ("text", "value"), [("8192", 8192), ("8k", 8000), ("128Ki", 131072), ("1.5M", 1_500_000), ("1_024", 1024)]
)
def test_counts_as_people_write_them(text, value):
    assert read_count(text, "--context") == value


@pytest.mark.parametrize("text", ["0", "-1", "8x", "", "1e9", "1.5", "nan", "9" * 40, "8 kk"])
def test_counts_that_are_none(text):
    with pytest.raises(SpecError, match="expected a whole number"):
        read_count(text, "--context")


def command(*arguments):
    return CliRunner().invoke(app, ["fit", *arguments])


def test_the_command():
    done = command("gpt-oss-120b", "--cluster", "h100-hgx:2", "--json", "--context", "8k")
    plain = json.loads(done.stdout)
    assert plain["fewest_gpus"] == 1
    assert {"gpus", "strategy", "weights_gib", "kv_gib", "kv_tokens", "fits", "why_not"} <= plain["layouts"][0].keys()
    assert {x["gpus"] for x in plain["layouts"]} == {1, 2}
    page = command("gpt-oss-120b", "--cluster", "h100-hgx:2").stdout
    assert page.startswith(
        "Fit of gpt-oss-120b on h100-sxm under vllm\n1 × h100-sxm hold one request of 8.192 k tokens"
    )
    assert "b200" in command("gpt-oss-20b").stdout


def test_a_model_that_is_weighed_but_not_priced(tmp_path):
    """Compressed attention has no price yet; what it weighs is known."""
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "q_lora_rank": 8, "moe_intermediate_size": 8}
    config = dict.fromkeys(("hidden_size", "vocab_size", "n_routed_experts"), 64)
    config |= sizes | {"model_type": "deepseek_v4", "num_experts_per_tok": 2, "compress_ratios": [0, 4, 128]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert json.loads(command(str(tmp_path), "--cluster", "h200-hgx:8", "--json").stdout)["layouts"]


def test_mistakes_are_one_line():
    for arguments, told in (
        (("no-such-model",), "no-such-model"),
        (("gpt-oss-20b", "--cluster", "h100-hgx:x"), "--cluster"),
        (("gpt-oss-20b", "--kv-cache", "fp3"), "--kv-cache"),
        (("gpt-oss-20b", "--engine", "vlm"), "did you mean vllm"),
    ):
        done = command(*arguments)
        assert isinstance(done.exception, SpecError)
        assert told in str(done.exception)


def test_one_row_is_one_strategy():
    c = case(gpus=8)
    table, _ = legal(c, engine_of(c))
    whole = capacity(c, table, engine_of(c), 2048)
    for row in range(0, len(table), 7):
        alone = capacity(c, Table.one(*table.row(row)), engine_of(c), 2048)
        assert alone.kv_cache[0] == pytest.approx(np.broadcast_to(whole.kv_cache, (len(table),))[row])
        assert replace(c, strategy=None).cluster.gpus == 8
