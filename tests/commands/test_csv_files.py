"""What `check` and `score` print and write; how they judge is tested in tests/submission."""

from pathlib import Path

import pytest
from click.testing import Result
from submission_files import VALID, write_rows, write_sample
from typer.testing import CliRunner

from kaggle_tools.__main__ import app
from kaggle_tools.errors import InputError

BLANK = [(name, "") for name, _ in VALID]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_check_prints_each_warning_and_that_nothing_is_wrong(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "")])
    done = invoke("check", path, "--sample", write_sample(tmp_path / "sample.csv"))
    assert done.exit_code == 0, done.exception
    assert "warning: 1 of 3 masks are blank" in done.output.splitlines()
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
        "Dice 0.45000, IoU 0.29167",  # 2 of 6 and 6 of 24
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
