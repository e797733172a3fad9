"""The stored option lists of engines."""

from __future__ import annotations

import pytest

from moewright.errors import SpecError
from moewright.launch.engine_options import engine_options, engine_versions, option_list

ENGINES = ("megatron", "sglang", "trtllm", "vllm")


@pytest.mark.parametrize("engine", ENGINES)
def test_each_spelling_belongs_to_one_option(engine: str) -> None:
    options = engine_options(engine)
    names = [name for option in options for name in option.names]
    assert len(names) == len(set(names)) > 30
    assert all(option.type for option in options)


def test_options_of_the_parallel_sizes() -> None:
    vllm, sglang = option_list("vllm", "0.33.0").by_name, option_list("sglang", "0.5.23").by_name
    assert vllm["-tp"] is vllm["--tensor-parallel-size"]
    assert vllm["--tensor-parallel-size"].default == 1
    assert sglang["--tp-size"].type == "int"
    assert "deepep" in (sglang["--moe-a2a-backend"].choices or ())
    assert option_list("megatron").by_name["--expert-tensor-parallel-size"].default is None
    assert "num_redundant_experts" in option_list("vllm").config_keys["EPLBConfig"]
    assert "enable_attention_dp" in {option.dest for option in option_list("trtllm").yaml}


def test_what_is_not_stored_is_refused() -> None:
    with pytest.raises(SpecError, match="did you mean sglang"):
        engine_options("sglan")
    with pytest.raises(SpecError, match=r"known of 0\.33\.0"):
        engine_options("vllm", "0.1")
    assert engine_versions("nothing") == ()
