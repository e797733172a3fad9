"""Any model on any cluster, made up at random: a plan whose checks hold, or one clear error."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import moewright
from moewright.case.file.load import case_of
from moewright.errors import MoewrightError
from moewright.planning.record import Status
from moewright.report.markdown import render
from moewright.report.plan_page import sections

SMALL = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16])
WIDE = st.sampled_from([16, 24, 64, 96, 128, 256])
FORMATS = st.sampled_from(["bf16", "fp8", "fp8_block", "mxfp4", "nvfp4", "int4", "int8", "fp32"])


@st.composite
def attentions(draw):
    kind = draw(st.sampled_from(["mha", "gqa", "mla", "linear"]))
    heads = draw(SMALL)
    if kind == "mha":
        return {"kind": kind, "heads": heads, "head_dim": draw(WIDE), "sinks": draw(st.booleans())}
    if kind == "gqa":
        kv = draw(st.sampled_from([d for d in range(1, heads + 1) if heads % d == 0]))
        cap = draw(st.sampled_from([{}, {"window": 32}, {"chunk": 48}]))
        return {"kind": kind, "heads": heads, "kv_heads": kv, "head_dim": draw(WIDE), **cap}
    if kind == "mla":
        sizes = {name: draw(WIDE) for name in ("kv_rank", "nope_dim", "rope_dim", "value_dim")}
        extra = draw(st.sampled_from([{}, {"q_rank": 32}, {"indexer": {"heads": 2, "dim": 32, "top_k": 40}}]))
        return {"kind": kind, "heads": heads, **sizes, **extra}
    return {"kind": kind, "key_heads": heads, "value_heads": heads * 2, "key_dim": 16, "value_dim": 32}


@st.composite
def specs(draw):
    layers = draw(st.integers(1, 5))
    model = {
        "layers": layers,
        "hidden_size": draw(WIDE),
        "attention": draw(st.lists(attentions(), min_size=1, max_size=2)),
        "vocab_size": draw(st.sampled_from([0, 100, 1001])),
        "tied_embeddings": draw(st.booleans()),
        "precision": draw(FORMATS),
    }
    if draw(st.booleans()):
        count = draw(SMALL)
        model["experts"] = {
            "count": count,
            "top_k": draw(st.integers(1, count)),
            "intermediate_size": draw(WIDE),
            "gated": draw(st.booleans()),
            "shared_intermediate_size": draw(st.sampled_from([0, 32])),
        }
        model["dense_layers"] = draw(st.integers(0, layers))
    if "experts" not in model or model["dense_layers"]:
        model["intermediate_size"] = draw(WIDE)
    node = draw(st.sampled_from([1, 2, 3, 4, 8]))
    tier = {"bandwidth": "50 GB/s", "latency": "3 us"}
    device = draw(st.sampled_from(["h200", "a100-80", "mi300x", "b300", "l40s"]))
    cluster = {
        "gpus": node * draw(st.sampled_from([1, 2, 3, 4])),
        "gpus_per_node": node,
        "device": {"name": device, "price": 2.0},
        "network": {"node": tier, "fabric": tier},
        "forwarding": draw(st.booleans()),
    }
    raw = {
        "model": model,
        "cluster": cluster,
        "workload": {
            "kind": draw(st.sampled_from(["forward", "prefill", "decode"])),
            "batch": draw(st.sampled_from([1, 4, 7, 24, [6, 12], "auto"])),
            "sequence": draw(st.sampled_from([1, 7, 64, 480])),
            "causal": draw(st.booleans()),
        },
        "objective": draw(st.sampled_from(["latency", "throughput", "cost"])),
    }
    if draw(st.booleans()):
        raw["routing"] = {"zipf": draw(st.sampled_from([0, 0.5, 2.0]))}
    if draw(st.booleans()):
        raw["strategy"] = {"attention": {"tp": draw(SMALL)}, "experts": {"redundant": draw(st.integers(0, 4))}}
    return raw


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs())
def test_any_case_is_planned_and_proven(raw):
    try:
        result = moewright.plan(case_of(raw, "spec.yaml"), top=2)
    except MoewrightError as error:
        assert error.exit_status in (2, 3)
        assert "\n" not in str(error)
        return
    json.dumps(result.to_dict(), allow_nan=False)
    for plan in (result.best, *result.alternatives, *result.frontier):
        failed = [c for c in plan.checks if c.status is Status.FAIL]
        assert not failed, (plan.name, failed)
        assert plan.gpus == result.case.cluster.gpus
        assert plan.latency.seconds >= plan.latency.bound_seconds * (1 - 1e-9)
        assert plan.memory.total <= plan.memory.usable
    assert render(sections(result)).count("## ") >= 9
