"""A case and its plan executed: the job that follows from them, its launch, and the report of what it showed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moewright.case.case import Case
from moewright.case.model import DenseFfn, LatentAttention, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.precision import Precision
from moewright.case.strategy import Strategy
from moewright.case.tensors import layer_tensors, total_parameters
from moewright.case.workload import Kind
from moewright.errors import MoewrightError, SpecError
from moewright.placement.assignment import Assignment, assign
from moewright.planning.rank_totals import placed
from moewright.planning.record import Plan
from moewright.planning.search import evaluate
from moewright.run.formats import fp8_blocks as blocks
from moewright.run.formats.fp8 import Choice, choose
from moewright.run.formats.scaled import Kept, Way
from moewright.run.model.numerics import Numerics, config_of, numerics
from moewright.run.model.sampling import Sampling
from moewright.run.model.text import Tokenizer
from moewright.run.ranks import launcher as launch
from moewright.run.ranks import schedule
from moewright.run.ranks.job import Job, Outcome, Worker
from moewright.run.run_error import RunError
from moewright.run.verification.verify import Findings, Generation, Overhead, Report, compare, inputs_of, memory_lines
from moewright.run.weights.checkpoint import Checkpoint, has_weights
from moewright.run.weights.rank_weights import layer_weights, vocabulary_weights
from moewright.run.weights.weight_source import RandomSource, Source

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


@dataclass(slots=True)
class Ran:
    """A run's report, and what it came from."""

    report: Report
    job: Job
    outcomes: list[Outcome]


#: told of tokens as rank 0 learns them: step, sequence → id
Tell = Callable[[int, dict[int, int]], None]


def run(
    case: Case,
    plan: Plan,
    options: Options | None = None,
    tell: Tell | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Ran | None:
    """Execute ``plan``, and verify it. None on the ranks other than 0 that torchrun started. ``progress`` hears of the
    share of the passes that forked ranks have done. Raises RunError."""
    o = options or Options()
    begun = time.perf_counter()
    refuse(case, plan)
    device = launch.device_for(o.device, plan.gpus)
    precision = _precision(case.model, o.precision, device)
    model = replace(case.model, precision=Precision(precision, {}, *(precision,) * 4))
    laws = numerics(model)
    source, told = _source(model, o, FORMATS[precision])
    assignment, _ = placed(replace(case, model=model), plan.strategy)
    if isinstance(source, Checkpoint):
        _census(model, laws, source)
    choice, sizes = _eight(assign(model, plan.strategy, assignment.experts), source, o, device)
    _room(model, plan, o.verify, device)
    tokenizer = Tokenizer.of(model)
    job = _job(replace(case, model=model), plan, laws, assignment, source, o, tokenizer, device)
    if sizes is not None:
        job = _eighth(job, sizes, choice, device)

    done = multiprocessing.get_context("fork").RawValue("d", 0.0)  # the ranks' to write, this process's to read

    def tick(share: float) -> None:
        done.value = share

    def work(rank: int, on: torch.device) -> Outcome:
        torch.set_grad_enabled(False)
        return Worker(job, on, *((tell, tick) if rank == 0 else (None, None))).run()

    if launch.under_torchrun():
        outcomes = launch.world(plan.gpus, work, o.timeout, o.device)
        if outcomes is None:
            return None
    elif plan.gpus == 1:
        with torch.no_grad():
            outcomes = launch.alone(work, o.timeout, device)
    else:
        outcomes = launch.forked(plan.gpus, work, o.timeout, lambda: progress(done.value))
    whole = time.perf_counter() - begun
    report = _report(case, plan, job, outcomes, o, whole, told, precision, device, tokenizer)
    return Ran(replace(report, fp8=None if choice is None else choice.says), job, outcomes)


def _eighth(job: Job, sizes: blocks.Sizes, choice: Choice | None, device: torch.device) -> Job:
    """``job`` with FP8 weights. What they are multiplied with is kept for the verification; a CUDA graph cannot."""
    inputs: Kept | None = {} if job.keep else None
    if isinstance(job.source, Checkpoint):
        job.source.inputs = inputs
    graphs = choice is not None and choice.graphs and not job.keep
    return replace(job, eight=sizes, inputs=inputs, static=job.static and (graphs or device.type == "cpu"))


def refuse(case: Case, plan: Plan) -> None:
    """Raises RunError for what the executor does not run."""
    model = case.model

    def no(field: str, message: str) -> RunError:
        return RunError(f"{case.file}: {field}: {message}")

    if model.head_bias:
        raise no("model", "a bias on the head is not run yet")
    for layer, _ in model.layer_kinds():
        a, ffn = layer.attention, layer.ffn
        if isinstance(a, SoftmaxAttention):
            if a.output_gate or a.chunk or a.qk_norm == "full":
                raise no("model.attention", "gated outputs, chunks and norms over all heads are not run yet")
        elif not isinstance(a, LatentAttention) or a.indexer:
            raise no("model.attention", f"{type(a).__name__} of this kind is not run yet; expected mha, gqa or mla")
        if layer.norms not in (0, 2) or layer.norm_bias:
            raise no("model.norms", f"got {layer.norms}; expected two plain ones a layer, or none")
        if (
            (isinstance(a, SoftmaxAttention) and (a.q_rank or a.tied_values or a.shared_cache or a.indexer))
            or a.extra
            or layer.extra
            or model.extra
        ):
            raise no("model", "weights beside plain attention, feed-forwards and norms are not run yet")
        if isinstance(ffn, MoeFfn) and (ffn.latent or ffn.zero_experts or ffn.extra):
            raise no("model.experts", "latent experts and experts that compute nothing are not run yet")
        if isinstance(ffn, DenseFfn) and not ffn.width:
            raise no("model", "layers without a feed-forward are not run yet")
        biased = ffn.shared_bias if isinstance(ffn, MoeFfn) else ffn.bias
        if biased:
            raise no("model", "biases of dense and shared feed-forwards are not run yet")


def _precision(model: ModelSpec, wanted: str, device: torch.device) -> str:
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return "fp32"
    return model.precision.default if model.precision.default in FORMATS else "bf16"


def _source(model: ModelSpec, o: Options, dtype: torch.dtype) -> tuple[Source, str]:
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


def _eight(
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


def _census(model: ModelSpec, laws: Numerics, source: Checkpoint) -> None:
    """Raises RunError where the folder lacks a tensor that any rank will want, or has one of another shape."""
    source.census = True
    experts = model.moe.experts if model.moe else 0
    every = np.broadcast_to(np.arange(experts), (len(model.moe_layers()), 1, experts))
    whole = assign(model, Strategy(), every)
    for position in range(len(model.layers)):
        layer_weights(source, model, laws, whole, position, 0)
    vocabulary_weights(source, model, 1, 0, first=True, last=True)
    source.census = False


#: bytes of a forked rank beside its weights (measured: 1.15 GB for 128 of them)
_RANK = 9e6


def _room(model: ModelSpec, plan: Plan, verify: bool, device: torch.device) -> None:
    """Raises RunError where the machine has too little memory for all shards and ranks."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return
    if device.type == "cuda" and not verify:
        return
    weights = plan.strategy.replicas * total_parameters(model)  # what is held more often still comes on top
    need = weights * torch.empty(0, dtype=FORMATS[model.precision.default]).element_size() + plan.gpus * _RANK
    if need > free and not launch.under_torchrun():
        raise RunError(
            f"{model.name}: {plan.gpus} ranks need {need / 1e9:.1f} GB at least; this machine has {free / 1e9:.1f} GB "
            "free"
        )


def _job(
    case: Case,
    plan: Plan,
    laws: Numerics,
    assignment: Assignment,
    source: Source,
    o: Options,
    t: Tokenizer | None,
    device: torch.device,
) -> Job:
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
        laws,
        s,
        assignment,
        source,
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
        and (device.type == "cuda" and not o.trace if o.static is None else o.static),
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


def _report(
    case: Case,
    plan: Plan,
    job: Job,
    outcomes: list[Outcome],
    o: Options,
    whole: float,
    weights: str,
    precision: str,
    device: torch.device,
    tokenizer: Tokenizer | None,
) -> Report:
    ran = len(outcomes[0].ended)
    load, forward = max(x.load for x in outcomes), max(x.ended[-1] for x in outcomes)
    same = _same_weights(case.model.precision, job)
    if o.verify:
        with torch.no_grad():
            found = compare(job, outcomes, plan if same else None)
    else:
        found = Findings()
    memory = {
        line: {
            "predicted_min": min(wanted),
            "predicted_max": max(wanted),
            "held_min": min(held),
            "held_max": max(held),
        }
        for line, held, wanted in memory_lines(job, outcomes)
    }
    threads = torch.get_num_threads() if plan.gpus == 1 else 1
    return Report(
        plan.gpus,
        plan.name,
        case.model.name,
        weights,
        precision,
        _device(device, threads, outcomes),
        found.error,
        found.largest,
        found.moved,
        memory,
        found.copies,
        {"launch": max(whole - load - forward, 0.0), "load": load, "forward": forward},
        o.verify and not found.failures,
        tuple(found.failures),
        _generation(case, plan, job, outcomes, ran, o, tokenizer) if o.generate else None,
        _operations(outcomes),
        _overhead(outcomes, forward) if device.type == "cpu" and plan.gpus > 1 else None,
    )


def _device(device: torch.device, threads: int, outcomes: list[Outcome]) -> str:
    if device.type == "cuda":
        return "cuda, decode as a graph" if outcomes[0].graph else "cuda"
    return f"cpu, {threads} thread{'s' if threads > 1 else ''} a rank"


def _same_weights(priced: Precision, job: Job) -> bool:
    """Whether the run's weights have the formats that the plan prices."""
    if job.eight is None:
        return priced == job.model.precision
    tensors = (t for layer, _ in job.model.layer_kinds() for t in layer_tensors(layer, job.model.hidden_size))
    kinds = {t.kind for t in tensors if t.kind in ("attention", "experts", "shared_experts", "dense")}
    eights = {priced.weight(kind) for kind in kinds} <= {"fp8", "fp8_block"}
    return eights and job.eight.every and priced.default == job.model.precision.default


def _operations(outcomes: list[Outcome]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, seconds in ((n, s) for o in outcomes if o.clock for n, s in o.clock.spent.items()):
        total[name] = total.get(name, 0.0) + seconds / len(outcomes)
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def _overhead(outcomes: list[Outcome], forward: float) -> Overhead | None:
    """Of ranks that share this machine; those of several have cores of their own that are not known here."""
    if launch.under_torchrun():
        return None
    cores = min(len(os.sched_getaffinity(0)), len(outcomes))
    computation = sum(o.clock.computing for o in outcomes if o.clock) / cores
    return Overhead(computation, cores, forward / computation) if computation else None


def _generation(
    case: Case, plan: Plan, job: Job, outcomes: list[Outcome], ran: int, o: Options, t: Tokenizer | None
) -> Generation:
    _, generated = inputs_of(job, outcomes, ran)
    asked = len(o.prompts) or len(job.prompts)
    ids = [_until_stop(generated[i], job.stop) for i in range(asked)]
    ttft = max(x.ended[0] for x in outcomes)
    ended = [max(times) for times in zip(*(x.ended for x in outcomes), strict=True)]
    more = [len(i) - 1 for i in ids if len(i) > 1]
    tpot = sum(ended[n] - ttft for n in more) / sum(more) if more else None
    batch, longest = len(job.prompts), max(job.lengths)
    return Generation(
        tuple(map(tuple, ids)),
        ttft,
        tpot,
        sum(map(len, ids)) / ended[max(map(len, ids), default=1) - 1],
        _predicted(case, plan, Kind.PREFILL, batch, longest),
        _predicted(case, plan, Kind.DECODE, batch, longest + ran // 2),
        None if t is None else tuple(t.decode(i) for i in ids),
    )


def _until_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in stop), len(ids))
    return ids[:end]


def _predicted(case: Case, plan: Plan, kind: Kind, batch: int, sequence: int) -> float | None:
    """Seconds that the cost model gives a pass of ``kind``; None where the plan's strategy is not legal for it."""
    workload = replace(case.workload, kind=kind, batch=(batch,), sequence=sequence)
    try:
        found = evaluate(replace(case, workload=workload, goal=type(case.goal)()), plan.strategy, batch)
    except MoewrightError:
        return None
    return found.latency.seconds
