"""Slurm: one job, which starts each node's script on its node; TensorRT-LLM's ranks are started by MPI."""

from __future__ import annotations

from moewright.launch.command import Command
from moewright.launch.exporters.engine_export import commands
from moewright.launch.front_router import needs_router
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.servers import Process, nodes_used
from moewright.launch.targets.bundle import File, named_in, required, tried, visible_devices
from moewright.launch.targets.manifest import object_name
from moewright.launch.targets.shell_files import by_node, node_script, router_script


def slurm_files(plan: LaunchPlan) -> list[File]:
    """``job.sbatch``, the scripts that it starts, and the router's."""
    files = [File("job.sbatch", job_script(plan))]
    if plan.engine != "trtllm":
        files += [File(f"node-{node}.sh", node_script(plan, node, found)) for node, found in by_node(plan).items()]
    if needs_router(plan):
        files.append(File("router.sh", router_script(plan)))
    return files


def job_script(plan: LaunchPlan) -> str:
    """Nodes in the order in which Slurm numbers them are node 0, 1, …"""
    nodes, gpus = nodes_used(plan), plan.case.cluster.host_gpus
    text = (
        "#!/bin/bash\n"
        f"#SBATCH --job-name={object_name(plan)}\n#SBATCH --nodes={nodes}\n#SBATCH --gpus-per-node={gpus}\n"
        "#SBATCH --exclusive\n#SBATCH --output=%x-%j.log\n"
        f"# {plan.name}, {plan.engine} {plan.version}\nset -eu\n"
        f"{required(v for v in named_in(_all_words(plan)) if not v.startswith('NODE_'))}"
        'cd "$SLURM_SUBMIT_DIR"\ni=0\n'
        'for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do\n'
        '  export "NODE_$i=$node"\n  i=$((i + 1))\ndone\n'
    )
    if plan.engine == "trtllm":
        text += "".join(_mpi_step(plan, process, command) for process, command in commands(plan) if process.leads)
    else:
        text += (
            f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=1 \\\n"
            '  sh -c \'exec sh "node-$SLURM_NODEID.sh" "$@"\' node "$@" &\n'
        )
    if needs_router(plan):
        text += 'srun --overlap --nodes=1 --ntasks=1 --nodelist="$NODE_0" sh router.sh &\n'
    return f"{text}wait -n  # the job ends, with its status, when the first of them does\n"


def _all_words(plan: LaunchPlan) -> str:
    return " ".join(word for _, command in commands(plan) for word in command.words)


def _mpi_step(plan: LaunchPlan, process: Process, command: Command) -> str:
    """An instance as a step of its own: a task a GPU, under the launcher that makes them one MPI world."""
    nodes = ",".join(f"$NODE_{process.node + i}" for i in range(process.nodes))
    launcher = () if command.program[0] == "trtllm-llmapi-launch" else ("trtllm-llmapi-launch",)
    devices = visible_devices(plan, process)
    run = Command((*launcher, *command.program), command.arguments, command.environment)
    prefix = f"CUDA_VISIBLE_DEVICES={devices} " if devices else ""
    ranks = process.gpus * process.nodes
    return (
        f"# {process.name}\n{prefix}srun --overlap --mpi=pmix --nodes={process.nodes} --ntasks={ranks} "
        f'--ntasks-per-node={process.gpus} --nodelist="{nodes}" \\\n'
        f"{run.text('  ')} > {process.name}.log 2>&1 &\n"
    )


def slurm_steps(plan: LaunchPlan) -> list[str]:
    steps = ["`sbatch job.sbatch`, from this folder, where all nodes see it."]
    if plan.engine == "megatron":
        return ["`sbatch job.sbatch OPTIONS…`, with the options of data, tokenizer, optimizer and schedule."]
    return [
        *steps,
        f"With `NODE_0=…` the job's first node, and so on: {tried(plan)}.",
    ]
