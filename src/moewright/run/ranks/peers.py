"""What the ranks of torchrun know of each other: each says in their store how far it is, once a second."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from moewright.run.ranks.progress import culprits, here

#: seconds between two words of a rank, and without one until it is taken for dead or stopped
_EVERY: Final = 1.0
_SILENT: Final = 4.0
#: how gloo and NCCL say that a collective did not come about
_LOST: Final = re.compile(r"connection (was )?(closed|reset)|closed by peer|broken pipe|remote process exited", re.I)
_LATE: Final = re.compile(r"timed? ?out|timeout", re.I)


@dataclass(slots=True)
class Peers:
    """One rank's view of the ``ranks``. ``store``: theirs."""

    store: Any
    rank: int
    ranks: int

    def begin(self) -> None:
        """Say how far this rank is from now on, for as long as its process lives."""
        self._tell()
        threading.Thread(target=self._go_on, daemon=True).start()

    def first_to_tell(self) -> bool:
        """Whether no other rank has yet told a cause; true also where the store is gone."""
        try:
            return int(self.store.add("moewright/told", 1)) == 1
        except RuntimeError:
            return True

    def cause(self, text: str) -> str | None:
        """In words, what the error ``text`` of a collective means; None where it is none of a lost or late peer."""
        if _LOST.search(text):
            return f"rank {self.rank}: another rank died: it closed its connection{self._likely(False)}"
        if _LATE.search(text):
            return f"rank {self.rank}: another rank died or hangs: a collective timed out{self._likely(True)}"
        return None

    def _likely(self, late: bool) -> str:
        """Who it is, as the store tells: who has not been heard of, or (after a timeout) is in no collective."""
        try:
            heard = {rank: self._heard(rank) for rank in range(self.ranks) if rank != self.rank}
        except RuntimeError:
            return ""
        now = time.time()
        silent = [rank for rank, (_, at) in heard.items() if now - at > _SILENT]
        if silent:
            return f"; not heard of since {now - heard[silent[0]][1]:.0f} s: rank {_list(silent)}"
        outside = culprits({rank: number for rank, (number, _) in heard.items()})
        return f"; in no collective: rank {_list(outside)}" if late and len(outside) < len(heard) else ""

    def _heard(self, rank: int) -> tuple[int, float]:
        number, at = self.store.get(f"moewright/{rank}").decode().split()
        return int(number), float(at)

    def _tell(self) -> None:
        self.store.set(f"moewright/{self.rank}", f"{here()} {time.time()}")

    def _go_on(self) -> None:
        while True:
            time.sleep(_EVERY)
            try:
                self._tell()
            except RuntimeError:  # the store has ended
                return


def joined(**backend: Any) -> Peers:
    """The process group that torchrun's environment describes, made, and this rank's view of it."""
    store, rank, ranks = next(iter(rendezvous("env://")))
    own = store.clone() if hasattr(store, "clone") else store  # one of its own: groups wait on the other
    dist.init_process_group(store=store, rank=rank, world_size=ranks, **backend)
    peers = Peers(own, rank, ranks)
    peers.begin()
    return peers


def _list(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks[:4])) + (", …" if len(ranks) > 4 else "")
