"""``batch: auto``: the best of all batches, by trying them one after another."""

import numpy as np
import pytest

from moewright.case.file.load import case_of
from moewright.errors import InfeasibleError
from moewright.planning.search import evaluate, plan


def case(model="gpt-oss-20b", gpus=4, cluster="h100-hgx", batch="auto", sequence=8192, **fields):
    work = {"kind": "decode", "batch": batch, "sequence": sequence}
    raw = {"model": model, "cluster": {"name": cluster, "gpus": gpus}, "workload": work}
    return case_of(raw | {"objective": "throughput"} | fields, "c.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "limits"), [(1, {}), (4, {"tpot": "7 ms"}), (4, {"tpot": "4.1 ms", "ttft": "400 ms"})]
)
def test_no_batch_gives_more(gpus, limits):
    best = plan(case(gpus=gpus, limits=limits)).best
    most = 0.0
    for some in np.array_split(np.arange(1, 1025), 16):
        try:
            most = max(
                most, plan(case(gpus=gpus, batch=some.tolist(), limits=limits)).best.throughput.tokens_per_second
            )
        except InfeasibleError:
            continue
    assert best.throughput.tokens_per_second >= most * (1 - 1e-9)
    assert most > 0


def test_a_limit_is_used_up():
    """The next batch of the best layout misses it, or the memory."""
    c = case("DeepSeek-V3", 16, "h200-hgx", limits={"tpot": "40 ms"}, sequence=4096)
    best = plan(c).best
    s = best.strategy
    unit = s.replicas * s.attention.dp * s.micro_batches
    assert best.latency.seconds <= 0.040
    try:
        following = evaluate(case("DeepSeek-V3", 16, "h200-hgx", batch=best.batch + unit, sequence=4096), s)
        assert following.latency.seconds > 0.040
    except InfeasibleError as error:
        assert "does not fit" in str(error)
    assert best.latency.seconds > 0.99 * 0.040


def test_latency_wants_no_larger_batch():
    c = case(objective="latency")
    assert plan(c).best.batch in c.workload.batch
