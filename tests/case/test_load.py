"""Spec files: every format and short form, every kind of bad input, and fuzz."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright.case.case import Case
from moewright.case.file.load import case_of, load
from moewright.case.model import DenseFfn, LatentAttention, LinearAttention, MoeFfn
from moewright.case.strategy import Dispatch, Overlap, StrategySpec
from moewright.case.workload import Kind, Objective
from moewright.errors import MoewrightError, SpecError

EXAMPLES = Path(__file__).parents[2] / "examples"
PAPER = yaml.safe_load((EXAMPLES / "paper.yaml").read_text())


def read(tmp_path, raw, name="spec.yaml"):
    file = tmp_path / name
    file.write_text(yaml.safe_dump(raw) if not isinstance(raw, str) else raw)
    return load(file)


def changed(path, value):
    """The paper's spec with the field at ``path`` (dots) set, or removed where ``value`` is ...."""
    raw = copy.deepcopy(PAPER)
    *outer, last = path.split(".")
    at = raw
    for key in outer:
        at = at.setdefault(key, {})
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return raw


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda f: f.stem)
def test_examples_load(file):
    assert isinstance(load(file), Case)


def test_the_paper():
    case = load(EXAMPLES / "paper.yaml")
    model, cluster, work = case.model, case.cluster, case.workload
    assert (len(model.layers), model.hidden_size, model.vocab_size) == (16, 1024, 0)
    assert model.layers[0].attention.heads == model.layers[0].attention.kv_heads == 16
    assert model.moe == MoeFfn(64, 2, 2048, gated=False)
    p = model.precision
    assert (p.default, p.activations, p.kv_cache, p.dispatch, p.combine) == ("fp8", "fp8", "fp8", "fp8", "bf16")
    assert (cluster.gpus, cluster.gpus_per_node) == (128, 8)
    assert (cluster.device.flops, cluster.device.memory) == ({"fp8": 4e14}, 64e9)
    assert (cluster.device.mfu, cluster.device.bandwidth_utilization) == (0.6, 0.8)
    assert (cluster.node.bandwidth, cluster.fabric.latency) == (450e9, pytest.approx(5e-6))
    assert (work.kind, work.batch, work.sequence, work.causal) == (Kind.FORWARD, (128,), 1024, True)
    assert case.strategy is None
    assert case.goal.objective is Objective.LATENCY


def test_the_literal_strategy():
    wanted = StrategySpec(tp=2, repeated=64, ep=64, etp=2, dispatch=Dispatch.REPLICATED)
    assert load(EXAMPLES / "paper-literal.yaml").strategy == wanted


def test_toml_and_json_are_the_same_case(tmp_path):
    toml = """
objective = "latency"
[model]
name = "paper-moe"
layers = 16
hidden_size = 1024
vocab_size = 0
precision = "fp8"
attention = {kind = "mha", heads = 16, head_dim = 64}
experts = {count = 64, top_k = 2, intermediate_size = 2048, gated = false}
[cluster]
name = "paper-cluster"
gpus = 128
gpus_per_node = 8
[cluster.device]
name = "paper-gpu"
flops = {fp8 = "400 TFLOPS"}
mfu = 0.6
memory = "64 GB"
memory_bandwidth = "1.8 TB/s"
bandwidth_utilization = 0.8
[cluster.network]
node = {bandwidth = "450 GB/s", latency = "2 us"}
fabric = {bandwidth = "50 GB/s", latency = "5 us"}
[workload]
kind = "forward"
batch = 128
sequence = 1024
"""
    cases = [
        load(EXAMPLES / "paper.yaml"),
        read(tmp_path, toml, "spec.toml"),
        read(tmp_path, json.dumps(PAPER), "spec.json"),
    ]
    assert len({(c.cluster, c.workload.batch, len(c.model.layers)) for c in map(_hashable, cases)}) == 1
    assert cases[0].model.layers == cases[1].model.layers == cases[2].model.layers
    assert cases[0].model.precision == cases[1].model.precision == cases[2].model.precision


def _hashable(case):
    from dataclasses import replace

    flops = tuple(sorted(case.cluster.device.flops.items()))
    return replace(case, cluster=replace(case.cluster, device=replace(case.cluster.device, flops=flops)))


def test_names_of_the_catalogue(tmp_path):
    case = read(
        tmp_path,
        {
            "model": {"name": "deepseek-ai/DeepSeek-V3", "precision": {"kv_cache": "fp8"}},
            "cluster": {"name": "H200-HGX", "gpus": 16, "reserve": 0.2, "device": {"mfu": 0.5, "price": "3 USD/h"}},
            "workload": {"kind": "decode", "batch": "auto", "sequence": 4096},
            "limits": {"tpot": "50 ms"},
            "objective": "cost",
        },
    )
    assert isinstance(case.model.layers[0].attention, LatentAttention)
    assert case.model.precision.kv_cache == "fp8"
    assert case.model.precision.weight("experts") == "fp8_block"
    assert (case.cluster.gpus, case.cluster.reserve, case.cluster.device.memory) == (16, 0.2, 143771 * 2**20)
    assert (case.cluster.device.mfu, case.cluster.device.price) == (0.5, 3.0)
    assert case.workload.batch == tuple(2**i for i in range(17))  # 16 GPUs: their multiples are among them
    assert case.goal.limits.tpot == 0.05


def test_a_config_json_beside_the_spec(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    config = {
        "model_type": "mixtral",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "vocab_size": 100,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tiny", "./tiny", "tiny/config.json"):
        assert read(tmp_path, changed("model", name)).model.moe.experts == 4
    (folder / "config.json").write_text(json.dumps(config)[:57])
    with pytest.raises(SpecError, match=r"config\.json.*not JSON"):
        read(tmp_path, changed("model", "tiny"))


def test_other_layers(tmp_path):
    raw = changed(
        "model",
        {
            "layers": 8,
            "hidden_size": 256,
            "vocab_size": 1000,
            "attention": [
                {"kind": "linear", "key_heads": 2, "value_heads": 4, "key_dim": 32, "value_dim": 32},
                {"kind": "gqa", "heads": 8, "kv_heads": 2, "head_dim": 32, "window": 128},
            ],
            "experts": {"count": 8, "top_k": 2, "intermediate_size": 64, "shared_intermediate_size": 64, "groups": 4},
            "dense_layers": 2,
            "intermediate_size": 512,
        },
    )
    raw["strategy"] = {"pp": 2, "overlap": "two_batch", "experts": {"redundant": 0}}
    case = read(tmp_path, raw)
    kinds = [type(layer.attention) for layer in case.model.layers]
    assert kinds[0] is LinearAttention
    assert kinds[::2] == [LinearAttention] * 4
    assert [isinstance(layer.ffn, DenseFfn) for layer in case.model.layers] == [True] * 2 + [False] * 6
    assert case.model.moe.top_groups == 4
    assert case.strategy == StrategySpec(pp=2, overlap=Overlap.TWO_BATCH, redundant=0)


@pytest.mark.parametrize("name", ["loads.npy", "loads.npz", "loads.csv", "loads.json"])
def test_expert_loads(tmp_path, name):
    loads = np.random.default_rng(0).random((16, 64))
    if name.endswith(".npy"):
        np.save(tmp_path / name, loads)
    elif name.endswith(".npz"):
        np.savez(tmp_path / name, first=loads, second=loads * 2)
    elif name.endswith(".csv"):
        np.savetxt(tmp_path / name, loads, delimiter=",", fmt="%.17g")
    else:
        (tmp_path / name).write_text(json.dumps({"loads": loads.tolist()}))
    routing = f"{name}:second" if name.endswith(".npz") else name
    case = read(tmp_path, changed("routing", routing))
    found = np.array(case.routing.loads)
    assert found.shape == (16, 64)
    assert found / found.sum() == pytest.approx(loads / loads.sum())


BAD = [
    ("model.hiden_size", 1024, "model.hiden_size", "did you mean hidden_size"),
    ("clusters", {}, "clusters", "did you mean cluster"),
    ("model.layers", 0, "model.layers", "from 1 to"),
    ("model.layers", -3, "model.layers", "got -3"),
    ("model.layers", 2.5, "model.layers", "whole number"),
    ("model.layers", True, "model.layers", "whole number"),
    ("model.hidden_size", "1 GB", "model.hidden_size", "whole number"),
    ("model.experts.top_k", 65, "model.experts.top_k", "at most count, 64"),
    ("model.experts.count", "many", "model.experts.count", "whole number"),
    ("model.attention.kind", "mqa", "model.attention.kind", "mha, gqa, mla, linear"),
    ("model.attention.kv_heads", 4, "model.attention.kv_heads", "gqa"),
    ("model.attention", {"kind": "gqa", "heads": 16, "kv_heads": 5, "head_dim": 4}, "kv_heads", "divisor of heads 16"),
    ("model.attention", 7, "model.attention", "got 7"),
    ("model.precision", "fp7", "model.precision", "fp8"),
    ("model.precision", {"weights": "fp7"}, "model.precision.weights", "fp8"),
    ("model.precision", {"weights": {"expert": "fp8"}}, "model.precision.weights", "experts"),
    ("model", "DeepSeek-V33", "model", "DeepSeek-V3"),
    ("model", "no/such/config.json", "", "no such file"),
    ("model", ..., "model", "is missing"),
    ("cluster.gpus", 1_000_000_000, "cluster.gpus", "1048576"),
    ("cluster.gpus", 130, "cluster.gpus", "gpus_per_node 8"),
    ("cluster.gpus", ..., "cluster.gpus", "is missing"),
    ("cluster.device.memory", "64 GB/s", "cluster.device.memory", "expected bytes"),
    ("cluster.device.memory", float("nan"), "cluster.device.memory", "not finite"),
    ("cluster.device.memory", 0, "cluster.device.memory", "above 0"),
    ("cluster.device.memory", "-5 GB", "cluster.device.memory", "above 0"),
    ("cluster.device.memory", ..., "cluster.device.memory", "is missing"),
    ("cluster.device.flops", {"fp9": "1 TFLOPS"}, "cluster.device.flops.fp9", "did you mean"),
    ("cluster.device.flops.fp8", "1.8 TB/s", "cluster.device.flops.fp8", "FLOP/s"),
    ("cluster.device.mfu", 1.5, "cluster.device.mfu", "at most 1"),
    ("cluster.device.mfu", 0, "cluster.device.mfu", "above 0"),
    ("cluster.device", "h201", "cluster.device.name", "h200"),
    ("cluster", {"name": "h200-hgx", "gpus": 12}, "cluster.gpus", "multiple of 8"),
    ("cluster", {"name": "h200-hgxx"}, "cluster.name", "h200-hgx"),
    ("cluster.network.fabric", ..., "cluster.network.fabric", "8 to a node"),
    ("cluster.network.node.bandwidth", "450 GB", "cluster.network.node.bandwidth", "bytes/s"),
    ("cluster.network.node.latency", "-2 us", "cluster.network.node.latency", "0 or more"),
    ("workload.kind", "prefil", "workload.kind", "did you mean prefill"),
    ("workload.kind", "serving", "workload.batch", "unknown field"),
    ("workload.batch", 0, "workload.batch", "from 1 to"),
    ("workload.batch", [], "workload.batch", "a list"),
    ("workload.batch", [8, "x"], "workload.batch", "a list"),
    ("workload.sequence", ..., "workload.sequence", "is missing"),
    ("objective", "speed", "objective", "latency, throughput, cost"),
    ("limits", {"tpot": "50 GB"}, "limits.tpot", "seconds"),
    ("routing", {"zipf": "x"}, "routing.zipf", "number from 0"),
    ("routing", "nowhere.npy", "routing", "no such file"),
    ("routing", 3, "routing", "uniform"),
    ("strategy", {"dp": 4}, "strategy.dp", "attention"),
    ("strategy", {"attention": {"dp": 0}}, "strategy.attention.dp", "from 1"),
    ("strategy", {"experts": {"dispatch": "all-to-all"}}, "strategy.experts.dispatch", "all_to_all"),
    ("strategy", [1], "strategy", "expected a mapping"),
]


@pytest.mark.parametrize(("path", "value", "field", "accepted"), BAD, ids=[f"{p}={str(v)[:20]}" for p, v, _, _ in BAD])
def test_bad_input_is_one_line_that_names_it(tmp_path, path, value, field, accepted):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, changed(path, value))
    message = str(caught.value)
    assert "\n" not in message
    assert field in message
    assert accepted in message
    assert ".yaml" in message or "config.json" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("- 1\n- 2\n", "a list"),
        ("just text", "a str"),
        ("", "nothing"),
        ("model: {a: 1, a: 2}\n", "given twice"),
        ("model: [unclosed\n", "not well-formed"),
        ("a: &a [*a]\n", "inside"),
        ("!!python/object/apply:os.system ['true']\n", "not well-formed"),
        ("model: 2026-01-01\n", "is missing"),
    ],
)
def test_bad_files(tmp_path, content, says):
    with pytest.raises(SpecError, match=says):
        read(tmp_path, content)


def test_a_bomb_is_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(SpecError, match="expands"):
        read(tmp_path, "\n".join(lines))
    with pytest.raises(SpecError, match="nested"):
        read(tmp_path, "a: " + "[" * 60 + "]" * 60)
    with pytest.raises(SpecError, match="larger"):
        read(tmp_path, "#" * (2 << 20))


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="folder"):
        load(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="UTF-8"):
        load(tmp_path / "x.yaml")
    (tmp_path / "x.ini").write_text("a")
    with pytest.raises(SpecError, match=r"\.yaml"):
        load(tmp_path / "x.ini")


def test_loads_of_the_wrong_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((16, 63)))
    with pytest.raises(SpecError, match="16 layers of 64 experts"):
        read(tmp_path, changed("routing", "a.npy"))
    np.save(tmp_path / "a.npy", np.full((16, 64), -1.0))
    with pytest.raises(SpecError, match="negative"):
        read(tmp_path, changed("routing", "a.npy"))
    (tmp_path / "a.npy").write_bytes(b"not numpy")
    with pytest.raises(SpecError, match="no table"):
        read(tmp_path, changed("routing", "a.npy"))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["fp8", "64 GB", "auto", "uniform", "h200-hgx", "DeepSeek-V3", "mla", "1e999 TB", "²"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(raw, prefix=()):
    for key, value in raw.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, key))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(paths(PAPER), key=str)), VALUES, st.booleans())
def test_any_value_anywhere_is_a_case_or_a_spec_error(path, value, extra):
    raw = copy.deepcopy(PAPER)
    at = raw
    for key in path[:-1]:
        at = at[key]
    at[path[-1] + ("_" if extra else "")] = value
    try:
        case_of(raw, "spec.yaml")
    except MoewrightError as error:
        assert error.exit_status == 2


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from(["yaml", "toml", "json"]))
def test_any_bytes_are_a_spec_error(tmp_path_factory, content, kind):
    file = tmp_path_factory.mktemp("fuzz") / f"spec.{kind}"
    file.write_bytes(content)
    with pytest.raises(SpecError):
        load(file)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 700), st.binary(max_size=6), st.integers(0, 20))
def test_a_damaged_spec_is_a_case_or_a_spec_error(tmp_path_factory, at, inserted, removed):
    content = (EXAMPLES / "paper.yaml").read_bytes()
    file = tmp_path_factory.mktemp("fuzz") / "spec.yaml"
    file.write_bytes(content[:at] + inserted + content[at + removed :])
    try:
        load(file)
    except SpecError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["uniform", "zipf:1.0", "lognormal:1.0", "dirichlet:0.3"])
def test_routing_by_the_names_of_place(name):
    from moewright.case.loads.synthetic import synthetic_loads

    raw = {"model": "gpt-oss-20b", "cluster": {"name": "h200-hgx", "gpus": 8}, "routing": name}
    raw["workload"] = {"kind": "prefill", "batch": 8, "sequence": 128}
    case = case_of(raw, "spec.yaml")
    moe, layers = case.model.moe, len(case.model.moe_layers())
    if name == "uniform":
        assert case.routing.uniform
    else:
        assert (np.asarray(case.routing.loads) == synthetic_loads(name, layers, moe.experts)).all()
    raw["routing"] = "lognormal:1000"
    with pytest.raises(SpecError, match=r"routing: lognormal:1000: .* a number from 0.001 to 100"):
        case_of(raw, "spec.yaml")


def test_a_layer_without_load_is_routed_evenly(tmp_path):
    raw = {"model": "gpt-oss-20b", "cluster": {"name": "h200-hgx", "gpus": 8}, "routing": "a.npy"}
    raw["workload"] = {"kind": "prefill", "batch": 8, "sequence": 128}
    loads = np.random.default_rng(0).random((24, 32))
    loads[3] = 0
    np.save(tmp_path / "a.npy", loads)
    routed = np.asarray(case_of(raw, str(tmp_path / "spec.yaml")).routing.loads)
    assert (routed[3] == 1).all()
    assert (np.delete(routed, 3, axis=0) == np.delete(loads, 3, axis=0)).all()


def test_a_tenth_of_the_memory_is_kept_free_where_nothing_is_said():
    assert case_of(PAPER, "c.yaml").cluster.reserve == 0.1


def test_a_routing_that_is_misspelt():
    with pytest.raises(
        SpecError, match=r"routing: got 'typicl'; did you mean typical\? expected one of typical, uniform"
    ):
        case_of({**PAPER, "routing": "typicl"}, "c.yaml")
