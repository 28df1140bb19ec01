import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from known_competitions import CARVANA, POOLED
from scipy.stats import norm, t

from kaggle_tools.competitions import named
from kaggle_tools.data.fingerprint import FileHashes, write_fingerprint
from kaggle_tools.errors import InputError
from kaggle_tools.results import comparison
from kaggle_tools.results.comparison import ComparedRun, Difference
from kaggle_tools.results.scores import MeanScores

Scores = dict[str, float]


def write_run(run: Path, folds: dict[int, Scores], **settings: object) -> Path:
    for fold, scores in folds.items():
        folder = run / f"fold{fold}"
        folder.mkdir(parents=True)
        rows = [(image, fold, score, score / 2, score / 4) for image, score in scores.items()]
        table = pd.DataFrame(rows, columns=["image", "fold", "score", "dice", "iou"])
        table.to_csv(folder / "oof.csv", index=False)
    run.mkdir(exist_ok=True)
    whole = {"competition": CARVANA.slug, "model": "unet", "width": 16, "image_size": [96, 160]} | settings
    whole |= {"folds": 5, "epochs": 2, "tta": "hflip"}
    (run / "config.json").write_text(json.dumps({"settings": whole}))
    return run


def compare(runs: list[Path]) -> list[ComparedRun]:
    return comparison.compare(runs, CARVANA).runs


def test_runs_are_compared_photo_by_photo_in_the_order_given(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9, "a_02": 0.7}, 1: {"b_01": 0.5}})
    second = write_run(
        tmp_path / "second",
        {0: {"a_02": 0.8, "a_01": 0.95}, 1: {"b_01": 0.4}},  # the photos in another order
        model="smp:Unet/resnet34",
        image_size=None,
    )
    one, two = compare([first, second])
    assert (one.run, one.model, one.image_size) == (first, "unet, width 16", (96, 160))
    assert (two.run, two.model, two.image_size) == (second, "smp:Unet/resnet34", None)
    assert one.fold_scores == pytest.approx({0: 0.8, 1: 0.5})
    assert two.fold_scores == pytest.approx({0: 0.875, 1: 0.4})
    assert one.score.score == pytest.approx(0.7)
    assert one.further == pytest.approx({"dice": 0.35, "iou": 0.175})
    assert two.score.score == pytest.approx((0.95 + 0.8 + 0.4) / 3)
    assert one.to_first.mean == 0
    assert two.to_first.mean == pytest.approx((0.05 + 0.1 - 0.1) / 3)


def test_runs_are_compared_by_their_scores_over_all_pixels(tmp_path: Path) -> None:
    """The second is better on the small photo by its Dice, and worse by the pixels of both."""
    shared = {"first": (2, 90), "second": (4, 80)}
    for name, (small, large) in shared.items():
        scores = {"a_01": small / 4, "b_01": large / 100}
        write_run(tmp_path / name, {0: scores})
        path = tmp_path / name / "fold0" / "oof.csv"
        counts = {"intersection": [small, large], "predicted": [4, 100], "truth": [4, 100]}
        pd.read_csv(path).assign(**counts).to_csv(path, index=False)
    compared = comparison.compare([tmp_path / name for name in shared], POOLED)
    first, second = compared.runs
    assert (first.score.score, second.score.score) == (pytest.approx(92 / 104), pytest.approx(84 / 104))
    assert second.fold_scores == {0: pytest.approx(84 / 104)}
    assert second.to_first.mean == pytest.approx(-8 / 104)
    assert second.to_first.interval == pytest.approx([-0.1, 0.5])
    assert compared.best == 0
    assert compare([tmp_path / name for name in shared])[1].to_first.mean == pytest.approx((0.5 - 0.1) / 2)


class TestFilesThatChanged:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> list[Path]:
        """The second was scored on another mask of a_02; of b_01, which neither held out, the photo changed as well."""
        runs = [write_run(tmp_path / name, {0: {"a_01": 0.9, "a_02": 0.7}}) for name in ("first", "second")]
        old, new = FileHashes("1" * 64, "2" * 64), FileHashes("1" * 64, "3" * 64)
        write_fingerprint(runs[0] / "data.csv", {"a_01": old, "a_02": old, "b_01": old})
        write_fingerprint(runs[1] / "data.csv", {"a_01": old, "a_02": new, "b_01": FileHashes("4" * 64, "2" * 64)})
        return runs

    def test_runs_that_were_scored_on_different_masks_are_not_compared(self, runs: list[Path]) -> None:
        with pytest.raises(InputError) as refusal:
            compare(runs)
        assert str(refusal.value) == (
            f"{runs[1]} was scored on other photos or masks than {runs[0]} (1 masks changed: a_02): not to be compared"
        )
        assert comparison.comparable_neighbours(runs[0]) == []

    def test_a_neighbour_whose_table_is_damaged_is_left_out(self, runs: list[Path]) -> None:
        (runs[1] / "data.csv").write_text("image")
        assert comparison.comparable_neighbours(runs[0]) == []

    def test_runs_are_compared_where_one_is_of_a_version_that_recorded_no_files(self, runs: list[Path]) -> None:
        (runs[1] / "data.csv").unlink()
        assert len(compare(runs)) == 2
        assert comparison.comparable_neighbours(runs[0]) == [runs[1]]


def test_the_gain_is_that_over_the_first_run(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, {0: {"a_01": score}}) for name, score in (("a", 0.5), ("b", 0.7), ("c", 0.4))]
    assert [compared.to_first.mean for compared in compare(runs)] == pytest.approx([0, 0.2, -0.1])
    assert [compared.to_first.mean for compared in compare(runs[::-1])] == pytest.approx([0, 0.3, 0.1])


def test_only_the_folds_that_all_have_finished_count(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9}, 1: {"b_01": 0.5}, 2: {"c_01": 0.1}})
    second = write_run(tmp_path / "second", {1: {"b_01": 0.4}, 2: {"c_01": 0.2}})
    one, two = compare([first, second])
    assert one.fold_scores.keys() == two.fold_scores.keys() == {1, 2}
    assert (one.score.score, two.score.score) == pytest.approx((0.3, 0.3))


def test_a_single_run_has_its_own_scores_and_no_difference(tmp_path: Path) -> None:
    (alone,) = compare([write_run(tmp_path / "run", {3: {"a_01": 0.9}})])
    assert (alone.fold_scores, alone.score, alone.to_first.mean) == ({3: 0.9}, (0.9, None), 0)


def test_runs_without_a_common_fold_are_not_compared(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / str(fold), {fold: {"a_01": 0.9}}) for fold in (0, 1))
    with pytest.raises(InputError) as refusal:
        compare([first, second])
    assert str(refusal.value) == f"no fold is finished in all of {first}, {second}"


def test_runs_that_hold_out_other_photos_are_not_compared(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9, "a_02": 0.9}})
    second = write_run(tmp_path / "second", {0: {"a_01": 0.9, "b_02": 0.9}})
    with pytest.raises(InputError) as refusal:
        compare([first, second])
    assert str(refusal.value) == (
        f"{second} and {first} hold out different photos, so their scores cannot be compared: "
        "a_02 (fold 0), b_02 (fold 0)"
    )


def test_the_same_photos_in_other_folds_are_other_models_photos(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9}, 1: {"b_01": 0.9}})
    second = write_run(tmp_path / "second", {0: {"b_01": 0.9}, 1: {"a_01": 0.9}})
    with pytest.raises(InputError, match="hold out different photos"):
        compare([first, second])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {0: {"a_01": 0.9}})
    (run / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: missing; is .* a folder that `train --out` made\?"):
        compare([run])


EVEN = {f"{car}_{view:02}": 0.5 for car in "abcdefghijkl" for view in (1, 2)}
"""Twelve cars of two photos."""


def changed(by_car: dict[str, float]) -> Scores:
    """By so much every photo of a car is better than in `EVEN`, or by 0.1."""
    return {stem: score + by_car.get(stem[0], 0.1) for stem, score in EVEN.items()}


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ([0.1, 0.2], "better"),
        ([-0.2, -0.1], "worse"),
        ([-0.1, 0.2], "cannot tell"),
        ([0.0, 0.0], "cannot tell"),
        (None, "cannot tell"),
    ],
)
def test_a_difference_is_significant_if_its_interval_leaves_out_0(interval: list[float] | None, verdict: str) -> None:
    assert Difference(0.1, interval, groups=6).verdict == verdict


@pytest.mark.parametrize("interval", [[0.1, 0.2], [-0.2, -0.1]])
def test_five_cars_may_all_differ_alike_by_chance(interval: list[float]) -> None:
    assert Difference(0.1, interval, groups=5).verdict == "cannot tell"


def test_runs_that_are_equal_are_called_different_less_often_than_one_time_in_ten() -> None:
    generator = np.random.default_rng(0)
    told = 0
    for _ in range(400):
        by_car = generator.normal(0, 0.01, 8)
        told += Difference(0.0, MeanScores.of(by_car).interval(list("abcdefgh")), groups=8).verdict != "cannot tell"
    assert told < 40


def test_the_interval_of_a_difference_draws_cars_with_all_their_photos(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    by_car = {
        f"{car}": generator.normal(0.02, 0.05) + generator.normal(0, 0.01, 1 + 3 * (car % 4)) for car in range(20)
    }
    better = {f"{car}_{view}": 0.5 + value for car, values in by_car.items() for view, value in enumerate(values)}
    even = write_run(tmp_path / "even", {0: dict.fromkeys(better, 0.5)})
    found = compare([even, write_run(tmp_path / "better", {0: better})])[1].to_first.interval
    assert found is not None
    drawn = generator.integers(0, 20, (20_000, 20))
    sums, counts = (np.array([function(values) for values in by_car.values()])[drawn] for function in (np.sum, len))
    outside = norm.cdf(-t.ppf(0.975, 19) * (20 / 19) ** 0.5)  # 0.0159 for 0.025, as there are but 20 cars
    expected = np.quantile(sums.sum(axis=1) / counts.sum(axis=1), [outside, 1 - outside])
    assert found == pytest.approx(expected, abs=0.05 * (expected[1] - expected[0]))


def test_photos_that_are_hard_for_both_runs_do_not_widen_the_interval_of_their_difference(tmp_path: Path) -> None:
    hard = {stem: at / 30 for at, stem in enumerate(EVEN)}
    runs = [
        write_run(tmp_path / str(more), {0: {stem: score + more for stem, score in hard.items()}}) for more in (0, 0.01)
    ]
    assert compare(runs)[1].to_first.interval == pytest.approx([0.01, 0.01])


class TestTheBest:
    def compared(self, folder: Path, *scores: Scores) -> comparison.Comparison:
        runs = [write_run(folder / f"run{at}", {0: of_run}) for at, of_run in enumerate(scores)]
        return comparison.compare(runs, CARVANA)

    def test_the_best_and_the_second_run_have_the_highest_means_in_whatever_order(self, tmp_path: Path) -> None:
        compared = self.compared(tmp_path, EVEN, changed({}), changed({"a": -0.3}))
        assert (compared.best, compared.second) == (1, 2)

    def test_the_second_best_run_may_be_the_first_that_was_given(self, tmp_path: Path) -> None:
        compared = self.compared(tmp_path, changed({"a": 0}), changed({"a": -0.5}), changed({}))
        assert (compared.best, compared.second) == (2, 0)

    def test_a_difference_is_the_score_of_the_one_run_minus_that_of_the_other(self, tmp_path: Path) -> None:
        compared = self.compared(tmp_path, EVEN, changed({}), changed({"a": 0.4}))
        assert compared.difference(2, 1).mean == pytest.approx(0.3 / 12)
        assert compared.difference(1, 2).mean == pytest.approx(-0.3 / 12)

    def test_a_gain_on_every_car_is_significantly_better(self, tmp_path: Path) -> None:
        assert self.compared(tmp_path, EVEN, changed({})).in_words() == (
            "run1 is the best with 0.60000 (0.60000 to 0.60000); "
            "it is better than run0, by 0.10000 (0.10000 to 0.10000)"
        )

    def test_a_gain_on_one_car_that_other_cars_lose_may_be_chance(self, tmp_path: Path) -> None:
        mixed = changed(dict.fromkeys("bcdefghijkl", -0.01) | {"a": 0.35})
        said = self.compared(tmp_path, mixed, EVEN).in_words()
        assert said.startswith("run0 is the best with 0.52000 (")
        assert "); whether that is better than run1 cannot be told: the difference is 0.02000 (-0.01" in said

    def test_runs_that_share_one_car_only_are_not_called_different(self, tmp_path: Path) -> None:
        assert self.compared(tmp_path, {"a_01": 0.5}, {"a_01": 0.75}).in_words() == (
            "run1 is the best with 0.75000; "
            "whether that is better than run0 cannot be told: the difference is 0.25000, of too few cars"
        )

    def test_a_single_run_is_not_called_the_best(self, tmp_path: Path) -> None:
        alone = self.compared(tmp_path, EVEN)
        assert (alone.best, alone.second) == (0, None)
        assert alone.in_words() == "run0 has 0.50000 (0.50000 to 0.50000)"


@pytest.mark.parametrize(
    ("folders", "names"),
    [(["x/wide", "y/deep"], ["wide", "deep"]), (["x/unet", "y/unet", "z"], ["{}/x/unet", "{}/y/unet", "{}/z"])],
)
def test_runs_are_called_by_their_folders_and_by_whole_paths_where_these_are_alike(
    tmp_path: Path, folders: list[str], names: list[str]
) -> None:
    runs = [write_run(tmp_path / folder, {0: EVEN}) for folder in folders]
    assert comparison.compare(runs, CARVANA).names() == [name.format(tmp_path) for name in names]


class TestNeighbours:
    def test_comparable_runs_lie_in_the_same_folder_and_held_out_the_same_photos(self, tmp_path: Path) -> None:
        folds = {0: {"a_01": 0.9}, 1: {"b_01": 0.8}}
        run = write_run(tmp_path / "run", folds)
        for name, other in {
            "same": {1: {"b_01": 0.1}, 0: {"a_01": 0.2}},
            "further": {**folds, 2: {"c_01": 0.9}},
            "unfinished": {0: {"a_01": 0.9}},
            "swapped": {0: {"b_01": 0.8}, 1: {"a_01": 0.9}},
            "of others": {0: {"a_01": 0.9}, 1: {"c_01": 0.8}},
            "of more": {0: {"a_01": 0.9}, 1: {"b_01": 0.8, "b_02": 0.8}},
            "deeper/down": folds,
        }.items():
            write_run(tmp_path / name, other)
        write_run(tmp_path / "no run", folds).joinpath("config.json").unlink()
        assert comparison.comparable_neighbours(run) == [tmp_path / "further", tmp_path / "same"]

    def test_runs_of_another_competition_are_not_comparable(self, tmp_path: Path) -> None:
        run, same, other = (write_run(tmp_path / name, {0: EVEN}) for name in ("run", "same", "other"))
        for folder, spec in ((run, CARVANA), (same, CARVANA), (other, replace(POOLED, slug=CARVANA.slug))):
            named.record(folder, spec)
        assert comparison.comparable_neighbours(run) == [same]

    def test_a_run_is_not_compared_with_itself_however_it_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = [write_run(tmp_path / name, {0: EVEN}) for name in ("a", "b")]
        monkeypatch.chdir(runs[0])
        assert comparison.comparable_neighbours(Path()) == [runs[1]]

    def test_damaged_runs_and_links_are_not_compared(self, tmp_path: Path) -> None:
        run, other, damaged, strange = (write_run(tmp_path / name, {0: EVEN}) for name in ("a", "b", "c", "d"))
        (damaged / "fold0" / "oof.csv").write_text("image,fold\n")
        (strange / "config.json").write_text('{"settings": {"lr": 1}}')
        (tmp_path / "latest").symlink_to(run)
        (tmp_path / "second").symlink_to(other)
        assert comparison.comparable_neighbours(run) == [other]

    def test_a_run_without_a_finished_fold_has_no_comparable_runs(self, tmp_path: Path) -> None:
        write_run(tmp_path / "finished", {0: EVEN})
        assert comparison.comparable_neighbours(write_run(tmp_path / "begun", {})) == []


class TestTable:
    def test_a_row_of_the_comparison_holds_scores_with_intervals_and_the_difference_to_the_first_run(
        self, tmp_path: Path
    ) -> None:
        first = write_run(tmp_path / "first", {0: {"a_01": 0.5}, 3: {"b_01": 0.75}})
        second = write_run(
            tmp_path / "second", {0: {"a_01": 0.25}, 3: {"b_01": 0.5}}, model="smp:Unet/resnet34", image_size=None
        )
        table = comparison.table(comparison.compare([first, second], CARVANA))
        assert [column.name for column in table.columns] == [
            *("run", "rank", "Dice (score)", "95 % interval", "to first", "its 95 % interval", "verdict"),
            *("model", "size", "begun, UTC", "fold 0", "fold 3", "IoU"),
        ]
        one, two = ([text for at, text in enumerate(row) if at != 9] for row in table.texts())
        assert one == [
            *("first", "1, the best", "0.62500", "0.50000 to 0.75000", "", "", ""),
            *("unet, width 16", "96x160", "0.50000", "0.75000", "0.15625"),
        ]
        assert two == [
            *("second", "2", "0.37500", "0.25000 to 0.50000", "-0.25000", "-0.25000 to -0.25000", "cannot tell"),
            *("smp:Unet/resnet34", "full", "0.25000", "0.50000", "0.09375"),
        ]

    def test_a_single_run_has_no_columns_for_what_it_is_not_held_against(self, tmp_path: Path) -> None:
        table = comparison.table(comparison.compare([write_run(tmp_path / "only", {0: {"a_01": 0.5}})], CARVANA))
        assert [column.name for column in table.columns] == [
            *("run", "Dice (score)", "95 % interval", "model", "size", "begun, UTC", "fold 0", "IoU"),
        ]
        ((name, score, *_),) = table.rows
        assert (name, score) == ("only", 0.5)

    def test_the_best_run_stands_first_and_differences_are_still_to_the_first_that_was_given(
        self, tmp_path: Path
    ) -> None:
        runs = [
            write_run(tmp_path / name, {0: {"a_01": score, "b_01": score}})
            for name, score in (("low", 0.25), ("high", 0.75), ("middle", 0.5))
        ]
        table = comparison.table(comparison.compare(runs, CARVANA))
        assert table.columns[4].name == "to low"
        assert [[row[at] for at in (0, 1, 4)] for row in table.rows] == [
            ["high", "1, the best", 0.5],
            ["middle", "2", 0.25],
            ["low", "3", None],
        ]

    def test_settings_in_which_runs_differ_have_columns_and_others_have_none(self, tmp_path: Path) -> None:
        plain = {"lr": 0.1, "seed": 0, "augmentation": "mild"}
        first = write_run(tmp_path / "first", {0: {"a_01": 0.5}}, **plain, early_sizes=[[48, 80, 3]])
        second = write_run(tmp_path / "second", {0: {"a_01": 0.25}}, **{**plain, "lr": 0.2}, unshuffle=2)
        compared = comparison.compare([first, second], CARVANA)
        table = comparison.table(compared)
        assert compared.differing_settings == ["early_sizes", "lr"]
        names = [column.name for column in table.columns]
        at = names.index("early_sizes")
        assert names[at - 2 : at + 3] == ["model", "size", "early_sizes", "lr", "begun, UTC"]
        assert [row[at - 2 : at + 2] for row in table.rows] == [
            ["unet, width 16", "96x160", "48x80:3", "0.1"],
            ["unet, width 16, unshuffle 2", "96x160", "none", "0.2"],
        ]
        assert "lr" not in [column.name for column in comparison.table(compared, with_settings=False).columns]

    def test_a_setting_that_an_older_run_did_not_record_is_empty(self, tmp_path: Path) -> None:
        older = write_run(tmp_path / "older", {0: {"a_01": 0.5}})
        newer = write_run(tmp_path / "newer", {0: {"a_01": 0.25}}, patience=4, fit="stretch")
        table = comparison.table(comparison.compare([older, newer], CARVANA))
        at = [column.name for column in table.columns].index("patience")
        assert [row[at] for row in table.texts()] == ["", "4"]
        assert "fit" not in [column.name for column in table.columns]

    def test_a_run_is_dated_as_it_records_and_an_older_one_by_its_config_json(self, tmp_path: Path) -> None:
        newer, older = (write_run(tmp_path / name, {0: {"a_01": 0.5}}) for name in ("newer", "older"))
        for run in (newer, older):
            os.utime(run / "config.json", (1_000_000_000, 1_000_000_000))
        path = newer / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "begun": "2026-11-28T09:48:31+00:00"}))
        table = comparison.table(comparison.compare([newer, older], CARVANA))
        assert [row[9] for row in table.rows] == ["2026-11-28 09:48", "2001-09-09 01:46"]
