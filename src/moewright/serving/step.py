"""Seconds of one engine step, prompts and decodes together: the work of a pass, priced by formulas or by tables.

Matrix products see the tokens of both; attention is two kernels, one of the prompts' pairs and one of the decodes'
context; experts see the tokens of all attention-dp ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from moewright.case.case import Case
from moewright.case.file.calibration_file import Calibration
from moewright.case.strategy import Strategy
from moewright.cost.arrays import Array, array, total, where
from moewright.cost.batch import Batch, own_tokens, prompts_of
from moewright.cost.ends import embedding_work, head_work
from moewright.cost.layer import layer_work
from moewright.cost.pipeline import overlapped, round_seconds, stage_seconds
from moewright.cost.prices.price import Price, Priced
from moewright.cost.shapes import groups_of
from moewright.cost.table import Table
from moewright.planning.evaluate import end_passes, hop_seconds, pass_of, price_of
from moewright.serving.engines.capacity import Capacity, capacity
from moewright.serving.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine step works on; arrays [n] or scalars. Of the fullest attention-dp rank, save ``tokens``."""

    prefill_tokens: ArrayLike  # new prompt tokens in this step
    prefill_pairs: ArrayLike  # sum over those tokens of the keys each attends to (context included)
    decode_sequences: ArrayLike  # sequences that decode one token (times 1 + drafts under speculation)
    decode_context: ArrayLike  # sum of their context tokens
    tokens: ArrayLike  # tokens of all attention-dp ranks together (what experts see)


@dataclass(frozen=True, slots=True)
class PricedStep:
    """Arrays [n]: ``seconds`` of the step, those of each group of operations through all stages (they add up to at
    least ``seconds``: stages and halves overlap), and the priced operations of every kind of layer and of the ends with
    how often each runs."""

    seconds: Array
    groups: dict[str, Array]
    operations: list[tuple[Priced, float]] = field(default_factory=list)


class StepModel:
    """Steps of one strategy (a table of one row), or of a table's rows, a step for each.

    ``price``: what turns work into seconds, the case's own where None. ``factors``: what an engine's operations of a
    group take over their price ("" stands for all others)."""

    def __init__(
        self,
        case: Case,
        table: Table,
        engine: Engine,
        length: float | None = None,
        price: Price | None = None,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        self.case, self.table = case, table
        self.price = price or price_of(case)
        self.factors = dict(factors or {})
        self.groups = groups_of(table, case.cluster)
        s = case.serving
        self.capacity: Capacity = capacity(
            case, table, engine, length or (s.input.mean + s.output.mean if s else case.workload.sequence)
        )
        self.kv_tokens: Array = self.capacity.tokens
        self.dp = array(table.dp)

    @staticmethod
    def of(case: Case, strategy: Strategy, engine: Engine) -> StepModel:
        """The model of one strategy."""
        return StepModel(case, Table.one(strategy, strategy.replicas * strategy.attention.dp), engine)

    def seconds(self, step: Step) -> Array:
        """GPU seconds of one step through the whole model."""
        return self.priced(step).seconds

    def parts(self, step: Step) -> dict[str, float]:
        """Seconds of one step (scalars) by group of operations; they add up to ``seconds``."""
        step_priced = self.priced(step)
        whole = sum(float(v[0]) for v in step_priced.groups.values())
        scale = float(step_priced.seconds[0]) / max(whole, 1e-30)
        return {name: float(v[0]) * scale for name, v in step_priced.groups.items() if float(v[0]) > 0}

    def priced(self, step: Step) -> PricedStep:
        """The step priced, operation by operation; by the case's calibration, where it has one."""
        found, c = self._priced(step), self.case.calibration
        return found if c is None or not c.of_steps else self._calibrated(step, found, c)

    def _calibrated(self, step: Step, found: PricedStep, c: Calibration) -> PricedStep:
        """``found`` with a factor on each of its parts: one decoding sequence, what the others add, what prompt tokens
        add. Every group is scaled as the whole is."""
        prompts, decodes = array(step.prefill_tokens), array(step.decode_sequences)
        worked = np.maximum(prompts + decodes, 1e-9)
        one = np.minimum(decodes, 1.0)
        share = np.maximum(array(step.tokens) / worked, 1.0)
        context = array(step.decode_context) / np.maximum(decodes, 1e-9)
        none = 0 * worked
        some = self._priced(Step(none, none, decodes, array(step.decode_context), decodes * share)).seconds
        base = self._priced(Step(none, none, one, one * context, one * share)).seconds
        some, base = np.where(decodes > 0, some, 0.0), np.where(decodes > 0, base, 0.0)
        grown = np.maximum(some - base, 0.0)
        added = np.maximum(found.seconds - some, 0.0)
        seconds = c.factor("decode_base") * base + c.factor("decode_growth") * grown + c.factor("prompt") * added
        scale = seconds / np.maximum(found.seconds, 1e-30)
        return PricedStep(seconds, {name: v * scale for name, v in found.groups.items()}, found.operations)

    def _priced(self, step: Step) -> PricedStep:
        t, model = self.table, self.case.model
        tokens, sequences = array(step.prefill_tokens), array(step.decode_sequences)
        micro = np.clip(sequences + where(tokens > 0, 1, 0), 1, t.pp)
        p = pass_of(self.case, t, _batch(step, t, micro * t.halves), self.groups)
        layers: list[Array] = []
        groups: dict[str, Array] = {}
        operations: list[tuple[Priced, float]] = []
        for layer, positions in model.layer_kinds():
            priced = self._weighted(self.price.price(layer_work(p, layer)))
            compute = total(x.seconds for x in priced if not x.is_collective)
            exchange = total(x.seconds for x in priced if x.is_collective)
            layers.append(overlapped(compute, exchange, t)[0])
            count = float(len(positions))
            operations += [(x, count) for x in priced]
            for x in priced:
                groups[x.work.group] = groups.get(x.work.group, np.zeros(1)) + x.seconds * t.halves * count
        whole = end_passes(p)
        ends = [self._weighted(self.price.price(w)) for w in (embedding_work(whole), head_work(whole, False))]
        for x in (x for end in ends for x in end):
            groups[x.work.group] = groups.get(x.work.group, np.zeros(1)) + x.seconds
            operations.append((x, 1.0))
        first, last = (total(x.seconds for x in end) for end in ends)
        stages = stage_seconds(model, t.pp, layers, first, last)
        seconds = round_seconds(stages, t.pp, micro, hop_seconds(self.price, p))
        return PricedStep(seconds, groups, operations)

    def _weighted(self, priced: list[Priced]) -> list[Priced]:
        if not self.factors:
            return priced
        rest = self.factors.get("", 1.0)
        return [Priced(x.work, x.seconds * self.factors.get(x.work.group, rest), x.origin) for x in priced]


def _batch(step: Step, t: Table, parts: Array) -> Batch:
    """The chunk that is ``parts`` of a step."""
    fresh, pairs = array(step.prefill_tokens), array(step.prefill_pairs)
    decodes = array(step.decode_sequences) / parts
    context = array(step.decode_context) / np.maximum(array(step.decode_sequences), 1e-9)
    prompts, new, past = prompts_of(fresh, pairs)
    tokens = fresh / parts / t.cp + decodes
    routed = where(t.replicated, tokens, array(step.tokens) / parts)
    last = where(fresh > 0, np.maximum(prompts, 1.0), 0.0) / parts  # prompts whose last token's logits are wanted
    return Batch(
        prompts / parts,
        new,
        past,
        decodes,
        np.maximum(context, 1.0),
        tokens,
        own_tokens(tokens, t),
        routed,
        last + decodes,
        spread=True,
    )
