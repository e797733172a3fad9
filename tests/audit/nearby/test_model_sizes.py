"""Sizes of a model, as paragraphs, lists, tables and comments enumerate them."""

from __future__ import annotations

import pytest

from moewright.audit.reading.model_sizes import with_further_sizes
from moewright.audit.reading.premises import keyed_premises, told_premises
from moewright.audit.text.document import parse


def sizes(text: str) -> dict[str, object]:
    """What is read of a model in ``text``, by the last part of each field; a field of several values is left out."""
    document = parse(text, "plan.md")
    keyed, told = keyed_premises(document), told_premises(document)
    values: dict[str, set[object]] = {}
    for p in (*keyed, *with_further_sizes(document, told, keyed)):
        if p.field.startswith("model."):
            values.setdefault(p.field.rpartition(".")[2], set()).add(p.value)
    return {name: next(iter(v)) for name, v in values.items() if len(v) == 1}


TOLD = (
    (
        "The model has 48 layers, model width 5120, 40 query heads and 8 KV heads of size 128, 16 experts of which 2 are "
        "used per token, a gated feed-forward (three matrices) of width 14,336, vocabulary 131,072.",
        {"layers": 48, "hidden_size": 5120, "heads": 40, "kv_heads": 8, "count": 16, "top_k": 2}
        | {"intermediate_size": 14336, "vocab_size": 131072},
    ),
    (
        "Wir haben 40 Schichten, Modellbreite 4096, 32 Abfrageköpfe, 8 KV-Köpfe, Kopfgröße 128. Jede Schicht hat 64 "
        "Experten (SwiGLU, drei Matrizen, Breite 2048), je Token werden 4 ausgewählt.",
        {"layers": 40, "hidden_size": 4096, "heads": 32, "kv_heads": 8, "count": 64, "intermediate_size": 2048},
    ),
    (
        "28 layers, d_model 3072, 24 query heads of 128, 4 KV heads. MoE in every layer: 32 experts, top-2, hidden 4096.",
        {"layers": 28, "hidden_size": 3072, "heads": 24, "count": 32, "top_k": 2, "intermediate_size": 4096},
    ),
    (
        "| item | value |\n|---|---|\n| layers | 64, all MoE |\n| width | 8192 |\n"
        "| attention | 64 heads, 8 KV heads, head dim 128 |\n| experts | 128 routed (top-4) + 1 shared, width 5120 |",
        {"layers": 64, "hidden_size": 8192, "heads": 64, "kv_heads": 8, "count": 128, "intermediate_size": 5120},
    ),
    (
        "- 28 层，全部为 MoE 层\n- hidden size 2048\n- 注意力：16 个 query head，4 个 KV head，head dim 128\n"
        "- 每层 64 个路由专家，top-6，另有 2 个共享专家\n- 专家中间维度 1408（三个矩阵）",
        {"layers": 28, "heads": 16, "kv_heads": 4, "count": 64, "top_k": 6, "intermediate_size": 1408},
    ),
    (
        "# 24 layers, hidden 2048, 16 heads and 16 KV heads of 128, 60 routed\n"
        "# experts of width 1408, top-4, plus a shared expert of width 5632 in each layer",
        {"layers": 24, "hidden_size": 2048, "count": 60, "intermediate_size": 1408},
    ),
    (
        "| | | | |\n|---|---|---|---|\n| Layers | 48 | Experts / top-k | 64 / 4 |\n| Q / KV heads | 40 / 8 × 128 | d_model | 5120 |",
        {"heads": 40, "kv_heads": 8, "head_dim": 128},
    ),
    (
        '{| class="wikitable"\n! Value !! Model\n|-\n| Layers || 48\n|-\n| Hidden size || 5120\n|-\n'
        "| Experts || 160, top-8, width 1536\n|}",
        {"layers": 48, "hidden_size": 5120, "count": 160, "intermediate_size": 1536},
    ),
)


@pytest.mark.parametrize(("text", "expected"), TOLD, ids=[str(i) for i in range(len(TOLD))])
def test_sizes_are_read(text, expected):
    found = sizes(text)
    assert {k: found.get(k) for k in expected} == expected


@pytest.mark.parametrize(
    "text",
    [
        "A GPU holds 12 layers, 8 query heads per GPU and 4 experts per GPU of width 1408.",
        "Two layers take 3 ms, and 48 heads share the link.",
    ],
)
def test_what_is_of_a_part_is_no_size_of_the_model(text):
    assert not {"layers", "heads", "count"} & set(sizes(text)) or "layers" not in sizes(text)
