"""Where a run's weights come from, and which of them stay FP8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from moewright.case.model import ModelSpec
from moewright.errors import SpecError
from moewright.placement.assignment import Assignment
from moewright.run.formats import fp8_blocks as blocks
from moewright.run.formats.fp8 import Choice, choose
from moewright.run.formats.scaled import Way
from moewright.run.model.numerics import config_of
from moewright.run.options import FP8, Options
from moewright.run.weights.checkpoint import Checkpoint, has_weights
from moewright.run.weights.weight_source import RandomSource, Source


def open_weights(model: ModelSpec, o: Options, dtype: torch.dtype) -> tuple[Source, str]:
    """Where the weights come from, and in words."""
    if o.weights == "random":
        return RandomSource(o.seed, dtype), f"random, seed {o.seed}"
    folder = Path(model.source).parent if o.weights == "auto" and config_of(model) is not None else Path(o.weights)
    if not folder.is_dir() or not has_weights(folder):
        if o.weights == "auto":
            return RandomSource(o.seed, dtype), f"random, seed {o.seed}"
        raise SpecError(f"got {o.weights[:60]!r}; expected a folder of safetensors, random or auto", field="--weights")
    block = ((config_of(model) or {}).get("quantization_config") or {}).get("weight_block_size") or (128, 128)
    return Checkpoint(folder, dtype, tuple(block)), str(folder)


def keep_fp8(
    a: Assignment, source: Source, o: Options, device: torch.device
) -> tuple[Choice | None, blocks.Sizes | None]:
    """What becomes of the FP8 weights of ``source``, which is told which to keep so, and what that saves. None, None
    where it has none. Raises RunError where they are asked for and there are none."""
    if o.fp8 not in FP8:
        raise SpecError(f"got {o.fp8[:60]!r}; expected {', '.join(FP8)}", field="--fp8")
    if not isinstance(source, Checkpoint) or not source.eight:
        if o.fp8 == "on":
            where = source.folder if isinstance(source, Checkpoint) else "a random model"
            raise SpecError(f"got on, but {where} has no FP8 weights; expected auto or off", field="--fp8")
        return None, None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    choice = choose(device, o.fp8, source.dtype)
    if choice.way is None:
        return choice, None
    kept, wide = blocks.held(a.model, a.strategy, source.form, choice)
    if not kept:
        why = "no matrix has slices of whole blocks, of sizes that the products take"
        return replace(choice, way=None, graphs=True, says=f"multiplied out: {why}"), None
    source.kept, source.way = kept, choice.way
    source.together = choice.graphs and choice.way is not Way.PLAIN
    if wide:
        why = "cut inside blocks, or of sizes that the products do not take"
        choice = replace(choice, says=f"{choice.says}; {len(wide)} matrices multiplied out ({why}): {min(wide)}, …")
    return choice, blocks.sizes(a, kept, source.form, torch.empty(0, dtype=source.dtype).element_size())
