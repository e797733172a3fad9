"""The strategy space against a brute-force listing, and the completion of partly given strategies."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import paper, served, small
from moewright.case.strategy import Dispatch, Overlap, StrategySpec
from moewright.case.workload import Kind
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import complete, divisors
from moewright.planning.space import space

EP64 = StrategySpec(dp=64, tp=2, ep=64, etp=2)
LITERAL = StrategySpec(tp=2, repeated=64, ep=64, etp=2, dispatch=Dispatch.REPLICATED)


def listed(case):
    """Every legal strategy of a case by trying all sizes: the rules once more, in plain words."""
    gpus, batch, model, decode = (
        case.cluster.gpus,
        case.workload.batch[0],
        case.model,
        case.workload.kind is Kind.DECODE,
    )
    sizes = range(1, gpus + 1)
    moe = model.moe
    found = set()
    for replicas, pp, dp, cp, tp, repeated in product(sizes, repeat=6):
        if replicas * pp * dp * cp * tp * repeated != gpus or pp > len(model.layers):
            continue
        if repeated > 1 and dp * cp > 1:
            continue
        attention = model.layers[0].attention
        if attention.heads % tp or (attention.kv_heads % tp and tp % attention.kv_heads):
            continue
        if 64 % tp or 32 % tp:  # dense and shared widths of the small case
            continue
        if cp > 1 and (decode or case.workload.sequence % (2 * cp)):
            continue
        if batch % (replicas * dp):
            continue
        held, stage = batch // (replicas * dp), dp * cp * tp * repeated
        # ranks of tp that hold the same KV heads, and may keep parts of their tokens
        same = max(1, tp // attention.kv_heads) if decode else 1
        for ep in sizes:
            if stage % ep or ep > moe.experts or moe.width % (stage // ep):
                continue
            redundant = -moe.experts % ep
            for replicated in (False, True):
                if replicated and (dp * cp > 1 or stage == 1):
                    continue
                if not replicated and repeated > 1:
                    continue
                for m in range(1, held + 1):
                    if held % m or (decode and pp == 1 and m > 1):
                        continue
                    for two in (False, True):
                        if two and (stage == 1 or held // m % 2):
                            continue
                        rest = (ep, stage // ep, redundant, replicated, two, batch)
                        for dcp in (d for d in sizes if same % d == 0):
                            found.add((replicas, pp, m, dp, cp, tp, repeated, dcp, *rest))
    return found


@pytest.mark.parametrize("gpus", [1, 4, 6, 8])
@pytest.mark.parametrize("kind", [Kind.PREFILL, Kind.DECODE])
def test_space_is_the_brute_force_listing(gpus, kind):
    case = small(gpus=gpus, kind=kind, batch=24)
    t = space(case).table
    columns = (
        *(t.replicas, t.pp, t.micro_batches, t.dp, t.cp, t.tp, t.repeated, t.dcp, t.ep, t.etp, t.redundant),
        *(t.replicated, t.two_batch, t.batch),
    )
    rows = list(zip(*(c.tolist() for c in columns), strict=True))
    assert len(rows) == len(set(rows))
    assert set(rows) == listed(case)


def test_the_documents_layouts_are_legal():
    for want in (EP64, LITERAL):
        table = space(paper(strategy=want)).table
        assert len(table) == 1
        assert table.row(0)[0].gpus == 128


def test_exclusions_are_counted():
    rejected = space(paper()).rejected
    assert rejected["16 attention heads are not divisible by tp"] > 0
    assert rejected["ep exceeds the 64 experts"] > 0
    assert all(n > 0 for n in rejected.values())


@pytest.mark.parametrize(
    ("want", "dp", "tp", "ep", "etp", "replicas"),
    [
        (StrategySpec(dp=64, tp=2), 64, 2, 64, 2, 1),
        (StrategySpec(ep=64, etp=2), 128, 1, 64, 2, 1),
        (StrategySpec(ep=8, etp=1, tp=2), 4, 2, 8, 1, 16),
        (StrategySpec(replicas=16), 8, 1, 8, 1, 16),
        (StrategySpec(dp=4, tp=2, ep=8), 4, 2, 8, 1, 16),
        (StrategySpec(pp=2, dp=8, tp=8), 8, 8, 64, 1, 1),
    ],
)
def test_sizes_left_out_follow(want, dp, tp, ep, etp, replicas):
    found = complete(want, paper())
    assert (found.dp, found.tp, found.ep, found.etp, found.replicas) == (dp, tp, ep, etp, replicas)


@pytest.mark.parametrize(
    "want",
    [
        StrategySpec(dp=64, tp=2, ep=32, etp=2),
        StrategySpec(dp=3),
        StrategySpec(replicas=5),
        StrategySpec(dp=2, repeated=4),
        StrategySpec(dispatch=Dispatch.REPLICATED, dp=8),
        StrategySpec(repeated=4, dispatch=Dispatch.ALL_TO_ALL),
        StrategySpec(replicas=2, dp=64, tp=2, ep=64, etp=2),
    ],
)
def test_contradictions_name_both_sides(want):
    with pytest.raises(SpecError, match=r"\d"):
        space(paper(strategy=want))


SIZES = st.none() | st.sampled_from([1, 2, 3, 4, 8, 16, 64, 128])


@given(
    st.builds(
        StrategySpec,
        **dict.fromkeys(("replicas", "pp", "micro_batches", "dp", "cp", "tp", "repeated", "ep", "etp"), SIZES),
        overlap=st.none() | st.sampled_from(list(Overlap)),
        dispatch=st.none() | st.sampled_from(list(Dispatch)),
    )
)
def test_any_wish_is_met_or_refused_plainly(want):
    """Whatever sizes are asked for: one legal strategy that has them all, or a plain error."""
    try:
        table = space(paper(strategy=want)).table
    except (SpecError, InfeasibleError):
        return
    assert len(table) == 1
    s, _ = table.row(0)
    a, e = s.attention, s.experts
    assert s.gpus == 128
    assert a.repeated * a.dp * a.cp * a.tp == e.ep * e.tp
    got = {"replicas": s.replicas, "pp": s.pp, "cp": a.cp, "tp": a.tp, "ep": e.ep, "etp": e.tp, "dispatch": e.dispatch}
    for name, value in got.items():
        assert getattr(want, name) in (None, value)


def test_latent_attention_and_experts_of_deepseek():
    table = space(served(gpus=32)).table
    assert set(table.ep.tolist()) <= {1, 2, 4, 8, 16, 32}
    assert (table.tp <= 32).all()


@given(st.integers(1, 5000))
def test_divisors(n):
    assert divisors(n) == [d for d in range(1, n + 1) if n % d == 0]
