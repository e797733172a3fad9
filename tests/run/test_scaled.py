"""FP8 matrices: products by every way equal the plain one, and ask of torch what its CUDA source demands."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from moewright.run.formats import fp8, scaled  # noqa: E402
from moewright.run.formats.scaled import E4M3, Scaled, Way  # noqa: E402
from moewright.run.run_error import RunError  # noqa: E402
from moewright.run.weights.checkpoint import Checkpoint  # noqa: E402

BLOCKWISE = (F.ScalingType.BlockWise1x128, F.ScalingType.BlockWise128x128)
UP = "model.layers.0.mlp.up_proj.weight"


def drawn(rows, columns, height=128, width=128, way=Way.PLAIN, slots=None):
    lead = () if slots is None else (slots,)
    codes = torch.randn(*lead, rows, columns).to(E4M3)
    across = -(-columns // width) if width else 1
    return Scaled(codes, torch.rand(*lead, -(-rows // height), across) + 0.5, height, width, way)


def as_hopper(a, b, scale_a, recipe_a, scale_b, recipe_b, output_dtype=torch.bfloat16, **_):
    """torch's product as CUDA has it: the demands of ScaledBlas.cpp (torch 2.13) and of cuBLASLt, then the value."""
    (m, k), n = a.shape, b.shape[1]
    assert a.dtype == b.dtype == E4M3
    assert a.stride(1) == 1
    assert b.stride(0) == 1
    assert a.stride(0) % 16 == b.stride(1) % 16 == k % 16 == n % 16 == 0
    assert scale_a.dtype == scale_b.dtype == torch.float32
    if (recipe_a, recipe_b) == (F.ScalingType.RowWise, F.ScalingType.RowWise):
        assert scale_a.shape == (m, 1)
        assert scale_b.shape == (1, n)
        assert scale_b.stride(1) == 1
        value = a.float() * scale_a @ (b.float() * scale_b)
    else:
        assert (recipe_a, recipe_b) == BLOCKWISE
        blocks, fours = k // 128, -(-k // 512) * 4
        assert k % 128 == 0
        assert m % 4 == 0
        assert scale_a.shape == (m, blocks)
        assert scale_b.shape == (fours, -(-n // 128))
        assert scale_a.stride(0) == scale_b.stride(0) == 1
        assert scale_a.stride(1) == m or blocks == 1
        assert scale_b.stride(1) == fours or n <= 128
        left = a.float() * scale_a.repeat_interleave(128, 1)
        right = scale_b[:blocks].repeat_interleave(128, 0).repeat_interleave(128, 1)[:, :n]
        value = left @ (b.float() * right)
    return value.to(output_dtype)


def grouped_as_hopper(a, b, scale_a, recipe_a, scale_b, recipe_b, offs, output_dtype=torch.bfloat16):
    """The same of torch's grouped product (GroupedBlas.cpp): scales of rows, bf16."""
    assert recipe_a == recipe_b == F.ScalingType.RowWise
    assert a.shape[1] % 16 == b.shape[1] % 16 == b.shape[2] % 16 == 0
    assert a.stride(1) == b.stride(1) == 1
    assert a.stride(0) % 16 == b.stride(2) % 16 == 0
    assert scale_a.shape == a.shape[:1]
    assert scale_a.is_contiguous()
    assert scale_b.shape == (len(b), b.shape[2])
    assert scale_b.stride(1) == 1
    assert offs.dtype == torch.int32
    assert output_dtype == torch.bfloat16
    slot = torch.searchsorted(offs, torch.arange(len(a)), right=True)
    value = torch.einsum("nk,nkm->nm", a.float() * scale_a[:, None], (b.float() * scale_b[:, None])[slot])
    return value.to(output_dtype)


@pytest.fixture
def hopper(monkeypatch):
    monkeypatch.setattr(F, "scaled_mm", as_hopper)
    monkeypatch.setattr(F, "scaled_grouped_mm", grouped_as_hopper)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def of_way(w, way):
    return Scaled(w.codes, w.scales, w.height, w.width, way)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 9), columns=st.integers(1, 70), group=st.sampled_from([1, 16, 128]))
def test_quantised_values_are_within_half_a_step(n, columns, group):
    x = torch.randn(n, columns, generator=torch.Generator().manual_seed(columns)) * 50
    if n:
        x[0] = 0
    codes, scales = scaled.quantized(x, group)
    assert codes.shape == x.shape
    back = Scaled(codes, scales, 1, group).wide()
    largest = F.pad(x, (0, -columns % group)).unflatten(1, (-1, group)).abs().amax(-1).repeat_interleave(group, 1)
    # 3 bits of mantissa: half a step is 2⁻⁴ of a value, and of the smallest codes 2⁻¹⁰ of 448
    assert ((back - x).abs() <= x.abs() / 16 + largest[:, :columns] * 2**-10 / 448 + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize(
    ("out", "columns", "height", "width"), [(256, 384, 128, 128), (208, 128, 128, 128), (48, 640, 1, 0)]
)
def test_every_way_is_the_plain_one(hopper, rows, out, columns, height, width, dtype):
    torch.manual_seed(rows)
    x, w = torch.randn(rows, columns).to(dtype), drawn(out, columns, height, width)
    want = scaled.product(x, w)
    by_hand = Scaled(*scaled.quantized(x, 128), 1, 128).wide().double() @ w.wide().double().T
    close = {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    assert (want.double() - by_hand).abs().max() <= close * by_hand.abs().max()
    for way in (Way.BLOCKS, Way.COLUMNS):
        got = scaled.product(x, of_way(w, way))
        assert got.dtype == dtype
        assert (got.float() - want.float()).abs().max() <= close * want.abs().max()


def test_columns_by_torchs_own_product_on_this_cpu():
    torch.manual_seed(0)
    x, w = torch.randn(5, 256), drawn(192, 256)
    want = scaled.product(x, w)
    assert (scaled.product(x, of_way(w, Way.COLUMNS)) - want).abs().max() <= 1e-5 * want.abs().max()


@pytest.mark.parametrize(("height", "width"), [(128, 128), (1, 0)])
def test_grouped_is_each_slots_own(hopper, height, width):
    torch.manual_seed(1)
    counts = [3, 0, 5, 1]
    x, w = torch.randn(9, 256).bfloat16(), drawn(160, 256, height, width, slots=4)
    got = scaled.grouped(x, w, torch.tensor(counts).cumsum(0).to(torch.int32))
    want = torch.cat([scaled.product(part, w[i]) for i, part in enumerate(x.split(counts))])
    assert (got - want).abs().max() <= 2e-2 * want.abs().max()


def test_the_choice(hopper, monkeypatch):
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(fp8, "trial", lambda device, *more, real=fp8.trial, **by: real(cpu, *more, **by))
    assert fp8.choose(cpu, "auto").way is None
    assert fp8.choose(cpu, "on").way is Way.PLAIN
    assert fp8.choose(cuda, "off").way is None
    found = fp8.choose(cuda, "auto")
    assert (found.way, found.graphs) == (Way.BLOCKS, True)
    assert found.takes(2048, 7168, 128, 128)
    assert not found.takes(2048, 7168, 64, 64)
    assert not found.takes(2047, 7168, 128, 128)
    assert not found.takes(2048, 7100, 128, 128)

    def whole(a, b, *more, **by):  # as torch's own shapes for compilation have it
        assert b.shape[1] % 128 == 0 or more[1] is not BLOCKWISE[0]
        return as_hopper(a, b, *more, **by)

    assert found.takes(576, 7168, 128, 128)
    monkeypatch.setattr(F, "scaled_mm", whole)
    found = fp8.choose(cuda, "auto")
    assert (found.way, found.takes(2048, 7168, 128, 128), found.takes(576, 7168, 128, 128)) == (Way.BLOCKS, True, False)

    def refuses(*_, **__):
        raise NotImplementedError("not on this card\nat all")

    monkeypatch.setattr(F, "scaled_grouped_mm", refuses)
    found = fp8.choose(cuda, "auto")
    assert not found.graphs
    assert "decode is no CUDA graph: grouped products fail (not on this card)" in found.says
    by_columns = lambda *a, **k: refuses() if a[3] is BLOCKWISE[0] else as_hopper(*a, **k)  # noqa: E731
    monkeypatch.setattr(F, "scaled_mm", by_columns)
    assert fp8.choose(cuda, "auto").way is Way.COLUMNS
    monkeypatch.setattr(F, "scaled_mm", lambda *a, **k: as_hopper(*a, **k) * 1.1)
    found = fp8.choose(cuda, "auto")
    assert found.way is None
    assert found.says.startswith("multiplied out: products by blocks are wrong by 0.09")
    found = fp8.choose(cuda, "on")
    assert (found.way, found.graphs) == (Way.PLAIN, False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert "compute capability 8.0 has no FP8 matrix units" in fp8.choose(cuda, "auto").says


@settings(deadline=None, max_examples=30)
@given(top=st.integers(0, 2), left=st.integers(0, 2), more=st.integers(1, 40), wide=st.integers(1, 50))
def test_slices_keep_their_values(tmp_path_factory, top, left, more, wide):
    folder = tmp_path_factory.mktemp("eight")
    torch.manual_seed(1)
    whole = drawn(40, 50, 16, 16)
    save_file({UP: whole.codes, UP + "_scale_inv": whole.scales}, folder / "model.safetensors")
    rows, columns = slice(16 * top, min(16 * top + more, 40)), slice(16 * left, min(16 * left + wide, 50))
    found = Checkpoint(folder, block=(16, 16))
    assert found.form("layers.0.dense.up") == (16, 16)
    assert found.scaled("layers.0.dense.up", (40, 50), rows, columns) is None  # not asked to
    found.kept = frozenset(["layers.0.dense.up"])
    got = found.scaled("layers.0.dense.up", (40, 50), rows, columns)
    assert torch.equal(got.wide(), whole.wide()[rows, columns])
    assert torch.equal(got.wide(), found.tensor("layers.0.dense.up", (40, 50), rows, columns))
    with pytest.raises(RunError, match="the config expects 41 × 50"):
        found.scaled("layers.0.dense.up", (41, 50))


@pytest.mark.parametrize(
    ("ending", "shape", "form"),
    [
        ("_scale_inv", (3, 4), (16, 16)),
        ("_scale", (3, 4), (16, 16)),
        ("_scale", (40, 1), (1, 0)),
        ("_scale", (40,), (1, 0)),
        ("_scale", (), (1, 0)),
        ("_scale_inv", (1,), (1, 0)),
        ("_scale_inv", (3, 5), None),
        ("_scale", (50,), None),
    ],
)
def test_scales_of_any_shape(tmp_path, ending, shape, form):
    torch.manual_seed(1)
    codes, scales = torch.randn(40, 50).to(E4M3), torch.rand(shape) + 0.5
    save_file({UP: codes, UP + ending: scales}, tmp_path / "model.safetensors")
    found = Checkpoint(tmp_path, block=(16, 16))
    assert found.eight
    if form is None:
        for call in (lambda: found.form("layers.0.dense.up"), lambda: found.tensor("layers.0.dense.up", (40, 50))):
            with pytest.raises(RunError, match=f"{ending} is {' × '.join(map(str, shape))}; expected 3 × 4 for blocks"):
                call()
        return
    assert found.form("layers.0.dense.up") == form
    if form[1]:
        scales = scales.repeat_interleave(16, 0)[:40].repeat_interleave(16, 1)[:, :50]
    else:
        scales = scales.reshape(-1, 1)
    found.kept = frozenset(["layers.0.dense.up"])
    rows = slice(16, 37)
    for got in (
        found.tensor("layers.0.dense.up", (40, 50), rows),
        found.scaled("layers.0.dense.up", (40, 50), rows).wide(),
    ):
        assert torch.equal(got, (codes.float() * scales)[rows])
