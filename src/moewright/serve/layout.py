"""The layout and formats of one serving engine (one replica): what a step's time depends on beside its batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """Attention ``dp × tp``, experts ``ep × etp`` on the same ranks, ``pp`` stages of them."""

    tp: int = 1
    dp: int = 1
    pp: int = 1
    etp: int = 1
    ep: int = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.dp * self.pp

    @property
    def name(self) -> str:
        pipeline = f"PP{self.pp} · " if self.pp > 1 else ""
        return f"{pipeline}attn DP{self.dp}×TP{self.tp} · moe EP{self.ep}×TP{self.etp}"


@dataclass(frozen=True, slots=True)
class Formats:
    """Formats of matrices by kind, and of the KV cache; names of ``spec.precision.FORMATS``."""

    attention: str = "bf16"
    dense: str = "bf16"
    experts: str = "bf16"
    kv: str = "bf16"
