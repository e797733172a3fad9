"""Formulas broken one at a time: which of them do a plan's own checks find, with no test beside them?

Run: python -m benchmarks.blind [--sample N] [--seed S] [--module NAME] [--kinds old|fresh] [--list]. Every example is
planned once. Then each mutant of the cost model (``benchmarks.mutants``; ``fresh``: kinds that the checks were not
mended on) is put into a process of its own, which derives the same strategies again with their checks. A mutant counts
that changes a printed figure by more than 2 %; it is found where a check fails that did not before.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

from benchmarks.mutants import MODULES, ROOT, Mutant, _arithmetic, _replace, mutants

#: a change below this share of a figure is not looked for
SEEN = 0.02
#: parts of a plan's JSON that are no figures of the cost model
SKIPPED = ("checks", "proof", "strategy", "placement", "groups", "name")


@dataclass(frozen=True, slots=True)
class Judged:
    """``changed``: the largest change of a figure, and its path; ``failed``: checks that fail now. ``broke``: the plan
    could not be made at all."""

    changed: float
    figure: str
    failed: tuple[str, ...]
    broke: str = ""


def fresh_mutants(module: str) -> Iterator[Mutant]:
    """Kinds that ``benchmarks.mutants`` does not have: a thousand times, a tenth, the second term alone, sums for
    products, 0 in the place of a name's use, and the opposite branch of a condition."""
    tree = ast.parse((ROOT / "src" / "moewright" / f"{module}.py").read_text(encoding="utf-8"))
    count = len(list(_arithmetic(tree)))
    for i in range(count):
        node = list(_arithmetic(tree))[i]
        for new in _fresh(node):
            yield _made(tree, module, i, new)


def _fresh(node: ast.expr) -> list[ast.expr]:
    new: list[ast.expr] = [
        ast.BinOp(copy.deepcopy(node), ast.Mult(), ast.Constant(1000.0)),
        ast.BinOp(copy.deepcopy(node), ast.Mult(), ast.Constant(0.5)),
        ast.BinOp(copy.deepcopy(node), ast.Mult(), ast.Constant(1.1)),
    ]
    if isinstance(node, ast.BinOp):
        new.append(copy.deepcopy(node.right))
        swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        new.append(ast.BinOp(copy.deepcopy(node.left), swapped[type(node.op)](), copy.deepcopy(node.right)))
    elif isinstance(node, ast.Call) and len(node.args) > 1:
        new.append(copy.deepcopy(node.args[1]))
    return new


def _made(tree: ast.Module, module: str, place: int, new: ast.expr) -> Mutant:
    other = copy.deepcopy(tree)
    target = list(_arithmetic(other))[place]
    before = ast.unparse(target)
    _replace(other, target, new)
    source = ast.unparse(ast.fix_missing_locations(other))
    return Mutant(module, target.lineno, before, ast.unparse(new), source)


# --- a mutant inside this process ---


def put_in(mutant: Mutant) -> None:
    """Give every function of the module the code that it has in the mutant. Caches of the package are emptied."""
    name = f"moewright.{mutant.module.replace('/', '.')}"
    module = importlib.import_module(name)
    changed = _functions(compile(mutant.source, f"<{name}>", "exec"))
    for qualified, code in changed.items():
        function = _found(module, qualified)
        if function is not None and function.__code__.co_freevars == code.co_freevars:
            function.__code__ = code
    for other in [m for n, m in sys.modules.items() if n.startswith("moewright.")]:
        for value in list(vars(other).values()):
            clear = getattr(value, "cache_clear", None)
            if callable(clear):
                clear()


def _functions(code: CodeType, prefix: str = "") -> dict[str, CodeType]:
    """Code of functions and methods, by their qualified names."""
    found = {}
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and not inner.co_name.startswith("<"):
            found[f"{prefix}{inner.co_name}"] = inner
            found |= _functions(inner, f"{prefix}{inner.co_name}.")
    return found


def _found(module: ModuleType, qualified: str) -> FunctionType | None:
    value: object = module
    for part in qualified.split("."):
        value = vars(value).get(part) if hasattr(value, "__dict__") else None
        if isinstance(value, property):
            value = value.fget
        value = getattr(value, "__wrapped__", value)
    return value if isinstance(value, FunctionType) else None


# --- the examples ---


def figures(plain: object, path: str = "") -> Iterator[tuple[str, float]]:
    """(path, value) of every figure of a plan's JSON."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            if name not in SKIPPED or path.count(".") > 1:
                yield from figures(value, f"{path}.{name}")
    elif isinstance(plain, list | tuple):
        for i, value in enumerate(plain):
            yield from figures(value, f"{path}.{value.get('name', i) if isinstance(value, dict) else i}")
    elif isinstance(plain, int | float) and not isinstance(plain, bool):
        yield path, float(plain)


class Examples:
    """The best plans of all examples, and how to derive them again."""

    def __init__(self) -> None:
        from moewright.case.file.load import load
        from moewright.planning.search import plan

        self.cases = []
        for file in sorted((ROOT / "examples").glob("*.yaml")):
            case = load(file)
            if case.training is None and case.serving is None:
                best = plan(case, top=0).best
                self.cases.append((file.stem, case, best.strategy, best.batch))
        self.trainings = []
        from moewright.training.plan_training import plan_training, training_of

        for file in sorted((ROOT / "examples").glob("train-*.yaml")):
            case = load(file)
            best = plan_training(case, top=0).best
            self.trainings.append((file.stem, case, training_of(case), best.strategy))

    def derived(self) -> tuple[dict[str, float], set[str]]:
        """(every figure, every check that fails) of all examples."""
        from moewright.planning.detail import detail

        found: dict[str, float] = {}
        failed = set()
        for name, case, strategy, batch in self.cases:
            plan = detail(case, strategy, batch, placement=True)
            found |= {f"{name}{path}": value for path, value in figures(plan.to_dict())}
            failed |= {f"{name}: {c.name}" for c in plan.checks if c.status == "fail"}
        for name, case, training, strategy in self.trainings:
            made = _training_plan(case, training, strategy)
            if made is not None:
                found |= {f"{name}{path}": value for path, value in figures(made.to_dict())}
                failed |= {f"{name}: {c.name}" for c in made.checks if c.status == "fail"}
        return found, failed


def _training_plan(case: object, training: object, strategy: object) -> object | None:
    try:
        from moewright.training.plan_training import plan_of
    except ImportError:
        return None
    return plan_of(case, training, strategy)  # type: ignore[arg-type]


def judge(mutant: Mutant, examples: Examples, before: dict[str, float], failed: set[str]) -> Judged:
    """What the examples are with ``mutant``, in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            put_in(mutant)
            with open(os.devnull, "w") as quiet:
                os.dup2(quiet.fileno(), 2)
            try:
                after, now = examples.derived()
                found = _compared(before, after, now - failed)
            except Exception as error:
                found = Judged(1.0, "", (), f"{type(error).__name__}: {error}"[:80])
            os.write(write, json.dumps([found.changed, found.figure, found.failed, found.broke]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        told = stream.read()
    os.waitpid(child, 0)
    changed, figure, checks, broke = json.loads(told) if told else (1.0, "", [], "died")
    return Judged(changed, figure, tuple(checks), broke)


def _compared(before: dict[str, float], after: dict[str, float], failed: set[str]) -> Judged:
    most, which = 0.0, ""
    for path in before.keys() | after.keys():
        if "search_seconds" in path:
            continue
        one, other = before.get(path, 0.0), after.get(path, 0.0)
        size = max(abs(one), abs(other))
        change = 1.0 if one != one or other != other else abs(one - other) / size if size else 0.0
        if change > most:
            most, which = change, path
    return Judged(most, which, tuple(sorted(failed)))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="so many of them")
    parser.add_argument("--seed", type=int, default=0, help="which are drawn")
    parser.add_argument("--module", action="append", choices=MODULES, help="of this module only")
    parser.add_argument("--kinds", choices=("old", "fresh"), default="old", help="kinds of change")
    parser.add_argument("--list", action="store_true", help="print all that were missed with the figure they change")
    options = parser.parse_args(arguments)
    kind = mutants if options.kinds == "old" else fresh_mutants
    every = [m for name in options.module or MODULES for m in kind(name)]
    if options.sample and options.sample < len(every):
        every = random.Random(options.seed).sample(every, options.sample)
    os.environ["OMP_NUM_THREADS"] = "1"
    examples = Examples()
    before, failed = examples.derived()
    if failed:
        print(f"checks that fail without any mutant: {', '.join(sorted(failed))}")
    count: Counter[str] = Counter()
    missed: list[tuple[Mutant, Judged]] = []
    start = time.monotonic()
    for i, mutant in enumerate(every):
        found = judge(mutant, examples, before, failed)
        state = (
            "broken" if found.broke else "unseen" if found.changed <= SEEN else "found" if found.failed else "missed"
        )
        count[state] += 1
        if state == "missed":
            missed.append((mutant, found))
            print(f"missed: {mutant.name}: {found.figure} by {found.changed:.1%}", flush=True)
        if sys.stderr.isatty() and i % 10 == 0:
            print(f"\r{i + 1} of {len(every)}", end="", file=sys.stderr)
    of = count["found"] + count["missed"]
    share = count["found"] / of if of else 1.0
    print(
        f"{len(every)} mutants in {time.monotonic() - start:.0f} s: {of} change a figure by more than {SEEN:.0%}, of "
        f"which a plan's own checks find {count['found']} ({share:.1%}); {count['unseen']} change none, "
        f"{count['broken']} end in an error"
    )
    return 0 if share >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
