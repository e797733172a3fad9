"""What a name that is not known may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: names that a message lists when none is near
_SHOWN = 16


def near_names(name: str, known: Iterable[str], most: int = 1, likeness: float = 0.6) -> list[str]:
    """Those of ``known`` that look like ``name``, the likest first."""
    return get_close_matches(name[:100], list(known), most, likeness)


def did_you_mean(name: str, known: Iterable[str], most: int = 1, likeness: float = 0.6) -> str:
    """``did you mean a, b?`` and a space, or nothing where no name is near."""
    near = near_names(name, known, most, likeness)
    return f"did you mean {', '.join(near)}? " if near else ""


def known_or_near(name: str, known: Iterable[str], most: int = 4) -> str:
    """``did you mean a, b`` where names are near, else ``known are`` with all of them, or the first ones."""
    names = list(known)
    near = near_names(name, names, most, 0.5)
    if near:
        return f"did you mean {', '.join(near)}"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"known are {', '.join(names[:_SHOWN])}{more}"
