"""The shape of the code that docs/design.md describes: imports run one way, packages and modules stay small."""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from docs import generate

PACKAGE = Path(__file__).resolve().parents[2] / "kaggle_tools"
MOST_MODULES, MOST_LINES = 8, 350


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package; a package by its own."""
    paths = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}
    return {".".join(part for part in parts if part != "__init__"): path for parts, path in paths.items()}


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The modules of ours that a module imports, also within its functions and for its types."""
    found = set()
    for name in imported_names(ast.parse(path.read_text())):
        below = name.removeprefix("kaggle_tools").lstrip(".")
        found.add(below if below in known else below.rpartition(".")[0])
    return found - {""}


def imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kaggle_tools":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kaggle_tools")


def graph() -> dict[str, set[str]]:
    paths = modules()
    return {name: imports_of(path, set(paths)) for name, path in paths.items()}


def package_of(module: str) -> str:
    """The package below `kaggle_tools` in which a module is; empty for the modules beside the packages."""
    first, _, _ = module.partition(".")
    return first if (PACKAGE / first / "__init__.py").exists() else ""


def test_no_module_imports_itself_in_a_circle() -> None:
    order = list(TopologicalSorter(graph()).static_order())  # raises a CycleError that names the circle
    assert order.index("errors") < order.index("commands.train")


def test_packages_import_only_from_those_below_them_in_the_design_page() -> None:
    upwards = []
    for module, imported in graph().items():
        package = package_of(module)
        if not package:
            continue
        lower = generate.PACKAGES[generate.PACKAGES.index(package) + 1 :]
        upwards += [(module, other) for other in imported if package_of(other) not in (package, "", *lower)]
    assert upwards == []


def test_modules_beside_the_packages_import_none_but_system_and_the_commands() -> None:
    """So the packages may all import them; `__main__` is the program."""
    found = {
        (module, package_of(other))
        for module, imported in graph().items()
        for other in imported
        if not package_of(module) and package_of(other)
    }
    assert {package for module, package in found if module != "__main__"} <= {"system"}
    assert {package for module, package in found if module == "__main__"} == {"commands"}


def test_every_package_has_its_place_in_the_order_of_the_design_page() -> None:
    assert sorted(generate.PACKAGES) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_every_dataclass_is_frozen() -> None:
    """Values that travel together do not change on the way; what a module counts for itself may."""
    changing = [
        (name, node.name)
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass") and "frozen=True" not in decorator
    ]
    assert changing == []


def test_no_package_holds_more_than_eight_modules() -> None:
    counts = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_no_module_but_drawings_has_more_than_350_lines() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES and package_of(name) != "demo"} == {}


def test_init_modules_only_document() -> None:
    """But for the version of the whole."""
    beyond = {}
    for name, path in modules().items():
        if path.name == "__init__.py" and name:
            beyond[name] = [type(node).__name__ for node in ast.parse(path.read_text()).body[1:]]
    assert {name: nodes for name, nodes in beyond.items() if nodes} == {}
