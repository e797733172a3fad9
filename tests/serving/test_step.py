"""Seconds of a step against the planner's own pass, for steps that are one: all prompts, or all decodes."""

from dataclasses import replace

import numpy as np
import pytest

from cases import value
from moewright.case.file.load import case_of
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy
from moewright.case.workload import Kind, Workload
from moewright.cost.table import Table
from moewright.planning.evaluate import evaluate_table
from moewright.serving.engines.engine import load_engine
from moewright.serving.simulation.step_table import StepTable
from moewright.serving.step import Step, StepModel

ENGINE = load_engine("vllm")


def case(model="DeepSeek-V3", gpus=16):
    work = {"kind": "serving", "input": 1024, "output": 1024, "concurrency": 8}
    return case_of({"model": model, "cluster": {"name": "h200-hgx", "gpus": gpus}, "workload": work}, "c.yaml")


STRATEGIES = [
    Strategy(attention=AttentionParallel(dp=16), experts=ExpertParallel(16)),
    Strategy(attention=AttentionParallel(dp=16), experts=ExpertParallel(16), overlap=Overlap.TWO_BATCH),
    Strategy(attention=AttentionParallel(dp=4, tp=4), experts=ExpertParallel(16)),
    Strategy(attention=AttentionParallel(tp=16), experts=ExpertParallel(1, 16, dispatch=Dispatch.REPLICATED)),
    Strategy(pp=2, attention=AttentionParallel(dp=8), experts=ExpertParallel(8)),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
@pytest.mark.parametrize("model", ["DeepSeek-V3", "gpt-oss-120b", "Qwen3-235B-A22B"])
def test_a_decode_step_is_the_planners(strategy, model):
    c = case(model)
    if model == "Qwen3-235B-A22B" and strategy.attention.tp == 16:
        pytest.skip("an expert's width does not divide")
    per_rank, context = 32, 4096
    micro = strategy.pp
    batch = per_rank * strategy.attention.dp
    work = Workload(Kind.DECODE, (batch,), context)
    planned = evaluate_table(replace(c, workload=work), Table.one(replace(strategy, micro_batches=micro), batch))
    model_ = StepModel.of(c, strategy, ENGINE)
    step = Step(0, 0, per_rank, per_rank * context, batch)
    assert value(model_.seconds(step)) == pytest.approx(value(planned.seconds), rel=1e-6)
    assert sum(model_.parts(step).values()) == pytest.approx(value(planned.seconds), rel=1e-6)


@pytest.mark.parametrize("strategy", [STRATEGIES[0], STRATEGIES[2], STRATEGIES[3]], ids=lambda s: s.name)
def test_a_prompt_step_is_the_planners(strategy):
    c, tokens = case(), 4096
    batch = strategy.attention.dp
    work = Workload(Kind.PREFILL, (batch,), tokens)
    planned = value(evaluate_table(replace(c, workload=work), Table.one(strategy, batch)).seconds)
    step = Step(tokens, tokens * tokens / 2, 0, 0, tokens * batch)
    assert value(StepModel.of(c, strategy, ENGINE).seconds(step)) == pytest.approx(planned, rel=0.01)


def test_windows_are_honoured():
    c = case("gpt-oss-120b", 8)
    s = Strategy(attention=AttentionParallel(tp=8), experts=ExpertParallel(8, dispatch=Dispatch.REPLICATED))
    tokens = 8192
    work = Workload(Kind.PREFILL, (1,), tokens)
    planned = value(evaluate_table(replace(c, workload=work), Table.one(s, 1)).seconds)
    found = value(StepModel.of(c, s, ENGINE).seconds(Step(tokens, tokens**2 / 2, 0, 0, tokens)))
    assert found == pytest.approx(planned, rel=0.01)


def test_rows_at_once_are_the_rows():
    c = case()
    table = Table.of(STRATEGIES, [16] * 5)
    step = Step(
        *(np.full(5, x) for x in (512, 512 * 256, 16, 16 * 2000)), np.array([s.attention.dp * 528 for s in STRATEGIES])
    )
    every = StepModel(c, table, ENGINE).seconds(step)
    for i, s in enumerate(STRATEGIES):
        one = Step(*(getattr(step, name)[i] for name in Step.__slots__))
        assert value(StepModel.of(c, s, ENGINE).seconds(one)) == pytest.approx(every[i], rel=1e-9)


def test_the_table_is_near_the_model():
    c = case()
    model = StepModel.of(c, STRATEGIES[0], ENGINE)
    table = StepTable(model, 8192, [1, 2, 4, *range(8, 513, 8)], 8192)
    draws = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        prefill = int(draws.choice([0, draws.integers(1, 8192)]))
        decode = int(draws.choice([8, 64, 256])) if not prefill else int(draws.integers(0, 256))
        pairs, context = prefill * draws.uniform(10, 4000), decode * draws.uniform(100, 8000)
        tokens = 16 * (prefill + decode) * draws.uniform(0.2, 1)
        exact = value(model.seconds(Step(prefill, pairs, decode, context, tokens)))
        errors.append(table.seconds(prefill, pairs, decode, context, tokens) / exact - 1)
    assert np.median(np.abs(errors)) < 0.01
    assert np.quantile(np.abs(errors), 0.95) < 0.06


def test_a_token_of_the_cache_by_hand():
    """gpt-oss-20b: 12 layers keep all 2048 tokens, 12 a window of 128; 8 KV heads of 64, keys and values, 2 bytes."""
    for name in ("vllm", "trtllm", "sglang"):
        engine = load_engine(name)
        held = StepModel.of(case("gpt-oss-20b", 1), Strategy(), engine).capacity
        token = 2 * 8 * 64 * 2 * (12 * 2048 + 12 * 128) / 2048
        assert value(held.token_bytes) == pytest.approx(token)
        assert value(held.tokens) == pytest.approx(value(held.kv_cache) / token, abs=engine.kv_block)


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s.overlap is Overlap.NONE], ids=lambda s: s.name)
def test_groups_hold_the_seconds_of_every_operation(strategy):
    step = StepModel.of(case(), strategy, ENGINE).priced(Step(512, 512 * 256, 32, 32 * 900, 16 * 544))
    whole = sum(value(x.seconds) * count for x, count in step.operations)
    assert sum(value(seconds) for seconds in step.groups.values()) == pytest.approx(whole)
