"""The field's usual wordings of premises: keys of ``key: value`` and table rows, and phrases of running text."""

from __future__ import annotations

import re
from typing import Final

from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, SECONDS, Dim

#: wording of a key → (field, dimensions its value may have); the first that matches counts
KEYS: Final[tuple[tuple[str, str, tuple[Dim, ...]], ...]] = (
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
COMPILED: Final = tuple((re.compile(pattern, re.IGNORECASE | re.ASCII), field, dims) for pattern, field, dims in KEYS)
#: what speaks of something derived or of a part, so that the figure is a claim and no premise
DERIVED: Final = re.compile(
    r"achiev|effective|deliver|per (?:layer|token|expert|pass)|requirement|usage|used|needed|weights|"
    r"split|after|saving|reduc|headroom|available for|free|remaining|total communication|有效|实际|占用|需求|"
    r"memory utili|footprint|建议",
    re.IGNORECASE,
)
WORK: Final = re.compile(
    r"total|attention|expert|router|gating|layer|projection|required|总|注意力|专家|每层", re.IGNORECASE
)
#: phrases of running text, each with one number
PHRASES: Final[tuple[tuple[str, str], ...]] = (
    (r"(\d[\d,]*)\s*[x×]?\s*(?:\w{0,12}\d\w{0,12}\s)?(?:GPUs\b|accelerators\b|张(?:GPU|卡)|卡\b)", "cluster.gpus"),
    (r"(\d[\d,]*)\s*[x×]\s*(?:NVIDIA |AMD )?(?:[ABHL]\d{2,3}|GB[23]00|MI3)", "cluster.gpus"),
    (r"(\d+)\s*(?:GPUs?|cards?|卡)\s*(?:per|/|a|each)\s*(?:node|server)", "cluster.gpus_per_node"),
    (r"(\d+)[- ](?:GPU|card|卡)[- ](?:nodes?|servers?)", "cluster.gpus_per_node"),
    (r"每(?:台|节点|机)(?:服务器)?\s*(\d+)\s*(?:张|卡|块|GPU)", "cluster.gpus_per_node"),
    (r"(\d+)\s*nodes?\s*(?:of|with|×|x)", "nodes"),
    (r"(\d+)\s*张", "cluster.gpus"),
    (r"(\d+)[ -]layers?(?: transformer| model| MoE|\b)", "model.layers"),
    (r"(\d+)\s*层", "model.layers"),
    (r"(?<![\d.])(\d+)\s*(?:routed )?experts?\s*(?:per|in each|a|/)\s*(?:MoE )?layer", "model.experts.count"),
    (r"每层\s*(?:有)?\s*(\d+)\s*个?(?:路由)?专家", "model.experts.count"),
    (r"每层[^,;。]{0,4}?(\d+)\s*个(?:路由)?专家", "model.experts.count"),
    (r"(\d+)\s*(?:routed )?experts of (?:hidden |intermediate )?(?:width|size|dim\w*)", "model.experts.count"),
    (r"\btop[-_ ]?k\s*[=:of]*\s*(\d+)\b", "model.experts.top_k"),
    (r"(\d+) of (?:which|them|these|those) (?:are )?(?:active|chosen|selected|activated)", "model.experts.top_k"),
    (r"激活\s*(\d+)\s*个?(?:路由)?专家", "model.experts.top_k"),
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
    (r"experts of (?:hidden |intermediate )?(?:width|size|dim\w*)\s*(\d[\d,]*)", "model.experts.intermediate_size"),
    (r"(?:专家|FFN|MoE)(?:中间|隐藏)?(?:层)?维度\s*[:为是=]?\s*(\d+)", "model.experts.intermediate_size"),
    (r"(?<!专家)隐藏(?:层)?维度\s*[:为是=]?\s*(\d+)", "model.hidden_size"),
    (r"批(?:次)?大小\s*[:为是=]?\s*(\d+)", "workload.batch"),
    (r"(?:上下文|序列|提示|输入)长度\s*[:为是=]?\s*(\d+)", "workload.sequence"),
    (r"(\d+)\s*(?:attention |query )?heads\b", "model.attention.heads"),
    (r"(\d+)\s*个?注意力头", "model.attention.heads"),
    (r"(\d+)\s*(?:kv|key[- ]value) heads\b", "model.attention.kv_heads"),
    (r"heads?\s*(?:×|x|of|with)\s*(?:dim(?:ension)?\s*)?(\d+)\b", "model.attention.head_dim"),
    (r"batch(?: size)?\s*(?:of|is|=|:)?\s*(\d[\d,]*)", "workload.batch"),
    (r"(\d[\d,]*)\s*(?:concurrent )?(?:sequences|prompts|requests)\b(?!\s*/)", "workload.batch"),
    (r"(?:sequence length|prompt length|context(?: length)?)\s*(?:of|is|=|:)?\s*(\d[\d,]*)", "workload.sequence"),
    (r"(?:prompts|sequences|requests) of (\d[\d,]*) tokens", "workload.sequence"),
    (r"(?:each|each of|context of|length of)\s*(\d[\d,]*)\s*tokens", "workload.sequence"),
    (r"(\d[\d,]*)\s*tokens (?:each|per (?:prompt|sequence|request))", "workload.sequence"),
    (r"(\d[\d,]*)[- ]token(?:s)?(?: each| prompts?| sequences?| context)", "workload.sequence"),
    (r"(?<![\w-])EP\s*[=:-]?\s*(\d+)\b", "strategy.ep"),
    (r"(?<![\w-])E?TP\s*[=:-]?\s*(\d+)\b", "strategy.tp"),
    (r"(?<![\w-])PP\s*[=:-]?\s*(\d+)\b", "strategy.pp"),
    (r"(?<![\w-])DP\s*[=:-]?\s*(\d+)\b", "strategy.dp"),
    (r"(?<![\w-])CP\s*[=:-]?\s*(\d+)\b", "strategy.cp"),
    (r"expert[- ]parallel(?:ism)?(?: size| degree)?\s*(?:of|is|=|:)?\s*(\d+)", "strategy.ep"),
    (r"tensor[- ]parallel(?:ism)?(?: size| degree)?\s*(?:of|is|=|:)?\s*(\d+)", "strategy.tp"),
    (r"pipeline[- ]parallel(?:ism)?(?: size| degree)?\s*(?:of|is|=|:)?\s*(\d+)", "strategy.pp"),
    (r"data[- ]parallel(?:ism)?(?: size| degree)?\s*(?:of|is|=|:)?\s*(\d+)", "strategy.dp"),
    (r"micro[- ]?batches\s*[:=]?\s*(\d+)", "strategy.micro_batches"),
    (r"(\d+)\s*micro[- ]?batches", "strategy.micro_batches"),
    (r"(\d+)[- ](?:way|路) (?:expert|专家)", "strategy.ep"),
    (r"(\d+)[- ](?:way|路) (?:tensor|张量)", "strategy.tp"),
    (r"(\d+)[- ](?:way|路) (?:data|数据)", "strategy.dp"),
    (r"(\d+)[- ](?:way|路) (?:pipeline|流水)", "strategy.pp"),
)
TEXT: Final = tuple((re.compile(pattern, re.IGNORECASE | re.ASCII), field) for pattern, field in PHRASES)
PER_GPU: Final = re.compile(
    r"(?:each|per|every|an?|/) ?(?:gpu|device|rank|card)\b|每(?:张|个|块)?(?:gpu|卡)", re.IGNORECASE
)
ASIDE: Final = re.compile(r"\([^()]*\)")
FORMAT: Final = re.compile(r"\b(fp8|fp4|bf16|bfloat16|fp16|fp32|int8|int4|mxfp4|nvfp4)\b", re.IGNORECASE | re.ASCII)
DENSE_FORMATS: Final = {"bfloat16": "bf16", "fp4": "nvfp4"}
#: figures of a device or a network inside running text: what stands before the number, behind it, field, dimensions
_AROUND: Final = (
    ("", r"^ ?(?:of )?(?:HBM\w*|VRAM|(?:GPU |device )?memory|显存)(?! bandwidth)", "device.memory", (BYTES,)),
    (
        r"(?:HBM\w*|VRAM|memory|显存)(?: (?:at|of|with|bandwidth|is|带宽))* ?$",
        "",
        "device.memory_bandwidth",
        (BYTE_RATE,),
    ),
    ("", r"^ ?(?:of )?(?:HBM\w*|VRAM|memory)(?: bandwidth)?", "device.memory_bandwidth", (BYTE_RATE,)),
    (r"(?:NVLink|NVSwitch|inside a node|intra-node|节点内)[^.;,]{0,24}$", "", "network.node.bandwidth", (BYTE_RATE,)),
    (
        r"(?:InfiniBand|RoCE|between nodes|inter-node|fabric|节点间)[^.;,]{0,24}$",
        "",
        "network.fabric.bandwidth",
        (BYTE_RATE,),
    ),
    ("", r"^ ?(?:NVLink|NVSwitch)", "network.node.bandwidth", (BYTE_RATE,)),
    ("", r"^ ?(?:InfiniBand|RoCE|Ethernet)", "network.fabric.bandwidth", (BYTE_RATE,)),
    (r"(?:peaks? (?:at|of)|peak|算力)[^.;,]{0,12}$", "", "device.flops", (FLOP, FLOP_RATE)),
    (
        "",
        r"^ ?(?:(?:dense |of )?peak|(?:(?:in|of|dense) )*(?:FP4|FP8|BF16|FP16|FP32|INT8)\b)",
        "device.flops",
        (FLOP, FLOP_RATE),
    ),
    (r"(?:MFU|算力利用率)(?: (?:of|is|at))? ?$", "", "device.mfu", (COUNT,)),
    ("", r"^ ?MFU", "device.mfu", (COUNT,)),
    (r"(?:bandwidth utili[sz]ation|带宽利用率)(?: (?:of|is|at))? ?$", "", "device.bandwidth_utilization", (COUNT,)),
)
MEASURES: Final = tuple(
    (
        re.compile(before, re.IGNORECASE | re.ASCII),
        re.compile(after, re.IGNORECASE | re.ASCII),
        f"cluster.{field}",
        dims,
    )
    for before, after, field, dims in _AROUND
)
