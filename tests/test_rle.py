from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from kaggle_tools import rle

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
ORDERS = st.sampled_from(["row-major", "column-major"])


def mask_of(*rows: str) -> NDArray[np.bool_]:
    return np.array([[character == "#" for character in row] for row in rows])


@pytest.mark.parametrize(
    ("mask", "row_major", "column_major"),
    [
        (mask_of(".##", "#.."), "2 3", "2 2 5 1"),
        (mask_of("#..", "..#"), "1 1 6 1", "1 1 6 1"),
        (mask_of(".#.", ".#."), "2 1 5 1", "3 2"),
        (mask_of("..", ".."), "", ""),
        (mask_of("##", "##", "##"), "1 6", "1 6"),
        (mask_of("#"), "1 1", "1 1"),
        (mask_of("."), "", ""),
        (mask_of("#.##"), "1 1 3 2", "1 1 3 2"),
        (mask_of("#", ".", "#", "#"), "1 1 3 2", "1 1 3 2"),
    ],
    ids=["two rows", "corners", "a column", "blank", "full", "set pixel", "unset pixel", "one row", "one column"],
)
def test_encodings_of_masks_written_by_hand(mask: NDArray[np.bool_], row_major: str, column_major: str) -> None:
    assert rle.encode(mask) == row_major
    assert rle.encode(mask, "column-major") == column_major
    assert np.array_equal(rle.decode(row_major, mask.shape), mask)
    assert np.array_equal(rle.decode(column_major, mask.shape, "column-major"), mask)


def test_run_lengths_count_pixels_from_the_number_of_the_first_one() -> None:
    assert rle.encode(mask_of("#.#"), first=0) == "0 1 2 1"
    assert np.array_equal(rle.decode("0 1 2 1", (1, 3), first=0), mask_of("#.#"))


def test_carvanas_own_file_counts_along_rows_from_1() -> None:
    # The beginning of 00087a6bd4dc_01 in Kaggle's train_masks.csv: four rows of a car's roof.
    mask = np.zeros((1280, 1918), dtype=bool)
    mask[458, 941:981] = mask[459, 890:1031] = mask[460, 859:1064] = mask[461, 810:827] = True
    assert rle.encode(mask) == "879386 40 881253 141 883140 205 885009 17"


def test_a_mask_that_is_not_bool_is_refused() -> None:
    with pytest.raises(TypeError, match="a mask is bool, not uint8"):
        rle.encode(np.ones((2, 2), dtype=np.uint8))  # type: ignore[arg-type]


@given(mask=MASKS, order=ORDERS, first=st.integers(0, 1))
def test_decoding_undoes_encoding(mask: NDArray[np.bool_], order: rle.Order, first: int) -> None:
    assert np.array_equal(rle.decode(rle.encode(mask, order, first), mask.shape, order, first), mask)


@given(mask=MASKS)
def test_pycocotools_finds_the_same_runs_in_columns(mask: NDArray[np.bool_]) -> None:
    assert coco.encode(np.asfortranarray(mask, dtype=np.uint8)) == as_coco(rle.encode(mask, "column-major"), mask.shape)


@given(mask=MASKS)
def test_pycocotools_finds_the_same_runs_in_the_rows_of_the_transposed_mask(mask: NDArray[np.bool_]) -> None:
    assert coco.encode(np.asfortranarray(mask.T, dtype=np.uint8)) == as_coco(rle.encode(mask), mask.T.shape)


def as_coco(text: str, shape: tuple[int, ...]) -> dict:
    """In pycocotools' form: alternating lengths of unset and set pixels, down the columns."""
    counts, end = [], 0
    for start, length in rle.parse(text, None).tolist():
        counts += [start - end, length]
        end = start + length
    pixels = int(np.prod(shape))
    counts += [pixels - end] if pixels > end else []
    return coco.frPyObjects({"counts": counts, "size": list(shape)}, *shape)


@given(data=st.data(), shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
def test_the_shared_pixels_of_two_masks_follow_from_their_runs(data: st.DataObject, shape: tuple[int, int]) -> None:
    one, other = (data.draw(hnp.arrays(bool, shape)) for _ in range(2))
    assert rle.shared_pixels(rle.find_runs(one), rle.find_runs(other)) == np.count_nonzero(one & other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "3 numbers, but every start needs a length"),
        ("nan", "'nan' is not a number"),
        ("1 2 -3 1", "'-3' is not a number"),
        ("1 2.0", "'2.0' is not a number"),
        ("1 1e3", "'1e3' is not a number"),
        ("1\u00a02", "is not a number"),
        ("1 \u0663", "'\u0663' is not a number"),
        ("1 99999999999999999999", "a number of more than 18 digits"),
        ("1 2 5 0", "a run of length 0"),
        ("5 1 1 2", "the runs overlap or are not in ascending order"),
        ("1 3 3 1", "the runs overlap or are not in ascending order"),
        ("0 2", "a run starts at pixel 0, but the first one is 1"),
        ("10 4", "a run ends at pixel 13, but the last one is 12"),
        ("14 1", "a run ends at pixel 14, but the last one is 12"),
    ],
)
def test_a_text_that_encodes_no_mask_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rle.parse(text, pixels=12)


def test_runs_that_touch_or_reach_the_last_pixel_are_valid() -> None:
    assert rle.parse(" 1 2  3 1\t12 1\n", pixels=12).tolist() == [[0, 2], [2, 1], [11, 1]]


def test_a_run_may_end_anywhere_if_the_size_of_the_mask_is_unknown() -> None:
    assert rle.parse("1000000 5", pixels=None).tolist() == [[999_999, 5]]


def test_an_empty_text_encodes_a_blank_mask_and_one_of_spaces_is_refused() -> None:
    assert rle.parse("", pixels=12).shape == (0, 2)
    for text in (" ", "\n", " \t "):
        with pytest.raises(ValueError, match="nothing but spaces; a blank mask is an empty text"):
            rle.parse(text, pixels=12)


def test_every_mask_of_the_real_competition_is_the_same_after_encoding_and_decoding(carvana_photos: Path) -> None:
    paths = sorted((carvana_photos / "train_masks").iterdir())
    assert len(paths) == 320
    for path in paths:
        with Image.open(path) as image:
            mask = np.asarray(image.convert("L")) > 0
        assert np.array_equal(rle.decode(rle.encode(mask), mask.shape), mask), path.name
