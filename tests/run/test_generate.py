"""Generation by the command: texts, stop ids, seeds, what is told beside it, and what a profile leaves."""

import json
import os
import pty
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from run.families import model
from run.test_faults import ENVIRONMENT, SPEC, moewright, one_line

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Qwen3-MoE with a tokenizer of one id a character."""
    from tokenizers import Tokenizer, decoders, models

    where = tmp_path_factory.mktemp("generate")
    model("qwen3_moe", lambda *choices: choices[0], 2).save_pretrained(where / "model")
    letters = {chr(32 + i): i for i in range(95)}
    tokenizer = Tokenizer(models.BPE(letters, [], unk_token=" "))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(where / "model" / "tokenizer.json"))
    for name, strategy in {
        "four": "strategy: {attention: {dp: 2, tp: 2}, experts: {ep: 4}}",
        "stages": "strategy: {pp: 2, attention: {tp: 2}, experts: {ep: 2, dispatch: replicated}}",
    }.items():
        lines = SPEC.replace("MODEL", "model").splitlines()
        (where / f"{name}.yaml").write_text(
            "\n".join(x for x in lines if not x.startswith("strategy")) + f"\n{strategy}\n"
        )
    return where


def generated(folder, spec, *arguments):
    done = moewright(folder, "run", spec, "--json", "--generate", "8", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_texts_of_unequal_length_and_stop_ids(folder):
    report = generated(folder, "four.yaml", "--prompt", "hello", "--prompt", "a", "--prompt-ids", "3,4,5,6,7,8,9")
    assert report["verified"]
    g = report["generation"]
    assert [len(ids) for ids in g["tokens"]] == [8, 8, 8]
    assert g["text"] == ["".join(chr(32 + i) for i in ids) for ids in g["tokens"]]
    for name in ("ttft", "tpot", "predicted_ttft", "predicted_tpot", "tokens_per_second"):
        assert g[name] > 0
    stop = g["tokens"][0][3]
    stopped = generated(
        folder, "four.yaml", "--prompt", "hello", "--prompt", "a", "--prompt-ids", "3,4,5,6,7,8,9", "--stop", str(stop)
    )
    for before, after in zip(g["tokens"], stopped["generation"]["tokens"], strict=True):
        assert after == before[: before.index(stop)] if stop in before else after == before
    assert stopped["verified"]
    out = sum(map(len, stopped["generation"]["tokens"]))
    assert stopped["generation"]["tokens_per_second"] >= out / stopped["seconds"]["forward"] > 0


def test_a_seed_gives_the_same_on_any_strategy(folder):
    sampled = ("--temperature", "1.5", "--top-p", "0.9", "--seed", "7", "--prompt", "hello", "--prompt", "world")
    one = generated(folder, "four.yaml", *sampled)["generation"]["tokens"]
    other = generated(folder, "stages.yaml", *sampled)["generation"]["tokens"]
    greedy = generated(folder, "four.yaml", "--prompt", "hello", "--prompt", "world")["generation"]["tokens"]
    assert one == other
    assert one != greedy


def test_the_text_comes_as_it_is_found_on_a_terminal(folder):
    theirs, ours = pty.openpty()
    arguments = ["run", "four.yaml", "--prompt", "hello", "--generate", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "moewright", *arguments], stdout=ours, stderr=ours, cwd=folder, env=ENVIRONMENT
    )
    os.close(ours)
    seen = b""
    while True:
        try:
            more = os.read(theirs, 65536)
        except OSError:
            break
        if not more:
            break
        seen += more
    assert process.wait(60) == 0
    text = generated(folder, "four.yaml", "--prompt", "hello")["generation"]["text"][0]
    shown = seen.decode()
    assert f"Text 0, as it comes:\r\n{text}" in shown
    assert shown.index(text) < shown.index("Run of")
    assert "TPOT" in shown


def test_a_profile(folder, tmp_path):
    done = moewright(folder, "run", "four.yaml", "--profile", tmp_path / "profile", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    events = json.loads((tmp_path / "profile" / "trace.json").read_text())["traceEvents"]
    ranks = {e["pid"] for e in events if e["ph"] == "X"}
    assert {0, 1, 2, 3} < ranks
    for rank in range(4):
        mine = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X" and e["pid"] == rank)
        assert all(a[1] <= b[0] + 1e-3 for a, b in pairwise(mine))  # one after another
        assert mine[-1][1] <= report["seconds"]["forward"] * 1e6 * 1.01
    names = {e["name"] for e in events if e["ph"] == "X"}
    assert {"attention", "experts", "dispatch", "combine", "router"} <= names
    loads = json.loads((tmp_path / "profile" / "loads.json").read_text())
    assert [sum(row) for row in loads] == [8 * 12 * 1] * len(loads)  # sequences · tokens · top_k
    spec = (folder / "four.yaml").read_text().replace("model: model", f"model: {folder / 'model'}")
    (tmp_path / "routed.yaml").write_text(spec + f"routing: {tmp_path / 'profile' / 'loads.json'}\n")
    planned = moewright(tmp_path, "plan", "routed.yaml", "--json")
    assert planned.returncode == 0, planned.stderr
    again = moewright(tmp_path, "run", "routed.yaml", "--json")
    assert json.loads(again.stdout)["verified"]


def test_no_generation_where_it_has_no_meaning(folder, tmp_path):
    spec = (Path(__file__).parents[2] / "examples" / "paper-128-ranks.yaml").read_text()
    (tmp_path / "paper.yaml").write_text(spec)
    done = moewright(tmp_path, "run", "paper.yaml", "--generate", "3")
    assert done.returncode == 4
    assert "to generate, a model needs a vocabulary" in one_line(done.stderr)
    divided = (
        (folder / "four.yaml")
        .read_text()
        .replace("dp: 2, tp: 2", "cp: 2, tp: 2")
        .replace("model: model", f"model: {folder / 'model'}")
    )
    (tmp_path / "divided.yaml").write_text(divided)
    done = moewright(tmp_path, "run", "divided.yaml", "--generate", "3")
    assert done.returncode == 4
    assert "cp divides prompts" in one_line(done.stderr)
    assert json.loads(moewright(tmp_path, "run", "divided.yaml", "--json").stdout)["verified"]


def test_characters_that_a_tokenizer_lacks(tmp_path):
    from tokenizers import Tokenizer as Library
    from tokenizers import models, normalizers, pre_tokenizers

    from moewright.run.model.text import Tokenizer

    def lacking(library, text):
        library.save(str(tmp_path / "tokenizer.json"))
        return Tokenizer(tmp_path / "tokenizer.json").lacking(text)

    assert lacking(Library(models.BPE({"a": 0, "b": 1}, [])), "a b\u00e9a") == "\u00e9"
    library = Library(models.BPE({c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    library.pre_tokenizer, library.normalizer = pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC()
    assert lacking(library, "e\u0301 \u65e5 \U0001f600\n") == ""
