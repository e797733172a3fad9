"""A command line as data: a program, options with the reason why each is set, and its environment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

#: a variable in a value: filled in by the shell, or by Kubernetes
VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Argument:
    """An option under its full name; ``value`` None: a flag. Values may hold ``${VARIABLES}``. ``why``: what of the
    plan it says, for the README. ``several``: the words of ``value`` are values of their own."""

    name: str
    value: str | None
    why: str = ""
    several: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        if self.several and self.value is not None:
            return (self.name, *self.value.split())
        return (self.name,) if self.value is None else (self.name, self.value)


@dataclass(frozen=True, slots=True)
class Command:
    """``program``: words before the options, such as ``vllm serve MODEL``; ``environment``: names and values."""

    program: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    environment: tuple[Argument, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Everything but the environment, unquoted."""
        return (*self.program, *(word for argument in self.arguments for word in argument.words))

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that must be set, in order."""
        values = (*self.words, *(e.value or "" for e in self.environment))
        return tuple(dict.fromkeys(name for word in values for name in VARIABLE.findall(word)))

    def value(self, name: str) -> str | None:
        """The value of the option ``name``; None where it is not set (or a flag)."""
        return next((a.value for a in self.arguments if a.name == name), None)

    def has(self, name: str) -> bool:
        return any(a.name == name for a in self.arguments)

    def without(self, *names: str) -> Command:
        return replace(self, arguments=tuple(a for a in self.arguments if a.name not in names))

    def with_arguments(self, *arguments: Argument) -> Command:
        """``arguments`` in place of those of the same names, at the end where there are none."""
        new = {a.name: a for a in arguments}
        kept = tuple(new.pop(a.name, a) for a in self.arguments)
        return replace(self, arguments=(*kept, *new.values()))

    def text(self, indent: str = "") -> str:
        """For a POSIX shell, an option a line."""
        lines = [" ".join(map(shell_word, self.program))]
        lines += ["  " + " ".join(map(shell_word, a.words)) for a in self.arguments]
        return f" \\\n{indent}".join(indent * (not i) + line for i, line in enumerate(lines))

    def exports(self) -> str:
        """Its environment, as ``export`` lines."""
        return "".join(f"export {e.name}={shell_word(e.value or '')}\n" for e in self.environment)


def shell_word(word: str) -> str:
    """``word`` quoted for a POSIX shell; variables stay variables."""
    if not VARIABLE.search(word):
        return shlex.quote(word)
    escaped = re.sub(r'(["\\`])', r"\\\1", word)
    return f'"{escaped}"'


def filled(text: str, values: Callable[[str], str]) -> str:
    """``text`` with every variable replaced by what ``values`` gives for its name."""
    return VARIABLE.sub(lambda match: values(match[1]), text)


def arguments(rows: Iterable[tuple[str, object, str] | None]) -> tuple[Argument, ...]:
    """Arguments of (name, value, why): True is a flag, a tuple several values; rows of None or
    False are left out."""
    made = []
    for row in rows:
        if row is None or row[1] is False:
            continue
        name, value, why = row
        if isinstance(value, tuple):
            made.append(Argument(name, " ".join(map(str, value)), why, several=True))
        else:
            made.append(Argument(name, None if value is True else str(value), why))
    return tuple(made)
