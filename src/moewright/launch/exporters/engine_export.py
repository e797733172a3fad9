"""The engines that a plan can be exported to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError
from moewright.launch.command import Command
from moewright.launch.engine_options import OptionList, engine_versions, option_list
from moewright.launch.exporters.megatron_export import megatron_command, megatron_refusals
from moewright.launch.exporters.sglang_export import PLACEMENT_FILE, sglang_command, sglang_refusals
from moewright.launch.exporters.trtllm_export import trtllm_command, trtllm_files, trtllm_refusals
from moewright.launch.exporters.vllm_export import vllm_command, vllm_refusals
from moewright.launch.launch_plan import LaunchPlan, Pool
from moewright.launch.refusal import Refusal, common_refusals
from moewright.launch.servers import Process, processes


def _no_files(plan: LaunchPlan) -> dict[str, str]:
    return {}


def placement_text(plan: LaunchPlan) -> str:
    """The plan's placement as SGLang loads it: a row for each layer of the MODEL, those without experts in order."""
    import json

    moe = plan.case.model.moe
    assert moe is not None
    slots = moe.experts + plan.redundant
    rows = plan.settings.placement
    plain = [i % moe.experts for i in range(slots)]
    layers = [list(rows.get(i, plain)) for i in range(len(plan.case.model.layers))]
    return json.dumps({"physical_to_logical_map": layers}) + "\n"


def _sglang_files(plan: LaunchPlan) -> dict[str, str]:
    return {PLACEMENT_FILE: placement_text(plan)} if plan.settings.placement else {}


@dataclass(frozen=True, slots=True)
class Export:
    """How one engine is started: what it ``refuses`` of a pool, the ``command`` of a process, further ``files``; the
    container ``image``, the path that answers when it is up; whether it ``serves`` or trains, and ``loads`` a placement
    (else ``placement_note`` says what becomes of one)."""

    name: str
    refuses: Callable[[LaunchPlan, Pool], list[Refusal]]
    command: Callable[[LaunchPlan, Process], Command]
    image: str
    files: Callable[[LaunchPlan], dict[str, str]] = _no_files
    health: str = "/health"
    serves: bool = True
    loads: bool = True
    placement_note: str = ""


EXPORTS: Mapping[str, Export] = {
    "vllm": Export(
        "vllm",
        vllm_refusals,
        vllm_command,
        "vllm/vllm-openai:v{version}",
        loads=False,
        placement_note="vLLM has no option that loads a placement of experts: they start in order, and EPLB moves them "
        "by the loads that it sees",
    ),
    "sglang": Export("sglang", sglang_refusals, sglang_command, "lmsysorg/sglang:v{version}", _sglang_files),
    "trtllm": Export(
        "trtllm", trtllm_refusals, trtllm_command, "nvcr.io/nvidia/tensorrt-llm/release:{version}.0rc27", trtllm_files
    ),
    "megatron": Export(
        "megatron",
        megatron_refusals,
        megatron_command,
        "",
        health="",
        serves=False,
        loads=False,
    ),
}


def export_of(engine: str) -> Export:
    """Raises SpecError for an engine that is not known."""
    if engine not in EXPORTS:
        near = did_you_mean(engine, EXPORTS)
        raise SpecError(f"got {engine[:40]!r}; {near}expected one of {', '.join(EXPORTS)}", field="--engine")
    return EXPORTS[engine]


def version_of(engine: str, version: str | None) -> OptionList:
    """The options of the engine's version. Raises SpecError for one that is not stored."""
    export_of(engine)
    known = engine_versions(engine)
    plain = (version or known[0]).removeprefix("v")
    if plain not in known:
        raise SpecError(
            f"got {plain[:40]!r}; options of {engine} are known of {', '.join(known)}", field="--engine-version"
        )
    return option_list(engine, plain)


def refusals(plan: LaunchPlan, engine: str) -> list[Refusal]:
    """Why ``engine`` cannot run ``plan``; empty where it can."""
    export = export_of(engine)
    found = [r for pool in plan.pools for r in (*common_refusals(plan, pool), *export.refuses(plan, pool))]
    if plan.apart and not export.serves:
        found.append(Refusal("prefill and decode apart", f"{engine} trains"))
    return list(dict.fromkeys(found))


def commands(plan: LaunchPlan) -> list[tuple[Process, Command]]:
    """The command of every process of the plan on its own engine."""
    export = export_of(plan.engine)
    return [(process, export.command(plan, process)) for process in processes(plan)]
