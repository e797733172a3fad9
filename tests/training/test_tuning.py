"""Frozen parts and adapters: parameters, gradients, what is kept and computed, by second derivations."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.case.train.tuning import PARTS, Lora, Tuning, trained_parameters
from moewright.training.layouts import Layouts
from moewright.training.stages.stage_figures import detail_of
from moewright.training.stages.step_flops import step_flops, tuned_flops
from moewright.training.stages.step_seconds import evaluate_steps
from training.cases import case_of, strategy_of

QWEN = "Qwen3-30B-A3B"
LORA = Lora(16, ("attention", "experts"))


def steps(tuning, strategy=None, level=(), **figures):
    case = case_of(figures.pop("model", QWEN), **{"layers": 4, "tuning": tuning} | figures)
    return evaluate_steps(case, case.training, Layouts.of([strategy or strategy_of(dp=8, ep=8)]), [level])


def line(found, name):
    return float(found.lines[name][0])


@pytest.mark.parametrize("model", [QWEN, "DeepSeek-V2", "gpt-oss-120b"])
def test_flops_gradient_by_gradient_are_three_times_the_forward_pass(model):
    case = case_of(model, layers=4)
    assert tuned_flops(case, case.training) == pytest.approx(step_flops(case, case.training))


def adapter(rank, *shapes):
    return sum(rank * (rows + columns) for rows, columns in shapes)


def test_parameters_of_adapters_are_rank_times_the_sides_of_each_matrix():
    case = case_of(QWEN)
    attention = adapter(16, (4096, 2048), (512, 2048), (512, 2048), (2048, 4096))
    experts = 128 * adapter(16, (2 * 768, 2048), (2048, 768))
    assert trained_parameters(case.model, Tuning((), 0, LORA)) == 48 * (attention + experts)
    above = Tuning((), 40, LORA)
    assert trained_parameters(case.model, above) == 8 * (attention + experts)


def test_adapters_alone_have_gradients_and_states():
    """dp 8 × ep 8: attention's adapters on every rank, an eighth of the experts'; adapters and wide weights are in 16
    bits, gradients in 32, states (12 B) over the ranks that share them."""
    frozen, whole = steps(Tuning((), 0, LORA)), steps(Tuning())
    dense = 4 * adapter(16, (4096, 2048), (512, 2048), (512, 2048), (2048, 4096))
    experts = 4 * 16 * adapter(16, (2 * 768, 2048), (2048, 768))
    assert line(frozen, "gradients") == 4 * (dense + experts)
    assert line(frozen, "optimizer") == pytest.approx(12 * (dense / 8 + experts))
    assert line(frozen, "weights") - line(whole, "weights") == 2 * (dense + experts)


def test_adapters_keep_their_inner_products_and_frozen_matrices_nothing():
    """A token keeps x·Aᵀ of q, k, v and o, 16 each; a copy of gate-and-up and of down. Inputs of products are kept for
    A as they were for W, but the router's; and the first norm's input where nothing is trained before it."""
    frozen, whole = steps(Tuning((), 0, LORA)), steps(Tuning())
    tokens, more, less = 4096, 2 * 16 * (4 + 8 * 2), 2 * 2048
    assert line(frozen, "activations") - line(whole, "activations") == tokens * (4 * (more - less) - less)
    none = steps(Tuning(("norms",)))
    # no input of attention's, router's and experts' products; what gradients pass is kept
    gone = 2 * 2048 * 2 + 8 * 2 * (2048 + 768)
    assert line(whole, "activations") - line(none, "activations") == 4 * tokens * gone


def test_below_the_lowest_trained_part_nothing_is_kept_and_nothing_goes_back():
    case = case_of(QWEN, layers=8, global_batch=64, tuning=Tuning(PARTS, 4))
    detail = detail_of(case, case.training, strategy_of(dp=2, pp=2, ep=2, layers=(4, 4)))
    whole = replace(case.training, tuning=Tuning())
    before = detail_of(case, whole, strategy_of(dp=2, pp=2, ep=2, layers=(4, 4)))
    assert detail.stages[0].backward == 0
    assert detail.stages[0].forward == pytest.approx(before.stages[0].forward)
    assert detail.stages[1].backward == pytest.approx(before.stages[1].backward)
    assert detail.moments[0][0].bytes == max(m.bytes for m in detail.moments[0])  # weights alone


def test_the_head_alone_leaves_its_own_gradient():
    found, whole = steps(Tuning(("head",))), steps(Tuning())
    head = 2 * 4096 * 2048 * 151936 * 32
    assert float(found.model_flops[0]) == pytest.approx(float(whole.model_flops[0]) / 3 + head)
    assert line(found, "activations") == 0
    assert line(found, "gradients") == 4 * 151936 * 2048


parts = st.lists(st.sampled_from([p for p in PARTS if p not in ("dense", "shared_experts")]), min_size=1, unique=True)


@settings(max_examples=15)
@given(parts, st.integers(0, 3))
def test_what_is_frozen_costs_no_more_and_gradients_add_up(parts, frozen):
    some, whole = steps(Tuning(tuple(parts), frozen)), steps(Tuning())
    assert some.seconds[0] <= whole.seconds[0] * (1 + 1e-9)
    assert some.peak[0] <= whole.peak[0]
    assert some.model_flops[0] <= whole.model_flops[0] * (1 + 1e-9)
    alone = sum(line(steps(Tuning((part,), frozen)), "gradients") for part in parts)
    assert line(some, "gradients") == pytest.approx(alone)
    assert line(some, "weights") == line(whole, "weights")


@settings(max_examples=15)
@given(parts, parts, st.integers(0, 3))
def test_more_trained_is_no_less_work(first, second, frozen):
    few = steps(Tuning(tuple(first), frozen))
    more = steps(Tuning(tuple({*first, *second}), frozen))
    assert few.model_flops[0] <= more.model_flops[0] * (1 + 1e-9)
    assert few.peak[0] <= more.peak[0]


def test_sharded_weights_are_gathered_whether_they_are_trained_or_not():
    strategy = strategy_of(dp=8, ep=1, sharding="fsdp")
    frozen, whole = steps(Tuning((), 0, LORA), strategy), steps(Tuning(), strategy)
    assert frozen.parts["weight_gathering"][0] == pytest.approx(whole.parts["weight_gathering"][0], rel=0.1)
    assert frozen.parts["gradient_reduction"][0] < whole.parts["gradient_reduction"][0] / 5
    assert np.all(frozen.parts["optimizer"] < whole.parts["optimizer"])
