"""A run that goes wrong ends as a whole, with one line that names rank and cause, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import command

pytest.importorskip("torch")
pytest.importorskip("transformers")
from run.families import model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
SPEC = """
model: MODEL
cluster:
  gpus: 4
  gpus_per_node: 4
  device: {name: cpu, flops: {fp32: 100 GFLOPS}, memory: 8 GB, memory_bandwidth: 10 GB/s}
  network: {node: {bandwidth: 1 GB/s, latency: 10 us}, fabric: {bandwidth: 1 GB/s, latency: 10 us}}
workload: {kind: prefill, batch: 8, sequence: 12}
strategy: {attention: {dp: 2, tp: 2}, experts: {ep: 4}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Mixtral, its spec, and the plan of it."""
    where = tmp_path_factory.mktemp("faults")
    model("mixtral", lambda *choices: choices[0], 1).save_pretrained(where / "model")
    (where / "spec.yaml").write_text(SPEC.replace("MODEL", "model"))
    done = moewright(where, "plan", "spec.yaml", "--json", "--output", "plan.json")
    assert done.returncode == 0, done.stderr
    return where


def moewright(where, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "moewright", *map(str, arguments)],
        capture_output=True, text=True, cwd=where, env=ENVIRONMENT, timeout=120, check=False, **more,
    )  # fmt: skip


def one_line(text):
    assert text.count("\n") == 1, text
    assert text.startswith("moewright: ")
    return text


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def generating(folder, temporary, *arguments):
    """A run that goes on for long, with its temporary files in ``temporary``, and its four ranks."""
    command = ["run", "plan.json", "--generate", "100000", "--no-verify", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "moewright", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=folder, env={**ENVIRONMENT, "TMPDIR": str(temporary)},
    )  # fmt: skip
    end = time.monotonic() + 60
    while len(children(process.pid)) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1.0)  # the ranks are generating
    ranks = children(process.pid)[:4]  # and one more waits for the end of their parent
    assert len(ranks) == 4
    return process, ranks


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and state(pid) != "Z"]


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_rank_outlives_the_command(folder, tmp_path, sent, status):
    process, ranks = generating(folder, tmp_path)
    assert list(tmp_path.glob("moewright-*"))
    os.kill(process.pid, sent)
    process.communicate(timeout=30)
    assert process.returncode == status
    end = time.monotonic() + 60
    while (alive(ranks) or list(tmp_path.glob("moewright-*"))) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(ranks)
    assert not list(tmp_path.glob("moewright-*"))


@pytest.mark.parametrize(
    ("sent", "timeout", "says"),
    [
        (signal.SIGKILL, 60, "rank 2 died of signal 9"),
        (signal.SIGSTOP, 20, "rank 2 did not finish within 20 s: stopped by a signal"),
    ],
)
def test_a_rank_that_is_killed_or_stopped(folder, sent, timeout, says):
    process, ranks = generating(folder, folder, "--timeout", str(timeout))
    os.kill(ranks[2], sent)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 4
    assert out == ""
    assert says in one_line(err)
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]


def test_a_truncated_file_and_a_missing_tensor(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).write_bytes((folder / "model" / name).read_bytes())
    (tmp_path / "spec.yaml").write_text((folder / "spec.yaml").read_text())
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    done = moewright(tmp_path, "run", "spec.yaml", "--json")
    assert done.returncode == 4
    assert "model.safetensors: is truncated" in one_line(done.stderr)
    tensors = load_file(folder / "model" / "model.safetensors")
    gone = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    save_file({n: t for n, t in tensors.items() if n != gone}, file)
    done = moewright(tmp_path, "run", "spec.yaml", "--profile", tmp_path / "profile")
    assert done.returncode == 4
    assert "experts.3" in one_line(done.stderr)
    assert not (tmp_path / "profile").exists()


def test_a_world_of_another_size(folder, tmp_path):
    unmeasured = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("COVERAGE")}  # torch starts for every rank
    (tmp_path / "model").symlink_to(folder / "model")
    spec = (
        SPEC.replace("MODEL", "model").replace("gpus: 4", "gpus: 2").replace("tp: 2", "tp: 1").replace("ep: 4", "ep: 2")
    )
    (tmp_path / "spec.yaml").write_text(spec)
    planned = command.moewright("plan", "spec.yaml", "--json", "--output", "plan.json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr

    def launched(ranks, *arguments):
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        return subprocess.run(
            [sys.executable, *torchrun, "-m", "moewright.run", *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=unmeasured, timeout=180, check=False,
        )  # fmt: skip

    done = launched(2, folder / "plan.json")
    assert done.returncode != 0
    assert done.stderr.count("moewright: ") == 1
    assert "moewright: the plan is for 4 ranks, but torchrun launched 2\n" in done.stderr
    done = launched(2, "plan.json", "--json", "--generate", "3")
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["verified"]
    assert report["ranks"] == 2
    forked = json.loads(moewright(tmp_path, "run", "plan.json", "--json", "--generate", "3").stdout)
    assert forked["generation"]["tokens"] == report["generation"]["tokens"]
    assert forked["collectives"] == report["collectives"]


def test_without_torch(folder):
    code = "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['run', 'spec.yaml']; from moewright.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 4
    assert "pip install 'moewright[run]'" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt-ids", "1,2,900"], "got 900; expected ids from 0 to 95"),
        (["--prompt-ids", "one"], "expected token ids such as 1,2,3"),
        (["--prompt", "hello"], "--prompt: model has no tokenizer.json; expected one, or --prompt-ids"),
        (["--weights", "nowhere"], "--weights: got 'nowhere'; expected a folder of safetensors, random or auto"),
        (["--device", "cuda"], "no CUDA device"),
        (["--prompt-ids", "5,,6"], "--prompt-ids: got '5,,6'; expected token ids such as 1,2,3"),
        (["--prompt-ids", "5,96"], "--prompt-ids: got 96; expected ids from 0 to 95"),
        (["--prompt", ""], "--prompt: got ''; expected a text"),
        (["--generate", "2", "--stop", "5000"], "--stop: got 5000; expected ids from 0 to 95, or -1 for none"),
        (["--generate", "2", "--top-p", "0"], "--top-p: got 0; expected above 0 to 1"),
        (["--temperature", "0.5"], "--temperature: got 0.5 where nothing is generated; expected --generate N"),
        (["--profile", "spec.yaml"], "spec.yaml"),
        (["--fp8", "on"], "--fp8: got on, but model has no FP8 weights; expected auto or off"),
        (["--fp8", "on", "--weights", "random"], "--fp8: got on, but a random model has no FP8 weights"),
    ],
)
def test_wrong_arguments(folder, arguments, says):
    if "cuda" in arguments:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA device")
    done = command.moewright("run", "spec.yaml", *arguments, cwd=folder)  # refused before any rank is forked
    assert done.returncode == (4 if "cuda" in arguments else 2)
    assert says in one_line(done.stderr)


def test_one_rank_alone_ends_in_time_too() -> None:
    """No process watches it: the clock does, and does not go on after."""
    import torch

    from moewright.run.ranks import launcher as launch
    from moewright.run.run_error import RunError

    def endless(rank: int, device: torch.device) -> None:
        while True:
            time.sleep(0.01)

    with pytest.raises(RunError, match=r"rank 0 did not finish within 0.5 s"):
        launch.alone(endless, 0.5, torch.device("cpu"))
    assert launch.alone(lambda rank, device: rank, 600, torch.device("cpu")) == [0]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_ranks_of_torchrun_know_of_each_other() -> None:
    """Of a collective that fails, who is likely to blame; and only one rank tells."""
    import torch.distributed as dist

    from moewright.run.ranks.peers import Peers

    store = dist.HashStore()
    mine, other = Peers(store, 0, 3), Peers(store, 2, 3)
    now = time.time()
    store.set("moewright/1", f"7 {now}")
    store.set("moewright/2", f"6 {now}")
    assert mine.cause("Timed out waiting 15000ms") == (
        "rank 0: another rank died or hangs: a collective timed out; in no collective: rank 2"
    )
    store.set("moewright/1", f"7 {now - 60}")
    assert mine.cause("Timed out waiting 15000ms").endswith("not heard of since 60 s: rank 1")
    assert "another rank died: it closed its connection" in mine.cause("Connection closed by peer [127.0.0.1]:4")
    assert mine.cause("no such weight") is None
    assert other.first_to_tell()
    assert not mine.first_to_tell()


def test_a_plan_whose_cluster_is_not_its_strategys(folder, tmp_path):
    plan = json.loads((folder / "plan.json").read_text())
    plan["cluster"]["gpus"] = 8
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = moewright(folder, "run", tmp_path / "plan.json")
    assert done.returncode == 2
    assert "cluster.gpus: got 8, but its strategy takes 4 GPUs; expected 4" in one_line(done.stderr)


def test_outputs_that_are_not_finite(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes((folder / "model" / "config.json").read_bytes())
    (tmp_path / "spec.yaml").write_text((folder / "spec.yaml").read_text())
    tensors = load_file(folder / "model" / "model.safetensors")
    tensors["lm_head.weight"][:] = float("nan")
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    done = moewright(tmp_path, "run", "spec.yaml", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["verified"], report["max_error"], report["max_logit"]) == (False, None, None)
    assert report["failures"][0].startswith("outputs are not finite")
    shown = moewright(folder, "run", "spec.yaml", "--no-verify").stdout
    assert "not compared" in shown
    assert "as its assignment says" not in shown
