"""A program of the user's that reads a document: asked again where its answer is no reading, and once to go over it."""

import json
import shlex
import sys

import pytest
from typer.testing import CliRunner

from moewright.audit.audit_document import audit_by_assistant
from moewright.audit.text.document import parse
from moewright.audit.typed.assistant import prompt_of
from moewright.cli.app import app
from moewright.errors import SpecError

DOCUMENT = "# Plan\n\nTwo copies of 20 GB take 30 GB.\n\nThree take 60 GB.\n"
READING = "reader: a model\nclaims:\n  - {line: 3, value: 30 GB, expression: 2 * 20 GB}\n"
WHOLE = READING + "  - {line: 5, value: 60 GB, expression: 3 * 20 GB}\n"
#: answers one after another, and keeps what it was asked
PROGRAM = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
asked = here / "asked.json"
before = json.loads(asked.read_text()) if asked.exists() else []
asked.write_text(json.dumps([*before, sys.stdin.read()]))
answers = json.loads((here / "answers.json").read_text())
print(answers[min(len(before), len(answers) - 1)])
"""


@pytest.fixture
def reader(tmp_path):
    """(command, asked) of a program that answers what it is told to, and what it was asked."""

    def made(*answers):
        (tmp_path / "reader.py").write_text(PROGRAM)
        (tmp_path / "answers.json").write_text(json.dumps(answers))
        return shlex.join([sys.executable, str(tmp_path / "reader.py")])

    def asked():
        return json.loads((tmp_path / "asked.json").read_text())

    return made, asked


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.md"
    path.write_text(DOCUMENT)
    return path


def audited(plan, command):
    return audit_by_assistant(plan, command, [], lambda share: None)


def test_its_reading_is_judged_and_it_is_asked_to_go_over_it(reader, plan):
    made, asked = reader
    found, text = audited(plan, made(READING, WHOLE))
    assert [(c.line, str(c.verdict)) for c in found.claims] == [(3, "wrong"), (5, "holds")]
    assert found.reader.startswith("a model (by ")
    assert text == WHOLE.strip()
    first, second = asked()
    assert "3  Two copies of 20 GB take 30 GB." in first
    assert "line 3, wrong" not in first
    assert "line 3, wrong: 30 GB = 2 * 20 GB" in second
    assert READING.strip() in second


def test_a_reading_that_nothing_is_open_of_is_taken(reader, plan):
    made, asked = reader
    plan.write_text("# Plan\n\nThree copies of 20 GB take 60 GB.\n")
    audited(plan, made("reader: m\nclaims:\n  - {line: 3, value: 60 GB, expression: 3 * 20 GB}"))
    assert len(asked()) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("I cannot read this.", "expected a mapping with reader, premises and claims"),
        ("reader: m\nclaims: [{line: 3}]", "value"),
        ("reader: m\nclaims: [{line: 3, value: 30 GB, expression: '{nothing} * 2'}]", "neither a name of let"),
    ],
)
def test_an_answer_that_is_no_reading_is_asked_for_again(reader, plan, answer, problem):
    made, asked = reader
    found, _ = audited(plan, made(answer, WHOLE))
    assert len(found.claims) == 2
    assert problem in asked()[1]
    assert answer in asked()[1]


@pytest.mark.parametrize(
    "answer",
    [
        f"Here it is:\n```yaml\n{WHOLE}```\nDone.",
        f"<think>claims: [oh]</think>\n{WHOLE}",
        f"```\nx\n```\n```yml\n{WHOLE}```",
    ],
)
def test_what_stands_around_the_reading_is_passed_over(reader, plan, answer):
    made, _ = reader
    assert len(audited(plan, made(answer))[0].claims) == 2


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("", "is empty"),
        ("'", "no closing quotation"),
        ("no-such-program-anywhere", "cannot run 'no-such-program-anywhere'"),
        (shlex.join([sys.executable, "-c", "import sys; sys.exit('no model')"]), "exited with 1: no model"),
        (shlex.join([sys.executable, "-c", "print('no')"]), "no reading in 3 tries"),
        (shlex.join([sys.executable, "-c", "print('x' * (3 << 20))"]), "wrote more than"),
    ],
)
def test_a_program_that_does_not_read(plan, command, told):
    with pytest.raises(SpecError, match=r"--reader") as caught:
        audited(plan, command)
    assert told in str(caught.value)


def test_the_prompt_names_what_a_reading_may_have():
    prompt = prompt_of(parse(DOCUMENT, "plan.md"))
    for part in ("memory.kv_cache", "strategy.ep", "DeepSeek-V3", "expression", "gpu, layer, expert"):
        assert part in prompt


def run(*words):
    return CliRunner().invoke(app, ["audit", *map(str, words)])


def test_the_command(reader, plan):
    made, _ = reader
    command = made(WHOLE)
    found = run(plan, "--reader", command, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["reader"].startswith("a model (by ")
    printed = run(plan, "--reader", command, "--claims", "-")
    assert printed.stdout.strip() == WHOLE.strip()


@pytest.mark.parametrize("other", [["--claims", "x.yaml"], ["--premises", "x.yaml"], ["--spec", "x.yaml"], ["-i"]])
def test_what_contradicts_it(plan, other):
    found = run(plan, "--reader", "cat", *other)
    assert isinstance(found.exception, SpecError)
    assert "contradicts --reader" in str(found.exception)


@pytest.mark.parametrize(
    ("line", "claim", "told"),
    [
        (
            "The cache of 10.000 tokens, 833.3 for each of 12.",
            "{line: 3, value: '10.000', expression: 12 * 833.3}",
            "thousands",
        ),
        ("It has 671 B parameters.", "{line: 3, value: 671 B, quantity: count.parameters}", ""),
        (
            "5,300 GB/s, at 50 % 2,650 GB/s.",
            "{line: 3, value: '2,650 GB/s', expression: '50 % * {cluster.device.memory_bandwidth}'}",
            "",
        ),
        ("423.2 千 token in 2 s.", "{line: 3, value: 211.6 千 token/s, expression: 423.2e3 / 2 s}", "stand"),
        ("隐藏维度 5120，96 个查询头,共 491520。", "{line: 3, value: '491520', expression: 5120 * 96}", ""),
        ("Each of 6 has 200 requests, 1,200 in all.", "{line: 3, value: '1,200', expression: '{workload.batch}'}", ""),
        ("Two of 0.05 B are 0.097 B.", "{line: 3, value: 0.097 B, expression: 2 * 0.05 billion}", ""),
    ],
)
def test_what_readers_write(reader, plan, line, claim, told):
    """Forms that assistants wrote, and that were refused, misread or called wrong before."""
    made, _ = reader
    plan.write_text(f"# Plan\n\n{line}\n")
    premises = (
        "premises:\n  - {field: cluster.device.memory_bandwidth, value: '5,300 GB/s', line: 3}\n"
        if "GB/s" in line
        else ""
    )
    premises = "premises: [{field: workload.batch, value: 200 * 6}]\n" if "requests" in line else premises
    premises = "premises: [{field: model.name, value: DeepSeek-V3}]\n" if "671" in line else premises
    found, _ = audited(plan, made(f"reader: m\n{premises}claims:\n  - {claim}"))
    assert [str(c.verdict) for c in found.claims] in (["holds"], ["not checked"])
    assert told in found.claims[0].why
    assert (str(found.claims[0].verdict) == "holds") is (told != "stand")


def test_a_premise_that_nothing_gives_is_told_beside_the_claim(reader, plan):
    made, _ = reader
    text = "reader: m\nclaims:\n  - {line: 3, value: 30 GB, expression: '{cluster.device.memory} / 2'}"
    found, _ = audited(plan, made(text))
    assert "the reading gives no cluster.device.memory" in found.claims[0].why


def test_an_error_is_told_once_through_a_chain(reader, plan):
    """What stands on a sum that is wrong, one of whose parts is wrong too, holds by what both ought to be."""
    plan.write_text("# Plan\n\nTwo of 10 GB are 40 GB.\n\nWith 5 GB that is 15 GB.\n\nOf 80 GB 55 GB are left.\n")
    made, _ = reader
    rows = [
        "{line: 3, value: 40 GB, expression: 2 * 10 GB, id: a}",
        "{line: 5, value: 15 GB, expression: '{a} + 5 GB', id: b}",
    ]
    rows += ["{line: 7, value: 55 GB, expression: '80 GB - {b}'}"]
    text = "reader: m\nclaims:\n" + "".join(f"  - {row}\n" for row in rows)
    found, _ = audited(plan, made(text))
    assert [str(c.verdict) for c in found.claims] == ["wrong", "wrong", "holds"]
