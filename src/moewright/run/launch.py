"""Ranks on one machine: forked from this process after torch is imported, watched until the last has ended."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from moewright.run.engine import RunError


def launch(ranks: int, work: Callable[[int], Any], timeout: float) -> list[Any]:
    """``work(rank)`` in each of ``ranks`` forked processes that form one gloo world; their results in order.

    One thread a rank. Raises RunError, naming rank and cause, when a rank fails, dies, or ``timeout`` seconds
    have passed; no process is left behind.
    """
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    os.environ["OMP_NUM_THREADS"] = "1"
    if Path("/sys/class/net/lo").exists():  # all ranks are here: no need of a name or an address of this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # before the fork: a child of a threaded parent would hang
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="moewright-") as folder:
        processes = [
            context.Process(target=_rank, args=(rank, ranks, work, folder, timeout), daemon=True)
            for rank in range(ranks)
        ]
        try:
            for process in processes:
                process.start()
            _watch(processes, Path(folder), timeout)
            return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(ranks)]
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
            for process in processes:
                if process.pid is not None:
                    process.join()
            torch.set_num_threads(threads)


def _rank(rank: int, ranks: int, work: Callable[[int], Any], folder: str, timeout: float) -> None:
    try:
        store = FileStore(f"{folder}/store", ranks)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(seconds=timeout))
        result = work(rank)
        torch.save(result, f"{folder}/{rank}.part")
        os.rename(f"{folder}/{rank}.part", f"{folder}/{rank}.pt")
        dist.barrier()  # nobody leaves while another still needs it
    except BaseException:
        Path(f"{folder}/{rank}.error").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)
    os._exit(0)


def _watch(processes: list[Any], folder: Path, timeout: float) -> None:
    """Until all have ended well; the first that did not decides."""
    end = time.monotonic() + timeout
    waiting = dict(enumerate(processes))
    while waiting:
        for rank, process in list(waiting.items()):
            if process.exitcode is None:
                continue
            if process.exitcode:
                raise RunError(f"rank {rank} {_cause(folder / f'{rank}.error', process.exitcode)}")
            del waiting[rank]
        if time.monotonic() > end:
            late = [rank for rank in waiting if not (folder / f"{rank}.pt").exists()] or list(waiting)
            others = f" and {len(late) - 1} others" if len(late) > 1 else ""
            raise RunError(f"rank {late[0]}{others} did not finish within {timeout:g} s")
        time.sleep(0.01)


def _cause(error: Path, code: int) -> str:
    time.sleep(0.05)
    if error.exists():
        lines = [line for line in error.read_text(encoding="utf-8").splitlines() if line.strip()]
        return f"failed: {lines[-1][:300]}"
    return f"died of signal {-code}" if code < 0 else f"ended with status {code}"
