"""One choice of a serving plan: strategies, concurrency, what the steady state and the simulation say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moewright.case.case import Case
from moewright.case.strategy import Strategy, StrategySpec
from moewright.serving.engines.deployment import Workers, engine_of, serving_of, worker_case
from moewright.serving.engines.kernel_prices import measured_model
from moewright.serving.simulation.outcome import Outcome
from moewright.serving.simulation.simulate import simulate_pools
from moewright.serving.step import StepModel
from moewright.serving.validation.predictions import served_range


@dataclass(frozen=True, slots=True)
class Choice:
    """``strategies``: one, or a prefill and a decode worker's; ``gpus`` of each pool, ``replicas`` in it.
    ``concurrency``: requests in flight that this is the prediction for: those ``asked`` for, or what the caches hold
    where that is fewer. Seconds ``ttft`` and ``tpot``; ``rate``: requests a second of the whole cluster;
    ``output_per_gpu``: of the GPUs used, beside which ``unused`` are idle. ``ranged``: whether measured results say how
    far off it may be."""

    name: str
    strategies: tuple[Strategy, ...]
    gpus: tuple[int, ...]
    replicas: tuple[int, ...]
    concurrency: int
    asked: int | None
    held: int
    ttft: float
    tpot: float
    rate: float
    output_per_gpu: float
    unused: int = 0
    ranged: bool = True
    simulation: Outcome | None = None

    def __hash__(self) -> int:
        return hash((self.name, self.concurrency, self.ttft, self.tpot))

    @property
    def holds(self) -> bool:
        """Whether the caches hold the concurrency asked for."""
        return self.asked is None or self.held >= self.asked

    @property
    def per_user(self) -> float:
        return 1 / self.tpot

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """TTFT and TPOT: the seconds that 80 % of measured results lay between where formulas predicted this."""
        if not self.ranged:
            return {}
        apart = len(self.strategies) > 1
        return {m: served_range(m, getattr(self, m), apart, tables=False) for m in ("ttft", "tpot")}

    @property
    def throughput(self) -> float:
        """Output tokens/s of a used GPU: simulated where it was, else by the formulas."""
        return self.output_per_gpu if self.simulation is None else self.simulation.output_per_gpu

    @property
    def of_user(self) -> float:
        """Tokens/s of a user: simulated where it was, else by the formulas."""
        found = None if self.simulation is None else self.simulation.per_user
        return self.per_user if found is None else found

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        return tuple(spec_of(s) for s in self.strategies)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of a simulation what its users see."""
        plain: dict[str, Any] = {
            "name": self.name,
            "gpus": sum(self.gpus),
            "gpus_unused": self.unused,
            "concurrency": self.concurrency,
            "concurrency_asked": self.asked,
            "concurrency_held": self.held,
            "holds": self.holds,
            "prediction": {
                "ttft": self.ttft,
                "tpot": self.tpot,
                "requests_per_second": self.rate,
                "output_per_gpu": self.output_per_gpu,
                "per_user": self.per_user,
                **{f"{metric}_range": list(ends) for metric, ends in self.ranges.items()},
            },
        }
        if len(self.strategies) == 1:
            plain["strategy"] = self.strategies[0].to_dict()
        else:
            for name, s, n, g in zip(("prefill", "decode"), self.strategies, self.replicas, self.gpus, strict=True):
                plain[name] = {"strategy": s.to_dict(), "replicas": n, "gpus": g}
        if self.simulation is not None:
            keys = (
                *("requests", "kernels", "ttft", "tpot", "itl", "e2e", "output_per_gpu", "per_user", "held", "running"),
                *("requests_per_second", "arrivals_per_second", "keeps_up", "ranges", "limits", "binds"),
            )
            found = self.simulation.to_dict()
            plain["simulation"] = {k: found[k] for k in keys}
        return plain


def spec_of(s: Strategy) -> StrategySpec:
    """``s`` as a user would write it in full."""
    a, e = s.attention, s.experts
    return StrategySpec(
        *(s.replicas, s.pp, s.micro_batches, s.overlap, a.dp, a.cp, a.tp, a.repeated),
        *(e.ep, e.tp, e.redundant, e.dispatch, e.gate),
    )


def simulated(case: Case, choice: Choice, most: int, tables: Path | None = None) -> Choice:
    """``choice`` with its simulation, of ``most`` requests at most; by measured kernels where ``tables`` has them."""
    s, engine = serving_of(case), engine_of(case)
    if s.requests is None or s.requests > most:
        wanted = max(200, min(most, 4 * choice.concurrency)) if s.concurrency else most
        s = replace(s, requests=min(wanted, s.requests or wanted))
    if s.concurrency:
        s = replace(s, concurrency=(choice.concurrency,))
    case = replace(case, serving=s)
    split = len(choice.strategies) == 2
    pools = []
    for strategy, count, gpus in zip(choice.strategies, choice.replicas, choice.gpus, strict=True):
        own = worker_case(case, gpus // count) if split else case
        model = measured_model(own, strategy, engine, tables) or StepModel.of(own, strategy, engine)
        pools.append(Workers(own, strategy, count, model))
    return replace(choice, simulation=simulate_pools(case, tuple(pools)))
