"""The job of all ranks that follows from a case, its plan and the options: prompts, passes, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from moewright.case.case import Case
from moewright.case.model import ModelSpec
from moewright.case.precision import Precision
from moewright.case.workload import Kind
from moewright.errors import SpecError
from moewright.placement.assignment import Assignment, assign
from moewright.planning.proof.rank_totals import placed
from moewright.planning.record import Plan
from moewright.run.formats import fp8_blocks as blocks
from moewright.run.formats.fp8 import Choice
from moewright.run.formats.scaled import Kept
from moewright.run.model.numerics import Numerics, config_of, numerics
from moewright.run.model.text import Tokenizer
from moewright.run.options import FORMATS, Options
from moewright.run.ranks import launcher, schedule
from moewright.run.ranks.job import Job
from moewright.run.refusals import check_folder, check_room, refuse
from moewright.run.run_error import RunError
from moewright.run.weights.checkpoint import Checkpoint
from moewright.run.weights.checksums import check_sums
from moewright.run.weights.open_weights import keep_fp8, open_weights
from moewright.run.weights.weight_source import RandomSource, Source


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run is made from: the case as given and its plan, the options, and what followed from them. ``weights``:
    where they come from, in words; ``fp8``: what becomes of FP8 weights, where there are any; ``checksums``: what was
    compared of the weights' files."""

    case: Case
    plan: Plan
    options: Options
    device: torch.device
    precision: str
    weights: str
    tokenizer: Tokenizer | None
    fp8: Choice | None
    job: Job
    checksums: str | None = None


def make_setting(case: Case, plan: Plan, o: Options) -> Setting:
    """Raises RunError and SpecError for what cannot be run so."""
    refuse(case)
    device = launcher.device_for(o.device, plan.gpus)
    precision = _precision(case.model, o.precision, device)
    model = replace(case.model, precision=Precision(precision, {}, *(precision,) * 4))
    laws = numerics(model)
    source, told = open_weights(model, o, FORMATS[precision])
    assignment, _ = placed(replace(case, model=model), plan.strategy)
    if isinstance(source, Checkpoint):
        check_folder(model, laws, source)
    choice, sizes = keep_fp8(assign(model, plan.strategy, assignment.experts), source, o, device)
    check_room(model, plan, o.verify, device)
    tokenizer = Tokenizer.of(model)
    job = _job(replace(case, model=model), plan, Parts(laws, assignment, source, device), o, tokenizer)
    if sizes is not None:
        job = _with_fp8(job, sizes, choice, device)
    sums = check_sums(source.files) if o.verify and isinstance(source, Checkpoint) and launcher.is_first() else None
    return Setting(case, plan, o, device, precision, told, tokenizer, choice, job, sums)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a job's ranks compute with."""

    numerics: Numerics
    assignment: Assignment
    source: Source
    device: torch.device


def _with_fp8(job: Job, sizes: blocks.Sizes, choice: Choice | None, device: torch.device) -> Job:
    """``job`` with FP8 weights. What they are multiplied with is kept for the verification; a CUDA graph cannot."""
    inputs: Kept | None = {} if job.keep else None
    if isinstance(job.source, Checkpoint):
        job.source.inputs = inputs
    graphs = choice is not None and choice.graphs and not job.keep
    return replace(job, eight=sizes, inputs=inputs, static=job.static and (graphs or device.type == "cpu"))


def _precision(model: ModelSpec, wanted: str, device: torch.device) -> str:
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return "fp32"
    return model.precision.default if model.precision.default in FORMATS else "bf16"


def _job(case: Case, plan: Plan, parts: Parts, o: Options, t: Tokenizer | None) -> Job:
    w, model, s = case.workload, case.model, plan.strategy
    if o.generate and not model.vocab_size:
        raise RunError(f"{case.file}: model.vocab_size: got 0; to generate, a model needs a vocabulary")
    if o.generate and not w.causal:
        raise RunError(f"{case.file}: workload.causal: got false; to generate, attention must be causal")
    prompts = _prompts(model, o, t) if o.prompts else _random_prompts(case, plan.batch, o)
    if o.prompts:  # filled up until every group has as many
        missing = -len(prompts) % schedule.parts(s)
        prompts += [prompts[-1]] * missing
    decode = w.kind is Kind.DECODE and not o.generate and not o.prompts and w.sequence > 1
    cp = s.attention.cp
    if cp > 1 and o.generate:
        raise RunError(f"{case.file}: strategy.attention.cp: got {cp}; to generate, it must be 1: cp divides prompts")
    if cp > 1 and min(map(len, prompts)) < 2 * cp:
        raise SpecError(f"got {min(map(len, prompts))} tokens; expected 2·cp = {2 * cp} at least", field="--prompt")
    stop = frozenset(o.stop)
    if stop:
        _in_vocabulary(model, sorted(stop), "--stop", ", or -1 for none")
    return Job(
        model,
        parts.numerics,
        s,
        parts.assignment,
        parts.source,
        tuple(prompts),
        w.causal,
        given=1 if decode else 0,
        new_tokens=o.generate,
        every=w.kind is Kind.FORWARD and not o.generate,
        cached=cp == 1,
        sampling=replace(o.sampling, seed=o.seed),
        stop=stop,
        keep=o.verify,
        trace=o.trace,
        static=plan.gpus == 1
        and model.vocab_size > 0
        and (parts.device.type == "cuda" and not o.trace if o.static is None else o.static),
    )


def _random_prompts(case: Case, batch: int, o: Options) -> list[Tensor]:
    model, length = case.model, case.workload.sequence
    drawn = RandomSource(o.seed, FORMATS[model.precision.default])
    if model.vocab_size:
        return [drawn.tokens(i, length, model.vocab_size) for i in range(batch)]
    return [drawn.inputs(i, length, model.hidden_size) for i in range(batch)]


def _prompts(model: ModelSpec, o: Options, t: Tokenizer | None) -> list[Tensor]:
    found = []
    for prompt in o.prompts:
        if isinstance(prompt, str):
            ids, option = _encoded(model, prompt, t), "--prompt"
        else:
            ids, option = list(prompt), "--prompt-ids"
        if not ids:
            raise SpecError("is empty; expected a token at least", field=option)
        _in_vocabulary(model, ids, option)
        found.append(torch.tensor(ids, dtype=torch.int64))
    return found


def _encoded(model: ModelSpec, text: str, t: Tokenizer | None) -> list[int]:
    """Ids of a prompt. Raises SpecError where there is no tokenizer, or where it has none for a character."""
    folder = str(Path(model.source).parent) if config_of(model) is not None else model.name
    if t is None:
        raise SpecError(f"{folder} has no tokenizer.json; expected one, or --prompt-ids", field="--prompt")
    lacking = t.lacking(text)
    if lacking:
        raise SpecError(
            f"got {text[:60]!r}; expected characters that the tokenizer of {folder} has, which lacks {lacking[:9]!r}",
            field="--prompt",
        )
    return t.encode(text)


def _in_vocabulary(model: ModelSpec, ids: Sequence[int], option: str, more: str = "") -> None:
    worst = max(ids) if max(ids) >= model.vocab_size else min(ids)
    if not 0 <= worst < model.vocab_size:
        raise SpecError(f"got {worst}; expected ids from 0 to {model.vocab_size - 1}{more}", field=option)
