import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished_runs import box, write_pred
from known_competitions import CARVANA
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import write_gray
from kaggle_tools.report.parts.doubt import DoubtMap, DoubtPart, _along_outline, doubt_part
from kaggle_tools.results import pred_folder

STEMS = [f"{car}_{view}" for car in "abc" for view in ("01", "02")]


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    """Three cars from two angles, whose masks are boxes of 20 rows and 30 columns in photos of 60x90."""
    return write_pred(tmp_path / "pred", tmp_path, dict.fromkeys(STEMS, 30))


def part_of(pred: Path, competition: Competition = CARVANA) -> DoubtPart:
    return doubt_part(pred, pred_folder.read_photos(pred), 0.5, competition)


def save(pred: Path, stem: str, column: int, probability: float) -> None:
    """Probabilities of a photo that are sure but for ten columns from this one on."""
    gray_HW = (box() * 255).astype(np.uint8)
    gray_HW[:, column : column + 10] = round(255 * probability)
    write_gray(pred_folder.probability_path(pred, stem), gray_HW)


def brightness(one: DoubtMap) -> NDArray[np.float64]:
    """In the middle of each of nine equal parts of the map's second row of pixels, which no outline crosses."""
    with Image.open(io.BytesIO(base64.b64decode(one.image.partition(",")[2]))) as image:
        grey_HW = np.asarray(image.convert("L")).astype(float)
    height, width = grey_HW.shape
    assert (height, width) == (160, 240)
    return grey_HW[4, [round(width * (part + 0.5) / 9) for part in range(9)]]


class TestSavedProbabilities:
    def test_a_map_of_each_angle_is_brightest_where_most_probabilities_are_doubtful(self, pred: Path) -> None:
        for car, at in (("a", 0), ("b", 0), ("c", 70)):
            save(pred, f"{car}_01", at, 0.4)
            save(pred, f"{car}_02", 40, 0.6)
        part = part_of(pred)
        assert part.known
        assert [(one.name, one.masks) for one in part.maps] == [("angle 01", 3), ("angle 02", 3)]
        assert part.brightest == pytest.approx(1)
        first, second = map(brightness, part.maps)
        assert first.argsort()[::-1][:2].tolist() == [0, 7]  # two of three masks, and one
        assert first[0] > 1.5 * first[7] > 20
        assert second.argmax() == 4
        assert np.delete(second, 4).max() < 10

    @pytest.mark.parametrize(("probability", "doubtful"), [(0.09, 0), (0.11, 1), (0.89, 1), (0.91, 0)])
    def test_probabilities_between_a_tenth_and_nine_tenths_are_doubtful(
        self, pred: Path, probability: float, doubtful: int
    ) -> None:
        save(pred, "a_01", 0, probability)
        assert part_of(pred).brightest == doubtful

    def test_each_of_the_most_doubtful_photos_has_a_map_that_is_brightest_at_one_half(self, pred: Path) -> None:
        save(pred, "a_02", 0, 0.5)
        save(pred, "b_01", 70, 0.8)
        part = part_of(pred)
        assert [one.name for one in part.single] == ["a_02", "b_01"]
        half, sure = map(brightness, part.single)
        assert (half.argmax(), sure.argmax()) == (0, 7)
        assert half[0] > 200 > sure[7] > 50

    def test_probabilities_that_cannot_be_read_are_left_out(self, pred: Path) -> None:
        save(pred, "a_01", 0, 0.5)
        save(pred, "b_01", 0, 0.5)
        pred_folder.probability_path(pred, "b_01").write_bytes(b"no image")
        part = part_of(pred)
        assert [(one.name, one.masks) for one in part.maps] == [("all photos", 1)]
        assert [one.name for one in part.single] == ["a_01"]


class TestWithoutProbabilities:
    def test_recorded_numbers_of_doubtful_pixels_are_spread_along_the_outline(self, pred: Path) -> None:
        part = part_of(pred)
        assert not part.known
        assert part.single == []
        assert [(one.name, one.masks) for one in part.maps] == [("angle 01", 3), ("angle 02", 3)]
        assert 0 < part.brightest <= 1
        assert brightness(part.maps[0]).max() < 10

    @pytest.mark.parametrize("width", [0.0, 0.5, 1.5, 4.0])
    def test_a_band_along_the_outline_holds_as_many_doubtful_pixels_as_are_recorded(self, width: float) -> None:
        mask_HW = np.zeros((100, 200), dtype=bool)
        mask_HW[:, 100:] = True  # 100 pairs of neighbours
        spread_HW = _along_outline(mask_HW, width) / 255
        assert spread_HW.sum() == pytest.approx(100 * width, rel=0.02, abs=0)
        assert spread_HW[:, :90].max() == spread_HW[:, 110:].max() == 0

    def test_an_infinite_border_fills_no_memory(self) -> None:
        assert _along_outline(box(), np.inf).shape == (60, 90)

    def test_a_blank_mask_has_no_doubtful_outline(self) -> None:
        assert _along_outline(np.zeros((6, 9), dtype=bool), 3.0).max() == 0

    def test_masks_of_which_nothing_is_recorded_have_no_map(self, pred: Path) -> None:
        photos = [replace(photo, border_width=None) for photo in pred_folder.read_photos(pred)]
        part = doubt_part(pred, photos, None, CARVANA)
        assert (part.maps, part.single, part.brightest) == ([], [], 0)


class TestViews:
    def test_without_groups_there_is_one_map_of_all_photos(self, pred: Path, tiles: Competition) -> None:
        assert [(one.name, one.masks) for one in part_of(pred, tiles).maps] == [("all photos", 6)]

    def test_photos_of_ones_own_share_a_map(self, tmp_path: Path) -> None:
        pred = write_pred(tmp_path / "own", tmp_path, {"portrait": 30, "street": 20})
        assert [(one.name, one.masks) for one in part_of(pred).maps] == [("all photos", 2)]

    def test_of_many_photos_some_are_read_evenly_spaced(self, tmp_path: Path) -> None:
        columns = {f"{car:03}_{view}": 30 for car in range(130) for view in ("01", "02")}
        maps = part_of(write_pred(tmp_path / "many", tmp_path, columns)).maps
        assert [(one.name, one.masks) for one in maps] == [("angle 01", 96), ("angle 02", 96)]
