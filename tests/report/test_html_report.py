"""Reports as one HTML file: complete, offline, small, and true to the records they are made of."""

import json
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import moewright
from cases import paper, served, small
from moewright.audit.audit_document import audit
from moewright.case.loads.synthetic import synthetic_loads
from moewright.case.strategy import StrategySpec
from moewright.case.workload import Goal, Kind, Objective
from moewright.cli import app
from moewright.cost.table import Table
from moewright.doctor.diagnose import Question, diagnose
from moewright.planning.evaluate import evaluate_table
from moewright.planning.search import plan
from moewright.report.blocks import Section
from moewright.report.blocks import Table as Rows
from moewright.report.figures.cluster_map import cluster_map, training_map
from moewright.report.figures.frontier_figure import pass_frontier
from moewright.report.figures.layer_timeline import layer_timeline
from moewright.report.figures.parts_figure import kinds_of_time, pass_memory, stacked, training_memory, training_parts
from moewright.report.figures.schedule_figure import _gaps, schedule_figure
from moewright.report.figures.theme import spaced_values
from moewright.report.html.audit_report import audit_report
from moewright.report.html.engine_reports import doctor_report
from moewright.report.html.marked_document import marked_document
from moewright.report.html.pass_report import pass_report
from moewright.report.html.placement_report import placement_report
from moewright.report.html.render_report import render_html, script_json
from moewright.report.html.report_record import Command, Number, Report
from moewright.report.html.serving_report import serve_report
from moewright.report.html.training_report import training_report
from moewright.units import format_bytes, format_count, format_seconds

ROOT = Path(__file__).parents[2]
SEED = ROOT / "examples" / "strategy-ep64-tp2.md"


@pytest.fixture(scope="module")
def result():
    return plan(paper(), [StrategySpec(dp=64, tp=2, ep=64, etp=2)])


@pytest.fixture(scope="module")
def audited():
    return audit(SEED, [], None, None)


@pytest.fixture(scope="module")
def trained():
    return moewright.plan_training(moewright.load(ROOT / "examples" / "train-deepseek-v3.yaml"), top=2)


@pytest.fixture(scope="module")
def outcome():
    case = moewright.load(ROOT / "examples" / "serve-gpt-oss.yaml")
    case = replace(case, serving=replace(case.serving, requests=150))
    return case, moewright.serve(case)


def values(figure):
    """All rows of a figure's data, whatever layer they are of."""
    spec = figure.spec()
    found = [row for rows in spec.get("datasets", {}).values() for row in rows]
    for part in [spec, *spec.get("layer", [])]:
        found += part.get("data", {}).get("values", [])
    return found


def offline(text):
    """A whole page that asks for nothing from elsewhere."""
    assert text.startswith("<!doctype html>")
    assert len(text.encode()) < 3_000_000
    body = re.sub(r"<script type=\"module\">.*?</script>", "", text, flags=re.S)
    assert not re.search(r"<(link|img|iframe|script)[^>]*(src|href)=", body)
    assert not re.search(r"url\(|@import", body)
    ids = re.findall(r' id="([^"]+)"', body)
    assert len(set(ids)) == len(ids)
    for link in re.findall(r'href="#([^"]+)"', body):
        assert link in ids
    specs = re.findall(r'<script type="application/json" class="figure-spec">(.*?)</script>', text, re.S)
    assert len(specs) == body.count("<figure ")
    return [json.loads(spec) for spec in specs]


def test_a_plan_says_its_answer_and_its_three_numbers_first(result):
    report = pass_report(result)
    specs = offline(render_html(report, "moewright plan paper.yaml"))
    assert [spec["name"] for spec in specs] == ["frontier", "time", "layer", "memory", "cluster"]
    assert result.best.name in report.answer
    assert [n.value for n in report.numbers] == [
        format_seconds(result.best.latency.seconds),
        f"{format_count(result.best.throughput.tokens_per_second_per_gpu)} tokens/s",
        format_bytes(result.best.memory.total),
    ]
    assert "sglang.launch_server" in report.command.text
    assert "27 of 27 checks passed" in report.derived
    assert report.measured.startswith("None of the seconds")


@pytest.mark.parametrize(
    "case",
    [
        small(gpus=1, batch=4),
        small(gpus=8, kind=Kind.DECODE, goal=Goal(Objective.THROUGHPUT)),
        served("Qwen3-Next-80B-A3B", 8),
    ],
)
def test_other_kinds_of_pass_have_a_report(case):
    found = plan(case) if case.serving is None else None
    if found is not None:
        offline(render_html(pass_report(found)))


def test_a_simulation_a_training_step_and_a_placement_have_a_report(outcome, trained):
    case, o = outcome
    offline(render_html(serve_report(case, o)))
    specs = offline(render_html(training_report(trained)))
    assert "schedule" in [spec["name"] for spec in specs]
    placed = moewright.place(synthetic_loads("zipf:1.0", 3, 32, 0.0, 0), slots=40, gpus=8)
    offline(render_html(placement_report(placed, None, [], "moewright place")))


def test_a_launch_command_has_a_report():
    text = (ROOT / "examples" / "vllm-deepseek.sh").read_text()
    d = diagnose(text, Question("h200-hgx", 16))
    report = doctor_report(d, "h200-hgx", text)
    offline(render_html(report))
    assert "does not start" in report.answer


def test_the_parts_of_time_add_up(result):
    for p in (result.best, *result.alternatives, *(c.plan for c in result.comparisons)):
        parts = kinds_of_time(p)
        assert sum(parts.values()) == pytest.approx(p.latency.seconds, rel=1e-9)
        assert min(parts.values()) >= 0


def test_the_bars_of_memory_add_up(result):
    rows = [row for row in values(pass_memory(result)) if "to" in row and "kind" in row]
    most = max(row["to"] for row in rows if row["row"] == 0)
    assert most == pytest.approx(result.best.memory.total / 1e9, rel=1e-4)


def test_a_layer_in_time_ends_when_the_layer_does(result):
    """Also under two-batch overlap, where halves are drawn as they are priced."""
    two = next(p for p in result.alternatives if "two-batch" in p.name)
    for p in (result.best, two, result.comparisons[0].plan):
        e = evaluate_table(result.case, Table.one(p.strategy, p.batch))
        seconds = float(e.layers[0].seconds.flat[0])
        rows = [row for row in values(layer_timeline(result.case, p)) if "lane" in row and "to" in row]
        assert max(row["to"] for row in rows) == pytest.approx(seconds * 1e6, rel=1e-4)
        lanes = {lane: sorted((r["from"], r["to"]) for r in rows if r["lane"] == lane) for lane in (0, 1)}
        for bars in lanes.values():  # no lane does two things at once
            assert all(b[0] >= a[1] - 1e-3 for a, b in pairwise(bars))


def test_the_map_holds_every_gpu_once_and_its_groups(result):
    rows = [row for row in values(cluster_map(result.case, result.best)) if "gpu" in row]
    assert len({row["gpu"] for row in rows}) == 128
    assert len({(row["x"], row["y"]) for row in rows}) == 128
    sizes = {g.kind: g.size for g in result.best.groups if g.size > 1}
    for kind, size in sizes.items():
        if f"g_{kind}" in rows[0]:
            _, counts = np.unique([row[f"g_{kind}"] for row in rows], return_counts=True)
            assert set(counts) == {size}, kind


def test_the_frontier_has_the_best_once_and_what_can_be_filtered(result):
    figure = pass_frontier(result)
    spec = figure.spec()
    rows = [row for row in values(figure) if "kind" in row]
    best = [row for row in rows if row["kind"] == "best"]
    assert [row["name"] for row in best] == [result.best.name]
    assert all(row["x"] >= best[0]["x"] for row in rows)
    names = [p["name"] for layer in (spec, *spec["layer"]) for p in layer.get("params", [])]
    assert {"picked", "only_tp", "only_ep", "only_replicas"} <= set(names)


def test_a_sample_is_of_the_strategies_searched(result):
    s = result.sample
    assert s.of > len(s.seconds) > 100
    assert s.seconds[0] == pytest.approx(result.best.latency.seconds)
    assert s.rates[0] == pytest.approx(result.best.throughput.tokens_per_second_per_gpu)
    assert s.memory[0] == pytest.approx(result.best.memory.total)
    gpus = np.prod([s.sizes[i] for i in (0, 1, 2, 3, 4)], axis=0)
    assert (gpus == 128).all()


def test_a_training_map_has_groups_of_the_sizes_planned(trained):
    s = trained.best.strategy
    rows = [row for row in values(training_map(trained)) if "gpu" in row]
    assert len(rows) == 512  # of 2048, whole groups of tp and of a stage's first nodes
    _, counts = np.unique([row["g_tp"] for row in rows], return_counts=True)
    assert set(counts) == {s.tp}
    assert len({row["g_stage"] for row in rows}) == 512 * s.pp // s.gpus
    assert all(
        f"{trained.stages[row['g_stage']].layers} layers of stage {row['g_stage']}" in row["holds"] for row in rows
    )


def test_every_part_of_a_bar_has_a_colour(trained):
    from moewright.report.training.train_page import LINES, PARTS

    assert set(trained.best.parts) <= set(PARTS)
    assert set(trained.best.memory) <= set(LINES)
    for figure in (training_parts(trained, PARTS), training_memory(trained, LINES)):
        colour = next(layer["encoding"]["color"] for layer in figure.spec()["layer"] if "color" in layer["encoding"])
        kinds = {row["kind"] for row in values(figure) if "kind" in row}
        assert kinds == set(colour["scale"]["domain"])
        assert len(colour["scale"]["range"]) == len(kinds)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=12),
    st.floats(0, 3),
)
def test_bubbles_are_what_operations_leave(steps, more):
    from moewright.placement.stage_orders import Operation
    from moewright.training.stages.simulated_pipelines import Span

    at, spans = 0.0, []
    for seconds, idle in steps:
        at += idle
        spans.append(Span(Operation("F", 0, 0), 0, at, at + seconds))
        at += seconds
    end = at + more
    gaps = _gaps(spans, 0.0, end)
    busy = sum(s.end - s.start for s in spans)
    assert busy + sum(b - a for a, b in gaps) == pytest.approx(end, abs=end * 2e-4 * (len(spans) + 1))


def test_a_long_schedule_is_drawn_in_two_parts(trained):
    figure = schedule_figure(trained)
    rows = [row for row in values(figure) if "part" in row]
    assert {row["part"] for row in rows} == {"beginning", "end"}
    end = max(s.end for s in trained.spans)
    assert max(row["to"] for row in rows) == pytest.approx(end, rel=1e-4)


def test_every_claim_is_marked_in_its_place(audited):
    html = str(marked_document(SEED.read_text(), audited))
    notes = [unescape(note) for note in re.findall(r'data-why="([^"]*)"', html)]
    for c in audited.claims:
        assert any(f"{c.quantity} {c.verdict}: {c.why}" in note for note in notes), c
    plain = unescape(re.sub(r"<[^>]+>", "", html))
    assert "Total expert instances: 64 × 16 = 1024" in plain
    offline(render_html(audit_report(SEED.read_text(), audited)))


def test_a_claim_whose_words_are_not_found_marks_its_line(audited):
    one = replace(audited.claims[0], line=3, text="words of a formula as it was read")
    html = str(marked_document("# Title\n\nA *line* of prose\n", replace(audited, claims=(one,))))
    assert html.count("<mark") == 3
    assert unescape(re.sub(r"<[^>]+>", "", html)).split() == ["Title", "A", "line", "of", "prose"]


def test_a_document_cannot_bring_scripts(audited):
    html = str(marked_document("# <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n", audited))
    assert "<script" not in html
    assert "<img" not in html


def test_texts_are_escaped():
    nasty = "</script><script>alert(1)</script>"
    table = Section(nasty, (nasty, Rows(("", nasty), ((nasty, nasty),))))
    report = Report(
        nasty, nasty, (Number(nasty, nasty, nasty),), Command(nasty, f"`{nasty}`"), nasty, nasty, (), (table,)
    )
    assert "<script>alert" not in render_html(report, nasty)
    assert "</script>" not in script_json({"a": nasty})
    assert json.loads(script_json({"a": nasty})) == {"a": nasty}


@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e6))
def test_ticks_of_a_logarithmic_axis_lie_on_it(low, factor):
    ticks = spaced_values(low, low * factor)
    assert all(low <= t <= low * factor for t in ticks)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 14


def test_a_strategy_that_is_given_has_no_frontier():
    case = replace(paper(), strategy=StrategySpec(dp=64, tp=2, ep=64, etp=2))
    report = pass_report(plan(case))
    assert [f.name for f in report.figures] == ["time", "layer", "memory", "cluster"]
    assert "the strategy given" in report.answer


def test_a_limit_far_beyond_the_bars_is_named_not_drawn():
    def rules(limit):
        chart = stacked([("a", "1 s", {"x": 1.0})], {"x": "red"}, "s", 1.0, (limit, "limit")).to_dict()
        return sum(layer["mark"]["type"] == "rule" for layer in chart["layer"])

    assert rules(2.0) == 1
    assert rules(20.0) == 0


@pytest.mark.parametrize("name", ["x.pdf", "x", "x.html.gz"])
def test_an_ending_that_no_format_has_is_refused(name, tmp_path):
    done = CliRunner().invoke(app, ["audit", str(SEED), "--output", str(tmp_path / name)], standalone_mode=False)
    assert "expected one of .html, .md, .json, .txt" in str(done.exception)
    assert not (tmp_path / name).exists()


def test_the_command_writes_the_file(tmp_path):
    file = tmp_path / "fit.html"
    words = ["fit", "Qwen3-30B-A3B", "--cluster", "h100-hgx:2", "--output", str(file)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert "Fewest GPUs" in file.read_text()
    offline(file.read_text())
    done = CliRunner().invoke(app, [*words[:-2], "--format", "html"])
    assert done.stdout.startswith("<!doctype html>")
