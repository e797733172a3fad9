"""Runs in vLLM's environment: command lines of ``vllm serve``, a JSON list each on stdin, through its own parser and
``ParallelConfig``, as on a machine of 8 Hopper GPUs.

Answers a JSON line each: ``error``, or the ``layout`` that its arguments mean. ``--options``: its options instead.
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from typing import Any, NoReturn

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

#: options of the engine that ``ParallelConfig`` judges
SIZES = (
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "prefill_context_parallel_size"),
    *("decode_context_parallel_size", "enable_expert_parallel", "enable_eplb", "eplb_config", "all2all_backend"),
    *("enable_dbo", "nnodes", "node_rank", "master_addr", "master_port"),
)


class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Compiled modules, which need CUDA, as empty ones."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        compiled = (name.startswith("vllm._") and name.endswith("_C")) or name.startswith("vllm._C")
        return importlib.machinery.ModuleSpec(name, self) if compiled else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return types.ModuleType(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


class RefusedError(Exception):
    """What the parser says instead of leaving the program."""


def pretend_gpus() -> None:
    """A platform of 8 GPUs of compute capability 9.0."""
    sys.meta_path.insert(0, Stub())
    import torch

    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 8
    import vllm.platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    class Hopper(NonNvmlCudaPlatform):
        get_device_capability = classmethod(lambda cls, device_id=0: DeviceCapability(9, 0))
        get_device_name = classmethod(lambda cls, device_id=0: "NVIDIA H200")
        get_device_total_memory = classmethod(lambda cls, device_id=0: 141 * 10**9)
        device_count = classmethod(lambda cls: 8)

    vllm.platforms._current_platform = Hopper()


def layout(config: Any) -> dict[str, int]:
    """Sizes by the fields of the engine's own record."""
    tp, dp, pcp = config.tensor_parallel_size, config.data_parallel_size, config.prefill_context_parallel_size
    ranks = tp * dp * pcp
    ep = ranks if config.enable_expert_parallel else 1
    return {
        "attn_tp": tp,
        "attn_dp": dp,
        "attn_cp": pcp,
        "dcp": config.decode_context_parallel_size,
        "pp": config.pipeline_parallel_size,
        "replicas": 1,
        "ep": ep,
        "etp": ranks // ep,
        "world": config.world_size_across_dp,
        "gpus_total": config.world_size_across_dp,
    }


def main() -> None:
    pretend_gpus()
    from vllm.config import ParallelConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.common.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise RefusedError(message)

    parser = make_arg_parser(Parser(allow_abbrev=False))
    if "--options" in sys.argv:
        from options_of import options  # beside this file

        print(json.dumps(options(parser)))
        return
    fields = {f.name for f in dataclasses.fields(ParallelConfig)}
    for line in sys.stdin:
        try:
            given = parser.parse_args(json.loads(line))
            given.model = given.model_tag  # as ``vllm serve`` does
            args = AsyncEngineArgs.from_cli_args(given)
            config = ParallelConfig(**{k: getattr(args, k) for k in SIZES if k in fields})
            answer = {"error": None, "layout": layout(config)}
        except Exception as fault:
            answer = {"error": f"{type(fault).__name__}: {fault}"[:400], "layout": None}
        print(json.dumps(answer))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    main()
