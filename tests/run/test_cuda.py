"""What a CUDA run does, as far as it can be seen without CUDA: devices of all tensors, graphs, refusals, clocks."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from moewright.case.strategy import Strategy  # noqa: E402
from moewright.placement.assignment import assign  # noqa: E402
from moewright.run.bench.clock import Clock  # noqa: E402
from moewright.run.formats.fp8 import Choice  # noqa: E402
from moewright.run.formats.scaled import Scaled, Way  # noqa: E402
from moewright.run.model import products  # noqa: E402
from moewright.run.options import Options  # noqa: E402
from moewright.run.ranks import job  # noqa: E402
from moewright.run.ranks import launcher as launch  # noqa: E402
from moewright.run.run_error import RunError  # noqa: E402
from moewright.run.weights import open_weights  # noqa: E402
from moewright.run.weights.checkpoint import Checkpoint  # noqa: E402
from run.worlds import tiny  # noqa: E402

CUDA = torch.device("cuda", 0)


@pytest.mark.slow
def test_all_tensors_of_a_pass_are_on_the_device():
    """Prompts, decode and decode in fixed shapes, of every family and in FP8: nothing mixes devices, and in fixed
    shapes nothing waits for one."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fake_cuda.py"))],
        capture_output=True, text=True, timeout=300, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("passed") == 8


def test_which_products_a_graph_can_hold(monkeypatch):
    w = torch.empty(4, 64, 256, dtype=torch.bfloat16)
    odd = torch.empty(4, 64, 12, dtype=torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert products.unwaiting(w, torch.bfloat16, CUDA)
    assert not products.unwaiting(odd, torch.bfloat16, CUDA)
    assert not products.unwaiting(w.float(), torch.float32, CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert not products.unwaiting(w, torch.bfloat16, CUDA)
    assert products.unwaiting(Scaled(w, w), torch.bfloat16, CUDA)


def test_which_experts_go_together_in_fp8():
    def one_by_one(device, together, rows, fixed=False):
        w = Scaled(torch.empty(8, 128, 256), torch.empty(8, 1, 2), together=together)
        x = SimpleNamespace(device=torch.device(device), dtype=torch.bfloat16)
        return products.one_by_one(x, (w, w), rows, torch.ones(8), fixed)

    assert one_by_one("cpu", False, 8, fixed=True)
    assert one_by_one("cuda", False, 8)
    assert not one_by_one("cuda", True, 512)
    assert one_by_one("cuda", True, 513)
    assert not one_by_one("cuda", True, 513, fixed=True)


def test_fp8_that_the_products_do_not_take_is_multiplied_out(tmp_path, monkeypatch):
    up = "model.layers.0.mlp.up_proj.weight"  # 64 × 32: too narrow for blocks of 128
    codes = torch.ones(64, 32).to(torch.float8_e4m3fn)
    save_file({up: codes, up + "_scale_inv": torch.ones(1, 1)}, tmp_path / "model.safetensors")
    model = tiny(1, 1).model
    a = assign(model, Strategy(), np.arange(8)[None, None].repeat(2, 0))
    monkeypatch.setattr(open_weights, "choose", lambda *_: Choice(Way.BLOCKS, "", rows=16))
    source = Checkpoint(tmp_path)
    choice, sizes = open_weights.keep_fp8(a, source, Options(), torch.device("cpu"))
    assert (choice.way, sizes, source.kept) == (None, None, frozenset())
    assert choice.says.startswith("multiplied out: no matrix")


def test_more_ranks_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert launch.device_of("auto", 0) == CUDA
    assert launch.device_of("cpu", 1) == torch.device("cpu")
    with pytest.raises(RunError, match="LOCAL_RANK: got 1, but this machine has 1 CUDA device, and NCCL takes one"):
        launch.device_of("cuda", 1)
    assert launch._backend(CUDA) == {"backend": "nccl", "device_id": CUDA}
    assert launch._backend(torch.device("cpu")) == {"backend": "gloo"}


def test_ranks_that_are_forked_are_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert launch.device_for("auto", 1) == CUDA
    assert launch.device_for("auto", 4) == torch.device("cpu")
    with pytest.raises(RunError, match="--device: got cuda for 4 ranks, which torchrun starts"):
        launch.device_for("cuda", 4)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "here"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(name, value)
    assert launch.device_for("auto", 4) == torch.device("cuda", 3)
    assert launch.device_for("cpu", 4) == torch.device("cpu")


def test_operations_are_timed_by_events(monkeypatch):
    now = [0.0]

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = now[0]

        def elapsed_time(self, other):
            return (other.at - self.at) * 1e3  # milliseconds, as torch has it

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    clock = Clock(CUDA, trace=True)
    now[0] = 5.0
    clock.begin()
    for name, seconds in (("attention", 1.0), ("dispatch", 2.0), ("attention", 4.0)):
        now[0] += seconds
        (clock.moved if name == "dispatch" else clock.computed)(name)
    assert clock.spent == {}
    clock.end()
    assert clock.events == [("attention", 1.0), ("dispatch", 3.0), ("attention", 7.0)]
    assert clock.spent == {"attention": 5.0, "dispatch": 2.0}
    clock.end()
    assert len(clock.events) == 3


def test_what_a_rank_tells_is_on_the_host():
    there = SimpleNamespace(cpu=lambda: "here")
    logits = job.Logits((0, 1), (0, 1), there)
    told = job.Outcome(pieces=[job.Piece(0, None, logits)])
    told.tally.loads = {3: there}
    told = told.on_host()
    assert told.pieces[0].logits.values == "here"
    assert told.tally.loads == {3: "here"}
