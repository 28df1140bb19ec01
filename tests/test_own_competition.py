"""A competition that is nothing but a file of one's own, or that and a score, from photos to a score."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import warm_python
from invoking import invoke, said

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
RECALL = """\
import numpy as np

def recall(intersection, predicted, truth):
    return np.where(truth > 0, intersection / np.maximum(truth, 1e-9), predicted == 0)
"""
TINY = ["--preset", "demo", "--folds", "2", "--epochs", "1", "--width", "4", "--image-size", "64x96", "--workers", "0"]


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


def trained_and_masked(work: Path, score: str) -> Path:
    file = work / "roofs.toml"
    file.write_text(ROOFS.replace("IoU", score))
    said("demo-data", work / "data", "--competition", file, "--train-groups", 4, "--test-groups", 1, "--size", "96x144")
    for command in (
        ["train.py", "--data", work / "data", "--out", work / "run", "--competition", file, *TINY],
        [
            "infer.py",
            work / "run",
            "--data",
            work / "data",
            "--out",
            work / "pred",
            "--workers",
            0,
            "--competition",
            file,
        ],
    ):
        done = warm_python.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    said("submit", work / "pred", "--data", work / "data", "--dry-run", "--force")  # without the file
    return file


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.mktemp("own")
    (own / "scores.py").write_text(RECALL)
    trained_and_masked(own, "scores.py:recall")
    return own


class TestOwnScore:
    """A function in a Python file."""

    def test_the_score_of_the_run_is_the_mean_of_the_function(self, own: Path) -> None:
        summary = json.loads((own / "run" / "summary.json").read_text())
        table = pd.read_csv(own / "run" / "oof.csv")
        assert summary["score_name"] == "recall"
        assert summary["score_mean"] == pytest.approx(table["score"].mean())
        assert table["score"].between(0, 1).all()
        assert not table["score"].equals(table["dice"])

    def test_the_submission_is_scored_with_the_file(self, own: Path) -> None:
        csv, truth = own / "pred" / "submission.csv", own / "data" / "hidden_truth.csv"
        output = said("score", csv, truth, "--competition", own / "roofs.toml")
        assert "recall (the competition's score) " in output

    def test_runs_are_compared_without_the_file_and_pages_need_it(self, own: Path) -> None:
        assert "recall" in said("compare", own / "run")
        done = invoke("report", own / "run")
        assert done.exit_code == 1
        assert "give --competition FILE.toml, beside which scores.py lies" in str(done.exception)
        said("report", own / "run", "--competition", own / "roofs.toml", "--data", own / "data")
        assert f"--competition {own / 'roofs.toml'}" in (own / "run" / "report.html").read_text()

    def test_photos_are_not_masked_without_the_file_or_with_a_changed_one(self, own: Path) -> None:
        again = ["infer.py", own / "run", "--data", own / "data", "--out", own / "again"]
        done = warm_python.run(*again)
        assert done.returncode == 1
        assert "give --competition FILE.toml, beside which scores.py lies" in done.stderr
        (own / "changed").mkdir()
        (own / "changed" / "scores.py").write_text(RECALL + "\n")
        toml = own / "changed" / "roofs.toml"
        toml.write_text((own / "roofs.toml").read_text())
        done = warm_python.run(*again, "--competition", toml)
        assert done.returncode == 1
        assert "score_sha256 was " in done.stderr
        assert not (own / "again").exists()


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = tmp_path_factory.mktemp("pixels")
    trained_and_masked(pixels, "global Dice")
    return pixels


class TestOverAllPixels:
    def test_the_scores_of_the_run_are_those_of_the_pixels_of_its_photos(self, pixels: Path) -> None:
        summary = json.loads((pixels / "run" / "summary.json").read_text())
        table = pd.read_csv(pixels / "run" / "oof.csv")
        sums = table[["intersection", "predicted", "truth"]].sum()
        assert summary["score_mean"] == pytest.approx(2 * sums["intersection"] / (sums["predicted"] + sums["truth"]))
        assert summary["score_mean"] != summary["dice_mean"]
        curve = pd.read_csv(pixels / "run" / "thresholds.csv").set_index("threshold")["score"]
        assert curve[0.5] == pytest.approx(summary["score_mean"])

    def test_the_masks_record_the_score_over_pixels_to_expect(self, pixels: Path) -> None:
        record = json.loads((pixels / "pred" / "run.json").read_text())
        summary = json.loads((pixels / "run" / "summary.json").read_text())
        curve = pd.read_csv(pixels / "run" / "thresholds.csv").set_index("threshold")["score"]
        assert record["cross_validation"][0]["score_mean"] == summary["score_mean"]
        assert record["threshold"] in curve.index
        if "smallest_part" not in record:
            assert record["estimate"]["score"] == pytest.approx(curve[record["threshold"]])

    def test_pages_show_the_scores_over_pixels(self, pixels: Path) -> None:
        said("report", pixels / "run", "--pred", pixels / "pred", "--data", pixels / "data")
        page = (pixels / "run" / "report.html").read_text()
        assert "global Dice" in page
        assert "mean global Dice" not in page
        assert "</bdi></strong> global 0." in page
        assert "Dice of a photo" in page

    def test_the_submission_is_scored_over_its_pixels(self, pixels: Path) -> None:
        csv, truth = pixels / "pred" / "submission.csv", pixels / "data" / "hidden_truth.csv"
        output = said("score", csv, truth, "--competition", pixels / "roofs.toml")
        assert "global Dice (the competition's score) " in output
        assert "\nDice " in output
