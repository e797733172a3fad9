"""What engines record, in their layouts; loads by name."""

import numpy as np
import pytest

from moewright.case.loads.read_loads import read_loads
from moewright.case.loads.recordings import read_vllm_log, recorded_loads
from moewright.case.loads.synthetic import synthetic_loads
from moewright.errors import SpecError


def test_sglang_stat_file(tmp_path):
    torch = pytest.importorskip("torch")
    counts = torch.arange(24, dtype=torch.int32).reshape(2, 3, 4)
    counts = torch.cat([counts, torch.zeros(1, 3, 4, dtype=torch.int32)])
    torch.save({"rank": 0, "logical_count": counts}, tmp_path / "expert_distribution_recorder_1.0.pt")
    found = read_loads(tmp_path / "expert_distribution_recorder_1.0.pt", idle=True, windows=True)
    assert found.tolist() == counts[:2].tolist()  # the empty step is left out
    assert read_loads(tmp_path / "expert_distribution_recorder_1.0.pt").shape == (3, 4)


def test_sglang_records_are_counted_per_logical_expert():
    record = {"global_physical_count": [[1, 2, 3], [4, 5, 6]]}
    token = {"topk_ids_of_layer": [[[0, 2], [2, -1]], [[1, 0], [1, -1]]]}
    content = {"records": [record, token], "last_physical_to_logical_map": [[0, 1, 0], [1, 1, 0]]}
    assert recorded_loads(content).tolist() == [[[4, 2], [6, 9]], [[3, 0], [0, 3]]]


def test_vllm_window_routed_experts_and_log():
    window = {"expert_load_window": [[[1, 2, 3]]], "physical_to_logical_map": [[1, 0, 1]]}
    assert recorded_loads(window).tolist() == [[[2, 4]]]
    assert recorded_loads({"routed_experts": [[[0, 1]], [[1, 2]]]}).tolist() == [[[1, 2, 1]]]
    line = "INFO EPLB step: 9 for model m: avg_tokens=12.50, max_tokens=25, balancedness=0.5000"
    assert read_vllm_log(line + "\nother") == [(12.5, 25.0, 0.5)]


@pytest.mark.parametrize("content", [{"records": [], "last_physical_to_logical_map": [[0]]}, {"x": 1}])
def test_no_recording(content):
    with pytest.raises(ValueError, match=r"empty|expected"):
        recorded_loads(content)


def test_a_file_that_is_no_recording(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "x.pt").write_bytes(b"no")
    with pytest.raises(SpecError, match="holds no tensors"):
        read_loads(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["uniform", "zipf:1.2", "lognormal", "dirichlet:0.3"])
def test_loads_by_name(name):
    loads = synthetic_loads(name, 3, 16, 0.5, 1)
    assert loads.shape == (3, 16)
    assert loads.sum(axis=1) == pytest.approx(np.ones(3))
    assert (loads == synthetic_loads(name, 3, 16, 0.5, 1)).all()
    same = synthetic_loads(name, 3, 16, 1.0, 1)
    assert (np.argsort(same, axis=1) == np.argsort(same[0])).all()


@pytest.mark.parametrize("name", ["zipf:x", "lognormal:-1", "uniform:2", "dirichlet:nan"])
def test_names_that_are_none(name):
    with pytest.raises(SpecError, match="expected uniform"):
        synthetic_loads(name, 1, 4)
