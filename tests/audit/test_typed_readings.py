"""A document as somebody else read it: held against the document, its expressions and the planner."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.command import moewright

from moewright.audit.audit_document import audit, audit_by_reading, audit_document
from moewright.audit.text.document import parse
from moewright.audit.text.expressions import evaluate
from moewright.audit.typed.source_lines import source_lines
from moewright.audit.typed.typed_audit import reading_yaml
from moewright.audit.typed.typed_reading import node_of, read_reading, schema, typed_claims, typed_reading
from moewright.audit.typed.typed_values import typed_value
from moewright.errors import SpecError

ROOT = Path(__file__).parents[2]
TEXT = """# Mixtral-8x7B on 8 H100, EP 8, BF16

| part | GB |
|---|---|
| weights per GPU | 14.49 |
| cache per GPU | 32,21 |
| both | 46.7 |

A token's keys and values take 131,072 bytes over 32 layers,
8 KV heads of 128 each. At 3.35 TB/s the step takes 13.9 ms;
that is 58 % of the 80 GB, and eight experts are held.
"""
PREMISES = [
    {"field": "model.name", "value": "Mixtral-8x7B", "line": 1},
    {"field": "cluster.gpus", "value": 8, "line": 1},
    {"field": "cluster.device.name", "value": "H100", "line": 1},
    {"field": "strategy.ep", "value": 8, "line": 1},
    {"field": "strategy.dp", "value": 8, "line": 1},
    {"field": "model.precision", "value": "bf16", "line": 1},
    {"field": "workload.batch", "value": 64, "line": 1},
    {"field": "workload.sequence", "value": 2048, "line": 1},
]


def judged(*claims, text=TEXT, **more):
    reading = typed_reading({"reader": "me", "premises": PREMISES, "claims": list(claims), **more}, "r.yaml")
    return [c for c in audit_by_reading(parse(text, "d.md"), reading, {}, "r.yaml").claims if c.quantity != "premise"]


def verdict(**claim):
    (found,) = judged(claim)
    return str(found.verdict)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"line": 9, "value": "131,072 bytes", "quantity": "memory.kv_cache", "per": "token"}, "holds"),
        ({"line": 9, "value": "131072 B", "expression": "2 * 32 * 8 * 128 * 2 B"}, "holds"),
        ({"line": 9, "value": "131072 B", "expression": "2 * 32 * 8 * 128 * 1 B"}, "wrong"),
        ({"line": 5, "value": "14.49 GB", "quantity": "memory.weights", "per": "gpu"}, "holds"),
        ({"line": 7, "value": "46.7 GB", "expression": "14.49 GB + 32.21 GB"}, "holds"),
        ({"line": 7, "value": "46.7 GB", "expression": "14.49 GB + 80 GB"}, "wrong"),
        ({"line": 10, "value": "13.9 ms", "expression": "46.7 GB / 3.35 TB/s"}, "holds"),
        ({"line": 10, "value": "13.9 us", "expression": "46.7 GB / 3.35 TB/s"}, "wrong"),
        ({"line": 11, "value": "58 %", "expression": "46.7 GB / 80 GB"}, "holds"),
        ({"line": 7, "value": "46.7 GB", "relation": "<=", "expression": "80 GB"}, "holds"),
        ({"line": 7, "value": "46.7 GB", "relation": ">", "expression": "80 GB"}, "wrong"),
        ({"line": 7, "value": "46.7 GB", "relation": "<", "expression": "14.49 GB"}, "wrong"),
        ({"line": 11, "value": 8, "expression": "{model.experts.count}"}, "holds"),
        ({"line": 11, "value": 8, "expression": "{strategy.ep} / 4"}, "wrong"),
        ({"line": 10, "value": "3.35 TB/s", "expression": "8 * 3.35 Tb/s"}, "holds"),
        ({"line": 9, "value": "131072 B", "expression": "2 * 32 * 8 * 128 * 16 bits"}, "holds"),
        ({"line": 9, "value": 32, "expression": "8"}, "wrong"),
        ({"line": 9, "value": "32 layers", "expression": "{model.layers}"}, "holds"),
        ({"line": 6, "value": "32,21 GB", "expression": "46.7 GB - 14.49 GB"}, "holds"),
        ({"line": 11, "value": "58 %", "expression": "1 - 0.42"}, "not checked"),
        ({"line": 11, "value": "58 %", "expression": "0.58"}, "holds"),
        ({"line": 9, "value": "131072 B", "expression": "131072 B"}, "not checked"),
        ({"line": 7, "value": "46.7 GB", "expression": "14.49 + 32.21"}, "holds"),
        ({"line": 11, "value": 8, "expression": "32 / 4.2"}, "not checked"),
        ({"line": 11, "value": 8, "expression": "14.49 / 2"}, "holds"),
        ({"line": 11, "value": 8, "expression": "2 ^ 3"}, "holds"),
        ({"line": 11, "value": 8, "expression": "2 ** 4"}, "wrong"),
        ({"line": 11, "value": "8 bytes", "expression": "(2 bytes) ^ 3 / (1 bytes) ^ 2"}, "holds"),
        ({"line": 7, "value": "46.7 GB", "expression": "32.21 GB * 1.45"}, "not checked"),
        ({"line": 11, "value": "8", "relation": "~", "expression": "32.21 / 14.49 * 3.35"}, "holds"),
        ({"line": 9, "value": "131,072 bytes", "expression": "128K * 1 B"}, "holds"),
        # differences of rounded figures are no excuse, and units of 1000 and 1024 are not mixed
        ({"line": 7, "value": "46.7 GB", "expression": "80 GB - 32.21 GB"}, "wrong"),
        ({"line": 7, "value": "46.7 GB", "expression": "32.21 GB + 13.9e9 * 1 B"}, "wrong"),
        # nobody may fail by an estimate of time, or by what the reading does not know
        ({"line": 10, "value": "13.9 ms", "quantity": "time.dispatch"}, "not checked"),
        ({"line": 9, "value": "131072 B"}, "not checked"),
        # what the document does not have
        ({"line": 8, "value": "131072 B", "expression": "2 * 32 * 8 * 128 * 2 B"}, "not checked"),
        ({"line": 9, "value": "131073 B", "expression": "2 * 32 * 8 * 128 * 2 B"}, "not checked"),
        ({"line": 9, "value": "131072 B", "expression": "4681 * 28 B"}, "not checked"),
        ({"line": 9, "value": "131072 B", "expression": "2 * 32 s"}, "not checked"),
    ],
)
def test_verdicts(claim, expected):
    assert verdict(**claim) == expected


def test_an_error_is_told_once():
    """A figure that follows from a wrong one holds, whether from what is written or from what ought to be."""
    wrong = {"line": 7, "value": "46.7 GB", "expression": "14.49 GB + 80 GB", "id": "both"}
    follows = {"line": 11, "value": "58 %", "expression": "{both} / 80 GB"}
    assert [str(c.verdict) for c in judged(wrong, follows)] == ["wrong", "holds"]
    wrong["expression"] = "14.49 GB * 8"
    right = {"line": 11, "value": "80 GB", "expression": "{both} - {both} * 0 - 35.92 GB"}
    text = TEXT + "35.92\n"
    found = judged(wrong, right, text=text)
    assert [str(c.verdict) for c in found] == ["wrong", "holds"]
    assert "46.7 GB of line 7 put right" in found[1].why


def test_of_figures_that_lean_on_each_other_the_one_without_support_is_wrong():
    """64 stages of 2 and 4 are not the 256 GPUs of 32 nodes of 8: the 256 holds, and what leads to it from 64 is excused."""
    text = "TP 2, PP 4 and DP 64 fill\nthe 256 GPUs of 32 nodes of 8.\n"
    dp = {"line": 1, "value": "64", "expression": "256 / (2 * 4)", "id": "dp"}
    gpus = [{"line": 2, "value": "256", "expression": x} for x in ("32 * 8", "2 * 4 * {dp}")]
    reading = typed_reading({"reader": "me", "claims": [dp, *gpus]}, "r.yaml")
    found = audit_by_reading(parse(text, "d.md"), reading, {}, "r.yaml").claims
    assert [(c.line, str(c.verdict)) for c in found] == [(1, "wrong"), (2, "holds"), (2, "holds")]
    literal = [dp, gpus[0], {"line": 2, "value": "256", "expression": "2 * 4 * 64"}]
    reading = typed_reading({"reader": "me", "claims": literal}, "r.yaml")
    found = audit_by_reading(parse(text, "d.md"), reading, {}, "r.yaml").claims
    assert [str(c.verdict) for c in found] == ["wrong", "holds", "holds"]


def test_a_configuration_of_an_unknown_model_has_none_of_the_documents():
    own = [{"field": "model.name", "value": "Gloop-9B"}, {"field": "model.experts.top_k", "value": 4, "line": 9}]
    text = TEXT + "4 of them\n"
    rows = [*PREMISES, {"field": "model.experts.top_k", "value": 4, "line": 12}]
    assert any(c.quantity == "premise model.experts.top_k" for c in _premise_claims(rows, text))
    reading = typed_reading({"reader": "me", "premises": PREMISES, "configurations": {"x": own[:1]}, "claims": []}, "r")
    assert reading.apart == {"x": ("model.",)}
    found = audit_by_reading(parse(text, "d.md"), reading, {}, "r")
    assert [str(c.verdict) for c in found.claims if c.quantity.startswith("premise")] == []
    assert any("no such model" in u.reason for u in found.unread)


def _premise_claims(rows, text):
    reading = typed_reading({"reader": "me", "premises": rows, "claims": []}, "r")
    return audit_by_reading(parse(text, "d.md"), reading, {}, "r").claims


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"field": "model.layers", "value": 99, "line": 9}, "does not stand on line 9"),
        ({"field": "workload.sequence", "value": 4194304, "line": 9}, ""),  # 131,072 × 32, which stand there
        ({"field": "workload.sequence", "value": "131,072", "line": 9}, ""),
        ({"field": "cluster.device.name", "value": "G80"}, "no such device"),
    ],
)
def test_premises_stand_on_their_lines(row, why):
    reading = typed_reading({"reader": "me", "premises": [row], "claims": []}, "r.yaml", TEXT.splitlines())
    assert [u.reason for u in reading.unread if why in u.reason] == [u.reason for u in reading.unread]
    assert bool(reading.unread) == bool(why)


@pytest.mark.parametrize("row", [("strategy.tp", "many"), ("strategy.tp", 0), ("model.hidden_size", 5.5), ([], 1)])
def test_premises_that_are_no_numbers_are_refused(row):
    rows = [{"field": row[0], "value": row[1]}]
    with pytest.raises(SpecError):
        typed_reading({"reader": "me", "premises": rows, "claims": []}, "r.yaml")


def test_names_that_multiply_without_end_are_one_answer():
    let = {f"a{i}": " + ".join([f"{{a{i + 1}}}"] * 40) for i in range(12)} | {"a12": "1"}
    (found,) = judged({"line": 11, "value": 8, "expression": "{a0}"}, let=let)
    assert found.why == "its expression is none, or too long, with what its names stand for"
    with pytest.raises(SpecError, match="expected numbers"):
        judged({"line": 11, "value": 8, "expression": "1 + " * 2000 + "1"})


def test_sizes_of_a_named_model_have_names():
    let = {"latent": "({model.attention.kv_rank} + {model.attention.rope_dim}) * 2 B"}
    claim = {"line": 1, "value": "70,272 bytes", "expression": "{latent} * {model.layers}"}
    rows = [{"field": "model.name", "value": "DeepSeek-V3"}]
    reading = typed_reading({"reader": "me", "premises": rows, "claims": [claim], "let": let}, "r.yaml")
    (found,) = audit_by_reading(parse("70,272 bytes\n", "d.md"), reading, {}, "r.yaml").claims
    assert found.verdict == "holds"


@pytest.mark.parametrize("unit", ["kW", "MWh", "t/s", "MTok"])
def test_units_that_nobody_knows_are_refused(unit):
    with pytest.raises(SpecError, match="no known unit"):
        typed_reading({"reader": "me", "claims": [{"line": 1, "value": "3", "expression": f"2 * 8 {unit}"}]}, "r.yaml")


def test_names_stand_for_expressions():
    let = {"token": "{heads} * 128 * 2 B * 2", "heads": "8"}
    claim = {"line": 9, "value": "131072 B", "expression": "{token} * 32"}
    (found,) = judged(claim, let=let)
    assert found.verdict == "holds"
    (found,) = judged(claim, let={**let, "heads": "17.5"})
    assert found.why == "17.5 of its expression stands nowhere in the document"
    (found,) = judged(claim, let={"token": "{token} * 2"})
    assert found.verdict == "not checked"
    for bad, says in (({"1a": "2"}, "a name of letters"), ({"a": "2 +"}, "let.a"), ([], "expressions by names")):
        with pytest.raises(SpecError, match=says):
            judged(claim, let=bad)


@pytest.mark.parametrize(
    ("written", "line", "value"),
    [
        ("70,6 Mrd.", "hat 70,6 Mrd. Parameter", 70.6e9),
        ("three", "", 3),
        ("3/4", "", 0.75),
        ("120 000 tokens/s", "", 120000),
        ("2 048 o", "", 2048),
        ("1,155 Go", "", 1.155e12),
        ("1.234.567", "", 1234567),
        ("\u221278 %", "", -0.78),
        ("$7.20/h", "", 7.2),
        ("3,80 €", "", 3.8),
        ("1.35x", "", 1.35),
        ("5.2×", "", 5.2),
        ("32 micro-batches", "", 32),
        ("4,352 元", "", 4352),
        ("0,125", "", 0.125),
        ("28.3 days", "", 28.3 * 86400),
        ("10,667", "", 10667),
        ("50 Gb/s", "", 6.25e9),
        ("4.5 bits", "", 0.5625),
        ("0.5625 B", "", 0.5625),
    ],
)
def test_values_as_people_write_them(written, line, value):
    assert typed_value(written, line).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("written", "line", "comma", "value"),
    [
        ("128.256", "mit 128.256 Token", True, 128256),
        ("128.256", "takes 128.256 ms", False, 128.256),
        ("1,155 Go", "font 1,155 Go", True, 1.155e9),
        ("2,416 GB", "2,416 GB of them", False, 2.416e12),
        ("4.700 Token/s", "also 4.700 Token/s", True, 4700),
        ("590 FLOP/byte", "bends at 590 FLOP/byte", False, 590),
    ],
)
def test_points_and_commas_are_those_of_the_document(written, line, comma, value):
    assert typed_value(written, line, comma).value == pytest.approx(value)


def test_which_documents_have_decimal_commas():
    assert source_lines(("1,5 GB sind 3,2 % von 1.024 GB",)).commas
    assert not source_lines(("1.5 GB are 3.2 % of 1,024 GB", "a list: 3,4")).commas


@pytest.mark.slow
@pytest.mark.parametrize("step", [-1, 1])
def test_figures_that_lean_on_hundreds_of_others_are_one_answer_each(step):
    """None of them is three times another one; each claim names the one before, or the one behind."""
    count = 600
    text = "".join(f"Figure {100 + i} of it.\n\n" for i in range(count))
    names = [(i + step) % count for i in range(count)]
    claims = [
        {"line": 2 * i + 1, "value": 100 + i, "id": f"c{i}", "expression": f"{{c{j}}} * 3"} for i, j in enumerate(names)
    ]
    assert {str(c.verdict) for c in judged(*claims, text=text)} == {"wrong"}


def test_many_claims_on_one_figure_are_one_answer_each():
    claims = [{"line": 11, "value": 8, "id": f"c{i}", "expression": f"{{c{(i + 1) % 300}}} + {i}"} for i in range(300)]
    assert len(judged(*claims)) == 300


@pytest.mark.parametrize(
    ("value", "expression", "expected"),
    [
        ("203 ms", "0.2 * 1000 ms", "holds"),  # of one rounded figure 1.5 % and what rounding leaves besides
        ("204.5 ms", "0.2 * 1000 ms", "wrong"),
        ("6.2 ms", "0.2 * 0.3 * 100.0 ms", "holds"),  # of several 3 %
        ("0.624 ms", "0.2 * 0.3 * 0.1 * 100 ms", "wrong"),
        ("46.7 GB", "43.49 GB", "wrong"),  # units of 1000 and 1024 are not mixed
        ("46.7 GB", "43.49 GiB", "holds"),
    ],
)
def test_how_much_rounding_may_leave(value, expression, expected):
    text = f"{value} of 0.1, 0.2, 0.3, 100.0 and 43.49 are told.\n"
    (found,) = judged({"line": 1, "value": value, "expression": expression}, text=text, premises=[])
    assert found.verdict == expected


def test_powers_of_powers_are_beyond_all_bounds():
    claim = {"line": 11, "value": 8, "expression": "(((2 ^ 200) ^ 200) ^ 200) ^ 200"}
    (found,) = judged(claim)
    assert found.why == "its expression divides by zero, or is beyond all bounds"
    assert verdict(line=11, value=8, expression="(0 - 2) ^ 2 * 2") == "holds"


@pytest.mark.parametrize("written", ["many", "2 * 3", "4 of 8", "", "12 GB = 3"])
def test_what_is_no_value(written):
    assert typed_value(written) is None


def test_premises_as_people_write_them():
    rows = [
        [{"field": "model.precision", "value": "FP8"}, {"field": "cluster.device.mfu", "value": "45 %"}],
        {"field": "workload.sequence", "value": "128,000"},
        {"field": "model.name", "value": "no such model"},
        {"field": "workload.kind", "value": "training"},
    ]
    reading = typed_reading({"reader": "me", "premises": rows, "claims": []}, "r.yaml")
    assert [p.value for p in reading.premises] == ["fp8", 0.45, 128000]
    assert ["no such model" in u.reason or "expressions alone" in u.reason for u in reading.unread] == [True, True]


def test_redundant_experts_are_of_a_strategy():
    rows = [{"field": "strategy.ep", "value": 5}, {"field": "strategy.dp", "value": 5}]
    rows += [{"field": "cluster.gpus", "value": 5}, {"field": "cluster.gpus_per_node", "value": 5}]
    claim = {"line": 11, "value": 2, "quantity": "count.experts", "per": ["gpu", "layer"], "configuration": "x"}
    text = TEXT + "2\n"
    for more, verdicts in (([], {"contradicted"}), ([{"field": "strategy.redundant", "value": 2}], set())):
        found = judged({**claim, "line": 12}, configurations={"x": rows + more}, text=text)
        assert {str(c.verdict) for c in found} & {"contradicted"} == verdicts


def test_every_mistake_is_told_at_once():
    claims = [{"line": 1, "value": "many"}, {"line": 2, "value": "1"}, {"line": 3, "value": "2", "relation": "is"}]
    with pytest.raises(SpecError) as raised:
        typed_reading({"reader": "me", "claims": claims}, "r.yaml")
    assert "claims.0 (line 1).value" in str(raised.value)
    assert "claims.2 (line 3).relation" in str(raised.value)


def test_a_quantity_is_asked_where_the_expression_holds():
    claim = {"line": 9, "value": "131072 B", "expression": "2 * 32 * 8 * 128 * 2 B", "quantity": "memory.kv_cache"}
    assert verdict(**claim, per=["token"]) == "holds"
    assert verdict(**claim, per=["token", "layer"]) == "wrong"


def test_each_configuration_has_its_premises():
    claim = {"line": 11, "value": "8", "quantity": "count.experts", "per": ["gpu", "layer"]}
    parts = {"whole": [{"field": "strategy.ep", "value": 1}, {"field": "strategy.tp", "value": 8}]}
    alone, whole = [
        c
        for c in judged(claim, {**claim, "configuration": "whole"}, configurations=parts)
        if c.quantity.startswith("count")
    ]
    assert (str(alone.verdict), alone.computed) == ("wrong", 1)
    assert (str(whole.verdict), whole.configuration) == ("holds", "whole")


def test_a_size_that_the_named_model_does_not_have_is_wrong():
    rows = [*PREMISES, {"field": "model.hidden_size", "value": 4608, "line": 9}]
    reading = typed_reading({"reader": "me", "premises": rows, "claims": []}, "r.yaml")
    (claim,) = audit_by_reading(parse(TEXT, "d.md"), reading, {}, "r.yaml").claims
    assert (claim.line, str(claim.verdict), claim.why) == (9, "wrong", "Mixtral-8x7B has 4096 (hidden_size)")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"claims": []}, "who read"),
        ({"reader": "me", "claims": 3}, "a list of at most"),
        ({"reader": "me", "claims": [], "notes": 1}, "unknown field"),
        ({"reader": "me", "claims": [{"line": 0, "value": "1"}]}, "a line number"),
        ({"reader": "me", "claims": [{"line": 1}]}, "with line and value"),
        ({"reader": "me", "claims": [{"line": 1, "value": "many"}]}, "a number with its unit"),
        ({"reader": "me", "claims": [{"line": 1, "value": "1 GB", "quantity": "memory.all"}]}, "expected one of"),
        ({"reader": "me", "claims": [{"line": 1, "value": "1 s", "quantity": "memory.total"}]}, "no memory.total"),
        ({"reader": "me", "claims": [{"line": 1, "value": "1", "expression": "2 +"}]}, "numbers with units"),
        ({"reader": "me", "claims": [{"line": 1, "value": "1", "relation": "<="}]}, "a limit with its expression"),
        ({"reader": "me", "claims": [{"line": 1, "value": "1", "configuration": "x"}]}, "there are none"),
        ({"reader": "me", "claims": [{"line": 1, "value": "1", "id": "a"}] * 2}, "claims.0 too"),
        ({"reader": "me", "claims": [], "premises": [{"field": "model.nam", "value": 1}]}, "model.name"),
        ({"reader": "me", "claims": [], "configurations": {"x": 3}}, "configurations.x"),
    ],
)
def test_a_bad_reading_is_one_line(raw, says):
    with pytest.raises(SpecError) as raised:
        typed_reading(raw, "r.yaml")
    assert says in str(raised.value)


def test_a_name_that_nothing_has_is_told_with_those_known():
    with pytest.raises(SpecError, match=r"'totl' is neither.*known are both"):
        judged(
            {"line": 7, "value": "46.7 GB", "id": "both"}, {"line": 11, "value": "58 %", "expression": "{totl} / 80 GB"}
        )
    with pytest.raises(SpecError, match="nor the id of another claim"):
        judged({"line": 7, "value": "46.7 GB", "id": "both", "expression": "{both}"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d1", "d2", "d3"])
def test_what_the_grammar_read_is_a_reading(tmp_path, name):
    """Printed and taken back, nothing fails that held, and the schema takes it."""
    document = sorted((ROOT / "tests/audit/documents").glob("*.md"))[int(name[1]) - 1]
    written = reading_yaml(audit(document))
    jsonschema.validate(yaml.safe_load(written), schema())
    file = tmp_path / "reading.yaml"
    file.write_text(written)
    grammar, typed = audit(document), audit(document, claims=file)
    held = {(c.line, c.claimed) for c in grammar.claims if c.verdict == "holds"}
    assert not [c for c in typed.claims if (c.line, c.claimed) in held and c.verdict in ("wrong", "impossible")]
    assert sum(c.verdict == "holds" for c in typed.claims) > len(held) / 4
    assert typed.reader == "moewright's grammar"


@given(
    st.integers(100, 9999).map(float),
    st.integers(10, 99).map(float),
    st.sampled_from([1.2, 0.8, 2, 0.5, 10]),
)
def test_a_quotient_rounded_to_three_places_holds_and_a_changed_one_fails(a, b, factor):
    for times in (1, factor):
        said = f"{times * a / b:.3g}"
        text = f"With {a:f} GB and {b:f} GB/s it takes {float(said):g} s.\n"
        claim = {"line": 1, "value": f"{float(said):f} s", "expression": f"{a:f} GB / ({b:f} GB/s)", "relation": "~"}
        (found,) = judged(claim, text=text, premises=[])
        assert (found.verdict == "holds") == (times == 1)


def test_the_command_says_whose_reading_it_is(tmp_path):
    document, file = tmp_path / "plan.md", tmp_path / "reading.yaml"
    document.write_text(TEXT)
    claims = [{"line": 7, "value": "46.7 GB", "expression": "14.49 GB + 80 GB"}]
    file.write_text(yaml.safe_dump({"reader": "Jane Doe", "premises": PREMISES, "claims": claims}))
    done = moewright("audit", document, "--claims", file)
    assert done.returncode == 1
    assert "Read by Jane Doe" in done.stdout
    assert "nothing of figures on lines" in " ".join(done.stdout.split())
    assert json.loads(moewright("audit", document, "--claims", file, "--json").stdout)["reader"] == "Jane Doe"
    shown = moewright("audit", document, "--claims").stdout
    assert read_reading(_file(tmp_path / "own.yaml", shown)).premises
    for more, says in (("--premises", "--claims"), ("--spec", "--claims")):
        done = moewright("audit", document, "--claims", file, more, file)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr


def _file(path, text):
    path.write_text(text)
    return path


def test_a_reading_of_a_document_without_claims_is_an_audit():
    document = parse("Nothing here.\n", "d.md")
    assert audit_document(document, {}, None).claims == ()
    assert audit_by_reading(document, typed_reading({"reader": "me", "claims": []}, "r"), {}, "r").claims == ()


def test_two_figures_of_one_value_on_one_line_are_put_right_apart():
    text = "# Plan\n\nWeights 2.45 GB, gradients 2.45 GB of 1.225e9 parameters, together 7.35 GB.\n"
    claims = [
        {"line": 3, "value": "2.45 GB", "expression": "1.225e9 * 2 B", "id": "weights"},
        {"line": 3, "value": "2.45 GB", "expression": "1.225e9 * 4 B", "id": "gradients"},
        {"line": 3, "value": "7.35 GB", "expression": "{weights} + {gradients}"},
    ]
    assert [str(c.verdict) for c in judged(*claims, text=text)] == ["holds", "wrong", "holds"]


def test_a_rate_of_one_digit_is_what_it_says():
    text = "# Plan\n\nReading 94.8 GB at 6 TB/s takes 17.9 ms.\n"
    (claim,) = judged({"line": 3, "value": "17.9 ms", "expression": "94.8 GB / (6 TB/s)"}, text=text)
    assert str(claim.verdict) == "wrong"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("max(13.9 ms, 3.35 ms)", "13.9 ms"),
        ("min(14.49 GB, 80 GB) * 3", "43.47 GB"),
        ("ceil(32 / 7)", "5"),
        ("floor(32 / 7) + round(32 / 7)", "9"),
        ("max(min(3, 58), 8, 1)", "8"),
    ],
)
def test_functions_of_an_expression(expression, value):
    text = TEXT + f"\n{value} is of 7.\n"
    found = judged({"line": 13, "value": value, "expression": expression}, text=text)
    assert [str(c.verdict) for c in found] == ["holds"]
    other = {"line": 11, "value": "58 %", "expression": f"{expression} / ({expression}) / 2"}
    assert [str(c.verdict) for c in judged(other, text=text)] == ["wrong"]


@pytest.mark.parametrize(
    "expression",
    ["(" * 190 + "8" + ")" * 190, "ceil(" * 30 + "8" + ")" * 30, "max(8)", "ceil(8, 58)", "max()", "max(8 GB,, 58)"],
)
def test_expressions_that_are_none_are_refused(expression):
    with pytest.raises(SpecError, match="max, min, ceil, floor, round"):
        typed_reading({"reader": "me", "claims": [{"line": 1, "value": "8", "expression": expression}]}, "r.yaml")


def test_an_input_is_held_against_the_places_that_tell_it_again():
    """Of an input and what tells it again the one is wrong that fewer figures follow from."""
    lines = ["The link has 50 GB/s.", "100 GB take 2 s,", "200 GB take 4 s.", "In short, 40 GB/s."]
    rows = [
        {"line": 1, "value": "50 GB/s", "id": "link"},
        {"line": 2, "value": "2 s", "expression": "100 GB / {link}"},
        {"line": 3, "value": "4 s", "expression": "200 GB / {link}"},
        {"line": 4, "value": "40 GB/s", "expression": "{link}"},
    ]

    def verdicts(text, claims):
        reading = typed_reading({"reader": "me", "claims": claims}, "r.yaml")
        return [str(c.verdict) for c in audit_by_reading(parse(text, "d.md"), reading, {}, "r.yaml").claims]

    assert verdicts("\n".join(lines), rows) == ["not checked", "holds", "holds", "wrong"]
    lines[0], lines[3] = lines[3].replace("In short,", "The link has"), lines[0]
    rows[0]["value"], rows[3]["value"] = "40 GB/s", "50 GB/s"
    assert verdicts("\n".join(lines), rows) == ["wrong", "holds", "holds", "holds"]


def test_micro_batches_of_a_configuration_go_with_the_strategy_of_the_document():
    own = [{"field": "strategy.micro_batches", "value": 4, "line": 9}]
    claim = {"line": 11, "value": "8", "expression": "{strategy.ep}", "configuration": "other"}
    found = judged(claim, text=TEXT + "in 4 and 8 parts\n", configurations={"other": own})
    assert [(str(c.verdict), c.quantity) for c in found] == [("holds", "expression")]


@pytest.mark.parametrize("expression", ["36.0 B * 2 B", "36.0 B * 2 bytes", "36.0e9 * 2 B"])
def test_billions_with_a_space_before_them(expression):
    text = "36.0 B parameters of 2 bytes are\n72 GB.\n"
    reading = typed_reading(
        {"reader": "me", "claims": [{"line": 2, "value": "72 GB", "expression": expression}]}, "r.yaml"
    )
    assert [str(c.verdict) for c in audit_by_reading(parse(text, "d.md"), reading, {}, "r.yaml").claims] == ["holds"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"\frac{3}{4}", 0.75),
        ("10^{6}", 1e6),
        ("2^20", 2.0**20),
        ("1 h 20 min", 4800.0),
        ("×1.3", 1.3),
        ("12 QPS", 12.0),
        ("9999^70", 9999.0**70),
        ("DP 64", 64.0),
        ("512 H100", 512.0),
        ("15 回 (11GPU)", 15.0),
        ("10 Bio. Token", 1e13),
        ("141 GB (HBM3e)", 141e9),
    ],
)
def test_fractions_powers_and_spans_of_time(written, value):
    found = typed_value(written)
    assert found is not None
    assert found.value == pytest.approx(value)


def test_a_power_beyond_every_number_is_no_value():
    assert typed_value("9999^99") is None


def test_a_vocabulary_of_the_documents_own_is_what_expressions_have():
    reading = {
        "reader": "somebody",
        "premises": [{"field": "model.name", "value": "Mixtral-8x22B"}, {"field": "model.vocab_size", "value": 32768}],
        "claims": [{"line": 3, "value": "201.3 M", "expression": "{model.vocab_size} * {model.hidden_size}"}],
    }
    text = "# Mixtral-8x22B\n\nOf 32,768 tokens the embedding has 201.3 M parameters.\n"
    (claim,) = audit_by_reading(parse(text, "d.md"), typed_reading(reading, "r.yaml"), {}, "r.yaml").claims
    assert claim.verdict == "holds"


@pytest.mark.parametrize("name", [False, True])
def test_an_id_that_yaml_takes_for_a_truth_value_is_told_to_be_quoted(name):
    claim = {"line": 1, "value": "3 GB", "id": name}
    with pytest.raises(SpecError, match="quote it, or take another name"):
        typed_claims([claim], "r.yaml")


def test_a_number_in_words_is_referred_to():
    eight = {"line": 11, "value": "eight", "id": "held"}
    assert [str(c.verdict) for c in judged(eight, {"line": 9, "value": "32", "expression": "{held} * 4"})] == [
        "holds",
        "not checked",
    ]


@pytest.mark.parametrize(
    ("expression", "whole"),
    [
        ("ceil(36 / 3)", 12),
        ("floor(36 / 3)", 12),
        ("round(36 / 3)", 12),
        ("ceil(0.9 / 0.3 * 4)", 12),
        ("floor(0.9 / 0.3 * 4)", 12),
        ("floor(61 / 16)", 3),
        ("ceil(61 / 16)", 4),
    ],
)
def test_a_whole_number_is_its_own_rounding(expression, whole):
    node = node_of(expression)
    assert node is not None
    value = evaluate(node)
    assert (value.low, value.high) == (whole, whole)


@pytest.mark.parametrize("function", ["ceil", "floor"])
def test_one_more_or_less_than_a_whole_number_is_wrong(function):
    text = TEXT + "\n95 or 96 or 97.\n"
    rows = [{"line": 13, "value": value, "expression": f"{function}(32 * 3)"} for value in ("95", "96", "97")]
    assert [str(c.verdict) for row in rows for c in judged(row, text=text)] == ["wrong", "holds", "wrong"]


@pytest.mark.parametrize(
    ("line", "verdict"), [("measured 12.02", "not checked"), ("6 + 12 / 2 = 12.02", "wrong"), ("12.9", "wrong")]
)
def test_what_is_left_out_may_make_a_hundredth(line, verdict):
    text = f"# Mixtral-8x7B on 8 H100\n\n{line} bytes a parameter at DP 2\n6 and 12 by the formula\n"
    value = next(x for x in ("12.02", "12.9") if x in line)
    (claim,) = judged({"line": 3, "value": value, "expression": "6 + 12 / 2"}, text=text, premises=[])
    assert claim.verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [("12.7", "not checked"), ("13.9", "wrong")])
def test_what_a_share_is_taken_of_is_left_open(value, verdict):
    text = f"# Mixtral-8x7B on 8 H100\n\nthe budget is {value} GB\n60 % of the 20 GB of a card are for it\n"
    (claim,) = judged({"line": 3, "value": f"{value} GB", "expression": "60 % * 20 GB"}, text=text, premises=[])
    assert claim.verdict == verdict


def test_a_point_before_a_time_parts_no_thousands():
    text = "# Mixtral-8x7B on 8 H100\n\n99.5 MB over the NIC take 0.249 ms at 50 GB/s\n"
    (claim,) = judged({"line": 3, "value": "0.249 ms", "expression": "99.5 MB / 50 GB/s"}, text=text, premises=[])
    assert claim.verdict == "wrong"


def test_rates_may_be_of_powers_of_1024():
    text = "# Mixtral-8x7B on 8 H100\n\n104857600 B at 51.5 GB/s are 1.896 ms\n"
    row = {"line": 3, "value": "1.896 ms", "expression": "104857600 B / 51.5 GB/s"}
    (claim,) = judged(row, text=text, premises=[])
    assert claim.verdict == "holds"
    assert "GiB/s" in claim.why


@pytest.mark.parametrize(("value", "verdict"), [("47B", "holds"), ("45B", "not checked"), ("60B", "wrong")])
def test_a_model_may_be_named_by_a_size_near_its_own(value, verdict):
    text = f"# Mixtral-8x7B on 8 H100\n\nMixtral-8x7B has {value} parameters\n"
    (claim,) = judged({"line": 3, "value": value, "quantity": "count.parameters"}, text=text)
    assert claim.verdict == verdict
