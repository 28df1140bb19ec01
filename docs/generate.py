"""Rewrites the tables in the docs that follow from the code: `make docs`, or `python -m docs.generate` in the checkout.

A table stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; the rest of a page is left alone.
"""

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kaggle_tools import options
from kaggle_tools.config.execution import EXECUTION_OPTIONS
from kaggle_tools.config.presets import PRESETS, config_from
from kaggle_tools.config.training import CONFIG_OPTIONS, DEFAULT_PRESET

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "kaggle_tools"

PACKAGES = [
    "commands",
    "training",
    "report",
    "demo",
    "inference",
    "kaggle_api",
    "submission",
    "results",
    "models",
    "data",
    "config",
    "competitions",
    "system",
]
"""From those that import others down to those that are imported; the modules beside them are listed last."""


def tree() -> str:
    """Every package and module with the first line of its docstring: first the packages alone, then all."""
    width = max(map(len, PACKAGES)) + len("/  ")
    lines = [f"{name + '/':{width}}{summary(PACKAGE / name / '__init__.py')}" for name in PACKAGES]
    parts = ["\n".join(["```text", *lines, "```\n"])]
    for name in PACKAGES:
        modules = sorted((PACKAGE / name).rglob("*.py"), key=lambda path: (len(path.parts), path))
        parts.append(f"### kaggle_tools/{name}/\n\n{summary(PACKAGE / name / '__init__.py')}\n")
        parts.append(module_table(modules, PACKAGE / name))
    parts.append("### kaggle_tools/\n\nWhat the packages share, and the program itself.\n")
    parts.append(module_table(sorted(PACKAGE.glob("*.py")), PACKAGE))
    return "\n".join(parts)


def module_table(modules: Iterable[Path], folder: Path) -> str:
    """A row for each module, by its path without the extension."""
    named = [(path.relative_to(folder).with_suffix(""), path) for path in modules if path.stem != "__init__"]
    return table(["module", ""], [[f"`{name.as_posix()}`", summary(path)] for name, path in named])


def summary(module: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text()))
    assert docstring, f"{module}: no docstring"
    return docstring.partition("\n")[0]


def presets() -> str:
    """What each preset sets, an option in each row: those in which presets differ."""
    configs = [config_from(name, "", {}) for name in PRESETS]
    heads = [f"`{name}` (default)" if name == DEFAULT_PRESET else f"`{name}`" for name in PRESETS]
    rows = [
        [f"`{one.flag}`", *(shown(one, getattr(config, one.name)) for config in configs)]
        for one in CONFIG_OPTIONS
        if len({getattr(config, one.name) for config in configs}) > 1
    ]
    return table(["option", *heads], rows)


def options_tables() -> str:
    """Every option of a training that is a field of its configuration: default and help, panel by panel."""
    found = [*CONFIG_OPTIONS, *EXECUTION_OPTIONS]
    parts = []
    for panel in dict.fromkeys(one.option.panel for one in found):
        rows = [
            [f"`{one.flag}`", shown(one, one.default), one.option.help] for one in found if one.option.panel == panel
        ]
        parts.append(f"### {panel}\n\n{table(['option', 'default', ''], rows)}")
    return "\n".join(parts)


def shown(field: options.OptionField, value: object) -> str:
    """A value as it is typed, or the default in the words of the help."""
    if value == field.default:
        return "on" if value is True else field.shown_default
    return field.text(value)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "tree": ("design.md", tree),
    "presets": ("training.md", presets),
    "options": ("training.md", options_tables),
}
"""Each table's page, and what makes it."""


def with_block(page: str, name: str, content: str) -> str:
    """The text of a page with the table of this name in its place.

    Raises:
        ValueError: the page has not exactly one such place.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must have {begin} and {end}, once each")
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n\n{content}\n{end}", page, flags=re.DOTALL)


def main() -> None:
    """Rewrite the tables."""
    for name, (file, content) in BLOCKS.items():
        path = DOCS / file
        path.write_text(with_block(path.read_text(), name, content()))


if __name__ == "__main__":
    main()
