"""Every figure of the cost model as it was when it was last derived: operations, bytes, memory and seconds of cases of
many kinds, by formulas and by measured tables.

A change that moves one is meant or wrong. ``python tests/cost/test_figures.py`` writes ``figures.json`` anew; the
commit says why they moved, and the tests by hand and by simulation beside this file say whether they are right.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moewright.case.case import TableSource
from moewright.case.file.load import case_of
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.cost.memory import activation_parts, buffer_parts
from moewright.cost.prices.silicon import tables_folder
from moewright.cost.table import Table
from moewright.planning.complete import complete
from moewright.planning.evaluate import evaluate_table
from moewright.serving.engines.engine import load_engine
from moewright.serving.step import Step, StepModel

FILE = Path(__file__).with_name("figures.json")
FOLDER = tables_folder()


def spec(model, gpus, kind, batch, sequence, cluster="h200-hgx", **fields):
    work = {"kind": kind, "batch": batch, "sequence": sequence}
    return {"model": model, "cluster": {"name": cluster, "gpus": gpus}, "workload": work, **fields}


#: name → (spec, strategy)
CASES = {
    "deepseek decode": (spec("DeepSeek-V3", 16, "decode", 512, 4096), StrategySpec(dp=16, ep=16)),
    "deepseek decode, two batches, typical": (
        spec("DeepSeek-V3", 32, "decode", 2048, 3000, "h100-hgx", routing="typical"),
        StrategySpec(dp=32, ep=32, redundant=32, overlap=Overlap.TWO_BATCH),
    ),
    "deepseek prefill, cp": (spec("DeepSeek-V3", 16, "prefill", 16, 8192), StrategySpec(dp=4, cp=4, ep=16)),
    "deepseek prefill, stages": (
        spec("DeepSeek-V3", 32, "prefill", 64, 2048),
        StrategySpec(pp=2, micro_batches=4, dp=8, tp=2, ep=8, etp=2),
    ),
    "gpt-oss decode, replicated": (
        spec("gpt-oss-120b", 8, "decode", 64, 9000),
        StrategySpec(tp=8, ep=8, dispatch=Dispatch.REPLICATED, gate=Gate.LEADER),
    ),
    "gpt-oss prefill": (spec("gpt-oss-120b", 8, "prefill", 32, 3000, "dgx-b200"), StrategySpec(dp=4, tp=2, ep=8)),
    "scout decode, chunks": (spec("llama-4-scout", 8, "decode", 64, 20000), StrategySpec(dp=2, tp=4, ep=8)),
    "qwen3-next prefill": (spec("qwen3-next-80b-a3b", 4, "prefill", 8, 4096), StrategySpec(dp=2, tp=2, ep=4)),
    "qwen3-next decode": (spec("qwen3-next-80b-a3b", 4, "decode", 128, 4096), StrategySpec(dp=4, ep=4)),
    "deepseek-v3.2 prefill": (spec("deepseek-v3.2", 16, "prefill", 16, 16384), StrategySpec(dp=16, ep=16)),
    "deepseek-v3.2 decode": (spec("deepseek-v3.2", 16, "decode", 256, 16384), StrategySpec(dp=16, ep=16)),
    "qwen3 forward, zipf": (
        spec("qwen3-30b-a3b", 8, "forward", 16, 512, routing={"zipf": 0.8}),
        StrategySpec(dp=8, ep=8, redundant=8),
    ),
    "dense decode": (spec("llama-3.1-70b", 8, "decode", 64, 4000), StrategySpec(tp=8)),
}
STEPS = {
    "prompts and decodes": Step(1024, 1024 * 512, 32, 32 * 2000, 2000),
    "a chunk after cached tokens": Step(256, 256 * (30000 + 128), 4, 4 * 500, 600),
}


def figures(name, tables):
    raw, want = CASES[name]
    case = case_of(raw, "c.yaml")
    if tables:
        case = replace(case, tables=TableSource(FOLDER, "sglang"))
    strategy, batch = complete(want, case).strategy, case.workload.batch[0]
    e = evaluate_table(case, Table.one(strategy, batch))
    rows = {"seconds": e.seconds, "period": e.period, "transfer": e.transfer, "straggler": e.straggler}
    rows |= {f"memory {k}": v for k, v in e.memory.items()}
    rows |= {f"activations {k}": v for k, v in activation_parts(e.work).items()}
    rows |= {f"buffers {k}": v for k, v in buffer_parts(e.work).items()}
    for load in e.work.loads.values():
        rows |= {"active": load.active, "ranks": load.ranks, "nodes": load.nodes}
    kinds = [(f"layer {i}", t.operations) for i, t in enumerate(e.layers)]
    for part, operations in [*kinds, ("ends", [*e.embedding, *e.head])]:
        for i, o in enumerate(operations):
            at = f"{part} {i} {o.work.name}"
            rows |= {f"{at} seconds": o.seconds, f"{at} flops": o.work.flops, f"{at} traffic": o.work.traffic}
            rows |= {f"{at} sent": o.work.sent}
    model = StepModel(case, Table.one(strategy, batch), load_engine("sglang"), 3000)
    rows |= {f"step of {k}": model.seconds(v) for k, v in STEPS.items() if strategy.attention.cp == 1}
    rows |= {"kv tokens": model.kv_tokens}
    return {k: float(np.asarray(v).flat[0]) for k, v in rows.items()}


@pytest.mark.parametrize("name", CASES)
def test_formulas(name):
    known = json.loads(FILE.read_text())["formulas"][name]
    now = figures(name, False)
    assert now.keys() == known.keys()
    assert {k: now[k] for k in known} == pytest.approx(known, rel=1e-6)


@pytest.mark.skipif(FOLDER is None, reason="aiconfigurator-core is not installed")
@pytest.mark.parametrize("name", CASES)
def test_tables(name):
    known = json.loads(FILE.read_text())["tables"][name]
    now = {k: v for k, v in figures(name, True).items() if "seconds" in k or "step" in k}
    assert now.keys() == known.keys()
    assert now == pytest.approx(known, rel=1e-6)


def rounded(values):
    return {k: float(f"{v:.9g}") for k, v in values.items()}


if __name__ == "__main__":
    out = {"formulas": {n: rounded(figures(n, False)) for n in CASES}}
    measured = {n: rounded(figures(n, True)) for n in CASES}
    out["tables"] = {n: {k: v for k, v in of.items() if "seconds" in k or "step" in k} for n, of in measured.items()}
    FILE.write_text(json.dumps(out, indent=0) + "\n")
    sys.exit(0)
