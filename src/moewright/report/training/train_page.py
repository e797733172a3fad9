"""A plan of training on a terminal or in Markdown."""

from __future__ import annotations

from moewright.report.blocks import Section, Table, check_table, facts, percent, plural, proof_text
from moewright.report.choices import launch_command
from moewright.training.footprint.memory_timeline import Moment
from moewright.training.training_record import TrainingComparison, TrainingPlan, TrainingResult
from moewright.units import format_bytes, format_count, format_seconds

#: parts of a step as a reader knows them
PARTS = {
    "compute": "computation",
    "host": "waiting for the host",
    "bubble": "pipeline bubble",
    "tp_traffic": "tensor parallelism",
    "cp_traffic": "context parallelism",
    "ep_traffic": "expert all-to-all",
    "etp_traffic": "tensor parallelism of experts",
    "stage_transfer": "between stages",
    "gradient_reduction": "gradient reduction",
    "weight_gathering": "weight gathering",
    "optimizer": "optimizer",
}
#: lines of memory as a reader knows them
LINES = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer states",
    "activations": "activations kept",
    "logits": "logits and loss",
    "working": "working memory of a backward pass",
    "buffers": "communication buffers",
}
#: columns of the picture of memory over a step
_COLUMNS = 60
_SHADES = " .:-=+*#%@"


#: sections that a terminal prints with --verbose alone
MORE = ("Stages", "Memory over a step, a line a stage", "Search")


def train_sections(r: TrainingResult, verbose: bool = True) -> list[Section]:
    """The answer first, then what a step goes to, memory, and what else there is; all of it, or without ``MORE``."""
    every = _every_section(r)
    if verbose:
        return every
    kept = [s for s in every if s.title not in MORE]
    return [*kept, Section(f"--verbose prints too: {'; '.join(s.title for s in every if s.title in MORE)}.")]


def _every_section(r: TrainingResult) -> list[Section]:
    best, case = r.best, r.case
    sections = [
        Section(
            f"Plan of training {case.model.name} on {case.cluster.gpus} × {case.cluster.device.name}",
            (
                f"Best of {plural(r.candidates, 'candidate')}: {best.strategy.name}",
                f"Start it: {launch_command(case, 'megatron')}"
                if not r.not_launched
                else f"Megatron-LM does not run {r.not_launched}: no command starts this plan.",
                _figures(r),
                *r.notes,
            ),
        ),
        Section("A step", (_parts(best), _hidden(best))),
        Section("Memory of the fullest rank", (_memory(r), *_moment(r))),
    ]
    if best.strategy.pp > 1:
        sections.append(Section("Stages", (_stages(r),)))
    if r.moments and best.strategy.pp > 1:
        sections.append(Section("Memory over a step, a line a stage", (_picture(r),)))
    if r.walls:
        wall = r.walls[0]
        text = f"Next wall: {PARTS[wall.name]}, {wall.share:.1%} of the step. It would take {wall.advice}."
        sections.append(Section("What would help most", (text,)))
    if best.proof is not None:
        sections.append(Section("Checks", (proof_text(best.proof), check_table(best.checks))))
    if r.alternatives:
        sections.append(Section("Alternatives", (_table((best, *r.alternatives)),)))
    sections.append(Section("Frontier: memory against time", (_table(r.frontier),)))
    sections += [_comparison(c) for c in r.comparisons]
    rows = tuple((reason, str(count)) for reason, count in r.rejected.items())
    text = f"{plural(r.candidates, 'candidate')} took {format_seconds(r.search_seconds, 3)}. Left out:"
    sections.append(Section("Search", (text, Table(("reason", "left out"), rows, (1,)))))
    return sections


def _hidden(best: TrainingPlan) -> str:
    """What overlap hides of each kind of traffic."""
    parts = [f"{format_seconds(s)} of {PARTS[name]}" for name, s in best.hidden.items() if s > 0]
    return f"Overlap hides {', '.join(parts)} more." if parts else "Overlap hides nothing."


def _figures(r: TrainingResult) -> Table:
    best = r.best
    simulated = None if r.simulated is None else ("pipeline, simulated", format_seconds(r.simulated, 4))
    days = None if best.days is None else ("days for all tokens", f"{best.days:.1f}")
    hours = None if best.gpu_hours is None else ("GPU-hours", format_count(best.gpu_hours))
    cost = None if best.cost is None else ("cost", format_count(best.cost))
    return facts(
        ("a step", format_seconds(best.seconds, 4)),
        simulated,
        ("tokens/s a GPU", format_count(best.tokens_s_gpu)),
        ("model FLOPs utilisation", f"{best.mfu:.1%}: {r.mfu_definition}"),
        ("micro-batches", str(best.micro_batches)),
        ("bubble", f"{best.bubble:.1%}"),
        days,
        hours,
        cost,
    )


def _parts(best: TrainingPlan) -> Table:
    rows = tuple(
        (PARTS[name], format_seconds(seconds), percent(seconds, best.seconds))
        for name, seconds in sorted(best.parts.items(), key=lambda item: -item[1])
        if seconds > 0
    )
    return Table(("part", "seconds", "share"), rows, (1, 2))


def _memory(r: TrainingResult) -> Table:
    best = r.best
    rows = [
        (LINES[name], format_bytes(size), percent(size, best.peak)) for name, size in best.memory.items() if size > 0
    ]
    rows.append(("peak", format_bytes(best.peak), ""))
    rows.append((f"usable, {r.training.fragmentation:.0%} left to fragments", format_bytes(best.usable), ""))
    return Table(("what", "bytes", "share"), tuple(rows), (1, 2))


def _moment(r: TrainingResult) -> list[str]:
    peak, lines = r.peak, []
    if r.worst_peak is not None:
        fits = "fits" if r.worst_peak <= r.best.usable else "would not fit"
        lines.append(
            f"Without drops, a rank that gets every copy it can needs {format_bytes(r.worst_peak)}, which {fits}."
        )
    if peak is None or r.best.strategy.pp == 1:
        return lines
    kind = {"F": "forward", "B": "backward", "W": "weights' gradient"}.get(peak.operation, "loss")
    return [
        *lines,
        f"The peak is on stage {peak.stage}, {format_seconds(peak.seconds)} into the step, in the {kind} pass of "
        f"micro-batch {peak.micro_batch}: {format_bytes(peak.bytes)} by the simulated schedule.",
    ]


def _stages(r: TrainingResult) -> Table:
    rows = tuple(
        (str(s.stage), str(s.layers), format_seconds(s.forward), format_seconds(s.backward), format_bytes(s.peak))
        for s in r.stages
    )
    return Table(("stage", "layers", "forward", "backward", "peak memory"), rows, (0, 1, 2, 3, 4))


def _picture(r: TrainingResult) -> Table:
    """Memory of each stage over the step: a character a moment, darker where more is held."""
    end = max(m.seconds for line in r.moments for m in line) or 1.0
    most = max(m.bytes for line in r.moments for m in line) or 1.0
    rows = tuple((str(line[0].stage), _line(line, end, most)) for line in r.moments)
    return Table(("stage", f"{_SHADES[0]!r} nothing to {_SHADES[-1]!r} {format_bytes(most)}"), rows)


def _line(moments: tuple[Moment, ...], end: float, most: float) -> str:
    largest = [0.0] * _COLUMNS
    held, at = moments[0].bytes, 0
    for column in range(_COLUMNS):
        largest[column] = held
        while at < len(moments) and moments[at].seconds <= end * (column + 1) / _COLUMNS:
            held = moments[at].bytes
            largest[column] = max(largest[column], held)
            at += 1
    return "".join(_SHADES[min(int(size / most * (len(_SHADES) - 1) + 0.5), len(_SHADES) - 1)] for size in largest)


def _table(plans: tuple[TrainingPlan, ...]) -> Table:
    rows = tuple(
        (
            p.strategy.name,
            format_seconds(p.seconds, 4),
            format_count(p.tokens_s_gpu),
            f"{p.bubble:.1%}",
            format_bytes(p.peak),
        )
        for p in plans
    )
    return Table(("strategy", "a step", "tokens/s a GPU", "bubble", "peak memory"), rows, (1, 2, 3, 4))


def _comparison(c: TrainingComparison) -> Section:
    rows = tuple(
        (PARTS[name], f"{'+' if seconds > 0 else '−'}{format_seconds(abs(seconds))}")
        for name, seconds in c.differences.items()
        if seconds
    )
    text = f"{c.plan.strategy.name} takes {format_seconds(c.plan.seconds, 4)} a step, {c.slower:.3f} times the best's."
    if c.slower < 1 and c.plan.fits:
        text += " The search did not try it: the spec's sizes, or their defaults, leave it out."
    if not c.plan.fits:
        text += f" It needs {format_bytes(c.plan.peak)} of {format_bytes(c.plan.usable)} usable."
    return Section(f"Compared: {c.plan.strategy.name}", (text, Table(("part", "against the best"), rows, (1,))))
