"""Earlier placements: in every engine's format, on other GPUs or slots, what a move costs; sweeps and watches."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import moewright
from moewright.cli import app
from moewright.errors import SpecError
from moewright.placement.files.earlier import copies, fitted, kept_experts, read_earlier, survivors
from moewright.placement.files.engine_files import engine_file
from moewright.placement.files.engine_layers import EngineLayers
from moewright.placement.migration import Links, migration
from moewright.placement.slot_sweep import SweepPoint, knee, swept_slots

LOADS = np.random.default_rng(7).lognormal(size=(3, 16))
SIZES = {"slots": 24, "gpus": 8}


def run(*arguments):
    return CliRunner().invoke(app, ["place", *map(str, arguments)])


@pytest.mark.parametrize("form", ["eplb", "sglang", "tensorrt-llm", "vllm", "vllm-ascend", "moewright"])
def test_a_placement_is_read_back_from_every_format(tmp_path, form):
    p = moewright.place(LOADS, **SIZES)
    layers = EngineLayers(4, (1, 2, 3), 16)
    text = json.dumps(p.to_dict()) if form == "moewright" else engine_file(p, form, layers=layers)
    file = tmp_path / "p"
    file.write_text(text)
    read = read_earlier(file)
    rows = read.rows[1:] if form == "sglang" else read.rows
    assert rows == p.expert_of_slot.tolist()
    assert read.form == form
    assert read.gpus == (8 if form in ("moewright", "vllm-ascend") else None)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '"x"',
        "[",
        "initial_global_assignments: {a: [1], 3: [2]}",
        "{layer_list: [{}]}",
        '{"phy2log": 3}',
        '{"layer_list": [3]}',
    ],
)
def test_what_is_no_placement_is_one_clear_error(tmp_path, text):
    file = tmp_path / "p.json"
    file.write_text(text)
    with pytest.raises(SpecError, match=r"p\.json"):
        read_earlier(file)


def test_formats_indexed_by_layer_need_the_model():
    p = moewright.place(LOADS, **SIZES)
    for form in ("sglang", "tensorrt-llm"):
        with pytest.raises(SpecError, match="--model"):
            engine_file(p, form)
        with pytest.raises(SpecError, match="5 layers with experts"):
            engine_file(p, form, layers=EngineLayers(8, (1, 2, 3, 4, 5), 16))
    rows = json.loads(engine_file(p, "sglang", layers=EngineLayers(4, (0, 2, 3), 16)))["physical_to_logical_map"]
    assert rows[1] == [*range(16), *range(8)]
    assert rows[2] == p.expert_of_slot[1].tolist()


def test_sglang_files_of_a_model_with_dense_layers_go_there_and_back(tmp_path):
    file = tmp_path / "s.json"
    sizes = ["--layers", 58, "--experts", 256, "--slots", 288, "--gpus", 32, "--model", "DeepSeek-V3", "--seconds", "0"]
    done = run("zipf:0.5", *sizes, "--format", "sglang", "--output", file)
    assert done.exit_code == 0
    rows = json.loads(file.read_text())["physical_to_logical_map"]
    assert len(rows) == 61
    assert rows[0] == rows[2] == [*range(256), *range(32)] != rows[3]
    again = run("zipf:0.5", *sizes[:-2], "--previous", file, "--moves", 0, "--json")
    assert json.loads(again.stdout)["expert_of_slot"] == rows[3:]


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 6), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_fitted_keeps_what_it_can(seed, gpus, old, each):
    rng = np.random.default_rng(seed)
    experts = int(rng.integers(1, gpus * each + 1))
    load = rng.exponential(size=experts)
    was = int(rng.integers(1, 5))
    kept = [rng.integers(0, experts, was).tolist() if g < old else [] for g in range(gpus)]
    found = fitted(load, kept, each)
    assert found.shape == (gpus, each)
    assert set(found.ravel()) == set(range(experts))
    # no more is copied than slots that were empty, and experts that had to make room
    held = set().union(*map(set, kept))
    empty = sum(max(0, each - len(row)) for row in kept)
    assert len(copies(kept, found)) <= empty + max(0, experts - len(held))
    for row, before in zip(found.tolist(), kept, strict=True):
        stay = Counter(row) & Counter(before)
        assert stay.total() >= min(each, len(before)) - max(0, experts - len(held))


def test_lost_gpus_take_the_fewest_copies_and_the_rest_stays():
    p = moewright.place(LOADS, **SIZES)
    again = moewright.place(LOADS, slots=21, gpus=7, previous=p.expert_of_slot, previous_gpus=8, lost=(3,))
    before = kept_experts(p.expert_of_slot, 8, survivors(8, 7, (3,)))
    after = again.expert_of_slot.reshape(3, 7, 3)
    for layer in range(3):
        held = {e for row in before[layer] for e in row}
        # every slot is full: only experts that no GPU has left are copied
        assert len(copies(before[layer], after[layer])) == 16 - len(held)
        assert set(after[layer].ravel()) == set(range(16))
    assert again.moved == sum(len(copies(b, a)) for b, a in zip(before, after, strict=True))
    more = moewright.place(LOADS, slots=30, gpus=10, previous=p.expert_of_slot, previous_gpus=8)
    assert (more.expert_of_slot[:, :24] == p.expert_of_slot).all()
    assert more.moved == 3 * 6
    free = moewright.place(LOADS, slots=30, gpus=10, previous=p.expert_of_slot, previous_gpus=8, moves=4)
    assert free.balancedness >= more.balancedness


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lost": (9,)}, "lost: got 9"),
        ({"lost": tuple(range(8))}, "lost: got all 8"),
        ({"previous_gpus": 7}, "previous_gpus: got 7"),
    ],
)
def test_bad_losses_are_refused(options, message):
    p = moewright.place(LOADS, **SIZES)
    with pytest.raises(SpecError, match=message):
        moewright.place(LOADS, slots=21, gpus=7, previous=p.expert_of_slot, **{"previous_gpus": 8, **options})


def test_lost_gpus_of_a_file_that_tells_no_gpus_need_their_number(tmp_path):
    p = moewright.place(LOADS, **SIZES)
    (tmp_path / "v.json").write_text(engine_file(p, "vllm"))
    sizes = ["zipf:1.0", "--layers", 3, "--experts", 16, "--slots", 21, "--gpus", 7, "--previous", tmp_path / "v.json"]
    assert "--lost: needs --previous-gpus" in str(run(*sizes, "--lost", 3).exception)
    assert run(*sizes, "--lost", 3, "--previous-gpus", 8).exit_code == 0


def test_bytes_and_seconds_of_a_migration_by_link():
    # two nodes of two GPUs; GPU 1 gets expert 0 from GPU 0, GPU 2 gets it from the other node, expert 3 from nowhere
    kept = [[[0, 1], [1, 2], [2, 1], [1, 1]]]
    after = np.array([[[0, 1], [1, 0], [2, 0], [1, 3]]])
    m = migration(kept, after, 100.0, Links(50.0, 10.0, 2))
    assert (m.replicas, m.node_bytes, m.fabric_bytes, m.storage_bytes) == (3, 100.0, 100.0, 100.0)
    assert m.seconds == 10.0  # of the fabric; inside the node it is 2
    assert migration(kept, np.array([[[0, 1], [1, 2], [2, 1], [1, 1]]]), 100.0, Links(50.0, 10.0, 2)).seconds == 0


def test_a_move_that_does_not_pay_is_not_made(tmp_path):
    file = tmp_path / "p.json"
    sizes = ["lognormal:1.0", "--experts", 64, "--slots", 72, "--gpus", 8, "--nodes", 2]
    run(*sizes, "--output", file)
    drifted = [*sizes, "--seed", 1, "--previous", file, "--json", "--model", "gpt-oss-20b"]
    sizes_of_model = run(*drifted)
    assert "loads have 64" in str(sizes_of_model.exception)
    drifted = [*sizes, "--seed", 1, "--previous", file, "--json"]
    pays = json.loads(run(*drifted, "--gain-at-least", 0.01).stdout)
    keeps = json.loads(run(*drifted, "--gain-at-least", 0.9).stdout)
    assert pays["gain"] == keeps["gain"] > 0.01
    assert (pays["kept"], keeps["kept"]) == (False, True)
    assert keeps["expert_of_slot"] == json.loads(file.read_text())["expert_of_slot"]
    assert pays["moved"] > keeps["moved"] == 0


def test_migration_is_priced_by_the_links_of_a_cluster(tmp_path):
    file = tmp_path / "p.json"
    sizes = ["zipf:0.5", "--layers", 24, "--experts", 32, "--slots", 64, "--gpus", 32, "--model", "gpt-oss-20b"]
    run(*sizes, "--seconds", 0, "--output", file)
    moved = run(*sizes, "--seed", 2, "--previous", file, "--moves", 2, "--cluster", "h200-hgx", "--json")
    content = json.loads(moved.stdout)
    m = content["migration"]
    assert m["replicas"] == content["moved"] > 0
    assert m["node_bytes"] + m["fabric_bytes"] == pytest.approx(content["moved_bytes"])
    assert m["seconds"] > 0


def test_sweep_names_the_knee_and_what_fits():
    assert swept_slots("slots=10..40", 8, 16) == [16, 24, 32, 40]
    for text in ("10-40", "slots=40..10", "slots=1..9"):
        with pytest.raises(SpecError, match="--sweep"):
            swept_slots(text, 8, 16)
    even = [0.5, 0.9, 0.95, 0.96]
    points = [SweepPoint(16 + 8 * i, e, 1 / e, 1.0, None) for i, e in enumerate(even)]
    assert knee(points) == 1
    done = run("lognormal:1.0", "--experts", 32, "--layers", 24, "--gpus", 8, "--sweep", "slots=32..48",
               "--model", "gpt-oss-20b", "--memory-limit", "2.2 GB", "--json")  # fmt: skip
    rows = json.loads(done.stdout)["sweep"]
    assert [r["slots"] for r in rows] == [32, 40, 48]
    assert sum(r["knee"] for r in rows) == 1
    sizes = [r["bytes_per_gpu"] for r in rows]
    assert sizes == pytest.approx([sizes[0] * s / 32 for s in (32, 40, 48)])
    assert [r["fits"] for r in rows] == [x <= 2.2e9 for x in sizes]


def test_several_recordings_are_windows_and_a_held_out_figure_is_told(tmp_path):
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).lognormal(size=(2, 16)))
    files = [tmp_path / f"{i}.npy" for i in range(4)]
    content = json.loads(run(*files, "--slots", 24, "--gpus", 8, "--json").stdout)
    assert len(content["windows"]) == 4
    first = moewright.place(np.stack([np.load(f) for f in files[:2]]), **SIZES)
    held, share = (x.reshape(2, 8, 3) for x in (first.expert_of_slot, first.share))
    even = []
    for f in files[2:]:
        for layer, load in enumerate(np.load(f)):
            gpu = (load[held[layer]] * share[layer]).sum(axis=1)
            even.append(gpu.mean() / gpu.max())
    assert content["held_out"] == pytest.approx(np.mean(even))
    assert content["held_out"] < np.mean(content["windows"])
    np.save(tmp_path / "other.npy", np.ones((3, 16)))
    assert "other.npy: has shape (3, 16)" in str(
        run(files[0], tmp_path / "other.npy", *["--slots", 24, "--gpus", 8]).exception
    )
    page = run(files[0], "--slots", 24, "--gpus", 8).stdout
    assert "one window; give several recordings" in page


def test_loads_that_are_all_zero_are_said_to_be_so(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros((2, 16)))
    assert "all 2 layers have no token at all" in run(tmp_path / "0.npy", "--slots", 16, "--gpus", 8).stdout


def test_watch_writes_the_file_when_new_recordings_pay(tmp_path):
    folder, file = tmp_path / "in", tmp_path / "p.json"
    folder.mkdir()
    watch = ["--watch", folder, "--output", file, "--slots", 24, "--gpus", 8, "--once", "--gain-at-least", 0.05]
    assert "has no recording" in run(*watch).stderr
    np.save(folder / "a.npy", LOADS)
    assert "wrote" in run(*watch).stderr
    first = file.read_text()
    assert "wrote" not in run(*watch).stderr  # the same loads again: nothing to gain
    assert file.read_text() == first
    np.save(folder / "b.npy", 50 * LOADS[:, ::-1])
    (folder / "broken.npy").write_text("x")
    done = run(*watch)
    assert "left out: " in done.stderr
    assert "wrote" in done.stderr
    assert file.read_text() != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lost", "3"], "--lost: does nothing without --previous"),
        (["--gain-at-least", "0.1"], "--gain-at-least: does nothing without"),
        (["--cluster", "h200-hgx"], "--cluster: does nothing without"),
        (["--memory-limit", "1 GB"], "--memory-limit: does nothing without"),
        (["--every", "3"], "--every: does nothing without --watch"),
        (["--once"], "--once: does nothing without --watch"),
        (["--sweep", "slots=16..32"], "--slots: does nothing beside --sweep"),
        (["--watch", "."], "--watch: does nothing without --output"),
    ],
)
def test_options_that_do_nothing_are_refused(options, message):
    found = run("zipf:1.0", "--experts", 16, "--slots", 16, "--gpus", 4, *options)
    assert isinstance(found.exception, SpecError)
    assert str(found.exception).startswith(message)
