from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.inference.weight_search import mixes_of, searched_weights, stems_in_common
from kaggle_tools.metrics import BY_NAME
from kaggle_tools.results.run_folder import fold_folder, oof_probability_path

PHOTOS = [f"{number}" for number in range(12)]
TRUTH = np.array([[1, 1, 0, 0]], dtype=bool)


def keep(run: Path, stem: str, *values: int) -> None:
    path = oof_probability_path(fold_folder(run, 0), stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gray(path, np.array([values], dtype=np.uint8))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [tmp_path / "a", tmp_path / "b"]


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    write_mask(tmp_path / "true.png", TRUTH)
    return [Photo(stem, tmp_path / f"{stem}.png", (1, 4), tmp_path / "true.png") for stem in PHOTOS]


def test_the_weights_that_are_tried_are_equal_ones_and_all_with_the_same_sum() -> None:
    assert mixes_of(2) == [(1, 1), *[(first, 10 - first) for first in range(11)]]
    assert len(mixes_of(3)) == 1 + 66
    assert len(mixes_of(4)) == 1 + 56
    assert {sum(weights) for weights in mixes_of(4)[1:]} == {5}


def test_weights_that_are_better_on_all_groups_are_found(
    runs: list[Path], photos: list[Photo], tiles: Competition
) -> None:
    """The first run is right, by a little; the second wrong, by more: the mean is right from 7 to 3 on."""
    for stem in PHOTOS:
        keep(runs[0], stem, 188, 188, 68, 68)
        keep(runs[1], stem, 8, 8, 248, 248)
    weights, gain = searched_weights(runs, photos, tiles)
    assert weights == (7, 3)
    assert gain.score == 1
    assert gain.is_above_0


def test_weights_that_are_better_over_all_pixels_are_found(
    runs: list[Path], photos: list[Photo], tmp_path: Path, tiles: Competition
) -> None:
    """The first run is right on each third photo, with six pixels of foreground, the second on others, with one."""
    large = np.array([[1] * 6 + [0]], dtype=bool)
    write_mask(tmp_path / "large.png", large)
    write_mask(tmp_path / "small.png", np.array([[1, 0, 0, 0, 0, 0, 0]], dtype=bool))
    mixed = []
    for number, photo in enumerate(photos):
        of_large = number % 3 == 0
        right, wrong = ([250] * 6 + [0], [0] * 7) if of_large else ([250] + [0] * 6, [0] * 7)
        keep(runs[0], photo.stem, *(right if of_large else wrong))
        keep(runs[1], photo.stem, *(wrong if of_large else right))
        mixed.append(replace(photo, mask=tmp_path / ("large.png" if of_large else "small.png")))
    over_pixels = replace(tiles, score=BY_NAME["global Dice"], score_name="global Dice")
    weights, _ = searched_weights(runs, mixed, over_pixels)
    assert weights == (6, 4)
    assert searched_weights(runs, mixed, tiles)[0] == (0, 10)


def test_equal_weights_are_the_best_where_nothing_is_better(
    runs: list[Path], photos: list[Photo], tiles: Competition
) -> None:
    for run in runs:
        for stem in PHOTOS:
            keep(run, stem, 200, 200, 10, 10)
    weights, gain = searched_weights(runs, photos, tiles)
    assert weights == (1, 1)
    assert gain.score == 0
    assert not gain.is_above_0


def test_runs_without_common_probabilities_are_refused(runs: list[Path]) -> None:
    keep(runs[0], "1", 0)
    keep(runs[0], "2", 0)
    keep(runs[1], "2", 0)
    assert stems_in_common(runs) == {"2"}
    (runs[1] / "fold0" / "oof" / "probabilities" / "2.png").unlink()
    with pytest.raises(InputError, match="^--search: .*a, .*b held out no photo in common with --save-oof-prob"):
        stems_in_common(runs)


def test_a_true_mask_of_another_size_is_named(runs: list[Path], photos: list[Photo], tiles: Competition) -> None:
    for run in runs:
        keep(run, PHOTOS[0], 1, 2, 3)
    with pytest.raises(InputError, match=r"0.png: has another size than the true mask .*true.png"):
        searched_weights(runs, photos[:1], tiles)


def test_masks_of_mixes_are_those_of_the_weighted_mean(runs: list[Path], tmp_path: Path, tiles: Competition) -> None:
    """On noise, held against NumPy's own mean of each mix."""
    rng = np.random.default_rng(1)
    photos, expected = [], []
    for stem in PHOTOS:
        maps: list[NDArray[np.uint8]] = [rng.integers(0, 256, (5, 7), dtype=np.uint8) for _ in runs]
        truth_HW = rng.random((5, 7)) < 0.5
        for run, map_HW in zip(runs, maps, strict=True):
            path = oof_probability_path(fold_folder(run, 0), stem)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_gray(path, map_HW)
        write_mask(tmp_path / f"{stem}_true.png", truth_HW)
        photos.append(Photo(stem, tmp_path / f"{stem}.png", (5, 7), tmp_path / f"{stem}_true.png"))
        masks = [np.average(maps, axis=0, weights=weights) >= 127.5 for weights in mixes_of(2)]
        expected.append([2 * (mask & truth_HW).sum() / (mask.sum() + truth_HW.sum()) for mask in masks])
    weights, _ = searched_weights(runs, photos, tiles)
    assert weights == mixes_of(2)[int(np.mean(expected, axis=0).argmax())]
