"""What the closed forms of serving rows need: seconds of their steps by part, and how many sequences their KV holds.

Rows of one model, format, system and engine are priced together, as rows of one table of strategies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from moewright.case.case import Case
from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.model import ModelSpec
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Strategy
from moewright.case.workload import Goal, Kind, Routing, Workload
from moewright.cost.arrays import Array
from moewright.cost.prices.price import Origin
from moewright.cost.prices.silicon import tables_folder
from moewright.cost.table import Table
from moewright.errors import MoewrightError
from moewright.serving.engines.engine import Engine, load_engine
from moewright.serving.engines.kernel_prices import tables_price
from moewright.serving.step import PricedStep, Step, StepModel
from moewright.serving.validation.checkpoints import in_format, shipped
from moewright.serving.validation.rows import CLUSTERS, Row, Skipped, Worker
from moewright.serving.validation.stated_sizes import Layout, grown, layout_of

#: decode steps are priced at the batch asked for, at half of it, a quarter …
HALVINGS = 9
PARTS = ("attention", "experts", "communication", "elementwise", "router", "dense", "head")
TAGS = ("measured", "interpolated", "derived")
#: most GPUs of one layout in these files
MOST_GPUS = 72
#: benchmarks of these nominal lengths draw each length evenly from 0.8 to 1.0 of it (InferenceMAX,
#: ``--random-range-ratio 0.8``); others are taken as they are
_DRAWN = (1024.0, 8192.0)
_MEAN_DRAWN = 0.9
#: tokens of a full step of prompts
_PACKED = 8192.0
#: share of a device's memory up to which weights are taken to fit
_FITS = 0.92


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
    decode: Array
    prompt: float
    packed: float
    running: Array
    asked: float
    held: float
    drafts: bool  # the model ships layers that predict further tokens
    wide: bool  # experts over more than one node
    tags: dict[str, float] = field(default_factory=dict)  # share of the decode steps' seconds by how they came to be


@lru_cache(maxsize=64)
def model_of(name: str) -> ModelSpec:
    """A model of the catalogue."""
    return load_model(name)


def mean_lengths(row: Row) -> tuple[float, float]:
    """Mean tokens of prompts and answers of a row's nominal ones."""
    share = _MEAN_DRAWN if row.input in _DRAWN and row.output in _DRAWN else 1.0
    return row.input * share, row.output * share


def case_of(row: Row) -> Case:
    """The model in a row's format on its system; routing as models show it without balancing."""
    model = model_of(row.model)
    model = in_format(model, row.precision or shipped(model))
    cluster = load_cluster(CLUSTERS[row.system], MOST_GPUS if row.system.startswith("gb") else 64)
    routing = Routing(typical=True, source="typical")
    return Case(model, cluster, Workload(Kind.DECODE, (1,), 1), Goal(), routing)


def facts_of(
    rows: Sequence[Row], folder: Path | None, tell: Callable[[float], None] = lambda share: None
) -> tuple[list[Facts], list[Skipped]]:
    """Facts in the order of ``rows``, and the rows that could not be priced with the reason."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        alike[row.model, row.system, row.engine, row.precision].append(i)
    priced: dict[int, Facts] = {}
    skipped: list[Skipped] = []
    for places in alike.values():
        group = [rows[i] for i in places]
        try:
            priced |= dict(zip(places, _group(group, folder), strict=True))
        except MoewrightError as error:
            skipped += [Skipped(row.line, " ".join(str(error).split())) for row in group]
        tell((len(priced) + len(skipped)) / len(rows))
    return [priced[i] for i in sorted(priced)], sorted(skipped, key=lambda s: s.line)


@dataclass(frozen=True, slots=True)
class _Setting:
    case: Case
    engine: Engine
    folder: Path | None

    def model(self, layouts: Sequence[Layout], length: float) -> StepModel:
        """Steps of ``layouts``, a row each."""
        strategies = [strategy_of(x) for x in layouts]
        table = Table.of(strategies, [s.attention.dp for s in strategies])
        price = tables_price(self.case, self.engine, self.folder)
        return StepModel(self.case, table, self.engine, length, price)


def strategy_of(x: Layout) -> Strategy:
    """A layout as engines run it: tokens on every rank where one attention group is the stage."""
    alone = x.dp == 1 and x.tp > 1
    dispatch = Dispatch.REPLICATED if alone else Dispatch.ALL_TO_ALL
    return Strategy(
        1,
        x.pp,
        attention=AttentionParallel(x.dp, 1, x.tp),
        experts=ExpertParallel(x.ep, x.etp, dispatch=dispatch),
    )


def _group(rows: Sequence[Row], folder: Path | None) -> list[Facts]:
    """Facts of rows of one model, format, system and engine."""
    case = case_of(rows[0])
    setting = _Setting(case, load_engine(rows[0].engine), folder)
    moe, node = case.model.moe is not None, case.cluster.gpus_per_node
    weights: dict[Layout, float] = {}

    def fits(layout: Layout) -> bool:
        if layout not in weights:
            weights[layout] = float(setting.model([layout], 1024).capacity.weights[0])
        return weights[layout] < _FITS * case.cluster.device.memory

    def meant(worker: Worker) -> Layout:
        return grown(layout_of(worker.sizes, moe, node), fits, moe, MOST_GPUS)

    pairs = [(meant(r.prefill), meant(r.decode)) for r in rows]
    lengths = np.array([mean_lengths(r) for r in rows])
    prompts, answers = lengths.T
    context = prompts + answers / 2
    prefills, decodes = [p for p, _ in pairs], [d for _, d in pairs]
    decoding = setting.model(decodes, float(context.mean()))
    memory = case.cluster.device.memory
    spare = (memory - decoding.capacity.weights) / 2 / np.maximum(decoding.capacity.token_bytes, 1e-9)
    held = np.maximum(np.maximum(decoding.kv_tokens, spare) / context, 1.0)
    dp = np.array([float(d.dp) for d in decodes])
    clients = np.array([r.concurrency for r in rows])
    asked = np.maximum(clients / np.array([r.decode.workers or 1 for r in rows]) / dp, 1.0)
    most, none = np.minimum(asked, held), np.zeros(len(rows))
    running = np.maximum(most[:, None] / 2.0 ** np.arange(HALVINGS), 1.0)
    steps = [decoding.priced(Step(none, none, n, n * context, np.minimum(n * dp, clients))) for n in running.T]
    decode = np.stack([_parts(step, len(rows)) for step in steps], axis=1)
    shares = _origins(steps[0], len(rows))
    prompt, packed = _prompts(setting, prefills, prompts)
    drafts = case.model.prediction_layers > 0
    return [
        Facts(
            row=row,
            prefill_layout=prefills[i],
            layout=decodes[i],
            input=float(prompts[i]),
            output=float(answers[i]),
            layers=len(case.model.layers),
            decode=decode[i],
            prompt=float(prompt[i]),
            packed=float(packed[i]),
            running=running[i],
            asked=float(asked[i]),
            held=float(held[i]),
            drafts=drafts,
            wide=decodes[i].ep > node,
            tags={tag: float(shares[tag][i]) for tag in TAGS},
        )
        for i, row in enumerate(rows)
    ]


def _prompts(setting: _Setting, layouts: list[Layout], prompts: Array) -> tuple[Array, Array]:
    """Seconds of each row's prompt alone, and among others in a full step on all ranks."""
    model, dp = setting.model(layouts, float(prompts.mean())), np.array([float(x.dp) for x in layouts])
    none, many = np.zeros(len(prompts)), np.maximum(_PACKED, prompts)
    alone = model.seconds(Step(prompts, prompts * prompts / 2, none, none, prompts))
    packed = model.seconds(Step(many, many * prompts / 2, none, none, many * dp))
    return alone, packed * prompts / many


def _parts(step: PricedStep, rows: int) -> Array:
    """Seconds by part, shape [rows, parts], scaled to add up to the step's."""
    parts = np.stack([np.broadcast_to(step.groups.get(name, np.zeros(1)), (rows,)) for name in PARTS], axis=1)
    scale: Array = step.seconds / np.maximum(parts.sum(axis=1), 1e-30)
    return np.asarray(parts * scale[:, None])


def _origins(step: PricedStep, rows: int) -> dict[str, Array]:
    """Share of every row's seconds by how they came to be."""
    spent = {tag: np.zeros(rows) for tag in TAGS}
    for x, count in step.operations:
        for origin in Origin:
            spent[origin.name.lower()] += np.where(x.origin == origin, x.seconds, 0.0) * count
    whole = np.maximum(sum(spent.values(), start=np.zeros(rows)), 1e-30)
    return {tag: seconds / whole for tag, seconds in spent.items()}


def default_folder(given: Path | None, without: bool = False) -> Path | None:
    """The tables to price with; ``without``: none, whatever is installed."""
    return None if without else tables_folder(given)
