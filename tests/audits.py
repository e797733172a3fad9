"""Short documents audited in this process, for tests of what one figure changes."""

from moewright.audit.audit_document import audit_document
from moewright.audit.audit_record import FAILING, Claim
from moewright.audit.text.document import parse

#: titles that documents stand under: a cluster, which is all that an audit needs, and models
CLUSTER, MIXTRAL, DEEPSEEK = "Plan for 32 H100 GPUs", "Mixtral-8x7B on 8 H100 GPUs", "DeepSeek-V3 on H100 GPUs"


def audited(text: str, title: str = CLUSTER) -> tuple[Claim, ...]:
    """The verdicts on the Markdown ``text`` under ``title``; its first line is line 3."""
    return audit_document(parse(f"# {title}\n\n{text}\n", "plan.md"), {}, None).claims


def failing(text: str, title: str = CLUSTER) -> list[Claim]:
    """Those of them that say that something is wrong."""
    return [c for c in audited(text, title) if c.verdict in FAILING]


def one_wrong(text: str, right: str, wrong: str, title: str = CLUSTER) -> Claim:
    """The only failing verdict where ``wrong`` stands for ``{}`` in ``text``, on the line that has it; none may fail
    where ``right`` does."""
    assert failing(text.format(right), title) == []
    (claim,) = failing(text.format(wrong), title)
    assert claim.line == 3 + text[: text.index("{}")].count("\n")
    return claim
