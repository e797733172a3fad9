"""A profile measured here is read, and plans with it; nothing depends on how fast this machine is."""

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("torch")

from tests.cost.test_measured import SPEC

from moewright.case.file.load import load
from moewright.case.profile import KEYS
from moewright.cli.app import app
from moewright.run.bench.machine import Effort, items, measure
from moewright.run.run_error import RunError

QUICK = Effort(warmup=0, repetitions=1, largest=1 << 12)


def spec(tmp_path, cluster):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC, "cluster": cluster}))
    return path


def test_two_ranks_measure_and_the_planner_prices_with_it(tmp_path):
    import moewright

    tier = {"bandwidth": "1 GB/s", "latency": "10 us"}
    device = {"flops": {"fp32": "1 GFLOPS"}, "memory": "1 GB", "memory_bandwidth": "1 GB/s"}
    written = {"gpus": 2, "device": device, "network": {"node": tier}}
    shares = []
    found = measure(load(spec(tmp_path, written)), 2, "cpu", QUICK, shares.append, timeout=300)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(found))
    assert found["ranks"] == 2
    assert {row["operation"] for row in found["measured"]} == set(KEYS)
    case = load(spec(tmp_path, {"profile": "p.yaml"}))
    assert case.cluster.gpus == 2
    plan = moewright.plan(case).best
    assert plan.latency.seconds > 0
    assert set(plan.latency.breakdown) >= {"experts", "attention"}


def test_the_shapes_of_a_case_are_measured(tmp_path):
    tier = {"bandwidth": "1 GB/s", "latency": "10 us"}
    device = {"flops": {"fp32": "1 GFLOPS"}, "memory": "1 GB", "memory_bandwidth": "1 GB/s"}
    case = load(spec(tmp_path, {"gpus": 4, "device": device, "network": {"node": tier}}))
    todo = items(case, 4, QUICK)
    assert (96, 32) in {i.key for i in todo if i.operation == "gemm"}  # q, k and v at once
    assert {i.key for i in todo if i.operation == "experts"} == {(32, 64), (32, 32)}
    assert {i.key for i in todo if i.operation == "all_reduce"} == {(2,), (4,)}
    assert not [i for i in items(None, 1, QUICK) if i.operation == "all_reduce"]


def test_cuda_without_cuda(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RunError, match="--device: got cuda, but this machine has no CUDA device that torch can use"):
        measure(None, 1, "cuda", QUICK)


def test_a_file_of_another_kind_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["measure", "--output", str(tmp_path / "p.txt")])
    assert done.exit_code != 0
    assert "--output" in str(done.exception)
