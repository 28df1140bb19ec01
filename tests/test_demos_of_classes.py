"""Steel and clouds, the competitions of several classes: from a drawn demo to a score, by their files alone."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import warm_python
from invoking import invoke, said
from known_competitions import CLOUDS, STEEL
from numpy.typing import NDArray

from kaggle_tools.competitions import toml_file
from kaggle_tools.competitions.competition import Competition


class Demo(NamedTuple):
    competition: Competition
    size: tuple[int, int]
    """Of the masks in the CSV."""
    data: Path
    run: Path
    pred: Path


@pytest.fixture(
    scope="module", params=[(STEEL, "32x200", (32, 200)), (CLOUDS, "70x105", (350, 525))], ids=["steel", "clouds"]
)
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo drawn, a fold trained, and its test photos masked and turned into a CSV."""
    competition, size, of_masks = request.param
    folder = tmp_path_factory.mktemp("demo")
    data, run, pred = folder / "data", folder / "run", folder / "pred"
    slug = ["--competition", competition.slug]
    said("demo-data", data, *slug, "--train-groups", 8, "--test-groups", 3, "--size", size)
    options = ["--preset", "demo", "--folds", 2, "--epochs", 1, "--width", 4, "--image-size", "32x64", "--workers", 0]
    for command in (
        ["train.py", "--data", data, "--out", run, *slug, *options],
        ["infer.py", run, "--data", data, "--out", pred, "--workers", 0, "--threshold", "0.4"],
    ):
        done = warm_python.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    said("submit", pred, "--data", data, "--dry-run", "--force")
    return Demo(competition, of_masks, data, run, pred)


def masks_in(path: Path, size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
    """The masks of a CSV by id, decoded by counting pixels down each column from 1."""
    masks = {}
    with path.open() as file:
        rows = csv.reader(file)
        next(rows)
        for mask_id, text in rows:
            pixels, numbers = np.zeros(size[0] * size[1], dtype=bool), [int(number) for number in text.split()]
            for start, length in zip(numbers[::2], numbers[1::2], strict=True):
                pixels[start - 1 : start - 1 + length] = True
            masks[mask_id] = pixels.reshape(size[::-1]).T
    return masks


def test_the_score_is_the_mean_dice_over_photos_and_classes(demo: Demo) -> None:
    submitted, true = (
        masks_in(path, demo.size) for path in (demo.pred / "submission.csv", demo.data / "hidden_truth.csv")
    )
    assert len(submitted) == 3 * 4
    dice = []
    for mask_id, mask_HW in submitted.items():
        total = int(mask_HW.sum() + true[mask_id].sum())
        dice.append(2 * int((mask_HW & true[mask_id]).sum()) / total if total else 1.0)
    output = said(
        *("score", demo.pred / "submission.csv", demo.data / "hidden_truth.csv"),
        *("--competition", demo.competition.slug),
    )
    assert f"Dice (the competition's score) {np.mean(dice):.5f}" in output
    assert "12 masks" in output


def test_a_run_whose_masks_follow_from_another_numbering_is_told_from_one_of_other_masks(
    demo: Demo, tmp_path: Path
) -> None:
    file = tmp_path / "other.toml"
    packaged = Path(toml_file.__file__).with_name(f"{demo.competition.slug}.toml").read_text()
    file.write_text(packaged.replace("rle_first = 1", "rle_first = 0"))
    done = warm_python.run("train.py", "--data", demo.data, "--out", demo.run, "--competition", file, "--folds", 2)
    assert done.returncode == 1
    assert "begun with another competition (rle_first was 1, now 0)" in done.stderr


def test_the_csv_lists_all_classes_of_each_photo_in_the_order_of_the_sample(demo: Demo) -> None:
    listed = [line.split(",")[0] for line in (demo.data / "sample_submission.csv").read_text().splitlines()]
    assert [line.split(",")[0] for line in (demo.pred / "submission.csv").read_text().splitlines()] == listed
    assert {mask_id.rpartition("_")[2] for mask_id in listed[1:]} == {*demo.competition.classes}


def test_a_competition_of_notebooks_says_so_and_takes_only_a_dry_run(demo: Demo) -> None:
    result = invoke("submit", demo.pred, "--data", demo.data, "-m", "U-Net")
    assert result.exit_code == 1
    assert ("notebook" in str(result.exception)) == demo.competition.notebooks_only
