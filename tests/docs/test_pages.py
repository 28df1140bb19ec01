"""README and docs: links, size, and what they say of the tree."""

import ast
import json
import re
from pathlib import Path

import pytest
from finished_runs import write_run
from known_competitions import CARVANA

from docs import generate
from kaggle_tools.results.summary import write_summary

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "kaggle_tools"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def links_in(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_python_in_the_docs_imports_is_there(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        imports = [node for node in ast.parse(block).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(ast.Module([*imports], []), str(page), "exec"), {})


def broken_links(page: Path, root: Path) -> list[str]:
    broken = []
    for link in links_in(page):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.is_relative_to(root) or not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere_in_the_repository(page: Path) -> None:
    assert broken_links(page, ROOT) == []


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One heading\n[a](page.md) [b](#one-heading) [c](#two) [d](gone.md) [e](https://x.org) `[f](g)`\n"
    )
    assert broken_links(page, tmp_path) == ["#two", "gone.md"]


def test_the_readme_has_at_most_130_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_figures_of_the_readme_stand_in_the_results_of_the_benchmarks() -> None:
    measured = (ROOT / "README.md").read_text().partition("## Measured results")[2].partition("\n## ")[0]
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    figures = re.findall(r"\d+\.\d+", measured)
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in results] == []


def test_the_readme_leads_to_every_page_of_the_docs() -> None:
    links = set(links_in(ROOT / "README.md"))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= links


def test_the_readme_names_every_package() -> None:
    readme = (ROOT / "README.md").read_text()
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in packages if f"`{name}`" not in readme} == set()


def test_the_design_page_lists_every_module_in_its_package() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    listed = set()
    for section in design.split("\n### kaggle_tools/")[1:]:
        folder = section.partition("\n")[0].strip("/")
        modules = re.findall(r"^\| `([\w/]+)` \|", section, flags=re.MULTILINE)
        listed |= {f"{folder}/{module}".strip("/") for module in modules}
    modules = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    assert listed == {module for module in modules if not module.endswith("__init__")}


def test_the_page_about_files_explains_every_key_of_a_summary(tmp_path: Path) -> None:
    errors = {"ab12_01": (1, 0), "cd34_01": (0, 2)}
    write_summary(write_run(tmp_path / "run", tmp_path / "data", {0: errors}), CARVANA)
    keys = json.loads((tmp_path / "run" / "summary.json").read_text()).keys()
    page = (ROOT / "docs" / "files.md").read_text()
    assert {key for key in keys if f"`{key}`" not in page} == set()


@pytest.mark.parametrize("name", generate.BLOCKS)
def test_a_table_in_the_docs_follows_from_the_code(name: str) -> None:
    """If not: `make docs` writes it anew."""
    file, content = generate.BLOCKS[name]
    page = (ROOT / "docs" / file).read_text()
    assert generate.with_block(page, name, content()) == page, f"docs/{file} is out of date: run `make docs`"


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="must have <!-- tree: begin -->"):
        generate.with_block("no place", "tree", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+)`", page.read_text())
    ours = [name for name in named if name.partition("/")[0] in packages]
    assert [name for name in ours if not ((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists())] == []


def test_the_modules_in_the_drawing_of_the_pipeline_exist() -> None:
    drawing = (ROOT / "docs" / "pipeline.svg").read_text()
    named = re.findall(r'class="module"[^>]*>([^<]+)<', drawing)
    assert len(named) > 15
    assert [name for name in named if not (PACKAGE / f"{name}.py").exists()] == []


def test_the_drawing_of_the_pipeline_has_colours_for_light_and_dark_and_words_for_screen_readers() -> None:
    drawing = (ROOT / "docs" / "pipeline.svg").read_text()
    light, dark = drawing.split("@media (prefers-color-scheme: dark)")
    dark = dark.partition("}")[0]
    colours = set(re.findall(r"(--\w+):", light))
    assert colours == set(re.findall(r"(--\w+):", dark))
    assert set(re.findall(r"var\((--\w+)\)", drawing)) <= colours
    assert "<title" in drawing
    assert "<desc" in drawing
    assert not re.search(r"(href|src|url)\s*[=(]\s*[\"']?https?:", drawing)
