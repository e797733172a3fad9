"""How ranks exchange what they do: bytes by hand, what hides behind what, and options that would change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from moewright.case.train.train_strategy import ContextExchange, Dispatcher, TrainSizes
from moewright.case.train.tuning import Lora, Tuning
from moewright.errors import SpecError
from moewright.training.layouts import Layouts, cell_pass, training_case
from moewright.training.legal_layouts import legal_layouts
from moewright.training.plan_training import plan_training
from moewright.training.stages.step_seconds import evaluate_steps
from moewright.training.work.context_parallel import hidden_in_ring
from moewright.training.work.layer_passes import Ways, layer_passes
from training.cases import case_of, strategy_of

QWEN = "Qwen3-30B-A3B"


def sent(strategy, model=QWEN, **figures):
    """Bytes that a rank sends in the last layer, by the name of each collective, forward and backward."""
    case = case_of(model, **figures)
    cells = Layouts.of([strategy]).cells()
    made = training_case(case, case.training)
    p = cell_pass(made, case.training, cells.table, cells.micro_batch)
    passes = layer_passes(p, made.model.layers[-1], case.training, Ways(cells.cp_comm_type, cells.dispatcher))
    work = [*passes.forward, *passes.backward]
    return {w.name: float(w.collective.sent[0]) for w in work if w.collective is not None and np.any(w.happens)}


def steps(strategies, model=QWEN, **figures):
    case = case_of(model, **{"layers": 4} | figures)
    return evaluate_steps(case, case.training, Layouts.of(strategies), [()])


def context(kind, cp=4, tp=1, **sizes):
    return strategy_of(cp=cp, tp=tp, cp_comm_type=ContextExchange(kind), **sizes)


def test_bytes_of_each_exchange_of_keys_by_hand():
    """Qwen3-30B-A3B over cp 4: 1,024 tokens a rank, keys and values of 4 heads of 128, queries of 32."""
    tokens, keys, queries = 1024, 2 * 4 * 128 * 2, 32 * 128 * 2
    gathered = sent(context("all_gather"))
    assert gathered["context_gather"] == gathered["context_gather_again"] == 3 * tokens * keys
    assert gathered["context_gather_gradient"] == 3 * tokens * keys
    ring = sent(context("ring"))
    assert ring["context_ring"] == 3 * tokens * keys
    assert ring["context_ring_gradient"] == (3 + 4) * tokens * keys
    swapped = sent(context("all_to_all"))
    assert swapped["context_exchange"] == swapped["context_exchange_gradient"] == tokens * (queries + keys) * 3 / 4
    assert swapped["context_return"] == tokens * queries * 3 / 4


def test_latent_attention_exchanges_the_heads_it_expands():
    found = sent(context("ring", cp=2), "DeepSeek-V3")
    assert found["context_ring"] == 2048 * 128 * (192 + 128) * 2


def test_a_ring_hides_what_takes_no_longer_than_a_block_of_attention():
    one = np.ones(1)
    # forward: 3 transfers of 1 s beside blocks of 2 s; of 4 s beside blocks of 2 s
    assert hidden_in_ring(3 * one, 8 * one, 4 * one, False) == 3
    assert hidden_in_ring(12 * one, 8 * one, 4 * one, False) == 6
    # backward: a block and its gradient beside each of 3 blocks, the last gradient alone
    assert hidden_in_ring(7 * one, 80 * one, 4 * one, True) == 6


def test_exposed_and_hidden_traffic_of_a_ring_are_all_of_it():
    found = steps([context("ring", dp=2), context("all_gather", dp=2)], sequence=16384)
    assert found.hidden["cp_traffic"][0] > 0
    assert found.hidden["cp_traffic"][1] == 0
    assert found.parts["cp_traffic"][0] < found.parts["cp_traffic"][1]


@pytest.mark.parametrize("sequence", [4096, 65536])
def test_the_fastest_exchange_is_taken_where_none_is_given(sequence):
    case = case_of(QWEN, layers=4, sequence=sequence, sizes=TrainSizes(cp=4, tp=1, pp=1, ep=8, micro_batch=1))
    best = plan_training(case, top=0).best
    every = [
        plan_training(
            replace(case, training=replace(case.training, sizes=replace(case.training.sizes, cp_comm_type=kind))),
            top=0,
        ).best.seconds
        for kind in ContextExchange
    ]
    assert best.seconds == pytest.approx(min(every))
    assert every[list(ContextExchange).index(best.strategy.cp_comm_type)] == pytest.approx(best.seconds)


def test_bytes_of_each_dispatcher_by_hand():
    """ep 8, top 8 of 128 by even routing: each copy by itself sends 8·7/8 of them; all tokens to all ranks 7."""
    tokens, width = 4096, 2048 * 2
    sizes = {"dp": 8, "ep": 8}
    plain = sent(strategy_of(**sizes, dispatcher=Dispatcher.ALL_TO_ALL))
    assert plain["dispatch"] == plain["combine"] == plain["dispatch_gradient"] == tokens * 7 * width
    whole = sent(strategy_of(**sizes, dispatcher=Dispatcher.ALL_GATHER))
    assert whole["dispatch_all"] == whole["combine_all"] == whole["combine_all_gradient"] == tokens * 7 * width
    assert "dispatch" not in whole
    once = sent(strategy_of(**sizes))["dispatch"]
    distinct = 7 * (1 - np.prod([(112 - i) / (128 - i) for i in range(8)]))
    assert once == pytest.approx(tokens * distinct * width)


def test_what_overlaps_is_hidden_and_all_of_it_shown_where_it_does_not():
    both = strategy_of(dp=4, tp=2, ep=8)
    plain, hidden = steps([both, replace(both, overlap_tp=True)], layers=4).parts["tp_traffic"]
    assert 0 < hidden < plain
    found = steps([replace(both, overlap_grad_reduce=False, overlap_param_gather=False), both])
    for part in ("gradient_reduction", "weight_gathering"):
        exposed, spared = found.parts[part][0], found.parts[part][1] + found.hidden[part][1]
        assert exposed == pytest.approx(spared)
        assert found.hidden[part][0] == 0


def test_gathered_keys_and_tokens_are_counted_as_buffers():
    case = case_of(QWEN, layers=4)
    strategies = [context("all_gather", dp=2), context("ring", dp=2), context("all_to_all", dp=2)]
    found = evaluate_steps(case, case.training, Layouts.of(strategies), [()])
    keys = 1024 * 2 * 4 * 128 * 2
    assert found.lines["buffers"].tolist() == [2 * 4 * keys, 4 * keys, 0]


REFUSED = [
    ({"cp": 1, "cp_comm_type": ContextExchange.RING}, {}, "strategy.attention.cp_comm_type", "got ring, which changes"),
    ({"cp": 8, "cp_comm_type": ContextExchange.ALL_TO_ALL}, {}, "strategy.attention.cp_comm_type", "all_gather, ring"),
    (
        {"cp": 2, "cp_comm_type": ContextExchange.RING},
        {"model": "gpt-oss-120b"},
        "strategy.attention.cp_comm_type",
        "a layer has a window; legal: all_gather",
    ),
    ({"ep": 1, "dispatcher": Dispatcher.ALL_TO_ALL}, {}, "strategy.experts.dispatcher", "no token is dispatched"),
    ({"tp": 1, "overlap_tp": True}, {}, "strategy.overlap_tp", "got true, which changes nothing: with tp 1"),
    ({"ep": 1, "overlap_experts": True}, {}, "strategy.overlap_experts", "with ep 1"),
    ({"pp": 2, "virtual": 1, "overlap_experts": True}, {}, "strategy.overlap_experts", "virtual_stages of 2 or more"),
    (
        {"etp": 2},
        {"tuning": Tuning((), 0, Lora(8, ("experts",)))},
        "strategy.experts.tp",
        "adapters of experts are not divided: expected 1",
    ),
]


@pytest.mark.parametrize(("sizes", "figures", "field", "says"), REFUSED)
def test_a_way_that_cannot_be_or_changes_nothing_is_refused(sizes, figures, field, says):
    figures = {"model": QWEN} | figures
    case = case_of(figures.pop("model"), **figures)
    with pytest.raises(SpecError) as error:
        legal_layouts(case, replace(case.training, sizes=TrainSizes(**sizes)))
    assert error.value.field == field
    assert says in str(error.value)
