"""Steps out of kernels, against sums by hand, and the simulation against the closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.file.load import load
from moewright.case.model import DenseFfn, Layer, ModelSpec, SoftmaxAttention
from moewright.case.tensors import total_parameters
from moewright.cost.silicon import tables_folder
from moewright.serving.engines.deployment import engine_of, engine_strategy
from moewright.serving.kernel_steps import KernelSteps, small_kernels
from moewright.serving.kernels import Kernels
from moewright.serving.layout import Formats, Layout
from moewright.serving.measured import measured_model
from moewright.serving.simulation.simulate import simulate
from moewright.serving.step import Step

H200 = Kernels(load_cluster("h200-hgx", 8))


def test_a_dense_decode_step_by_hand() -> None:
    """One layer, one rank: every product's roofline, the cache read, two norms and the small kernels."""
    attention = SoftmaxAttention(heads=8, kv_heads=2, head_dim=128)
    layer = Layer(attention, DenseFfn(4096))
    model = ModelSpec("one", 1024, (layer,), vocab_size=0)
    d = H200.device
    speed, stream = d.flops["bf16"] * d.mfu, d.memory_bandwidth * d.bandwidth_utilization

    def product(n: int, k: int) -> float:
        return max(2 * 4 * n * k / speed, (2 * n * k + 4 * (2 * k + 2 * n)) / stream) + d.launch

    products = product(8 * 128 + 4 * 128, 1024) + product(1024, 1024) + product(8192, 1024) + product(1024, 4096)
    cache = max(4 * 500 * 4 * 8 * 128 / speed, 4 * 500 * 2 * 2 * 128 * 2 / stream) + d.launch
    small = 2 * 4 * 2 * 4 * 1024 / stream + (2 + small_kernels(layer, Formats())) * d.launch
    activation = 3 * 2 * 4 * 4096 / stream
    found = KernelSteps(model, Layout(), Formats(), H200).seconds(Step(0, 0, 4, 2000, 4))
    assert float(found) == pytest.approx(products + cache + small + activation, rel=1e-9)


@pytest.mark.parametrize("name", ["DeepSeek-V3", "gpt-oss-120b", "Qwen3-235B-A22B", "Llama-3.1-70B"])
def test_weights_are_the_models_parameters(name: str) -> None:
    """At one rank the weights of matrices are all parameters but norms, biases, routers and tied tables."""
    model = load_model(name)
    steps = KernelSteps(model, Layout(), Formats(), H200)
    assert steps.weights_bytes / 2 == pytest.approx(total_parameters(model), rel=0.01)


def test_kv_bytes_of_latent_attention_by_hand() -> None:
    steps = KernelSteps(load_model("DeepSeek-V3"), Layout(tp=8, etp=8), Formats(kv="fp8"), H200)
    assert steps.kv_bytes == 61 * 576  # not divided by tp
    grouped = KernelSteps(load_model("Qwen3-235B-A22B"), Layout(tp=4, etp=4), Formats(), H200)
    assert grouped.kv_bytes == 94 * 1 * 2 * 128 * 2


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["DeepSeek-V3", "gpt-oss-120b", "Qwen3-235B-A22B"]), st.integers(1, 200), st.integers(16, 9000))
def test_more_work_never_takes_less(name: str, batch: int, context: int) -> None:
    steps = KernelSteps(load_model(name), Layout(tp=8, etp=8), Formats(), H200)
    base = float(steps.seconds(Step(0, 0, batch, batch * context, batch)))
    assert float(steps.seconds(Step(0, 0, batch + 1, (batch + 1) * context, batch + 1))) >= base * (1 - 1e-9)
    assert float(steps.seconds(Step(0, 0, batch, batch * (context + 100), batch))) >= base * (1 - 1e-9)
    with_prompt = Step(512, 512 * 256, batch, batch * context, batch + 512)
    assert float(steps.seconds(with_prompt)) > base
    assert sum(float(v) for v in steps.parts(with_prompt).values()) == pytest.approx(float(steps.seconds(with_prompt)))


SPEC = """
model: MiniMax-M2.5
cluster: {name: h200-hgx, gpus: 8}
workload: {kind: serving, input: {uniform: 1024}, output: {uniform: 1024}, concurrency: 16, engine: vllm, requests: 160}
strategy: {attention: {dp: 1, tp: 8}, experts: {ep: 1, tp: 8}}
"""


def test_simulation_and_closed_form_agree(tmp_path: Path) -> None:
    """The simulator steps through the same kernels that the closed form sums up."""
    folder = tables_folder()
    if folder is None:
        pytest.skip("aiconfigurator-core is not installed")
    from moewright.serving.validation.predictions import predict
    from moewright.serving.validation.rows import read_rows

    (tmp_path / "s.yaml").write_text(SPEC)
    case = load(tmp_path / "s.yaml")
    found = simulate(case, tables=folder)
    assert found.kernels == "measured tables"
    assert found.tpot is not None
    head = "backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,moe_tp_size,moe_ep_size"
    row = "vllm,MiniMax-M2.5,h200_sxm,fp8,agg,1024,1024,16,8,8,1,300,12"
    (tmp_path / "r.csv").write_text(f"{head},silicon_ttft_ms,silicon_tpot_ms\n{row}\n")
    (closed,), _ = predict(read_rows(tmp_path / "r.csv")[0], folder)
    assert found.tpot.mean == pytest.approx(closed.tpot, rel=0.15)
    low, high = found.ranges["tpot"]
    assert low < found.tpot.mean < high


def test_a_device_without_tables_falls_back(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC.replace("h200-hgx", "mi300x-oam"))
    case = load(tmp_path / "s.yaml")
    assert case.strategy is not None
    engine = engine_of(case)
    assert measured_model(case, engine_strategy(case, case.strategy), engine, tables_folder()) is None
    assert simulate(case, tables=tables_folder()).kernels == "roofline"


def test_wide_expert_parallelism_sends_tokens_once_to_each_rank() -> None:
    """Where an exchange is cheaper than giving all tokens to all: bytes by the formula of distinct destinations."""
    steps = KernelSteps(load_model("DeepSeek-V3"), Layout(dp=8, ep=8), Formats(), H200)
    local = np.array([256.0])
    found = steps._meet(local, local * 8, 8)
    far = 8 * (1 - (7 / 8) ** 8) * 7 / 8
    direct = sum(float(H200.exchange(local * 7168 * far * width, 8)[0]) for width in (1, 2))
    everywhere = sum(float(H200.all_gather(local * 8 * 7168 * width, 8)[0]) for width in (1, 2))
    assert float(found[0]) == pytest.approx(min(direct, everywhere))
