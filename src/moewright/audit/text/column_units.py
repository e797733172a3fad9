"""Bare numbers of a table in the unit that the title of their column, or the name of their row, gives."""

from __future__ import annotations

import re
from typing import Final

#: titles of a column that say nothing of what is in it
PLAIN: Final = re.compile(
    r"(?:values?|figures?|settings?|sizes?|configuration|amount|numbers?|results?|数值|取值|值|配置|设置|)", re.I
)
#: the unit of a column
_TITLE_UNIT: Final = re.compile(
    r"[(\[]((?:[KMGTP]i?B|[KMGT]o|[mμuµn]?s|[KMGTPE]?FLOPS?|%|tok(?:ens?)?)(?:/s)?|Mrd|Mio)\.?[)\]]|"
    r"(?<!\d)[, ]([KMGT]i?B|[mμun]s|Mrd|Mio)\.?$|"
    r"^([KMGT]i?B|[mμun]s|[KMGTP]?FLOPS?) (?:per|a|each|je|pro|/) ?\w"
)
#: the unit of a column of parameters
_PARAMETERS_TITLE: Final = re.compile(
    r"(?:\bparam(?:eter)?s?|Parameter|参数量?)\W{0,2}[(\[]\s?(?:in )?([MB]|millions?|billions?|Mrd|Mio)\.?\s?[)\]]|"
    r"[(\[]\s?(?:in )?([MB]|millions?|billions?|Mrd|Mio)\.? (?:of )?(?:params|parameters|Parameter)\s?[)\]]|"
    r"^\s*(?:in )?([MB]|millions?|billions?|Mrd|Mio)\.? (?:of )?(?:param(?:eter)?s?|Parametern?)\s*$",
    re.I,
)
UNIT_ALONE: Final = re.compile(
    r"(?:[KMGTP]i?B|[mμuµn]s|[KMGT]o|[MGTPE]FLOPS?)(?:/s)?|(?:tokens?|tok)/s|(?:milli)?seconds|minutes|"
    r"Sekunden|Minuten|Stunden|hours|秒|毫秒|分钟|小时"
)
#: a row that names what is counted in bytes
_ROW_OF_BYTES: Final = re.compile(r"\W*(?:bytes|octets|字节数?)\b(?! per (?:param|element|weight))", re.I)
_BARE: Final = re.compile(r"[~≈]?\s?\d[\d,]*(?:\.\d+)?")


#: of a section that counts parameters, and of a column of millions or billions
_COUNTED: Final = re.compile(r"\bparam(?:eter|[èe]tre)?s?\b|Parameter|参数", re.I)
_COUNT_UNIT: Final = re.compile(r"[(\[]\s?(?:in )?([MB]|Mrd|Mio)\.?\s?[)\]]\s*$|^(Mrd|Mio|millions|billions)\b", re.I)


#: a column of millions or billions, of whatever
_MANY: Final = re.compile(r"(?:in )?(millions|billions|Millionen|Milliarden|Mrd|Mio)\.?", re.I)


#: a row of tokens a second, and titles that are no unit
_RATES: Final = re.compile(r"\W*(?:tokens?|tok)/s\b", re.I)
_NO_UNIT: Final = re.compile(r"[^/%()]*")


def in_unit(cell: str, title: str, name: str, above: str) -> str:
    """A bare number in the unit that its column, or else its row, gives in brackets; ``above``: the heading."""
    if not _BARE.fullmatch(cell):
        return cell
    if alone := UNIT_ALONE.fullmatch(title.strip()):
        return f"{cell} {alone[0]}"
    whole = "." not in cell and PLAIN.fullmatch(title.strip()) and _ROW_OF_BYTES.match(name)
    if re.search(r"\bbytes\b(?! per param)", title, re.I) or whole:
        return f"{cell} bytes"
    if counted := _PARAMETERS_TITLE.search(title):
        return f"{cell} {next(filter(None, counted.groups()))} parameters"
    if many := _MANY.fullmatch(title.strip()):
        return f"{cell} {many[1]}"
    if _COUNTED.search(above) and (counted := _COUNT_UNIT.search(title)):
        return f"{cell} {counted[1] or counted[2]} parameters"
    if _RATES.match(name) and _NO_UNIT.fullmatch(title.strip()):
        return f"{cell} tokens/s"
    unit = _TITLE_UNIT.search(title) or _TITLE_UNIT.search(name)
    return f"{cell} {unit[1] or unit[2] or unit[3]}" if unit else cell
