"""Seconds of one engine step out of measured kernels: prompt tokens and decoding sequences through the whole model.

Tokens of prompts and of decoding sequences pass the matrix products together; attention is priced for each kind. The
figures are those of the fullest attention-dp rank; experts see the tokens of all ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from moewright.case.model import (
    Attention,
    DenseFfn,
    LatentAttention,
    Layer,
    LinearAttention,
    ModelSpec,
    MoeFfn,
    SoftmaxAttention,
)
from moewright.case.precision import element_bytes
from moewright.case.tensors import layer_tensors, vocabulary_tensors
from moewright.cost.shapes import cache_bytes, weight_bytes
from moewright.cost.table import Table
from moewright.serving.kernels import Array, Kernels
from moewright.serving.layout import Formats, Layout
from moewright.serving.step import Step


@dataclass(frozen=True)
class KernelSteps:
    """A model under a layout, out of measured kernels. ``reserve``: the share of memory the engine leaves free."""

    model: ModelSpec
    layout: Layout
    formats: Formats
    kernels: Kernels
    reserve: float = 0.1
    vocabulary: str = "bf16"

    def seconds(self, step: Step) -> Array:
        """GPU seconds of ``step``; with pipeline stages, the time through all of them."""
        return np.asarray(sum(self.parts(step).values(), start=np.asarray(0.0)))

    def parts(self, step: Step) -> dict[str, Array]:
        """Seconds by group of operations: attention, dense, experts, router, communication, small, head."""
        s = _floats(step)
        total: dict[str, Array] = {}
        for layer, positions in self.model.layer_kinds():
            for name, seconds in self._layer(layer, s):
                total[name] = total.get(name, np.asarray(0.0)) + seconds * len(positions)
        if self.model.vocab_size:
            total["head"] = self._head(s)
        return total

    def _layer(self, layer: Layer, s: Step) -> list[tuple[str, Array]]:
        k, lay, hidden = self.kernels, self.layout, self.model.hidden_size
        local = np.asarray(s.prefill_tokens + s.decode_sequences)
        found = [("attention", self._attention(layer.attention, s))]
        # residual added and normalised: a kernel of four passes before each half of a layer, and the small ones
        found.append(
            ("small", k.stream(2 * 4 * 2.0 * local * hidden, 2.0 + small_kernels(layer, self.formats)) * (local > 0))
        )
        found.append(("communication", k.all_reduce(local * hidden * 2.0, lay.tp)))
        if isinstance(layer.attention, SoftmaxAttention) and layer.attention.qk_norm == "full":
            # norms over all heads' width need the sums of squares of all tp ranks
            found.append(("communication", k.all_reduce(local * 8.0, lay.tp)))
        if isinstance(layer.ffn, DenseFfn):
            return [*found, *self._dense(layer.ffn, local)]
        return [*found, *self._experts(layer.ffn, local, np.asarray(s.tokens))]

    def _attention(self, a: Attention, s: Step) -> Array:
        if isinstance(a, LatentAttention):
            return self._latent(a, s)
        if isinstance(a, LinearAttention):
            return self._linear(a, s)
        assert isinstance(a, SoftmaxAttention)  # others are refused when the case is read
        return self._softmax(a, s)

    def _softmax(self, a: SoftmaxAttention, s: Step) -> Array:
        k, tp, f = self.kernels, self.layout.tp, self.formats
        heads, kv = max(a.heads // tp, 1), max(a.kv_heads // tp, 1)
        rows = np.asarray(s.prefill_tokens + s.decode_sequences)
        wide = heads * a.head_dim * (2 if a.output_gate else 1) + kv * (a.head_dim + a.v_dim)
        total = k.gemm(rows, wide, self.model.hidden_size, f.attention)
        total = total + k.gemm(rows, self.model.hidden_size, heads * a.v_dim, f.attention)
        window = a.window or 0
        prefill, decode = np.asarray(s.prefill_tokens), np.asarray(s.decode_sequences)
        if np.any(prefill > 0):
            one = k.prefill_attention(
                np.maximum(prefill, 1), np.maximum(s.prefill_pairs, 1), heads, kv, a.head_dim, window, f.kv
            )
            total = total + np.where(prefill > 0, one, 0.0)
        if np.any(decode > 0):
            context = np.asarray(s.decode_context) / np.maximum(decode, 1)
            one = k.decode_attention(np.maximum(decode, 1), np.maximum(context, 1), heads, kv, a.head_dim, window, f.kv)
            total = total + np.where(decode > 0, one, 0.0)
        return np.asarray(total)

    def _latent(self, a: LatentAttention, s: Step) -> Array:
        k, f, hidden = self.kernels, self.formats, self.model.hidden_size
        heads = max(a.heads // self.layout.tp, 1)
        weights = _latent_parameters(a, heads, hidden)
        stored, kv_bytes = (
            weights * element_bytes(f.attention),
            (a.kv_rank + a.rope_dim) * (1.0 if f.kv == "fp8" else 2.0),
        )
        sparse = _sparse_name(self.model.name) if a.indexer else ""
        total = np.zeros_like(np.asarray(s.prefill_tokens))
        prefill, decode = np.asarray(s.prefill_tokens), np.asarray(s.decode_sequences)
        if np.any(prefill > 0):
            n, pairs = np.maximum(prefill, 1), np.maximum(s.prefill_pairs, 1)
            length = np.maximum(2 * pairs / n, 1.0)
            seen = np.minimum(pairs, n * a.indexer.top_k) if a.indexer else pairs
            flops = 2.0 * n * weights + 2.0 * seen * heads * (a.nope_dim + a.rope_dim + a.value_dim)
            one = k.latent(
                "context", n / length, length, heads, f.attention, f.kv, sparse, (flops, stored + n * hidden * 6.0)
            )
            total = total + np.where(prefill > 0, one, 0.0)
        if np.any(decode > 0):
            b = np.maximum(decode, 1)
            context = np.maximum(np.asarray(s.decode_context) / b, 1)
            seen = np.minimum(context, a.indexer.top_k) if a.indexer else context
            flops = 2.0 * b * weights + 2.0 * b * seen * heads * (2 * a.kv_rank + a.rope_dim)
            one = k.latent(
                "generation", b, context, heads, f.attention, f.kv, sparse, (flops, stored + b * seen * kv_bytes)
            )
            total = total + np.where(decode > 0, one, 0.0)
        return np.asarray(total)

    def _linear(self, a: LinearAttention, s: Step) -> Array:
        k, tp, hidden, f = self.kernels, self.layout.tp, self.model.hidden_size, self.formats
        keys, values = max(a.key_heads // tp, 1), max(a.value_heads // tp, 1)
        rows = np.asarray(s.prefill_tokens + s.decode_sequences)
        wide = 2 * keys * a.key_dim + 2 * values * a.value_dim + 2 * values
        total = k.gemm(rows, wide, hidden, f.attention) + k.gemm(rows, hidden, values * a.value_dim, f.attention)
        prefill, decode = np.asarray(s.prefill_tokens), np.asarray(s.decode_sequences)
        state = values * a.key_dim * a.value_dim
        for phase, size in (("context", prefill), ("generation", decode)):
            if np.any(size > 0):
                n = np.maximum(size, 1)
                traffic = n * (
                    8.0 * state if phase == "generation" else 4.0 * (keys * a.key_dim + values * a.value_dim)
                )
                one = k.linear(phase, n, keys, values, (6.0 * n * state, traffic))
                total = total + np.where(size > 0, one, 0.0)
        return np.asarray(total)

    def _dense(self, ffn: DenseFfn, local: Array) -> list[tuple[str, Array]]:
        k, tp, hidden = self.kernels, self.layout.tp, self.model.hidden_size
        width = ffn.width / tp
        up = k.gemm(local, width * (2 if ffn.gated else 1), hidden, self.formats.dense)
        down = k.gemm(local, hidden, width, self.formats.dense)
        passes = k.stream(3 * 2.0 * local * width, 0.0)
        return [("dense", up + down + passes), ("communication", k.all_reduce(local * hidden * 2.0, tp))]

    def _experts(self, ffn: MoeFfn, local: Array, tokens: Array) -> list[tuple[str, Array]]:
        k, lay, hidden = self.kernels, self.layout, self.model.hidden_size
        sizes = (hidden, ffn.width, ffn.top_k, ffn.experts)
        # an engine without its ep in the table: whole ranks are ep · etp of them
        found = [("experts", k.experts(np.maximum(tokens, 1e-9), sizes, lay.etp, lay.ep, self.formats.experts))]
        router = k.gemm(local, ffn.experts, hidden, "bf16")
        found.append(("router", router))
        if ffn.shared_width:
            width = ffn.shared_width / lay.tp
            up = k.gemm(local, 2 * width, hidden, self.formats.dense)
            found.append(("dense", up + k.gemm(local, hidden, width, self.formats.dense)))
        return [*found, ("communication", self._meet(local, tokens, ffn.top_k))]

    def _meet(self, local: Array, tokens: Array, top_k: int) -> Array:
        """What brings tokens to the experts and their outputs back."""
        k, lay, hidden = self.kernels, self.layout, self.model.hidden_size
        if lay.dp == 1:
            return k.all_reduce(local * hidden * 2.0, lay.tp)
        ranks = lay.dp * lay.tp
        gathered = tokens * hidden
        everywhere = k.all_gather(gathered * 1.0, ranks) + k.all_gather(gathered * 2.0, ranks)
        if lay.ep == 1:
            return np.asarray(everywhere)
        # a token once to each rank that holds one of its experts, out in 8 bits and back in 16, where that is less
        far = lay.ep * (1 - (1 - 1 / lay.ep) ** top_k) * (lay.ep - 1) / lay.ep
        own = np.ceil(local / lay.tp) * hidden * far
        return np.asarray(np.minimum(everywhere, k.exchange(own, lay.ep) + k.exchange(own * 2.0, lay.ep)))

    def _head(self, s: Step) -> Array:
        rows = np.asarray(s.decode_sequences) + (np.asarray(s.prefill_tokens) > 0)
        return self.kernels.gemm(rows, self.model.vocab_size / self.layout.tp, self.model.hidden_size, self.vocabulary)

    @cached_property
    def weights_bytes(self) -> float:
        """Bytes of weights on one rank, embedding and head on the same (as ``cost.memory``)."""
        m, precision, t = self.model, self.formats.precision, Table.one(self.layout.strategy, self.layout.dp)
        layers = sum(
            weight_bytes(layer_tensors(layer, m.hidden_size), layer.attention, precision, t) * len(positions)
            for layer, positions in m.layer_kinds()
        )
        ends = weight_bytes(vocabulary_tensors(m), m.layers[0].attention, precision, t)
        return float(layers / self.layout.pp + ends)

    @cached_property
    def kv_bytes(self) -> float:
        """Bytes of KV cache of one token on one rank, layers with a window or a state left out."""
        total = sum(
            float(cache_bytes(layer.attention, self.formats.precision, self.layout.tp)[0]) * len(positions)
            for layer, positions in self.model.layer_kinds()
            if not (isinstance(layer.attention, SoftmaxAttention) and layer.attention.window)
        )
        return total / self.layout.pp

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV cache that one attention-dp rank holds: an engine's share of the memory less its weights, but
        no less than half of what the weights leave (tight deployments raise the share); 0 where they do not fit."""
        memory = self.kernels.device.memory
        free = max(memory * (1 - self.reserve) - self.weights_bytes, (memory - self.weights_bytes) / 2)
        return max(int(free / max(self.kv_bytes, 1e-9)), 0)


def _floats(step: Step) -> Step:
    """The step's figures as arrays of one shape."""
    values = (getattr(step, name) for name in Step.__slots__)
    return Step(*np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in values)))


def small_kernels(layer: Layer, formats: Formats) -> float:
    """Element-wise kernels of a layer beside its two norms that tables of products and attention leave out: rotary
    embedding with the writing of the cache, norms of queries and keys, quantising each product's input, choosing
    experts, activations, sums. Counted from the engines' own layer code; fused ones count once."""
    a, ffn = layer.attention, layer.ffn
    quantised = formats.attention != "bf16"
    count = 0.0
    if isinstance(a, SoftmaxAttention):
        count += 1.0 + (a.qk_norm != "none") + 2.0 * quantised + a.output_gate
    elif isinstance(a, LinearAttention):
        count += 4.0 + 2.0 * quantised  # the split, decay gates, gated norm, output's reshaping
    if isinstance(ffn, MoeFfn):
        count += 2.0 + (2.0 + ffn.shared_gate if ffn.shared_width else 0.0)
    else:
        count += 1.0 + 2.0 * (formats.dense != "bf16")
    return count


def _sparse_name(model: str) -> str:
    return "zai-org/GLM-5" if "glm" in model.lower() else "deepseek-ai/DeepSeek-V3.2"


def _latent_parameters(a: LatentAttention, heads: int, hidden: int) -> float:
    """Elements of the matrices of latent attention, those of ``heads`` heads among them."""
    wide = heads * (a.nope_dim + a.rope_dim)
    query = (hidden + wide) * a.q_rank if a.q_rank else hidden * wide
    both = a.kv_rank * (a.nope_dim + a.value_dim) + a.value_dim * hidden
    return query + hidden * (a.kv_rank + a.rope_dim) + heads * both
