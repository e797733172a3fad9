"""The executor on one process beside transformers: prefill and decode, and both over the roofline of the machine.

Both have the same random weights (transformers makes and saves them), both are timed in turn in one process, on a CPU
with all cores in fp32 and bf16, on a CUDA device in bf16. transformers runs with each of its expert implementations;
the fastest counts. On CUDA the executor decodes as one graph, and transformers also with a static cache, compiled
(torch.compile's reduce-overhead, which makes graphs too); both once before they are timed. No CUDA device has run
this yet.
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

from benchmarks.roofline import Limits, Roof

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")
COMPILED = "grouped_mm, compiled"
#: sequences, tokens of each prompt, tokens decoded
WORK = ((1, 128, 16), (8, 128, 8), (4, 512, 6))
ROUNDS = 4


def run() -> list[dict[str, Any]]:
    """A row per model, format, batch and phase: seconds of both, and theirs over ours (above 1: ours is faster)."""
    import torch

    from benchmarks.roofline import limits
    from moewright.run.ranks.launcher import device_of

    torch.set_grad_enabled(False)
    device = device_of("auto")
    gpu = device.type == "cuda"
    machine = torch.cuda.get_device_name(device) if gpu else f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows = []
    for precision in ("bf16",) if gpu else ("fp32", "bf16"):
        roof = limits(device, precision)
        print(f"{precision}: {roof.flops / 1e12:.4g} TFLOPS, {roof.bandwidth / 1e9:.4g} GB/s ({roof.source})")
        for name in ("mixtral", "qwen3_moe"):
            with tempfile.TemporaryDirectory() as folder:
                parameters = _save(name, Path(folder), precision, 2 if gpu else 1)
                rows += _compare(name, parameters, Path(folder), precision, device, roof)
    return rows


def _save(name: str, folder: Path, precision: str, wider: int) -> int:
    """A model of some 200M parameters, random, saved to ``folder``; ``wider`` times as wide and deep for a GPU."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

    from moewright.run.options import FORMATS

    torch.manual_seed(0)
    common = {
        "vocab_size": 8192, "hidden_size": 512 * wider, "num_hidden_layers": 8 * wider,
        "num_attention_heads": 8 * wider, "num_key_value_heads": 4 * wider,
        "max_position_embeddings": 2048, "eos_token_id": None, "bos_token_id": None,
    }  # fmt: skip
    if name == "mixtral":
        config = MixtralConfig(**common, intermediate_size=1792 * wider, num_local_experts=8, num_experts_per_tok=2)
        model = MixtralForCausalLM(config)
    else:
        config = Qwen3MoeConfig(
            **common, head_dim=64, moe_intermediate_size=256 * wider, intermediate_size=1024 * wider, num_experts=64,
            num_experts_per_tok=8, norm_topk_prob=True,
        )  # fmt: skip
        model = Qwen3MoeForCausalLM(config)
    model.to(FORMATS[precision]).save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def _compare(
    name: str, parameters: int, folder: Path, precision: str, device: Any, limit: Limits
) -> list[dict[str, Any]]:
    from transformers import AutoModelForCausalLM

    from moewright.run.options import FORMATS
    from moewright.run.ranks import launcher as launch

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=FORMATS[precision], attn_implementation="sdpa")
    theirs = theirs.to(device).eval()

    def work(rank: int, on: Any) -> list[dict[str, Any]]:
        shard = _shard(folder, precision, on)
        rows = []
        for sequences, length, steps in WORK:
            for phase, (seconds, least) in _times(shard, theirs, sequences, length, steps).items():
                row = _row(seconds, least, limit)
                rows.append({
                    "model": name, "parameters": parameters, "precision": precision, "device": str(on.type),
                    "phase": phase, "batch": sequences, "tokens": length, **row,
                })  # fmt: skip
                print(f"{name:10s} {precision} {phase:8s} {sequences} × {length:4d}  {_told(row)}")
        return rows

    found: list[dict[str, Any]] = launch.alone(work, 600, device)[0]
    return found


def _times(
    shard: Any, theirs: Any, sequences: int, length: int, steps: int
) -> dict[str, tuple[dict[str, list[float]], Roof]]:
    """Phase → seconds of everyone's rounds, and what it must do at least."""
    import torch

    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(8192, (sequences, length), generator=generator).to(shard.device)
    phases: dict[str, dict[str, list[float]]] = {"prefill": {}, "decode": {}}
    for _ in range(ROUNDS):
        ours, roofs = _ours(shard, prompts, steps)
        _note(phases, "moewright", ours)
        for implementation in IMPLEMENTATIONS:
            _note(phases, implementation, _theirs(theirs, implementation, prompts, steps))
    del phases["prefill"]["batched_mm"]  # another's prefill
    if shard.device.type == "cuda":
        phases["decode"][COMPILED] = _compiled(theirs, prompts, steps, "reduce-overhead")
    return {phase: (phases[phase], roof) for phase, roof in zip(phases, roofs, strict=True)}


def _row(seconds: dict[str, list[float]], least: Roof, limit: Limits) -> dict[str, Any]:
    """Medians, who of transformers is fastest, and both over the roofline."""
    median = {who: statistics.median(times) for who, times in seconds.items() if times}
    best = min((who for who in median if who != "moewright"), key=lambda who: median[who])
    bound, by = least.seconds(limit)
    return {
        "seconds": median, "best": best, "ratio": median[best] / median["moewright"],
        "roofline": {"seconds": bound, "by": by, "source": limit.source, "flops": least.flops, "bytes": least.bytes},
        "percent": {who: 100 * bound / median[who] for who in ("moewright", best)},
    }  # fmt: skip


def _told(row: dict[str, Any]) -> str:
    ours, theirs = (row["seconds"][who] * 1e3 for who in ("moewright", row["best"]))
    percent = row["percent"]
    return (
        f"moewright {ours:8.2f} ms ({percent['moewright']:4.1f} % of the roofline, {row['roofline']['by']}), "
        f"transformers {theirs:8.2f} ms ({row['best']}, {percent[row['best']]:4.1f} %)  "
        f"{row['ratio']:5.2f} times as fast"
    )


def _note(phases: dict[str, dict[str, list[float]]], who: str, seconds: tuple[float, float]) -> None:
    for phase, value in zip(phases, seconds, strict=True):
        phases[phase].setdefault(who, []).append(value)


def _shard(folder: Path, precision: str, device: Any) -> Any:
    from moewright.case.case import Case
    from moewright.case.cluster import Cluster, Device, Tier
    from moewright.case.huggingface.config import read_config
    from moewright.case.strategy import Strategy
    from moewright.case.workload import Kind, Workload
    from moewright.placement.assignment import assign
    from moewright.planning.proof.rank_totals import placed
    from moewright.run.model.numerics import numerics
    from moewright.run.model.shard import Shard
    from moewright.run.options import FORMATS
    from moewright.run.ranks.mesh import join
    from moewright.run.weights.checkpoint import Checkpoint

    model = read_config(str(folder))
    any_device = Device("any", {"fp32": 1e11}, 8e10, 1e10)
    cluster = Cluster("one", 1, 1, any_device, Tier(1e9, 1e-5), Tier(1e9, 1e-5))
    case = Case(model, cluster, Workload(Kind.FORWARD, (1,), 8), file=str(folder))
    assignment, _ = placed(case, Strategy())
    assignment = assign(model, Strategy(), assignment.experts)
    source = Checkpoint(folder, FORMATS[precision])
    return Shard(model, numerics(model), join(Strategy(), device.type), assignment, source, device)


def _timed(device: Any, call: Callable[[], Any]) -> tuple[float, Any]:
    from moewright.run.bench.operation_benches import _wait

    _wait(device)
    start = time.perf_counter()
    result = call()
    _wait(device)
    return time.perf_counter() - start, result


def _ours(shard: Any, prompts: Any, steps: int) -> tuple[tuple[float, float], tuple[Roof, Roof]]:
    """Seconds of the prompts' pass, and of a step after it; and what both must do."""
    from benchmarks.roofline import roof
    from moewright.run.model.static import Decoder
    from moewright.run.ranks.schedule import Chunk

    sequences, length = prompts.shape
    room = length + steps + 1
    shard.allocate(sequences, room)
    shard.begin()
    chunk = Chunk(tuple(range(sequences)), (0,) * sequences, (length,) * sequences)
    decoder = Decoder(shard, chunk.after(), room) if shard.device.type == "cuda" and shard.unwaiting else None

    def pick(out: Any) -> Any:
        return shard.whole_logits(out).argmax(-1)

    def step(now: Any, ids: Any) -> Any:
        return pick(decoder(now, ids) if decoder else shard.forward(now, ids, False))

    prefill, ids = _timed(shard.device, lambda: pick(shard.forward(chunk, prompts.flatten(), False)))
    first = roof(shard, shard.tally.loads, chunk.counts, chunk.starts)
    shard.begin()
    now = chunk.after()
    ids = step(now, ids)  # of a graph, which it captures; the loads are those of one step
    after = roof(shard, shard.tally.loads, now.counts, [s + steps // 2 for s in now.starts])

    def decode() -> None:
        current, last = now, ids
        for _ in range(steps):
            current = current.after()
            last = step(current, last)

    return (prefill, _timed(shard.device, decode)[0] / steps), (first, after)


def _theirs(model: Any, implementation: str, prompts: Any, steps: int) -> tuple[float, float]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    # batched_mm copies an expert's weights for every token: for decode only
    model.set_experts_implementation("grouped_mm" if implementation == "batched_mm" else implementation)

    def step(ids: Any) -> Any:
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    prefill, ids = _timed(prompts.device, lambda: step(prompts))
    model.set_experts_implementation(implementation)
    ids = step(ids)

    def decode() -> None:
        last = ids
        for _ in range(steps):
            last = step(last)

    return prefill, _timed(prompts.device, decode)[0] / steps


def _compiled(model: Any, prompts: Any, steps: int, mode: str) -> list[float]:
    """Seconds of a step with a static cache, compiled; none where that fails, which is told."""
    import torch
    from transformers import StaticCache

    model.set_experts_implementation("grouped_mm")
    length = prompts.shape[1]
    call, found = torch.compile(model.forward, mode=mode), []
    try:
        for _ in range(ROUNDS):
            cache = StaticCache(config=model.config, max_cache_len=length + steps + 3)
            out = model(prompts, past_key_values=cache, use_cache=True, logits_to_keep=1)
            ids = out.logits[:, -1].argmax(-1, keepdim=True)

            def run(count: int, last: Any, cache: Any = cache) -> Any:
                for _ in range(count):
                    out = call(last, past_key_values=cache, use_cache=True, logits_to_keep=1)
                    last = out.logits[:, -1].argmax(-1, keepdim=True).clone()
                return last

            ids = run(3, ids)  # compiled and captured
            found.append(_timed(prompts.device, lambda ids=ids, run=run: run(steps, ids))[0] / steps)
    except Exception as error:
        print(f"transformers compiled: {str(error).splitlines()[0][:160]}")
    return found
