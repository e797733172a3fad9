"""The cluster as a map: nodes and their GPUs, coloured by the group that each belongs to, with what each holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Strategy
from moewright.placement.ranks import groups_of
from moewright.planning.proof.rank_totals import placed
from moewright.planning.record import Plan
from moewright.report.figures.theme import SERIES, Figure, Rows, data, layered, tips
from moewright.training.training_record import TrainingResult
from moewright.units import format_bytes

#: GPUs drawn at most; larger clusters repeat themselves
MOST: Final = 512
#: nodes side by side, and GPUs of one side by side
ACROSS, IN_NODE = 8, 4
#: kinds of groups as a list offers them
_NAMES: Final = {
    "replica": "replica",
    "stage": "pipeline stage",
    "pp": "pp group",
    "dp": "attention dp group",
    "cp": "attention cp group",
    "tp": "attention tp group",
    "dcp": "dcp group",
    "ep": "expert ep group",
    "etp": "expert tp group",
    "edp": "expert dp group",
}


def cluster_map(case: Case, plan: Plan) -> Figure:
    """The map of a pass's plan."""
    return worker_map(case, plan.strategy, f"The fullest GPU holds {format_bytes(plan.memory.total)}. ")


def worker_map(case: Case, strategy: Strategy, note: str = "") -> Figure:
    """A square a GPU, node by node; a list chooses the kind of group that colours say, and pointing at a GPU raises the
    others of its group. ``note``: a sentence for the caption."""
    return _figure(case, groups_of(strategy), _held(case, strategy), note)


def training_map(r: TrainingResult) -> Figure:
    """The map of a training plan: ranks numbered stage, then dp, cp, tp (edp, ep, etp), the last one fastest."""
    s, moe = r.best.strategy, r.case.model.moe
    rank = np.arange(s.gpus)
    attention = rank.reshape(s.pp, s.dp, s.cp, s.tp)
    experts = rank.reshape(s.pp, s.expert_dp, s.ep, s.etp)
    groups = {
        "tp": attention.reshape(-1, s.tp),
        "cp": np.moveaxis(attention, 2, -1).reshape(-1, s.cp),
        "dp": np.moveaxis(attention, 1, -1).reshape(-1, s.dp),
        "etp": experts.reshape(-1, s.etp),
        "ep": np.moveaxis(experts, 2, -1).reshape(-1, s.ep),
        "edp": np.moveaxis(experts, 1, -1).reshape(-1, s.expert_dp),
        "pp": np.moveaxis(attention, 0, -1).reshape(-1, s.pp),
        "stage": rank.reshape(s.pp, -1),
    }
    held = []
    for i in range(s.gpus):
        stage, local = divmod(i, s.gpus // s.pp)
        text = f"{r.stages[stage].layers} layers of stage {stage}"
        if moe is not None:
            ep, count = local // s.etp % s.ep, moe.experts // s.ep
            text += f"; experts {_listed(range(ep * count, (ep + 1) * count))} of each"
            text += f", slice {local % s.etp + 1} of {s.etp}" if s.etp > 1 else ""
        held.append(text + (f"; attention slice {local % s.tp + 1} of {s.tp}" if s.tp > 1 else ""))
    return _figure(r.case, groups, held, "")


def _figure(case: Case, every: dict[str, np.ndarray], held: list[str], note: str) -> Figure:
    """Of the groups [groups, size] by kind, and what each rank holds."""
    gpus = len(held)
    groups = {kind: ranks for kind, ranks in every.items() if ranks.shape[1] > 1}
    sizes = list(case.cluster.sizes) or [gpus]
    node = np.repeat(np.arange(len(sizes)), sizes)[:gpus]
    first = np.concatenate([[0], np.cumsum(sizes)])
    number = {kind: _number(ranks, gpus) for kind, ranks in groups.items()}
    shown = min(gpus, MOST)
    rows: Rows = []
    for rank in range(shown):
        n, local = int(node[rank]), rank - int(first[node[rank]])
        own = {f"g_{kind}": int(ids[rank]) for kind, ids in number.items()}
        rows.append({"gpu": f"rank {rank}", "node": n, **_place(n, local, max(sizes)), **own, "holds": held[rank]})
    title = "Which GPU is in which group, and what it holds"
    caption = f"{gpus} GPUs in {len(sizes)} {'nodes' if len(sizes) > 1 else 'node'}"
    caption += f", the first {shown} of them drawn. " if shown < gpus else ". "
    caption += note
    if groups:
        caption += (
            "GPUs of one colour are in one group (colours repeat after ten); point at one to see its group alone."
        )
    else:
        caption += "Every GPU works alone: no group has more than one rank."
    return Figure("cluster", title, caption, _map(rows, list(groups), max(sizes)))


def _number(ranks: np.ndarray, gpus: int) -> np.ndarray:
    """The group of each rank, of ``ranks`` [groups, size]."""
    of = np.zeros(gpus, dtype=int)
    of[ranks.ravel()] = np.repeat(np.arange(len(ranks)), ranks.shape[1])
    return of


def _place(node: int, local: int, largest: int) -> dict[str, float]:
    """Corners of a GPU's square, in GPUs; nodes stand apart, with room for a name above each."""
    rows = -(-largest // IN_NODE)
    left = (node % ACROSS) * (IN_NODE + 0.6) + local % IN_NODE
    top = (node // ACROSS) * (rows + 1.0) + local // IN_NODE
    return {"x": left + 0.05, "x2": left + 0.95, "y": top + 0.05, "y2": top + 0.95}


def _held(case: Case, s: Strategy) -> list[str]:
    """What each rank holds, in words."""
    a, _ = placed(case, s)
    r = a.ranks
    texts = []
    for rank in range(a.gpus):
        layers = a.layers[r.stage[rank]]
        text = f"layers {layers.start}–{layers.stop - 1}"
        if a.experts.size:
            text += f"; experts {_listed(a.experts[0][r.ep[rank]].tolist())}"
            text += f", slice {r.etp[rank] + 1} of {s.experts.tp}" if s.experts.tp > 1 else ""
        if s.attention.tp > 1:
            text += f"; attention slice {r.tp[rank] + 1} of {s.attention.tp}"
        texts.append(text)
    return texts


def _listed(ids: Sequence[int]) -> str:
    """Runs of ids: ``0–15``, or ``3, 7, 9``; of a long list the beginning."""
    runs: list[list[int]] = []
    for i in ids:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    words = [f"{a}" if a == b else f"{a}–{b}" for a, b in runs]
    return ", ".join(words[:8]) + (f" … ({len(ids)} in all)" if len(words) > 8 else "")


def _map(rows: Rows, kinds: list[str], largest: int) -> alt.LayerChart:
    wide, deep = max(row["x2"] for row in rows), max(row["y2"] for row in rows)
    deep_node = -(-largest // IN_NODE)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, max(wide, IN_NODE * 2.2)], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[deep, -0.6], nice=False))
    base = alt.Chart(data(rows))
    labels = {kind: _NAMES.get(kind, kind) for kind in _NAMES if kind in kinds}
    start = next((k for k in ("ep", "tp", "replica", "stage") if k in labels), next(iter(labels), None))
    squares = base
    colour: Any = alt.value(SERIES[0])
    opacity: Any = alt.value(1.0)
    lines = [("gpu", "GPU"), ("node", "node"), ("holds", "holds")]
    if start is not None:
        bind = alt.binding_select(options=list(labels), labels=list(labels.values()), name="coloured by ")
        squares = squares.add_params(alt.param(name="coloured", bind=bind, value=start))
        squares = squares.transform_calculate(group="datum['g_' + coloured]", shade="datum['g_' + coloured] % 10")
        scale = alt.Scale(domain=list(range(10)), range=list(SERIES))
        colour = alt.Color("shade:O", scale=scale, legend=None)
        pointed = alt.selection_point(
            name="pointed", on="pointerover", fields=["group"], empty=True, clear="pointerout"
        )
        squares = squares.add_params(pointed)
        opacity = alt.condition(pointed, alt.value(1.0), alt.value(0.18))
        lines.append(("group", "group"))
    drawn = squares.mark_rect(cornerRadius=2).encode(
        x=x, x2="x2:Q", y=y, y2="y2:Q", color=colour, opacity=opacity, tooltip=tips(*lines)
    )
    nodes: dict[int, dict[str, Any]] = {}
    for row in rows:
        nodes.setdefault(row["node"], {"x": row["x"], "y": row["y"], "text": f"node {row['node']}"})
    names = (
        alt.Chart(data(nodes.values()))
        .mark_text(align="left", baseline="bottom", dy=-3, fontSize=11)
        .encode(x=x, y=y, text="text:N")
    )
    height = (deep + 0.6) * 26 if deep_node else 60
    return layered(drawn, names, height=min(900.0, height))
