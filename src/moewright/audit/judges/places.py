"""What the claims of a document are judged against: the configuration that each of its statements stands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moewright.audit.audit_record import Claim
from moewright.audit.judges.admissible import Doubts
from moewright.audit.judges.words import View
from moewright.audit.quantities.readings import Facts
from moewright.audit.text.clauses import Clauses
from moewright.audit.text.document import Statement

#: (line, value, column) of premises; the column is None where it does not matter
Given = frozenset[tuple[int, object, str | None]]


@dataclass(slots=True)
class Place:
    """A configuration as its claims are judged (the view's name is empty for the document's own). ``restated``:
    verdicts on premises; ``given``: every premise, none of which is a claim; ``unpriced``: why it has no facts of its
    own, so that no figure of it is judged."""

    view: View
    doubts: Doubts
    restated: Sequence[Claim]
    given: Given
    unpriced: str = ""

    @property
    def facts(self) -> Facts:
        return self.view.facts


@dataclass(slots=True)
class Said:
    """A statement with what it says in numbers, and the place it stands in."""

    statement: Statement
    clauses: Clauses
    place: Place
