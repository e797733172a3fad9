"""Which layouts are legal, and what is told where one is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.case.train.train_strategy import LEVELS, Schedule, TrainSizes
from moewright.errors import SpecError
from moewright.training.layouts import Layouts
from moewright.training.legal_layouts import legal_layouts
from training.cases import case_of


def layouts(sizes=None, **figures):
    case = case_of(**figures)
    return legal_layouts(case, replace(case.training, sizes=sizes or TrainSizes()))


REFUSED = [
    ({"tp": 3}, "strategy.attention.tp", "got 3; expected one that divides heads", "nearest: 2 or 4"),
    ({"cp": 5}, "strategy.attention.cp", "got 5; expected one that divides the sequence", "nearest: 4 or 8"),
    ({"pp": 5}, "strategy.pp", "got 5; expected one that divides 64 GPUs", "nearest: 4 or 8"),
    ({"pp": 64}, "strategy.pp", "no more than 60 layers", "nearest: 16 or 32"),
    (
        {"ep": 64},
        "strategy.experts.ep",
        "got 64; expected one that divides 64 GPUs and 160 experts",
        "nearest: 16 or 32",
    ),
    (
        {"etp": 5},
        "strategy.experts.tp",
        "got 5; expected one that divides 64 GPUs and the width 1536",
        "nearest: 4 or 8",
    ),
    (
        {"dp": 64},
        "strategy.attention.dp",
        "got 64; expected one that divides 64 GPUs and the global batch 32",
        "nearest: 16 or 32",
    ),
    ({"pp": 8, "cp": 1, "tp": 1, "dp": 4}, "strategy.attention.dp", "leave dp 8", ""),
    ({"pp": 16, "tp": 8}, "strategy", "pp 16 × cp 1 × tp 8 is 128", "divisor of cluster.gpus, 64"),
    ({"pp": 8, "ep": 16}, "strategy.experts.ep", "with tp 1 divides the 8 ranks of a stage", "nearest: 4 or 8"),
    (
        {"pp": 8, "ep": 4, "expert_dp": 8},
        "strategy.experts.dp",
        "got 8; 8 ranks of a stage over ep 4 × tp 1 leave dp 2",
        "",
    ),
    (
        {"dp": 8, "micro_batch": 3},
        "workload.micro_batch",
        "got 3; expected one that divides the 4 sequences of a rank",
        "nearest: 2 or 4",
    ),
    ({"micro_batch": 3}, "workload.micro_batch", "divides the global batch 32", "nearest: 2 or 4"),
    (
        {"pp": 1, "tp": 1, "cp": 4, "micro_batch": 4},
        "workload.micro_batch",
        "divides the 2 sequences of a rank",
        "nearest: 1 or 2",
    ),
    ({"pp": 1, "schedule": Schedule.ZERO_BUBBLE}, "strategy.pp", "schedule zero_bubble needs 2 stages", "pp: 2 or 4"),
    ({"pp": 32, "schedule": Schedule.DUALPIPE_V}, "strategy.pp", "of 2 chunks each, and twice as many", "pp: 8 or 16"),
    ({"pp": 16, "dp": 4, "schedule": Schedule.DUALPIPE_V}, "strategy.pp", "got 16; schedule dualpipe_v", "pp: 2 or 4"),
    ({"pp": 8, "virtual": 8}, "strategy.virtual_stages", "with pp 8 is no more than 60 layers", "nearest: 6 or 7"),
    ({"pp": 1, "virtual": 2}, "strategy.virtual_stages", "one stage has one chunk", ""),
    (
        {"virtual": 1, "schedule": Schedule.INTERLEAVED},
        "strategy.virtual_stages",
        "schedule interleaved expects 2 or more",
        "",
    ),
    ({"virtual": 3, "schedule": Schedule.DUALPIPE_V}, "strategy.virtual_stages", "schedule dualpipe_v expects 2", ""),
    ({"pp": 4, "layers": (15, 15, 15)}, "strategy.layers", "got 3 chunks, 45 layers; expected 4", "of 60"),
]


@pytest.mark.parametrize(("sizes", "field", "says", "near"), REFUSED)
def test_a_size_that_cannot_be_is_refused_with_the_nearest_that_can(sizes, field, says, near):
    with pytest.raises(SpecError) as error:
        layouts(TrainSizes(**sizes), gpus=64)
    assert error.value.field == field
    assert says in str(error.value)
    assert near in str(error.value)
    assert "\n" not in str(error.value)


def test_a_schedule_that_no_micro_batches_suit_leaves_nothing():
    with pytest.raises(SpecError, match=r"got 8; schedule interleaved needs .* a multiple of pp, .*; nearest pp: none"):
        layouts(TrainSizes(pp=8, schedule=Schedule.INTERLEAVED, dp=8), gpus=64, global_batch=24)


@given(
    st.sampled_from(["DeepSeek-V2", "Qwen3-30B-A3B", "gpt-oss-120b"]), st.sampled_from([8, 24, 64]), st.integers(1, 64)
)
def test_every_layout_divides_what_it_divides(model, gpus, batches):
    case = case_of(model, gpus=gpus, global_batch=8 * batches)
    found, _ = legal_layouts(case, case.training)
    moe = case.model.moe
    assert (found.pp * found.dp * found.cp * found.tp == gpus).all()
    assert (found.expert_dp * found.ep * found.etp == found.stage).all()
    assert (moe.experts % found.ep == 0).all()
    assert (case.training.global_batch % (found.dp * found.micro_batch) == 0).all()
    interleaved = found.virtual > 1
    assert (found.micro(case.training)[interleaved] % found.pp[interleaved] == 0).all()
    assert (found.pp * found.virtual <= len(case.model.layers)).all()


def test_a_row_is_a_strategy_and_a_strategy_a_row():
    found, _ = layouts(gpus=16)
    rows = [found.row(i, LEVELS[1]) for i in range(len(found))]
    again = Layouts.of(rows)
    assert [again.row(i, LEVELS[1]) for i in range(len(again))] == rows
    assert all(r.gpus == 16 for r in rows)
    assert len({r.name for r in rows}) == len(rows)


def test_experts_are_whole_where_nothing_else_is_said():
    found, _ = layouts(gpus=64)
    assert set(found.etp.tolist()) == {1}
    divided, _ = layouts(TrainSizes(etp=2), gpus=64)
    assert set(divided.etp.tolist()) == {2}
