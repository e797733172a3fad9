"""The tools of the server as plain functions: checked input in, the JSON of a command out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.case.case import Case
from moewright.case.file.load import case_of
from moewright.errors import SpecError
from moewright.mcp.bounded_results import MOST_INPUT, check_paths, inside

if TYPE_CHECKING:
    from moewright.audit.audit_record import Audit

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Tools whose files lie below ``root``."""

    root: Path

    def case(self, spec: dict[str, Any] | str) -> Case:
        """The case of a spec, given as a mapping or as YAML. Raises SpecError."""
        raw = _mapping(spec, "spec")
        check_paths(raw, self.root)
        return case_of(raw, str(self.root / "spec.yaml"))

    def plan(self, spec: dict[str, Any] | str, top: int, tell: Progress) -> dict[str, Any]:
        """The best strategy of a spec, with the ``top`` next ones: a pass, serving, or a training step."""
        case = self.case(spec)
        if case.training is not None:
            from moewright.training.plan_training import plan_training

            return plan_training(case, [], top, tell).to_dict()
        if case.serving is not None:
            from moewright.serving.planner.serving_plan import plan_serving
            from moewright.serving.validation.row_steps import default_folder

            return plan_serving(case, top, tell, default_folder(None, False)).to_dict()
        from moewright.planning.search import plan

        return plan(case, top=top, progress=tell).to_dict()

    def evaluate(self, spec: dict[str, Any] | str, tell: Progress) -> dict[str, Any]:
        """One strategy, which the spec names. Raises SpecError where it names none."""
        if self.case(spec).strategy is None and _mapping(spec, "spec").get("strategy") is None:
            raise SpecError("is missing; evaluate prices the strategy of the spec, plan finds one", field="strategy")
        return self.plan(spec, 0, tell)

    def train(self, spec: dict[str, Any] | str, top: int, tell: Progress) -> dict[str, Any]:
        """The best layout of a training step."""
        if self.case(spec).training is None:
            raise SpecError("expected kind: train, with global_batch and sequence", field="workload.kind")
        return self.plan(spec, top, tell)

    def serve(self, spec: dict[str, Any] | str, tell: Progress) -> dict[str, Any]:
        """What users of an engine see, simulated request by request."""
        from moewright.serving.planner.chosen import chosen
        from moewright.serving.simulation.simulate import simulate
        from moewright.serving.validation.row_steps import default_folder

        return simulate(chosen(self.case(spec)), tell=tell, tables=default_folder(None, False)).to_dict()

    def fit(
        self, model: str, cluster: str, engine: str, context: str, concurrency: str, engine_version: str | None
    ) -> dict[str, Any]:
        """Whether a model fits, with how much room, and how many GPUs it takes."""
        from moewright.case.file.count_text import read_count
        from moewright.serving.planner.fit_question import cluster_and_most, fit_case
        from moewright.serving.planner.fitting import fit

        check_paths(model, self.root, "model")
        name, most = cluster_and_most(cluster, "cluster")
        settings = {"name": engine} | ({"version": engine_version} if engine_version else {})
        case, profile = fit_case(model, name, settings, str(self.root / "spec.yaml"))
        tokens, requests = read_count(context, "context"), read_count(concurrency, "concurrency")
        return fit(case, profile, tokens, requests, most).to_dict()

    def models(self, name: str | None) -> dict[str, Any]:
        """The models of the catalogue, or one explained."""
        from moewright.report.catalogue_page import explain_model, list_models

        if name is None:
            return {"models": list_models()[0]}
        check_paths(name, self.root, "name")
        return explain_model(str(self.root / name) if (self.root / name).exists() else name)[0]

    def place(self, loads: list[list[float]] | str, slots: int, gpus: int, nodes: int) -> dict[str, Any]:
        """Replicas of experts and where each lives, from loads [layers][experts] or a file of them."""
        import numpy as np

        from moewright.case.loads.read_loads import read_loads, split_key
        from moewright.placement.search.solve import place

        if isinstance(loads, str):
            path, key = split_key(str(inside(self.root, loads, "loads")))
            table = read_loads(path, key, idle=True, windows=True)
        else:
            try:
                table = np.array(loads, dtype=float)
            except ValueError:
                raise SpecError("expected rows of as many numbers, a row a layer", field="loads") from None
        return place(table, slots=slots, gpus=gpus, nodes=nodes).to_dict()

    def launch(self, spec: dict[str, Any] | str, engine: str, target: str, tell: Progress) -> dict[str, Any]:
        """What starts the plan of a spec on an engine."""
        from moewright.launch.exporters.engine_export import version_of
        from moewright.launch.launch_folder import launch, target_of
        from moewright.launch.read_launch import for_engine, launch_plan, told
        from moewright.serving.validation.row_steps import default_folder

        target_of(target)
        options = version_of(engine, None)
        case = for_engine(self.case(spec), engine, None)
        plan = launch_plan(case, engine, options.version, default_folder(None, False), tell)
        return launch(told(plan, None, None, None), target).to_dict()

    def doctor(self, command: str, cluster: str | None, engine_version: str | None) -> dict[str, Any]:
        """What an engine makes of a launch command, a script or a manifest."""
        from moewright.case.options.named_cluster import split_cluster
        from moewright.doctor.diagnose import Question, diagnose

        if len(command) > MOST_INPUT:
            raise SpecError(f"is longer than {MOST_INPUT} characters", field="command")
        kind, gpus = split_cluster(cluster) if cluster is not None else (None, None)
        # files that the command names are not opened: they are the user's, and may lie anywhere
        return diagnose(command, Question(kind, gpus, None, engine_version, {}, None)).to_dict()

    def judge_claims(self, spec: dict[str, Any] | str, claims: list[dict[str, Any]]) -> dict[str, Any]:
        """Verdicts on typed claims about the strategy of a spec, each with its derivation."""
        from moewright.audit.typed.claims_file import judge_claims

        raw = _mapping(spec, "spec")
        check_paths(raw, self.root)
        return judge_claims(raw, claims, str(self.root / "spec.yaml")).to_dict()

    def audit(
        self, document: str | None, text: str | None, reading: dict[str, Any] | str | None, tell: Progress
    ) -> dict[str, Any]:
        """Verdicts on a document, by the caller's ``reading`` of it where there is one."""
        from moewright.audit.audit_document import audit_by_reading, audit_document
        from moewright.audit.text.document import parse, read_text
        from moewright.audit.typed.typed_reading import typed_reading

        if (document is None) == (text is None):
            raise SpecError("expected one of document (a path) and text (the document itself)", field="document")
        if document is not None:
            text = read_text(inside(self.root, document, "document"))
        if text is None or len(text) > MOST_INPUT:
            raise SpecError(f"is longer than {MOST_INPUT} characters", field="text")
        parsed = parse(text, document or "text")
        tell(0.2)
        if reading is None:
            return _answer(audit_document(parsed, {}, None))
        found = typed_reading(_mapping(reading, "reading"), "reading", parsed.lines)
        return _answer(audit_by_reading(parsed, found, {}, "reading"))


def _answer(found: Audit) -> dict[str, Any]:
    """An audit, the worst verdicts first, without the tables of the better plan."""
    from moewright.audit.audit_record import WORST_FIRST

    answer = found.to_dict()
    order = [str(v) for v in WORST_FIRST]
    answer["claims"] = sorted(answer["claims"], key=lambda c: (order.index(c["verdict"]), c["line"]))
    answer["better"] = {**answer["better"], "plan": None} if answer["better"] else None
    return answer


def _mapping(spec: dict[str, Any] | str, field: str) -> dict[str, Any]:
    """A mapping, or one written in YAML. Raises SpecError."""
    if isinstance(spec, dict):
        return spec
    from moewright.case.file.files import parse_mapping

    if len(spec) > MOST_INPUT:
        raise SpecError(f"is longer than {MOST_INPUT} characters", field=field)
    return parse_mapping(spec, field)
