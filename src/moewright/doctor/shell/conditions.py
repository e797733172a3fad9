"""``[ ]``, ``test`` and ``[[ ]]``: true, false, or None where it hangs on what is not known."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from moewright.doctor.shell.expansion import MARK

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}


def without_unset(text: str) -> str:
    """As the shell has it: what is not set is empty."""
    return MARK.sub("", text)


def holds(words: list[str], doubled: bool = False) -> bool | None:
    """The value of the words of a test, expanded. ``doubled``: of ``[[ ]]``, whose right sides are patterns."""
    for connector in ("-o", "||") if not doubled else ("||",):
        if connector in words:
            i = words.index(connector)
            left, right = holds(words[:i], doubled), holds(words[i + 1 :], doubled)
            return True if left or right else None if left is None or right is None else False
    for connector in ("-a", "&&") if not doubled else ("&&",):
        if connector in words[1:]:
            i = words.index(connector, 1)
            left, right = holds(words[:i], doubled), holds(words[i + 1 :], doubled)
            return False if left is False or right is False else None if left is None or right is None else True
    if words[:1] == ["!"]:
        inner = holds(words[1:], doubled)
        return None if inner is None else not inner
    if words[:1] == ["("] and words[-1:] == [")"]:
        return holds(words[1:-1], doubled)
    if len(words) == 1:
        return bool(without_unset(words[0]))
    if len(words) == 2:
        return _one(words[0], words[1])
    return _two(words[0], words[1], words[2], doubled) if len(words) == 3 else False


def _one(op: str, text: str) -> bool | None:
    if op in ("-z", "-n"):
        return bool(without_unset(text)) == (op == "-n")
    if op == "-v":
        return None
    return None if op.startswith("-") else False  # files: not looked at


def _two(left: str, op: str, right: str, doubled: bool) -> bool | None:
    left, right = without_unset(left), without_unset(right)
    if op in _COMPARE:
        try:
            return _COMPARE[op](int(left or "0" if doubled else left), int(right or "0" if doubled else right))
        except ValueError:
            return False
    if op in ("=", "=="):
        return fnmatchcase(left, right) if doubled else left == right
    if op == "!=":
        return not (fnmatchcase(left, right) if doubled else left == right)
    if op == "=~":
        try:
            return re.search(right, left) is not None
        except re.error:
            return None
    if op in ("<", ">"):
        return left < right if op == "<" else left > right
    return None
