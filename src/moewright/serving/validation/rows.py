"""Measured serving results from a CSV file: what each row says was run, and what was read into it.

The format is that of the public collection of NVIDIA AIConfigurator (``silicon_sample.csv``, Apache-2.0): parallel
sizes of one worker (``prefill_*`` and ``decode_*`` where the two are apart), the client's concurrency, nominal
lengths, and milliseconds. What a row leaves open is read by stated rules (``layouts.py``); a row that cannot be read
is skipped with its line and the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from moewright.case.bounded_file import read_table
from moewright.case.catalogue.model_catalogue import find_model, model_names
from moewright.case.serving import ENGINES
from moewright.errors import SpecError
from moewright.serving.validation.stated_sizes import Sizes

#: systems of the format → clusters of the catalogue, and the most ranks of one layout
CLUSTERS = {
    "a100_sxm": "a100-hgx",
    "h100_sxm": "h100-hgx",
    "h200_sxm": "h200-hgx",
    "b200_sxm": "dgx-b200",
    "b300_sxm": "dgx-b300",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
}
MOST_GPUS, MOST_CLIENTS, MOST_TOKENS = 1024, 1_000_000, 10_000_000
#: other ways to write a system, a mode, a checkpoint's format
_SYSTEMS = {
    **{name.removesuffix("_sxm"): name for name in CLUSTERS},
    "gb200_nvl72": "gb200",
    "gb300_nvl72": "gb300",
    "gb200_sxm": "gb200",
    "gb300_sxm": "gb300",
}
_MODES = {"aggregated": "agg", "disaggregated": "disagg"}
_PRECISIONS = {
    **dict.fromkeys(("nvfp4", "mxfp4", "w4a8_mxfp4_mxfp8", "w4a16_mxfp4"), "fp4"),
    **dict.fromkeys(("fp8_block", "fp8_static", "fp8_e4m3"), "fp8"),
    **dict.fromkeys(("bfloat16", "fp16", "float16", "half"), "bf16"),
    **dict.fromkeys(("int4_wo", "w4a16", "awq", "gptq"), "int4"),
}
_NEEDED = ("backend", "model_path", "system", "mode", "isl", "osl", "tp_size", "silicon_ttft_ms", "silicon_tpot_ms")
#: endings of a checkpoint's name that tell its format, not its sizes
_QUANTISED = re.compile(r"-(NVFP4|FP4|FP8|MXFP4|W4A16|INT4|BF16|FP8-Block)(-v\d)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Worker:
    """One kind of worker: sizes as written, and how many there are (None: not stated)."""

    sizes: Sizes
    workers: int | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One measured result; ``seconds`` measured, ``concurrency`` of the client over all workers."""

    line: int
    raw: dict[str, str]
    engine: str
    model: str
    system: str
    precision: str
    apart: bool
    input: float
    output: float
    concurrency: float
    prefill: Worker
    decode: Worker
    ttft: float
    tpot: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that cannot be read or predicted: its line in the file, and why."""

    line: int
    reason: str


def read_rows(path: Path) -> tuple[list[Row], list[Skipped], list[str]]:
    """Rows, the ones that could not be read, and the file's columns. Raises SpecError where the file is not one of
    this format."""
    columns, raw = read_table(path, "a table of measured results")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise SpecError(f"{path}: column {', '.join(twice)} is there twice; expected each once")
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise SpecError(f"{path}: no column {', '.join(missing)}; expected a table with {', '.join(_NEEDED)}")
    rows, skipped = [], []
    for line, fields in raw:
        try:
            rows.append(_row(line, fields))
        except ValueError as error:
            skipped.append(Skipped(line, str(error)))
    if not raw:
        raise SpecError(f"{path}: no rows under its header; expected a measured result in each")
    if not rows:
        first = skipped[0]
        raise SpecError(f"{path}: none of its {len(skipped)} rows can be read; line {first.line}: {first.reason}")
    return rows, skipped, columns


def _row(line: int, f: dict[str, str]) -> Row:
    engine = _one_of(f, "backend", ENGINES)
    system = _one_of(f, "system", tuple(CLUSTERS), _SYSTEMS)
    mode = _one_of(f, "mode", ("agg", "disagg"), _MODES)
    apart = mode == "disagg"
    both = [_worker(f, kind) for kind in ("prefill_", "decode_")] if apart else [_worker(f, "")] * 2
    return Row(
        line=line,
        raw=f,
        engine=engine,
        model=_model(f["model_path"]),
        system=system,
        precision=_precision(f),
        apart=apart,
        input=_count(f, "isl", MOST_TOKENS, 1),
        output=_count(f, "osl", MOST_TOKENS, 1),
        concurrency=_concurrency(f, both[1]),
        prefill=both[0],
        decode=both[1],
        ttft=_number(f, "silicon_ttft_ms") / 1e3,
        tpot=_number(f, "silicon_tpot_ms") / 1e3,
    )


def _worker(f: dict[str, str], kind: str) -> Worker:
    names = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    if not f.get(f"{kind}tp_size"):
        raise ValueError(f"{kind}tp_size: not stated")
    sizes = Sizes(*(_count(f, kind + n, MOST_GPUS) for n in names))
    workers = _count(f, f"{kind}num_workers", MOST_GPUS) if kind else 1
    return Worker(sizes, workers or None, _count(f, f"{kind}batch_size", MOST_CLIENTS) or None)


def _concurrency(f: dict[str, str], decode: Worker) -> float:
    """The client's: stated, or the batch of a rank times the attention-dp ranks and workers."""
    stated = re.search(r"silicon_concurrency=(\d+(?:\.\d+)?)", f.get("silicon_data_source", ""))
    if stated:
        return min(max(float(stated.group(1)), 1.0), MOST_CLIENTS)
    if decode.batch is None:
        raise ValueError("no concurrency: neither batch_size nor silicon_concurrency is stated")
    return decode.batch * max(decode.sizes.dp, 1) * (decode.workers or 1)


def _model(path: str) -> str:
    name = path
    while _QUANTISED.search(name):
        name = _QUANTISED.sub("", name)
    found = find_model(path) or find_model(name)
    if found is None:
        near = get_close_matches(name.rpartition("/")[2][:100], model_names(), 1, 0.3)
        raise ValueError(
            f"model_path {path!r}: no such model in the catalogue" + (f"; nearest is {near[0]}" if near else "")
        )
    return found


def _precision(f: dict[str, str]) -> str:
    """The checkpoint's format: of its experts, else of its products, else its own ("": not stated)."""
    for name in ("precision", "moe_quant_mode", "gemm_quant_mode"):
        if f.get(name, "").strip():
            return _one_of(f, name, ("fp4", "fp8", "bf16", "int4"), _PRECISIONS)
    return ""


def _one_of(f: dict[str, str], name: str, known: tuple[str, ...], others: dict[str, str] | None = None) -> str:
    value = f.get(name, "").strip().lower()
    value = (others or {}).get(value, value)
    if value not in known:
        near = get_close_matches(value[:100], known, 1, 0.3)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ValueError(f"{name} {f.get(name, '')!r}: expected one of {', '.join(known)}{hint}")
    return value


def _number(f: dict[str, str], name: str) -> float:
    text = f.get(name, "").strip()
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise ValueError(f"{name} {text!r}: expected a number above 0 and below 1e12")
    return value


def _count(f: dict[str, str], name: str, most: int, least: int = 0) -> int:
    """A whole number; 0 where nothing is stated and ``least`` allows it."""
    text = f.get(name, "").strip()
    if not text and least == 0:
        return 0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (least <= value <= most and value == int(value)):
        raise ValueError(f"{name} {text!r}: expected a whole number from {least} to {most}")
    return int(value)
