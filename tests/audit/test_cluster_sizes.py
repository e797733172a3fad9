"""GPUs of so many nodes with so many each."""

import pytest

from moewright.audit.reading.cluster_sizes import gpus_of_nodes


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("We rent three nodes of 8 H100 each.", 24),
        ("The pool is 16 DGX servers with 8 B200 each.", 128),
        ("two HGX boxes, 4 × H200 each", 8),
        ("a single machine with 8 × A100 80 GB", 8),
        ("zwölf Server mit je 8 H20", 96),
        ("vier Knoten à 4 GPUs", 16),
        ("16 台服务器,每台 8 卡", 128),
        ("两台 8 卡 H20", 16),
        ("六台 H800 服务器,每台 8 张", 48),
    ],
)
def test_in_words_and_digits(text, gpus):
    assert gpus_of_nodes(text) == (gpus, pytest.approx(gpus_of_nodes(text)[1]))


@pytest.mark.parametrize(
    "text",
    [
        "4 nodes, EP32",
        "Nodes of 8 × H200",
        "12 nodes; a GPU has 80 GB",
        "四节点 16 GPU",  # of all four
        "We would need two nodes of 8 H100.",
        "The pilot ran on two nodes of 8 H100.",
    ],
)
def test_what_does_not_tell_both(text):
    assert gpus_of_nodes(text) is None
