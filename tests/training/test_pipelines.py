"""Schedules: the closed form against every operation in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.case.train.train_strategy import Schedule
from moewright.training.stages.pipelines import (
    StageSeconds,
    chunks_in_flight,
    meeting_seconds,
    pipeline_seconds,
    simulate_pipeline,
)
from moewright.training.stages.stage_split import split

seconds = st.floats(0.25, 4.0)


def closed(forward, inputs, weights, micro, virtual, schedule):
    """Seconds of equal or unequal stages by the closed form."""
    s = StageSeconds(*(np.array([column]) for column in (forward, inputs, weights)))
    return float(pipeline_seconds(s, np.array([float(micro)]), virtual, schedule)[0][0])


def end(spans):
    return max(s.end for s in spans)


@given(st.integers(1, 6), st.integers(1, 12), seconds, seconds, seconds)
def test_1f1b_of_equal_stages_takes_what_the_closed_form_says(stages, micro, f, b, w):
    spans = simulate_pipeline([(f, b, w)] * stages, stages, micro, Schedule.ONE_F_ONE_B)
    whole = closed([f] * stages, [b] * stages, [w] * stages, micro, 1, Schedule.ONE_F_ONE_B)
    assert end(spans) == pytest.approx(whole)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(2, 4), seconds, seconds, seconds)
def test_interleaving_of_equal_chunks_takes_what_the_closed_form_says(stages, rounds, virtual, f, b, w):
    spans = simulate_pipeline([(f, b, w)] * (stages * virtual), stages, stages * rounds, Schedule.INTERLEAVED)
    sizes = ([virtual * x] * stages for x in (f, b, w))
    assert end(spans) == pytest.approx(closed(*sizes, stages * rounds, virtual, Schedule.INTERLEAVED))


@given(st.integers(2, 6), st.integers(0, 8), seconds)
def test_zero_bubble_of_equal_stages_fills_two_thirds_of_the_gap(stages, more, t):
    """F = B = W, as in the paper: (p − 1) · (F + B − W) are left idle, of (p − 1) · (F + B + W)."""
    micro = 2 * stages + more
    spans = simulate_pipeline([(t, t, t)] * stages, stages, micro, Schedule.ZERO_BUBBLE)
    whole = closed([t] * stages, [t] * stages, [t] * stages, micro, 1, Schedule.ZERO_BUBBLE)
    assert whole == pytest.approx(3 * t * micro + (stages - 1) * t)
    assert end(spans) == pytest.approx(whole)


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=2, max_size=5), st.integers(1, 10))
def test_unequal_stages_take_as_long_as_the_slowest_and_little_longer_than_the_closed_form(stages, micro):
    spans = simulate_pipeline(stages, len(stages), micro, Schedule.ONE_F_ONE_B)
    whole = closed(*zip(*stages, strict=True), micro, 1, Schedule.ONE_F_ONE_B)
    slowest = max(sum(s) for s in stages) * micro
    assert slowest - 1e-9 <= end(spans) <= 1.25 * whole


@given(st.integers(2, 6), st.integers(2, 5), st.data())
def test_unequal_chunks_are_within_a_fifth_of_the_simulation(stages, virtual, data):
    layers = np.array(data.draw(st.lists(st.integers(1, 2), min_size=stages * virtual, max_size=stages * virtual)))
    micro = stages * 8
    spans = simulate_pipeline([(n, n, n) for n in layers.tolist()], stages, micro, Schedule.INTERLEAVED)
    forward = layers.reshape(1, virtual, stages).astype(float)
    sums = forward.sum(axis=1)
    uneven = meeting_seconds(forward, 2 * forward) / (3 * sums).max(axis=1)
    whole, _ = pipeline_seconds(
        StageSeconds(sums, sums, sums), np.array([float(micro)]), virtual, Schedule.INTERLEAVED, np.maximum(uneven, 1)
    )
    assert whole[0] == pytest.approx(end(spans), rel=0.2)


@given(st.integers(1, 6), st.integers(1, 12))
def test_the_first_stage_of_1f1b_keeps_as_many_micro_batches_as_there_are_stages(stages, micro):
    spans = simulate_pipeline([(1, 1, 1)] * stages, stages, micro, Schedule.ONE_F_ONE_B)
    most = chunks_in_flight(stages, 1, np.array([float(micro)]), Schedule.ONE_F_ONE_B)[0]
    assert most.tolist() == [alive(spans, stage) for stage in range(stages)]
    assert most[0] == min(stages, micro)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(2, 4))
def test_interleaved_stages_keep_as_many_chunks_as_their_warm_up_takes(stages, rounds, virtual):
    micro = stages * rounds
    spans = simulate_pipeline([(1, 1, 1)] * (stages * virtual), stages, micro, Schedule.INTERLEAVED)
    most = chunks_in_flight(stages, virtual, np.array([float(micro)]), Schedule.INTERLEAVED)[0]
    assert most.tolist() == [alive(spans, stage) for stage in range(stages)]


def alive(spans, stage):
    """Most chunks whose forward pass has begun and whose backward pass has not ended."""
    own = sorted((s for s in spans if s.stage == stage), key=lambda s: s.start)
    held = most = 0
    for s in own:
        held += s.operation.kind == "F"
        most = max(most, held)
        held -= s.operation.kind == "B"
    return most


def test_interleaving_needs_whole_rounds_of_micro_batches():
    with pytest.raises(ValueError, match="7 micro-batches are no multiple of 4 stages"):
        simulate_pipeline([(1, 1, 1)] * 8, 4, 7, Schedule.INTERLEAVED)


@given(st.lists(seconds, min_size=2, max_size=7), seconds, seconds, st.integers(1, 4))
def test_no_other_division_of_layers_has_a_faster_slowest_chunk(layers, first, last, chunks):
    place = split(np.array([layers]), np.array([first]), np.array([last]), chunks)[0]
    assert list(place) == sorted(place)
    assert place[-1] < chunks

    def slowest(where):
        load = [0.0] * chunks
        load[0] += first
        load[-1] += last
        for layer, chunk in zip(layers, where, strict=True):
            load[chunk] += layer
        return max(load)

    def divisions(left, start):
        if not left:
            yield ()
            return
        for chunk in range(start, chunks):
            for rest in divisions(left - 1, chunk):
                yield (chunk, *rest)

    best = min(slowest(where) for where in divisions(len(layers), 0))
    assert slowest(place) <= best * 1.01 + 0.01 * max(layers)
