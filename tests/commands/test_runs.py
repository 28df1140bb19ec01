import shutil
from pathlib import Path

import pytest
from finished_runs import write_two_runs
from typer.testing import CliRunner

from kaggle_tools.__main__ import app
from kaggle_tools.errors import InputError


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return write_two_runs(tmp_path)


def said(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.exception
    return done.output


def test_the_terminal_and_the_page_say_the_same(runs: list[Path], tmp_path: Path) -> None:
    table = said("compare", *runs)
    page = tmp_path / "page.html"
    assert said("report", *runs, "--out", page) == f"page: {page}\n"
    verdict = table.splitlines()[-1]
    assert "it is better than " in verdict
    assert verdict in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the folder of a run, several to compare, or --pred PRED"),
        (["{run}", "--data", "{run}/nowhere"], "--data {run}/nowhere: no such folder"),
        (["{run}", "--out", "{run}"], "--out {run}: is a folder; name a file in it"),
        (["{run}", "--pred", "{run}"], "{run}/run.json: missing; is {run} a folder that `infer --out` made?"),
        (["{run}/fold0"], "{run}/fold0/config.json: missing; is {run}/fold0 a folder that `train --out` made?"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused(runs: list[Path], arguments: list[str], message: str) -> None:
    given = [argument.format(run=runs[0]) for argument in arguments]
    refusal = CliRunner().invoke(app, ["report", *given]).exception
    assert isinstance(refusal, InputError)
    assert message.format(run=runs[0]) in str(refusal)


@pytest.mark.parametrize(("times", "corner"), [(3, ""), (4, "run")])
def test_up_to_six_runs_stand_beside_each_other_and_more_of_them_beneath(
    runs: list[Path], times: int, corner: str
) -> None:
    """In the corner of the table stands what the names beneath it are: of values, or of runs."""
    header = said("compare", *runs * times).partition("┡")[0]
    assert "".join(line.split("┃")[1].strip() for line in header.splitlines() if "┃" in line) == corner


@pytest.mark.parametrize("command", ["compare", "report"])
def test_a_run_that_is_not_finished_is_named_and_the_others_are_shown(
    runs: list[Path], tmp_path: Path, command: str
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(runs[0] / "config.json", begun)
    done = CliRunner().invoke(app, [command, str(runs[0]), str(begun), str(runs[1])])
    assert done.exit_code == 0, done.exception
    assert f"warning: left out, as no fold of theirs is finished: {begun}\n" in done.stderr
    assert done.stdout.replace(str(begun), "") == done.stdout
    alone = CliRunner().invoke(app, [command, str(begun)])
    assert isinstance(alone.exception, InputError)
