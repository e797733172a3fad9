"""Right documents that others wrote: no claim of them fails, and the errors planted in them stand on one line each."""

import pytest
from benchmarks.written import FOLDER, errors_of, scored, with_errors

pytestmark = pytest.mark.slow

SETS = ("20",)
#: sets of which each document has one version with three errors; the later ones have two with five
EARLY = ("20", "21", "22", "23", "24", "25", "26")
#: sets of ten documents with two versions each; those after them are of six
SHORT = ("27", "28", *map(str, range(47, 62)))
#: ten documents with one version each
ONCE = ("46",)
#: prompts of their own in a plan of many sequences; a batch that divides over no micro-batches, 64 layers on 64 GPUs
SINGLE = [FOLDER / "27" / name for name in ("p04-qa.md", "p07-llm.md")]
DOCUMENTS = [pytest.param(x, id=f"{s}-{x.stem[:24]}") for s in SETS for x in sorted((FOLDER / s).glob("*.md"))]
DOCUMENTS += [pytest.param(x, id=f"27-{x.stem}") for x in SINGLE]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_false_alarm(document):
    claims, false, found = scored(document)
    assert claims > 20
    assert false == 0
    assert document.stem != "p07-llm" or sum(hit for _, hit in found) == 10
    assert len(found) == (3 if document.parent.name in EARLY else 10)


def test_every_error_stands_on_its_line():
    for folder in sorted(x for x in FOLDER.iterdir() if x.is_dir()):
        versions = [(x, errors) for x in folder.glob("*.md") for errors in errors_of(x)]
        early = folder.name in EARLY
        assert [len(errors) for _, errors in versions] == (
            [3] * 10 if early else [5] * (20 if folder.name in SHORT else 10 if folder.name in ONCE else 12)
        )
        kinds = sorted(e.kind for _, errors in versions for e in errors)
        assert kinds == sorted([*range(1, 16)] * 2) or not early
        for x, errors in versions:
            right, wrong = x.read_text(encoding="utf-8").splitlines(), with_errors(x, errors).splitlines()
            changed = [i for i, (a, b) in enumerate(zip(right, wrong, strict=True), 1) if a != b]
            assert changed == sorted(e.line for e in errors)
