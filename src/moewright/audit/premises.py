"""What a document takes for given: hardware, model, workload, strategy, by the field's usual wordings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from moewright.audit.document import Document, Statement
from moewright.audit.numbers import (
    BYTE_RATE,
    BYTES,
    COUNT,
    FLOP,
    FLOP_RATE,
    SECONDS,
    Dim,
    Number,
    Token,
    tokens_of,
)


@dataclass(frozen=True, slots=True)
class Premise:
    """One field of a case with its value (SI), where the document gives it, and in which words."""

    field: str
    value: Any
    line: int
    text: str


#: wording of a key → (field, dimensions its value may have); the first that matches counts
_KEYS: Final[tuple[tuple[str, str, tuple[Dim, ...]], ...]] = (
    (
        r"(?:gpus?|cards?|accelerators?|devices?)[ -]*(?:per|/|in (?:each|a))[ -]*(?:node|server|"
        r"machine)|每(?:节点|机|台)\S*(?:卡|GPU)|单机\S*(?:卡|GPU)|node size|nvlink domain",
        "cluster.gpus_per_node",
        (COUNT,),
    ),
    (
        r"^(?:number of |total |available |available total )?(?:gpus?|accelerators?)(?: resources| count|"
        r" total|s)?(?: used| available)?$|gpu (?:resources|count|total)|world size|^cluster(?: size)?$|"
        r"(?:GPU|卡)(?:总)?数量?|(?:total|number of) (?:gpus?|devices|cards)|^总?GPU数?$",
        "cluster.gpus",
        (COUNT,),
    ),
    (r"^(?:number of )?(?:nodes?|servers)$|节点数", "nodes", (COUNT,)),
    (
        r"(?:mfu|model flops? utili[sz]ation|compute (?:utili[sz]ation|efficiency)|算力利用率|计算效率)",
        "cluster.device.mfu",
        (COUNT,),
    ),
    (
        r"(?:(?:vram|hbm|memory|dram)[ -]*)?(?:bandwidth|bw)[ -]*(?:utili[sz]ation|efficiency)|(?:显存|"
        r"内存)?带宽(?:利用率|效率)",
        "cluster.device.bandwidth_utilization",
        (COUNT,),
    ),
    (
        r"(?:nvlink|nvswitch|intra[- ]?node|scale[- ]?up|in[- ]node|机内|节点内|卡间).*latency|"
        r"latency.*(?:nvlink|intra)|节点内.*(?:延迟|时延)",
        "cluster.network.node.latency",
        (SECONDS,),
    ),
    (
        r"(?:infiniband|\bib\b|roce|inter[- ]?node|scale[- ]?out|fabric|cross[- ]node|机间|节点间|跨节点|"
        r"跨机).*(?:latency|延迟|时延)",
        "cluster.network.fabric.latency",
        (SECONDS,),
    ),
    (
        r"nvlink|nvswitch|intra[- ]?node|scale[- ]?up|in[- ]node|机内|节点内",
        "cluster.network.node.bandwidth",
        (BYTE_RATE,),
    ),
    (
        r"infiniband|\bib\b|roce|inter[- ]?node|scale[- ]?out|fabric|cross[- ]node|机间|节点间|跨节点|跨机|"
        r"^network(?: bandwidth)?$|网络带宽|\bnic\b|ethernet",
        "cluster.network.fabric.bandwidth",
        (BYTE_RATE,),
    ),
    (
        r"(?:vram|hbm\d?e?|memory|dram|显存|内存|hbm).*(?:bandwidth|bw\b|带宽)|^bandwidth|^带宽|显存带宽",
        "cluster.device.memory_bandwidth",
        (BYTE_RATE,),
    ),
    (
        r"computing power|compute power|peak|flops|tensor core|算力|峰值|compute(?: capability| throughput|"
        r" performance)?$|performance$",
        "cluster.device.flops",
        (FLOP, FLOP_RATE),
    ),
    (
        r"(?:video )?(?:memory|vram|hbm\w*|显存|内存)(?: capacity| size|容量|大小)?(?: per (?:gpu|card|"
        r"device))?$|memory capacity|显存",
        "cluster.device.memory",
        (BYTES,),
    ),
    (
        r"^(?:num(?:ber of)?[ _])?(?:moe |transformer |total |model )?layers?$|num_hidden_layers|^层数|层数$|"
        r"模型层数|^depth$|总层数",
        "model.layers",
        (COUNT,),
    ),
    (
        r"(?:routed )?experts?(?: count)?(?: per | in each |/|_per_)(?:moe )?layer|"
        r"^(?:num(?:ber of)?[ _])?(?:routed[ _]|local[ _]|total[ _])?experts?$|n_routed_experts|"
        r"num_(?:local_)?experts|每层专家数|^专家(?:总)?数量?$|路由专家",
        "model.experts.count",
        (COUNT,),
    ),
    (
        r"top[-_ ]?k|experts? per token|active(?:d)? experts|num_experts_per_tok|experts? (?:chosen|"
        r"selected|activated)|每(?:个)?token.*专家|激活专家",
        "model.experts.top_k",
        (COUNT,),
    ),
    (
        r"(?:moe|expert|ffn|feed[- ]?forward|mlp|intermediate|moe_intermediate)[ _-]*(?:ffn |mlp |"
        r"hidden |intermediate |inner )*(?:size|dim(?:ension)?|width|hidden)$|^(?:ffn|mlp|"
        r"expert)[ -]?width|width of (?:an|each|the) expert|(?:专家|FFN|MoE|中间|MLP).*(?:维度|大小|宽度|隐藏)|^d_ff$",
        "model.experts.intermediate_size",
        (COUNT,),
    ),
    (
        r"^(?:model |token |hidden |embedding |hidden_|d_?)(?:dim(?:ension)?|size|width|model|"
        r"state size)s?$|hidden[ _](?:size|dim|width)|^d_model$|隐藏(?:层)?(?:维度|大小|尺寸)|token维度|模型维度|"
        r"^hidden$|model width",
        "model.hidden_size",
        (COUNT,),
    ),
    (r"(?:kv|key[- ]?value)[ _]?heads|num_key_value_heads|KV头", "model.attention.kv_heads", (COUNT,)),
    (r"head[ _]?(?:dim(?:ension)?|size|width)|头维度|每头维度", "model.attention.head_dim", (COUNT,)),
    (
        r"^(?:number of |num_)?(?:attention |query |q |attention_)?heads?$|注意力头数?|^头数$",
        "model.attention.heads",
        (COUNT,),
    ),
    (r"vocab|词表", "model.vocab_size", (COUNT,)),
    (
        r"^(?:global )?(?:batch(?:[ _]size)?|concurrent sequences|sequences|concurrency|"
        r"decode batch)(?: \(?global\)?)?$|批(?:次)?大小|^批量|batch size|并发(?:数|序列)",
        "workload.batch",
        (COUNT,),
    ),
    (
        r"(?:sequence|prompt|context|input|seq)[ _]*(?:len(?:gth)?|tokens)$|^seq_?len$|序列长度|上下文长度|提示长度|"
        r"^context$|输入长度",
        "workload.sequence",
        (COUNT,),
    ),
    (r"micro[- ]?batches", "strategy.micro_batches", (COUNT,)),
    (r"expert[- ]?tensor|\betp\b|moe[- ]?tp\b|专家张量并行", "strategy.etp", (COUNT,)),
    (r"expert[- ]?parallel|\bep\b|专家并行", "strategy.ep", (COUNT,)),
    (r"tensor[- ]?parallel|\btp\b|张量并行", "strategy.tp", (COUNT,)),
    (r"pipeline[- ]?parallel|\bpp\b|流水线?并行|pipeline stages", "strategy.pp", (COUNT,)),
    (r"data[- ]?parallel|\bdp\b|数据并行", "strategy.dp", (COUNT,)),
    (r"context[- ]?parallel|\bcp\b|上下文并行", "strategy.cp", (COUNT,)),
    (r"^(?:model )?replicas?(?: count)?$|副本", "strategy.replicas", (COUNT,)),
)
_COMPILED: Final = tuple((re.compile(pattern, re.IGNORECASE), field, dims) for pattern, field, dims in _KEYS)
#: what speaks of something derived or of a part, so that the figure is a claim and no premise
_DERIVED: Final = re.compile(
    r"achiev|effective|deliver|per (?:layer|token|expert|pass)|requirement|usage|used|needed|weights|"
    r"split|after|saving|reduc|headroom|available for|free|remaining|total communication|有效|实际|占用|需求|"
    r"memory utili|footprint|建议",
    re.IGNORECASE,
)
_WORK: Final = re.compile(
    r"total|attention|expert|router|gating|layer|projection|required|总|注意力|专家|每层", re.IGNORECASE
)
#: phrases of running text, each with one number
_PHRASES: Final[tuple[tuple[str, str], ...]] = (
    (r"(\d[\d,]*)\s*[x×]?\s*(?:\w*\d\w*\s)?(?:GPUs\b|accelerators\b|张(?:GPU|卡)|卡\b)", "cluster.gpus"),
    (r"(\d[\d,]*)\s*[x×]\s*(?:NVIDIA |AMD )?(?:[ABHL]\d{2,3}|GB[23]00|MI3)", "cluster.gpus"),
    (r"(\d+)\s*(?:GPUs?|cards?|卡)\s*(?:per|/|a|each)\s*(?:node|server)", "cluster.gpus_per_node"),
    (r"(\d+)\s*nodes?\s*(?:of|with|×|x)", "nodes"),
    (r"(\d+)[ -]layers?(?: transformer| model| MoE|\b)", "model.layers"),
    (r"(\d+)\s*层", "model.layers"),
    (r"(?<![\d.])(\d+)\s*(?:routed )?experts?\s*(?:per|in each|a|/)\s*(?:MoE )?layer", "model.experts.count"),
    (r"每层\s*(?:有)?\s*(\d+)\s*个?(?:路由)?专家", "model.experts.count"),
    (r"\btop[-_ ]?k\s*[=:of]*\s*(\d+)\b", "model.experts.top_k"),
    (r"\btop[- ]?(\d+)\b", "model.experts.top_k"),
    (r"(?:routes?|routed)(?: each token)? to (\d+) experts", "model.experts.top_k"),
    (
        r"(\d+)\s*(?:of (?:them|the experts)|experts?) (?:are )?(?:active|chosen|selected|activated|per token)",
        "model.experts.top_k",
    ),
    (r"(?:hidden|model) (?:size|dim(?:ension)?|width)\s*(?:of|is|=|:)?\s*(\d[\d,]*)", "model.hidden_size"),
    (
        r"(?:expert|intermediate|ffn) (?:hidden )?(?:size|dim(?:ension)?|width)\s*(?:of|is|=|:)?\s*(\d[\d,]*)",
        "model.experts.intermediate_size",
    ),
    (r"(\d+)\s*(?:attention |query )?heads\b", "model.attention.heads"),
    (r"(\d+)\s*(?:kv|key[- ]value) heads\b", "model.attention.kv_heads"),
    (r"heads?\s*(?:×|x|of|with)\s*(?:dim(?:ension)?\s*)?(\d+)\b", "model.attention.head_dim"),
    (r"batch(?: size)?\s*(?:of|is|=|:)?\s*(\d[\d,]*)", "workload.batch"),
    (r"(\d[\d,]*)\s*(?:concurrent )?(?:sequences|prompts|requests)\b(?!\s*/)", "workload.batch"),
    (r"(?:sequence length|prompt length|context(?: length)?)\s*(?:of|is|=|:)?\s*(\d[\d,]*)", "workload.sequence"),
    (r"(?:prompts|sequences|requests) of (\d[\d,]*) tokens", "workload.sequence"),
    (r"(\d[\d,]*)[- ]token(?:s)?(?: each| prompts?| sequences?| context)", "workload.sequence"),
    (r"\bEP\s*[=:-]?\s*(\d+)\b", "strategy.ep"),
    (r"\bE?TP\s*[=:-]?\s*(\d+)\b", "strategy.tp"),
    (r"\bPP\s*[=:-]?\s*(\d+)\b", "strategy.pp"),
    (r"\bDP\s*[=:-]?\s*(\d+)\b", "strategy.dp"),
    (r"\bCP\s*[=:-]?\s*(\d+)\b", "strategy.cp"),
    (r"(\d+)[- ](?:way|路) (?:expert|专家)", "strategy.ep"),
    (r"(\d+)[- ](?:way|路) (?:tensor|张量)", "strategy.tp"),
    (r"(\d+)[- ](?:way|路) (?:data|数据)", "strategy.dp"),
    (r"(\d+)[- ](?:way|路) (?:pipeline|流水)", "strategy.pp"),
)
_TEXT: Final = tuple((re.compile(pattern, re.IGNORECASE), field) for pattern, field in _PHRASES)
_PER_GPU: Final = re.compile(
    r"(?:each|per|every|an?|/) ?(?:gpu|device|rank|card)\b|每(?:张|个|块)?(?:gpu|卡)", re.IGNORECASE
)
_ASIDE: Final = re.compile(r"\([^()]*\)")
_FORMAT: Final = re.compile(r"\b(fp8|fp4|bf16|bfloat16|fp16|fp32|int8|int4|mxfp4|nvfp4)\b", re.IGNORECASE)
_DENSE_FORMATS: Final = {"bfloat16": "bf16", "fp4": "nvfp4"}


def premises_of(document: Document) -> list[Premise]:
    """Every premise in the order of the document, first those that are written ``key: value``; a field may come
    several times (then the first counts, and others that differ are contradictions)."""
    found: list[Premise] = []
    for s in document.statements:
        found += _keyed(s)
    named = {p.field for p in found}
    for s in document.statements:
        found += [p for p in _phrases(s) if p.field not in named or p.field.startswith("strategy")]
        found += _words(s)
    return found


def _keyed(s: Statement) -> Iterator[Premise]:
    """The premise of a ``key: value``, or of a table's row."""
    key = _ASIDE.sub("", s.key).split(" | ")[0].strip()
    sizes = re.match(r"(?:routed |active |activated |selected )?experts?(?: per|/)", key, re.IGNORECASE)
    if not key or len(key) > 48 or (_DERIVED.search(s.key) and not sizes) or len(key.split()) > 6:
        return
    if sizes and re.search(r"gpu|device|card|rank|卡", s.key, re.IGNORECASE):
        return
    tokens = tokens_of(s.value)
    numbers = [t for t in tokens if t.number is not None]
    if not numbers or _computed(tokens):
        return
    for pattern, field, dims in _COMPILED:
        if not pattern.search(key):
            continue
        if field == "cluster.device.flops" and _WORK.search(key):
            return
        fits = [t for t in numbers if t.number is not None and _fits(t.number, dims)]
        if fits and (fits[0] is tokens[0] or fits[0].at < 24):
            yield from _valued(field, fits[0].number, s)
        elif field.endswith("latency") or not fits:
            continue
        return


def _fits(n: Number, dims: tuple[Dim, ...]) -> bool:
    """FLOPs are a rate only where they are written so that they may be one."""
    return n.dim in dims and (n.dim != FLOP or n.either)


def _valued(field: str, n: Number | None, s: Statement) -> Iterator[Premise]:
    if n is None:
        return
    value: Any = n.value
    share = field.endswith(("mfu", "bandwidth_utilization"))
    if share and value > 1 and n.percent:
        yield Premise("share above 1", value, s.line_of(n.at), s.text)
    if share and not 0 < value <= 1:
        return
    if not share and n.dim == COUNT:
        if n.percent or value != int(value) or not value:
            return
        value = int(value)
    if field == "cluster.device.memory" and value < 4e9:
        return
    yield Premise(field, value, s.line_of(n.at), s.text)


def _computed(tokens: list[Token]) -> bool:
    """A value that is worked out, not given."""
    return any(t.kind in ("eq", "arrow") for t in tokens[1:]) and tokens[0].kind != "eq"


def _phrases(s: Statement) -> Iterator[Premise]:
    """Premises inside running text, such as "128 GPUs"; none inside what is worked out."""
    for pattern, field in _TEXT:
        for m in pattern.finditer(s.text):
            before, after = s.text[: m.start(1)].rstrip()[-1:], s.text[m.end(1) :].lstrip()[:1]
            worked = m.start() == m.start(1) and before in tuple("=×÷/*+→≈.-")
            worked = worked or (
                m.end() == m.end(1) and bool(after in tuple("×÷/*+=→≈%^") or re.match(r"\.\d", s.text[m.end(1) :]))
            )
            part = field == "model.experts.count" and _PER_GPU.search(s.text)
            if not worked and not part and len(m[1]) < 10 and int(m[1].replace(",", "")):
                yield Premise(field, int(m[1].replace(",", "")), s.line_of(m.start(), in_text=True), s.text)
                break


def _words(s: Statement) -> Iterator[Premise]:
    """Premises that are words: names, precision, kinds."""
    low = s.text.lower()
    key = s.key.lower()
    if re.search(r"precision|dtype|data type|quanti[sz]|精度|数据类型", key or low) and (m := _FORMAT.search(s.text)):
        name = m[1].lower()
        yield Premise("model.precision", _DENSE_FORMATS.get(name, name), s.line, s.text)
    if re.search(
        r"swiglu|geglu|\bglu\b|gate[d_ ]|three matri|3 matri|gate_proj|门控线性|三个矩阵", low
    ) and not re.search(r"gating network|moe gate|router|not gated|ungated|non-gated", low):
        yield Premise("model.experts.gated", True, s.line, s.text)
    if re.search(r"two matri|2 matri|\bgelu\b|not gated|ungated|non-gated|up and down|two-matrix|两个矩阵|无门控", low):
        yield Premise("model.experts.gated", False, s.line, s.text)
    if re.search(r"non-?causal|bidirectional|full mask|not causal|双向", low):
        yield Premise("workload.causal", False, s.line, s.text)
    elif re.search(r"\bcausal|autoregressive|因果", low):
        yield Premise("workload.causal", True, s.line, s.text)
    if re.search(
        r"broadcast(?:s|ed)? to (?:all|every)|replicated (?:on|to|across) (?:all|every)|"
        r"every gpu (?:holds|sees|gets|receives) (?:all|every)|广播(?:到|至|给)(?:所有|全部|每)",
        low,
    ):
        yield Premise("strategy.broadcast", True, s.line, s.text)
    if s.kind == "heading" or re.search(r"workload|phase|mode|stage|scenario|阶段|场景|负载", key):
        for kind, words in (("decode", r"decod|解码|generation"), ("prefill", r"prefill|预填充")):
            if re.search(words, low):
                yield Premise("workload.kind", kind, s.line, s.text)
                break
    yield from _catalogued(s)


def _catalogued(s: Statement) -> Iterator[Premise]:
    """Models and devices of the catalogue, by name."""
    from moewright.spec.catalogue_hardware import find_device
    from moewright.spec.catalogue_models import find_model

    words = re.findall(r"[A-Za-z][\w.]*(?:[-/][\w.]+)*", s.text[:1000])
    for i in range(len(words)):
        for size in (3, 2, 1):
            name = " ".join(words[i : i + size]).strip(".")
            if any(c.isdigit() for c in name) and i + size <= len(words) and (model := find_model(name)):
                yield Premise("model.name", model, s.line, s.text)
                break
        for size in (2, 1):
            name = " ".join(words[i : i + size]).strip(".")
            if any(c.isdigit() for c in name) and i + size <= len(words) and (device := find_device(name)):
                yield Premise("cluster.device.name", device, s.line, s.text)
                break
