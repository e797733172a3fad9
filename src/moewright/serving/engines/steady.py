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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from moewright.case.serving import Serving
from moewright.cost.arrays import Array
from moewright.serving.engines.engine import Engine
from moewright.serving.step import Step, StepModel

ROUNDS = 12
#: prompts that come to a rank in one step, at most
MOST_PROMPTS = 48


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
        self.model, self.engine, self.serving = model, engine, s
        drafts = s.speculative.drafts if s.speculative else 0
        self.width = 1 + drafts
        self.drafting = 1 + drafts / len(model.case.model.layers)
        self.prompt = max(1.0, s.input.mean * (1 - s.prefix_cache_hit))  # tokens to compute
        self.keys = s.input.mean - self.prompt / 2  # that a prompt's token sees, in the mean
        self.resident, self.steps = s.resident, s.steps
        self.each = s.per_step
        self.sizes = np.array(engine.cuda_graph_sizes, dtype=float)
        self.prompts = np.array([max(1.0, n * (1 - s.prefix_cache_hit)) for n in s.input.quantiles()])

    def passes(self, budget: np.ndarray) -> np.ndarray:
        """Steps that a prompt takes, in the mean of all lengths."""
        return np.asarray(np.ceil(self.prompts / np.asarray(budget)[..., None]).mean(axis=-1))

    def alone(self, like: np.ndarray) -> np.ndarray:
        """GPU seconds of a whole prompt by itself."""
        budget = float(self.engine.max_num_batched_tokens)
        whole = np.minimum(self.prompt, budget) + 0 * like
        one = self.seconds(whole, 0 * like, whole) - self.engine.host_step
        return np.asarray(one * np.ceil(self.prompt / budget))

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


def steady_state(model: StepModel, s: Serving, engine: Engine, load: ArrayLike, rounds: int = ROUNDS) -> Steady:
    """The steady state with ``load`` requests in flight on each attention-dp rank."""
    return _settled(
        Terms(model, s, engine), lambda there: np.atleast_1d(np.asarray(load, dtype=float)) + 0 * there, rounds
    )


def _settled(t: Terms, load_at: Callable[[np.ndarray], np.ndarray], rounds: int) -> Steady:
    """By repeated substitution; ``load_at``: requests in flight on a rank where each is there so many seconds."""
    engine, capacity = t.engine, held_load(t.model, t.serving, t.engine)
    load = load_at(np.zeros_like(capacity))
    inside = np.maximum(np.minimum(load, capacity), 1e-3)
    prompt = t.alone(inside)
    batch, step, ttft = inside, t.seconds(0 * inside, inside), prompt
    layers = len(t.model.case.model.layers)
    for _ in range(rounds):
        mix = _mix(t, batch, inside, step)
        ttft = mix.first + engine.before(prompt, mix.alone, layers, np.maximum(inside - 1, 0.0))
        step = 0.5 * step + 0.5 * mix.step
        there = t.steps * step + ttft
        load = load_at(there)
        inside = np.maximum(np.minimum(load, capacity), 1e-3)
        wanted = inside * t.steps * step / there
        if engine.mixed:  # more than the budget feeds cannot decode: the others wait for theirs
            fed = np.minimum(wanted, mix.most)
            waits = (inside / np.maximum(fed, 1e-9) - 1) * t.steps * step
            ttft, wanted = np.where(wanted > mix.most, np.maximum(ttft, waits), ttft), fed
        batch = 0.5 * batch + 0.5 * wanted
    rate = batch / (t.steps * step)
    ttft = ttft + np.maximum(0.0, load - capacity) / np.maximum(rate, 1e-12)
    return Steady(ttft, step / t.each, batch, rate, capacity)


@dataclass(frozen=True, slots=True)
class _Mix:
    """Of the steps that a decoding request sees: seconds a token (``step``) and of one without prompts (``alone``);
    seconds of a request from the queue to its first token; and how many can decode for all that the budget feeds."""

    step: np.ndarray
    alone: np.ndarray
    first: np.ndarray
    most: np.ndarray


def _mix(t: Terms, batch: np.ndarray, inside: np.ndarray, before: np.ndarray) -> _Mix:
    """What steps are like with ``batch`` decoding sequences on a rank, of ``inside`` requests there; ``before``:
    seconds of a step so far."""
    dp, engine = np.asarray(t.model.dp, dtype=float), t.engine
    budget = np.maximum(1.0, engine.max_num_batched_tokens - (batch * t.width if engine.mixed else 0 * batch))
    passes, fits = t.passes(budget), np.maximum(1.0, np.floor(budget / t.prompt))
    alone = t.seconds(np.zeros_like(batch), batch)
    # requests come evenly over steps where the host is fast, over seconds where what it takes spans several steps
    evenly = 1 - np.exp(-(engine.host_request + engine.host_wait * alone) / before)
    # a request sees the prompts of the others alone (the arrival theorem of closed networks)
    others = np.maximum(1 - 1 / np.maximum(inside * dp, 1.0), 0.0)
    ends = batch / t.steps * others  # prompts for each step that decodes
    chunk = _chunk(t.prompt, ends, budget, passes, fits)
    busy = ends * t.prompt / chunk  # of a rank, steps with prompts for each that decodes
    own = 0 * busy if engine.mixed else _own(ends, busy, np.where(passes > 1, 0.0, evenly))
    mean = np.minimum(ends * (1 - own), budget / t.prompt)
    busy = np.minimum(1.0, busy) if engine.mixed else own
    with_them = batch if engine.mixed else np.where(dp > 1, batch, 0.0)
    pace = before * (1 - own)  # seconds of any step, in the mean

    def long(prompts: np.ndarray) -> np.ndarray:
        """Seconds of a step with prompts on some rank, of so many a rank in the mean."""
        most, some = most_of(prompts, dp, fits)
        some = np.where(passes > 1, np.maximum(1 - (1 - busy) ** dp, 1e-12), some)
        fullest = np.where(passes > 1, chunk, t.prompt * most)
        return t.seconds(fullest, with_them, dp * prompts * t.prompt / some)

    divided = passes > 1
    after_short = np.where(divided, mean, mean * (1 - evenly + evenly * alone / pace))
    first = long(after_short)
    again = first
    if not divided.all():
        after_long = mean * (1 - evenly + evenly * first / pace)
        again = np.where(divided, first, long(after_long))
        after_long = mean * (1 - evenly + evenly * again / pace)
        chain = _chain(np.exp(-after_short * dp), np.exp(-after_long * dp))
        shares = np.where(divided, _parts(busy, dp, alone, first, pace, evenly), chain)
    else:
        shares = _parts(busy, dp, alone, first, pace, evenly)
    seconds = np.array([alone, first, again])
    step = (shares * seconds).sum(axis=0)
    # of the step under way, which is longer the likelier it is met
    left = (shares * seconds**2).sum(axis=0) / (2 * step)
    met = shares[0] * alone / step
    prompt = met * first + (1 - met) * again
    full = np.minimum(mean * t.prompt / budget, 0.9)
    queue = full / (2 * (1 - full)) * t.prompt / budget
    taken = np.where(inside > 1, left, 0.0) + (passes + queue) * prompt
    return _Mix(step / (1 - own), alone, taken, budget * t.steps / t.prompt)


def _own(ends: np.ndarray, busy: np.ndarray, evenly: np.ndarray) -> np.ndarray:
    """Of an engine that decodes or prefills, the share of a rank's steps that are of its own prompts, where ``busy``
    come for each that decodes; where they come evenly over seconds, q = 1 − exp(−ends·(1 − q)) of all."""
    decodes = np.ones_like(ends)
    for _ in range(12):
        decodes = 0.5 * decodes + 0.5 * np.exp(-ends * decodes)
    return np.asarray(np.maximum(busy / (1 + busy), evenly * (1 - decodes)))


def _parts(
    busy: np.ndarray, dp: np.ndarray, alone: np.ndarray, long: np.ndarray, step: np.ndarray, evenly: np.ndarray
) -> np.ndarray:
    """As ``_chain``, of prompts in several parts, of which a rank is ``busy`` so much of the steps; or of the seconds,
    as long steps are the more of these (M/G/∞)."""
    by_steps = (1 - busy) ** dp
    quiet = (1 - np.minimum(1.0, busy * long / step)) ** dp
    by_seconds = quiet / alone / (quiet / alone + (1 - quiet) / long)
    short = evenly * by_seconds + (1 - evenly) * by_steps
    return np.array([short, 1 - short, 0 * short])


def _chain(quiet_short: np.ndarray, quiet_long: np.ndarray) -> np.ndarray:
    """Shares [3, rows] of steps without prompts, of those with prompts after such, and after ones with prompts; from
    the chances that none comes during a short or a long step."""
    starts = 1 - quiet_short
    counts = np.array([np.ones_like(starts), starts, starts * (1 - quiet_long) / np.maximum(quiet_long, 1e-9)])
    return np.asarray(counts / counts.sum(axis=0))


def _chunk(prompt: float, prompts: np.ndarray, budget: np.ndarray, passes: np.ndarray, fits: np.ndarray) -> np.ndarray:
    """Prompt tokens of a rank's steps that have any, where so many ``prompts`` come in a step: those that come
    together; of prompts longer than the budget their parts, filled up from the queue the fuller the rank is."""
    full = np.minimum(1.0, prompts * prompt / budget)
    parts = prompt / passes * (1 - full) + budget * full
    together = prompt * np.minimum(prompts / -np.expm1(-np.maximum(prompts, 1e-9)), fits)
    return np.asarray(np.where(passes > 1, parts, np.maximum(together, np.minimum(prompt, budget))))


def most_of(mean: np.ndarray, ranks: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of Poisson numbers of this ``mean`` on each of ``ranks``: the expected largest where one is not 0, at most
    ``most``; and the chance of that."""
    k = np.arange(MOST_PROMPTS)[:, None]
    flat = np.maximum(np.ravel(np.broadcast_to(mean, np.broadcast_shapes(np.shape(mean), np.shape(ranks)))), 1e-12)
    ranks, most = (np.ravel(np.broadcast_to(x, np.shape(mean))) for x in (ranks, most))
    chances = np.exp(np.cumsum(np.concatenate([-flat[None], np.log(flat) - np.log(k[1:])]), axis=0))
    below = np.minimum(np.cumsum(chances, axis=0), 1.0) ** ranks
    some = np.maximum(1 - below[0], 1e-12)
    largest = ((1 - below) * (k < most)).sum(axis=0) / some
    shape = np.shape(mean)
    return np.maximum(largest, 1.0).reshape(shape), some.reshape(shape)


def load_at(model: StepModel, s: Serving, engine: Engine, rate: ArrayLike) -> np.ndarray:
    """Requests in flight on a rank at ``rate`` arrivals a second, by Little's law; infinite where the rank cannot keep
    up."""
    t, rate = Terms(model, s, engine), np.asarray(rate, dtype=float)
    capacity = np.maximum(held_load(model, s, engine), 1e-2)
    state = _settled(t, lambda there: np.minimum(rate * there, capacity), 2 * ROUNDS)
    enough = steady_state(model, s, engine, capacity).rate >= rate
    load = rate * (state.ttft + t.steps * t.each * state.tpot)
    return np.asarray(np.where(enough, np.minimum(load, capacity), np.inf))
