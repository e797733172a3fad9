"""Measured tables: interpolation that stays physical, look-ups by shape, units of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import value
from moewright.cost.prices.silicon import Tables, collectives, kernels, tables_folder
from moewright.cost.prices.silicon.curves import Curve, Surface, isotonic
from moewright.cost.prices.silicon.table_files import _version, find_table, read_table
from moewright.errors import SpecError

sizes = st.lists(st.integers(1, 100_000), min_size=2, max_size=12, unique=True)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_isotonic_is_the_nearest_non_decreasing_sequence(values: list[float]) -> None:
    """Against the min-max formula of isotonic regression (Barlow et al., 1972)."""
    found = isotonic(np.array(values))
    n = len(values)
    for i in range(n):
        exact = max(min(np.mean(values[j : k + 1]) for k in range(i, n)) for j in range(i + 1))
        assert found[i] == pytest.approx(exact, abs=1e-9)


@given(sizes, st.data())
def test_a_curve_never_falls_and_passes_through_rising_points(points: list[int], data: st.DataObject) -> None:
    seconds = np.sort(np.array(data.draw(st.lists(st.floats(1e-6, 1.0), min_size=len(points), max_size=len(points)))))
    x = np.sort(np.array(points, dtype=float))
    curve = Curve.of(x, seconds)
    assert curve(x) == pytest.approx(seconds)
    grid = np.geomspace(0.5, 1e6, 200)
    assert np.all(np.diff(curve(grid)) >= -1e-12)
    # beyond the last point the last efficiency holds
    assert value(curve(3 * x[-1])) == pytest.approx(3 * seconds[-1])


def test_a_power_law_is_interpolated_exactly() -> None:
    x = np.array([1.0, 4.0, 64.0])
    assert value(Curve.of(x, 1e-6 * x**0.7)(16.0)) == pytest.approx(1e-6 * 16**0.7)
    a, b = (v.ravel() for v in np.meshgrid([1.0, 8.0, 64.0], [128.0, 1024.0]))
    surface = Surface.of(a, b, 1e-6 * a**0.5 * b**0.9)
    assert value(surface(16.0, 300.0)) == pytest.approx(1e-6 * 4 * 300**0.9)


def test_release_candidates_come_before_their_release() -> None:
    assert _version("1.3.0rc20") < _version("1.3.0") < _version("1.3.1rc1")
    assert _version("0.5.9") < _version("0.5.14")


def write(folder: Path, name: str, columns: dict[str, list[object]]) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    m = [1, 16, 256] * 2
    gemm = {"gemm_dtype": ["bfloat16"] * 6, "m": m, "n": [1024] * 3 + [4096] * 3, "k": [1024] * 6}
    write(tmp_path / "box/gemm/vllm/1.0", "gemm_perf", {**gemm, "latency": [0.01, 0.02, 0.04, 0.04, 0.08, 0.16]})
    slow = {**gemm, "latency": [0.5] * 6}
    write(tmp_path / "box/gemm/sglang/1.0", "gemm_perf", slow)
    reduce = {"kernel_source": ["graph", "eager", "graph"], "num_gpus": [8, 8, 8], "message_size": [1000, 1000, 100000]}
    write(tmp_path / "box/comm/vllm/1.0", "custom_allreduce_perf", {**reduce, "latency": [0.005, 0.05, 0.02]})
    moe = {"moe_dtype": ["bfloat16"] * 2, "distribution": ["balanced"] * 2, "num_tokens": [1, 1000]}
    sizes = {"hidden_size": [64] * 2, "inter_size": [32] * 2, "topk": [2] * 2, "num_experts": [8] * 2}
    ranks = {"moe_tp_size": [1] * 2, "moe_ep_size": [2] * 2, "latency": [0.01, 0.1]}
    write(tmp_path / "box/moe/vllm/1.0", "moe_perf", {**moe, **sizes, **ranks})
    return Tables(tmp_path, "box", "sglang")


def test_milliseconds_become_seconds_and_engines_share_kernels(tables: Tables) -> None:
    found = kernels.gemm(tables, 1024, 1024, "bf16")
    assert found is not None
    assert found.tag == "measured"
    # sglang's own table shows 0.5 ms whatever the size: a launch, not the kernel
    assert found(np.array([1.0, 4.0])) == pytest.approx([1e-5, np.sqrt(2) * 1e-5])


def test_widths_between_are_blended_and_beyond_grow_with_the_work(tables: Tables) -> None:
    between = kernels.gemm(tables, 2048, 1024, "bf16")
    assert between is not None
    assert between.tag == "interpolated"
    assert value(between(1.0)) == pytest.approx(2e-5)
    beyond = kernels.gemm(tables, 8192, 1024, "bf16")
    assert beyond is not None
    assert value(beyond(16.0)) == pytest.approx(2 * 8e-5)


def test_an_all_reduce_is_counted_in_elements_and_launches_one_by_one_are_left_out(tables: Tables) -> None:
    found = collectives.all_reduce(tables, 8)
    assert found is not None
    assert float(found(2000.0)) == pytest.approx(5e-6)
    four = collectives.all_reduce(tables, 4)
    assert four is not None
    assert four.tag == "derived"
    assert value(four(2000.0)) == pytest.approx(5e-6 * (3 / 4) / (7 / 8))


def test_experts_of_another_shape_keep_the_efficiency(tables: Tables) -> None:
    same = kernels.experts(tables, (64, 32, 2, 8), 1, 2, "bf16", "balanced")
    twice = kernels.experts(tables, (64, 64, 2, 8), 1, 2, "bf16", "balanced")
    assert same is not None
    assert twice is not None
    assert (same.tag, twice.tag) == ("measured", "derived")
    assert value(twice(100.0)) == pytest.approx(2 * value(same(100.0)))


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="gemm_perf"):
        tables_folder(tmp_path)


def test_the_cache_gives_what_the_file_gives(tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "box/moe/vllm/1.0/moe_perf.parquet"
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    first = read_table.__wrapped__(path)
    (kept,) = cache.rglob("*.npz")
    second = read_table.__wrapped__(path)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert values.dtype.kind == second[name].dtype.kind
        assert (values == second[name]).all()
    kept.write_bytes(b"broken")
    assert (read_table.__wrapped__(path)["seconds"] == first["seconds"]).all()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # cannot be written: done without
    assert (read_table.__wrapped__(path)["seconds"] == first["seconds"]).all()


def test_a_missing_family_is_none(tables: Tables) -> None:
    assert kernels.latent_module(tables, "context", 16, "bf16", "bf16") is None


def test_the_shipped_tables_never_beat_the_peaks() -> None:
    """Products of the package's tables against the roofline of the catalogue's devices, at full peaks."""
    folder = tables_folder()
    if folder is None:
        pytest.skip("aiconfigurator-core is not installed")
    from moewright.case.catalogue.hardware_catalogue import load_device

    device = load_device("h200")
    source = find_table(folder, "h200_sxm", "gemm_perf", "sglang")[0]
    c = read_table(source.path)
    big = (c["gemm_dtype"] == "bfloat16") & (c["m"] >= 4096) & (c["n"] >= 4096) & (c["k"] >= 4096)
    work = 2.0 * c["m"][big].astype(float) * c["n"][big] * c["k"][big]
    reached = work / c["seconds"][big] / device.flops["bf16"]
    assert 0.4 < np.median(reached) < 1.0
