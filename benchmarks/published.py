"""The analytic cost model beside published measurements of kernels, collectives and routing.

``data/published.csv`` names the source of every figure. Devices and clusters are the catalogue's,
so the table shows how far off a plan from the catalogue alone is; the catalogue's latencies and link
utilizations rest on some of these same figures, its compute efficiencies are round numbers.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moewright.case.case import Case
from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.cluster import Cluster
from moewright.case.precision import Precision
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Strategy
from moewright.case.workload import Kind, Workload
from moewright.cost import network
from moewright.cost.prices.efficiency import latent_decode_seconds, worked_flops
from moewright.cost.prices.roofline import compute_seconds
from moewright.cost.routing.router import Router
from moewright.cost.routing.spread import distinct_destinations
from moewright.cost.table import Table
from moewright.planning.evaluate import evaluate_table

DATA = Path(__file__).parent / "data" / "published.csv"
Row = dict[str, str]


def predictions() -> list[dict[str, Any]]:
    """One row per figure that the model has a formula for: measured and predicted seconds, and their ratio."""
    rows = []
    for row in csv.DictReader(DATA.open(encoding="utf-8")):
        for pattern, family, predict in FAMILIES:
            if re.match(pattern, row["id"]):
                measured, predicted = predict(row)
                ratio = predicted / measured
                rows.append(
                    {"id": row["id"], "family": family, "measured": measured, "predicted": predicted, "ratio": ratio}
                )
                break
    return rows


def run() -> list[dict[str, Any]]:
    """``predictions``, with a table by family."""
    rows = predictions()
    by_family = defaultdict(list)
    for found in rows:
        by_family[found["family"]].append(found["ratio"])
    print(f"{'predicted over measured seconds':44s} {'figures':>8s} {'least':>7s} {'median':>7s} {'most':>7s}")
    for family, ratios in by_family.items():
        print(f"{family:44s} {len(ratios):8d} {min(ratios):7.2f} {statistics.median(ratios):7.2f} {max(ratios):7.2f}")
    return rows


def _seconds(row: Row) -> float:
    value = float(row["measured_value"])
    return value * {"us": 1e-6, "ms": 1e-3}[row["unit"]]


#: what a refit changes of every cluster (benchmarks/accuracy.py)
CHANGE: list[Callable[[Cluster], Cluster]] = []


def _cluster(row: Row) -> Cluster:
    name = "h800-hgx" if "H800" in row["gpu"] else "h100-hgx"
    cluster = load_cluster(name, max(8, int(row["n_gpus"])))
    for change in CHANGE:
        cluster = change(cluster)
    return cluster


def _number(text: str) -> int:
    found = re.search(r"\d+", text)
    assert found
    return int(found[0])


def _nccl(row: Row) -> tuple[float, float]:
    """``bytes`` is the whole buffer (all_gather: of all ranks)."""
    cluster, size = _cluster(row), float(_number(row["batch_or_concurrency"]))
    g = network.group("tp", np.array([8]), np.array([1]), cluster)
    buffer = np.array([size])
    if "vLLM" in row["metric"]:  # the engines' own all-reduce, which a plan counts with
        return _seconds(row), float(network.reduce_seconds(g, buffer, cluster)[0])
    if "all_reduce" in row["metric"]:  # NCCL's: a reduce-scatter and an all-gather
        gathered = float(network.gather_seconds(g, buffer, cluster)[0])
        return _seconds(row), 2 * gathered - cluster.node.start
    return _seconds(row), float(network.gather_seconds(g, buffer, cluster)[0])


DEEPSEEK = Router(256, 8, 8, 4)


def _deepep(row: Row) -> tuple[float, float]:
    """Dispatch (fp8) or combine (bf16) of 7168 wide tokens, top 8. The low-latency kernels send one copy
    to every expert; the normal ones one to every node and rank."""
    cluster, ranks, tokens = _cluster(row), int(row["n_gpus"]), _number(row["batch_or_concurrency"])
    width = 7168 * (1.0 if "dispatch" in row["id"] else 2.0)
    g = network.group("ep", np.array([ranks]), np.array([1]), cluster)
    low_latency = "-ll-" in row["id"]
    router = Router(256, 8) if low_latency else DEEPSEEK
    to_ranks = tokens * width * distinct_destinations(ranks, router) * (ranks - 1) / ranks
    nodes = float(g.nodes[0])
    to_nodes = tokens * width * distinct_destinations(nodes, router) * (nodes - 1) / nodes
    forwarding = np.array([not low_latency])
    return _seconds(row), float(network.exchange_seconds(g, to_ranks, to_nodes, cluster, forwarding)[0])


def _deepgemm(row: Row) -> tuple[float, float]:
    """fp8 products: groups × M × N × K; operands of one byte, results of two."""
    size = {k: int(v) for k, v in re.findall(r"-([gmnk])(\d+)", row["id"])}
    g, m, n, k = size.get("g", 1), size["m"], size["n"], size["k"]
    flops = 2.0 * g * m * n * k
    return flops / (float(row["measured_value"]) * 1e12), _product(row, g, m, n, k)


def _product(row: Row, g: int, m: int, n: int, k: int) -> float:
    """``g`` fp8 products of m × k with k × n."""
    sizes = (np.array([float(m)]), np.array([float(n)]), np.array([float(k)]))
    worked = float(worked_flops([sizes], _cluster(row).device, g)[0])
    return _compute(row, worked, g * (m * k + n * k + 2.0 * m * n))


def _compute(row: Row, flops: float, traffic: float, unit: str = "fp8") -> float:
    return float(compute_seconds(np.array([flops]), np.array([traffic]), _cluster(row).device, unit)[0])


def _ggemm(row: Row) -> tuple[float, float]:
    """DeepSeek-V3's two grouped products on one rank: its local experts times the tokens each gets."""
    tokens = int(re.findall(r"(\d+) tok/local expert", row["batch_or_concurrency"])[0])
    local = 256 // int(re.findall(r"ep(\d+)", row["id"])[0])
    total = 0.0
    for n, k in ((4096, 7168), (7168, 2048)):
        total += _product(row, local, tokens, n, k)
    return _seconds(row), total


def _mla(row: Row) -> tuple[float, float]:
    """MLA decode, bf16, 128 heads over 4096 cached tokens of 576."""
    batch = int(re.findall(r"-b(\d+)", row["id"])[0])
    flops = 2.0 * batch * 4096 * 128 * (576 + 512)
    traffic = batch * (4096 * 576 * 2.0 + 128 * (576 + 512) * 2.0)
    return _seconds(row), _compute(row, flops, traffic, "bf16") + latent_decode_seconds(_cluster(row).device)


def _moe(row: Row) -> tuple[float, float]:
    """A fused expert kernel: the experts operation of a decode step in which every rank sees all tokens."""
    name = "Mixtral-8x7B" if "mixtral" in row["id"] else "Qwen3-30B-A3B"
    etp, ep = (int(x) for x in re.findall(r"tp(\d+)ep(\d+)", row["id"])[0])
    tokens = int(re.findall(r"-t(\d+)", row["id"])[0])
    model = load_model(name)
    if "-fp8-" in row["id"]:
        model = replace(model, precision=Precision("fp8", {}, "fp8"))
    ranks = ep * etp
    cluster = replace(load_cluster("h100-hgx", 8), gpus=ranks)
    case = Case(model, cluster, Workload(Kind.DECODE, (tokens,), 16))
    strategy = Strategy(
        attention=AttentionParallel(repeated=ranks),
        experts=ExpertParallel(ep, etp, dispatch=Dispatch.REPLICATED if ranks > 1 else Dispatch.ALL_TO_ALL),
    )
    e = evaluate_table(case, Table.one(strategy, tokens))
    return _seconds(row), float(next(o.seconds for o in e.layers[-1].operations if o.work.name == "experts")[0])


def _bandwidth(row: Row) -> tuple[float, float]:
    """Seconds behind a logical bandwidth: bytes of tokens to every node (in a node: rank), the own one among them."""
    ranks, tokens = int(row["n_gpus"]), _number(row["batch_or_concurrency"])
    cluster = load_cluster("dgx-b200", max(8, ranks)) if "SM100" in row["gpu"] else _cluster(row)
    width = 7168 * (1.0 if "dispatch" in row["id"] else 2.0)
    g = network.group("ep", np.array([ranks]), np.array([1]), cluster)
    nodes = float(g.nodes[0])
    router = Router(256, 8) if row["id"].startswith("deepep2") else DEEPSEEK
    to_ranks = tokens * width * distinct_destinations(ranks, router)
    to_nodes = tokens * width * distinct_destinations(nodes, router)
    counted = float((to_nodes if nodes > 1 else to_ranks)[0])
    out_ranks, out_nodes = to_ranks * (ranks - 1) / ranks, to_nodes * (nodes - 1) / nodes
    predicted = float(network.exchange_seconds(g, out_ranks, out_nodes, cluster, np.array([True]))[0])
    return counted / (float(row["measured_value"]) * 1e9), predicted


FAMILIES: list[tuple[str, str, Callable[[Row], tuple[float, float]]]] = [
    (r"nccl-h100x8", "NCCL collectives, 8 × H100", _nccl),
    (r"vllm-custom-ar", "custom all-reduce, 8 × H100", _nccl),
    (r"deepep1-ll", "DeepEP low-latency, H800", _deepep),
    (r"aic-deepep-ll", "DeepEP low-latency, H100", _deepep),
    (r"aic-deepep-normal", "DeepEP normal, H100", _deepep),
    (r"deepep1-normal", "DeepEP normal, bandwidth, H800", _bandwidth),
    (r"deepep2", "DeepEP V2, bandwidth, H100 and B200", _bandwidth),
    (r"deepgemm-(contig|masked)", "DeepGEMM grouped, H800", _deepgemm),
    (r"deepgemm-dense", "DeepGEMM dense, H800", _deepgemm),
    (r"infersim-ggemm", "grouped GEMM of DeepSeek-V3, H800", _ggemm),
    (r"infersim-mla", "MLA decode, H800", _mla),
    (r"aic-moe-.*-balanced", "fused MoE kernels, H100", _moe),
]
