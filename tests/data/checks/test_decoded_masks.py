from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.decoded_masks import doubt_of_numbering
from kaggle_tools.data.images import Size, write_gray, write_mask
from kaggle_tools.data.listing import Photo

ORDERS, FIRSTS = ["row-major", "column-major"], [1, 0]


def ellipse(size: Size, seed: int) -> NDArray[np.bool_]:
    """Of some it is cut by an edge of the photo."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    row, column = generator.uniform(0.3, 0.7, 2) * size
    return ((rows - row) / (0.45 * size[0])) ** 2 + ((columns - column) / (0.4 * size[1])) ** 2 < 1


def photos_of(folder: Path, size: Size, true: tuple[Any, int], given: tuple[Any, int]) -> list[Photo]:
    """Photos of ellipses whose run lengths, in the true numbering, were decoded in the given one; the last is blank."""
    photos = []
    for number in range(21):
        mask_HW = ellipse(size, number) if number < 20 else np.zeros(size, bool)
        path, mask = folder / f"{number:02}.png", folder / f"{number:02}_mask.png"
        write_gray(path, (mask_HW * 90 + 60).astype(np.uint8))
        write_mask(mask, rle.decode(rle.encode(mask_HW, *true), size, *given))
        photos.append(Photo(path.stem, path, size, mask))
    return photos


@pytest.fixture
def tables(tiles: Competition) -> Competition:
    return replace(tiles, train_masks="train.csv")


@pytest.mark.parametrize(("order", "first"), [*product(ORDERS, FIRSTS)])
@pytest.mark.parametrize("size", [(40, 60), (50, 50)])
def test_nothing_is_said_of_the_right_numbering(
    tables: Competition, tmp_path: Path, order: Any, first: int, size: Size
) -> None:
    right = replace(tables, rle_order=order, rle_first=first)
    assert doubt_of_numbering(photos_of(tmp_path, size, (order, first), (order, first)), right) is None


@pytest.mark.parametrize(("order", "other"), [("row-major", "column-major"), ("column-major", "row-major")])
def test_the_wrong_order_is_named(tables: Competition, tmp_path: Path, order: Any, other: Any) -> None:
    wrong = replace(tables, rle_order=other, rle_first=1)
    doubt = doubt_of_numbering(photos_of(tmp_path, (40, 60), (order, 1), (other, 1)), wrong)
    told = f"read as {other}, the masks are noise, as {order} they hold together; look up rle_order"
    assert doubt == f"train.csv: {told} on the competition's Data page"


def test_outlines_tell_the_wrong_order_of_square_photos(tables: Competition, tmp_path: Path) -> None:
    """Of ellipses that are no circles."""
    wrong = replace(tables, rle_order="row-major", rle_first=1)
    photos = photos_of(tmp_path, (50, 50), ("column-major", 1), ("row-major", 1))
    assert doubt_of_numbering(photos, wrong) == (
        "train.csv: read as column-major, the outlines of 20 masks lie on stronger edges of their photos, as row-major "
        "those of 0: the masks may lie on their side; look up rle_order on the competition's Data page"
    )


@pytest.mark.parametrize(("true", "first"), [(1, 0), (0, 1)])
def test_the_wrong_first_number_shows_in_masks_that_reach_the_edge(
    tables: Competition, tmp_path: Path, true: int, first: int
) -> None:
    wrong = replace(tables, rle_order="row-major", rle_first=first)
    doubt = doubt_of_numbering(photos_of(tmp_path, (40, 60), ("row-major", true), ("row-major", first)), wrong)
    assert doubt
    assert doubt.startswith(f"train.csv: counted from {first}, ")
    assert f"beyond the end of a line, from {true} 0.0%: the masks may lie a pixel off; look up rle_first" in doubt
