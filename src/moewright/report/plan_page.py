"""The sections about the chosen plan, in the order in which a strategy document has them."""

from __future__ import annotations

import numpy as np

from moewright.case.case import Case
from moewright.case.workload import Kind
from moewright.placement.assignment import Assignment
from moewright.planning.naming import describe_model
from moewright.planning.proof.rank_totals import placed
from moewright.planning.record import Plan, Result
from moewright.report.blocks import Section, Table, check_table, facts, origins_text, percent, plural, proof_text
from moewright.report.choices import alternatives, answer, comparisons, excluded, frontier
from moewright.report.model_rows import model_rows
from moewright.units import format_bytes, format_count, format_flops, format_rate, format_seconds

#: ranks shown of the layout, beside the last one
SHOWN_RANKS = 4


def sections(result: Result, shown: int | None = None, verbose: bool = True) -> list[Section]:
    """The report of ``result``, the answer first: five tables and what was asked to be compared, or all sections; of
    the layout the first ``shown`` ranks and the last (None: none in five tables, else ``SHOWN_RANKS``)."""
    case, plan = result.case, result.best
    assignment, _ = placed(case, plan.strategy)
    if not verbose:
        parts = [
            answer(result),
            latency(case, plan),
            memory(plan),
            communication(plan),
            groups(plan) if shown is None else ranks(case, plan, assignment, shown),
            alternatives(result),
            *comparisons(result),
            Section("--verbose prints hardware, model, ranks, load balance, every check and the search too."),
        ]
    else:
        parts = [
            answer(result),
            hardware(case),
            model(case),
            experts(case, plan, assignment),
            configuration(plan),
            ranks(case, plan, assignment, SHOWN_RANKS if shown is None else shown),
            memory(plan),
            compute(plan),
            communication(plan),
            latency(case, plan),
            balance(plan),
            modules(plan),
            checks(plan),
            alternatives(result),
            frontier(result),
            excluded(result),
            *comparisons(result),
        ]
    return [part for part in parts if part is not None]


def hardware(case: Case) -> Section:
    """Device, nodes and network."""
    c, d = case.cluster, case.cluster.device
    peaks = ", ".join(f"{unit} {format_flops(value)}/s" for unit, value in d.flops.items())
    nodes = len(c.sizes)
    each = ", ".join(map(str, c.sizes[:12])) + (", …" if nodes > 12 else "") if c.nodes else str(c.gpus_per_node)
    return Section(
        "Hardware",
        (
            facts(
                ("GPUs", f"{c.gpus} × {d.name}, {plural(nodes, 'node')} of {each} ({c.name})"),
                ("Peak", f"{peaks}; counted with MFU {d.mfu:g}"),
                ("Memory", f"{format_bytes(d.memory)}, {c.reserve:.0%} kept free"),
                (
                    "Memory bandwidth",
                    f"{format_rate(d.memory_bandwidth)}; counted with {d.bandwidth_utilization:g} of it",
                ),
                ("Launch", format_seconds(d.launch) + " an operation") if d.launch else None,
                ("In a node", _tier(c.node.bandwidth, c.node.latency)) if c.gpus_per_node > 1 else None,
                ("Across nodes", _tier(c.fabric.bandwidth, c.fabric.latency)) if nodes > 1 else None,
                ("Price", f"{d.price:g} a GPU and hour") if d.price is not None else None,
            ),
        ),
    )


def _tier(bandwidth: float, latency: float) -> str:
    return f"{format_rate(bandwidth)} per GPU and direction, {format_seconds(latency)}"


def model(case: Case) -> Section:
    """Sizes, parameters, precision and the workload."""
    m, w = describe_model(case.model), case.workload
    batch = ", ".join(map(str, w.batch)) if len(w.batch) < 9 else f"{w.batch[0]} … {w.batch[-1]}"
    tokens = f"{w.sequence} tokens of context" if w.kind is Kind.DECODE else f"{w.sequence} tokens"
    mask = "" if w.kind is Kind.DECODE else ", causal" if w.causal else ", not causal"
    return Section(
        "Model",
        (
            facts(
                ("Name", m["name"]),
                *model_rows(m),
                ("Workload", f"{w.kind}, batch {batch}, {tokens} a sequence{mask}"),
                ("Routing", case.routing.source) if m["experts"] else None,
            ),
        ),
    )


def experts(case: Case, plan: Plan, a: Assignment) -> Section | None:
    """Which rank has which experts."""
    moe, e, s = case.model.moe, plan.strategy.experts, plan.strategy
    if moe is None:
        return None
    slots = a.experts.shape[2]
    text = f"{moe.experts} experts of a layer"
    if e.redundant:
        text += f" and {plural(e.redundant, 'redundant slot')}"
    text += f" over ep {e.ep}: {plural(slots, 'expert')} a rank and layer"
    if e.tp > 1:
        text += f", each divided in {e.tp} slices, 1/{e.tp} of each matrix on a GPU"
    held = plan.balance.experts_per_gpu
    each = f"{held.min:g}" if held.min == held.max else f"{held.min:g} to {held.max:g}"
    text += f". A GPU holds {each} experts' worth over its layers"
    text += f"; every replica of {s.replicas} has them all." if s.replicas > 1 else "."
    return Section("Expert distribution", (text,))


def configuration(plan: Plan) -> Section:
    """The sizes of the strategy."""
    s, a, e = plan.strategy, plan.strategy.attention, plan.strategy.experts
    attention = f"dp {a.dp} × cp {a.cp} × tp {a.tp}" + (f", repeated {a.repeated} times" if a.repeated > 1 else "")
    attention += f", dcp {a.dcp} of tp: a rank keeps 1/{a.dcp} of the cached tokens" if a.dcp > 1 else ""
    redundant = f", {e.redundant} redundant" if e.redundant else ""
    return Section(
        "Parallel configuration",
        (
            facts(
                ("Strategy", plan.name),
                ("GPUs", f"{plan.gpus} = replicas {s.replicas} × pp {s.pp} × {s.stage} ranks of a stage"),
                ("Attention", attention),
                ("Experts", f"ep {e.ep} × tp {e.tp}{redundant}, dispatch {e.dispatch}")
                if plan.modules.experts
                else None,
                ("Batch", f"{plural(plan.batch, 'sequence')}, micro-batches {s.micro_batches}, overlap {s.overlap}"),
            ),
        ),
    )


def groups(plan: Plan) -> Section:
    """Groups of ranks with an example of each kind."""
    rows = tuple((g.kind, str(g.count), str(g.size), _listed(g.ranks), g.tier) for g in plan.groups if g.size > 1)
    if not rows:
        return Section("Rank layout", ("Every GPU works alone: no group has more than one rank.",))
    return Section("Rank layout", (Table(("group", "groups", "size", "ranks of the first", "over"), rows, (1, 2)),))


def ranks(case: Case, plan: Plan, a: Assignment, shown: int) -> Section:
    """Groups with an example of each kind, and what some ranks hold."""
    r, sizes = a.ranks, case.cluster.sizes
    node = np.repeat(np.arange(len(sizes)), sizes)
    picked = sorted({*range(min(shown, a.gpus)), a.gpus - 1})
    rows = []
    for i in picked:
        layers = a.layers[r.stage[i]]
        held = "–"
        if len(a.experts):
            ids = a.experts[0][r.ep[i]]
            run = len(ids) > 2 and int(ids[-1] - ids[0]) == len(ids) - 1
            held = f"{ids[0]}–{ids[-1]}" if run else _listed(tuple(int(x) for x in ids))
            held += f", slice {r.etp[i] + 1}/{plan.strategy.experts.tp}" if plan.strategy.experts.tp > 1 else ""
        place = (r.replica[i], r.stage[i], r.dp[i] + r.repeat[i], r.cp[i], r.tp[i], r.ep[i], r.etp[i])
        rows.append((str(i), str(node[i]), *map(str, place), f"{layers.start}–{layers.stop - 1}", held))
    headers = ("rank", "node", "replica", "stage", "dp", "cp", "tp", "ep", "etp", "layers", "experts")
    keep = [c for c in range(len(headers)) if c in (0, 1, 9, 10) or _varies(a, headers[c])]
    table = Table(
        tuple(headers[c] for c in keep),
        tuple(tuple(row[c] for c in keep) for row in rows),
        tuple(i for i, c in enumerate(keep) if c < 9),
    )
    return Section("Rank layout", (*groups(plan).blocks, table))


def _varies(a: Assignment, name: str) -> bool:
    values = a.ranks.dp + a.ranks.repeat if name == "dp" else getattr(a.ranks, name)
    return bool(np.any(values != values[0]))


def _listed(values: tuple[int, ...], most: int = 6) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown}, … {values[-1]}"


def _in_flight(plan: Plan) -> str:
    batches = plan.throughput.batches_in_flight
    return f", {batches} batches in the pipeline" if batches > 1 else ""


def _sequences(case: Case, plan: Plan) -> str:
    """Sequences a second: of prompts, not of decoding, which is of tokens."""
    rate = plan.throughput.sequences_per_second
    return "" if case.workload.kind is Kind.DECODE else f", {format_count(rate)} sequences/s"


def memory(plan: Plan) -> Section:
    """Bytes on the fullest GPU by kind."""
    m = plan.memory
    w = m.weights
    lines = [
        ("weights: attention", w.attention),
        ("weights: experts", w.experts),
        ("weights: shared experts", w.shared_experts),
        ("weights: router", w.router),
        ("weights: vocabulary", w.vocabulary),
        ("weights: dense layers, norms", w.other),
        (f"KV cache{_in_flight(plan)}", m.kv_cache),
        ("activations at their peak", m.activations),
        ("communication buffers", m.buffers),
    ]
    rows = [(name, format_bytes(value), percent(value, m.total)) for name, value in lines if value]
    rows.append(("total", format_bytes(m.total), f"{percent(m.total, m.usable)} of {format_bytes(m.usable)} usable"))
    return Section("Memory per GPU", (Table(("on the fullest GPU", "bytes", "share"), tuple(rows), (1, 2)),))


def compute(plan: Plan) -> Section:
    """FLOPs of a pass."""
    c = plan.compute
    return Section(
        "Compute",
        (
            facts(
                ("The model", f"{format_flops(c.flops_total)} for the whole batch"),
                (
                    "Fullest GPU",
                    f"{format_flops(c.flops_per_gpu)}; an even share is {format_flops(c.flops_total / plan.gpus)}",
                ),
                ("MFU reached", f"{c.utilization:.1%} of all GPUs' peak over the latency"),
            ),
        ),
    )


def communication(plan: Plan) -> Section:
    """Every collective of a rank."""
    operations = plan.communication.operations
    used = [o for o in operations if o.seconds * o.count > 0]
    if not used:
        return Section("Communication", ("None: no group has more than one rank.",))
    rows = tuple(
        (
            o.name,
            o.collective,
            f"{o.group} {o.group_size}",
            o.tier,
            format_bytes(o.bytes),
            format_seconds(o.seconds),
            str(o.count),
            format_seconds(o.seconds * o.count),
        )
        for o in used
    )
    headers = ("operation", "collective", "group", "over", "bytes", "seconds", "calls", "in all")
    drop = (1, 6, 5)
    total = (
        f"A GPU sends {format_bytes(plan.communication.bytes_per_gpu)} a pass; bytes and seconds are those of one call."
    )
    return Section("Communication", (Table(headers, rows, (4, 5, 6, 7), drop), total))


def origins_of(plan: Plan) -> str:
    """How the seconds of a plan came to be."""
    origins = [(o.name, o.origin) for o in plan.compute.operations]
    origins += [(o.name, o.origin) for o in plan.communication.operations]
    return origins_text(plan.latency.origins, dict.fromkeys(name for name, origin in origins if origin == "derived"))


def latency(case: Case, plan: Plan) -> Section:
    """The breakdown of a pass, the bound, and throughput."""
    t, through, limits = plan.latency, plan.throughput, case.goal.limits
    terms = sorted(t.breakdown.items(), key=lambda item: -abs(item[1]))
    rows = [(name, format_seconds(value), percent(value, t.seconds)) for name, value in terms if value]
    what = "total: the time of a token (TPOT)" if case.workload.kind is Kind.DECODE else "total, one pass"
    rows.append((what, format_seconds(t.seconds), "100.0%"))
    cost = through.cost_per_million_tokens
    return Section(
        "Latency and throughput",
        (
            Table(("term", "seconds", "share"), tuple(rows), (1, 2)),
            facts(
                ("Bound", f"{format_seconds(t.bound_seconds)}: {t.bound_reason}"),
                ("Seconds from", origins_of(plan)),
                ("Above it", f"{t.seconds / t.bound_seconds:.3f} ×"),
                ("A layer", format_seconds(t.per_layer_seconds)),
                (
                    "Throughput",
                    f"{format_count(through.tokens_per_second)} tokens/s, "
                    f"{format_count(through.tokens_per_second_per_gpu)} a GPU{_sequences(case, plan)}"
                    f"{_in_flight(plan)}",
                ),
                ("TTFT", f"{format_seconds(t.ttft_seconds)}, limit {format_seconds(limits.ttft or 0)}")
                if t.ttft_seconds is not None
                else None,
                ("TPOT", f"{format_seconds(t.tpot_seconds)}, limit {format_seconds(limits.tpot or 0)}")
                if t.tpot_seconds is not None
                else None,
                ("Cost", f"{cost:.4g} a million tokens") if cost is not None else None,
            ),
        ),
    )


def balance(plan: Plan) -> Section:
    """Spreads over all ranks."""
    b = plan.balance
    spreads = [
        ("experts held", b.experts_per_gpu, "{:g}".format),
        ("routed copies of a layer, sampled", b.tokens_per_gpu_sampled, format_count),
        ("bytes held", b.memory_per_gpu, format_bytes),
        ("FLOPs, routing sampled", b.flops_per_gpu, format_flops),
        ("bytes sent, routing sampled", b.bytes_per_gpu, format_bytes),
    ]
    rows = tuple(
        (name, show(s.min), show(s.max), f"{s.max / s.min:.4f}" if s.min else "–")
        for name, s, show in spreads
        if s is not None
    )
    expected = f"The fullest expert rank gets {b.straggler:.4f} times the mean tokens, expected; a pass waits for it."
    return Section("Load balance", (expected, Table(("over all ranks", "least", "most", "ratio"), rows, (1, 2, 3))))


def modules(plan: Plan) -> Section:
    """Modules as a strategy document counts them."""
    m, s = plan.modules, plan.strategy
    text = f"{m.experts} experts + {m.attention} attentions = {m.total} modules"
    copies = f" × {s.replicas} replicas" if s.replicas > 1 else ""
    return Section("Module division", (f"{text}{copies}; over {plan.gpus} GPUs {m.per_gpu:.6g} each.",))


def checks(plan: Plan) -> Section:
    """Every check with its derivation."""
    told = () if plan.proof is None else (proof_text(plan.proof),)
    return Section("Checks", (*told, check_table(plan.checks)))
