"""A rank's way through one layer, and through the model's ends: every product, kernel and collective in order.

The order is the executor's (``moewright.run.model.shard``): norms; tokens gathered over tp; projections; queries
exchanged over dcp; attention; output projection; sums scattered; then the feed-forward, or router, dispatch, experts
and combine, and the shared experts.
"""

from __future__ import annotations

from dataclasses import dataclass

from moewright.case.attention_kinds import (
    Attention,
    LatentAttention,
    LinearAttention,
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.model import DenseFfn, Layer, MoeFfn
from moewright.case.strategy import Gate
from moewright.case.tensors.layer_tensors import layer_attention_tensors, layer_ffn_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.planning.proof.walk import mixer_walk as mixer
from moewright.planning.proof.walk import step_clock as clock
from moewright.planning.proof.walk.held_tensors import slice_of
from moewright.planning.proof.walk.number_widths import matrix_bytes, matrix_unit, number_bytes
from moewright.planning.proof.walk.scene import Circle, Scene, Share
from moewright.planning.proof.walk.steps import Step, least_on_links, ring_gather

#: products that take a divided input and give a whole, partial output
_SECOND = ("o_proj", "out_proj", "o_a_proj", "expert_down", "shared_down", "dense_down")
_AFTER = ("o_proj", "o_a_proj", "o_b_proj", "out_proj")
#: what tells a rank one choice of the router: a 32-bit number and an fp32 weight
_CHOICE = 4 + 4


@dataclass(frozen=True, slots=True)
class Routed:
    """What routing does to a stage's ranks: distinct ``ranks`` that a token goes to; ``fullest`` rank's copies over the
    mean; ``active`` experts; messages of a token over ``near`` and ``far`` links."""

    ranks: float
    fullest: float
    active: float
    near: float
    far: float


@dataclass(frozen=True, slots=True)
class Walk:
    """What the steps of one chunk need to know."""

    scene: Scene
    share: Share
    circles: dict[str, Circle]
    routed: dict[MoeFfn, Routed]

    def bytes_of(self, which: str) -> float:
        """Bytes of a hidden vector in the format of ``which`` (activations, dispatch, combine, residual)."""
        return number_bytes(str(getattr(self.scene.case.model.precision, which))) * self.scene.case.model.hidden_size

    def unit(self, kind: str) -> str:
        """The matrix unit of weights of ``kind``."""
        return matrix_unit(self.scene.case.model.precision, kind, self.scene.case.cluster.device.flops)

    # --- collectives ---

    def gathered(self, name: str, kind: str, part: float, collective: str = "all_gather") -> list[Step]:
        """Every member's ``part`` bytes to every other (or, mirrored, sums of parts)."""
        circle, cluster = self.circles[kind], self.scene.case.cluster
        if circle.size == 1 or part <= 0:
            return []
        sent = ring_gather(circle.size, part)
        seconds = clock.gather_clock(circle, part * circle.size, cluster)
        return [Step(name, collective, seconds, self._least(circle, sent), sent=sent)]

    def summed(self, name: str, kind: str, buffer: float) -> list[Step]:
        """All-reduce of ``buffer`` bytes: scattered sums, then gathered."""
        circle, cluster = self.circles[kind], self.scene.case.cluster
        if circle.size == 1 or buffer <= 0:
            return []
        sent = 2 * ring_gather(circle.size, buffer / circle.size)
        seconds = clock.reduce_clock(circle, buffer, cluster)
        # a switch that adds up itself is not bound by its links
        least = 0.0 if cluster.node.sharp else self._least(circle, buffer / circle.size)
        return [Step(name, "all_reduce", seconds, least, sent=sent)]

    def told(self, name: str, kind: str, buffer: float) -> list[Step]:
        """Broadcast: the first sends to all, the mean member that over their number."""
        circle = self.circles[kind]
        if circle.size == 1 or buffer <= 0:
            return []
        seconds = clock.broadcast_clock(circle, buffer, self.scene.case.cluster)
        return [Step(name, "broadcast", seconds, 0.0, sent=buffer * (circle.size - 1) / circle.size)]

    def _least(self, circle: Circle, sent: float) -> float:
        cluster = self.scene.case.cluster
        return least_on_links(circle, sent, cluster.node.bandwidth, cluster.fabric.bandwidth)

    def tokens_together(self, name: str) -> list[Step]:
        """Tokens that are divided over tp come together."""
        if self.scene.replicated:
            return []
        return self.gathered(name, "tp", self.share.own * self.bytes_of("activations"))

    def sums_apart(self, name: str, everywhere: bool = True) -> list[Step]:
        """Sums of tp's partial outputs, left where the tokens are owned."""
        row = self.bytes_of("combine")
        if self.scene.replicated:
            return self.summed(name, "tp", self.share.tokens * row) if everywhere else []
        return self.gathered(name, "tp", self.share.own * row, "reduce_scatter")

    # --- what a rank does alone ---

    def products(self, name: str, kind: str, tensors: list[Tensor], a: Attention, rows: float) -> list[Step]:
        """``rows`` tokens times every matrix of ``tensors``, one after another; matrices of one input start at once."""
        scene = self.scene
        precision, device = scene.case.model.precision, scene.case.cluster.device
        act, unit = number_bytes(precision.activations), self.unit(kind)
        flops = traffic = 0.0
        starts: dict[tuple[int, bool, bool], clock.Product] = {}
        for x in tensors:
            part = slice_of(x, a, scene)
            traffic += matrix_bytes(precision, x) * part
            if not x.gemm:
                continue
            here = self._expanded(a) if x.name == "kv_b_proj" else rows
            inner = x.name.endswith(_SECOND)
            columns, depth = (x.rows, x.columns * part / x.count) if inner else (x.rows * part / x.count, x.columns)
            flops += x.count * 2.0 * here * columns * depth
            traffic += here * (columns * mixer.WIDE + depth * act)
            key = (x.columns, inner, x.name == "kv_b_proj")
            wide = starts[key].columns if key in starts else 0.0
            starts[key] = clock.Product(1.0, here, wide + x.count * columns, depth)
        if rows <= 0 or (not flops and not traffic):
            return []
        worked = flops if device.kernels is None else clock.tiled_flops(list(starts.values()), device)
        seconds = clock.busy_seconds(worked, traffic, device, unit)
        return [Step(name, "", seconds, clock.floor_seconds(flops, 0.0, device, unit), flops, traffic)]

    def _expanded(self, a: Attention) -> float:
        """Latents that a rank expands: of the whole prompt, which all ranks of cp gather; a sparse index, and decoding,
        work on the latent itself."""
        w = self.scene.case.workload
        if self.scene.decoding or (isinstance(a, LatentAttention) and a.indexer):
            return self.share.tokens
        return float(self.share.sequences * w.sequence)

    def norms(self, layer: Layer) -> list[Step]:
        """Each reads the residual and what is added to it, and writes both, 16 bits each."""
        device, model = self.scene.case.cluster.device, self.scene.case.model
        passes = [2 * mixer.WIDE * 2 * self.share.own * model.hidden_size for _ in range(layer.norms)]
        traffic = sum(passes)
        narrow = number_bytes(model.precision.weights.get("attention", model.precision.default)) < mixer.WIDE
        starts = len(passes) + len(small_kernels(layer, narrow))
        seconds = clock.stream_seconds(traffic, device) + starts * device.launch
        return [Step("norms", "", seconds, traffic / device.memory_bandwidth, 0.0, traffic)]

    def attention(self, a: Attention) -> list[Step]:
        """Scores and values, or a state's update, of the chunk."""
        scene, share, s = self.scene, self.share, self.scene.strategy.attention
        device, w = scene.case.cluster.device, scene.case.workload
        element, unit = number_bytes(scene.case.model.precision.kv_cache), self.unit("attention_scores")
        fixed = 0.0
        if scene.decoding:
            context = w.sequence / s.dcp  # a part of the keys, for the heads of dcp ranks
            flops = share.sequences * mixer.decode_work(a, context) * s.dcp / s.tp
            read = mixer.decode_seen(a, context) * mixer.key_bytes(a, element, s.tp)
            state = 2 * mixer.state_bytes(a, element, s.tp) if isinstance(a, LinearAttention) else 0.0
            traffic = share.sequences * (read + context * mixer.index_key_bytes(a) + state)
            if isinstance(a, LatentAttention) and device.kernels is not None:
                fixed = device.kernels.latent_decode
        else:
            flops = share.sequences * mixer.prompt_work(a, w.sequence, s.cp, w.causal) / s.tp
            traffic = share.tokens * (mixer.token_bytes(a, element, s.tp) + mixer.kernel_bytes(a) / s.tp)
        seconds = clock.busy_seconds(flops, traffic, device, unit) + fixed
        return [Step("attention", "", seconds, clock.floor_seconds(flops, 0.0, device, unit), flops, traffic)]

    def caches_together(self, a: Attention) -> list[Step]:
        """cp: each rank's keys and values (or latents) to the others."""
        if isinstance(a, LinearAttention | NoAttention):
            return []
        s = self.scene.strategy.attention
        element = number_bytes(self.scene.case.model.precision.kv_cache)
        return self.gathered("context_gather", "cp", self.share.tokens * mixer.token_bytes(a, element, s.tp))

    def queries_together(self, a: Attention) -> tuple[list[Step], list[Step]]:
        """dcp: queries to those with other keys; sums of scores and outputs back, 16 bits, sums in 32."""
        s = self.scene.strategy.attention
        if s.dcp == 1 or not isinstance(a, SoftmaxAttention | LatentAttention):
            return [], []
        latent = isinstance(a, LatentAttention)
        query, out = (a.kv_rank + a.rope_dim, a.kv_rank) if latent else (a.head_dim, a.v_dim)  # type: ignore[union-attr]
        own = self.share.sequences * a.heads / s.tp  # heads that are this rank's, of all its sequences
        before = self.gathered("query_gather", "dcp", own * query * mixer.WIDE)
        after = self.gathered("score_sum_gather", "dcp", own * s.dcp * 4.0)
        return before, after + self.gathered("attention_output_reduce", "dcp", own * out * mixer.WIDE, "reduce_scatter")

    # --- experts ---

    def experts(self, layer: Layer, ffn: MoeFfn) -> list[Step]:
        """Router, dispatch, experts, combine, shared experts."""
        scene, share, s = self.scene, self.share, self.scene.strategy
        tensors, a = layer_ffn_tensors(layer, scene.case.model.hidden_size), layer.attention
        steps = self.products("router", "router", [x for x in tensors if x.kind == "router"], a, share.own)
        if scene.replicated and s.experts.gate is Gate.LEADER:
            steps += self.told("gate_broadcast", "tp", share.own * ffn.top_k * _CHOICE)
        steps += self.exchange(ffn, "dispatch") + self.grouped(ffn, [x for x in tensors if x.kind == "experts"])
        steps += self.exchange(ffn, "combine")
        if shared := [x for x in tensors if x.kind == "shared_experts"]:
            steps += self.tokens_together("shared_gather")
            steps += self.products("shared_experts", "shared_experts", shared, a, share.tokens)
            steps += self.sums_apart("shared_reduce", everywhere=False)
        if scene.replicated:
            steps += self.summed("combine", "stage", share.tokens * self.bytes_of("combine"))
        return steps

    def exchange(self, ffn: MoeFfn, name: str) -> list[Step]:
        """Dispatch to the experts' ranks, there gathered over etp; or sums over etp, and combine."""
        scene, routed, circle = self.scene, self.routed[ffn], self.circles["ep"]
        if scene.replicated:
            return []
        precision, cluster = scene.case.model.precision, scene.case.cluster
        format_ = precision.dispatch if name == "dispatch" else precision.combine
        row = number_bytes(format_) * (ffn.latent or scene.case.model.hidden_size)
        arrived = self.share.own * routed.ranks * routed.fullest * row
        slices = ("expert_gather", "all_gather") if name == "dispatch" else ("expert_reduce", "reduce_scatter")
        met = self.gathered(slices[0], "etp", arrived, slices[1])
        if circle.size > 1 and self.share.own > 0:
            sent = self.share.own * row * routed.ranks * (circle.size - 1) / circle.size
            near, far = (self.share.own * row * n * routed.fullest for n in (routed.near, routed.far))
            forwarding = cluster.forwarding and not scene.decoding
            seconds = clock.exchange_clock(circle, near, far, cluster, forwarding)
            least = max(near / cluster.node.bandwidth, far / cluster.fabric.bandwidth)
            travel = [Step(name, "all_to_all", seconds, least, sent=sent, near=near, far=far, drawn=True)]
        else:
            travel = []
        return travel + met if name == "dispatch" else met + travel

    def copies(self, ffn: MoeFfn) -> float:
        """Copies of tokens on the fullest rank: of all chosen experts those that work."""
        works = ffn.experts / (ffn.experts + ffn.zero_experts)
        mean = self.share.stage * ffn.top_k * works / self.scene.strategy.experts.ep
        return mean * self.routed[ffn].fullest

    def grouped(self, ffn: MoeFfn, tensors: list[Tensor]) -> list[Step]:
        """The experts of the fullest rank, each with its own tokens."""
        scene, etp = self.scene, self.scene.strategy.experts.tp
        device, precision, model = scene.case.cluster.device, scene.case.model.precision, scene.case.model
        active, copies = self.routed[ffn].active, self.copies(ffn)
        hidden, width, ups = ffn.latent or model.hidden_size, ffn.width / etp, 2 if ffn.gated else 1
        read = sum(matrix_bytes(precision, x) for x in tensors) / etp
        act, unit = number_bytes(precision.activations), self.unit("experts")
        flops = sum(2.0 * copies * x.rows * x.columns / etp for x in tensors if x.gemm)
        into, between = hidden * act, ups * width * mixer.WIDE
        traffic = active * read + copies * (into + between + width * act + hidden * mixer.WIDE)
        worked, passes = flops, 0.0
        if device.kernels is not None:
            groups = max(active, 1.0)
            first = clock.Product(groups, copies / groups, ups * width, hidden)
            worked = clock.tiled_flops(
                [first, clock.Product(groups, copies / groups, hidden, width)], device, clock.EMPTY_ROWS
            )
            room = self.share.stage * ffn.top_k * ffn.experts / (ffn.experts + ffn.zero_experts)
            passes = clock.expert_passes(room if scene.replicated else copies, width, ups, hidden, device)
        seconds = clock.busy_seconds(worked, traffic, device, unit) + passes
        least = clock.floor_seconds(flops, active * read, device, unit)
        return [Step("experts", "", seconds, least, flops, traffic, drawn=True)]


def small_kernels(layer: Layer, narrow: bool) -> list[str]:
    """Kernels that neither products nor attention are, beside norms of the residual; those of latent attention are part
    of its own. ``narrow``: inputs of products are brought to fewer bits."""
    a, ffn = layer.attention, layer.ffn
    kernels: list[str] = []
    if isinstance(a, SoftmaxAttention):
        kernels.append("rotary embedding and the writing of keys and values")
        kernels += ["norms of queries and keys"] if a.qk_norm != "none" else []
        kernels += ["gate of the output"] if a.output_gate else []
    elif isinstance(a, LinearAttention):
        kernels += ["split", "gates of decay", "gated norm", "output in its shape"]
    if isinstance(a, SoftmaxAttention | LinearAttention):
        kernels += ["input of projections, cast", "input of the output projection, cast"] if narrow else []
    if isinstance(ffn, DenseFfn):
        return [*kernels, "activation", *(["input, cast", "activation, cast"] if narrow else [])]
    kernels += ["choice of experts", "weighted sum"]
    if ffn.shared_width:
        kernels += ["activation of shared experts", "sum with routed ones"]
        kernels += ["gate of shared experts"] if ffn.shared_gate else []
    return kernels


def walk_layer(walk: Walk, layer: Layer) -> list[Step]:
    """All steps of ``layer``, in order."""
    model, a = walk.scene.case.model, layer.attention
    steps = walk.norms(layer)
    tensors = layer_attention_tensors(layer, model.hidden_size)
    if tensors:
        before, after = walk.queries_together(a)
        steps += walk.tokens_together("attention_gather") + walk.caches_together(a)
        first = [x for x in tensors if x.name not in _AFTER]
        steps += walk.products("attention_projections", "attention", first, a, walk.share.tokens)
        steps += before + walk.attention(a) + after
        last = [x for x in tensors if x.name in _AFTER]
        steps += walk.products("output_projection", "attention", last, a, walk.share.tokens)
        steps += walk.sums_apart("attention_reduce")
    if isinstance(layer.ffn, MoeFfn):
        return steps + walk.experts(layer, layer.ffn)
    return steps + _dense(walk, layer, layer.ffn)


def _dense(walk: Walk, layer: Layer, ffn: DenseFfn) -> list[Step]:
    tensors = layer_ffn_tensors(layer, walk.scene.case.model.hidden_size)
    if not ffn.width:
        return []
    return [
        *walk.tokens_together("dense_gather"),
        *walk.products("dense", "dense", tensors, layer.attention, walk.share.tokens),
        *walk.sums_apart("dense_reduce"),
    ]


def walk_embedding(walk: Walk) -> list[Step]:
    """Rows read and written, and the sum of what each part of the vocabulary has."""
    model, device = walk.scene.case.model, walk.scene.case.cluster.device
    if not model.vocab_size:
        return []
    rows = walk.share.tokens * walk.bytes_of("residual")
    seconds = clock.stream_seconds(rows + rows, device) + device.launch
    steps = [Step("embedding", "", seconds, 2 * rows / device.memory_bandwidth, 0.0, rows + rows)]
    if walk.scene.replicated:
        return steps + walk.summed("embedding_reduce", "tp", rows)
    tp = walk.scene.strategy.attention.tp
    return steps + walk.gathered("embedding_reduce", "tp", rows / tp, "reduce_scatter")


def walk_head(walk: Walk, every: bool) -> list[Step]:
    """Logits of the wanted tokens over a part of the vocabulary each; gathered, unless of ``every`` token."""
    scene, model, tp = walk.scene, walk.scene.case.model, walk.scene.strategy.attention.tp
    if not model.vocab_size or walk.share.wanted <= 0:
        return []
    device, unit, wanted = scene.case.cluster.device, walk.unit("vocabulary"), walk.share.wanted
    wide = number_bytes(model.precision.residual)
    columns, depth = model.vocab_size / tp, float(model.hidden_size)
    flops = 2.0 * wanted * columns * depth
    weights = columns * depth * number_bytes(model.precision.weights.get("vocabulary", model.precision.default))
    traffic = weights + wanted * mixer.WIDE * (columns + depth)
    worked = clock.tiled_flops([clock.Product(1.0, wanted, columns, depth)], device)
    seconds = clock.busy_seconds(worked, traffic, device, unit)
    steps = [] if scene.replicated else walk.gathered("head_gather", "tp", wanted * walk.bytes_of("residual") / tp)
    least = clock.floor_seconds(flops, weights, device, unit)
    steps += [Step("head", "", seconds, least, flops, traffic)]
    if every:
        return steps
    return steps + walk.gathered("logits_gather", "tp", wanted * model.vocab_size * wide / tp)
