"""Attention of a rank's heads over new tokens and their cache: softmax (GQA, windows, sinks) and latent (MLA)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.case.model import Attention, LatentAttention, SoftmaxAttention
from moewright.run.model.layers import rms_norm
from moewright.run.model.numerics import Numerics
from moewright.run.model.products import linear
from moewright.run.model.split_cache import SplitCache
from moewright.run.ranks.schedule import Chunk, positions
from moewright.run.weights.rank_weights import Weights


@dataclass(slots=True)
class Cache:
    """Keys [sequences, heads, room, d] and values of one layer; a latent attention has its latent and rotated
    key as keys, and no values. ``window``: positions wrap around at ``room``."""

    keys: Tensor
    values: Tensor | None

    @property
    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.keys, self.values) if t is not None)


def new_cache(a: Attention, kv_heads: int, sequences: int, room: int, like: Tensor) -> Cache:
    """Room for ``room`` tokens of each sequence (of a window's no more than it sees)."""
    if isinstance(a, LatentAttention):
        return Cache(like.new_zeros(sequences, 1, room, a.kv_rank + a.rope_dim), None)
    assert isinstance(a, SoftmaxAttention)
    room = min(room, a.window or room)
    return Cache(
        like.new_zeros(sequences, kv_heads, room, a.head_dim), like.new_zeros(sequences, kv_heads, room, a.v_dim)
    )


@dataclass
class Step:
    """A chunk as the attention of every layer needs it: where its tokens stand, and cosine and sine by width."""

    chunk: Chunk
    numerics: Numerics
    device: torch.device
    dtype: torch.dtype
    causal: bool = True
    gather: Callable[[Tensor], Tensor] | None = None  # rows of this rank's tokens → of the whole prompts (cp)
    split: SplitCache | None = None  # where the tokens of a sequence are kept by several ranks (dcp)
    prompt: bool = True
    even: bool = True
    row: Tensor = field(init=False)
    position: Tensor = field(init=False)
    column: Tensor = field(init=False)
    whole: tuple[Tensor, Tensor] | None = field(default=None, init=False)  # row and position of what gather gives
    _turns: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _masks: dict[int | None, Tensor | None] = field(default_factory=dict)
    _kept: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        row, position = positions(self.chunk)
        self.row, self.position = (torch.from_numpy(x).to(self.device) for x in (row, position))
        self.prompt = not any(self.chunk.starts)
        counts, parts = self.chunk.counts, self.chunk.parts
        if parts > 1:
            every = [positions(self.chunk.of_part(part)) for part in range(parts)]
            rows, places = (torch.from_numpy(np.concatenate(x)).to(self.device) for x in zip(*every, strict=True))
            self.whole = (rows, places)
        if not self.prompt and set(counts) != {1}:
            raise ValueError("a chunk is prompts, or one token of each sequence")
        self.even = len(set(counts)) == 1
        first = np.cumsum(counts) - counts
        self.column = (
            torch.arange(len(self.row), device=self.device) - torch.from_numpy(first).to(self.device)[self.row]
        )

    @property
    def sequences(self) -> int:
        return len(self.chunk.counts)

    @property
    def width(self) -> int:
        return max(self.chunk.counts)

    @property
    def slots(self) -> slice:
        return slice(self.chunk.slot, self.chunk.slot + self.sequences)

    def turn(self, x: Tensor) -> Tensor:
        """Rotary embedding (arXiv 2104.09864) of [tokens, heads, dim]."""
        dim = x.shape[-1]
        cos, sin = self.turning(dim)
        half = cos.shape[-1]
        if self.numerics.interleaved:
            first, second = x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]
        else:
            first, second = x[..., :half], x[..., half : 2 * half]
        parts = [first * cos - second * sin, second * cos + first * sin]
        return torch.cat(parts if 2 * half == dim else [*parts, x[..., 2 * half :]], dim=-1)

    def turning(self, dim: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine [tokens, 1, half] for heads of ``dim``."""
        if dim not in self._turns:
            self._turns[dim] = self.angles(dim, self.position)
        return self._turns[dim]

    def angles(self, dim: int, position: Tensor) -> tuple[Tensor, Tensor]:
        """The same at each ``position``."""
        frequencies, factor = self.numerics.frequencies(dim)
        angle = position[:, None].float() * frequencies.to(self.device)
        cos, sin = angle.cos() * factor, angle.sin() * factor
        return cos[:, None].to(self.dtype), sin[:, None].to(self.dtype)

    @property
    def start(self) -> int | None:
        """Where all sequences go on, if it is the same for all."""
        starts = self.chunk.starts
        return starts[0] if len(set(starts)) == 1 else None

    def padded(self, x: Tensor) -> Tensor:
        """[tokens, heads, dim] → [sequences, heads, width, dim], shorter sequences filled with zeros behind."""
        if self.even:
            return x.view(self.sequences, self.width, *x.shape[1:]).transpose(1, 2)
        out = x.new_zeros(self.sequences, self.width, *x.shape[1:])
        out[self.row, self.column] = x
        return out.transpose(1, 2)

    def context(self, x: Tensor) -> Tensor:
        """What a prompt's queries look at: [tokens, heads, dim] of this rank → [sequences, heads, length, dim]."""
        if self.gather is None or self.whole is None:
            return self.padded(x)
        out = x.new_zeros(self.sequences, max(self.chunk.wholes), *x.shape[1:])
        out[self.whole] = self.gather(x)
        return out.transpose(1, 2)

    def packed(self, x: Tensor) -> Tensor:
        """[sequences, heads, width, dim] → [tokens, heads · dim]."""
        x = x.transpose(1, 2)
        return (x.flatten(0, 1) if self.even else x[self.row, self.column]).flatten(1)

    def prompt_mask(self, window: int | None) -> Tensor | None:
        """Which keys a prompt's queries see, [width, width]; None where that is all, or all before it. Without
        causality the filling of shorter sequences is hidden, [sequences, 1, 1, width]; of a prompt divided over cp
        the mask follows from the positions, [sequences, 1, width, length]."""
        if window not in self._masks:
            self._masks[window] = self._prompt_mask(window)
        return self._masks[window]

    def _prompt_mask(self, window: int | None) -> Tensor | None:
        if self.chunk.parts > 1:
            return self._context_mask(window)
        i = torch.arange(self.width, device=self.device)
        if not self.causal:
            if self.even:
                return None
            counts = torch.tensor(self.chunk.counts, device=self.device)
            return (i < counts[:, None])[:, None, None, :]
        if not window or self.width <= window:
            return None
        return (i[:, None] >= i[None, :]) & (i[:, None] - i[None, :] < window)

    def _context_mask(self, window: int | None) -> Tensor:
        at = torch.zeros(self.sequences, self.width, dtype=torch.int64, device=self.device)
        at[self.row, self.column] = self.position
        lengths = torch.tensor(self.chunk.wholes, device=self.device)
        keys = torch.arange(max(self.chunk.wholes), device=self.device)
        seen = (keys < lengths[:, None])[:, None, :].expand(-1, self.width, -1)
        if self.causal:
            seen = seen & (keys <= at[:, :, None])
            if window:
                seen = seen & (at[:, :, None] - keys < window)
        return seen[:, None]

    def kept(self, room: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of prompts in a cache with ``room`` for their last tokens: which these are, and row and place of each there.
        Found on the host: a mask on the device would have to be waited for."""
        if room not in self._kept:
            row, position = positions(self.chunk)
            last = np.flatnonzero(position >= np.array(self.chunk.counts)[row] - room)
            found = last, row[last] + self.chunk.slot, position[last] % room
            token, sequence, place = (torch.from_numpy(x).to(self.device) for x in found)
            self._kept[room] = token, sequence, place
        return self._kept[room]

    def cache_mask(self, room: int) -> Tensor | None:
        """Which of the first keys of the cache hold tokens, [sequences, 1, 1, seen]; None where all do."""
        held = [min(start + 1, room) for start in self.chunk.starts]
        if min(held) == max(held):
            return None
        if room not in self._masks:
            each = torch.tensor(held, device=self.device)
            self._masks[room] = (torch.arange(max(held), device=self.device) < each[:, None])[:, None, None, :]
        return self._masks[room]

    def seen(self, room: int) -> int:
        """Keys of the cache that some sequence sees."""
        return min(max(self.chunk.starts) + 1, room)


def attention(x: Tensor, w: Weights, a: Attention, step: Step, cache: Cache | None, bias: bool) -> Tensor:
    """Partial output [tokens, hidden] of the heads in ``w`` for [tokens, hidden]; ``bias``: add the output's too."""
    if isinstance(a, LatentAttention):
        out = _latent(x, w, a, step, cache)
    else:
        assert isinstance(a, SoftmaxAttention)
        out = _softmax(x, w, a, step, cache)
    return linear(out, w["o"], w.get("o_bias") if bias else None)


def _softmax(x: Tensor, w: Weights, a: SoftmaxAttention, step: Step, cache: Cache | None) -> Tensor:
    eps, heads = step.numerics.eps, w["o"].shape[1] // a.v_dim
    kv_heads = (w["qkv"].shape[0] - heads * a.head_dim) // (a.head_dim + a.v_dim)
    both = linear(x, w["qkv"], w.get("qkv_bias"))
    widths = [heads * a.head_dim, kv_heads * a.head_dim, kv_heads * a.v_dim]
    if "q_norm" in w:
        q, k, v = torch.split(both, widths, dim=1)
        q, k = (t.reshape(len(x), -1, a.head_dim) for t in (q, k))
        q, k = step.turn(rms_norm(q, w["q_norm"], eps)), step.turn(rms_norm(k, w["k_norm"], eps))
    else:  # queries and keys turn together
        turned, v = torch.split(both, [widths[0] + widths[1], widths[2]], dim=1)
        q, k = torch.split(step.turn(turned.reshape(len(x), -1, a.head_dim)), [heads, kv_heads], dim=1)
    v = v.reshape(len(x), kv_heads, a.v_dim)
    scale = step.numerics.score_scale * a.head_dim**-0.5
    if step.prompt:
        if step.gather is None:
            keys, values = step.padded(k), step.padded(v)
        else:
            together = step.context(torch.cat([k, v], dim=-1))
            keys, values = torch.split(together, [a.head_dim, a.v_dim], dim=-1)
        if cache is not None:
            assert cache.values is not None
            _keep_prompt(cache.keys, keys, k, step)
            _keep_prompt(cache.values, values, v, step)
        mask = step.prompt_mask(a.window)
        return step.packed(
            _attend(step.padded(q), keys, values, mask, step.causal and mask is None, scale, w.get("sinks"))
        )
    assert cache is not None
    assert cache.values is not None
    room = cache.keys.shape[2]
    _keep_one(cache.keys, k, step)
    _keep_one(cache.values, v, step)
    if step.split is not None:
        kept = cache.keys[step.slots], cache.values[step.slots]
        return step.split.attend(q, *kept, step.chunk.starts, scale).flatten(1)
    seen = step.seen(room)
    # the heads that share a KV head are rows of one query: no copy of keys and values
    q = q.view(len(x), kv_heads, heads // kv_heads, a.head_dim)
    sinks = w["sinks"].view(kv_heads, -1) if "sinks" in w else None
    out = _attend_rows(
        q,
        cache.keys[step.slots, :, :seen],
        cache.values[step.slots, :, :seen],
        step.cache_mask(room),
        scale,
        sinks,
    )
    return out.flatten(1)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, sinks: Tensor | None
) -> Tensor:
    """SDPA of [sequences, heads, width, d]. A sink is one more key, of value 0, whose score is its head's own."""
    if sinks is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
    width, keys = q.shape[2], k.shape[2]
    seen = torch.ones(width, keys, dtype=torch.bool, device=q.device).tril() if causal else mask
    bias = q.new_zeros(1, q.shape[1], width, keys + 1)
    if seen is not None:
        bias = bias.expand(max(1, len(seen) if seen.dim() == 4 else 1), -1, -1, -1).clone()
        bias[..., :keys].masked_fill_(~seen, -torch.inf)
    bias[..., keys] = sinks.view(1, -1, 1)
    k, v = (torch.cat([t, t.new_zeros(*t.shape[:2], 1, t.shape[3])], dim=2) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, sinks: Tensor | None) -> Tensor:
    """One token's queries [sequences, kv heads, rows, d] over keys and values [sequences, kv heads, seen, d]."""
    if sinks is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    keys = k.shape[2]
    bias = q.new_zeros(len(q), q.shape[1], q.shape[2], keys + 1)
    if mask is not None:
        bias[..., :keys].masked_fill_(~mask, -torch.inf)
    bias[..., keys] = sinks
    k, v = (torch.cat([t, t.new_zeros(*t.shape[:2], 1, t.shape[3])], dim=2) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _keep_prompt(cache: Tensor, padded: Tensor, packed: Tensor, step: Step) -> None:
    """Into the cache: a prompt's tokens, or the last of them where they are more than it has room for."""
    if step.split is not None:
        step.split.keep(cache, packed, step.row + step.chunk.slot, step.position)
        return
    room = cache.shape[2]
    if step.even and step.width <= room:
        cache[step.slots, :, : step.width] = padded
        return
    token, row, place = step.kept(room)
    cache[row, :, place] = packed[token]


def _keep_one(cache: Tensor, packed: Tensor, step: Step) -> None:
    """Into the cache: one token [sequences, heads, d] of each sequence."""
    if step.split is not None:
        step.split.keep(cache, packed, step.row + step.chunk.slot, step.position)
        return
    room, start = cache.shape[2], step.start
    if start is not None:
        cache[step.slots, :, start % room] = packed
    else:
        cache[step.row + step.chunk.slot, :, step.position % room] = packed


def _latent(x: Tensor, w: Weights, a: LatentAttention, step: Step, cache: Cache | None) -> Tensor:
    """MLA (arXiv 2405.04434 §2.1). Prompts expand the latent to keys and values; one token a sequence works on the
    latent itself, the expanding matrices absorbed into query and output (§2.1.2)."""
    eps, heads = step.numerics.eps, w["o"].shape[1] // a.value_dim
    dim = a.nope_dim + a.rope_dim
    if "q" in w:
        q = linear(x, w["q"])
    else:
        q = linear(rms_norm(linear(x, w["q_a"], w.get("q_a_bias")), w["q_a_norm"], eps), w["q_b"])
    q_nope, q_rope = torch.split(q.view(len(x), heads, dim), [a.nope_dim, a.rope_dim], dim=-1)
    latent, k_rope = torch.split(linear(x, w["kv_a"], w.get("kv_a_bias")), [a.kv_rank, a.rope_dim], dim=-1)
    latent = rms_norm(latent, w["kv_a_norm"], eps)
    q_rope, k_rope = step.turn(q_rope), step.turn(k_rope[:, None])
    scale = step.numerics.score_scale * dim**-0.5
    kept = torch.cat([latent[:, None], k_rope], dim=-1)
    if step.prompt:
        if cache is not None:
            _keep_prompt(cache.keys, step.padded(kept), kept, step)
        if step.gather is not None:  # the latents of the whole prompt, which every rank of cp expands
            latent, k_rope = torch.split(step.context(kept), [a.kv_rank, a.rope_dim], dim=-1)
            latent, k_rope = latent.reshape(-1, a.kv_rank), k_rope.transpose(1, 2).flatten(0, 1)
        both = linear(latent, w["kv_b"]).view(len(latent), heads, -1)
        k_nope, v = torch.split(both, [a.nope_dim, a.value_dim], dim=-1)
        k = torch.cat([k_nope, k_rope.expand(-1, heads, -1)], dim=-1)
        q = torch.cat([q_nope, q_rope], dim=-1)
        mask = step.prompt_mask(None)
        if step.gather is not None:
            k, v = (t.view(step.sequences, -1, *t.shape[1:]).transpose(1, 2) for t in (k, v))
        else:
            k, v = step.padded(k), step.padded(v)
        out = _attend(step.padded(q), k, v, mask, step.causal and mask is None, scale, None)
        return step.packed(out)
    assert cache is not None
    _keep_one(cache.keys, kept, step)
    expand = w["kv_b"].view(heads, -1, a.kv_rank)
    absorbed = torch.einsum("thn,hnr->thr", q_nope, expand[:, : a.nope_dim])
    if step.split is not None:
        own = cache.keys[step.slots]
        mixed = step.split.attend(
            torch.cat([absorbed, q_rope], dim=-1), own, own[..., : a.kv_rank], step.chunk.starts, scale
        )
        return torch.einsum("thr,hvr->thv", mixed, expand[:, a.nope_dim :]).flatten(1)
    keys = cache.keys[step.slots, 0, : step.seen(cache.keys.shape[2])]
    scores = torch.cat([absorbed, q_rope], dim=-1) @ keys.transpose(1, 2)  # [sequences, heads, seen]
    mask = step.cache_mask(cache.keys.shape[2])
    if mask is not None:
        scores = scores.masked_fill(~mask[:, 0], -torch.inf)
    shares = (scores.float() * scale).softmax(-1).to(x.dtype)
    return torch.einsum("thr,hvr->thv", shares @ keys[..., : a.kv_rank], expand[:, a.nope_dim :]).flatten(1)
