"""One strategy in its several forms, each of which leads back: record, spec, name, line, YAML, JSON, row of a table."""

import json

from hypothesis import given
from hypothesis import strategies as st

from moewright.case.file.load import strategy_of
from moewright.case.file.strategy_text import parse_strategy
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Gate, Overlap, Strategy
from moewright.cost.table import Table

SIZE = st.integers(1, 1024)
STRATEGIES = st.builds(
    Strategy,
    SIZE,
    SIZE,
    SIZE,
    st.sampled_from(Overlap),
    st.builds(AttentionParallel, SIZE, SIZE, SIZE, SIZE),
    st.builds(ExpertParallel, SIZE, SIZE, st.integers(0, 64), st.sampled_from(Dispatch), st.sampled_from(Gate)),
)


@given(STRATEGIES)
def test_spec(s):
    assert s.spec.strategy == s
    assert s.spec.strategy.spec == s.spec


@given(STRATEGIES, st.booleans())
def test_name(s, ascii_signs):
    name = s.name.replace("×", "x") if ascii_signs else s.name
    assert parse_strategy(name).strategy == s


@given(STRATEGIES)
def test_line_of_keys(s):
    a, e = s.attention, s.experts
    line = (
        f"replicas={s.replicas},pp={s.pp},micro_batches={s.micro_batches},overlap={s.overlap},dp={a.dp},cp={a.cp},"
        f"tp={a.tp},repeated={a.repeated},ep={e.ep},etp={e.tp},redundant={e.redundant},dispatch={e.dispatch},gate={e.gate}"
    )
    assert parse_strategy(line).strategy == s


@given(STRATEGIES)
def test_json_and_yaml(s):
    plain = json.loads(json.dumps(s.to_dict()))
    assert Strategy.from_dict(plain) == s
    assert strategy_of(plain).strategy == s


@given(st.lists(st.tuples(STRATEGIES, SIZE), min_size=1, max_size=5))
def test_rows_of_a_table(rows):
    table = Table.of([s for s, _ in rows], [b for _, b in rows])
    assert [table.row(i) for i in range(len(table))] == rows
    assert [table.take([i]).row(0) for i in range(len(table))] == rows
