"""What `check` and `score` print and write; how they judge is tested in tests/submission."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from submission_files import STEMS, VALID, draw_masks, write_rows, write_sample
from typer.testing import CliRunner

from kaggle_tools import rle
from kaggle_tools.__main__ import app
from kaggle_tools.errors import InputError

BLANK = [(name, "") for name, _ in VALID]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_check_prints_each_warning_and_that_nothing_is_wrong(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "")])
    done = invoke("check", path, "--sample", write_sample(tmp_path / "sample.csv"))
    assert done.exit_code == 0, done.exception
    assert "warning: 1 of 3 masks is blank, where every photo has foreground" in done.output.splitlines()
    assert done.output.splitlines()[-1] == f"{path}: 3 masks, nothing wrong"


def test_check_accepts_blank_masks_alone_only_with_force(tmp_path: Path) -> None:
    arguments = ["check", write_rows(tmp_path / "submission.csv", BLANK)]
    arguments += ["--sample", write_sample(tmp_path / "sample.csv")]
    refused = invoke(*arguments)
    assert (refused.exit_code, type(refused.exception)) == (1, InputError)
    assert invoke(*arguments, "--force").exit_code == 0


def test_score_prints_the_means_and_writes_the_score_of_each_photo(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", [("b_01.jpg", "1 4"), ("a_01.jpg", "1 24"), ("a_02.jpg", "")])
    truth = write_rows(tmp_path / "truth.csv", [("a_01.jpg", "1 6"), ("b_01.jpg", "3 4")])
    done = invoke("score", path, truth, "--per-image", tmp_path / "scores.csv")
    assert done.output.splitlines() == [
        "2 photos, 1 without a known truth left out",
        "Dice (the competition's score) 0.45000",  # 4 of 8 and 12 of 30
        "IoU 0.29167",  # 2 of 6 and 6 of 24
    ]
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "image,score,dice,iou"
    assert [line.split(",")[:2] for line in lines[1:]] == [["b_01", "0.5"], ["a_01", "0.4"]]


@pytest.mark.parametrize("command", ["check", "score"])
def test_another_competition_can_be_named_for_a_csv(tmp_path: Path, command: str) -> None:
    rows = [("t1", "1 4"), ("t2", "")]
    path = write_rows(tmp_path / "submission.csv", rows, header="id,rle_mask")
    arguments = [path, path] if command == "score" else [path, "--sample", path]
    assert invoke(command, *arguments, "--competition", "tgs-salt-identification-challenge").exit_code == 0
    assert isinstance(invoke(command, *arguments).exception, InputError)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one photo more than its sample submission lists."""
    folder = tmp_path / "data"
    (folder / "test").mkdir(parents=True)
    for stem in [*STEMS, "c_01"]:
        Image.new("RGB", (6, 4)).save(folder / "test" / f"{stem}.jpg")
    write_sample(folder / "sample_submission.csv")
    return folder


def test_check_with_the_data_folder_knows_the_sizes_and_names_photos_that_are_not_listed(
    data: Path, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "mine.csv", VALID)
    result = invoke("check", path, "--data", data)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "warning: 1 test photo is not in the sample submission: c_01",
        f"{path}: 3 masks, nothing wrong",
    ]
    write_rows(path, [*VALID[:2], ("a_01.jpg", "24 2")])
    assert "a run ends at pixel 25, but the last one is 24" in str(invoke("check", path, "--data", data).exception)


@pytest.mark.parametrize("options", [[], ["--data", "data", "--sample", "sample.csv"]])
def test_check_needs_exactly_one_list_of_ids(tmp_path: Path, options: list[str]) -> None:
    result = invoke("check", write_rows(tmp_path / "mine.csv", VALID), *options)
    assert isinstance(result.exception, InputError)
    assert "give either --data DIR or --sample FILE" in str(result.exception)


def test_check_does_not_say_that_nothing_is_wrong_where_the_order_may_be(tmp_path: Path) -> None:
    mask = np.zeros((1280, 1918), dtype=bool)
    mask[300:900, 500:1500] = True
    path = write_rows(tmp_path / "mine.csv", [(f"{stem}.jpg", rle.encode(mask, "column-major")) for stem in STEMS])
    result = invoke("check", path, "--sample", write_sample(tmp_path / "sample.csv"))
    assert result.exit_code == 0
    assert "are the pixels numbered column by column?" in result.output
    assert "nothing wrong" not in result.output
    assert f"{path}: 3 masks, nothing that Kaggle would refuse" in result.output


def test_score_takes_a_folder_of_masks_for_the_truth(tmp_path: Path) -> None:
    masks = draw_masks(tmp_path / "masks", STEMS)
    path = write_rows(tmp_path / "mine.csv", [(f"{stem}.jpg", rle.encode(masks[stem])) for stem in STEMS])
    assert "Dice (the competition's score) 1.00000" in invoke("score", path, tmp_path / "masks").output
