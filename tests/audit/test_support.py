"""What a whole document speaks for: where next to nothing agrees, readings accuse nobody; a shared factor is a convention."""

from audits import failing
from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.support import AGREEING, MANY, supported


def claims(quantity, held, more=()):
    unknown = [Claim(i, f"figure {i}", "unknown", Verdict.NOT_CHECKED, "", float(i)) for i in range(MANY)]
    right = [Claim(i, f"right {i}", "memory.weights", Verdict.HOLDS, "", float(i)) for i in range(held)]
    return [*unknown, *right, Claim(99, "wrong", quantity, Verdict.WRONG, "by far", 3.0, 2.0), *more]


def verdict(*given, **named):
    return next(c for c in supported(claims(*given, **named)) if c.line == 99)


def test_a_document_that_is_not_understood_is_not_accused_by_reading():
    assert verdict("memory.total", AGREEING).verdict is Verdict.WRONG
    found = verdict("memory.total", AGREEING - 1)
    assert found.verdict is Verdict.NOT_CHECKED
    assert "too little else" in found.why
    assert "by far" in found.why


def test_what_is_judged_as_it_is_written_stands_by_itself():
    for quantity in ("arithmetic", "table", "multiple", "time"):
        assert verdict(quantity, 0).verdict is Verdict.WRONG
    assert verdict("time.total", 0).verdict is Verdict.NOT_CHECKED


def test_a_short_document_is_judged():
    short = [Claim(99, "wrong", "memory.total", Verdict.WRONG, "by far", 3.0, 2.0)]
    assert supported(short)[0].verdict is Verdict.WRONG


def test_a_factor_that_comes_again_is_a_convention():
    lines = [f"- {a} × {b} = {a * b / 1.07:.1f}" for a, b in ((210.4, 13.7), (77.3, 41.2), (918.2, 5.13))]
    assert failing("\n\n".join(lines)) == []
    assert len(failing("\n\n".join(lines[:2]))) == 2


def test_counts_in_powers_of_1024_are_named():
    assert failing("151936 × 1024 = 148.375 M parameters") == []
    assert len(failing("151936 × 1024 = 146.375 M parameters")) == 1
