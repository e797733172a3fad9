"""The JSON Schema: valid, true of every example, and as strict as the reader."""

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml

from moewright.case.file.load import case_of
from moewright.case.file.schema import schema
from moewright.errors import SpecError

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.stem)
def test_examples_are_valid(file):
    VALIDATOR.validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.hiden_size", 4),
        ("model.layers", 0),
        ("cluster.gpus", "many"),
        ("cluster.device.memory", -1),
        ("cluster.device.memory", True),
        ("cluster.device.flops", {"fp9": 1.0}),
        ("workload.kind", "serving"),
        ("workload.batch", [0]),
        ("objective", "speed"),
        ("strategy", {"attention": {"ep": 2}}),
        ("strategy", {"experts": {"dispatch": "somehow"}}),
        ("routing", {"zipf": -1}),
        ("model.attention", {"kind": "mla", "heads": 4}),
        ("model.precision", "fp7"),
        ("extra", 1),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(path, value):
    raw = yaml.safe_load((EXAMPLES[0].parent / "paper.yaml").read_text())
    raw = copy.deepcopy(raw)
    at = raw
    *outer, last = path.split(".")
    for key in outer:
        at = at[key]
    at[last] = value
    assert not VALIDATOR.is_valid(raw)
    with pytest.raises(SpecError):
        case_of(raw, "spec.yaml")


def test_fields_explain_themselves():
    assert SCHEMA["$defs"]["WorkloadRecord"]["properties"]["sequence"]["description"]
    assert "h200-hgx" in str(SCHEMA["properties"]["cluster"])
