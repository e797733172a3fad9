"""Measured training steps from a CSV file: what each row says was run, and what was read into it.

Columns: ``model``, ``gpus``, ``gpu_kind``, ``tp``, ``ep``, ``pp``, ``mbs``, ``gbs``, ``seq``, ``precision``, and where
they are stated ``etp``, ``vpp``, ``cp``, ``fsdp``, ``recompute``, ``notes``, ``source``; measured are ``tokens_s_gpu``
or ``s_per_step``, and ``peak_mem_gib``. What a row leaves open is read by the rules of this module, which hang on what
was run and never on a model's name; a row that cannot be read is skipped with its line and the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from moewright.case.bounded_file import read_table
from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.catalogue.model_catalogue import all_names, load_model
from moewright.case.cluster import Cluster
from moewright.case.model import ModelSpec
from moewright.case.train.recipe import RECIPES, Recipe
from moewright.case.train.train_strategy import MODULES
from moewright.errors import SpecError

NEEDED = ("model", "gpus", "gpu_kind", "tp", "ep", "pp", "mbs", "gbs", "seq", "precision")
MEASURED = ("tokens_s_gpu", "s_per_step")
#: GPU kinds → clusters of the catalogue, and the GPUs of one domain of NVLink that jobs take
CLUSTERS = {
    "a100": ("a100-hgx", 8),
    "a800": ("a800-hgx", 8),
    "h100": ("h100-hgx", 8),
    "h200": ("h200-hgx", 8),
    "h800": ("h800-hgx", 8),
    "h20": ("h20-hgx", 8),
    "b200": ("dgx-b200", 8),
    "b300": ("dgx-b300", 8),
    "gb200": ("gb200-nvl72", 64),
    "gb300": ("gb300-nvl72", 64),
}
#: spellings of precision → recipe; plain FP8 is scaled per tensor
_RECIPES = {
    "bf16": "bf16",
    "bfloat16": "bf16",
    **dict.fromkeys(("fp8", "fp8-cs", "fp8-ds", "fp8cs", "fp8-tensor"), "fp8"),
    **dict.fromkeys(("fp8-sc", "fp8-block", "fp8sc"), "fp8_block"),
    **dict.fromkeys(("mxfp8", "fp8-mx", "fp8mx"), "mxfp8"),
    **dict.fromkeys(("nvfp4", "fp4"), "nvfp4"),
}
_CUT = re.compile(r"\s+cut to (\d+) layers?", re.IGNORECASE)
_REMARK = re.compile(r"\(([^)]*)\)")
_RELEASE = re.compile(r"\[(\d\d)\.(\d\d)(?:\.\d+)?\s")
#: how a GPU is built in, at the end of its kind
_BUILD = re.compile(r"(sxm\d?|pcie|hgx|nvl\d*|\d+gb|gpu)+$")
_SIZE = re.compile(r"^(a?\d+(\.\d+)?[bt])$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One row. ``release``: year and month of the container, where the source names one. ``seconds`` a step, or None;
    ``peak`` bytes, or None. ``recompute``: None where it is not stated."""

    line: int
    raw: dict[str, str]
    model: ModelSpec
    cut: bool
    cluster: Cluster
    gpu_kind: str
    recipe: Recipe
    global_batch: int
    sequence: int
    micro_batch: int
    tp: int
    cp: int
    pp: int
    virtual: int
    ep: int
    etp: int
    fsdp: bool
    recompute: tuple[str, ...] | None
    dropping: bool
    prediction_layers: int
    release: tuple[int, int] | None
    seconds: float | None
    peak: float | None

    @property
    def dp(self) -> int:
        return self.cluster.gpus // (self.pp * self.cp * self.tp)

    @property
    def tokens_s_gpu(self) -> float | None:
        """Measured tokens a second and GPU."""
        if self.seconds is None:
            return None
        return self.global_batch * self.sequence / self.seconds / self.cluster.gpus


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that cannot be read or predicted: its line, and why."""

    line: int
    reason: str


def is_training_table(path: Path) -> bool:
    """Whether the header of ``path`` is that of measured training steps."""
    try:
        header, _ = read_table(path, "a table of measured steps")
    except SpecError:
        return False
    return {"gpu_kind", "gbs", "mbs", "seq"} <= set(header)


def read_steps(path: Path) -> tuple[list[MeasuredStep], list[Unread], list[str]]:
    """Rows, those that could not be read, and the file's columns. Raises SpecError where it is not such a table."""
    columns, rows_of = read_table(path, "a table of measured steps")
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise SpecError(f"{path}: no column {', '.join(missing)}; expected a table with {', '.join(NEEDED)}")
    raw = [(line, {name: value.strip() for name, value in fields.items()}) for line, fields in rows_of]
    if not raw:
        raise SpecError(f"{path}: no rows under its header; expected a measured step in each")
    rows, unread = [], []
    for line, fields in raw:
        try:
            rows.append(_step(line, fields))
        except (ValueError, SpecError) as error:
            unread.append(Unread(line, getattr(error, "problem", str(error))))
    if not rows:
        raise SpecError(f"{path}: none of its {len(raw)} rows can be read; line {unread[0].line}: {unread[0].reason}")
    return rows, unread, columns


def _step(line: int, f: dict[str, str]) -> MeasuredStep:
    name = f["model"]
    remarks = " ".join([*_REMARK.findall(name), f.get("notes", "")]).lower()
    model, cut = named_model(name)
    kind = _BUILD.sub("", re.sub(r"[^a-z0-9]", "", f["gpu_kind"].lower()))
    cluster = _cluster(kind, _whole(f, "gpus"))
    predicted = model.prediction_layers and not cut and "w/o mtp" not in remarks and "without mtp" not in remarks
    release = _RELEASE.search(f.get("source", ""))
    step = MeasuredStep(
        line,
        f,
        model,
        cut,
        cluster,
        kind,
        _recipe(f["precision"]),
        _whole(f, "gbs"),
        _whole(f, "seq"),
        _whole(f, "mbs"),
        _whole(f, "tp"),
        _whole(f, "cp", 1),
        _whole(f, "pp"),
        _whole(f, "vpp", 1),
        _whole(f, "ep"),
        _whole(f, "etp", 1),
        _whole(f, "fsdp", 0, least=0) > 1,
        _recompute(f.get("recompute", "")),
        "tokendrop" in remarks or "token drop" in remarks,
        model.prediction_layers if predicted else 0,
        (int(release[1]), int(release[2])) if release else None,
        _seconds(f, cluster.gpus),
        _number(f, "peak_mem_gib", 2.0**30),
    )
    return _checked(step)


def _checked(s: MeasuredStep) -> MeasuredStep:
    gpus, ranks = s.cluster.gpus, s.pp * s.cp * s.tp
    if gpus % ranks:
        raise ValueError(f"{gpus} GPUs are no multiple of pp × cp × tp, {ranks}")
    if (gpus // s.pp) % (s.ep * s.etp):
        raise ValueError(f"{gpus // s.pp} ranks of a stage are no multiple of ep × etp, {s.ep * s.etp}")
    if s.model.moe is None or s.model.moe.experts % s.ep:
        raise ValueError(f"{s.model.moe.experts if s.model.moe else 'no'} experts are no multiple of ep {s.ep}")
    if s.global_batch % (s.dp * s.micro_batch):
        raise ValueError(f"gbs {s.global_batch} is no multiple of dp × mbs, {s.dp * s.micro_batch}")
    if s.seconds is None and s.peak is None:
        raise ValueError(f"neither {', '.join(MEASURED)} nor peak_mem_gib")
    return s


@cache
def named_model(text: str) -> tuple[ModelSpec, bool]:
    """The model of the catalogue that a table names in its own way, and whether it is cut: spaces, hyphens and
    underscores do not count, nor what stands in brackets, nor sizes at the end. A cut model keeps its first layer and
    as many of the last as there is room for."""
    cut = _CUT.search(text)
    plain = _REMARK.sub(" ", _CUT.sub("", text))
    words = [w for w in re.split(r"[\s_\-/]+", plain.strip()) if w and w.lower() not in _ANYWHERE]
    names = {re.sub(r"[^a-z0-9]", "", alias): name for alias, name in all_names().items()}
    found = None
    for end in range(len(words), 0, -1):
        found = names.get("".join(words[:end]).lower().replace(".", ""))
        if found is not None and all(_SIZE.match(w) or w.lower() in _VARIANTS for w in words[end:]):
            break
        found = None
    if found is None:
        raise ValueError(f"no model {text[:60]!r} in the catalogue")
    model = load_model(found)
    if cut is None:
        return model, False
    count = int(cut[1])
    if not 1 <= count <= len(model.layers):
        raise ValueError(f"{model.name} has {len(model.layers)} layers, of which {count} are none to cut to")
    kept = (*model.layers[:1], *model.layers[len(model.layers) - count + 1 :])
    return replace(model, layers=kept[:count], name=f"{model.name} cut to {count} layers"), True


#: words anywhere in a name: of a vision model, whose language model is the one of the same sizes
_ANYWHERE = {"vl"}
#: words after a model's name that leave its sizes as they are
_VARIANTS = {"base", "instruct", "moe", "dropless", "tokendrop", "pretrain", "bf16", "fp8"}


@cache
def _cluster(kind: str, gpus: int) -> Cluster:
    if kind not in CLUSTERS:
        raise ValueError(f"gpu_kind {kind!r}; known are {', '.join(CLUSTERS)}")
    name, domain = CLUSTERS[kind]
    return load_cluster(name, gpus, domain, uneven=True)


def _recipe(text: str) -> Recipe:
    known = _RECIPES.get(text.lower().replace("_", "-").replace(" ", "-"))
    if known is None:
        raise ValueError(f"precision {text[:40]!r}; known are {', '.join(_RECIPES)}")
    return RECIPES[known]


def _recompute(text: str) -> tuple[str, ...] | None:
    words = [w for w in re.split(r"[\s,;+|\[\]'\"]+", text.lower()) if w]
    if not words or words == ["selective"]:
        return None
    if words in (["none"], ["no"], ["0"]):
        return ()
    unknown = [w for w in words if w not in MODULES]
    if unknown:
        raise ValueError(f"recompute {unknown[0]!r}; known are none, {', '.join(MODULES)}")
    return tuple(m for m in MODULES if m in words)


def _whole(f: dict[str, str], name: str, default: int | None = None, least: int = 1) -> int:
    text = f.get(name, "")
    if default is not None and text.lower() in ("", "n/a", "na", "none", "-"):
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} {text[:40]!r}; expected a whole number") from None
    if not (value.is_integer() and least <= value < 1 << 31):
        raise ValueError(f"{name} {text[:40]!r}; expected a whole number of {least} or more")
    return int(value)


def _number(f: dict[str, str], name: str, factor: float = 1.0) -> float | None:
    text = f.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} {text[:40]!r}; expected a number") from None
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} {text[:40]!r}; expected a number above 0")
    return value * factor


def _seconds(f: dict[str, str], gpus: int) -> float | None:
    rate = _number(f, "tokens_s_gpu")
    if rate is None:
        return _number(f, "s_per_step")
    return _whole(f, "gbs") * _whole(f, "seq") / rate / gpus
