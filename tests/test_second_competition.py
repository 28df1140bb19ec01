"""TGS Salt Identification, the second competition: its data, its score and the whole pipeline, by its spec alone."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import warm_python
from known_competitions import SALT
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools import cli, rle
from kaggle_tools.__main__ import app
from kaggle_tools.commands.submit import submit
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.data.listing import training_photos
from kaggle_tools.kaggle_api import download as downloading
from kaggle_tools.results import fold_table
from kaggle_tools.submission.write import write_submission

SUBMIT = cli.app_of(submit)
SLUG = ["--competition", SALT.slug]
TINY = ["--preset", "demo", "--folds", "2", "--depth", "4", "--image-size", "full", "--epochs", "1", "--workers", "0"]


class Demo(NamedTuple):
    data: Path
    run: Path
    pred: Path


def said(program: Any, *arguments: object) -> str:
    """What the command prints; it must succeed."""
    result = CliRunner().invoke(program, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def run(*command: object) -> None:
    done = warm_python.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo drawn, trained in two folds at the photos' own 101x101, masked and turned into a CSV."""
    folder = tmp_path_factory.mktemp("salt")
    data, trained, pred = folder / "data", folder / "run", folder / "pred"
    said(app, "demo-data", data, *SLUG, "--train-groups", 12, "--test-groups", 5)
    run("train.py", "--data", data, "--out", trained, *TINY, *SLUG)
    run("infer.py", trained, "--data", data, "--out", pred, "--workers", 0)
    said(SUBMIT, pred, "--data", data, "--dry-run", "--force")  # after one epoch all may be blank
    return Demo(data, trained, pred)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The competition's score of one photo, pixel by pixel."""
    union = np.count_nonzero(predicted | truth)
    if not union:
        return 1.0
    shared = np.count_nonzero(predicted & truth)
    return sum(100 * shared > percent * union for percent in range(50, 100, 5)) / 10


class TestPipeline:
    def test_the_salt_demo_is_laid_out_as_kaggle_delivers_it(self, demo: Demo) -> None:
        names = {str(path.relative_to(demo.data).parent) for path in demo.data.rglob("*.png")}
        assert names == {"train/images", "train/masks", "test/images"}
        header, *depths = rows_of(demo.data / "depths.csv")
        photos = {path.stem for path in demo.data.glob("t*/images/*.png")}
        assert header == ["id", "z"]
        assert {photo_id for photo_id, _ in depths} == photos
        assert len(photos) == 17

    def test_some_photos_of_the_salt_demo_are_blank_and_some_are_not(self, demo: Demo) -> None:
        masks = [read_mask(photo.mask) for photo in training_photos(SALT, demo.data) if photo.mask]
        assert {mask.any() for mask in masks} == {False, True}
        assert {mask.shape for mask in masks} == {(101, 101)}

    def test_the_score_of_a_salt_run_is_the_mean_precision_of_its_masks(self, demo: Demo) -> None:
        summary = json.loads((demo.run / "summary.json").read_text())
        masks = {path.stem: read_mask(path) for path in demo.run.glob("fold*/oof/masks/*.png")}
        scores = [precision(mask, read_mask(demo.data / f"train/masks/{stem}.png")) for stem, mask in masks.items()]
        assert len(masks) == 12
        assert (summary["score_name"], summary["groups"]) == ("mean precision", 12)
        assert summary["score_mean"] == pytest.approx(np.mean(scores))

    def test_the_salt_csv_holds_the_masks_down_the_columns(self, demo: Demo) -> None:
        header, *rows = rows_of(demo.pred / "submission.csv")
        assert header == ["id", "rle_mask"]
        assert [photo_id for photo_id, _ in rows] == sorted(path.stem for path in demo.data.glob("test/images/*"))
        for photo_id, text in rows:
            mask = rle.decode(text, (101, 101), "column-major", 1)
            assert np.array_equal(mask, read_mask(demo.pred / "masks" / f"{photo_id}.png"))

    def test_score_prints_the_mean_precision_of_the_hidden_photos(self, demo: Demo) -> None:
        truth = demo.data / "hidden_truth.csv"
        scores = [
            precision(read_mask(demo.pred / "masks" / f"{stem}.png"), rle.decode(text, (101, 101), "column-major"))
            for stem, text in rows_of(truth)[1:]
        ]
        printed = said(app, "score", demo.pred / "submission.csv", truth, *SLUG)
        assert f"mean precision (the competition's score) {np.mean(scores):.5f}" in printed

    def test_check_and_compare_take_salt_as_their_competition(self, demo: Demo) -> None:
        sample = demo.data / "sample_submission.csv"
        checked = said(app, "check", demo.pred / "submission.csv", "--sample", sample, "--force", *SLUG)
        assert "5 masks, nothing wrong" in checked
        assert "mean precision" in said(app, "compare", demo.run, demo.run)


class TestScore:
    TRUTH = "id,rle_mask\na,1 10\nb,\nc,\nd,1 10\ne,5 3\n"
    SUBMITTED = "id,rle_mask\na,3 10\nb,\nc,7 1\nd,\ne,5 3\n"

    def test_the_mean_precision_of_a_csv_agrees_with_a_hand_worked_example(self, tmp_path: Path) -> None:
        """a: 8 pixels of 12, an IoU of 0.667, exceeds 0.5, 0.55, 0.6 and 0.65: 0.4. b and e agree. c and d do not."""
        for name, text in (("truth.csv", self.TRUTH), ("submission.csv", self.SUBMITTED)):
            (tmp_path / name).write_text(text)
        each = tmp_path / "each.csv"
        printed = said(app, "score", tmp_path / "submission.csv", tmp_path / "truth.csv", "--per-image", each, *SLUG)
        assert pd.read_csv(each)["score"].tolist() == [0.4, 1, 0, 0, 1]
        assert "5 photos\nmean precision (the competition's score) 0.48000\n" in printed


class TestData:
    def test_salt_is_downloaded_into_a_folder_named_after_it_by_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def download(spec: Competition, to: Path, *, high_quality: bool) -> None:
            to.mkdir(parents=True)
            with zipfile.ZipFile(to / "test.zip", "w") as archive:
                archive.writestr("images/a.png", spec.title)

        monkeypatch.setattr(downloading, "download", download)
        monkeypatch.chdir(tmp_path)
        said(app, "download", *SLUG)
        photo = tmp_path / "data" / SALT.slug / "test/images/a.png"
        assert photo.read_text() == "TGS Salt Identification"

    def test_masks_of_16_bits_as_kaggles_are_read(self, tmp_path: Path) -> None:
        mask = np.array([[0, 65535], [65535, 0]], dtype=np.uint16)
        Image.fromarray(mask).save(tmp_path / "mask.png")
        assert read_mask(tmp_path / "mask.png").tolist() == [[False, True], [True, False]]

    def test_a_salt_submission_numbers_the_pixels_down_the_columns_from_1(self, tmp_path: Path) -> None:
        mask = np.zeros((101, 101), dtype=bool)
        mask[0:3, 0] = mask[100, 1] = mask[0, 2] = True
        write_mask(tmp_path / "masks/a.png", mask)
        write_mask(tmp_path / "masks/b.png", np.zeros((101, 101), dtype=bool))
        (tmp_path / "sample.csv").write_text("id,rle_mask\na,1 1\nb,1 1\n")
        write_submission(tmp_path / "masks", tmp_path / "sample.csv", tmp_path / "submission.csv", SALT)
        assert (tmp_path / "submission.csv").read_text() == "id,rle_mask\na,1 3 202 2\nb,\n"

    def test_blank_photos_are_shared_out_over_the_folds(self, tmp_path: Path) -> None:
        """Nine blank photos, nine of which a third is salt, and one full one: a class with fewer photos than folds."""
        shares = [0] * 9 + [1 / 3] * 9 + [1]
        for number, share in enumerate(shares):
            mask = np.zeros((101, 101), dtype=bool)
            mask[: round(101 * share)] = True
            write_mask(tmp_path / f"train/masks/{number:02}.png", mask)
            write_mask(tmp_path / f"train/images/{number:02}.png", mask)
        config = config_from("demo", SALT.slug, {"folds": 3})
        folds = fold_table.folds_of(tmp_path, SALT, training_photos(SALT, tmp_path), config)
        for numbers in (range(9), range(9, 18)):
            found = [folds[f"{number:02}"] for number in numbers]
            assert [found.count(fold) for fold in range(3)] == [3, 3, 3]
