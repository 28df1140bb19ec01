import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from known_networks import CPU, Constant, RampNet, member, noise, save_photo, scaled_mean, unet
from PIL import Image
from torch import nn

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import read_gray, read_mask, write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.inference import out_of_fold
from kaggle_tools.inference.ensemble import Ensemble
from kaggle_tools.inference.out_of_fold import (
    held_out_by_mix,
    histogram,
    score_fold,
)
from kaggle_tools.inference.predict import predict
from kaggle_tools.precision import FP32
from kaggle_tools.results.run_folder import oof_probability_path
from kaggle_tools.results.summary import best_threshold


def test_histograms_count_every_pixel_once_by_truth_and_probability() -> None:
    probability = torch.tensor([[0.0, 0.5, 1.0], [0.499999, 0.999, 0.25]])
    truth = torch.tensor([[False, True, True], [True, False, False]])
    counts = histogram(probability, truth)
    assert counts.shape == (2, 256)
    assert {at: int(counts[0, at]) for at in np.flatnonzero(counts[0])} == {0: 1, 255: 1, 64: 1}
    assert {at: int(counts[1, at]) for at in np.flatnonzero(counts[1])} == {128: 1, 255: 1, 127: 1}


def test_the_histogram_of_a_blank_photo_has_no_foreground() -> None:
    counts = histogram(torch.tensor([[0.0, 0.5]]), torch.zeros(1, 2, dtype=torch.bool))
    assert (counts[0].sum(), counts[1].sum()) == (2, 0)


class TestScoringAFold:
    """The network is `RampNet`, so that every probability is known."""

    SCALES = (0.5, 1.0)

    @pytest.fixture
    def drawn(self, tmp_path: Path) -> list[Photo]:
        photos = [save_photo(tmp_path, str(number), noise((20, 30), number)) for number in range(3)]
        for photo in photos:
            write_mask(tmp_path / f"{photo.stem}_mask.png", noise((20, 30), 9)[..., 0] > 100)
        return [replace(photo, mask=tmp_path / f"{photo.stem}_mask.png") for photo in photos]

    def score(self, folder: Path, competition: Competition, photos: list[Photo], batch_size: int = 2) -> None:
        known = member(RampNet(), (16, 24))
        card = replace(known.card, fold=3, tta="hflip", tta_scales=self.SCALES)
        score_fold(
            replace(known, card=card, folder=folder),
            competition,
            photos,
            device=CPU,
            precision=FP32,
            batch_size=batch_size,
            workers=0,
            save_probabilities=True,
        )

    def test_held_out_photos_are_masked_with_the_normalisation_folded_as_test_photos_are(
        self, drawn: list[Photo], tmp_path: Path, tiles: Competition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        masked_with: list[nn.Module] = []

        def watched(ensemble: Ensemble, *others: Any, **settings: Any) -> Any:
            masked_with.extend(ensemble.members[0].model.modules())
            return predict(ensemble, *others, **settings)

        monkeypatch.setattr(out_of_fold, "predict", watched)
        trained = replace(unet(), folder=tmp_path / "fold0")
        score_fold(trained, tiles, drawn, device=CPU, precision=FP32, batch_size=1, workers=0)
        assert masked_with
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in masked_with)

    def test_held_out_photos_are_scored_with_the_flips_and_scales_on_the_model_card(
        self, drawn: list[Photo], tmp_path: Path, tiles: Competition
    ) -> None:
        folder = tmp_path / "fold3"
        self.score(folder, tiles, drawn)
        rows = pd.read_csv(folder / "oof.csv", dtype={"image": str})
        assert rows["image"].tolist() == ["0", "1", "2"]
        assert rows["fold"].tolist() == [3, 3, 3]
        scores = zip(drawn, rows["iou"], rows["expected_dice"], strict=True)
        for number, (photo, iou, expected_dice) in enumerate(scores):
            expected = scaled_mean(noise((20, 30), number), (16, 24), "hflip", self.SCALES)
            predicted, truth = expected >= 0.5, noise((20, 30), 9)[..., 0] > 100
            assert np.array_equal(read_mask(folder / "oof" / "masks" / f"{photo.stem}.png"), predicted)
            saved = read_gray(oof_probability_path(folder, photo.stem))
            assert np.abs(saved - 255 * expected).max() <= 0.5 + 1e-3
            assert iou == pytest.approx((predicted & truth).sum() / (predicted | truth).sum())
            hit = 2 * expected[predicted].sum() / (predicted.sum() + expected.sum())
            assert expected_dice == pytest.approx(hit, rel=1e-5)

    def test_pixel_counts_are_recorded_only_where_the_score_is_one_over_all_pixels(
        self, drawn: list[Photo], tmp_path: Path, tiles: Competition
    ) -> None:
        over_pixels = replace(tiles, score=metrics.BY_NAME["global Dice"], score_name="global Dice")
        self.score(tmp_path / "pooled", over_pixels, drawn)
        self.score(tmp_path / "mean", tiles, drawn)
        usual = ["image", "fold", "score", "dice", "iou", "expected_dice", "expected_score"]
        assert list(pd.read_csv(tmp_path / "mean" / "oof.csv")) == usual
        rows = pd.read_csv(tmp_path / "pooled" / "oof.csv")
        counts = ["expected_intersection", "predicted", "expected_truth", "intersection", "truth"]
        assert list(rows) == [*usual, *counts]
        assert rows["score"].tolist() == rows["dice"].tolist()
        for number, row in rows.iterrows():
            expected = scaled_mean(noise((20, 30), number), (16, 24), "hflip", self.SCALES)
            predicted, truth = expected >= 0.5, noise((20, 30), 9)[..., 0] > 100
            real = [(predicted & truth).sum(), predicted.sum(), truth.sum()]
            assert row[["intersection", "predicted", "truth"]].tolist() == real
            hoped = [expected[predicted].sum(), expected.sum()]
            assert row[["expected_intersection", "expected_truth"]].tolist() == pytest.approx(hoped, rel=1e-5)

    def test_probabilities_of_held_out_photos_are_kept_only_where_they_are_asked_for(
        self, drawn: list[Photo], tmp_path: Path, tiles: Competition
    ) -> None:
        known = replace(member(RampNet(), (16, 24)), folder=tmp_path / "fold0")
        score_fold(known, tiles, drawn, device=CPU, precision=FP32, batch_size=1, workers=0)
        assert not oof_probability_path(tmp_path / "fold0", drawn[0].stem).parent.exists()

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_a_held_out_photo_that_cannot_be_read_is_refused(
        self, drawn: list[Photo], tmp_path: Path, tiles: Competition, batch_size: int
    ) -> None:
        drawn[1].path.write_bytes(b"")
        with pytest.raises(InputError, match=rf"^{drawn[1].path}: not a photo that can be read; fetch it again$"):
            self.score(tmp_path / "fold3", tiles, drawn, batch_size)
        assert not (tmp_path / "fold3" / "oof.csv").exists()
        assert not (tmp_path / "fold3" / "oof" / "masks" / "1.png").exists()

    def test_a_held_out_photo_for_which_the_network_gives_nan_is_refused_before_its_mask_is_written(
        self, drawn: list[Photo], tmp_path: Path, tiles: Competition
    ) -> None:
        faulty = replace(member(Constant(math.nan), (16, 24)), folder=tmp_path / "fold0")
        with pytest.raises(InputError, match=rf"^{drawn[0].path}: the model gave NaN or infinity; train it again$"):
            score_fold(faulty, tiles, drawn, device=CPU, precision=FP32, batch_size=1, workers=0)
        assert not (tmp_path / "fold0").exists()


class TestMix:
    """Two runs whose mean is right only below another threshold than one half."""

    TRUTH = np.array([[1, 1, 0, 0]], dtype=bool)
    FIRST = np.array([[100, 255, 60, 0]], dtype=np.uint8)
    SECOND = np.array([[100, 155, 20, 40]], dtype=np.uint8)

    @pytest.fixture
    def photo(self, tmp_path: Path) -> Photo:
        write_mask(tmp_path / "truth.png", self.TRUTH)
        Image.new("RGB", (4, 1)).save(tmp_path / "photo.png")
        return Photo("7", tmp_path / "photo.png", (1, 4), tmp_path / "truth.png")

    @pytest.fixture
    def runs(self, tmp_path: Path) -> list[Path]:
        for name, fold, map_HW in (("a", 0, self.FIRST), ("b", 3, self.SECOND)):
            write_gray(oof_probability_path(tmp_path / name / f"fold{fold}", "7"), map_HW)
        return [tmp_path / "a", tmp_path / "b"]

    def test_the_best_threshold_of_a_mix_is_that_of_the_mean_of_its_runs(
        self, runs: list[Path], photo: Photo, tiles: Competition
    ) -> None:
        """The mean: 100, 205 for the truth, 40, 20 for the rest, of 255; between bins 40 and 100 nearest to 128."""
        threshold, score = best_threshold(held_out_by_mix(runs, [1, 1], [photo]).histograms, tiles)
        assert (threshold, score) == (100 / 256, 1)

    def test_a_run_with_more_weight_counts_more_in_a_mix(
        self, runs: list[Path], photo: Photo, tiles: Competition
    ) -> None:
        write_gray(oof_probability_path(runs[1] / "fold3", "7"), np.array([[20, 155, 20, 40]], dtype=np.uint8))
        # Weighted 3 to 1 the first pixel has 80 and the third 50; weighted alike 60 and 40.
        assert best_threshold(held_out_by_mix(runs, [3, 1], [photo]).histograms, tiles) == (80 / 256, 1)
        assert best_threshold(held_out_by_mix(runs, [1, 1], [photo]).histograms, tiles) == (60 / 256, 1)

    def test_runs_without_a_photo_in_common_are_refused(
        self, runs: list[Path], photo: Photo, tiles: Competition
    ) -> None:
        oof_probability_path(runs[1] / "fold3", "7").rename(oof_probability_path(runs[1] / "fold3", "8"))
        with pytest.raises(InputError, match="no out-of-fold probabilities that .* have in common"):
            best_threshold(held_out_by_mix(runs, [1, 1], [photo]).histograms, tiles)

    def test_probabilities_of_a_photo_of_another_size_are_refused(self, runs: list[Path], photo: Photo) -> None:
        path = oof_probability_path(runs[1] / "fold3", "7")
        write_gray(path, np.zeros((2, 4), dtype=np.uint8))
        with pytest.raises(InputError, match=rf"^{path}: has another size than the true mask {photo.mask}; was the"):
            held_out_by_mix(runs, [1, 1], [photo])
