"""Words after an engine's name → its options, as the engine's own argument parser reads them.

argparse's rules: ``--a=v`` and ``--a v``, unambiguous beginnings of names, ``nargs``; vLLM's own on top: ``_`` for
``-``, ``--no-enable-x``, dotted names (``--speculative-config.method``), 4k and 4K. Nothing is passed over: what the
parser would refuse is a fault with the word that it refuses.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from moewright.case.spelling import did_you_mean
from moewright.doctor.option_history import GoneOption, OptionHistory, option_history
from moewright.doctor.shell.expansion import MARK, unknown_names, without_marks
from moewright.launch.engine_options import EngineOption, OptionList, option_list
from moewright.serving.engines.memory_rule import numbers

#: of a parallel size
MOST: Final = 1 << 17
_NUMBER: Final = re.compile(r"^-\d+$|^-\d*\.\d+$")
_HUMAN: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class UnknownValueError(Exception):
    """A size that hangs on a name whose value is not known."""

    def __init__(self, name: str, option: str) -> None:
        super().__init__(name)
        self.name, self.option = name, option


@dataclass(frozen=True, slots=True)
class Fault:
    """What the parser of the newest version (or of the one given) refuses. ``passed``: where an older version took it,
    so that the command may have run."""

    option: str
    what: str
    passed: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An option as it is written, and its value: a text, several, a parsed JSON, or true and false of a switch."""

    option: str
    value: Any


@dataclass(slots=True)
class OptionValues:
    """``given`` by destination, the last one first; ``positional``: words that belong to no option; ``open``: words
    that are not known themselves, which may be any options."""

    engine: str
    version: str | None
    given: dict[str, Given] = field(default_factory=dict)
    positional: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    oldest: list[GoneOption] = field(default_factory=list)

    def text(self, *names: str) -> str | None:
        """The value of the first of these destinations that is given, as a text."""
        for name in names:
            if name in self.given and not isinstance(self.given[name].value, bool):
                return str(self.given[name].value)
        return None

    def flag(self, *names: str) -> bool:
        """Whether a switch is on."""
        return any(name in self.given and self.given[name].value not in (False, "false", "False") for name in names)

    def size(self, *names: str, default: int = 1) -> int:
        """A whole number, of 1 or more where the default is. Raises UnknownValueError where it hangs on what is not
        known."""
        for name in names:
            if name not in self.given:
                continue
            value = self.given[name].value
            text = str(value)
            if MARK.search(text):
                raise UnknownValueError(unknown_names(text)[0], self.given[name].option)
            number = whole_number(text)
            if number is not None and default >= 1 and not 1 <= number <= MOST:
                self.faults.append(Fault(self.given[name].option, f"got {number}; expected a size from 1 to {MOST}"))
                number = None
            return default if number is None else number
        return default

    def maybe_size(self, *names: str) -> int | None:
        """The same for what decides no layout: None where it is not given or not known."""
        try:
            value = self.size(*names, default=-(1 << 40))
        except UnknownValueError:
            return None
        return None if value == -(1 << 40) else value

    def number(self, *names: str) -> float | None:
        text = self.text(*names)
        try:
            return None if text is None else float(text)
        except ValueError:
            return None

    def entry(self, name: str, key: str) -> Any:
        """A key of a JSON-valued option."""
        value = self.given[name].value if name in self.given else None
        return value.get(key) if isinstance(value, dict) else None

    def written(self, *names: str) -> str:
        """How the first of these that is given was written."""
        return next((self.given[n].option for n in names if n in self.given), "")


def whole_number(text: str) -> int | None:
    """A whole number, also 4k (4000) and 4K (4096) as vLLM reads them."""
    match = re.fullmatch(r"([-+]?\d+(?:\.\d+)?)([kKmMgGtT]?)", text.strip())
    if not match or ("." in match[1] and not match[2]):
        return None
    return int(float(match[1]) * _HUMAN.get(match[2], 1))


def option_values(engine: str, words: tuple[str, ...], version: str | None, own: bool = True) -> OptionValues:
    """Read ``words``. ``own``: whether it is the engine's own parser, which refuses options that it does not know; a
    tool around it has further ones."""
    return _Reading(engine, words, version, own).run()


class _Reading:
    def __init__(self, engine: str, words: tuple[str, ...], version: str | None, own: bool) -> None:
        self.known: OptionList = option_list(engine)
        self.history: OptionHistory = option_history(engine)
        self.names = self.known.by_name
        self.words, self.at, self.own = words, 0, own
        self.out = OptionValues(engine, version)

    def run(self) -> OptionValues:
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == "--":
                self.out.positional += self.words[self.at :]
                break
            if MARK.fullmatch(word):
                self.out.open += unknown_names(word)
            elif word.startswith("-") and len(word) > 1 and not _NUMBER.match(word) and " " not in word.split("=")[0]:
                self.option(word)
            else:
                self.out.positional.append(word)
        return self.out

    def fault(self, option: str, what: str, passed: bool = False, source: str = "") -> None:
        name = f"{self.known.engine} {self.known.version}"
        self.out.faults.append(Fault(option, what, passed, source or f"options of {name}"))

    def option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        name = self.spelt(name)
        if self.out.engine == "vllm" and re.fullmatch(r"-O\S*", name):
            if name == "-O" and not equals:
                self.at += 1
            return
        base, dot, path = name.partition(".")
        if dot and self.out.engine == "vllm" and base in self.names:
            self.keep_path(self.names[base], name, path, value if equals else self.following(name))
            return
        found, negative = self.find(name)
        if found is None:
            self.not_known(word, name, equals, value)
            return
        if self.out.version and self.history.too_old(found.names[0], self.out.version):
            newest = self.history.since[found.names[0]]
            self.fault(name, f"is not an option of {self.out.version} yet (nor of {newest})")
        self.take(found, word, name, negative, value if equals else None)

    def spelt(self, name: str) -> str:
        if self.out.engine == "vllm" and name.startswith("--"):
            head, dot, tail = name.partition(".")
            return head.replace("_", "-") + dot + tail
        if self.out.engine in ("megatron", "trtllm") and name not in self.names:
            for other in (name.replace("_", "-"), "--" + name[2:].replace("-", "_")):
                if other in self.names:
                    return other if self.out.engine == "trtllm" else name
        return name

    def find(self, name: str) -> tuple[EngineOption | None, bool]:
        """The option of that name or beginning, and whether the name turns it off."""
        if name in self.names:
            return self.names[name], _turns_off(self.names[name], name)
        if name in self.history.gone:
            return None, False
        for prefix, other in (("--no-enable-", "--enable-"), ("--no-disable-", "--disable-"), ("--no-", "--")):
            positive = other + name.removeprefix(prefix)
            if name.startswith(prefix) and positive in self.names and self.names[positive].type == "flag":
                off = not _turns_off(self.names[positive], positive)
                return self.names[positive], off
        whole = not name.startswith("--") or (self.out.engine == "megatron" and not self.own)
        near = {} if whole else {n: o for n, o in self.names.items() if n.startswith(name)}
        options = {id(o): o for o in near.values()}
        if len(options) == 1:
            found = next(iter(options.values()))
            full = next(iter(near))
            if self.out.engine == "vllm" or not name.startswith(("--tp", "--dp", "--pp", "--ep")):
                self.out.faults.append(
                    Fault(name, f"is read as {full}, whose beginning it is", True, "Python's argparse, allow_abbrev")
                )
            return found, _turns_off(found, full)
        if len(options) > 1:
            self.fault(name, f"is ambiguous: it may be {', '.join(sorted(near)[:4])}")
            return EngineOption((name,), "", "str", "?"), False
        return None, False

    def not_known(self, word: str, name: str, equals: str, value: str) -> None:
        gone = self.history.gone.get(name)
        if gone is not None:
            self.out.oldest.append(gone)
            refused = self.out.version is not None and self.history.too_new(name, self.out.version)
            what = f"is gone from {self.known.engine} {self.history.newest} (last seen in {gone.last})"
            self.fault(name, what, passed=not refused, source=f"options of {self.known.engine} {gone.last}")
            dest = name.lstrip("-").replace("-", "_")
            kinds = {"list": "+", "optional": "?"}
            option = EngineOption((name,), dest, "flag" if gone.follows == "flag" else "str", kinds.get(gone.follows))
            self.take(option, word, name, False, value if equals else None)
            return
        if self.own:
            hint = did_you_mean(name, [n for n in self.names if n.startswith("--")]).strip()
            what = f"is no option of {self.known.engine} {self.known.version}. {hint}".strip()
            # a training script may add options to Megatron's (extra_args_provider)
            self.fault(without_marks(name), what, passed=self.out.engine == "megatron")
        if equals:
            self.out.given.setdefault(_destination(name), Given(name, value))
        elif self.at < len(self.words) and not self.words[self.at].startswith("-"):
            self.out.given.setdefault(_destination(name), Given(name, self.words[self.at]))
            self.at += 1
        else:
            self.out.given.setdefault(_destination(name), Given(name, True))

    def following(self, name: str) -> str:
        """The word after an option that takes one."""
        if self.at < len(self.words):
            word = self.words[self.at]
            if not word.startswith("-") or _NUMBER.match(word) or " " in word:
                self.at += 1
                return word
        self.fault(name, "expects a value")
        return ""

    def take(self, option: EngineOption, word: str, name: str, negative: bool, value: str | None) -> None:
        if option.type == "flag":
            if value is not None and self.out.engine != "trtllm":
                self.fault(word, "is a switch and takes no value")
            self.keep(option, name, not negative)
            return
        if option.nargs in ("+", "*", "?") or isinstance(option.nargs, int):
            most = 1 if option.nargs == "?" else option.nargs if isinstance(option.nargs, int) else 1 << 20
            several = [value] if value is not None else []
            while value is None and len(several) < most and self.at < len(self.words):
                following = self.words[self.at]
                if following.startswith("-") and not _NUMBER.match(following) and " " not in following:
                    break
                several.append(following)
                self.at += 1
            plain: Any = True if not several else several[0] if option.nargs == "?" else several
            self.keep(option, name, plain)
            return
        self.keep(option, name, self.checked(option, name, self.following(name) if value is None else value))

    def checked(self, option: EngineOption, name: str, text: str) -> Any:
        """``text`` as the option's type; what it refuses is a fault."""
        if MARK.search(text):
            return text
        if option.type in ("int", "human_readable_int", "human_readable_int_or_auto"):
            plain = re.fullmatch(r"[-+]?\d+", text.strip())
            if not plain and not (option.type != "int" and whole_number(text) is not None) and text != "auto":
                self.fault(name, f"got {text[:40]!r}; expected a whole number")
        elif option.type == "float":
            try:
                float(text)
            except ValueError:
                self.fault(name, f"got {text[:40]!r}; expected a number")
        elif option.choices and text not in option.choices:
            old = text in GONE_CHOICES.get((self.out.engine, option.dest), ())
            few = ", ".join(option.choices[:12]) + (", …" if len(option.choices) > 12 else "")
            self.fault(name, f"got {text[:40]!r}; expected one of {few}", passed=old)
        elif text.startswith(("{", "[")):
            return self.parsed(option, name, text)
        return text

    def parsed(self, option: EngineOption, name: str, text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError:
            self.fault(name, f"got {text[:40]!r}, which is no JSON")
            return text
        self.check_keys(option, name, value)
        return value

    def check_keys(self, option: EngineOption, name: str, value: Any) -> None:
        """Keys that the record behind a JSON-valued option does not have."""
        record = RECORDS.get(option.dest)
        if not isinstance(value, dict) or record not in self.known.config_keys:
            return
        for key, inner in value.items():
            if key not in self.known.config_keys[record]:
                self.fault(name, f"has {key!r}, which is no key of it in {self.known.version}", passed=True)
            nested = NESTED.get(key)
            for below in inner if isinstance(inner, dict) and nested in self.known.config_keys else ():
                if below not in self.known.config_keys[nested or ""]:
                    what = f"has {key}.{below}, which is no key of it in {self.known.version}"
                    self.fault(name, what, passed=True)

    def keep(self, option: EngineOption, name: str, value: Any) -> None:
        if option.dest:
            self.out.given[option.dest] = Given(name, value)

    def keep_path(self, option: EngineOption, name: str, path: str, text: str) -> None:
        """``--speculative-config.method mtp`` joins the option's JSON."""
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text
        old = self.out.given.get(option.dest)
        tree: dict[str, Any] = dict(old.value) if old and isinstance(old.value, dict) else {}
        here = tree
        *above, last = path.split(".")
        for key in above:
            here[key] = dict(here[key]) if isinstance(here.get(key), dict) else {}
            here = here[key]
        here[last] = value
        self.check_keys(option, name, tree)
        self.out.given[option.dest] = Given(option.names[0], tree)


#: values that options took in older versions
GONE_CHOICES: Final = {
    ("vllm", "all2all_backend"): ("pplx", "naive"),
    ("vllm", "kv_cache_dtype"): ("fp8_inc",),
    ("sglang", "moe_runner_backend"): ("triton_kernel", "flashinfer"),
    ("sglang", "attention_backend"): ("nsa", "flashmla"),
}
#: options of vLLM that take JSON → the record whose fields are its keys
RECORDS: Final = {
    "compilation_config": "CompilationConfig",
    "attention_config": "AttentionConfig",
    "eplb_config": "EPLBConfig",
    "kv_transfer_config": "KVTransferConfig",
    "speculative_config": "SpeculativeConfig",
    "kernel_config": "KernelConfig",
}
NESTED: Final = {"pass_config": "PassConfig"}


def _turns_off(option: EngineOption, name: str) -> bool:
    """Whether ``name`` is the spelling that turns a switch off: its other one turns it on."""
    if option.type != "flag" or len(option.names) < 2 or not name.startswith("--"):
        return False
    plain = option.dest.replace("_", "-")
    return (
        name.removeprefix("--") != plain
        and name.startswith(("--no-", "--disable-", "--enable-"))
        and any(n.removeprefix("--") == plain for n in option.names)
    )


def _destination(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def version_of_options(values: OptionValues) -> str | None:
    """The newest version that had all options which the newest lacks; None where it lacks none."""
    if not values.oldest:
        return None
    return min((o.last for o in values.oldest), key=numbers)
