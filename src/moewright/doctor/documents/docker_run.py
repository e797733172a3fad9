"""``docker run [options] image words``: what runs inside, with its environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

#: options of ``docker run`` that take no value (docker CLI reference, container run)
_SWITCHES: Final = frozenset(
    [
        "--detach",
        "--init",
        "--interactive",
        "--no-healthcheck",
        "--oom-kill-disable",
        "--privileged",
        "--publish-all",
        "--quiet",
        "--read-only",
        "--rm",
        "--sig-proxy",
        "--tty",
        "--disable-content-trust",
        "--help",
        "--replace",
    ]
)


@dataclass(frozen=True, slots=True)
class Container:
    image: str
    words: tuple[str, ...]
    environment: dict[str, str]


def docker_run(words: tuple[str, ...]) -> Container | None:
    """The container that ``words`` start; None where they are no ``docker run``."""
    for i in range(len(words) - 1):
        name = PurePosixPath(words[i]).name
        if name in ("docker", "podman", "nerdctl") and words[i + 1] in ("run", "create"):
            return _container(words[i + 2 :])
        if name in ("docker", "podman") and words[i + 1 : i + 3] == ("container", "run"):
            return _container(words[i + 3 :])
        if name in ("docker", "podman", "nerdctl") and words[i + 1] == "exec":
            return None
    return None


def _container(words: tuple[str, ...]) -> Container | None:
    environment: dict[str, str] = {}
    entrypoint: tuple[str, ...] = ()
    i = 0
    while i < len(words) and words[i].startswith("-"):
        name, equals, value = words[i].partition("=")
        switch = name in _SWITCHES or (not name.startswith("--") and set(name[1:]) <= set("ditPq"))
        if not switch and not equals:
            short = not name.startswith("--") and len(name) > 2 and name[1] in "evpuwmch"
            value = name[2:] if short else words[i + 1] if i + 1 < len(words) else ""
            name = name[:2] if short else name
            i += 0 if short else 1
        if name in ("-e", "--env"):
            key, _, content = value.partition("=")
            environment[key] = content
        elif name == "--entrypoint":
            entrypoint = (value,) if value else ()
        i += 1
    if i >= len(words):
        return None
    return Container(words[i], (*entrypoint, *words[i + 1 :]), environment)
