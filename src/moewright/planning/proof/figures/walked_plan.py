"""The walk of the ranks of one plan, with what was drawn of its routing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from moewright.case.case import Case
from moewright.case.model import Layer, MoeFfn
from moewright.case.workload import Kind
from moewright.planning.proof.figures.compared import Compared
from moewright.planning.proof.walk import step_clock
from moewright.planning.proof.walk.drawn_tokens import Drawn, draw
from moewright.planning.proof.walk.held_tensors import layers_of
from moewright.planning.proof.walk.layer_walk import (
    Routed,
    Walk,
    walk_embedding,
    walk_head,
    walk_layer,
)
from moewright.planning.proof.walk.scene import Circle, Floats, Ints, Scene, scene_of, share_of
from moewright.planning.proof.walk.steps import Step
from moewright.planning.proof.walk.whole_model import Whole, whole_model
from moewright.planning.record import Plan

#: how far apart a stated figure and a walked one may be: sums of the same tensors; expectations against tokens that
#: were drawn, beside four standard errors; seconds by the same rates
EXACT, DRAWN, CLOCK = 1e-3, 0.02, 0.02
#: of figures where nodes share a group unevenly: the plan takes the rank with fewest neighbours for all
UNEVEN_NODES = 0.6
#: measured seconds may be below the walk's floor by noise, and above it by so many times
MEASURED_BELOW, MEASURED_ABOVE = 0.1, 60.0


@dataclass(frozen=True, slots=True)
class Walked:
    """The walk of one plan. ``layers``: steps of a chunk through each kind of layer; ``routing``: what the plan states
    of it beside what was drawn; ``tolerance`` of figures that hang on it."""

    case: Case
    plan: Plan
    walk: Walk
    layers: dict[Layer, list[Step]]
    embedding: list[Step]
    head: list[Step]
    routing: list[Compared]
    tolerance: float
    whole: Whole
    hop: tuple[float, float]  # bytes and seconds of the message between two stages

    @property
    def derived(self) -> bool:
        """Whether all of the plan's seconds are by formula."""
        return self.plan.latency.origins.get("derived", 1.0) > 0.999

    def stage(self, index: int) -> list[tuple[Step, int]]:
        """Steps of a rank of stage ``index`` with their calls a pass."""
        s = self.plan.strategy
        chunks = s.micro_batches * self.walk.scene.halves
        layers = layers_of(self.case.model, s.pp)[index]
        steps = [(x, layers.count(layer) * chunks) for layer, all_of in self.layers.items() for x in all_of]
        if index == 0:
            steps += [(x, s.micro_batches) for x in self.embedding]
        if index == s.pp - 1:
            steps += [(x, s.micro_batches) for x in self.head]
        return [(x, count) for x, count in steps if count]

    def stage_seconds(self, index: int) -> float:
        """Seconds of one micro-batch in stage ``index``."""
        seconds = sum(self.layer_seconds(x) for x in layers_of(self.case.model, self.plan.strategy.pp)[index])
        ends = (self.embedding if index == 0 else []) + (self.head if index == self.plan.strategy.pp - 1 else [])
        return seconds + sum(x.seconds for x in ends)

    def layer_seconds(self, layer: Layer) -> float:
        """Seconds of one micro-batch in one layer, halves overlapping."""
        return step_clock.layer_seconds(*self._busy(layer), self.walk.scene.halves)

    def hidden(self, layer: Layer) -> float:
        """Seconds of one micro-batch in one layer that overlap hides."""
        return sum(self._busy(layer)) * self.walk.scene.halves - self.layer_seconds(layer)

    def _busy(self, layer: Layer) -> tuple[float, float]:
        compute = sum(x.seconds for x in self.layers[layer] if not x.collective)
        exchange = sum(x.seconds for x in self.layers[layer] if x.collective)
        return compute, exchange


def walked(case: Case, plan: Plan, slots: Ints, loads: Floats | None) -> Walked:
    """Walk the ranks of ``plan``, whose experts lie in ``slots`` [MoE layers, ep, slots]."""
    s = plan.strategy
    scene = scene_of(case, s, plan.batch, slots, loads)
    circles = {kind: scene.circle(kind) for kind in ("tp", "dcp", "cp", "ep", "etp", "stage", "pp")}
    share = share_of(scene, s.micro_batches * scene.halves)
    routed, routing, tolerance = _routed(scene, plan, share.stage, circles)
    walk = Walk(scene, share, circles, routed)
    whole_share = share_of(scene, s.micro_batches)
    # halves meet again at the ends, each filled up for tp by itself
    ends = replace(walk, share=replace(whole_share, own=share.own * scene.halves))
    size = ends.share.own * walk.bytes_of("residual")
    hop = (size, step_clock.send_clock(circles["pp"], size, case.cluster)) if s.pp > 1 else (0.0, 0.0)
    layers = {layer: walk_layer(walk, layer) for layer, _ in case.model.layer_kinds()}
    every = case.workload.kind is Kind.FORWARD
    return Walked(
        case,
        plan,
        walk,
        layers,
        walk_embedding(ends),
        walk_head(ends, every),
        routing,
        tolerance,
        whole_model(case, plan.batch),
        hop,
    )


def _routed(
    scene: Scene, plan: Plan, tokens: float, circles: dict[str, Circle]
) -> tuple[dict[MoeFfn, Routed], list[Compared], float]:
    """What routing does, drawn. Where the plan states an expectation within the sample's error, it takes the sample's
    place, so that what hangs on it can be held to less than that error."""
    model, balance = scene.case.model, plan.balance
    routed: dict[MoeFfn, Routed] = {}
    routing: list[Compared] = []
    group = circles["ep"]
    even = bool((group.near == group.near[0]).all()) and group.size % int(group.near[0]) == 0
    positions = model.moe_layers()
    forwarding = scene.case.cluster.forwarding and not scene.decoding
    for ffn in dict.fromkeys(x.ffn for x in model.layers if isinstance(x.ffn, MoeFfn)):
        own = [i for i, p in enumerate(positions) if model.layers[p].ffn == ffn]
        drawn = draw(scene, ffn, own, ceil(tokens), forwarding)
        if routed or balance.distinct_ranks is None:
            routed[ffn] = _as_drawn(drawn, scene, balance.straggler)
            continue
        routing = list(_stated(scene, plan, drawn, even, tokens))
        held = {c.figure: c.stated if c.holds else c.walked for c in routing}
        ranks = held.get("balance.distinct_ranks", drawn.ranks[0])
        ratio = ranks / drawn.ranks[0]
        fullest = held.get("balance.straggler", balance.straggler)
        active = held.get("balance.active_experts", drawn.active[0])
        routed[ffn] = Routed(ranks, fullest, active, drawn.near[0] * ratio, drawn.far[0] * ratio)
    return routed, routing, DRAWN if even and len(routed) < 2 else UNEVEN_NODES


def _as_drawn(drawn: Drawn, scene: Scene, straggler: float) -> Routed:
    fullest = straggler if scene.case.routing.typical else drawn.fullest[0]
    return Routed(drawn.ranks[0], fullest, drawn.active[0], drawn.near[0], drawn.far[0])


def _uneven_slack(tokens: float) -> float:
    """The plan's straggler by loads is the even one's times what shares add, which few tokens leave far from it."""
    return 0.2 if tokens >= 64 else 0.4


def _stated(scene: Scene, plan: Plan, drawn: Drawn, nested: bool, tokens: float) -> Iterator[Compared]:
    """The plan's expectations of its routing beside what was drawn; ``nested``: nodes have equal parts of a group."""
    b = plan.balance

    def one(name: str, stated: float | None, found: tuple[float, float], own: float = DRAWN) -> Iterator[Compared]:
        if stated is not None:
            yield Compared(f"balance.{name}", stated, found[0], own + 4 * found[1] / max(found[0], 1e-9))

    uneven = scene.loads is not None or scene.strategy.experts.redundant > 0
    # by loads, expected destinations are of four layers at most, and by odds that are fitted
    wide = 0.05 if uneven else DRAWN
    yield from one("distinct_ranks", b.distinct_ranks, drawn.ranks, wide)
    yield from one("distinct_nodes", b.distinct_nodes, drawn.nodes, wide if nested else UNEVEN_NODES)
    if not scene.case.routing.typical:
        yield from one("straggler", b.straggler, drawn.fullest, _uneven_slack(tokens) if uneven else 0.03)
    if b.active_experts is not None:
        # of an uneven routing the plan states the even one's, which is more
        above = float(scene.slots.shape[2]) if uneven else None
        yield Compared("balance.active_experts", b.active_experts, drawn.active[0], 0.15 if uneven else 0.03, above)
