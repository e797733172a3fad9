"""One choice of a serving plan: strategies, concurrency, what the steady state and the simulation say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from moewright.case.strategy import Strategy, StrategySpec
from moewright.serving.simulation.outcome import Outcome
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
    def of_cluster(self) -> float:
        """Output tokens/s of a GPU of the cluster, idle ones too."""
        used = sum(self.gpus)
        return self.output_per_gpu * used / (used + self.unused)

    @property
    def seen(self) -> Choice:
        """The choice with the figures of its simulation, where it has one."""
        o = self.simulation
        if o is None:
            return self
        tpot = self.tpot if o.tpot is None else o.tpot.mean
        return replace(self, ttft=o.ttft.mean, tpot=tpot, output_per_gpu=o.output_per_gpu)

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
        return tuple(s.spec for s in self.strategies)

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
            "output_per_cluster_gpu": self.seen.of_cluster,
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
                *(
                    "requests",
                    "kernels",
                    "origins",
                    "derived",
                    "ttft",
                    "tpot",
                    "itl",
                    "e2e",
                    "output_per_gpu",
                    "per_user",
                    "held",
                    "running",
                ),
                *("requests_per_second", "arrivals_per_second", "keeps_up", "ranges", "limits", "binds"),
            )
            found = self.simulation.to_dict()
            plain["simulation"] = {k: found[k] for k in keys}
            plain["memory"] = found["memory"]
            for pool in self.simulation.pools if len(self.strategies) > 1 else ():
                plain[pool.phase]["memory"] = pool.memory
        return plain
