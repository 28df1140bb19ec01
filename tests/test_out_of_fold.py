from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.images import Photo, read_gray, write_gray, write_mask
from kaggle_tools.out_of_fold import as_bytes, has_probabilities, histogram, mix_threshold, probability_path


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


def test_probabilities_are_rounded_to_bytes() -> None:
    assert as_bytes(torch.tensor([[0.0, 0.501 / 255, 0.499 / 255, 1.0]])).tolist() == [[0, 1, 0, 255]]


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
            write_gray(probability_path(tmp_path / name / f"fold{fold}", "7"), map_HW)
        return [tmp_path / "a", tmp_path / "b"]

    def test_the_threshold_is_that_of_the_mean_of_the_runs(
        self, runs: list[Path], photo: Photo, tiles: Competition
    ) -> None:
        """The mean: 100, 205 for the truth, 40, 20 for the rest, of 255; between bins 40 and 100 nearest to 128."""
        threshold, score = mix_threshold(runs, [1, 1], tiles, [photo])
        assert (threshold, score) == (100 / 256, 1)

    def test_a_run_with_more_models_weighs_more(self, runs: list[Path], photo: Photo, tiles: Competition) -> None:
        write_gray(probability_path(runs[1] / "fold3", "7"), np.array([[20, 155, 20, 40]], dtype=np.uint8))
        # Weighted 3 to 1 the first pixel has 80 and the third 50; weighted alike 60 and 40.
        assert mix_threshold(runs, [3, 1], tiles, [photo]) == (80 / 256, 1)
        assert mix_threshold(runs, [1, 1], tiles, [photo]) == (60 / 256, 1)

    def test_runs_without_a_photo_in_common_are_refused(
        self, runs: list[Path], photo: Photo, tiles: Competition
    ) -> None:
        probability_path(runs[1] / "fold3", "7").rename(probability_path(runs[1] / "fold3", "8"))
        with pytest.raises(InputError, match="no out-of-fold probabilities that .* have in common"):
            mix_threshold(runs, [1, 1], tiles, [photo])

    def test_a_run_knows_whether_it_has_them(self, runs: list[Path], tmp_path: Path) -> None:
        assert [has_probabilities(run) for run in (*runs, tmp_path / "c")] == [True, True, False]


def test_gray_images_come_back_as_they_were(tmp_path: Path) -> None:
    gray_HW = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    write_gray(tmp_path / "gray.png", gray_HW)
    assert np.array_equal(read_gray(tmp_path / "gray.png"), gray_HW)
