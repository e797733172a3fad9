"""The methods that store whole numbers: AWQ, GPTQ and auto-round, bitsandbytes, MLX, EETQ, HQQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.quantization.module_names import Names, expression
from moewright.case.huggingface.quantization.scheme import EVERYTHING, MATRICES, PLAIN, Scheme, whole_numbers


def _bits(q: Fields, otherwise: int = 4) -> int:
    bits = q.integer(q.first("bits", "w_bit"), otherwise)
    if bits not in range(2, 9):
        raise q.error("bits", f"got {bits}; expected 2 to 8")
    return bits


def awq(q: Fields, but: Names) -> list[Scheme]:
    zero = "_zp" if q.flag("zero_point", True) else ""
    group = q.integer(q.first("group_size", "q_group_size"), 128, least=-1)
    return [Scheme(whole_numbers(_bits(q), group, zero), None, but=but)]


def gptq(q: Fields, but: Names) -> list[Scheme]:
    """GPTQ, and auto-round's packing of the same; engines drop the zero points of symmetric weights."""
    group, zero = q.integer("group_size", 128, least=-1), "" if q.flag(q.first("sym"), True) else "_zp"
    found = [] if not q.has("dynamic") else _dynamic(q, group, zero)
    found += _overrides(q, group, zero)
    return [*found, Scheme(_rounded(q, _bits(q), group, zero), None, only=_in_block(q), but=but)]


def _in_block(q: Fields) -> Names | None:
    """The modules of a block that are quantized, where a config lists them, one list for each step."""
    name = "modules_in_block_to_quantize"
    steps: Any = q.raw.get(name)
    if not steps:
        return None
    if not isinstance(steps, list):
        raise q.error(name, "is no list of lists of module names")
    modules = [module for step in steps for module in (step if isinstance(step, list) else [step])]
    if not all(isinstance(module, str) for module in modules):
        raise q.error(name, "is no list of lists of module names")
    return Names.of(modules, q, name)


def _rounded(q: Fields, bits: int, group: int, zero: str) -> str:
    data = q.text("data_type", "int") or "int"
    if data.startswith(("mx_fp", "fp4")) and bits == 4:
        return "mxfp4"
    if data.startswith("nv_fp") and bits == 4:
        return "nvfp4"
    if data.startswith("mx_fp") and bits == 8:
        return "mxfp8"
    if data.startswith("fp8") or (data.startswith("fp") and bits == 8):
        return "fp8"
    if not data.startswith("int"):
        raise q.error("data_type", f"got {data[:40]!r}; known are int, fp8, mx_fp and nv_fp")
    return whole_numbers(bits, group, zero)


def _dynamic(q: Fields, group: int, zero: str) -> list[Scheme]:
    """GPTQModel's ``dynamic``: regular expressions, - before those left alone, + before those with own bits."""
    rules = q.section("dynamic")
    found = []
    for entry in rules.raw:
        names = Names(frozenset(), None, (expression(entry.removeprefix("+:").removeprefix("-:"), rules, "dynamic"),))
        if entry.startswith("-:"):
            found.append(Scheme(PLAIN, only=names))
        else:
            own = rules.section(entry)
            size = own.integer("group_size", group, least=-1)
            found.append(Scheme(whole_numbers(_bits(own, _bits(q)), size, zero), only=names))
    return found


def _overrides(q: Fields, group: int, zero: str) -> list[Scheme]:
    """auto-round's ``extra_config``: modules with bits of their own, 16 for those left alone."""
    if not q.has("extra_config"):
        return []
    extra = q.section("extra_config")
    by_format: dict[str, list[str]] = {}
    for module in extra.raw:
        own = extra.section(module)
        bits = own.integer("bits", _bits(q), most=32)
        plain = bits >= 16
        name = PLAIN if plain else whole_numbers(bits, own.integer("group_size", group, least=-1), zero)
        by_format.setdefault(name, []).append(module)
    return [
        Scheme(name, only=Names.of(entries, extra, "extra_config"), kinds=EVERYTHING if name else MATRICES)
        for name, entries in by_format.items()
    ]


def bitsandbytes(q: Fields, but: Names) -> list[Scheme]:
    if q.flag("load_in_8bit", False):
        return [Scheme("int8", "int8", but=but)]
    if not q.flag("load_in_4bit", False):
        raise q.error("load_in_4bit", "is missing; expected load_in_4bit or load_in_8bit true")
    double = q.flag("bnb_4bit_use_double_quant", False)
    return [Scheme("nf4_double" if double else "nf4", None, but=but)]


def mlx(q: Fields, but: Names) -> list[Scheme]:
    """MLX: every matrix and the embedding, with a scale and an offset of 16 bits for each group; by module a
    mapping of its own, or false for one left alone. Its other modes are mxfp4, mxfp8 and nvfp4."""
    found = []
    mode = q.text("mode", "affine")
    for module, value in q.raw.items():
        if value is not False and not isinstance(value, Mapping):
            continue
        weights = PLAIN if value is False else _mlx_format(q.section(module), mode)
        only = Names.of([module.replace(".switch_mlp.", ".experts.0.")], q, module[:40])  # MLX stacks the experts
        found.append(Scheme(weights, only=only, kinds=EVERYTHING))
    return [*found, Scheme(_mlx_format(q, mode), None, but=but, kinds=EVERYTHING)]


def _mlx_format(q: Fields, mode: str | None) -> str:
    own = q.text("mode", mode)
    if own in ("mxfp4", "mxfp8", "nvfp4"):
        return own
    return f"int{_bits(q)}_g{q.integer('group_size', 64)}_offset"


def eetq(q: Fields, but: Names) -> list[Scheme]:
    return [Scheme("int8", None, but=but)]


def hqq(q: Fields, but: Names) -> list[Scheme]:
    inner = q.section("quant_config").section("weight_quant_params") if q.has("quant_config") else q
    bits, group = inner.integer(inner.first("nbits", "bits"), 4), inner.integer("group_size", 64)
    return [Scheme(f"int{bits}_g{group}_offset", None, but=but)]
