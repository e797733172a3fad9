"""The steady state of an engine in closed form, for a whole table of strategies at once.

Of ``load`` requests in flight on an attention-dp rank b decode. A request decodes for O steps, so that b/O of them
end in a step, and as many prompts of I tokens come in: need = b·I/O prompt tokens a step. They come in chunks of p
tokens, at least a whole prompt (or the budget). A rank has one in need/p of the steps, and all dp ranks wait for it:
the share φ = 1 − (1 − need/p)^dp of the steps has one on some rank, and then dp·need/φ prompt tokens in all:

    mixed      T = (1 − φ)·f(0, b) + φ·f(p, b)
    separate   q = need/p / (1 + need/p) of a rank's steps are prompts, in which it does not decode;
               φ = 1 − (1 − q)^dp, T = ((1 − φ)·f(0, b) + φ·f(p, b of the other ranks)) / (1 − q)

Little's law (b of the load decode: O·T of the O·T + TTFT seconds that a request is there) closes the loop; T and b are
found by repeated substitution. TTFT: half a step of waiting, the steps of the prompt, and what the engine adds
(``Engine.before``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from moewright.case.serving import Serving
from moewright.cost.arrays import Array
from moewright.serving.engines.engine import Engine
from moewright.serving.step import Step, StepModel

ROUNDS = 16


@dataclass(frozen=True, slots=True)
class Steady:
    """Per row: seconds to the first token and per further one; sequences that decode on a rank; requests a second of
    a rank; and the load that its cache and its engine hold."""

    ttft: np.ndarray
    tpot: np.ndarray
    decoding: np.ndarray
    rate: np.ndarray
    held: np.ndarray


def held_load(model: StepModel, s: Serving, engine: Engine) -> np.ndarray:
    """Requests of mean size that a rank holds, with as much of their answers as the engine reserves."""
    tokens = s.input.mean + s.output.mean * (1 + engine.reserve) / 2
    width = 1 + s.speculative.drafts if s.speculative else 1
    most = min(engine.max_num_seqs, max(1, engine.max_num_batched_tokens // width))
    return np.asarray(np.minimum(np.floor(np.maximum(model.kv_tokens, 0) / tokens), most), dtype=float)


class Terms:
    """What a step takes as the number of its decoding sequences and prompt tokens: host, padding and drafts too."""

    def __init__(self, model: StepModel, s: Serving, engine: Engine) -> None:
        self.model, self.engine = model, engine
        drafts = s.speculative.drafts if s.speculative else 0
        self.width = 1 + drafts
        self.drafting = 1 + drafts / len(model.case.model.layers)
        self.prompt = max(1.0, s.input.mean * (1 - s.prefix_cache_hit))  # tokens to compute
        self.keys = s.input.mean - self.prompt / 2  # that a prompt's token sees, in the mean
        self.resident, self.steps = s.resident, s.steps
        self.each = s.per_step
        self.sizes = np.array(engine.cuda_graph_sizes, dtype=float)

    def seconds(self, prefill: Array, batch: Array, prompts: ArrayLike = 0.0) -> np.ndarray:
        """A step of ``prefill`` prompt tokens on the fullest rank, ``prompts`` on all of them, and ``batch`` decoding
        sequences on the mean one (the fullest has at least one)."""
        decode = np.where(batch > 0, np.maximum(batch, 1.0), 0.0) * self.width
        if len(self.sizes):
            at = np.minimum(np.searchsorted(self.sizes, decode - 1e-9), len(self.sizes) - 1)
            fits = (decode <= self.sizes[-1]) & (decode > 0) & (np.asarray(prefill) <= 0)
            decode = np.where(fits, self.sizes[at], decode)
        context = decode * self.resident
        shared = np.asarray(prompts, dtype=float) + self.model.dp * np.where(batch < 1, batch * self.width, decode)
        tokens = np.maximum(shared, np.maximum(prefill + decode, 1))
        gpu = self.model.seconds(Step(prefill, prefill * self.keys, decode, context, tokens))
        return np.asarray(gpu * self.drafting + self.engine.host_step + self.engine.host_sequence * batch)


def steady_state(model: StepModel, s: Serving, engine: Engine, load: ArrayLike) -> Steady:
    """The steady state with ``load`` requests in flight on each attention-dp rank."""
    t = Terms(model, s, engine)
    load = np.atleast_1d(np.asarray(load, dtype=float))
    held = held_load(model, s, engine)
    inside = np.maximum(np.minimum(load, held), 1e-3)
    batch = inside
    tpot = ttft = np.zeros_like(inside)
    budget_of, layers = float(engine.max_num_batched_tokens), len(model.case.model.layers)
    whole = np.minimum(t.prompt, budget_of) + 0 * inside
    prompt = (t.seconds(whole, 0 * inside, whole) - engine.host_step) * np.ceil(t.prompt / budget_of)
    for _ in range(ROUNDS):
        budget = np.maximum(1.0, budget_of - batch * t.width) if engine.mixed else budget_of + 0 * batch
        most = budget * t.steps / t.prompt  # more cannot be fed
        batch = np.minimum(batch, most) if engine.mixed else batch
        need = batch * t.prompt / t.steps
        chunk = np.clip(need, np.minimum(t.prompt, budget), budget)
        own = need / chunk if engine.mixed else need / (chunk + need)
        share = 1 - (1 - np.minimum(1.0, own)) ** model.dp
        alone = t.seconds(np.zeros_like(batch), batch)
        with_them = batch if engine.mixed else np.where(model.dp > 1, batch, 0.0)
        both = t.seconds(chunk, with_them, model.dp * own * chunk / share)
        step = ((1 - share) * alone + share * both) / (1.0 if engine.mixed else 1 - own)
        chunks = np.ceil(t.prompt / budget)
        # the wait for the step under way, which is longer the likelier it is met
        wait = np.where(inside > 1, step / 2, 0.0)
        ttft = wait + chunks * both + engine.before(prompt, alone, layers, np.maximum(inside - 1, 0.0))
        rate = batch / (t.steps * step)
        wanted = inside * t.steps * step / (t.steps * step + ttft)
        if engine.mixed:
            ttft = np.where(wanted > most, np.maximum(ttft, (inside - most) / rate), ttft)
        batch = 0.5 * batch + 0.5 * np.minimum(wanted, inside)
        tpot = step / t.each
    rate = batch / (t.steps * tpot * t.each)
    ttft = ttft + np.maximum(0.0, load - held) / np.maximum(rate, 1e-12)
    return Steady(ttft, tpot, batch, rate, held)


def load_at(model: StepModel, s: Serving, engine: Engine, rate: ArrayLike) -> np.ndarray:
    """Requests in flight on a rank at ``rate`` arrivals a second, by Little's law and bisection; infinite where the
    rank cannot keep up."""
    held = held_load(model, s, engine)
    low, high = np.zeros_like(held) + 1e-3, np.maximum(held, 1e-2)
    enough = steady_state(model, s, engine, high).rate >= rate
    for _ in range(14):
        middle = np.sqrt(low * high)
        good = steady_state(model, s, engine, middle).rate >= rate
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return np.asarray(np.where(enough, high, np.inf))
