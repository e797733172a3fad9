"""CUDA tensors that have a device, shapes and no values, on a machine without CUDA: what mixes devices, or waits for a
value, fails as it would there, or at once.

python fake_cuda.py: passes of small models of every kind on such a device.
"""

from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from worlds import FP32, tiny

from moewright.case.model import DenseFfn, LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.strategy import Strategy
from moewright.placement.assignment import assign
from moewright.run.formats.scaled import E4M3, Scaled, Way
from moewright.run.model.numerics import Numerics, numerics
from moewright.run.model.sampling import Sampling
from moewright.run.model.shard import Shard
from moewright.run.model.static import StaticStep
from moewright.run.ranks import launcher as launch
from moewright.run.ranks.mesh import join
from moewright.run.ranks.schedule import Chunk
from moewright.run.weights.weight_source import RandomSource

DEVICE = torch.device("cuda", 0)


class Indexing(TorchFunctionMode):
    """x[…], ~x and contiguous by operators: torch's own want the device's library, which a CPU build lacks."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__getitem__ and args[0].device.type == "cuda":
            return _taken(args[0], args[1])
        if func is torch.Tensor.__setitem__ and args[0].device.type == "cuda":
            return _put(*args)
        if func is torch.Tensor.__invert__:
            return torch.bitwise_not(args[0])
        if func is torch.Tensor.contiguous:
            return torch.ops.aten.clone(args[0], memory_format=torch.contiguous_format)
        return func(*args, **(kwargs or {}))


def _walk(x, index):
    """(view by all that is no tensor, tensors by dimension of the view)."""
    index, dim, tensors = index if isinstance(index, tuple) else (index,), 0, {}
    for n, i in enumerate(index):
        if i is Ellipsis:
            dim = x.dim() - sum(j is not None for j in index[n + 1 :])
        elif i is None:
            x, dim = x.unsqueeze(dim), dim + 1
        elif isinstance(i, slice):
            x, dim = torch.ops.aten.slice.Tensor(x, dim, i.start, i.stop, i.step or 1), dim + 1
        elif isinstance(i, int):
            x = x.select(dim, i)
        else:
            tensors[dim] = i
            dim += i.dim() if i.dtype == torch.bool else 1
    return x, tensors


def _taken(x, index):
    view, tensors = _walk(x, index)
    if not tensors:
        return view
    return torch.ops.aten.index.Tensor(view, [tensors.get(d) for d in range(max(tensors) + 1)])


def _put(x, index, value):
    view, tensors = _walk(x, index)
    if not isinstance(value, torch.Tensor):
        value = torch.full((), value, dtype=x.dtype, device=x.device)
    if not tensors:
        torch.ops.aten.copy_.default(view, value)
    else:
        torch.ops.aten.index_put_.default(view, [tensors.get(d) for d in range(max(tensors) + 1)], value)


@contextmanager
def fake_cuda():
    """Inside, tensors are made without values; those of DEVICE are on "cuda"."""
    with FakeTensorMode(allow_non_fake_inputs=True), Indexing():
        yield DEVICE


def grouped(a, b, *_, offs, **__):
    """torch's scaled grouped product, of which a CPU build has no shapes."""
    assert {t.device for t in (a, b, offs, _[0], _[2])} == {DEVICE}
    return a.new_empty(len(a), b.shape[2], dtype=torch.bfloat16)


class Random8(RandomSource):
    """A random model whose matrices are FP8."""

    def scaled(self, name, shape, rows=slice(None), columns=slice(None)):
        if "kv_b" in name:
            return None
        w = self.tensor(name, shape, rows, columns)
        scales = torch.ones(-(-w.shape[0] // 128), -(-w.shape[1] // 128))
        return Scaled(w.to(E4M3), scales, way=Way.BLOCKS)


def models():
    """(name, model, numerics, source)."""
    for kind in range(4):
        m = tiny(1, kind).model
        yield f"kind {kind}", m, numerics(m), RandomSource(0, torch.bfloat16)
    mla = LatentAttention(4, 128, 192, 64, 64, 64)
    softmax = SoftmaxAttention(4, 2, 64, sinks=True, window=4, qkv_bias=True, output_bias=True)
    ffn = MoeFfn(8, 2, 128, shared_width=128, groups=4, top_groups=2)
    for name, attention, experts, laws in (
        ("latent", mla, ffn, Numerics(scoring="sigmoid", correction=True, interleaved=True)),
        ("sinks", softmax, MoeFfn(8, 2, 128, bias=True, router_bias=True), Numerics(limit=7.0)),
    ):
        layers = (Layer(attention, DenseFfn(128)), Layer(attention, experts))
        m = ModelSpec(name, 256, layers, 97, False, final_norm=True, precision=FP32)
        for source in (RandomSource(0, torch.bfloat16), Random8(0, torch.bfloat16)):
            yield f"{name} {type(source).__name__}", m, laws, source


def passes(rank, device):
    place = join(Strategy())
    for name, m, laws, source in models():
        experts = np.arange(m.moe.experts)[None, None].repeat(len(m.moe_layers()), 0)
        with fake_cuda() as cuda:
            shard = Shard(m, laws, place, assign(m, Strategy(), experts), source, cuda)
            shard.allocate(3, 12)
            shard.begin()
            shard.fixed = True  # so that experts in FP8 go together, whose rows nobody can count here
            chunk = Chunk((0, 1, 2), (0, 0, 0), (5, 7, 3))
            ids = torch.zeros(15, dtype=torch.int64, device=cuda)
            inputs = ids if m.vocab_size else torch.zeros(15, m.hidden_size, dtype=torch.bfloat16, device=cuda)
            given = [(chunk, inputs, None)]
            if m.vocab_size:
                after = chunk.after()
                given += [(after, ids[:3], None), (after, ids[:3], StaticStep(shard, after, 12))]
            for now, x, step in given:
                values = shard.forward(now, x, False, step).values
                assert values.device == DEVICE
                if m.vocab_size:
                    picked = Sampling(0.7, 0.9).pick(values, now.sequences, 1)
                    assert picked.device == DEVICE
        print("passed", name, len(given))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    F.scaled_grouped_mm = grouped
    torch.cuda.get_device_capability = lambda device: (9, 0)
    launch.alone(passes, 60, torch.device("cpu"))
