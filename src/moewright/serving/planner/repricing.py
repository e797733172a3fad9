"""The steady state of a choice, with the seconds of its steps as measured kernels have them instead of formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moewright.case.serving import Serving
from moewright.serving.engines.deployment import Workers
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.steady import Terms
from moewright.serving.planner.option import Choice
from moewright.serving.planner.pools import Decode, Prefill, States
from moewright.serving.step import StepModel


def repriced(choices: Sequence[Choice], w: Workers, s: Serving, engine: Engine) -> list[Choice]:
    """``choices`` of these workers at several concurrencies: a step of decodes and one with a prompt as the workers'
    model has them, in the shares in which the formulas have them; requests a second by Little's law."""
    load = np.array([c.concurrency for c in choices]) / (w.count * int(w.model.dp[0]))
    tokens = max(1.0, s.input.mean * (1 - s.prefix_cache_hit))
    prompt = np.full(len(choices), min(tokens, float(engine.max_num_batched_tokens)))
    decode, long = _both(w, s, engine, load, 0 * prompt), _both(w, s, engine, load, prompt)
    ttft, step = (np.array([getattr(c, m) for c in choices]) for m in ("ttft", "tpot"))
    step = step * s.per_step
    share = np.clip((step - decode[0]) / np.maximum(long[0] - decode[0], 1e-12), 0.0, 1.0)
    share = np.where(long[0] > decode[0], share, 0.0)
    mixed = [(1 - share) * d + share * x for d, x in zip(decode, long, strict=True)]
    steps, firsts = step * mixed[1] / mixed[0], ttft * long[1] / long[0]
    faster = (ttft + s.steps * step) / (firsts + s.steps * steps)
    return [
        replace(c, ttft=float(f), tpot=float(x / s.per_step), output_per_gpu=float(c.output_per_gpu * y))
        for c, f, x, y in zip(choices, firsts, steps, faster, strict=True)
    ]


def repriced_pools(choices: Sequence[Choice], p: Prefill, d: Decode, s: Serving) -> list[Choice]:
    """``choices`` of pools of these workers, each with its own numbers of them."""
    counts = np.array([c.replicas for c in choices])
    flight = np.array([float(c.concurrency) for c in choices])
    states = States(p, d, s.steps, flight, counts[:, 1], counts[:, 0])
    n = states.loads()
    rate, _, ttft, _ = states.at(n)
    step = d.at(n) / s.per_step
    return [
        replace(c, ttft=float(f), tpot=float(x), rate=float(r), output_per_gpu=float(r) * s.output.mean / sum(c.gpus))
        for c, f, x, r in zip(choices, ttft, step, rate, strict=True)
    ]


def _both(
    w: Workers, s: Serving, engine: Engine, load: np.ndarray, prompt: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of steps by formulas, and by the worker's model."""
    formulas = StepModel.of(w.case, w.strategy, engine)
    plain = Terms(formulas, s, engine).seconds(prompt, load, prompt)
    if not w.measured:
        return plain, plain
    return plain, Terms(w.model, s, engine.without_host()).seconds(prompt, load, prompt)
