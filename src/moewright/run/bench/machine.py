"""A machine measured: every operation at the shapes that a case needs, by all ranks at once, into a profile."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from moewright.case.case import Case
from moewright.case.model import DenseFfn, MoeFfn, SoftmaxAttention
from moewright.case.tensors.layer_tensors import attention_tensors, ffn_tensors
from moewright.run.bench import operation_benches as bench
from moewright.run.ranks import launcher as launch

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send")
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Item:
    """One curve to measure."""

    operation: str
    key: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Effort:
    """``warmup`` calls that do not count, ``repetitions`` that do; ``largest`` bytes of a collective or copy."""

    warmup: int = 3
    repetitions: int = 15
    largest: int = 1 << 22


def items(case: Case | None, ranks: int, effort: Effort) -> list[Item]:
    """What to measure: the shapes of ``case``, or a sweep."""
    rows = tuple(4**i for i in range(7))
    products, found = {(256, 256), (1024, 256), (256, 1024), (1024, 1024)}, [Item("launch", (), (1,))]
    experts, routers, widths = {(256, 1024)}, {(256, 64)}, {64}
    if case is not None:
        products, experts, routers, widths = _shapes(case, ranks)
        workload = case.workload
        most = max(max(workload.batch) * (1 if workload.kind == "decode" else workload.sequence), 16)
        rows = tuple(4**i for i in range(12) if 4 ** (i - 1) < most)
    found += [Item("gemm", key, rows) for key in sorted(products)]
    found += [Item("experts", key, rows) for key in sorted(experts)]
    found += [Item("router", key, rows) for key in sorted(routers)]
    scale = tuple(4**i for i in range(5, 13))
    for width in sorted(widths):
        found += [
            Item("attention_prefill", (width,), tuple(64 * s for s in scale)),
            Item("attention_decode", (width,), scale),
        ]
    moved = tuple(s for s in (4**i for i in range(5, 14)) if s <= effort.largest)
    found += [Item("norms", (), tuple(s for s in scale if s <= effort.largest)), Item("memory", (), moved)]
    for size in (n for n in range(2, ranks + 1) if ranks % n == 0):
        sizes = (64, 1024, *moved[1:])
        found += [Item(name, (size,), sizes) for name in COLLECTIVES if name != "send" or size == 2]
    return found


def _shapes(
    case: Case, ranks: int
) -> tuple[set[tuple[int, int]], set[tuple[int, int]], set[tuple[int, int]], set[int]]:
    """(products, experts, routers, head widths) of ``case``: undivided, and divided as its strategy says, or in two."""
    model, s = case.model, case.strategy
    products, experts, routers, widths = set(), set(), set(), set()
    given = (s.tp if s else None, s.etp if s else None)
    tps, etps = ({1, n} if n else {1, min(2, ranks)} for n in given)
    for layer, _ in model.layer_kinds():
        if isinstance(layer.attention, SoftmaxAttention):
            widths.add(layer.attention.head_dim)
        for tp in tps:
            wide: dict[int, int] = {}
            for x in attention_tensors(layer.attention, model.hidden_size):
                if x.gemm and x.name in ("o_proj", "out_proj"):
                    products.add((x.rows, max(1, x.columns // tp)))
                elif x.gemm:
                    wide[x.columns] = wide.get(x.columns, 0) + max(1, x.rows // tp)
            products |= {(columns, depth) for depth, columns in wide.items()}
            if isinstance(layer.ffn, DenseFfn):
                for x in ffn_tensors(layer.ffn, model.hidden_size):
                    down = x.name.endswith("_down")
                    products.add((x.rows, x.columns // tp) if down else (x.rows // tp, x.columns))
        if isinstance(layer.ffn, MoeFfn):
            ups = 2 if layer.ffn.gated else 1
            experts |= {(model.hidden_size, max(1, ups * layer.ffn.width // etp)) for etp in etps}
            routers.add((model.hidden_size, layer.ffn.experts))
    return products, experts, routers, widths or {64}


def measure(
    case: Case | None,
    ranks: int,
    wanted: str = "cpu",
    effort: Effort | None = None,
    progress: Callable[[float], None] = lambda share: None,
    timeout: float = 3600.0,
) -> dict[str, Any] | None:
    """The profile, as plain values; None on ranks other than 0 under torchrun. Raises RunError."""
    o = effort or Effort()
    todo = items(case, ranks, o)
    device = launch.device_for(wanted, ranks)
    form = "bf16" if device.type == "cuda" else "fp32"
    done = multiprocessing.get_context("fork").RawValue("d", 0.0)

    def work(rank: int, on: torch.device) -> list[list[list[float]]]:
        torch.set_grad_enabled(False)
        like, groups = torch.empty(0, dtype=FORMATS[form], device=on), _groups(ranks, rank)
        found = []
        for i, item in enumerate(todo):
            found.append(_curve(item, like, groups, o))
            if rank == 0:
                done.value = (i + 1) / len(todo)
        return found

    if launch.under_torchrun():
        results = launch.world(launch.join(ranks), work, timeout, wanted)
        if results is None:
            return None
    elif ranks == 1:
        with torch.no_grad():
            results = launch.alone(work, timeout, device)
    else:
        results = launch.forked(ranks, work, timeout, lambda: progress(done.value))
    return _profile(todo, results, ranks, device, form, o)


def _groups(ranks: int, rank: int) -> dict[int, dist.ProcessGroup]:
    """Group size → this rank's group of neighbours; all groups of a size work at once."""
    found = {}
    for size in (n for n in range(2, ranks + 1) if ranks % n == 0):
        for start in range(0, ranks, size):
            group = dist.new_group(list(range(start, start + size)))
            if start <= rank < start + size:
                found[size] = group
    return found


def _curve(item: Item, like: torch.Tensor, groups: dict[int, dist.ProcessGroup], o: Effort) -> list[list[float]]:
    """[size, seconds of each repetition …] of this rank."""
    rows = []
    collective = item.operation in COLLECTIVES
    for size in item.sizes:
        counted = size
        if item.operation.startswith("attention"):
            counted = bench.attention_shape(item.operation, item.key[0], size)[1]
        call = bench.make(item.operation, item.key, size, like, groups[item.key[0]] if collective else None)
        if dist.get_world_size() > 1:
            dist.barrier()
        clock = bench.after_work if collective else bench.seconds_of
        seconds = clock(call, like.device, o.warmup, o.repetitions)
        share = {"experts": 1 / bench.SLOTS, "send": 0.5}.get(item.operation, 1.0)
        rows.append([float(counted), *(s * share for s in seconds)])
    return rows


def _profile(
    todo: list[Item], results: list[list[list[list[float]]]], ranks: int, device: torch.device, form: str, o: Effort
) -> dict[str, Any]:
    """Means over the repetitions of a rank (a rank that waits for a core waits in a run too), the median of ranks."""
    measured = []
    for i, item in enumerate(todo):
        points: dict[float, float] = {}
        for j in range(len(item.sizes)):
            of_ranks = [sum(rank[i][j][1:]) / o.repetitions for rank in results]
            points[results[0][i][j][0]] = float(f"{bench.median(of_ranks):.4g}")
        measured.append({"operation": item.operation, "key": list(item.key), "points": [[*p] for p in points.items()]})
    gpu = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory if gpu else _memory() // ranks
    return {
        "moewright_profile": 1,
        "name": f"{device.type}-{ranks}-ranks",
        "machine": torch.cuda.get_device_name(device) if gpu else f"{_processor()}, {os.cpu_count()} cores",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "torch": str(torch.__version__),
        "device": device.type,
        "threads": torch.get_num_threads() if ranks == 1 else 1,
        "ranks": ranks,
        "precision": form,
        "memory": float(memory),
        "measured": measured,
    }


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
