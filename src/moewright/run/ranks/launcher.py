"""The processes of a run: forked on one machine, started by torchrun on several, or this one alone.

Forked ranks are watched until the last has ended; the first that fails, dies or is late ends the run, and so does
the end of this process, whatever ends it. Ranks of torchrun say in its store how far they are (``peers.py``).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from moewright.errors import MoewrightError
from moewright.run.ranks.peers import Peers, joined
from moewright.run.ranks.progress import Steps, culprits, here, inside, stopped, write_to
from moewright.run.run_error import RunError

Work = Callable[[int, torch.device], Any]


def under_torchrun() -> bool:
    """Whether a launcher has set this process's rank and world."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)


def is_first() -> bool:
    """Whether this process is the only one that reads and reports, or rank 0 of those that a launcher started."""
    return not under_torchrun() or os.environ["RANK"] == "0"


def device_of(wanted: str, local_rank: int = 0) -> torch.device:
    """cpu, cuda, or (auto) cuda where there is one. Raises RunError for cuda where there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RunError("--device: got cuda, but this machine has no CUDA device that torch can use; expected cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    devices = torch.cuda.device_count()
    if local_rank >= devices:
        raise RunError(
            f"LOCAL_RANK: got {local_rank}, but this machine has {devices} CUDA device{'s' if devices > 1 else ''}, "
            f"and NCCL takes one rank of each; expected --nproc-per-node {devices} at most, or --device cpu"
        )
    return torch.device("cuda", local_rank)


def device_for(wanted: str, ranks: int) -> torch.device:
    """The device of this process in a run of ``ranks``. Several that no launcher started are forked, which CUDA does
    not bear: auto is then cpu. Raises RunError."""
    started = under_torchrun()
    device = device_of("cpu" if wanted == "auto" and ranks > 1 and not started else wanted, local_rank())
    if device.type == "cuda" and ranks > 1 and not started:
        raise RunError(
            f"--device: got cuda for {ranks} ranks, which torchrun starts: torchrun --nproc-per-node … -m moewright …; "
            "expected cpu"
        )
    return device


def local_rank() -> int:
    """This process's number on its machine, as a launcher has set it."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(ranks: int) -> Peers:
    """The other ranks that torchrun started, which hear of this one from now on, while it reads and loads.

    Raises RunError where the launched world is not of ``ranks``; only rank 0 tells, the others end with its status.
    """
    launched = int(os.environ["WORLD_SIZE"])
    if launched != ranks:
        if not is_first():
            time.sleep(10)  # the launcher ends all with the first: rank 0 is to have told by then
            raise SystemExit(RunError.exit_status)
        raise RunError(f"the plan is for {ranks} ranks, but torchrun launched {launched}")
    return joined()


@contextmanager
def heard_by(peers: Peers | None) -> Iterator[None]:
    """What fails inside is told to the other ranks, which then end too; only the first of them prints its error."""
    try:
        yield
    except MoewrightError:
        if peers is not None:
            first = peers.first_to_tell()
            peers.fail()
            if not first:
                raise SystemExit(RunError.exit_status) from None
        raise


def world(peers: Peers, work: Work, timeout: float, wanted: str) -> list[Any] | None:
    """``work`` as the rank that torchrun made of this process; all results on rank 0, None on the others. Raises
    RunError on the first of the ranks that fail; the others end with its status."""
    rank, ranks = peers.rank, peers.ranks
    device = device_of(wanted, local_rank())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    try:
        peers.group(**_backend(device), timeout=timedelta(seconds=timeout))
        result = work(rank, device)
        results: list[Any] | None = [None] * ranks if rank == 0 else None
        with inside:
            dist.gather_object(result, results)
            dist.barrier()
    except Exception as error:
        first = peers.first_to_tell()
        if here() < 2:  # others may still load; later they lose this rank's connection, and say more
            peers.fail()
        if not first:
            raise SystemExit(RunError.exit_status) from None
        text = _last_line(traceback.format_exc())
        raise RunError(peers.cause(str(error)) or f"rank {rank} failed: {text}") from error
    dist.destroy_process_group()
    return results


def alone(work: Work, timeout: float, device: torch.device) -> list[Any]:
    """``work`` as the only rank, in this process. Raises RunError when it fails or takes more than ``timeout``
    seconds."""
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="moewright-") as folder, _within(timeout):
        _over_loopback()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            **_backend(device),
            store=FileStore(f"{folder}/store", 1),
            rank=0,
            world_size=1,
            timeout=timedelta(seconds=timeout),
        )
        try:
            return [work(0, device)]
        except RunError:
            raise
        except Exception as error:
            raise RunError(f"rank 0 failed: {_last_line(traceback.format_exc())}") from error
        finally:
            dist.destroy_process_group()


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """RunError when what is inside takes longer, told by the clock's signal: there is no other process to watch it."""

    def late(number: int, frame: object) -> None:
        raise RunError(f"rank 0 did not finish within {seconds:g} s")

    with _handled(late, signal.SIGALRM) as told:
        if told:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            if told:
                signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _handled(handler: Callable[[int, Any], None], *numbers: signal.Signals) -> Iterator[bool]:
    """``handler`` for these signals inside; whether it is told of them: only the main thread can be."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield True
    finally:
        for number, kept in before.items():
            signal.signal(number, kept)


def forked(ranks: int, work: Work, timeout: float, watched: Callable[[], None] = lambda: None) -> list[Any]:
    """``work(rank, cpu)`` in each of ``ranks`` forked processes that form one gloo world; their results in order.
    ``watched`` is called here again and again until they have ended.

    One thread a rank. Raises RunError, naming rank and cause, when a rank fails, dies, or ``timeout`` seconds
    have passed; no process is left behind.
    """
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    os.environ["OMP_NUM_THREADS"] = "1"
    _over_loopback()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # before the fork: a child of a threaded parent would hang
    context, steps, parent = multiprocessing.get_context("fork"), Steps(ranks), os.getpid()
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="moewright-") as folder:
        processes = [
            context.Process(target=_rank, args=(rank, ranks, work, folder, timeout, steps, parent), daemon=True)
            for rank in range(ranks)
        ]
        try:
            for process in processes:
                process.start()
            with _survived_by_none(processes, folder):
                _watch(processes, Path(folder), timeout, watched, steps)
            return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(ranks)]
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
            for process in processes:
                if process.pid is not None:
                    process.join()
            torch.set_num_threads(threads)


def _backend(device: torch.device) -> dict[str, Any]:
    """NCCL, told which device is this rank's, or gloo."""
    return {"backend": "nccl", "device_id": device} if device.type == "cuda" else {"backend": "gloo"}


def _over_loopback() -> None:
    """All ranks are here: no need of a name or an address of this machine."""
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is inside as an exit does, which leaves nothing behind."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    with _handled(end, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _survived_by_none(processes: list[Any], folder: str) -> Iterator[None]:
    """Where this process ends inside without a word (it was killed), one more waits for that: it ends the ranks and
    removes the folder."""
    theirs, ours = os.pipe()
    heir = os.fork()
    if not heir:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(ours)
        if not os.read(theirs, 1):
            for process in processes:
                with suppress(OSError):
                    os.kill(process.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
    os.close(theirs)
    try:
        yield
    finally:
        with suppress(OSError):
            os.write(ours, b".")
        os.close(ours)
        with suppress(ChildProcessError):
            os.waitpid(heir, 0)


def _die_with(parent: int) -> None:
    """This process is killed when ``parent`` ends, on Linux by the kernel."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all; the parent ends its ranks
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _rank(rank: int, ranks: int, work: Work, folder: str, timeout: float, steps: Steps, parent: int) -> None:
    _die_with(parent)
    write_to(steps, rank)
    try:
        store = FileStore(f"{folder}/store", ranks)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(seconds=timeout))
        result = work(rank, torch.device("cpu"))
        torch.save(result, f"{folder}/{rank}.part")
        os.rename(f"{folder}/{rank}.part", f"{folder}/{rank}.pt")
        with inside:
            dist.barrier()  # nobody leaves while another still needs it
    except BaseException:
        text = traceback.format_exc()
        Path(f"{folder}/{rank}.part-error").write_text(f"{time.time():.6f}\n{text}", encoding="utf-8")
        os.rename(f"{folder}/{rank}.part-error", f"{folder}/{rank}.error")
        os._exit(1)
    os._exit(0)


def _watch(processes: list[Any], folder: Path, timeout: float, watched: Callable[[], None], steps: Steps) -> None:
    """Until all have ended well; the first that did not decides."""
    end = time.monotonic() + timeout
    waiting = dict(enumerate(processes))
    before, moved = steps.seen(), time.monotonic()
    while waiting:
        failed = [rank for rank, process in waiting.items() if process.exitcode]
        if failed:
            raise RunError(_first_cause(processes, folder))
        for rank, process in list(waiting.items()):
            if process.exitcode == 0:
                del waiting[rank]
        if time.monotonic() > end:
            late = [rank for rank in waiting if not (folder / f"{rank}.pt").exists()] or list(waiting)
            goes_on = time.monotonic() - moved < min(2.0, timeout / 4)
            raise RunError(_late({rank: processes[rank].pid for rank in late}, steps, timeout, goes_on))
        now = steps.seen()
        if now != before:
            before, moved = now, time.monotonic()
        watched()
        time.sleep(0.01)


def _late(pids: dict[int, int], steps: Steps, timeout: float, goes_on: bool) -> str:
    """Who did not finish, and why that can be told: a rank that a signal has stopped, or the one that others wait
    for."""
    still = [rank for rank, pid in pids.items() if stopped(pid)]
    if still:
        return f"{_named(still)} did not finish within {timeout:g} s: stopped by a signal"
    if goes_on:
        return f"{_named(list(pids))} did not finish within {timeout:g} s, and still work; --timeout gives them longer"
    seen = steps.seen()
    stuck = culprits({rank: seen[rank] for rank in pids})
    if len(stuck) == len(pids):
        return f"{_named(stuck)} did not finish within {timeout:g} s"
    return (
        f"{_named(stuck)} did not finish within {timeout:g} s: hangs after {seen[stuck[0]] // 2} collectives, and "
        "the others wait"
    )


def _named(ranks: list[int]) -> str:
    more = len(ranks) - 1
    return f"rank {ranks[0]}" + (f" and {more} other{'s' if more > 1 else ''}" if more else "")


def _first_cause(processes: list[Any], folder: Path) -> str:
    """Of the ranks that have ended badly: one that was killed, else the one whose error came first (the others
    lost their connection to it)."""
    time.sleep(0.2)
    for rank, process in enumerate(processes):
        if process.exitcode and process.exitcode < 0:
            return f"rank {rank} died of signal {-process.exitcode}"
    errors = []
    for rank in range(len(processes)):
        path = folder / f"{rank}.error"
        if path.exists():
            when, _, text = path.read_text(encoding="utf-8").partition("\n")
            errors.append((float(when), rank, text))
    if errors:
        _, rank, text = min(errors)
        return f"rank {rank} failed: {_last_line(text)}"
    code, rank = next((p.exitcode, rank) for rank, p in enumerate(processes) if p.exitcode)
    return f"rank {rank} ended with status {code}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip().removeprefix(f"{RunError.__module__}.RunError: ")[:400] if lines else "without a word"
