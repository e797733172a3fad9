"""Where a model that is named comes from: a path, the catalogue, the local Hugging Face cache, or the Hub.

In this order: an existing path; a name of the catalogue; a Hugging Face id in the local hub cache; an id or a variant
of a catalogue's model that cannot be another one; and, with ``huggingface_hub`` installed and a network, the id's
config files.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from moewright.case.catalogue.model_catalogue import catalogue_reading, find_alias, find_name
from moewright.case.huggingface.config import Reading, reading_of
from moewright.case.model import ModelSpec
from moewright.case.spelling import known_or_near, near_names
from moewright.errors import SpecError

_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
#: files of a repository that are read
_FILES: Final = ("config.json", "hf_quant_config.json")
_PATIENCE: Final = 10  # seconds that the Hub may take to answer


def named_model(name: str, folder: Path) -> ModelSpec:
    """The model that ``name`` names, paths being relative to ``folder``. Raises SpecError."""
    return named_reading(name, folder).model


def named_reading(name: str, folder: Path) -> Reading:
    """The same, and how its config was read."""
    path = _path(name, folder)
    if path is not None:
        return reading_of(path)
    exact = find_name(name)
    if exact is not None:
        return catalogue_reading(exact)
    cached = _cached(name) if _ID.fullmatch(name) else None
    if cached is not None:
        return _from_hub(cached, name, f"{name} in the local Hugging Face cache ({cached.name[:12]})")
    alias = find_alias(name)
    if alias is not None:
        reading = catalogue_reading(alias)
        told = f"{name[:100]} has the sizes and formats of the catalogue's {alias}"
        return replace(reading, model=replace(reading.model, notes=(*reading.model.notes, told)))
    if _ID.fullmatch(name) and _may_fetch():
        fetched = _fetched(name)
        return _from_hub(fetched, name, f"https://huggingface.co/{name} ({fetched.name[:12]})")
    raise SpecError(_unknown(name), field="model")


def _path(name: str, folder: Path) -> Path | None:
    """``name`` as a path that exists; raises SpecError for what can only be a path, and does not."""
    try:
        path = folder / Path(name).expanduser()
        if len(name) < 4096 and path.exists():
            return path
    except (OSError, ValueError, RuntimeError):
        path = Path(name[:200])
    if name.endswith(".json") or name.startswith(("/", "./", "../", "~")) or "\0" in name:
        raise SpecError("no such file", file=str(path)[:200])
    return None


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _cached(name: str) -> Path | None:
    """The snapshot of the id in the local cache, where that has its config: of its main branch, or the newest."""
    repository = _hub_cache() / f"models--{name.replace('/', '--')}"
    try:
        main = repository / "refs" / "main"
        revisions = [main.read_text(encoding="ascii").strip()] if main.is_file() else []
        snapshots = repository / "snapshots"
        if snapshots.is_dir():
            newest = sorted(snapshots.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
            revisions += [p.name for p in newest]
        for revision in revisions:
            if (snapshots / revision / _FILES[0]).is_file():
                return snapshots / revision
    except (OSError, ValueError):
        return None
    return None


def _from_hub(snapshot: Path, name: str, source: str) -> Reading:
    reading = reading_of(snapshot)
    return replace(reading, model=replace(reading.model, name=name.rpartition("/")[2], source=source))


def _may_fetch() -> bool:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return not offline and find_spec("huggingface_hub") is not None


def _fetched(name: str) -> Path:
    """The snapshot with the config files of the id, as the Hub has them now. Raises SpecError."""
    hub: Any = import_module("huggingface_hub")
    fault = _unreachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if fault:  # the Hub's own client would try for half a minute
        raise SpecError(f"{_unknown(name)}; it cannot be fetched: {fault}", field="model")
    try:
        found = Path(hub.hf_hub_download(name, _FILES[0], etag_timeout=_PATIENCE))
    except Exception as fault:  # of the Hub, of the network, of the disk
        reason = " ".join(str(fault).split())[:160] or type(fault).__name__
        raise SpecError(f"{_unknown(name)}; it cannot be fetched: {reason}", field="model") from None
    try:
        hub.hf_hub_download(name, _FILES[1], etag_timeout=_PATIENCE)
    except Exception:  # most models have none
        return found.parent
    return found.parent


def _unreachable(endpoint: str) -> str | None:
    """Why the Hub cannot be reached, or None; behind a proxy that is not known here."""
    if getproxies():
        return None
    parts = urlsplit(endpoint)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_PATIENCE):
            return None
    except (OSError, ValueError) as fault:
        return f"{parts.hostname} is not reachable ({getattr(fault, 'strerror', None) or fault})"


def _unknown(name: str) -> str:
    from moewright.case.catalogue.model_catalogue import all_names, model_names

    known = all_names()
    near = list(dict.fromkeys(known[n] for n in near_names(name.rpartition("/")[2].lower(), known, 4, 0.5)))
    hint = f"did you mean {', '.join(near)}" if near else f"{known_or_near('', model_names())} (moewright models)"
    cache = " nor in the local Hugging Face cache" if _ID.fullmatch(name) else ""
    return f"no model named {name[:60]!r} in the catalogue{cache}; {hint}; or give a path to a config.json"
