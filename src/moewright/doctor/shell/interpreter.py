"""Walk through a script as the shell would and note every program that it starts. Nothing is run.

Programs' exit codes are not known: ``a && b`` and ``a; b`` go on, ``a || b`` does not, and a branch that hangs on one
is not taken, as where the program is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from moewright.doctor.shell import syntax
from moewright.doctor.shell.arithmetic import UnknownError, evaluate
from moewright.doctor.shell.conditions import holds, without_unset
from moewright.doctor.shell.expansion import (
    Scope,
    Value,
    expand_array,
    expand_document,
    expand_text,
    expand_words,
    unknown,
)
from moewright.errors import SpecError

MOST_COMMANDS: Final = 20_000
MOST_ROUNDS: Final = 1024
_ASSIGNMENT: Final = re.compile(r"(\w+)(?:\[([^\]]*)\])?(\+?)=(.*)$", re.DOTALL)
#: builtins that start nothing and set nothing that is read here
_IDLE: Final = frozenset(
    [
        "cd",
        "echo",
        "printf",
        "set",
        "trap",
        "wait",
        "sleep",
        "exit",
        "return",
        "break",
        "continue",
        "ulimit",
        "umask",
        "source",
        ".",
        "unset",
        "shopt",
        "alias",
        "pushd",
        "popd",
        "hash",
        "type",
        "read",
        "mkdir",
        "rm",
        "cp",
        "mv",
        "ls",
        "cat",
        "kill",
        "chmod",
        "touch",
        "tee",
        "true",
        "false",
        ":",
    ]
)


@dataclass(frozen=True, slots=True)
class Started:
    """A program's words with the environment that the script gives it; ``blanks``: the line of a backslash in it that
    blanks follow (0: none); ``stray``: words of the command after it, where that begins with an option."""

    words: tuple[str, ...]
    environment: dict[str, str]
    line: int
    blanks: int = 0
    background: bool = False
    stray: tuple[str, ...] = ()


@dataclass(slots=True)
class Walk:
    """What a script does: programs it starts, files it writes, names that it reads and nothing sets."""

    scope: Scope
    started: list[Started] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    functions: dict[str, syntax.Sequence] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    count: int = 0
    depth: int = 0

    @property
    def unset(self) -> list[str]:
        return self.scope.unset


def walk(text: str, environment: dict[str, str] | None = None, arguments: list[str] | None = None) -> Walk:
    """Walk through a script. Where the functions that it defines are never called (another script does), they are
    walked through at the end. Raises SpecError for what the shell would not read."""
    variables: dict[str, Value] = dict(environment or {})
    state = Walk(Scope(variables, arguments))
    state.exported.update(variables)
    state.scope.output = lambda inner: _printed(state, inner)
    script = syntax.parse_script(text)
    _sequence(state, script)
    for name, body in list(state.functions.items()):
        if name not in state.called:
            state.scope.arguments = None
            _sequence(state, body)
    return state


def _sequence(w: Walk, script: syntax.Sequence) -> bool | None:
    status: bool | None = True
    skip = False
    for pipeline, after in script.items:
        if not skip:
            status = _pipeline(w, pipeline, after == "&")
        skip = (after == "&&" and status is False) or (after == "||" and status is not False)
    return status


def _pipeline(w: Walk, pipeline: syntax.Pipeline, background: bool) -> bool | None:
    status: bool | None = True
    _write_through(w, pipeline.commands)
    for node in pipeline.commands:
        first = len(w.started)
        status = _node(w, node)
        if background:
            w.started[first:] = [replace(s, background=True) for s in w.started[first:]]
    if len(pipeline.commands) > 1:
        status = None
    return None if status is None else status ^ pipeline.negated


def _node(w: Walk, node: syntax.Node) -> bool | None:
    w.count += 1
    if w.count > MOST_COMMANDS:
        raise SpecError(f"goes through more than {MOST_COMMANDS} commands; expected a script that starts an engine")
    match node:
        case syntax.Simple():
            return _simple(w, node)
        case syntax.Test():
            raw = [x if x in ("&&", "||", "!", "(", ")", "<", ">") else expand_text(x, w.scope) for x in node.words]
            return holds(raw, doubled=True)
        case syntax.Arithmetic():
            return _true(w, node.text)
        case syntax.Branches():
            for condition, body in node.pairs:
                if _sequence(w, condition):
                    return _sequence(w, body)
            return _sequence(w, node.otherwise) if node.otherwise else True
        case syntax.Loop():
            return _loop(w, node)
        case syntax.Choice():
            return _choice(w, node)
        case syntax.Group():
            if not node.apart:
                return _sequence(w, node.body)
            kept = dict(w.scope.variables)
            status = _sequence(w, node.body)
            w.scope.variables = kept
            return status
    w.functions[node.name] = node.body
    return True


def _true(w: Walk, text: str) -> bool | None:
    try:
        return evaluate(text, w.scope.value, w.scope.assign) != 0
    except UnknownError as error:
        if re.fullmatch(r"\w+", str(error)):
            w.scope.miss(str(error))
        return None


def _loop(w: Walk, node: syntax.Loop) -> bool | None:
    if node.kind == "for":
        for value in [f for word in node.words for f in expand_words(word, w.scope)][:MOST_ROUNDS]:
            w.scope.assign(node.name, value)
            _sequence(w, node.body)
        return True
    parts = [*node.words[0].split(";"), "", ""] if node.kind == "count" else ["", "", ""]
    _true(w, parts[0])

    def goes() -> bool:
        if node.condition is None:
            return bool(parts[1].strip()) and bool(_true(w, parts[1]))
        return _sequence(w, node.condition) is (node.kind == "while")

    rounds = 0
    while goes() and rounds < MOST_ROUNDS:
        before = (dict(w.scope.variables), w.scope.arguments)
        _sequence(w, node.body)
        if parts[2].strip():
            _true(w, parts[2])
        if before == (w.scope.variables, w.scope.arguments):
            break  # nothing changes: a loop that waits
        rounds += 1
    return True


def _choice(w: Walk, node: syntax.Choice) -> bool | None:
    value = without_unset(expand_text(node.word, w.scope))
    for patterns, body in node.items:
        if any(fnmatchcase(value, without_unset(expand_text(p, w.scope))) for p in patterns):
            return _sequence(w, body)
    return True


# --- simple commands ---


def _simple(w: Walk, node: syntax.Simple) -> bool | None:
    raw = list(node.words)
    first = next((i for i, word in enumerate(raw) if not _ASSIGNMENT.match(word)), len(raw))
    if first == len(raw):
        for word in raw:
            _assign(w, *_parts(word))
        return True
    if raw[first] in _DECLARING:
        return _declare(w, raw[first:])
    words = [f for word in raw[first:] for f in expand_words(word, w.scope)]
    kept = dict(w.scope.variables)
    own: dict[str, str] = {}
    for word in raw[:first]:
        name = _parts(word)[0]
        _assign(w, *_parts(word))
        if isinstance(value := w.scope.variables.get(name), str):
            own[name] = value
    name = words[0] if words else ""
    w.scope.variables = kept  # assignments before a program are the program's alone
    _write(w, words, node.redirects)
    if name in w.functions and w.depth < 20:
        return _call(w, name, words[1:])
    if name in ("[", "test"):
        return holds(words[1:-1] if name == "[" else words[1:])
    if name == "eval":
        return walk_inner(w, " ".join(words[1:]))
    if name == "shift":
        w.scope.arguments = (w.scope.arguments or [])[int(words[1]) if words[1:] and words[1].isdigit() else 1 :]
        return True
    if name == "set" and "--" in words:
        w.scope.arguments = words[words.index("--") + 1 :]
        return True
    if name == "unset":
        for variable in words[1:]:
            w.scope.variables.pop(variable, None)
        return True
    if name in ("true", ":", "false"):
        return name != "false"
    if name in _IDLE or not name:
        return None if name in ("source", ".", "read") else True
    _start(w, node, words, own)
    return None


def _parts(word: str) -> tuple[str, str | None, str, str]:
    """Name, key of an element, ``+`` and raw value of an assignment."""
    match = _ASSIGNMENT.match(word)
    assert match is not None
    return match[1], match[2], match[3], match[4]


def _start(w: Walk, node: syntax.Simple, words: list[str], own: dict[str, str]) -> None:
    if words[0].startswith("-") and w.started and w.started[-1].line < node.line:
        w.started[-1] = replace(w.started[-1], stray=(*w.started[-1].stray, *words))
        return
    held = {n: v for n, v in w.scope.variables.items() if isinstance(v, str)}
    w.started.append(Started(tuple(words), {**held, **own}, node.line, node.blanks))


def walk_inner(w: Walk, text: str) -> bool | None:
    """Go through ``text`` with the variables of ``w``: of ``eval``, or of ``bash -c``."""
    w.depth += 1
    if w.depth > 20:
        raise SpecError("scripts are nested more than 20 deep")
    try:
        return _sequence(w, syntax.parse_script(text))
    finally:
        w.depth -= 1


def _call(w: Walk, name: str, arguments: list[str]) -> bool | None:
    w.called.add(name)
    outer, w.scope.arguments = w.scope.arguments, arguments
    w.depth += 1
    status = _sequence(w, w.functions[name])
    w.depth -= 1
    w.scope.arguments = outer
    return status


_DECLARING: Final = ("export", "declare", "local", "readonly", "typeset")


def _declare(w: Walk, raw: list[str]) -> bool:
    for word in raw[1:]:
        match = _ASSIGNMENT.match(word)
        if match:
            _assign(w, *_parts(word))
        if raw[0] == "export":
            w.exported.add(match[1] if match else word)
    return True


def _assign(w: Walk, name: str, key: str | None, more: str, raw: str) -> None:
    variables = w.scope.variables
    old = variables.get(name)
    if raw.startswith("(") and raw.endswith(")"):
        elements = expand_array(raw[1:-1], w.scope)
        keyed = [re.fullmatch(r"\[([^\]]+)\]=(.*)", e, re.DOTALL) for e in elements]
        if elements and all(keyed):
            pairs = {m[1].strip("'\""): m[2] for m in keyed if m}
            variables[name] = {**(old if more and isinstance(old, dict) else {}), **pairs}
        else:
            base = old if isinstance(old, list) else [old] if isinstance(old, str) else []
            variables[name] = [*base, *elements] if more else elements
        return
    value = expand_text(raw, w.scope)
    if key is not None:
        _set_element(w, name, key, value)
    elif isinstance(old, list) and more:
        variables[name] = [*old[:-1], old[-1] + value] if old else [value]
    else:
        variables[name] = (w.scope.value(name) or "") + value if more else value


def _set_element(w: Walk, name: str, key: str, value: str) -> None:
    old = w.scope.variables.get(name)
    text = expand_text(key, w.scope)
    if isinstance(old, list) and text.isdigit():
        w.scope.variables[name] = [*old[: int(text)], value, *old[int(text) + 1 :]]
    else:
        w.scope.variables[name] = {**(old if isinstance(old, dict) else {}), text: value}


# --- what is written, and what is printed ---


def _write(w: Walk, words: list[str], redirects: tuple[syntax.Redirect, ...]) -> None:
    """Files that ``cat``, ``echo``, ``printf`` or ``tee`` write."""
    body = next((r for r in redirects if r.operator.endswith(("<<", "<<-"))), None)
    target = next((r for r in redirects if r.operator in (">", ">>", ">|", "1>")), None)
    name = words[0] if words else ""
    if body is not None:
        text = body.body if body.literal else expand_document(body.body, w.scope)
    elif name in ("echo", "printf"):
        text = " ".join(x for x in words[1:] if not re.fullmatch(r"-[neE]+", x)) + "\n"
        text = text.replace("\\n", "\n")
    else:
        return
    path = expand_text(target.target, w.scope) if target else None
    if name in ("tee", "sudo") or "tee" in words[:2]:
        path = next((x for x in reversed(words) if not x.startswith("-") and x != "tee"), None)
    if path:
        more = target is not None and target.operator == ">>"
        w.files[path] = (w.files.get(path, "") if more else "") + text


def _write_through(w: Walk, commands: tuple[syntax.Node, ...]) -> None:
    """``cat <<EOF | tee FILE``."""
    if len(commands) != 2:
        return
    source, target = commands
    if not isinstance(source, syntax.Simple) or not isinstance(target, syntax.Simple):
        return
    words = [f for word in target.words for f in expand_words(word, w.scope)]
    if "tee" in words[:2]:
        _write(w, words, source.redirects)


def file_named(files: dict[str, str], path: str) -> str | None:
    """The text written at ``path``, or at another path with the same last name."""
    if path in files:
        return files[path]
    last = PurePosixPath(path).name
    return next((text for name, text in files.items() if PurePosixPath(name).name == last), None)


def _printed(w: Walk, text: str) -> str | None:
    """What a command substitution prints, where that is known: of echo, printf, seq and cat of a here-document."""
    script = syntax.parse_script(text)
    if len(script.items) != 1 or len(script.items[0][0].commands) != 1:
        return None
    node = script.items[0][0].commands[0]
    if not isinstance(node, syntax.Simple) or not node.words:
        return None
    words = [f for word in node.words for f in expand_words(word, w.scope)]
    body = next((r for r in node.redirects if r.operator in ("<<", "<<-")), None)
    if words[:1] == ["cat"] and body is not None:
        return body.body if body.literal else expand_document(body.body, w.scope)
    if words[:1] == ["cat"] and len(words) == 2:
        return file_named(w.files, words[1])
    if words[:1] == ["echo"]:
        return " ".join(x for x in words[1:] if not re.fullmatch(r"-[neE]+", x))
    if words[:1] == ["printf"] and words[1:2] == ["%s"]:
        return "".join(words[2:])
    if words[:1] == ["seq"] and all(re.fullmatch(r"-?\d+", x) for x in words[1:]) and 1 < len(words) < 5:
        numbers = [int(x) for x in words[1:]]
        first, step, last = {1: [1, 1, *numbers], 2: [numbers[0], 1, numbers[-1]], 3: numbers}[len(numbers)]
        several = range(first, last + 1, step) if step > 0 else []
        return "\n".join(map(str, list(several)[:MOST_ROUNDS]))
    if words == ["pwd"]:
        return "."
    if words[:1] == ["basename"] and len(words) == 2:
        return PurePosixPath(words[1]).name
    return None


__all__ = ["Started", "Walk", "file_named", "unknown", "walk", "walk_inner"]
