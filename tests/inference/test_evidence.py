import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn_runs import run_of_constants
from known_networks import CPU, RampNet, member
from PIL import Image

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.fingerprint import FileHashes, write_fingerprint
from kaggle_tools.data.images import write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.inference.ensemble import Ensemble
from kaggle_tools.inference.evidence import Evidence, RecordedScores, Selection
from kaggle_tools.inference.out_of_fold import held_out_by_mix
from kaggle_tools.models.weights import WEIGHTS_FILE
from kaggle_tools.results import run_folder, summary
from kaggle_tools.results.after_care import AfterCare
from kaggle_tools.results.run_folder import oof_probability_path
from kaggle_tools.results.scores import ExpectedScore

TRUTH = np.array([[1, 1, 0, 0]], dtype=bool)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos of four pixels, of which the first two are foreground."""
    for stem in ("7", "8"):
        write_mask(tmp_path / "data" / "masks" / f"{stem}.png", TRUTH)
        (tmp_path / "data" / "images").mkdir(exist_ok=True)
        Image.new("RGB", (4, 1)).save(tmp_path / "data" / "images" / f"{stem}.png")
    return tmp_path / "data"


def finish(run: Path, data: Path, maps: dict[str, list[int]], number: int = 0) -> Path:
    """A run with a fold that held out these photos, with these probabilities of 255."""
    fold = run / f"fold{number}"
    histograms = []
    for stem, pixels in maps.items():
        write_gray(oof_probability_path(fold, stem), np.array([pixels], dtype=np.uint8))
        histograms.append([np.bincount(pixels[2:], minlength=256), np.bincount(pixels[:2], minlength=256)])
    np.savez_compressed(fold / run_folder.HISTOGRAMS_FILE, images=np.array(list(maps)), histograms=np.array(histograms))
    table = pd.DataFrame({"image": list(maps), "fold": number, "score": 0.5, "dice": 0.6, "iou": 0.5})
    table.to_csv(fold / "oof.csv", index=False)
    (fold / "model.json").touch()
    (run / "config.json").write_text(json.dumps({"settings": {}, "data": str(data)}))
    return run


@pytest.fixture
def runs(tmp_path: Path, data: Path) -> list[Path]:
    first = finish(tmp_path / "a", data, {"7": [200, 200, 0, 160], "8": [200, 200, 0, 0]})
    return [first, finish(tmp_path / "b", data, {"7": [200, 200, 0, 20], "8": [40, 200, 0, 0]})]


def evidence(
    runs: list[Path],
    competition: Competition,
    folds: tuple[int, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    data: Path | None = None,
) -> Evidence:
    return Evidence(Selection(tuple(runs), folds, weights), competition, data)


def known(runs: list[Path], competition: Competition, threshold: float, **given: Any) -> RecordedScores:
    return evidence(runs, competition, **given).scores(AfterCare(threshold), same_tta=True)


def score_at(runs: list[Path], competition: Competition, threshold: float, **given: Any) -> float:
    estimate = known(runs, competition, threshold, **given).expected.estimate
    assert estimate is not None
    return estimate.score


def reason(runs: list[Path], competition: Competition, threshold: float = 0.5, **given: Any) -> str:
    """Why the score is not known; it must not be."""
    expected = known(runs, competition, threshold, **given).expected
    assert expected.estimate is None
    return expected.unavailable


def best_threshold(of: Evidence) -> float | None:
    """The best on the held-out photos, whether or not it can be told from chance."""
    return summary.best_threshold(of.held_out.histograms, of.competition)[0] if of.held_out else None


class TestRecord:
    """The ensemble is one network that was not trained; of its weights only the hash is recorded."""

    @pytest.fixture
    def ensemble(self, runs: list[Path]) -> Ensemble:
        (runs[0] / "fold0" / WEIGHTS_FILE).write_bytes(b"abcd")
        return Ensemble([replace(member(RampNet()), folder=runs[0] / "fold0")], CPU, tta="none", threshold=0.75)

    def test_the_record_of_masks_names_networks_tta_threshold_and_batch_size_and_holds_the_scores(
        self, runs: list[Path], tiles: Competition, ensemble: Ensemble, data: Path
    ) -> None:
        record = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, [], 3)
        assert (record.competition, record.photos, record.batch_size) == (tiles.slug, str(data.resolve()), 3)
        assert (record.tta, record.tta_scales, record.threshold) == ("none", (1.0,), 0.75)
        assert [(one.run, one.fold, one.sha256) for one in record.models] == [
            ("a", 0, hashlib.sha256(b"abcd").hexdigest())
        ]
        assert [one.run for one in record.cross_validation] == ["a"]
        assert record.expected == known(runs[:1], tiles, 0.75).expected

    def test_a_network_that_is_there_twice_is_named(
        self, runs: list[Path], tiles: Competition, ensemble: Ensemble, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, [], 3)
        assert capsys.readouterr().err == ""
        (runs[1] / "fold0" / WEIGHTS_FILE).write_bytes(b"abcd")
        ensemble.members = [*ensemble.members, replace(ensemble.members[0], folder=runs[1] / "fold0")]
        evidence(runs, tiles).record(ensemble, AfterCare(ensemble.threshold), data, [], 3)
        folders = f"{runs[0] / 'fold0'}, {runs[1] / 'fold0'}"
        assert capsys.readouterr().err == f"warning: the same weights are in {folders}, and count 2 times\n"

    def test_masks_of_a_tta_that_is_not_that_of_the_held_out_photos_are_recorded_without_an_estimate(
        self, runs: list[Path], tiles: Competition, ensemble: Ensemble, data: Path
    ) -> None:
        ensemble.tta = "hflip"
        expected = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, [], 3).expected
        assert expected == ExpectedScore(None, "the out-of-fold photos were masked with another TTA")

    def test_photos_that_the_run_was_trained_with_let_no_score_be_expected(
        self, runs: list[Path], tiles: Competition, ensemble: Ensemble, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of two photos of the same names as in the training one has another content; a copy has another name."""
        photos = [Photo(stem, data / f"{stem}.png", (1, 4)) for stem in ("7", "8", "9")]
        for number, photo in enumerate(photos):
            photo.path.write_bytes(b"%d" % min(number, 1))
        hashes = {
            stem: FileHashes(hashlib.sha256(b"%d" % number).hexdigest(), "0" * 64)
            for stem, number in (("7", 2), ("8", 1))
        }
        write_fingerprint(runs[0] / "data.csv", hashes)
        (runs[0] / "folds.csv").write_text("image,group,fold\n7,7,1\n8,8,1\n")
        record = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, photos, 3)
        seen = f"{runs[0]} was trained on 2 photos of these: 8.png, 9.png"
        assert record.expected == ExpectedScore(None, seen)
        assert (
            capsys.readouterr().err
            == f"warning: {seen}: masks of these look better than those of unknown photos will\n"
        )
        (runs[0] / "folds.csv").write_text("image,group,fold\n7,7,1\n8,8,0\n")  # held out by the fold that is used
        record = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, photos, 3)
        assert record.expected == known(runs[:1], tiles, 0.75).expected
        assert capsys.readouterr().err == ""
        (runs[0] / "data.csv").write_text("nothing")
        record = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, photos, 3)
        assert record.expected
        assert str(runs[0] / "data.csv") in record.expected.unavailable

    def test_a_process_that_does_not_write_the_record_looks_for_no_scores(
        self, runs: list[Path], tiles: Competition, ensemble: Ensemble, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, [], 3)
        monkeypatch.setenv("RANK", "1")
        record = evidence(runs[:1], tiles).record(ensemble, AfterCare(ensemble.threshold), data, [], 3)
        assert record == replace(first, cross_validation=(), expected=None)


class TestOneRun:
    def test_the_expected_score_of_a_run_is_that_of_its_held_out_photos_at_the_threshold_of_the_masks(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        """At 0.5 the first photo has one pixel too many, an IoU of 2/3; at 0.75 it has none."""
        found = known(runs[:1], tiles, 0.5)
        assert found.expected.estimate == (pytest.approx((2 / 3 + 1) / 2), pytest.approx((2 / 3, 1)))
        assert [(run.run, run.score.score) for run in found.cross_validation] == [("a", 0.5)]
        assert score_at(runs[:1], tiles, 0.75) == 1

    def test_how_much_too_high_the_expected_score_was_on_held_out_photos_is_recorded(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        """Both photos have a score of 0.5."""
        assert known(runs[:1], tiles, 0.5).expected.excess is None  # as older runs did not record it
        table = pd.read_csv(runs[0] / "fold0" / "oof.csv", dtype={"image": str})
        table.assign(expected_dice=0.9, expected_score=[0.5, 0.7]).to_csv(runs[0] / "fold0" / "oof.csv", index=False)
        assert known(runs[:1], tiles, 0.5).expected.excess == pytest.approx(0.1)
        assert evidence(runs[:1], tiles).scores(AfterCare(), same_tta=False).expected.excess == pytest.approx(0.1)

    def test_a_run_without_scored_folds_has_neither_threshold_nor_score(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        (runs[0] / "fold0" / "oof.csv").unlink()
        assert best_threshold(evidence(runs[:1], tiles)) is None
        assert reason(runs[:1], tiles) == f"there are no out-of-fold photos in {runs[0]}"
        assert known(runs[:1], tiles, 0.5).cross_validation == ()

    def test_masks_of_another_tta_have_no_expected_score(self, runs: list[Path], tiles: Competition) -> None:
        found = evidence(runs[:1], tiles).scores(AfterCare(), same_tta=False)
        assert found.expected.estimate is None
        assert found.expected.unavailable == "the out-of-fold photos were masked with another TTA"
        assert [run.run for run in found.cross_validation] == ["a"]

    def test_damaged_histograms_are_refused_for_the_threshold_and_a_reason_not_to_know_the_score(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        (runs[0] / "fold0" / run_folder.HISTOGRAMS_FILE).write_bytes(b"")
        with pytest.raises(InputError, match=f"{run_folder.HISTOGRAMS_FILE}: damaged"):
            evidence(runs[:1], tiles).after_care()
        assert f"{run_folder.HISTOGRAMS_FILE}: damaged" in reason(runs[:1], tiles)

    def test_a_damaged_table_of_scores_keeps_the_threshold_and_is_a_reason_not_to_know_the_score(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        (runs[0] / "fold0" / "oof.csv").write_text("image\n")
        assert best_threshold(evidence(runs[:1], tiles)) == 161 / 256
        assert "oof.csv: not a table of" in reason(runs[:1], tiles)
        assert known(runs[:1], tiles, 0.5).cross_validation == ()


class TestMix:
    @pytest.mark.parametrize(("weights", "score"), [(None, 0.75), ((3.0, 1.0), (2 / 3 + 1) / 2), ((1.0, 3.0), 0.75)])
    def test_the_expected_score_of_a_mix_is_that_of_the_mean_of_the_saved_probabilities(
        self, runs: list[Path], tiles: Competition, weights: tuple[float, ...] | None, score: float
    ) -> None:
        """At 0.48: alike 90 and 120 of 255 stay below it; three to one, 125 and 160 are above; one to three, 55, 80."""
        assert score_at(runs, tiles, 0.48, weights=weights) == pytest.approx(score)
        assert [run.run for run in known(runs, tiles, 0.48, weights=weights).cross_validation] == ["a", "b"]

    def test_a_mix_without_saved_probabilities_has_neither_threshold_nor_score(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        for path in runs[1].glob("fold0/oof/probabilities/*"):
            path.unlink()
        assert best_threshold(evidence(runs, tiles)) is None
        assert reason(runs, tiles) == "not all runs of the mix were trained with --save-oof-probabilities"

    def test_the_held_out_photos_are_mixed_once_for_threshold_and_score(
        self, runs: list[Path], tiles: Competition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mixed = []

        def counting(*arguments: Any) -> Any:
            mixed.append(arguments)
            return held_out_by_mix(*arguments)

        monkeypatch.setattr("kaggle_tools.inference.evidence.held_out_by_mix", counting)
        of_mix = evidence(runs, tiles)
        threshold = best_threshold(of_mix)
        assert threshold is not None
        assert of_mix.scores(AfterCare(threshold), same_tta=True).expected.estimate is not None
        assert len(mixed) == 1


class TestFolds:
    @pytest.fixture
    def of_two_folds(self, tmp_path: Path, data: Path) -> Path:
        """The first fold's best threshold is between 60 and 80, the second's between 160 and 200."""
        finish(tmp_path / "c", data, {"7": [80, 200, 0, 60]}, number=0)
        return finish(tmp_path / "c", data, {"8": [200, 200, 0, 160]}, number=1)

    @pytest.mark.parametrize(("folds", "threshold"), [((0,), 80 / 256), ((1,), 161 / 256)])
    @pytest.mark.parametrize("runs_of_it", [1, 2])
    def test_only_the_folds_that_mask_the_photos_decide_threshold_and_score(
        self, of_two_folds: Path, tiles: Competition, folds: tuple[int, ...], threshold: float, runs_of_it: int
    ) -> None:
        """A fold's network has learned the photos of the other folds. Run twice, it is a mix of a run with itself."""
        runs = [of_two_folds] * runs_of_it
        assert best_threshold(evidence(runs, tiles, folds)) == threshold
        assert score_at(runs, tiles, threshold, folds=folds) == 1

    def test_a_mix_of_folds_without_saved_probabilities_has_neither_threshold_nor_score(
        self, of_two_folds: Path, tiles: Competition
    ) -> None:
        for path in of_two_folds.glob("fold0/oof/probabilities/*"):
            path.unlink()
        assert best_threshold(evidence([of_two_folds] * 2, tiles, (0,))) is None
        assert "--save-oof-probabilities" in reason([of_two_folds] * 2, tiles, folds=(0,))


class TestThresholdOfAMix:
    """Two runs, of two folds and of one, and one photo that both held out: its first half is foreground."""

    @pytest.fixture
    def runs(self, data: Path, tmp_path: Path) -> list[Path]:
        runs = [run_of_constants(tmp_path / "a", [0, 0]), run_of_constants(tmp_path / "b", [0])]
        for run, map_HW in zip(runs, ([[80, 255, 60, 0]], [[20, 155, 20, 40]]), strict=True):
            write_gray(oof_probability_path(run / "fold0", "7"), np.array(map_HW, dtype=np.uint8))
            (run / "config.json").write_text(json.dumps({"settings": {}, "data": str(data)}))
        return runs

    @pytest.mark.parametrize(
        ("folds", "weights", "foreground"),
        [
            (None, None, 60),  # by their networks, 2 to 1: 60 over 46.7
            ((0,), None, 50),  # 1 to 1: 50 over 40
            (None, (3.0, 1.0), 65),  # 65 over 50
        ],
    )
    def test_the_threshold_of_a_mix_is_that_of_the_mean_weighted_as_the_masks_are(
        self, runs: list[Path], tiles: Competition, folds: Any, weights: Any, foreground: int
    ) -> None:
        """As many of 256 bins: the highest with all of the foreground, and so the nearest to one half."""
        assert best_threshold(evidence(runs, tiles, folds, weights)) == foreground / 256

    def test_the_true_masks_may_lie_in_data_where_the_run_was_trained_elsewhere(
        self, runs: list[Path], data: Path, tiles: Competition
    ) -> None:
        (runs[0] / "config.json").write_text(json.dumps({"settings": {}, "data": "/elsewhere"}))
        (runs[1] / "config.json").write_text(json.dumps({"settings": {}}))
        assert best_threshold(evidence(runs, tiles, data=data)) == 60 / 256

    def test_the_true_masks_may_lie_where_another_run_of_the_mix_was_trained(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        (runs[0] / "config.json").write_text(json.dumps({"settings": {}, "data": "/elsewhere"}))
        assert best_threshold(evidence(runs, tiles)) == 60 / 256

    def test_without_the_true_masks_the_threshold_is_not_known_and_the_reason_is_told(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        """As from another folder, where an older run recorded its data as typed."""
        for run in runs:
            (run / "config.json").write_text(json.dumps({"settings": {}, "data": "data/tiles"}))
        of_mix = evidence(runs, tiles)
        assert best_threshold(of_mix) is None
        assert of_mix.why_unknown == (
            f"{runs[0]} was trained with --data data/tiles, which is no folder here; "
            "give --threshold, or `infer` where the true masks are"
        )

    def test_a_folder_whose_masks_are_gone_is_a_reason_not_to_know_the_threshold(
        self, runs: list[Path], tiles: Competition, data: Path
    ) -> None:
        for path in (data / "masks").iterdir():
            path.unlink()
        of_mix = evidence(runs, tiles)
        assert best_threshold(of_mix) is None
        assert of_mix.why_unknown.startswith(f"{data}/masks/*.png: no such files; ")

    def test_a_folder_without_the_photos_that_were_held_out_is_a_reason_not_to_know_the_threshold(
        self, runs: list[Path], tiles: Competition, data: Path
    ) -> None:
        for path in ("images/7.png", "masks/7.png"):
            (data / path).unlink()
        of_mix = evidence(runs, tiles)
        assert best_threshold(of_mix) is None
        assert of_mix.why_unknown.startswith(f"{data} holds none of the photos that the runs held out; ")

    def test_runs_that_held_out_no_photo_in_common_have_no_threshold(
        self, runs: list[Path], tiles: Competition
    ) -> None:
        path = oof_probability_path(runs[1] / "fold0", "7")
        path.rename(path.with_name("8.png"))
        of_mix = evidence(runs, tiles)
        assert best_threshold(of_mix) is None
        assert of_mix.why_unknown == "the runs of the mix held out no photo in common"


def test_masks_are_made_in_another_way_only_where_its_gain_can_be_told_from_chance(
    runs: list[Path], tiles: Competition
) -> None:
    """Of a single group nothing can be told, though on its photos the threshold 161 / 256 is the best."""
    found = evidence(runs[:1], tiles)
    assert best_threshold(found) == 161 / 256
    assert found.after_care() == AfterCare(0.5)
