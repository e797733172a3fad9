"""ClusterSpec: a device, how many of them, and the two tiers of network between them."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.case.series import Profile


@dataclass(frozen=True, slots=True)
class Kernels:
    """What shapes do to kernels (``cost.efficiency``). ``cores``: streaming multiprocessors; ``depth``: the K at
    which a product reaches half the delivered rate; ``expert_kernels``: kernels of one experts operation;
    ``latent_decode``: fixed seconds of an MLA decode kernel."""

    cores: int
    depth: float
    expert_kernels: int
    latent_decode: float


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator. ``flops``: matrix unit (fp4, fp8, int8, bf16, fp16, fp32) → dense peak FLOPs/s.
    ``mfu`` and ``bandwidth_utilization`` are what of the peaks a kernel gets; ``launch`` is the fixed
    seconds of starting one operation; ``price`` is currency per GPU-hour. ``kernels``: None where a user gave the
    efficiencies, which then are the only ones. ``measured``: a profile's points, which take the
    place of all rates."""

    name: str
    flops: dict[str, float]
    memory: float
    memory_bandwidth: float
    mfu: float = 1.0
    bandwidth_utilization: float = 1.0
    launch: float = 0.0
    price: float | None = None
    source: str = ""
    kernels: Kernels | None = None
    measured: Profile | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of network, per GPU and direction: bytes/s and seconds of one message. ``exchange``: what dispatch
    and combine kernels reach of that bandwidth; ``start``: seconds more that a library's collective, dispatch or
    combine takes before its first message. ``sharp``: bus bandwidth of a large all-reduce that the
    switch itself adds up (NVLink SHARP); 0: it does not."""

    bandwidth: float
    latency: float
    exchange: float = 1.0
    start: float = 0.0
    sharp: float = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """``gpus`` devices, ``gpus_per_node`` to a node; ``node`` links them inside, ``fabric`` across.
    ``forwarding``: dispatch sends a token once to each node and forwards it there over the node's links
    (as DeepEP's normal kernels do) instead of once to each rank; decode never does (its low-latency
    kernels). ``reserve`` is the share of memory kept free for the runtime. ``links``: a ``switch`` gives every pair
    the whole of ``node``'s bandwidth; in a ``mesh`` of ``board`` devices each has one link to each other, so that a
    group of n has n − 1 of them; a ``torus`` has neighbours only. ``nodes``: their sizes where they differ."""

    name: str
    gpus: int
    gpus_per_node: int
    device: Device
    node: Tier
    fabric: Tier
    forwarding: bool = False
    reserve: float = 0.1
    source: str = ""
    links: str = "switch"
    board: int = 0  # devices of a whole board; 0: gpus_per_node
    nodes: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """GPUs of every node, in the order of their ranks; the last may be a part of one."""
        if self.nodes:
            return self.nodes
        whole, rest = divmod(self.gpus, self.gpus_per_node)
        return (self.gpus_per_node,) * whole + ((rest,) if rest else ())

    gpus_per_host: int = 0  # of an operating system; 0: gpus_per_node

    @property
    def host_gpus(self) -> int:
        """GPUs that a process of a node's operating system sees: fewer than a node's where NVLink joins trays."""
        return min(self.gpus_per_host or self.gpus_per_node, self.gpus_per_node)
