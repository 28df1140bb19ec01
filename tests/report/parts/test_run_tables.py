from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from finished_runs import Errors, write_run
from known_competitions import CARVANA
from ten_cars import means, precision_and_recall

from kaggle_tools.report.parts.run import RunPart, run_part
from kaggle_tools.report.parts.run_tables import class_table

FEW: dict[int, Errors] = {0: {"a_01": (3, 0), "b_01": (0, 6)}, 1: {"c_01": (10, 0), "d_01": (0, 0)}}


@pytest.mark.parametrize(("by", "other", "name"), [("view", "group", "angle"), ("group", "view", "car")])
def test_the_tables_by_car_and_angle_begin_with_the_lowest_mean(
    part: RunPart, oof: pd.DataFrame, by: str, other: str, name: str
) -> None:
    table = {"view": part.by_view, "group": part.by_group}[by]
    assert table is not None
    assert table.columns[0].name == name
    for row, (value, mean) in zip(table.rows, means(oof, by).items(), strict=True):
        photos = oof[oof[by] == value]
        assert list(row) == [
            value,
            len(photos),
            pytest.approx(mean),
            photos["score"].iloc[0],
            photos[other].iloc[0],
            *precision_and_recall(photos),
        ]


def test_the_table_of_folds_has_scores_epochs_and_minutes(part: RunPart, oof: pd.DataFrame) -> None:
    found = pd.DataFrame(part.folds.rows, columns=[column.name for column in part.folds.columns])
    by_fold = oof.groupby("fold")
    assert found[["fold", "photos", "cars"]].to_numpy().tolist() == [["0", 16, 4], ["1", 12, 3], ["2", 12, 3]]
    assert found["Dice"].tolist() == pytest.approx(by_fold["score"].mean().tolist())
    assert found["IoU"].tolist() == pytest.approx(by_fold["iou"].mean().tolist())
    assert found["precision"].tolist() == [precision_and_recall(photos)[0] for _, photos in by_fold]
    learned = found[["epochs", "best epoch", "its validation Dice", "training, min"]]
    assert learned.to_numpy().tolist() == 3 * [[2, 2, 0.9, 2]]
    assert [row[-1] for row in part.folds.texts()] == 3 * ["2.0"]
    assert part.folds.columns[-1].is_number


def test_the_best_epoch_is_that_with_the_highest_dice_counted_from_1(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    path = run / "fold1" / "metrics.csv"
    path.write_text(path.read_text().replace("0.4,0.9,", "0.4,0.75,"))  # the first epoch's is 0.8
    assert run_part(run, CARVANA).folds.rows[1][7:10] == [2, 1, 0.8]


def test_a_run_without_curves_and_timings_is_said_to_have_none(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    for lost in (run / "fold0" / "metrics.csv", *run.glob("fold*/timing.json")):
        lost.unlink()
    part = run_part(run, CARVANA)
    assert [row[7:] for row in part.folds.rows] == [[None, None, None, None], [2, 2, 0.9, None]]
    assert (part.facts["training"], part.facts["hardware"]) == ("not recorded", "not recorded")
    assert part.learning_plots[1].alt == "Dice by epoch: fold 1 from 0.8 to 0.9."


def test_each_class_has_its_mean_score_its_blank_masks_and_its_pixels() -> None:
    table = pd.DataFrame(
        [
            ("fish", 1.0, 0, 0, 0),
            ("fish", 0.5, 10, 20, 0),
            ("sugar", 0.0, 0, 0, 7),
            ("sugar", 0.8, 8, 2, 2),
        ],
        columns=["class", "score", "true_positive", "false_negative", "false_positive"],
    )
    found = class_table(table, replace(CARVANA, classes=("sugar", "fish"), class_column="class"))
    assert [column.name for column in found.columns][:5] == [
        "class",
        "masks",
        "mean Dice",
        "truly blank",
        "predicted blank",
    ]
    assert found.rows == [
        ["sugar", 2, 0.4, 1, 0, 8 / 17, 8 / 10],
        ["fish", 2, 0.75, 1, 1, 10 / 10, 10 / 30],
    ]
