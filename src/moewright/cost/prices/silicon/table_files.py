"""Where measured kernel tables lie, and how one is read: Parquet files in folders ``system/family/engine/version``.

The tables are those that the package aiconfigurator-core 0.12 ships (github.com/ai-dynamo/aiconfigurator, Apache-2.0);
only its data are read, none of its code. A file read once is kept in memory, and in a
compact form in the user's cache; its latencies become seconds here (the
files give milliseconds, those of DeepEP and of ``moe_a2a`` microseconds), message sizes stay elements.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from moewright.errors import SpecError

#: engines that have tables
TABLED = ("vllm", "sglang", "trtllm")
#: packages that ship tables, the newer name first
PACKAGES = ("aisimulate_core", "aiconfigurator_core")
#: catalogue devices → folder of the tables
SYSTEMS = {
    "a100-80": "a100_sxm",
    "h100-sxm": "h100_sxm",
    "h200": "h200_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "h100-pcie": "h100_pcie",
}
#: engines of which a family is taken, in order, where the wanted engine has no table of it
_OTHERS = {
    "vllm": ("vllm", "trtllm", "sglang"),
    "sglang": ("sglang", "trtllm", "vllm"),
    "trtllm": ("trtllm", "sglang", "vllm"),
    "nccl": ("nccl",),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One table: its file and the engine and version it was measured with."""

    path: Path
    engine: str
    version: str


def tables_folder(given: Path | None = None) -> Path | None:
    """The folder that holds a folder per system: ``given``, else that of the installed package, else None.
    Raises SpecError where ``given`` holds no tables."""
    if given is not None:
        for folder in (given, given / "data", given / "systems" / "data"):
            if any(folder.glob("*/gemm/*/*/gemm_perf.parquet")):
                return folder
        raise SpecError(f"--tables {given}: no folder SYSTEM/gemm/ENGINE/VERSION/gemm_perf.parquet in it")
    if find_spec("pyarrow") is None:
        return None
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations))) / "systems" / "data"
            if folder.is_dir():
                return folder
    return None


def system_of(device: str, folder: Path) -> str | None:
    """The folder's name for a device of the catalogue; None where ``folder`` has no tables of it."""
    name = SYSTEMS.get(device)
    return name if name is not None and (folder / name).is_dir() else None


def find_table(folder: Path, system: str, name: str, engine: str) -> list[Source]:
    """Tables ``name`` (such as ``gemm_perf``) of ``system``, the best first: the engine asked for before others,
    new versions before old ones."""
    found = [
        Source(path, path.parent.parent.name, path.parent.name)
        for path in folder.glob(f"{system}/*/*/*/{name}.parquet")
    ]
    order = _OTHERS.get(engine, (engine, *TABLED))
    ranked = [s for s in found if s.engine in order]
    return sorted(ranked, key=lambda s: (-order.index(s.engine), _version(s.version)), reverse=True)


def _version(text: str) -> tuple[tuple[int, int], ...]:
    """``1.3.0rc20`` → comparable numbers; a release candidate comes before its release, a post-release after it."""
    rank = {"rc": -1, "": 0, "post": 1}
    parts = re.findall(r"(rc|post)?(\d+)", text)
    return (*((rank[kind], int(number)) for kind, number in parts), (0, -1))


@lru_cache(maxsize=64)
def read_table(path: Path) -> dict[str, np.ndarray]:
    """Column → array; strings as numpy strings. ``seconds`` stands for ``latency`` in all files that have it. Read from
    the cache where this very file (path, size, time of change) was read before."""
    kept = _cache_file(path)
    columns = _cached(kept)
    if columns is None:
        columns = _parquet(path)
        _keep(kept, columns)
    if "latency" in columns:
        micro = path.name == "moe_a2a_perf.parquet"
        columns["seconds"] = columns["latency"].astype(float) * (1e-6 if micro else 1e-3)
    return columns


def _parquet(path: Path) -> dict[str, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns: dict[str, np.ndarray] = {}
    for column in table.column_names:
        data = table.column(column)
        if pa.types.is_dictionary(data.type):
            data = data.cast(data.type.value_type)
        values = data.to_numpy(zero_copy_only=False)
        columns[column] = values.astype(str) if values.dtype == object else values
    return columns


def _cache_file(path: Path) -> Path:
    """Where a table is kept: $XDG_CACHE_HOME or ~/.cache, by what tells this file from any other."""
    stat = path.stat()
    key = sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:24]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "moewright" / "tables" / f"{key}.npz"


def _cached(kept: Path) -> dict[str, np.ndarray] | None:
    """The columns of a kept table: texts as small numbers into their distinct values. None where there is none, or
    where it cannot be read."""
    try:
        with np.load(kept, allow_pickle=False) as file:
            texts = {n.removesuffix("#texts") for n in file.files if n.endswith("#texts")}
            plain = (n for n in file.files if not n.endswith("#texts"))
            return {n: file[f"{n}#texts"][file[n]] if n in texts else file[n] for n in plain}
    except (OSError, ValueError, KeyError, IndexError, BadZipFile):
        return None


def _keep(kept: Path, columns: dict[str, np.ndarray]) -> None:
    """Keep a table, whole or not at all; a cache that cannot be written is done without."""
    small: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        if values.dtype.kind == "U":
            small[f"{name}#texts"], codes = np.unique(values, return_inverse=True)
            small[name] = codes.astype(np.min_scalar_type(max(len(small[f"{name}#texts"]) - 1, 0)))
        else:
            small[name] = values
    temporary = kept.with_suffix(f".{os.getpid()}.npz")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(temporary, **small)  # type: ignore[arg-type]
        os.replace(temporary, kept)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
