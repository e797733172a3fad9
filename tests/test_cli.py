"""The command as a user runs it: output, formats, exit statuses, errors of one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command import moewright

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(*arguments, cwd=ROOT):
    return moewright(*arguments, cwd=cwd)


def process(*arguments, cwd=ROOT, **environment):
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "moewright", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        timeout=120,
        check=False,
    )


def test_the_json_of_the_paper():
    done = process("plan", EXAMPLES / "paper-ep64-tp2.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    plan = json.loads(done.stdout)
    for key in ("model", "cluster", "workload", "candidates", "rejected", "search_seconds", "alternatives", "frontier"):
        assert key in plan
    best = plan["best"]
    assert best["gpus"] == 128
    assert best["strategy"]["attention"] == {"dp": 64, "cp": 1, "tp": 2, "repeated": 1}
    assert best["strategy"]["experts"] == {"ep": 64, "tp": 2, "redundant": 0, "dispatch": "all_to_all"}
    weights = best["memory"]["weights"]
    assert weights["attention"] == weights["experts"] == best["memory"]["kv_cache"] == 33_554_432
    assert weights["total"] == pytest.approx(sum(v for k, v in weights.items() if k != "total"))
    memory = best["memory"]
    parts = weights["total"] + memory["kv_cache"] + memory["activations"] + memory["buffers"]
    assert memory["total"] == pytest.approx(parts)
    assert best["compute"]["flops_total"] == pytest.approx(57.45e12, rel=1e-3)
    assert best["latency"]["bound_seconds"] == pytest.approx(1.870e-3, rel=1e-3)
    assert best["latency"]["seconds"] == pytest.approx(sum(best["latency"]["breakdown"].values()))
    sent = sum(o["bytes"] * o["count"] for o in best["communication"]["operations"])
    assert best["communication"]["bytes_per_gpu"] == pytest.approx(sent)
    assert best["modules"] == {"experts": 1024, "attention": 16, "total": 1040, "per_gpu": 8.125}
    assert best["balance"]["experts_per_gpu"] == {"min": 8.0, "max": 8.0}
    assert {c["status"] for c in best["checks"]} == {"pass"}
    placement = best["placement"]
    assert placement["ranks_per_replica"] == len(placement["ranks"]) == 128
    where = [dict(zip(placement["columns"], row, strict=True)) for row in placement["ranks"]]
    # rank 2e + s holds slice s of expert e, in all 16 layers
    assert placement["experts"] == [[[e] for e in range(64)]]
    assert placement["table_of_layer"] == [0] * 16
    assert placement["stage_layers"] == [[0, 16]]
    assert [(r["ep"], r["etp"], r["dp"], r["tp"]) for r in where] == [
        (i // 2, i % 2, i // 2, i % 2) for i in range(128)
    ]


def test_the_best_for_the_paper():
    best = json.loads(run("plan", EXAMPLES / "paper.yaml", "--json").stdout)["best"]
    s = best["strategy"]
    assert s["pp"] * s["attention"]["dp"] * s["attention"]["cp"] * s["attention"]["tp"] <= 8
    assert best["latency"]["seconds"] < 2.4e-3


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_example_is_planned(file):
    done = run("plan", file)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    assert "moewright launch" in done.stdout


def test_compare_says_why():
    done = run(
        "plan", EXAMPLES / "paper.yaml", "--compare", "EP64xTP2", "--compare", EXAMPLES / "paper-literal.yaml", "--json"
    )
    comparisons = json.loads(done.stdout)["comparisons"]
    assert [c["plan"]["name"].split(" · ")[2] for c in comparisons] == ["attn DP64×TP2", "attn DP1×TP2 repeated ×64"]
    best = json.loads(done.stdout)["best"]["latency"]["seconds"]
    for c in comparisons:
        assert sum(c["differences"].values()) == pytest.approx(c["plan"]["latency"]["seconds"] - best)
        assert {x["quantity"] for x in c["crossings"]} >= {"fabric bandwidth", "fabric latency", "batch"}


def test_output_is_written_whole(tmp_path):
    for name, starts in (("plan.md", "# Plan of"), ("plan.json", "{"), ("plan.txt", "Plan of")):
        done = run("plan", EXAMPLES / "paper-literal.yaml", "--output", tmp_path / name)
        assert (done.returncode, done.stdout) == (0, "")
        assert (tmp_path / name).read_text().startswith(starts)
    assert len(list(tmp_path.iterdir())) == 3
    kept = (tmp_path / "plan.md").read_text()
    done = run("plan", tmp_path / "none.yaml", "--output", tmp_path / "plan.md")
    assert done.returncode == 2
    assert (tmp_path / "plan.md").read_text() == kept
    done = run("plan", EXAMPLES / "paper-literal.yaml", "--output", tmp_path / "no" / "plan.md")
    assert done.returncode == 2
    assert "no/plan.md" in done.stderr


def test_a_pipe_gets_no_colour_and_no_progress():
    done = process("plan", EXAMPLES / "paper-literal.yaml", FORCE_COLOR="", NO_COLOR="1")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (
            "model: DeepSeek-V3\ncluster: {name: h200-hgx, gpus: 8}\nworkload: {kind: decode, batch: 8, sequence: 10}\n",
            0,
            "",
        ),
        ("modle: 3\n", 2, "did you mean model"),
        ("- 1\n", 2, "mapping"),
        (
            "model: Mixtral-8x7B\ncluster: l40s-pcie\nworkload: {kind: decode, batch: 7, sequence: 10}\nstrategy: {attention: {dp: 8}}\n",
            3,
            "batch",
        ),
        (
            "model: DeepSeek-V3\ncluster: {name: h200-hgx, gpus: 2}\nworkload: {kind: decode, batch: 8, sequence: 10}\n",
            3,
            "usable",
        ),
        (
            "model: Mixtral-8x7B\ncluster: h200-hgx\nworkload: {kind: decode, batch: 8, sequence: 10}\nstrategy: {attention: {dp: 3}}\n",
            2,
            "8",
        ),
        (
            "model: Mixtral-8x7B\ncluster: h200-hgx\nworkload: {kind: decode, batch: 8, sequence: 9}\nlimits: {tpot: 1 ns}\n",
            3,
            "limit",
        ),
        (
            "model: Mixtral-8x7B\ncluster: h200-hgx\nworkload: {kind: decode, batch: 8, sequence: 9}\nobjective: cost\n",
            2,
            "price",
        ),
    ],
)
def test_exit_statuses(tmp_path, content, status, says):
    (tmp_path / "spec.yaml").write_text(content)
    done = (process if says == "mapping" else run)("plan", "spec.yaml", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    if status:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("moewright: ")
        assert says in done.stderr


def test_what_does_not_parse():
    for arguments in (["plan"], ["plan", "x.yaml", "--nope"], ["fly"], ["models", "nothing-like-it"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    done = run("plan", EXAMPLES / "paper.yaml", "--compare", "fast")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_catalogue_and_schema():
    for arguments in (
        ["models"],
        ["devices"],
        ["clusters"],
        ["models", "GLM-5"],
        ["devices", "b300"],
        ["clusters", "nvl72"],
    ):
        assert run(*arguments).returncode == 0
        json.loads(run(*arguments, "--json").stdout)
    assert json.loads(run("schema").stdout)["title"] == "moewright spec"
    assert process("--version").stdout.startswith("moewright 0.")
    assert "plan" in run("--help").stdout


@pytest.mark.parametrize(
    "first", ["", "import moewright.planning.search", "from moewright.planning.record import Plan"]
)
def test_plan_can_be_called_whatever_was_imported(first):
    code = f"""{first}
import moewright
case = moewright.load({str(EXAMPLES / "paper-ep64-tp2.yaml")!r})
result = moewright.plan(case)
again = moewright.plan(case)
import moewright.planning.search
third = moewright.plan(case)
assert result.best == again.best == third.best
assert moewright.evaluate(case, moewright.StrategySpec(dp=64, tp=2, ep=64, etp=2)) == result.best
print(result.best.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "R1 · PP1 · attn DP64×TP2 · moe EP64×TP2 · all-to-all"


def test_planning_needs_no_torch():
    code = "import sys, moewright; moewright.plan(moewright.load(sys.argv[1])); assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code, str(EXAMPLES / "paper.yaml")], check=True, env=environment)


def test_place_writes_what_it_prints_and_starts_from_it(tmp_path):
    loads = tmp_path / "loads.csv"
    loads.write_text("5,1,1,1\n0,0,0,0\n")
    first = run("place", loads, "--slots", 6, "--gpus", 2, "--json", "--output", tmp_path / "p.json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert json.loads((tmp_path / "p.json").read_text()) == found
    assert found["layer_balancedness"] == [1.0, 1.0]
    again = run("place", loads, "--slots", 6, "--gpus", 2, "--previous", tmp_path / "p.json")
    assert "Moved" in again.stdout
    bad = run("place", loads, "--slots", 3, "--gpus", 3)
    assert bad.returncode == 2
    assert bad.stderr == "moewright: slots: got 3; 4 experts need at least 4\n"


def test_what_is_no_file_is_written_into_and_stays(tmp_path):
    """A pipe given as --output is not replaced; behind a link the file that it names is."""
    pipe, real, link = tmp_path / "pipe.json", tmp_path / "real.json", tmp_path / "link.json"
    os.mkfifo(pipe)
    real.write_text("old")
    link.symlink_to(real)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        done = process("plan", EXAMPLES / "paper-ep64-tp2.yaml", "--json", "--output", pipe)
        got = reader.communicate(timeout=60)[0]
    assert done.returncode == 0, done.stderr
    assert pipe.is_fifo()
    assert json.loads(got)["best"]["gpus"] == 128
    assert run("plan", EXAMPLES / "paper-ep64-tp2.yaml", "--json", "--output", link).returncode == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["best"]["gpus"] == 128


def test_the_rows_read_are_not_written_over(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text((ROOT / "benchmarks" / "data" / "serving.csv").read_text()[:3000])
    before = rows.read_text()
    done = run("validate", rows, "--no-tables", "--output", rows)
    assert done.returncode == 2
    assert "is the file to be read" in done.stderr
    assert rows.read_text() == before
