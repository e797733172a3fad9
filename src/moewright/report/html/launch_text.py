"""The command that starts what a report recommends."""

from __future__ import annotations

from moewright.case.case import Case
from moewright.case.serving import ENGINES
from moewright.errors import MoewrightError
from moewright.launch.exporters.engine_export import commands, refusals, version_of
from moewright.launch.launch_folder import refused_text
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.read_launch import drafted, pass_launch, serving_launch, settings_of
from moewright.planning.engine_layouts import by_engine
from moewright.planning.record import Plan
from moewright.report.html.report_record import Command
from moewright.serving.engines.engine import load_engine
from moewright.serving.planner.option import Choice
from moewright.training.training_record import TrainingPlan


def pass_command(case: Case, plan: Plan) -> Command:
    """Of the first engine that runs the strategy of a pass."""
    reasons = by_engine(plan.strategy, case.model)
    engine = next((name for name in ENGINES if name in reasons and not reasons[name]), None)
    if engine is None:
        whys = dict.fromkeys(why for all_of in reasons.values() for why in all_of)
        return Command("", f"No engine runs this layout: {'; '.join(whys)}.")
    return _text(pass_launch(case, plan, engine, version_of(engine, None).version), case)


def serving_command(case: Case, choice: Choice) -> Command:
    """Of the workload's engine, for the choice of a serving plan."""
    assert case.serving is not None
    engine = case.serving.engine.name
    return _text(serving_launch(case, choice, version_of(engine, None).version), case)


def served_command(case: Case) -> Command:
    """Of the workload's engine, where the case names its strategies."""
    assert case.serving is not None
    plan = drafted(case, version_of(case.serving.engine.name, None).version)
    if plan is None:
        return Command("", "moewright launch, with the same spec, writes the command of the strategy that it chooses.")
    return _text(plan, case)


def training_command(case: Case, plan: TrainingPlan) -> Command:
    """Of Megatron-LM."""
    from moewright.launch.exporters.megatron_training import training_launch

    profile = load_engine("vllm", case.cluster.device)  # of whose settings a training job takes none
    version = version_of("megatron", None).version
    return _text(training_launch(case, plan, version, settings_of(case, profile, None)), case)


def _text(plan: LaunchPlan, case: Case) -> Command:
    """The first process's command, and what else there is to start."""
    try:
        reasons = refusals(plan, plan.engine)
        if reasons:
            return Command("", f"{refused_text(plan, [r.text for r in reasons])}.")
        made = commands(plan)
    except MoewrightError as error:
        return Command("", f"{plan.engine} has no command for this: {error}.")
    process, command = made[0]
    spec = case.file or "SPEC"
    rest = f"moewright launch {spec} --engine {plan.engine}"
    note = f"{plan.engine} {plan.version}."
    if len(made) > 1:
        note = f"{plan.engine} {plan.version}: the first of {len(made)} processes ({process.name}). `{rest}` writes all"
        note += ", for a shell, Docker, Kubernetes or Slurm."
    else:
        note += f" `{rest}` gives the reason for each option, and files for Docker, Kubernetes or Slurm."
    unset = [f"{name}" for name in command.variables]
    if unset:
        note += f" To be set: {', '.join(unset)}."
    return Command(command.exports() + command.text(), note)
