"""Whatever is given, the doctor answers or says in one line what it cannot read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import moewright
from moewright.doctor.diagnose import Diagnosis, Question, diagnose
from moewright.errors import SpecError

PIECES = st.sampled_from(
    [
        *("vllm serve ", "deepseek-ai/DeepSeek-V3 ", "-tp 8 ", "--tensor-parallel-size=", "$TP ", "${X:-4} ", "$((A*2)) "),
        *("python -m sglang.launch_server ", "--model-path m ", "--tp ", "8 ", "--dp-size ", "'", '"', "\\\n", "\n", "; ", "| ", "&& "),
        *("if [ $A = 1 ]; then ", "fi\n", "for i in 1 2; do ", "done\n", "case $X in ", "esac\n", "a) ", ";; ", "<<EOF\n", "EOF\n", "(", ")"),
        *("trtllm-serve ", "--config c.yaml ", "# c.yaml\n", "tensor_parallel_size: 4\n", "torchrun --nproc_per_node 8 pretrain_gpt.py "),
        *("--expert-model-parallel-size ", "3 ", "{", "}", "[[ ", "]] ", "$(", "`", "A=(", "--speculative-config ", "'{\"method\": 1' ", "\x00"),
        *("apiVersion: v1\n", "kind: Deployment\n", "spec: {containers: [{command: [", "]}]}\n", "services:\n", "- ", "FROM vllm/vllm-openai:v1\n", "CMD "),
        *("docker run -e A=1 vllm/vllm-openai ", "bash -c ", "eval ", "$1 ", "\"$@\" ", "0 ", "-1 ", "99999999999999999999 ", "é漢 ", "--ep ", "--eplb-config 8 "),
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=24).map("".join), st.none() | st.integers(1, 64))
def test_any_text_is_diagnosed_or_refused_in_one_line(text, gpus):
    try:
        d = diagnose(text, Question("h200-hgx" if gpus else None, gpus))
    except SpecError as error:
        assert str(error).strip()
    else:
        assert isinstance(d, Diagnosis)
        json.dumps(d.to_dict(), allow_nan=False)


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8) | st.just("vllm serve m -tp 2"),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "spec",
                        "containers",
                        "command",
                        "args",
                        "env",
                        "replicas",
                        "leaderWorkerTemplate",
                        "size",
                        "mainContainer",
                        "resources",
                        "limits",
                        "gpu",
                        "name",
                        "value",
                        "model",
                        "uri",
                        "parallelism",
                        "tensor",
                        "multinode",
                        "nodeCount",
                        "services",
                        "image",
                        "metadata",
                        "data",
                        "deploy",
                    ]
                ),
                x,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_manifest_is_diagnosed_or_refused(tree):
    text = (
        "apiVersion: v1\nkind: Deployment\n" + json.dumps(tree)
        if not isinstance(tree, dict)
        else json.dumps({"apiVersion": "v1", "kind": "LeaderWorkerSet", **tree})
    )
    for form in (text, json.dumps({"services": tree}), "apiVersion: v1\nkind: X\nspec: " + json.dumps(tree)):
        try:
            diagnose(form, Question())
        except SpecError as error:
            assert str(error).strip()


def doctor(*arguments):
    return moewright("doctor", *arguments, HF_HUB_OFFLINE="1")


def test_files_that_are_none_are_refused_in_one_line(tmp_path):
    large = tmp_path / "manifest.yaml"
    large.write_text("apiVersion: v1\nkind: ConfigMap\ndata:\n" + "  key: value\n" * 900_000)
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text(
        "apiVersion: v1\nkind: A\na: &a [1,1]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]\n" for i in range(24))
    )
    script = tmp_path / "two.sh"
    script.write_text("vllm serve a -tp 2 &\npython3 -m sglang.launch_server --model-path b --tp 2\n")
    unset = tmp_path / "unset.sh"
    unset.write_text('vllm serve m --tensor-parallel-size "$MY_TP"\n')
    cases = [
        ([str(large)], "is larger than 1024 KiB"),
        ([str(bomb)], "expands to more than 100000 values"),
        ([str(script)], "two engines, vllm (line 1) and sglang (line 2)"),
        ([str(unset)], "$MY_TP, the value of --tensor-parallel-size, is not set"),
        ([str(tmp_path)], "is a folder"),
        ([str(tmp_path / "none.sh")], "no such file"),
        (["vllm serve m", "--cluster", "h201:8"], "such as h200-hgx:32"),
        (["vllm serve m", "--input", "4k"], "--output-tokens: is missing"),
        (["vllm serve m", "--engine-version", "new"], "expected a version"),
        (["vllm serve m", "--set", "8"], "expected NAME=VALUE"),
        (["ls -l"], "got 'ls'"),
    ]  # fmt: skip
    for arguments, words in cases:
        done = doctor(*arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert doctor(str(bomb)).returncode == 2


def test_exit_statuses_and_json(tmp_path):
    script = tmp_path / "serve.sh"
    script.write_text("vllm serve Qwen/Qwen3-30B-A3B \\\n  -tp 2 --enable-expert-parallel\n")
    sound = doctor(str(script), "--cluster", "h200-hgx:2", "--json")
    answer = json.loads(sound.stdout)
    assert sound.returncode == 0, answer["problems"]
    assert set(answer) >= {"engine", "version", "layout", "settings", "starts", "fits", "problems", "better", "missing"}
    assert answer["layout"] == {"attn_tp": 2, "attn_dp": 1, "attn_cp": 1, "dcp": 1, "pp": 1, "replicas": 1, "ep": 2, "etp": 1, "world": 2, "gpus_total": 2}  # fmt: skip
    wrong = doctor("vllm serve Qwen/Qwen3-30B-A3B -tp 2 --enable-eplb", "--cluster", "h200-hgx:2")
    assert wrong.returncode == 1
    assert "stops it" in wrong.stdout


@pytest.mark.parametrize("words", [["--", "vllm", "serve", "Qwen/Qwen3-30B-A3B", "-tp", "2"]])
def test_a_command_may_stand_without_quotes(words):
    assert "TP2" in doctor(*words).stdout
