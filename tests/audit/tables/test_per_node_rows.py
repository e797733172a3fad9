"""What a node has is a whole number of times what a GPU has."""

import pytest

from audits import failing, one_wrong

TABLE = """\
| | A | B |
|---|---|---|
| Memory per GPU | 96 GB | 128 GB |
| Memory per node | 768 GB | {} |
"""


def test_a_node_has_as_many_gpus_in_every_column():
    claim = one_wrong(TABLE, "1,024 GB", "1,204 GB")
    assert claim.quantity == "multiple"
    assert "8 times 128 GB is 1.024 TB" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        TABLE.format("512 GB"),  # four of them
        TABLE.replace("768 GB", "777 GB").format("1,204 GB"),  # no column tells
        TABLE.replace("Memory per GPU", "Scratch per GPU").format("1,204 GB"),
        TABLE.format("1.0 TB"),  # rounded
    ],
)
def test_what_tells_nothing_of_the_node(text):
    assert failing(text) == []
