"""Formulas broken one at a time: which of them does no test notice?

Run: python -m benchmarks.mutants [--sample N] [--module NAME] [--list]. Every arithmetic expression of the modules of
work and price is changed once in each way that applies (its value doubled, the second term of a sum or the second
factor of a product dropped, one added to a bound of a maximum or minimum), in a copy of the source, and the tests that
stand for the cost model run against it, the fastest first, until one fails. What survives is printed with its place;
those that are accepted stand in ``ACCEPTED`` with the reason. ``--sample``: so many, drawn with seed 0.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[1]
MODULES = (
    *("cost/attention", "cost/batch", "cost/layer", "cost/ends", "cost/memory", "cost/network", "cost/pipeline"),
    *("cost/routing/spread", "cost/routing/router", "cost/shapes", "cost/prices/roofline", "cost/prices/efficiency"),
    *("cost/prices/measured", "cost/prices/dispatch", "cost/prices/profiled", "serving/step"),
    *("serving/engines/capacity", "planning/bounds"),
)
#: the tests that stand for the cost model, the fastest first
TESTS = (
    "tests/cost/test_figures.py",
    "tests/cost",
    "tests/serving/test_step.py",
    "tests/serving/test_tables.py",
    "tests/planning/test_evaluate.py",
    "tests/planning/test_checks.py",
)
#: "module: the changed expression" → why no test needs to notice
ACCEPTED: dict[str, str] = {
    "cost/routing/spread: trials * success": "the mean only bounds how far the sum goes; terms beyond are 0",
    "cost/prices/measured: 0 * length": "0 in either way",
    "cost/prices/efficiency: np.maximum(rows, 1.0)": "guards against rows that do not happen, which cost nothing",
    "cost/attention: 4.0 * a.heads": "compressed attention is read, and refused where it would be priced",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module: ``line`` and ``before`` say where, ``after`` what stands there now, ``source`` all of it."""

    module: str
    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}: {self.before} → {self.after}"


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of ``module``, a path under src/moewright without its ending."""
    tree = ast.parse((ROOT / "src" / "moewright" / f"{module}.py").read_text(encoding="utf-8"))
    nodes = list(_arithmetic(tree))
    for i, node in enumerate(nodes):
        for k in range(len(_changed(node))):
            other = copy.deepcopy(tree)
            target = list(_arithmetic(other))[i]
            new = _changed(target)[k]
            before = ast.unparse(target)
            _replace(other, target, new)
            yield Mutant(module, node.lineno, before, ast.unparse(new), ast.unparse(ast.fix_missing_locations(other)))


def _arithmetic(tree: ast.AST) -> Iterator[ast.expr]:
    """Sums, differences, products, quotients and maxima inside functions, those of texts left out."""
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
                if not any(isinstance(n, ast.JoinedStr | ast.List | ast.Tuple) for n in ast.walk(node)):
                    yield node
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.maximum", "np.minimum"):
                yield node


def _changed(node: ast.expr) -> list[ast.expr]:
    two = ast.BinOp(ast.Constant(2), ast.Mult(), copy.deepcopy(node))
    if isinstance(node, ast.BinOp):
        return [two, copy.deepcopy(node.left)]
    assert isinstance(node, ast.Call)
    return [copy.deepcopy(node.args[0])]


def _replace(tree: ast.AST, old: ast.expr, new: ast.expr) -> None:
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list) and any(v is old for v in value):
                value[next(i for i, v in enumerate(value) if v is old)] = new


def survives(mutant: Mutant, copy_of: Path) -> bool:
    """Whether all tests pass on ``copy_of`` the source with ``mutant`` in it."""
    file = copy_of / "moewright" / f"{mutant.module}.py"
    original = file.read_text(encoding="utf-8")
    file.write_text(mutant.source, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{copy_of}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=tests ."]
    try:
        for tests in (t for t in TESTS if (ROOT / t).exists()):
            done = subprocess.run([*command, tests], cwd=ROOT, env=environment, capture_output=True, check=False)
            if done.returncode:
                return False
        return True
    finally:
        file.write_text(original, encoding="utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="so many of them, drawn with seed 0")
    parser.add_argument("--module", action="append", choices=MODULES, help="of this module only")
    parser.add_argument("--list", action="store_true", help="print them, run nothing")
    options = parser.parse_args(arguments)
    every = [m for name in options.module or MODULES for m in mutants(name)]
    if options.sample and options.sample < len(every):
        every = random.Random(0).sample(every, options.sample)
    if options.list:
        print("\n".join(m.name for m in every))
        return 0
    survivors: list[Mutant] = []
    folders: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as top:
        for i in range(os.cpu_count() or 1):
            shutil.copytree(ROOT / "src", Path(top) / str(i), ignore=shutil.ignore_patterns("__pycache__"))
            folders.put(Path(top) / str(i))

        def judge(mutant: Mutant) -> None:
            folder = folders.get()
            if survives(mutant, folder):
                survivors.append(mutant)
                print(f"survives: {mutant.name}", flush=True)
            folders.put(folder)

        with ThreadPoolExecutor(folders.qsize()) as pool:
            list(pool.map(judge, every))
    new = [m for m in survivors if f"{m.module}: {m.before}" not in ACCEPTED]
    noticed, accepted = len(every) - len(survivors), len(survivors) - len(new)
    print(f"{len(every)} mutants: {noticed} noticed, {accepted} accepted, {len(new)} neither")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
