"""Where the reference's routers send tokens: bytes of dispatch and combine, copies on each rank's experts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from moewright.case.model import MoeFfn
from moewright.case.train.train_strategy import Dispatcher, TrainStrategy
from moewright.placement.stage_orders import stage_and_chunk
from moewright.run.train.train_place import TrainPlace, positions_of
from moewright.run.train.train_rank import StepJob, schedule_of


def placed(s: TrainStrategy, rank: int) -> TrainPlace:
    """A rank's coordinates, without groups."""
    none: Any = None
    return TrainPlace(s, rank, none, none, none, none, none, none, none)


def _moe_layers(job: StepJob) -> list[tuple[int, MoeFfn]]:
    layers = enumerate(job.model.layers)
    return [(i, layer.ffn) for i, layer in layers if isinstance(layer.ffn, MoeFfn)]


def _own(job: StepJob, choice: Tensor, p: TrainPlace) -> Tensor:
    """The choices [tokens, batch, top_k] of a rank's own tokens, all micro-batches."""
    size = len(job.ids) // job.strategy.dp
    return choice[positions_of(p, job.sequence), p.at("dp") * size : (p.at("dp") + 1) * size]


def _first(p: TrainPlace) -> int:
    """The first rank of those that hold all experts together with this one."""
    s = p.strategy
    return p.rank - p.rank % p.ranks + (p.rank % p.ranks) // (s.ep * s.etp) * s.ep * s.etp


def _there(job: StepJob, layer: int, p: TrainPlace) -> bool:
    return stage_and_chunk(job.places[layer], job.strategy.pp, schedule_of(job.strategy))[0] == p.stage


def exchanged_bytes(job: StepJob, chosen: list[Tensor]) -> dict[str, list[int]]:
    """Bytes that leave each rank in dispatch and combine, forward and backward: a token goes once to each other rank of
    ep that has any of its experts, or once for each of these, and comes back."""
    s = job.strategy
    if s.ep == 1 or s.dispatcher is Dispatcher.ALL_GATHER:
        return {}
    width = job.model.hidden_size * 4
    found: dict[str, list[int]] = defaultdict(lambda: [0] * s.gpus)
    for (i, ffn), choice in zip(_moe_layers(job), chosen, strict=True):
        own = job.tuning.of_layer(job.model, i)
        again = 2 if {"full", "moe"} & set(s.recompute) and own.passes else 1
        back = own.reaches(5.0)
        combined = back or own.has("router") or own.has("experts")
        for rank in range(s.gpus):
            p = placed(s, rank)
            if not _there(job, i, p):
                continue
            for other, rows in enumerate(_to_ranks(_own(job, choice, p), ffn, s)):
                if other != p.at("ep"):
                    there = _first(p) + other * s.etp + p.at("etp")
                    found["dispatch"][rank] += again * rows * width
                    found["combine"][there] += again * rows * width
                    found["combine_gradient"][rank] += combined * rows * width
                    found["dispatch_gradient"][there] += back * rows * width
    return {name: bytes_ for name, bytes_ in found.items() if any(bytes_)}


def _to_ranks(mine: Tensor, ffn: MoeFfn, s: TrainStrategy) -> list[int]:
    """Rows that go to each rank of ep."""
    to = mine // (ffn.experts // s.ep)
    if s.dispatcher is Dispatcher.ALL_TO_ALL:
        return torch.bincount(to.flatten(), minlength=s.ep).tolist()
    once = torch.zeros(*mine.shape[:2], s.ep, dtype=torch.bool).scatter(2, to, True)
    return once.sum((0, 1)).tolist()


def expert_copies(job: StepJob, chosen: list[Tensor]) -> dict[int, list[list[int]]]:
    """Layer → copies of tokens on each rank's experts, by micro-batch: of the tokens of all ranks that hold the experts
    with it."""
    s = job.strategy
    found: dict[int, list[list[int]]] = {}
    for (i, ffn), choice in zip(_moe_layers(job), chosen, strict=True):
        found[i] = [[0] * job.micro for _ in range(s.gpus)]
        for rank in range(s.gpus):
            p = placed(s, rank)
            if not _there(job, i, p):
                continue
            for member in range(_first(p), _first(p) + s.ep * s.etp):
                own = _own(job, choice, placed(s, member)) // (ffn.experts // s.ep) == p.at("ep")
                for m, batch in enumerate(torch.split(own, s.micro_batch, 1)):
                    found[i][rank][m] += int(batch.sum())
    return found
