"""A command, script or manifest → what its engine makes of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from moewright.case.case import Case
from moewright.case.model import ModelSpec
from moewright.case.options.named_cluster import cluster_of
from moewright.doctor.better_layout import better_command
from moewright.doctor.divisions import check_divisions
from moewright.doctor.known_model import known_model
from moewright.doctor.option_values import OptionValues, UnknownValueError, option_values, version_of_options
from moewright.doctor.programs import EngineCommand, engine_commands
from moewright.doctor.read_text import TextReading, read_programs
from moewright.doctor.semantics.engine_reading import EngineReading, Problem, known_text
from moewright.doctor.semantics.megatron_options import read_megatron, world_of
from moewright.doctor.semantics.sglang_options import read_sglang
from moewright.doctor.semantics.trtllm_options import read_trtllm
from moewright.doctor.semantics.vllm_options import config_file_words, read_vllm
from moewright.doctor.shell.expansion import unknown_names, without_marks
from moewright.doctor.weighing import AskedWorkload, Fit, case_of_layout, expected, fit
from moewright.errors import MoewrightError, SpecError
from moewright.launch.engine_options import engine_versions
from moewright.serving.engines.memory_rule import numbers

#: names that tell which of several nodes runs a script: the first one is read
_FIRST: Final = {
    name: "0"
    for name in [
        "NODE_RANK",
        "RANK",
        "SLURM_NODEID",
        "SLURM_PROCID",
        "LWS_WORKER_INDEX",
        "JOB_COMPLETION_INDEX",
        "POD_INDEX",
        "MACHINE_RANK",
        "LOCAL_RANK",
        "DP_RANK",
        "START_RANK",
    ]
}
_MOST_TRIALS: Final = 300
#: words of a command that starts a part of its instance's ranks, or has them started elsewhere
_SPANNING_WORDS: Final = (
    "--nnodes",
    "-dpl",
    "--data-parallel-size-local",
    "--data-parallel-rank",
    "ray",
    "srun",
    "mpi",
)
_VERSION: Final = re.compile(
    r"(?:vllm|sglang|tensorrt[-_]?llm|release)[\w./-]*[:=]+v?(\d+\.\d+(?:\.\d+)?(?:[.-]?(?:post|rc)\d+)?)"
)


@dataclass(frozen=True, slots=True)
class Question:
    """What the command does not say: ``cluster`` is a catalogue's name with GPUs (None: not given), ``values`` of
    variables, ``folder`` where files that it names may lie."""

    cluster: str | None = None
    gpus: int | None = None
    workload: AskedWorkload | None = None
    version: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(slots=True)
class Diagnosis:
    """``starts``: whether the engine takes options, sizes and model; ``fits``: whether the cluster's memory holds it;
    both None where it cannot be told. ``expects``: seconds for users. ``better``: a command, or None."""

    engine: str
    version: str | None
    reading: EngineReading
    starts: bool | None
    fit: Fit
    missing: list[str]
    model: ModelSpec | None
    commands: int
    expects: dict[str, Any] | None = None
    better: str | None = None
    gain: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        return self.reading.problems

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong: it starts, fits, and no option does something else than it says."""
        return self.starts is not False and self.fit.fits is not False and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "engine": self.engine,
            "version": self.version,
            "model": self.model.name if self.model else known_text(self.reading.model),
            "layout": self.reading.layout.to_dict(),
            "strategy": None if self.reading.training is None else self.reading.training.to_dict(),
            "settings": self.reading.settings,
            "starts": self.starts,
            "fits": self.fit.fits,
            "why": self.fit.why,
            "problems": [p.to_dict() for p in self.problems],
            "expects": self.expects,
            "better": self.better,
            "gain": self.gain,
            "missing": self.missing,
            "notes": self.notes,
        }


def diagnose(text: str, q: Question) -> Diagnosis:
    """What the engine that ``text`` starts will make of it. Raises SpecError where that cannot be read: the message
    names the word."""
    trial, given = _solved(text, q)
    reading, commands, source = trial.reading, trial.commands, trial.source
    main = trial.main
    version = trial.version
    name = known_text(reading.model)
    model = known_model(name, reading.quantization) if name else None
    if model is not None:
        check_divisions(reading, model, numbers(version) if version else None)
    _check_devices(reading, main)
    _check_lines(reading, main)
    missing = _missing(source, main, given, q, model, reading)
    d = Diagnosis(
        reading.engine if reading.engine != "megatron" else "megatron",
        version or _newest(reading.engine),
        reading,
        not any(p.stops for p in reading.problems),
        Fit(None, "no cluster is given: --cluster NAME:GPUS"),
        missing,
        model,
        len(commands),
    )
    d.notes += [f"${name} is not set; taken as {value}, so that the GPUs are {q.gpus}" for name, value in given.items()]
    _weigh(d, q, version)
    return d


def _newest(engine: str) -> str | None:
    versions = engine_versions(engine)
    return versions[0] if versions else None


# --- which commands, and what they are together ---


@dataclass(slots=True)
class _Trial:
    """A text read with some values of its open variables."""

    source: TextReading
    commands: list[EngineCommand]
    main: EngineCommand
    reading: EngineReading
    version: str | None


def _solved(text: str, q: Question) -> tuple[_Trial, dict[str, str]]:
    """The text read; sizes that hang on variables which nothing sets are taken so that the GPUs are the cluster's.
    Raises SpecError where nothing tells them."""
    try:
        return _trial(text, q, {}), {}
    except UnknownValueError as error:
        first = error
    if q.gpus is not None:
        count = 0
        for values in _guesses(text, q, {}, first.name):
            count += 1
            try:
                trial = _trial(text, q, values)
            except (UnknownValueError, SpecError):
                continue
            if trial.reading.layout.gpus_total in (q.gpus, None):
                return trial, values
            if count > _MOST_TRIALS:
                break
    name = first.name if not re.fullmatch(r"\w+", first.name) else f"${first.name}"
    raise SpecError(
        f"{name}, the value of {first.option}, is not set; give --set {first.name}=N"
        + ("" if q.gpus else ", or --cluster NAME:GPUS"),
        field=first.option,
    )


def _guesses(text: str, q: Question, values: dict[str, str], name: str) -> Iterator[dict[str, str]]:
    """Values of the sizes that are open: the first from large to small, those after it from 1."""
    gpus = q.gpus or 1
    sizes = [n for n in range(1, gpus + 1) if gpus % n == 0]
    for size in sizes if values else reversed(sizes):
        trial = {**values, name: str(size)}
        try:
            _trial(text, q, trial)
        except UnknownValueError as error:
            if error.name not in trial and re.fullmatch(r"\w+", error.name) and len(trial) < 4:
                yield from _guesses(text, q, trial, error.name)
            continue
        except SpecError:
            continue
        yield trial


def _trial(text: str, q: Question, values: dict[str, str]) -> _Trial:
    source = read_programs(text, {**_FIRST, **values, **q.values}, q.folder)
    commands = [c for p in source.programs for c in engine_commands(p)]
    if not commands:
        raise SpecError(_nothing(source, text))
    engines = list(dict.fromkeys(c.engine for c in commands))
    if len(engines) > 1:
        places = [f"{c.engine} ({c.program.where or 'command'})" for c in commands]
        raise SpecError(f"starts two engines, {' and '.join(dict.fromkeys(places))}; give one of them")
    readings = [_read(c, source, q) for c in commands]
    return _together(source, commands, readings)


def _nothing(source: TextReading, text: str) -> str:
    """Why no engine was seen, naming the first word that is none."""
    word = next(
        (without_marks(p.words[0]) for p in source.programs if p.words), text.split()[0] if text.split() else ""
    )
    known = "vllm serve, sglang.launch_server, trtllm-serve or a script with Megatron's options"
    return f"got {word[:60]!r}; expected a command that starts an engine: {known}"


def _read(c: EngineCommand, source: TextReading, q: Question) -> tuple[EngineReading, str | None]:
    """The reading of one command, with what its parser refuses, and the version that it is read for."""
    values, version = _values(c, source, q)
    reading = _reading(c, values, source, q)
    reading.take_faults(values)
    return reading, version


def _values(c: EngineCommand, source: TextReading, q: Question) -> tuple[OptionValues, str | None]:
    version = q.version or _version_of(c, source)
    words = c.arguments
    own = not (c.kind == "ms-swift" or c.kind.startswith("dynamo"))
    if c.engine == "vllm":
        words = _with_config(words, source, c)
    values = option_values(c.engine, words, version, own)
    if c.kind.startswith("sglang_router"):
        values.faults = [f for f in values.faults if "router" not in f.option]
    return values, version or version_of_options(values)


def _reading(c: EngineCommand, values: OptionValues, source: TextReading, q: Question) -> EngineReading:
    if c.engine == "vllm":
        return read_vllm(values, c.kind in ("serve", "image"))
    if c.engine == "sglang":
        return read_sglang(values)
    if c.engine == "trtllm":
        file = values.text("config", "extra_llm_api_options", "extra_engine_args")
        text = source.file(file) if file else None
        r = read_trtllm(values, text)
        if file and text is None:
            r.problem("--config", f"{without_marks(file)} is not here: what it sets is not known", "this command")
        return r
    world = world_of(c.before, c.program.environment)
    return read_megatron(values, c.kind, world if world is not None else q.gpus)


def _with_config(words: tuple[str, ...], source: TextReading, c: EngineCommand) -> tuple[str, ...]:
    """vLLM's ``--config FILE``: its options first, so that the command's own win."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--config":
            path = value if equals else words[i + 1] if i + 1 < len(words) else ""
            text = source.file(path)
            if text is not None:
                rest = words[:i] + words[i + (1 if equals else 2) :]
                tag = rest[:1] if rest and not rest[0].startswith("-") else ()
                return (*tag, *config_file_words(text), *rest[len(tag) :])
    return words


def _version_of(c: EngineCommand, source: TextReading) -> str | None:
    """The engine's version, of its image or of a ``pip install`` in the text."""
    texts = [c.program.image, *(" ".join(p.words) for p in source.programs if "install" in p.words[:6])]
    names = {"vllm": "vllm", "sglang": "sgl", "trtllm": "tensorrt"}
    for text in texts:
        match = _VERSION.search(text)
        if match and names.get(c.engine, "-") in text.lower():
            return match[1]
    return None


def _together(
    source: TextReading, commands: list[EngineCommand], readings: list[tuple[EngineReading, str | None]]
) -> _Trial:
    """Of several commands the instance that they make: nodes of one, replicas, or pools of which the last decodes."""
    roles = [_role(c, r) for c, (r, _) in zip(commands, readings, strict=True)]
    layouts = [r.layout for r, _ in readings]
    decodes = [i for i, role in enumerate(roles) if role == "decode"]
    at = decodes[0] if decodes else 0
    reading, version = readings[at]
    same = [i for i, x in enumerate(layouts) if x == layouts[at] and roles[i] == roles[at]]
    main = commands[at]
    if len(same) > 1 and not any(_of_one(commands[i]) for i in same):
        ports = Counter(_given(commands[i], "--port") for i in same)
        devices = Counter(commands[i].program.environment.get("CUDA_VISIBLE_DEVICES") for i in same)
        if len(ports) == len(same) or len(devices) == len(same):
            reading.resized(replicas=reading.layout.replicas * len(same))
    _copies(reading, main)
    if roles[at]:
        reading.settings["role"] = roles[at]
    others = [i for i in range(len(commands)) if i not in same]
    if others and not any(roles):
        where = ", ".join(dict.fromkeys(commands[i].program.where for i in others))
        reading.problem("commands", f"{where} start other layouts; the first is read", "this text")
    return _Trial(source, commands, main, reading, version)


def _role(c: EngineCommand, r: EngineReading) -> str:
    role = r.settings.get("role")
    if role in ("prefill", "decode"):
        return str(role)
    words = " ".join(c.arguments)
    for name in ("prefill", "decode"):
        if f"--is-{name}-worker" in words or c.program.role == name:
            return name
    return ""


def _of_one(c: EngineCommand) -> bool:
    """Whether a command is one node of an instance that has more."""
    names = ("--headless", "--node-rank", "--data-parallel-start-rank", "--data-parallel-rank", "-dpr", "-dpn", "-r")
    written = {w.split("=")[0].replace("_", "-") for w in (*c.arguments, *c.before)}
    return any(n in written for n in names) or c.program.role in ("leader", "worker")


def _given(c: EngineCommand, option: str) -> str | None:
    for i, word in enumerate(c.arguments):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else c.arguments[i + 1] if i + 1 < len(c.arguments) else None
    return None


def _copies(r: EngineReading, main: EngineCommand) -> None:
    """Copies of the pod are replicas, unless one pod is too small for the instance: then they are its nodes."""
    p, world = main.program, r.layout.world
    if p.copies < 2 or world is None:
        return
    pod = (p.gpus or 0) * (p.nodes or 1)
    if pod and world > pod and p.copies * pod >= world:
        r.resized(replicas=r.layout.replicas * max(1, p.copies * pod // world))
    else:
        r.resized(replicas=r.layout.replicas * p.copies)


# --- what surrounds the options ---


def _check_devices(r: EngineReading, main: EngineCommand) -> None:
    """GPUs that CUDA_VISIBLE_DEVICES or the pod give, against the ranks."""
    world = r.layout.gpus_total if r.engine == "sglang" else r.layout.world
    visible = main.program.environment.get("CUDA_VISIBLE_DEVICES", "")
    if world is None or _spans(main):
        return
    if re.fullmatch(r"\d+(,\d+)*,?", visible):
        count = len(visible.strip(",").split(","))
        if count < world:
            what = f"names {count} GPUs; the layout has {world} ranks"
            r.problem("CUDA_VISIBLE_DEVICES", what, "this command", True)
    elif main.program.gpus and main.program.gpus * (main.program.nodes or 1) * main.program.copies < world:
        p = main.program
        what = f"the pod has {p.gpus} GPUs" + (f" on each of {p.nodes} nodes" if p.nodes else "")
        r.problem("resources", f"{what}; the layout has {world} ranks", p.where, True)


def _spans(main: EngineCommand) -> bool:
    """Whether the instance may have ranks that this command does not start."""
    if main.engine == "megatron" or "LWS_GROUP_SIZE" in main.program.environment:
        return True
    words = " ".join((*main.arguments, *main.before)).replace("_", "-")
    return any(name in words for name in _SPANNING_WORDS)


def _check_lines(r: EngineReading, main: EngineCommand) -> None:
    """Options on lines that no backslash joins to the command."""
    stray, blanks = main.program.stray, main.program.blanks
    if blanks:
        what = f"line {blanks} ends with a backslash and blanks: it joins nothing, and the engine is given a blank word"
        r.problem("\\", what, "POSIX, Shell Command Language, 2.2.1", True)
    if stray:
        words = " ".join(without_marks(w) for w in stray)[:120]
        what = f"{words}: the line before ends without a backslash, so the shell takes these for a command of their own"
        r.problem(without_marks(stray[0]), what, "POSIX, Shell Command Language, 2.2.1")


def _missing(
    source: TextReading,
    main: EngineCommand,
    given: dict[str, str],
    q: Question,
    model: ModelSpec | None,
    r: EngineReading,
) -> list[str]:
    """What had to be asked for, or taken for granted."""
    open_words = [n for w in main.arguments for n in unknown_names(w)]
    names = [f"${n}" if re.fullmatch(r"\w+", n) else f"$({n})" for n in dict.fromkeys([*given, *open_words])]
    if q.cluster is None:
        names.append("--cluster")
    if q.workload is None and not r.trains:
        names.append("--input, --output-tokens, --concurrency")
    if model is None:
        names.append("the model's config")
    if r.layout.world is None:
        names.append("the number of GPUs")
    return names


def _weigh(d: Diagnosis, q: Question, version: str | None) -> None:
    """Memory and, where the workload is known, seconds."""
    r, total = d.reading, d.reading.layout.gpus_total
    if q.cluster is None or d.model is None or total is None:
        if d.model is None and q.cluster is not None:
            d.fit = Fit(None, "the model's config is not known here: give a path to it")
        return
    if q.gpus is not None and total > q.gpus:
        d.fit = Fit(False, f"takes {total} GPUs; the cluster has {q.gpus}")
        return
    if r.dummy:
        d.fit = Fit(None, "--load-format dummy: the model that is loaded may be a part of the one named")
        return
    if r.trains:
        d.fit = _weigh_training(d.model, r, q.cluster, total)
        return
    cluster = cluster_of(q.cluster, total)
    d.fit = fit(r, d.model, cluster, _for_rule(version))
    if q.workload is not None and d.fit.fits and d.starts:
        case = case_of_layout(r, d.model, cluster, _for_rule(version), q.workload)
        try:
            d.expects = expected(replace(case, strategy=r.layout.spec))
        except MoewrightError as error:
            d.notes.append(f"not simulated: {error}")
    if q.workload is not None:
        _improve(d, case_of_layout(r, d.model, cluster, _for_rule(version), q.workload))


def _improve(d: Diagnosis, case: Case) -> None:
    """A better command for the same GPUs, where there is one."""
    name = known_text(d.reading.model)
    try:
        found = better_command(case, name, d.expects)
    except MoewrightError as error:
        d.notes.append(f"no better command: {error}")
        return
    if found is not None:
        d.better, d.gain = found.command, {"layout": [d.reading.layout.name, found.layout], **found.gain}


def _for_rule(version: str | None) -> str | None:
    return version if version and re.match(r"v?\d", version) else None


def _weigh_training(model: ModelSpec, r: EngineReading, cluster: str, gpus: int) -> Fit:
    """Training is refused where not even its 16-bit weights fit; what gradients and states take is not weighed here."""
    from moewright.case.tensors.layer_tensors import all_tensors
    from moewright.units import format_bytes

    x, held = r.layout, 0.0
    for tensor, layers in all_tensors(model):
        share = x.ep * x.etp if tensor.shard == "experts" else x.attn_tp
        held += 2.0 * tensor.parameters * layers / share / x.pp
    memory = cluster_of(cluster, gpus).device.memory
    words = f"16-bit weights of about {format_bytes(held)} a GPU of {format_bytes(memory)}"
    return Fit(False, words) if held > memory else Fit(None, f"{words}; gradients and states are not weighed here")
