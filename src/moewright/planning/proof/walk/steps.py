"""One operation of a walked rank, and how the rank's collectives send: ring by ring, part by part."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.planning.proof.walk.scene import Circle


@dataclass(frozen=True, slots=True)
class Step:
    """One call. ``flops`` and ``traffic`` (memory bytes) of the fullest rank; ``sent``: bytes that leave a rank (the
    mean one's), ``near`` and ``far`` those of the fullest over its node's links and over the fabric; ``seconds`` by the
    walk's own clock, ``least`` what nothing beats. ``drawn``: its figures hang on tokens that were drawn."""

    name: str
    collective: str
    seconds: float
    least: float
    flops: float = 0.0
    traffic: float = 0.0
    sent: float = 0.0
    near: float | None = None
    far: float | None = None
    drawn: bool = False


def ring_gather(parts: int, part: float) -> float:
    """Bytes that a rank sends when each of ``parts`` ranks passes on one ``part`` a turn until all have all."""
    return sum(part for _ in range(parts - 1))


def least_on_links(circle: Circle, sent: float, node_bandwidth: float, fabric_bandwidth: float) -> float:
    """Seconds below which no algorithm gets ``sent`` bytes out of a rank: over all of its links at once."""
    return sent / (node_bandwidth + (fabric_bandwidth if (circle.spans > 1).any() else 0.0))
