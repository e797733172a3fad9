"""Which process stands on which node: instances of the pools, packed onto the nodes of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.launch.launch_plan import LaunchPlan, Pool

#: ports of the servers on a node, and of what they say to one another
HTTP_PORT = 8000
RENDEZVOUS_PORT = 20000
TRANSFER_PORT = 5600
BOOTSTRAP_PORT = 8998
ROUTER_PORT = 9000


@dataclass(frozen=True, slots=True)
class Process:
    """A process of an engine: the part of ``instance`` of a pool on one node. ``rank``: of the node in the instance, of
    ``nodes`` nodes (a number, or a variable that tells it). ``node``: of the cluster; ``gpus`` of it from
    ``first_gpu`` on. ``head``: address of the instance's first node. ``slot``: servers on the node before it."""

    pool: Pool
    instance: int
    rank: str
    nodes: int
    node: int
    first_gpu: int
    gpus: int
    head: str
    host: str
    slot: int = 0

    @property
    def leads(self) -> bool:
        """Whether clients speak to this process."""
        return self.rank == "0"

    @property
    def port(self) -> int:
        return HTTP_PORT + self.slot

    @property
    def name(self) -> str:
        return f"{self.pool.role}-{self.instance}" + ("" if self.nodes == 1 else f"-{self.rank}")

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self.host}:{self.port}"


def address(node: int) -> str:
    """The variable that holds the address of a node."""
    return f"${{NODE_{node}}}"


def processes(plan: LaunchPlan) -> tuple[Process, ...]:
    """Every process of ``plan``: whole-node instances first, the others packed from the largest on, so that sizes
    which divide a node fill it."""
    size = plan.case.cluster.host_gpus
    instances = [(pool, i) for pool in plan.pools for i in range(pool.count)]
    made: list[Process] = []
    node, used, slots = 0, 0, 0
    for pool, i in sorted(instances, key=lambda x: -x[0].gpus):
        if pool.gpus >= size:
            count = pool.nodes(size)
            for rank in range(count):
                here = node + rank
                made.append(Process(pool, i, str(rank), count, here, 0, size, address(node), address(here), 0))
            node += count
            continue
        if used + pool.gpus > size:
            node, used, slots = node + 1, 0, 0
        made.append(Process(pool, i, "0", 1, node, used, pool.gpus, address(node), address(node), slots))
        used, slots = used + pool.gpus, slots + 1
    order = {id(pool): n for n, pool in enumerate(plan.pools)}
    return tuple(sorted(made, key=lambda p: (order[id(p.pool)], p.instance, p.rank)))


def nodes_used(plan: LaunchPlan) -> int:
    return 1 + max(p.node for p in processes(plan))
