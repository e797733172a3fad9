"""Models from Hugging Face configs: counts against transformers on the meta device, precision, bad input.

The model of each config is built by transformers without memory (device "meta") and its parameters are
summed: shared ones once, buffers (the routers' correction biases among them) not, vision towers and
multi-token-prediction layers not. kimi_k2 and kimi_k25 are the deepseek_v3 architecture (their own
config.json says so: DeepseekV3ForCausalLM), so they are built as that.
"""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_configs import FAMILIES, assert_same_counts, catalogue_config
from moewright.case.catalogue.model_catalogue import (
    FOLDER,
    find_alias,
    find_model,
    find_name,
    load_model,
    model_names,
    other_names,
)
from moewright.case.huggingface.config import KNOWN, from_config, read_config
from moewright.case.model import LatentAttention, LinearAttention, MoeFfn, SoftmaxAttention
from moewright.case.tensors.layer_tensors import active_parameters, all_tensors, total_parameters
from moewright.errors import SpecError

CONFIGS = Path(find_spec("aiconfigurator_core").submodule_search_locations[0]) / "model_configs"
REAL = sorted(p for p in CONFIGS.glob("*_config.json") if not p.name.endswith("_hf_quant_config.json"))


# ------------------------------------------------------------------------------ catalogue, full size

#: types that transformers has no class for, and LongCat-Flash, whose class has weights for the experts that do nothing
NOT_BUILT = {"bailing_moe_v2", "deepseek", "grok", "hunyuan", "longcat_flash", "step3_text"}


@pytest.mark.parametrize("name", model_names())
def test_catalogue_counts_equal_transformers(name):
    entry = catalogue_config(name)
    assert entry["names"][0] == name
    assert entry["source"].startswith("https://huggingface.co/")
    for alias in entry["names"]:
        assert load_model(alias.upper()).name == name
        assert load_model(alias.replace("-", " ")).name == name
    assert tuple(entry["names"][1:]) == other_names(name)
    if entry["config"]["model_type"] in NOT_BUILT:
        assert name in PUBLISHED
    else:
        assert_same_counts(entry["config"])


def test_catalogue_files_are_those_of_the_index():
    files = {p.stem for p in FOLDER.glob("*.yaml")}
    assert files == {name.lower() for name in model_names()}


#: billions, total and active, as the model cards and papers print them
PUBLISHED = {
    "Mixtral-8x7B": (46.7, 12.9),
    "Mixtral-8x22B": (141, 39),
    "Qwen3-30B-A3B": (30.5, 3.3),
    "Qwen3-235B-A22B": (235, 22),
    "Qwen3-32B": (32.8, 32.8),
    "Qwen3-Next-80B-A3B": (80, 3.9),  # card: 3B, rounded down
    "Qwen3.5-397B-A17B": (397, 17),
    "DeepSeek-V2-Lite": (15.7, 2.4),
    "DeepSeek-V2": (236, 21),
    "DeepSeek-V3": (671, 37),
    "DeepSeek-V3.2": (671, 37),
    "Kimi-K2": (1027, 32.6),  # card: 1T; the tensors of the checkpoint sum to 1.027T
    "gpt-oss-20b": (20.9, 3.6),
    "gpt-oss-120b": (116.8, 5.1),
    "Llama-4-Scout": (108, 17),  # card: 109B with the vision tower
    "Llama-4-Maverick": (401, 17),
    "Llama-3.1-8B": (8.03, 8.03),
    "Llama-3.1-70B": (70.6, 70.6),
    "GLM-4.5": (353, 33),  # card: 355B and 32B, the prediction layer in part
    "GLM-4.5-Air": (106, 12.8),
    "GLM-4.6": (353, 32),  # as GLM-4.5; the hub counts 357B, with the prediction layer
    "GLM-4.7": (353, 32),
    "GLM-5": (744, 40),
    "MiniMax-M2": (229, 10),
    "OLMoE-1B-7B": (6.9, 1.3),
    "DBRX": (132, 36),
    "Grok-1": (314, 86),  # github.com/xai-org/grok-1; 86B: its announcement
    "Grok-2": (270, 115),  # xAI prints neither; as widely counted from its config.json
    "Qwen1.5-MoE-A2.7B": (14.3, 2.7),
    "Qwen2-57B-A14B": (57.4, 14.2),
    "Phi-3.5-MoE": (41.9, 6.6),
    "DeepSeek-MoE-16B": (16.4, 2.8),
    "Hunyuan-A13B": (80, 13),
    "Hunyuan-Large": (389, 52),  # arXiv 2411.02265
    "ERNIE-4.5-300B-A47B": (300, 47),
    "ERNIE-4.5-21B-A3B": (21.83, 3 + 0.26),  # llama.cpp of the checkpoint; card: 21B and 3B, without the embedding
    "Step3-321B-A38B": (316, 38),  # card: its language model; 321B with the vision tower
    "dots.llm1": (142.774, 14),  # safetensors of the checkpoint; card: 142B and 14B
    "Ling-mini-2.0": (16.26, 1.43),
    "MiniMax-Text-01": (456, 45.9),  # active: without embedding and head
    "LongCat-Flash": (560, 27),  # active: the mean of 18.6 to 31.3, arXiv 2509.01322
    "Solar-Open-100B": (102, 12),
    "Jamba-v0.1": (52, 12),
    "Granite-3.1-3B-A800M": (3.3, 0.8 + 0.076),  # card: 800M, without the embedding
    "MiMo-V2-Flash": (309, 15),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_catalogue_matches_published_numbers(name):
    """Papers differ on whether the embedding is active: the number lies between the two counts, or within
    the rounding of the print (4 %) of them."""
    model = load_model(name)
    total, active = PUBLISHED[name]
    assert total_parameters(model) / 1e9 == pytest.approx(total, rel=0.01)
    few = active_parameters(model)
    many = few + (0 if model.tied_embeddings else model.vocab_size * model.hidden_size)
    assert few / 1e9 * 0.96 <= active <= many / 1e9 * 1.04


def test_deepseek_v3_by_hand():
    """Every matrix of DeepSeek-V3 written out (arXiv 2412.19437 §4.2)."""
    h, moe, dense = 7168, 2048, 18432
    mla = h * 1536 + 1536 + 1536 * 128 * 192 + h * 576 + 512 + 512 * 128 * 256 + 128 * 128 * h
    expert = 3 * h * moe
    layer = mla + 2 * h
    rest = 61 * layer + 3 * 3 * h * dense + h + 129280 * h
    total = rest + 129280 * h + 58 * (256 * h + 257 * expert)
    active = rest + h + 58 * (256 * h + 9 * expert)
    model = load_model("DeepSeek-V3")
    assert (total_parameters(model), active_parameters(model)) == (total, active)
    assert model.prediction_layers == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_family_counts_equal_transformers(family):
    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(FAMILIES[family])
    def check(config):
        assert_same_counts(config)

    check()


@pytest.mark.parametrize("outer", ["kimi_k25", "llama4", "qwen3_5", "qwen3_5_moe"])
def test_nested_config_is_its_text_model(outer):
    name = {"kimi_k25": "Kimi-K2.5", "llama4": "Llama-4-Maverick"}.get(outer, "Qwen3.5-397B-A17B")
    text = catalogue_config(name)["config"]["text_config"]
    if outer == "qwen3_5":
        text = {k: v for k, v in text.items() if "expert" not in k}
        text |= {"model_type": "qwen3_5_text", "intermediate_size": 4096}
    nested = from_config({"model_type": outer, "text_config": text, "vision_config": {"depth": 3}}, "x")
    assert nested == from_config(text, "x")
    assert nested == from_config({**text, "model_type": outer}, "x")


# -------------------------------------------------------------------------------- attention per layer


def test_attention_per_layer():
    oss = load_model("gpt-oss-20b").layers
    assert [layer.attention.window for layer in oss[:4]] == [128, None, 128, None]
    assert oss[0].attention.sinks
    scout = load_model("Llama-4-Scout").layers
    assert [layer.attention.chunk for layer in scout[:5]] == [8192, 8192, 8192, None, 8192]
    maverick = load_model("Llama-4-Maverick").layers
    assert [isinstance(layer.ffn, MoeFfn) for layer in maverick[:4]] == [False, True, False, True]
    following = load_model("Qwen3-Next-80B-A3B").layers
    assert [isinstance(layer.attention, LinearAttention) for layer in following[:4]] == [True] * 3 + [False]
    assert following[3].attention.output_gate
    assert load_model("DeepSeek-V2-Lite").layers[0].attention.q_rank is None
    assert load_model("DeepSeek-V3.2").layers[0].attention.indexer.top_k == 2048
    groups = load_model("DeepSeek-V3").moe
    assert (groups.groups, groups.top_groups) == (8, 4)
    assert isinstance(load_model("Mixtral-8x7B").layers[0].attention, SoftmaxAttention)


def test_sliding_window_starts_at_max_window_layers():
    base = json.loads((CONFIGS / "Qwen--Qwen3-8B_config.json").read_text())
    base |= {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 30}
    windows = [layer.attention.window for layer in from_config(base, "x").layers]
    assert windows == [None] * 30 + [4096] * 6


def test_glm_5_2_shares_indexers():
    model = read_config(CONFIGS / "zai-org--GLM-5.2_config.json")
    attentions = [layer.attention for layer in model.layers]
    own = [isinstance(a, LatentAttention) and not a.indexer.shared for a in attentions]
    assert sum(own) == 21
    assert_same_counts(json.loads((CONFIGS / "zai-org--GLM-5.2_config.json").read_text()))


# -------------------------------------------------------------------------------------- quantization


def formats(model):
    p = model.precision
    return p.weights, p.activations, p.kv_cache, p.dispatch, p.combine


def every(weight, *kinds):
    return dict.fromkeys(kinds, weight)


DEEPSEEK_KINDS = ("attention", "dense", "experts", "shared_experts")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Mixtral-8x7B", ({}, "bf16", "bf16", "bf16", "bf16")),
        ("DeepSeek-V3", (every("fp8_block", *DEEPSEEK_KINDS), "fp8", "bf16", "fp8", "bf16")),
        ("GLM-5-FP8", (every("fp8_block", *DEEPSEEK_KINDS), "fp8", "bf16", "fp8", "bf16")),
        ("MiniMax-M2.5", (every("fp8_block", "attention", "experts"), "fp8", "bf16", "fp8", "bf16")),
        ("gpt-oss-120b", ({"experts": "mxfp4"}, "bf16", "bf16", "bf16", "bf16")),
        ("Kimi-K2.5", ({"experts": "int4"}, "bf16", "bf16", "bf16", "bf16")),
    ],
)
def test_catalogue_precision(name, expected):
    assert formats(load_model(name)) == expected
    assert load_model(name).precision.default == "bf16"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # DeepSeek-V3.1-NVFP4 leaves the compressions of MLA alone; o_proj is most of its attention
        ("nvidia--DeepSeek-V3.1-NVFP4", (every("nvfp4", *DEEPSEEK_KINDS), "nvfp4", "fp8", "fp8", "bf16")),
        (
            "nvidia--Qwen3-235B-A22B-NVFP4",
            (every("nvfp4", "attention", "experts"), "nvfp4", "fp8", "fp8", "bf16"),
        ),
        (
            "nvidia--Llama-3.1-70B-Instruct-FP8",
            (every("fp8", "attention", "dense"), "fp8", "fp8", "fp8", "bf16"),
        ),
        ("nvidia--MiniMax-M2.5-NVFP4", ({"experts": "nvfp4"}, "nvfp4", "fp8", "fp8", "bf16")),
        (
            "nvidia--Qwen3.6-35B-A3B-NVFP4",
            (
                {"attention": "fp8", "experts": "nvfp4", "shared_experts": "nvfp4"},
                "bf16",
                "bf16",
                "bf16",
                "bf16",
            ),
        ),
    ],
)
def test_modelopt_folder(tmp_path, name, expected):
    """ModelOpt's hf_quant_config.json beside the config counts where the config says nothing."""
    shutil.copy(CONFIGS / f"{name}_config.json", tmp_path / "config.json")
    shutil.copy(CONFIGS / f"{name}_hf_quant_config.json", tmp_path / "hf_quant_config.json")
    model = read_config(tmp_path)
    assert formats(model) == expected
    assert model == read_config(tmp_path / "config.json")
    assert model.name == tmp_path.name


def quantized(**quantization):
    base = catalogue_config("Qwen3-30B-A3B")["config"]
    return formats(from_config({**base, "quantization_config": quantization}, "x"))


def test_other_quantizations():
    both = ("attention", "experts")
    assert quantized(quant_method="fp8")[0] == every("fp8", *both)
    assert quantized(quant_method="awq", bits=4) == (every("int4_g128_zp", *both), *["bf16"] * 4)
    assert quantized(quant_method="fp8", modules_to_not_convert=["self_attn"])[0] == {"experts": "fp8"}
    assert quantized(quant_method="fp8", ignored_layers=["*self_attn*"])[0] == {"experts": "fp8"}
    int8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
    group = {"targets": ["re:.*experts.*"], "weights": int8, "input_activations": int8}
    found = quantized(quant_method="compressed-tensors", config_groups={"group_0": group})
    assert found == ({"experts": "int8"}, "int8", "bf16", "int8", "bf16")
    # most of the attention stays BF16 in 40 of 48 layers, so the kind does
    some = [f"model.layers.{i}.self_attn" for i in range(40)]
    assert quantized(quant_method="fp8", modules_to_not_convert=some)[0] == {"experts": "fp8"}
    with pytest.raises(SpecError, match=r"quantization_config\.quant_method: got 'odd'; known are auto-round, awq"):
        quantized(quant_method="odd")
    with pytest.raises(SpecError, match="quant_algo: got 'ODD'"):
        quantized(quant_method="modelopt", quant_algo="ODD")
    with pytest.raises(SpecError, match="no regular expression"):
        quantized(quant_method="fp8", ignore=["re:("])


def test_float16_checkpoint():
    config = {**catalogue_config("Mixtral-8x7B")["config"], "torch_dtype": "float16"}
    assert from_config(config, "x").precision.default == "fp16"


# -------------------------------------------------------------------------------- the published files


#: totals of the language models, from builds of the reference implementations
TOTALS = {
    "Qwen--Qwen3-VL-235B-A22B-Instruct": 235_093_634_560,
    "Qwen--Qwen3-VL-30B-A3B-Instruct": 30_532_122_624,
    "XiaomiMiMo--MiMo-V2-Flash": 308_778_768_832,
    "deepseek-ai--DeepSeek-V4-Flash": 284_332_230_231,
    "deepseek-ai--DeepSeek-V4-Pro": 1_572_997_179_491,
    "google--gemma-4-26B-A4B": 25_233_141_760,
    "nvidia--MiniMax-M3-NVFP4": 426_174_565_632,
    "MiniMaxAI--MiniMax-M3": 426_174_565_632,
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": 31_577_937_344,
    "nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8": 120_668_687_360,
    "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": 549_308_968_960,
}


@pytest.mark.parametrize("file", REAL, ids=lambda p: p.name.removesuffix("_config.json"))
def test_published_config_reads(file):
    model = read_config(file)
    assert total_parameters(model) >= active_parameters(model) > 1e8
    assert all(t.parameters > 0 for t, _ in all_tensors(model))
    name = file.name.removesuffix("_config.json")
    assert total_parameters(model) == TOTALS.get(name, total_parameters(model))
    assert not any("read off the modules" in note for note in model.notes)


def test_unknown_type_tells_near_ones():
    with pytest.raises(SpecError, match=r"model_type: got 'mixtrall'; did you mean mixtral"):
        from_config({"model_type": "mixtrall"}, "x")
    with pytest.raises(SpecError, match=r"model_type: is missing"):
        from_config({"hidden_size": 8}, "x")


# ---------------------------------------------------------------------------------------- bad input

GOOD = catalogue_config("Qwen3-30B-A3B")["config"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": "2048"}, "hidden_size"),
        ({"hidden_size": 2048.0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": 10**30}, "hidden_size"),
        ({"hidden_size": float("nan")}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_key_value_heads": 5}, "num_key_value_heads"),
        ({"num_experts_per_tok": 129}, "num_experts_per_tok"),
        ({"num_experts": [128]}, "num_experts"),
        ({"attention_bias": "no"}, "attention_bias"),
        ({"mlp_only_layers": [None]}, "mlp_only_layers"),
        ({"model_type": None}, "model_type"),
        ({"model_type": 3}, "model_type"),
        ({"model_type": "no_such_type"}, "model_type"),
        ({"quantization_config": "fp8"}, "quantization_config"),
        ({"quantization_config": {}}, "quantization_config.quant_method"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings"),
        ({"vocab_size": 10**5000}, "vocab_size"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else next(iter(value)),
)
def test_bad_field(change, field):
    with pytest.raises(SpecError) as caught:
        from_config({**GOOD, **change}, "x", "some.json")
    assert (caught.value.file, caught.value.field) == ("some.json", field)
    assert len(str(caught.value)) < 700


def test_missing_field_is_named():
    for field in ("hidden_size", "vocab_size", "num_attention_heads", "num_experts", "moe_intermediate_size"):
        with pytest.raises(SpecError, match=f"{field}: is missing"):
            from_config({k: v for k, v in GOOD.items() if k != field}, "x")


def test_layer_lists_must_fit():
    config = catalogue_config("gpt-oss-20b")["config"]
    for kinds in (["full_attention"], ["odd_attention"] * 24, [3] * 24, "full_attention"):
        with pytest.raises(SpecError, match="layer_types"):
            from_config({**config, "layer_types": kinds}, "x")
    with pytest.raises(SpecError, match="moe_layers"):
        from_config({**catalogue_config("Llama-4-Scout")["config"]["text_config"], "moe_layers": [99]}, "x")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '"a"',
        "{",
        "nope",
        '{"a": 1} x',
        "[" * 100_000,
        '{"a": ' * 100_000,
        '{"a": ' + "9" * 9999 + "}",
    ],
    ids=range(10),
)
def test_unreadable_file(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for path in (tmp_path, tmp_path / "config.json", str(tmp_path)):
        with pytest.raises(SpecError) as caught:
            read_config(path)
        assert caught.value.file == str(tmp_path / "config.json")


def test_no_such_file(tmp_path):
    for path in (tmp_path, tmp_path / "none", tmp_path / "none" / "config.json", "a\0b", "x" * 10_000):
        with pytest.raises(SpecError):
            read_config(path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00\x01{")
    with pytest.raises(SpecError, match="not text in UTF-8"):
        read_config(tmp_path)


def test_bad_sidecar(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(GOOD))
    for content in ("[", "[]", '{"quantization": 3}', '{"quantization": {"quant_algo": 3}}'):
        (tmp_path / "hf_quant_config.json").write_text(content)
        with pytest.raises(SpecError):
            read_config(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_cut_file(tmp_path, data):
    text = (CONFIGS / "openai--gpt-oss-20b_config.json").read_text().rstrip()
    (tmp_path / "config.json").write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(SpecError):
        read_config(tmp_path)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([10**30, 2**63, 1 << 24, -(10**18)]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["llama", "dbrx", "deepseek_v2", "glm_moe_dsa", "re:(", "re:[", "*", "", "NVFP4"]),
    st.lists(st.none() | st.integers() | st.text(max_size=4), max_size=4),
    st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.text(max_size=4), max_size=3),
)
MUTABLE = [json.loads(p.read_text()) for p in REAL] + [catalogue_config(n)["config"] for n in model_names()]
MUTABLE = [c for c in MUTABLE if c["model_type"] in KNOWN]


def mutated(draw, node):
    """``node`` with one place below it deleted or replaced by junk."""
    if isinstance(node, dict) and node and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(node)))
        if not draw(st.integers(0, 4)):
            return {k: v for k, v in node.items() if k != key}
        return {**node, key: mutated(draw, node[key])}
    if isinstance(node, list) and node and draw(st.booleans()):
        place = draw(st.integers(0, len(node) - 1))
        return [*node[:place], mutated(draw, node[place]), *node[place + 1 :]]
    return draw(JUNK)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutated_configs_read_or_raise_spec_error(data):
    config = data.draw(st.sampled_from(MUTABLE))
    for _ in range(data.draw(st.integers(1, 3))):
        changed = mutated(data.draw, config)
        config = changed if isinstance(changed, dict) else config
    model, error = outcome(config)
    if model is None:
        assert len(str(error)) < 1000
        assert error.file == "f"
    else:
        assert total_parameters(model) >= active_parameters(model) > 0
        assert len(model.layer_kinds()) <= len(model.layers)


def outcome(config):
    """The model or the SpecError of ``config``; any other error passes through."""
    try:
        return from_config(config, "x", "f"), None
    except SpecError as error:
        return None, error


# ----------------------------------------------------------------------------------------- look-up


def test_unknown_name_tells_near_ones():
    with pytest.raises(SpecError, match=r"did you mean.*Mixtral-8x7B"):
        load_model("mixtral8x7b-chat")
    with pytest.raises(SpecError, match=r"known are .*DBRX"):
        load_model("zzz")
    assert load_model("deepseek-ai/DeepSeek-R1").name == "DeepSeek-V3"


def test_an_alias_is_the_same_checkpoint():
    """A variant of the publisher's own has the sizes and formats of the catalogue's; any other may be another model."""
    assert find_alias("moonshotai/Kimi-K2-Instruct-0905") == "Kimi-K2"
    assert find_alias("Qwen3-30B-A3B-Instruct-2507") == "Qwen3-30B-A3B"
    assert find_name("kimi k2 thinking") == "Kimi-K2-Thinking"
    assert find_alias("somebody/DeepSeek-R1") is None
    assert find_alias("DeepSeek-R1-AWQ") is None
    assert find_alias("GLM-4.5-Thinking") is None  # thinking models have come in formats of their own
    assert find_model("somebody/GLM-4.5-Thinking") == "GLM-4.5"  # of the same sizes


def test_reading_needs_no_torch():
    code = "import sys, moewright.case.catalogue.model_catalogue as c; c.load_model('DBRX'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "numpy"} & set(loaded.split())
