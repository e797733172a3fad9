"""The executor: any legal strategy gives the unsharded model's output and moves the bytes predicted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]


def world(*arguments, timeout=240):
    """worlds.py with ``arguments``: its lines as JSON."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("worlds.py")), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_legal_strategies(seed):
    found = world("strategies", seed, 8)
    assert len(found) == 8
    for r in found:
        assert r["verified"], (r["strategy"], r["failures"])
        assert r["max_error"] <= 1e-4 * r["max_logit"]
        for c in r["collectives"]:
            assert c["bytes_predicted"] == c["bytes_moved"]
        if r["pp"] == 1:  # the plan's own figures are of one rank; all ranks send the same
            for name, size in r["fixed"].items():
                if r["moved"].get(name, 0) and "combine" not in name:
                    assert abs(r["moved"][name] - size * r["gpus"]) <= 0.2 * size * r["gpus"], (r["strategy"], name)


@pytest.mark.slow
def test_what_is_broken_is_found():
    ((lost, short, wrong),) = world("broken")
    assert not lost["verified"]
    assert any("output differs" in f for f in lost["failures"])
    assert not short["verified"]
    assert any(f.startswith("dispatch: rank") for f in short["failures"])
    assert any("bytes of weights" in f for f in wrong["failures"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("dies", "rank 2 died of signal 9"),
        ("fails", "rank 3 failed: ValueError: no such weight"),
        ("hangs", "rank 1 did not finish within 900 s"),
        ("waits", "rank 2 did not finish within 900 s: hangs after 0 collectives, and the others wait"),
    ],
)
def test_a_rank_that_does_not_do_its_part_ends_the_run(how, says):
    (end,) = world(how)
    assert says in end["message"]
    assert end["children"] <= 1  # the ps that counted


@pytest.mark.slow
def test_the_command(tmp_path):
    spec = (ROOT / "examples" / "paper-128-ranks.yaml").read_text()
    small = spec.replace("gpus: 128", "gpus: 8").replace("gpus_per_node: 128", "gpus_per_node: 8")
    small = small.replace("dp: 64", "dp: 4").replace("ep: 64", "ep: 4").replace("layers: 16", "layers: 2")
    (tmp_path / "small.yaml").write_text(small.replace("memory: 128 MB", "memory: 1 GB"))

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "moewright", "run", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            timeout=120,
            check=False,
        )

    done = run(tmp_path / "small.yaml", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verified"]
    assert report["ranks"] == 8
    assert "Verified" in run(tmp_path / "small.yaml").stdout
    refused = run(ROOT / "examples" / "deepseek-v3-decode.yaml")
    assert refused.returncode == 4
    assert refused.stderr.count("\n") == 1
