"""Random models of every family, under random legal strategies on 1 to 8 ranks, equal transformers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss", "qwen2_moe"])
def test_logits_and_greedy_tokens(family):
    script("truth.py", family, "5")


@pytest.mark.parametrize("form", ["fp8", "mxfp4", "eight"])
def test_quantized_folders(form):
    script("quantized.py", form)


def script(name, *arguments):
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}  # half the time would be its
    done = subprocess.run(
        [sys.executable, str(HERE / name), *arguments],
        capture_output=True,
        text=True,
        env={**unmeasured, "PYTHONPATH": str(HERE.parents[1] / "src")},
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
