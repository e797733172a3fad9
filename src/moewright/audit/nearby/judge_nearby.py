"""The verdicts of every judge that holds figures against others of the document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from typing import Final

from moewright.audit.audit_record import Claim, Key, Verdict
from moewright.audit.judges.figures import IS_SAID, Context, matches
from moewright.audit.judges.places import Said
from moewright.audit.nearby.costs import judge_costs
from moewright.audit.nearby.derivations import judge_derivations, judge_token_bytes
from moewright.audit.nearby.durations.arrow_times import judge_arrow_times
from moewright.audit.nearby.durations.cell_times import judge_cell_times
from moewright.audit.nearby.durations.efficiency_times import judge_efficiency_times
from moewright.audit.nearby.durations.memory_reads import judge_memory_reads
from moewright.audit.nearby.durations.named_links import judge_named_links
from moewright.audit.nearby.durations.read_times import judge_implied_rates, judge_read_times
from moewright.audit.nearby.durations.repeated_times import judge_repeated
from moewright.audit.nearby.durations.request_rates import judge_request_rates
from moewright.audit.nearby.durations.run_lengths import judge_run_lengths, judge_runs
from moewright.audit.nearby.durations.sibling_times import judge_sibling_times
from moewright.audit.nearby.durations.step_rates import judge_step_rates
from moewright.audit.nearby.durations.transfers import judge_transfers
from moewright.audit.nearby.exchanges import judge_exchanges, judge_steps
from moewright.audit.nearby.extents.active_work import judge_active_work
from moewright.audit.nearby.extents.cluster_hardware import judge_cluster_hardware, judge_each_totals
from moewright.audit.nearby.extents.cluster_rates import (
    judge_cluster_amounts,
    judge_cluster_memory,
    judge_cluster_rates,
)
from moewright.audit.nearby.extents.extent_pairs import judge_extents
from moewright.audit.nearby.extents.formula_scopes import judge_formula_scopes
from moewright.audit.nearby.extents.multiples import judge_multiples
from moewright.audit.nearby.extents.part_amounts import judge_part_amounts
from moewright.audit.nearby.extents.part_pairs import judge_part_pairs
from moewright.audit.nearby.extents.per_gpu_rates import judge_per_gpu_amounts, judge_per_gpu_rates
from moewright.audit.nearby.extents.wholes import judge_wholes
from moewright.audit.nearby.labelled_options import judge_labelled_options
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.misprints import judge_misprints, judge_prefixes
from moewright.audit.nearby.model_slips import ONE_LAYER, WIDE, judge_model_slips
from moewright.audit.nearby.pairs.batch_tokens import judge_batch_tokens
from moewright.audit.nearby.pairs.calls_per_pass import judge_calls
from moewright.audit.nearby.pairs.group_totals import judge_group_totals
from moewright.audit.nearby.pairs.link_units import judge_link_units
from moewright.audit.nearby.pairs.over_layers import judge_both_ways, judge_over_layers
from moewright.audit.nearby.pairs.sequence_tokens import judge_sequence_tokens
from moewright.audit.nearby.pairs.state_rows import judge_state_rows
from moewright.audit.nearby.pairs.token_room import judge_token_room
from moewright.audit.nearby.pairs.told_wholes import judge_told_wholes
from moewright.audit.nearby.pairs.user_rates import judge_user_rates
from moewright.audit.nearby.pairs.word_fractions import judge_word_fractions
from moewright.audit.nearby.pairs.work_times import judge_work_times
from moewright.audit.nearby.sequences import judge_changes, judge_more, judge_sequences
from moewright.audit.nearby.shares.active_parameters import (
    judge_active_percent,
    judge_active_share,
    judge_active_total,
    judge_active_whole,
)
from moewright.audit.nearby.shares.active_parts import judge_active_parts, judge_swapped
from moewright.audit.nearby.shares.capacity_shares import judge_capacity_shares
from moewright.audit.nearby.shares.changed_amounts import judge_changed_amounts, judge_gains
from moewright.audit.nearby.shares.explicit_shares import judge_explicit_shares, judge_shares_above
from moewright.audit.nearby.shares.fractions import judge_fractions
from moewright.audit.nearby.shares.named_shares import judge_above_mean, judge_named_shares
from moewright.audit.nearby.shares.percentages import (
    judge_factors,
    judge_hundredfold,
    judge_percent_of,
    judge_shares,
    judge_subjects,
)
from moewright.audit.nearby.shares.plain_shares import judge_loads, judge_plain_shares, judge_signed_changes
from moewright.audit.nearby.shares.ratios_told import (
    judge_above_need,
    judge_format_pairs,
    judge_gpu_hours,
    judge_times_mean,
)
from moewright.audit.nearby.shares.told_ratios import judge_times_more, judge_told_fractions, judge_told_ratios
from moewright.audit.nearby.sizes.bare_units import judge_bare_units
from moewright.audit.nearby.sizes.counted_parts import judge_counted_parts
from moewright.audit.nearby.sizes.element_sizes import (
    judge_cell_products,
    judge_element_sizes,
    judge_formats_of_elements,
    judge_model_bytes,
    judge_named_sizes,
    judge_token_work,
)
from moewright.audit.nearby.sizes.parameter_bytes import judge_parameter_bytes
from moewright.audit.nearby.sizes.part_bytes import judge_part_bytes, judge_part_parameters
from moewright.audit.nearby.sizes.sequence_bytes import judge_sequence_bytes
from moewright.audit.nearby.sizes.told_formats import judge_state_formats, judge_told_formats
from moewright.audit.nearby.sizes.training_states import judge_training_states
from moewright.audit.nearby.splits.expert_columns import judge_expert_columns
from moewright.audit.nearby.splits.expert_spread import judge_layer_kinds, judge_layer_sets, judge_spread
from moewright.audit.nearby.splits.expert_tokens import judge_expert_tokens
from moewright.audit.nearby.splits.experts_each import judge_experts_each, judge_slots
from moewright.audit.nearby.splits.group_counts import judge_group_counts, judge_node_counts
from moewright.audit.nearby.splits.head_pairs import judge_head_pairs, judge_layer_shares
from moewright.audit.nearby.splits.kept_parts import judge_divided_rows, judge_kept_parts
from moewright.audit.nearby.splits.load_factors import (
    judge_fullest,
    judge_imbalances,
    judge_load_factors,
    judge_micro_batches,
)
from moewright.audit.nearby.splits.rank_sequences import judge_rank_sequences
from moewright.audit.nearby.splits.split_counts import (
    judge_expert_grids,
    judge_groups,
    judge_groups_of,
    judge_split_counts,
)
from moewright.audit.nearby.splits.stage_parts import judge_depth_totals, judge_layer_totals, judge_stage_parts
from moewright.audit.nearby.splits.word_totals import judge_node_totals, judge_size_products
from moewright.audit.nearby.totals.item_totals import judge_item_totals
from moewright.audit.nearby.totals.remainders import judge_additions, judge_remainders, judge_totals_behind
from moewright.audit.nearby.totals.sum_terms import judge_sum_terms
from moewright.audit.nearby.totals.word_sums import judge_word_sums
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.meaning import meaning_of, topics_named
from moewright.audit.reading.standing import LIMIT, standing_of
from moewright.audit.reading.wordings import formats_in
from moewright.audit.tables.basis_cells import judge_basis_cells
from moewright.audit.tables.derivation_cells import judge_derivation_cells, judge_named_products
from moewright.audit.tables.option_tables import judge_meshes, judge_option_tables
from moewright.audit.tables.per_node_rows import judge_per_node
from moewright.audit.tables.rate_rows import judge_rate_rows
from moewright.audit.tables.total_rows import judge_parameter_totals, judge_sum_rows
from moewright.audit.text.numbers import BYTES, NAMES
from moewright.case.tensors.layer_tensors import active_parameters, parameters_by_kind

#: judges of figures that stand together, whatever plan they are of: by the document alone, with the facts of the place,
#: and with the number of its GPUs
_ALONE: Final = (
    judge_named_shares,
    judge_above_mean,
    judge_changed_amounts,
    judge_gains,
    judge_factors,
    judge_percent_of,
    judge_hundredfold,
    judge_transfers,
    judge_groups,
    judge_groups_of,
    judge_node_totals,
    judge_batch_tokens,
    judge_swapped,
    judge_over_layers,
    judge_read_times,
    judge_implied_rates,
    judge_spread,
    judge_link_units,
    judge_active_work,
    judge_work_times,
    judge_word_fractions,
    judge_state_rows,
    judge_size_products,
    judge_sequences,
    judge_changes,
    judge_more,
    judge_per_gpu_rates,
    judge_per_gpu_amounts,
    judge_element_sizes,
    judge_model_bytes,
    judge_formats_of_elements,
    judge_named_sizes,
    judge_told_formats,
    judge_state_formats,
    judge_cell_products,
    judge_derivation_cells,
    judge_sum_rows,
    judge_word_sums,
    judge_memory_reads,
    judge_runs,
    judge_sequence_bytes,
    judge_remainders,
    judge_additions,
    judge_totals_behind,
    judge_load_factors,
    judge_cell_times,
    judge_arrow_times,
    judge_told_fractions,
    judge_told_ratios,
    judge_times_more,
    judge_kept_parts,
    judge_divided_rows,
    judge_per_node,
    judge_misprints,
    judge_prefixes,
    judge_named_links,
    judge_active_share,
    judge_active_percent,
    judge_active_total,
    judge_training_states,
    judge_step_rates,
    judge_sibling_times,
    judge_fractions,
    judge_times_mean,
    judge_above_need,
    judge_efficiency_times,
    judge_format_pairs,
    judge_gpu_hours,
    judge_named_products,
    judge_plain_shares,
    judge_signed_changes,
    judge_loads,
    judge_request_rates,
    judge_bare_units,
    judge_slots,
    judge_imbalances,
    judge_fullest,
    judge_costs,
    judge_repeated,
    judge_token_room,
    judge_run_lengths,
    judge_part_pairs,
    judge_user_rates,
    judge_group_totals,
    judge_rank_sequences,
    judge_item_totals,
    judge_rate_rows,
    judge_basis_cells,
    judge_parameter_bytes,
    judge_each_totals,
)
#: those whose verdict counts more than one on the figure as that of one alone
_LAST: Final = (judge_both_ways,)
_WITH_FACTS: Final = (
    judge_counted_parts,
    judge_told_wholes,
    judge_multiples,
    judge_formula_scopes,
    judge_extents,
    judge_wholes,
    judge_sum_terms,
    judge_layer_sets,
    judge_layer_kinds,
    judge_active_parts,
    judge_active_whole,
    judge_expert_tokens,
    judge_split_counts,
    judge_experts_each,
    judge_stage_parts,
    judge_layer_totals,
    judge_depth_totals,
    judge_head_pairs,
    judge_layer_shares,
    judge_micro_batches,
    judge_token_work,
    judge_parameter_totals,
    judge_labelled_options,
    judge_sequence_tokens,
    judge_expert_columns,
)
_WITH_GPUS: Final = (
    judge_expert_grids,
    judge_meshes,
    judge_group_counts,
    judge_node_counts,
    judge_cluster_rates,
    judge_cluster_hardware,
    judge_cluster_memory,
    judge_cluster_amounts,
    judge_part_amounts,
    judge_calls,
)


#: bytes that no GPU has
LARGEST_CARD: Final = 1e12


def judge_nearby(claims: list[Claim], said: Sequence[Said]) -> list[Claim]:
    """``claims`` with the verdicts on figures that must follow from others of the document."""
    ledger = Ledger.of((x.statement, x.clauses) for x in said)
    device = said[0].place.facts.setting if said else None
    capacity = device.case.cluster.device.memory if device and "cluster.device.memory" not in device.missing else None
    capacity = capacity if capacity and capacity < LARGEST_CARD else None  # else it was read of all of them
    found: dict[Key, Claim] = {}
    facts_at, gpus_at = partial(_facts_at, said), partial(_counted, said)
    together = chain(
        (x for judge in _ALONE for x in judge(ledger)),
        judge_shares(ledger, capacity),
        judge_explicit_shares(ledger, capacity),
        judge_shares_above(ledger, capacity),
        judge_capacity_shares(ledger, capacity),
        (x for judge in _WITH_FACTS for x in judge(ledger, facts_at)),
        (x for judge in _WITH_GPUS for x in judge(ledger, gpus_at)),
        (x for judge in _LAST for x in judge(ledger)),
    )
    of_plan = (
        judge_token_bytes(ledger),
        judge_subjects(ledger, capacity, partial(_model_shares, said)),
        judge_model_slips(ledger, facts_at),
        judge_exchanges(ledger, facts_at),
        judge_steps(ledger, facts_at),
        judge_derivations(ledger, partial(_is_known, said, {})),
    )
    #: of an option of a table, whose own sizes count more than those of the document
    own = dict(_located(said, judge_option_tables(ledger, facts_at, gpus_at)))
    own |= dict(_located(said, judge_part_bytes(ledger, facts_at)))
    own |= dict(_located(said, judge_part_parameters(ledger, facts_at)))
    told = {c.line for c in claims if c.quantity == "strategy" and c.verdict is not Verdict.HOLDS}
    own = {key: c for key, c in own.items() if c.quantity != "strategy" or c.line not in told}
    claims = [c for c in claims if c.key not in own]
    marked = chain(((e, c, False) for e, c in together), ((e, c, True) for js in of_plan for e, c in js))
    for e, claim, plan in marked:
        place = said[e.index].place
        standing = standing_of(e.statement, place.view.name) if plan and claim.verdict is Verdict.WRONG else ""
        if standing and not (e.figure.formula and claim.quantity == "slip" and standing == LIMIT):
            continue
        key = claim.key
        before = found.get(key)
        guessed = claim.quantity == "derivation" and before is not None and before.quantity == "sum"  # is told plainly
        if not guessed and (before is None or not (before.verdict is Verdict.WRONG and _says_little(claim))):
            found[key] = replace(claim, configuration=place.view.name)
    found |= own
    return _kept(claims, found)


def _says_little(claim: Claim) -> bool:
    """Whether a verdict is on arithmetic alone, which holds also with operands that are wrong."""
    return claim.quantity == "arithmetic" and claim.verdict is Verdict.HOLDS


def _kept(claims: list[Claim], found: dict[Key, Claim]) -> list[Claim]:
    """``claims`` and those ``found`` beside others, each figure judged once."""
    kept = [c for c in claims if not (c.verdict is Verdict.NOT_CHECKED and c.key in found)]
    one_layer = {k for k, c in found.items() if c.quantity == "slip" and c.why.startswith(ONE_LAYER)}
    kept = [c for c in kept if not (c.key in one_layer and c.quantity.endswith("per layer"))]
    wide = {(c.line, c.claimed) for c in found.values() if c.quantity == "slip" and c.why.startswith(WIDE)}
    kept = [c for c in kept if not ((c.line, c.claimed) in wide and c.quantity.startswith("memory.kv_cache"))]
    #: the share of an amount of the document, which is judged where that stands
    shares = {k for k, c in found.items() if c.quantity == "share" and c.verdict is Verdict.HOLDS}
    used = [c for c in kept if c.quantity.startswith("memory.utilization") and c.verdict is Verdict.WRONG]
    kept = [c for c in kept if not (c in used and c.key in shares)]
    wrong = {key for key, c in found.items() if c.verdict is Verdict.WRONG}
    kept = [c for c in kept if not (_bounds(c) and c.key in wrong)]
    kept = [c for c in kept if not (_in_other_format(c) and c.key in wrong)]
    #: arithmetic that holds says nothing of its operands
    sums = {c.key for c in kept if c.quantity == "arithmetic" and c.verdict is Verdict.HOLDS}
    decided = {c.key for c in kept if c.verdict is not Verdict.NOT_CHECKED}
    decided -= sums & wrong
    return kept + [c for key, c in found.items() if key not in decided]


def _in_other_format(c: Claim) -> bool:
    """Whether bytes hold in another format than those that their own text names."""
    told = formats_in(c.text)
    return c.verdict is Verdict.HOLDS and c.unit == NAMES[BYTES] and bool(told) and not told & formats_in(c.why)


def _bounds(c: Claim) -> bool:
    """Whether a claim holds as a limit alone, which other figures may contradict."""
    return c.verdict is Verdict.HOLDS and IS_SAID in c.why


def _located(said: Sequence[Said], judged: Iterable[tuple[Entry, Claim]]) -> Iterator[tuple[Key, Claim]]:
    """Verdicts by the line, the value and the text that they are on."""
    for e, c in judged:
        yield c.key, replace(c, configuration=said[e.index].place.view.name)


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
    counts = parameters_by_kind(model)
    total = counts.total()
    routed, shared = counts["experts"], counts["shared_experts"]
    less = total - counts["vocabulary"]
    active = active_parameters(model)
    return {
        "active": (active / total, (active - counts["vocabulary"]) / less, active / less),
        "experts": tuple(x / y for x in (routed, routed + shared) for y in (total, less)),
        "attention": tuple(counts["attention"] / y for y in (total, less)),
    }


def _counted(said: Sequence[Said], index: int, needs: tuple[str, ...]) -> Facts | None:
    """The facts of the configuration that statement ``index`` stands in, where the document gives ``needs`` once."""
    place = said[index].place
    given = place.facts.setting.given
    return place.facts if not place.doubts.of(needs) and all(x in given for x in needs) else None


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
