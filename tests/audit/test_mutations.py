"""One number of a correct document changed, in value, exponent or unit: the change is caught."""

import pytest
from benchmarks.audit import caught, correct_documents, judged, mutations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright.audit.audit_record import FAILING

pytestmark = pytest.mark.slow

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in correct_documents()}


@pytest.fixture(scope="module")
def claimed():
    return {name: {c.line for c in judged(text).claims} for name, text in TEXTS.items()}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(data=st.data())
def test_a_changed_claim_is_caught(claimed, data):
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    factor = data.draw(st.sampled_from([0.1, 0.5, 0.75, 1.25, 2.0, 3.0, 100.0]))
    found = [m for m in mutations(TEXTS[name], (factor,)) if m.line in claimed[name]]
    m = data.draw(st.sampled_from(found))
    assert caught(m.text), f"{name} line {m.line}: {m.before!r} → {m.after!r}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("- **Layers**: 16", "- **Layers**: 17"),
        ("- **Hidden size**: 1024", "- **Hidden size**: 1000"),
        ("- **Peak compute per GPU**: 400 TFLOPS", "- **Peak compute per GPU**: 300 TFLOPS"),
        ("- **Tensor parallelism (TP)**: 2", "- **Tensor parallelism (TP)**: 4"),
        ("- **Batch size**: 128", "- **Batch size**: 256"),
        ("- **MFU**: 60%", "- **MFU**: 600%"),
        ("- **GPUs per node**: 8", "- **GPUs per node**: 10"),
    ],
)
def test_a_changed_premise_is_caught_by_what_leans_on_it(before, after):
    text = TEXTS["correct-bullets.md"]
    assert before in text
    assert any(c.verdict in FAILING for c in judged(text.replace(before, after)).claims)
