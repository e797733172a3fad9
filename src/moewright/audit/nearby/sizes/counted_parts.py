"""Parameters of a part of a model, wrong by a usual slip: two matrices of a gated expert, keys and values of every
query head, one layer told for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.word_lists import word_list, wording
from moewright.audit.text.numbers import COUNT
from moewright.case.attention_kinds import SoftmaxAttention
from moewright.case.model import Layer, ModelSpec, MoeFfn
from moewright.case.tensors.layer_tensors import active_parameters, layer_tensors, parameters_by_kind
from moewright.units import format_count

_NEEDS: Final = (
    "model.layers",
    "model.hidden_size",
    "model.experts.count",
    "model.experts.top_k",
    "model.experts.intermediate_size",
    "model.experts.gated",
    "model.attention.heads",
)
_WORDS: Final = {name: wording(entry, ascii_only=False) for name, entry in word_list("parts").items()}
#: parts in the order in which a name tells them: a shared expert is no routed one
_ORDER: Final = ("shared", "dense", "router", "vocabulary", "attention", "experts", "layer", "active", "whole")
#: what ends the name of a figure that stands before it
_CUT: Final = re.compile(
    r"[;,.:|](?=\s|$)|[，。；：、]|\b(?:and|und|et|plus|so|hence|also|of which|davon)\b|[=→]|->|其中"
)
_MOE_LAYERS: Final = re.compile(
    r"(?<![\w.])(\d{1,3})[- ](?:are )?(?:MoE|sparse)\b|(\d{1,3}) ?层(?:为|是)? ?MoE", re.IGNORECASE
)
#: layers without experts, and experts that every token passes
_MIXED: Final = re.compile(
    r"\bshared[ -](?:\w+ )?expert|geteilte\w* Expert|partagé|共享专家|\bdense (?:layers?|FFN|MLP|blocks?)|\d dense\b|"
    r"\b(?:first|layer) (?:\w+ ){0,3}dense\b|dichte Schicht|couches? denses?|稠密层|\bMamba\b",
    re.IGNORECASE,
)
_NONE: Final = re.compile(
    r"\b(?:no|without|not any) (?:shared|dense)[ -]\w+|geteilte Experten (?:gibt es|hat es) (?:keine|nicht)|"
    r"(?:keine|ohne) geteilte\w* Experten|sans expert partagé|无共享专家|没有共享专家",
    re.IGNORECASE,
)
_SUPPOSED: Final = re.compile(
    r"\b(?:redo|exercise|homework|suppose|what if|imagine|were|Übung|Aufgabe|exercice)\b|练习|假设|假如|若",
    re.IGNORECASE,
)
#: parameters that no part has so few of
_LEAST: Final = 1e5
#: how finely a figure must be told, and how near a slip must be to it
_FINE: Final = 3e-3
_CLOSE: Final = 2e-3
#: the same of sums of several parts, which biases and norms make more
_CLOSER: Final = 5e-4
#: how far biases, norms and an indexer make the parameters of a part more than its matrices
_NEARLY: Final = 0.012
_MOST_SHARES: Final = 1025
_ALONE: Final = re.compile(r"\b(?:one|a single|each|eine?)\b|[一单]个?", re.IGNORECASE)
_SMALL: Final = re.compile(r"(?<![\w.,])\d{1,4}(?![\w.,]*\d)")
_DECIMAL: Final = ((10.0, "10"), (100.0, "100"), (1e3, "1000"), (1e6, "a million"))


@dataclass(frozen=True, slots=True)
class _Part:
    """Parameters of a part by what a figure may be of (one layer, all layers), and those that slips make, with what is
    right for each and the name of the slip."""

    right: tuple[tuple[str, float], ...]
    slips: tuple[tuple[float, float, str], ...]


def judge_counted_parts(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the parameters of a part of a model that a usual slip makes of its sizes, and nothing right does."""
    text = " ".join(s.text for s in ledger.statements)
    mixed = bool(_MIXED.search(_NONE.sub(" ", text)))
    moe_layers = {int(m[1] or m[2]) for m in _MOE_LAYERS.finditer(text)}
    made: dict[tuple[int, str, bool], _Part | None] = {}  # by the facts, the part, and whether it is one
    for index, entries in enumerate(ledger.entries):
        for e in entries:
            n = e.number
            counted = n.dim == COUNT and n.value >= _LEAST and not n.percent and not n.whole
            if not counted or n.slack > _FINE or n.approx or e.figure.formula:
                continue
            label = "" if _SUPPOSED.search(e.statement.text) else _label(e)
            name = _part_of(label, e.behind)
            facts = facts_at(index, _NEEDS) if name else None
            if facts is None or (
                mixed and name in ("active", "whole", "layer") and "model.name" not in facts.setting.given
            ):
                continue
            key = (id(facts), name, bool(_ALONE.search(label)))
            if key not in made:
                made[key] = _sizes(name, facts, moe_layers, key[2])
            part = made[key]
            room = _CLOSE if name in ("experts", "attention", "vocabulary", "router") else _CLOSER
            claim = _judged(e, label, part, ledger, facts, room) if part else None
            if claim is not None:
                yield e, claim


def _label(e: Entry) -> str:
    """The words that name a figure: the titles of its row and column, or what stands before it in its clause."""
    s = e.statement
    if s.kind == "cell":
        return f"{s.row} | {s.column}"
    before = s.value[: e.number.at]
    own = _CUT.split(before)[-1]
    if not own.strip() and s.key:
        own = s.key
    if _GOES_ON.fullmatch(own) and (parts := _parts_before(before)):
        return f"{own} {parts}"  # the attention has 88.1 million a layer and 4.93 billion in total
    return own if not _FIGURE.search(own) else ""


_FIGURE: Final = re.compile(r"\d\s?[MBKG]|\d[.,]\d")
#: words between a figure and the one before it that is of the same part
_GOES_ON: Final = re.compile(r"\W*(?:all of them|in total|in all|共)?\W*", re.IGNORECASE)


def _parts_before(text: str) -> str:
    """The part that the sentence before a figure is of, where it names one alone."""
    sentence = re.split(r"[.。;；](?=\s|$)", text)[-1]
    parts = {name for name in _ORDER if _WORDS[name].search(sentence)} - {"whole", "active"}
    return sentence if len(parts) == 1 else ""


def _part_of(label: str, behind: str) -> str:
    """The one part that ``label``, the words of a figure, names, or an empty text; ``behind``: the text behind it."""
    if not label.strip() or len(label) > 120 or _WORDS["other"].search(f"{label} {_CUT.split(behind)[0]}"):
        return ""
    named = [name for name in _ORDER if _WORDS[name].search(label)]
    if (
        not named
        or named[0] in ("shared", "dense")
        or len([x for x in named if x not in ("active", "whole", "layer")]) > 1
    ):
        return ""
    return "active" if "active" in named else named[0]


def _gate(model: ModelSpec, gated: bool) -> ModelSpec:
    """``model`` with experts of three matrices, or of two."""
    return _changed(model, lambda x: replace(x, ffn=replace(x.ffn, gated=gated)) if isinstance(x.ffn, MoeFfn) else x)


def _all_heads(model: ModelSpec) -> ModelSpec:
    """``model`` with keys and values of every query head."""
    return _changed(
        model,
        lambda x: (
            replace(x, attention=replace(x.attention, kv_heads=x.attention.heads))
            if isinstance(x.attention, SoftmaxAttention)
            else x
        ),
    )


def _changed(model: ModelSpec, change: Callable[[Layer], Layer]) -> ModelSpec:
    return replace(model, layers=tuple(map(change, model.layers)))


def _of_layer(model: ModelSpec, kind: str) -> float:
    """Parameters that a layer with experts has of ``kind``; of all kinds where it is empty."""
    positions = model.moe_layers()
    layer = model.layers[positions[0] if positions else 0]
    return float(sum(t.parameters for t in layer_tensors(layer, model.hidden_size) if kind in ("", t.kind)))


def _sizes(name: str, facts: Facts, moe_layers: set[int], alone: bool) -> _Part | None:
    """What the parameters of part ``name`` are, and what slips make of them; ``alone``: it is said to be one."""
    model, moe = facts.case.model, facts.case.model.moe
    if moe is None:
        return None
    layers, sparse = len(model.layers), {len(model.moe_layers()), *moe_layers}
    other, heads = _gate(model, not moe.gated), _all_heads(model)
    gate = "with a gate" if not moe.gated else "without the gate's matrix"
    every_head = "keys and values of every query head"
    found: list[tuple[str, float]] = []
    slips: list[tuple[float, float, str]] = []
    if name == "experts":
        for times, told in ((1.0, "an expert"), (float(moe.experts), "the experts of a layer")):
            one, slipped = _of_layer(model, "experts") / moe.experts, _of_layer(other, "experts") / moe.experts
            found += [(told, one * times)]
            slips += [(slipped * times, one * times, gate)]
        for many in sparse:
            whole = one * moe.experts * many
            found += [(f"the experts of {many} layers", whole)]
            slips += [(slipped * moe.experts * many, whole, gate), (one * many, whole, "one expert of each layer")]
            slips += [(one * moe.top_k * many, whole, "those of a token"), (whole / 2, whole, "half")]
            slips += [(one * moe.experts * layers, whole, f"of {layers} layers")] if many != layers else []
    elif name == "attention":
        one, wide = _of_layer(model, "attention"), _of_layer(heads, "attention")
        for many, told in ((1, "the attention of a layer"), (layers, f"the attention of {layers} layers")):
            found += [(told, one * many)]
            slips += [(wide * many, one * many, every_head), (2 * one * many, one * many, "twice")]
            slips += [(one * many / 2, one * many, "half")]
    elif name == "vocabulary" and model.vocab_size:
        one = float(model.vocab_size * model.hidden_size)
        found += [("one matrix", one), *([] if alone else [("both matrices", 2 * one)])]
        slips += [(2 * one, one, "both matrices")] if alone else []
    elif name == "router":
        one = float(moe.experts * model.hidden_size)
        found += [("the router of a layer", one), *((f"the routers of {x} layers", one * x) for x in sparse | {layers})]
    elif name == "layer":
        for many in (1, layers):
            right, told = _of_layer(model, "") * many, "a layer" if many == 1 else f"{many} layers"
            found += [(told, right)]
            slips += [(_of_layer(other, "") * many, right, gate), (_of_layer(heads, "") * many, right, every_head)]
    elif name in ("whole", "active"):
        count = _total if name == "whole" else lambda m: float(active_parameters(m))
        words = float(parameters_by_kind(model)["vocabulary"])
        most = 0.0 if name == "whole" else -words / 2  # a token passes the output's matrix alone
        for less, told in (
            (most, " with both matrices of the vocabulary"),
            (most + words / 2, " with one matrix of the vocabulary"),
            (most + words, " without the vocabulary"),
        ):
            right = count(model) - less
            found += [(f"{'the model' if name == 'whole' else 'a token'}{told}", right)]
            slips += [(count(other) - less, right, gate), (count(heads) - less, right, every_head)]
    slips += [(x * k, x, f"{t} times") for _, x in found for f, t in _DECIMAL for k in (f, 1 / f)]
    return _Part(tuple(found), tuple(slips)) if found else None


def _total(model: ModelSpec) -> float:
    return float(parameters_by_kind(model).total())


def _judged(e: Entry, label: str, part: _Part, ledger: Ledger, facts: Facts, room: float) -> Claim | None:
    said = ranges(e.number)
    model = facts.case.model
    rights = [x for _, x in part.right]
    rights += [_total(model), float(active_parameters(model)), _of_layer(model, "")]
    if any(meet(said, exactly(x), _NEARLY) for x in rights):
        return None
    whole = _WORDS["whole"].search(label)
    shares = [float(x) for x in ledger.counts if 1 < x < _MOST_SHARES and not whole]
    named = [float(m[0]) for m in _SMALL.finditer(label) if int(m[0]) not in (0, len(model.layers))]
    if any(meet(said, exactly(x * k), _CLOSE) for x in rights for k in (*(1 / f for f in shares), *named)):
        return None
    for wrong, right, how in part.slips:
        if meet(said, exactly(wrong), room) and abs(wrong / right - 1) > _NEARLY:
            told = next(t for t, x in part.right if x == right)
            return e.claim("count.parameters", Verdict.WRONG, f"{how}; {told} has {format_count(right)}", right)
    return None
