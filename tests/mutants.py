"""Plants bugs in modules, one at a time, and says which of them the tests of each module do not notice.

    python -m tests.mutants --count 3 --seed 0 kaggle_tools/metrics.py kaggle_tools/rle.py

The bugs are mutants in the sense of mutation testing: a comparison, a number, an operator, a decorator or a branch is
changed by Cosmic Ray's operators. They are planted in a copy of the working tree. Run by hand: it takes minutes.
"""

import argparse
import csv
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).resolve().parents[1]

TESTED_BESIDES = {"": "tests/docs/test_design.py", "demo/": "tests/demo/test_looks.py"}
"""Tests of all modules, and of all in a package."""

TESTED_ELSEWHERE = {
    "__main__": ["tests/commands/test_help.py"],
    "data/drafting/ids": ["tests/data/drafting/test_conclusions.py"],
    "data/drafting/mask_files": ["tests/data/drafting/test_conclusions.py"],
    "data/drafting/roles": ["tests/data/drafting/test_conclusions.py"],
    "demo/subjects": ["tests/demo/test_cars.py", "tests/demo/test_salt.py"],
    "kaggle_api/child_process": ["tests/kaggle_api/test_client.py", "tests/kaggle_api/test_submissions.py"],
    "kaggle_api/submit_once": ["tests/commands/test_submit.py"],
    "report/graphics/svg": ["tests/report/graphics/test_figures.py"],
}
"""Modules without a test file of their own."""

WITHOUT_EFFECT = ("ReplaceBinaryOperator_BitOr", "ExceptionReplacer")
"""Operators whose mutants say nothing: the `|` of annotations fails on import, and no test provokes each exception."""

PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not slow")
COLUMNS = ("module", "line", "operator", "outcome", "before", "after")


class Mutant(NamedTuple):
    """One planted bug, and what became of it."""

    spec: MutationSpec
    outcome: str
    before: str
    after: str


def main() -> None:
    """Plant and report."""
    parser = argparse.ArgumentParser(description="Plant bugs; say which the module's own tests do not notice.")
    parser.add_argument("modules", nargs="*", type=Path, metavar="MODULE.py", help="default: all of kaggle_tools")
    parser.add_argument("--count", type=int, default=3, help="bugs in each module (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed plants the same bugs (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a CSV of all of them")
    options = parser.parse_args()
    modules = [path.resolve().relative_to(ROOT) for path in options.modules] or all_modules()
    counts: Counter[str] = Counter()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_working_tree(Path(folder) / "copy")
        for module in modules:
            for mutant in planted(copy, module, options.count, options.seed):
                counts[mutant.outcome] += 1
                line = mutant.spec.start_pos[0]
                operator = mutant.spec.operator_name.partition("/")[2]
                rows.append((module, line, operator, mutant.outcome, mutant.before, mutant.after))
                print(f"{mutant.outcome} {module}:{line} {mutant.before} -> {mutant.after}", flush=True)
                if options.out:
                    write_csv(options.out, rows)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    sys.exit(1 if counts["survived"] else 0)


def all_modules() -> list[Path]:
    """Every module of the package that holds code."""
    paths = sorted((ROOT / "kaggle_tools").rglob("*.py"))
    return [path.relative_to(ROOT) for path in paths if path.name != "__init__.py"]


def copy_of_the_working_tree(copy: Path) -> Path:
    """What git knows or would add, copied, so that the planted bugs are nowhere else."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def tests_of(copy: Path, module: Path) -> list[str]:
    """The test files of a module."""
    inside = module.relative_to("kaggle_tools").with_suffix("")
    own = Path("tests") / inside.parent / f"test_{inside.name}.py"
    tests = [str(own)] if (copy / own).exists() else TESTED_ELSEWHERE.get(inside.as_posix(), [])
    besides = [test for package, test in TESTED_BESIDES.items() if inside.as_posix().startswith(package)]
    return [*tests, *besides] if tests else []


def planted(copy: Path, module: Path, count: int, seed: int) -> Iterator[Mutant]:
    """Plant so many bugs in the module, each at another place, and run the module's tests on each."""
    tests = tests_of(copy, module)
    specs = chosen(copy / module, count, random.Random(f"{seed} {module}"))
    if not tests or not specs:
        print(f"{module}: {'nothing to change' if tests else 'no tests of its own'}", flush=True)
        return
    command = (*PYTEST, f"--rootdir={copy}", "-c", str(copy / "pyproject.toml"), *(str(copy / test) for test in tests))
    began = time.monotonic()
    unchanged = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if unchanged.returncode:
        sys.exit(f"{module}: its tests fail without a planted bug\n{unchanged.stdout}")
    patience = 60 + 5 * (time.monotonic() - began)
    for spec in specs:
        in_copy = f"env --chdir={shlex.quote(str(copy))} {shlex.join(command)}"
        result = mutate_and_test([spec], in_copy, patience)
        outcome = result.test_outcome.value if result.output != "timeout" else "timeout"
        before, after = before_and_after(result.diff or "")
        yield Mutant(spec, outcome, before, after)


def before_and_after(diff: str) -> tuple[str, str]:
    """The changed lines, as they were and as they are, each in one line."""
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---", "@@"))]
    before, after = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return before, after


def chosen(path: Path, count: int, generator: random.Random) -> list[MutationSpec]:
    """Mutants at so many places, drawn at random: first the place, then what happens there, in the order of lines."""
    by_place = defaultdict(list)
    for spec in every_mutant(path):
        by_place[spec.start_pos, spec.end_pos].append(spec)
    places = generator.sample(sorted(by_place), min(count, len(by_place)))
    return [generator.choice(by_place[place]) for place in sorted(places)]


def every_mutant(path: Path) -> Iterator[MutationSpec]:
    """All that Cosmic Ray can change in this file, but for what is imported for types alone."""
    tree, lines = get_ast_from_path(path), path.read_text().splitlines()
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments() or name.partition("/")[2].startswith(WITHOUT_EFFECT):
            continue
        operator = kind()
        places = ((start, end) for node in ast_nodes(tree) for start, end in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(places):
            if "TYPE_CHECKING" not in lines[start[0] - 1]:
                yield MutationSpec(path, name, occurrence, start, end)


def write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    """All mutants so far."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
