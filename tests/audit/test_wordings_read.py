"""Sizes of a model, a workload, a cluster and a layout, in wordings that others use."""

import pytest

from moewright.audit.audit_document import audit_document
from moewright.audit.reading.premises import keyed_premises, premises_of, told_premises
from moewright.audit.text.document import parse

E, K, W = "model.experts.count", "model.experts.top_k", "model.experts.intermediate_size"
Q, KV, D = "model.attention.heads", "model.attention.kv_heads", "model.attention.head_dim"
B, S, G = "workload.batch", "workload.sequence", "cluster.gpus"
TP, PP, DP, EP = "strategy.tp", "strategy.pp", "strategy.dp", "strategy.ep"
FABRIC, NODE, MFU = "cluster.network.fabric.bandwidth", "cluster.network.node.bandwidth", "cluster.device.mfu"


def read(text: str) -> dict[str, object]:
    head = "# Plan\n\n" + ("| Item | Value |\n|---|---|\n" if text.startswith("|") else "")
    document = parse(f"{head}{text}\n", "d.md")
    found: dict[str, object] = {}
    for p in premises_of(keyed_premises(document), told_premises(document)):
        found.setdefault(p.field, p.value)
    return found


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("| Experts | 128 per layer, 8 active |", {E: 128, K: 8}),
        ("| Experts per layer / active | 128 / 8 |", {E: 128, K: 8}),
        ("| Routed experts | 160 (top-6), width 1536 |", {E: 160, K: 6, W: 1536}),
        ("| 专家 | 每 MoE 层 64 个，每 token 激活 8 个，无共享专家 |", {E: 64, K: 8}),
        ("- Modell: je Schicht 16 Experten, davon 2 aktiv, Expertenbreite 6400", {E: 16, K: 2, W: 6400}),
        ("In every layer there are 32 experts, and the router sends each token to 2 of them.", {E: 32, K: 2}),
        ("| Query / KV heads | 96 / 8, head_dim 128 |", {Q: 96, KV: 8, D: 128}),
        ("| Heads | 64 query, 8 KV, dim 128 |", {Q: 64, KV: 8, D: 128}),
        ("- 96 query / 8 KV heads, head_dim 128", {Q: 96, KV: 8, D: 128}),
        ("- attention: GQA 64/8", {Q: 64, KV: 8}),
        ("40 layers, 40 heads (8 KV)", {Q: 40, KV: 8}),
        ("64 concurrent sessions of 8192 tokens each", {B: 64, S: 8192}),
        ("128 users with 16k context", {B: 128}),
        ("1024 gleichzeitigen Sitzungen mit je 8192 Token", {B: 1024, S: 8192}),
        ("并发 512 路，每路上下文 8192 token", {B: 512, S: 8192}),
        ("全局批 1024 条序列，序列长 4096", {B: 1024, S: 4096}),
        ("256 active requests at an average context of 6,000 tokens", {B: 256, S: 6000}),
        ("The machine is a slice of 512 K4 chips.", {G: 512}),
        ("20 hosts x 8 Orca-2 chips = 160 chips", {G: 160}),
        ("Target: 1,024 B200 (192 GB HBM each).", {G: 1024}),
        ("Vorgestellt wird der Betrieb auf vier A100-Knoten mit je 8 A100.", {G: 32}),
        ("| GPU | 2 机 × 8 卡 H20，共 16 卡 |", {G: 16}),
        ("张量并行 4，流水线并行 8，数据并行 16，专家并行 8", {TP: 4, PP: 8, DP: 16, EP: 8}),
        ("I would run two replicas with TP=4 each, so DP=2, and the experts with EP=8.", {TP: 4, DP: 2, EP: 8}),
        ("- experts: EP8 → 128 ÷ 8 = 16/layer/GPU", {EP: 8}),
        ("`--tensor-parallel-size 8 --enable-expert-parallel` cuts attention 8 ways.", {TP: 8}),
        ("- NVLink 900 GB/s bidirectional, InfiniBand 400 Gb/s per GPU", {NODE: 450e9, FABRIC: 50e9}),
        ("MFU 按 50% 计", {MFU: 0.5}),
    ],
)
def test_what_is_read(text, sizes):
    found = read(text)
    assert {k: found.get(k) for k in sizes} == pytest.approx(sizes)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        # of a GPU, of a layer, of what there is room for, of each rank, of a mesh, after a cut
        ("Daraus folgt je GPU:\n\n- 32 Query-Köpfe und 4 KV-Köpfe", Q),
        ("- MoE layer: 128 routed experts, top-1", "model.layers"),
        ("| Experts, EP 4 | 32 per layer and GPU |", E),
        ("45 GB hold 916,000 tokens, that is 55 conversations of 16,384 tokens each.", B),
        ("- 4 sequences × 64 GPUs × 4 accumulation steps = 1024 sequences", B),
        ("We use a mesh of 8 × 2 chips.", G),
        ("- Heads after the cut: 24 query, 4 KV", Q),
        ("A stage has 6 layers on 128 GPUs.", G),
        ("With EP=8 instead, the experts would be cut twice.", EP),
    ],
)
def test_what_is_not_read(text, field):
    assert field not in read(text)


def test_a_spreadsheet_in_a_block_of_code_is_a_table():
    rows = "row,A_chat,B_long\nexperts_GB,20.0,21.5\nkv_cache_GB,32.2,96.6\nweights_GB,11.8,11.6\nsum_GB,64.0,{}"
    text = f"# Sizing\n\n```csv\n{rows}\n```\n"
    cells = {(s.row, s.column): s.value for s in parse(text, "d.md").statements if s.kind == "cell"}
    assert cells["kv cache (GB)", "B long"] == "96.6 GB"
    failing = {
        total: {
            c.quantity
            for c in audit_document(parse(text.format(total), "d.md"), {}, None).claims
            if c.verdict == "wrong"
        }
        for total in ("129.7", "139.7")
    }
    assert failing == {"129.7": set(), "139.7": {"table"}}


def test_code_is_no_table():
    text = "# Plan\n\n```\nrun(a, b)\nset(x, y)\nplot(c, d)\n```\n"
    assert {s.kind for s in parse(text, "d.md").statements} == {"heading", "code"}


def test_displayed_formulas_keep_their_lines():
    text = "The weights cost\n$$\nF = 6 \\cdot 9 = 54,\n$$\nand scores\n$$\nG = 2 \\cdot 9 = 19,\n$$\nin all.\n"
    (claim,) = [c for c in audit_document(parse(text, "d.md"), {}, None).claims if c.verdict == "wrong"]
    assert claim.line == 7


def test_the_number_of_a_paragraph_is_none_of_its_figures():
    text = "## 4. Layout\n\n4.1 TP 2 × CP 4 × PP 8 × DP 16 = 512.\n"
    (claim,) = [c for c in audit_document(parse(text, "d.md"), {}, None).claims if c.verdict == "wrong"]
    assert claim.computed == 1024


def test_a_slides_title_is_of_all_slides():
    text = (
        "# Mixtral-8x7B on one DGX H100\n\n---\n# Decode, 64 users\n\n- KV heads: 8\n\n---\n# Layout\n\n- TP 8\n\n---\n"
        "# Prefill, 4096-token prompt\n\n- sequence length: 4096\n"
    )
    audit = audit_document(parse(text, "d.md"), {}, None)
    assert all(any(p.field == "model.name" for p in v.premises) or not v.premises for v in audit.configurations)


def test_a_paragraph_of_very_many_lines_is_read_in_time_that_grows_with_it():
    lines = 60_000  # quadratic, this took minutes
    statements = parse("3,1,2\n" * lines, "d.md").statements
    assert statements[0].line == 1
    assert all(s.line <= lines for s in statements)


def test_a_cell_without_end_is_none_of_a_table():
    text = f"# Plan\n\n```csv\na,{'x' * 200_000}\n1,2\n```\n"
    assert {s.kind for s in parse(text, "d.md").statements} == {"heading", "code"}
