"""Cases that tests of several rooms share: the paper's own, and small ones of other kinds."""

from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.cluster import Cluster, Device, Tier
from moewright.case.model import DenseFfn, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.precision import Precision
from moewright.case.workload import Kind, Workload

PAPER_DEVICE = Device("paper-gpu", {"fp8": 400e12}, 64e9, 1.8e12, mfu=0.6, bandwidth_utilization=0.8)
H200 = Device("h200", {"fp8": 1979e12, "bf16": 989.5e12}, 141e9, 4.8e12, 0.6, 0.8, launch=3e-6, price=2.5)


def paper_model(layers=16, norms=0, precision=None):
    layer = Layer(SoftmaxAttention(16, 16, 64), MoeFfn(64, 2, 2048, gated=False), norms=norms)
    fp8 = Precision("fp8", {}, "fp8", "fp8", "fp8", "fp8")
    return ModelSpec("paper", 1024, (layer,) * layers, 0, final_norm=False, precision=precision or fp8)


def paper(strategy=None, gpus=128, batch=(128,), causal=True, **fields):
    """The seed document's case, on the network that the example assumes."""
    cluster = Cluster("paper", gpus, 8, PAPER_DEVICE, Tier(450e9, 2e-6), Tier(50e9, 5e-6))
    work = Workload(Kind.FORWARD, batch, 1024, causal)
    return Case(paper_model(), cluster, work, strategy=strategy, **fields)


def served(name="DeepSeek-V3", gpus=32, kind=Kind.DECODE, batch=None, sequence=4096, node=8, **fields):
    """A model of the catalogue on H200 nodes."""
    cluster = Cluster("h200", gpus, node, H200, Tier(360e9, 4e-6), Tier(45e9, 12e-6), forwarding=True)
    batch = batch or (32 * gpus if kind is Kind.DECODE else gpus)
    return Case(load_model(name), cluster, Workload(kind, (batch,), sequence), **fields)


def dense_model():
    """A dense model with a vocabulary, tied, whose heads are grouped."""
    layer = Layer(SoftmaxAttention(8, 2, 32), DenseFfn(512))
    return ModelSpec("dense", 256, (layer,) * 4, 1000, tied_embeddings=True)


def small(gpus=8, kind=Kind.PREFILL, batch=16, **fields):
    """A little of everything: first layer dense, then experts with a shared one, grouped heads, vocabulary."""
    attention = SoftmaxAttention(8, 4, 16)
    layers = (Layer(attention, DenseFfn(64)), *[Layer(attention, MoeFfn(8, 2, 32, shared_width=32))] * 3)
    model = ModelSpec("small", 128, layers, 512)
    cluster = Cluster("c", gpus, 4, replace(H200, launch=0.0), Tier(100e9, 2e-6), Tier(10e9, 5e-6))
    return Case(model, cluster, Workload(kind, (batch,), 64), **fields)


def value(figure):
    """The one number of an array of one entry."""
    return np.asarray(figure, dtype=float).item()
