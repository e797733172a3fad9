"""The claims of a document, each judged against the configuration that it stands in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.admissible import WIDEST, admitted, not_checked
from moewright.audit.judges.equalities import Outcome, judge_equality, judge_split
from moewright.audit.judges.figures import Context, Stated, judge_figure, unit_of
from moewright.audit.judges.formats import judge_formats
from moewright.audit.judges.list_scopes import one_layer_in_lists
from moewright.audit.judges.places import Given, Place, Said
from moewright.audit.judges.sums import Part, judge_sums
from moewright.audit.judges.words import judge_correct, judge_exactly, judge_words
from moewright.audit.nearby.judge_nearby import judge_nearby
from moewright.audit.nearby.told_otherwise import without_reasons
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.document_case import Setting
from moewright.audit.reading.meaning import meaning_of
from moewright.audit.reading.wordings import DENSE_FORMATS, FORMAT
from moewright.audit.text.clauses import Clauses, Equality
from moewright.audit.text.document import Statement
from moewright.audit.text.expressions import Node, Operation, numbers_in
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, FLOP_RATE, Dim, Number
from moewright.case.precision import element_bytes
from moewright.units import format_count, format_quantity

#: bytes of an element in usual formats
ELEMENTS: Final = (0.5, 1.0, 2.0, 4.0)
#: what rounding leaves of a figure that follows from another
FOLLOWS: Final = 0.02


def judge_document(said: Sequence[Said]) -> list[Claim]:
    """Every claim of a document with its verdict, in the order of the lines."""
    by_place: dict[int, list[Said]] = {}
    for x in said:
        by_place.setdefault(id(x.place), []).append(x)
    texts = [t for x in said for t in _paired(x.statement)]
    formats, others = _formats(texts), (_other_parts(texts), any(map(_MICRO.search, texts)))
    claims = [c for mine in by_place.values() for c in _of_place(mine, formats, others)]
    claims = without_reasons(judge_nearby(claims, said), said)
    claims += judge_correct(tuple(x.statement for x in said), claims)
    return sorted(claims, key=lambda c: c.line)


#: what is in a format of its own
_APART: Final = re.compile(
    r"peak|flops|optimi[sz]er|gradient|master|accumul|dispatch|combine|all-?to-?all|reduc|优化器|梯度|峰值|算力|派发|分发|合并",
    re.IGNORECASE,
)


#: what might be in a format
_IF: Final = re.compile(
    r"\b(?:if|would|could|might|redo|repeat|instead|switch\w* to|falls|wenn|würde|statt|si|passer en)\b|若|如果|"
    r"改用|换成|改为",
    re.IGNORECASE,
)
_OTHER_PARTS: Final = (
    (re.compile(r"\bshared experts?|共享专家|(?:geteilte|gemeinsame)\w* Experten", re.IGNORECASE), "shared experts"),
    (
        re.compile(
            r"dense (?:FFN|MLP|layers?|first)|first \w+ (?:layers? )?(?:are )?dense|稠密|dichte\w* Schicht",
            re.IGNORECASE,
        ),
        "dense layers",
    ),
)


def _other_parts(texts: Iterable[str]) -> str:
    """Parts of a model that sizes read from a document do not make: shared experts, dense layers."""
    every = " | ".join(texts)
    return " and ".join(name for pattern, name in _OTHER_PARTS if pattern.search(every))


_QUANTIZED: Final = re.compile(r"\b(?:I?Q\d_\w+|GGUF|AWQ|GPTQ|EXL2|bpw)\b|\b[2-6]-bit\b", re.IGNORECASE)


#: what says of a clause that its format is the cache's, and what says that it is of more
_CACHE: Final = re.compile(r"\bKV\b|\bcache|缓存|latent", re.IGNORECASE)
_MORE: Final = re.compile(
    r"\band\b|\bund\b|\brest\b|\bother|everything|weights?\b|expert|attention|和|与|其余|权重|专家|Gewicht|Experten",
    re.IGNORECASE,
)
_CLAUSE: Final = re.compile(r"[;.,，；。()（）|]")


def _paired(s: Statement) -> list[str]:
    """The text of a statement; one for each of several things that it names with as many values: weights / cache,
    BF16 / FP8."""
    if "/" not in s.value:
        return [s.text]
    keys = re.split(r"\s*/\s*", s.row if s.kind == "cell" else s.key)
    values = re.split(r"\s*/\s*", s.value)
    if 1 < len(keys) == len(values) and all(FORMAT.search(v) for v in values):
        return [f"{k}: {v}" for k, v in zip(keys, values, strict=True)]
    return [s.text]


def _in_cache_format(claim: Claim, s: Statement, c: Context) -> Claim:
    """``claim``, or where it holds for a cache in another format than the one that the document gives it, that it does
    not."""
    held = claim.verdict is Verdict.HOLDS and claim.quantity.startswith("memory.kv_cache") and claim.computed
    if not held or len(c.cache_formats) != 1 or FORMAT.search(s.text) or c.cache_formats[0] not in _CACHED:
        return claim
    plan, said = c.facts.case.model.precision.kv_cache, c.cache_formats[0]
    ratio = element_bytes(said) / element_bytes(plan)
    if ratio == 1:
        return claim
    right = float(claim.computed or 0.0) * ratio
    why = f"that is in {plan}; the cache is in {said}, as the document says: {format_quantity(right, claim.unit)}"
    return replace(claim, verdict=Verdict.WRONG, why=why, computed=right)


#: formats of a cache without scales of their own
_CACHED: Final = ("fp8", "bf16", "fp16", "int8")


def _formats(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Formats of elements that ``texts`` name, other than those of gradients, states and what is sent: of anything, and
    of the cache alone."""
    texts = list(texts)
    clauses = [
        c for t in texts if not _APART.search(t) for c in _CLAUSE.split(t) if FORMAT.search(c) and not _IF.search(c)
    ]
    of_cache = [bool(_CACHE.search(c)) and not _MORE.search(c) for c in clauses]
    both: list[dict[str, None]] = [{}, {}]
    for clause, cached in zip(clauses, of_cache, strict=True):
        both[cached] |= dict.fromkeys(m[1].lower() for m in FORMAT.finditer(clause))
    both[0] |= dict.fromkeys(m[0].lower() for t in texts for m in _QUANTIZED.finditer(t))
    general, cache = (tuple(dict.fromkeys(DENSE_FORMATS.get(x, x) for x in found)) for found in both)
    return general, cache


def judge_arithmetic(said: Iterable[tuple[Statement, Clauses]]) -> list[Claim]:
    """Arithmetic alone, where no premise of a strategy is known."""
    return [c for s, found in said for c in _arithmetic(s, found.equalities, lambda n: None, lambda n: n.whole)]


_MICRO: Final = re.compile(r"micro-?(?:batch|step)|Mikrobatch|micro-?lot|微批", re.IGNORECASE)


def _of_place(
    said: list[Said], formats: tuple[tuple[str, ...], tuple[str, ...]], others: tuple[str, bool]
) -> list[Claim]:
    """The claims of one configuration."""
    place = said[0].place
    setting, context = place.facts.setting, Context(place.facts, place.view.name, *formats, *others)
    parts = {
        id(x.statement): [Part(f, x.statement, meaning_of(f, x.statement)) for f in x.clauses.figures] for x in said
    }
    every = [p for mine in parts.values() for p in mine]
    context.state(
        Stated(p.figure.number, p.statement.line_of(p.figure.number.at), p.meaning.name, p.meaning.explicit)
        for p in every
        if p.meaning is not None and p.figure.role != "operand"
    )
    dim_of, exact = _dimensions(every, setting), _exactness(setting)
    restated: dict[str, list[Claim]] = {}
    for c in place.restated:
        restated.setdefault(c.text, []).append(c)
    sums: dict[tuple[int, str], list[Claim]] = {}

    def holds(p: Part) -> bool:
        claim = _figure(p, context, place.given, setting)
        return claim is not None and claim.verdict is Verdict.HOLDS

    for c in (*judge_sums(every, place.facts, holds), *judge_formats(every)):
        sums.setdefault((c.line, c.text), []).append(c)
    claims: list[Claim] = []
    held: list[tuple[Claim, Part]] = []
    for x in said:
        s = x.statement
        mine = [c for c in restated.get(s.text, ()) if s.line <= c.line <= s.line + len(s.breaks)]
        mine += _arithmetic(s, x.clauses.equalities, dim_of, exact)
        mine += _mixed(s, x.clauses.equalities, context)
        mine += _splits(s, x.clauses, place.facts)
        halves = {split.after.at for split in x.clauses.splits}
        for p in (p for p in parts[id(s)] if p.figure.number.at not in halves):
            claim = _figure(p, context, place.given, setting)
            if claim is not None:
                mine.append(_in_cache_format(admitted(claim, p, x.clauses, context, place.doubts), s, context))
                held.append((mine[-1], p))
        # a list may leave parts out that its total, which is right, has in it
        right = any(c.verdict is Verdict.HOLDS and "." in c.quantity for c in mine)
        mine = [_as_sum(c, sums.get((s.line, s.text), ())) for c in mine]
        mine += [c for c in sums.get((s.line, s.text), ()) if not (right and c.verdict is not Verdict.HOLDS)]
        if s.kind != "heading":
            mine += judge_words(s, place.view, place.doubts)
            mine += judge_exactly(s, mine)
        claims += dict.fromkeys(mine)
    layered = dict(one_layer_in_lists(held, context))
    claims = [layered.get(c, c) for c in claims]
    return [_named(c, place) for c in _once(claims, len(setting.case.model.layers))]


def _as_sum(claim: Claim, sums: Sequence[Claim]) -> Claim:
    """``claim`` without its verdict, where the planner has something else and the figure is the sum of its list, each
    part once: so many layers of a part that is wrong make a total that is wrong."""
    right = any(c.verdict is Verdict.HOLDS and c.claimed == claim.claimed and "×" not in c.why for c in sums)
    if not right or claim.verdict is not Verdict.WRONG or "." not in claim.quantity:
        return claim
    return not_checked(claim, "it is the sum of what stands above it, which is judged there")


def _once(claims: list[Claim], layers: int) -> list[Claim]:
    """``claims``, where a number of parameters that the model's sizes contradict is called wrong once: what follows
    from it, whole or a layer's share or its bytes, agrees with the document."""
    first = next((c for c in claims if c.quantity == "count.parameters" and c.verdict is Verdict.WRONG), None)
    if first is None or not first.claimed:
        return claims
    usual = [first.claimed * size / part for size in (1.0, *ELEMENTS) for part in (1, layers)]
    out = []
    for c in claims:
        same = c.claimed is not None and any(abs(c.claimed / u - 1) <= FOLLOWS for u in usual)
        counted = c.quantity.startswith(("count.parameters", "memory.weights", "memory.total"))
        if c is not first and same and counted and c.verdict is Verdict.WRONG:
            c = not_checked(c, f"it follows from the {format_count(first.claimed)} parameters of line {first.line}")
        out.append(c)
    return out


def _parts(x: Said) -> list[Part]:
    return [Part(f, x.statement, meaning_of(f, x.statement)) for f in x.clauses.figures]


def _named(c: Claim, place: Place) -> Claim:
    """``c`` with the configuration that it is of; without a verdict where that has no facts."""
    c = replace(c, configuration=place.view.name)
    if not place.unpriced or c.quantity in ("arithmetic", "sum", "memory.gradients"):
        return c
    return replace(c, verdict=Verdict.NOT_CHECKED, why=place.unpriced, computed=None)


def _arithmetic(
    s: Statement, equalities: list[Equality], dim_of: Callable[[Number], Dim | None], exact: Callable[[Number], bool]
) -> list[Claim]:
    found = []
    for e in equalities:
        o = judge_equality(e, dim_of, exact)
        if o is not None:
            found.append(_judged(s.line_of(next(numbers_in(e.left)).at), e.text, "arithmetic", o))
    return found


def _judged(line: int, text: str, quantity: str, o: Outcome) -> Claim:
    return Claim(line, text, quantity, o.verdict, o.why, o.claimed, o.computed, unit=o.unit)


#: the name of a parallel size
_SIZE: Final = re.compile(r"E?[TD]P|[EPC]P")


def _splits(s: Statement, found: Clauses, facts: Facts) -> list[Claim]:
    claims = []
    for split in found.splits:
        plan = facts.plan
        if s.value[: split.before.at].rstrip().endswith(("→", "->")):
            continue  # 4096 → 14336 → 4096
        if _SIZE.fullmatch(s.key.strip()) and not re.search(r"\d", s.value[: split.before.at]):
            continue  # PP: 4 → 10 layers a stage
        if plan is None:
            why = f"no strategy tells by what it is divided: {facts.reason}"
            claims.append(
                Claim(s.line_of(split.before.at), split.text, "split", Verdict.NOT_CHECKED, why, split.after.value)
            )
            continue
        st = plan.strategy
        sizes = {"tp": st.attention.tp, "ep": st.experts.ep, "dp": st.attention.dp, "pp": st.pp, "cp": st.attention.cp}
        o = judge_split(split, {k: v for k, v in sizes.items() if v > 1}, f"{s.key} | {' '.join(s.path[-1:])}")
        if o is not None:
            claims.append(_judged(s.line_of(split.before.at), split.text, "split", o))
    return claims


def _mixed(s: Statement, equalities: list[Equality], context: Context) -> list[Claim]:
    """Sums that add a figure of one layer to one of several."""
    found = []
    for e in equalities:
        terms = list(_terms(e.left))
        over = [t for t in terms if any(re.search(r"\blayers\b|层", n.noun) for n in t)]
        single = [
            (n, st)
            for t in terms
            if t not in over
            for n in t
            for st in context.find(n)
            if "layer" in st.explicit and st.name.startswith(("compute", "memory", "communication", "time"))
        ]
        if over and single:
            n, st = single[0]
            why = f"it adds {n.text}, which is of one layer (line {st.line}), to a term over all layers"
            found.append(Claim(s.line_of(next(numbers_in(e.left)).at), e.text, "mixed sum", Verdict.WRONG, why))
    return found


def _terms(node: Node) -> Iterator[list[Number]]:
    if isinstance(node, Operation) and node.sign in "+-":
        yield from _terms(node.left)
        yield from _terms(node.right)
    else:
        yield list(numbers_in(node))


_COEFFICIENT: Final = re.compile(
    r"\s?[A-Za-z]{1,2}_\{?[A-Za-z]|\s?/\s?[A-Z][A-Z_]{2,}\b|\s?[×x*·]\s?[A-Z]{1,2}\d{1,2}\b"
)
_WHOLE_NUMBERS: Final = ("count.experts", "count.heads")


def _figure(p: Part, context: Context, given: Given, setting: Setting) -> Claim | None:
    """The verdict on one figure; None for a premise, an operand without a meaning of its own, or a mere number."""
    n, s = p.figure.number, p.statement
    if (p.figure.role != "result" and _is_premise(s, n, given)) or (s.kind == "heading" and n.dim == COUNT):
        return None
    if p.meaning is None:
        if p.figure.role == "operand" or (n.dim == COUNT and not n.percent) or _is_given(n, setting):
            return None
        why = "no quantity that the planner knows is named here"
        return Claim(s.line_of(n.at), s.text, "unknown", Verdict.NOT_CHECKED, why, n.value, unit=unit_of(n))
    if n.dim == BYTES and n.factor == 1 and n.value <= WIDEST:
        return None  # of an element
    if p.meaning.name.startswith("balance."):
        return None  # words judge it
    if n.dim == COUNT and _COEFFICIENT.match(s.value[n.at + len(n.text) :]):
        return None  # 6 N_active
    if p.meaning.name.startswith(_WHOLE_NUMBERS) and not n.whole and not n.approx and n.value > 1 and n.dim == COUNT:
        return None  # a number of parameters in millions or billions, or a mean
    if p.figure.role == "operand":
        if n.dim == COUNT or _is_given(n, setting):
            return None
        claim = judge_figure(p.figure, s, p.meaning, context)
        derived = [x for x in context.find(n) if x.line != s.line or x.name == p.meaning.name]
        if claim.verdict is Verdict.UNSUPPORTED and derived:
            return None  # judged where it is stated
        return None if claim.verdict is Verdict.HOLDS else claim
    if p.figure.role == "lone" and n.dim != COUNT and _is_given(n, setting):
        return None  # a premise, restated
    if n.dim == COUNT and not n.percent and (p.figure.remark or not _plain(p)):
        return None if p.meaning.scopes == (frozenset(),) else _counted(p, context)
    return judge_figure(p.figure, s, p.meaning, context)


def _is_premise(s: Statement, n: Number, given: Given) -> bool:
    line = s.line_of(n.at)
    return (line, n.value, s.column) in given or (line, n.value, None) in given


def _plain(p: Part) -> bool:
    return bool(p.figure.words.strip() or p.statement.key)


def _counted(p: Part, context: Context) -> Claim | None:
    claim = judge_figure(p.figure, p.statement, p.meaning, context) if p.meaning else None
    return claim if claim is not None and claim.verdict is not Verdict.NOT_CHECKED else None


def _is_given(n: Number, setting: Setting) -> bool:
    """Whether ``n`` restates a figure of the premises or of the device."""
    device, cluster = setting.case.cluster.device, setting.case.cluster
    known = {p.value for p in setting.given.values() if isinstance(p.value, float | int)}
    known |= {device.memory, device.memory_bandwidth, *device.flops.values()}
    known |= {cluster.node.bandwidth, cluster.fabric.bandwidth}
    return n.value in known and (n.dim != COUNT or n.percent)


def _dimensions(parts: list[Part], setting: Setting) -> Callable[[Number], Dim | None]:
    """What a number that is written in FLOPS is: the rate of a premise, or work where the document derives it so."""
    peak = setting.given.get("cluster.device.flops")
    rates = {peak.value} if peak is not None else set(setting.case.cluster.device.flops.values())
    work = {
        p.figure.number.value
        for p in parts
        if p.figure.number.either
        and p.meaning
        and p.meaning.name.startswith("compute.")
        and p.meaning.name != "compute.delivered"
    }

    def dim_of(n: Number) -> Dim | None:
        if not n.either:
            return None
        if n.value in rates:
            return FLOP_RATE
        return FLOP if n.value in work else None

    return dim_of


def _exactness(setting: Setting) -> Callable[[Number], bool]:
    """Counts and premises are exact; what is derived may be rounded."""
    values = {p.value for p in setting.given.values() if isinstance(p.value, float | int)}
    return lambda n: n.whole or n.value in values or _is_setting(n)


#: memory of usual GPUs, in GB
_CARDS: Final = frozenset((16, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180, 186, 192, 256, 288))


def _is_setting(n: Number) -> bool:
    """Whether ``n`` is a share of what is used, in twentieths, or the memory of a GPU, which nobody rounded."""
    if n.dim == COUNT:
        rounded = n.approx or (n.percent and "." in n.text)  # 5.0 %
        return 0 < n.value < 1 and not rounded and abs(n.value * 20 - round(n.value * 20)) < 1e-9
    return n.dim == BYTES and n.factor == 1e9 and not n.approx and n.value / 1e9 in _CARDS and "." not in n.text
