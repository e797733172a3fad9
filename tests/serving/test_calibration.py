"""Results of benchmark tools are read for what they say; factors are found again; a profile changes later plans."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from moewright.case.file.calibration_file import TERMS, CalibratedTerm, Calibration
from moewright.case.file.load import case_of
from moewright.errors import SpecError
from moewright.serving.calibration.benchmark_files import MeasuredPoint, read_results
from moewright.serving.calibration.factors import calibrate, case_at, predicted
from moewright.serving.calibration.left_out import Evidence, choose, correction, fitted, left_out
from moewright.serving.calibration.profile_text import profile_text
from moewright.serving.simulation.simulate import simulate

VLLM = {
    "model_id": "m",
    "request_rate": "inf",
    "max_concurrency": 4,
    "completed": 24,
    "failed": 1,
    "total_input_tokens": 6144,
    "total_output_tokens": 768,
    "request_throughput": 8.06,
    "mean_ttft_ms": 90.9,
    "mean_tpot_ms": 12.23,
    "mean_itl_ms": 47.39,
}
SGLANG = {
    **VLLM,
    "total_output_tokens_retokenized": 768,
    "request_rate": 5.0,
    "max_concurrency": 256,
    "concurrency": 11.78,
}
AIPERF = {
    "inter_token_latency": {"unit": "ms", "avg": 12.24},
    "inter_chunk_latency": {"unit": "ms", "avg": 47.43},
    "time_to_first_token": {"unit": "sec", "avg": 0.089},
    "input_sequence_length": {"unit": "tokens", "avg": 256.0},
    "output_sequence_length": {"unit": "tokens", "avg": 32.0},
    "input_config": {"phases": [{"name": "warmup", "concurrency": 1}, {"name": "profiling", "concurrency": 4}]},
}
INFERENCEX = {"isl": 256, "osl": 32, "conc": 4, "mean_ttft": 0.0909, "mean_tpot": 0.01287, "model": "m"}
SECONDS = {
    **{k: VLLM[k] for k in ("request_rate", "completed", "total_input_tokens", "total_output_tokens")},
    "max_concurrency": 64,
    "median_ttft": 0.9015,
    "median_tpot": 0.0879,
}
GUIDELLM = {
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": streams}},
            "metrics": {
                name: {"successful": {"mean": mean}}
                for name, mean in {
                    "time_to_first_token_ms": 89.4,
                    "inter_token_latency_ms": 12.75,
                    "time_per_output_token_ms": 15.14,
                    "prompt_token_count": 181.0,
                    "output_token_count": 32.0,
                    "request_concurrency": 3.9,
                }.items()
            },
        }
        for streams in (4, 8)
    ]
}
LLMPERF = {
    "num_concurrent_requests": 5,
    "results_inter_token_latency_s_mean": 0.01193,
    "results_ttft_s_mean": 0.254,
    "results_end_to_end_latency_s_mean": 1.184,
    "results_number_input_tokens_mean": 259.78,
    "results_number_output_tokens_mean": 99.44,
    "results_number_input_tokens_min": "131",
}
TRTLLM = {
    "request_info": {"avg_num_concurrent_requests": 983.2, "avg_input_length": 1024.0, "avg_output_length": 1024.0},
    "streaming_metrics": {"avg_ttft_ms": 1830.5, "avg_tpot_ms": 47.42},
}
GENAI = (
    'Metric,avg,min,max,p99\nTime To First Token (ms),165.73,1,2,3\nRequest Latency (ms),"1,390.00",1,2,3\n'
    "Inter Token Latency (ms),12.57,1,2,3\nOutput Sequence Length (tokens),99.00,1,2,3\n"
    'Input Sequence Length (tokens),"1,024.00",1,2,3\n\nMetric,Value\nRequest Throughput (per sec),13.33\n'
)
#: file, what it holds → tool, prompt, answer, requests in flight, first token, further ones
FILES = [
    ("a.json", VLLM, ("vllm", 256, 32, 4, 0.0909, 0.01223)),  # not the gap between chunks of four tokens
    ("b.jsonl", SGLANG, ("sglang", 256, 32, 11.78, 0.0909, 0.01223)),  # arrivals at a rate: 256 were allowed, not there
    ("c.json", AIPERF, ("aiperf", 256, 32, 4, 0.089, 0.01224)),
    ("d.json", INFERENCEX, ("inferencex", 256, 32, 4, 0.0909, 0.01287)),
    ("e.json", SECONDS, ("inferencex (seconds)", 256, 32, 64, 0.9015, 0.0879)),
    ("f.json", GUIDELLM, ("guidellm", 181, 32, 4, 0.0894, 0.01275)),
    ("g.json", LLMPERF, ("llmperf", 259.78, 99.44, 5, 0.254, (1.184 - 0.254) / 98.44)),
    ("h.json", TRTLLM, ("trtllm-bench", 1024, 1024, 983.2, 1.8305, 0.04742)),
    ("i.csv", GENAI, ("aiperf", 1024, 99, 13.33 * 1.39, 0.16573, 0.01257)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), FILES, ids=[f[0] for f in FILES])
def test_what_each_tool_means_by_its_words(tmp_path, name, content, expected):
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    p = read_results(file)[0]
    got = (p.input, p.output, p.concurrency, p.ttft, p.tpot)
    assert p.tool == expected[0]
    assert got == pytest.approx(expected[1:], rel=1e-9)


def test_runs_that_were_appended_are_points_each(tmp_path):
    file = tmp_path / "runs.jsonl"
    file.write_text("".join(json.dumps({**VLLM, "max_concurrency": c}) + "\n" for c in (1, 8)))
    assert [p.concurrency for p in read_results(file)] == [1, 8]
    assert read_results(file)[0].notes == ("1 requests failed",)
    both = tmp_path / "guide.json"
    both.write_text(json.dumps(GUIDELLM))
    assert [p.concurrency for p in read_results(both)] == [4, 8]
    open_loop = tmp_path / "open.json"
    open_loop.write_text(json.dumps({**VLLM, "max_concurrency": None, "mean_e2el_ms": 489.9, "request_rate": 8.0}))
    assert read_results(open_loop)[0].concurrency == pytest.approx(0.4899 * 8.06)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "expected results of vllm bench serve"),
        ("[1, 2]", "no JSON objects"),
        ("{\n", "line 1 is no JSON"),
        (json.dumps({**VLLM, "completed": 0}), "has no completed"),
        (json.dumps({k: v for k, v in TRTLLM.items() if k != "streaming_metrics"}), "with --streaming"),
        (json.dumps({"metadata": {}, "metrics": {}}), "single requests of AIPerf"),
        (json.dumps({**VLLM, "mean_tpot_ms": float("nan"), "median_tpot_ms": None}), "has no mean_tpot_ms"),
    ],
)
def test_a_file_that_tells_no_point_is_refused(tmp_path, content, words):
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(SpecError, match="results.json") as error:  # noqa: RUF043
        read_results(file)
    assert words in str(error.value)


def test_a_field_too_long_for_csv_is_refused(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text('Metric,avg\nRequest Throughput (per sec),"' + "x" * 200_000 + '"\n')
    with pytest.raises(SpecError, match=r"results\.csv: is not a CSV table: field larger"):
        read_results(file)


SPEC = {
    "model": "gpt-oss-20b",
    "cluster": {"name": "h100-hgx", "gpus": 2},
    "workload": {"kind": "serving", "input": 500, "output": 60, "concurrency": 8, "requests": 40, "engine": "vllm"},
    "strategy": "tp2",
}
TRUTH = {"first_token": 1.6, "prompt": 1.25, "decode_base": 1.3, "decode_growth": 0.8}


def points(lengths, clients, calibration=None):
    case = case_of(SPEC, "spec.yaml")
    plain = [MeasuredPoint("t", "f", i, o, c, None, 1.0, requests=max(24, 3 * c)) for i, o in lengths for c in clients]
    seconds = [predicted(case, p, calibration, None) for p in plain]
    return case, [replace(p, ttft=float(t), tpot=float(d)) for p, (t, d) in zip(plain, seconds, strict=True)]


@pytest.mark.slow
def test_factors_are_found_again_and_hold_where_nothing_was_measured():
    truth = Calibration(**{name: CalibratedTerm(factor) for name, factor in TRUTH.items()})
    case, fitted = points([(200, 60), (3000, 60)], (1, 8, 64), truth)
    _, others = points([(1000, 90)], (4, 32), truth)
    found = calibrate(case, fitted, None)
    assert found.told == set(TERMS)
    for name, factor in TRUTH.items():
        assert getattr(found.calibration, name).factor == pytest.approx(factor, rel=0.12), name
    for p in others:
        ttft, tpot = predicted(case, p, found.calibration, None)
        before = predicted(case, p, None, None)
        assert tpot == pytest.approx(p.tpot, rel=0.03)
        assert ttft == pytest.approx(p.ttft, rel=0.08)
        assert abs(before[0] / p.ttft - 1) > 0.12, "there was something to correct"


def test_few_points_draw_a_factor_to_one_and_leave_its_spread():
    case, one = points([(200, 60)], (1,))
    slower = [replace(one[0], tpot=1.5 * one[0].tpot, ttft=None)]
    found = calibrate(case, slower, None)
    terms = found.calibration
    assert 1.2 < terms.decode_base.factor < 1.5
    assert terms.prompt.factor == pytest.approx(1, abs=0.02)
    assert terms.prompt.spread == pytest.approx(0.35, rel=0.1)
    assert found.told == {"decode_base"}
    assert "1 setting: none can be left out" in found.left_at_one["prompt"]
    assert found.left_out is None
    assert terms.decode_base.spread < 0.1


def evidence(x, noise, settings=12, seed=0):
    """Measured figures of factors exp(``x``), each with ``noise`` of (TTFT, TPOT)."""
    draw = np.random.default_rng(seed)
    first, decode = draw.dirichlet([1, 2, 0.2, 0.2], settings), draw.dirichlet([0.001, 0.5, 2, 2], settings)
    shares = np.stack([first, decode], axis=1)
    target = correction(shares, np.array(x)) + draw.normal(size=(settings, 2)) * np.array(noise)
    weights = np.tile([1 / 0.12, 1 / 0.04], (settings, 1))
    return Evidence(shares, target, weights, np.arange(settings), 0.35)


def test_a_term_changes_where_settings_left_out_are_predicted_better():
    choice = choose(evidence([0.0, 0.0, 0.5, 0.0], (0.05, 0.01)), (2,))
    assert 2 in choice.active
    (ttft, ttft_now), (tpot, tpot_now) = choice.errors
    assert tpot_now < 0.3 * tpot
    assert ttft_now < ttft + 0.02
    assert set(choice.reasons) == set(range(4)) - set(choice.active)


def test_noise_alone_changes_little():
    """A first token that scatters by a factor of two either way tells no factor, whichever way the few points lie."""
    draws = [evidence([0.0] * 4, (0.7, 0.01), 8, seed) for seed in range(20)]
    guarded = sum(0 in c.active or 1 in c.active for c in (choose(e, (2,)) for e in draws))
    unguarded = sum(np.abs(fitted(e, (0, 1, 2, 3))[:2]).max() > 0.15 for e in draws)
    assert 2 * guarded < unguarded


def test_a_setting_is_left_out_with_all_its_runs():
    """Runs of one setting predict one another whatever the factors mean: they may not vouch for each other."""
    e = evidence([0.0, 0.0, 0.4, 0.0], (0.0, 0.0), 4)
    twice = Evidence(*(np.concatenate([a, a]) for a in (e.shares, e.target, e.weights, e.settings)), e.prior)
    apart = Evidence(twice.shares, twice.target, twice.weights, np.arange(8), e.prior)
    once, each = left_out(twice, (0, 1, 2, 3)), left_out(apart, (0, 1, 2, 3))
    assert np.abs(once).sum() > np.abs(each).sum()
    for i in range(4):
        others = e.take(np.arange(4) != i)
        doubled = Evidence(
            *(np.concatenate([a, a]) for a in (others.shares, others.target, others.weights, others.settings)), e.prior
        )
        by_hand = e.target[i] - correction(e.shares[i : i + 1], fitted(doubled, (0, 1, 2, 3)))[0]
        assert once[i] == pytest.approx(by_hand, abs=1e-9)


def test_factors_of_the_linear_fit_are_found_again():
    x = [0.3, -0.2, 0.4, -0.3]
    e = evidence(x, (0.0, 0.0), 40)
    sure = Evidence(e.shares, e.target, e.weights * 100, e.settings, e.prior)
    assert fitted(sure, (0, 1, 2, 3)) == pytest.approx(x, abs=0.01)


def test_a_profile_changes_later_plans(tmp_path):
    plain = case_of(SPEC, str(tmp_path / "spec.yaml"))
    terms = Calibration(**{name: CalibratedTerm(factor, 0.05, 6) for name, factor in TRUTH.items()})
    (tmp_path / "profile.yaml").write_text(profile_text(terms, "gpt-oss-20b", ["a.json"]))
    case = case_of({**SPEC, "calibration": "profile.yaml"}, str(tmp_path / "spec.yaml"))
    assert {n: getattr(case.calibration, n) for n in TERMS} == {n: getattr(terms, n) for n in TERMS}
    before, after = simulate(plain), simulate(case)
    assert after.tpot.mean > 1.1 * before.tpot.mean
    assert after.ttft.mean > 1.1 * before.ttft.mean
    ones = Calibration(**{name: CalibratedTerm(1.0) for name in TERMS})
    assert simulate(replace(plain, calibration=ones)).tpot.mean == pytest.approx(before.tpot.mean, rel=1e-9)
    assert case_at(
        plain, SimpleNamespace(input=9, output=9, concurrency=2, requests=None), None
    ).serving.concurrency == (2,)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("model: x", "terms"),
        ("terms: {decode: {factor: 1}}", "terms.decode"),
        ("terms: {prompt: {factor: 0}}", "terms.prompt.factor"),
        ("terms: {prompt: {factor: .nan}}", "terms.prompt.factor"),
        ("terms: {prompt: {spread: 1}}", "terms.prompt"),
    ],
)
def test_a_profile_that_is_none_is_refused(tmp_path, content, field):
    (tmp_path / "profile.yaml").write_text(content)
    with pytest.raises(SpecError) as error:
        case_of({**SPEC, "calibration": "profile.yaml"}, str(tmp_path / "spec.yaml"))
    assert error.value.field == field
    assert "profile.yaml" in error.value.file


def test_a_pass_has_no_calibration():
    spec = {**SPEC, "workload": {"kind": "decode", "batch": 8, "sequence": 1000}, "calibration": "p.yaml"}
    with pytest.raises(SpecError, match="of a serving workload"):
        case_of(spec, "spec.yaml")


def test_the_profile_is_yaml_that_says_what_each_term_is():
    text = profile_text(Calibration(), "m, vllm, tp2", ["a.json", "b.json"])
    assert yaml.safe_load(text)["terms"]["prompt"] == {"factor": 1.0, "spread": 0.0, "points": 0}
    assert all(meaning in text for meaning in TERMS.values())
