"""From the sizes a row states to the layout that was run.

Public collections write layouts by several conventions, some of them converters' mistakes. The rules, each with what
speaks for it (``docs/accuracy.md``):

1. ``moe_tp`` and ``moe_ep`` equal, above 1, with ``tp`` or attention dp their product: the two were one number
   multiplied with itself (TP8 with EP8 written as 64, TP2 with EP2 as 4). The measured times fit ``ep`` ranks, not
   their square: gpt-oss on H200 measures 1.6 of a prediction for 4 ranks, 0.95 of one for 2, as its plain layouts do.
   Above 8 in a domain of 72 GPUs it may be what it says, and rule 3 takes it.
2. Attention dp equal to ``tp`` and ``ep`` their product: dp ranks of one GPU each, experts over all of them.
3. ``tp`` above 8: wide expert parallelism, attention in as many dp ranks (no engine divides heads over 20 or 36).
4. Sizes not stated follow from the others: dp from ``moe_tp · moe_ep / tp``.
5. A layout whose weights do not fit its GPUs was not what ran: ranks are doubled (attention dp, experts over all)
   until they do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

WIDEST_TP = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Attention ``dp × tp``, experts ``ep × etp`` on the same ranks, ``pp`` stages of them."""

    tp: int = 1
    dp: int = 1
    pp: int = 1
    etp: int = 1
    ep: int = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.dp * self.pp

    @property
    def name(self) -> str:
        pipeline = f"PP{self.pp} · " if self.pp > 1 else ""
        return f"{pipeline}attn DP{self.dp}×TP{self.tp} · moe EP{self.ep}×TP{self.etp}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Parallel sizes as a row writes them; 0: not stated."""

    tp: int
    pp: int = 0
    dp: int = 0
    etp: int = 0
    ep: int = 0


def layout_of(s: Sizes, moe: bool, node: int) -> Layout:
    """The layout meant by ``s`` on nodes of ``node`` GPUs."""
    tp, pp, dp = max(s.tp, 1), max(s.pp, 1), max(s.dp, 1)
    etp, ep = max(s.etp, 1), max(s.ep, 1)
    if not moe:
        return Layout(tp, dp, pp, tp, 1)
    squared = etp > 1 and ep > 1
    if squared and dp > 1 and tp == 1:
        return Layout(1, ep, pp, 1, ep)
    if squared and dp == 1 and etp == ep and tp == etp * ep and (node <= WIDEST_TP or tp <= WIDEST_TP):
        return Layout(ep, 1, pp, 1, ep)
    if dp > 1 and tp == dp and ep == tp * dp:
        return Layout(1, dp, pp, 1, dp)
    if tp > WIDEST_TP:
        return Layout(1, tp, pp, 1, tp)
    if not s.dp and etp * ep > tp and etp * ep % tp == 0:
        dp = etp * ep // tp
    ranks = tp * dp
    ep = ep if ranks % ep == 0 else 1
    return Layout(tp, dp, pp, ranks // ep, ep)


def grown(layout: Layout, fits: Callable[[Layout], bool], moe: bool, most: int) -> Layout:
    """``layout``, its ranks doubled until ``fits`` says that they hold the weights, ``most`` GPUs at most."""
    while not fits(layout) and layout.gpus * 2 <= most:
        n = layout.gpus * 2
        layout = Layout(1, n, 1, 1, n) if moe else Layout(n, 1, 1, n, 1)
    return layout
