"""Right documents that others wrote: no claim of them fails, and the errors planted in them stand on one line each."""

import pytest
from benchmarks.written import FOLDER, errors_of, scored, with_errors

SETS = ("20",)
DOCUMENTS = [pytest.param(x, id=f"{s}-{x.stem[:24]}") for s in SETS for x in sorted((FOLDER / s).glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_false_alarm(document):
    claims, false, found = scored(document)
    assert claims > 20
    assert false == 0
    assert len(found) == 3


def test_every_set_has_two_errors_of_each_kind():
    for folder in sorted(x for x in FOLDER.iterdir() if x.is_dir()):
        kinds = [e.kind for x in folder.glob("*.md") for e in errors_of(x)]
        assert sorted(kinds) == sorted([*range(1, 16)] * 2)
        for x in folder.glob("*.md"):
            right, wrong = x.read_text(encoding="utf-8").splitlines(), with_errors(x).splitlines()
            changed = [i for i, (a, b) in enumerate(zip(right, wrong, strict=True), 1) if a != b]
            assert changed == [e.line for e in errors_of(x)]
