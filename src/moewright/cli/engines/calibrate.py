"""``moewright calibrate``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import one_of_tables, print_json, progress, write_file
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.case.case import Case
    from moewright.serving.calibration.factors import Calibrated


@app.command()
def calibrate(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Of vllm bench serve, SGLang's bench_serving, AIPerf, genai-perf, InferenceX, guidellm, llmperf or "
            "trtllm-bench."
        ),
    ],
    spec: Annotated[Path, typer.Option(help="The deployment that was measured: a serving spec with its strategy.")],
    output: Annotated[Path | None, typer.Option(help="Write the profile there, as .yaml.")] = None,
    tables: Annotated[Path | None, typer.Option(help="A folder of measured kernel tables.")] = None,
    no_tables: Annotated[bool, typer.Option("--no-tables", help="Price by the roofline alone.")] = False,
    as_json: Json = False,
) -> None:
    """Set measured results beside predictions, say which term is off, and write a profile for later plans."""
    from moewright.case.file.load import load
    from moewright.serving.calibration.benchmark_files import read_results
    from moewright.serving.calibration.factors import calibrate as fitted
    from moewright.serving.calibration.profile_text import profile_text
    from moewright.serving.validation.row_steps import default_folder

    if output is not None and output.suffix.lower() not in (".yaml", ".yml"):
        raise SpecError(f"ends in {output.suffix or 'nothing'!r}; expected .yaml", file=str(output), field="--output")
    one_of_tables(tables, no_tables)
    case = _deployment(load(spec))
    points = [point for path in results for point in read_results(path)]
    with progress(f"Predicting {len(points)} points of {case.model.name}", not as_json) as tell:
        found = fitted(case, points, default_folder(tables, no_tables), str(output or ""), tell)
    if output is not None:
        write_file(output, profile_text(found.calibration, _name(case), [str(p) for p in results]))
    if as_json:
        print_json(_plain(found, _name(case)))
        return
    from moewright.report.engines.calibration_page import calibration_sections
    from moewright.report.terminal import show

    show(calibration_sections(found, _name(case), output))


def _deployment(case: Case) -> Case:
    """``case``, where it names what was measured. Raises SpecError."""
    from moewright.serving.engines.deployment import serving_of

    s = serving_of(case)
    if s.disaggregated is not None:
        raise SpecError(
            "prefill and decode apart are not calibrated yet", file=case.file, field="workload.disaggregated"
        )
    if case.strategy is None:
        raise SpecError("is missing; what was measured ran with one, such as dp8 ep8", file=case.file, field="strategy")
    if case.calibration is not None:
        raise SpecError(
            "is there already; results are set beside uncalibrated figures", file=case.file, field="calibration"
        )
    return case


def _name(case: Case) -> str:
    from moewright.planning.naming import strategy_name
    from moewright.serving.engines.deployment import engine_of, serving_of
    from moewright.serving.engines.strategies import engine_strategy

    assert case.strategy is not None
    strategy = engine_strategy(case, case.strategy, engine_of(case))
    engine = serving_of(case).engine.name
    return f"{case.model.name}, {engine}, {strategy_name(strategy, case.model)} on {case.cluster.device.name}"


def _plain(found: Calibrated, name: str) -> dict[str, Any]:
    from moewright.case.file.calibration_file import TERMS

    terms = {
        n: {**asdict(getattr(found.calibration, n)), "told": n in found.told, "why_one": found.left_at_one.get(n)}
        for n in TERMS
    }
    left_out = None
    if found.left_out is not None:
        pairs = zip(("ttft", "tpot"), found.left_out, strict=True)
        left_out = {figure: [None if e != e else e for e in pair] for figure, pair in pairs}
    return {
        "deployment": name,
        "terms": terms,
        "left_out": left_out,
        "points": [asdict(row) for row in found.compared],
    }
