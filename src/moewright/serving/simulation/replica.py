"""One replica of an engine: attention-dp ranks in step, each waiting for the slowest.

The ranks meet in every MoE layer, so a step takes what its fullest parts take: the most prompt tokens, pairs, decodes
and context of any rank. A row of steps that only decode is taken at once: their seconds are an arithmetic progression
(``grid.py``), up to the next end, the cache's limit, or an arrival, at which the row is cut.
"""

from __future__ import annotations

from math import sqrt

from moewright.serving.engines.engine import Engine
from moewright.serving.simulation.rank import Rank, Sequence
from moewright.serving.simulation.step_table import StepTable


class Span:
    """Steps in a row as they were planned: the first takes ``first`` seconds, each further one ``more`` more."""

    __slots__ = ("context", "decode", "first", "growth", "more", "pairs", "prefill", "sequences", "start", "steps")
    start: float
    steps: int
    first: float
    more: float
    prefill: float
    pairs: float
    decode: float
    context: float
    growth: float
    sequences: int

    def seconds(self, steps: int) -> float:
        return steps * self.first + self.more * steps * (steps - 1) / 2

    def cut(self, now: float) -> None:
        """End after the step that is under way at ``now``."""
        gone = now - self.start
        if self.more > 1e-15:
            half = self.first - self.more / 2
            n = (sqrt(half * half + 2 * self.more * max(0.0, gone)) - half) / self.more
        else:
            n = gone / self.first
        steps = max(1, int(n))
        while steps < self.steps and self.seconds(steps) < gone:
            steps += 1
        self.steps = min(steps, self.steps)


class Replica:
    """Ranks, and the span they are in (None: idle)."""

    def __init__(self, table: StepTable, engine: Engine, ranks: list[Rank], drafting: float = 1.0) -> None:
        self.table, self.engine, self.ranks, self.drafting = table, engine, ranks, drafting
        self.span: Span | None = None
        self.waits = False  # for an event that begins its next step
        self.version = 0
        self.itl: list[tuple[float, int]] = []  # seconds between tokens, and of how many
        self.log: list[tuple[float, ...]] = []  # a row a span, as in ``finish``

    @property
    def load(self) -> int:
        return sum(len(r.waiting) + len(r.prefilling) + len(r.decoding) for r in self.ranks)

    def take(self, s: Sequence, now: float) -> None:
        """Queue ``s`` at ``now`` on the rank with the fewest requests."""
        s.queued = now
        loads = [len(r.waiting) + len(r.prefilling) + len(r.decoding) for r in self.ranks]
        self.ranks[loads.index(min(loads))].waiting.append(s)

    def begin(self, now: float) -> float | None:
        """Plan what comes next; when it ends, or None where there is nothing to do."""
        plans = [r.plan() for r in self.ranks]
        span = Span()
        span.prefill, span.pairs, span.decode, span.context = (float(max(p[i] for p in plans)) for i in range(4))
        worked = span.prefill + span.decode
        if not worked:
            self.span = None
            return None
        share = sum(p[0] + p[2] for p in plans) / worked
        running = max(len(r.decoding) if r.decodes else 0 for r in self.ranks)
        prompts = max(len(r.chunks) for r in self.ranks)
        span.sequences = running
        if not span.prefill:
            span.decode = float(self.engine.padded(int(span.decode)))
        span.start, span.steps, span.growth, span.more = now, 1, 0.0, 0.0
        host = self.engine.host_step + self.engine.host_sequence * (running + prompts)

        def cost(context: float) -> float:
            tokens = share * (span.prefill + span.decode)
            gpu = self.table.seconds(span.prefill, span.pairs, span.decode, context, tokens)
            return gpu * self.drafting + host

        span.first = cost(span.context)
        if not span.prefill:
            self._lengthen(span)
            if span.steps > 1:
                last = cost(span.context + span.growth * (span.steps - 1))
                span.more = (last - span.first) / (span.steps - 1)
        self.span = span
        self.version += 1
        return now + span.seconds(span.steps)

    def _lengthen(self, span: Span) -> None:
        """As many steps in a row as are alike: none ends inside, the same rank stays the fullest, the mean context
        passes no point of the table, and the blocks suffice."""
        decoding = [r for r in self.ranks if r.decodes]
        steps = min(r.until_end() for r in decoding)
        top = max(decoding, key=lambda r: (r.context, r.growth))
        for r in decoding:
            if r.growth > top.growth:
                steps = min(steps, int((top.context - r.context) / (r.growth - top.growth)) + 1)
        span.growth = top.growth * top.width
        slope = span.growth / span.decode
        mean = span.context / span.decode
        nearest = self.table.next_context(mean)
        if slope > 0 and nearest - mean < steps * slope:
            steps = min(steps, int((nearest - mean) / slope) + 1)
        for r in decoding:
            steps = r.room(max(1, steps))
        span.steps = max(1, steps)

    def cut(self, now: float) -> float | None:
        """Something arrived at ``now``: the new end of a row of steps, or None where it stays."""
        span = self.span
        if span is None or span.steps == 1:
            return None
        before = span.steps
        span.cut(now)
        if span.steps == before:
            return None
        self.version += 1
        return span.start + span.seconds(span.steps)

    def finish(self) -> tuple[list[Sequence], list[Sequence]]:
        """The span is over: (sequences that gave their first token, sequences that ended)."""
        span = self.span
        assert span is not None
        self._note(span)
        seconds = span.seconds(span.steps)
        end, one = span.start + seconds, span.start + span.first
        firsts, ended = [], []
        for r in self.ranks:
            if r.decodes:
                self._intervals(r, one, (seconds - span.first) / max(1, span.steps - 1), span.steps - 1)
                r.last, r.fresh = end, []
            more, over = r.advance(span.steps, end)
            firsts += more
            ended += over
        self.span = None
        return firsts, ended

    def stop(self, now: float) -> None:
        """The run is over at ``now``: the steps under way are noted, and not finished."""
        if self.span is not None and now > self.span.start:
            self.cut(now)
            self._note(self.span)

    def _note(self, span: Span) -> None:
        """A row of the log."""
        seconds = span.seconds(span.steps)
        waiting = sum(len(r.waiting) for r in self.ranks)
        queued = waiting - sum(r.late(span.start) for r in self.ranks) / seconds
        running = sum(len(r.decoding) + len(r.prefilling) for r in self.ranks)
        cached = sum(
            r.context - len(r.decoding) + sum(s.input + s.made - s.left for s in r.prefilling) for r in self.ranks
        )
        starved = next((r.starved for r in self.ranks if r.starved), "")
        mean = span.context + span.growth * (span.steps - 1) / 2
        cause, prompts = STARVED.index(starved), sum(n for r in self.ranks for _, n in r.chunks)
        whole = (span.start, seconds, span.steps, span.prefill, span.pairs, span.decode, mean)
        self.log.append((*whole, waiting, running, cached, cause, prompts, queued))

    def _intervals(self, r: Rank, one: float, mean: float, rest: int) -> None:
        """Seconds between tokens: of the first step since each sequence's token before, of the rest their mean."""
        old = len(r.decoding) - len(r.fresh)
        if old:
            self.itl.append((one - r.last, old))
        self.itl += [(one - s.since, 1) for s in r.fresh]
        if rest:
            self.itl.append((mean, rest * len(r.decoding)))


#: why the head of a queue was not taken, by number in the log
STARVED = ("", "sequences", "kv", "budget")
#: columns of the log
START, SECONDS, STEPS, PREFILL, PAIRS, DECODE, CONTEXT, WAITING, RUNNING, CACHED, CAUSE, CHUNKS, QUEUED = range(13)
