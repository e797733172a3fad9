"""What a rank's time goes into: seconds of each operation, and what of them is its own work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch


@dataclass(slots=True)
class Clock:
    """One rank's. ``trace``: keep when each operation ended. ``spent``: seconds by operation, from the end of the
    one before. ``computing``: CPU seconds of all operations but collectives (one thread: no longer than they took,
    and less where ranks share a core)."""

    device: torch.device
    trace: bool
    events: list[tuple[str, float]] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    computing: float = 0.0
    start: float = 0.0
    _last: float = 0.0
    _cpu: float = 0.0

    def begin(self) -> None:
        """Time counts from now."""
        self.events.clear()
        self.spent.clear()
        self.computing = 0.0
        self.start = self._last = time.perf_counter()
        self._cpu = time.process_time()

    @property
    def seconds(self) -> float:
        """Since the beginning, all work done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - self.start

    def computed(self, name: str) -> None:
        """The operation ``name`` has ended."""
        self.computing += self._ended(name)

    def moved(self, name: str) -> None:
        """The collective ``name`` has ended."""
        self._ended(name)

    def _ended(self, name: str) -> float:
        """CPU seconds since the last."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now, cpu = time.perf_counter(), time.process_time()
        self.spent[name] = self.spent.get(name, 0.0) + now - self._last
        if self.trace:
            self.events.append((name, now - self.start))
        worked, self._last, self._cpu = cpu - self._cpu, now, cpu
        return worked
