"""Memory of a rank by a second derivation, that shares no line with the first: parameters and bytes by hand."""

import numpy as np
import pytest

from moewright.case.train.train_strategy import Schedule
from moewright.training.footprint.memory_timeline import StageMemory, memory_moments, memory_peak
from moewright.training.layouts import Layouts
from moewright.training.stages.simulated_pipelines import simulate_pipeline
from moewright.training.stages.stage_figures import detail_of
from moewright.training.stages.step_seconds import evaluate_steps
from training.cases import case_of, strategy_of

GIB = 2**30


def latent_attention(h, q, kv, heads):
    """Parameters of MLA with its norms."""
    return h * q + q + q * heads * 192 + h * (kv + 64) + kv + kv * heads * 256 + heads * 128 * h + 2 * h


def kept_by_attention(h, q, kv, heads):
    """Bytes a token in 16 bits: input, its norm; latents and their norms; queries, keys, values; output, fp32 sums."""
    return 2 * (h + h + (q + kv + 64) + (q + kv) + heads * (192 + 192 + 128) + heads * 128) + 4 * heads


def kept_by_experts(h, k, f, experts, shared):
    """Input, its norm, scores; each copy's input, two widths, one width, weight; the shared experts'."""
    return 2 * (h + h) + 9 * experts + k * (2 * (h + 3 * f) + 4) + 2 * 3 * shared


def test_deepseek_v2_cut_to_four_layers_on_eight_ranks():
    """SimuMax's measured row: 45.63 GiB (docs/b200/b200_release_v1.2_summary.md)."""
    h, tokens = 5120, 4096
    attention = latent_attention(h, 1536, 512, 128)
    dense = 4 * attention + 3 * h * 12288 + 3 * (3 * h * 3072 + h * 160) + 2 * 102400 * h + h
    experts = 3 * 20 * 3 * h * 1536
    static = (dense + experts) * (2 + 4) + 12 * (dense / 8 + experts)
    of_attention = kept_by_attention(h, 1536, 512, 128)
    kept = 4 * of_attention + 3 * kept_by_experts(h, 6, 1536, 160, 3072) + 2 * (h + h + 3 * 12288)
    loss = 6 * 102400 + 2 * (h + h)
    expected = static + tokens * (kept + loss)

    case = case_of(layers=4)
    found = evaluate_steps(case, case.training, Layouts.of([strategy_of(dp=8, ep=8)]))
    assert float(found.peak[0]) == pytest.approx(expected, rel=1e-3)
    assert float(found.peak[0]) / GIB == pytest.approx(45.63, rel=0.05)


def test_deepseek_v3_cut_to_four_layers_in_two_stages():
    """SimuMax's measured row: 114 GiB, on the last stage: two layers of 64 experts each, the head, the loss."""
    h, tokens = 7168, 4096
    dense = 2 * latent_attention(h, 1536, 512, 128) + 2 * (3 * h * 2048 + h * 256) + 129280 * h + h
    experts = 2 * 64 * 3 * h * 2048
    static = (dense + experts) * (2 + 4) + 12 * (dense / 4 + experts)
    kept = 2 * (kept_by_attention(h, 1536, 512, 128) + kept_by_experts(h, 8, 2048, 256, 2048))
    expected = static + tokens * (kept + 6 * 129280 + 2 * (h + h))

    case = case_of("DeepSeek-V3", layers=4)
    place = np.array([[0, 0, 1, 1]])
    found = evaluate_steps(case, case.training, Layouts.of([strategy_of(dp=4, pp=2, ep=4)]), place=place)
    assert found.fullest[0] == 1
    assert float(found.peak[0]) == pytest.approx(expected, rel=1e-3)
    assert float(found.peak[0]) / GIB == pytest.approx(114.0, rel=0.05)


def test_grouped_queries_under_tensor_and_context_parallelism():
    """Qwen3-30B-A3B over tp 2 and cp 2, one rank's share of a layer by hand."""
    h, tokens, heads, kv, d = 2048, 4096 // 2, 32, 4, 128
    attention = 2 * (2 * h / 2) + 2 * (heads + 2 * kv) * d / 2 + 2 * (heads + kv) * d / 2
    attention += 2 * heads * d / 2 + 4 * heads / 2
    copies = 8 * 0.5  # half of the tokens of a tp group are a rank's own
    experts = 2 * (2 * h / 2) + 9 * 128 / 2 + copies * (2 * (h + 3 * 768) + 4)
    case = case_of("Qwen3-30B-A3B", layers=4)
    found = evaluate_steps(case, case.training, Layouts.of([strategy_of(dp=2, cp=2, tp=2, ep=8)]), [()])
    assert float(found.lines["activations"][0]) == pytest.approx(4 * tokens * (attention + experts))


def test_full_recomputation_keeps_the_input_of_each_layer():
    case = case_of("Qwen3-30B-A3B", layers=4)
    found = evaluate_steps(case, case.training, Layouts.of([strategy_of(dp=8, ep=8)]), [("full",)])
    assert float(found.lines["activations"][0]) == 4 * 4096 * 2048 * 2


def test_the_first_of_four_stages_holds_four_micro_batches_of_its_layers():
    case = case_of("Qwen3-30B-A3B", layers=8, global_batch=64)
    detail = detail_of(case, case.training, strategy_of(dp=2, pp=4, ep=2, layers=(2, 2, 2, 2)))
    one = evaluate_steps(case, case.training, Layouts.of([strategy_of(dp=8, ep=8)]), [()])
    of_two_layers = float(one.lines["activations"][0]) / 4
    for stage, line in enumerate(detail.moments):
        assert line[1].bytes - line[0].bytes == pytest.approx(of_two_layers)
        kept = [m.bytes - line[0].bytes for m in line[: 5 - stage]]
        assert kept[-1] == pytest.approx((4 - stage) * of_two_layers)


def test_a_timeline_peaks_where_the_closed_form_says():
    case = case_of("Qwen3-30B-A3B", layers=8, global_batch=64)
    detail = detail_of(case, case.training, strategy_of(dp=2, pp=4, ep=2, layers=(2, 2, 2, 2)))
    for line, stage in zip(detail.moments, detail.stages, strict=True):
        assert max(m.bytes for m in line) == pytest.approx(stage.peak, rel=0.01)
    assert detail.peak.operation == "B"
    assert detail.peak.bytes == max(m.bytes for line in detail.moments for m in line)


def test_memory_goes_up_forward_and_down_backward():
    spans = simulate_pipeline([(1, 1, 1)] * 2, 2, 3, Schedule.ONE_F_ONE_B)
    stages = [StageMemory(10, (5,), (2,)), StageMemory(20, (4,), (1,))]
    first, second = memory_moments(spans, stages)
    assert [m.bytes for m in first[:3]] == [10, 15, 20]
    assert first[-1].bytes == 10
    assert max(m.bytes for m in second) == 25
    peak = memory_peak(spans, stages)
    assert (peak.stage, peak.bytes, peak.operation) == (1, 25, "B")
