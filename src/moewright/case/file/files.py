"""Files that a user wrote: YAML, TOML or JSON → plain values, with bombs and doubtful input refused."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from moewright.case.bounded_file import decoded, read_bounded
from moewright.errors import SpecError

#: limits of a spec file; aliases count as often as they are used
MOST_BYTES: Final = 1 << 20
MOST_NODES: Final = 100_000
MOST_DEPTH: Final = 40


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping in a .yaml, .yml, .toml or .json file.

    Raises SpecError for a file that is missing, unreadable, too large, of another kind, not well-formed, or
    not a mapping with text keys.
    """
    file = Path(path)
    parse = _PARSERS.get(file.suffix.lower())
    text = decoded(read_bounded(file, MOST_BYTES, "a spec file", "spec"), file)
    if parse is None:
        raise SpecError(f"ends in {file.suffix or 'nothing'!r}; expected {', '.join(_PARSERS)}", file=str(path))
    return _parsed(parse, text, str(path))


#: what a mapping has where nothing else is said
SPEC: Final = "model, cluster and workload"


def parse_mapping(text: str, name: str, expected: str = SPEC) -> dict[str, Any]:
    """The mapping that ``text`` writes in YAML (or JSON), under the same limits; ``name`` and what is ``expected`` in
    it: for messages."""
    return _parsed(_yaml, text, name, expected)


def _parsed(parse: Callable[[str], Any], text: str, name: str, expected: str = SPEC) -> dict[str, Any]:
    try:
        content = parse(text)
    except SpecError as error:
        raise error.inside(file=name) from None
    except (ValueError, RecursionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpecError(f"is not well-formed: {reason}", file=name) from None
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise SpecError(f"holds {kind}; expected a mapping with {expected}", file=name)
    return content


def _yaml(text: str) -> Any:
    import yaml

    loader_type: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = loader_type(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _inspect(node, {}, 0)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
        raise ValueError(f"{what}{where}") from None
    finally:
        loader.dispose()


def _inspect(node: Any, sizes: dict[int, int], depth: int) -> int:
    """Nodes below ``node``, aliases expanded. Raises SpecError for too many, too deep, or a key given twice."""
    known = sizes.get(id(node))
    if known is not None:
        if known < 0:
            raise SpecError("an alias refers to what it is inside of")
        return known
    if depth > MOST_DEPTH:
        raise SpecError(f"is nested more than {MOST_DEPTH} deep")
    sizes[id(node)] = -1
    size = 1
    if node.id == "mapping":
        seen: set[str] = set()
        for key, value in node.value:
            if key.id == "scalar":
                if key.value in seen and key.value != "<<":
                    raise SpecError(
                        f"the field is given twice, again at line {key.start_mark.line + 1}", field=key.value
                    )
                seen.add(key.value)
            size += _inspect(key, sizes, depth + 1) + _inspect(value, sizes, depth + 1)
    elif node.id == "sequence":
        size += sum(_inspect(item, sizes, depth + 1) for item in node.value)
    if size > MOST_NODES:
        raise SpecError(f"expands to more than {MOST_NODES} values")
    sizes[id(node)] = size
    return size


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise SpecError("the field is given twice", field=key)
            found[key] = value
        return found

    return json.loads(text, object_pairs_hook=once)


#: quoted parts of keys, and texts, on one line
_QUOTED: Final = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
#: a key of more parts than a spec is deep
_DEEP: Final = re.compile(rf"(?:[\w-]+[ \t]*\.[ \t]*){{{MOST_DEPTH}}}")


def _toml(text: str) -> Any:
    # the parser takes time by the square of a key's parts
    if _DEEP.search(_QUOTED.sub("q", text)):
        raise SpecError(f"is nested more than {MOST_DEPTH} deep")
    return tomllib.loads(text)


_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
    ".json": _json,
}
