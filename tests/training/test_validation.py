"""Measured steps: how rows are read, and how predictions are scored."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from moewright.case.train.train_strategy import Sharding
from moewright.training.validation.measured_steps import named_model, read_steps
from moewright.training.validation.predicted_steps import (
    case_of_row,
    default_place,
    predict_step,
    started,
    strategy_of_row,
)
from moewright.training.validation.step_scores import summary
from training.command import invoke

DATA = Path(__file__).parents[2] / "benchmarks" / "data" / "training.csv"
ROW = {
    "model": "Qwen3_30B_a3B",
    "gpus": "8",
    "gpu_kind": "B200",
    "tp": "1",
    "ep": "8",
    "etp": "",
    "pp": "1",
    "vpp": "n/a",
    "cp": "1",
    "mbs": "4",
    "gbs": "512",
    "seq": "4096",
    "precision": "MXFP8",
    "recompute": "",
    "tokens_s_gpu": "27136",
    "notes": "force-balanced; dropless",
    "source": "somewhere [26.04 NeMo Container] @0",
}


def table(tmp_path, *rows):
    file = tmp_path / "steps.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(ROW))
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return file


def read(tmp_path, **fields):
    rows, unread, _ = read_steps(table(tmp_path, fields, {}))
    return rows[0] if not unread else unread[0]


def test_names_are_read_however_they_are_written():
    for text, name in (
        ("Qwen3_30B_a3B", "Qwen3-30B-A3B"),
        ("Qwen3_235B_a22B (tokendrop)", "Qwen3-235B-A22B"),
        ("GPT OSS 120B", "gpt-oss-120b"),
        ("DeepSeekV3 (w/o MTP)", "DeepSeek-V3"),
        ("DeepSeekV4 Flash", "DeepSeek-V4-Flash"),
        ("Nemotron_3_Nano", "Nemotron-3-Nano"),
        ("Kimi_K2", "Kimi-K2"),
        ("Qwen3_VL_30B_a3B", "Qwen3-30B-A3B"),
        ("Qwen35_397B_A17B", "Qwen3.5-397B-A17B"),
        ("Moonlight 16B", "Moonlight-16B-A3B"),
        ("Qwen3_Next_80B_a3B", "Qwen3-Next-80B-A3B"),
    ):
        assert named_model(text)[0].name == name
    with pytest.raises(ValueError, match="no model 'Frobnicator'"):
        named_model("Frobnicator")


def test_gpu_kinds_are_read_however_they_are_built_in(tmp_path):
    for text, kind in (("H100 SXM", "h100"), ("A100-PCIE-80GB", "a100"), ("GB200 NVL72", "gb200"), ("B300", "b300")):
        assert read(tmp_path, gpu_kind=text).gpu_kind == kind


def test_a_cut_model_keeps_its_first_layer_and_its_last():
    model, cut = named_model("DeepSeek-V3 cut to 4 layers")
    assert cut
    assert [type(layer.ffn).__name__ for layer in model.layers] == ["DenseFfn", "MoeFfn", "MoeFfn", "MoeFfn"]


def test_what_a_row_leaves_open_is_read_by_rules(tmp_path):
    row = read(tmp_path)
    assert (row.etp, row.virtual, row.dp, row.recompute, row.release) == (1, 1, 8, None, (26, 4))
    case, training = case_of_row(row)
    assert training.gradients == 2.0
    assert training.balanced
    assert strategy_of_row(row, training).schedule == "1f1b"
    later = read(tmp_path, source="somewhere [26.06.01 NeMo Container]")
    assert case_of_row(later)[1].graphs == "full"
    divided = replace(strategy_of_row(later, training), sharding=Sharding.FULL)
    assert started(case_of_row(later)[1], divided).graphs == "none"
    rack = read(tmp_path, gpu_kind="GB200")
    assert case_of_row(rack)[1].graphs == "partial"
    elsewhere = read(tmp_path, source="a paper")
    assert case_of_row(elsewhere)[1].gradients == 4.0
    assert default_place(case, training, strategy_of_row(row, training)).tolist() == [[0] * 48]


def test_layers_divide_with_the_ends_counted_where_they_do_not_alone(tmp_path):
    fields = {"model": "Qwen3_235B_a22B", "gpus": "64", "pp": "8", "gbs": "1024", "mbs": "1"}
    row = read(tmp_path, **fields)
    case, training = case_of_row(row)
    place = default_place(case, training, strategy_of_row(row, training))[0].tolist()
    assert [place.count(i) for i in range(8)] == [11, 12, 12, 12, 12, 12, 12, 11]


SKIPPED = [
    ({"model": "Frobnicator"}, "no model 'Frobnicator' in the catalogue"),
    ({"gpu_kind": "Z9"}, "gpu_kind 'z9'; known are a100"),
    ({"precision": "fp7"}, "precision 'fp7'"),
    ({"tp": "x"}, "tp 'x'; expected a whole number"),
    ({"pp": "3"}, "8 GPUs are no multiple of pp × cp × tp, 3"),
    ({"ep": "16"}, "8 ranks of a stage are no multiple of ep × etp, 16"),
    ({"gbs": "500"}, "gbs 500 is no multiple of dp × mbs, 32"),
    ({"tokens_s_gpu": ""}, "neither tokens_s_gpu, s_per_step nor peak_mem_gib"),
    ({"recompute": "half"}, "recompute 'half'"),
]


@pytest.mark.parametrize(("fields", "reason"), SKIPPED)
def test_a_row_that_cannot_be_read_is_skipped_with_the_reason(fields, reason, tmp_path):
    found = read(tmp_path, **fields)
    assert found.line == 2
    assert reason in found.reason


def test_the_scoreboard_of_a_table(tmp_path):
    file = table(tmp_path, {}, {"mbs": "1", "tokens_s_gpu": "9691"}, {"model": "Frobnicator"})
    out = tmp_path / "out.csv"
    result = invoke(["validate", str(file), "--json", "--output", str(out)])
    assert result.exit_code == 0, result.output
    board = json.loads(result.stdout)
    assert (board["rows"], board["predicted"]) == (3, 2)
    assert board["skipped_lines"][0]["line"] == 4
    errors = board["tokens_s_gpu"]
    assert set(errors["by"]) == {"model", "gpu_kind"}
    assert errors["by"]["gpu_kind"]["B200"]["rows"] == 2
    assert board["ranking"] == {"pairs": 1, "right": 1}
    assert board["peak_memory"]["median_ape"] is None
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    predicted = [float(r["predicted_tokens_s_gpu"]) for r in rows]
    measured = [float(r["tokens_s_gpu"]) for r in rows]
    mean = sum(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)) / 2
    assert errors["mean_ape"] == pytest.approx(mean, rel=1e-4)


def test_a_table_that_is_none_is_told(tmp_path):
    file = tmp_path / "steps.csv"
    file.write_text("model,gpu_kind,gbs,mbs,seq\n", encoding="utf-8")
    result = invoke(["validate", str(file)])
    assert result.exit_code == 2
    assert "no column gpus, tp, ep, pp, precision" in result.stderr


def test_errors_are_summed_up_by_hand():
    assert summary([0.1, 0.2, 0.6]) == {
        "rows": 3,
        "median_ape": pytest.approx(0.2),
        "mean_ape": pytest.approx(0.3),
        "p90_ape": pytest.approx(0.52),
    }


def test_memory_of_the_measured_rows_is_within_a_twentieth():
    rows = [r for r in read_steps(DATA)[0] if r.peak]
    assert len(rows) == 6
    for row in rows:
        assert predict_step(row).peak == pytest.approx(row.peak, rel=0.05)


@pytest.mark.parametrize("line", [7, 20, 30, 92])
def test_a_measured_step_is_predicted_within_a_third(line):
    """One row of each kind: GB300 with graphs, GB200, BF16, and SimuMax's."""
    row = next(r for r in read_steps(DATA)[0] if r.line == line)
    assert predict_step(row).tokens_s_gpu == pytest.approx(row.tokens_s_gpu, rel=0.34)
