"""Sequences of a batch, and the tokens of each, as running text and cells tell them."""

from __future__ import annotations

import pytest

from moewright.audit.reading.premises import keyed_premises, premises_of, told_premises
from moewright.audit.setting_facts import accepted_setting
from moewright.audit.text.document import parse

BATCH, LENGTH = "workload.batch", "workload.sequence"
GPU, RANK, REPLICA = "sequences of a GPU", "sequences of a rank", "sequences of a replica"
FIELDS = (BATCH, LENGTH, GPU, RANK, REPLICA)

TOLD = (
    (
        "Sequences are 8,192 tokens long and the global batch is 512, hence 4,194,304 tokens per step.",
        {BATCH: 512, LENGTH: 8192},
    ),
    ("Measured shape: 48 requests per GPU, 8,192 tokens of context each.", {LENGTH: 8192, GPU: 48}),
    ("每卡 64 路、平均 4,000 token 上下文需要 40.9 GB，占 KV 空间的 61%。", {LENGTH: 4000, GPU: 64}),
    ("- 全局批 2,048 条序列，即 8.39 M token；micro-batch 为 2 条序列。", {BATCH: 2048}),
    ("At full load 40 sequences per GPU are being decoded, 640 over the instance.", {GPU: 40}),
    (
        "Global batch 1024 sequences of 4096 = 4.19 M tokens. Micro-batch 2 on 64 GPUs makes 8 accumulation steps.",
        {BATCH: 1024, LENGTH: 4096},
    ),
    ("- global batch 512 sequences = 8.39 M tokens", {BATCH: 512}),
    ("- micro-batch 1 x 16,384 tokens, 32 micro-batches, DP16", {}),
    ("答:序列 8192,微批 1,每步 48 个微批;全局批 48 × 16 = 768 条,即 6.29 M token。", {LENGTH: 8192}),
    ("- 设定：每卡 64 条，平均上下文 14,000，HBM 有效 80%（3.2 TB/s）", {LENGTH: 14000, GPU: 64}),
    (
        "**Decode speed.** The design point is 320 concurrent sequences per replica at an average context of 6,000 tokens.",
        {LENGTH: 6000, REPLICA: 320},
    ),
    (
        "Annahmen: 24 Sitzungen je GPU, im Mittel 20.000 Token Kontext, 70 % der Bandbreite (3,71 TB/s).",
        {LENGTH: 20000, GPU: 24},
    ),
    ("取每个 DP 组 batch 64、平均上下文 12,000，带宽按 65% 计（1,040 GB/s）。", {LENGTH: 12000, RANK: 64}),
    ("- lot global : 2 048 séquences de 4 096, soit 8,39 M de jetons", {BATCH: 2048, LENGTH: 4096}),
    (
        "The global batch is 1,536 sequences of $s=8192$, i.e. 12.58 M tokens; with one sequence per micro-batch,",
        {BATCH: 1536, LENGTH: 8192},
    ),
    ("| Planned batch | 192 |", {BATCH: 192}),
    ("- a mean context of 5,000 tokens", {LENGTH: 5000}),
    ("We cap the batch at 96 sequences per DP rank, 384 per replica.", {RANK: 96}),
    ("全局批 1024 条、序列 4096，每步 $T=4194304$ token", {BATCH: 1024, LENGTH: 4096}),
    ("微批为 1，序列长 4096，全局批 1024 条", {BATCH: 1024, LENGTH: 4096}),
    ("| 全局批 | 384 条 × 4096 token = 1,572,864 token |", {BATCH: 384, LENGTH: 4096}),
    ("- 并发 256 路、上下文 8192:2,097,152 个 token,共 403.7 GB,平均每卡 25.2 GB", {BATCH: 256, LENGTH: 8192}),
    ("- GBS 1024, MBS 1: 32 micro-batches per replica and step", {BATCH: 1024}),
    ("- 4,096 users @ 8,192: 2.358 TB", {BATCH: 4096, LENGTH: 8192}),
    ("- 每卡 64 路并发、上下文 8192：占 36.8 GB", {LENGTH: 8192, GPU: 64}),
    ("- 批量 64 条，每条 8192 token，每个 DP 组 8 条，单卡 KV 缓存 6.17 GB", {BATCH: 64, LENGTH: 8192, RANK: 8}),
    (
        "Für $B = 192$ Sequenzen der Länge $S = 4096$, zusammen 786.432 Token, ergibt das 72,5 GB im Cluster",
        {BATCH: 192, LENGTH: 4096},
    ),
    (
        "For $B = 512$ streams with $S = 3072$ tokens each, the $B S = 1572864$ cached tokens need $231.9\\,\\text{GB}$",
        {BATCH: 512, LENGTH: 3072},
    ),
    ("| Sequences | 64 of 4096 tokens |", {BATCH: 64, LENGTH: 4096}),
    ("| Decode load | 1,024 sequences at 8,192 context, i.e. 32 per card |", {BATCH: 1024, LENGTH: 8192}),
    ("| Sequences per GPU | 64 at 8192 context |", {LENGTH: 8192, GPU: 64}),
    ("| Tokens in the cache | 64 sequences × 4096 |", {BATCH: 64, LENGTH: 4096}),
    (
        "A session at 16,384 tokens thus needs 1.15 GB. I'd run 40 sessions per card: 46.1 GB of cache there.",
        {LENGTH: 16384, GPU: 40},
    ),
    ("can decode for 768 users at a context of 8,192 tokens", {BATCH: 768, LENGTH: 8192}),
    ("We want to hold 48 conversations on each GPU with up to 8,192 tokens of context apiece", {LENGTH: 8192, GPU: 48}),
    ("- Global batch 2048 sequences × 4096 = 8,388,608 tokens per step", {BATCH: 2048, LENGTH: 4096}),
    (
        "- 512 running requests, every one at 32,768 tokens of context → 32 requests/GPU",
        {BATCH: 512, LENGTH: 32768, GPU: 32},
    ),
    (
        "With 64 sequences per GPU at 8192 tokens of context the cache takes 64 × 8192 × 70,272 B = 36.84 GB.",
        {LENGTH: 8192, GPU: 64},
    ),
    ("全集群并发 2048 路，每卡 2048 ÷ 32 = 64 路，上下文按 4096 token 计，单路 287.8 MB", {BATCH: 2048, LENGTH: 4096}),
    ("With 64 chats per card we get 9.66 GB there", {GPU: 64}),
    ("Our chats sit at some 3,072 tokens on average, so one of them holds 151.0 MB.", {LENGTH: 3072}),
    ("全局批 1,024 条 × 4096 = 4,194,304 token;微批为 1,故每步 1024 / 16 = 64 个微批", {BATCH: 1024, LENGTH: 4096}),
    (
        "Im Dauerbetrieb sollen 480 Anfragen mit im Mittel 8192 Token Kontext gleichzeitig laufen, d.h. 80 je Gruppe.",
        {BATCH: 480, LENGTH: 8192},
    ),
    ("With 2048 sequences in flight every card looks after 128.", {BATCH: 2048}),
    ("序列长 4096,全局 batch 1152 条,micro-batch 取 1", {BATCH: 1152, LENGTH: 4096}),
    ("Decode holds 64 sequences a GPU.", {GPU: 64}),
    (
        "Mean context (prompt and half the answer) 3072 tokens, so 215.9 MB a sequence and 13.82 GB of cache per GPU.",
        {LENGTH: 3072},
    ),
    ("32 prompts × 8192 = 262,144 tokens", {BATCH: 32, LENGTH: 8192}),
    ("Sequences of $s = 8192$, global batch $B = 2048$, micro-batch $b = 1$.", {BATCH: 2048, LENGTH: 8192}),
    ("序列长 8192,全局批 512 条,微批 1 条,故每步 4,194,304 token", {BATCH: 512, LENGTH: 8192}),
    ("2048 live chats, i.e. 64 on each GPU, 16,384 tokens of context apiece", {BATCH: 2048, LENGTH: 16384}),
    ("按 32,768 上下文,单条序列约 1.213 GB;并发 512 条,全集群 620.9 GB", {BATCH: 512, LENGTH: 32768}),
    ("The global batch is 1024 sequences of 4096, or 4,194,304 tokens.", {BATCH: 1024, LENGTH: 4096}),
    (
        "256 concurrent sessions at the full 1,048,576-token window, one token each per step.",
        {BATCH: 256, LENGTH: 1048576},
    ),
    ("An instance holds 256 sequences of 8192 tokens = 2,097,152 tokens, so 790.3 GB.", {LENGTH: 8192, REPLICA: 256}),
    ("每卡并发 32 条,平均上下文 4096,共 131,072 个 token,KV 占 9.21 GB", {LENGTH: 4096, GPU: 32}),
    ("全局批 1024 条,序列长 4096,即每步 4,194,304 token;微批为 2 条", {BATCH: 1024, LENGTH: 4096}),
    (
        "Occupation d'une carte, avec 512 séquences en vol (32 par carte) à 8192 jetons de contexte :",
        {BATCH: 512, LENGTH: 8192},
    ),
    ("The average decode sequence holds 12,288 tokens, hence 1.208 GB.", {LENGTH: 12288}),
    ("A replica runs 1024 sequences, 64 per GPU, and that makes 77.31 GB of cache on a card.", {REPLICA: 1024}),
    ("Let $B = 512$ and $S = 8192$, so $T = BS = 4194304$ tokens.", {BATCH: 512, LENGTH: 8192}),
    ("Lotto globale di 1024 sequenze da 4096 token, cioè 4194304 token.", {BATCH: 1024, LENGTH: 4096}),
    (
        "For decode I assumed 96 sequences per GPU, attention fully data parallel, mean context 5120 (4096 prompt plus half of 2048 output).",
        {LENGTH: 5120, GPU: 96},
    ),
    ("Ein Mikrobatch ist eine Sequenz von 4096 Token, durch TP = 4 liegen auf jeder GPU 1024 davon.", {LENGTH: 4096}),
    ("Globaler Batch 1024 Sequenzen = 4.19 Mio Token, je Replik 64 Mikrobatches;", {BATCH: 1024}),
    ("Sequences have 2048 tokens.", {LENGTH: 2048}),
    ("- Global batch 2,048 × 4,096 = 8.39M tokens, micro-batch 1 → 128 micro-batches", {BATCH: 2048, LENGTH: 4096}),
    ("DECODE at 24 sequences of 16k (16,384 tokens) per GPU, 192 per node", {LENGTH: 16384, GPU: 24}),
    (
        "Load: 64 concurrent requests, 16,384 tokens in and 1,024 out, i.e. up to 17,408 tokens of context each.",
        {BATCH: 64, LENGTH: 17408},
    ),
    ("每卡 48 个并发,上下文按 8192 计,共 393,216 个 token", {LENGTH: 8192, GPU: 48}),
    ("- 512 sequences × 4096 = 2,097,152 tokens → 300.6 GB", {BATCH: 512, LENGTH: 4096}),
    ("- 并发 96 路，每卡 96 / 4 = 24 路", {BATCH: 96}),
    ("- 并发 128 路，输入 6144 token，输出 2048 token，最长 8192 token", {BATCH: 128}),
    ("room for about 826 thousand tokens, i.e. 100 full sequences of $S = 8192$.", {LENGTH: 8192}),
    ("| Context | in | 32,768 tokens |", {LENGTH: 32768}),
    ("Séquence 4096, micro-lot 2, 24 micro-lots par pas", {LENGTH: 4096}),
    ("256 sequences per GPU * 8192 tokens = 2,097,152 tokens -> 73.7 GB per GPU", {LENGTH: 8192, GPU: 256}),
    ("- 每条序列 4096 个 token:287.8 MB", {LENGTH: 4096}),
    ("- 每卡 128 条序列:36.84 GB;64 卡共 8,192 条", {BATCH: 8192, GPU: 128}),
    ("3,072 sequences of 8192, so 25.17M tokens per optimizer step.", {BATCH: 3072, LENGTH: 8192}),
    ("一批 16 条 × 8192 = 131,072 个 token，因果注意力。", {BATCH: 16, LENGTH: 8192}),
    ("Im Mittel hält eine Sitzung 8000 Token; 96 Sitzungen je GPU", {LENGTH: 8000, GPU: 96}),
    ("Eine Sitzung mit 16384 Token belegt dort 469,8 MB.", {LENGTH: 16384}),
    ("A conversation that has grown to 8192 tokens hence occupies 394.3 MB on each of its four cards.", {LENGTH: 8192}),
    ("Wir lassen 128 Sitzungen gleichzeitig zu, jede mit 8192 Token Kontext.", {BATCH: 128, LENGTH: 8192}),
    ("serves 1,024 users with 4,096-token contexts", {BATCH: 1024, LENGTH: 4096}),
    ("The cache must hold 600 dialogues of 12,000 tokens.", {BATCH: 600, LENGTH: 12000}),
    ("up to 16 prompts of 4,096 tokens are prefilled together", {BATCH: 16, LENGTH: 4096}),
    ("每步处理 1024 条长度为 4096 的序列", {BATCH: 1024, LENGTH: 4096}),
    ("Die Last: 256 gleichzeitige Nutzer, Kontext 8192 Token.", {BATCH: 256, LENGTH: 8192}),
)
NOT_TOLD = (
    "--max-model-len 32768 --max-num-seqs 64",
    "An expert sees 57.6 tokens of the 512 sequences that would run at twice the load.",
    "The cache has room for 198 full-length conversations.",
    "If we had 1024 users we would need a third node.",
    "prefill chunks of 8192 tokens",
    "dispatch of 4096 tokens to 8 experts",
    "we plan with 256 output tokens per request",
)


def read(text):
    cells = text.count("|")
    head = {0: "", 3: "| Item | Value |\n|---|---|\n"}.get(cells, "| # | Item | Value |\n|---|---|---|\n")
    document = parse(f"# Plan\n\n{head}{text}\n", "d")
    found = {}
    for p in premises_of(keyed_premises(document), told_premises(document)):
        found.setdefault(p.field, p.value)
    return {f: found[f] for f in FIELDS if f in found}


@pytest.mark.parametrize(("text", "right"), TOLD)
def test_sequences_are_read(text, right):
    assert read(text) == right


@pytest.mark.parametrize("text", NOT_TOLD)
def test_other_numbers_are_none(text):
    assert read(text) == {}


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        ("EP 32, DP 32. We run 48 requests per GPU, 8,192 tokens of context each.", 48 * 32),
        ("EP 32, TP 2, DP 16. We run 48 sequences per DP rank.", 48 * 16),
        ("EP 32, TP 2, DP 16. We run 48 requests per GPU.", None),  # of a GPU, or of the two that share them
    ],
)
def test_those_of_a_part_make_the_batch_of_all(text, batch):
    document = parse(f"# Mixtral-8x7B on 32 H100 GPUs\n\n{text}\n", "d")
    premises = premises_of(keyed_premises(document), told_premises(document))
    setting, _, _ = accepted_setting(premises, {}, None, "d")
    assert (setting.case.workload.batch[0] if "workload.batch" not in setting.missing else None) == batch
