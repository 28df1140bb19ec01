from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished_runs import Errors, write_run
from known_competitions import CARVANA

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.report.parts.run import RunPart, run_part
from kaggle_tools.report.trust import Check

FEW: dict[int, Errors] = {0: {"a_01": (3, 0), "b_01": (0, 6)}, 1: {"c_01": (10, 0), "d_01": (0, 0)}}
SIX: dict[int, Errors] = {
    0: {"a_01": (3, 0), "b_01": (0, 6), "c_01": (5, 0)},
    1: {"d_01": (10, 0), "e_01": (0, 0), "f_01": (0, 3)},
}
HALF: dict[int, Errors] = {0: {"a_01": (15, 0)}, 1: {"b_01": (15, 0)}}  # a Dice of 2/3


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> RunPart:
    """Both folds of two, with two cars each."""
    folder = tmp_path_factory.mktemp("few")
    return run_part(write_run(folder / "run", folder, FEW), CARVANA)


def check_of(part: RunPart, about: str) -> Check:
    """The only check whose text contains these words."""
    (found,) = [check for check in part.checks if about in check.text]
    return found


def moved(run: Path, moves: dict[tuple[int, int], int]) -> Path:
    """Give pixels other probabilities: of this truth, from one bin to another."""
    for path in run.glob("fold*/oof_histograms.npz"):
        with np.load(path) as archive:
            images, histograms = archive["images"], archive["histograms"]
        for (truth, before), after in moves.items():
            histograms[:, truth, after] += histograms[:, truth, before]
            histograms[:, truth, before] = 0
        np.savez_compressed(path, images=images, histograms=histograms)
    return run


def test_without_groups_there_is_no_check_for_leaks(tmp_path: Path, tiles: Competition) -> None:
    part = run_part(write_run(tmp_path, tmp_path, FEW), tiles)
    assert [check.text for check in part.checks if "in two folds" in check.text] == []
    assert check_of(part, "All 2 folds are finished: each of the 4 photos").holds


def expecting_the_truth(run: Path) -> Path:
    """A run whose probabilities promise the Dice that it has."""
    for path in run.glob("fold*/oof.csv"):
        table = pd.read_csv(path)
        table.assign(expected_dice=table["dice"]).to_csv(path, index=False)
    return run


def test_masks_that_are_no_better_than_blank_ones_are_a_reason_for_caution(tmp_path: Path) -> None:
    """Nowhere is the foreground seen."""
    run = moved(write_run(tmp_path / "run", tmp_path, FEW), {(1, 230): 0, (1, 25): 0})
    part = run_part(run, replace(CARVANA, blank_share=0.5))
    assert check_of(part, "Blank masks alone would score ").holds is False
    part = run_part(run, CARVANA)
    assert not [check for check in part.checks if "Blank masks" in check.text]


def test_where_the_score_is_not_dice_the_probabilities_are_not_checked(tmp_path: Path, tiles: Competition) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    about = "The Dice expected from the probabilities is 0"
    assert about in check_of(run_part(run, CARVANA), about).text
    assert [check.text for check in run_part(run, tiles).checks if about in check.text] == []


def test_a_finished_run_without_faults_has_no_reason_for_caution(tmp_path: Path) -> None:
    whole = run_part(expecting_the_truth(write_run(tmp_path, tmp_path, SIX)), CARVANA)
    assert [check.text for check in whole.checks if check.holds not in (True, None)] == []
    assert check_of(whole, "All 2 folds are finished: each of the 6 photos was held out once.").holds


def test_the_threshold_and_the_spread_of_the_folds_are_notes(few: RunPart) -> None:
    notes = [check.text for check in few.checks if check.holds is None]
    assert [note[:24] for note in notes] == ["The score is that of mas", "The folds' scores have a"]


def test_photos_that_are_not_held_out_yet_are_a_reason_for_caution(tmp_path: Path) -> None:
    run = expecting_the_truth(write_run(tmp_path, tmp_path, SIX, folds=3))
    with (run / "folds.csv").open("a") as file:
        file.write("g_01,g,2\ng_02,g,2\n")
    part = run_part(run, CARVANA)
    unmet = [check.text for check in part.checks if check.holds not in (True, None)]
    assert unmet == ["6 photos are scored, but the folds hold 8: the others may score differently."]
    assert check_of(part, "No leak: no car is in two folds").holds


def test_a_car_in_two_folds_is_a_leak(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    with (run / "folds.csv").open("a") as file:
        file.write("a_02,a,1\nb_02,b,1\nc_02,c,1\n")
    assert check_of(run_part(run, CARVANA), "Leak: cars in two folds: 2. ").holds is False


def test_without_folds_csv_it_is_not_known_whether_there_is_a_leak(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    (run / "folds.csv").unlink()
    assert check_of(run_part(run, CARVANA), "Which photos are in which fold is not known").holds is False


@pytest.mark.parametrize(("before", "after"), [("a_01,a,0\n", "a_01,,0\n"), ("image,group,fold\n", "image,fold\n")])
def test_with_a_damaged_folds_csv_it_is_not_known_whether_there_is_a_leak(
    tmp_path: Path, before: str, after: str
) -> None:
    path = write_run(tmp_path, tmp_path, FEW) / "folds.csv"
    path.write_text(path.read_text().replace(before, after))
    assert check_of(run_part(tmp_path, CARVANA), "Which photos are in which fold is not known").holds is False


def test_the_score_of_a_single_car_has_no_interval(tmp_path: Path) -> None:
    part = run_part(write_run(tmp_path, tmp_path, {0: {"a_01": (3, 0), "a_02": (0, 1)}}), CARVANA)
    assert part.score.interval is None
    assert check_of(part, "There is only one car").holds is False


@pytest.mark.parametrize(("cars", "enough"), [("abcde", False), ("abcdef", True)])
def test_an_interval_over_fewer_than_six_cars_is_a_reason_for_caution(tmp_path: Path, cars: str, enough: bool) -> None:
    errors = {f"{car}_01": (missed, 0) for missed, car in enumerate(cars)}
    part = run_part(write_run(tmp_path, tmp_path, {0: errors}), CARVANA)
    check = check_of(part, f"The interval is a bootstrap over {len(cars)} cars")
    assert check.holds is enough
    assert check.text.endswith("With so few it is not reliable.") is not enough


def test_without_groups_the_interval_is_one_over_photos(tmp_path: Path) -> None:
    errors = {f"{car}_01": (missed, 0) for missed, car in enumerate("abcdef")}
    part = run_part(write_run(tmp_path, tmp_path, {0: errors}), replace(CARVANA, stem_format="{view}"))
    assert check_of(part, "The interval is a bootstrap over 6 photos: it covers other photos like these").holds


@pytest.mark.parametrize(("last", "holds", "gain"), [(0.75, False, "0.05000"), (0.7995, True, "0.00050")])
def test_a_best_epoch_far_above_the_last_one_is_a_reason_for_caution(
    tmp_path: Path, last: float, holds: bool, gain: str
) -> None:
    path = write_run(tmp_path, tmp_path, SIX) / "fold1" / "metrics.csv"
    path.write_text(path.read_text().replace("0.4,0.9,", f"0.4,{last},"))  # the first epoch's is 0.8
    check = check_of(run_part(tmp_path, CARVANA), "the best Dice on its held-out photos")
    assert check.holds is holds
    assert check.text.endswith(f": by at most {gain} compared with the last epoch.")


def test_the_best_epoch_of_an_unfinished_fold_does_not_matter(tmp_path: Path) -> None:
    folder = write_run(tmp_path, tmp_path, SIX) / "fold1"
    metrics = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(metrics.replace("0.4,0.9,", "0.4,0.75,"))
    (folder / "oof.csv").unlink()
    check = check_of(run_part(tmp_path, CARVANA), "the best Dice on its held-out photos")
    assert check.text.endswith(": here the last one is as good, so that the choice does not raise the score.")
    assert check.holds


def test_without_learning_curves_it_is_not_claimed_that_the_last_epoch_is_the_best(tmp_path: Path) -> None:
    for path in write_run(tmp_path, tmp_path, SIX).glob("fold*/metrics.csv"):
        path.unlink()
    check = check_of(run_part(tmp_path, CARVANA), "the best Dice on its held-out photos")
    assert (check.holds, check.text.partition(". ")[2]) == (None, "Which, is not recorded.")


def test_the_spread_of_the_folds_is_their_standard_deviation(few: RunPart) -> None:
    of_fold_0, of_fold_1 = (54 / 57 + 60 / 66) / 2, (40 / 50 + 1) / 2
    spread = (of_fold_0 - of_fold_1) / 2**0.5
    assert check_of(few, "standard deviation").text.endswith(f" of {spread:.5f}.")


def test_the_gain_of_the_best_threshold_is_noted(tmp_path: Path) -> None:
    run = moved(write_run(tmp_path, tmp_path, HALF), {(1, 25): 100})  # what was missed is at 100/256
    check = check_of(run_part(run, CARVANA), "best threshold")
    assert check.holds is None
    assert check.text.endswith("The best threshold on these photos, 0.3906, would add 0.33333.")


@pytest.mark.parametrize(
    ("excess", "holds", "said"),
    [(0.003, False, "is 0.66967, 0.00300 too high"), (-0.1, False, "is 0.56667, 0.10000 too low")],
)
def test_an_expected_dice_that_is_too_high_or_too_low_is_a_reason_for_caution(
    tmp_path: Path, excess: float, holds: bool, said: str
) -> None:
    run = write_run(tmp_path, tmp_path, HALF)
    for path in run.glob("fold*/oof.csv"):
        table = pd.read_csv(path)
        table.assign(expected_dice=table["dice"] + excess).to_csv(path, index=False)
    check = check_of(run_part(run, CARVANA), "The Dice expected from the probabilities is 0")
    assert check.holds is holds
    assert said in check.text


def test_an_expected_dice_that_ranks_the_photos_wrongly_is_a_reason_for_caution(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, SIX)
    for path in run.glob("fold*/oof.csv"):
        table = pd.read_csv(path)
        table.assign(expected_dice=0.9 - table["dice"] / 2).to_csv(path, index=False)
    check = check_of(run_part(run, CARVANA), "The Dice expected from the probabilities is 0")
    assert check.holds is False
    assert check.text.endswith("a rank correlation of -1.00.")


def test_a_run_without_expected_dice_is_said_to_have_none(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, HALF)
    pd.read_csv(run / "fold0" / "oof.csv").drop(columns="expected_dice").to_csv(run / "fold0" / "oof.csv")
    check = check_of(run_part(run, CARVANA), "The Dice expected from the probabilities is not recorded")
    assert check.holds is False
