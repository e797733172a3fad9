"""The audited document as HTML, each claim marked where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from moewright.audit.audit_record import WORST_FIRST, Audit, Claim

#: of several claims on one piece of text the first of these is its colour
_SHOWN: Final = ("text", "code_inline")


def marked_document(text: str, audit: Audit, markdown: bool = True) -> Markup:
    """``text`` (Markdown, or lines of YAML) with a ``mark`` for each claim; HTML of the document itself is shown as it
    is written. A claim whose words are not found in its line marks the line."""
    claims: dict[int, list[Claim]] = {}
    for c in audit.claims:
        claims.setdefault(c.line, []).append(c)
    if not markdown:
        whole = [_marked_line(line, claims.get(n, [])) for n, line in enumerate(text.splitlines(), 1)]
        return Markup("<pre>") + Markup("\n").join(whole) + Markup("</pre>")
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    row = 0
    for token in tokens:
        if token.map and token.type in ("tr_open", "paragraph_open", "heading_open"):
            row = token.map[0] + 1
        if token.type == "inline" and token.children:
            _mark_inline(token, token.map[0] + 1 if token.map else row, claims)
        elif token.type in ("fence", "code_block") and token.map:
            first = token.map[0] + (2 if token.type == "fence" else 1)
            lines = token.content.splitlines()
            marked = Markup("\n").join(_marked_line(line, claims.get(first + i, [])) for i, line in enumerate(lines))
            token.type, token.content = "html_block", f"<pre>{marked}</pre>\n"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _marked_line(line: str, claims: list[Claim]) -> Markup:
    return Markup("").join(_wrapped(piece, found) for piece, found in _pieces(line, _spans(line, claims)))


def _mark_inline(token: Token, first: int, claims: dict[int, list[Claim]]) -> None:
    """Marks in the texts of an inline token that begins on line ``first``."""
    children, line = token.children or [], first
    lines: dict[int, list[int]] = {}
    for i, child in enumerate(children):
        if child.type in _SHOWN:
            lines.setdefault(line, []).append(i)
        elif child.type in ("softbreak", "hardbreak"):
            line += 1
    made: dict[int, list[Token]] = {}
    for number, places in lines.items():
        here = claims.get(number)
        if not here:
            continue
        spans = _spans("".join(children[i].content for i in places), here)
        at = 0
        for i in places:
            child, size = children[i], len(children[i].content)
            own = [(max(a - at, 0), min(b - at, size), c) for a, b, c in spans if a < at + size and b > at]
            html = Markup("").join(_wrapped(p, found) for p, found in _pieces(child.content, own))
            code = child.type == "code_inline"
            made[i] = [Token("html_inline", "", 0, content=f"<code>{html}</code>" if code else str(html))]
            at += size
    token.children = [t for i, child in enumerate(children) for t in made.get(i, [child])]


def _spans(line: str, claims: Iterable[Claim]) -> list[tuple[int, int, Claim]]:
    """Where each claim stands in ``line``: its own words, else those after its key, else the whole line."""
    spans = []
    for c in claims:
        for words in (c.text, c.text.partition(": ")[2], c.text.removesuffix("…")):
            at = line.find(words) if len(words) > 1 else -1
            if at >= 0:
                spans.append((at, at + len(words), c))
                break
        else:
            spans.append((0, len(line), c))
    return spans


def _pieces(text: str, spans: list[tuple[int, int, Claim]]) -> Iterable[tuple[str, list[Claim]]]:
    """``text`` in pieces, each with the claims that it is part of."""
    ends = sorted({0, len(text), *(p for a, b, _ in spans for p in (a, b) if 0 <= p <= len(text))})
    for a, b in pairwise(ends):
        yield text[a:b], [c for start, stop, c in spans if start <= a and b <= stop]


def _wrapped(piece: str, claims: list[Claim]) -> Markup:
    if not claims or not piece.strip():
        return escape(piece)
    worst = min((c.verdict for c in claims), key=WORST_FIRST.index)
    why = "\n".join(dict.fromkeys(f"{c.quantity} {c.verdict}: {c.why}" for c in claims))
    kind = str(worst).replace(" ", "-")
    return Markup('<mark class="{}" tabindex="0" data-why="{}" title="{}">{}</mark>').format(kind, why, why, piece)
