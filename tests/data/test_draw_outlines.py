import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools.data.draw_outlines import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    PREDICTED,
    TRUE,
    colour_errors,
    draw_outlines,
)

GRAY = 90


def photo(height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GRAY, dtype=np.uint8)


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = (6, 8)) -> NDArray[np.bool_]:
    mask_HW = np.zeros(size, dtype=bool)
    mask_HW[top:bottom, left:right] = True
    return mask_HW


def letters(drawn_HW3: NDArray[np.uint8]) -> list[str]:
    """p and t: outlines of the predicted and the true mask; n and o: false negative and false positive pixels."""
    mixed = [tuple(int(0.35 * GRAY + 0.65 * part) for part in mark.colour) for mark in (FALSE_NEGATIVE, FALSE_POSITIVE)]
    names = dict(zip([(GRAY,) * 3, PREDICTED.colour, TRUE.colour, *mixed], ".ptno", strict=True))
    return ["".join(names[tuple(pixel)] for pixel in row.tolist()) for row in drawn_HW3]


def test_outlines_and_errors_have_the_colours_of_okabe_and_ito() -> None:
    """Of "Color Universal Design", 2008: vermilion, blue, orange and sky blue, which colour-blind people tell apart."""
    palette = [mark.colour for mark in (TRUE, PREDICTED, FALSE_NEGATIVE, FALSE_POSITIVE)]
    assert palette == [(213, 94, 0), (0, 114, 178), (230, 159, 0), (86, 180, 233)]


def test_the_outline_of_the_predicted_mask_lies_on_the_mask() -> None:
    assert letters(draw_outlines(photo(), box(1, 2, 5, 6))) == [
        "........",
        "..pppp..",
        "..p..p..",
        "..p..p..",
        "..pppp..",
        "........",
    ]


def test_the_outline_of_the_true_mask_lies_below_the_predicted_one() -> None:
    assert letters(draw_outlines(photo(), box(1, 2, 5, 6), box(1, 4, 6, 8))) == [
        "........",
        "..pppptt",
        "..p.tp.t",
        "..p.tp.t",
        "..pppp.t",
        "....tttt",
    ]


def test_a_hole_in_a_mask_has_an_outline_too() -> None:
    ring_HW = box(0, 0, 6, 7) & ~box(2, 3, 4, 4)
    assert letters(draw_outlines(photo(), ring_HW)) == [
        "ppppppp.",
        "p..p..p.",
        "p.p.p.p.",
        "p.p.p.p.",
        "p..p..p.",
        "ppppppp.",
    ]


@pytest.mark.parametrize("masks", [(box(0, 0, 0, 0),), (box(0, 0, 0, 0), box(0, 0, 0, 0))])
def test_an_empty_mask_has_no_outline(masks: tuple[NDArray[np.bool_], ...]) -> None:
    assert np.array_equal(draw_outlines(photo(), *masks), photo())


def test_a_mask_of_another_size_is_outlined_at_the_size_of_the_photo() -> None:
    assert letters(draw_outlines(photo(), box(1, 1, 2, 3, size=(3, 4)))) == [
        "........",
        "........",
        "..pppp..",
        "..pppp..",
        "........",
        "........",
    ]


def test_false_negative_and_false_positive_pixels_have_colours_of_their_own() -> None:
    assert letters(colour_errors(photo(2, 4), box(0, 1, 2, 3, (2, 4)), box(0, 2, 2, 4, (2, 4)))) == [".o.n"] * 2


def test_a_single_wrong_pixel_is_coloured_in_a_photo_of_half_the_size() -> None:
    wrong_HW = box(2, 5, 3, 6, size=(4, 8))
    assert letters(colour_errors(photo(2, 4), wrong_HW, box(0, 0, 0, 0, size=(4, 8)))) == ["....", "..o."]


def test_a_wrong_pixel_of_an_enlarged_photo_is_a_square() -> None:
    wrong_HW = box(0, 1, 1, 2, size=(2, 2))
    assert letters(colour_errors(photo(4, 4), box(0, 0, 0, 0, size=(2, 2)), wrong_HW)) == [
        "..nn",
        "..nn",
        "....",
        "....",
    ]


def test_the_photo_that_is_drawn_on_stays_as_it_is() -> None:
    given = photo()
    draw_outlines(given, box(1, 2, 5, 6), box(1, 4, 6, 8))
    colour_errors(given, box(1, 2, 5, 6), box(1, 4, 6, 8))
    assert np.array_equal(given, photo())


# What the two common kinds of colour blindness make of linear light (Viénot, Brettel and Mollon 1999, of sRGB).
PROTANOPIA = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTERANOPIA = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["all colours", "no red", "no green"])
def test_what_is_true_and_what_is_predicted_can_be_told_apart_by_the_colour_blind(seen: NDArray[np.float64]) -> None:
    def as_seen(colour: tuple[int, int, int]) -> NDArray[np.float64]:
        return 255 * np.clip(seen @ (np.array(colour) / 255) ** 2.2, 0, 1) ** (1 / 2.2)

    for warm in (TRUE, FALSE_NEGATIVE):
        for cool in (PREDICTED, FALSE_POSITIVE):
            assert np.linalg.norm(as_seen(warm.colour) - as_seen(cool.colour)) > 150
