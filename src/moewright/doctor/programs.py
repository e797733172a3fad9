"""A program as a command or a document starts it, and the engine that it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

from moewright.doctor.documents.docker_run import docker_run
from moewright.doctor.shell.interpreter import Started, walk
from moewright.errors import SpecError

#: modules behind ``python -m`` → the engine
MODULES: Final = {
    "vllm.entrypoints.openai.api_server": "vllm",
    "vllm.entrypoints.api_server": "vllm",
    "dynamo.vllm": "vllm",
    "sglang.launch_server": "sglang",
    "sglang.srt.server": "sglang",
    "sglang_router.launch_server": "sglang",
    "dynamo.sglang": "sglang",
    "dynamo.sglang.worker": "sglang",
    "dynamo.sglang.decode_worker": "sglang",
    "dynamo.trtllm": "trtllm",
    "tensorrt_llm.commands.serve": "trtllm",
}
#: what stands for a Python or YAML configuration with Megatron's names
ASSIGNED: Final = "megatron-bridge"
_SCRIPTS: Final = {"api_server.py": "vllm", "launch_server.py": "sglang"}
_SHELLS: Final = ("bash", "sh", "zsh", "dash")
_TRAINING: Final = re.compile(r"--(tensor|pipeline|expert)[-_]model[-_]parallel[-_]size")
#: what such an image starts where its container names no command
IMAGES: Final = {"vllm": re.compile(r"(^|/)(vllm[-/]openai|vllm-openai\w*|vllm)(:|@|$)|vllm-openai")}


@dataclass(frozen=True, slots=True)
class Program:
    """``words`` as they are given to the operating system, in ``environment``. ``where``: line or resource.
    ``copies``: of the pod or service it stands in, each of ``nodes`` nodes (None: not said) with ``gpus`` GPUs.
    ``stray``: words that the shell takes for a command of its own; ``blanks``: the line of a backslash that joins
    nothing. ``role``: prefill, decode, leader, worker."""

    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    where: str = ""
    image: str = ""
    copies: int = 1
    nodes: int | None = None
    gpus: int | None = None
    role: str = ""
    stray: tuple[str, ...] = ()
    blanks: int = 0
    background: bool = False


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """An engine that a program starts: ``arguments`` are the words after its name. ``kind``: how it is started
    (``serve`` of a command line, a module's name, megatron-lm, ms-swift)."""

    engine: str
    kind: str
    arguments: tuple[str, ...]
    program: Program
    before: tuple[str, ...] = ()


def engine_commands(program: Program, depth: int = 0) -> list[EngineCommand]:
    """The engines that ``program`` starts, itself or by a shell or a container inside it."""
    if depth > 8:
        raise SpecError("commands are nested more than 8 deep")
    words = program.words
    inner = _shell_text(words)
    if inner is not None:
        text, arguments = inner
        started = walk(text, program.environment, arguments).started
        return [c for s in started for c in engine_commands(_of(program, s), depth + 1)]
    container = docker_run(words)
    if container is not None:
        own = {**program.environment, **container.environment}
        nested = replace(program, words=container.words, environment=own, image=container.image)
        return engine_commands(nested, depth + 1) or _of_image(nested)
    place = _engine_place(words)
    if place is not None:
        engine, kind, at = place
        return [EngineCommand(engine, kind, words[at:], program, words[:at])]
    for word in words[1:]:
        if " " in word and _NAMED.search(word):
            started = walk(word, program.environment).started
            return [c for s in started for c in engine_commands(_of(program, s), depth + 1)]
    return _of_image(program)


_NAMED: Final = re.compile(r"vllm serve|vllm\.entrypoints|sglang[. ]|trtllm-serve|dynamo\.|pretrain_\w+\.py|megatron ")


def _of(program: Program, s: Started) -> Program:
    return replace(
        program,
        words=s.words,
        environment={**program.environment, **s.environment},
        stray=s.stray,
        blanks=s.blanks,
        background=s.background or program.background,
    )


def _of_image(program: Program) -> list[EngineCommand]:
    """A container of an engine's own image, whose words are the engine's."""
    for engine, pattern in IMAGES.items():
        if pattern.search(program.image) and program.words[:1] and program.words[0].startswith("-"):
            return [EngineCommand(engine, "image", program.words, program)]
    return []


def _shell_text(words: tuple[str, ...]) -> tuple[str, list[str]] | None:
    """The text that ``bash -c`` among ``words`` runs, and its arguments."""
    for i, word in enumerate(words[:-1]):
        if PurePosixPath(word).name not in _SHELLS:
            continue
        for j in range(i + 1, len(words) - 1):
            if not words[j].startswith("-"):
                break
            if re.fullmatch(r"-[a-z]*c", words[j]):
                return words[j + 1], list(words[j + 3 :])
    return None


def _engine_place(words: tuple[str, ...]) -> tuple[str, str, int] | None:
    """Engine, kind and place of its first argument in ``words``."""
    for i, word in enumerate(words):
        name, following = PurePosixPath(word).name, words[i + 1] if i + 1 < len(words) else ""
        if name in ("vllm", "sglang") and following == "serve":
            return name, "serve", i + 2
        if name == "trtllm-serve":
            skip = following in ("serve",)
            return "trtllm", "serve", i + 1 + skip
        if word == "-m" and following in MODULES:
            return MODULES[following], following, i + 2
        if word in MODULES:
            return MODULES[word], word, i + 1
        if word == ASSIGNED:
            return "megatron", word, i + 1
        if name == "megatron" and following in ("sft", "pt", "rlhf", "export"):
            return "megatron", "ms-swift", i + 2
        if name in _SCRIPTS and ("vllm" in word or "sglang" in word or name == word):
            return _SCRIPTS[name], name, i + 1
        if name.endswith(".py") and any(_TRAINING.match(w) for w in words[i + 1 :]):
            kind = "ms-swift" if "swift" in word else "megatron-lm"
            return "megatron", kind, i + 1
    return None
