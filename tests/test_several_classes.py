"""A competition with two classes whose masks may overlap, on the whole way from photos to a score."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import warm_python
from invoking import invoke, said
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools import metrics, rle
from kaggle_tools.competitions.toml_file import read_competition
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.data.listing import training_photos
from kaggle_tools.submission.write import write_submission

SHAPES = """\
slug = "shapes"
title = "Shapes"
train_photos = "train/{stem}.png"
train_masks = "masks/{class}/{stem}.png"
test_photos = "test/{stem}.png"
sample_submission = "sample.csv"
stem_format = "{view}"
classes = ["red", "tall"]
id_pattern = "{stem}.png"
id_column = "photo"
class_column = "kind"
rle_column = "pixels"
rle_order = "row-major"
rle_first = 1
score = "Dice"
blank_share = 0.3
"""
SIZE = (32, 48)
OPTIONS = ["--preset", "demo", "--folds", "2", "--epochs", "8", "--width", "8", "--image-size", "32x48", "--lr", "2e-2"]


def draw(seed: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.bool_]]]:
    """A photo with a bright red bar and a tall green one; where they cross, it has both colours. Some are missing."""
    random = np.random.default_rng(seed)
    masks = {name: np.zeros(SIZE, dtype=bool) for name in ("red", "tall")}
    if random.random() > 0.3:
        top = random.integers(4, 20)
        masks["red"][top : top + 8, 4:44] = True
    if random.random() > 0.3:
        left = random.integers(4, 36)
        masks["tall"][2:30, left : left + 9] = True
    photo_HW3 = random.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    photo_HW3[masks["red"], 0] = 230
    photo_HW3[masks["tall"], 1] = 230
    return photo_HW3, masks


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos drawn, two folds trained, and the test photos masked."""
    work = tmp_path_factory.mktemp("shapes")
    data = work / "data"
    for folder in ("train", "test", "masks/red", "masks/tall"):
        (data / folder).mkdir(parents=True)
    for number in range(24):
        photo_HW3, masks = draw(number)
        Image.fromarray(photo_HW3).save(data / f"train/{number:02}.png")
        for name, mask_HW in masks.items():
            write_mask(data / f"masks/{name}/{number:02}.png", mask_HW)
    # Kaggle lists classes and columns in an order of its own.
    rows, truth = ["photo,pixels,kind"], ["photo,pixels,kind"]
    for number in range(4):
        photo_HW3, masks = draw(100 + number)
        Image.fromarray(photo_HW3).save(data / f"test/t{number}.png")
        for name in ("tall", "red"):
            rows.append(f"t{number}.png,1 1,{name}")
            truth.append(f"t{number}.png,{rle.encode(masks[name], 'row-major', 1)},{name}")
    (data / "sample.csv").write_text("\n".join(rows) + "\n")
    (work / "truth.csv").write_text("\n".join(truth) + "\n")
    (work / "shapes.toml").write_text(SHAPES)
    for command in (
        ["train.py", "--data", data, "--out", work / "run", "--competition", work / "shapes.toml", *OPTIONS],
        ["infer.py", work / "run", "--data", data, "--out", work / "pred", "--save-probabilities", "--workers", 0],
    ):
        done = warm_python.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return work


def test_each_photo_is_listed_with_its_masks_in_the_order_of_the_classes(work: Path) -> None:
    spec = read_competition(work / "shapes.toml")
    photo = training_photos(spec, work / "data")[3]
    assert photo.stem == "03"
    assert [one.stem for one in photo.targets] == ["03_red", "03_tall"]
    assert [one.mask for one in photo.targets] == [work / f"data/masks/{name}/03.png" for name in ("red", "tall")]


def test_a_missing_mask_is_named_with_its_class(work: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("red", "tall"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        write_mask(tmp_path / f"masks/{name}/00.png", np.ones((4, 6), dtype=bool))
    for stem in ("00", "01"):
        Image.new("RGB", (6, 4)).save(tmp_path / f"train/{stem}.png")
    write_mask(tmp_path / "masks/red/01.png", np.ones((4, 6), dtype=bool))
    result = invoke("train", "--data", tmp_path, "--out", tmp_path / "r", "--competition", work / "shapes.toml")
    assert result.exit_code == 1
    missing = "1 without a mask, which is all black where nothing is there (masks/{class}/{stem}.png): 01_tall"
    assert missing in str(result.exception)


def test_both_classes_are_learnt_and_not_swapped(work: Path) -> None:
    """Swapped classes would have a Dice of about 0.3."""
    summary = json.loads((work / "run" / "summary.json").read_text())
    assert summary["photos"] == 24
    assert set(summary["score_by_class"]) == {"red", "tall"}
    assert min(summary["score_by_class"].values()) > 0.6
    with (work / "run" / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    for row in rows:
        stem, name = row["image"].split("_")
        predicted_HW = read_mask(work / "run" / f"fold{row['fold']}" / "oof" / "masks" / f"{stem}_{name}.png")
        counts = metrics.overlap(predicted_HW, draw(int(stem))[1][name])
        assert float(row["score"]) == pytest.approx(float(metrics.dice(counts)), abs=1e-6)
    assert summary["score_mean"] == pytest.approx(np.mean([float(row["score"]) for row in rows]))


def test_the_csv_is_in_the_form_of_the_sample(work: Path) -> None:
    output = said("submit", work / "pred", "--data", work / "data", "--dry-run", "--force")
    assert "Shapes: 8 masks" in output
    with (work / "pred" / "submission.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["photo", "pixels", "kind"]
    assert [(row["photo"], row["kind"]) for row in rows[:3]] == [
        ("t0.png", "tall"),
        ("t0.png", "red"),
        ("t1.png", "tall"),
    ]
    for row in rows:
        mask_HW = read_mask(work / "pred" / "masks" / f"{row['photo'].removesuffix('.png')}_{row['kind']}.png")
        assert row["pixels"] == rle.encode(mask_HW, "row-major", 1)


def test_the_score_is_the_mean_over_photos_and_classes(work: Path) -> None:
    said("submit", work / "pred", "--data", work / "data", "--dry-run", "--force")
    output = said("score", work / "pred" / "submission.csv", work / "truth.csv", "--competition", work / "shapes.toml")
    scores = []
    for number in range(4):
        for name, truth_HW in draw(100 + number)[1].items():
            predicted_HW = read_mask(work / "pred" / "masks" / f"t{number}_{name}.png")
            total = predicted_HW.sum() + truth_HW.sum()
            scores.append(2 * (predicted_HW & truth_HW).sum() / total if total else 1.0)
    assert f"{np.mean(scores):.5f}" in output


def test_masks_that_overlap_become_the_rows_that_were_written_by_hand(work: Path, tmp_path: Path) -> None:
    """A photo of 2x3 pixels, the first two columns red, the last two tall: the one in the middle is both."""
    (tmp_path / "sample.csv").write_text("photo,kind,pixels\na.png,red,1 1\na.png,tall,1 1\n")
    masks = tmp_path / "masks"
    masks.mkdir()
    write_mask(masks / "a_red.png", np.array([[1, 1, 0], [1, 1, 0]], dtype=bool))
    write_mask(masks / "a_tall.png", np.array([[0, 1, 1], [0, 1, 1]], dtype=bool))
    write_submission(masks, tmp_path / "sample.csv", tmp_path / "made.csv", read_competition(work / "shapes.toml"))
    assert (tmp_path / "made.csv").read_text() == "photo,kind,pixels\na.png,red,1 2 4 2\na.png,tall,2 2 5 2\n"


def test_an_interrupted_folder_of_masks_goes_on_with_what_is_missing(work: Path) -> None:
    mask = work / "pred" / "masks" / "t1_tall.png"
    before = mask.read_bytes()
    mask.unlink()
    done = warm_python.run(
        *("infer.py", work / "run", "--data", work / "data", "--out", work / "pred", "--save-probabilities"),
        *("--workers", 0),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert mask.read_bytes() == before


def test_masks_are_blended_class_by_class(work: Path, tmp_path: Path) -> None:
    said("blend", work / "pred", work / "pred", "--out", tmp_path / "mix")
    for name in ("red", "tall"):
        path = f"masks/t2_{name}.png"
        assert np.array_equal(read_mask(tmp_path / "mix" / path), read_mask(work / "pred" / path))


def test_masks_become_pseudo_labels_of_all_classes(work: Path, tmp_path: Path) -> None:
    done = warm_python.run(
        *("train.py", "--data", work / "data", "--out", tmp_path / "run", "--competition", work / "shapes.toml"),
        *(*OPTIONS, "--epochs", "1", "--fold", "0", "--extra", work / "pred", "--extra-confidence", "0.01"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 photos and 4 of" in done.stdout


def test_the_pages_name_the_masks_with_their_classes(work: Path) -> None:
    said("report", work / "run", "--data", work / "data")
    said("report", "--pred", work / "pred", "--data", work / "data")
    for page in (work / "run" / "report.html", work / "pred" / "report.html"):
        assert "_tall" in page.read_text()
    of_run = (work / "run" / "report.html").read_text()
    for heading in ("Dice, mask by mask</h2>", "All held-out masks</h2>", " worst masks"):
        assert heading in of_run
    assert "each of the 24 photos was held out once" in of_run
    assert "Dice by class" in of_run
