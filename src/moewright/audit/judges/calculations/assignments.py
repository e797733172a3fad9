"""Calculations in blocks of code: what a line says that its expression is, against what it is."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.calculations.code_culprits import MOST_LINES, SIZES, Made, with_culprits
from moewright.audit.judges.figures import unit_of
from moewright.audit.reading.wordings import FORMAT
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTES, COUNT, SECONDS, Number, in_billions, is_bare, tokens_of
from moewright.units import format_quantity

#: a line of code longer than this is none that a person evaluates
MOST_CODE: Final = 400
#: names that are kept
MOST_NAMES: Final = 2000
#: of a power
MOST_EXPONENT: Final = 64
MOST_BASE: Final = 10**6
#: no value is larger, and no whole number longer
LARGEST: Final = 1e100
#: parameters are counted in these
MILLION: Final = 10**6
#: what ~ and ≈ allow
LOOSE: Final = 0.02
_SLIPS: Final = (1000.0, 1024.0, 1000.0**2, 1024.0**2, 1000.0**3, 1024.0**3, 2.0, 10.0)
#: bytes of an element, which a count of parameters becomes bytes by, and how near a ratio must be to one
_ELEMENTS: Final = (1.0, *SIZES)
ELEMENT_ROOM: Final = 0.02
_POWERS: Final = (1.0, *(base**k for base in (1000.0, 1024.0) for k in (-4, -3, -2, -1, 1, 2, 3, 4)))
_NAME: Final = r"[A-Za-z_]\w*"
_LEAD: Final = re.compile(
    r"^(?:>>>\s*|\$\s+|export\s+|local\s+|readonly\s+|const(?:expr)?\s+|let\s+|var\s+|auto\s+|double\s+|float\s+|int\s+)+"
)
_ASSIGNED: Final = re.compile(rf"^({_NAME})\s*(?::\s*(?:int|float)\s*)?=\s*(?!=)(.*)$")
_CHANGED: Final = re.compile(rf"^({_NAME})\s*(?:[-+*/%&|^]|//|\*\*|<<|>>)=")
_BLOCK: Final = re.compile(r"^(?:def|for|while|if|elif|else|with|class|try|except|finally|do|then|function)\b")
#: names in units of their own, so that a power of 1000 says nothing
_IN_UNITS: Final = re.compile(
    r"_?(?:[kmgtp]i?b|[munµ]s|[kmgt]?flops?|pct|percent|bn|mn|mio|mrd|gbps|tbps)(?:_s|ps)?$", re.IGNORECASE
)
_OF_BYTES: Final = re.compile(r"byte|^kv|_kv|cache|mem|buf|size", re.IGNORECASE)
#: what may stand behind a number without making it one of another thing
_BEHIND: Final = re.compile(
    r"(?:\s*(?:param(?:eter)?s?|weights?|bytes?|tokens?|tok|elements?|flops?|GPUs?|experts?|layers?|sequences?|ranks?|"
    r"steps?|micro-?batches|requests?|users?|heads?|nodes?|stages?|in all|in total|total|altogether|each|exactly|"
    r"per (?:layer|token|gpu|expert|rank|card|step|sequence|node|stage)|a token|a layer|kv|cache|"
    r"(?:in|on|of|over|for) (?:(?:an?|each|the|all|every) )?(?:experts?|layers?|cards?|GPUs?|box|rank|node|step|token)|"
    r"/ ?(?:layer|token|gpu|expert|tok|s)))*\s*",
    re.IGNORECASE,
)
_JOINS: Final = re.compile(
    r"^(?:\s*(?:=|->|→|=>|≈|~|\(|\b(?:MFU|MBU|HFU|or|i\.e|that is|bzw|about|roughly|approx|ca)\b[.,]*))*\s*$"
)
#: nouns of what is counted, beside bytes and parameters
_COUNTED: Final = re.compile(
    r"\b(?:tokens?|tok|GPUs?|experts?|layers?|sequences?|ranks?|steps?|requests?|users?|heads?|nodes?|stages?)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Known:
    """A value that a name has. ``scaled``: it was divided or multiplied by a power of 1000 or 1024, or is in a unit of
    its own; ``bytes``: a comment says that it is in bytes."""

    value: int | float
    scaled: bool = False
    bytes: bool = False


@dataclass(slots=True)
class _Names:
    """Values of names so far; ``hidden``: lines further in than this are of a block that may not run once."""

    values: dict[str, Known] = field(default_factory=dict)
    group: int = -1
    base: int = 0
    hidden: int | None = None
    prompt: Known | None = None
    changed: Mapping[int, float] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Assigned:
    """The verdicts on a document's calculations, and the lines of those that were judged."""

    claims: tuple[Claim, ...]
    lines: frozenset[int]


def judge_assignments(statements: Iterable[Statement], lines: Sequence[str]) -> Assigned:
    """Evaluate the code of a document, ``lines`` as the file has them, line by line."""
    code = [s for s in statements if s.kind == "code" and 0 < s.line <= len(lines)]
    code = [s for s in code if len(lines[s.line - 1]) <= MOST_CODE]
    claims, made = evaluated(code, lines, {})
    if len(code) <= MOST_LINES:
        claims = with_culprits(claims, made, lambda changed: evaluated(code, lines, changed))
    return Assigned(tuple(claims), frozenset(c.line for c in claims))


def evaluated(
    code: Iterable[Statement], lines: Sequence[str], changed: Mapping[int, float]
) -> tuple[list[Claim], list[Made]]:
    """The verdicts on each line of code, and the names that are worked out; ``changed``: by which factor the value of a
    line's name is taken, by the number of the line."""
    names = _Names(changed=changed)
    claims = [c for s, raw in _whole_lines(code, lines) for c in _line(raw, s, names)]
    return claims, names.made


def _whole_lines(code: Iterable[Statement], lines: Sequence[str]) -> Iterator[tuple[Statement, str]]:
    """Lines of code, those that a bracket leaves open joined to one, with the statement of the last of them."""
    open_, last = "", -1
    for s in code:
        raw = lines[s.line - 1]
        if open_ and s.line == last + 1:
            raw = f"{open_} {raw.strip()}"
        text = _parted(raw)[0]
        if text.count("(") > text.count(")") and len(text) < MOST_CODE and not _BLOCK.match(text.strip()):
            open_, last = text, s.line
        else:
            open_ = ""
            yield s, raw


def _line(raw: str, s: Statement, names: _Names) -> Iterator[Claim]:
    """The verdicts on one line of code; ``names`` learns what it assigns."""
    raw = re.sub(r"^\s*(?:>\s(?!>>))+", "", raw).expandtabs(4)
    indent = len(raw) - len(raw.lstrip())
    if s.group != names.group:
        names.group, names.base, names.hidden, names.prompt = s.group, indent, None, None
    if names.hidden is not None and indent <= names.hidden:
        names.hidden = None
    code, comment = _parted(raw.strip())
    prompted, code = code.startswith(">>>"), _LEAD.sub("", code)
    if _BLOCK.match(code) and names.hidden is None:
        names.hidden = indent
    if names.hidden is not None:
        for m in re.finditer(rf"(?<![\w.=<>!])({_NAME})\s*(?:[-+*/%]|//|\*\*)?=(?!=)", code):
            names.values.pop(m[1], None)
        return
    if names.prompt is not None and not prompted and re.fullmatch(r"[\d_,.e+-]+", code):
        shown, names.prompt = names.prompt, None
        yield from _held(code, shown, raw, s)
        return
    names.prompt = None
    if changed := _CHANGED.match(code):
        names.values.pop(changed[1], None)
        return
    if several := re.match(rf"^({_NAME}(?:\s*,\s*{_NAME})+)\s*=(?!=)(.*)$", code):
        _unpacked(several[1].split(","), several[2].split(","), names)
        return
    target, sides = _sides(code)
    if not sides:
        return
    known = _value(sides[0], names)
    if known is None:
        if target:
            names.values.pop(target, None)
        return
    lone = re.fullmatch(r"[-+\d_,.eE\s]+", sides[0])  # a size of the configuration: its comment says what it is
    said = " = ".join([*sides[1:], comment] if comment else sides[1:])
    if lone and target:
        units = any(t.number is not None and t.number.dim != COUNT for t in tokens_of(f"1 {comment}"))
        known = Known(known.value, units or bool(_IN_UNITS.search(target)), False)
        said = ""
    if target and _IN_UNITS.search(target):
        known = Known(known.value, True, known.bytes)
    found = list(_held(said, known, raw, s, _literals(sides[0], names), target)) if said else []
    if any(c.verdict is Verdict.HOLDS and c.unit == "bytes" for c in found):
        known = Known(known.value, known.scaled, True)
    if target and len(names.values) < MOST_NAMES:
        if not lone:
            uses = frozenset(re.findall(_NAME, sides[0])) & names.values.keys()
            doubt = _in_bytes(said, known, raw, s, target) if not found and said else None
            literals = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", sides[0])
            sized = any(float(x) in SIZES for x in (*literals, *(names.values[x].value for x in uses)))
            names.made.append(Made(s.line, target, uses, tuple(found), sized, doubt))
        if s.line in names.changed:
            known = replace(known, value=float(known.value) * names.changed[s.line])
        names.values[target] = known
    if prompted and not target and not found:
        names.prompt = known
    yield from found


def _in_bytes(said: str, known: Known, raw: str, s: Statement, target: str) -> Claim | None:
    """The verdict on the bytes that a line says a count takes, where it is no count: so many bytes an element times the
    value; None where that is not so."""
    first = next((t.number for t in tokens_of(said) if t.number is not None), None)
    if first is None or first.dim != BYTES or first.factor == 1 or known.bytes or not known.value:
        return None
    ratio = first.value / float(known.value)
    several = any(abs(ratio / e - 1) < ELEMENT_ROOM for e in SIZES)
    return _claim(first, known, raw, s, Verdict.WRONG) if several and not FORMAT.search(said) else None


def _unpacked(targets: list[str], values: list[str], names: _Names) -> None:
    """Learn ``a, b = 1, 2``."""
    found = [_value(x, names) for x in values]
    for i, name in enumerate(targets):
        known = found[i] if len(found) == len(targets) else None
        names.values.pop(name.strip(), None)
        if known is not None:
            names.values[name.strip()] = known


def _parted(line: str) -> tuple[str, str]:
    """(code, comment) of a line; ``//`` begins a comment only behind two spaces or a semicolon, with no ``#``."""
    if "#" in line:
        code, _, comment = line.partition("#")
        return code.rstrip().rstrip(";"), comment.strip("# \t")
    m = re.search(r"(?:;\s*| {2,})//\s*(.*)$", line)
    if m:
        return line[: m.start()].rstrip(), m[1].strip()
    return line.rstrip(";"), ""


def _sides(code: str) -> tuple[str, list[str]]:
    """(name that is given a value, the expression and what it is said to be)."""
    code = re.sub(r"^(?:print|echo)\b\s*(.*)$", r"\1", code)
    if code.startswith("(") and code.endswith(")") and _closes(code):
        code = code[1:-1]
    code = re.sub(r"\$\(\((.*?)\)\)", r"(\1)", code)
    code = re.sub(rf"\$\{{?({_NAME})\}}?", r"\1", code)
    target = ""
    if m := _ASSIGNED.match(code):
        target, code = m[1], m[2]
    sides = [x.strip() for x in re.split(r"(?<![=<>!*/+-])=(?!=)|->|→|=>|⇒", code)]
    return target, [x for x in sides if x]


def _closes(code: str) -> bool:
    """Whether the first bracket of ``code`` is closed by its last."""
    depth = 0
    for i, c in enumerate(code):
        depth += {"(": 1, ")": -1}.get(c, 0)
        if not depth:
            return i == len(code) - 1
    return False


def _value(text: str, names: _Names) -> Known | None:
    """The value of an expression in Python's signs, or None where it has a name that is not known, or anything other
    than arithmetic."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text).strip()
    if not text or len(text) > MOST_CODE or text.count("(") > 30:
        return None
    try:
        tree = ast.parse(text, mode="eval")
        return _evaluated(tree.body, names.values)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _evaluated(node: ast.expr, names: dict[str, Known]) -> Known | None:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return None
        return _bounded(node.value, _is_power(node.value), False)
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _evaluated(node.operand, names)
        if inner is None:
            return None
        return Known(-inner.value if isinstance(node.op, ast.USub) else inner.value, inner.scaled, inner.bytes)
    if not isinstance(node, ast.BinOp):
        return None
    a, b = _evaluated(node.left, names), _evaluated(node.right, names)
    if a is None or b is None:
        return None
    result = _operated(node.op, a.value, b.value)
    scaled = a.scaled or b.scaled or (isinstance(node.op, ast.Pow) and _is_power(result or 0))
    return None if result is None else _bounded(result, scaled, a.bytes or b.bytes)


def _operated(op: ast.operator, a: int | float, b: int | float) -> int | float | None:
    if isinstance(op, ast.Add):
        return a + b
    if isinstance(op, ast.Sub):
        return a - b
    if isinstance(op, ast.Mult):
        return a * b
    if isinstance(op, ast.Div) and b:
        return a / b
    if isinstance(op, ast.FloorDiv) and b:
        return a // b
    if isinstance(op, ast.Pow) and abs(b) <= MOST_EXPONENT and abs(a) <= MOST_BASE and (a > 0 or b == int(b) >= 0):
        value: int | float = a**b
        return value
    return None


def _bounded(value: int | float, scaled: bool, of_bytes: bool) -> Known | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return Known(value, scaled, of_bytes) if abs(value) <= LARGEST else None


def _is_power(value: int | float) -> bool:
    """Whether ``value`` is a power of 1000 or 1024, which units are changed by."""
    return any(value in (base**k, base**-k) for base in (1000, 1024) for k in (1, 2, 3, 4)) or value == 100


def _literals(expression: str, names: _Names) -> frozenset[float]:
    """Numbers that an expression is made of, and what two of them make; a comment may speak of those."""
    numbers = {
        float(x.replace("_", "").replace(",", "")) for x in re.findall(r"(?<![\w.])\d[\d_]*(?:\.\d+)?", expression)
    }
    values = {float(names.values[x].value) for x in re.findall(_NAME, expression) if x in names.values}
    leaves = sorted(numbers | values)[:12]
    return frozenset(leaves) | {a * b for a in leaves for b in leaves} | {a / b for a in leaves for b in leaves if b}


def _held(
    said: str, known: Known, raw: str, s: Statement, literals: frozenset[float] = frozenset(), target: str = ""
) -> Iterator[Claim]:
    """The verdicts on the numbers of ``said`` that restate ``known``."""
    said = re.sub(r"(?<=\d)_(?=\d)", "", said)
    said = re.sub(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+)(?![\d,])", lambda m: m[0].replace(",", ""), said)
    numbers = [_counted(t.number, known) for t in tokens_of(said) if t.number is not None]
    sized = bool(_SIZED.search(_parted(raw.strip())[0]))
    end = 0
    first: Number | None = None
    for i, n in enumerate(numbers):
        before, behind = said[end : n.at], said[n.at + len(n.text) :]
        follows = numbers[i + 1].at - n.at - len(n.text) if i + 1 < len(numbers) else len(behind)
        end = n.at + len(n.text)
        if not _JOINS.match(before):
            return
        outcome = _outcome(n, known, target, literals)
        if outcome == "holds":
            yield _claim(n, known, raw, s, Verdict.HOLDS)
            first = first or n
            rest = re.split(r"[,;(=→≈]|->", behind[:follows], maxsplit=1)[0]
            if rest.strip() and not _BEHIND.fullmatch(rest):
                return
            end += len(rest)
            end += len(said[end:]) - len(said[end:].lstrip(",; "))
            continue
        rest = re.split(r"[,;()=→≈]|->", behind, maxsplit=1)[0]
        if outcome == "wrong" and _restates(n, rest, first, known, literals, target, sized):
            yield _claim(n, known, raw, s, Verdict.WRONG)
        return


def _counted(n: Number, known: Known) -> Number:
    """``n``, with a bare B as a billion where the value is a large count."""
    bare = is_bare(n) and not known.bytes
    return in_billions(n) if bare and known.value >= MILLION > n.value * 10 else n


def _outcome(n: Number, known: Known, target: str, literals: frozenset[float]) -> str:
    """``holds``, ``wrong``, or ``doubt`` where the value may be in a unit of its own."""
    value = float(known.value)
    digits = n.value / n.factor
    usual = {
        (n.value, n.half),
        (n.binary, n.half * (n.binary / n.value if n.value else 1.0)),
        (digits, n.half / n.factor),
    }
    if any(_agrees(n, x, half, known.value) for x, half in usual):
        return "holds"
    if known.scaled and any(_agrees(n, n.value * k, n.half * k, known.value) for k in _POWERS):
        return "doubt"
    if n.percent and any(_agrees(n, x, h, 1 - value) for x, h in ((n.value, n.half),)):
        return "doubt"
    return "wrong" if value and n.value else "doubt"


def _agrees(n: Number, said: float, half: float, value: int | float) -> bool:
    """Whether ``value`` is ``said`` in the digits shown, rounded or cut; exactly where both are whole."""
    room = 2 * half
    if n.whole and isinstance(value, int):
        room = 0.0
        text = re.sub(r"\D", "", n.text)
        zeros = len(text) - len(text.rstrip("0"))
        if zeros and len(text) - zeros >= 3:
            room = 0.5 * 10.0**zeros
    if n.approx:
        room = max(room, LOOSE * abs(said))
    return abs(said - value) <= room * (1 - 1e-9) + 1e-9 * abs(said)


#: the bytes of an element as the last factor
_SIZED: Final = re.compile(r"\*\s*[124]\s*$")


def _restates(
    n: Number, rest: str, first: Number | None, known: Known, literals: frozenset[float], target: str, sized: bool
) -> bool:
    """Whether a number that is not the value is one that the line says it is; ``sized``: the line multiplies by the
    bytes of an element."""
    value = float(known.value)
    ratio = n.value / value
    if n.value in literals or n.value / n.factor in literals or (n.percent and re.match(r"\s*(?:of|von|der)\b", rest)):
        return False
    if not _BEHIND.fullmatch(rest) or (n.dim == BYTES and n.factor == 1 and n.value <= max(_ELEMENTS)):
        return False
    if _COUNTED.search(rest) and not 0.05 < ratio < 20:
        return False
    as_bytes = n.dim == BYTES and not (known.bytes or _OF_BYTES.search(target) or (first and first.dim == BYTES))
    if (
        as_bytes
        and not sized
        and any(abs(x / e - 1) < ELEMENT_ROOM for e in _ELEMENTS for x in (ratio, n.binary / value))
    ):
        return False  # a count of weights, and what they take
    if known.scaled and n.dim != COUNT and not 1e-3 < ratio < 1e3:
        return False
    if first is not None and (first.percent != n.percent or first.dim not in (COUNT, n.dim)):
        return False
    small = n.whole and n.value < 100
    if small and (rest.strip() or not 0.1 < ratio < 10):
        return False  # 2 for keys and values
    shown = n.value / n.factor / value
    if n.dim == SECONDS and 0.05 < shown < 20:
        return True  # GB over TB/s are ms
    return _slip(ratio) is not None or 1e-2 < ratio < 1e2 or (n.whole and n.value >= 1000)


def _slip(ratio: float) -> float | None:
    """The usual factor that ``ratio`` is, or its inverse."""
    return next((x for s in _SLIPS for x in (s, 1 / s) if abs(ratio / x - 1) <= 0.01), None)


def _claim(n: Number, known: Known, raw: str, s: Statement, verdict: Verdict) -> Claim:
    value = float(known.value)
    unit = unit_of(n)
    right = format_quantity(value, unit)
    why = f"{right} by the numbers written"
    if verdict is Verdict.HOLDS and value and not 0.5 < n.value / value < 2:
        value *= n.factor  # the line computes in this unit
    if verdict is Verdict.WRONG:
        why = f"the line gives {right}"
        if isinstance(known.value, int) and n.whole:
            why = f"the line gives {known.value:,}"
        factor = _slip(n.value / value)
        if factor is not None:
            step = f"{factor:.4g}" if factor >= 1 else f"1/{1 / factor:.4g}"
            why += f": wrong by a factor of {step}"
    return Claim(s.line, raw.strip(), "arithmetic", verdict, why, n.value, value, unit=unit)
