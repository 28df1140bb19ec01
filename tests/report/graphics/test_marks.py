import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.draw_outlines import PREDICTED, TRUE
from kaggle_tools.report.graphics.marks import HALO, HALO_OPACITY, as_layer, marks, painted

Mask = NDArray[np.bool_]
TRUTH = ["............", "..XXXXX.....", "..XXXXX.....", "..XXXXX.....", "..XXXXX.....", "............", "............"]
FOUND = ["............", "..XXXXXXXXX.", "..XXXXXXXXX.", "..XXXXXXXXX.", "..XXXXXXXXX.", "............", "............"]


def mask(rows: list[str]) -> Mask:
    return np.array([[letter == "X" for letter in row] for row in rows])


def letters(marks_HW: NDArray[np.uint8]) -> list[str]:
    """h: the halo; t, p: outlines of the true and the predicted mask; n, o: false negative and positive pixels."""
    return ["".join(".hnotp"[mark] for mark in row) for row in marks_HW]


def test_outlines_have_a_halo_that_covers_neither_lines_nor_wrong_pixels() -> None:
    assert letters(marks(mask(FOUND), mask(TRUTH), (7, 12))) == [
        ".hhhhhhhhhhh",
        ".hppppppppph",
        ".hphhhtoooph",
        ".hphhhtoooph",
        ".hppppppppph",
        ".hhhhhhhhhhh",
        "............",
    ]


def test_without_the_truth_there_is_the_predicted_outline_alone() -> None:
    found = letters(marks(mask(FOUND), None, (7, 12)))
    assert found[1:4] == [".hppppppppph", ".hphhhhhhhph", ".hphhhhhhhph"]


def test_an_empty_mask_leaves_no_mark() -> None:
    assert not marks(np.zeros((5, 5), bool), np.zeros((5, 5), bool), (5, 5)).any()


def test_single_wrong_pixels_are_marked_in_an_image_of_half_the_size() -> None:
    truth_HW = np.ones((40, 40), bool)
    predicted_HW = truth_HW.copy()
    predicted_HW[10:30:6, 11] = False  # 10, 16, 22, 28
    found = letters(marks(predicted_HW, truth_HW, (20, 20)))
    assert [row for row, line in enumerate(found) if line[5] == "n"] == [5, 8, 11, 14]


def relative_luminance(colour: tuple[float, ...]) -> float:
    """Of WCAG 2.2, for sRGB."""
    shares = np.array(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    lighter, darker = sorted(map(relative_luminance, (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("ground", [0, 40, 80, 120, 160, 200, 255])
def test_each_outline_stands_out_from_its_halo_on_dark_and_on_light_cars(ground: int) -> None:
    """With 3 to 1, which WCAG asks of graphics."""
    halo = tuple(HALO_OPACITY * part + (1 - HALO_OPACITY) * ground for part in HALO)
    for mark in (TRUE, PREDICTED):
        assert contrast(mark.colour, halo) > 3


def test_the_layer_over_a_photo_shows_what_is_painted_into_it() -> None:
    photo_HW3 = np.random.default_rng(1).integers(0, 256, (7, 12, 3)).astype(np.uint8)
    marks_HW = marks(mask(FOUND), mask(TRUTH), (7, 12))
    file = io.BytesIO()
    as_layer(marks_HW).save(file, "PNG", optimize=True)
    layer = Image.open(file).convert("RGBA")
    assert set(np.asarray(layer)[marks_HW == 0, 3]) == {0}
    lying_over = Image.alpha_composite(Image.fromarray(photo_HW3).convert("RGBA"), layer).convert("RGB")
    assert np.abs(np.asarray(lying_over).astype(int) - painted(photo_HW3, marks_HW)).max() <= 1
    assert (painted(photo_HW3, marks_HW)[marks_HW == 0] == photo_HW3[marks_HW == 0]).all()
    assert np.abs(painted(photo_HW3, marks_HW).astype(int) - photo_HW3).max() > 100
