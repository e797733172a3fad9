"""Exported commands: options that the engine's parser has, with legal values, and the layout that was meant."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
import yaml
from benchmarks.engines.random_plans import random_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.launch.command import Command
from moewright.launch.engine_options import EngineOption, OptionList, option_list
from moewright.launch.exporters.engine_export import EXPORTS, commands, refusals
from moewright.launch.exporters.sglang_export import PLACEMENT_FILE
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.layout import engine_layout
from moewright.launch.servers import Process

#: vLLM's options of JSON → the record whose keys they take
JSON_OPTIONS = {
    "--eplb-config": "EPLBConfig",
    "--kv-transfer-config": "KVTransferConfig",
    "--speculative-config": "SpeculativeConfig",
    "--compilation-config": "CompilationConfig",
}


#: a plan each
SEEDS = st.integers(0, 1 << 32)


def value_of(option: EngineOption, name: str, value: str | None) -> Any:
    """What the parser would make of ``value``. Raises AssertionError for what it would refuse."""
    if option.type == "flag":
        assert value is None, f"{name} takes no value"
        negated = name.startswith(("--no-", "--disable-")) and name != option.names[0]
        return not negated
    assert value is not None, f"{name} needs a value"
    if "${" in value:
        return value
    if option.choices:
        assert value in option.choices, f"{name} {value}: {option.choices}"
    converted = {"int": int, "float": float}.get(option.type, str)(value)
    assert str(converted) == value or option.type == "float"
    return converted


def parsed(options: OptionList, command: Command) -> dict[str, Any]:
    """Destination → value, by full names of the stored list alone."""
    names, values = options.by_name, {}
    for argument in command.arguments:
        assert argument.name in names, f"{options.engine} {options.version} has no {argument.name}"
        option = names[argument.name]
        assert option.dest not in values, f"{argument.name} is given twice"
        values[option.dest] = value_of(option, argument.name, argument.value)
    return values


def yaml_paths(content: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        path = f"{before}{key}"
        if isinstance(value, dict) and path != "moe_config.load_balancer.initial_global_assignments":
            flat |= yaml_paths(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def yaml_values(options: OptionList, text: str) -> dict[str, Any]:
    """Path → value of TensorRT-LLM's YAML, each held to its type and allowed values."""
    known = {option.dest: option for option in options.yaml}
    types = {"int": int, "float": float, "bool": bool, "str": str, "list[int]": list}
    flat = yaml_paths(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    for path, value in flat.items():
        assert path in known, path
        assert type(value) is types.get(known[path].type, type(value)), (path, value)
        assert known[path].choices is None or value in known[path].choices, (path, value)
    return flat


def values_of(plan: LaunchPlan, process: Process, command: Command) -> dict[str, Any]:
    options = option_list(plan.engine, plan.version)
    values = parsed(options, command)
    if plan.engine == "trtllm":
        return yaml_values(options, EXPORTS["trtllm"].files(plan)[str(command.value("--config"))])
    if plan.engine == "megatron":
        values["world_size"] = process.nodes * process.gpus
    return values


def legal_plan(draw: random.Random, engine: str) -> LaunchPlan:
    """A random plan that the engine can run."""
    while True:
        plan = random_plan(draw, engine)
        if not refusals(plan, engine):
            return plan


@pytest.mark.parametrize("engine", list(EXPORTS))
@given(seed=SEEDS)
@settings(max_examples=40)
def test_every_option_is_the_engines_and_means_the_plan(engine: str, seed: int) -> None:
    plan = legal_plan(random.Random(seed), engine)
    for process, command in commands(plan):
        values = values_of(plan, process, command)
        made, meant = engine_layout(engine, values).replicated(process.pool.count), process.pool.layout
        if plan.case.model.moe is None:  # no experts: their sizes mean nothing, and Megatron's dp is replicas
            made, meant = (replace(x, ep=1, etp=1, attn_dp=1, replicas=1, world=1) for x in (made, meant))
        assert made == meant, command.text()


@given(seed=SEEDS)
@settings(max_examples=40)
def test_keys_of_json_options_are_vllms(seed: int) -> None:
    plan, keys = legal_plan(random.Random(seed), "vllm"), option_list("vllm").config_keys
    for _, command in commands(plan):
        for argument in command.arguments:
            if argument.name in JSON_OPTIONS:
                content = json.loads(argument.value or "")
                assert set(content) <= set(keys[JSON_OPTIONS[argument.name]]), argument


@given(seed=SEEDS)
@settings(max_examples=20)
def test_processes_fill_the_gpus_once(seed: int) -> None:
    plan = legal_plan(random.Random(seed), "sglang")
    taken: set[tuple[int, int]] = set()
    ports: set[tuple[int, int]] = set()
    for process, _ in commands(plan):
        gpus = {(process.node, process.first_gpu + i) for i in range(process.gpus)}
        assert not gpus & taken
        assert process.first_gpu + process.gpus <= plan.case.cluster.host_gpus
        assert (process.node, process.port) not in ports
        taken |= gpus
        ports.add((process.node, process.port))
    assert len(taken) == plan.gpus


@given(seed=SEEDS)
@settings(max_examples=20)
def test_placement_is_indexed_by_layer_of_the_model(seed: int) -> None:
    plan = legal_plan(random.Random(seed), "sglang")
    files = EXPORTS["sglang"].files(plan)
    if not plan.settings.placement:
        assert not files
        return
    rows = json.loads(files[PLACEMENT_FILE])["physical_to_logical_map"]
    model = plan.case.model
    assert len(rows) == len(model.layers)
    assert model.moe is not None
    for layer, row in enumerate(rows):
        assert len(row) == model.moe.experts + plan.redundant
        assert set(row) == set(range(model.moe.experts))
        expected = plan.settings.placement.get(layer)
        if expected is None:
            assert row[: model.moe.experts] == list(range(model.moe.experts))
        else:
            assert tuple(row) == expected


def test_a_wrong_value_is_noticed() -> None:
    names = option_list("sglang").by_name
    with pytest.raises(AssertionError):
        value_of(names["--moe-a2a-backend"], "--moe-a2a-backend", "deepeep")
    with pytest.raises(ValueError, match="invalid literal"):
        value_of(names["--tp-size"], "--tp-size", "eight")
    with pytest.raises(AssertionError):
        value_of(names["--enable-eplb"], "--enable-eplb", "1")
