"""Every command in README and docs, run as it stands there in a folder where tiny drawn data lies.

A command that needs an account, a GPU or the internet says so at the end of its line. It is not run, but the command
line must know its options. A training is run with smaller photos for three epochs, a demo drawn with fewer photos.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = ("# needs an account", "# needs a GPU", "# needs internet", "# takes an hour", "# needs such files")
SALT = "tgs-salt-identification-challenge"

SHORTER = {
    "train": ["--image-size", "24x36", "--epochs", "3", "--batch-size", "2", "--workers", "0"],
    "demo-data": ["--train-groups", "60", "--test-groups", "4"],
}
BLANK = ["submit", "demo/steel-pred"]
"""After so short a training all of these masks are blank, as most sheets have few defects."""
TINY = ["--preset", "demo", "--width", "8", "--depth", "2", "--fold", "0", "--no-report", *SHORTER["train"]]
SCRIPTS = {"train.py": ["train"], "infer.py": ["infer"], "submit.py": ["submit"]}


class Line(NamedTuple):
    """A line of a block of commands."""

    words: list[str]
    needs: str
    """What it cannot be run without; empty if it can be run."""

    @property
    def arguments(self) -> list[str] | None:
        """Those of our own program; None for another one."""
        match self.words:
            case ["kaggle-tools", *rest] | ["python", "-m", "kaggle_tools", *rest]:
                return rest
            case ["python", script, *rest] if script in SCRIPTS:
                return SCRIPTS[script] + rest
        return None


def blocks_of(text: str, language: str) -> list[str]:
    """The blocks of code of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks_of(page.read_text(), language)]


def lines_of(text: str, language: str = "sh") -> list[Line]:
    """The commands in the blocks of a page, in order."""
    lines = [line.strip() for block in blocks_of(text, language) for line in block.splitlines() if line.strip()]
    found = []
    for line in lines:
        needs = next((needed for needed in NEEDS if line.endswith(needed)), "")
        found.append(Line(shlex.split(line, comments=True), needs))
    return found


def run(arguments: list[str]) -> str:
    """What our program prints; it must succeed."""
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None, f"{shlex.join(arguments)}: {result.exception!r}\n{result.output}"
    return result.output


def parse(arguments: list[str]) -> None:
    """Have the command line read the arguments without running the command.

    Raises:
        Exception: it does not know one of them; which class, depends on whether Typer brings its own Click.
    """
    program: Any = typer.main.get_command(app)
    context = program.make_context("kaggle-tools", list(arguments))
    name, command, rest = program.resolve_command(context, list(arguments))
    command.make_context(name, rest, parent=context)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, runs and masks where the docs say that they lie."""
    folder = tmp_path_factory.mktemp("drawn")
    carvana, salt = folder / "data" / "carvana", folder / "data" / "salt"
    run(["demo-data", str(carvana), "--train-groups", "5", "--test-groups", "1", "--size", "32x48"])
    run(["demo-data", str(salt), "--train-groups", "60", "--test-groups", "3", "--competition", SALT])
    for path in [*carvana.glob("train*/*_0[5-9]*"), *carvana.glob("train*/*_1*")]:
        path.unlink()  # of the sixteen angles of each car four are enough
    unet = folder / "runs" / "unet"
    run(["train", "--data", str(carvana), "--out", str(unet), *TINY, "--epochs", "9", "--save-oof-probabilities"])
    shutil.copytree(unet, folder / "runs" / "resnet34")
    run(["train", "--data", str(salt), "--out", str(folder / "runs" / "salt"), "--competition", SALT, *TINY])
    pred = folder / "preds" / "unet"
    run(["infer", str(unet), "--data", str(carvana), "--out", str(pred), "--workers", "0", "--no-report"])
    run(["submit", str(pred), "--data", str(carvana), "--dry-run"])
    (folder / "my_photos").mkdir()
    Image.new("RGB", (50, 31), "gray").save(folder / "my_photos" / "mine.jpg")
    write_zips(carvana, folder / "zips")
    return folder


def write_zips(data: Path, zips: Path) -> None:
    """The competition's files as Kaggle packs them."""
    zips.mkdir()
    for name in ("train", "train_masks", "test", "sample_submission.csv", "metadata.csv"):
        with ZipFile(zips / f"{name}.zip", "w") as archive:
            files = (data / name).iterdir() if (data / name).is_dir() else [data / name]
            for file in files:
                archive.write(file, file.relative_to(data))


@pytest.fixture
def world(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, as the current folder."""
    copy = tmp_path / "world"
    shutil.copytree(drawn, copy)
    monkeypatch.chdir(copy)
    return copy


def own_lines_of(page: Path) -> list[Line]:
    """The commands of our program on a page."""
    return [line for line in lines_of(page.read_text()) if line.arguments is not None]


OUR_PAGES = [page for page in PAGES if own_lines_of(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", OUR_PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_in_their_order(page: Path, world: Path) -> None:
    if "--out preds/unet" in page.read_text():
        shutil.rmtree("preds/unet")
    for line in own_lines_of(page):
        if not line.needs:
            assert line.arguments
            forced = ["--force"] if line.arguments[:2] == BLANK else []
            run(line.arguments + SHORTER.get(line.arguments[0], []) + forced)


@pytest.mark.parametrize("page", OUR_PAGES, ids=lambda page: page.name)
def test_the_command_line_knows_every_option_on_a_page(page: Path) -> None:
    for line in own_lines_of(page):
        assert line.arguments
        parse(line.arguments)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_the_options_that_a_page_explains_exist(page: Path) -> None:
    program: Any = typer.main.get_command(app)
    parameters = [parameter for command in program.commands.values() for parameter in command.params]
    known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    explained = set(re.findall(r"`(--[a-z][a-z-]*)", page.read_text()))
    assert explained - known - {"--help"} == set()


@pytest.mark.parametrize("page", pages_with("sh"), ids=lambda page: page.name)
def test_other_programs_on_a_page_are_make_or_need_the_internet(page: Path) -> None:
    for line in lines_of(page.read_text()):
        if line.words[0] == "make":
            dry = [*line.words, "--dry-run", "--warn-undefined-variables"]
            done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
        elif line.arguments is None and line.words != [".", ".venv/bin/activate"]:
            assert line.needs == "# needs internet", f"{shlex.join(line.words)}: neither ours nor marked"


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.name)
def test_python_code_of_a_page_runs(page: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks_of(page.read_text(), "python"):
        exec(compile(block, page.name, "exec"), {})


@pytest.mark.slow
def test_the_example_for_a_notebook_names_photos_that_cannot_be_read(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, *others = sorted(Path("my_photos").iterdir())
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (world / "my_photos" / "text.jpg").write_text("no photo")
    for block in blocks_of((ROOT / "docs" / "notebooks.md").read_text(), "python"):
        exec(compile(block, "notebooks.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "text.jpg" in line]
    assert [line for line in lines if line.startswith(f"{cut}: ")]
    masked = {line.partition(" ")[0] for line in lines}
    assert cut.stem not in masked
    assert masked >= {photo.stem for photo in others}


def test_the_cells_for_a_notebook_are_commands_that_exist() -> None:
    """They name Kaggle's own folders, so they cannot be run elsewhere."""
    cells = [
        line for line in lines_of((ROOT / "docs" / "notebooks.md").read_text(), "ipython") if line.words[0] != "%cd"
    ]
    programs = [line._replace(words=[line.words[0].removeprefix("!"), *line.words[1:]]) for line in cells]
    ours = [line.arguments for line in programs if line.words[0] == "python"]
    for arguments in ours:
        assert arguments is not None
        parse(arguments)
    assert [arguments[0] for arguments in ours if arguments] == [
        "unpack",
        "train",
        "unpack",
        "train",
        "infer",
        "submit",
        "infer",
        "submit",
    ]


def test_placeholders_are_not_in_commands_that_are_meant_to_be_copied() -> None:
    words = [(page.name, word) for page in PAGES for line in lines_of(page.read_text()) for word in line.words]
    assert len(words) > 200
    assert [(page, word) for page, word in words if word.isupper() or "…" in word or "..." in word] == []


def test_an_option_that_the_command_line_does_not_know_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["train", "--data", "data", "--out", "run", "--epoch-count", "3"])


def test_a_marked_line_is_told_from_one_that_is_run() -> None:
    text = "```sh\nkaggle-tools check a.csv  # quick\npip install x   # needs internet\n```\n"
    assert lines_of(text) == [Line(["kaggle-tools", "check", "a.csv"], ""), Line(["pip", "install", "x"], NEEDS[2])]
