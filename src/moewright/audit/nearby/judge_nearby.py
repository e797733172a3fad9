"""The verdicts of every judge that holds figures against others of the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import Context, matches
from moewright.audit.judges.places import Said
from moewright.audit.nearby.derivations import judge_derivations, judge_token_bytes
from moewright.audit.nearby.element_sizes import (
    judge_cell_products,
    judge_element_sizes,
    judge_formats_of_elements,
    judge_model_bytes,
    judge_token_work,
)
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import judge_model_slips
from moewright.audit.nearby.multiples import judge_multiples
from moewright.audit.nearby.per_gpu_rates import judge_per_gpu_rates
from moewright.audit.nearby.percentages import judge_factors, judge_hundredfold, judge_shares, judge_subjects
from moewright.audit.nearby.split_counts import judge_groups, judge_split_counts, judge_split_tables
from moewright.audit.nearby.transfers import judge_transfers
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.meaning import meaning_of, topics_named
from moewright.audit.reading.standing import standing_of
from moewright.case.tensors.layer_tensors import all_tensors


def judge_nearby(claims: list[Claim], said: Sequence[Said]) -> list[Claim]:
    """``claims`` with the verdicts on figures that must follow from others of the document."""
    ledger = Ledger.of((x.statement, x.clauses) for x in said)
    device = said[0].place.facts.setting if said else None
    capacity = device.case.cluster.device.memory if device and "cluster.device.memory" not in device.missing else None
    found: dict[tuple[int, float | None, str], Claim] = {}
    facts_at = partial(_facts_at, said)
    #: of figures that stand together, whatever plan they are of
    together = (
        judge_shares(ledger, capacity),
        judge_factors(ledger),
        judge_hundredfold(ledger),
        judge_transfers(ledger),
        judge_multiples(ledger, facts_at),
        judge_split_counts(ledger, facts_at),
        judge_split_tables(ledger, facts_at),
        judge_groups(ledger),
        judge_per_gpu_rates(ledger),
        judge_element_sizes(ledger),
        judge_token_work(ledger, facts_at),
        judge_model_bytes(ledger),
        judge_formats_of_elements(ledger),
        judge_cell_products(ledger),
    )
    of_plan = (
        judge_token_bytes(ledger),
        judge_subjects(ledger, capacity, partial(_model_shares, said)),
        judge_model_slips(ledger, facts_at),
        judge_derivations(ledger, partial(_is_known, said, {})),
    )
    marked = chain(((e, c, False) for js in together for e, c in js), ((e, c, True) for js in of_plan for e, c in js))
    for e, claim, plan in marked:
        place = said[e.index].place
        if plan and claim.verdict is Verdict.WRONG and standing_of(e.statement, place.view.name):
            continue
        found[claim.line, claim.claimed, claim.text] = replace(claim, configuration=place.view.name)
    kept = [c for c in claims if not (c.verdict is Verdict.NOT_CHECKED and (c.line, c.claimed, c.text) in found)]
    decided = {(c.line, c.claimed, c.text) for c in kept if c.verdict is not Verdict.NOT_CHECKED}
    return kept + [c for key, c in found.items() if key not in decided]


def _is_known(said: Sequence[Said], contexts: dict[int, Context], e: Entry) -> bool:
    """Whether the planner derives a figure such as ``e`` for a quantity that its text names, in any scope;
    ``contexts``: those of the places so far, which keep what they derived."""
    x = said[e.index]
    meaning = meaning_of(e.figure, x.statement)
    names = [*([meaning.name] if meaning is not None else []), *topics_named(e.figure, x.statement)]
    context = contexts.setdefault(id(x.place), Context(x.place.facts, x.place.view.name))
    scopes = [frozenset(c) for k in range(4) for c in combinations(("gpu", "layer", "expert", "token"), k)]
    return any(
        matches(e.number, r.value)
        for name in dict.fromkeys(names)
        for scope in scopes
        for r in context.readings(name, scope)
    )


def _model_shares(said: Sequence[Said], index: int) -> dict[str, tuple[float, ...]]:
    """Shares of a model's parameters that its experts (all, or those that are routed) and its attention have."""
    needs = (
        "model.layers",
        "model.hidden_size",
        "model.experts.count",
        "model.experts.intermediate_size",
        "model.vocab_size",
    )
    facts = _facts_at(said, index, (*needs, "model.experts.gated", "model.attention.kv_heads"))
    if facts is None:
        return {}
    model = facts.case.model
    counts: dict[str, int] = {}
    for tensor, count in all_tensors(model):
        counts[tensor.kind] = counts.get(tensor.kind, 0) + tensor.parameters * count
    total = sum(counts.values())
    routed, shared = counts.get("experts", 0), counts.get("shared_experts", 0)
    less = total - counts.get("vocabulary", 0)
    return {
        "experts": tuple(x / y for x in (routed, routed + shared) for y in (total, less)),
        "attention": tuple(counts.get("attention", 0) / y for y in (total, less)),
    }


def _facts_at(said: Sequence[Said], index: int, needs: tuple[str, ...]) -> Facts | None:
    """The facts of the configuration that statement ``index`` stands in, where the document gives ``needs``, or a model
    by its name, and not several values of them."""
    place = said[index].place
    setting = place.facts.setting
    open_ = any(f in setting.missing for f in needs if f.startswith("model."))
    guessed = any(f in setting.assumed and setting.assumed[f].source.startswith("default") for f in needs)
    if place.unpriced or open_ or guessed or place.doubts.of(("model.name", *needs)):
        return None
    return place.facts
