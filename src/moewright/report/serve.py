"""A served workload on a terminal."""

from __future__ import annotations

from moewright.report.blocks import Section, Table, facts, plural
from moewright.serve.outcome import Outcome, Summary
from moewright.spec.case import Case
from moewright.spec.serving import Lengths, Serving, Spread
from moewright.units import format_count, format_seconds

_BARS = " ▁▂▃▄▅▆▇█"
_LABEL = 34


def serve_sections(case: Case, o: Outcome, width: int = 120) -> list[Section]:
    """What the users see, what the engine does, and where the time goes."""
    s = case.serving
    assert s is not None
    asked = f"{o.concurrency} in flight" if o.concurrency else _arrivals(s)
    title = f"{case.model.name} served by {o.engine} on {o.gpus} × {case.cluster.device.name}"
    head: list[str | Table] = ["; ".join(f"{_phase(p.phase)}{_times(p.replicas, p.name)}" for p in o.pools)]
    head.append(
        f"{plural(o.requests, 'request')}, {asked}, {_words(s.input)} in and {_words(s.output)} out: "
        f"{format_count(o.output_per_gpu)} output tokens/s a GPU"
        + (f", {o.per_user:.4g} tokens/s a user" if o.per_user else "")
    )
    if not o.holds:
        head.append(
            f"Of {o.concurrency} requests {o.held} are held at once (KV cache and the engine's own limits); "
            "the others wait in the queue."
        )
    return [
        Section(title, tuple(head)),
        Section("What users see", (_latencies(o), _ranges(o))),
        Section("What the engine does", (_engine(o),)),
        Section("Where the time goes", (_shares(o), f"Binds: {o.binds}.")),
        Section("Over time", (_chart(o, width),)),
    ]


def _phase(phase: str) -> str:
    return "" if phase == "all" else f"{phase} "


def _times(count: int, name: str) -> str:
    return name if count == 1 or name.startswith(f"R{count} ") else f"{count} × {name}"


def _arrivals(s: Serving) -> str:
    if s.trace is not None:
        return f"arriving as in {s.trace.source}"
    shape = "Poisson" if s.burstiness == 1 else f"burstiness {s.burstiness:g}"
    return f"{s.rate:g} arriving a second ({shape})"


def _words(x: Lengths) -> str:
    match x.spread:
        case Spread.FIXED:
            return f"{x.nominal:g} tokens"
        case Spread.UNIFORM:
            return f"{x.low * x.nominal:g} to {x.high * x.nominal:g} tokens"
        case Spread.LOGNORMAL:
            return f"about {x.nominal:g} tokens (lognormal)"
    return f"{x.mean:.4g} tokens in the mean"


def _latencies(o: Outcome) -> Table:
    named: list[tuple[str, Summary | None]] = [
        ("first token (TTFT)", o.ttft),
        ("each further one (TPOT)", o.tpot),
        ("between tokens (ITL)", o.itl),
        ("the whole answer (E2E)", o.e2e),
    ]
    rows = tuple(
        (name, *(format_seconds(v) for v in (x.mean, x.p50, x.p90, x.p99))) for name, x in named if x is not None
    )
    return Table(("seconds to", "mean", "p50", "p90", "p99"), rows, (1, 2, 3, 4))


def _ranges(o: Outcome) -> str:
    ends = [f"{name.upper()} {format_seconds(low)} to {format_seconds(high)}" for name, (low, high) in o.ranges.items()]
    return f"Steps priced by {o.kernels}; 80 % of held-out measured results lie within {' and '.join(ends)}."


def _engine(o: Outcome) -> Table:
    waits = ", ".join(f"{_CAUSES[name]} {share:.0%}" for name, share in o.starved.items() if share >= 0.005)
    caches = "; ".join(
        f"{_phase(p.phase)}{p.kv_tokens:,} tokens on each of {plural(p.attention_ranks * p.replicas, 'attention rank')}"
        for p in o.pools
    )
    return facts(
        (
            "Throughput",
            f"{format_count(o.requests_per_second)} requests/s, {format_count(o.total_per_gpu)} tokens/s a GPU",
        ),
        ("Running", f"{o.running:.1f} in the mean; the caches hold {o.held} at mean length"),
        ("Queued", f"{o.queued:.1f} in the mean" + (f"; the first waits for {waits} of the steps" if waits else "")),
        ("KV cache", f"{caches}; at most {o.kv_peak:.0%} used"),
        ("Preempted", plural(o.preemptions, "time")) if o.preemptions else None,
        ("Steps", f"{o.steps:,} in {format_seconds(o.seconds)}"),
        ("Statistics", f"of all but the first {plural(o.warmup, 'request')}"),
    )


_CAUSES = {"kv": "KV blocks in", "sequences": "max_num_seqs in", "budget": "the token budget in"}


def _shares(o: Outcome) -> Table:
    return Table(("part", "share"), tuple((name, f"{share:.1%}") for name, share in o.parts.items()), (1,))


def _chart(o: Outcome, width: int) -> Table:
    """A line each of queue, batch and cache, from none to its most."""
    points = max(10, min(72, width - _LABEL))
    rows = []
    for name, key, form in (
        ("queued", "queued", "{:.0f}"),
        ("running", "running", "{:.0f}"),
        ("KV cache", "kv", "{:.0%}"),
    ):
        values = o.series[key]
        most = max(values)
        cells = [values[i * len(values) // points] for i in range(points)]
        bars = "".join(_BARS[round(8 * v / most) if most else 0] for v in cells)
        rows.append((name, bars, f"at most {form.format(most)}"))
    return Table(("", "", ""), tuple(rows))
