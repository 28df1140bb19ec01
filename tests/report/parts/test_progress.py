from pathlib import Path

import pytest
from finished_runs import dice
from known_competitions import CARVANA
from unfinished_runs import NOON, progress, write_unfinished_run

from kaggle_tools.report.parts import progress as module
from kaggle_tools.report.parts.progress import ProgressPart, has_begun, progress_part
from kaggle_tools.system.files import locked


@pytest.fixture(autouse=True)
def _half_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 12:02 UTC, and what the folds tell is of noon."""
    monkeypatch.setattr(module.time, "time", lambda: NOON + 120)


def rows(part: ProgressPart) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in part.folds.texts()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Fold 0 is finished, fold 1 goes on, 2 was interrupted, 3 has just begun, and 4 has not."""
    begun = {
        1: progress(6, 10, stems=("a_01",), folds_left=3, all_seconds_left=2400.0),
        2: progress(2, 10, written=NOON - 3600),
        3: progress(0, 10),
    }
    return write_unfinished_run(tmp_path / "my run", begun, {0: {"b_01": (3, 0), "b_02": (0, 0)}})


def test_the_folds_stand_in_a_table_with_their_states_and_scores(run: Path) -> None:
    part = progress_part(run, CARVANA, since=NOON - 60)
    score = f"{(dice(3, 0) + 1) / 2:.5f}"
    assert rows(part) == {
        "0": ["finished", "2", "10", "0.90000", "0.90000", "2", score],
        "1": ["in training", "6", "10", "0.60000", "0.80000", "4", ""],
        "2": ["interrupted", "2", "10", "0.60000", "0.60000", "2", ""],
        "3": ["in training", "0", "10", "", "", "", ""],
        "4": ["not begun", "", "10", "", "", "", ""],
    }
    assert part.line == "Unfinished: unet, width 8, 160x240, 1 of 5 folds finished"
    assert part.written == "12:02 UTC on 2023-11-15"


def test_folds_that_the_command_does_not_train_are_not_said_to_wait(tmp_path: Path) -> None:
    run = write_unfinished_run(tmp_path / "run", {1: progress(6, 10)}, {0: {"b_01": (3, 0)}})

    def states(since: float | None) -> list[str]:
        return [row[0] for row in rows(progress_part(run, CARVANA, since, asked=[1, 3])).values()]

    assert states(NOON) == ["finished", "in training", "not asked for", "waiting", "not asked for"]
    assert states(None) == ["finished", "interrupted", "not asked for", "not begun", "not asked for"]


def test_how_long_the_folds_will_take_is_said_with_the_hour_of_their_end(run: Path) -> None:
    """At noon 400 seconds and 40 minutes were left, two minutes ago."""
    first, second = progress_part(run, CARVANA, since=NOON - 60).in_training
    assert first.title == "Fold 1: 6 of 10 epochs"
    assert first.times == [
        "About 5 min left for this fold, until about 12:06 UTC",
        "About 38 min left for the 3 folds that the command has left, until about 12:40 UTC",
    ]
    assert second.title == "Fold 3: 0 of 10 epochs"
    assert second.times == ["How long this fold will take is known after an epoch"]


def test_a_fold_whose_epochs_are_over_is_being_scored(tmp_path: Path) -> None:
    run = write_unfinished_run(tmp_path / "run", {0: progress(10, 10)})
    part = progress_part(run, CARVANA, since=NOON)
    assert part.in_training[0].title == "Fold 0: trained"
    assert rows(part)["0"][0] == "being scored"


def test_without_a_time_since_which_folds_tell_those_are_trained_that_a_process_holds(run: Path) -> None:
    assert not progress_part(run, CARVANA).is_live
    with locked(run / "fold2", "trains this fold"):
        part = progress_part(run, CARVANA)
        assert [fold.title for fold in part.in_training] == ["Fold 2: 2 of 10 epochs"]
        assert part.is_live
        assert progress_part(run, CARVANA, since=NOON - 60) == part  # one that failed has told of itself as well
    assert rows(progress_part(run, CARVANA))["2"][0] == "interrupted"


def test_curves_end_where_the_record_does_and_those_of_a_training_before_are_left_out(run: Path) -> None:
    curves = (run / "fold1" / "metrics.csv").read_text()
    (run / "fold1" / "metrics.csv").write_text(curves + "6,0.01,1,1,0.99,0.5\n")
    (run / "fold3" / "metrics.csv").write_text(curves)
    part = progress_part(run, CARVANA)
    dice_plot = next(plot for plot in part.learning_plots if plot.title == "Dice")
    assert "fold 1 from 0.5" in dice_plot.alt
    assert "0.99" not in dice_plot.alt
    assert "fold 3" not in dice_plot.alt


def test_the_pictures_are_those_of_the_last_epoch_of_each_fold(run: Path) -> None:
    (shots,) = progress_part(run, CARVANA).shots
    assert shots.title == "Fold 1, after epoch 6"
    assert [(picture.stem, picture.dice) for picture in shots.pictures] == [("a_01", 0.75)]


def test_of_many_begun_folds_the_first_ten_have_pictures(tmp_path: Path) -> None:
    """So that a page has no more bytes than it may have."""
    begun = {fold: progress(2, 10, stems=("a_01",)) for fold in range(12)}
    part = progress_part(write_unfinished_run(tmp_path / "run", begun), CARVANA)
    assert [shots.title for shots in part.shots] == [f"Fold {fold}, after epoch 2" for fold in range(10)]


def test_epochs_of_smaller_photos_are_not_the_best_so_far(tmp_path: Path) -> None:
    """The fourth epoch, with 0.8, is the last of the early ones."""
    options = {"early_sizes": ((80, 120, 4),), "epochs": 10}
    run = write_unfinished_run(tmp_path / "run", {0: progress(6, 10), 1: progress(2, 10)}, **options)
    found = rows(progress_part(run, CARVANA))
    assert found["0"][3:6] == ["0.60000", "0.70000", "5"]
    assert found["1"][3:6] == ["0.60000", "", ""]


def test_a_run_of_an_older_version_without_records_is_shown_by_its_curves(run: Path) -> None:
    for path in run.glob("fold*/progress.json"):
        path.unlink()
    assert rows(progress_part(run, CARVANA))["1"][:3] == ["interrupted", "6", "10"]


def test_a_run_has_begun_once_a_fold_tells_of_itself(tmp_path: Path) -> None:
    assert not has_begun(write_unfinished_run(tmp_path / "new", {}))
    assert has_begun(write_unfinished_run(tmp_path / "begun", {0: progress(0, 10)}))
