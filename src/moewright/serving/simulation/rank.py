"""One attention-dp rank of an engine: its queue, its running sequences, its KV blocks, and what it does next.

Decoding sequences all advance by one step whenever the rank decodes, so a counter of those steps and a heap of the
counts at which they end are enough: a row of steps in which nothing else happens is taken at once.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from moewright.serving.engines.engine import Engine

#: share of the blocks kept free at admission where nothing is reserved, so that a preempted sequence does not come
#: back at once (vLLM's block manager: watermark 0.01)
WATERMARK = 0.01


class Sequence:
    """A request inside an engine. ``left``: tokens to prefill; ``steps``: decode steps to come; ``rate``: tokens a
    decode step gives; ``made``: tokens of the answer so far; ``ready``: its prompt's cache came from elsewhere;
    ``since``: when it gave its latest token outside a decode step; ``queued``: when it last came to a queue."""

    __slots__ = (
        *("arrival", "context", "done", "first", "index", "input", "left", "made", "output", "preempted", "queued"),
        *("rate", "ready", "since", "start", "steps", "ticket"),
    )

    def __init__(self, index: int, arrival: float, tokens: int, output: int, steps: int) -> None:
        self.index, self.arrival, self.input, self.output, self.steps = index, arrival, tokens, output, steps
        self.rate = (output - 1) / steps if steps else 0.0
        self.left = tokens
        self.made = 0.0
        self.context = 0.0  # keys of its next decode step, at ``start`` of the rank's counter
        self.start = 0
        self.ticket = -1
        self.ready = False
        self.since = self.queued = arrival
        self.first = -1.0
        self.done = -1.0
        self.preempted = 0


class Rank:
    """State and decisions of one rank. ``capacity``: KV blocks. ``width``: tokens a decode step computes for a
    sequence (1 + drafts)."""

    def __init__(self, engine: Engine, capacity: int, width: int = 1, hit: float = 0.0) -> None:
        self.engine, self.capacity, self.width, self.hit = engine, capacity, width, hit
        self.most = min(engine.max_num_seqs, max(1, engine.max_num_batched_tokens // width))
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.decoding: dict[int, Sequence] = {}  # by index, in order of their start
        self.ends: list[tuple[int, int, Sequence]] = []  # (count at the end, ticket, sequence)
        self.decoded = 0  # decode steps so far
        self.context = 0.0  # keys of the next decode step, all sequences
        self.growth = 0.0  # tokens that a decode step adds
        self.final = 0  # blocks when all that run have come to their ends
        self.tickets = 0
        self.chunks: list[tuple[Sequence, int]] = []
        self.decodes = False
        self.preemptions = 0
        self.last = 0.0  # when it last gave tokens to its decoding sequences
        self.fresh: list[Sequence] = []  # began to decode since
        self.starved = ""  # why the queue's head was not taken: sequences, kv or budget

    # --- blocks ---

    def blocks(self, tokens: float) -> int:
        return -int(-tokens // self.engine.kv_block)

    def _last(self, s: Sequence) -> int:
        """Blocks of ``s`` at its end: the last token is never cached."""
        return self.blocks(s.input + s.output - 1)

    def used(self, ahead: int = 0) -> int:
        """Blocks held, when ``ahead`` more decode steps are taken (each holds its new tokens' place)."""
        size, now = self.engine.kv_block, self.decoded + ahead
        held = 0
        for s in self.decoding.values():
            held -= int(-(s.context - 1 + s.rate * (now - s.start)) // size)
        for s in self.prefilling:
            held += self.blocks(s.input + s.made)
        return held

    @property
    def tight(self) -> bool:
        """Whether the running sequences could outgrow the cache before they end."""
        return self.final > self.capacity

    def late(self, start: float) -> float:
        """Seconds after ``start`` at which those that wait came, added up: new ones are last in the queue."""
        total = 0.0
        for s in reversed(self.waiting):
            if s.queued <= start:
                break
            total += s.queued - start
        return total

    # --- decisions ---

    @property
    def busy(self) -> bool:
        return bool(self.decoding or self.prefilling or self.waiting)

    def plan(self) -> tuple[int, float, int, float]:
        """What the rank does in the next step: prompt tokens, their pairs, decode sequences, their context."""
        self.chunks, self.starved = [], ""
        evicted = self._make_room() if self.decoding and self.tight else 0
        e = self.engine
        width = self.width * len(self.decoding)
        budget = e.max_num_batched_tokens - (width if e.mixed else 0)
        most = budget
        for s in self.prefilling:
            budget = self._chunk(s, budget, most)
        while self.waiting and not evicted:
            s = self.waiting[0]
            if not self._admissible(s):
                break
            if s.ready:
                self.start(s)
            else:
                s.left = int(-(-(s.input + s.made) // 1)) - self._cached(s)
                after = self._chunk(s, budget, most)
                if after == budget:
                    self.starved = "budget"
                    break
                budget = after
                self.prefilling.append(s)
            self.waiting.popleft()
            self.final += self._last(s)
        width = self.width * len(self.decoding)
        tokens = sum(n for _, n in self.chunks)
        pairs = sum(n * (s.input + s.made - s.left) + n * n / 2 for s, n in self.chunks)
        self.decodes = bool(self.decoding) and (e.mixed or not self.chunks)
        if not self.decodes:
            return tokens, pairs, 0, 0.0
        return tokens, pairs, width, self.context * self.width

    def _chunk(self, s: Sequence, budget: int, most: int) -> int:
        """Take what of ``s`` fits ``budget``; the budget left. Whole prompts only where the engine does not divide
        them, save those that no step could take whole."""
        n = min(s.left, budget)
        if n <= 0 or (not self.engine.chunked_prefill and n < s.left <= most):
            return budget
        self.chunks.append((s, n))
        return budget - n

    def _cached(self, s: Sequence) -> int:
        """Tokens of the prompt that the prefix cache has, in whole blocks; one is always computed."""
        size = self.engine.kv_block
        return min(int(self.hit * s.input) // size * size, s.input - 1)

    def _admissible(self, s: Sequence) -> bool:
        if len(self.decoding) + len(self.prefilling) >= self.most:
            self.starved = "sequences"
            return False
        last = self._last(s)
        if self.final + last <= self.capacity:
            return True
        reserve = self.engine.reserve
        if reserve < 1:
            used, need = self.used(1), self.blocks(s.input + s.made + 1)
            spare = reserve * (self.final - used + last - need) if reserve else WATERMARK * self.capacity
            if used + need + max(0.0, spare) <= self.capacity:
                return True
        self.starved = "kv"
        return False

    def _make_room(self) -> int:
        """Preempt the youngest until the next decode step's blocks are there; how many."""
        evicted = 0
        while self.used(1) > self.capacity and len(self.decoding) + len(self.prefilling) > 1:
            self._preempt(self.prefilling[-1] if self.prefilling else next(reversed(self.decoding.values())))
            evicted += 1
        self.preemptions += evicted
        return evicted

    def _preempt(self, s: Sequence) -> None:
        """Its blocks are freed; it waits first in the queue, to be computed again with what it has made."""
        if s in self.prefilling:
            self.prefilling.remove(s)
        else:
            self._stop(s)
            gone = self.decoded - s.start
            s.made += s.rate * gone
            s.steps -= gone
            if s in self.fresh:
                self.fresh.remove(s)
        s.preempted += 1
        s.ticket, s.ready = -1, False
        self.final -= self._last(s)
        self.waiting.appendleft(s)

    # --- what happened ---

    def until_end(self) -> int:
        """Decode steps until the first sequence ends."""
        while self.ends and self.ends[0][2].ticket != self.ends[0][1]:
            heappop(self.ends)
        return self.ends[0][0] - self.decoded if self.ends else 1 << 60

    def room(self, most: int) -> int:
        """How many decode steps in a row, up to ``most``, keep within the blocks (at least 1)."""
        if not self.tight or self.used(most) <= self.capacity:
            return most
        low, high = 1, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.used(middle) <= self.capacity else (low, middle)
        return low

    def advance(self, steps: int, now: float) -> tuple[list[Sequence], list[Sequence]]:
        """``steps`` steps as planned are over: (sequences that gave their first token, sequences that ended)."""
        firsts, ended = [], []
        if self.decodes:
            self.decoded += steps
            self.context += self.growth * steps
            while self.until_end() <= 0:
                _, _, s = heappop(self.ends)
                self._stop(s)
                s.made, s.done = float(s.output), now
                self.final -= self._last(s)
                ended.append(s)
        for s, n in self.chunks:
            s.left -= n
            if s.left:
                continue
            self.prefilling.remove(s)
            s.made, s.since = min(float(s.output), s.made + 1), now
            if s.first < 0:
                s.first = now
                firsts.append(s)
            elif s.steps:
                s.steps -= 1  # computed again, it gave a decode step's token
            if s.steps:
                self.start(s)
            else:
                s.made, s.done = float(s.output), now
                self.final -= self._last(s)
                ended.append(s)
        self.chunks = []
        return firsts, ended

    def start(self, s: Sequence) -> None:
        """``s`` has its prompt's cache, and decodes from the next step on."""
        self.tickets += 1
        s.ticket, s.start, s.context = self.tickets, self.decoded, s.input + s.made
        self.decoding[s.index] = s
        self.fresh.append(s)
        self.context += s.context
        self.growth += s.rate
        heappush(self.ends, (self.decoded + s.steps, s.ticket, s))

    def _stop(self, s: Sequence) -> None:
        del self.decoding[s.index]
        s.ticket = -1
        self.context -= s.context + s.rate * (self.decoded - s.start)
        self.growth -= s.rate
        if not self.decoding:
            self.context = self.growth = 0.0  # no rounding is carried on
