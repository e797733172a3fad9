"""Engines are data: a file makes one."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from moewright.case.file.load import case_of
from moewright.case.serving import ENGINE_FILES, ENGINES
from moewright.serving.engines.deployment import Workers
from moewright.serving.engines.engine import load_engine
from moewright.serving.step import StepModel

ROOT = Path(__file__).parents[2]
SPEC = """
model: Qwen3-30B-A3B
cluster: {name: h100-hgx, gpus: 8}
workload: {kind: serving, input: 512, output: 64, concurrency: 8, engine: nano, requests: 40}
strategy: {attention: {dp: 1, tp: 8}, experts: {ep: 8, tp: 1}}
"""
HEAD = "backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,moe_tp_size,moe_ep_size"
ROW = "nano,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,1024,16,8,8,1"


def test_a_fourth_engine_is_one_file(tmp_path):
    """In a copy of the package: it is served, planned and validated as the others are."""
    package = tmp_path / "src" / "moewright"
    shutil.copytree(ROOT / "src" / "moewright", package, ignore=shutil.ignore_patterns("__pycache__"))
    folder = package / ENGINE_FILES.relative_to(ROOT / "src" / "moewright")
    text = (folder / "vllm.yaml").read_text(encoding="utf-8")
    (folder / "nano.yaml").write_text(text.replace("name: vllm", "name: nano", 1), encoding="utf-8")
    (tmp_path / "s.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "r.csv").write_text(f"{HEAD},silicon_ttft_ms,silicon_tpot_ms\n{ROW},300,12\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}

    def run(*arguments):
        command = [sys.executable, "-m", "moewright", *arguments, "--no-tables", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert run("serve", "s.yaml")["engine"] == "nano"
    board = run("validate", "r.csv")
    assert (board["rows"], board["predicted"]) == (1, 1)


def test_every_engine_names_its_sources_and_constants():
    for name in ENGINES:
        engine = load_engine(name)
        raw = yaml.safe_load((ENGINE_FILES / f"{name}.yaml").read_text(encoding="utf-8"))
        assert engine.name == name
        assert {"max_num_batched_tokens", "gpu_memory_utilization", "memory"} <= raw.keys()
        assert len(engine.sources) >= 8
        assert engine.fitted.keys() == {"tables", "roofline"}


def test_what_engines_keep_free_for_answers():
    """SGLang's least new-token ratio is init_new_token_ratio 0.7 × min_new_token_ratio_factor 0.14; vLLM preempts, and
    TensorRT-LLM's GUARANTEED_NO_EVICT keeps all of an answer. It says how many requests a cache holds."""
    reserves = {name: load_engine(name).reserve for name in ENGINES}
    assert reserves == {"sglang": pytest.approx(0.7 * 0.14), "vllm": 0.0, "trtllm": 1.0}
    work = {"kind": "serving", "input": 1000, "output": 3000, "concurrency": 8, "engine": "vllm"}
    spec = {"model": "gpt-oss-20b", "cluster": {"name": "h200-hgx", "gpus": 1}, "workload": work}
    case = case_of(spec | {"strategy": {"attention": {"tp": 1}}}, "c.yaml")
    engine = load_engine("vllm")
    workers = Workers(case, case.strategy.strategy, 1, StepModel.of(case, case.strategy.strategy, engine))
    for reserve in (0.0, 0.3, 1.0):
        held, _ = workers.held_by(case.serving, replace(engine, reserve=reserve))
        assert held == int(workers.model.kv_tokens[0] / (1000 + 3000 * (1 + reserve) / 2))
