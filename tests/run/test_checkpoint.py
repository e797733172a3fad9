"""Folders of safetensors: slices of every format equal the whole, and what is broken is refused by name."""

import json

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from moewright.run.run_error import RunError  # noqa: E402
from moewright.run.weights.checkpoint import Checkpoint, mxfp4  # noqa: E402
from moewright.run.weights.weight_source import RandomSource  # noqa: E402

DENSE = "model.layers.0.mlp.up_proj.weight"


def spans(size):
    return st.tuples(st.integers(0, size - 1), st.integers(1, size)).map(lambda t: slice(t[0], max(t[0] + 1, t[1])))


@settings(deadline=None, max_examples=50)
@given(rows=spans(40), columns=spans(50))
def test_slices_of_block_scaled_fp8(tmp_path_factory, rows, columns):
    folder = tmp_path_factory.mktemp("fp8")
    torch.manual_seed(1)
    codes = (torch.randn(40, 50) * 20).to(torch.float8_e4m3fn)
    scales = torch.rand(3, 4) + 0.5  # blocks of 16 × 16, the last ones cut
    save_file({DENSE: codes, DENSE + "_scale_inv": scales}, folder / "model.safetensors")
    want = codes.float() * scales.repeat_interleave(16, 0)[:40].repeat_interleave(16, 1)[:, :50]
    got = Checkpoint(folder, block=(16, 16)).tensor("layers.0.dense.up", (40, 50), rows, columns)
    assert torch.equal(got, want[rows, columns])


def test_mxfp4_by_hand():
    values = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    blocks, scales = (
        torch.randint(0, 256, (3, 2, 16), dtype=torch.uint8),
        torch.randint(120, 134, (3, 2), dtype=torch.uint8),
    )
    got = mxfp4(blocks, scales)
    for r in range(3):
        for c in range(64):
            byte = int(blocks[r, c // 32, c % 32 // 2])
            code = byte >> 4 if c % 2 else byte & 15  # the low nibble comes first
            assert float(got[r, c]) == values[code] * 2.0 ** (int(scales[r, c // 32]) - 127)


def test_a_slice_of_a_random_tensor_does_not_depend_on_the_cut():
    source = RandomSource(4)
    whole = source.tensor("layers.1.q_proj", (24, 16))
    parts = [source.tensor("layers.1.q_proj", (24, 16), slice(i, i + 8)) for i in (0, 8, 16)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(RandomSource(5).tensor("layers.1.q_proj", (24, 16)), whole)


def test_what_is_broken_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({DENSE: torch.randn(8, 4)}, file)
    found = Checkpoint(tmp_path)
    with pytest.raises(RunError, match=r"has no tensor model\.layers\.3\.self_attn\.q_proj\.weight"):
        found.tensor("layers.3.q_proj", (8, 4))
    with pytest.raises(RunError, match=r"up_proj\.weight is 8 × 4; the config expects 8 × 5"):
        found.tensor("layers.0.dense.up", (8, 5))
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with pytest.raises(RunError, match="is truncated"):
        Checkpoint(tmp_path)
    file.write_bytes(b"\x10")
    with pytest.raises(RunError, match="is truncated"):
        Checkpoint(tmp_path)
    file.write_bytes((9).to_bytes(8, "little") + b"not json!")
    with pytest.raises(RunError, match="not a safetensors file"):
        Checkpoint(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {DENSE: "other.safetensors"}}))
    with pytest.raises(RunError, match=r"other\.safetensors: no such file"):
        Checkpoint(tmp_path)


def test_what_a_census_refuses(tmp_path):
    """Of the headers alone: an FP8 matrix without its scale, or with one of another shape or of integers; integers."""
    name = "model.layers.0.mlp.up_proj.weight"
    codes, norm = torch.randn(40, 50).to(torch.float8_e4m3fn), "model.layers.0.input_layernorm.weight"

    def refuses(says, **tensors):
        save_file(
            {n.replace("UP", name).replace("NORM", norm): t for n, t in tensors.items()}, tmp_path / "a.safetensors"
        )
        found = Checkpoint(tmp_path, block=(16, 16), census=True)
        with pytest.raises(RunError) as error:
            (found.tensor("layers.0.norm0", (50,)), found.tensor("layers.0.dense.up", (40, 50)))
        assert says in str(error.value)
        assert str(tmp_path / "a.safetensors") in str(error.value)

    good = {"NORM": torch.ones(50)}
    refuses(f"{name} is F8_E4M3 and has no scale; expected {name}_scale_inv", UP=codes, **good)
    refuses(f"{name}_scale_inv is 2 × 4; expected 3 × 4", UP=codes, UP_scale_inv=torch.ones(2, 4), **good)
    refuses(f"{name}_scale is I32; expected F64 or", UP=codes, UP_scale=torch.ones(40, dtype=torch.int32), **good)
    refuses(f"{name} is I8; expected F64 or F32 or", UP=torch.ones(40, 50, dtype=torch.int8), **good)
    refuses(f"{norm} is F8_E4M3; expected F64", NORM=torch.ones(50).to(torch.float8_e4m3fn))
