from pathlib import Path

import pytest
from finished_runs import draw_photos, write_pred, write_run
from typer.testing import CliRunner

from kaggle_tools.__main__ import app
from kaggle_tools.competition import CARVANA
from kaggle_tools.errors import InputError
from kaggle_tools.report.writing import write_report

STEMS = [f"{car}_{view:02}" for car in "abcdef" for view in (1, 2)]
FOLDS = {fold: dict.fromkeys(STEMS[fold::2], (1, fold)) for fold in (0, 1)}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs that are not beside each other, the second of which is better."""
    draw_photos(tmp_path / "data", STEMS)
    worse = {fold: dict.fromkeys(errors, (5, fold)) for fold, errors in FOLDS.items()}
    return [
        write_run(tmp_path / name / "run", tmp_path / "data", folds)
        for name, folds in (("worse", worse), ("better", FOLDS))
    ]


def said(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.exception
    return done.output


def test_a_page_lies_with_what_it_shows(runs: list[Path], tmp_path: Path) -> None:
    pred = write_pred(tmp_path / "pred", tmp_path / "data" / "train", dict.fromkeys(STEMS, 20))
    assert write_report(None, CARVANA, runs[:1]) == runs[0] / "report.html"
    assert write_report(None, CARVANA, runs) == runs[0] / "comparison.html"
    assert write_report(None, CARVANA, runs[:1], pred) == pred / "report.html"
    assert write_report(tmp_path / "new" / "page.html", CARVANA, runs) == tmp_path / "new" / "page.html"


def test_the_best_of_several_is_shown_in_depth_and_a_single_one_whatever_it_is(runs: list[Path]) -> None:
    of_both, of_worse = write_report(None, CARVANA, runs), write_report(None, CARVANA, runs[:1])
    worst_of_better = f"Dice {2 * 29 / (29 + 30 + 1):.5f}, fold 1"
    assert worst_of_better in of_both.read_text()
    assert worst_of_better not in of_worse.read_text()


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
        ([], "name a RUN, several to compare, or --pred PRED"),
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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fold0/oof.csv", "image,fold,score,dice,iou\n", "oof.csv: damaged (no rows in it)"),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na_01,0,,1,1\n", "oof.csv: damaged (values are missing)"),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na_01,0,7,1,1\n", "oof.csv: damaged (scores that are not between"),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na_01,0,abc,1,1\n", "oof.csv: not a table of image,fold,score"),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na,0,1,1,1\n", "'a' is not of the form {group}_{view}"),
        ("fold1/metrics.csv", "epoch\n0\n", "metrics.csv: not a table of epoch,lr,"),
        ("config.json", '{"settings": {"model": "unet"}}', "config.json: damaged (no competition, width, "),
    ],
)
def test_a_damaged_file_of_a_run_is_named(runs: list[Path], name: str, text: str, message: str) -> None:
    (runs[0] / name).write_text(text)
    with pytest.raises(InputError) as refusal:
        write_report(None, CARVANA, runs[:1])
    assert message in str(refusal.value)
    assert not (runs[0] / "report.html").exists()
