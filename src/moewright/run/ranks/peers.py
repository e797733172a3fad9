"""What the ranks of torchrun know of each other: each says in their store how far it is, once a second."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from moewright.run.ranks.progress import culprits, here
from moewright.run.run_error import RunError

#: seconds between two words of a rank, and without one until it is taken for dead or stopped
_EVERY: Final = 1.0
_SILENT: Final = 4.0
#: seconds without a word before the first collective until a rank is taken for dead: loading holds the interpreter long
_LOST_LOADING: Final = 10.0
#: seconds that a rank which hears of another's failure has to end by itself
_GRACE: Final = 2.0
_FAILED: Final = "moewright/failed"
#: how gloo and NCCL say that a collective did not come about
_LOST: Final = re.compile(r"connection (was )?(closed|reset)|closed by peer|broken pipe|remote process exited", re.I)
_LATE: Final = re.compile(r"timed? ?out|timeout", re.I)


@dataclass(slots=True)
class Peers:
    """One rank's view of the ``ranks``. ``store``: theirs, of which ``shared`` is the groups' own. ``words``: what was
    last heard of each, and when by this rank's clock."""

    store: Any
    rank: int
    ranks: int
    shared: Any = None
    words: dict[int, tuple[bytes, float]] = field(default_factory=dict)

    def begin(self) -> None:
        """Say how far this rank is from now on, for as long as its process lives."""
        self._tell()
        threading.Thread(target=self._go_on, daemon=True).start()

    def group(self, **backend: Any) -> None:
        """Make the process group of all ranks."""
        dist.init_process_group(store=self.shared, rank=self.rank, world_size=self.ranks, **backend)

    def fail(self) -> None:
        """Say that this rank ends, so that the others do not wait for it."""
        with suppress(RuntimeError):
            self.store.set(_FAILED, str(self.rank))

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
                self._listen()
            except RuntimeError:  # the store has ended
                return

    def _listen(self) -> None:
        """End this process in seconds where another has failed, or has gone while ranks still load: before the first
        collective there is no connection that its end would close."""
        if self.store.check([_FAILED]):
            time.sleep(_GRACE)
            os._exit(RunError.exit_status)
        if here() >= 2:
            return
        now = time.monotonic()
        for rank in (r for r in range(self.ranks) if r != self.rank and self.store.check([f"moewright/{r}"])):
            word = self.store.get(f"moewright/{rank}")
            if self.words.get(rank, (b"", 0.0))[0] != word:
                self.words[rank] = word, now
            elif now - self.words[rank][1] > _LOST_LOADING:
                self.fail()
                if self.first_to_tell():
                    print(
                        f"moewright: rank {rank} died or was stopped while loading: not heard of since "
                        f"{now - self.words[rank][1]:.0f} s",
                        file=sys.stderr,
                        flush=True,
                    )
                os._exit(RunError.exit_status)


def joined() -> Peers:
    """The ranks that torchrun's environment describes, from this rank's view; it says from now on how far it is."""
    store, rank, ranks = next(iter(rendezvous("env://")))
    own = store.clone() if hasattr(store, "clone") else store  # one of its own: groups wait on the other
    peers = Peers(own, rank, ranks, store)
    peers.begin()
    return peers


def _list(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks[:4])) + (", …" if len(ranks) > 4 else "")
