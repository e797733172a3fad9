"""The scoreboard: rows read as they were meant, closed form against its own limits, errors against a second count."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cases import value
from moewright.cli.app import app
from moewright.errors import SpecError
from moewright.serving.validation.closed_form import Batch, Constants, tpot_ttft
from moewright.serving.validation.predictions import fitted, predict
from moewright.serving.validation.row_steps import PARTS, facts_of, model_of, shipped
from moewright.serving.validation.rows import Row, read_rows
from moewright.serving.validation.score import error_of, ranking
from moewright.serving.validation.stated_sizes import Layout, Sizes, layout_of

COLUMNS = [
    "id",
    "silicon_data_source",
    "backend",
    "model_path",
    "system",
    "precision",
    "mode",
    "isl",
    "osl",
    "batch_size",
    "tp_size",
    "pp_size",
    "attention_dp_size",
    "moe_tp_size",
    "moe_ep_size",
    "prefill_num_workers",
    "prefill_tp_size",
    "prefill_moe_ep_size",
    "decode_num_workers",
    "decode_batch_size",
    "decode_tp_size",
    "decode_moe_ep_size",
    "silicon_ttft_ms",
    "silicon_tpot_ms",
]


def row(**values: object) -> dict[str, object]:
    plain = {"backend": "vllm", "model_path": "MiniMaxAI/MiniMax-M2.5", "system": "h200_sxm", "precision": "fp8"}
    sizes = {
        "mode": "agg",
        "isl": 1024,
        "osl": 1024,
        "batch_size": 16,
        "tp_size": 8,
        "moe_tp_size": 8,
        "moe_ep_size": 1,
    }
    return {**plain, **sizes, "silicon_ttft_ms": 300, "silicon_tpot_ms": 12, **values}


def table(path: Path, *rows: dict[str, object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_one(tmp_path: Path, **values: object) -> Row:
    rows, skipped, _ = read_rows(table(tmp_path / "one.csv", row(**values)))
    assert not skipped
    return rows[0]


def test_a_row_is_read(tmp_path: Path) -> None:
    one = read_one(tmp_path)
    assert (one.engine, one.model, one.concurrency, one.apart) == ("vllm", "MiniMax-M2.5", 16.0, False)
    assert (one.ttft, one.tpot) == (0.3, 0.012)
    stated = read_one(tmp_path, silicon_data_source="x; silicon_concurrency=64; y", batch_size="")
    assert stated.concurrency == 64
    apart = read_one(
        tmp_path, mode="disagg", prefill_tp_size=4, decode_tp_size=8, decode_batch_size=3, decode_num_workers=5
    )
    assert (apart.concurrency, apart.decode.workers, apart.prefill.workers) == (15.0, 5, None)


@pytest.mark.parametrize("name", ["moonshotai/Kimi-K2.5", "nvidia/Kimi-K2.5-NVFP4", "nvidia/DeepSeek-R1-0528-FP4"])
def test_a_checkpoint_of_another_format_is_the_same_model(tmp_path: Path, name: str) -> None:
    assert read_one(tmp_path, model_path=name).model in ("Kimi-K2.5", "DeepSeek-V3")


def test_formats_and_systems_by_other_names(tmp_path: Path) -> None:
    kimi = read_one(tmp_path, model_path="moonshotai/Kimi-K2.5", precision="", system="gb300_nvl72")
    assert (kimi.precision, kimi.system) == ("", "gb300")
    assert shipped(model_of(kimi.model)) == "int4"
    assert shipped(model_of("DeepSeek-V3")) == "fp8"
    assert read_one(tmp_path, precision="NVFP4").precision == "fp4"
    assert read_one(tmp_path, precision="int4", mode="aggregated").precision == "int4"


def test_bad_rows_are_skipped_with_line_and_reason(tmp_path: Path) -> None:
    bad = (row(backend="sglong"), row(model_path="Mixtrel-8x7B"), row(isl="many"), row(batch_size=""), row(tp_size=""))
    rows, skipped, _ = read_rows(table(tmp_path / "t.csv", row(), *bad))
    assert len(rows) == 1
    assert [s.line for s in skipped] == [3, 4, 5, 6, 7]
    reasons = [s.reason for s in skipped]
    assert "nearest is sglang" in reasons[0]
    assert "Mixtral-8x7B" in reasons[1]
    assert "isl 'many'" in reasons[2]
    assert "concurrency" in reasons[3]
    assert "tp_size" in reasons[4]


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "o.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(SpecError, match="no column backend"):
        read_rows(other)
    with pytest.raises(SpecError, match="no such file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(SpecError, match="none of its 1 rows"):
        read_rows(table(tmp_path / "bad.csv", row(system="h900")))


def test_sizes_beyond_reason_and_half_numbers_are_skipped(tmp_path: Path) -> None:
    bad = (row(tp_size=99999999), row(tp_size=2.5), row(isl=1024.5), row(batch_size=10**11), row(osl=10**9))
    rows, skipped, _ = read_rows(table(tmp_path / "t.csv", row(), *bad))
    assert len(rows) == 1
    assert all("expected a" in s.reason for s in skipped)


def test_headers_twice_and_no_rows_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", row())
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",osl", lines[1] + ",5"]))
    with pytest.raises(SpecError, match="osl is there twice"):
        read_rows(path)
    path.write_text(lines[0] + "\n")
    with pytest.raises(SpecError, match="no rows"):
        read_rows(path)


@pytest.mark.parametrize(
    ("sizes", "node", "layout"),
    [
        (Sizes(8, 1, 1, 8, 1), 8, Layout(8, 1, 1, 8, 1)),
        (Sizes(8, 1, 1, 1, 8), 8, Layout(8, 1, 1, 1, 8)),
        (Sizes(64, 1, 1, 8, 8), 8, Layout(8, 1, 1, 1, 8)),  # TP8 with EP8, multiplied with itself
        (Sizes(1, 1, 64, 8, 8), 8, Layout(1, 8, 1, 1, 8)),
        (Sizes(4, 1, 4, 1, 16), 8, Layout(1, 4, 1, 1, 4)),
        (Sizes(1, 1, 8, 1, 8), 8, Layout(1, 8, 1, 1, 8)),
        (Sizes(1, 1, 0, 4, 1), 8, Layout(1, 4, 1, 4, 1)),  # dp not stated follows
        (Sizes(4, 1, 1, 2, 2), 8, Layout(2, 1, 1, 1, 2)),
        (Sizes(8, 1, 1, 2, 4), 8, Layout(8, 1, 1, 2, 4)),
        (Sizes(16, 1, 1, 4, 4), 72, Layout(1, 16, 1, 1, 16)),
        (Sizes(36, 1, 1, 36, 1), 72, Layout(1, 36, 1, 1, 36)),
        (Sizes(32, 1, 1, 4, 8), 4, Layout(1, 32, 1, 1, 32)),
    ],
)
def test_layouts_are_read_as_they_were_meant(sizes: Sizes, node: int, layout: Layout) -> None:
    assert layout_of(sizes, True, node) == layout


def batch_of(tmp_path: Path, **values: object) -> Batch:
    return Batch.of(facts_of([read_one(tmp_path, **values)], None)[0])


def test_one_client_waits_for_nobody(tmp_path: Path) -> None:
    """At concurrency 1 TPOT is the step's own time: the sum of its weighted parts."""
    c = fitted(False).constants
    x = batch_of(tmp_path, batch_size=1)
    of = {"communication": c.shared.communication, "elementwise": c.shared.small, "router": c.shared.small}
    weights = np.array([of.get(p, 1.0) for p in PARTS])
    engine = c.engines["vllm"]
    drafted = max(engine.accepted, 1.0) if x.drafts[0] else 1.0
    assert float(tpot_ttft(x, c)[0][0]) == pytest.approx(engine.speed * value(x.decode[0, 0] @ weights) / drafted)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 8, 32, 128]), st.sampled_from(["vllm", "sglang", "trtllm"]))
def test_more_clients_never_make_tokens_faster(
    tmp_path_factory: pytest.TempPathFactory, clients: int, engine: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    c = fitted(False).constants
    few = tpot_ttft(batch_of(folder, batch_size=clients, backend=engine), c)
    many = tpot_ttft(batch_of(folder, batch_size=clients * 2, backend=engine), c)
    assert many[0][0] >= few[0][0] * (1 - 1e-9)
    assert many[1][0] >= few[1][0] * (1 - 1e-9)


@pytest.mark.parametrize("tables", [True, False])
def test_engines_are_near_their_kernels(tables: bool) -> None:
    """No factor stands for what a formula should have: they scatter around 1."""
    speeds = [e.speed for e in fitted(tables).constants.engines.values()]
    assert all(0.7 < s < 1.4 for s in speeds)


def test_fewer_drafts_are_accepted_in_larger_batches(tmp_path: Path) -> None:
    """Of a model with draft layers TPOT grows with the batch at least by what its acceptance loses."""
    c = fitted(False).constants
    engines = {name: replace(e, accepted=1.5) for name, e in c.engines.items()}
    c = Constants(replace(c.shared, accepted_growth=0.1, interference=0.0), engines)
    x = batch_of(tmp_path, model_path="deepseek-ai/DeepSeek-V3", system="b200_sxm", batch_size=16)
    flat = float(tpot_ttft(x, Constants(replace(c.shared, accepted_growth=0.0), c.engines))[0][0])
    assert x.drafts[0]
    assert float(tpot_ttft(x, c)[0][0]) == pytest.approx(flat * min(16**0.1, 1.5), rel=1e-6)


def test_clients_beyond_the_cache_wait_by_littles_law(tmp_path: Path) -> None:
    c = fitted(False).constants
    x = batch_of(tmp_path, batch_size=5000)
    held = value(x.held[0])
    assert held < 5000
    tpot, ttft = (float(v[0]) for v in tpot_ttft(x, c))
    rate = held / (value(x.output[0]) * tpot)
    # closed loop: clients = rate · (time to first token + time of the answer)
    assert rate * (ttft + value(x.output[0]) * tpot) == pytest.approx(5000, rel=1e-6)


def test_prefill_workers_bound_what_decodes(tmp_path: Path) -> None:
    c = fitted(False).constants
    sizes = {"mode": "disagg", "prefill_tp_size": 8, "decode_tp_size": 8, "decode_batch_size": 256}
    few = batch_of(tmp_path, **sizes, prefill_num_workers=1, decode_num_workers=4, isl=8192)
    enough = batch_of(tmp_path, **sizes, prefill_num_workers=400, decode_num_workers=4, isl=8192)
    slow, fast = tpot_ttft(few, c), tpot_ttft(enough, c)
    assert slow[0][0] < fast[0][0]  # starved decode workers run small batches
    assert slow[1][0] > fast[1][0]
    # the clients that neither decode nor are in prefill wait, so that all are accounted for at the prefill rate
    total = float(few.prefill[0]) * float(slow[1][0] + few.output[0] * slow[0][0])
    assert total == pytest.approx(float(few.concurrency[0]), rel=0.05)


def test_errors_are_those_of_a_second_count() -> None:
    e = error_of(np.array([1.1, 0.8, 2.0]), np.array([1.0, 1.0, 1.0]))
    assert (e.median_ape, e.mean_ape) == pytest.approx((0.2, (0.1 + 0.2 + 1.0) / 3))
    assert e.p90_ape == pytest.approx(0.2 + 0.8 * 0.8)
    assert e.bias == pytest.approx(0.1)


def test_ranking_counts_layouts_that_differ_alone(tmp_path: Path) -> None:
    rows, _, _ = read_rows(
        table(
            tmp_path / "r.csv",
            row(silicon_tpot_ms=10),
            row(tp_size=4, moe_tp_size=4, silicon_tpot_ms=15),
            row(isl=4096),
        )
    )
    found, _ = predict(rows, None)
    slow = [replace(found[0], tpot=1.0), replace(found[1], tpot=0.1), found[2]]
    right = ranking(slow)  # 4 GPUs · 15 ms beat 8 · 10
    assert (right.choices, right.agreement, right.mean_loss) == (1, 1.0, 0.0)
    wrong = ranking([replace(found[0], tpot=0.01), replace(found[1], tpot=0.1), found[2]])
    assert wrong.mean_loss == pytest.approx(80 / 60 - 1)


def test_layouts_of_as_many_gpus_are_judged_by_themselves(tmp_path: Path) -> None:
    rows, _, _ = read_rows(
        table(
            tmp_path / "r.csv",
            row(silicon_tpot_ms=10),
            row(moe_tp_size=1, moe_ep_size=8, silicon_tpot_ms=12),
            row(tp_size=4, moe_tp_size=4, silicon_tpot_ms=15),
        )
    )
    found, _ = predict(rows, None)
    guessed = [replace(found[0], tpot=2.0), replace(found[1], tpot=1.0), replace(found[2], tpot=0.1)]
    r = ranking(guessed)
    assert (r.choices, r.agreement, r.fewest_gpus) == (1, 1.0, 0.0)  # 4 GPUs · 15 ms, predicted and the fewest
    assert (r.same_gpus.choices, r.same_gpus.agreement) == (1, 0.0)
    assert r.same_gpus.mean_loss == pytest.approx(0.2)
    assert r.same_gpus.without == pytest.approx(0.1)  # either of the two


def test_stated_workers_are_counted(tmp_path: Path) -> None:
    sizes = {"mode": "disagg", "prefill_tp_size": 4, "decode_tp_size": 8, "decode_batch_size": 64}
    rows, _, _ = read_rows(
        table(tmp_path / "r.csv", row(**sizes), row(**sizes, prefill_num_workers=3, decode_num_workers=2))
    )
    unstated, stated = predict(rows, None)[0]
    assert (unstated.gpus, stated.gpus) == (12, 3 * 4 + 2 * 8)
    assert stated.layout.startswith("3 × prefill")
    assert "2 × decode" in stated.layout


def test_the_command(tmp_path: Path) -> None:
    path, out = (
        table(tmp_path / "t.csv", row(), row(tp_size=4, moe_tp_size=4), row(system="h900")),
        tmp_path / "out.csv",
    )
    result = CliRunner().invoke(app, ["validate", str(path), "--no-tables", "--json", "--output", str(out)])
    assert result.exit_code == 0
    board = json.loads(result.stdout)
    assert (board["rows"], board["predicted"]) == (3, 2)
    assert list(board["skipped"].values()) == [1]
    assert board["skipped_lines"][0]["line"] == 4
    for metric in ("tpot", "ttft"):
        assert {"median_ape", "mean_ape", "p90_ape", "by"} <= set(board[metric])
        assert set(board[metric]["by"]) == {"model", "system", "backend", "layout"}
    with out.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [r["tp_size"] for r in written] == ["8", "4"]
    first = written[0]
    assert (
        float(first["predicted_tpot_ms_low"])
        < float(first["predicted_tpot_ms"])
        < float(first["predicted_tpot_ms_high"])
    )
    ape = [abs(float(r["predicted_tpot_ms"]) / float(r["silicon_tpot_ms"]) - 1) for r in written]
    assert board["tpot"]["mean_ape"] == pytest.approx(np.mean(ape), rel=1e-4)
    shown = CliRunner().invoke(app, ["validate", str(path), "--no-tables"])
    assert shown.exit_code == 0
    assert "By system" in shown.stdout


@pytest.mark.parametrize("system", ["gb300", "b300_sxm", "gb200", "h100_sxm"])
@pytest.mark.parametrize(
    "model", ["moonshotai/Kimi-K2.5", "zhipuai/GLM-5", "Qwen/Qwen3.5-397B-A17B", "openai/gpt-oss-120b"]
)
def test_every_system_and_model_of_the_scoring_is_priced(tmp_path: Path, system: str, model: str) -> None:
    """With the measured tables where they are installed, else by the roofline."""
    from moewright.serving.validation.row_steps import default_folder

    one = read_one(
        tmp_path, system=system, model_path=model, backend="sglang", precision="fp4", tp_size=4, moe_tp_size=4
    )
    found, skipped = predict([one], default_folder(None))
    assert not skipped
    assert 1e-3 < found[0].tpot < 1
    assert 1e-3 < found[0].ttft < 60
