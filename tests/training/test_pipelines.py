"""Schedules: the closed form against every operation in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.case.train.train_strategy import Schedule
from moewright.placement.stage_orders import order, place_of, stage_and_chunk
from moewright.training.stages.listed_schedules import held_bytes, listed_seconds
from moewright.training.stages.pipelines import StageSeconds, chunks_in_flight, meeting_seconds, pipeline_seconds
from moewright.training.stages.simulated_pipelines import simulate_pipeline
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


def listed(chunks, stages, micro, schedule):
    """Seconds by the way of the search: a short pipeline on arrays, then the slowest stage's pace."""
    arrays = [tuple(np.array([x]) for x in chunk) for chunk in chunks]
    return float(listed_seconds(arrays, stages, np.array([float(micro)]), schedule)[0])


@given(st.integers(2, 6), st.integers(0, 20), seconds, seconds, seconds)
def test_zero_bubble_of_equal_stages_fills_the_gap_with_gradients_of_weights(stages, more, f, b, w):
    """(p − 1) · (F + B − W) are left idle of (p − 1) · (F + B + W) where W is short, as in the paper."""
    micro = stages + more
    spans = simulate_pipeline([(f, b, w)] * stages, stages, micro, Schedule.ZERO_BUBBLE)
    whole = micro * (f + b + w) + (stages - 1) * max(f, b, f + b - w)
    assert end(spans) == pytest.approx(whole)
    assert listed([(f, b, w)] * stages, stages, micro, Schedule.ZERO_BUBBLE) == pytest.approx(whole)


@given(st.integers(1, 6), st.integers(0, 20), seconds, st.floats(0.1, 1.0))
def test_dualpipe_v_of_equal_stages_leaves_idle_what_its_table_says(stages, more, t, share):
    """(p − 1) · (F&B + B − 3W) of half stages, where F&B = F + B: DeepSeek's table, for F and the input's gradient
    alike and W no longer than they."""
    micro, w = 2 * stages + more, t * share
    chunks = [(t, t, w)] * (2 * stages)
    idle = (stages - 1) * ((t + t + w) + (t + w) - 3 * w)
    assert end(simulate_pipeline(chunks, stages, micro, Schedule.DUALPIPE_V)) == pytest.approx(
        2 * micro * (2 * t + w) + idle
    )


@given(st.sampled_from([Schedule.ZERO_BUBBLE, Schedule.DUALPIPE_V]), st.integers(2, 5), st.integers(0, 15), seconds)
def test_the_search_takes_what_the_simulation_does_where_stages_are_equal(schedule, stages, more, f):
    virtual = 2 if schedule is Schedule.DUALPIPE_V else 1
    chunks, micro = [(f, 1.3, 0.6)] * (virtual * stages), 2 * stages + more
    spans = simulate_pipeline(chunks, stages, micro, schedule)
    assert listed(chunks, stages, micro, schedule) == pytest.approx(end(spans))


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=4, max_size=4), st.integers(0, 12))
def test_unequal_chunks_of_dualpipe_v_keep_the_pace_of_the_slowest_stage(chunks, more):
    spans = simulate_pipeline(chunks, 2, 4 + more, Schedule.DUALPIPE_V)
    slowest = max(sum(chunks[0]) + sum(chunks[3]), sum(chunks[1]) + sum(chunks[2]))
    assert slowest * (4 + more) - 1e-9 <= end(spans)
    assert listed(chunks, 2, 4 + more, Schedule.DUALPIPE_V) == pytest.approx(end(spans), rel=0.1)


@given(st.sampled_from(list(Schedule)), st.integers(1, 5), st.integers(0, 6))
def test_every_list_does_each_pass_of_each_micro_batch_once_and_in_order(schedule, stages, more):
    virtual = {Schedule.INTERLEAVED: 3, Schedule.DUALPIPE_V: 2}.get(schedule, 1)
    micro = stages * (2 + more)
    for stage in range(stages):
        done = order(stage, stages, micro, virtual, schedule)
        for chunk in range(virtual):
            for kinds in ("F", "BI", "BW"):
                assert [x.micro for x in done if x.chunk == chunk and x.kind in kinds] == list(range(micro))
            place = place_of(stage, chunk, stages, schedule)
            assert stage_and_chunk(place, stages, schedule) == (stage, chunk)


@given(st.integers(2, 5), st.integers(0, 10))
def test_what_waits_for_gradients_of_weights_is_held(stages, more):
    """ZB-H1: stage i holds p − i micro-batches, and where these go, up to i that wait for gradients of weights."""
    micro = np.array([float(2 * stages + more)])
    kept, late = np.full((1, stages), 10.0), np.full((1, stages), 4.0)
    held = held_bytes(kept, late, micro, stages, Schedule.ZERO_BUBBLE)[0]
    assert held.tolist() == [10.0 * (stages - i) + 4.0 * i for i in range(stages)]
    for stage in range(stages):
        moment = now = 0.0
        for x in order(stage, stages, int(micro[0]), 1, Schedule.ZERO_BUBBLE):
            now += {"F": 10.0, "I": 0.0, "W": 0.0}[x.kind]
            moment = max(moment, now)
            now += {"F": 0.0, "I": -6.0, "W": -4.0}[x.kind]
        assert moment == held[stage]


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
