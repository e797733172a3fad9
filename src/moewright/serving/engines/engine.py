"""Engine profiles: scheduler defaults of vLLM, SGLang and TensorRT-LLM, each figure with its source."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from moewright.case.cluster import Device
from moewright.case.serving import ENGINE_FILES, ENGINES, EngineSpec
from moewright.cost.arrays import Array, array
from moewright.errors import SpecError
from moewright.planning.engine_layouts import Layouts, layouts_of
from moewright.serving.engines.memory_rule import GIB, MemoryRule, rule_of
from moewright.units import parse

#: constants that all engines share
SHARED = Path(__file__).parents[1] / "validation" / "fitted.yaml"


@dataclass(frozen=True, slots=True)
class Engine:
    """``max_num_batched_tokens``: the token budget of a step; ``max_num_seqs``: sequences in it; both of one
    attention-dp rank. ``gpu_memory_utilization``: None: the fraction that the rule ``memory`` has. ``mixed``:
    prompts and decodes share a step; else waiting prompts go first. ``reserve``: share of the answers to come for
    which KV is kept free at admission. ``cuda_graph_sizes``: batches a decode step is padded to. Host seconds that
    the GPU waits for: of a step, of each sequence in it; and of a request before its first token (``before``):
    seconds, ``host_wait`` steps, ``host_launch`` seconds a layer of a prompt, ``host_prompt`` a factor, ``host_queue``
    a share of other requests, ``host_apart`` seconds more where another worker decodes. ``layouts``: the strategies
    that it runs. ``all_to_all``: what tokens travel by, auto: DeepEP's low-latency kernels between nodes; their
    buffers are for ``dispatch_tokens`` of a rank, those of its other kernels ``deepep_buffer`` bytes a link.
    ``by_device``: what of these depends on the device."""

    name: str
    max_num_batched_tokens: int
    max_num_seqs: int
    kv_block: int
    gpu_memory_utilization: float | None
    memory: MemoryRule
    chunked_prefill: bool
    mixed: bool
    reserve: float
    cuda_graph_sizes: tuple[int, ...]
    host_step: float
    host_sequence: float
    host_request: float
    host_wait: float
    host_launch: float
    host_prompt: float
    host_queue: float
    host_apart: float
    layouts: Layouts = field(default_factory=Layouts)
    all_to_all: str = "auto"
    dispatch_tokens: int = 0
    deepep_buffer: float = 0.0
    by_device: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, repr=False)
    fitted: dict[str, dict[str, float]] = field(default_factory=dict, compare=False, repr=False)
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def kernel_factors(self) -> dict[str, float]:
        """What operations of a group take in the engine's steps over their measured kernels ("": all others)."""
        constants = self.fitted.get("tables", {})
        speed = constants.get("speed", 1.0)
        shared = shared_constants()
        return {
            "": speed,
            "communication": speed * shared["communication"],
            "elementwise": speed * shared["small"],
            "router": speed * shared["small"],
        }

    def before(self, prompt: ArrayLike, decode: ArrayLike, layers: int, others: ArrayLike = 0.0) -> Array:
        """Seconds that a request waits for its first token beside the steps that compute it: the host's own, steps of
        ``decode`` seconds until the scheduler takes it, what a prompt of ``prompt`` seconds of kernels takes longer
        than they do, launched one by one through all ``layers``, and a share of the ``others`` on its rank whose
        prompts come in bursts before its own (``closed_form.py`` has the same terms)."""
        own = array(prompt)
        launched = self.host_prompt * np.maximum(own, self.host_launch * layers)
        taken = self.host_request + self.host_wait * array(decode) + self.host_queue * array(others) * own
        return np.asarray(taken + np.maximum(launched - own, 0.0))

    def without_host(self) -> Engine:
        """The same scheduler, with no host seconds, nor what a GPU's context, graphs and libraries take of memory."""
        return replace(
            self,
            memory=replace(self.memory, share=None, driver={}, other={}, graphs={}, sampler=0.0),
            host_step=0.0,
            host_sequence=0.0,
            host_request=0.0,
            host_wait=0.0,
            host_launch=0.0,
            host_prompt=1.0,
            host_queue=0.0,
            host_apart=0.0,
        )

    def slower_host(self, factor: float, step: float) -> Engine:
        """The same, with ``factor`` on what a request waits for before its first token beside the steps, and ``step``
        on the host's part of a step."""
        return replace(
            self,
            host_step=self.host_step * step,
            host_request=self.host_request * factor,
            host_wait=self.host_wait * factor,
            host_queue=self.host_queue * factor,
            host_apart=self.host_apart * factor,
        )

    def padded(self, sequences: int) -> int:
        """``sequences``, filled up to the next captured size; beyond the largest none."""
        i = bisect_left(self.cuda_graph_sizes, sequences)
        return self.cuda_graph_sizes[i] if i < len(self.cuda_graph_sizes) and sequences else sequences


@cache
def shared_constants() -> dict[str, float]:
    """The fitted constants of steps by measured tables that all engines share."""
    import yaml

    raw = yaml.safe_load(SHARED.read_text(encoding="utf-8"))
    return {name: float(value) for name, value in raw["tables"]["constants"].items()}


def fitted_constants(name: str, prices: str) -> dict[str, float]:
    """An engine's constants of the closed form for steps priced by ``tables`` or ``roofline``; none where they were
    not fitted."""
    return _profile(name).fitted.get(prices, {})


@cache
def _profile(name: str, version: str = "") -> Engine:
    import yaml

    raw: dict[str, Any] = yaml.safe_load((ENGINE_FILES / f"{name}.yaml").read_text(encoding="utf-8"))
    graphs, host, memory = raw.pop("cuda_graphs"), raw.pop("host"), rule_of(raw.pop("memory"), version)
    layouts = layouts_of(raw.pop("layouts", {}))
    sizes = {*graphs["first"], *(n for first, last, step in graphs["then"] for n in range(first, last + 1, step))}
    plain = ("wait", "prompt", "queue")
    seconds: dict[str, Any] = {
        f"host_{key}": value if key in plain else parse(value, "seconds") for key, value in host.items()
    }
    buffer = parse(raw.pop("deepep_buffer", "0 B"), "bytes")
    return Engine(
        **raw, **seconds, deepep_buffer=buffer, memory=memory, layouts=layouts, cuda_graph_sizes=tuple(sorted(sizes))
    )


def _defaults_on(profile: Engine, device: Device) -> dict[str, int]:
    """Sizes of a step that the engine sets by the device: of ``by_device`` the first entry that it reaches, and whose
    ``but`` does not name it."""
    for entry in profile.by_device:
        others = any(fnmatchcase(device.name, pattern) for pattern in entry.get("but", ()))
        if device.memory >= float(entry.get("from_gib", 0)) * GIB and not others:
            return {k: int(v) for k, v in entry.items() if k not in ("from_gib", "but")}
    return {}


def load_engine(spec: EngineSpec | str, device: Device | None = None) -> Engine:
    """The profile of an engine, as it is on ``device`` where one is given, with a user's settings over it. Raises
    SpecError for a name that is not known."""
    name = spec if isinstance(spec, str) else spec.name
    if name not in ENGINES:
        near = get_close_matches(name[:60], ENGINES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise SpecError(f"got {name[:60]!r}{hint}; expected one of {', '.join(ENGINES)}", field="engine")
    own: dict[str, Any] = {} if isinstance(spec, str) else dict(spec.overrides)
    profile = _profile(name, own.pop("version", ""))
    if device is not None:
        sizes = _defaults_on(profile, device)
        profile = replace(
            profile,
            max_num_batched_tokens=sizes.get("max_num_batched_tokens", profile.max_num_batched_tokens),
            max_num_seqs=sizes.get("max_num_seqs", profile.max_num_seqs),
        )
    if "max_num_seqs" in own:
        own["memory"] = replace(profile.memory, rows={"*": own["max_num_seqs"]}, small_rows=None)
    memory = own.get("memory", profile.memory)
    if "cuda_graph_sizes" in own and memory.share is not None:
        own["memory"] = replace(memory, share=replace(memory.share, graph=max(own["cuda_graph_sizes"])))
    return replace(profile, **own)
