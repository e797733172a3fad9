"""Broken files of every kind are refused in one line (``benchmarks/fuzz.py`` runs the same over many more)."""

import random
import sys

import pytest
from benchmarks import fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright.errors import SpecError

READERS = (
    "spec",
    "spec toml",
    "plan",
    "launch",
    "config",
    "loads",
    "recording",
    "placement",
    "trace",
    "rows",
    "results",
)
OF_RUN = ("weights", "generation")


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return {r.name: r for r in fuzz.readers(tmp_path_factory.mktemp("seeds"))}


@pytest.mark.parametrize("name", [*READERS, *OF_RUN])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_broken_file_is_refused_in_one_line(readers, tmp_path_factory, name, seed):
    if name not in readers:
        pytest.importorskip("torch")
    reader, rng = readers[name], random.Random(seed)
    file, content = rng.choice(reader.seeds)
    assert fuzz.judge(reader, tmp_path_factory.mktemp("f"), file, fuzz.changed(rng, file, content)) is None


def test_good_files_are_read(readers, tmp_path):
    for name in READERS:
        for file, content in readers[name].seeds:
            if name in ("rows",):  # parts of tables
                continue
            assert fuzz.judge(readers[name], tmp_path, file, content) is None
            readers[name].read(tmp_path / file)


def test_the_harness_finds_what_it_looks_for(tmp_path, monkeypatch):
    def raises(error):
        def read(path):
            raise error

        return fuzz.Reader("x", (), read)

    assert fuzz.judge(raises(KeyError("a")), tmp_path, "a.json", b"{}").kind == "traceback"
    assert fuzz.judge(raises(MemoryError()), tmp_path, "a.json", b"{}").kind == "memory"
    assert fuzz.judge(raises(SpecError("x" * 5000)), tmp_path, "a.json", b"{}").kind == "message"
    assert fuzz.judge(raises(SpecError("bad")), tmp_path, "a.json", b"{}") is None

    def endless(path):
        while True:
            sys.getsizeof(path)

    assert fuzz.judge(fuzz.Reader("x", (), endless), tmp_path, "a.json", b"{}", 0.05).kind == "slow"
