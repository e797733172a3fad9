"""What a document leaves open of a figure: of a GPU, a layer, a token, one of many or all, and how experts are cut."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import Context
from moewright.audit.judges.sums import Part
from moewright.audit.reading.meaning import Meaning, scopes_named
from moewright.audit.reading.restated import is_model, models_named
from moewright.audit.text.numbers import BYTES, COUNT

#: what speaks of bytes that are sent
IS_SENT: Final = re.compile(r"通信|communicat|traffic|all-?to-?all|all-?reduce|dispatch", re.IGNORECASE)
_IS_HELD: Final = re.compile(r"memory|weights?|cache|hold|store|buffer|显存|权重|缓存|Speicher|Gewicht", re.IGNORECASE)

_OF_ALL_SAID: Final = re.compile(r"\bmodel\b|total|in all\b|模型|总|Modell|gesamt", re.IGNORECASE)
_COPIED: Final = re.compile(
    r"(?<!no )(?<!without )(?<!keine )redundan|replicated experts|expert replicas|冗余|\bslots?\b|EPLB", re.IGNORECASE
)
#: quantities that a calculation of the document may be of another share of
_FITTING: Final = re.compile(
    r"\b(?:full|whole|volle|ganze) (?:sequences|contexts|requests|Sequenzen)\b|\benough\b|"
    r"\bfits?\b|\bhold|\broom\b|\bmax|capacit|at most|passen|höchstens|可容纳|最多|容量",
    re.IGNORECASE,
)
#: one of many, whose tokens are not those of a pass
_OF_PROMPT: Final = re.compile(
    r"(?:\b(?:prompt|request|sequence|conversation|session|Anfrage|Sequenz|Sitzung)\w*\s+(?:of|with|von|mit|zu|à)|"
    r"(?:请求|序列|提示|会话)\S{0,4})\s*[~≈]?$",
    re.IGNORECASE,
)


#: what makes tokens those of one pass, and bytes those of what is left
_OF_PASS: Final = re.compile(
    r"\bbatch|\bper (?:step|pass|iteration|GPU|chip|accelerator|rank|card|expert)|\b(?:step|pass|iteration)\b|Schritt|"
    r"每步|批|每(?:张)?卡|每个?专家",
    re.IGNORECASE,
)
#: what is of a micro-batch where a step has several
_OF_WORK: Final = ("communication.", "count.tokens", "memory.activations", "memory.buffers")
_STEP: Final = re.compile(r"\bstep|\bpass\b|iteration|Schritt|global batch|每步|一步|\bpas\b", re.IGNORECASE)
#: of a cache, what a token has is less
TINY: Final = 1e-3
#: how near a figure must be to that of one sequence
CLOSE: Final = 0.02
#: how many times the tokens of a pass a number of tokens may be
FAR: Final = 64.0
#: what there is of the weights, and parts of what training keeps besides them
OF_STATES: Final = ("memory.experts", "memory.weights", "memory.attention")
STATES: Final = re.compile(r"optimi|gradient|\bgrads?\b|moment|master|\badam|优化器|梯度", re.IGNORECASE)
_OF_REST: Final = re.compile(
    r"\b(?:rest|remaining|remainder|others?|everything else|übrige[nrs]?)\b|其余|剩余", re.IGNORECASE
)


def _of_one(part: Part, meaning: Meaning, claim: Claim, given: Mapping[str, object]) -> str:
    """Why a figure may be of one of what the quantity counts, or of none of them."""
    around = meaning.explicit | scopes_named(" | ".join((claim.text, *part.statement.path[-1:])))
    if part.figure.number.text.rstrip().endswith(("bit", "bits")):
        return "it is of an element, in bits"
    if meaning.name == "count.heads" and "gpu" in around and "strategy.tp" not in given:
        return "the document gives no strategy.tp"
    if meaning.name == "count.heads" and not around & {"gpu", "all"}:
        return "it is not said whether it is of a GPU or of all"
    if meaning.name == "count.tokens" and "token" in meaning.explicit:
        return "it is of what a token has"
    if meaning.name == "count.tokens" and not _OF_PASS.search(claim.text):
        return "it is not said to be of a pass"
    astray = claim.ratio is None or not 1 / FAR < claim.ratio < FAR
    if meaning.name == "count.tokens" and astray:
        return "it is of other tokens than those of a pass"
    of_token = meaning.name == "memory.kv_cache" and re.search(r"token", claim.text, re.IGNORECASE)
    if of_token and claim.ratio is not None and claim.ratio < TINY:
        return "it may be of a token"
    if meaning.name.startswith(OF_STATES) and STATES.search(claim.text):
        return "it is of states of training"
    if meaning.name.startswith("memory.") and _OF_REST.search(claim.text):
        return "it is of the rest of something"
    if meaning.name.endswith("bubble") and re.search(r"includ|inklusive|einschl|包含|计入", claim.text, re.IGNORECASE):
        return "it is of what has the bubble in it"
    if meaning.name == "count.tokens" and _OF_PROMPT.search(part.statement.value[: part.figure.number.at]):
        return "it is of one sequence"
    if meaning.name.startswith("communication.") and not meaning.explicit:
        return "it is not said of what: of a token, of a layer or of a pass"
    return ""


#: small words of French and Spanish, of whose names of quantities few are read
_ROMANCE: Final = re.compile(
    r"\b(?:les|des|une?|par|pour|sur|est|du|aux|dans|soit|avec|los|las|del|por|para|cada|con|una|en total)\b",
    re.IGNORECASE,
)
FEWEST_WORDS: Final = 2


_OVER_EP: Final = re.compile(r"(\d+)\s*(?:\w+ )?experts?\s*[/÷]\s*EP\s*=?\s*(\d+)\s*=\s*$", re.IGNORECASE)


def _is_of_layer(part: Part, c: Context) -> bool:
    """Whether a number of experts is worked out as those of a layer over so many ranks: 256 / 8 = 32."""
    told, moe = [n.value for n in part.figure.formula], c.facts.case.model.moe
    if m := _OVER_EP.search(part.statement.value[: part.figure.number.at]):
        told = [float(m[1]), float(m[2])]
    divided = moe is not None and len(told) == 2 and told[0] == moe.experts and told[1] > 0
    return divided and told[0] / told[1] == part.figure.number.value


#: FLOPs that a parameter costs a token, forward and backward, and with the forward pass done again
_TRAINED: Final = (6.0, 8.0)


def _is_trained(part: Part) -> bool:
    """Whether the formula of a figure has the FLOPs of forward and backward for each of many parameters."""
    values = [n.value for n in part.figure.formula]
    return bool(values) and values[0] in _TRAINED and max(values) >= 1e6


_BOTH_PASSES: Final = re.compile(
    r"\b(?:forward|fwd) (?:and|\+|&) (?:backward|bwd)\b|[Vv]orwärts.{0,12}[Rr]ückwärts|前向.{0,6}反向", re.IGNORECASE
)


def _of_training(part: Part, meaning: Meaning, claim: Claim, c: Context) -> str:
    """Why work may be that of a training step, or of a part of one."""
    if meaning.name.startswith("compute.") and claim.verdict is Verdict.WRONG and _is_trained(part):
        return "its factor of 6 or 8 is that of a training step"
    if meaning.name.startswith("communication.") and _BOTH_PASSES.search(claim.text):
        return "it is of the forward and the backward pass"
    if c.micro_batches and meaning.name.startswith(_OF_WORK) and not _STEP.search(claim.text):
        return "it may be of a micro-batch"
    if c.micro_batches and meaning.name.startswith("compute.") and not _by_thousand(claim):
        return "it may be of a training step, forward and backward"
    return ""


#: memory that something else may have
_LEFT_FOR: Final = re.compile(
    r"\b(?:have|left|leaves?|remain\w*|free|room|spare|stay\w*|available|reserved?)\b(?:[^.;]|\.(?=\d)){0,40}\bfor\b|"
    r"留给|可用于|留作|预留|\b(?:bleib\w*|frei|übrig)\b(?:[^.;]|\.(?=\d)){0,40}\bfür\b",
    re.IGNORECASE,
)
_A_LAYER: Final = re.compile(r"一层|每层|单层|\b(?:per|a|one|each|every) layer\b|\b(?:je|pro) Schicht", re.IGNORECASE)


def _of_room(meaning: Meaning, claim: Claim) -> str:
    """What is left for a cache or for buffers is not what they take; nor is what is of a layer a GPU's in all."""
    name = meaning.name
    if name in ("memory.kv_cache", "communication.total", "memory.buffers") and _LEFT_FOR.search(claim.text):
        return "it may be what is left for it"
    if name.startswith("communication.") and "layer" not in meaning.explicit and _A_LAYER.search(claim.text):
        return "it may be of a layer"
    return ""


def of_what(part: Part, meaning: Meaning, claim: Claim, c: Context) -> str:
    """What is not told of the quantity itself: what it is of, and sizes that it stands on."""
    if reason := _of_one(part, meaning, claim, c.facts.setting.given):
        return reason
    if len(_ROMANCE.findall(" | ".join((claim.text, *part.statement.path)))) >= FEWEST_WORDS:
        return "the words of its language are read in part"
    if meaning.name == "count.experts" and _is_of_layer(part, c):
        return "its own formula gives it for a layer, over so many ranks"
    of_gpu = "gpu" in meaning.explicit or ("all" not in meaning.explicit and "gpu" in scopes_named(claim.text))
    if of_gpu and c.facts.plan is None and claim.verdict is Verdict.WRONG:
        return f"what a GPU has is not known without a strategy: {c.facts.reason}"
    if reason := _of_a_part(meaning, claim):
        return reason
    counted = meaning.name.startswith(("count.experts", "count.modules", "count.heads", "count.tokens"))
    n = part.figure.number
    if meaning.name == "count.experts" and _COPIED.search(claim.text):
        return "it may count copies of experts"
    if counted and not n.whole and n.factor == 1:
        return "it has decimals, so that its unit was not read"
    if counted and "all" not in meaning.explicit and c.facts.plan is None:
        return "it is not said of what: of a GPU, of a layer or of all"
    if reason := _on_cuts(meaning, claim, c):
        return reason
    if meaning.name == "count.parameters" and "token" in meaning.explicit and "active" not in meaning.explicit:
        return "it may be of those that a token passes"
    if reason := _of_own_tokens(part, meaning, claim, c):
        return reason
    if reason := _of_training(part, meaning, claim, c) or _of_room(meaning, claim):
        return reason
    stages = c.facts.plan.strategy.pp if c.facts.plan is not None else 0
    if meaning.name.endswith("bubble") and part.figure.formula and part.figure.formula[0].value + 1 != stages:
        return "its own formula gives it for other stages"
    if meaning.name.endswith("bubble") and "strategy.micro_batches" not in c.facts.setting.given:
        return "the document gives no strategy.micro_batches"
    if meaning.name == "count.sequences" and _FITTING.search(claim.text):
        return "it is of those that fit"
    if meaning.name.startswith("throughput") and "gpu" in meaning.explicit and c.facts.plan is None:
        return f"what a GPU serves is not known without a strategy: {c.facts.reason}"
    if meaning.name.startswith("throughput") and "expert" in meaning.explicit:
        return "it is of an instance, and not said of which GPUs"
    given = c.facts.setting.given.get("model.name")
    around = (part.statement.text, *reversed(part.statement.path[-2:]))
    others = next((names for text in around if (names := models_named(text))), set())
    if others and not any(given is not None and is_model(m, str(given.value)) for m in others):
        return f"it may be of {min(others)}"
    if len(meaning.explicit) > 2:
        return "the words around name several things that it may be of"
    held = meaning.name.startswith("memory.")
    if held and IS_SENT.search(claim.text) and not _IS_HELD.search(claim.text):
        return "it may be of what is sent"
    if meaning.name.startswith(("memory.weights", "memory.experts")) and "token" in meaning.explicit:
        return "it may be of the weights that a token passes"
    if meaning.name == "communication.total" and re.search(r"\bring\b|all-?reduce|环", claim.text, re.IGNORECASE):
        return "it may be of another exchange than that of experts"
    if meaning.name.endswith("bubble") and re.search(r"virtual|interleav|交错|虚拟", claim.text, re.IGNORECASE):
        return "it is of another schedule"
    return ""


def _of_own_tokens(part: Part, meaning: Meaning, claim: Claim, c: Context) -> str:
    """Why work, traffic or time may be of other tokens than those of the pass: of one sequence, or those that its own
    formula has."""
    batch, model = c.facts.case.workload.batch[0], c.facts.case.model
    if not meaning.name.startswith(("compute.", "communication.", "time.")):
        return ""
    if batch > 1 and claim.ratio and abs(claim.ratio * batch - 1) < CLOSE + part.figure.number.slack:
        return f"it may be of one of the {batch} sequences"
    counts = {n.value for n in part.figure.formula if n.dim == COUNT}
    sized = any(n.dim == BYTES for n in part.figure.formula)  # 4,096 × 8 × 7168 × 2 B
    sent = meaning.name.startswith("communication.") and sized
    if sent and model.moe is not None and {model.hidden_size, model.moe.top_k} <= counts:
        return "its own formula gives it for the tokens that it has"
    return ""


def _by_thousand(claim: Claim) -> bool:
    """Whether a figure is off by a prefix."""
    ratio = claim.ratio or 0.0
    return any(abs(ratio * k - 1) < 0.01 for k in (1e3, 1e-3, 1e6, 1e-6))


def _on_cuts(meaning: Meaning, claim: Claim, c: Context) -> str:
    """What is not given of how experts are cut, where a figure of a GPU stands on it."""
    given = c.facts.setting.given
    folded = meaning.name in ("count.experts", "memory.experts", "memory.weights", "memory.total", "count.parameters")
    sizes = {"strategy.ep", "strategy.etp"} & set(given)
    tp = given.get("strategy.tp")
    alone = tp is not None and c.facts.case.cluster.gpus == tp.value  # experts cut or whole are as many bytes
    held = folded and "gpu" in meaning.explicit | meaning.scopes[0]
    held = held and not (alone and meaning.name.startswith("memory."))
    plan, told = c.facts.plan, tp.value if tp is not None else 1
    if held and plan is not None and plan.strategy.experts.tp not in (1, told) and "strategy.etp" not in given:
        return "the document gives no strategy.etp, and there may be several instances"
    if (held or meaning.name.startswith("communication.")) and not sizes and c.facts.case.model.moe is not None:
        return "the document gives no strategy.ep"
    return ""


def _of_a_part(meaning: Meaning, claim: Claim) -> str:
    """What is less than the whole may be a GPU's, where it is not said of what it is."""
    counted = meaning.name.startswith(("count.experts", "count.heads"))
    counted = counted or (meaning.name.startswith("count.parameters") and not _OF_ALL_SAID.search(claim.text))
    held = counted or (meaning.name.startswith("memory.") and "per layer" not in claim.quantity)
    less = claim.ratio is not None and claim.ratio < 1 and not meaning.name.endswith(("headroom", "utilization"))
    told = "per GPU" in claim.quantity or meaning.explicit & {"gpu", "all", "expert", "token"}
    if held and less and not told:
        return "it is not said whether it is of a GPU or of the whole"
    return ""
