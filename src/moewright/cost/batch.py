"""What one chunk of a pass brings to a rank: prompt tokens after what is cached, and sequences that decode.

A chunk is what passes the layers together: a micro-batch, or half of one under ``two_batch``. ``plan`` makes it from a
workload, ``serve`` from a step of an engine; every price is that of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from moewright.case.workload import Kind, Workload
from moewright.cost.arrays import Array, array, where
from moewright.cost.table import Table


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays [rows], of one attention-dp rank (all its cp and tp ranks together) save where said.

    ``prompts`` sequences bring ``new`` tokens each after ``past`` tokens that are cached; ``decodes`` sequences one
    token each, which sees ``context`` keys, itself included (the mean). ``spread``: contexts lie anywhere around that
    mean, as in serving, not all at it. ``tokens``: those a rank's attention works on, prompts divided over cp.
    ``own``: those a rank holds between attention and experts. ``routed``: tokens whose experts are in one stage.
    ``logits``: tokens whose logits are wanted. ``causal``: a prompt's token sees no later one. ``expands_own``: a rank
    of cp expands the latents of its own tokens alone (in training, where keys and values travel expanded).
    """

    prompts: Array
    new: Array
    past: Array
    decodes: Array
    context: Array
    tokens: Array
    own: Array
    routed: Array
    logits: Array
    causal: bool = True
    spread: bool = False
    expands_own: bool = False

    @property
    def low_latency(self) -> Array:
        """1 where only decodes are in the chunk: engines then use low-latency dispatch kernels; else 0."""
        return where(self.prompts * self.new > 0, 0.0, 1.0)


def batch_of(w: Workload, t: Table, parts: Array | None = None) -> Batch:
    """The chunk of every row of ``t`` under the workload ``w``. ``parts``: into how many a rank's batch is divided, if
    not the table's chunks (a whole micro-batch: its micro-batches)."""
    sequences = t.sequences / (array(t.chunks) if parts is None else parts)
    none = np.zeros_like(sequences)
    if w.kind is Kind.DECODE:
        tokens, prompts, decodes = sequences, none, sequences
        new, context = none, none + w.sequence
    else:
        tokens, prompts, decodes = sequences * w.sequence / t.cp, sequences, none
        new, context = none + w.sequence, none
    return Batch(
        prompts,
        new,
        none,
        decodes,
        context,
        tokens,
        own_tokens(tokens, t),
        where(t.replicated, tokens, tokens * t.dp * t.cp),
        tokens if w.kind is Kind.FORWARD else sequences,
        w.causal,
    )


def own_tokens(tokens: Array, t: Table) -> Array:
    """Tokens that a rank holds between attention and experts: its share of its tp group's; all under replicated."""
    return where(t.replicated, tokens, np.ceil(tokens / t.tp))


def prompts_of(tokens: ArrayLike, pairs: ArrayLike) -> tuple[Array, Array, Array]:
    """(prompts, new, past) that have ``tokens`` new tokens, each of which sees pairs/tokens keys in the mean.

    Whole prompts of L tokens see L/2 in the mean, one chunk of n tokens after c cached ones c + n/2: a mean below half
    of the tokens is of several prompts, one above of a chunk that stands after others or after a cached prefix.
    """
    n = array(tokens)
    mean = array(pairs) / np.maximum(n, 1e-9)
    several = mean < n / 2
    new = where(several, np.maximum(2 * mean, 1e-9), n)
    prompts = where(n > 0, n / np.maximum(new, 1e-9), 0.0)
    return prompts, where(n > 0, new, 0.0), where((n > 0) & ~several, mean - n / 2, 0.0)
