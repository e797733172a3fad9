"""docker-compose files and Dockerfiles → the programs that their services start."""

from __future__ import annotations

import json
import re
from typing import Any

from moewright.doctor.programs import Program
from moewright.doctor.shell.expansion import Scope, expand_text, unknown
from moewright.doctor.shell.interpreter import walk


def compose_programs(document: dict[str, Any], values: dict[str, str]) -> tuple[list[Program], list[str]]:
    """The programs of every service, and the names that nothing sets (``values``: what the user gives)."""
    scope = Scope(dict(values))
    several = []
    for name, service in document.get("services", {}).items():
        if isinstance(service, dict):
            p = _service(str(name), service, scope)
            several += [p] if p.words else []
    return several, scope.unset


def _service(name: str, service: dict[str, Any], scope: Scope) -> Program:
    environment: dict[str, str] = {}
    given = service.get("environment")
    pairs = given.items() if isinstance(given, dict) else (str(x).partition("=")[::2] for x in given or ())
    for key, value in pairs:
        environment[str(key)] = _interpolated("" if value is None else str(value), scope)
    words = [w for part in ("entrypoint", "command") for w in _words(service.get(part), scope, environment)]
    return Program(
        tuple(words),
        environment,
        f"service {name}",
        _interpolated(str(service.get("image", "")), scope),
        _copies(service),
        gpus=_gpus(service),
        role=next((r for r in ("prefill", "decode") if r in name), ""),
    )


def _interpolated(text: str, scope: Scope) -> str:
    """Compose's own ``${X:-d}`` and ``$X``; ``$$`` is a ``$`` for the program."""
    parts = re.split(r"\$\$", text)
    return "$".join(re.sub(r"\$\{[^{}]*\}|\$\w+", lambda m: expand_text(f'"{m[0]}"', scope), part) for part in parts)


def _words(value: Any, scope: Scope, environment: dict[str, str]) -> list[str]:
    if isinstance(value, list):
        return [_interpolated(str(x), scope) for x in value]
    if not isinstance(value, str):
        return []
    started = walk(_interpolated(value, scope), environment).started
    return [word for s in started for word in (*s.words, *s.stray)]


def _copies(service: dict[str, Any]) -> int:
    deploy = service.get("deploy")
    copies = deploy.get("replicas") if isinstance(deploy, dict) else service.get("scale")
    return copies if isinstance(copies, int) and copies > 0 else 1


def _gpus(service: dict[str, Any]) -> int | None:
    try:
        device = service["deploy"]["resources"]["reservations"]["devices"][0]
    except (KeyError, IndexError, TypeError):
        return None
    if isinstance(device.get("device_ids"), list):
        return sum(len(str(ids).split(",")) for ids in device["device_ids"])
    return device["count"] if isinstance(device.get("count"), int) else None


def dockerfile_programs(text: str, values: dict[str, str]) -> tuple[list[Program], list[str]]:
    """The program of a Dockerfile's last ENTRYPOINT and CMD."""
    scope, image = Scope(dict(values)), ""
    parts: dict[str, list[str]] = {"ENTRYPOINT": [], "CMD": []}
    for line in re.sub(r"\\[ \t]*\n", " ", text).splitlines():
        match = re.match(r"\s*([A-Za-z]+)\s+(.*)$", line)
        name, rest = (match[1].upper(), match[2].strip()) if match else ("", "")
        if name == "FROM":
            image = expand_text(rest.split()[0], scope)
        elif name in ("ENV", "ARG"):
            _settings(rest, scope, name == "ARG")
        elif name in parts:
            parts[name] = _exec_form(rest)
    environment = {k: v for k, v in scope.variables.items() if isinstance(v, str)}
    words = tuple(parts["ENTRYPOINT"] + parts["CMD"])
    return ([Program(words, environment, "Dockerfile", image)] if words else []), scope.unset


def _settings(rest: str, scope: Scope, optional: bool) -> None:
    if "=" not in rest.split()[0]:
        name, _, value = rest.partition(" ")
        scope.assign(name, expand_text(value.strip(), scope) if value or not optional else unknown(name))
        return
    for name, value in re.findall(r"(\w+)=(\"[^\"]*\"|'[^']*'|\S*)", rest):
        if not (optional and name in scope.variables):
            scope.assign(name, expand_text(value, scope))


def _exec_form(rest: str) -> list[str]:
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    return [str(w) for w in words] if isinstance(words, list) else ["/bin/sh", "-c", rest]
