"""The README of a launch folder: how to start, why each option is set, what to expect. One page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moewright.launch.benchmark import misses
from moewright.launch.command import Argument, Command
from moewright.launch.engine_options import option_list
from moewright.launch.exporters.engine_export import EXPORTS, commands
from moewright.launch.exporters.sglang_export import backend_of
from moewright.launch.exporters.trtllm_export import config_of
from moewright.launch.exporters.vllm_export import all_to_all_backend
from moewright.launch.launch_plan import Expectation, LaunchPlan, Pool
from moewright.launch.refusal import exchanged, has_experts
from moewright.launch.servers import Process
from moewright.launch.targets.bundle import File, meaning, named_in
from moewright.units import format_bytes, format_count, format_seconds

#: options that say where a process is, not how it runs
_PLACES = (
    "--node-rank",
    "--master-addr",
    "--master-port",
    "--dist-init-addr",
    "--data-parallel-rpc-port",
    "--headless",
)


def readme(plan: LaunchPlan, target: str, steps: Sequence[str], files: Sequence[File]) -> str:
    """Markdown of about a page. ``steps``: what to type, in order; ``files``: those of the folder."""
    parts = [
        f"# {plan.case.model.name} on {plan.engine} {plan.version}\n",
        f"{plan.name}: {plan.gpus} × {plan.case.cluster.device.name}, by `moewright launch --target {target}`.\n",
        "## Start\n",
        _variables(files, target),
        "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1)) + "\n",
        "## Files\n",
        _listed([f.path for f in files]) + ".\n",
        "## What to expect\n",
        _expected(plan),
        _memory(plan),
    ]
    lacks = not_expressed(plan)
    if lacks:
        parts += ["## What is not as planned\n", "\n".join(f"- {line}" for line in lacks) + "\n"]
    parts += ["## Why each option is set\n", _reasons(plan)]
    return "\n".join(part for part in parts if part)


def _variables(files: Sequence[File], target: str) -> str:
    names = named_in("".join(f.text for f in files))
    nodes = sorted((n for n in names if n.startswith("NODE_")), key=lambda n: int(n.removeprefix("NODE_")))
    told = [f"- `{n}`: {meaning(n)}" for n in names if n not in nodes]
    if nodes:
        by_job = " (`job.sbatch` sets them)" if target == "slurm" else ""
        span = f"`{nodes[0]}`" + (f" to `{nodes[-1]}`" if len(nodes) > 1 else "")
        told.append(f"- {span}: addresses of the nodes, as they reach one another{by_job}")
    return "Set first:\n\n" + "\n".join(told) + "\n" if told else ""


def _listed(paths: Sequence[str]) -> str:
    """All paths, but of a long row that differs in a number only the first and the last."""
    rows: dict[str, list[str]] = {}
    for path in paths:
        rows.setdefault(re.sub(r"\d+", "#", path), []).append(path)
    return ", ".join(f"`{r[0]}` to `{r[-1]}`" if len(r) > 3 else ", ".join(f"`{p}`" for p in r) for r in rows.values())


def _expected(plan: LaunchPlan) -> str:
    if not plan.expected:
        return "Nothing was predicted.\n"
    if plan.case.serving is None:
        traffic = ""
    elif plan.concurrency:
        traffic = f"With {plan.concurrency} requests in flight"
    else:
        traffic = f"At {plan.rate:g} requests a second"
    rows = [f"| {e.name} | {figure(e)} | {interval(e)} |" for e in plan.expected]
    head = "| | predicted | 80 % of measured results |\n|---|---|---|\n"
    return f"{traffic + ' (means):' if traffic else 'By the plan:'}\n\n{head}" + "\n".join(rows) + "\n"


def figure(e: Expectation) -> str:
    return format_seconds(e.value) if e.unit == "s" else format_count(e.value)


def interval(e: Expectation) -> str:
    if e.low is None or e.high is None:
        return "–"
    return f"{format_seconds(e.low)} to {format_seconds(e.high)}"


def _memory(plan: LaunchPlan) -> str:
    lines = []
    for pool in plan.pools:
        m = pool.memory
        if not m:
            continue
        names = ("weights", "activations", "buffers", "graphs", "other", "kv_cache")
        parts = ", ".join(f"{n.replace('_', ' ')} {format_bytes(float(m[n]))}" for n in names if float(m.get(n, 0)) > 0)
        lines.append(
            f"Memory of a GPU ({pool.role}), {format_bytes(float(m['capacity']))}: {parts}; the cache of a rank holds "
            f"{format_count(float(m['kv_tokens']))} tokens."
        )
    return "\n\n".join(lines) + "\n" if lines else ""


def not_expressed(plan: LaunchPlan) -> list[str]:
    """What the engine does otherwise than the plan was priced, and what its files cannot say."""
    found = list(plan.notes)
    if plan.settings.placement and not EXPORTS[plan.engine].loads and EXPORTS[plan.engine].serves:
        found.append(EXPORTS[plan.engine].placement_note)
    found += [line for pool in plan.pools for line in _exchange(plan, pool)]
    if plan.settings.checkpoint == "${MODEL}":
        found.append(f"{plan.case.model.name} names no checkpoint: MODEL must be set")
    if plan.settings.drafts and not plan.settings.own_drafts and plan.settings.draft_model == "${DRAFT_MODEL}":
        found.append(
            f"{plan.case.model.name} has no prediction layers, and no model that "
            "guesses is named: DRAFT_MODEL must be set"
        )
    version = dict(plan.case.serving.engine.overrides).get("version") if plan.case.serving is not None else None
    if version is not None and str(version).removeprefix("v") != plan.version:
        found.append(
            f"memory was planned by the rule of {plan.engine} {version}, and options are those of {plan.version}"
        )
    return list(dict.fromkeys([*found, *misses(plan)]))


def _exchange(plan: LaunchPlan, pool: Pool) -> list[str]:
    s = pool.strategy
    if not has_experts(plan) or not exchanged(s) or s.attention.dp * s.attention.cp == 1:
        return []
    priced = f"{pool.role}: the plan prices an all-to-all"
    if plan.engine == "vllm" and (s.experts.ep == 1 or all_to_all_backend(plan, pool)[0] == "allgather_reducescatter"):
        return [f"{priced}; vLLM gathers every token on all {s.stage} ranks instead, which sends more"]
    if plan.engine == "sglang" and backend_of(plan, pool) == "none":
        return [f"{priced}; SGLang gathers every token on all {s.stage} ranks instead, which sends more"]
    return []


def _reasons(plan: LaunchPlan) -> str:
    """A table a pool: options as set, and what of the plan they say."""
    tables, shown = [], set()
    for process, command in commands(plan):
        if process.pool.role in shown or not process.leads:
            continue
        shown.add(process.pool.role)
        title = f"`{' '.join(command.program[:3])}` ({process.pool.role})\n\n" if plan.apart else ""
        tables.append(f"{title}{_table(plan, process, command)}")
    source = option_list(plan.engine, plan.version).source
    return "\n".join(tables) + f"\nOptions: {source}.\n"


def _table(plan: LaunchPlan, process: Process, command: Command) -> str:
    rows = [(e.name, e.value or "", e.why) for e in command.environment if e.why]
    rows += [(a.name, _shown(a), a.why) for a in command.arguments if a.why and a.name not in _PLACES]
    if plan.engine == "trtllm":
        rows += yaml_reasons(plan, process.pool)
    lines = [f"| `{n}{' ' + v if v else ''}` | {w} |" for n, v, w in rows]
    return "| option | says |\n|---|---|\n" + "\n".join(lines) + "\n"


def _shown(argument: Argument) -> str:
    return (argument.value or "").replace("|", "\\|")


def yaml_reasons(plan: LaunchPlan, pool: Pool) -> list[tuple[str, str, str]]:
    """Paths of TensorRT-LLM's YAML with what they say."""
    s, c = pool.strategy, plan.settings
    content = config_of(plan, pool)
    why = {
        "tensor_parallel_size": f"ranks of a stage: attention dp {s.attention.dp} × tp {s.attention.tp}",
        "enable_attention_dp": f"attention dp {s.attention.dp}: all of tp, or none",
        "pipeline_parallel_size": f"{s.pp} pipeline stage{'s' * (s.pp > 1)}",
        "moe_expert_parallel_size": f"experts over {s.experts.ep} groups of ranks",
        "moe_tensor_parallel_size": f"an expert cut {s.experts.tp} ways",
        "max_batch_size": "sequences in a step of an attention rank",
        "max_num_tokens": "tokens in a step of an attention rank",
        "max_seq_len": "longest request planned, and room for a chat template",
        "enable_chunked_prefill": "prompts in chunks, or whole",
    }
    rows = [(k, str(content[k]).lower(), text) for k, text in why.items() if k in content]
    cache = content["kv_cache_config"]
    rows.append(("kv_cache_config.dtype", cache["dtype"], "format of the cache that the plan was made with"))
    rows.append(
        (
            "kv_cache_config.free_gpu_memory_fraction",
            str(cache["free_gpu_memory_fraction"]),
            "of what is free AFTER loading",
        )
    )
    rows.append(("kv_cache_config.enable_block_reuse", str(c.prefix_caching).lower(), "shared beginnings of prompts"))
    if "moe_config" in content:
        slots = content["moe_config"]["load_balancer"]["num_slots"]
        rows.append(("moe_config.load_balancer.num_slots", str(slots), f"{s.experts.redundant} redundant experts"))
    if "speculative_config" in content:
        rows.append(("speculative_config.num_nextn_predict_layers", str(c.drafts), f"{c.drafts} draft tokens a step"))
    if "cache_transceiver_config" in content:
        rows.append(("cache_transceiver_config.backend", "DEFAULT", "the cache goes from prefill to decode"))
    return rows
