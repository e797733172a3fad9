"""What seven benchmark tools write → measured points.

One word means different quantities in them. Taken is the decode time a token with the first left out, (e2e − ttft) ÷
(n − 1): vLLM's and SGLang's tpot, AIPerf's and guidellm's inter-token latency, trtllm-bench's avg_tpot; llmperf has
none, it is made of its means. InferenceX writes seconds without a suffix. Never the gap between chunks (itl).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moewright.case.bounded_file import decoded, read_bounded
from moewright.errors import SpecError

MOST_BYTES: Final = 64 << 20
#: requests of InferenceX for each client
ROUNDS: Final = 10


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """One run: mean tokens of prompts and answers, mean requests in flight, mean seconds to the first token (None: not
    written) and per further one. ``statistic``: mean, or median where the file has no mean; ``requests`` that a closed
    loop's clients sent, all of whom began at once (None: not said). ``notes``: what else the file says that bears on
    it."""

    tool: str
    source: str
    input: float
    output: float
    concurrency: float
    ttft: float | None
    tpot: float
    statistic: str = "mean"
    model: str = ""
    notes: tuple[str, ...] = ()
    requests: int | None = None


class _MissingError(Exception):
    """A figure that the file should have and has not."""


def read_results(path: Path) -> list[MeasuredPoint]:
    """The runs in a results file. Raises SpecError for a file of no known tool, and for what a run lacks."""
    text = decoded(read_bounded(path, MOST_BYTES, "a benchmark's results", "results file"), path)
    name = str(path)
    try:
        if path.suffix.lower() == ".csv":
            return [_of_csv(text, name)]
        return [point for i, raw in enumerate(_objects(text, name)) for point in _of_object(raw, _place(name, i))]
    except csv.Error as error:
        raise SpecError(f"is not a CSV table: {error}", file=name) from None
    except _MissingError as missing:
        raise SpecError(f"has no {missing}, which a measured point needs", file=name) from None


def _place(name: str, i: int) -> str:
    return name if i == 0 else f"{name} run {i + 1}"


def _objects(text: str, name: str) -> list[dict[str, Any]]:
    """The JSON objects of a file: one, or one a line."""
    try:
        whole = json.loads(text)
        rows = whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                raise SpecError(f"line {number} is no JSON", file=name) from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise SpecError("holds no JSON objects; expected what a benchmark tool writes", file=name)
    if all("metadata" in row and "metrics" in row and "benchmarks" not in row for row in rows):
        raise SpecError("holds single requests of AIPerf; give profile_export_aiperf.json of the run", file=name)
    return rows


def _of_object(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    for applies, read in _TOOLS:
        if applies(raw):
            return read(raw, source)
    keys = ", ".join(list(map(str, raw))[:6])
    raise SpecError(
        f"has {keys}; expected results of vllm bench serve, SGLang, AIPerf, genai-perf, InferenceX, guidellm, llmperf "
        "or trtllm-bench",
        file=source,
    )


def _number(raw: dict[str, Any], *names: str) -> float | None:
    """The first of these that is a finite number; llmperf writes some of them as texts."""
    for name in names:
        value = raw.get(name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def _needed(raw: dict[str, Any], *names: str) -> float:
    value = _number(raw, *names)
    if value is None or value <= 0:
        raise _MissingError(" or ".join(names))
    return value


def _statistic(raw: dict[str, Any], name: str, unit: str = "") -> tuple[float | None, str]:
    """Mean, else median, of a metric."""
    for statistic in ("mean", "median"):
        value = _number(raw, f"{statistic}_{name}{unit}")
        if value is not None:
            return value, statistic
    return None, "mean"


def _client(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    """vLLM's and SGLang's own clients, milliseconds; InferenceX' experimental files have the same keys in seconds."""
    in_ms = "mean_tpot_ms" in raw or "median_tpot_ms" in raw
    unit, scale = ("_ms", 1e-3) if in_ms else ("", 1.0)
    tpot, statistic = _statistic(raw, "tpot", unit)
    ttft, _ = _statistic(raw, "ttft", unit)
    if tpot is None:
        raise _MissingError("mean_tpot_ms")
    done = _needed(raw, "completed")
    lengths = _needed(raw, "total_input_tokens") / done, _needed(raw, "total_output_tokens") / done
    reached, asked = _number(raw, "concurrency"), _number(raw, "max_concurrency")
    if _number(raw, "request_rate") is not None:  # arrivals at a rate: the clients allowed are not those in flight
        asked = None
    if reached is None and asked is None:  # by Little's law
        e2e, _ = _statistic(raw, "e2el", unit)
        e2e = e2e or ((ttft or 0.0) + tpot * (lengths[1] - 1))
        reached = e2e * scale * _needed(raw, "request_throughput")
    failed = _number(raw, "failed")
    notes = [f"{failed:g} requests failed"] if failed else []
    if raw.get("accept_length"):
        notes.append(f"{raw['accept_length']:g} drafted tokens accepted a step")
    tool = "sglang" if "total_output_tokens_retokenized" in raw else "vllm" if in_ms else "inferencex (seconds)"
    clients = asked if asked is not None else reached
    assert clients is not None
    seconds = None if ttft is None else ttft * scale
    model, sent = str(raw.get("model_id", "")), None if asked is None else int(done)
    return [MeasuredPoint(tool, source, *lengths, clients, seconds, tpot * scale, statistic, model, tuple(notes), sent)]


def _inferencex(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    tpot, statistic = _statistic(raw, "tpot")
    ttft, _ = _statistic(raw, "ttft")
    if tpot is None:
        raise _MissingError("mean_tpot")
    notes = ["lengths are those asked for (isl, osl): shorter in the mean where the sweep drew them"]
    if raw.get("disagg"):
        notes.append("prefill and decode apart")
    lengths = _needed(raw, "isl"), _needed(raw, "osl")
    model = str(raw.get("model", ""))
    clients = _needed(raw, "conc")
    sent = round(ROUNDS * clients)
    return [MeasuredPoint("inferencex", source, *lengths, clients, ttft, tpot, statistic, model, tuple(notes), sent)]


_TO_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0, "us": 1e-6, "ns": 1e-9}


def _aiperf(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    def of(name: str) -> float | None:
        metric = raw.get(name)
        value = _number(metric, "avg") if isinstance(metric, dict) else None
        unit = str(metric.get("unit", "")) if isinstance(metric, dict) else ""
        return None if value is None else value * _TO_SECONDS.get(unit, 1.0)

    tpot, ttft = of("inter_token_latency"), of("time_to_first_token")
    lengths = of("input_sequence_length"), of("output_sequence_length")
    phases = (raw.get("input_config") or {}).get("phases") or []
    asked = [_number(p, "concurrency") for p in phases if isinstance(p, dict)]
    clients = next((c for c in reversed(asked) if c), None) or of("effective_concurrency")
    for name, value in (("inter_token_latency", tpot), ("sequence lengths", lengths[0] and lengths[1])):
        if not value:
            raise _MissingError(name)
    if not clients:
        raise _MissingError("concurrency")
    rate = of("request_error_rate")
    notes = (f"{rate:.1%} of requests failed",) if rate else ()
    assert tpot is not None
    return [MeasuredPoint("aiperf", source, lengths[0] or 0, lengths[1] or 0, clients, ttft, tpot, notes=notes)]


def _guidellm(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    points = []
    for i, b in enumerate(raw["benchmarks"]):
        metrics = b.get("metrics", {}) if isinstance(b, dict) else {}

        def of(name: str, metrics: dict[str, Any] = metrics) -> float:
            successful = (metrics.get(name) or {}).get("successful") or {}
            return _needed(successful, "mean")

        strategy = ((b.get("config") or {}).get("strategy")) or {}
        clients = _number(strategy, "streams", "max_concurrency") or of("request_concurrency")
        ttft, tpot = of("time_to_first_token_ms") * 1e-3, of("inter_token_latency_ms") * 1e-3
        lengths = of("prompt_token_count"), of("output_token_count")
        points.append(MeasuredPoint("guidellm", _place(source, i), *lengths, clients, ttft, tpot))
    if not points:
        raise _MissingError("benchmarks")
    return points


def _llmperf(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    """Its inter_token_latency_s is e2e ÷ tokens, the first included: decoding is made of the means."""
    ttft, e2e = _needed(raw, "results_ttft_s_mean"), _needed(raw, "results_end_to_end_latency_s_mean")
    lengths = _needed(raw, "results_number_input_tokens_mean"), _needed(raw, "results_number_output_tokens_mean")
    notes = ("tokens counted with LLaMA's tokenizer; seconds a token made of the means",)
    tpot = (e2e - ttft) / max(lengths[1] - 1, 1e-9)
    clients = _needed(raw, "num_concurrent_requests")
    return [
        MeasuredPoint("llmperf", source, *lengths, clients, ttft, tpot, notes=notes, model=str(raw.get("model", "")))
    ]


def _trtllm(raw: dict[str, Any], source: str) -> list[MeasuredPoint]:
    info, streaming = raw["request_info"], raw.get("streaming_metrics") or {}
    tpot, ttft = _number(streaming, "avg_tpot_ms"), _number(streaming, "avg_ttft_ms")
    if tpot is None:
        raise _MissingError("streaming_metrics (run trtllm-bench with --streaming)")
    clients = _needed(info, "avg_num_concurrent_requests")
    lengths = _needed(info, "avg_input_length"), _needed(info, "avg_output_length")
    seconds = None if ttft is None else ttft * 1e-3
    model = str((raw.get("engine") or {}).get("model", ""))
    notes = ("concurrency is the mean reached; what was asked is not written",)
    return [MeasuredPoint("trtllm-bench", source, *lengths, clients, seconds, tpot * 1e-3, "mean", model, notes)]


_TOOLS: Final[
    tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, Any], str], list[MeasuredPoint]]], ...]
] = (
    (lambda r: isinstance(r.get("benchmarks"), list), _guidellm),
    (lambda r: "request_info" in r, _trtllm),
    (lambda r: "results_ttft_s_mean" in r, _llmperf),
    (lambda r: isinstance(r.get("inter_token_latency"), dict), _aiperf),
    (lambda r: "isl" in r and "osl" in r and "conc" in r, _inferencex),
    (lambda r: "total_output_tokens" in r and "completed" in r, _client),
)


def _of_csv(text: str, source: str) -> MeasuredPoint:
    """AIPerf's or genai-perf's CSV: sections parted by blank lines, columns by their header, units in the names."""
    values: dict[str, float] = {}
    header: list[str] = []
    for row in csv.reader(io.StringIO(text, newline="")):
        if not row or row[0] == "Metric":
            header = row
            continue
        column = header.index("avg") if "avg" in header else 1
        name, _, unit = row[0].rstrip(")").rpartition(" (")
        try:
            value = float(row[column].replace(",", ""))
        except (ValueError, IndexError):
            continue
        values[(name or row[0]).lower()] = value * _TO_SECONDS.get(unit, 1.0)
    tpot, ttft = values.get("inter token latency"), values.get("time to first token")
    lengths = values.get("input sequence length"), values.get("output sequence length")
    if not tpot or not lengths[0] or not lengths[1]:
        raise SpecError(
            "has no Inter Token Latency with sequence lengths; expected a CSV of AIPerf or genai-perf (of guidellm "
            "give the JSON)",
            file=source,
        )
    clients = values.get("effective concurrency")
    if not clients:  # by Little's law
        rate, whole = values.get("request throughput"), values.get("request latency")
        if not rate or not whole:
            raise _MissingError("Request Throughput and Request Latency")
        clients = rate * whole
    return MeasuredPoint("aiperf", source, lengths[0], lengths[1], clients, ttft, tpot)
