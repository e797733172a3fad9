"""A served workload on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moewright.case.case import Case
from moewright.case.serving import Lengths, Serving, Spread
from moewright.report.blocks import Section, Table, facts, origins_text, plural
from moewright.serving.simulation.outcome import TABLES, Limited, Outcome, Summary
from moewright.units import format_bytes, format_count, format_seconds

_BARS = " ▁▂▃▄▅▆▇█"
_LABEL = 34


def serve_sections(case: Case, o: Outcome, width: int = 120) -> list[Section]:
    """What the users see, what the engine does, and where the time goes."""
    s = case.serving
    assert s is not None
    title = f"{case.model.name} served by {o.engine} on {o.gpus} × {case.cluster.device.name}"
    head: list[str | Table] = ["; ".join(f"{_phase(p.phase)}{_times(p.replicas, p.name)}" for p in o.pools)]
    head.append(
        f"{plural(o.requests, 'request')}, {_load(s, o)}, {_words(s.input)} in and {_words(s.output)} out: "
        f"{format_count(o.output_per_gpu)} output tokens/s a GPU"
        + (f", {o.per_user:.4g} tokens/s a user" if o.per_user else "")
    )
    users: list[str | Table] = [_latencies(o), _ranges(o), *([_limits(o)] if o.limits else [])]
    return [
        Section(title, (*head, *_notes(o))),
        Section("What users see", tuple(users)),
        Section("What the engine does", (_engine(o),)),
        *(memory_section(p.memory, _phase(p.phase)) for p in o.pools),
        Section("Where the time goes", (_shares(o), f"Binds: {o.binds}.")),
        Section("Over time", (_chart(o, width),)),
    ]


#: parts of an engine's memory, and where their figures come from
_PARTS: Final = (
    ("weights", "weights", "counted"),
    ("activations", "activations at their peak", "counted"),
    ("buffers", "buffers of dispatch and combine", "counted"),
    ("graphs", "CUDA graphs", "fitted on start-up logs"),
    ("other", "context, libraries, collectives", "fitted on start-up logs"),
    ("kv_cache", "KV cache", "what is left"),
)


def memory_section(memory: Mapping[str, str | float | int], phase: str) -> Section:
    """What a GPU's memory goes to by the engine's rule, part by part."""

    def size(name: str) -> float:
        return float(memory.get(name, 0.0))

    rows = [(words, format_bytes(size(part)), source) for part, words, source in _PARTS if size(part)]
    rows.append(("of", format_bytes(size("capacity")), f"{size('fraction'):.1%} taken, {memory['rule']}"))
    title = f"Memory of a GPU{f' ({phase.strip()})' if phase.strip() else ''}"
    return Section(title, (Table(("", "", ""), tuple(rows), (1,)),))


def _load(s: Serving, o: Outcome) -> str:
    if not o.concurrency:
        return _arrivals(s)
    less = o.asked is not None and o.asked > o.concurrency
    return f"concurrency {o.concurrency}" + (f" (of {o.asked} asked for: there are no more requests)" if less else "")


def _notes(o: Outcome) -> list[str]:
    """What is to be known before the figures are read."""
    found = []
    missed = [f"limits.{n} of {format_seconds(x.limit)} by {_over(x)}" for n, x in o.limits.items() if not x.met]
    if missed:
        found.append(f"Misses {' and '.join(missed)}.")
    if o.arrivals_per_second is not None and o.keeps_up is not True:
        found.append(_behind(o, o.arrivals_per_second))
    if not o.holds:
        found.append(
            f"Of {o.concurrency} requests {o.held} are held at once ({_bound(o)}); the others wait in the queue."
        )
    if o.gpus_unused:
        found.append(
            f"{o.gpus} of {o.gpus + o.gpus_unused} GPUs are used, {o.gpus_unused} are idle: what is said of a GPU is "
            "of those used."
        )
    return found


def _behind(o: Outcome, arrive: float) -> str:
    if o.keeps_up is None:
        return (
            "Too few requests to tell whether the rate is kept up with: arrivals do not go on long enough after the "
            "first tenth of them is done."
        )
    if o.whole:
        return (
            f"{arrive:.4g} requests arrive a second, and the queue grows all along: the rate is above what is served."
        )
    return (
        f"{arrive:.4g} requests arrive a second and {o.requests_per_second:.4g} are done: the rate is above what is "
        f"served, and {arrive - o.requests_per_second:.4g} more wait after each second. Latencies grow with the run."
    )


def _over(x: Limited) -> str:
    return f"{format_seconds(x.mean - x.limit)} (the mean is {x.mean / x.limit:.3g} times it)"


def _limits(o: Outcome) -> str:
    words = [
        f"{n.upper()} {format_seconds(x.mean)} of {format_seconds(x.limit)}, {'met' if x.met else 'missed'}"
        for n, x in o.limits.items()
    ]
    return f"Limits, of the means: {'; '.join(words)}."


def _bound(o: Outcome) -> str:
    """What is held at once, and why no more."""
    p = o.pools[-1]
    both = f"the caches have room for {p.held_by_cache} of mean length, max_num_seqs allows {p.held_by_engine}"
    return f"{both}: {'the caches bind' if p.bound == 'cache' else 'the engine binds'}"


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
            return plural(x.nominal, "token")
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
    text = f"Steps priced by {o.kernels}"
    if o.kernels == TABLES:
        text += f" ({origins_text(o.origins, o.derived)})"
    if not ends:
        return f"{text}; no range: the measured results that there are come from GPU servers."
    return f"{text}; 80 % of held-out measured results lie within {' and '.join(ends)}."


def _engine(o: Outcome) -> Table:
    waits = ", ".join(f"{_CAUSES[name]} {share:.0%}" for name, share in o.starved.items() if share >= 0.005)
    caches = "; ".join(
        f"{_phase(p.phase)}{p.kv_tokens:,} tokens on each of {plural(p.attention_ranks * p.replicas, 'attention rank')}"
        for p in o.pools
    )
    return facts(
        ("Throughput", _throughput(o)),
        ("In flight", f"{o.in_flight:.1f} in the mean: {o.running:.1f} running, {o.queued:.1f} queued, {_outside(o)}"),
        ("Holds", f"{o.held} at once ({_bound(o)}); at most {o.most_running} ran"),
        ("Queue", f"the first waits for {waits} of the steps") if waits else None,
        ("KV cache", f"{caches}; at most {o.kv_peak:.0%} of all used"),
        ("Pools", "; ".join(f"{p.phase} busy {p.busy:.0%}, {p.queued:.1f} queued" for p in o.pools))
        if len(o.pools) > 1
        else None,
        ("Preempted", plural(o.preemptions, "time")) if o.preemptions else None,
        ("Steps", f"{o.steps:,} in {format_seconds(o.seconds)}"),
        ("Statistics", _statistics(o)),
    )


def _throughput(o: Outcome) -> str:
    arrived = "" if o.arrivals_per_second is None else f" of {format_count(o.arrivals_per_second)} that arrive"
    return f"{format_count(o.requests_per_second)} requests/s{arrived}, {format_count(o.total_per_gpu)} tokens/s a GPU"


def _outside(o: Outcome) -> str:
    return f"{o.outside:.1f} before the queue" + (" or on the way to the other pool" if len(o.pools) > 1 else "")


def _statistics(o: Outcome) -> str:
    begin, end = (format_seconds(t) for t in o.window)
    of = f"all but the first {plural(o.warmup, 'request')}" if o.warmup else f"all {plural(o.requests, 'request')}"
    if o.requests == 1:
        of = "the only request"
    if o.whole:
        return f"latencies of {of}; throughput, in flight of the whole run, its beginning and end included"
    what = "all clients are at work" if o.concurrency else "requests arrive and the first ones are done"
    return f"latencies of {of}; throughput, in flight from {begin} to {end}, while {what}"


_CAUSES = {"kv": "KV blocks in", "sequences": "max_num_seqs in", "budget": "the token budget in"}


def _shares(o: Outcome) -> Table:
    return Table(
        ("part", "share"), tuple((name, f"{share:.1%}") for name, share in o.parts.items() if share >= 5e-4), (1,)
    )


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
