"""How to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from moewright.run.model.sampling import Sampling

#: what may be asked of FP8 weights
FP8 = ("auto", "on", "off")
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. ``weights``: auto (the model's folder where it has safetensors, else random), random, or a folder.
    ``precision``: fp32, bf16, fp16, or auto (fp32 on CPUs, else what the model has). ``prompts``: texts, or lists
    of ids; none: random ones of the workload's length. ``generate``: tokens to add to each. ``static``: decode in fixed
    shapes, which one rank on CUDA does (as a graph) where nothing is said. ``fp8``: whether FP8 weights of a folder
    stay FP8 and meet quantised activations: auto (where the device's FP8 units pass a trial), on, or off."""

    seed: int = 0
    timeout: float = 900.0
    weights: str = "auto"
    precision: str = "auto"
    device: str = "cpu"
    verify: bool = True
    prompts: Sequence[str | Sequence[int]] = ()
    generate: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    stop: Sequence[int] = ()
    trace: bool = False
    static: bool | None = None
    fp8: str = "auto"
