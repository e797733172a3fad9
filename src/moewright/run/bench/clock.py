"""What a rank's time goes into: seconds of each operation, and what of them is its own work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(slots=True)
class Clock:
    """One rank's. ``trace``: keep when each operation ended. ``spent``: seconds by operation, from the end of the
    one before. ``computing``: CPU seconds of all operations but collectives (one thread: no longer than they took,
    and less where ranks share a core). On CUDA operations are marked by events, which the device passes in its own
    time; what they tell is known after ``end``."""

    device: torch.device
    trace: bool
    events: list[tuple[str, float]] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    computing: float = 0.0
    start: float = 0.0
    _last: float = 0.0
    _cpu: float = 0.0
    _marks: list[tuple[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Time counts from now."""
        self.events.clear()
        self.spent.clear()
        self._marks.clear()
        self.computing = 0.0
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            self._mark("")
        self.start = self._last = time.perf_counter()
        self._cpu = time.process_time()

    @property
    def seconds(self) -> float:
        """Since the beginning, all work done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - self.start

    def computed(self, name: str) -> None:
        """The operation ``name`` has ended, or on CUDA been asked for."""
        self.computing += self._passed(name)

    def moved(self, name: str) -> None:
        """The same of the collective ``name``."""
        self._passed(name)

    def end(self) -> None:
        """No operation follows."""
        if not self._marks:
            return
        torch.cuda.synchronize()
        (_, first), before = self._marks[0], 0.0
        for name, event in self._marks[1:]:
            at = first.elapsed_time(event) / 1e3
            self._ended(name, at, at - before)
            before = at
        self._marks.clear()

    def _passed(self, name: str) -> float:
        """CPU seconds since the last (none on CUDA)."""
        if self.device.type == "cuda":
            self._mark(name)
            return 0.0
        now, cpu = time.perf_counter(), time.process_time()
        self._ended(name, now - self.start, now - self._last)
        worked, self._last, self._cpu = cpu - self._cpu, now, cpu
        return worked

    def _mark(self, name: str) -> None:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append((name, event))

    def _ended(self, name: str, at: float, seconds: float) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + seconds
        if self.trace:
            self.events.append((name, at))
