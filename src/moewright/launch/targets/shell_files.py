"""A shell script a node, one of the router, and what all targets share: benchmark, health check, engine files."""

from __future__ import annotations

import json

from moewright.errors import InfeasibleError
from moewright.launch.command import Command, shell_word
from moewright.launch.exporters.engine_export import commands, export_of
from moewright.launch.front_router import PACKAGES, needs_router, nginx_router, router_command, trtllm_router
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.servers import Process, processes
from moewright.launch.targets.bundle import File, header, named_in, required, used_variables, visible_devices


def shell_files(plan: LaunchPlan) -> list[File]:
    """``node-K.sh`` for every node, and ``router.sh`` where there are several servers. Raises InfeasibleError."""
    one_host(plan, "shell")
    files = [File(f"node-{node}.sh", node_script(plan, node, found)) for node, found in by_node(plan).items()]
    if needs_router(plan):
        files.append(File("router.sh", router_script(plan)))
    return files


def one_host(plan: LaunchPlan, target: str) -> None:
    """TensorRT-LLM starts the ranks of several nodes by MPI, which the scheduler must provide."""
    nodes = max(p.nodes(plan.case.cluster.host_gpus) for p in plan.pools)
    if plan.engine == "trtllm" and nodes > 1:
        raise InfeasibleError(
            f"target {target}: TensorRT-LLM starts an instance of {nodes} nodes by MPI, which --target slurm does"
        )


def by_node(plan: LaunchPlan) -> dict[int, list[tuple[Process, Command]]]:
    """Node of the cluster → its processes."""
    nodes: dict[int, list[tuple[Process, Command]]] = {}
    for process, command in commands(plan):
        nodes.setdefault(process.node, []).append((process, command))
    return dict(sorted(nodes.items()))


def node_script(plan: LaunchPlan, node: int, found: list[tuple[Process, Command]]) -> str:
    """All processes of a node; the script lives as long as they do."""
    names = ", ".join(process.name for process, _ in found)
    trains = not export_of(plan.engine).serves
    text = header(
        plan, f"Node {node}: {names}." + (" Options of data, tokenizer, optimizer go behind it." if trains else "")
    )
    text += required(used_variables(command for _, command in found))
    text += 'cd "$(dirname "$0")"\n'
    alone = len(found) == 1
    for process, command in found:
        devices = visible_devices(plan, process)
        what = "" if plan.training is not None else f"{process.pool.strategy.name.removeprefix('R1 · ')}, "
        text += f"\n# {process.name}: {what}{process.gpus} GPUs\n"
        body = command.exports() + (f"export CUDA_VISIBLE_DEVICES={devices}\n" if devices else "")
        tail = ' "$@"' if trains else ""
        if alone:
            text += f"{body}exec {command.text()}{tail}\n"
        else:
            inner = "".join(f"  {line}\n" for line in f"{body}exec {command.text()}".splitlines())
            text += f"(\n{inner}) > {process.name}.log 2>&1 &\n"
    return text + ("" if alone else "\nwait\n")


def lead_urls(plan: LaunchPlan) -> list[tuple[Process, str]]:
    """Servers that clients may speak to, with their URLs."""
    return [(p, p.url) for p in processes(plan) if p.leads]


def router_script(plan: LaunchPlan) -> str:
    """The router's own program, ``trtllm-serve disaggregated``, or nginx."""
    servers = lead_urls(plan)
    command = router_command(plan, servers)
    if command is not None:
        text = header(plan, f"The address for clients (pip install {PACKAGES[plan.engine]}).")
        return f"{text}{required(used_variables([command]))}exec {command.text()}\n"
    if plan.apart:
        text, content, file = header(plan, "The address for clients."), trtllm_router(servers), "router.yaml"
        start = "exec trtllm-serve disaggregated --config_file router.yaml"
    else:
        text, content, file = header(plan, "The address for clients (nginx)."), nginx_router(servers), "nginx.conf"
        start = 'exec nginx -g "daemon off;" -c "$(pwd)/nginx.conf"'
    here = f"cat > {file} <<END\n{content}END\n"
    return f'{text}{required(named_in(content))}cd "$(dirname "$0")"\n{here}{start}\n'


def health_script(plan: LaunchPlan, base: str, urls: list[str] | None = None) -> str:
    """Waits until every server answers, then asks for one completion. ``base``: of the router, or the only server."""
    urls = [url for _, url in lead_urls(plan)] if urls is None else urls
    path = export_of(plan.engine).health
    text = header(plan, "Waits until every server answers, then asks for a completion.")
    text += required(named_in(base + " ".join(urls)))
    waits = "".join(
        f"until curl -fsS -o /dev/null {shell_word(url + path)}; do\n"
        f"  echo {shell_word(f'waiting for {url}')}; sleep 10\ndone\n"
        for url in urls
    )
    body = json.dumps({"model": served(plan), "prompt": "The capital of France is", "max_tokens": 8})
    ask = (
        f"curl -fsS {shell_word(base + '/v1/completions')} -H 'Content-Type: application/json' -d {shell_word(body)}\n"
    )
    return text + waits + ask


def served(plan: LaunchPlan) -> str:
    """The name of the model in requests: TensorRT-LLM has the checkpoint's."""
    return plan.settings.checkpoint if plan.engine == "trtllm" else plan.settings.served_name
