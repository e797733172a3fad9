"""The event loop: clients, replicas and pools of them, on one clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from moewright.serving.simulation.rank import Sequence
from moewright.serving.simulation.replica import Replica
from moewright.serving.simulation.requests import Requests


@dataclass(frozen=True, slots=True)
class Pools:
    """Replicas that take prompts and finish them; or, where ``decode`` is not empty, ``prefill`` makes the first
    token and the cache goes to a replica of ``decode``, ``transfer`` seconds a prompt of so many tokens."""

    prefill: list[Replica]
    decode: list[Replica]
    transfer: Callable[[int], float]
    request: float  # seconds of host before a request is queued


def run(
    pools: Pools, requests: Requests, concurrency: int, tell: Callable[[float], None] = lambda share: None
) -> list[Sequence]:
    """Serve all ``requests``; in order of their drawing. A closed loop of ``concurrency`` where they have no
    arrivals of their own."""
    loop = _Loop(pools, requests)
    return loop.run(concurrency, tell)


class _Loop:
    def __init__(self, pools: Pools, requests: Requests) -> None:
        self.pools, self.requests = pools, requests
        self.events: list[tuple[float, int, str, Any, int]] = []
        self.order = 0
        self.sequences: list[Sequence] = []
        self.halves: dict[int, Sequence] = {}  # under disaggregation: the decode side of each request
        self.prefills = set(map(id, pools.prefill)) if pools.decode else set()

    def push(self, time: float, kind: str, what: Any, version: int = 0) -> None:
        self.order += 1
        heappush(self.events, (time, self.order, kind, what, version))

    def submit(self, now: float) -> None:
        """The next request, at ``now``."""
        i = len(self.sequences)
        r = self.requests
        split = bool(self.pools.decode)
        # a prefill pool's sequence ends with its first token
        output, steps = (1, 0) if split else (r.outputs[i], r.steps[i])
        s = Sequence(i, now, r.inputs[i], output, steps)
        self.sequences.append(s)
        self.push(now + self.pools.request, "arrive", s)

    def run(self, concurrency: int, tell: Callable[[float], None]) -> list[Sequence]:
        total = len(self.requests)
        if self.requests.arrivals is not None:
            self.submit(self.requests.arrivals[0])
        else:
            for _ in range(min(concurrency, total)):
                self.submit(0.0)
        done, shown = 0, 0
        while self.events:
            now, _, kind, what, version = heappop(self.events)
            if kind == "arrive":
                self._arrive(what, now)
            elif kind == "begin":
                what.waits = False
                self._begin(what, now)
            elif what.version == version and what.span is not None:
                done += self._finish(what, now)
                if done - shown >= 256:
                    shown = done
                    tell(done / total)
        return [self.halves.get(s.index, s) for s in self.sequences]

    def _arrive(self, s: Sequence, now: float) -> None:
        if self.requests.arrivals is not None and not s.ready and len(self.sequences) < len(self.requests):
            self.submit(self.requests.arrivals[len(self.sequences)])
        pool = self.pools.decode if s.ready else self.pools.prefill
        replica = min(pool, key=lambda r: r.load)
        replica.take(s, now)
        if replica.span is None:
            self._wake(replica, now)
        else:
            end = replica.cut(now)
            if end is not None:
                self.push(end, "end", replica, replica.version)

    def _wake(self, replica: Replica, now: float) -> None:
        """Begin at ``now``, after all that arrives at the same time."""
        if not replica.waits:
            replica.waits = True
            self.push(now, "begin", replica)

    def _begin(self, replica: Replica, now: float) -> None:
        end = replica.begin(now)
        if end is not None:
            self.push(end, "end", replica, replica.version)

    def _finish(self, replica: Replica, now: float) -> int:
        """Hand on what ended; how many requests are done."""
        _, ended = replica.finish()
        over = 0
        for s in ended:
            if id(replica) in self.prefills:
                self._hand_over(s, now)
                if self.halves[s.index].done < 0:
                    continue
            over += 1
            if self.requests.arrivals is None and len(self.sequences) < len(self.requests):
                self.submit(now)
        self._wake(replica, now)
        return over

    def _hand_over(self, s: Sequence, now: float) -> None:
        """The cache of ``s`` goes to the decode pool, which gives its first token to the user."""
        r = self.requests
        there = now + self.pools.transfer(s.input)
        half = Sequence(s.index, s.arrival, s.input, r.outputs[s.index], r.steps[s.index])
        half.made, half.first, half.since, half.ready = 1.0, there, there, True
        half.preempted = s.preempted
        self.halves[s.index] = half
        if half.steps:
            self.push(there, "arrive", half)
        else:
            half.done = there
