"""``python -m benchmarks.engines [sglang] [vllm] [--plans N]``: exported commands through the engines' own parsers.

Those of every example that the engine runs, and of N random plans, all nodes of each. Options must be full names, and
the layout that the engine's own record has must be the one that was meant. ``--options``: the stored option lists
(``launch/options``) beside the parsers', and with ``--write`` made anew. The first use of an engine installs
its wheel into ``.engines``: SGLang takes 2 minutes, vLLM 4 and 2.4 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.engines.environments import ENVIRONMENTS, ROOT, prepared
from benchmarks.engines.placement_files import check_placements
from benchmarks.engines.random_plans import random_plan
from moewright.case.catalogue.model_catalogue import catalogue_reading, model_names
from moewright.errors import MoewrightError
from moewright.launch.command import Command, filled
from moewright.launch.engine_options import FOLDER, option_list
from moewright.launch.exporters.engine_export import commands, refusals
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.read_launch import for_engine, launch_plan, read_case
from moewright.launch.servers import Process

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines")
    parser.add_argument("engines", nargs="*", choices=[[], *ENVIRONMENTS], default=[])
    parser.add_argument("--plans", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    failed = 0
    for engine in asked.engines or list(ENVIRONMENTS):
        python = prepared(engine)
        failed += compare_options(engine, python, asked.write) if asked.options else check(engine, python, asked)
        if engine == "sglang" and not asked.options:
            failed += check_placements(python)
    return 1 if failed else 0


def check(engine: str, python: Path, asked: argparse.Namespace) -> int:
    """Every command through the parser; how many were refused, or mean another layout."""
    cases, refused = list(examples(engine)), 0
    print(f"{engine}: {len(cases)} examples", end="", flush=True)
    for seed in range(asked.seed, asked.seed + asked.plans):
        plan = random_plan(random.Random(seed), engine)
        if refusals(plan, engine):
            refused += 1
        else:
            cases.append((f"seed {seed}", plan))
    print(f", {asked.plans} random plans, of which it runs {asked.plans - refused}", flush=True)
    lines = [(name, process, command) for name, plan in cases for process, command in commands(plan)]
    answers = parsed(engine, python, [words(engine, command) for _, _, command in lines])
    faults: Counter[str] = Counter()
    for (name, process, command), answer in zip(lines, answers, strict=True):
        fault = answer["error"] or unlike(process, answer["layout"])
        if fault and not faults[fault]:
            print(f"  {name}: {fault}\n    {command.text('    ')}")
        if fault:
            faults[fault] += 1
    print(f"{engine}: {len(lines)} commands, {sum(faults.values())} refused or of another layout")
    return sum(faults.values())


def examples(engine: str) -> Iterator[tuple[str, LaunchPlan]]:
    """Every example that the engine runs, as launched."""
    version = option_list(engine).version
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        try:
            case = for_engine(read_case(path), engine, None)
            plan = launch_plan(case, engine, version)
        except MoewrightError:
            continue
        if not refusals(plan, engine):
            yield path.name, replace(plan, settings=replace(plan.settings, draft_model="draft"))


def words(engine: str, command: Command) -> list[str]:
    """The words that the parser gets: behind the program, with variables filled in."""
    start = {"sglang": 3, "vllm": 2}[engine]
    known = {"MODEL": "model"}
    return [filled(word, lambda name: known.get(name, "10.0.0.1")) for word in command.words[start:]]


def parsed(engine: str, python: Path, lines: list[list[str]]) -> list[dict[str, Any]]:
    """What the engine's side says of each line, run where every model of the catalogue is a folder with its config."""
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        done = subprocess.run(
            [str(python), str(HERE / f"{engine}_side.py")],
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            cwd=folder,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"error"')]
    if len(answers) != len(lines):
        raise SystemExit(f"{engine}: its side ended early\n{done.stderr[-2000:]}")
    return answers


def write_models(folder: Path) -> None:
    """config.json of every model, under its id; vLLM looks at it before it parses."""
    for name in model_names():
        reading = catalogue_reading(name)
        place = folder / "/".join(reading.model.source.removeprefix("https://huggingface.co/").split("/")[:2])
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    for name in ("model", "draft", "some/draft"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text("{}")


def unlike(process: Process, made: dict[str, int]) -> str:
    """How the layout differs from the one meant; empty where it does not. Without experts their sizes mean nothing."""
    meant = process.pool.layout.to_dict()
    meant |= {"replicas": 1, "gpus_total": meant["world"]}
    experts = process.pool.strategy.experts
    ignored = {"ep", "etp"} if experts.ep == 1 and made["ep"] == 1 else set()
    wrong = {k: (v, made[k]) for k, v in meant.items() if made[k] != v and k not in ignored}
    return f"layout {wrong} (meant, made)" if wrong else ""


def compare_options(engine: str, python: Path, write: bool) -> int:
    """The stored list beside the parser's; how many options differ."""
    done = subprocess.run(
        [str(python), str(HERE / f"{engine}_side.py"), "--options"], capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout.splitlines()[-1])
    stored = option_list(engine)
    path = FOLDER / f"{engine}-{stored.version}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    old = {json.dumps(row["names"] or row["dest"]): row for row in content["options"]}
    new = {json.dumps(row["names"] or row["dest"]): row for row in rows}
    differ = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    for key in differ[:20]:
        print(f"  stored {old.get(key)}\n  parser {new.get(key)}")
    print(f"{engine} {stored.version}: {len(rows)} options, {len(differ)} differ from those stored")
    if write:
        path.write_text(option_text(content | {"options": rows}), encoding="utf-8")
        return 0
    return len(differ)


def option_text(content: dict[str, Any]) -> str:
    """JSON with a line an option."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        elif isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
