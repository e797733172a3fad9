"""Sizes that a text gives by symbols, by products of names, and by what an expert's matrices are."""

import pytest

from moewright.audit.audit_document import audit_document
from moewright.audit.reading.symbols import sizes_by_symbol, sizes_of_product
from moewright.audit.text.document import parse


def test_the_usual_symbols():
    text = "Heron: L = 48, d = 5120, n_q = 40, n_{kv} = 8, d_h = 128, E = 64, k = 4, f = 2560, |V| = 128{,}000."
    assert sizes_by_symbol(text) == {
        "model.layers": 48,
        "model.hidden_size": 5120,
        "model.attention.heads": 40,
        "model.attention.kv_heads": 8,
        "model.attention.head_dim": 128,
        "model.experts.count": 64,
        "model.experts.top_k": 4,
        "model.experts.intermediate_size": 2560,
        "model.vocab_size": 128000,
    }
    assert sizes_by_symbol("$L=72$, $d=8192$, $h=64$, $E=256$, $k=8$")["model.attention.heads"] == 64


@pytest.mark.parametrize(
    "text", ["L = 48 and d = 5120", "With k = 4 and E = 64, L = 2 * 24", "f = 3, k = 2, n_q = 7, V = 5"]
)
def test_too_few_symbols_are_no_model(text):
    assert sizes_by_symbol(text) == {}


def test_products_of_names():
    assert sizes_of_product("World size PP·TP·DP = 2·4·8 = 64") == {
        "strategy.pp": 2,
        "strategy.tp": 4,
        "strategy.dp": 8,
    }
    assert sizes_of_product("EP × EDP × PP = 16 × 4 × 4") == {"strategy.ep": 16, "strategy.pp": 4}
    assert sizes_of_product("TP × DP = 40") == sizes_of_product("TP × TP = 2 × 4") == {}


def given(text):
    return {p.field: p.value for p in reversed(audit_document(parse(text, "plan.md"), {}, None).premises)}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("Hidden size 5120. An expert is three matrices of 5120 x 1536.", "model.experts.intermediate_size", 1536),
        ("Each expert has three matrices (gate, up and down).", "model.experts.gated", True),
        ("- d_model = 5120, expert FFN width 2560", "model.hidden_size", 5120),
        ("- 160 routed experts (width 2048, top-6)", "model.experts.intermediate_size", 2048),
        ("| Item | Flag | Value |\n|---|---|---|\n| Experts, top-k | x | 64, 4 |", "model.experts.top_k", 4),
        ("| Key | Val | Key | Val |\n|---|---|---|---|\n| head dim | 128 | vocab | 32000 |", "model.vocab_size", 32000),
        ("- cluster: 128 nodes x 8 H100 80 GB", "cluster.gpus", 1024),
        ("- 4 × HGX B200, 8 GPUs each → 32 GPUs", "cluster.gpus", 32),
        ("- 硬件: 1 台 8 卡昇腾 910B", "cluster.gpus", 8),
        ("## Option A: TP2, four replicas (2 × 4 = 8 GPUs)", "strategy.replicas", 4),
    ],
)  # fmt: skip
def test_sizes_in_other_words(text, field, value):
    assert given(f"# Plan\n\n{text}\n")[field] == value


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("NVFP4 routed experts: 261 GB", "model.experts.count"),
        ("The vocabulary has two matrices, embedding and head.", "model.experts.gated"),
        ("We chose expert parallelism: every card holds 16 experts of each layer.", "strategy.ep"),
        ("Bubble: (PP-1)/(m+PP-1).", "strategy.pp"),
        ("32 heads with 8 KV heads.", "model.attention.head_dim"),
        ("- `num_experts_per_tok`: 8", "model.experts.count"),
    ],
)
def test_what_is_no_size_of_it(text, field):
    assert field not in given(f"# Plan for 8 H100 GPUs\n\n{text}\n")


def test_a_part_of_the_layers_contests_nothing():
    model = (
        "- 48 layers, hidden size 4096, 32 query heads, 8 KV heads, head dim 128, 64 experts of width 1536, 4 per token"
    )
    stage = "A stage moves 3 GB with its 6 layers."
    cache = "- KV cache per token in BF16: 192 KiB"
    for text in (model, f"{model}\n\n{stage}"):
        claims = audit_document(parse(f"# Plan\n\n{text}\n\n{cache}\n", "plan.md"), {}, None).claims
        assert [str(c.verdict) for c in claims if c.quantity.startswith("memory.kv_cache")] == ["holds"]


def test_layers_that_are_all_of_a_part_are_read():
    """A named model whose only mention of layers is that of its sparse ones."""
    assert given("# DeepSeek-V3 on H100 GPUs\n\nTokens pass 58 layers with 256 routed experts.\n")["model.layers"] == 58


RULED = r"""\section{Plan}

\begin{tabular}{lll}
symbol & meaning & value \\ \hline
$L$ & layers, all of them MoE & 40 \\
$d$ & model width & 5120 \\
$n_q, n_{kv}$ & query and key/value heads & 40, 8 \\
$E, k$ & experts per layer, experts per token & 64, 4 \\
\end{tabular}
"""


def read(text):
    return {p.field: p.value for p in audit_document(parse(text, "t.md"), {}, None).premises}


def test_a_table_of_symbols_tells_what_each_is():
    """Its titles may be ruled on their own line."""
    found = read(RULED)
    sizes = ("layers", "hidden_size", "attention.heads", "attention.kv_heads", "experts.count", "experts.top_k")
    assert [found.get(f"model.{name}") for name in sizes] == [40, 5120, 40, 8, 64, 4]


@pytest.mark.parametrize(
    ("key", "value", "sizes"),
    [
        ("heads (Q / KV), head dim", "32 / 8, 128", (32, 8, 128)),
        ("query and KV heads", "32, 8", (32, 8, None)),
        ("query and KV heads", "32 / 8", (32, 8, None)),
        ("heads, head dim", "32, 128", (32, None, 128)),
    ],
)
def test_a_key_may_list_sizes(key, value, sizes):
    found = read(f"# Plan on 8 GPUs\n\n| thing | value |\n|---|---|\n| {key} | {value} |\n| layers | 4 |\n")
    assert tuple(found.get(f"model.attention.{name}") for name in ("heads", "kv_heads", "head_dim")) == sizes


def test_a_column_titled_by_a_choice_has_its_figures():
    table = "|  | EP 8 | EP 16 |\n|---|---|---|\n| tokens per chip (thousand) | 383 | 422 |\n| replicas | 4 | 2 |\n"
    found = audit_document(parse(f"# Plan on 32 GPUs\n\n{table}", "t.md"), {}, None)
    told = {p.value for c in found.configurations for p in c.premises if p.field == "strategy.ep"}
    assert told <= {8, 16}
