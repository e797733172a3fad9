"""quantization_config of each method → what it quantizes and how.

Activations follow what serving engines run: FP8 weights take FP8 activations; INT4, MXFP4 and other weight-only
formats leave them as they are; NVFP4 with quantized inputs takes NVFP4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.quantization.integer_methods import awq, bitsandbytes, eetq, gptq, hqq, mlx
from moewright.case.huggingface.quantization.module_names import Names
from moewright.case.huggingface.quantization.scheme import PLAIN, Scheme, whole_numbers

#: ModelOpt's quant_algo → (weights, activations; None: not quantized)
_ALGORITHMS: Final[dict[str, tuple[str, str | None]]] = {
    "FP8": ("fp8", "fp8"),
    "FP8_PB_WO": ("fp8_block", "fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", "fp8"),
    "INT4_AWQ": ("int4_g128", None),
    "INT8_SQ": ("int8", "int8"),
    "MXFP4": ("mxfp4", None),
    "MXFP8": ("mxfp8", "fp8"),
    "NVFP4": ("nvfp4", "nvfp4"),
    "NVFP4_AWQ": ("nvfp4", "nvfp4"),
    "W4A16_AWQ": ("int4_g128", None),
    "W4A16_MXFP4": ("mxfp4", None),
    "W4A16_NVFP4": ("nvfp4", None),
    "W4A8_AWQ": ("int4_g128", "fp8"),
    "W4A8_MXFP4_FP8": ("mxfp4", "fp8"),
    "W8A16": ("int8", None),
    "W8A8_SQ_PER_CHANNEL": ("int8", "int8"),
}


def schemes(q: Fields, expert_format: str | None = None) -> list[Scheme]:
    """What a quantization_config quantizes and how, in order of precedence. ``expert_format``: the config's own
    expert_dtype."""
    method = q.text("quant_method")
    if method is None:
        method = _without_method(q)
    reader = _METHODS.get(method or "")
    if reader is None:
        raise q.error("quant_method", f"got {str(method)[:40]!r}; known are {', '.join(sorted(_METHODS))}")
    found = reader(q, skipped(q))
    dtype = q.text("expert_dtype") or expert_format
    if dtype == "fp4" and method == "fp8":  # DeepSeek-V4: experts with a power-of-two scale per 32
        found.insert(len(found) - 1, Scheme("mxfp4", "fp8", kinds=("experts",)))
    return found


def _without_method(q: Fields) -> str | None:
    if q.has("quant_algo"):
        return "modelopt"
    if q.has("bits") and q.has("group_size"):
        return "mlx"
    return "compressed-tensors" if q.has("config_groups") else None


def skipped(q: Fields) -> Names:
    """The modules that a config leaves alone, by whichever name it lists them."""
    entries: list[str] = []
    for name in (
        *("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "exclude"),
        "llm_int8_skip_modules",
    ):
        entries += q.texts(name) or []
    return Names.of(entries, q, "modules_to_not_convert")


def _fp8(q: Fields, but: Names) -> list[Scheme]:
    blocks = q.integers("weight_block_size")
    if blocks is not None and (len(blocks) != 2 or min(blocks) < 1):
        raise q.error("weight_block_size", f"got {str(blocks)[:40]}; expected two whole numbers such as [128, 128]")
    weights = "fp8_block" if blocks is not None else "fp8"
    if q.has("quantized_layers"):  # some modules are another format's; what that leaves alone is FP8
        return [*_listed(q, but), Scheme(weights, "fp8")]
    return [Scheme(weights, "fp8", but=but)]


def _mxfp4(q: Fields, but: Names) -> list[Scheme]:
    return [Scheme("mxfp4", None, but=but, kinds=("experts",))]


def _quark(q: Fields, but: Names) -> list[Scheme]:
    """AMD Quark: one config for all, others for patterns of modules."""
    found = []
    if q.has("layer_quant_config"):
        layers = q.section("layer_quant_config")
        for pattern in layers.raw:
            weights, inputs = _quark_formats(layers.section(pattern))
            found.append(Scheme(weights, inputs, only=Names.of([pattern], layers, pattern[:40]), but=but))
    weights, inputs = _quark_formats(q.section("global_quant_config"))
    return [*found, Scheme(weights, inputs, but=but)]


def _quark_formats(q: Fields) -> tuple[str, str | None]:
    weight: Any = q.raw.get("weight")
    if isinstance(weight, list):  # int4 weights that are multiplied as fp8
        parts = q.mappings("weight") or []
        inner = parts[-1] if parts else None
    else:
        inner = q.section("weight") if q.has("weight") else None
    if inner is None:
        return PLAIN, None
    inputs = q.section("input_tensors") if isinstance(q.raw.get("input_tensors"), Mapping) else None
    activations = _quark_format(inputs) if inputs else None
    return _quark_format(inner), {"fp8": "fp8", "int8": "int8", "mxfp4": "fp8", "nvfp4": "nvfp4"}.get(activations or "")


def _quark_format(q: Fields) -> str:
    dtype, group = q.text("dtype") or "", q.optional("group_size", least=-1)
    if dtype.startswith("fp8"):
        return "fp8"
    if dtype in ("fp4", "mx"):
        return "nvfp4" if group == 16 else "mxfp4"
    if dtype.startswith(("int", "uint")):
        bits = dtype.removeprefix("u").removeprefix("int")
        if bits.isdigit() and int(bits) in range(2, 9):
            grouped = q.text("qscheme") == "per_group"
            return whole_numbers(int(bits), group if grouped else None, "_zp" if dtype.startswith("u") else "")
    raise q.error("dtype", f"got {dtype[:40]!r}; known are fp8, fp4, mx, and int and uint of 2 to 8 bits")


def _groups(q: Fields, but: Names) -> list[Scheme]:
    """compressed-tensors: groups of modules, each with its weights and input_activations."""
    groups = q.section("config_groups")
    found = []
    for name in groups.raw:
        group = groups.section(name)
        targets = group.texts("targets")
        named = targets is not None and "Linear" not in targets
        only = Names.of(targets or [], group, "targets") if named else None
        inputs = group.section("input_activations") if group.has("input_activations") else None
        weights = _number_format(group.section("weights"))
        activations = _number_format(inputs).removesuffix("_block") if inputs else None
        found.append(Scheme(weights, {"mxfp4": None, "mxfp8": "fp8"}.get(activations or "", activations), only, but))
    return found


def _number_format(f: Fields) -> str:
    bits, kind, size = f.integer("num_bits"), f.text("type", "int"), f.optional("group_size", least=-1)
    if kind == "float" and bits == 8:
        if size == 32 and f.text("strategy") == "group":
            return "mxfp8"
        return "fp8_block" if f.text("strategy") in ("block", "group") else "fp8"
    if kind == "float" and bits == 4:
        return "mxfp4" if size == 32 else "nvfp4"
    if kind == "int" and bits in range(2, 9):
        # whole numbers of activations have a scale per token
        return whole_numbers(bits, size, "" if f.flag("symmetric", True) else "_zp")
    raise f.error("num_bits", f"got {bits} bits of type {str(kind)[:20]!r}; known are int of 2 to 8, float of 4 and 8")


def _modelopt(q: Fields, but: Names) -> list[Scheme]:
    """ModelOpt: one quant_algo for all but exclude_modules, or MIXED_PRECISION with a list of modules."""
    algorithm = q.text("quant_algo")
    if algorithm is None and q.has("config_groups"):
        return _groups(q, but)
    if algorithm != "MIXED_PRECISION":
        weights, activations = _algorithm(q, algorithm)
        return [Scheme(weights, activations, but=but)]
    return _listed(q, but)


def _listed(q: Fields, but: Names) -> list[Scheme]:
    listed = q.section("quantized_layers")
    modules: dict[tuple[str, int], list[str]] = {}
    for module in listed.raw:
        one = listed.section(module)
        modules.setdefault((one.text("quant_algo") or "", one.integer("group_size", 0, least=0)), []).append(module)
    return [
        Scheme(*_algorithm(listed, name, group), only=Names.of(entries, listed, "quantized_layers"), but=but)
        for (name, group), entries in modules.items()
    ]


def _algorithm(q: Fields, name: str | None, group: int = 0) -> tuple[str, str | None]:
    try:
        weights, activations = _ALGORITHMS[name or ""]
    except KeyError:
        known = ", ".join([*_ALGORITHMS, "MIXED_PRECISION"])
        raise q.error("quant_algo", f"got {str(name)[:40]!r}; known are {known}") from None
    size = group or q.integer("group_size", 0, least=0)
    return (whole_numbers(4, size) if size and weights == "int4_g128" else weights), activations


_METHODS: Final = {
    "auto-round": gptq,
    "awq": awq,
    "bitsandbytes": bitsandbytes,
    "compressed-tensors": _groups,
    "eetq": eetq,
    "fbgemm_fp8": _fp8,
    "fp8": _fp8,
    "gptq": gptq,
    "gptqmodel": gptq,
    "hqq": hqq,
    "intel/auto-round": gptq,
    "mlx": mlx,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "modelopt_mixed": _modelopt,
    "mxfp4": _mxfp4,
    "quark": _quark,
}


def kv_cache(q: Fields) -> str | None:
    """fp8 or nvfp4 where the checkpoint carries scales for such a cache."""
    scheme: Any = q.text("kv_cache_quant_algo") or q.raw.get("kv_cache_scheme")
    if isinstance(scheme, Mapping):
        return {8: "fp8", 4: "nvfp4"}.get(q.section("kv_cache_scheme").integer("num_bits"))
    if isinstance(scheme, str):
        return {"fp8": "fp8", "static": "fp8", "nvfp4": "nvfp4"}.get(scheme.lower())
    quark = q.raw.get("kv_cache_quant_config")
    if isinstance(quark, Mapping) and quark:
        return "fp8" if "fp8" in str(quark)[:4000] else None
    return None
