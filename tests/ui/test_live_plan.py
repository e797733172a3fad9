"""The local page's server: what it answers, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from moewright.case.file.load import case_of
from moewright.ui.live_plan import OPTIONS, answer, choices, nowhere, page
from moewright.ui.local_server import application

ROOT = Path(__file__).parents[2]
PASS = {"model": "Qwen3-30B-A3B", "cluster": "h100-hgx:8", "kind": "prefill", "batch": "8", "sequence": "1k"}


@pytest.fixture(scope="module")
def client():
    return TestClient(application(), base_url="http://127.0.0.1")


def asked(client, body, **headers):
    return client.post("/plan", content=json.dumps(body), headers={"Content-Type": "application/json", **headers})


def test_the_example_is_the_documents_case():
    assert choices()["example"] == (ROOT / "examples" / "paper.yaml").read_text()


def test_options_are_planned_and_come_back_as_a_spec(client):
    found = asked(client, {"options": PASS}).json()
    assert found["answer"].startswith("R")
    assert {f["name"] for f in found["figures"]} >= {"frontier", "memory", "cluster"}
    assert "sglang.launch_server" in found["command"]
    assert len(found["numbers"]) == 3
    again = case_of(yaml.safe_load(found["spec"]), "spec.yaml")
    assert (again.cluster.gpus, again.workload.batch) == (8, (8,))
    by_spec = answer({"spec": found["spec"]})
    assert by_spec["answer"] == found["answer"]


def test_a_pasted_config_is_a_model(client):
    config = {"model_type": "mixtral", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 8}
    config |= {"num_key_value_heads": 8, "intermediate_size": 512, "num_local_experts": 8, "num_experts_per_tok": 2}
    config |= {"vocab_size": 1000}
    found = asked(client, {"options": {**PASS, "config": json.dumps(config)}}).json()
    assert "error" not in found, found
    assert 'model: "config.json"' in found["spec"]
    assert asked(client, {"options": {**PASS, "config": "[1]"}}).json()["error"]


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"cluster": "h100-hgx:0"}, "--cluster", "GPU"),
        ({"model": "Qwen9"}, "MODEL", "Qwen9"),
        ({"batch": "many"}, "--batch", "many"),
        ({"strategy": "tp7"}, "--strategy", ""),
        ({"model": "/etc/passwd"}, "MODEL", "outside"),
        ({"routing": "../../loads.npz"}, "--routing", "outside"),
        ({"sequence": "4k", "ttft": "2s"}, "--ttft", "engine"),
    ],
)
def test_mistakes_are_told_with_the_option_that_they_are_in(client, changed, field, said):
    found = asked(client, {"options": {**PASS, **changed}}).json()
    assert said in found["error"]
    assert found["field"] == field, found
    assert str(nowhere()) not in json.dumps(found)


def test_no_message_names_the_folder_that_files_are_looked_up_in(client):
    spec = "model: folder/config.json\ncluster: h100-hgx\nworkload: {kind: prefill, batch: 8, sequence: 128}\n"
    found = asked(client, {"spec": spec}).json()
    assert "config.json" in json.dumps(found)
    assert str(nowhere()) not in json.dumps(found)
    good = answer({"options": PASS})
    assert "moewright launch spec.yaml" in good["note"]
    assert str(nowhere()) not in json.dumps(good)


def test_what_does_not_fit_says_what_would(client):
    found = asked(client, {"options": {**PASS, "model": "DeepSeek-V3", "cluster": "h100-hgx:1"}}).json()
    assert "needs" in found["error"]
    assert "do" in found["error"]


def test_only_this_machines_page_is_answered(client):
    assert client.get("/", headers={"Host": "example.com"}).status_code == 400
    assert asked(client, {"options": PASS}, Origin="http://example.com").status_code == 403
    assert client.post("/plan", content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post("/plan", content="{", headers={"Content-Type": "application/json"}).status_code == 400
    assert asked(client, {"spec": "x" * 600_000}).status_code == 413
    assert asked(client, {"options": {"root": "/"}}).json()["error"]
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'none'")


def test_the_page_sends_what_the_server_takes():
    text = page()
    names = text.split("const FIELDS = [", 1)[1].split("]", 1)[0].replace('"', "").replace("\n", " ").split(",")
    assert {n.strip() for n in names} <= {*OPTIONS, "config"}
    assert "/*" not in text.split("<body")[1].split("<script")[0]
