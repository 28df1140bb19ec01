import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_competitions import CARVANA, POOLED, SALT
from numpy.typing import NDArray

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.results import run_folder
from kaggle_tools.results import summary as summary_module
from kaggle_tools.results.after_care import AfterCare
from kaggle_tools.results.records.histograms import HeldOut
from kaggle_tools.results.summary import (
    after_care_trials,
    cross_validation,
    estimate_at,
    expected_excess,
    held_out_by,
    overlap_at,
    summarise,
    threshold_curve,
    write_summary,
)
from kaggle_tools.system.files import locked


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as raised:
        function(*arguments)
    return str(raised.value)


def histogram(background: dict[int, int], foreground: dict[int, int]) -> NDArray[np.uint32]:
    """Pixels by the bin of their probability, shape (2, BINS)."""
    counts = np.zeros((2, run_folder.BINS), np.uint32)
    for row, pixels in enumerate((background, foreground)):
        for at, count in pixels.items():
            counts[row, at] = count
    return counts


def finish_fold(run: Path, fold: int, rows: list[tuple], histograms: list[NDArray[np.uint32]] | None = None) -> None:
    """Write what a trained fold leaves. A row: image, score, Dice, IoU."""
    folder = run_folder.fold_folder(run, fold)
    folder.mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["image", "score", "dice", "iou"])
    table.assign(fold=fold)[["image", "fold", "score", "dice", "iou"]].to_csv(folder / "oof.csv", index=False)
    stacked = np.stack(histograms or [histogram({0: 1}, {255: 1})] * len(rows))
    np.savez_compressed(folder / run_folder.HISTOGRAMS_FILE, images=table["image"].to_numpy(str), histograms=stacked)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two folds out of three, of two photos and one."""
    finish_fold(tmp_path, 0, [("a_01", 0.9, 0.91, 0.8), ("a_02", 0.8, 0.81, 0.7)])
    finish_fold(tmp_path, 2, [("b_01", 0.6, 0.62, 0.3)])
    return tmp_path


class TestSummary:
    def test_the_summary_follows_from_the_tables_of_the_folds(self, run: Path) -> None:
        summary = summarise(run, CARVANA)
        assert (summary.competition, summary.score_name) == (CARVANA.slug, "Dice")
        assert (summary.folds, summary.photos) == ((0, 2), 3)
        assert summary.score.score == pytest.approx((0.9 + 0.8 + 0.6) / 3)  # over photos, not over folds
        assert summary.dice == pytest.approx((0.91 + 0.81 + 0.62) / 3)
        assert summary.iou == pytest.approx((0.8 + 0.7 + 0.3) / 3)
        assert summary.score_by_fold == pytest.approx({0: 0.85, 2: 0.6})
        assert summary.score_std == pytest.approx((0.85 - 0.6) / 2**0.5)

    def test_the_summary_holds_the_mean_scores_by_car_and_by_angle(self, run: Path) -> None:
        summary = summarise(run, CARVANA)
        assert summary.groups == 2
        assert summary.score_by_group == pytest.approx({"a": 0.85, "b": 0.6})
        assert summary.score_by_view == pytest.approx({"01": 0.75, "02": 0.8})

    def test_without_groups_the_summary_holds_no_scores_by_group_or_view(
        self, tmp_path: Path, tiles: Competition
    ) -> None:
        finish_fold(tmp_path, 0, [("1", 0.9, 0.9, 0.8), ("2", 0.7, 0.7, 0.6)])
        summary = summarise(tmp_path, tiles)
        assert summary.groups == 2
        assert (summary.score_by_group, summary.score_by_view) == (None, None)
        assert not {"score_by_group", "score_by_view"} & summary.to_json().keys()

    def test_thresholds_csv_holds_the_mean_score_at_each_threshold(self, run: Path) -> None:
        summary = write_summary(run, CARVANA)
        curve = pd.read_csv(run / "thresholds.csv").set_index("threshold")["score"]
        assert (len(curve), curve.index[0], curve.index[-1]) == (255, 1 / 256, 255 / 256)
        assert curve[summary.threshold] == curve.max() == summary.score_at_threshold

    def test_a_fold_that_another_machine_finishes_meanwhile_is_in_the_summary(self, run: Path) -> None:
        """It waits while the other machine writes, and reads only then."""
        with ThreadPoolExecutor() as pool:
            with locked(run, "writes"):
                waiting = pool.submit(write_summary, run, CARVANA)
                time.sleep(0.2)
                finish_fold(run, 1, [("c_01", 0.3, 0.3, 0.2)])
                assert not (run / "summary.json").exists()
            assert waiting.result(timeout=300).groups == 3
        assert waiting.result().folds == (0, 1, 2)
        assert len((run / "oof.csv").read_text().splitlines()) == 1 + 4

    def test_a_single_fold_has_no_standard_deviation(self, tmp_path: Path) -> None:
        finish_fold(tmp_path, 1, [("a_01", 0.9, 0.9, 0.8)])
        assert summarise(tmp_path, CARVANA).score_std is None

    def test_summary_json_is_written_beside_the_table_of_all_photos(self, run: Path) -> None:
        summary = write_summary(run, CARVANA)
        recorded = json.loads((run / "summary.json").read_text())
        assert list(recorded) == [
            *("competition", "folds", "photos", "groups", "score_name", "score_mean", "score_interval", "score_std"),
            *("score_by_fold", "dice_mean", "iou_mean", "threshold", "score_at_threshold", "after_care"),
            *("score_by_view", "score_by_group"),
        ]
        assert (recorded["folds"], recorded["score_mean"]) == ([0, 2], summary.score.score)
        assert recorded["score_interval"] == pytest.approx([0.6, 0.85])
        assert recorded["score_by_fold"] == pytest.approx({"0": 0.85, "2": 0.6})
        assert (recorded["threshold"], recorded["score_at_threshold"]) == (0.5, 1)
        assert recorded["score_by_group"] == pytest.approx({"a": 0.85, "b": 0.6})
        assert (run / "oof.csv").read_text().splitlines() == [
            "image,fold,score,dice,iou",
            "a_01,0,0.9,0.91,0.8",
            "a_02,0,0.8,0.81,0.7",
            "b_01,2,0.6,0.62,0.3",
        ]

    def test_a_summary_that_is_written_again_has_the_same_bytes(self, run: Path) -> None:
        def written() -> list[bytes]:
            write_summary(run, CARVANA)
            return [(run / name).read_bytes() for name in ("oof.csv", "summary.json")]

        assert written() == written()

    def test_a_run_without_a_finished_fold_has_no_summary(self, tmp_path: Path) -> None:
        assert f"{tmp_path}: no finished fold in it" in refusal(summarise, tmp_path, CARVANA)

    @pytest.mark.parametrize("text", ["", "image,fold\na_01,0\n"])
    def test_a_damaged_table_of_scores_is_refused(self, run: Path, text: str) -> None:
        (run / "fold2" / "oof.csv").write_text(text)
        message = refusal(summarise, run, CARVANA)
        assert f"{run / 'fold2' / 'oof.csv'}: not a table of image,fold,score,dice,iou" in message

    def test_folds_that_together_ask_for_too_much_memory_are_refused(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(summary_module, "LARGEST_HISTOGRAMS", 3 * 2 * 256 * 8 - 1)
        assert "histograms of more than 12,287 bytes; no competition has so many" in refusal(summarise, run, CARVANA)


class TestOverAllPixels:
    """A small photo whose mask is wrong up to the bin 99, and a large one that is wrong up to 150."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        finish_fold(tmp_path, 0, [("a_01", 0.4, 0.4, 0.3)], [histogram({90: 2, 140: 1}, {100: 1})])
        finish_fold(tmp_path, 2, [("b_01", 0.8, 0.8, 0.7)], [histogram({150: 40}, {200: 100})])
        counts = {"intersection": [0, 100], "predicted": [1, 140], "truth": [1, 100]}
        expected = {"expected_score": [0.5, 0.9], "expected_intersection": [0.5, 105], "expected_truth": [1, 110.5]}
        for at, fold in enumerate((0, 2)):
            path = tmp_path / f"fold{fold}" / "oof.csv"
            table = pd.read_csv(path).assign(**{name: each[at] for name, each in {**counts, **expected}.items()})
            table.to_csv(path, index=False)
        return tmp_path

    def test_the_scores_of_a_run_are_pooled(self, run: Path) -> None:
        summary = summarise(run, POOLED)
        assert summary.score_name == "global Dice"
        assert summary.score.score == pytest.approx(2 * 100 / 242)
        assert summary.score.interval == pytest.approx([0, 200 / 240])
        assert summary.score_by_fold == pytest.approx({0: 0, 2: 200 / 240})
        assert summary.score_by_group == pytest.approx({"a": 0, "b": 200 / 240})
        assert summary.score_by_view == pytest.approx({"01": 2 * 100 / 242})
        assert summary.dice == pytest.approx((0.4 + 0.8) / 2)

    def test_the_best_threshold_is_that_over_pixels(self, run: Path) -> None:
        """Above 150 the large photo is right, and of the small one, which counts for little, nothing is found."""
        summary = summarise(run, POOLED)
        assert (summary.threshold, summary.score_at_threshold) == (151 / 256, pytest.approx(200 / 201))
        assert summarise(run, CARVANA).threshold == 100 / 256

    def test_the_expected_score_and_its_excess_are_pooled(self, run: Path) -> None:
        held_out = held_out_by(run, [0, 2])
        assert estimate_at(held_out, POOLED, AfterCare(151 / 256)).score == pytest.approx(200 / 201)
        excess = 2 * 105.5 / (141 + 111.5) - 2 * 100 / 242
        assert expected_excess(run, [0, 2], POOLED) == pytest.approx(excess)
        assert expected_excess(run, [0, 2], CARVANA) == pytest.approx(0.7 - 0.6)

    def test_the_counts_stay_in_the_table_of_all_photos(self, run: Path) -> None:
        write_summary(run, POOLED)
        assert pd.read_csv(run / "oof.csv")["intersection"].tolist() == [0, 100]

    def test_folds_without_counts_are_refused(self, run: Path) -> None:
        path = run / "fold2" / "oof.csv"
        pd.read_csv(path).drop(columns="truth").to_csv(path, index=False)
        assert "oof.csv lacks possible pixel counts" in refusal(summarise, run, POOLED)


class TestThreshold:
    def test_the_threshold_curve_holds_the_mean_score_at_each_threshold(self) -> None:
        photos = np.stack([histogram({10: 4, 200: 1}, {150: 2, 250: 2}), histogram({0: 9}, {255: 3})]).astype(np.int64)
        curve = threshold_curve(photos, CARVANA).set_index("threshold")["score"]
        assert curve[100 / 256] == pytest.approx((2 * 4 / (4 + 5) + 1) / 2)
        assert curve[180 / 256] == pytest.approx((2 * 2 / (4 + 3) + 1) / 2)
        assert curve[220 / 256] == pytest.approx((2 * 2 / (4 + 2) + 1) / 2)

    def test_a_blank_photo_scores_1_from_the_threshold_on_at_which_its_mask_is_blank(self) -> None:
        photos = np.stack([histogram({0: 9, 99: 1}, {}), histogram({0: 5}, {120: 2, 255: 3})]).astype(np.int64)
        for competition in (CARVANA, SALT):
            curve = threshold_curve(photos, competition).set_index("threshold")["score"]
            assert (curve[99 / 256], curve[100 / 256]) == (0.5, 1)
        assert curve[200 / 256] == pytest.approx((1 + 0.2) / 2)  # an IoU of 3 / 5 exceeds 0.5 and 0.55

    @pytest.mark.parametrize(("probability", "is_no_better"), [(120, True), (255, False)])
    def test_where_blank_masks_are_usual_they_are_what_must_be_beaten(
        self, tmp_path: Path, probability: int, is_no_better: bool
    ) -> None:
        """A photo of nothing, where the network sees something with 250 / 256, and one of something."""
        histograms = [histogram({0: 8, 250: 2}, {}), histogram({0: 5}, {probability: 5})]
        finish_fold(tmp_path, 0, [("a_01", 0, 0, 0), ("b_01", 1, 1, 1)], histograms)
        summary = summarise(tmp_path, SALT)
        assert summary.score_of_blank == 0.5
        assert summary.is_no_better_than_blank == is_no_better
        assert "score_of_blank" not in summary.to_json()
        assert summarise(tmp_path, CARVANA).score_of_blank is None

    def best(self, folder: Path, competition: Competition, *folds: list[NDArray[np.uint32]]) -> tuple[float, float]:
        for fold, histograms in enumerate(folds):
            rows = [(f"{fold}_{number}", 0.5, 0.5, 0.5) for number in range(len(histograms))]
            finish_fold(folder, fold, rows, histograms)
        summary = summarise(folder, competition)
        return summary.threshold, summary.score_at_threshold

    def test_of_equally_good_thresholds_the_best_is_the_nearest_to_one_half(self, tmp_path: Path) -> None:
        above, below = histogram({0: 50, 179: 9}, {204: 7}), histogram({179: 1}, {255: 1})
        assert self.best(tmp_path / "above", CARVANA, [above], [below]) == (180 / 256, 1)
        above, below = histogram({10: 9}, {99: 7}), histogram({20: 1}, {100: 1})
        assert self.best(tmp_path / "below", CARVANA, [above], [below]) == (99 / 256, 1)

    def test_the_best_threshold_of_a_run_without_mistakes_is_one_half(self, tmp_path: Path) -> None:
        assert self.best(tmp_path, CARVANA, [histogram({0: 5}, {255: 5})]) == (0.5, 1)

    def test_the_best_threshold_is_that_of_the_mean_over_photos_not_over_pixels(self, tmp_path: Path) -> None:
        small, large = histogram({90: 1}, {100: 1}), histogram({150: 1000}, {200: 1000})
        # Bins 91 to 100: the small photo is right, of the large one all is foreground: Dice 1 and 2/3.
        # Bins 151 to 200: the large photo is right, of the small one nothing is foreground: Dice 0 and 1.
        assert self.best(tmp_path, CARVANA, [small], [large]) == (100 / 256, pytest.approx(5 / 6))

    def test_the_best_threshold_is_that_of_the_competitions_own_score(self, tmp_path: Path, tiles: Competition) -> None:
        small, large = histogram({90: 1}, {100: 1}), histogram({150: 1000}, {200: 1000})
        assert self.best(tmp_path, tiles, [small, large]) == (100 / 256, pytest.approx(3 / 4))

    @pytest.mark.parametrize("threshold_bin", [1, 64, 128, 200, 255])
    def test_counts_from_histograms_are_those_of_applying_the_threshold_to_the_probabilities(
        self, threshold_bin: int
    ) -> None:
        generator = np.random.default_rng(0)
        probabilities = generator.random((5, 30, 40)).astype(np.float32)
        probabilities[:, :4] = generator.integers(0, 257, (5, 4, 40)) / 256  # the bins' own bounds, and 1
        truths = generator.random((5, 30, 40)) < probabilities
        bounds = np.arange(257) / 256
        histograms = np.array(
            [
                [np.histogram(probability[truth == wanted], bounds)[0] for wanted in (False, True)]
                for probability, truth in zip(probabilities, truths, strict=True)
            ]
        )
        counts = overlap_at(histograms, threshold_bin)
        for photo, (probability, truth) in enumerate(zip(probabilities, truths, strict=True)):
            direct = metrics.overlap(probability >= threshold_bin / 256, truth)
            assert metrics.Overlap(*(count[photo] for count in counts)) == direct


class TestWhatToExpect:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        """Of each photo one pixel of either kind; the pixel of the background has 100, 140 or 180 of 256."""
        rows = [("a_01", 0.9, 0.9, 0.9), ("a_02", 0.8, 0.8, 0.8)]
        finish_fold(tmp_path / "run", 0, rows, [histogram({100: 1}, {255: 1}), histogram({180: 1}, {255: 1})])
        finish_fold(tmp_path / "run", 2, [("b_01", 0.6, 0.6, 0.6)], [histogram({140: 1}, {255: 1})])
        return tmp_path / "run"

    @pytest.mark.parametrize(
        ("threshold", "of_a", "of_b"),
        [(0.3, 2 / 3, 2 / 3), (0.5, 5 / 6, 2 / 3), (140 / 256, 5 / 6, 2 / 3), (141 / 256, 5 / 6, 1), (0.9, 1, 1)],
    )
    def test_the_expected_score_is_that_of_the_held_out_photos_at_the_threshold_with_its_interval_over_groups(
        self, run: Path, threshold: float, of_a: float, of_b: float
    ) -> None:
        """A mask that takes in the pixel of the background has a Dice of 2/3."""
        expected = estimate_at(held_out_by(run, [0, 2]), CARVANA, AfterCare(threshold))
        assert expected.score == pytest.approx((2 * of_a + of_b) / 3)
        assert expected.interval == pytest.approx(sorted([of_a, of_b]))

    def test_each_class_is_expected_to_score_as_at_its_own_threshold(self, tmp_path: Path) -> None:
        """The pixels of the background have 140 in class 1 and 180 in class 2, of which 150 of 256 parts one."""
        scores = {"1": 0.9, "2": 0.8}
        spec = replace(CARVANA, classes=("1", "2"), class_column="class")
        rows = [
            ("a_01_1", 0.9, 0.9, 0.9),
            ("a_01_2", 0.8, 0.8, 0.8),
            ("b_01_1", 0.9, 0.9, 0.9),
            ("b_01_2", 0.8, 0.8, 0.8),
        ]
        finish_fold(tmp_path, 0, rows, [histogram({140: 1}, {255: 1}), histogram({180: 1}, {255: 1})] * 2)
        held_out = held_out_by(tmp_path, [0])
        care = AfterCare(by_class=(("1", AfterCare(150 / 256)), ("2", AfterCare(0.5))))
        assert estimate_at(held_out, spec, care).score == pytest.approx((1 + 2 / 3) / 2)
        swapped = AfterCare(by_class=(("1", AfterCare(0.5)), ("2", AfterCare(150 / 256))))
        assert estimate_at(held_out, spec, swapped).score == pytest.approx(2 / 3)
        summary = summarise(tmp_path, spec)
        assert (summary.photos, summary.groups) == (2, 2)
        assert summary.score_by_class == pytest.approx(scores)

    def test_where_all_pixels_make_one_score_the_classes_are_cared_for_alike(self, tmp_path: Path) -> None:
        """What is better for the pixels of one class alone may be worse for all."""
        spec = replace(POOLED, classes=("1", "2"), class_column="class")
        names = ["a_01_1", "a_01_2", "b_01_1", "b_01_2"]
        held_out = HeldOut(names, np.stack([histogram({140: 1}, {255: 1})] * 4).astype(np.int64))
        assert {trial.of_class for trial in after_care_trials(held_out, spec)} == {""}
        mean = replace(spec, score=CARVANA.score)
        assert {trial.of_class for trial in after_care_trials(held_out, mean)} == {"1", "2"}

    def test_a_mask_whose_name_has_no_class_is_refused(self, tmp_path: Path) -> None:
        spec = replace(CARVANA, classes=("1", "2"), class_column="class")
        held_out = HeldOut(["a_01_3"], histogram({140: 1}, {255: 1})[None].astype(np.int64))
        assert "'a_01_3' does not end with _ and one of the classes 1, 2" in refusal(after_care_trials, held_out, spec)

    def test_photos_of_a_single_car_give_an_expected_score_without_an_interval(self, run: Path) -> None:
        assert estimate_at(held_out_by(run, [2]), CARVANA, AfterCare()) == (pytest.approx(2 / 3), None)

    def test_the_cross_validation_is_that_of_each_run_with_finished_folds(self, run: Path, tmp_path: Path) -> None:
        (found,) = cross_validation([run, tmp_path / "nothing"], CARVANA)
        assert (found.run, found.folds, found.score_name) == ("run", (0, 2), "Dice")
        assert found.score.score == pytest.approx((0.9 + 0.8 + 0.6) / 3)
        assert found.score.interval == pytest.approx([0.6, 0.85])
