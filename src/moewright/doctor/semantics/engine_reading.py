"""The layout that an engine makes of its options, and what it says about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from moewright.case.strategy import Dispatch, StrategySpec
from moewright.case.train.train_strategy import TrainStrategy
from moewright.doctor.option_values import Fault, OptionValues
from moewright.doctor.shell.expansion import MARK, without_marks


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about an option that its user should know. ``stops``: the engine does not start for it."""

    option: str
    what: str
    source: str
    stops: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"option": self.option, "what": self.what, "source": self.source, "stops": self.stops}


@dataclass(frozen=True, slots=True)
class ServedLayout:
    """Sizes by what they do, whatever options set them: attention of ``attn_tp`` ranks in ``attn_dp`` groups (and
    ``attn_cp`` of a prompt, ``dcp`` of them sharing a decode's cache), experts over ``ep`` groups of ``etp`` ranks.
    ``world``: ranks of one instance, None where nothing says it; ``replicas``: instances that share no step."""

    attn_tp: int = 1
    attn_dp: int = 1
    attn_cp: int = 1
    dcp: int = 1
    pp: int = 1
    replicas: int = 1
    ep: int = 1
    etp: int = 1
    moe_dp: int = 1
    world: int | None = None

    @property
    def gpus_total(self) -> int | None:
        return None if self.world is None else self.world * self.replicas

    def to_dict(self) -> dict[str, Any]:
        """The sizes by their names; ``moe_dp`` only where there is any."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("world", "moe_dp")}
        if self.moe_dp > 1:
            plain["moe_dp"] = self.moe_dp
        return {**plain, "world": self.world, "gpus_total": self.gpus_total}

    @property
    def name(self) -> str:
        """The short name as everywhere: ``attn DP8×TP1 · moe EP8×TP1``."""
        attention = f"DP{self.attn_dp}" + (f"×CP{self.attn_cp}" if self.attn_cp > 1 else "") + f"×TP{self.attn_tp}"
        experts = f"EP{self.ep}×TP{self.etp}"
        dcp = f" · decode CP{self.dcp} inside TP" if self.dcp > 1 else ""
        return f"R{self.replicas} · PP{self.pp} · attn {attention} · moe {experts}{dcp}"

    @property
    def spec(self) -> StrategySpec:
        """The same as a strategy to price: tokens replicated where one attention group is the whole stage."""
        alone = self.attn_dp == 1 and self.attn_cp == 1 and self.attn_tp > 1
        return StrategySpec(
            replicas=self.replicas,
            pp=self.pp,
            dp=self.attn_dp,
            cp=self.attn_cp,
            tp=self.attn_tp,
            repeated=1,
            dcp=self.dcp,
            ep=self.ep,
            etp=self.etp,
            dispatch=Dispatch.REPLICATED if alone else Dispatch.ALL_TO_ALL,
        )


@dataclass(slots=True)
class EngineReading:
    """``model``: its name or path as given; ``overrides``: what the engine profile is set to otherwise
    (``EngineSpec``); ``longest``: tokens of the longest sequence that is served; ``drafts``: tokens guessed ahead;
    ``training``: the strategy of a training job, where its options and ranks tell it."""

    engine: str
    layout: ServedLayout
    settings: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    model: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    longest: int | None = None
    drafts: int = 0
    quantization: str | None = None
    dummy: bool = False
    trains: bool = False
    training: TrainStrategy | None = None

    def problem(self, option: str, what: str, source: str, stops: bool = False) -> None:
        """Note a problem, once."""
        new = Problem(option, what, source, stops)
        if new not in self.problems:
            self.problems.append(new)

    def take_faults(self, values: OptionValues) -> None:
        """What the option parser refuses, before all else."""
        self.problems = [*dict.fromkeys(map(_of_fault, values.faults)), *self.problems]

    @property
    def layout_name(self) -> str:
        """The short name of a training strategy, or of the layout."""
        return self.training.name if self.training is not None else self.layout.name

    def resized(self, **sizes: int) -> None:
        """Change the layout."""
        self.layout = replace(self.layout, **sizes)


def _of_fault(f: Fault) -> Problem:
    return Problem(without_marks(f.option), f.what, f.source, not f.passed)


def known_text(text: str | None) -> str | None:
    """``text``, or None where it hangs on what is not known."""
    return None if text is None or MARK.search(text) else text
