"""The work of a backward pass, and what a step is made of."""

import numpy as np
import pytest

from moewright.case.train.train_strategy import LEVELS, Schedule, Sharding
from moewright.cost.work import AttentionScores, Collective, GroupedProducts, Products
from moewright.training.layouts import Layouts, cell_pass, training_case
from moewright.training.stages.stage_figures import detail_of
from moewright.training.stages.step_seconds import evaluate_steps
from moewright.training.work.layer_passes import Ways, layer_passes
from training.cases import case_of, strategy_of


def passes(strategy, **figures):
    case = case_of(**figures)
    cells = Layouts.of([strategy]).cells()
    made = training_case(case, case.training)
    p = cell_pass(made, case.training, cells.table, cells.micro_batch)
    ways = Ways(cells.cp_comm_type, cells.dispatcher)
    return p, layer_passes(p, made.model.layers[-1], case.training, ways)


def flops(work, kind):
    return sum(float(w.flops[0]) for w in work if isinstance(w.shape, kind))


def test_products_are_done_twice_backward_and_attention_two_and_a_half_times():
    _, made = passes(strategy_of(dp=8, ep=8))
    for kind, times in ((Products, 2), (GroupedProducts, 2), (AttentionScores, 2.5)):
        assert flops(made.backward, kind) == pytest.approx(times * flops(made.forward, kind))


def test_the_gradient_of_a_weight_multiplies_over_the_tokens():
    _, made = passes(strategy_of(dp=8, ep=8))
    router = next(w for w in made.backward if w.name == "router_weight_gradient")
    assert [float(x[0]) for x in (m.depth for m in router.shape.matrices)] == [4096]
    forward = next(w for w in made.forward if w.name == "router")
    # fp32 gradients are read and written again
    assert float((router.traffic - forward.traffic)[0]) == 2 * 4 * 160 * 5120


def test_gathers_and_reductions_change_places_and_an_input_is_gathered_again():
    _, made = passes(strategy_of(dp=4, tp=2, ep=8))
    named = {w.name: w.shape for w in made.backward if isinstance(w.shape, Collective) and np.any(w.happens)}
    assert named["attention_gather_gradient"].collective == "reduce_scatter"
    assert named["attention_reduce_gradient"].collective == "all_gather"
    assert named["attention_gather_again"].collective == "all_gather"
    forward = {w.name: w.sent for w in made.forward if isinstance(w.shape, Collective)}
    assert named["dispatch_gradient"].sent == pytest.approx(forward["dispatch"])


def test_forward_flops_of_a_layer_are_those_of_its_active_parameters():
    """6 parameters a token and step are 2 forward: attention's projections, shared and routed experts, router."""
    p, made = passes(strategy_of(dp=8, ep=8))
    h, heads, latent = 5120, 128, 512
    projections = h * 1536 + 1536 * heads * 192 + h * (latent + 64) + latent * heads * 256 + heads * 128 * h
    active = projections + 6 * 3 * h * 1536 + 3 * h * 3072 + h * 160
    pairs = 2 * heads * (192 + 128) * 4096**2 / 2
    assert sum(float(w.flops[0]) for w in made.forward) == pytest.approx(4096 * 2 * active + pairs)
    assert float(p.batch.routed[0]) == 8 * 4096


def steps(strategies, levels=LEVELS, **figures):
    case = case_of(**figures)
    return evaluate_steps(case, case.training, Layouts.of(strategies), levels)


def test_the_parts_of_a_step_add_up():
    found = steps([strategy_of(dp=8, ep=8), strategy_of(dp=4, pp=2, ep=4), strategy_of(dp=2, tp=2, pp=2, ep=4)])
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.peak == pytest.approx(sum(found.lines.values()))
    assert found.parts["bubble"][0] == 0
    assert (found.parts["bubble"][1:] > 0).all()


def test_model_flops_do_not_depend_on_how_a_step_is_divided():
    found = steps(
        [
            strategy_of(dp=8, ep=8),
            strategy_of(dp=4, pp=2, ep=4),
            strategy_of(dp=4, cp=2, ep=8),
            strategy_of(dp=2, tp=4, ep=8),
        ],
        layers=4,
    )
    assert found.model_flops == pytest.approx(found.model_flops[0], rel=1e-9)


def test_recomputation_costs_time_and_saves_memory():
    one = [strategy_of(dp=8, ep=8)]
    found = [steps(one, [level], layers=4) for level in LEVELS]
    seconds = [float(f.seconds[0]) for f in found]
    kept = [float(f.lines["activations"][0]) for f in found]
    assert seconds == sorted(seconds)
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < kept[0] / 10


def test_overlap_hides_expert_traffic_alone():
    plain, hidden = steps([strategy_of(dp=8, ep=8), strategy_of(dp=8, ep=8, overlap_experts=True)], layers=4).parts[
        "ep_traffic"
    ]
    assert 0 < hidden < plain


def test_sharded_weights_take_less_memory_and_more_gathering():
    full = strategy_of(dp=8, ep=1, sharding=Sharding.FULL)
    found = steps([strategy_of(dp=8, ep=1), full], layers=4)
    assert found.lines["gradients"][1] == pytest.approx(found.lines["gradients"][0] / 8)
    assert found.lines["optimizer"][1] == pytest.approx(found.lines["optimizer"][0])
    assert found.parts["weight_gathering"][1] > found.parts["weight_gathering"][0]


def test_a_straggler_of_routing_slows_the_experts():
    even = steps([strategy_of(dp=8, ep=8)], layers=4)
    skewed = steps([strategy_of(dp=8, ep=8)], layers=4, balanced=False)
    assert skewed.seconds > even.seconds


def test_a_capacity_has_places_for_as_many_copies_as_it_says():
    even = steps([strategy_of(dp=8, ep=8)], layers=4, capacity=1.0)
    more = steps([strategy_of(dp=8, ep=8)], layers=4, capacity=1.5)
    assert more.seconds > even.seconds
    assert more.lines["activations"] > even.lines["activations"]


def test_prediction_layers_are_a_layer_and_a_head_more():
    without = steps([strategy_of(dp=8, ep=8)], layers=4, model="DeepSeek-V3")
    with_one = steps([strategy_of(dp=8, ep=8)], layers=4, model="DeepSeek-V3", prediction_layers=1)
    head = 3 * 2 * 4096 * 7168 * 129280 * 32
    assert with_one.model_flops - without.model_flops > head


def test_dualpipe_v_has_embedding_and_loss_on_the_first_stage():
    """Chunks go there and back: the first stage has the first layers and the last, and the head."""
    case = case_of("Qwen3-30B-A3B", layers=8, global_batch=64)
    sizes = {"dp": 2, "pp": 4, "virtual": 2, "ep": 2, "layers": (1,) * 8}
    there = detail_of(case, case.training, strategy_of(**sizes, schedule=Schedule.DUALPIPE_V))
    plain = detail_of(case, case.training, strategy_of(**sizes))
    assert there.simulated is not None
    assert [s.layers for s in there.stages] == [2, 2, 2, 2]
    assert max(there.stages, key=lambda s: s.forward).stage == 0
    assert max(plain.stages, key=lambda s: s.forward).stage == 3
