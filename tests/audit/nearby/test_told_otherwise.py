"""A figure that is off by a factor which its own sentence tells is not accused; by any other factor it is."""

import pytest

from audits import failing, one_wrong

DBRX = "DBRX on 256 H100"
PLAN = "32 nodes of 8 H100, 40 layers.\n\n"


@pytest.mark.parametrize(
    ("told", "held", "wrong"),
    [
        ("A dispatch is 403 MB. EP 8: 7/8 of it over NVLink at 450 GB/s, {}.", "0.783 ms", "0.183 ms"),
        ("A dispatch is 403 MB. EP 16: 8/16 of it leaves the node at 50 GB/s, {}.", "4.03 ms", "40.3 ms"),
        (
            "It needs 4.70 ms at 25 GB/s. Two all-to-alls forward and two backward in 16 MoE layers come to {}.",
            "301 ms",
            "4.70 ms",
        ),
        ("It runs at 41.3k tok/s. Dataset 1.2B tokens, 2 epochs -> 4,578 steps, {}.", "16.1 h", "26.1 h"),
    ],
)
def test_a_factor_of_the_sentence(told, held, wrong):
    one_wrong(PLAN + told, held, wrong, DBRX)


def test_a_total_behind_the_states_of_training():
    sizes = "DBRX (40 layers, d_model 6144, 16 experts of width 10752 with top-4) in BF16 on 256 GPUs with EP 8.\n\n"
    states = "Gradients in FP32 are 63.4 GB, the optimizer takes 5.9 GB.\n\n"
    total = "Total for the experts: 101 GB against 53.5 GB.\n"
    assert failing(f"# Review\n\n{sizes}{states}{total}") == []
    assert failing(f"# Review\n\n{sizes}{total}") != []


def test_a_time_that_nothing_can_be_below():
    text = "A step must read the weights and the cache, so 55.8 GB; at 3.35 TB/s this cannot take less than {}."
    one_wrong(PLAN + text, "16.7 ms", "12.7 ms", DBRX)
