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


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("Serving on two 8×H200 nodes", 16),
        ("four 8-GPU nodes", 32),
        ("16 8xH100 servers", 128),
        ("on one 8 × MI300X server", 8),
    ],
)
def test_gpus_of_a_node_before_the_node(text, gpus):
    found = gpus_of_nodes(text)
    assert found is not None
    assert found[0] == gpus


def test_nodes_of_a_named_gpu_are_no_gpus():
    assert gpus_of_nodes("8 H100 nodes") is None
