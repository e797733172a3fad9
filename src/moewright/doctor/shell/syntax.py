"""Tokens → commands: the grammar of POSIX, Shell Command Language, 2.10, with bash's ``[[ ]]`` and ``(( ))``."""

from __future__ import annotations

from dataclasses import dataclass, field

from moewright.doctor.shell.lexer import Token, tokens
from moewright.errors import SpecError

MOST_DEPTH = 60
_RESERVED_ENDS = ("then", "fi", "elif", "else", "do", "done", "esac", "}")


@dataclass(frozen=True, slots=True)
class Redirect:
    """``operator`` with its digits, the raw word after it, and a here-document's body."""

    operator: str
    target: str
    body: str = ""
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Simple:
    """Raw words with the redirections between them. ``blanks``: line of a backslash that blanks follow (0: none)."""

    words: tuple[str, ...]
    redirects: tuple[Redirect, ...]
    line: int
    blanks: int = 0


@dataclass(frozen=True, slots=True)
class Test:
    """``[[ words ]]``."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``(( text ))``."""

    text: str


@dataclass(frozen=True, slots=True)
class Branches:
    """if and elif: conditions with their bodies, and what else holds."""

    pairs: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None


@dataclass(frozen=True, slots=True)
class Loop:
    """``kind``: for (``name`` over ``words``), count (``for ((words))``), while, until."""

    kind: str
    body: Sequence
    name: str = ""
    words: tuple[str, ...] = ()
    condition: Sequence | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """``case word in``: raw patterns with their bodies."""

    word: str
    items: tuple[tuple[tuple[str, ...], Sequence], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """``{ }``, or ``( )`` whose assignments stay inside."""

    body: Sequence
    apart: bool
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    body: Sequence


@dataclass(frozen=True, slots=True)
class Pipeline:
    commands: tuple[Node, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """Pipelines, each with the operator after it: ``;`` (or a new line), ``&``, ``&&``, ``||``."""

    items: tuple[tuple[Pipeline, str], ...] = field(default_factory=tuple)


Node = Simple | Test | Arithmetic | Branches | Loop | Choice | Group | Function


class _Parser:
    def __init__(self, items: list[Token]) -> None:
        self.items, self.at, self.depth = items, 0, 0

    @property
    def next(self) -> Token:
        return self.items[self.at]

    def take(self) -> Token:
        token = self.items[self.at]
        self.at = min(self.at + 1, len(self.items) - 1)
        return token

    def fail(self, expected: str) -> SpecError:
        text = self.next.text.strip()[:40]
        return SpecError(f"line {self.next.line}: got {text!r} where the shell expects {expected}")

    def word(self, *names: str) -> bool:
        return self.next.kind == "word" and self.next.text in names

    def operator(self, *names: str) -> bool:
        return self.next.kind == "operator" and self.next.text in names

    def expect(self, name: str) -> None:
        if self.next.text != name:
            raise self.fail(name)
        self.take()

    def lines(self) -> None:
        while self.next.kind == "newline":
            self.take()

    def sequence(self, *ends: str) -> Sequence:
        """Commands up to one of ``ends`` (reserved words or operators), which is not taken."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise SpecError(f"line {self.next.line}: commands are nested more than {MOST_DEPTH} deep")
        items: list[tuple[Pipeline, str]] = []
        while True:
            while self.next.kind == "newline" or self.operator(";", "&"):
                self.take()
            if self.next.kind == "end" or (self.next.text in ends and self.next.kind != "redirect"):
                break
            line = self.pipeline()
            separator = ";"
            if self.operator(";", "&", "&&", "||"):
                separator = self.take().text
                if separator in ("&&", "||"):
                    self.lines()
            elif self.next.kind == "newline":
                self.take()
            elif not (self.next.kind == "end" or self.next.text in ends or self.operator(")", ";;", ";&", ";;&")):
                raise self.fail("; or a new line")
            items.append((line, separator))
        self.depth -= 1
        return Sequence(tuple(items))

    def pipeline(self) -> Pipeline:
        negated = False
        while self.word("!", "time"):
            negated ^= self.take().text == "!"
        commands = [self.command()]
        while self.operator("|", "|&"):
            self.take()
            self.lines()
            commands.append(self.command())
        return Pipeline(tuple(commands), negated)

    def command(self) -> Node:
        if self.operator("("):
            self.take()
            body = self.sequence(")")
            self.expect(")")
            return Group(body, True, self.redirects())
        if self.next.kind == "word" and self.next.text.startswith("((") and self.next.text.endswith("))"):
            return Arithmetic(self.take().text[2:-2])
        readers = {
            "{": self.braces,
            "if": self.branches,
            "for": self.each,
            "select": self.each,
            "while": self.loop,
            "until": self.loop,
            "case": self.choice,
            "function": self.function,
            "[[": self.test,
        }
        if self.next.kind == "word" and self.next.text in readers:
            return readers[self.next.text]()
        if self.next.kind == "word" and self.next.text in _RESERVED_ENDS:
            raise self.fail("a command")
        following = self.items[self.at + 1 : self.at + 3]
        if self.next.kind == "word" and [t.text for t in following] == ["(", ")"]:
            return self.function()
        return self.simple()

    def simple(self) -> Simple:
        line, blanks = self.next.line, 0
        words: list[str] = []
        redirects: list[Redirect] = []
        while True:
            if self.next.kind == "word":
                token = self.take()
                words.append(token.text)
                blanks = blanks or (token.line - 1) * (token.blanks and len(words) > 1)
            elif self.next.kind == "redirect":
                redirects.append(self.redirect())
            else:
                break
        if not words and not redirects:
            raise self.fail("a command")
        return Simple(tuple(words), tuple(redirects), line, blanks)

    def redirect(self) -> Redirect:
        op = self.take()
        if self.next.kind != "word":
            raise self.fail(f"a file after {op.text}")
        return Redirect(op.text, self.take().text, op.body, op.literal)

    def redirects(self) -> tuple[Redirect, ...]:
        several = []
        while self.next.kind == "redirect":
            several.append(self.redirect())
        return tuple(several)

    def braces(self) -> Node:
        self.take()
        body = self.sequence("}")
        self.expect("}")
        return Group(body, False, self.redirects())

    def branches(self) -> Node:
        pairs, otherwise = [], None
        self.take()
        while True:
            condition = self.sequence("then")
            self.expect("then")
            pairs.append((condition, self.sequence("elif", "else", "fi")))
            if not self.word("elif"):
                break
            self.take()
        if self.word("else"):
            self.take()
            otherwise = self.sequence("fi")
        self.expect("fi")
        self.redirects()
        return Branches(tuple(pairs), otherwise)

    def each(self) -> Node:
        self.take()
        name = self.take().text
        words: list[str] = []
        kind = "count" if name.startswith("((") else "for"
        if kind == "count":
            words = [name[2:-2]]
        else:
            self.lines()
            if self.word("in"):
                self.take()
                while self.next.kind == "word":
                    words.append(self.take().text)
            else:
                words = ['"$@"']
        return Loop(kind, self.body(), name, tuple(words))

    def body(self) -> Sequence:
        while self.next.kind == "newline" or self.operator(";"):
            self.take()
        self.expect("do")
        body = self.sequence("done")
        self.expect("done")
        self.redirects()
        return body

    def loop(self) -> Node:
        kind = self.take().text
        condition = self.sequence("do")
        return Loop(kind, self.body(), condition=condition)

    def choice(self) -> Node:
        self.take()
        word = self.take().text
        self.lines()
        self.expect("in")
        items = []
        self.lines()
        while not self.word("esac"):
            if self.next.kind == "end":
                raise self.fail("esac")
            if self.operator("("):
                self.take()
            patterns = [self.take().text]
            while self.operator("|"):
                self.take()
                patterns.append(self.take().text)
            self.expect(")")
            items.append((tuple(patterns), self.sequence(";;", ";&", ";;&", "esac")))
            if self.operator(";;", ";&", ";;&"):
                self.take()
            self.lines()
        self.take()
        self.redirects()
        return Choice(word, tuple(items))

    def function(self) -> Node:
        if self.word("function"):
            self.take()
        name = self.take().text
        if self.operator("("):
            self.take()
            self.expect(")")
        self.lines()
        node = self.command()
        body = node.body if isinstance(node, Group) else Sequence(((Pipeline((node,)), ";"),))
        return Function(name, body)

    def test(self) -> Node:
        self.take()
        words: list[str] = []
        while not self.word("]]"):
            if self.next.kind == "end":
                raise self.fail("]]")
            token = self.take()
            if token.kind != "newline":
                words.append(token.text)
        self.take()
        return Test(tuple(words))


def parse_script(text: str) -> Sequence:
    """The commands of a script. Raises SpecError for what the shell would not read, naming the line and the word."""
    parser = _Parser(tokens(text))
    whole = parser.sequence()
    if parser.next.kind != "end":
        raise parser.fail("a command")
    return whole
