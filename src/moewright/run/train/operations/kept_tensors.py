"""What autograd keeps between a forward and a backward pass on a rank: counted, and some of it made again instead.

Every tensor that an operation saves passes ``torch.autograd.graph.saved_tensors_hooks``; the bytes of the storages
that are alive behind them, parameters and indices apart, are what ``training.footprint.saved_tensors`` lists.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Make = Callable[[], Tensor]


class _Held:
    """A saved tensor; dropped with the graph that holds it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@dataclass(frozen=True, slots=True)
class _Remade:
    """A saved tensor that is let go: ``make`` gives its storage again, of what is ``held`` instead."""

    make: Make
    held: tuple[_Held, ...]
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


@dataclass(slots=True)
class KeptTensors:
    """Tensors saved on this rank. ``parameters``: addresses of what is no activation; ``most``: the largest count."""

    parameters: set[int] = field(default_factory=set)
    held: weakref.WeakSet[_Held] = field(default_factory=weakref.WeakSet)
    remade: dict[int, tuple[weakref.ref[Tensor], Make, tuple[Tensor, ...]]] = field(default_factory=dict)
    most: int = 0

    def watching(self) -> Any:
        """A context in which what is saved is counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Parameters are counted elsewhere."""
        self.parameters |= {_address(x) for x in tensors}

    def make_again(self, x: Tensor, make: Make, *inputs: Tensor) -> Tensor:
        """``x``, which is not kept where an operation saves it: ``make`` computes it, as it lies in memory, again, of
        ``inputs``, which are."""
        self.remade[_address(x)] = (weakref.ref(x), make, inputs)
        return x

    def count(self) -> None:
        """The bytes alive now, of values and masks."""
        sizes = {}
        for x in self.held:
            if x.tensor.is_floating_point() or x.tensor.dtype is torch.bool:
                storage = x.tensor.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
        self.most = max(self.most, sum(sizes.values()))

    def forget(self) -> None:
        """No tensor that is alive from here on is made again."""
        self.remade.clear()

    def _pack(self, x: Tensor) -> Any:
        known = self.remade.get(_address(x))
        if known is not None and known[0]() is not None:
            held = tuple(map(self._hold, known[2]))
            return _Remade(known[1], held, x.size(), x.stride(), int(x.storage_offset()))
        if _address(x) in self.parameters:
            return x
        return self._hold(x)

    def _hold(self, x: Tensor) -> _Held:
        held = _Held(x)
        self.held.add(held)
        return held

    def _unpack(self, packed: Any) -> Tensor:
        if isinstance(packed, _Held):
            return packed.tensor
        if isinstance(packed, _Remade):
            with torch.no_grad():
                return packed.make().as_strided(packed.size, packed.stride, packed.offset)
        same: Tensor = packed
        return same
