"""A serving workload: requests of some lengths, how they arrive, and the engine that serves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log
from pathlib import Path
from statistics import NormalDist

from moewright.case.strategy import StrategySpec

#: a file for each engine that is known
ENGINE_FILES = Path(__file__).parent / "catalogue" / "engines"
#: their names
ENGINES = tuple(sorted(path.stem for path in ENGINE_FILES.glob("*.yaml")))


#: concurrencies that ``auto`` stands for
AUTO = tuple(1 << i for i in range(15))


class Start(StrEnum):
    """How the clients of a closed loop begin."""

    SPREAD = "spread"  # one after another over the time of a request; they go on until the last counted one is done
    TOGETHER = "together"  # all at once, and none follows the last: ``--request-rate inf --max-concurrency N``


class Spread(StrEnum):
    FIXED = "fixed"
    UNIFORM = "uniform"  # from ``low`` to ``high`` times the nominal length
    LOGNORMAL = "lognormal"  # of mean ``nominal``; ``sigma`` of the logarithm
    LIST = "list"  # ``values``, taken in turn


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a prompt, or of an answer."""

    spread: Spread
    nominal: float
    low: float = 1.0
    high: float = 1.0
    sigma: float = 0.0
    values: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The mean length."""
        return self.nominal * (self.low + self.high) / 2 if self.spread is Spread.UNIFORM else self.nominal

    def quantiles(self, count: int = 9) -> list[float]:
        """So many lengths that stand for all, each for as many requests."""
        parts = [(i + 0.5) / count for i in range(count)]
        match self.spread:
            case Spread.FIXED:
                return [self.nominal]
            case Spread.UNIFORM:
                return [self.nominal * (self.low + (self.high - self.low) * p) for p in parts]
            case Spread.LOGNORMAL:
                normal = NormalDist(log(self.nominal) - self.sigma**2 / 2, self.sigma or 1e-9)
                return [exp(normal.inv_cdf(p)) for p in parts]
        return [float(sorted(self.values)[int(p * len(self.values))]) for p in parts]

    @property
    def most(self) -> int:
        """A length that (almost: 1 in 1,000 of a lognormal) none exceeds."""
        if self.spread is Spread.LIST:
            return max(self.values)
        if self.spread is Spread.LOGNORMAL:
            return int(self.nominal * exp(3.1 * self.sigma - self.sigma**2 / 2)) + 1
        return int(self.nominal * self.high + 0.5)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests read from a file: seconds of arrival, prompt and answer tokens, a row each."""

    arrivals: tuple[float, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Speculative:
    """``drafts`` tokens guessed in a step; each is right with ``acceptance`` where all before it were."""

    drafts: int
    acceptance: float

    @property
    def tokens(self) -> float:
        """Expected tokens of a step: 1 + a + a² + … + a^drafts (Leviathan et al., arXiv 2211.17192, eq. 1)."""
        return sum(self.acceptance**i for i in range(self.drafts + 1))


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of one phase: the strategy of one, and how many. None: the planner chooses."""

    gpus: int | None = None
    strategy: StrategySpec | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Disaggregated:
    """Prefill and decode on GPUs of their own; the KV cache travels between them."""

    prefill: Pool = field(default_factory=Pool)
    decode: Pool = field(default_factory=Pool)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine by name, with what a user sets otherwise than its profile does."""

    name: str
    overrides: tuple[tuple[str, float | bool | str | tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """``concurrency``: requests that a closed loop of clients keeps in flight over the whole cluster (several:
    to choose from), or ``rate``: arrivals a second, gamma-distributed gaps of shape ``burstiness`` (1: Poisson,
    less is burstier). A ``trace`` has arrivals of its own, unless a concurrency is given."""

    input: Lengths
    output: Lengths
    concurrency: tuple[int, ...] = ()
    rate: float | None = None
    burstiness: float = 1.0
    requests: int | None = None
    seed: int = 0
    prefix_cache_hit: float = 0.0
    speculative: Speculative | None = None
    disaggregated: Disaggregated | None = None
    engine: EngineSpec = EngineSpec("vllm")
    trace: Trace | None = None
    start: Start = Start.SPREAD

    @property
    def automatic(self) -> bool:
        """Whether the concurrency is left to the planner (``auto``)."""
        return self.concurrency == AUTO

    @property
    def arriving(self) -> float | None:
        """Requests that arrive a second; None of a closed loop."""
        if self.concurrency or self.trace is None:
            return self.rate
        times = self.trace.arrivals
        return max(1, len(times) - 1) / max(times[-1] - times[0], 1e-9)

    @property
    def steps(self) -> float:
        """Mean decode steps of a request: its answer without the first token, which prefill gives."""
        each = self.speculative.tokens if self.speculative else 1.0
        return max(1.0, (self.output.mean - 1) / each)

    @property
    def per_step(self) -> float:
        """Mean tokens of a decode step."""
        return max(1.0, self.output.mean - 1) / self.steps

    @property
    def resident(self) -> float:
        """Mean tokens that a request in its decode phase holds in the KV cache."""
        return self.input.mean + self.output.mean / 2

    @property
    def longest(self) -> int:
        return self.input.most + self.output.most
