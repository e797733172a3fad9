"""Shell text → tokens. Words keep their quotes and ``$``: ``expansion`` takes them apart when values are known.

The rules are those of POSIX, Shell Command Language, 2.3 Token Recognition, with bash's arrays, ``[[ ]]``, ``(( ))``,
``<<<`` and ``|&``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from moewright.errors import SpecError

_OPERATORS = (";;&", "&>>", "<<<", ";;", ";&", "&&", "||", "|&", "<<-", "<<", ">>", "&>", ">&", "<&", ">|", "<>")
_REDIRECTS = ("<<<", "<<-", "<<", ">>", "&>>", "&>", ">&", "<&", ">|", "<>", ">", "<")
_ENDS = " \t\n;&|<>()"
#: a backslash that joins the next line, or was meant to: blanks after it make it a word of one blank
_JOIN = re.compile(r"\\[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: word, operator, redirect, newline or end. ``body``: of a here-document, ``literal`` where its word was
    quoted, so that nothing in it is expanded. ``blanks``: whether it follows a backslash with blanks after it."""

    kind: str
    text: str
    line: int
    body: str = ""
    literal: bool = False
    blanks: bool = False


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.waiting: list[tuple[int, str, bool, bool]] = []  # token, end word, quoted, tabs stripped
        self.out: list[Token] = []
        self.blanks = False  # whether a backslash came that only blanks part from the end of its line

    def fail(self, what: str) -> SpecError:
        return SpecError(f"line {self.line}: {what}")

    def run(self) -> list[Token]:
        text = self.text
        while self.at < len(text):
            c = text[self.at]
            if c in " \t":
                self.at += 1
            elif blank := _JOIN.match(text, self.at):
                self.blanks = self.blanks or len(blank[0]) > 2
                self.at = blank.end()
                self.line += 1
            elif c == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif c == "\n":
                self._add("newline", "\n")
                self.at += 1
                self.line += 1
                self._documents()
            elif text.startswith("((", self.at) and self._commanding():
                end = text.find("))", self.at)
                if end < 0:
                    raise self.fail("(( is not closed")
                self._take_word(end + 2)
            elif c in ";&|<>()" or re.match(r"\d+[<>]", text[self.at : self.at + 4]):
                self._operator()
            else:
                self._take_word(_word_end(self))
        self._add("end", "")
        return self.out

    def _commanding(self) -> bool:
        """Whether a command may begin here."""
        before = self.out[-1] if self.out else None
        return before is None or before.kind in ("newline", "operator") or before.text in ("for", "if", "while", "then")

    def _add(self, kind: str, text: str) -> None:
        self.out.append(Token(kind, text, self.line, blanks=self.blanks))
        self.blanks = False

    def _take_word(self, end: int) -> None:
        word = self.text[self.at : end]
        if self.out and self.out[-1].kind == "redirect" and self.out[-1].text.lstrip("0123456789") in ("<<", "<<-"):
            plain = re.sub(r"[\\'\"]", "", word)
            self.waiting.append((len(self.out) - 1, plain, plain != word, self.out[-1].text.endswith("-")))
        self._add("word", word)
        self.line += word.count("\n")
        self.at = end

    def _operator(self) -> None:
        digits = re.match(r"\d*(?=[<>])", self.text[self.at :])
        start = self.at + (digits.end() if digits else 0)
        op = next((o for o in _OPERATORS if self.text.startswith(o, start)), self.text[start])
        self._add("redirect" if op in _REDIRECTS else "operator", op)
        self.at = start + len(op)

    def _documents(self) -> None:
        """Take the bodies of the here-documents that the last line began."""
        for index, word, literal, tabs in self.waiting:
            lines = []
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at, self.line = min(end + 1, len(self.text)), self.line + 1
                if (line.lstrip("\t") if tabs else line) == word:
                    break
                lines.append(line.lstrip("\t") if tabs else line)
            old = self.out[index]
            self.out[index] = Token(old.kind, old.text, old.line, "".join(f"{x}\n" for x in lines), literal)
        self.waiting = []


def _word_end(r: _Reader) -> int:
    text, at = r.text, r.at
    while at < len(text):
        c = text[at]
        if c == "(" and text[at - 1] == "=" and re.fullmatch(r"\w+\+?=", text[r.at : at]):
            at = closing(text, at, r)
        elif c in "<>" and text[at : at + 2] in ("<(", ">("):
            at = closing(text, at + 1, r)
        elif c in _ENDS:
            break
        else:
            at = skip(text, at, r)
    return at


def skip(text: str, at: int, r: _Reader | None) -> int:
    """Past the character at ``at``, or the quotation or expansion that begins there."""
    c = text[at]
    if c == "\\":
        return min(at + 2, len(text))
    if c == "'":
        end = text.find("'", at + 1)
    elif c == '"':
        return _quoted(text, at, r)
    elif c == "`":
        end = text.find("`", at + 1)
    elif c == "$" and text[at + 1 : at + 2] in ("(", "{"):
        return closing(text, at + 1, r)
    elif c == "$" and text[at + 1 : at + 2] == "'":
        end = at + 1
        while end >= 0 and end < len(text):
            end = text.find("'", end + 1)
            if end < 0 or text[end - 1] != "\\":
                break
    else:
        return at + 1
    if end < 0:
        raise _unclosed(c if c != "$" else "'", r)
    return end + 1


def _quoted(text: str, at: int, r: _Reader | None) -> int:
    i = at + 1
    while i < len(text):
        if text[i] == '"':
            return i + 1
        i = skip(text, i, r) if text[i] in "\\`$" else i + 1
    raise _unclosed('"', r)


def _unclosed(c: str, r: _Reader | None) -> SpecError:
    line = r.line if r else 1
    return SpecError(f"line {line}: a {c} is not closed")


def closing(text: str, at: int, r: _Reader | None = None) -> int:
    """The place after the bracket that closes the one at ``at``. Raises SpecError."""
    pairs = {"(": ")", "{": "}"}
    opening, end = text[at], pairs[text[at]]
    depth, i = 0, at
    while i < len(text):
        c = text[i]
        if c == opening:
            depth += 1
            i += 1
        elif c == end:
            depth -= 1
            i += 1
            if not depth:
                return i
        elif c == "#" and opening == "(" and text[i - 1] in " \t\n":
            stop = text.find("\n", i)
            i = len(text) if stop < 0 else stop
        elif c == "'" and opening == "{":  # an apostrophe in a default or a message is a letter
            stop = text.find("'", i + 1)
            i = i + 1 if stop < 0 or "}" in text[i:stop] else stop + 1
        else:
            i = skip(text, i, r)
    raise _unclosed(opening, r)


def tokens(text: str) -> list[Token]:
    """All tokens of a script; the last one is the end. Raises SpecError for a quotation that is not closed."""
    return _Reader(text.replace("\r\n", "\n")).run()


def words(text: str) -> Iterator[str]:
    """The words of ``text`` alone, as between the brackets of an array."""
    return (t.text for t in tokens(text) if t.kind == "word")
