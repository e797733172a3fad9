"""Why an engine cannot run a plan, and what holds for all engines."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from moewright.case.cluster import Cluster
from moewright.case.model import LatentAttention, ModelSpec, SoftmaxAttention
from moewright.case.strategy import Dispatch, Gate, Strategy
from moewright.cost.block_cuts import block_cuts
from moewright.cost.table import Table
from moewright.launch.launch_plan import LaunchPlan, Pool
from moewright.planning.naming import strategy_name

#: devices with the kernels of DeepEP (Hopper and later: its README, "Requirements")
DEEPEP_DEVICES = ("h[12]00*", "h20*", "h800*", "gh200*", "b[23]00*", "gb[23]00*")
#: devices with those of MoRI
MORI_DEVICES = ("mi3*",)
#: tokens of a rank that DeepEP's low-latency buffers hold at most (sglang: "<= 1024" in token_dispatcher/deepep.py)
LOW_LATENCY_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """``feature`` of the plan that an engine has not, why, and where that is written."""

    feature: str
    reason: str
    source: str = ""

    @property
    def text(self) -> str:
        return f"{self.feature}: {self.reason}"


def on(device: str, patterns: tuple[str, ...]) -> bool:
    """Whether the device's name fits one of ``patterns``."""
    return any(fnmatchcase(device.lower(), pattern) for pattern in patterns)


def has_experts(plan: LaunchPlan) -> bool:
    return plan.case.model.moe is not None


def exchanged(strategy: Strategy) -> bool:
    """Whether tokens are dispatched to experts on other ranks, one copy a destination."""
    return strategy.experts.dispatch is Dispatch.ALL_TO_ALL and strategy.stage > 1


def common_refusals(plan: LaunchPlan, pool: Pool) -> list[Refusal]:
    """What no serving engine has, and groups that do not fit the nodes."""
    s, found = pool.strategy, []
    if s.attention.repeated > 1:
        found.append(
            Refusal(
                f"attention repeated ×{s.attention.repeated}",
                "no serving engine computes the same attention in several groups; attention dp takes their place",
            )
        )
    if s.experts.gate is Gate.LEADER:
        found.append(Refusal("gate-leader", "every rank of an engine routes its tokens itself"))
    table = Table.one(s, s.replicas * s.attention.dp)
    cuts = [Refusal(strategy_name(s, plan.case.model), reason) for _, reason in block_cuts(plan.case.model, table)]
    return [*found, *cuts, *_node_refusals(pool, plan.case.cluster)]


def _node_refusals(pool: Pool, cluster: Cluster) -> list[Refusal]:
    node = cluster.host_gpus
    if (pool.gpus > node and pool.gpus % node) or (pool.gpus < node and node % pool.gpus):
        return [
            Refusal(
                f"{pool.gpus} GPUs an instance",
                f"they are neither whole nodes of {node} nor a part that divides one, which launchers need",
            )
        ]
    return []


def shared_heads(model: ModelSpec) -> int | None:
    """The fewest key and value heads of a layer that tensor parallelism divides; None where the cache is latent."""
    heads = [x.attention.kv_heads for x in model.layers if isinstance(x.attention, SoftmaxAttention)]
    latent = any(isinstance(x.attention, LatentAttention) for x in model.layers)
    return min(heads) if heads and not latent else None


def decode_cp_refusals(plan: LaunchPlan, pool: Pool, source: str) -> list[Refusal]:
    """Decode context parallelism works inside attention tp, where ranks hold the same heads."""
    tp, heads = pool.strategy.attention.tp, shared_heads(plan.case.model)
    if pool.dcp == 1:
        return []
    if tp % pool.dcp:
        return [Refusal(f"decode cp {pool.dcp}", f"it must divide the attention tp of {tp}", source)]
    if heads is not None and pool.dcp > max(1, tp // heads):
        return [
            Refusal(
                f"decode cp {pool.dcp}",
                f"{heads} KV heads over tp {tp} leave {max(1, tp // heads)} ranks with the same heads to share a cache",
                source,
            )
        ]
    return []
