from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_competitions import CARVANA, POOLED
from PIL import Image
from submission_files import SHAPE, VALID, draw_masks, write_rows

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.submission.score import score_submission

SUBMITTED = (("b_01.jpg", "1 4"), ("a_02.jpg", ""), ("a_01.jpg", "1 24"))
TRUTH = (("a_01.jpg", "1 6"), ("b_01.jpg", "3 4"))


def test_each_photo_with_a_truth_is_scored(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED))
    table, unscored, score = score_submission(path, write_rows(tmp_path / "truth.csv", list(TRUTH)), CARVANA)
    assert table.columns.tolist() == ["image", "score", "dice", "iou"]
    assert table["image"].tolist() == ["b_01", "a_01"]
    assert table["dice"].tolist() == pytest.approx([4 / 8, 12 / 30])
    assert table["iou"].tolist() == pytest.approx([2 / 6, 6 / 24])
    assert table["score"].tolist() == table["dice"].tolist()
    assert score == pytest.approx((4 / 8 + 12 / 30) / 2)
    assert unscored == 1


def test_a_score_over_all_pixels_adds_up_the_pixels_of_the_photos_that_are_scored(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED))
    table, _, score = score_submission(path, write_rows(tmp_path / "truth.csv", list(TRUTH)), POOLED)
    assert score == pytest.approx((4 + 12) / (8 + 30))
    assert table["score"].tolist() == pytest.approx([4 / 8, 12 / 30])


@pytest.mark.parametrize("pattern", ["{stem}_mask.gif", "{stem}.png"])
def test_a_folder_of_true_masks_gives_the_same_scores_as_a_csv(tmp_path: Path, pattern: str) -> None:
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED))
    truth = write_rows(tmp_path / "truth.csv", list(TRUTH))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / ("._" + pattern)).touch()
    for photo_id, text in TRUTH:
        mask_file = tmp_path / "masks" / pattern.format(stem=CARVANA.name_of(photo_id))
        Image.fromarray(rle.decode(text, SHAPE)).save(mask_file)
    by_file = score_submission(path, tmp_path / "masks", CARVANA)
    by_row = score_submission(path, truth, CARVANA)
    assert by_file.table.equals(by_row.table)
    assert by_file.unscored == by_row.unscored


def test_run_lengths_down_the_columns_are_scored_like_those_along_the_rows(tmp_path: Path, tiles: Competition) -> None:
    truth, predicted = draw_masks(tmp_path / "masks", ["t1", "t2"]).values()
    path = tmp_path / "submission.csv"
    write_rows(path, [("t1", rle.encode(predicted, "column-major", 0)), ("t2", "-1")], header="id,pixels")
    table = score_submission(path, tmp_path / "masks", tiles).table
    expected = np.count_nonzero(truth & predicted) / np.count_nonzero(truth | predicted)
    assert table["score"].tolist() == pytest.approx([expected, 0])


def test_photos_with_a_truth_must_be_submitted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", [SUBMITTED[0]])
    with pytest.raises(InputError, match=r"1 photo of .*truth\.csv is missing: a_01\.jpg"):
        score_submission(path, write_rows(tmp_path / "truth.csv", list(TRUTH)), CARVANA)


def test_a_mask_that_cannot_be_scored_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", [("a_01.jpg", "1 1"), ("b_01.jpg", "nan")])
    with pytest.raises(InputError, match=r"submission\.csv, b_01\.jpg: 'nan' is not a number"):
        score_submission(path, write_rows(tmp_path / "truth.csv", list(TRUTH)), CARVANA)


def test_a_run_beyond_the_true_mask_is_refused(tmp_path: Path) -> None:
    draw_masks(tmp_path / "masks", ["a_01"])
    path = write_rows(tmp_path / "submission.csv", [("a_01.jpg", "24 2")])
    with pytest.raises(InputError, match=r"a_01\.jpg: a run ends at pixel 25, but the last one is 24"):
        score_submission(path, tmp_path / "masks", CARVANA)


def test_a_truth_without_masks_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", VALID)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no masks named \{stem\}_mask\.gif or \{stem\}\.png in it"):
        score_submission(path, tmp_path / "empty", CARVANA)
    with pytest.raises(InputError, match="no rows below the header"):
        score_submission(path, write_rows(tmp_path / "truth.csv", []), CARVANA)


def test_true_masks_that_are_not_plain_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED))
    (tmp_path / "masks").mkdir()
    for photo_id, text in TRUTH:
        soft = np.where(rle.decode(text, SHAPE), 200, 90).astype(np.uint8)
        soft[-1, -1] = 0
        Image.fromarray(soft).save(tmp_path / "masks" / f"{CARVANA.name_of(photo_id)}.png")
    table, *_ = score_submission(path, tmp_path / "masks", CARVANA)
    assert table["dice"].tolist() == pytest.approx([4 / 8, 12 / 30])
    assert capsys.readouterr().err == (
        "warning: all 2 masks are not plainly black and white: b_01.png, a_01.png; "
        "taken as foreground: values above half of the highest\n"
    )


def test_true_masks_that_lie_in_folders_named_by_their_photos_are_scored(tmp_path: Path) -> None:
    in_folders = replace(CARVANA, train_masks="train/{stem}/mask.png")
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED))
    for photo_id, text in TRUTH:
        folder = tmp_path / "masks" / CARVANA.name_of(photo_id)
        folder.mkdir(parents=True)
        Image.fromarray(rle.decode(text, SHAPE)).save(folder / "mask.png")
    table, unscored, _ = score_submission(path, tmp_path / "masks", in_folders)
    assert table["dice"].tolist() == pytest.approx([4 / 8, 12 / 30])
    assert unscored == 1


def test_a_submission_and_a_truth_in_the_wrong_order_are_refused_with_the_right_one(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED))
    truth = write_rows(tmp_path / "truth.csv", list(TRUTH))
    with pytest.raises(InputError, match=r"a_02\.jpg; if they are in the wrong order: the submission comes first"):
        score_submission(truth, path, CARVANA)


def test_a_submission_that_holds_other_photos_too_is_not_taken_for_the_truth(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", list(SUBMITTED[:2]))
    with pytest.raises(InputError, match=r"1 photo of .*truth\.csv is missing: a_01\.jpg$"):
        score_submission(path, write_rows(tmp_path / "truth.csv", list(TRUTH)), CARVANA)
