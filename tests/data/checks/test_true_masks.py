import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.checks import foreground, true_masks
from kaggle_tools.data.checks.true_masks import MaskReport, inspect_masks
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError

SIZE = (10, 20)


def box(top: int = 2, left: int = 5, height: int = 5, width: int = 8) -> NDArray[np.bool_]:
    """A box of 40 of 200 pixels, away from the edge."""
    mask_HW = np.zeros(SIZE, bool)
    mask_HW[top : top + height, left : left + width] = True
    return mask_HW


def photo(folder: Path, stem: str, mask: NDArray) -> Photo:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{stem}.jpg")
    Image.fromarray(mask).save(folder / f"{stem}_mask.png")
    return Photo(stem, folder / f"{stem}.jpg", SIZE, folder / f"{stem}_mask.png")


def photos(folder: Path, **masks: NDArray) -> list[Photo]:
    return [photo(folder, stem, mask_HW) for stem, mask_HW in masks.items()]


BLANK, FULL = np.zeros(SIZE, bool), np.ones(SIZE, bool)


def test_masks_as_they_should_be_give_their_mean_coverage_and_no_warning(tmp_path: Path) -> None:
    report = inspect_masks(photos(tmp_path, a=box(), b=box(width=4)))
    assert report == MaskReport(masks=2, coverage=pytest.approx(0.15))
    assert report.warnings(blank_usual=False) == []


def test_blank_and_full_masks_are_counted_and_named(tmp_path: Path) -> None:
    report = inspect_masks(photos(tmp_path, a=box(), b=BLANK, c=FULL, d=box(), e=BLANK))
    assert (report.blank, report.full) == (("b_mask.png", "e_mask.png"), ("c_mask.png",))
    assert report.warnings(blank_usual=False) == [
        "2 of 5 masks are blank: b_mask.png, e_mask.png",
        "1 of 5 masks is full: c_mask.png",
    ]


def test_blank_masks_are_nothing_to_say_where_they_are_usual(tmp_path: Path) -> None:
    assert inspect_masks(photos(tmp_path, a=box(), b=BLANK)).warnings(blank_usual=True) == []


@pytest.mark.parametrize(("mask", "kind"), [(BLANK, "blank"), (FULL, "full")])
def test_masks_that_are_all_blank_or_all_full_are_refused(tmp_path: Path, mask: NDArray, kind: str) -> None:
    with pytest.raises(InputError, match=rf"^all 2 true masks are {kind}: a_mask\.png, b_mask\.png; what is"):
        inspect_masks(photos(tmp_path, a=mask, b=mask))


def test_masks_whose_foreground_surrounds_the_rest_are_probably_inverted(tmp_path: Path) -> None:
    report = inspect_masks(photos(tmp_path, a=~box(), b=~box(width=4), c=~box(height=3)))
    assert report.warnings(blank_usual=False) == [
        "all 3 masks are probably inverted, as their foreground surrounds the rest: a_mask.png, b_mask.png, c_mask.png"
    ]


def test_one_inverted_mask_among_good_ones_is_named(tmp_path: Path) -> None:
    report = inspect_masks(photos(tmp_path, a=box(), b=~box(), c=box(), d=BLANK))
    assert report.inverted == ("b_mask.png",)


def test_where_things_reach_the_edge_one_that_surrounds_the_rest_is_nothing_odd(tmp_path: Path) -> None:
    half = box(0, 0, *SIZE) & (np.arange(SIZE[1]) < 12)
    report = inspect_masks(photos(tmp_path, a=half, b=~box(), c=half, d=~half))
    assert report.inverted == ()


def test_masks_that_are_not_plain_are_named_with_what_was_taken(tmp_path: Path) -> None:
    soft = np.where(box(), np.arange(20, dtype=np.uint8) + 200, 3).astype(np.uint8)
    report = inspect_masks(photos(tmp_path, a=box(), b=soft, c=soft))
    assert report.coverage == pytest.approx(0.2)
    assert report.ambiguous == {foreground.HALF: ("b_mask.png", "c_mask.png")}
    assert report.warnings(blank_usual=False) == [
        "2 of 3 masks are not plainly black and white: b_mask.png, c_mask.png; "
        "taken as foreground: values above half of the highest"
    ]


def test_all_photos_and_masks_that_cannot_be_read_are_named_in_one_message(tmp_path: Path) -> None:
    given = photos(tmp_path, a=box(), b=box(), c=box(), d=box())
    content = given[1].path.read_bytes()
    given[1].path.write_bytes(content[: len(content) // 2])
    middle = len(content) // 2
    given[2].path.write_bytes(content[:middle] + bytes(60) + content[middle + 60 :])
    assert given[3].mask
    given[3].mask.write_bytes(given[3].mask.read_bytes()[:40])
    with pytest.raises(InputError) as refusal:
        inspect_masks(given)
    first, *named = str(refusal.value).splitlines()
    assert first == "3 photos or masks cannot be read; repair or remove them first:"
    found = [re.search(r"/([^/]+): not a (photo|mask) that can be read", line) for line in named]
    assert [one[1] if one else "" for one in found] == ["b.jpg", "c.jpg", "d_mask.png"]


def test_of_very_many_unreadable_files_twenty_are_named(tmp_path: Path) -> None:
    given = photos(tmp_path, **{f"p{number:02}": box() for number in range(23)})
    for one in given:
        one.path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError) as refusal:
        inspect_masks(given)
    assert len(str(refusal.value).splitlines()) == 22
    assert str(refusal.value).endswith("\n  and 3 more")


def test_a_mask_that_was_written_here_is_plain(tmp_path: Path) -> None:
    (one,) = photos(tmp_path, a=box())
    assert one.mask
    write_mask(one.mask, box())
    assert inspect_masks([one]).ambiguous == {}


@pytest.mark.parametrize(("edge", "pixels"), [("top", 22), ("bottom", 22), ("left", 12), ("right", 12)])
def test_each_edge_of_a_mask_counts(tmp_path: Path, edge: str, pixels: int) -> None:
    """Of 10 rows and 20 columns; a corner counts for both of its edges, which have 60 pixels in all."""
    place = {"top": np.s_[0], "bottom": np.s_[-1], "left": np.s_[:, 0], "right": np.s_[:, -1]}[edge]
    mask_HW = np.zeros(SIZE, bool)
    mask_HW[place] = True
    assert true_masks._look(photo(tmp_path, "a", mask_HW)).at_edge == pytest.approx(pixels / 60)
