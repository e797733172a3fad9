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
    token and the cache goes to a replica of ``decode``, ``transfer`` seconds a prompt of so many tokens. Before a
    request is queued it waits ``wait`` seconds in the mean (``Requests.waits``), and ``launch`` seconds always."""

    prefill: list[Replica]
    decode: list[Replica]
    transfer: Callable[[int], float]
    wait: float
    launch: float = 0.0


def run(
    pools: Pools, requests: Requests, concurrency: int, tell: Callable[[float], None] = lambda share: None
) -> list[Sequence]:
    """Serve all ``requests``; in order of their drawing, after those that lead. A closed loop of ``concurrency`` where
    they have no arrivals of their own; where its clients have ``starts``, they go on (with the first requests' lengths
    again) until the last of ``requests`` is done."""
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

    def before(self, index: int) -> float:
        """Seconds on the host before request ``index`` is queued."""
        return self.pools.launch + self.pools.wait * self.requests.wait(index)

    def submit(self, now: float) -> None:
        """The next request, at ``now``."""
        r = self.requests
        index = len(self.sequences)
        i = (index - r.lead) % len(r)
        split = bool(self.pools.decode)
        # a prefill pool's sequence ends with its first token
        output, steps = (1, 0) if split else (r.outputs[i], r.steps[i])
        s = Sequence(index, now, r.inputs[i], output, steps)
        self.sequences.append(s)
        self.push(now + self.before(index), "arrive", s)

    def run(self, concurrency: int, tell: Callable[[float], None]) -> list[Sequence]:
        total, now = len(self.requests), 0.0
        if self.requests.arrivals is not None:
            self.submit(self.requests.arrivals[0])
        elif self.requests.starts is not None:
            for t in self.requests.starts:
                self.push(t, "start", None)
        else:
            for _ in range(min(concurrency, total)):
                self.submit(0.0)
        done, shown = 0, 0
        while self.events and done < total:
            now, _, kind, what, version = heappop(self.events)
            if kind == "arrive":
                self._arrive(what, now)
            elif kind == "start":
                self.submit(now)
            elif kind == "begin":
                what.waits = False
                self._begin(what, now)
            elif what.version == version and what.span is not None:
                done += self._finish(what, now)
                if done - shown >= 256:
                    shown = done
                    tell(done / total)
        for replica in (*self.pools.prefill, *self.pools.decode):
            replica.stop(now)
        return [self.halves.get(s.index, s) for s in self.sequences[: self.requests.lead + total]]

    @property
    def more(self) -> bool:
        """Whether a client whose request is done sends another."""
        r = self.requests
        return r.arrivals is None and (r.starts is not None or len(self.sequences) < len(r))

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
            over += 0 <= s.index - self.requests.lead < len(self.requests)
            if self.more:
                self.submit(now)
        self._wake(replica, now)
        return over

    def _hand_over(self, s: Sequence, now: float) -> None:
        """The cache of ``s`` goes to the decode pool, which gives its first token to the user."""
        r = self.requests
        there = now + self.pools.transfer(s.input)
        i = (s.index - r.lead) % len(r)
        half = Sequence(s.index, s.arrival, s.input, r.outputs[i], r.steps[i])
        half.made, half.first, half.since, half.ready = 1.0, there, there, True
        half.preempted = s.preempted
        self.halves[s.index] = half
        if half.steps:
            self.push(there, "arrive", half)
        else:
            half.done = there
