import base64
import io
import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished_runs import Errors, dice, draw_photos, write_run
from PIL import Image

from kaggle_tools.competition import CARVANA, Competition
from kaggle_tools.errors import InputError
from kaggle_tools.report.parts.run import RunPart, run_part
from kaggle_tools.report.trust import Check
from kaggle_tools.results import summary

FEW: dict[int, Errors] = {0: {"a_01": (3, 0), "b_01": (0, 6)}, 1: {"c_01": (10, 0), "d_01": (0, 0)}}
SIX: dict[int, Errors] = {
    0: {"a_01": (3, 0), "b_01": (0, 6), "c_01": (5, 0)},
    1: {"d_01": (10, 0), "e_01": (0, 0), "f_01": (0, 3)},
}
HALF: dict[int, Errors] = {0: {"a_01": (15, 0)}, 1: {"b_01": (15, 0)}}  # a Dice of 2/3


def drawn_errors() -> dict[int, Errors]:
    """Ten cars from four angles, of which no two photos score alike."""
    by_dice = {dice(*errors): errors for errors in product(range(20), range(15))}
    pairs = np.random.default_rng(4).permutation(list(by_dice.values())).tolist()
    return {
        fold: {f"{car}_{view:02}": tuple(pairs.pop()) for car in cars for view in (1, 2, 3, 4)}
        for fold, cars in enumerate(("abcd", "efg", "hij"))
    }


ERRORS = drawn_errors()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds out of four; the last holds out an eleventh car."""
    folder = tmp_path_factory.mktemp("finished")
    draw_photos(folder / "data", [stem for errors in ERRORS.values() for stem in errors])
    run = write_run(folder / "my run", folder / "data", ERRORS, folds=4)
    with (run / "folds.csv").open("a") as file:
        file.write("k_01,k,3\nk_02,k,3\n")
    return run


@pytest.fixture(scope="module")
def part(finished: Path) -> RunPart:
    return run_part(finished, CARVANA)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> RunPart:
    """Both folds of two, whose photos were moved; one was lost."""
    folder = tmp_path_factory.mktemp("few")
    draw_photos(folder / "moved", ["a_01", "b_01", "c_01"])
    return run_part(write_run(folder / "run", folder / "before", FEW), CARVANA, folder / "moved")


@pytest.fixture(scope="module")
def oof(finished: Path) -> pd.DataFrame:
    """What the folds' tables hold, with car and angle of each photo, the worst first."""
    table = pd.concat(pd.read_csv(path) for path in finished.glob("fold*/oof.csv"))
    return table.assign(group=table["image"].str[:1], view=table["image"].str[2:]).sort_values("score")


def means(oof: pd.DataFrame, by: str) -> pd.Series:
    return oof.groupby(by)["score"].mean().sort_values()


class TestScore:
    def test_it_is_the_mean_of_all_photos(self, part: RunPart, oof: pd.DataFrame) -> None:
        assert (part.name, part.photos, part.groups) == ("my run", 40, 10)
        assert part.score.score == pytest.approx(oof["score"].mean())

    def test_its_interval_is_that_of_the_summary(self, finished: Path, part: RunPart) -> None:
        assert part.score.interval == summary.summarise(finished, CARVANA).score.interval is not None

    def test_the_run_is_described_in_one_line(self, part: RunPart) -> None:
        assert part.line == "unet, width 8, 160x240, folds 0, 1, 2 of 4, at most 2 epochs, TTA hflip"

    def test_a_single_fold_at_full_size_is_said(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run", tmp_path, {1: FEW[1]}, image_size=None, batch_size=1)
        assert run_part(run, CARVANA).line.startswith("unet, width 8, full, fold 1 of 2, ")

    def test_a_run_without_a_finished_fold_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no finished fold in it"):
            run_part(write_run(tmp_path, tmp_path, {}), CARVANA)

    @pytest.mark.parametrize("name", ["oof.csv", "metrics.csv"])
    def test_a_run_with_a_table_without_rows_is_refused(self, tmp_path: Path, name: str) -> None:
        path = write_run(tmp_path, tmp_path, FEW) / "fold1" / name
        path.write_text(path.read_text().partition("\n")[0] + "\n")
        with pytest.raises(InputError, match=re.escape(f"fold1/{name}: damaged (no rows in it)")):
            run_part(tmp_path, CARVANA)

    def test_a_run_that_lacks_a_score_is_refused(self, tmp_path: Path) -> None:
        path = write_run(tmp_path, tmp_path, FEW) / "fold1" / "oof.csv"
        path.write_text(path.read_text().replace("d_01,1,1.0,", "d_01,1,,"))
        with pytest.raises(InputError, match=re.escape("fold1/oof.csv: damaged (values are missing)")):
            run_part(tmp_path, CARVANA)


class TestWhereItFails:
    def test_the_three_worst_cars_are_shown_by_their_worst_photos(self, part: RunPart, oof: pd.DataFrame) -> None:
        worst = means(oof, "group").head(3)
        assert [group.name for group in part.worst_groups] == list(worst.index)
        assert [group.mean for group in part.worst_groups] == pytest.approx(worst.tolist())
        photos = [oof.loc[oof["group"] == car, "image"].iloc[0] for car in worst.index]
        assert [group.worst_photo.stem for group in part.worst_groups] == photos

    def test_the_worst_photos_come_first_and_the_best_from_the_other_end(
        self, part: RunPart, oof: pd.DataFrame
    ) -> None:
        worst, best, _ = part.galleries
        ranked = oof["image"].tolist()
        assert (worst.title, [picture.stem for picture in worst.pictures]) == ("The 24 worst photos", ranked[:24])
        assert (best.title, [picture.stem for picture in best.pictures]) == ("The best", ranked[:-7:-1])

    def test_others_are_drawn_at_random_but_always_the_same(
        self, finished: Path, part: RunPart, oof: pd.DataFrame
    ) -> None:
        stems = [picture.stem for picture in part.galleries[2].pictures]
        assert len(set(stems)) == 6
        assert set(stems) <= set(oof["image"].iloc[24:-6])
        assert [picture.stem for picture in run_part(finished, CARVANA).galleries[2].pictures] == stems

    def test_of_few_photos_none_is_shown_twice(self, few: RunPart) -> None:
        shown = {gallery.title: [picture.stem for picture in gallery.pictures] for gallery in few.galleries}
        assert shown == {"The 4 worst photos": ["c_01", "b_01", "a_01", "d_01"]}

    def test_a_picture_says_score_fold_and_wrong_pixels(self, part: RunPart, oof: pd.DataFrame) -> None:
        for picture, row in zip(part.galleries[0].pictures, oof.itertuples(), strict=False):
            missed, invented = ERRORS[row.fold][picture.stem]
            assert picture.caption == f"Dice {row.score:.5f}, fold {row.fold}"
            assert picture.errors == f"{20 * missed:,} false negative, {20 * invented:,} false positive pixels"

    def test_photos_are_found_where_they_are_now(self, few: RunPart) -> None:
        with Image.open(io.BytesIO(base64.b64decode(few.galleries[0].pictures[0].full.partition(",")[2]))) as image:
            assert image.size == (360, 240)

    def test_of_a_lost_photo_it_is_said_that_it_is(self, few: RunPart) -> None:
        (lost,) = [picture for picture in few.galleries[0].pictures if not picture.full]
        assert lost.stem == "d_01"
        assert lost.errors.endswith("/moved/train/d_01.jpg: cannot be read (No such file or directory)")


class TestTables:
    @pytest.mark.parametrize(("by", "other", "name"), [("view", "group", "angle"), ("group", "view", "car")])
    def test_the_lowest_mean_comes_first(
        self, part: RunPart, oof: pd.DataFrame, by: str, other: str, name: str
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
            ]

    def test_each_fold_has_its_scores_and_how_long_it_learned(self, part: RunPart, oof: pd.DataFrame) -> None:
        found = pd.DataFrame(part.folds.rows, columns=[column.name for column in part.folds.columns])
        by_fold = oof.groupby("fold")
        assert found[["fold", "photos", "cars"]].to_numpy().tolist() == [["0", 16, 4], ["1", 12, 3], ["2", 12, 3]]
        assert found["Dice"].tolist() == pytest.approx(by_fold["score"].mean().tolist())
        assert found["IoU"].tolist() == pytest.approx(by_fold["iou"].mean().tolist())
        learned = found[["epochs", "best epoch", "its validation Dice", "training, min"]]
        assert learned.to_numpy().tolist() == 3 * [[2, 2, 0.9, 2]]
        assert [row[-1] for row in part.folds.texts()] == 3 * ["2.0"]
        assert part.folds.columns[-1].is_number

    def test_the_best_epoch_is_that_with_the_highest_dice_counted_from_1(self, tmp_path: Path) -> None:
        run = write_run(tmp_path, tmp_path, FEW)
        path = run / "fold1" / "metrics.csv"
        path.write_text(path.read_text().replace("0.4,0.9,", "0.4,0.75,"))  # the first epoch's is 0.8
        assert run_part(run, CARVANA).folds.rows[1][5:8] == [2, 1, 0.8]

    def test_what_was_not_recorded_is_said_not_to_be(self, tmp_path: Path) -> None:
        run = write_run(tmp_path, tmp_path, FEW)
        for lost in (run / "fold0" / "metrics.csv", *run.glob("fold*/timing.json")):
            lost.unlink()
        part = run_part(run, CARVANA)
        assert [row[5:] for row in part.folds.rows] == [[None, None, None, None], [2, 2, 0.9, None]]
        assert (part.facts["training"], part.facts["hardware"]) == ("not recorded", "not recorded")
        assert part.learning_plots[1].alt == "Dice by epoch: fold 1 from 0.8 to 0.9."


def test_a_competition_without_groups_has_nothing_by_group(tmp_path: Path, tiles: Competition) -> None:
    part = run_part(write_run(tmp_path, tmp_path, FEW), tiles)
    assert (part.groups, part.by_view, part.by_group, part.worst_groups) == (4, None, None, [])
    assert [plot.title for plot in part.score_plots] == ["IoU of the single photos"]
    assert [column.name for column in part.folds.columns][:4] == ["fold", "photos", "IoU", "Dice"]
    assert part.folds.rows[0][:2] == ["0", 2]


def test_a_competition_without_groups_has_no_check_of_them(tmp_path: Path, tiles: Competition) -> None:
    part = run_part(write_run(tmp_path, tmp_path, FEW), tiles)
    assert [check.text for check in part.checks if "in two folds" in check.text] == []
    assert check_of(part, "All 2 folds are finished: each of the 4 photos").holds


def test_where_the_score_is_not_dice_none_is_expected_of_the_probabilities(tmp_path: Path, tiles: Competition) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    about = "The Dice expected from the probabilities is 0"
    assert about in check_of(run_part(run, CARVANA), about).text
    assert [check.text for check in run_part(run, tiles).checks if about in check.text] == []


def test_the_plots_show_scores_thresholds_and_learning(part: RunPart, oof: pd.DataFrame) -> None:
    assert [plot.title for plot in part.score_plots] == ["Dice of the single photos", "Dice by angle", "Dice by car"]
    assert f"the lowest is {means(oof, 'view').index[0]} with " in part.score_plots[1].alt
    assert part.probability_plots[0].alt == f"Mean Dice by threshold: highest at 0.5, with {part.score.score:.5f}."
    assert part.learning_plots[0].alt.endswith(
        ": fold 0 from 0.5 to 0.3, fold 1 from 1.5 to 1.3, fold 2 from 2.5 to 2.3."
    )


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


class TestChecks:
    def test_a_whole_run_is_trusted(self, tmp_path: Path) -> None:
        whole = run_part(write_run(tmp_path, tmp_path, SIX), CARVANA)
        assert [check.text for check in whole.checks if check.holds not in (True, None)] == []
        assert check_of(whole, "All 2 folds are finished: each of the 6 photos was held out once.").holds

    def test_the_threshold_and_the_folds_spread_speak_neither_for_the_score_nor_against_it(self, few: RunPart) -> None:
        notes = [check.text for check in few.checks if check.holds is None]
        assert [note[:24] for note in notes] == ["The score is that of mas", "The folds' scores have a"]

    def test_an_unfinished_one_is_not(self, part: RunPart) -> None:
        unmet = [check.text for check in part.checks if check.holds not in (True, None)]
        assert unmet == ["40 photos are scored, but the folds hold 42: the others may score differently."]
        assert check_of(part, "No leak: no car is in two folds").holds

    def test_cars_in_two_folds_flatter_the_score(self, tmp_path: Path) -> None:
        run = write_run(tmp_path, tmp_path, FEW)
        with (run / "folds.csv").open("a") as file:
            file.write("a_02,a,1\nb_02,b,1\nc_02,c,1\n")
        assert check_of(run_part(run, CARVANA), "Leak: cars in two folds: 2. ").holds is False

    def test_without_the_table_of_folds_that_cannot_be_told(self, tmp_path: Path) -> None:
        run = write_run(tmp_path, tmp_path, FEW)
        (run / "folds.csv").unlink()
        assert check_of(run_part(run, CARVANA), "Which photos are in which fold is not known").holds is False

    @pytest.mark.parametrize(("before", "after"), [("a_01,a,0\n", "a_01,,0\n"), ("image,group,fold\n", "image,fold\n")])
    def test_nor_can_it_with_a_damaged_one(self, tmp_path: Path, before: str, after: str) -> None:
        path = write_run(tmp_path, tmp_path, FEW) / "folds.csv"
        path.write_text(path.read_text().replace(before, after))
        assert check_of(run_part(tmp_path, CARVANA), "Which photos are in which fold is not known").holds is False

    def test_one_car_says_nothing_of_others(self, tmp_path: Path) -> None:
        part = run_part(write_run(tmp_path, tmp_path, {0: {"a_01": (3, 0), "a_02": (0, 1)}}), CARVANA)
        assert part.score.interval is None
        assert check_of(part, "There is only one car").holds is False

    @pytest.mark.parametrize(("cars", "enough"), [("abcde", False), ("abcdef", True)])
    def test_an_interval_over_fewer_than_six_cars_is_a_reason_for_caution(
        self, tmp_path: Path, cars: str, enough: bool
    ) -> None:
        errors = {f"{car}_01": (missed, 0) for missed, car in enumerate(cars)}
        part = run_part(write_run(tmp_path, tmp_path, {0: errors}), CARVANA)
        check = check_of(part, f"The interval is a bootstrap over {len(cars)} cars")
        assert check.holds is enough
        assert check.text.endswith("With so few it is not reliable.") is not enough

    @pytest.mark.parametrize(("last", "holds", "gain"), [(0.75, False, "0.05000"), (0.7995, True, "0.00050")])
    def test_an_epoch_that_the_held_out_photos_preferred_by_much_is_a_warning(
        self, tmp_path: Path, last: float, holds: bool, gain: str
    ) -> None:
        path = write_run(tmp_path, tmp_path, SIX) / "fold1" / "metrics.csv"
        path.write_text(path.read_text().replace("0.4,0.9,", f"0.4,{last},"))  # the first epoch's is 0.8
        check = check_of(run_part(tmp_path, CARVANA), "the best Dice on its held-out photos")
        assert check.holds is holds
        assert check.text.endswith(f": by at most {gain} against the last epoch.")

    def test_of_folds_that_are_not_finished_the_epoch_does_not_matter(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path, tmp_path, SIX) / "fold1"
        metrics = (folder / "metrics.csv").read_text()
        (folder / "metrics.csv").write_text(metrics.replace("0.4,0.9,", "0.4,0.75,"))
        (folder / "oof.csv").unlink()
        assert check_of(run_part(tmp_path, CARVANA), "the best Dice on its held-out photos").text.endswith(
            "by at most 0.00000 against the last epoch."
        )

    def test_the_folds_spread_is_their_standard_deviation(self, few: RunPart) -> None:
        of_fold_0, of_fold_1 = (54 / 57 + 60 / 66) / 2, (40 / 50 + 1) / 2
        spread = (of_fold_0 - of_fold_1) / 2**0.5
        assert check_of(few, "standard deviation").text.endswith(f" of {spread:.5f}.")

    def test_what_another_threshold_would_add_is_noted(self, tmp_path: Path) -> None:
        run = moved(write_run(tmp_path, tmp_path, HALF), {(1, 25): 100})  # what was missed is at 100/256
        check = check_of(run_part(run, CARVANA), "best threshold")
        assert check.holds is None
        assert check.text.endswith("The best threshold on these photos, 0.3906, would add 0.33333.")

    @pytest.mark.parametrize(
        ("excess", "holds", "said"),
        [(0.003, False, "is 0.66967, 0.00300 too high"), (-0.1, True, "is 0.56667, 0.10000 too low")],
    )
    def test_probabilities_that_promise_too_much_are_a_warning(
        self, tmp_path: Path, excess: float, holds: bool, said: str
    ) -> None:
        run = write_run(tmp_path, tmp_path, HALF)
        for path in run.glob("fold*/oof.csv"):
            table = pd.read_csv(path)
            table.assign(expected_dice=table["dice"] + excess).to_csv(path, index=False)
        check = check_of(run_part(run, CARVANA), "The Dice expected from the probabilities is 0")
        assert check.holds is holds
        assert said in check.text

    def test_probabilities_that_doubt_the_wrong_photos_are_a_warning(self, tmp_path: Path) -> None:
        run = write_run(tmp_path, tmp_path, SIX)
        for path in run.glob("fold*/oof.csv"):
            table = pd.read_csv(path)
            table.assign(expected_dice=0.9 - table["dice"] / 2).to_csv(path, index=False)
        check = check_of(run_part(run, CARVANA), "The Dice expected from the probabilities is 0")
        assert check.holds is False
        assert check.text.endswith("a rank correlation of -1.00.")

    def test_a_run_without_what_was_expected_says_so(self, tmp_path: Path) -> None:
        run = write_run(tmp_path, tmp_path, HALF)
        pd.read_csv(run / "fold0" / "oof.csv").drop(columns="expected_dice").to_csv(run / "fold0" / "oof.csv")
        check = check_of(run_part(run, CARVANA), "The Dice expected from the probabilities is not recorded")
        assert check.holds is False


class TestHowItWasMade:
    def test_the_settings_are_those_of_the_run_in_words(self, part: RunPart) -> None:
        shown = {"folds": "4", "image_size": "160x240", "model": "unet", "ema_decay": "none", "pretrained": "no"}
        assert dict(part.settings.rows).items() >= shown.items()

    def test_the_facts_are_those_that_were_recorded(self, finished: Path, part: RunPart) -> None:
        known = {
            "begun with": "python train.py --data data --out run",
            "training": "6 min (fold 0, 1, 2)",
            "hardware": "2 cores of Abacus (1 in use, precision 32-true)",
            "versions": "python 3.11.7",
            "code": "0123456789abcdef",
            "photos": f"{finished.parent}/data",
        }
        assert part.facts.items() >= known.items()

    def test_the_command_that_repeats_it_can_be_pasted(self, finished: Path, part: RunPart) -> None:
        assert shlex.split(part.facts["to repeat all of it"]) == [
            *("python", "train.py", "--data", f"{finished.parent}/data", "--out", "NEW"),
            *("--config", f"{finished}/config.json", "--competition", CARVANA.slug),
            *("--fold", "0", "--fold", "1", "--fold", "2"),
        ]
