"""Runs in SGLang's environment: placement files, a JSON line each on stdin, through its own reader.

A line has ``content`` of the file, ``layers`` and ``experts`` of the model, ``ep`` and ``redundant`` slots. Answers a
JSON line each: ``error``, or for every layer of the model the slots that the engine sends each expert's tokens to.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from unittest import mock

from sglang.srt.eplb import expert_location
from sglang.srt.eplb.expert_location import ModelConfigForExpertLocation


def read(asked: dict[str, object]) -> list[list[list[int]]]:
    """Slots [layers][experts] as the engine's record has them."""
    moe = SimpleNamespace(
        init_expert_location=asked["content"],
        ep_num_redundant_experts=asked["redundant"],
        ep_dispatch_algorithm=None,
        moe_a2a_backend="none",
    )
    parallel = SimpleNamespace(ep_size=asked["ep"], elastic_ep_initial_size=None, nnodes=1)
    model = ModelConfigForExpertLocation(num_layers=asked["layers"], num_logical_experts=asked["experts"])
    with (
        mock.patch.object(expert_location, "get_exec", return_value=SimpleNamespace(moe=moe)),
        mock.patch.object(expert_location, "get_parallel", return_value=parallel),
        mock.patch.object(expert_location, "get_device", return_value=SimpleNamespace(device="cpu")),
        mock.patch.object(ModelConfigForExpertLocation, "from_model_config", staticmethod(lambda config: model)),
    ):
        found = expert_location.compute_initial_expert_location_metadata(None, 0)
    slots = found.logical_to_all_physical_map_cpu.tolist()
    return [[[slot for slot in row if slot >= 0] for row in layer] for layer in slots]


def main() -> None:
    for line in sys.stdin:
        try:
            answer = {"error": None, "slots": read(json.loads(line))}
        except Exception as fault:
            answer = {"error": f"{type(fault).__name__}: {fault}", "slots": None}
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
