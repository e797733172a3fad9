"""Launch commands → layouts: public ones judged by hand, and every kind of mistake that an engine takes in silence."""

import json
import re
from pathlib import Path

import pytest

from moewright.doctor.diagnose import Question, diagnose
from moewright.doctor.weighing import AskedWorkload
from moewright.errors import SpecError

DATA = Path(__file__).parent / "data"
DEVELOPMENT = json.loads((DATA / "development.json").read_text())["commands"]
SETS = [r for name in ("first_set", "second_set") for r in json.loads((DATA / f"{name}.json").read_text())["commands"]]
#: `starts` that cannot be told on the GPUs that the test gives, or from sizes that are public
OPEN = {"gpustack-gemma3-tp3", "sgl-issue-4232-h20-oom", "isx-1157-moe-dense-tp-ignored"}


def asked(row, **more):
    gpus = row["gpus"]
    return Question("h200-hgx", gpus, **more) if isinstance(gpus, int) else Question(**more)


@pytest.mark.parametrize("row", DEVELOPMENT, ids=lambda r: r["id"])
def test_the_layout_of_a_public_command(row):
    d = diagnose(row["text"], asked(row))
    layout = d.to_dict()["layout"]
    assert {k: layout[k] for k in row["layout"]} == row["layout"]
    assert d.engine == row["engine"]
    if row["starts"] is not None and row["id"] not in OPEN:
        assert d.starts == row["starts"], d.problems


@pytest.mark.parametrize("row", SETS, ids=lambda r: r["id"])
def test_commands_that_the_reader_was_not_tuned_to(row):
    d = diagnose(row["text"], asked(row, version=row["version"], values=row["values"]))
    found = d.to_dict()["layout"]
    assert {k: found[k] for k in row["layout"]} == row["layout"]
    assert d.engine == row["engine"]
    assert row["starts"] in (None, d.starts) or row["id"] in OPEN, d.problems


def layout(text, version=None, gpus=None, **values):
    found = diagnose(text, Question("h200-hgx" if gpus else None, gpus, version=version, values=values))
    x = found.reading.layout
    return (x.attn_dp, x.attn_tp, x.ep, x.etp, x.pp, x.replicas), found


def told(found, words):
    return any(words in p.what for p in found.problems)


V3 = "deepseek-ai/DeepSeek-V3"
MISTAKES = [
    (f"vllm serve {V3} -tp 4 -dp 2", None, (2, 4, 1, 8, 1, 1), "the dp ranks cut every expert too: 8 ways"),
    (f"vllm serve {V3} -tp 8 --all2all-backend deepep_low_latency", None, (1, 8, 1, 8, 1, 1), "does nothing without"),
    (f"vllm serve {V3} -tp 8 --enable-expert-parallel --all2all-backend deepep_low_latency", None, (1, 8, 8, 1, 1, 1), "is idle"),
    (f"vllm serve {V3} -tp 8 --enable-eplb", None, (1, 8, 1, 8, 1, 1), "EPLB needs --enable-expert-parallel"),
    (f"vllm serve {V3} --tp 8", None, (1, 1, 1, 1, 1, 1), "is no option of vllm"),
    (f"vllm serve {V3} -tp 8 --enforce-eager true", None, (1, 8, 1, 8, 1, 1), "left over"),
    (f"vllm serve {V3} -tp 6", None, (1, 6, 1, 6, 1, 1), "attention heads do not divide over tp 6"),
    ("vllm serve MiniMaxAI/MiniMax-M2.5 -tp 8", None, (1, 8, 1, 8, 1, 1), "no multiple of the FP8 block"),
    (f"vllm serve {V3} -tp 8 -dcp 3", None, (1, 8, 1, 8, 1, 1), "lies inside tp"),
    (f"python -m sglang.launch_server --model-path {V3} --tp 8 --dp 2", None, (1, 8, 1, 8, 1, 2), "whole replicas"),
    (f"sglang serve --model-path {V3} --tp-size 8 --enable-dp-attention", None, (1, 8, 1, 8, 1, 1), "without a size"),
    (f"sglang serve --model-path {V3} --tp-size 8 --enable-dp-attention", "0.4.3", (8, 1, 1, 8, 1, 1), None),
    (f"sglang serve --model-path {V3} --tp-size 8 --dp-size 4 --enable-dp-attention", "0.5.3", (4, 2, 1, 8, 1, 1), None),
    (f"sglang serve --model-path {V3} --tp-size 8 --ep-size 4 --moe-a2a-backend deepep", None, (1, 8, 8, 1, 1, 1), "silently set to tp 8"),
    (f"sglang serve --model-path {V3} --tp-size 8 --ep-size 4", None, (1, 8, 4, 2, 1, 1), None),
    (f"sglang serve --model-path {V3} --tp-size 8 --attn-dp-size 8 --chunked-prefill-size 8192", None, (8, 1, 1, 8, 1, 1), "1024 tokens a rank"),
    (f"sglang serve --model-path {V3} --tp-size 8 --enable-eplb", None, (1, 8, 1, 8, 1, 1), "EPLB asserts ep above 1"),
    (f"sglang serve --model-path {V3} --tp-size 8 --moe-dense-tp-size 1", None, (1, 8, 1, 8, 1, 1), "ignored without attention dp"),
    (f"trtllm-serve {V3} --tp_size 8 --ep_size 4", None, (1, 8, 4, 2, 1, 1), None),
    (f"trtllm-serve {V3} --config c.yaml\n# c.yaml\ntensor_parallel_size: 8\nmoe_expert_parallel_size: 8\nenable_attention_dp: true\nfoo: 1\n", None, (8, 1, 8, 1, 1, 1), "is no field of the YAML"),
    ("torchrun --nproc_per_node 8 --nnodes 2 pretrain_gpt.py --tensor-model-parallel-size 2 --expert-model-parallel-size 8 --num-experts 64 --sequence-parallel", None, (8, 2, 8, 2, 1, 1), "it is tp: every expert is cut 2 ways"),
    ("torchrun --nproc_per_node 8 pretrain_gpt.py --tensor-model-parallel-size 2 --expert-model-parallel-size 3 --num-experts 64", None, (4, 2, 3, 2, 1, 1), "do not divide over ep 3"),
    (f"CUDA_VISIBLE_DEVICES=0,1 vllm serve {V3} -tp 8", None, (1, 8, 1, 8, 1, 1), "names 2 GPUs"),
    (f"vllm serve {V3} \\\n -tp 8 \\\n # --pp 2\n --enable-expert-parallel", None, (1, 8, 1, 8, 1, 1), "without a backslash"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "version", "sizes", "words"), MISTAKES)
def test_what_an_engine_makes_of_options_and_does_not_say(text, version, sizes, words):
    got, found = layout(text, version)
    assert got == sizes
    assert words is None or told(found, words), found.problems


def test_variables_that_nothing_sets_are_taken_from_the_gpus_or_asked_for():
    text = 'vllm serve m --tensor-parallel-size $TP -dp "${DP_SIZE}" --port $PORT'
    sizes, found = layout(text, gpus=8)
    assert sizes == (1, 8, 1, 8, 1, 1)
    assert found.missing[:3] == ["$TP", "$DP_SIZE", "$PORT"]
    assert layout(text, TP="2", DP_SIZE="2")[0] == (2, 2, 1, 4, 1, 1)
    with pytest.raises(SpecError, match=r"\$TP, the value of --tensor-parallel-size, is not set"):
        diagnose(text, Question())


def test_decode_context_parallelism_multiplies_the_cached_tokens_by_its_ranks_once():
    def cached(dcp):
        found = diagnose(f"vllm serve {V3} -tp 8 -dcp {dcp}", Question(cluster="h200-hgx", gpus=8))
        return int(re.search(r"holds (\d+) tokens", found.fit.why).group(1))

    assert cached(8) == pytest.approx(8 * cached(1), rel=1e-3)


MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: scripts}
data:
  run.sh: |
    exec vllm serve deepseek-ai/DeepSeek-V3 --tensor-parallel-size $TP --pipeline-parallel-size $(LWS_GROUP_SIZE)
---
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: serve}
spec:
  replicas: 3
  leaderWorkerTemplate:
    size: 2
    leaderTemplate:
      spec:
        containers:
          - name: leader
            image: vllm/vllm-openai:v0.10.2
            env: [{name: TP, value: "8"}]
            command: [sh, -c, "vllm serve deepseek-ai/DeepSeek-V3 --tensor-parallel-size $TP --pipeline-parallel-size $(LWS_GROUP_SIZE)"]
            resources: {limits: {nvidia.com/gpu: "8"}}
    workerTemplate:
      spec:
        containers: [{name: worker, image: "vllm/vllm-openai:v0.10.2", command: [sh, -c, "ray start --address=$(LWS_LEADER_ADDRESS) --block"]}]
"""


def test_a_leader_worker_set_is_as_many_replicas_of_as_many_nodes():
    sizes, found = layout(MANIFEST)
    assert sizes == (1, 8, 1, 8, 2, 3)
    assert (found.version, found.reading.layout.gpus_total) == ("0.10.2", 48)


def test_pods_too_small_for_the_instance_are_its_nodes():
    text = """
kind: StatefulSet
apiVersion: apps/v1
metadata: {name: sgl}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - name: main
          image: lmsysorg/sglang:v0.5.3
          command: [python3, -m, sglang.launch_server]
          args: [--model-path, deepseek-ai/DeepSeek-V3, --tp, "16", --nnodes, "2", --node-rank, $(POD_INDEX)]
          resources: {limits: {nvidia.com/gpu: 8}}
"""
    sizes, found = layout(text)
    assert sizes == (1, 16, 1, 16, 1, 1)
    assert found.version == "0.5.3"


COMPOSE = """
services:
  llm:
    image: vllm/vllm-openai:v0.11.0
    command: >
      --model Qwen/Qwen3-30B-A3B --tensor-parallel-size ${TP:-4}
      --enable-expert-parallel
    deploy:
      replicas: 2
      resources: {reservations: {devices: [{driver: nvidia, count: 4, capabilities: [gpu]}]}}
"""
CONTAINERS = [
    (COMPOSE, (1, 4, 4, 1, 1, 2)),
    ("FROM vllm/vllm-openai:v0.9.0\nENV TP=2\nENTRYPOINT [\"vllm\", \"serve\"]\nCMD [\"Qwen/Qwen3-30B-A3B\", \"-tp\", \"2\"]", (1, 2, 1, 2, 1, 1)),
    ("docker run --gpus all -it --rm -p 8000:8000 -e HF_TOKEN=x --ipc=host vllm/vllm-openai:latest --model Qwen/Qwen3-30B-A3B -tp 2", (1, 2, 1, 2, 1, 1)),
    ("docker run --gpus all -v ~/.cache:/root lmsysorg/sglang:latest bash -c 'python3 -m sglang.launch_server --model-path m --tp 4 --ep 2'", (1, 4, 2, 2, 1, 1)),
    ("srun --ntasks=2 bash -lc \"trtllm-llmapi-launch trtllm-serve m --tp_size 16 --ep_size 16\"", (1, 16, 16, 1, 1, 1)),
    ("nohup python3 -m vllm.entrypoints.openai.api_server --model m -tp=2 -pp=2 > log 2>&1 &", (1, 2, 1, 2, 2, 1)),
    ("for i in 0 1 2 3; do CUDA_VISIBLE_DEVICES=$i vllm serve m --port $((8000+i)) & done; wait", (1, 1, 1, 1, 1, 4)),
    ("# node 0\nvllm serve m -dp 16 -dpl 8 -ep\n# node 1\nvllm serve m -dp 16 -dpl 8 --data-parallel-start-rank 8 --headless -ep", (16, 1, 16, 1, 1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sizes"), CONTAINERS)
def test_a_command_is_read_wherever_it_stands(text, sizes):
    assert layout(text)[0] == sizes


BAD = [
    ("ls -l", "got 'ls'"),
    ("", "expected a command"),
    ("vllm serve a -tp 2; python -m sglang.launch_server --model b", "two engines"),
    ("vllm serve 'a", "is not closed"),
    ("vllm serve m -tp $N", r"\$N, the value of -tp"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_cannot_be_read_names_the_word(text, words):
    with pytest.raises(SpecError, match=words):
        diagnose(text, Question())


@pytest.mark.slow
def test_a_better_command_reads_back_as_the_layout_that_was_planned():
    question = Question("h100-hgx", 2, AskedWorkload(1000, 200, 64))
    d = diagnose("vllm serve openai/gpt-oss-20b -pp 2 --max-model-len 4096", question)
    assert d.better is not None
    before, after = d.gain["output_per_gpu"]
    assert after > 1.03 * before
    again = diagnose(d.better, question)
    assert again.reading.layout.name.split(" · ")[2:] == d.gain["layout"][1].split(" · ")[2:4]
    assert again.starts
    assert again.fit.fits
    assert again.better is None, "the best has no better"
