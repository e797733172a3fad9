"""What cannot be placed, does nothing or is damaged gets one clear error; what can, is taken in every form."""

import json
import zipfile

import numpy as np
import pytest

import moewright
from moewright.case.loads.read_loads import read_loads
from moewright.case.loads.synthetic import synthetic_loads
from moewright.errors import SpecError

LOADS = np.random.default_rng(0).lognormal(size=(2, 16))
SIZES = {"slots": 16, "gpus": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": "a"}, "seed: got 'a'; expected a whole number from 0"),
        ({"seed": 1.5}, "seed: got 1.5"),
        ({"seed": 2**80}, "seed: got 12089"),
        ({"seed": 10**5000}, "seed: got a number of thousands of digits"),
        ({"traffic": "a", "nodes": 2, "groups": 2}, "traffic: got 'a'"),
        ({"traffic": -1, "nodes": 2, "groups": 2}, "traffic: got -1"),
        ({"traffic": 1.0}, "traffic: does nothing without nodes and groups"),
        ({"groups": 4}, "groups: got 4; with one node"),
        ({"moves": 2}, "moves: does nothing without previous"),
        ({"expert_bytes": -1}, "expert_bytes: got -1"),
        ({"token_bytes": float("nan")}, "token_bytes: got nan"),
        ({"top_k": 0}, "top_k: got 0"),
        ({"top_k": 17, "token_bytes": 1.0}, "top_k: got 17; expected at most 16"),
        ({"top_groups": 3, "token_bytes": 1.0}, "top_groups: got 3; expected at most the router's 1"),
        ({"router_groups": 3, "token_bytes": 1.0}, "router_groups: got 3; expected a divisor of the 16"),
        ({"slack": "a"}, "slack: got 'a'"),
        ({"affinity": [["1", "0"]]}, "affinity: holds no table of numbers: text"),
        ({"previous": {"expert_of_slot": None}}, "previous: holds no table of experts"),
        ({"previous": np.arange(32).reshape(2, 16) % 16 + 0.5}, "previous: has 0.5 in layer 0, slot 0"),
        ({"previous": [[10**30, *range(1, 16)]] * 2}, "previous: has expert 1000000000"),
        ({"previous": [[10**400, *range(1, 16)]] * 2}, "previous: holds no table of experts"),
    ],
)
def test_options_that_are_wrong_or_do_nothing(options, message):
    with pytest.raises(SpecError) as caught:
        moewright.place(LOADS, **SIZES, **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("loads", "message"),
    [
        ([[10**400, 1]], "int too large"),
        ([[True, False]], "true or false instead of real numbers"),
        ([["1", "2"]], "text instead of real numbers"),
        ([[1 + 1j, 2]], "complex numbers instead of real numbers"),
        ([[None, 1]], "other things"),
        ([[1e308, 1e308]], "their sum is beyond"),
    ],
)
def test_loads_that_are_none(loads, message):
    with pytest.raises(SpecError, match=message):
        moewright.place(loads, slots=2, gpus=2)


def test_an_earlier_placement_in_every_form(tmp_path):
    p = moewright.place(LOADS, **SIZES)
    file = tmp_path / "p.json"
    file.write_text(json.dumps(p.to_dict()))
    drifted = LOADS[:, ::-1]
    found = [
        moewright.place(drifted, **SIZES, previous=form).expert_of_slot
        for form in (p.expert_of_slot, p, p.to_dict(), file, str(file))
    ]
    assert all((table == found[0]).all() for table in found)
    file.write_text('{"expert_of_slot": null}')
    with pytest.raises(SpecError, match="expert_of_slot: got None"):
        moewright.place(drifted, **SIZES, previous=file)


def saved(folder, name, array):
    np.save(folder / name, array)
    return folder / name


@pytest.mark.parametrize(
    ("value", "told"), [(np.nan, "holds nan"), (-1, "holds -1.0"), (np.inf, "holds inf"), (1e308, "beyond 1.8e308")]
)
def test_a_file_says_where_a_load_is_wrong(tmp_path, value, told):
    table = np.ones((3, 8))
    table[1, 5] = value
    with pytest.raises(SpecError, match=told) as caught:
        read_loads(saved(tmp_path, "a.npy", table))
    assert value == 1e308 or "for layer 1, expert 5" in str(caught.value)
    with pytest.raises(SpecError, match=told) as caught:
        read_loads(saved(tmp_path, "a.npy", np.stack([np.ones((3, 8)), table])), windows=True)
    assert value == 1e308 or "for window 1, layer 1, expert 5" in str(caught.value)


def test_files_that_are_damaged_or_hold_something_else(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"layer{i}": np.ones((2, 64)) for i in range(40)})
    whole = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(SpecError, match=r"its 40 arrays after a colon: layer0, .*layer11 and 28 more$"):
        read_loads(tmp_path / "a.npz")
    with pytest.raises(SpecError, match="no array is named 'other'"):
        read_loads(tmp_path / "a.npz", "other")
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpecError, match="is damaged"):
        read_loads(tmp_path / "half.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", (saved(tmp_path, "b.npy", np.arange(4096.0))).read_bytes())
    spoilt = bytearray((tmp_path / "c.npz").read_bytes())
    spoilt[200:260] = bytes(60)
    (tmp_path / "c.npz").write_bytes(spoilt)
    with pytest.raises(SpecError, match=r"is damaged|holds no table"):
        read_loads(tmp_path / "c.npz")
    (tmp_path / "big.json").write_text(f"[[1{'0' * 400}, 1]]")
    with pytest.raises(SpecError, match="int too large"):
        read_loads(tmp_path / "big.json")
    for array in (np.ones((2, 2), dtype=complex), np.ones((2, 2), dtype=bool), np.array([["1", "2"]])):
        with pytest.raises(SpecError, match="instead of real numbers"):
            read_loads(saved(tmp_path, "a.npy", array))
    with pytest.raises(SpecError, match=r"a \.npy file has no arrays by name"):
        read_loads(tmp_path / "b.npy", "key")


@pytest.mark.parametrize(
    ("name", "accepted"),
    [("zipf:-1", "zipf: a number from 0 to 100"), ("lognormal:1000", "lognormal: a number from 0.001 to 100")],
)
def test_a_distribution_says_what_it_takes(name, accepted):
    with pytest.raises(SpecError, match=accepted):
        synthetic_loads(name, 1, 8)


def test_distributions_are_of_bounded_size_and_finite():
    with pytest.raises(SpecError, match="at most 10000000 loads"):
        synthetic_loads("zipf:1.0", 100_000_000, 256)
    assert synthetic_loads("dirichlet:0.001", 50, 2).sum(axis=1) == pytest.approx(np.ones(50))
