"""A failing verdict stands only where no admissible reading agrees: what may be meant otherwise is not checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.equalities import judge_equality
from moewright.audit.judges.figures import Context, label, matches
from moewright.audit.judges.scope_doubts import IS_SENT, of_what
from moewright.audit.judges.sums import Part
from moewright.audit.nearby.ledger import slip
from moewright.audit.quantities.own_sizes import NOMINAL, unread_operand
from moewright.audit.quantities.readings import PLAN, Scope
from moewright.audit.reading.document_case import Setting
from moewright.audit.reading.meaning import Meaning, meaning_of, scopes_named, splits_off, topics_named
from moewright.audit.reading.premises import Premise
from moewright.audit.reading.restated import known_sizes
from moewright.audit.reading.standing import group_of, standing_of
from moewright.audit.reading.wordings import DENSE_FORMATS, FORMAT, PARAMETERS
from moewright.audit.reading.workload_sizes import OF_PART
from moewright.audit.text.clauses import Clauses, ends_range
from moewright.audit.text.expressions import Operation
from moewright.audit.text.numbers import BYTES, COUNT, SECONDS, Number
from moewright.case.precision import element_bytes
from moewright.case.tensors.layer_tensors import total_parameters
from moewright.case.workload import Kind
from moewright.units import format_quantity

#: seconds by the planner's own model of time: shown beside a figure, and no proof that it is wrong
_ESTIMATED: Final = ("time.", "throughput.tokens", "throughput.sequences", "share.communication")
#: an approximate figure this far off may be of a coarser reckoning
ROUGHLY: Final = 0.1
#: how far off sums of several kinds may be by formats, copies and padding that are not read
MIXED: Final = (0.8, 1.25)
#: what a checkpoint may have besides the parameters that are counted
CLOSE: Final = 0.03
#: bytes that an element has at most, with all its optimizer's state
WIDEST: Final = 20
#: latencies that are no pass
_OTHER_TIME: Final = re.compile(
    r"network|kernel|launch|\bhop|nvlink|infiniband|\bib\b|\bici\b|rdma|roce|p2p|switch|overhead|all-?to|all-?reduce|gemm|"
    r"\d\s?[GT]i?B/s|operator|barrier|\bsync|loading|startup|dispatch|combine",
    re.IGNORECASE,
)
#: a pass over so many tokens, which may be others than the document's
_OWN_TOKENS: Final = re.compile(
    r"\b(?:for|of|over|with) (?:an? )?\d[\d,]*[kK]?[ -](?:\w+ )?tokens?\b|für \d[\d.]* Token|\d+ 个? ?token",
    re.IGNORECASE,
)
#: words of the time of a whole pass, and of one of many of its parts
_OF_ALL_TIME: Final = re.compile(
    r"laten|\btpot\b|\bttft\b|\bitl\b|\bbatch|\bpass|\bstep|forward|\btotal|end.to.end|overall|\btime\b|"
    r"duration|Schritt|Durchlauf|\bDauer\b|gesamt|"
    r"延迟|时延|耗时|前向|每步|总|时间",
    re.IGNORECASE,
)
_OF_EACH: Final = re.compile(r"\beach\b|\bevery\b|\bapiece\b|\bje(?:weils|de[nmrs]?)?\b|每个|每次", re.IGNORECASE)
_OF_PREFILL: Final = re.compile(r"\bttft\b|first token|prefill|预填充", re.IGNORECASE)
_OF_DECODE: Final = re.compile(r"\btpot\b|\bitl\b|inter-token|per (?:output )?token|decod|解码", re.IGNORECASE)
_SLACK: Final = re.compile(r"余量|富余|headroom|slack|\bspare|\bmargin|Reserve|Luft\b|marge", re.IGNORECASE)
_TOTAL: Final = re.compile(r"\btotal|\boverall|insgesamt|总", re.IGNORECASE)
_SUPPOSED: Final = re.compile(r"\b(?:at|if|with|bei|mit|wenn)(?: \w+){0,3}\s*$", re.IGNORECASE)
_UP_TO: Final = re.compile(
    r"\b(?:up to|as (?:much|many|low|high|little) as|peaks? at|bis zu)\b|最高|高达", re.IGNORECASE
)
_QUANTIZED: Final = re.compile(r"quanti[sz]ed|quantisiert|量化", re.IGNORECASE)
_FRACTION: Final = re.compile(
    r"\b(?:half|halves|third|quarter|fifth|sixth|eighths?|sixteenth)\b|\b(?:Hälfte|Drittel|Viertel|Achtel)\b|一半|三分之|四分之|八分之",
    re.IGNORECASE,
)
#: what stands behind is a capacity
_ROOM: Final = re.compile(
    r"\b(?:fits?|stays?|remains?) (?:(?:easily|well|comfortably|together|all) )?"
    r"(?:in|into|on|within|inside|under|below) (?:(?:the|an?|its|each|one) )?(?:single )?[~≈]?$|"
    r"\bof (?:the |its |an? )?(?:available |usable |total )?[~≈]?$",
    re.IGNORECASE,
)
_OF_ALL: Final = re.compile(r"total|model|overall|all\b|whole|param|合计|总|gesamt|active|激活", re.IGNORECASE)
#: unit of a count that is a figure of the document and no size
_LARGE: Final = 1e6
#: what an embedding, if there is one, makes larger
_WITH_VOCABULARY: Final = (
    "memory.total",
    "memory.weights",
    "memory.headroom",
    "memory.utilization",
    "compute.total",
)
#: quantities that every part of a model adds to
_OF_ALL_PARTS: Final = (
    *("memory.weights", "memory.total", "memory.headroom", "memory.utilization", "memory.free", "memory.experts"),
    *("count.parameters", "count.experts", "compute.total", "compute.experts"),
)
#: quantities of a pass, of which a document may mean another
_OF_WORK: Final = ("compute.total", "compute.attention", "compute.experts", "time.total", "time.compute", "throughput.")
#: bytes of an element without its scales
_NOMINAL: Final = (0.5, 1.0, 2.0, 4.0)
#: what nobody may guess in order to accuse
_GUESSES: Final = ("model.precision", "model.experts.gated", "model.experts.top_k")
_SIZES: Final = ("strategy.ep", "strategy.tp", "strategy.pp", "strategy.dp", "cluster.gpus")


_HARDWARE: Final = re.compile(
    r"\b(?:HBM|VRAM|GPU memory)\b[^|]*\b(?:cluster|pool|nodes?|box|all|total|whole|slice)\b|"
    r"\b(?:total|all|whole) (?:the )?(?:HBM|VRAM|GPU memory)\b|总显存|显存总",
    re.IGNORECASE,
)
#: how far off the memory of several GPUs is
FEW_OFF: Final = 2e-3
_FEW_DIGITS: Final = "it is told in so few digits that it may be rounded"


@dataclass(frozen=True, slots=True)
class Doubts:
    """What a document leaves open: ``contested`` fields, with the values it gives them."""

    contested: dict[str, tuple[object, ...]]

    def of(self, fields: tuple[str, ...]) -> str:
        """Why nothing that stands on ``fields`` can be called wrong, or an empty text."""
        for field in fields:
            if field in self.contested:
                several = " and ".join(str(v) for v in self.contested[field][:3])
                return f"the document gives {field} as {several}, and not which of them is meant here"
        return ""


def doubts_of(premises: list[Premise], setting: Setting) -> Doubts:
    """Fields that a document gives several values: of a part, of another phase or of another configuration. The layers
    that have experts, and those that have none, are parts of a model that is known by name."""
    values: dict[str, dict[object, None]] = {}
    model = setting.case.model
    sparse = len(model.moe_layers())
    parts = {sparse, len(model.layers) - sparse} if "model.name" in setting.given else set()
    for p in premises:
        if p.field == "model.layers" and p.value in parts and p.value != len(model.layers):
            continue
        values.setdefault(p.field, {})[p.value] = None
    if "model.name" in setting.given:  # a value that is not the model's is of a part of it
        known = known_sizes(setting)
        if sum(list(values.get(field, {})) == [right] for field, right in known.items()) >= _TOLD:
            values["model.name"] = {setting.given["model.name"].value: None}  # others are no more than named
        for field, right in known.items():
            if right in values.get(field, {}):
                values[field] = {right: None}
    if not values.get("workload.batch"):  # that of each part, where it is told as several
        several = next((v for f in OF_PART.values() if len(v := values.get(f, {})) > 1), {})
        values["workload.batch"] = dict(several)
    gpus = values.get("cluster.gpus", {})
    if len(gpus) > 1 and (whole := _whole_cluster(premises)):
        values["cluster.gpus"] = {v: None for v in gpus if not (isinstance(v, int) and v < whole and whole % v == 0)}
    for field, mentioned in _mentions(premises).items():
        defined = {v: None for v in values.get(field, {}) if v not in mentioned}
        if defined:
            values[field] = defined
    contested = {f: tuple(v) for f, v in values.items() if len(v) > 1 and f != "model.experts.gated"}
    return Doubts(contested)


#: a document tells its cluster up to this line
_OPENING: Final = 12


def _whole_cluster(premises: list[Premise]) -> int:
    """The GPUs of the cluster, which a document's opening tells; fewer of them, of which they are so many times as
    many, are a part's. 0 where it tells none, or two numbers there."""
    told = {
        p.value
        for p in premises
        if p.field == "cluster.gpus" and p.line <= _OPENING and isinstance(p.value, int) and not _OF_UNIT.search(p.text)
    }
    whole = max(told, default=0)
    return whole if all(x and whole % x == 0 for x in told) else 0


#: what makes GPUs those of one of several units
_OF_UNIT: Final = re.compile(
    r"\b(?:per|each|every|one|a|an|je|pro|two|several|\d+) (?:\w+ )?(?:replicas?|instances?|units?|pools?|copies|copy|"
    r"Instanz(?:en)?|Replik\w*)\b|实例|副本|(?:prefill|decode) (?:pools?|units?|sides?|instances?|nodes?)\b",
    re.IGNORECASE,
)
#: sizes of the one model that a document gives, by which it is that model that its figures are of
_TOLD: Final = 4
#: sizes of a model that a statement gives together, where it tells what the model is
_DEFINES: Final = 3


def _mentions(premises: list[Premise]) -> dict[str, set[object]]:
    """Values of a model's fields that stand alone in running text, each beside a statement that tells what the model
    is: the 12 layers of a stage, 8 KV heads of which a token keeps the keys."""
    given: dict[tuple[int, str], set[str]] = {}
    for p in premises:
        if p.field.startswith("model."):
            given.setdefault((p.line, p.text), set()).add(p.field)
    keyed = {p.field for p in premises if p.keyed}
    told: dict[str, set[object]] = {}
    defined: dict[str, set[object]] = {}
    for p in premises:
        if p.field.startswith("model.") and p.field not in ("model.name", "model.precision"):
            much = len(given[p.line, p.text])
            into = defined if p.keyed or much >= _DEFINES or (much > 1 and p.field not in keyed) else told
            into.setdefault(p.field, set()).add(p.value)
    return {f: values - defined[f] for f, values in told.items() if defined.get(f)}


def admitted(claim: Claim, part: Part, found: Clauses, c: Context, doubts: Doubts) -> Claim:
    """``claim`` on a figure, or where another reading is admissible, that it was not checked and why."""
    if claim.verdict is Verdict.UNSUPPORTED and part.figure.role == "operand" and (open_ := _in_text(part, claim, c)):
        return not_checked(claim, open_)
    n = part.figure.number
    clause = re.split(r"[;；]", part.statement.value[: n.at + len(n.text)])[-1]
    crossed = claim.quantity == "time.communication" and _IS_READ.search(clause) and not IS_SENT.search(clause)
    if claim.verdict is Verdict.UNSUPPORTED and crossed:
        return not_checked(claim, "it may be of what is read from memory")
    told = (s.number for (_, dim), same in c.stated.items() if dim == n.dim for s in same)
    if claim.verdict is Verdict.UNSUPPORTED and any(0 < abs(x.value - n.value) <= x.half for x in told):
        return not_checked(claim, "the document tells it rounded")
    if claim.verdict is Verdict.UNSUPPORTED and part.figure.role == "operand" and not part.figure.words:
        return not_checked(claim, "it is what another figure is worked out from")
    if claim.verdict is Verdict.IMPOSSIBLE and claim.quantity.startswith("memory.") and part.figure.formula:
        return not_checked(claim, "its own formula gives it")
    if claim.verdict is Verdict.IMPOSSIBLE and part.meaning is not None and _by_title(part):
        return not_checked(claim, "what it is of is not said beside it")
    if claim.verdict is Verdict.UNSUPPORTED and not claim.quantity.startswith(("time", "communication", "throughput")):
        return not_checked(claim, "nothing in the document derives it")
    if claim.verdict is Verdict.UNSUPPORTED and c.facts.plan is None:
        return not_checked(claim, f"it may be of a GPU, which is not known without a strategy: {c.facts.reason}")
    if claim.verdict not in (Verdict.WRONG, Verdict.IMPOSSIBLE) or part.meaning is None:
        return claim
    if claim.verdict is Verdict.WRONG and _by_thousands(part, claim) and not _in_text(part, claim, c):
        return claim
    if claim.verdict is Verdict.WRONG and claim.computed and abs(n.value - claim.computed) <= n.half:
        return not_checked(claim, _FEW_DIGITS)
    if claim.verdict is Verdict.WRONG and claim.computed and _beside(n, claim.computed, found):
        return not_checked(claim, "the right value stands beside it, and it may be of something else")
    if claim.verdict is Verdict.WRONG and (unread := unread_operand(part.figure, part.meaning.name, c.facts)):
        return not_checked(claim, f"its formula has {unread}, which is no size that was read")
    if is_capacity := _is_capacity(part, claim, c):
        return not_checked(claim, is_capacity)
    if claim.verdict is Verdict.WRONG and part.meaning.name == "time.bound" and _takes_bytes(n, found):
        return not_checked(claim, "it may be of the bytes that stand before it")
    shared = [x.noun for x in part.figure.formula if _PER.match(x.noun)]
    if claim.verdict is Verdict.WRONG and shared and not part.meaning.explicit & {"layer", "gpu", "token", "expert"}:
        return not_checked(claim, f"its formula is {shared[0][:40]!r}")
    if claim.verdict is Verdict.WRONG and _is_term(part):
        return not_checked(claim, "something else is added to it")
    if not part.statement.key and part.statement.value.lstrip().startswith(("=", "≈")):
        return not_checked(claim, "it goes on what is worked out above")
    own = part.figure.formula and claim.verdict is Verdict.WRONG and claim.quantity.startswith(_REACHED)
    reason = (
        ("its own formula gives it" if own else "")
        or _in_text(part, claim, c)
        or _of_another(part, part.meaning, c)
        or _other_format(part, part.meaning, c)
        or _derived(part, found, claim, c)
        or _on_doubt(part, part.meaning, claim, c, doubts)
        or _by_no_slip(part, found, claim, c)
    )
    return not_checked(claim, reason) if reason else claim


#: what an operand is told per
_PER: Final = re.compile(r"(?:per|je|pro|each)\b|/ ?(?=[a-z])|每", re.IGNORECASE)
#: a term behind a figure, by its name
_ADDED: Final = re.compile(r"\s*(?:\+\s*|\b(?:plus|zuzüglich)\s)[^\W\d]{3,}")
#: a term that is added to what stands before it, by its name
_ADDS: Final = re.compile(r"\b(?:plus|zuzüglich)\s[^.;:]{0,40}=\s*$", re.IGNORECASE)


def _is_term(part: Part) -> bool:
    """Whether something by its name is added to a figure, or the figure to what stands before it."""
    n, text = part.figure.number, part.statement.value
    return bool(_ADDED.match(text[n.at + len(n.text) :]) or _ADDS.search(text[: n.at]))


def _takes_bytes(n: Number, found: Clauses) -> bool:
    """Whether the figure before ``n`` is an amount of bytes, which takes that time."""
    before = [f.number for f in found.figures if f.number.at < n.at]
    return bool(before) and max(before, key=lambda x: x.at).dim == BYTES


def _is_capacity(part: Part, claim: Claim, c: Context) -> str:
    """Why bytes may be the memory that one GPU, or several, have, or an empty text."""
    n, capacity = part.figure.number, c.facts.case.cluster.device.memory
    if (
        n.dim == BYTES
        and not part.figure.formula
        and "GPU" in claim.quantity
        and abs(n.value / capacity - 1) <= NOMINAL
    ):
        return "it is the memory that a GPU has"
    if claim.quantity != "memory.total":
        return ""
    if claim.verdict is Verdict.WRONG and _HARDWARE.search(part.statement.key):
        return "it is the memory that the GPUs have"
    many = round(n.value / capacity)
    of_many = many > 1 and abs(n.value / capacity / many - 1) <= FEW_OFF
    return f"it is the memory that {many} GPUs have" if of_many else ""


def _by_title(part: Part) -> bool:
    """Whether nothing but the document's title tells what a figure is of."""
    alone = meaning_of(part.figure, replace(part.statement, path=part.statement.path[1:]))
    return part.meaning is not None and (alone is None or alone.name != part.meaning.name)


def admitted_by_name(claim: Claim, part: Part, c: Context) -> Claim:
    """``claim`` on a figure of which a reader tells the quantity and its scope: not checked by what it stands on alone,
    guesses, conventions and estimates of time."""
    if claim.verdict not in (Verdict.WRONG, Verdict.IMPOSSIBLE) or part.meaning is None:
        return claim
    wrong = claim.verdict is Verdict.WRONG
    if wrong and claim.computed and abs(part.figure.number.value - claim.computed) <= part.figure.number.half:
        return not_checked(claim, _FEW_DIGITS)
    folded = _how_experts_are_cut(part.meaning, c) if wrong else ""
    if wrong and part.meaning.name.startswith(("memory.", "communication.")):
        given = c.facts.setting.given
        folded = folded or ("" if "model.precision" in given else "it stands on model.precision, which is not given")
    reason = (
        folded
        or (_by_convention(part.figure.number, part.meaning, c) if wrong else "")
        or _on_doubt(part, part.meaning, claim, c, Doubts({}))
    )
    return not_checked(claim, reason) if reason else claim


def _how_experts_are_cut(meaning: Meaning, c: Context) -> str:
    """What is not given of the experts' own sizes, inside of a group of tensor parallelism."""
    given, moe = c.facts.setting.given, c.facts.case.model.moe
    of_experts = meaning.name in ("count.experts", "memory.experts", "memory.weights", "memory.total")
    if moe is None or not of_experts or "gpu" not in meaning.explicit:
        return ""
    tp = given["strategy.tp"].value if "strategy.tp" in given else 1
    needed = ("strategy.ep", "strategy.etp") if tp > 1 or "strategy.etp" in given else ("strategy.ep",)
    lacking = [f for f in needed if f not in given]
    return f"it stands on {' and '.join(lacking)}, which is not given" if lacking else ""


def _may_be_whole(meaning: Meaning, claim: Claim, c: Context) -> str:
    """Why a GPU may hold more of the experts than was read: whole ones in copies, where tensor parallelism is given
    and not how it cuts experts."""
    plan, of_experts = c.facts.plan, ("count.experts", "memory.experts", "memory.weights", "memory.total")
    told = "strategy.etp" in c.facts.setting.given or "gpu" not in meaning.explicit
    if plan is None or meaning.name not in of_experts or told:
        return ""
    cut = plan.strategy.experts.tp
    if cut < 2 or claim.ratio is None or not 1 < claim.ratio <= cut * (1 + ROUGHLY):
        return ""
    return f"experts may be whole, in copies, and not cut over the tp {cut}"


def _beside(n: Number, right: float, found: Clauses) -> bool:
    """Whether another figure of the statement is what ``n`` is said not to be: 8 KV heads, after TP 4 each has 2."""
    return any(f.number.at != n.at and f.role != "operand" and matches(f.number, right) for f in found.figures)


def _by_thousands(part: Part, claim: Claim) -> bool:
    """Whether a figure of bytes has the digits of the right one, in a unit a thousand times too small or large."""
    n = part.figure.number
    if n.dim != BYTES or claim.ratio is None or n.slack > 2e-3 or n.approx:
        return False
    ratio = max(claim.ratio, 1 / claim.ratio) if claim.ratio > 0 else 0.0
    return any(abs(ratio / 1000.0**k - 1) <= n.slack + 2e-3 for k in (1, 2))


def not_checked(claim: Claim, reason: str) -> Claim:
    """``claim`` without a verdict; what the planner has for it is told where there is a figure."""
    beside = ""
    if claim.computed is not None and claim.unit:
        beside = f"; the planner has {format_quantity(claim.computed, claim.unit)}"
    return replace(claim, verdict=Verdict.NOT_CHECKED, why=f"{reason}{beside}")


_SHARE_OF: Final = re.compile(
    r"[^;\d]{0,24}\d[\d.,]*\s?%\s?(?:of (?:the |all )?(?:model|param|total|whole)|des Modells|aller|"
    r"du (?:modèle|total))",
    re.IGNORECASE,
)
_REST: Final = re.compile(
    r"\b(?:other|remaining|rest of the|übrigen|restlichen|autres)\s*[~≈]?$|其余的?\s*$", re.IGNORECASE
)
#: 90 % of 128 GB - weights - 8 GB workspace =
_LESS: Final = re.compile(r"\s[-\u2212\u2013]\s(?:the )?[^\W\d][\w ]*[^=;.]*=\s*[~≈]?$")
_SO_MANY_GPUS: Final = re.compile(r"\(\d+ (?:\w+ )?(?:GPUs|cards|Karten|NPUs|卡)\)|\d\s?卡|\bbox\b|整机", re.IGNORECASE)
_PARTS: Final = ("memory.attention", "memory.experts", "memory.vocabulary", "memory.router", "memory.shared")
#: names that are added
_JOINED: Final = re.compile(r"[^\W\d]\)?\s*\+\s*[^\W\d]")
#: weights + KV cache =
_SUM_OF_NAMES: Final = re.compile(r"[^\W\d]{2,}\s\+\s[^\W\d][\w ]*(?:=|:)?\s*[~≈]?$")
_LESS_WORDS: Final = re.compile(
    r"\b(?:less|without|minus|excluding|ohne|sans)\b[^|;.]{0,20}(?:embed|vocab|Einbett)", re.I
)
_STATES: Final = re.compile(r"\b(?:model|optimi[sz]er|training) states?\b|Zustände|模型状态", re.IGNORECASE)
_OTHER_HEADS: Final = re.compile(
    r"\bMHA\b|(?:full|plain|ordinary|classic|standard) (?:multi-head )?attention|without MLA|ohne MLA|普通多头|"
    r"不用 ?MLA",
    re.IGNORECASE,
)
_POOLS: Final = re.compile(
    r"\b(?:both|either|each|two|the other|(?:prefill|decode)) pools?\b|两个池|(?:预填充|解码|prefill|decode)\s?[池侧]",
    re.IGNORECASE,
)
_APIECE: Final = re.compile(
    r"\b(?:Stück|copies|pieces|instances|of them|experts|Experten|slots|blocks) (?:zu|of|at|à|je|with|"
    r"mit)(?: je)?\s*[~≈]?$",
    re.IGNORECASE,
)
_ALL_COPIES: Final = re.compile(
    r"\b(?:all|both|every|alle[nr]?|sämtliche[nr]?|beide[nr]?|toutes les|the \w+) (?:\w+ )?"
    r"(?:copies|replicas|instances|Kopien|Repliken|Instanzen)\b|(?:所有|全部|各)(?:个)?(?:副本|实例)",
    re.IGNORECASE,
)
_SYMBOL: Final = re.compile(r"(?<![\w.])([A-Za-z])\s?=\s?(\d+)\b(?![.,]\d)")


#: bytes of an element of four bits, without scales and with those of sixteen
_HALF: Final = (0.5, 0.5625, 0.53125)


def _several_values(text: str) -> str:
    """The symbol that ``text`` gives several whole numbers to, one after another; an empty text where there is none."""
    values: dict[str, set[str]] = {}
    for m in _SYMBOL.finditer(text):
        values.setdefault(m[1], set()).add(m[2])
    return next((x for x, given in values.items() if len(given) > 1), "")


def _of_rest(before: str) -> str:
    """Why a figure may be of what something else leaves, or is a part of it, by the text before it."""
    if _LESS.search(before):
        return "it is what is left without something"
    if _REST.search(before[-40:]):
        return "it is of the rest of something"
    part = re.search(r"\d[\w.,]*\s*(?:of|von)\s*$", before)
    return "it is what another figure is a part of" if part else ""


def _of_several_parts(part: Part, before: str) -> str:
    """Why bytes may be of several parts of a model, or of what some of them leave, or an empty text."""
    s, name = part.statement, part.meaning.name if part.meaning is not None else ""
    if name in _PARTS and _JOINED.search(s.key):
        return f"it is of {s.key[:40]!r}, several parts"
    if name.startswith("memory.") and _SUM_OF_NAMES.search(before):
        return "it is of several parts"
    if name == "memory.vocabulary" and _LESS_WORDS.search(s.text):
        return "it is of what is left without the vocabulary"
    return "it is of the states of training" if name == "memory.total" and _STATES.search(s.text) else ""


def _in_text(part: Part, claim: Claim, c: Context) -> str:
    """What the text around a figure leaves open: standing, ranges, approximations."""
    n, s = part.figure.number, part.statement
    held = part.meaning is not None and part.meaning.name.startswith(("memory.", "count."))
    if reason := standing_of(s, c.name, held and s.kind == "cell"):
        return reason
    halves = [x for x in part.figure.formula if x.value in _HALF and x.dim in (COUNT, BYTES)]
    if halves and claim.quantity.startswith("memory"):
        return f"its formula has elements of {halves[0].value:g} bytes"
    before, after = s.value[: n.at], s.value[n.at + len(n.text) :]
    if several := _several_values(s.text):
        return f"the text tells it for several values of {several}"
    if ends_range(s.value, n):
        return "it is an end of a range"
    if after.startswith("+") and not after[1:2].strip().isdigit():
        return "it is a lower end, without an upper one"
    if part.meaning is not None and part.meaning.name == "count.parameters" and _SHARE_OF.search(after):
        return "it is told as a share of the whole"
    if rest := _of_rest(before):
        return rest
    if part.meaning is not None and "gpu" not in part.meaning.explicit and _SO_MANY_GPUS.search(s.column or s.key):
        return "it is of so many GPUs"
    if _POOLS.search(s.text):
        return "it may be of one of several pools"
    if n.dim == BYTES and _APIECE.search(before[-40:]):
        return "it is of one of several"
    if _ALL_COPIES.search(s.text):
        return "it may be of all copies"
    if several := _of_several_parts(part, before):
        return several
    if part.meaning is not None and part.meaning.name == "memory.kv_cache" and _OTHER_HEADS.search(s.text):
        return "it may be of another attention"
    if n.dim == BYTES and _ROOM.search(before):
        return "it is the room that something is said to fit in"
    if before.rstrip()[-1:] in tuple("<>≤≥"):
        return "it is a limit"
    counted = part.meaning is not None and part.meaning.name == "count.parameters" and s.kind == "cell"
    if s.column and (PARAMETERS.search(s.column) or counted) and not _OF_ALL.search(s.row):
        return f"it is of {s.row[:40]!r}, a part of the model"
    of_gpu = claim.verdict is Verdict.IMPOSSIBLE and "per GPU" in claim.quantity
    if of_gpu and "gpu" not in scopes_named(f"{part.figure.words} | {s.key}"):
        return "it may be of all GPUs"
    if _QUANTIZED.search(s.text) and part.meaning is not None and part.meaning.name.startswith("memory."):
        return "it may be in the format that it is quantized to"
    if _FRACTION.search(s.text) and part.meaning is not None and part.meaning.name.startswith(("count.", "memory.")):
        return "the sentence speaks of a fraction"
    supposed = part.meaning is not None and part.meaning.name == "share.straggler" and _SUPPOSED.search(before)
    if supposed or _UP_TO.search(before[-40:]):
        return "it is the most or the least of several cases"
    if n.approx and claim.computed and abs(n.value / claim.computed - 1) <= ROUGHLY:
        return f"it is said to be approximate, and lies within {ROUGHLY:.0%}"
    wide = part.meaning is not None and part.meaning.name.startswith(_OF_WORK)
    if group := group_of(" | ".join((s.text if wide else part.figure.words, s.key, *s.path[1:][-1:]))):
        return f"it is of {group!r}, which is neither a GPU nor the whole"
    if s.kind == "code" and not s.key:
        return "it stands in code or in a drawing, without a name"
    return ""


def _of_another(part: Part, meaning: Meaning, c: Context) -> str:
    """Another quantity or scope that the text admits and that the figure is right for."""
    n = part.figure.number
    names = dict.fromkeys((meaning.name, *topics_named(part.figure, part.statement)))
    named = scopes_named(part.statement.text)
    if part.figure.role == "result" and meaning.name.startswith("count."):
        named |= {"gpu"}  # what a count is divided to is often a GPU's
    scopes = _scopes_near(meaning.explicit, named)
    if splits_off(part.figure, part.statement):  # what tensor parallelism leaves of it is said apart
        scopes = [x for x in scopes if "gpu" not in x]
    if reason := _by_convention(n, meaning, c):
        return reason
    for name in names:
        for scope in scopes:
            if (name, scope) == (meaning.name, meaning.explicit):
                continue
            if any(r.value and matches(n, r.value) for r in c.readings(name, scope)):
                return f"it is right for {label(name, scope)}, and the text does not say which is meant"
    return ""


def _by_convention(n: Number, meaning: Meaning, c: Context) -> str:
    """A usual estimate, or way of counting, by which a figure is right."""
    gpus = c.facts.case.cluster.gpus
    if "gpu" in meaning.explicit and meaning.name.startswith(("memory", "count.parameters")):
        whole = c.readings(meaning.name, meaning.explicit - {"gpu"})
        if any(matches(n, r.value / gpus) for r in whole):
            return f"it is an even share of the whole over {gpus} GPUs, a usual estimate"
        given = c.facts.setting.given
        tp, pp = (given[f].value if f in given else 1 for f in ("strategy.tp", "strategy.pp"))
        if meaning.name == "count.parameters" and any(matches(n, r.value / k) for r in whole for k in (tp, tp * pp)):
            return f"it is an even share over tp {tp}"
    if meaning.name in ("memory.weights", "memory.total") and not meaning.explicit & {"layer", "expert"}:
        model = c.facts.case.model
        size = min(_NOMINAL, key=lambda x: abs(x - element_bytes(model.precision.weight("experts"))))
        whole_bytes, shares = total_parameters(model) * size, {1, gpus if "gpu" in meaning.explicit else 1}
        if any(matches(replace(n, approx=False), whole_bytes / share) for share in shares):
            return f"it is all parameters at {size:g} bytes each, a usual estimate"
    if meaning.name in ("memory.weights", "memory.total", "memory.attention", "memory.experts", "count.parameters"):
        said = [
            v for v in (n.value, n.binary) for r in c.readings(meaning.name, meaning.scopes[0]) if _close(v, r.value)
        ]
        if said:
            return f"it lies within {CLOSE:.0%}, as scales, further prediction layers or padding may make"
    return ""


def _close(said: float, right: float) -> bool:
    return abs(said - right) <= CLOSE * abs(right)


def _scopes_near(explicit: Scope, around: Scope) -> list[Scope]:
    """The scope that is said, what one word less says, and these with what the rest of the sentence names (``around``);
    where none is said, every one."""
    near = [explicit, *(explicit - {word} for word in explicit if word != "active")]  # active is never all
    named = around if explicit - {"all"} else frozenset(("gpu", "layer", "expert"))
    more = [frozenset(x) for count in range(len(named) + 1) for x in combinations(sorted(named), count)]
    return list(dict.fromkeys(scope | words for scope in near for words in more))


def _derived(part: Part, found: Clauses, claim: Claim, c: Context) -> str:
    """A figure whose own formula is right, where nothing but its neighbourhood tells what it is of."""
    figure, meaning = part.figure, part.meaning
    own = next((e for e in found.equalities if getattr(e.right, "at", -1) == figure.number.at), None)
    behind = next((e for e in found.equalities if getattr(e.left, "at", -1) == figure.number.at), None)
    if meaning is not None and own is None and behind is not None and isinstance(behind.right, Operation):
        judged = judge_equality(behind, lambda n: None, lambda n: n.whole)
        return "the formula behind it gives it" if judged is not None and judged.verdict is Verdict.HOLDS else ""
    if figure.role != "result" or meaning is None:
        return ""
    if not _holds(part, found):
        return ""
    if not meaning.certain or meaning.name in ("count.tokens", "count.experts", "count.heads"):
        return "its own formula holds, and what the result is of is not said beside it"
    others = [x for x in figure.formula if x.dim == figure.number.dim and (x.dim != COUNT or x.factor >= _LARGE)]
    others = [
        x for x in others if x.dim != BYTES or x.factor != 1 or x.value > WIDEST
    ]  # an element's size is no figure
    if others and figure.number.dim != SECONDS:
        return "it follows from other figures of the document, which are judged where they stand"
    return ""


#: what has no cache in it
_WEIGHTS_ALONE: Final = re.compile(r"memory\.(?:weights|experts|attention|vocabulary|router|shared)")


def _other_format(part: Part, meaning: Meaning, c: Context) -> str:
    """Bytes of elements in another format than the plan's."""
    named = FORMAT.search(part.statement.text) if meaning.name.startswith(("memory", "communication")) else None
    plan = c.facts.case.model.precision.weight("experts")
    form = DENSE_FORMATS.get(named[1].lower(), named[1].lower()) if named else plan
    if not named and meaning.name.startswith("memory"):
        cache = meaning.name == "memory.kv_cache" and bool(c.cache_formats)
        plan = c.facts.case.model.precision.kv_cache if cache else plan
        alone = cache or _WEIGHTS_ALONE.match(meaning.name)
        told = (c.cache_formats if cache else c.formats) if alone else (*c.formats, *c.cache_formats)
        others = [x for x in told if not FORMAT.fullmatch(x) or element_bytes(x) != element_bytes(plan)]
        if others:
            return f"the document speaks of {others[0]} too, and does not say of what here"
    if form == plan or element_bytes(form) == element_bytes(plan):
        return ""
    return f"it is in {form}, and what the plan's weights are in was read as {plan}"


_ROUTED: Final = re.compile(r"\brouted\b|geroutet|路由专家", re.IGNORECASE)


_IS_READ: Final = re.compile(r"\bread|\bload|weights?\b|cache|HBM|读取|gelesen", re.IGNORECASE)
_REACHED: Final = ("count.sequences", "count.tokens", "throughput")


def _on_doubt(part: Part, meaning: Meaning, claim: Claim, c: Context, doubts: Doubts) -> str:
    """Premises that are contested or assumed, estimates of time, and quantities that are not named plainly."""
    if reason := of_what(part, meaning, claim, c):
        return reason
    readings = c.readings(meaning.name, meaning.scopes[0]) or c.readings(meaning.name, meaning.explicit)
    needs = readings[0].needs if readings else ()
    sizes = _SIZES if set(PLAN) & set(needs) or "gpu" in meaning.explicit else ()
    whole = meaning.name == "count.parameters" and not meaning.explicit - {"all"}
    device = () if whole else ("cluster.device.name",)
    if reason := doubts.of((*needs, "model.name", *device, *sizes)):
        return reason
    defaults = {f for f, a in c.facts.setting.assumed.items() if a.source.startswith("default")}
    bytes_of = meaning.name.startswith(("memory", "communication"))
    guesses = _GUESSES if bytes_of else _GUESSES[1:]
    guessed = [f for f in needs if f in defaults and f in guesses and not (f == "model.precision" and _sized(part, c))]
    if "model.vocab_size" in defaults and claim.ratio is not None and claim.verdict is Verdict.WRONG:
        larger = claim.ratio < 1 if meaning.name.endswith("headroom") else claim.ratio > 1
        counted = meaning.name == "count.parameters" and 1 < claim.ratio < MIXED[1]
        whole = meaning.name in _WITH_VOCABULARY or counted
        guessed += ["model.vocab_size"] if larger and whole else []
    parts = c.other_parts if "model.name" not in c.facts.setting.given and meaning.name in _OF_ALL_PARTS else ""
    routed = meaning.name == "memory.experts" and _ROUTED.search(claim.text)
    if parts and not routed and claim.verdict is Verdict.WRONG and not slip(claim.ratio or 0.0, 5e-3):
        return f"the document's model has {parts}, which the sizes read do not"
    if claim.verdict is Verdict.WRONG and (whole_ := _may_be_whole(meaning, claim, c)):
        return whole_
    mixed = meaning.name in ("memory.weights", "memory.total") and claim.verdict is Verdict.WRONG
    if mixed and claim.ratio is not None and MIXED[0] < claim.ratio < MIXED[1]:
        return "formats of single tensors, copies of experts or padding may make the difference"
    partial = bool(meaning.explicit - {"all"}) or meaning.name != "count.parameters"
    if meaning.name.startswith("count.parameters") and partial and claim.verdict is Verdict.WRONG:
        every = total_parameters(c.facts.case.model)
        usual = slip(
            claim.ratio or 0.0, part.figure.number.slack + 5e-3, ((float(len(c.facts.case.model.layers)), "layers"),)
        )
        told = "active" in meaning.explicit and not _TOTAL.search(part.figure.words)
        if not usual and not (told and _close(part.figure.number.value, every)):
            return "how it is counted may differ: with embeddings, shared experts or biases"
    twice = claim.ratio is not None and any(abs(claim.ratio / x - 1) < 0.01 for x in (0.5, 2.0))
    if meaning.name == "memory.kv_cache" and twice and not FORMAT.search(part.statement.text):
        return "the cache may be in another format than the weights"
    if meaning.name == "compute.utilization" and part.figure.role == "lone" and claim.verdict is Verdict.WRONG:
        return "it may be what is reckoned with"
    if meaning.name == "compute.delivered" and "cluster.device.mfu" not in c.facts.setting.given:
        return "what share of its peak a device reaches is not given"
    if guessed and claim.verdict is Verdict.WRONG:
        return f"the document does not give {', '.join(guessed)}, which it stands on"
    if claim.verdict is Verdict.WRONG and meaning.name.startswith(_ESTIMATED) and meaning.name != "time.bound":
        return "a time is estimated, not derived: the two are shown side by side"
    if claim.verdict is Verdict.IMPOSSIBLE and (reason := _of_another_pass(part, meaning, claim, c)):
        return reason
    if not meaning.certain and claim.verdict is Verdict.WRONG:
        return "what it is of is not said beside it"
    return ""


#: products of a layer, which stand by themselves for tokens that are told elsewhere
_OF_PARTS: Final = ("compute.projections", "compute.scores", "compute.experts", "compute.attention")
_OF_OTHERS: Final = ("time.bound", "count.sequences")
#: what is often of a part of the work, of other tokens, or of another pass
_OF_SOME_WORK: Final = (
    *("time.bound", "compute.attention", "compute.scores", "compute.total", "count.sequences"),
    *("compute.projections", "compute.experts"),
    *("communication.dispatch", "communication.combine", "communication.total"),
)
_DENSE: Final = re.compile(r"\bdense\b(?! (?:TFLOP|FLOP|BF16|FP8|peak))|稠密(?!算力)", re.IGNORECASE)
#: how near such an amount must be to what a slip makes of the plan's
_OFF: Final = 0.01


def _holds(part: Part, found: Clauses) -> bool:
    """Whether a figure is the right result of its own formula."""
    own = next((e for e in found.equalities if getattr(e.right, "at", -1) == part.figure.number.at), None)
    judged = judge_equality(own, lambda n: None, lambda n: n.whole) if own is not None else None
    return judged is not None and judged.verdict is Verdict.HOLDS


def _by_no_slip(part: Part, found: Clauses, claim: Claim, c: Context) -> str:
    """Why an amount of work that no usual slip makes of the plan's may be of something else than the plan's pass."""
    meaning, layers = part.meaning, len(c.facts.case.model.layers)
    if meaning is None:
        return ""
    in_all = "layer" in meaning.explicit and claim.ratio and abs(claim.ratio / layers - 1) < _OFF
    if in_all and any(n.value == layers for n in part.figure.formula):
        return "its own formula has all layers in it"
    if meaning.name == "compute.experts" and _DENSE.search(claim.text):
        return "it may be of a dense layer's"
    if not meaning.name.startswith(_OF_SOME_WORK) or claim.verdict is not Verdict.WRONG or not claim.ratio:
        return ""
    if abs(claim.ratio - 1) <= _OFF:
        return "it is within a hundredth, as routers and norms may make"
    alone = not part.figure.formula and meaning.name.startswith(_OF_PARTS)
    if not alone and not _holds(part, found) and not meaning.name.startswith(_OF_OTHERS):
        return ""
    moe, gpus = c.facts.case.model.moe, c.facts.case.cluster.gpus
    sizes = [(float(layers), "layers"), (float(gpus), "GPUs")]
    sizes += [(float(moe.top_k), "top k"), (float(moe.experts), "experts")] if moe is not None else []
    off = slip(claim.ratio, _OFF, sizes)
    return "" if off else "no usual slip makes it of the plan's, and it may be of a part or of other work"


def _sized(part: Part, c: Context) -> bool:
    """Whether the formula of a figure has the bytes of an element of the plan's weights."""
    size = element_bytes(c.facts.case.model.precision.weight("experts"))
    return any(n.dim == BYTES and n.factor == 1 and n.value == size for n in part.figure.formula)


def _of_another_pass(part: Part, meaning: Meaning, claim: Claim, c: Context) -> str:
    """Why a time, or a rate, below the bound may be of another pass than the document's, or of a part of it."""
    if not meaning.name.startswith(("time.", "throughput.")):
        return ""
    kind = c.facts.setting.given.get("workload.kind")
    aside = kind is not None and kind.value == "decode" and kind.line >= claim.line
    if part.statement.kind == "prose" and not part.statement.key and (aside or group_of(claim.text)):
        return "of which pass it is, and over which ranks, is not said beside it"
    if _OWN_TOKENS.search(claim.text):
        return "it is of tokens of its own"
    if _SLACK.search(claim.text):
        return "it may be of what is left of a limit"
    if not meaning.name.startswith("time."):
        return ""
    if not _OF_ALL_TIME.search(claim.text) or _OF_EACH.search(claim.text):
        return "it is not said to be of a whole pass"
    return "it may be of a part of the pass" if _other_time(claim, c) else ""


def _other_time(claim: Claim, c: Context) -> bool:
    """Whether a time may be of a part of the pass, or of the other phase than the document's."""
    other = _OF_PREFILL if c.facts.case.workload.kind is Kind.DECODE else _OF_DECODE
    return bool(_OTHER_TIME.search(claim.text) or other.search(claim.text))
