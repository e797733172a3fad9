"""Quantization as shipped: bytes of every weight with its scales, by method, module and layer."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from hf_configs import catalogue_config
from moewright.case.attention_kinds import UnknownAttention
from moewright.case.file.load import case_of, refuse_unpriced
from moewright.case.huggingface.config import from_config, read_config
from moewright.case.precision import element_bytes, format_unit, is_format, plain_format
from moewright.case.tensors.layer_tensors import all_tensors
from moewright.errors import SpecError

CONFIGS = Path(find_spec("aiconfigurator_core").submodule_search_locations[0]) / "model_configs"
QWEN = catalogue_config("Qwen3-30B-A3B")["config"]
MIXTRAL = catalogue_config("Mixtral-8x7B")["config"]


def model_bytes(model, *kinds):
    return sum(model.precision.tensor_bytes(t) * n for t, n in all_tensors(model) if not kinds or t.kind in kinds)


def quantized(config, **quantization):
    return from_config({**config, "quantization_config": quantization}, "x")


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int4_g128_zp", 4 + 16 / 128 + 4 / 128),  # AWQ: fp16 scale, 4-bit zero point
        ("int4_g128", 4 + 16 / 128),
        ("int4", 4 + 16 / 32),
        ("int8_g64_offset", 8 + 32 / 64),  # MLX: fp16 scale and offset
        ("int3_row", 3),
        ("nf4", 4 + 32 / 64),
        ("nf4_double", 4 + 8 / 64 + 32 / (64 * 256)),  # arXiv 2305.14314: 0.127 bits
        ("nvfp4", 4 + 8 / 16),
        ("mxfp4", 4 + 8 / 32),
        ("mxfp8", 8 + 8 / 32),
    ],
)
def test_bits_of_formats(name, bits):
    assert is_format(name)
    assert element_bytes(name) * 8 == pytest.approx(bits, rel=1e-12)


def test_names_of_formats():
    assert not any(is_format(n) for n in ("int4_g", "int9_g128", "int4_g128_x", "int4_g1234567", "", None, 4, "INT4"))
    assert [plain_format(n) for n in ("int4_g128_zp", "nf4", "int8_g64_offset", "bf16", "nvfp4")] == [
        *("int4", "int4", "int8", "bf16", "nvfp4")
    ]
    assert format_unit("int3_row") == "int4"
    with pytest.raises(KeyError):
        element_bytes("int4_g128_x")


def test_mixtral_awq():
    """24.65 GB: 4-bit matrices in groups of 128 with zero points, all else and the router in 16 bits."""
    model = quantized(
        MIXTRAL, quant_method="awq", bits=4, group_size=128, zero_point=True, modules_to_not_convert=["gate"]
    )
    assert model_bytes(model) / 1e9 == pytest.approx(24.65, abs=0.005)


def test_only_o_proj_of_attention():
    """NVIDIA's DeepSeek-V3.1-NVFP4 leaves all of attention but the output projection in bf16: 12.53 GB of it."""
    model = read_config(CONFIGS / "nvidia--DeepSeek-V3.1-NVFP4_config.json")
    assert model_bytes(model, "attention") / 1e9 == pytest.approx(12.53, abs=0.005)
    formats = {t.name: model.precision.tensor_format(t) for t, _ in all_tensors(model) if t.kind == "attention"}
    assert formats["o_proj"] == "nvfp4"
    assert {formats[n] for n in ("q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj")} == {"bf16"}
    assert model.precision.kv_cache == "fp8"


def test_layers_left_alone():
    """What 40 of 48 layers leave alone is counted there, and quantized in the other 8."""
    some = [f"model.layers.{i}.self_attn" for i in range(40)]
    model = quantized(QWEN, quant_method="fp8", modules_to_not_convert=some)
    plain, whole = from_config(QWEN, "x"), quantized(QWEN, quant_method="fp8")
    matrices = sum(t.parameters * n for t, n in all_tensors(plain) if t.kind == "attention") / 48
    assert model_bytes(model, "attention") == pytest.approx(matrices * (40 * 2 + 8), rel=1e-9)
    assert model_bytes(whole, "attention") == pytest.approx(matrices * 48, rel=1e-9)
    assert len(model.layer_kinds()) == 2


def test_gptq_dynamic():
    """- before a pattern leaves modules alone, + gives them bits of their own."""
    dynamic = {"-:.*self_attn.*": {}, r"+:.*layers\.[0-3]\..*experts.*": {"bits": 8, "group_size": 32}}
    model = quantized(QWEN, quant_method="gptq", bits=4, group_size=128, sym=True, dynamic=dynamic)
    assert model.precision.weights == {"experts": "int4_g128"}
    expert = sum(t.parameters for t, n in all_tensors(from_config(QWEN, "x")) if t.kind == "experts")
    assert model_bytes(model, "experts") == pytest.approx(
        expert * (44 * element_bytes("int4_g128") + 4 * element_bytes("int8_g32")), rel=1e-9
    )
    with pytest.raises(SpecError, match="no regular expression"):
        quantized(QWEN, quant_method="gptq", bits=4, dynamic={"-:(": {}})
    asymmetric = quantized(QWEN, quant_method="gptq", bits=4, group_size=64, sym=False)
    assert asymmetric.precision.weights["experts"] == "int4_g64_zp"


def test_gptq_lists_of_modules():
    """Only what the steps of a block list is quantized."""
    steps = [[f"mlp.experts.{e}.gate_proj" for e in range(128)], ["mlp.experts.0.down_proj"]]
    model = quantized(QWEN, quant_method="gptq", bits=4, modules_in_block_to_quantize=steps)
    assert model.precision.weights == {"experts": "int4_g128"}
    with pytest.raises(SpecError, match="modules_in_block_to_quantize: is no list of lists"):
        quantized(QWEN, quant_method="gptq", bits=4, modules_in_block_to_quantize=[[1]])


def test_auto_round():
    more = {"model.layers.0.self_attn.q_proj": {"bits": 16}}
    model = quantized(QWEN, quant_method="auto-round", bits=4, group_size=128, sym=True, extra_config=more)
    assert model.precision.weights == dict.fromkeys(("attention", "experts"), "int4_g128")
    assert dict(model.layers[0].formats) == {"q_proj": "bf16"}
    assert quantized(QWEN, quant_method="auto-round", bits=4, data_type="mx_fp").precision.weights["experts"] == "mxfp4"


def test_mlx_quantizes_everything_unless_told():
    key = {"group_size": 64, "bits": 4, "model.layers.0.mlp.gate": {"group_size": 64, "bits": 8}}
    model = from_config({**QWEN, "quantization": key}, "x")
    four = element_bytes("int4_g64_offset")
    assert model.precision.weights["vocabulary"] == model.precision.weights["router"] == "int4_g64_offset"
    vocabulary = 2 * model.vocab_size * model.hidden_size
    assert model_bytes(model, "vocabulary") == pytest.approx(vocabulary * four)
    assert dict(model.layers[0].formats) == {"router": "int8_g64_offset"}
    assert model.layers[1].formats == ()
    three = {f"model.layers.{i}.mlp.switch_mlp.{part}_proj": {"bits": 3} for i in range(48) for part in ("up", "down")}
    model = from_config({**QWEN, "quantization": {"group_size": 64, "bits": 4, **three}}, "x")
    assert model.precision.weights["experts"] == "int3_g64_offset"


def test_quark():
    weight = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}
    config = {"weight": weight, "input_tensors": weight}
    model = quantized(QWEN, quant_method="quark", global_quant_config=config, exclude=["lm_head", "re:.*self_attn.*"])
    assert model.precision.weights == {"experts": "mxfp4"}
    fp8 = {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}, "input_tensors": {"dtype": "fp8_e4m3"}}
    mixed = quantized(
        QWEN, quant_method="quark", global_quant_config=fp8, layer_quant_config={"*experts*": config}, exclude=[]
    )
    assert mixed.precision.weights == {"attention": "fp8", "experts": "mxfp4"}


def test_bitsandbytes():
    double = quantized(QWEN, quant_method="bitsandbytes", load_in_4bit=True, bnb_4bit_use_double_quant=True)
    assert double.precision.weights["experts"] == "nf4_double"
    assert quantized(QWEN, quant_method="bitsandbytes", load_in_8bit=True).precision.weights["experts"] == "int8"


def test_deepseek_v4_experts_in_fp4():
    model = read_config(CONFIGS / "deepseek-ai--DeepSeek-V4-Flash_config.json")
    assert model.precision.weights == {
        "attention": "fp8_block",
        "experts": "mxfp4",
        "shared_experts": "fp8_block",
    }
    nvidia = read_config(CONFIGS / "nvidia--DeepSeek-V4-Flash-NVFP4_config.json")
    assert nvidia.precision.weights["experts"] == "nvfp4"
    assert nvidia.precision.weights["attention"] == "fp8_block"


def test_cache_formats_are_their_own():
    model = quantized(QWEN, quant_method="fp8")
    assert model.precision.kv_cache == "bf16"
    assert any("KV cache in bf16" in note for note in model.notes)
    told = quantized(QWEN, quant_method="fp8", kv_cache_scheme={"num_bits": 8, "type": "float"})
    assert told.precision.kv_cache == "fp8"
    assert not any("KV cache" in note for note in told.notes)


def test_shared_indexers_keep_nothing():
    """GLM-5.2, cache in fp8: 78 layers of 576 and 21 indexes of 128 with a scale, 47,700 bytes a token."""
    config = json.loads((CONFIGS / "zai-org--GLM-5.2_config.json").read_text())
    model = from_config(config, "x")
    assert sum(layer.attention.token_bytes(1.0) for layer in model.layers) == 78 * 576 + 21 * 132 == 47_700
    work = sum(layer.attention.index_flops for layer in model.layers)
    assert work == 21 * 2 * config["index_n_heads"] * config["index_head_dim"]


def test_what_cannot_be_priced_is_refused_by_name(tmp_path):
    """DeepSeek-V4 is priced; a layer whose cache and FLOPs nobody knows is weighed, and a spec with it says so."""
    source = CONFIGS / "deepseek-ai--DeepSeek-V4-Flash_config.json"
    (tmp_path / "config.json").write_text(source.read_text())
    spec = {"model": "config.json", "cluster": "h200-hgx", "workload": {"kind": "decode", "batch": 8, "sequence": 128}}
    model = case_of(spec, str(tmp_path / "spec.yaml")).model
    unknown = replace(model, layers=(replace(model.layers[0], attention=UnknownAttention("Mixer", 8, 8)),))
    with pytest.raises(SpecError, match="has Mixer in layer 0 and 0 more, which is weighed but not priced yet"):
        refuse_unpriced(unknown, "spec.yaml")


def test_encoders_are_in_an_engines_memory_and_in_no_total():
    """Gemma 4's vision encoder: 27 layers of 4 · 1152² + 2 · 1152 · 4304; an engine printed 48.5 GiB of weights."""
    config = json.loads((CONFIGS / "google--gemma-4-26B-A4B_config.json").read_text())
    model = from_config(config, "x")
    assert model.tower_parameters == 27 * (4 * 1152**2 + 2 * 1152 * 4304)
    assert any("encoders of about 411 M" in note for note in model.notes)
    plain = from_config({k: v for k, v in config.items() if k != "vision_config"}, "x")
    assert plain.tower_parameters == 0
    assert sum(t.parameters * n for t, n in all_tensors(plain)) == sum(t.parameters * n for t, n in all_tensors(model))
