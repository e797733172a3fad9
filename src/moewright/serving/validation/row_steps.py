"""What the closed forms of a serving row need: seconds of its steps by part, and how many sequences its KV holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from moewright.case.catalogue.hardware_catalogue import cluster_entry, load_cluster
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.model import LatentAttention, ModelSpec
from moewright.case.precision import plain_format
from moewright.cost.silicon import SYSTEMS, Tables, tables_folder
from moewright.serving.kernel_steps import KernelSteps
from moewright.serving.kernels import Kernels
from moewright.serving.layout import Formats, Layout
from moewright.serving.step import Step
from moewright.serving.validation.rows import CLUSTERS, Row
from moewright.serving.validation.stated_sizes import grown, layout_of

#: decode steps are priced at the batch asked for, at half of it, a quarter …
HALVINGS = 9
PARTS = ("attention", "experts", "communication", "small", "router", "dense", "head")
#: benchmarks of these nominal lengths draw each length evenly from 0.8 to 1.0 of it (InferenceMAX,
#: ``--random-range-ratio 0.8``); others are taken as they are
_DRAWN = (1024.0, 8192.0)
_MEAN_DRAWN = 0.9


@dataclass(frozen=True, slots=True)
class Facts:
    """``decode`` [halvings, parts]: seconds of a decode step by part, at ``running`` [halvings] sequences of an
    attention-dp rank; ``prompt``: seconds of one prompt alone; ``packed``: of one among others in a full step;
    ``asked``: sequences of a rank if the row had one decode worker or those it states; ``held``: what its KV holds."""

    row: Row
    prefill_layout: Layout
    layout: Layout
    input: float
    output: float
    layers: int
    decode: np.ndarray
    prompt: float
    packed: float
    running: np.ndarray
    asked: float
    held: float
    drafts: bool  # the model ships layers that predict further tokens
    tags: dict[str, float] = field(default_factory=dict)  # share of the decode steps' seconds by how they came to be


@lru_cache(maxsize=64)
def kernels_of(system: str, engine: str, folder: Path | None) -> Kernels:
    """The kernels of a system as an engine runs them; ``folder`` None: the roofline alone."""
    name = CLUSTERS[system]
    cluster = load_cluster(name, 72 if system.startswith("gb") else 64)
    tables = None
    if folder is not None:
        device = str(cluster_entry(name)["device"])
        tables = Tables(folder, SYSTEMS.get(device, system), engine)
    return Kernels(cluster, tables)


@lru_cache(maxsize=64)
def model_of(name: str) -> ModelSpec:
    return load_model(name)


def formats_of(model: ModelSpec, precision: str) -> Formats:
    """The formats of a checkpoint of ``precision``: gpt-oss ships MXFP4 experts and all else in bf16; NVFP4 checkpoints
    of MLA models leave attention in bf16; FP8 ones scale by blocks (Llama's per tensor)."""
    name = model.name.lower()
    if "gpt-oss" in name:
        return Formats("bf16", "bf16", "mxfp4", "bf16")
    if precision == "fp4":
        latent = any(isinstance(x.attention, LatentAttention) for x in model.layers)
        return Formats("bf16" if latent else "nvfp4", "nvfp4", "nvfp4", "fp8")
    if precision == "int4":  # weights only, of the experts (compressed-tensors W4A16, as Kimi-K2.5 ships)
        return Formats("bf16", "bf16", "int4", "bf16")
    if precision == "fp8":
        form = "fp8" if name.startswith("llama") else "fp8_block"
        return Formats(form, form, form, "fp8")
    return Formats()


def shipped(model: ModelSpec) -> str:
    """The format in which the model's own weights come."""
    own = plain_format(model.precision.weight("experts" if model.moe else "dense"))
    return {"fp8_block": "fp8", "nvfp4": "fp4", "mxfp4": "fp4"}.get(own, own if own in ("fp8", "int4") else "bf16")


def mean_lengths(row: Row) -> tuple[float, float]:
    """Mean tokens of prompts and answers of a row's nominal ones."""
    share = _MEAN_DRAWN if row.input in _DRAWN and row.output in _DRAWN else 1.0
    return row.input * share, row.output * share


def facts_of(row: Row, folder: Path | None) -> Facts:
    """Price a row's steps."""
    model = model_of(row.model)
    kernels = kernels_of(row.system, row.engine, folder)
    formats = formats_of(model, row.precision or shipped(model))
    node, moe = kernels.cluster.gpus_per_node, model.moe is not None

    def steps(layout: Layout) -> KernelSteps:
        return KernelSteps(model, layout, formats, kernels)

    def fits(layout: Layout) -> bool:
        return steps(layout).weights_bytes < 0.92 * kernels.device.memory

    p, d = (grown(layout_of(w.sizes, moe, node), fits, moe, 72) for w in (row.prefill, row.decode))
    prompt, answer = mean_lengths(row)
    prefilling, decoding = steps(p), steps(d)
    asked = max(row.concurrency / (row.decode.workers or 1) / d.dp, 1.0)
    context = prompt + answer / 2
    held = max(decoding.kv_tokens / context, 1.0)
    running = np.maximum(min(asked, held) / 2.0 ** np.arange(HALVINGS), 1.0)
    tokens = np.minimum(running * d.dp, row.concurrency)
    zero, before = np.zeros(HALVINGS), dict(kernels.tags)
    parts = decoding.parts(Step(zero, zero, running, running * context, tokens))
    spent = {tag: seconds - before[tag] for tag, seconds in kernels.tags.items()}
    alone, many = prompt, max(8192.0, prompt)
    at = np.array([alone, many])
    pairs = at * prompt / 2
    both = prefilling.seconds(Step(at, pairs, np.zeros(2), np.zeros(2), at * np.array([1.0, p.dp])))
    return Facts(
        row=row,
        prefill_layout=p,
        layout=d,
        input=prompt,
        output=answer,
        layers=len(model.layers),
        decode=np.stack([np.broadcast_to(parts.get(k, 0.0), (HALVINGS,)) for k in PARTS], axis=1),
        prompt=float(both[0]),
        packed=float(both[1]) * prompt / many,
        running=running,
        asked=asked,
        held=held,
        drafts=model.prediction_layers > 0,
        tags={tag: seconds / max(sum(spent.values()), 1e-30) for tag, seconds in spent.items()},
    )


def default_folder(given: Path | None, without: bool = False) -> Path | None:
    """The tables to price with; ``without``: none, whatever is installed."""
    return None if without else tables_folder(given)
