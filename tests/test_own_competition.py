"""A competition that is nothing but a file of one's own, on the whole way from photos to a score."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import warm_python
from click.testing import Result
from typer.testing import CliRunner

from kaggle_tools.__main__ import app

ROOFS = """\
slug = "roof-tiles"
title = "Roof Tiles"
train_photos = "photos/seen/{stem}.jpg"
train_masks = "truth/{stem}.gif"
test_photos = "photos/unseen/{stem}.jpg"
sample_submission = "sample.csv"
stem_format = "{group}-side-{view}"
group_name = "roof"
id_pattern = "{stem}"
id_column = "id"
rle_column = "pixels"
rle_order = "column-major"
rle_first = 0
score = "IoU"
"""
TINY = ["--preset", "demo", "--folds", "2", "--epochs", "1", "--width", "4", "--image-size", "64x96", "--workers", "0"]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def said(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos drawn, two folds trained, and the test photos masked; after that the file is gone."""
    work = tmp_path_factory.mktemp("roofs")
    file = work / "roofs.toml"
    file.write_text(ROOFS)
    said("demo-data", work / "data", "--competition", file, "--train-groups", 4, "--test-groups", 1, "--size", "96x144")
    for command in (
        ["train.py", "--data", work / "data", "--out", work / "run", "--competition", file, *TINY],
        ["infer.py", work / "run", "--data", work / "data", "--out", work / "pred", "--workers", 0],
    ):
        done = warm_python.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    file.rename(work / "gone.toml")
    return work


def test_the_data_lie_where_the_file_says(work: Path) -> None:
    photos = sorted(path.name for path in (work / "data" / "photos" / "seen").iterdir())
    assert len(photos) == len(list((work / "data" / "truth").glob("*.gif"))) == 64
    assert all("-side-" in name for name in photos)
    assert (work / "data" / "sample.csv").read_text().startswith("id,pixels\n")


def test_the_masks_become_a_checked_csv_without_the_file(work: Path) -> None:
    output = said("submit", work / "pred", "--data", work / "data", "--dry-run", "--force")
    assert "Roof Tiles: 16 masks" in output
    lines = (work / "pred" / "submission.csv").read_text().splitlines()
    assert lines[0] == "id,pixels"
    assert len(lines) == 17


def test_the_score_is_that_of_the_file(work: Path) -> None:
    said("submit", work / "pred", "--data", work / "data", "--dry-run", "--force")
    truth = work / "data" / "hidden_truth.csv"
    assert "IoU" in said("score", work / "pred" / "submission.csv", truth, "--competition", work / "gone.toml")


def test_the_pages_and_the_comparison_call_things_as_the_file_does(work: Path) -> None:
    said("report", work / "run", "--data", work / "data")
    page = (work / "run" / "report.html").read_text()
    assert "Roof Tiles" in page
    assert "roofs" in page


def test_a_run_is_not_continued_with_another_competition_of_the_same_slug(work: Path, tmp_path: Path) -> None:
    other = tmp_path / "roofs.toml"
    other.write_text(ROOFS.replace("rle_first = 0", "rle_first = 1"))
    run = shutil.copytree(work / "run", tmp_path / "run")
    result: Any = warm_python.run("train.py", "--data", work / "data", "--out", run, "--competition", other, *TINY)
    assert result.returncode == 1
    assert "begun with another competition (rle_first was 0, now 1)" in result.stderr
    result = warm_python.run("infer.py", run, "--data", work / "data", "--out", tmp_path / "p", "--competition", other)
    assert result.returncode == 1
    assert "rle_first was 0, now 1" in result.stderr
