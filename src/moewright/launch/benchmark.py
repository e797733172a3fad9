"""The benchmark of the workload that was planned: the command of an engine's own tool."""

from __future__ import annotations

import json

from moewright.case.serving import Lengths, Serving, Spread
from moewright.launch.command import Command, arguments
from moewright.launch.launch_plan import LaunchPlan


def requests_of(serving: Serving, concurrency: int) -> int:
    """Requests worth measuring: the spec's, else ten a client, at least 200."""
    return serving.requests or max(200, 10 * concurrency)


def length_range(lengths: Lengths) -> tuple[int, float]:
    """(middle, part of it to either side) of lengths drawn evenly; of others their mean, and no spread."""
    if lengths.spread is Spread.UNIFORM:
        low, high = lengths.nominal * lengths.low, lengths.nominal * lengths.high
        return round((low + high) / 2), round((high - low) / (high + low), 4)
    return round(lengths.mean), 0.0


def misses(plan: LaunchPlan) -> list[str]:
    """What of the workload the benchmark cannot do."""
    serving = plan.case.serving
    if serving is None:
        return []
    found = []
    spreads = {"input": serving.input.spread, "output": serving.output.spread}
    odd = [f"{name} lengths are {s}" for name, s in spreads.items() if s in (Spread.LOGNORMAL, Spread.LIST)]
    if serving.trace is not None:
        odd = ["requests come from a trace"]
    if odd:
        found.append(f"benchmark: {' and '.join(odd)}; random prompts of the mean length stand for them")
    if plan.engine == "sglang" and serving.prefix_cache_hit:
        found.append("benchmark: sglang.bench_serving's random prompts share no beginning; the plan counts on a hit of "
                     f"{serving.prefix_cache_hit:g}")  # fmt: skip
    if plan.engine == "sglang" and length_range(serving.input)[1] != length_range(serving.output)[1]:
        found.append("benchmark: sglang.bench_serving has one range of lengths; that of the prompts stands")
    return found


def benchmark_command(plan: LaunchPlan, base: str, model: str) -> Command | None:
    """The tool of the plan's engine (TensorRT-LLM: vLLM's) against ``base``; None where nothing is served."""
    serving = plan.case.serving
    if serving is None:
        return None
    concurrency = plan.concurrency or max(1, round((plan.rate or 1.0) * 30))
    count = requests_of(serving, concurrency)
    rate = "inf" if plan.rate is None else f"{plan.rate:g}"
    if plan.engine == "sglang":
        return _sglang(plan, serving, (base, model, rate), count)
    (inputs, spread), (outputs, answers) = length_range(serving.input), length_range(serving.output)
    prefix = round(inputs * serving.prefix_cache_hit)
    ratio = f"{spread:g}" if spread == answers else json.dumps({"input": spread, "output": answers})
    rows = [
        ("--backend", "openai", ""),
        ("--base-url", base, ""),
        ("--model", plan.settings.checkpoint, ""),
        ("--served-model-name", model, ""),
        ("--dataset-name", "random", ""),
        ("--random-input-len", inputs - prefix, ""),
        ("--random-output-len", outputs, ""),
        ("--random-range-ratio", ratio, ""),
        ("--random-prefix-len", prefix, "") if prefix else None,
        ("--num-prompts", count, ""),
        ("--request-rate", rate, ""),
        ("--burstiness", f"{serving.burstiness:g}", "") if plan.rate is not None else None,
        ("--max-concurrency", plan.concurrency, "") if plan.concurrency else None,
        ("--seed", serving.seed, ""),
        ("--ignore-eos", True, ""),
        ("--percentile-metrics", "ttft,tpot,itl,e2el", ""),
        ("--save-result", True, ""),
    ]
    return Command(("vllm", "bench", "serve"), arguments(rows))


def _sglang(plan: LaunchPlan, serving: Serving, to: tuple[str, str, str], count: int) -> Command:
    """Its range ratio is the least share of a length that is the most."""
    base, model, rate = to
    (inputs, spread), (outputs, answers) = length_range(serving.input), length_range(serving.output)
    rows = [
        ("--backend", "sglang-oai", ""),
        ("--base-url", base, ""),
        ("--model", plan.settings.checkpoint, ""),
        ("--served-model-name", model, ""),
        ("--dataset-name", "random-ids", ""),
        ("--random-input-len", round(inputs * (1 + spread)), ""),
        ("--random-output-len", round(outputs * (1 + answers)), ""),
        ("--random-range-ratio", f"{(1 - spread) / (1 + spread):.4g}", ""),
        ("--num-prompts", count, ""),
        ("--request-rate", rate, ""),
        ("--max-concurrency", plan.concurrency, "") if plan.concurrency else None,
        ("--seed", serving.seed, ""),
        ("--output-file", "result.jsonl", ""),
    ]
    return Command(("python3", "-m", "sglang.bench_serving"), arguments(rows))
