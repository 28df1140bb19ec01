from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools import rle
from kaggle_tools.data.checks.numbering import (
    Numbering,
    first_of_coherent_masks,
    majority,
    of_equal_masks,
    only_first_that_fits,
    order_of_coherent_masks,
    votes_of_outlines,
)


def blob(height: int, width: int, seed: int) -> NDArray[np.bool_]:
    """An ellipse inside of a photo of this size."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    row, column = generator.uniform(0.4, 0.6, 2) * (height, width)
    return ((rows - row) / (0.3 * height)) ** 2 + ((columns - column) / (0.2 * width)) ** 2 < generator.uniform(0.5, 1)


NUMBERINGS = [*product(["row-major", "column-major"], [0, 1])]


@pytest.mark.parametrize(("order", "first"), NUMBERINGS)
def test_equal_masks_show_order_and_first_number(order: Any, first: int) -> None:
    masks = [blob(20, 30, seed) for seed in range(3)]
    texts = [rle.encode(mask_HW, order, first) for mask_HW in masks]
    assert of_equal_masks([*zip(texts, masks, strict=True)]) == [Numbering(order, first)]
    assert of_equal_masks([(texts[0], masks[0]), (texts[1], masks[2])]) == []
    square_HW = np.pad(np.ones((4, 4), dtype=bool), 3)
    equal = of_equal_masks([(rle.encode(square_HW, order, first), square_HW)])
    assert sorted(equal) == [("column-major", first), ("row-major", first)]


@pytest.mark.parametrize(("order", "first"), NUMBERINGS)
def test_coherent_masks_show_the_order(order: Any, first: int) -> None:
    texts = [(rle.encode(blob(200, 300, seed), order, first), (200, 300)) for seed in range(5)]
    assert order_of_coherent_masks(texts, first) == order


def test_masks_of_noise_or_of_square_photos_are_not_coherent() -> None:
    noise = np.random.default_rng(0).random((20, 30)) < 0.5
    assert order_of_coherent_masks([(rle.encode(noise), (20, 30))], 1) is None
    assert order_of_coherent_masks([(rle.encode(blob(20, 20, 0)), (20, 20))], 1) is None
    assert order_of_coherent_masks([], 1) is None


@pytest.mark.parametrize("order", ["row-major", "column-major"])
@pytest.mark.parametrize("size", [(64, 256), (181, 270)])
@pytest.mark.parametrize("sides", [(2, 2), (0, 2), (2, 0)])
def test_masks_along_the_edges_show_the_order_too(order: Any, size: tuple[int, int], sides: tuple[int, int]) -> None:
    """In the right order nearly each of their runs goes on from one line into the next."""
    mask_HW = np.ones(size, dtype=bool)
    mask_HW[sides[0] : size[0] - sides[0], sides[1] : size[1] - sides[1]] = False
    assert order_of_coherent_masks([(rle.encode(mask_HW, order), size)] * 12, 1) in (order, None)


@pytest.mark.parametrize(("order", "first"), NUMBERINGS)
def test_masks_that_reach_opposite_edges_show_the_first_number(order: Any, first: int) -> None:
    """From the wrong number on a run that begins, or ends, with its line has a pixel in the line beside."""
    mask_HW = np.zeros((20, 30), dtype=bool)
    mask_HW[4:16, 10:] = mask_HW[12:, 12:20] = True
    texts = [(rle.encode(one_HW, order, first), (20, 30)) for one_HW in (mask_HW, mask_HW[::-1, ::-1])]
    assert first_of_coherent_masks(texts, order) == first
    inside = [(rle.encode(blob(20, 30, seed), order, first), (20, 30)) for seed in range(3)]
    assert first_of_coherent_masks(inside, order) is None


@pytest.mark.parametrize("true", [0, 1])
def test_masks_of_which_all_that_reach_an_edge_go_on_at_the_other_show_no_first_number(true: int) -> None:
    """One pixel at the end of a column and six at the beginning of the next look like seven there, one number on."""
    mask_HW = np.zeros((96, 144), dtype=bool)
    mask_HW[:6, 20:90] = mask_HW[-1:, 20:90] = True
    masks = [mask_HW, mask_HW[::-1]]
    for of_masks in ([mask_HW] * 5, [mask_HW[::-1]] * 5, masks):
        texts = [(rle.encode(one_HW, "column-major", true), (96, 144)) for one_HW in of_masks]
        assert first_of_coherent_masks(texts, "column-major") in (true, None)


@pytest.mark.parametrize(("text", "first"), [("0 1", 0), ("600 1", 1), ("1 1", None), ("0 1 599 2", None)])
def test_the_first_and_the_last_pixel_show_the_first_number(text: str, first: int | None) -> None:
    """Of 20x30 pixels the last one is 599, or 600."""
    assert only_first_that_fits([("5 1", (20, 30)), ("9 0", (20, 30)), (text, (20, 30))]) == first


def test_few_runs_do_not_tell() -> None:
    """A box of nine rows has nine runs."""
    for rows, found in ((9, None), (10, "row-major")):
        mask_HW = np.zeros((14, 103), dtype=bool)
        mask_HW[2 : 2 + rows, 4:90] = True
        assert order_of_coherent_masks([(rle.encode(mask_HW), (14, 103))], 1) == found


def test_run_lengths_that_reach_beyond_the_photo_are_of_no_order() -> None:
    assert order_of_coherent_masks([("600 2", (20, 30))] * 10, 1) is None


@pytest.mark.parametrize("order", ["row-major", "column-major"])
def test_outlines_on_edges_of_square_photos_show_the_order(order: Any) -> None:
    masks = [blob(40, 40, seed) for seed in range(20)]
    photos = [(mask_HW * 90 + 60).astype(np.uint8) for mask_HW in masks]
    texts = [rle.encode(mask_HW, order) for mask_HW in masks]
    assert majority(votes_of_outlines([*zip(texts, photos, strict=True)], first=1)) == order


def test_run_lengths_that_do_not_fit_their_photo_tell_nothing_of_its_edges() -> None:
    photo = (blob(40, 40, 0) * 90).astype(np.uint8)
    assert majority(votes_of_outlines([("0 2", photo)] * 30, first=1)) is None


def test_outlines_tell_nothing_where_photos_have_no_edges() -> None:
    flat = np.zeros((40, 40), np.uint8)
    texts = [rle.encode(blob(40, 40, seed)) for seed in range(30)]
    assert majority(votes_of_outlines([(text, flat) for text in texts], first=1)) is None
    assert majority(votes_of_outlines([], first=1)) is None


@pytest.mark.parametrize(
    ("rows", "columns", "found"),
    [(0, 0, None), (9, 25, None), (8, 26, None), (5, 30, "column-major"), (30, 5, "row-major"), (16, 0, None)],
)
def test_a_majority_is_more_than_chance_gives(rows: int, columns: int, found: str | None) -> None:
    """Of 34 votes the difference must be more than 4 times 5.83, and of 35 more than 23.7."""
    assert majority({"row-major": rows, "column-major": columns}) == found
