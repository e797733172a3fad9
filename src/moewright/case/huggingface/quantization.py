"""quantization_config (and ModelOpt's hf_quant_config.json) → Precision.

A ``Precision`` has one format per kind of tensor; checkpoints choose per module. Each linear module of the
model is matched, by its name in the checkpoint, with the lists of modules left alone (or quantized), and
the format that holds most of a kind's parameters is the kind's. Embeddings, head, norms and router stay
in the checkpoint's dtype, as every loader of these formats keeps them.

Activations, dispatch and cache follow what serving engines run:
* FP8 weights: FP8 activations; DeepEP dispatches FP8 and combines BF16 (DeepSeek-V3, arXiv 2412.19437 §3.3).
* MXFP4, INT4 and other weight-only formats: activations stay BF16, so dispatch does too.
* NVFP4 weights with quantized inputs: NVFP4 activations, FP8 dispatch (DeepEP sends FP8 or BF16; NVFP4
  dispatch exists in TensorRT-LLM and is not assumed), BF16 combine.
* the KV cache stays in the dtype unless kv_cache_scheme or kv_cache_quant_algo says FP8 or NVFP4.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from moewright.case.huggingface.fields import Fields
from moewright.case.model import Layer
from moewright.case.precision import Precision
from moewright.case.tensors import Tensor, layer_tensors

_DTYPES: Final = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32"}

#: ModelOpt's quant_algo → (weights, activations; None: not quantized)
_ALGORITHMS: Final[dict[str, tuple[str, str | None]]] = {
    "FP8": ("fp8", "fp8"),
    "FP8_PB_WO": ("fp8_block", "fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", "fp8"),
    "INT4_AWQ": ("int4", None),
    "INT8_SQ": ("int8", "int8"),
    "MXFP4": ("mxfp4", None),
    "NVFP4": ("nvfp4", "nvfp4"),
    "NVFP4_AWQ": ("nvfp4", "nvfp4"),
    "W4A16_AWQ": ("int4", None),
    "W4A16_NVFP4": ("nvfp4", None),
    "W4A8_AWQ": ("int4", "fp8"),
    "W8A16": ("int8", None),
}
_METHODS: Final = ("awq", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", "mxfp4")
_KINDS: Final = ("attention", "experts", "shared_experts", "dense")

#: a tensor's name here → the names its modules have in checkpoints, below ``model.layers.<i>.``
_MODULES: Final[dict[str, tuple[str, ...]]] = {
    **{name: (f"self_attn.{name}",) for name in ("q_a_proj", "q_b_proj", "kv_b_proj")},
    **{name: (f"self_attn.{name}", "self_attn.qkv_proj") for name in ("q_proj", "k_proj", "v_proj")},
    "o_proj": ("self_attn.o_proj",),
    "kv_a_proj": ("self_attn.kv_a_proj_with_mqa",),
    "indexer_q": ("self_attn.indexer.wq_b",),
    "indexer_k": ("self_attn.indexer.wk",),
    "indexer_weights": ("self_attn.indexer.weights_proj", "self_attn.indexers_proj"),
    "in_proj_qk": ("linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz"),
    "in_proj_vz": ("linear_attn.in_proj_z", "linear_attn.in_proj_qkvz"),
    "in_proj_ba": ("linear_attn.in_proj_ba", "linear_attn.in_proj_b"),
    "out_proj": ("linear_attn.out_proj",),
    "expert_up": (
        "mlp.experts.0.gate_proj",
        "mlp.experts.gate_up_proj",
        "block_sparse_moe.experts.0.w1",
        "feed_forward.experts.0.gate_proj",
    ),
    "expert_down": (
        "mlp.experts.0.down_proj",
        "mlp.experts.down_proj",
        "block_sparse_moe.experts.0.w2",
        "feed_forward.experts.0.down_proj",
    ),
    "shared_up": (
        "mlp.shared_experts.gate_proj",
        "mlp.shared_expert.gate_proj",
        "feed_forward.shared_expert.gate_proj",
    ),
    "shared_down": (
        "mlp.shared_experts.down_proj",
        "mlp.shared_expert.down_proj",
        "feed_forward.shared_expert.down_proj",
    ),
    "dense_up": ("mlp.gate_proj", "mlp.gate_up_proj", "feed_forward.gate_proj"),
    "dense_down": ("mlp.down_proj", "feed_forward.down_proj"),
}


@dataclass(frozen=True, slots=True)
class _Names:
    """A set of modules as the lists in configs name them: whole or partial dotted names, ``*`` wildcards,
    and ``re:`` regular expressions (compressed-tensors)."""

    exact: frozenset[str]
    wild: re.Pattern[str] | None
    regular: tuple[re.Pattern[str], ...]

    @staticmethod
    def of(entries: Iterable[str], fields: Fields, name: str) -> _Names:
        exact, wild, regular = set(), [], []
        for entry in entries:
            entry = entry.replace("language_model.", "")
            if entry.startswith("re:"):
                try:
                    regular.append(re.compile(entry[3:]))
                except (re.error, OverflowError, RecursionError) as fault:
                    raise fields.error(name, f"{entry[:40]!r} is no regular expression ({fault})") from None
            elif "*" in entry:
                wild.append(".*".join(re.escape(part) for part in re.split(r"\*+", entry)))
            else:
                exact.add(entry)
        joined = re.compile(rf"(?:.*\.)?(?:{'|'.join(wild)})(?:\..*)?") if wild else None
        return _Names(frozenset(exact), joined, tuple(regular))

    def match(self, module: str) -> bool:
        """Whether ``module``, or a module it lies in, is of the set."""
        parts = module.split(".")
        runs = (".".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1))
        return (
            any(run in self.exact for run in runs)
            or bool(self.wild and self.wild.fullmatch(module))
            or any(pattern.match(module) for pattern in self.regular)
        )


@dataclass(frozen=True, slots=True)
class _Scheme:
    """Weights and activations of the modules it applies to: ``only`` those, if given, and not ``but``."""

    weights: str
    activations: str | None
    only: _Names | None = None
    but: _Names | None = None
    kinds: tuple[str, ...] = field(default=_KINDS)

    def applies(self, kind: str, modules: list[str]) -> bool:
        if kind not in self.kinds or (self.but and any(map(self.but.match, modules))):
            return False
        return self.only is None or any(map(self.only.match, modules))


def precision(config: Fields, quantization: Fields | None, layers: tuple[Layer, ...], hidden: int) -> Precision:
    """The Precision of a checkpoint: ``config`` for its dtype, ``quantization`` for the rest."""
    dtype = _DTYPES.get(config.text(config.first("dtype", "torch_dtype")) or "bfloat16", "bf16")
    plain = Precision(dtype, {}, *(dtype,) * 4)
    if quantization is None:
        return plain
    chosen = _formats_by_kind(_schemes(quantization), layers, hidden)
    of_most = chosen.get("experts") or chosen.get("dense") or next(iter(chosen.values()), None)
    activations = (of_most.activations if of_most else None) or dtype
    low = activations in ("fp8", "int8", "nvfp4")
    return Precision(
        default=dtype,
        weights={kind: scheme.weights for kind, scheme in chosen.items()},
        activations=activations,
        kv_cache=_kv_cache(quantization) or dtype,
        dispatch=("int8" if activations == "int8" else "fp8") if low else dtype,
        combine=dtype,
    )


def _formats_by_kind(schemes: list[_Scheme], layers: tuple[Layer, ...], hidden: int) -> dict[str, _Scheme]:
    """For each kind of tensor, the scheme that holds most of its parameters; none where most are plain."""
    tallies: dict[str, Counter[int]] = {}
    tensors: dict[Layer, list[Tensor]] = {}
    for position, layer in enumerate(layers):
        for tensor in tensors.setdefault(layer, layer_tensors(layer, hidden)):
            if tensor.kind not in _KINDS or tensor.name not in _MODULES:
                continue
            modules = [f"model.layers.{position}.{name}" for name in _MODULES[tensor.name]]
            index = next((i for i, s in enumerate(schemes) if s.applies(tensor.kind, modules)), -1)
            tallies.setdefault(tensor.kind, Counter())[index] += tensor.parameters
    winners = {kind: tally.most_common(1)[0][0] for kind, tally in tallies.items()}
    return {kind: schemes[index] for kind, index in winners.items() if index >= 0}


def _schemes(q: Fields) -> list[_Scheme]:
    """What the config quantizes and how, in order of precedence."""
    method = q.text("quant_method")
    if method is None:
        method = "modelopt" if q.has("quant_algo") else None
    skipped = _skipped(q)
    if method in ("fp8", "fbgemm_fp8"):
        return [_Scheme("fp8_block" if _blocks(q) else "fp8", "fp8", but=skipped)]
    if method == "mxfp4":
        return [_Scheme("mxfp4", None, but=skipped, kinds=("experts",))]
    if method in ("awq", "gptq"):
        bits = q.integer("bits", 4)
        if bits not in (4, 8):
            raise q.error("bits", f"got {bits}; known are 4 and 8")
        return [_Scheme(f"int{bits}", None, but=skipped)]
    if method == "compressed-tensors":
        return _groups(q, skipped)
    if method == "modelopt":
        return _modelopt(q, skipped)
    raise q.error("quant_method", f"got {str(method)[:40]!r}; known are {', '.join(_METHODS)}")


def _skipped(q: Fields) -> _Names:
    entries: list[str] = []
    for name in ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules"):
        entries += q.texts(name) or []
    return _Names.of(entries, q, "modules_to_not_convert")


def _blocks(q: Fields) -> bool:
    blocks = q.integers("weight_block_size")
    if blocks is not None and (len(blocks) != 2 or min(blocks) < 1):
        raise q.error("weight_block_size", f"got {str(blocks)[:40]}; expected two whole numbers such as [128, 128]")
    return blocks is not None


def _groups(q: Fields, skipped: _Names) -> list[_Scheme]:
    """compressed-tensors: groups of modules, each with its weights and input_activations."""
    groups = q.section("config_groups")
    schemes = []
    for name in groups.raw:
        group = groups.section(name)
        targets = group.texts("targets")
        named = targets is not None and "Linear" not in targets
        only = _Names.of(targets or [], group, "targets") if named else None
        inputs = group.section("input_activations") if group.has("input_activations") else None
        weights = _number_format(group.section("weights"))
        activations = _number_format(inputs).removesuffix("_block") if inputs else None
        schemes.append(_Scheme(weights, activations, only, skipped))
    return schemes


def _number_format(f: Fields) -> str:
    bits, kind, size = f.integer("num_bits"), f.text("type", "int"), f.optional("group_size", least=-1)
    if kind == "float" and bits == 8:
        return "fp8_block" if f.text("strategy") in ("block", "group") else "fp8"
    if kind == "float" and bits == 4:
        return "mxfp4" if size == 32 else "nvfp4"
    if kind == "int" and bits in (4, 8):
        return f"int{bits}"
    raise f.error("num_bits", f"got {bits} bits of type {str(kind)[:20]!r}; known are int and float of 4 and 8")


def _modelopt(q: Fields, skipped: _Names) -> list[_Scheme]:
    """ModelOpt: one quant_algo for all but exclude_modules, or MIXED_PRECISION with a list of modules."""
    algorithm = q.text("quant_algo")
    if algorithm != "MIXED_PRECISION":
        return [_Scheme(*_algorithm(q, algorithm), but=skipped)]
    listed = q.section("quantized_layers")
    modules: dict[str, list[str]] = {}
    for module in listed.raw:
        one = listed.section(module)
        modules.setdefault(one.text("quant_algo") or "", []).append(module)
    return [
        _Scheme(*_algorithm(listed, name), only=_Names.of(entries, listed, "quantized_layers"), but=skipped)
        for name, entries in modules.items()
    ]


def _algorithm(q: Fields, name: str | None) -> tuple[str, str | None]:
    try:
        return _ALGORITHMS[name or ""]
    except KeyError:
        known = ", ".join([*_ALGORITHMS, "MIXED_PRECISION"])
        raise q.error("quant_algo", f"got {str(name)[:40]!r}; known are {known}") from None


def _kv_cache(q: Fields) -> str | None:
    """fp8 or nvfp4 where the checkpoint carries scales for such a cache."""
    scheme: Any = q.text("kv_cache_quant_algo") or q.raw.get("kv_cache_scheme")
    if isinstance(scheme, Mapping):
        return {8: "fp8", 4: "nvfp4"}.get(q.section("kv_cache_scheme").integer("num_bits"))
    if isinstance(scheme, str):
        return {"fp8": "fp8", "static": "fp8", "nvfp4": "nvfp4"}.get(scheme.lower())
    return None
