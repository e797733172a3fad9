"""Where a named model comes from: a path before the catalogue, the hub cache before an alias; files within bounds."""

import json
import os

import pytest

from hf_configs import catalogue_config
from moewright.case.file.load import case_of
from moewright.case.huggingface.config import read_config
from moewright.case.huggingface.json_files import MOST_BYTES
from moewright.case.model_source import named_model, named_reading
from moewright.errors import SpecError

OSS = catalogue_config("gpt-oss-20b")["config"]


def folder_of(path, config):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_path_is_a_path(tmp_path):
    """A folder by the name of a catalogue's model is read, with or without a slash, relative or not."""
    folder_of(tmp_path / "DeepSeek-R1", OSS)
    for name in ("DeepSeek-R1", "DeepSeek-R1/", "./DeepSeek-R1", "DeepSeek-R1/config.json"):
        model = named_model(name, tmp_path)
        assert model.name == "DeepSeek-R1"
        assert len(model.layers) == 24
        assert model.source.endswith("DeepSeek-R1/config.json")
    assert len(named_model("DeepSeek-R1", tmp_path / "elsewhere").layers) == 61


def test_the_spec_reads_the_path_too(tmp_path):
    folder_of(tmp_path / "DeepSeek-R1", OSS)
    spec = {"model": "DeepSeek-R1", "cluster": "h200-hgx", "workload": {"kind": "decode", "batch": 8, "sequence": 128}}
    assert len(case_of(spec, str(tmp_path / "spec.yaml")).model.layers) == 24
    spec["model"] = {"name": "DeepSeek-R1", "precision": {"kv_cache": "fp8"}}
    assert len(case_of(spec, str(tmp_path / "spec.yaml")).model.layers) == 24


def test_hub_cache_before_an_alias(tmp_path):
    """An id in the local cache is that checkpoint, whatever the catalogue has of the same name."""
    name = "deepseek-ai/DeepSeek-R1-0528"
    assert named_model(name, tmp_path).name == "DeepSeek-V3"
    cached = tmp_path / "hub" / "models--deepseek-ai--DeepSeek-R1-0528"
    folder_of(cached / "snapshots" / "abc", OSS)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    model = named_model(name, tmp_path)
    assert (model.name, len(model.layers)) == ("DeepSeek-R1-0528", 24)
    assert model.source == f"{name} in the local Hugging Face cache (abc)"


def test_source_is_told(tmp_path):
    assert named_model("GLM-4.5", tmp_path).source.startswith("https://huggingface.co/")
    reading = named_reading("moonshotai/Kimi-K2-Instruct-0905", tmp_path)
    assert any("Kimi-K2" in note and "0905" in note for note in reading.model.notes)


@pytest.mark.parametrize(
    "name", ["somebody/DeepSeek-R1", "DeepSeek-R1-AWQ", "no/such", "a/b/c", "../x", "~nobody/x", "a\0b", ""]
)
def test_unknown_names_are_one_line(tmp_path, name):
    with pytest.raises(SpecError) as caught:
        named_model(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_files_without_end(tmp_path):
    """A device, a pipe, a link in itself, half a file, and one larger than any config end in one line each."""
    pipe, loop, half, large = (tmp_path / n for n in ("pipe.json", "loop.json", "half.json", "large.json"))
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    half.write_text(json.dumps(OSS)[:100])
    large.write_text(json.dumps({"padding": "x" * MOST_BYTES}))
    for path in ("/dev/zero", pipe, loop, half, large, tmp_path):
        with pytest.raises(SpecError) as caught:
            read_config(path)
        assert "\n" not in str(caught.value)


def test_deep_and_self_similar_configs(tmp_path):
    """Nested a thousand deep, and sections inside of themselves: one line, or a model."""
    deep = {"model_type": "llama"}
    for _ in range(900):
        deep = {"text_config": deep}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(deep))
    with pytest.raises(SpecError):
        read_config(path)


def test_read_and_unread_fields_are_told(tmp_path):
    reading = named_reading(str(folder_of(tmp_path / "m", {**OSS, "odd": 1})), tmp_path)
    assert reading.read["hidden_size"] == (True, 2880)
    assert "odd" in reading.unread
    assert "hidden_size" not in reading.unread
