"""TTFT and TPOT of an engine at a steady concurrency, in closed form, from the seconds of its steps.

A rank that decodes b sequences takes D(b) a step. Each sequence's answer of o tokens sees the b − 1 others' prompts
pass once in that time, P seconds each, so without speculation

    TPOT = s · (D(b) + i · (b − 1) · P / o · dp^x)

``s`` is what the engine's steps take over the sum of their kernels, ``i`` how much of a prompt's time decoding waits
(chunks share steps with decodes), ``x`` how much the attention-dp ranks' prompts, which all ranks wait for, fall into
different steps. D weighs two of its parts: collectives inside a step against alone, and small kernels. Drafted tokens
divide D by the tokens accepted a step. Prefill and decode apart: the prompts' term falls away.

    TTFT = h + p · max(P, l · layers) + w · D + q · (b − 1) · P · dp^y + waiting for KV

``h`` host seconds of a request, ``l`` of launching a layer of a prompt one kernel at a time, ``w`` steps until the
scheduler looks at its queue, ``q`` the share of the other sequences' prompts that stand before it. Where KV holds
only b' < b, b/b' − 1 rounds of whole answers are waited for first (closed loop).

The few constants are fitted (``fitted.yaml``, ``benchmarks/serving.py``) by cross-validation over layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from moewright.cost.silicon import ENGINES
from moewright.serve.facts import PARTS, WORKERS, Facts

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Constants:
    """The fitted constants; tuples are of ``ENGINES``: vllm, sglang, trtllm."""

    speed: tuple[float, float, float]  # s
    communication: float
    small: float
    interference: float  # i
    spread: float  # x
    accepted: tuple[float, float, float]  # tokens a step of models that ship draft layers
    apart_accepted: tuple[float, float, float]  # the same where prefill and decode are apart
    apart_workers: float  # decode workers that are not stated: (concurrency / this)^ the next, at least 1
    apart_growth: float
    host: tuple[float, float, float]  # h, seconds
    prompt: float  # p
    launch: tuple[float, float, float]  # l, seconds
    poll: tuple[float, float, float]  # w
    queue: tuple[float, float, float]  # q
    queue_spread: float  # y
    apart_host: tuple[float, float, float]  # h where prefill and decode are apart (KV moved, another server)
    apart_queue: float  # q there, of (concurrency)^ the next
    apart_queue_growth: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Facts of many rows as arrays [rows] (``decode`` [rows, workers, parts])."""

    engine: Array
    apart: Array
    stated: Array  # whether the decode workers are stated
    drafts: Array
    decode: Array
    prompt: Array
    packed: Array
    batch: Array  # [rows, workers]
    held: Array
    dp: Array
    layers: Array
    output: Array
    concurrency: Array

    @staticmethod
    def of(facts: Sequence[Facts]) -> Batch:
        return Batch(
            engine=np.array([ENGINES.index(f.row.engine) for f in facts]),
            apart=np.array([f.row.apart for f in facts]),
            stated=np.array([f.row.decode.workers is not None or not f.row.apart for f in facts]),
            drafts=np.array([f.drafts for f in facts]),
            decode=np.stack([f.decode for f in facts]),
            prompt=np.array([f.prompt for f in facts]),
            packed=np.array([f.packed for f in facts]),
            batch=np.stack([f.batch for f in facts]),
            held=np.array([f.held for f in facts]),
            dp=np.array([float(f.layout.dp) for f in facts]),
            layers=np.array([float(f.layers) for f in facts]),
            output=np.array([f.output for f in facts]),
            concurrency=np.array([f.row.concurrency for f in facts]),
        )

    def take(self, rows: Array) -> Batch:
        """The rows picked."""
        return Batch(*(getattr(self, f.name)[rows] for f in fields(self)))


def tpot_ttft(x: Batch, c: Constants) -> tuple[Array, Array]:
    """Seconds of each output token after the first, and of the first; arrays [rows]."""
    weights = np.ones(len(PARTS))
    weights[PARTS.index("communication")] = c.communication
    weights[PARTS.index("small")] = weights[PARTS.index("router")] = c.small
    at = _at_workers(x, c)
    decode = _between(x.decode @ weights, at)
    asked = np.maximum(_between(x.batch, at), 1.0)
    running = np.minimum(asked, x.held)
    drafted = np.where(x.apart, np.array(c.apart_accepted)[x.engine], np.array(c.accepted)[x.engine])
    step = decode
    decode = np.where(x.drafts, step / np.maximum(drafted, 1.0), step)
    others = np.maximum(running - 1, 0.0)
    waits = c.interference * others * x.packed / x.output * x.dp**c.spread
    speed = np.array(c.speed)[x.engine]
    tpot = speed * (decode + np.where(x.apart, 0.0, waits))
    return tpot, _ttft(x, c, speed * step, tpot, asked, running)


def _ttft(x: Batch, c: Constants, step: Array, tpot: Array, asked: Array, running: Array) -> Array:
    prompt = c.prompt * np.maximum(x.prompt, np.array(c.launch)[x.engine] * x.layers)
    others = np.maximum(running - 1, 0.0)
    shared = np.array(c.host)[x.engine] + np.array(c.poll)[x.engine] * step
    shared = shared + np.array(c.queue)[x.engine] * others * x.packed * x.dp**c.queue_spread
    moved = np.array(c.apart_host)[x.engine] + c.apart_queue * x.concurrency**c.apart_queue_growth * x.packed
    rounds = np.maximum(asked / running - 1, 0.0)
    return prompt + np.where(x.apart, moved, shared) + rounds * (x.output * tpot + x.prompt)


def _at_workers(x: Batch, c: Constants) -> Array:
    """The place among ``WORKERS`` (in doublings) of the decode workers a row had; any, where they are stated."""
    guessed = np.maximum(x.concurrency / c.apart_workers, 1.0) ** c.apart_growth
    return np.clip(np.where(x.stated, 0.0, np.log2(guessed)), 0.0, len(WORKERS) - 1.0)


def _between(values: Array, at: Array) -> Array:
    """``values`` [rows, workers] at fractional places ``at`` [rows], linear in the logarithm."""
    low = np.minimum(at.astype(int), values.shape[1] - 2)
    w = at - low
    rows = np.arange(len(values))
    a, b = np.log(values[rows, low]), np.log(values[rows, low + 1])
    return np.asarray(np.exp(a * (1 - w) + b * w))
