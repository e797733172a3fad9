"""What ``moewright fit`` prints: one screen."""

from __future__ import annotations

from moewright.report.blocks import Section, Table
from moewright.serving.planner.fitting import DOES_NOT_LOAD, GIB, Fit, Layout
from moewright.units import format_count

#: layouts shown of each number of GPUs
SHOWN = 3


def fit_sections(found: Fit) -> list[Section]:
    """The answer, the layouts, and other formats."""
    case = found.case
    title = f"Fit of {case.model.name} on {found.device} under {found.engine.name}"
    return [
        Section(title, (_answer(found), *_notes(found), *_table(found))),
        Section("In other formats", (_precisions(found),)),
    ]


def overview(several: list[Fit]) -> list[Section]:
    """One line a kind of GPU."""
    first = several[0]
    rows = []
    for found in several:
        best = next((x for x in found.layouts if x.fits and x.gpus == found.fewest), None)
        cells = ("–", "–", "–", "–") if best is None else _row(best)[1:2] + _row(best)[4:7]
        rows.append((found.device, str(found.fewest or "none"), *cells))
    asked = f"{first.concurrency} requests" if first.concurrency > 1 else "one request"
    text = (
        f"The fewest GPUs that hold {asked} of {format_count(first.context)} tokens under {first.engine.name}; "
        "--cluster shows every layout."
    )
    headers = ("device", "GPUs", "layout", "cache GiB", "KV tokens", "requests")
    notes = tuple(first.case.model.notes)
    title = f"Fit of {first.case.model.name}"
    return [Section(title, (text, *notes, Table(headers, tuple(rows), (1, 3, 4, 5))))]


def _answer(found: Fit) -> str:
    asked = f"{found.concurrency} requests" if found.concurrency > 1 else "one request"
    what = f"{asked} of {format_count(found.context)} tokens"
    if found.fewest is None:
        return f"Nothing holds {what}, on up to 64 nodes."
    text = f"{found.fewest} × {found.device} hold {what}"
    best = next((x for x in found.layouts if x.fits and x.gpus == found.fewest), None)
    if best is None:
        return f"None of these sizes does: {text}."
    return (
        f"{text}: {best.name}, weights {best.weights / GIB:.1f} GiB a GPU, {best.kv_cache / GIB:.1f} GiB of cache for "
        f"{best.kv_tokens:,} tokens a rank, {best.requests:,} requests in all."
    )


def _notes(found: Fit) -> list[str]:
    rule = found.engine.memory
    taken = found.engine.gpu_memory_utilization
    own = f" (its fraction set to {taken:g})" if taken is not None else ""
    notes = [f"Memory by the rule of {found.engine.name} from {rule.since} on{own}; GiB of the fullest GPU."]
    return [*notes, *found.case.model.notes]


def _table(found: Fit) -> list[str | Table]:
    rows: list[tuple[str, ...]] = []
    for gpus in dict.fromkeys(x.gpus for x in found.layouts):
        here = [x for x in found.layouts if x.gpus == gpus]
        rows += [_row(x) for x in ([x for x in here if x.fits] or here[:1])[:SHOWN]]
    headers = ("GPUs", "layout", "weights", "other", "cache", "KV tokens", "requests", "fits")
    blocked: dict[str, list[str]] = {}
    for x in found.layouts:
        if x.why_not.startswith(DOES_NOT_LOAD):
            blocked.setdefault(x.why_not.removeprefix(DOES_NOT_LOAD), []).append(f"{_short(x)} on {x.gpus}")
    lines = [f"Not loaded: {', '.join(names)}: {why}." for why, names in blocked.items()]
    return [Table(headers, tuple(rows), (0, 2, 3, 4, 5, 6)), *lines] if rows else []


def _short(x: Layout) -> str:
    """The name without what is the same in all of them."""
    name = x.name.removeprefix("R1 · ").replace("PP1 · ", "")
    return name.removesuffix(" · all-to-all").removesuffix(" · replicated")


def _row(x: Layout) -> tuple[str, ...]:
    gib = (f"{x.weights / GIB:.1f}", f"{x.rest / GIB:.1f}", f"{x.kv_cache / GIB:.1f}")
    return (str(x.gpus), _short(x), *gib, f"{x.kv_tokens:,}", f"{x.requests:,}", "yes" if x.fits else _why(x))


def _why(x: Layout) -> str:
    """Why not, in as few words as a column has room for; the JSON has all of them."""
    if x.why_not.startswith(DOES_NOT_LOAD):
        return "does not load"
    return f"{-x.kv_cache / GIB:.1f} GiB missing" if x.kv_cache < 0 else f"holds {x.requests}"


def _precisions(found: Fit) -> Table:
    rows = []
    for p in found.precisions:
        few = "none of up to 64 nodes" if p.fewest is None else f"{p.fewest[0]} × {found.device}"
        rows.append((p.name, f"{p.weights / GIB:.1f} GiB", few))
    return Table(("format", "weights in all", f"fewest GPUs for {found.concurrency}"), tuple(rows), (1,))
