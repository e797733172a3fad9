"""The report: every section, numbers equal to the records, tables well formed in both formats."""

import io
import re

import pytest

from cases import dense_model, paper, served, small
from moewright.case.strategy import StrategySpec
from moewright.case.tensors.layer_tensors import total_parameters
from moewright.case.workload import Goal, Kind, Objective, Routing
from moewright.planning.search import plan
from moewright.report.blocks import Table
from moewright.report.catalogue_page import explain_cluster, explain_device, explain_model, list_devices, list_models
from moewright.report.markdown import render
from moewright.report.plan_page import sections
from moewright.report.terminal import show
from moewright.units import format_bytes, format_seconds, parse

WANTED = [
    "Hardware",
    "Model",
    "Expert distribution",
    "Parallel configuration",
    "Rank layout",
    "Memory per GPU",
    "Compute",
    "Communication",
    "Latency and throughput",
    "Load balance",
    "Module division",
    "Checks",
]


@pytest.fixture(scope="module")
def result():
    return plan(paper(), [StrategySpec(dp=64, tp=2, ep=64, etp=2)])


def found(result, title):
    return next(s for s in sections(result) if s.title.startswith(title))


def test_the_sections_of_the_document_in_its_order(result):
    titles = [s.title for s in sections(result)]
    assert [t for t in titles if t in WANTED] == WANTED
    assert titles[0].startswith("Plan of paper on 128")


def test_memory_adds_up_on_the_page(result):
    (table,) = found(result, "Memory").blocks
    *parts, total = [parse(row[1], "bytes") for row in table.rows]
    assert sum(parts) == pytest.approx(total, rel=1e-3)
    assert table.rows[-1][1] == format_bytes(result.best.memory.total)


def test_latency_adds_up_on_the_page(result):
    table = found(result, "Latency").blocks[0]
    *parts, total = [parse(row[1], "seconds") for row in table.rows]
    assert sum(parts) == pytest.approx(total, rel=1e-3)
    assert table.rows[-1][1] == format_seconds(result.best.latency.seconds)


def test_communication_is_that_of_the_record(result):
    table = found(result, "Communication").blocks[0]
    for row, operation in zip(table.rows, result.best.communication.operations, strict=True):
        assert row[0] == operation.name
        assert parse(row[7], "seconds") == pytest.approx(operation.seconds * operation.count, rel=1e-3)


def test_the_conclusion_says_what_the_numbers_say(result):
    text = sections(result)[0].blocks[0]
    best, document = result.best, result.comparisons[0]
    assert text.startswith(best.name)
    assert format_seconds(best.latency.seconds) in text
    assert f"{document.ratio:.3g} times as long" in text
    assert "stays inside a node" in text
    assert "checks passed" in text


def test_the_short_page_leads_with_the_answer_and_has_five_tables_of_100_columns(result, monkeypatch):
    from moewright.report.terminal import fitting

    short = sections(result, verbose=False)
    assert short[0].blocks[0].startswith(f"{result.best.name} is the best of")
    assert short[0].blocks[2] == "Start it: moewright launch, with the same model and options --engine sglang"
    asked = {s.title for s in short if s.title.startswith("Compared")}
    tables = [b for s in short if s.title not in asked for b in s.blocks if isinstance(b, Table) and any(b.headers)]
    assert len(tables) == 5
    assert all(fitting(table, 100)[1] == [] for table in tables)
    monkeypatch.setenv("COLUMNS", "100")
    stream = io.StringIO()
    show(short, stream)
    assert max(map(len, stream.getvalue().splitlines())) <= 100
    assert stream.getvalue().count("\n") < 100


def test_a_wide_table_drops_columns_in_the_order_stated_and_says_so(monkeypatch):
    from moewright.report.blocks import Section
    from moewright.report.terminal import fitting

    rows = (("R32 · PP1 · attn DP4×TP1 · moe EP4×TP1", "111.1 ms", "2222.2", "33333.3"),) * 2
    stated = Table(("strategy", "first", "second", "third"), rows, (1, 2, 3), (2, 1))
    assert fitting(stated, 60)[1] == []
    assert fitting(stated, 55)[1] == ["second"]
    shown, left = fitting(stated, 40)
    assert left == ["second", "first"]
    assert shown.rows[0] == (rows[0][0], "33333.3")
    assert shown.numbers == (1,)
    unstated = Table(stated.headers, rows, (1, 2, 3))
    assert fitting(unstated, 30)[1] == ["third", "second"]
    monkeypatch.setenv("COLUMNS", "50")
    stream = io.StringIO()
    show([Section("x", (stated,))], stream)
    assert "Left out at 50 columns: second." in stream.getvalue()


def test_decode_speaks_of_tokens():
    case = small(gpus=8, kind=Kind.DECODE, goal=Goal(Objective.THROUGHPUT))
    result = plan(case, [StrategySpec(dp=2, tp=4, ep=8)])
    text = render(sections(result))
    assert "sequences/s" not in text
    assert "a sequence," not in text
    assert result.comparisons[0].per == "token"
    assert "the time of a token (TPOT)" in text


@pytest.mark.parametrize(
    "case",
    [
        small(gpus=8),
        small(gpus=1, batch=4),
        small(gpus=8, kind=Kind.DECODE, goal=Goal(Objective.THROUGHPUT)),
        small(gpus=4, routing=Routing(zipf=1.0, source="Zipf, exponent 1")),
        served("Qwen3-Next-80B-A3B", 8),
    ],
)
def test_every_kind_of_case_has_a_report(case):
    text = render(sections(plan(case)))
    assert "nan" not in text.lower().split()
    assert text.count("\n## ") >= 11


def test_a_dense_model_has_no_expert_sections():
    from dataclasses import replace

    titles = [s.title for s in sections(plan(replace(small(), model=dense_model())))]
    assert "Expert distribution" not in titles
    assert "Memory per GPU" in titles


def test_markdown_tables_have_equal_cells(result):
    text = render(sections(result))
    assert text.startswith("# Plan of")
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(tables) > 8
    for table in tables:
        cells = [len(re.split(r"(?<!\\)\|", line)) for line in table.strip().splitlines()]
        assert len(set(cells)) == 1


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_keeps_to_its_width(result, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    show(sections(result), stream)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in stream.getvalue()
    assert not any(line.endswith(" ") for line in lines)
    flat = " ".join(stream.getvalue().split())
    assert "flops_conserved" in flat
    assert format_seconds(result.best.latency.seconds) in flat


def test_tables_have_a_cell_for_each_header(result):
    for section in sections(result):
        for block in section.blocks:
            if isinstance(block, Table):
                assert all(len(row) == len(block.headers) for row in block.rows), section.title
                assert all(n < len(block.headers) for n in block.numbers)


def test_catalogue_pages():
    plain, section = list_models()
    assert len(plain) == len(section.blocks[0].rows) > 25
    v3, page = explain_model("deepseek-r1")
    assert v3["parameters"]["total"] == 671_026_404_352
    assert any("671,026,404,352" in row[1] for row in page[0].blocks[0].rows)
    fields = {row[0]: row[1:] for row in page[1].blocks[0].rows}
    assert fields["hidden_size"] == ("7168", "read")
    assert fields["moe_shared_expert_intermediate_size"] == ("2048", "not given: assumed")
    # cards print 37 B, with the embedding
    assert v3["parameters"]["active_with_embedding"] == v3["parameters"]["active"] + (129280 - 1) * 7168
    assert v3["parameters"]["total_without_vocabulary"] == 671_026_404_352 - 2 * 129280 * 7168
    assert v3["source"].startswith("https://")
    assert len(list_devices()[0]) > 35
    assert explain_device("h200")[0]["memory"] == 143771 * 2**20
    assert explain_cluster("h200-hgx")[0]["sources"]["fabric"]


def test_parameters_on_the_page_are_exact(result):
    rows = dict(found(result, "Model").blocks[0].rows)
    assert rows["Parameters"].startswith(f"{total_parameters(result.case.model):,}")


def test_numbers_are_never_cut_where_short_texts_crowd(monkeypatch, capsys):
    """Short texts and numbers that are a little too wide together: texts wrap, units stay."""
    from moewright.report.blocks import Section, Table
    from moewright.report.terminal import show

    monkeypatch.setenv("COLUMNS", "80")
    head = ("operation", "collective", "group", "over", "bytes", "seconds", "calls", "in all")
    rows = (
        ("stage_transfer", "all_to_all", "ep 8", "fabric", "5.827 MB", "45.78 us", "60", "2.747 ms"),
        ("dispatch", "send", "pp 2", "node", "17.45 MB", "111.2 us", "2", "203.1 us"),
    )
    show([Section("Communication", (Table(head, rows, (4, 5, 6, 7)),))])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert all(cell in shown for row in rows for cell in row[4:])
