"""The kinds of attention, and what each keeps of a sequence and does for a token.

Every kind answers the same questions, whole (not divided over ranks): ``token_bytes``, what one more cached token
adds; ``sequence_bytes``, what a sequence takes whatever its length; ``most_cached``, after how many tokens the cache
stops growing; ``pair_flops``, one query-key pair of all heads; ``index_flops``, one pair of its indexer;
``state_flops``, what a token costs whatever the context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moewright.case.tensors.tensor import Tensor

#: bytes of what an indexer caches of a key beside its fp8 numbers: one fp32 scale
INDEX_SCALE: Final = 4


@dataclass(frozen=True, slots=True)
class Indexer:
    """DeepSeek sparse attention: a small index that picks ``top_k`` keys per query (DeepSeek-V3.2).
    ``shared``: the layer has no index of its own and takes the keys of the last one before (GLM-5.2).
    ``block``: keys are picked in runs of so many (MiniMax-M3)."""

    heads: int
    dim: int
    top_k: int
    shared: bool = False
    block: int = 1

    @property
    def key_bytes(self) -> float:
        """Bytes of one key in the index's cache: fp8 with a scale."""
        return 0.0 if self.shared else float(self.dim + INDEX_SCALE)

    @property
    def pair_flops(self) -> float:
        return 0.0 if self.shared else 2.0 * self.heads * self.dim


class _Mixer:
    """What a kind answers where it has nothing to say."""

    __slots__ = ()

    def token_bytes(self, element: float) -> float:
        """Bytes that one more token adds to the cache, ``element`` bytes a number."""
        return 0.0

    def sequence_bytes(self, element: float) -> float:
        """Bytes that a sequence takes whatever its length."""
        return 0.0

    @property
    def most_cached(self) -> int | None:
        """Tokens after which the cache of a sequence grows no more; None: never."""
        return None

    @property
    def pair_flops(self) -> float:
        """FLOPs of one query-key pair, scores and values of all heads."""
        return 0.0

    @property
    def index_flops(self) -> float:
        """FLOPs of an indexer for one query and one cached token."""
        return 0.0

    @property
    def state_flops(self) -> float:
        """FLOPs of one token beside the matrices', whatever the context."""
        return 0.0


@dataclass(frozen=True, slots=True)
class SoftmaxAttention(_Mixer):
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
    q_rank: int | None = None  # queries go through so few dimensions (Step-3)
    tied_values: bool = False  # values are the keys before their norm: no projection of their own (Gemma 4)
    shared_cache: bool = False  # keys and values are those of an earlier layer: no projections, no cache
    indexer: Indexer | None = None
    extra: tuple[Tensor, ...] = ()  # further weights, such as a gate of the output

    @property
    def v_dim(self) -> int:
        return self.head_dim if self.value_dim is None else self.value_dim

    def token_bytes(self, element: float) -> float:
        if self.shared_cache:
            return 0.0
        index = self.indexer.key_bytes if self.indexer else 0.0
        return self.kv_heads * (self.head_dim + self.v_dim) * element + index

    @property
    def most_cached(self) -> int | None:
        return self.window or self.chunk

    @property
    def pair_flops(self) -> float:
        return 2.0 * self.heads * (self.head_dim + self.v_dim)

    @property
    def index_flops(self) -> float:
        return self.indexer.pair_flops if self.indexer else 0.0


@dataclass(frozen=True, slots=True)
class LatentAttention(_Mixer):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): KV is ``kv_rank + rope_dim`` wide."""

    heads: int
    q_rank: int | None  # None: queries are not compressed
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    bias: bool = False
    indexer: Indexer | None = None
    extra: tuple[Tensor, ...] = ()

    @property
    def kv_heads(self) -> int:
        return 1

    def token_bytes(self, element: float) -> float:
        index = self.indexer.key_bytes if self.indexer else 0.0
        return (self.kv_rank + self.rope_dim) * element + index

    @property
    def pair_flops(self) -> float:
        """Of a prompt, keys and values expanded; ``absorbed_pair_flops`` otherwise."""
        return 2.0 * self.heads * (self.nope_dim + self.rope_dim + self.value_dim)

    @property
    def absorbed_pair_flops(self) -> float:
        """Of decoding and of sparse attention, on the latent itself (arXiv 2405.04434 §2.1.2)."""
        return 2.0 * self.heads * (2 * self.kv_rank + self.rope_dim)

    @property
    def index_flops(self) -> float:
        return self.indexer.pair_flops if self.indexer else 0.0


@dataclass(frozen=True, slots=True)
class CompressedAttention(_Mixer):
    """DeepSeek-V4: one key, its own value, that all heads share. A query sees the last ``window`` tokens as they are,
    and before them one entry for every ``ratio`` tokens (0: the window alone). ``indexer``: only the entries that
    its index picks (compressed sparse attention; each entry then overlaps the one before), else all of them (heavily
    compressed attention). The output projection goes through ``output_groups`` groups of ``output_rank``."""

    heads: int
    q_rank: int
    head_dim: int
    window: int
    ratio: int
    output_groups: int
    output_rank: int
    indexer: Indexer | None = None
    extra: tuple[Tensor, ...] = ()

    @property
    def kv_heads(self) -> int:
        return 1

    @property
    def overlap(self) -> int:
        """Series of entries that a token contributes to."""
        return 2 if self.indexer else 1

    def token_bytes(self, element: float) -> float:
        """Bytes that one more token adds on average: its share of an entry, and of the index's."""
        if not self.ratio:
            return 0.0
        return (self.head_dim * element + (self.indexer.key_bytes if self.indexer else 0.0)) / self.ratio

    def sequence_bytes(self, element: float) -> float:
        """The window, and what the compressor keeps of an entry not yet full: fp32 numbers and their gates."""
        widths = self.head_dim + (self.indexer.dim if self.indexer else 0)
        pending = 2 * (2 * self.overlap - 1) * self.ratio * widths * 4.0
        return self.window * self.head_dim * element + pending

    @property
    def pair_flops(self) -> float:
        return 4.0 * self.heads * self.head_dim

    @property
    def index_flops(self) -> float:
        """Of one query and one cached token, which has ``1 / ratio`` of an entry."""
        return self.indexer.pair_flops / self.ratio if self.indexer and self.ratio else 0.0


#: products with the state that one token takes, by the rule that updates it: what is read for the update, the
#: update, and the reading of the output (the delta rules read before they write)
_PRODUCTS: Final = {"gated_delta": 3, "kda": 3, "lightning": 2, "mamba1": 2, "mamba2": 2, "convolution": 0}


@dataclass(frozen=True, slots=True)
class LinearAttention(_Mixer):
    """A layer whose memory of the past is a state of ``key_dim × value_dim`` for each value head, and the tail of a
    short convolution (``conv_kernel`` 1: none); no KV cache. ``rule`` says how a token changes it:

    gated_delta (Qwen3-Next, arXiv 2412.06464), kda (Kimi Linear: a decay for every channel, arXiv 2510.26692),
    lightning (MiniMax-01, arXiv 2501.08313), mamba2 (arXiv 2405.21060: key heads are its groups, ``key_dim`` its
    state, value heads its heads), mamba1 (arXiv 2312.00752: every channel a value head of its own), convolution
    (LFM2: no state but the convolution's tail)."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    rule: str = "gated_delta"
    conv_bias: bool = False
    output_norm: bool = True  # mamba2: a norm before the output projection; Falcon-H1 goes without
    dt_rank: int = 0  # mamba1: dimensions that the step sizes go through
    gate_rank: int = 0  # kda: dimensions that the output's gate goes through; 0: one full matrix
    decay_rank: int = 0  # kda: dimensions that the decays go through; 0: one full matrix
    extra: tuple[Tensor, ...] = ()

    @property
    def heads(self) -> int:
        return self.value_heads

    @property
    def kv_heads(self) -> int:
        return self.key_heads

    @property
    def conv_channels(self) -> int:
        """Channels that the short convolution runs over."""
        keys = self.key_heads * self.key_dim
        values = self.value_heads * self.value_dim
        return values if self.rule in ("mamba1", "convolution") else 2 * keys + values

    @property
    def state_elements(self) -> int:
        return self.value_heads * self.key_dim * self.value_dim if _PRODUCTS[self.rule] else 0

    @property
    def tail_elements(self) -> int:
        return self.conv_channels * (self.conv_kernel - 1)

    def sequence_bytes(self, element: float) -> float:
        """An fp32 state, and the convolution's tail in 16 bits."""
        return 4.0 * self.state_elements + 2.0 * self.tail_elements

    @property
    def state_flops(self) -> float:
        """Products with the state that one token takes, in FLOPs."""
        return 2.0 * _PRODUCTS[self.rule] * self.value_heads * self.key_dim * self.value_dim


@dataclass(frozen=True, slots=True)
class NoAttention(_Mixer):
    """A layer that is a feed-forward only."""

    heads: int = 0
    kv_heads: int = 0
    extra: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class UnknownAttention(_Mixer):
    """A mixer whose weights are known (``extra``) and whose cache and FLOPs are not: it can be weighed, not priced."""

    name: str
    heads: int
    kv_heads: int
    extra: tuple[Tensor, ...] = ()


Attention = SoftmaxAttention | LatentAttention | CompressedAttention | LinearAttention | NoAttention | UnknownAttention
