"""A Hugging Face folder of safetensors, of which a rank reads only its slices.

Known layouts: one tensor an expert (Mixtral's w1, w2, w3; gate_proj, up_proj, down_proj elsewhere), gpt-oss's
fused and interleaved ones, in bf16 or MXFP4 (OCP Microscaling Formats v1.0). FP8 weights with block scales
(DeepSeek-V3, arXiv 2412.19437 §3.3) or one scale a row or tensor, whose shape tells which, and which are named
``weight_scale_inv`` or ``weight_scale``, are multiplied out, or given as they are.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from moewright.run.formats.scaled import E4M3, Kept, Scaled, Way, input_of
from moewright.run.run_error import RunError
from moewright.run.weights.safetensors_header import Entry, read_entries
from moewright.run.weights.weight_source import WHOLE

_PREFIXES: Final = ("model.", "model.language_model.", "language_model.model.", "")

#: name here, below its layer → names in checkpoints
_LAYER: Final[dict[str, tuple[str, ...]]] = {
    **{f"{p}_proj": (f"self_attn.{p}_proj.weight",) for p in ("q", "k", "v", "o", "q_a", "q_b", "kv_b")},
    **{f"{p}_bias": (f"self_attn.{p}_proj.bias",) for p in ("q", "k", "v", "o", "q_a")},
    "kv_a_proj": ("self_attn.kv_a_proj_with_mqa.weight",),
    "kv_a_bias": ("self_attn.kv_a_proj_with_mqa.bias",),
    "q_a_norm": ("self_attn.q_a_layernorm.weight",),
    "kv_a_norm": ("self_attn.kv_a_layernorm.weight",),
    "q_norm": ("self_attn.q_norm.weight",),
    "k_norm": ("self_attn.k_norm.weight",),
    "sinks": ("self_attn.sinks",),
    "norm0": ("input_layernorm.weight",),
    "norm1": ("post_attention_layernorm.weight",),
    **{f"dense.{p}": (f"mlp.{p}_proj.weight",) for p in ("gate", "up", "down")},
    **{
        f"shared.{p}": (f"mlp.shared_experts.{p}_proj.weight", f"mlp.shared_expert.{p}_proj.weight")
        for p in ("gate", "up", "down")
    },
    "shared_gate": ("mlp.shared_expert_gate.weight",),
    "router": ("mlp.gate.weight", "block_sparse_moe.gate.weight", "mlp.router.weight"),
    "router_bias": ("mlp.router.bias",),
    "correction": ("mlp.gate.e_score_correction_bias",),
}
_MIXTRAL: Final = {"gate": "w1", "down": "w2", "up": "w3"}
_HEAD: Final = {"embedding": ("embed_tokens.weight",), "final_norm": ("norm.weight",)}
#: formats of plain values, of matrices and of scales, as safetensors names them
_PLAIN: Final = ("F64", "F32", "F16", "BF16")
_EIGHT: Final = "F8_E4M3"
_SCALES: Final = (*_PLAIN, "F8_E8M0")
#: values of the 16 codes of FP4 (E2M1)
_FP4: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def has_weights(folder: Path) -> bool:
    """Whether ``folder`` has safetensors."""
    return any(folder.glob("*.safetensors"))


class Checkpoint:
    """The tensors of a folder. ``block``: of FP8 scales, rows × columns. As a ``census`` it looks every tensor up
    and reads none: what it gives has a shape only. ``kept``: names of matrices that are given in FP8, to be multiplied
    by ``way`` (``together``: see Scaled), and keep their ``inputs`` where these are to be verified. Raises RunError for
    files that are missing, truncated or not safetensors."""

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype = torch.float32,
        block: tuple[int, int] = (128, 128),
        census: bool = False,
    ) -> None:
        self.folder, self.dtype, self.block, self.census = folder, dtype, block, census
        self.entries: dict[str, Entry] = read_entries(folder)
        self.kept: frozenset[str] = frozenset()
        self.way, self.together = Way.PLAIN, False
        self.inputs: Kept | None = None
        self._open: dict[Path, Any] = {}

    def tensor(self, name: str, shape: tuple[int, ...], rows: slice = WHOLE, columns: slice = WHOLE) -> Tensor:
        """See Source. Raises RunError where the folder has no such tensor, or one of another shape."""
        expert = re.fullmatch(r"layers\.(\d+)\.experts\.(\d+)\.(\w+)", name)
        if expert:
            return self._expert(int(expert[1]), int(expert[2]), expert[3], shape, rows, columns)
        names = self._names(name)
        found = next((n for n in names if n in self.entries), None)
        if found is None:
            raise RunError(f"{self.folder}: has no tensor {names[0]}")
        return self._read(found, shape, rows, columns)

    @property
    def files(self) -> list[Path]:
        """The files that the tensors are in."""
        return sorted({entry.file for entry in self.entries.values()})

    @property
    def eight(self) -> bool:
        """Whether some matrix is FP8 with scales."""
        return any(e.dtype == _EIGHT and _scales_of(n, self.entries) for n, e in self.entries.items())

    def form(self, name: str) -> tuple[int, int] | None:
        """(height, width) of the scales' blocks of the matrix ``name`` if it is E4M3 here (width 0: whole rows).
        Raises RunError for scales of another shape."""
        found = self._stored(name)
        if found is None or self.entries[found].dtype != _EIGHT or _scales_of(found, self.entries) is None:
            return None
        return self._form(found)[1:]

    def _form(self, found: str) -> tuple[str, int, int]:
        """The tensor of the scales of the matrix ``found``, and their height and width. Raises RunError where it has
        none, or of another shape."""
        scales = _scales_of(found, self.entries)
        if scales is None:
            raise RunError(
                f"{self.entries[found].file}: {found} is {_EIGHT} and has no scale; expected {found}_scale_inv or "
                f"{found}_scale"
            )
        self._format(scales, _SCALES)
        (rows, columns), shape = self.entries[found].shape, self.entries[scales].shape
        (height, width), count = self.block, math.prod(shape)
        blocks = (-(-rows // height), -(-columns // width))
        if shape == blocks and (count > 1 or scales.endswith("_inv")):
            return scales, height, width
        if count in (1, rows):
            return scales, 1, 0
        is_ = " × ".join(map(str, shape))
        raise RunError(
            f"{self.entries[scales].file}: {scales} is {is_}; expected {blocks[0]} × {blocks[1]} for blocks of "
            f"{height} × {width}, {rows} for rows, or one scale"
        )

    def scaled(self, name: str, shape: tuple[int, int], rows: slice = WHOLE, columns: slice = WHOLE) -> Scaled | None:
        """See Source. The slice begins on borders of blocks."""
        form, found = self.form(name) if name in self.kept else None, self._stored(name)
        if form is None or found is None:
            return None
        self._same(found, shape, (_EIGHT,))
        (top, bottom, _), (left, right, _) = rows.indices(shape[0]), columns.indices(shape[1])
        height, width = form
        codes: Tensor = self._slice(found)[top:bottom, left:right]
        stored = self._slice(self._form(found)[0])
        if width:
            scales: Tensor = stored[top // height : -(-bottom // height), left // width : -(-right // width)]
        else:
            scales = stored[...].reshape(-1, 1).expand(shape[0], 1)[top:bottom]
        codes = codes.view(torch.uint8).clone(memory_format=torch.contiguous_format).view(E4M3)
        scales = scales.to(torch.float32, copy=True).contiguous()
        return Scaled(codes, scales, height, width, self.way, self.together, self.inputs, input_of(name), left)

    def _stored(self, name: str) -> str | None:
        """The name in the files of a tensor that has one of its own there."""
        expert = re.fullmatch(r"layers\.(\d+)\.experts\.(\d+)\.(\w+)", name)
        names = self._expert_names(*expert.groups()) if expert else self._names(name)
        return next((n for n in names if n in self.entries), None)

    def _names(self, name: str) -> list[str]:
        if name == "head":
            return ["lm_head.weight", "language_model.lm_head.weight"]
        if name in _HEAD:
            return [prefix + n for prefix in _PREFIXES for n in _HEAD[name]]
        _, layer, rest = name.split(".", 2)
        return [f"{prefix}layers.{layer}.{n}" for prefix in _PREFIXES for n in _LAYER[rest]]

    def _expert_names(self, layer: int | str, expert: int | str, part: str) -> list[str]:
        kind, _, bias = part.partition("_")
        ending = ".bias" if bias else ".weight"
        return [
            f"{prefix}layers.{layer}.{n}"
            for prefix in _PREFIXES
            for n in (
                f"mlp.experts.{expert}.{kind}_proj{ending}",
                f"block_sparse_moe.experts.{expert}.{_MIXTRAL[kind]}{ending}",
            )
        ]

    def _expert(
        self, layer: int, expert: int, part: str, shape: tuple[int, ...], rows: slice, columns: slice
    ) -> Tensor:
        kind, _, bias = part.partition("_")
        names = self._expert_names(layer, expert, part)
        found = next((n for n in names if n in self.entries), None)
        if found is not None:
            return self._read(found, shape, rows, columns)
        for prefix in _PREFIXES:
            fused = f"{prefix}layers.{layer}.mlp.experts.{'down' if kind == 'down' else 'gate_up'}_proj"
            tried = [fused + "_bias"] if bias else [fused, fused + "_blocks"]
            if any(n in self.entries for n in tried):
                return self._fused(fused, expert, kind, bool(bias), shape, rows, columns)
        raise RunError(f"{self.folder}: has no tensor {names[0]}")

    def _fused(
        self, fused: str, expert: int, kind: str, bias: bool, shape: tuple[int, ...], rows: slice, columns: slice
    ) -> Tensor:
        """gpt-oss: [experts, input, output], gate and up in turn along the output; blocks have it first."""
        first, every = (0, 1) if kind == "down" else (("gate", "up").index(kind), 2)
        start, stop, _ = rows.indices(shape[0])
        out = slice(start * every, stop * every)
        count = every * shape[0]
        if bias:
            self._same(fused + "_bias", (None, count))
            if self.census:
                return _empty((stop - start,))
            biases: Tensor = self._slice(fused + "_bias")[expert, out]
            return biases[first::every].to(self.dtype, copy=True)
        left, right, _ = columns.indices(shape[1])
        plain = fused in self.entries
        if plain:
            self._same(fused, (None, shape[1], count))
        else:
            self._same(fused + "_blocks", (None, count, -(-shape[1] // 32), 16), ("U8",))
            self._same(fused + "_scales", (None, count, -(-shape[1] // 32)), ("U8",))
        if self.census:
            return _empty((stop - start, right - left))
        if plain:
            part: Tensor = self._slice(fused)[expert, left:right, out].T
        else:
            groups = slice(left // 32, -(-right // 32))
            blocks = self._slice(fused + "_blocks")[expert, out, groups]
            scales = self._slice(fused + "_scales")[expert, out, groups]
            part = mxfp4(blocks, scales)[:, left - 32 * groups.start : right - 32 * groups.start]
        return part[first::every].to(self.dtype, copy=True).contiguous()

    def _read(self, name: str, shape: tuple[int, ...], rows: slice, columns: slice) -> Tensor:
        self._same(name, shape, _PLAIN if len(shape) == 1 else (*_PLAIN, _EIGHT))
        if self.entries[name].dtype == _EIGHT:
            self._form(name)
        if self.census:
            return _empty(tuple(len(range(*s.indices(n))) for n, s in zip(shape, (rows, columns), strict=False)))
        if len(shape) == 1:
            start, stop, _ = rows.indices(shape[0])
            exact = name.endswith("e_score_correction_bias")  # small steps between large values
            vector: Tensor = self._slice(name)[start:stop]
            return vector.to(torch.float32 if exact else self.dtype, copy=True)
        (top, bottom, _), (left, right, _) = rows.indices(shape[0]), columns.indices(shape[1])
        part: Tensor = self._slice(name)[top:bottom, left:right]
        if _scales_of(name, self.entries):
            scales, h, w = self._form(name)
            part = part.to(torch.float32)
            if w:
                scale = self._slice(scales)[top // h : -(-bottom // h), left // w : -(-right // w)].float()
                down = torch.arange(top, bottom) // h - top // h
                across = torch.arange(left, right) // w - left // w
                part = part * scale[down][:, across]
            else:
                scale = self._slice(scales)[...].float().reshape(-1, 1)
                part = part * (scale[top:bottom] if len(scale) > 1 else scale)
        return part.to(self.dtype, copy=True).contiguous()

    def _same(self, name: str, shape: tuple[int | None, ...], formats: tuple[str, ...] = _PLAIN) -> None:
        """Raises RunError where there is no such tensor, or one of another shape or format."""
        if name not in self.entries:
            raise RunError(f"{self.folder}: has no tensor {name}")
        found = self.entries[name].shape
        if len(found) != len(shape) or any(b is not None and a != b for a, b in zip(found, shape, strict=True)):
            wanted = " × ".join("any" if n is None else str(n) for n in shape)
            raise RunError(
                f"{self.entries[name].file}: {name} is {' × '.join(map(str, found))}; the config expects {wanted}"
            )
        self._format(name, formats)

    def _format(self, name: str, formats: tuple[str, ...]) -> None:
        found = self.entries[name]
        if found.dtype not in formats:
            raise RunError(f"{found.file}: {name} is {found.dtype}; expected {' or '.join(formats)}")

    def _slice(self, name: str) -> Any:
        from safetensors import safe_open

        file = self.entries[name].file
        if file not in self._open:
            try:
                self._open[file] = safe_open(file, framework="pt")
            except Exception as error:
                raise RunError(f"{file}: cannot be read: {error}") from None
        return self._open[file].get_slice(name)


def _scales_of(name: str, entries: dict[str, Entry]) -> str | None:
    """The tensor of scales of the tensor ``name``."""
    return next((n for n in (name + "_scale_inv", name + "_scale") if n in entries), None)


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, device="meta")


def mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """MXFP4 multiplied out: ``blocks`` [rows, groups, 16] of two codes a byte, the low one first, ``scales``
    [rows, groups] powers of two with bias 127 → [rows, 32 · groups]."""
    table = torch.tensor(_FP4)
    codes = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2)
    values = torch.ldexp(table[codes.long()], scales.to(torch.int32).unsqueeze(-1) - 127)
    return values.flatten(-2)
