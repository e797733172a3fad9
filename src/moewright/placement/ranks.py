"""Which rank is where: coordinates of every rank, its layers, its groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.strategy import Strategy
from moewright.case.strategy import stage_layers as stage_layers


@dataclass(frozen=True, slots=True)
class Ranks:
    """Coordinates of every rank, each an int array of shape [gpus]."""

    replica: np.ndarray
    stage: np.ndarray
    repeat: np.ndarray
    dp: np.ndarray
    cp: np.ndarray
    tp: np.ndarray
    ep: np.ndarray
    etp: np.ndarray


def rank_coordinates(s: Strategy) -> Ranks:
    """Rank = ((replica · pp + stage) · repeated·dp·cp·tp) + …, the last coordinate fastest."""
    a, e = s.attention, s.experts
    rank = np.arange(s.gpus)
    local = rank % s.stage
    outer = rank // s.stage
    return Ranks(
        replica=outer // s.pp,
        stage=outer % s.pp,
        repeat=local // (a.dp * a.cp * a.tp),
        dp=local // (a.cp * a.tp) % a.dp,
        cp=local // a.tp % a.cp,
        tp=local % a.tp,
        ep=local // e.tp,
        etp=local % e.tp,
    )


def groups_of(s: Strategy) -> dict[str, np.ndarray]:
    """Kind of group → rank numbers, shape [groups, size]; every rank is in exactly one row of each kind."""
    a, e = s.attention, s.experts
    stages = np.arange(s.gpus).reshape(s.replicas, s.pp, s.stage)
    attention = stages.reshape(-1, a.repeated * a.dp, a.cp, a.tp)
    experts = stages.reshape(-1, e.ep, e.tp)
    return {
        "tp": attention.reshape(-1, a.tp),
        "dcp": attention.reshape(-1, a.dcp),
        "cp": np.moveaxis(attention, 2, -1).reshape(-1, a.cp),
        "dp": np.moveaxis(attention, 1, -1).reshape(-1, a.repeated * a.dp),
        "ep": np.moveaxis(experts, 1, -1).reshape(-1, e.ep),
        "etp": experts.reshape(-1, e.tp),
        "pp": np.moveaxis(stages, 1, -1).reshape(-1, s.pp),
        "stage": stages.reshape(-1, s.stage),
        "replica": stages.reshape(s.replicas, -1),
    }
