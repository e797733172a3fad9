"""The executor on one process beside transformers: prefill and decode, fp32 and bf16, and the roofline of the machine.

Both have the same random weights (transformers makes and saves them), both use all cores, both are timed in turn in
one process. transformers runs with each of its expert implementations; the fastest counts.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")
#: sequences, tokens of each prompt, tokens decoded
WORK = ((1, 128, 16), (8, 128, 8), (4, 512, 6))
ROUNDS = 4


def run() -> list[dict[str, Any]]:
    """A row per model, format, batch and phase: seconds of both, and theirs over ours (above 1: ours is faster)."""
    import torch

    torch.set_grad_enabled(False)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows = []
    for name in ("mixtral", "qwen3_moe"):
        with tempfile.TemporaryDirectory() as folder:
            parameters = _save(name, Path(folder))
            for precision in ("fp32", "bf16"):
                rows += _compare(name, parameters, Path(folder), precision)
    return rows


def _save(name: str, folder: Path) -> int:
    """A model of some 200M parameters, random, saved to ``folder``."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    common = {
        "vocab_size": 8192, "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "eos_token_id": None, "bos_token_id": None,
    }  # fmt: skip
    if name == "mixtral":
        config = MixtralConfig(**common, intermediate_size=1792, num_local_experts=8, num_experts_per_tok=2)
        model = MixtralForCausalLM(config)
    else:
        config = Qwen3MoeConfig(
            **common, head_dim=64, moe_intermediate_size=256, intermediate_size=1024, num_experts=64,
            num_experts_per_tok=8, norm_topk_prob=True,
        )  # fmt: skip
        model = Qwen3MoeForCausalLM(config)
    model.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def _compare(name: str, parameters: int, folder: Path, precision: str) -> list[dict[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM

    from moewright.run import launch
    from moewright.run.execute import FORMATS

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=FORMATS[precision], attn_implementation="sdpa").eval()

    def work(rank: int, device: torch.device) -> list[dict[str, Any]]:
        shard = _shard(folder, precision)
        rows = []
        for sequences, length, steps in WORK:
            prompts = torch.randint(8192, (sequences, length), generator=torch.Generator().manual_seed(1))
            phases: dict[str, dict[str, list[float]]] = {"prefill": {}, "decode": {}}
            for _ in range(ROUNDS):
                _note(phases, "moewright", _ours(shard, prompts, steps))
                for implementation in IMPLEMENTATIONS:
                    _note(phases, implementation, _theirs(theirs, implementation, prompts, steps))
            for phase, seconds in phases.items():
                median = {who: statistics.median(times) for who, times in seconds.items()}
                if phase == "prefill":
                    del median["batched_mm"]  # another's prefill
                best = min((who for who in median if who != "moewright"), key=lambda who: median[who])
                ratio = median[best] / median["moewright"]
                rows.append({
                    "model": name, "parameters": parameters, "precision": precision, "phase": phase,
                    "batch": sequences, "tokens": length, "seconds": median, "best": best, "ratio": ratio,
                })  # fmt: skip
                print(
                    f"{name:10s} {precision} {phase:8s} {sequences} × {length:4d}  moewright "
                    f"{median['moewright'] * 1e3:8.2f} ms, transformers {median[best] * 1e3:8.2f} ms ({best:10s})  "
                    f"{ratio:5.2f} times as fast"
                )
        return rows

    found: list[dict[str, Any]] = launch.alone(work, 600, torch.device("cpu"))[0]
    return found


def _note(phases: dict[str, dict[str, list[float]]], who: str, seconds: tuple[float, float]) -> None:
    for phase, value in zip(phases, seconds, strict=True):
        phases[phase].setdefault(who, []).append(value)


def _shard(folder: Path, precision: str) -> Any:
    import torch

    from moewright.place.assignment import assign
    from moewright.plan.facts import placed
    from moewright.run.checkpoint import Checkpoint
    from moewright.run.engine import Shard
    from moewright.run.execute import FORMATS
    from moewright.run.mesh import join
    from moewright.run.numerics import numerics
    from moewright.spec.case import Case
    from moewright.spec.cluster import Cluster, Device, Tier
    from moewright.spec.huggingface import read_config
    from moewright.spec.strategy import Strategy
    from moewright.spec.workload import Kind, Workload

    model = read_config(str(folder))
    device = Device("cpu", {"fp32": 1e11}, 8e9, 1e10)
    cluster = Cluster("one", 1, 1, device, Tier(1e9, 1e-5), Tier(1e9, 1e-5))
    case = Case(model, cluster, Workload(Kind.FORWARD, (1,), 8), file=str(folder))
    assignment, _ = placed(case, Strategy())
    assignment = assign(model, Strategy(), assignment.experts)
    source = Checkpoint(folder, FORMATS[precision])
    return Shard(model, numerics(model), join(Strategy()), assignment, source, torch.device("cpu"))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _ours(shard: Any, prompts: Any, steps: int) -> tuple[float, float]:
    """Seconds of the prompts' pass, and of a step after it."""
    from moewright.run.schedule import Chunk

    sequences, length = prompts.shape
    shard.allocate(sequences, length + steps)
    shard.begin()
    chunk = Chunk(tuple(range(sequences)), (0,) * sequences, (length,) * sequences)

    def step(chunk: Any, ids: Any) -> Any:
        return shard.whole_logits(shard.forward(chunk, ids, False)).argmax(-1)

    prefill, ids = _timed(lambda: step(chunk, prompts.flatten()))

    def decode() -> None:
        now, last = chunk, ids
        for _ in range(steps):
            now = now.after()
            last = step(now, last)

    return prefill, _timed(decode)[0] / steps


def _theirs(model: Any, implementation: str, prompts: Any, steps: int) -> tuple[float, float]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    # batched_mm copies an expert's weights for every token: for decode only
    model.set_experts_implementation("grouped_mm" if implementation == "batched_mm" else implementation)

    def step(ids: Any) -> Any:
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    prefill, ids = _timed(lambda: step(prompts))
    model.set_experts_implementation(implementation)

    def decode() -> None:
        last = ids
        for _ in range(steps):
            last = step(last)

    return prefill, _timed(decode)[0] / steps
