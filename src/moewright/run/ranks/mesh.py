"""Where a rank stands under a strategy, and the process groups it is in."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from moewright.case.strategy import Strategy
from moewright.placement.ranks import Ranks, rank_coordinates


@dataclass(frozen=True, slots=True)
class Place:
    """One rank's coordinates and groups. ``stage``: all ranks of its pipeline stage. ``ids``: of all ranks, on the
    host, for ids that go back from the last stage to the first; None where the world's own is there. ``dcp``: ranks
    that keep parts of the same sequences' caches; None where one keeps them whole."""

    strategy: Strategy
    rank: int
    coordinates: Ranks
    tp: dist.ProcessGroup
    cp: dist.ProcessGroup
    ep: dist.ProcessGroup
    etp: dist.ProcessGroup
    stage: dist.ProcessGroup
    ids: dist.ProcessGroup | None = None
    dcp: dist.ProcessGroup | None = None

    def at(self, name: str) -> int:
        """This rank's coordinate: replica, stage, repeat, dp, cp, tp, ep or etp."""
        return int(getattr(self.coordinates, name)[self.rank])

    @property
    def previous(self) -> int:
        """The rank of the same place in the stage before."""
        return self.rank - self.strategy.stage

    @property
    def next(self) -> int:
        """The rank of the same place in the stage after."""
        return self.rank + self.strategy.stage


def join(s: Strategy, device: str = "cpu") -> Place:
    """The place of this process in the initialised world, whose size is ``s.gpus``.

    The same ranks are folded twice, as one mesh for attention and one for experts, so that a rank's number
    means the same in both.
    """
    a, e = s.attention, s.experts
    outer = (s.replicas, s.pp)
    attention: DeviceMesh = init_device_mesh(
        device, (*outer, a.repeated * a.dp, a.cp, a.tp), mesh_dim_names=("replica", "pp", "dp", "cp", "tp")
    )
    experts: DeviceMesh = init_device_mesh(device, (*outer, e.ep, e.tp), mesh_dim_names=("replica", "pp", "ep", "etp"))
    whole: DeviceMesh = init_device_mesh(device, (*outer, s.stage), mesh_dim_names=("replica", "pp", "stage"))
    return Place(
        s,
        dist.get_rank(),
        rank_coordinates(s),
        attention.get_group("tp"),
        attention.get_group("cp"),
        experts.get_group("ep"),
        experts.get_group("etp"),
        whole.get_group("stage"),
        # NCCL passes messages between two ranks in the order they were asked for: ids would wait for hidden states that
        # wait for them
        dist.new_group(backend="gloo") if device == "cuda" and s.pp > 1 else None,
        _split_group(s, device) if a.dcp > 1 else None,
    )


def _split_group(s: Strategy, device: str) -> dist.ProcessGroup:
    """This rank's group of dcp ranks next to each other."""
    dcp = s.attention.dcp
    mesh: DeviceMesh = init_device_mesh(device, (s.gpus // dcp, dcp), mesh_dim_names=("rest", "dcp"))
    return mesh.get_group("dcp")
