"""ModelSpec: a transformer as a list of layers, each an attention and a feed-forward of some kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from moewright.case.precision import Precision


@dataclass(frozen=True, slots=True)
class SoftmaxAttention:
    """Multi-head or grouped-query attention (MHA when ``kv_heads == heads``)."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = None  # of one head; head_dim when None
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: str = "none"  # none | head (one vector of head_dim each) | full (all heads' width)
    output_gate: bool = False  # the query projection is doubled: half of it gates the output
    sinks: bool = False  # one learned sink logit per head (gpt-oss)
    window: int | None = None  # sliding window in tokens
    chunk: int | None = None  # attention only inside chunks of so many tokens (Llama 4)

    @property
    def v_dim(self) -> int:
        return self.head_dim if self.value_dim is None else self.value_dim


@dataclass(frozen=True, slots=True)
class Indexer:
    """DeepSeek sparse attention: a small index that picks ``top_k`` keys per query (DeepSeek-V3.2).
    ``shared``: the layer has no index of its own and takes the keys of the last one before (GLM-5.2)."""

    heads: int
    dim: int
    top_k: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): KV is ``kv_rank + rope_dim`` wide."""

    heads: int
    q_rank: int | None  # None: queries are not compressed
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    bias: bool = False
    indexer: Indexer | None = None

    @property
    def kv_heads(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Gated delta rule (Qwen3-Next): a state of key_dim × value_dim per value head, no KV cache.
    ``fused_projections`` tells nothing of the size: parameters are equal either way."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int

    @property
    def heads(self) -> int:
        return self.value_heads

    @property
    def kv_heads(self) -> int:
        return self.key_heads


Attention = SoftmaxAttention | LatentAttention | LinearAttention


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """A dense feed-forward of ``width``; gated: three matrices, else two."""

    width: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """``experts`` routed experts of ``width``, ``top_k`` of them per token, and shared experts that all
    tokens pass, ``shared_width`` wide in all. ``groups``/``top_groups``: node-limited routing."""

    experts: int
    top_k: int
    width: int
    gated: bool = True
    bias: bool = False  # of the experts' matrices
    router_bias: bool = False  # a parameter of the router (not a correction buffer)
    shared_width: int = 0
    shared_gated: bool = True
    shared_gate: bool = False  # a sigmoid gate h → 1 on the shared expert's output
    groups: int = 1
    top_groups: int = 1
    shared_bias: bool = False  # of the shared experts' matrices


Ffn = DenseFfn | MoeFfn


@dataclass(frozen=True, slots=True)
class Layer:
    attention: Attention
    ffn: Ffn
    norms: int = 2  # norm vectors of hidden_size
    norm_bias: bool = False


@dataclass(frozen=True)  # without slots: its layer kinds are found once and kept
class ModelSpec:
    """A model; ``layers`` in order. ``vocab_size`` 0: no embedding and no head."""

    name: str
    hidden_size: int
    layers: tuple[Layer, ...]
    vocab_size: int
    tied_embeddings: bool = False
    head_bias: bool = False
    final_norm: bool = True
    precision: Precision = field(default_factory=Precision)
    source: str = ""
    prediction_layers: int = 0  # multi-token-prediction layers the weights carry; not part of a forward pass
    max_position: int | None = None

    def layer_kinds(self) -> list[tuple[Layer, list[int]]]:
        """Distinct layers with the positions they stand at, in order of first appearance."""
        return self._kinds

    @cached_property
    def _kinds(self) -> list[tuple[Layer, list[int]]]:
        kinds: dict[Layer, list[int]] = {}
        for position, layer in enumerate(self.layers):
            kinds.setdefault(layer, []).append(position)
        return list(kinds.items())

    def moe_layers(self) -> list[int]:
        """Positions of the layers with experts."""
        return [i for i, layer in enumerate(self.layers) if isinstance(layer.ffn, MoeFfn)]

    @property
    def moe(self) -> MoeFfn | None:
        """The experts of the first layer that has any, or None for a dense model."""
        positions = self.moe_layers()
        ffn = self.layers[positions[0]].ffn if positions else None
        return ffn if isinstance(ffn, MoeFfn) else None
