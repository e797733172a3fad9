"""Headers, indexes and checksums of weights' files, and ranks that hear of another's end."""

import hashlib
import json

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from moewright.run.ranks import peers  # noqa: E402
from moewright.run.run_error import RunError  # noqa: E402
from moewright.run.weights.checksums import check_sums  # noqa: E402
from moewright.run.weights.safetensors_header import INDEX, read_entries  # noqa: E402

GOOD = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}


def write(file, header, data=16):
    raw = json.dumps(header).encode() if not isinstance(header, bytes) else header
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(data))


def test_a_header_as_it_should_be(tmp_path):
    write(tmp_path / "x.safetensors", {**GOOD, "__metadata__": {"format": "pt"}})
    assert read_entries(tmp_path)["a"].shape == (2, 2)
    save_file({"b": torch.ones(3, dtype=torch.bfloat16), "c": torch.ones(0)}, tmp_path / "y.safetensors")
    assert read_entries(tmp_path)["b"].size == 6


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["dtype", "shape", "data_offsets", "name", "whole", "tensor"]), json_values)
@settings(max_examples=200, deadline=None)
def test_headers_of_anything(tmp_path_factory, which, value):
    folder = tmp_path_factory.mktemp("h")
    one = {**GOOD["a"], which: value} if which in GOOD["a"] else value if which == "tensor" else GOOD["a"]
    header = value if which == "whole" else {"x" * 5000 if which == "name" else "a": one}
    write(folder / "x.safetensors", header)
    try:
        read_entries(folder)
    except RunError as error:
        assert "x.safetensors" in str(error)
        assert len(str(error)) < 600


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_indexes_of_anything(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("i")
    write(folder / "x.safetensors", GOOD)
    for content in (value, {"weight_map": value}, {"weight_map": {"a": value}}):
        (folder / INDEX).write_text(json.dumps(content))
        with pytest.raises(RunError, match="index"):
            read_entries(folder)
    good = {"weight_map": {"a": "x.safetensors"}, "metadata": {"total_size": value}}
    (folder / INDEX).write_text(json.dumps(good))
    if value is None or value == 16:
        read_entries(folder)
    else:
        with pytest.raises(RunError, match="total_size"):
            read_entries(folder)


def test_an_index_beside_other_files(tmp_path):
    write(tmp_path / "x.safetensors", GOOD)
    for places, says in (
        ({"b": "x.safetensors"}, "says that b is in x.safetensors, which has no such tensor"),
        ({"a": "n" * 300 + ".safetensors"}, "expected a .safetensors file here"),
        ({"a": "../x.safetensors"}, "expected a .safetensors file here"),
        ({"a": "y.safetensors"}, "no such file"),
    ):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": places}))
        with pytest.raises(RunError, match=says):
            read_entries(tmp_path)


def test_a_flipped_bit_is_found_where_a_sum_is_known(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4, 4)}, file)
    assert "a changed value is not seen" in check_sums([file])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  ./model.safetensors\n")
    assert check_sums([file]) == "SHA-256 of 1 file compared with SHA256SUMS"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match=r"is not what it was: its SHA-256 is .* SHA256SUMS says"):
        check_sums([file])
    (tmp_path / "SHA256SUMS").unlink()
    hub = tmp_path / ".cache" / "huggingface" / "download"
    hub.mkdir(parents=True)
    (hub / "model.safetensors.metadata").write_text(f"commit\n{digest}\n1.0\n")
    with pytest.raises(RunError, match="the Hub's metadata says"):
        check_sums([file])


def test_a_file_of_the_hubs_cache_is_named_by_its_sum(tmp_path):
    save_file({"a": torch.ones(4, 4)}, tmp_path / "blob")
    digest = hashlib.sha256((tmp_path / "blob").read_bytes()).hexdigest()
    (tmp_path / "blob").rename(tmp_path / digest)
    (tmp_path / "model.safetensors").symlink_to(tmp_path / digest)
    assert "the Hub's cache" in check_sums([tmp_path / "model.safetensors"])
    (tmp_path / digest).write_bytes((tmp_path / digest).read_bytes()[:-1] + b"\1")
    with pytest.raises(RunError, match="is not what it was"):
        check_sums([tmp_path / "model.safetensors"])


def test_ranks_hear_of_one_that_ends_while_they_load(monkeypatch, capsys):
    import torch.distributed as dist

    ended = []
    monkeypatch.setattr(peers.os, "_exit", ended.append)
    monkeypatch.setattr(peers, "_GRACE", 0.0)
    store = dist.HashStore()
    mine, other = peers.Peers(store, 0, 3), peers.Peers(store, 1, 3)
    store.set("moewright/1", "0 1.0")
    mine._listen()
    assert ended == []
    monkeypatch.setattr(peers, "_LOST_LOADING", -1.0)
    mine._listen()
    assert ended == [4]
    assert "rank 1 died or was stopped while loading" in capsys.readouterr().err
    other.fail()
    other._listen()
    assert ended[1] == 4
