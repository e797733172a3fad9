"""Words with the values of variables put in: quotes, ``$X``, ``${X:-d}``, ``$((…))``, ``$(…)``, arrays, braces.

A value that is not known (a variable that nothing sets, a program's output) goes on as a mark that names it, so that
whoever reads the words sees which of them hang on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from moewright.doctor.shell.arithmetic import UnknownError, evaluate
from moewright.doctor.shell.lexer import closing, skip, words

_OPEN, _CLOSE = "\ue000", "\ue001"
MARK: Final = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_SPACE: Final = "\ue002"  # a break between fields
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"', "r": "\r"}

Value = str | list[str] | dict[str, str]


def unknown(name: str) -> str:
    """The mark of a value that is not known."""
    return f"{_OPEN}{name}{_CLOSE}"


def unknown_names(text: str) -> list[str]:
    """What the unknown values in ``text`` hang on."""
    return [m[1] for m in MARK.finditer(text)]


def without_marks(text: str) -> str:
    """``text`` as it was written, ``$NAME`` for what is not known."""
    return MARK.sub(lambda m: f"${m[1]}" if re.fullmatch(r"\w+", m[1]) else f"$({m[1]})", text)


@dataclass(slots=True)
class Scope:
    """Variables, positional arguments, and the names that were looked up and not set. ``output``: what a command
    substitution prints, or None."""

    variables: dict[str, Value]
    arguments: list[str] | None = None
    unset: list[str] = field(default_factory=list)
    output: Callable[[str], str | None] = lambda text: None

    def value(self, name: str) -> str | None:
        """The variable's text (the first of an array); None where it is not set."""
        value = self.variables.get(name)
        if isinstance(value, list):
            return value[0] if value else ""
        if isinstance(value, dict):
            return value.get("0", "")
        return value

    def miss(self, name: str) -> str:
        """The mark of a variable that is not set."""
        if name not in self.unset:
            self.unset.append(name)
        return unknown(name)

    def assign(self, name: str, value: str) -> None:
        self.variables[name] = value


def expand_text(raw: str, scope: Scope) -> str:
    """``raw`` as one text: of an assignment, a here-document, a pattern."""
    return _joined(_Expansion(scope).word(raw))


def expand_document(raw: str, scope: Scope) -> str:
    """The body of a here-document: quotes are letters there."""
    return _joined(_Expansion(scope).double(raw))


def _joined(text: str) -> str:
    return text.replace(_SPACE, " ")


def expand_words(raw: str, scope: Scope) -> list[str]:
    """The fields that a raw word becomes: none for an empty value without quotes, several for an array."""
    fields: list[str] = []
    for piece in _braces(raw):
        text = _Expansion(scope).word(piece)
        if text == "" and not re.search(r"['\"]", piece):
            continue
        fields += text.split(_SPACE) if _SPACE in text else [text]
    return [f for f in fields if f or re.search(r"['\"]", raw)]


def expand_array(raw: str, scope: Scope) -> list[str]:
    """The elements between the brackets of ``name=(…)``."""
    return [f for word in words(raw) for f in expand_words(word, scope)]


def _braces(raw: str) -> list[str]:
    """``{a,b}`` and ``{0..7}`` written out, where nothing is quoted."""
    match = re.search(r"(?<!\$)\{([^{}\s'\"$]*?(?:,|\.\.)[^{}\s'\"$]*)\}", raw)
    if not match or raw[0] in "'\"" or re.search(r"['\"]", raw[: match.start()]):
        return [raw]
    span = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", match[1])
    if span:
        first, last = int(span[1]), int(span[2])
        if abs(last - first) > 4096:
            return [raw]
        parts = [str(n) for n in range(first, last + (1 if last >= first else -1), 1 if last >= first else -1)]
    elif "," in match[1]:
        parts = match[1].split(",")
    else:
        return [raw]
    return [x for p in parts for x in _braces(raw[: match.start()] + p + raw[match.end() :])]


class _Expansion:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def word(self, raw: str) -> str:
        out, i = [], 0
        while i < len(raw):
            c = raw[i]
            end = skip(raw, i, None)
            if c == "\\":
                out.append("" if raw[i + 1 : i + 2] == "\n" else raw[i + 1 : end])
            elif c == "'":
                out.append(raw[i + 1 : end - 1])
            elif c == '"':
                out.append(self.double(raw[i + 1 : end - 1]))
            elif c == "$" and raw[i + 1 : i + 2] == "'":
                text = raw[i + 2 : end - 1]
                out.append(re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), text))
            elif c in "$`":
                value, end = self.dollar(raw, i)
                out.append(re.sub(r"[ \t\n]+", _SPACE, value))
            else:
                out.append(raw[i:end])
            i = end
        return "".join(out)

    def double(self, raw: str) -> str:
        """Inside double quotes."""
        out, i = [], 0
        while i < len(raw):
            c = raw[i]
            if c == "\\" and raw[i + 1 : i + 2] in ("$", "`", '"', "\\", "\n"):
                out.append("" if raw[i + 1] == "\n" else raw[i + 1])
                i += 2
            elif c in "$`":
                value, i = self.dollar(raw, i, quoted=True)
                out.append(value)
            else:
                out.append(c)
                i += 1
        return "".join(out)

    def dollar(self, raw: str, at: int, quoted: bool = False) -> tuple[str, int]:
        """The value of the expansion at ``at``, and the place after it."""
        if raw[at] == "`":
            end = skip(raw, at, None)
            return self.command(raw[at + 1 : end - 1]), end
        if raw.startswith("$((", at):
            end = closing(raw, at + 1)
            if raw[end - 2 : end] == "))":
                return self.arithmetic(raw[at + 3 : end - 2]), end
        if raw.startswith("$(", at):
            end = closing(raw, at + 1)
            return self.command(raw[at + 2 : end - 1]), end
        if raw.startswith("${", at):
            end = closing(raw, at + 1)
            return self.parameter(raw[at + 2 : end - 1], quoted), end
        match = re.match(r"\$(\w+|[@*#?$!-])", raw[at:])
        name = match[1] if match else ""
        if re.match(r"\d\d", name):
            name = name[0]
        if not name:
            return "$", at + 1
        return self.parameter(name, quoted), at + 1 + len(name)

    def arithmetic(self, text: str) -> str:
        text = self.double(text) if "$(" in text or "${" in text else text
        if MARK.search(text):
            return unknown(", ".join(unknown_names(text)))
        try:
            return str(evaluate(text, self.scope.value, self.scope.assign))
        except UnknownError as error:
            name = str(error)
            return self.scope.miss(name) if re.fullmatch(r"[A-Za-z_]\w*", name) else unknown(f"(({text.strip()}))")

    def command(self, text: str) -> str:
        printed = self.scope.output(text)
        return unknown(" ".join(text.split())[:60]) if printed is None else printed.rstrip("\n")

    def parameter(self, text: str, quoted: bool) -> str:
        if text.startswith("#") and len(text) > 1:
            return self.length(text[1:])
        match = re.match(r"(!?)(\w+|[@*#?$!-])(\[[^\]]*\])?(.*)$", text, re.DOTALL)
        if not match:
            return unknown(text)
        _, name, index, rest = match.groups()
        if match[1]:
            held = self.scope.value(name)
            if held is None or not re.fullmatch(r"\w+", held):
                return self.scope.miss(name)
            name = held
        value = self.look(name, index, quoted)
        return self.modified(name, value, rest)

    def length(self, text: str) -> str:
        match = re.fullmatch(r"(\w+|[@*])(\[[@*]\])?", text)
        name = match[1] if match else text
        value = self.scope.variables.get(name)
        if name in "@*":
            return str(len(self.scope.arguments or []))
        if match and match[2] and isinstance(value, list | dict):
            return str(len(value))
        plain = self.scope.value(name)
        return self.scope.miss(name) if plain is None else str(len(plain))

    def look(self, name: str, index: str | None, quoted: bool) -> str | None:
        """The value of a parameter; fields of several are kept apart. None: not set."""
        several: list[str] | None = None
        if name in ("@", "*"):
            several = self.scope.arguments
        elif name == "#":
            return str(len(self.scope.arguments or []))
        elif name.isdigit() or name in "?$!-":
            place = int(name) - 1 if name.isdigit() else -1
            known = self.scope.arguments or []
            return known[place] if 0 <= place < len(known) else ("0" if name == "?" else None)
        elif index is not None:
            held = self.scope.variables.get(name)
            key = self.double(index[1:-1])
            if key in ("@", "*"):
                several = list(held.values()) if isinstance(held, dict) else held if isinstance(held, list) else None
                if isinstance(held, str):
                    several = [held]
            elif isinstance(held, dict):
                return held.get(key.strip("'\""))
            else:
                return self.element(held, key)
        else:
            return self.scope.value(name)
        return None if several is None else _SPACE.join(several)

    def element(self, held: Value | None, key: str) -> str | None:
        place = self.arithmetic(key)
        values = held if isinstance(held, list) else [held] if isinstance(held, str) else []
        if not re.fullmatch(r"-?\d+", place) or not -len(values) <= int(place) < len(values):
            return None
        return values[int(place)]

    def modified(self, name: str, value: str | None, rest: str) -> str:
        """``value`` after ``:-d``, ``:+w``, ``#p``, ``/a/b``, ``:1:2`` and their kin."""
        colon = rest.startswith(":") and rest[1:2] in ("-", "=", "+", "?")
        op, word = (rest[1], rest[2:]) if colon else (rest[:1], rest[1:])
        empty = value is None or (colon and value == "")
        if op in ("-", "="):
            if not empty:
                return value or ""
            default = self.word(word)
            if op == "=":
                self.scope.assign(name, _joined(default))
            return default
        if op == "+":
            return "" if empty else self.word(word)
        if value is None:
            return self.several(name)
        if op in ("", "?"):
            return value
        if op in ("#", "%"):
            return _trimmed(value, rest, _joined(self.word(word.lstrip(op))))
        if op == "/":
            return _replaced(value, word, lambda text: _joined(self.word(text)))
        if op == ":":
            return _part(value, [self.arithmetic(x) for x in word.split(":")])
        if op in ("^", ","):
            return value.upper() if rest == "^^" else value.lower() if rest == ",," else value
        return unknown(name)

    def several(self, name: str) -> str:
        """Of ``$@`` without arguments nothing where the script has none, else a mark."""
        if name in ("@", "*"):
            return "" if self.scope.arguments is not None else unknown("@")
        return self.scope.miss(name)


def _trimmed(value: str, rest: str, pattern: str) -> str:
    """``value`` without the shortest (or longest) beginning or end that ``pattern`` matches."""
    longest = rest[:2] in ("##", "%%")
    cuts = range(len(value) + 1)
    if rest[0] == "#":
        ends = [n for n in cuts if fnmatchcase(value[:n], pattern)]
        return value[(max(ends) if longest else min(ends)) :] if ends else value
    starts = [n for n in cuts if fnmatchcase(value[n:], pattern)]
    return value[: (min(starts) if longest else max(starts))] if starts else value


def _replaced(value: str, word: str, expand: Callable[[str], str]) -> str:
    everywhere = word.startswith("/")
    old, _, new = word.removeprefix("/").partition("/")
    old, new = expand(old), expand(new)
    if any(c in old for c in "*?["):
        return value
    return value.replace(old, new, -1 if everywhere else 1) if old else value


def _part(value: str, places: list[str]) -> str:
    """``${X:start:length}``."""
    if not all(re.fullmatch(r"-?\d+", p.strip()) for p in places):
        return value
    start = int(places[0])
    tail = value[start:]
    if len(places) < 2:
        return tail
    length = int(places[1])
    return tail[:length]
