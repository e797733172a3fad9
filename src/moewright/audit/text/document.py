"""A document → statements: pieces of text with their line, their key, and the headings they stand under."""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moewright.audit.text.column_units import PLAIN, UNIT_ALONE, in_unit
from moewright.audit.text.comma_tables import cells_of
from moewright.audit.text.wiki_tables import without_wiki_tables
from moewright.case.bounded_file import decoded, read_bounded
from moewright.errors import SpecError

if TYPE_CHECKING:
    from markdown_it.token import Token

#: a document larger than this is none that a person reads
MOST_BYTES: Final = 1 << 20
#: statements that are read; what stands behind them is told to be unread
MOST_STATEMENTS: Final = 3_000
#: numbers of one statement that are read together: a longer one is read in pieces; and pairs of numbers that stand
#: together, in all
MOST_TOGETHER: Final = 40
MOST_PAIRS: Final = 48_000
#: a line is read up to here
MOST_LINE: Final = 4000
_KEY: Final = re.compile(
    r"^\s*(?:[-*•✅✓☑]\s*)?([^:=]{1,60}?)\s*:\s+(.*)$|^\s*([^:=]{1,60}?)\s*:(?:(?=\D)|(?<=[^\W\d_]:)|(?<=\):))(.*)$"
)
_FORMULA: Final = re.compile(
    r"formula|calculation|derivation|computation$|^(?:calc|arithmetic|how)\b|Rechnung|Berechnung|Herleitung|Rechenweg|"
    r"\bcalcul|formule|公式|计算过程|推导|算式|计算式|^计算$",
    re.I,
)
#: experts of a token as a factor: 8,192 x top-4 x 5120
_TOP: Final = re.compile(r"(?<=[x×*·] )top-?(\d{1,2})(?= [x×*·])", re.I)
#: the number of an entry: [3]
_LABEL: Final = re.compile(r"^\s*\[\d{1,3}\]\s+(?=\S)")
_COMMA: Final = re.compile(
    r"(?<![\d.,])\d+,\d{1,2}\s?(?:[KMGT]i?B|[mµμn]s|[KMGTP]?FLOPS?|%|Mio\b|Mrd\b|Millionen|Milliarden|milliards?\b|"
    r"[KMGT]o\b)|(?<=\|)\s*\d+,\d{1,2}\s*(?=\|)"
)
_POINT: Final = re.compile(r"(?<![\d.,])\d+\.\d{1,2}\s?(?:[KMGT]i?B|[mµμn]s|[KMGTP]?FLOPS?|%)")
_END: Final = re.compile(r"[.!?。;](?<![A-Za-z]\.[A-Za-z]\.)(?<!vs\.)(?<!e\.g\.)(?<!i\.e\.)\s+(?=[^a-z\s])")
#: a number with a unit: what has one before its colon is a sentence, no key
_MEASURED: Final = re.compile(r"\d\s?(?:[KMGTP]i?B|B|[mun]s|[KMGTP]?FLOP\w*|%)(?:\b|/|$)")
#: a heading that a paragraph begins with
_RUN_IN: Final = re.compile(r"\s*(?:\*\*|__)([^*_\n]{1,60}?)\.?(?:\*\*|__)\.?\s+\S")
#: digits in groups of three with spaces between, before what is counted by the thousand
_SPACED: Final = re.compile(
    r"(?<![\d.,])(?<![\d.,] )\d{1,3}(?: \d{3})+"
    r"(?=(?: |-)(?:tokens?|jetons?|bytes?|B|Token|Byte|octets?|o|params?|parameters?|param[èe]tres?|"
    r"milliards|millions|Milliarden|Millionen|Mrd|Mio|experts?|couches)\b)",
    re.I,
)
#: no figure has so many digits, no word so many letters
_RUN: Final = re.compile(r"(\d{40})\d+|([A-Za-z_]{60})\w+")
_POWERS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_LATEX: Final = (
    (re.compile(r"\\(?:text\w*|math\w+|operatorname|emph)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:under|over)brace\{([^{}]*)\}\s*(?:[_^]\{[^{}]*\})?"), r"\1"),
    (re.compile(r"\\times"), "×"),
    (re.compile(r"\\cdot"), "·"),
    (re.compile(r"\\div"), "÷"),
    (re.compile(r"\\(?:approx|simeq)"), "≈"),
    (re.compile(r"\\(?:to|rightarrow|Rightarrow)"), "→"),
    (re.compile(r"\\(?:left|right|,|;|!|quad)"), ""),
    (re.compile(r"\\(?=\s)"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\^\{([^{}]*)\}"), r"^\1"),
)


#: a heading as wikis write it
_WIKI: Final = re.compile(r"^(={1,5}) ([^=\n]+?) =+[ \t]*$", re.MULTILINE)
#: abbreviations of two words, whose points end no sentence
_SPACED_OUT: Final = re.compile(r"\b(?:d\. h|z\. B|u\. a|v\. a|s\. o|i\. e|e\. g|p\. ej)\.")


@dataclass(frozen=True, slots=True)
class Statement:
    """One piece of text: ``line`` of the document (from 1), ``key`` where it is written ``key: value``,
    ``path`` the headings and parent items above it, outermost first. ``group`` numbers the list or table it is in,
    ``breaks`` where in the text a further line begins. A cell has the name of its ``row``, the title of its
    ``column``, and in ``corner`` the title that the rows' names stand under."""

    line: int
    text: str
    key: str
    value: str
    path: tuple[str, ...]
    kind: str  # heading | item | cell | prose | code
    group: int = 0
    breaks: tuple[int, ...] = ()
    row: str = ""
    column: str = ""
    corner: str = ""

    def line_of(self, at: int, in_text: bool = False) -> int:
        """The line of the document that character ``at`` of the value (or of the text) comes from."""
        if not self.breaks:
            return self.line
        at += 0 if in_text else len(self.text) - len(self.value)
        return self.line + bisect_right(self.breaks, at)


@dataclass(frozen=True, slots=True)
class Document:
    """``lines`` as the file has them; ``unread``: the first statement of those that are too many, or have too many
    numbers, to be read."""

    file: str
    lines: tuple[str, ...]
    statements: tuple[Statement, ...]
    unread: Statement | None = None


def read_text(path: str | Path) -> str:
    """The text of a document. Raises SpecError for one that is missing, empty, too large or not text in UTF-8."""
    file, shown = Path(path), str(path)[:200]
    expected = "a document in Markdown or claims in YAML"
    text = decoded(read_bounded(file, MOST_BYTES, expected, "strategy document"), file)
    if "\0" in text:
        raise SpecError(f"is not text: character {text.index(chr(0))} is NUL", file=shown)
    if not text.strip():
        raise SpecError("is empty; there is nothing to check", file=shown)
    return text


def parse(text: str, file: str) -> Document:
    """The statements of a Markdown ``text``."""
    from markdown_it import MarkdownIt

    text_ = _WIKI.sub(lambda m: "#" * len(m[1]) + " " + m[2], text.replace("{,}", ","))
    text_ = _QUOTED.sub(_as_list, _UNDERSCORES.sub("", text_))
    plain = _without_rules(with_points(_joined(_without_latex(without_wiki_tables(text_)))))
    tokens = MarkdownIt("commonmark").enable("table").parse(plain)
    found: list[Statement] = []
    unread, pairs = None, 0
    for s in chain.from_iterable(map(_pieces, _statements(tokens))):
        pairs += len(_DIGITS.findall(s.value)) ** 2
        if len(found) == MOST_STATEMENTS or pairs > MOST_PAIRS:
            unread = s
            break
        found.append(s)
    return Document(file, tuple(text.splitlines()), tuple(found), unread)


_DIGITS: Final = re.compile(r"\d[\d.,]*")
#: quoted lines that stand together
_QUOTED: Final = re.compile(r"(?:^> ?(?![>#|*+-])[^\n]+\n?){3,}", re.MULTILINE)
#: letters of a line, and of one on average, that was not broken where the page ended
MOST_QUOTED: Final = (76, 52)


def _as_list(m: re.Match[str]) -> str:
    """Quoted lines as the items of a list, where they are short, and have a figure each but for one."""
    lines = [x.lstrip("> ") for x in m[0].splitlines()]
    told = sum(bool(_DIGITS.search(x)) for x in lines)
    longest, mean = max(map(len, lines)), sum(map(len, lines)) / len(lines)
    if told < len(lines) - 1 or longest > MOST_QUOTED[0] or mean > MOST_QUOTED[1]:
        return m[0]
    return re.sub(r"^> ?", "> - ", m[0], flags=re.MULTILINE)


def _pieces(s: Statement) -> Iterator[Statement]:
    """``s``, cut into several where it has more numbers than a person writes in one sentence."""
    found = list(_DIGITS.finditer(s.value))
    if len(found) <= MOST_TOGETHER:
        yield s
        return
    before = len(s.text) - len(s.value)
    at = 0
    for first in (*found[MOST_TOGETHER::MOST_TOGETHER], None):
        space = s.value.rfind(" ", at, first.start()) if first else len(s.value)
        end = space if space > at else first.start() if first else len(s.value)
        piece = s.value[at:end].strip()
        skipped = before + at + len(s.value[at:end]) - len(s.value[at:end].lstrip())
        inside = s.breaks[bisect_right(s.breaks, skipped) : bisect_right(s.breaks, skipped + len(piece) + 1)]
        breaks = tuple(b - skipped for b in inside)
        if piece:
            yield replace(s, line=s.line_of(skipped, in_text=True), text=piece, key="", value=piece, breaks=breaks)
        at = end


#: between the digits of a number: 2_126_685_184
_UNDERSCORES: Final = re.compile(r"(?<=\d)_(?=\d{3}(?![\w]))|(?<=\d)_(?=\d{3}_)")
_RULE: Final = re.compile(r"\s*-{3,}\s*")


def _without_rules(text: str) -> str:
    """``text`` with an empty line for a rule right below a paragraph of several lines, which would make it a heading:
    one that parts two slides."""
    lines = text.split("\n")
    for i in range(2, len(lines)):
        above = lines[i - 2 : i]
        if _RULE.fullmatch(lines[i]) and all(x.strip() and not x.lstrip().startswith(("|", "#")) for x in above):
            lines[i] = ""
    return "\n".join(lines)


_SECTION: Final = re.compile(r"^\\((?:sub)*)section\*?\{(.*)\}\s*$")
_PARAGRAPH: Final = re.compile(r"^\\(?:sub)?paragraph\*?\{([^{}]*)\}")


def _without_latex(text: str) -> str:
    """``text`` with the sections, titled paragraphs and tables of LaTeX written as Markdown, line for line."""
    if "\\begin{" not in text and "\\section" not in text and "\\paragraph" not in text:
        return text
    out: list[str] = []
    rows, width = -1, 0  # of the table that the line stands in; -1 outside
    for line in text.split("\n"):
        if m := _SECTION.match(line):
            line = f"{'#' * (len(m[1]) // 3 + 2)} {m[2]}"
        elif m := _PARAGRAPH.match(line):
            line = f"**{m[1]}** {line[m.end() :]}"
        elif line.lstrip().startswith("\\begin{tabular"):
            line, rows = "", 0
        elif line.lstrip().startswith("\\end{tabular"):
            line, rows = "", -1
        elif rows >= 0 and "&" in line:
            cells = re.split(r"(?<!\\)&", re.sub(r"\\\\.*$", "", line))
            ruled = bool(re.search(r"\\\\\s*\\(?:hline|midrule)\s*$", line))
            line, rows = f"| {' | '.join(c.strip() for c in cells)} |", rows + 1
            width = len(cells)
            if ruled and rows == 1 and out and not out[-1]:  # its rule stands on the line of the titles
                out[-1], line = line, "|" + "---|" * width
        elif rows >= 0 and re.match(r"\s*\\(?:mid|h|top|bottom)", line):
            line = "|" + ("---|" if rows == 1 else "  |") * width if rows else ""
        elif re.match(r"\s*\\(?:begin|end|centering|label)\b", line):
            line = ""
        elif m := re.match(r"\s*\\caption\{(.*)\}\s*$", line):
            line = m[1]
        out.append(line)
    return "\n".join(out)


#: any digits in groups of three with spaces between
_GROUPED: Final = re.compile(r"(?<![\d.,])(?<![\d.,] )\d{1,3}(?: \d{3})+(?![\d.]| \d)")
#: numbers with spaces before what they count, by which a document is known to write them so
FEWEST_SPACED: Final = 2


def _joined(text: str) -> str:
    """``text`` without the spaces between groups of three digits, where it writes numbers so."""
    if len(_SPACED.findall(text)) < FEWEST_SPACED:
        return text
    return _GROUPED.sub(lambda m: m[0].replace(" ", ""), text)


def with_points(text: str) -> str:
    """``text`` with decimal points, where it writes decimal commas: a figure such as 352,3 MB, and none as 352.3 MB."""
    if not _COMMA.search(text) or _POINT.search(text):
        return text
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?!\d|\.\d|,\d+,)", lambda m: m[0].replace(".", ""), text)
    return re.sub(r"(?<![\d.,])(\d+),(\d+)(?!\d|,\d)", r"\1.\2", text)


def normal(text: str) -> str:
    """One line as it is read: entities, emphasis, code marks, LaTeX and full-width signs made plain."""
    text = _RUN.sub(r"\1\2", html.unescape(text[:MOST_LINE])).replace("：", ": ")
    text = re.sub(r"<sup>([^<]*)</sup>", r"^\1", text)
    text = re.sub(r"<[^<>]{0,40}>", " ", text) if re.search(r"</|<br|<b>|<i>|<sub>", text) else text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: "^" + m[0].translate(_POWERS), text)
    text = text.replace("{,}", ",")
    text = _TOP.sub(r"\1", text)
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", ",", text)
    text = _SPACED.sub(lambda m: m[0].replace(" ", ","), text)
    text = re.sub(r"\b(Mrd|Mio|Bio|Tsd|ca)\.(?=\s|$|[,;:)])", r"\1", text)
    text = _SPACED_OUT.sub(lambda m: m[0].replace(" ", ""), text)
    text = unicodedata.normalize("NFKC", text).replace("−", "-").replace("–", "-").replace("—", ", ")
    if "\\" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
        text = text.replace("\\", "")
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = text.replace("**", "").replace("__", "").replace("`", "").replace("$", "")
    text = re.sub(r"(?<![\d)\s])\*|\*(?![\d(\s])", "", text)  # emphasis, not a product
    text = text.replace("，", ",").replace("。", ". ").replace("；", ";").replace("、", ",")
    return " ".join(text.split())


def keyed(text: str) -> tuple[str, str]:
    """(key, value) of ``key: value``; an empty key where the text has none."""
    found = _KEY.match(text)
    if not found or _MEASURED.search(found[1] or found[3]):
        return "", text
    key, value = (found[1], found[2]) if found[1] is not None else (found[3], found[4])
    if key.count("(") > key.count(")") and _DIGITS.search(key):
        return "", text  # 102K tokens/s (target: less than 1 s)
    return key.strip(" *-"), value.strip()


def _lone_rows(tokens: list[Token]) -> set[int]:
    """The tokens, by number, that end the only row of a table below its titles."""
    found: set[int] = set()
    ends: list[int] = []
    for i, token in enumerate(tokens):
        if token.type == "tbody_open":
            ends = []
        elif token.type == "tr_close":
            ends.append(i)
        elif token.type == "tbody_close" and len(ends) == 1:
            found.add(ends[0])
    return found


def _statements(tokens: list[Token]) -> Iterator[Statement]:
    headings: list[tuple[int, str]] = []
    items: list[str] = []
    header: list[str] = []
    row: list[tuple[str, int]] = []
    group = level = 0
    in_cell = in_head = False
    records = _lone_rows(tokens)
    for i, token in enumerate(tokens):
        kind, first = token.type, (token.map or [0])[0] + 1
        if kind == "heading_open":
            level = int(token.tag[1])
            headings = [h for h in headings if h[0] < level]
        elif kind == "heading_close":
            level = 0
        elif kind in ("bullet_list_open", "ordered_list_open", "table_open"):
            group += 1
        elif kind == "list_item_open":
            items.append("")
        elif kind == "list_item_close":
            items.pop()
        elif kind in ("thead_open", "thead_close"):
            in_head = kind == "thead_open"
        elif kind == "tr_open":
            row = []
        elif kind == "tr_close" and in_head:
            header = [cell for cell, _ in row]
        elif kind == "tr_close":
            titled, cells = _record(header, row) if i in records else (header, row)
            yield from _row(titled, cells, tuple(h[1] for h in headings), group)
        elif kind in ("th_open", "td_open", "th_close", "td_close"):
            in_cell = kind.endswith("_open")
        elif kind in ("fence", "code_block"):
            group += 1
            above = (*(h[1] for h in headings), *filter(None, items))
            lines = token.content.splitlines()
            yield from _block(lines, first + (kind == "fence"), above, group, token.info.strip().lower())
        elif kind == "inline" and in_cell:
            row.append((normal(token.content), first))
        elif kind == "inline":
            above = (*(h[1] for h in headings), *filter(None, items[:-1]))
            kind = "heading" if level else "item" if items else "prose"
            content = token.content if level or not headings else _without_number(token.content, headings[-1][1])
            if kind == "prose" and (lines := _aligned(content)):
                group += 1
                yield from _lines(lines, first, above, group)
                continue
            yield from _paragraph(content, first, above, kind, group)
            for text, _, _ in _sentences(content, False) if kind != "prose" else ():
                if level:
                    headings.append((level, text))
                elif not items[-1]:
                    items[-1] = text[:200]


def _paragraph(content: str, first: int, above: tuple[str, ...], kind: str, group: int) -> Iterator[Statement]:
    """The statements of a heading, an item or a paragraph, which may begin with a heading of its own."""
    lead = ""
    if kind == "prose" and (title := _RUN_IN.match(content)):
        lead = normal(title[1])
        above = (*above, lead)
    for text, offset, breaks in _sentences(content, kind == "prose"):
        for made in _made(text, first + offset, above, kind, group):
            # what a paragraph is headed by names its first sentence
            named = bool(lead) and not made.key and text.strip(" .") != lead
            yield replace(made, breaks=breaks, key=lead if named else made.key)
            lead = "" if named else lead


def _without_number(content: str, heading: str) -> str:
    """A paragraph without the number that it has under a numbered heading: 4.1, under 4. Layout."""
    section = re.match(r"(?:§ ?)?(\d{1,2}(?:\.\d{1,2})*)\b", heading)
    return re.sub(rf"^{re.escape(section[1])}\.\d{{1,2}}[.)]?\s+", "", content) if section else content


#: bars in a line that is a row of a drawn table
DRAWN: Final = 2


def _block(lines: Sequence[str], first: int, above: tuple[str, ...], group: int, language: str) -> Iterator[Statement]:
    """The statements of a block of code, which may be a table with commas between its cells."""
    rows = cells_of(lines, language)
    if rows is None:
        yield from _lines(lines, first, above, group)
        return
    for line, row in enumerate(rows[1:], first + 1):
        yield from _row(rows[0], [(normal(c), line) for c in row], above, group)


def _lines(lines: Sequence[str], first: int, above: tuple[str, ...], group: int) -> Iterator[Statement]:
    """The statements of code, or of a table in plain text, line by line."""
    for line, raw in enumerate(lines, first):
        if raw.count("│") > DRAWN:
            yield from _drawn(raw, line, above, group)
        else:
            plain = _LABEL.sub("", normal(_with_key(raw))).lstrip("-*•# ")
            yield from _made(plain, line, above, "code", group)


def _drawn(raw: str, line: int, path: tuple[str, ...], group: int) -> Iterator[Statement]:
    """The cells of a row of a table that is drawn with bars, each by itself; its first names the row."""
    cells = [normal(x) for x in raw.strip().strip("│").split("│")]
    name = cells[0].strip()
    for cell in (c for c in cells[1:] if c.strip()):
        text = f"{name}: {cell}" if name else cell
        yield Statement(line, text, name, cell, path, "code", group)


#: a line of code that is a name and, some way off, its value
_ALIGNED: Final = re.compile(r"^\s*([A-Za-z][^=:|{}\[\]<>;\"']{1,40}?)(?: {2,}|\t+)(?==?\s*[~≈]?[\d(.].*)(.+)$")


def _with_key(raw: str) -> str:
    """A line of code as ``key: value``, where it is a name and a value in two columns."""
    found = _ALIGNED.match(raw)
    return f"{found[1].strip()}: {found[2]}" if found and not re.search(r"\d\s*$", found[1]) else raw


#: a line of a paragraph that is a name and, two blanks or more behind it, a value
_COLUMNS: Final = re.compile(r"\S[^|]*?\S {2,}\S.*")
#: lines of which most have columns, in a paragraph that is a table without rules
FEWEST_LINES: Final = 3


def _aligned(content: str) -> list[str]:
    """The lines of a paragraph that is a table in two columns of plain text, none where it is running text."""
    lines = content.split("\n")
    columns = sum(bool(_COLUMNS.fullmatch(x.strip())) for x in lines)
    return lines if columns >= FEWEST_LINES and columns >= 0.75 * len(lines) else []


def _sentences(content: str, split: bool) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """(text, lines before it, offsets where further lines begin) of a paragraph, sentence by sentence if ``split``;
    a line that is a ``key: value`` of its own stays one."""
    text, start = "", 0
    breaks: list[int] = []
    for offset, raw in enumerate(content.split("\n")):
        line = normal(raw)
        if text and split and (keyed(line)[0] or (keyed(text)[0] and line[:1].isupper())):
            yield text, start, tuple(breaks)
            text, breaks = "", []
        searched = max(0, len(text) - 1)  # no sentence ends before
        if not text:
            start = offset
        elif line:
            text += " "
            breaks.append(len(text))
        else:  # a line of marks alone: $$
            breaks.append(len(text) + 1)
        text += line
        while split and (end := _END.search(text, searched)):
            searched = 0
            yield text[: end.start() + 1], start, tuple(b for b in breaks if b <= end.start())
            passed = sum(b <= end.end() for b in breaks)
            breaks = [b - end.end() for b in breaks[passed:]]
            text, start = text[end.end() :], start + passed
    if text:
        yield text, start, tuple(breaks)


_SYMBOLS: Final = re.compile(r"symbols?|sym\.?|notation|Zeichen|Symbole?|symbole|符号", re.IGNORECASE)
#: a title of what the figures of a row come from, which are none of the row's own
_BASIS: Final = re.compile(
    r"basis|based on|inputs?|source|assumptions?|rule|Grundlage|Quelle|Annahmen?|依据|来源|口径|假设", re.IGNORECASE
)
#: a title of the rows' names that says what each row is of
_OF_ONE: Final = re.compile(
    r"(?:per|each|je|pro) (?:GPU|chip|accelerator|card|device|rank|NPU|Karte)\b|每(?:张)?(?:卡|GPU)|单卡", re.IGNORECASE
)
_NUMBERED: Final = re.compile(r"[A-Za-z]{0,2}\d{1,3}[a-z]?[.)]?|[A-Z]|#\d{1,3}|\[\d{1,3}\]")


def _record(header: list[str], row: list[tuple[str, int]]) -> tuple[list[str], list[tuple[str, int]]]:
    """The titles and cells of the only row of a table; of nothing but numbers, none of which names the others."""
    named = len(row) <= FEWEST_LINES or header[:1] == [""] or not all(_NUMBER.fullmatch(x) for x, _ in row)
    return (header, row) if named else (["", *header], [("", row[0][1]), *row])


_UNIT: Final = re.compile(r"units?|Einheit|unités?|unidad(?:es)?|单位", re.IGNORECASE)
#: a number and nothing else
_NUMBER: Final = re.compile(r"[~≈]?\s*-?\d[\d,.]*(?:\s?[kKM])?")


def _with_units(header: list[str], row: list[tuple[str, int]]) -> tuple[list[str], list[tuple[str, int]]]:
    """A table's titles and the cells of a row, the unit that has a column of its own behind the bare numbers."""
    at = [i for i, title in enumerate(header[: len(row)]) if i and _UNIT.fullmatch(title.strip())]
    if len(at) != 1:
        return header, row
    unit = row[at[0]][0]
    bare = sum(bool(_NUMBER.fullmatch(text)) for text, _ in row[1:])
    joined = [(f"{x} {unit}" if i and bare == 1 and _NUMBER.fullmatch(x) else x, n) for i, (x, n) in enumerate(row)]
    keep = [i for i in range(len(row)) if i != at[0] or (unit and bare != 1)]
    return [header[i] for i in keep if i < len(header)], [joined[i] for i in keep]


#: what a cell has that works something out
_RECKONED: Final = re.compile(r"[×x*·/÷+−^]\s*[\d(]|\d\s*-\s*\d|\d\s*%|[\d)]\s*[×*·/÷+−^]")
#: a share of a number, in a cell that is a formula
_PERCENT_OF: Final = re.compile(r"(\d\s?%)\s+(?:of|von|de|der)\s+(?=\d)")


def _row(header: list[str], row: list[tuple[str, int]], path: tuple[str, ...], group: int) -> Iterator[Statement]:
    """Cells of a table row; the first names what the others are of."""
    if len(row) > 2 and _NUMBERED.fullmatch(row[0][0]) and not row[1][0][:1].isdigit():  # a number of the row
        row, header = row[1:], header[1:]
    if len(row) > 2 and header and _SYMBOLS.fullmatch(header[0].strip()):  # a table of symbols tells what each is
        row, header = row[1:], header[1:]
    header, row = _with_units(header, row)
    half = len(header) // 2
    gap = int(len(header) % 2 == 1 and not header[half])  # an empty column between them
    if half > 1 and header[:half] == header[half + gap :] and len(row) == len(header):  # two tables side by side
        yield from _row(header[:half], row[:half], path, group)
        header, row = header[half + gap :], row[half + gap :]
    if len(row) < 2:
        return
    name = row[0][0]
    formula = ""
    for column, (cell, line) in enumerate(row[1:], 1):
        title = header[column] if column < len(header) else ""
        reckoned = _RECKONED.search(cell) or not re.search(r"\d", cell)
        if _FORMULA.search(title) and column + 1 < len(row) and "=" not in cell and reckoned:
            formula = cell  # what the next column is the value of
            continue
        cell = in_unit(cell, title, name, path[-1] if path else "")
        if header and UNIT_ALONE.fullmatch(header[0].strip()) and _NUMBER.fullmatch(cell):
            cell = f"{cell} {header[0].strip()}"  # a table of GB
        formula = _PERCENT_OF.sub(r"\1 × ", formula)  # 92% of 80
        cell, formula = (f"{formula} = {cell}", "") if formula else (cell, "")
        plain = PLAIN.fullmatch(title)
        if _BASIS.fullmatch(title.strip()):
            yield Statement(line, f"{title}: {cell}", title, cell, path, "cell", group, column=title)
            continue
        corner = header[0] if header else ""
        scope = _OF_ONE.search(corner)
        said = f"{name} ({scope[0].lower()})" if scope and not _OF_ONE.search(name) else name
        key = said if plain else f"{said} | {title}" if said else title
        if cell:
            yield Statement(
                line, f"{key}: {cell}", key, cell, path, "cell", group, row=name, column=title, corner=corner
            )


def _made(text: str, line: int, path: tuple[str, ...], kind: str, group: int) -> Iterator[Statement]:
    if text:
        key, value = keyed(text) if kind != "heading" else ("", text)
        yield Statement(line, text, key, value, path, kind, group)
