"""A text that starts an engine, whatever its kind → the programs in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.case.bounded_file import decoded, read_bounded
from moewright.doctor.documents.compose import compose_programs, dockerfile_programs
from moewright.doctor.documents.kubernetes import config_files, kubernetes_programs
from moewright.doctor.programs import ASSIGNED, Program
from moewright.doctor.shell.interpreter import Walk, file_named, walk
from moewright.errors import SpecError

MOST_BYTES: Final = 1 << 20
MOST_DOCUMENTS: Final = 200
MOST_EVENTS: Final = 100_000
#: a YAML document of Kubernetes, llm-d, Dynamo, or compose
_RESOURCE: Final = re.compile(r"^\s*(apiVersion|kind|services|modelArtifacts|decode|servingEngineSpec):", re.MULTILINE)
_APPENDED: Final = re.compile(r"^#[ \t]*(?:file:[ \t]*)?([\w./-]+\.(?:ya?ml|json))[ \t]*:?[ \t]*$", re.MULTILINE)
_FENCE: Final = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
#: Megatron's sizes as attributes of a Python configuration (Megatron-Bridge) or as keys of a YAML one (NeMo)
_ASSIGNED: Final = re.compile(
    r"^[ \t]*(?:\w+\.)*((?:tensor|pipeline|expert)_model_parallel_size|expert_tensor_parallel_size|"
    r"context_parallel_size|sequence_parallel|num_moe_experts|num_layers)[ \t]*[:=][ \t]*(\w+)[ \t]*,?[ \t]*(?:#.*)?$",
    re.MULTILINE,
)
_PROMPT: Final = re.compile(
    r"^[ \t]*(?:\([\w.-]+\)[ \t]*)*(?:[\w.-]+@[\w.-]+[:~ ][^\s$#]*[$#]|\$)[ \t]+(?=\S)", re.MULTILINE
)
_STARTS: Final = re.compile(
    r"vllm serve|vllm\.entrypoints|sglang\.launch_server|sglang serve|trtllm-serve|torchrun|megatron "
)
_SHELL_FENCES: Final = ("", "bash", "sh", "shell", "console", "zsh", "text", "yaml", "yml", "dockerfile", "python")


@dataclass(slots=True)
class TextReading:
    """``programs`` in order; ``files`` that the text writes or brings along, by path; ``unset``: names of variables
    that it reads and nothing sets."""

    programs: list[Program] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    folder: Path | None = None

    def file(self, path: str) -> str | None:
        """The text of a file that a command names: brought along, or beside the text on disk."""
        text = file_named(self.files, path)
        if text is not None or self.folder is None or len(path) > 300:
            return text
        file = self.folder / path
        if not file.is_file():
            return None
        return decoded(read_bounded(file, MOST_BYTES, "a file of options", "option file"), file)


def read_programs(text: str, values: dict[str, str], folder: Path | None = None) -> TextReading:
    """The programs of ``text``, a command, script, manifest, compose file or Dockerfile; ``values``: of variables that
    it leaves open. Raises SpecError for what cannot be read, naming the place and the word."""
    reading = TextReading(folder=folder)
    text = text.replace("\r\n", "\n")
    fences = [m[2] for m in _FENCE.finditer(text) if m[1].lower() in _SHELL_FENCES]
    for part in fences or [text]:
        _read(_with_appended(part, reading), values, reading)
    return reading


def _read(text: str, values: dict[str, str], reading: TextReading) -> None:
    if _is_dockerfile(text):
        programs, unset = dockerfile_programs(text, values)
        _add(reading, programs, unset)
        return
    if _RESOURCE.search(text) and not re.match(r"#!", text):
        documents = _documents(text)
        if documents is not None:
            _read_documents(documents, values, reading)
            return
    if len(assigned := _ASSIGNED.findall(text)) > 1 and not re.search(r"torchrun|--\w", text):
        words = [w for name, value in assigned for w in (f"--{name.replace('_', '-')}", value)]
        _add(reading, [Program((ASSIGNED, *words), {}, "assignments")], [])
        return
    script = _walked(_without_prompts(text), values)
    reading.files.update(script.files)
    programs = [
        Program(s.words, s.environment, f"line {s.line}", stray=s.stray, blanks=s.blanks, background=s.background)
        for s in script.started
    ]
    _add(reading, programs, script.unset)
    for name, content in script.files.items():  # a manifest that the script writes and applies
        if name.endswith((".yaml", ".yml")) and _RESOURCE.search(content):
            documents = _documents(content)
            if documents is not None:
                _read_documents(documents, values, reading)


def _read_documents(documents: list[Any], values: dict[str, str], reading: TextReading) -> None:
    reading.files.update(config_files(documents))
    for d in documents:
        if isinstance(d, dict) and isinstance(d.get("services"), dict) and "apiVersion" not in d:
            _add(reading, *compose_programs(d, values))
    kept = [d for d in documents if not (isinstance(d, dict) and "services" in d and "apiVersion" not in d)]
    _add(reading, kubernetes_programs(kept), [])


def _add(reading: TextReading, programs: list[Program], unset: list[str]) -> None:
    reading.programs += programs
    reading.unset += [name for name in unset if name not in reading.unset]


def _is_dockerfile(text: str) -> bool:
    plain = [x for x in text.splitlines() if x.strip() and not x.lstrip().startswith("#")]
    first = re.match(r"(FROM|ARG)\s+\S+", plain[0].strip()) if plain else None
    return bool(first) and any(re.match(r"\s*(CMD|ENTRYPOINT)\s", x) for x in plain)


def _documents(text: str) -> list[Any] | None:
    """All YAML documents of ``text``; None where it is no YAML. Raises SpecError for a bomb."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        aliases = 0
        for events, event in enumerate(yaml.parse(text, Loader=loader)):
            aliases += isinstance(event, yaml.AliasEvent)
            if events > MOST_EVENTS or aliases > 1000:
                raise SpecError(f"has more than {MOST_EVENTS} values; no manifest of an engine does")
        documents = list(yaml.load_all(text, Loader=loader))
        _expanded(documents, {})
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if len(documents) > MOST_DOCUMENTS:
        raise SpecError(f"holds {len(documents)} documents; expected {MOST_DOCUMENTS} at most")
    good = any(isinstance(d, dict) for d in documents)
    return documents if good else None


def _expanded(value: Any, sizes: dict[int, int]) -> int:
    """Values in ``value``, each alias counted wherever it stands. Raises SpecError for more than a manifest has,
    RecursionError for an alias inside of itself."""
    if not isinstance(value, dict | list):
        return 1
    known = sizes.get(id(value))
    if known is not None:
        if known < 0:
            raise RecursionError
        return known
    sizes[id(value)] = -1
    size = 1 + sum(_expanded(v, sizes) for v in (value.values() if isinstance(value, dict) else value))
    if size > MOST_EVENTS:
        raise SpecError(f"expands to more than {MOST_EVENTS} values; no manifest of an engine does")
    sizes[id(value)] = size
    return size


def _with_appended(text: str, reading: TextReading) -> str:
    """``text`` without the files that stand in it after ``# name.yaml``, where the name is used before."""
    places = [m for m in _APPENDED.finditer(text) if m[1].rpartition("/")[2] in text[: m.start()]]
    if not places:
        return text
    for place, following in zip(places, [*places[1:], None], strict=True):
        reading.files[place[1]] = text[place.end() : following.start() if following else len(text)]
    return text[: places[0].start()]


def _walked(text: str, values: dict[str, str]) -> Walk:
    """The walk through ``text``; through the commands that start engines alone where all of it is no script (a page
    with commands between its words). Raises SpecError."""
    try:
        return walk(text, values)
    except SpecError as error:
        lines, kept, inside = text.split("\n"), [], False
        for line in lines:
            inside = inside or _STARTS.search(line) is not None
            kept.append(line if inside else "")
            inside = inside and line.rstrip().endswith("\\")
        if not any(kept):
            raise
        try:
            return walk("\n".join(kept), values)
        except SpecError:
            raise error from None


def _without_prompts(text: str) -> str:
    """Lines of a transcript without the prompt: ``$ ``, ``(env) user@host:~$ ``, ``root@host:/work# ``."""
    if not _PROMPT.search(text):
        return text
    return _PROMPT.sub("", text)
