"""Draw the pictures of README.md and docs/*.md, by the code that draws reports: ``python docs/draw.py``.

Needs ``pip install -e '.[docs]'``. ``drawn`` also serves the test that holds the pictures to the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import moewright
from moewright.case.file.strategy_text import parse_strategy
from moewright.case.loads.synthetic import synthetic_loads
from moewright.cli.output import write_file
from moewright.report.figures.cluster_map import cluster_map
from moewright.report.figures.expert_loads_figure import load_maps
from moewright.report.figures.frontier_figure import pass_frontier
from moewright.report.figures.layer_timeline import layer_timeline
from moewright.report.figures.parts_figure import pass_parts, training_memory
from moewright.report.figures.schedule_figure import schedule_figure
from moewright.report.figures.serving_figure import latencies_figure, requests_figure
from moewright.report.figures.theme import Figure, static_svg
from moewright.report.training.train_page import LINES

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"


def pass_figures() -> Iterator[tuple[str, Figure]]:
    """Of the document's case: why its strategy loses, by where the time goes, and what wins."""
    case = moewright.load(ROOT / "examples" / "paper.yaml")
    result = moewright.plan(case, [parse_strategy("EP64×TP2")], top=3)
    plans = [(result.best, "best"), *((p, "") for p in result.alternatives)]
    document = result.comparisons[0].plan
    yield "plan", pass_parts([*plans, (document, "the document's")])
    few = result.sample and replace(
        result.sample,
        names=result.sample.names[::3],
        sizes=tuple(column[::3] for column in result.sample.sizes),
        seconds=result.sample.seconds[::3],
        rates=result.sample.rates[::3],
        memory=result.sample.memory[::3],
    )
    yield "frontier", pass_frontier(replace(result, sample=few))
    yield "layer", layer_timeline(case, document)
    yield "cluster", cluster_map(case, result.best)


def other_figures() -> Iterator[tuple[str, Figure]]:
    """Of serving, training and placement."""
    outcome = moewright.serve(moewright.load(ROOT / "examples" / "serve-gpt-oss.yaml"))
    yield "requests", requests_figure(outcome)
    yield "latencies", latencies_figure(outcome)
    trained = moewright.plan_training(moewright.load(ROOT / "examples" / "train-deepseek-v3.yaml"), top=3)
    schedule = schedule_figure(trained)
    if schedule is not None:
        yield "schedule", schedule
    yield "training-memory", training_memory(trained, LINES)
    loads = synthetic_loads("zipf:1.0", 12, 256, 0.3, 0)
    before, after = load_maps(moewright.place(loads, slots=288, gpus=32, nodes=4))
    yield "loads-before", before
    yield "loads-after", after


def drawn(figures: Iterator[tuple[str, Figure]]) -> Iterator[tuple[Path, str]]:
    """Each picture's file, and its text."""
    for name, figure in figures:
        yield PICTURES / f"{name}.svg", static_svg(figure)


def main() -> None:
    """Write every picture."""
    PICTURES.mkdir(exist_ok=True)
    for figures in (pass_figures(), other_figures()):
        for path, text in drawn(figures):
            write_file(path, text)
            print(f"{path.relative_to(ROOT)}: {len(text) >> 10} KiB")


if __name__ == "__main__":
    main()
