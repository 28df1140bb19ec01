"""In which order the pixels of run lengths are numbered, and from which number on: told from masks, or from photos.

H height, W width.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import sqrt
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools import rle
from kaggle_tools.data.images import Size, read_photo
from kaggle_tools.rle import Order

ORDERS: tuple[Order, ...] = get_args(Order)
FIRSTS = (1, 0)
COHERENT = 0.05
"""In the right order at most this share of runs goes on beyond the end of a line, in the wrong one twice as many."""
SHORTER = 0.9
"""Times the length that outlines have in the wrong order, which scatters what belongs together."""
LEAST_RUNS = 10
"""Of fewer runs nothing is concluded."""
LEAST_RATIO, LEAST_SHARE = 10, 0.01
"""A first number is wrong where so many times as many runs as from the other one on go on beyond the end of a line, and
they are this share of all."""
LEAST_EDGES = 5
"""From the right first number on so many runs begin at an edge of the photo, and so many end at one."""
AROUND = 15
"""Pixels: so wide is what an outline is held against."""
SURE = 4.0
"""Standard deviations by which a majority must differ from a half."""


class Numbering(NamedTuple):
    """How pixels are numbered."""

    order: Order
    first: int


def of_equal_masks(masks: Sequence[tuple[str, NDArray[np.bool_]]]) -> list[Numbering]:
    """All numberings in which run lengths are those of the masks, (H, W), beside them."""
    return [
        numbering
        for numbering in map(Numbering._make, product(ORDERS, FIRSTS))
        if all(rle.encode(mask_HW, *numbering) == " ".join(text.split()) for text, mask_HW in masks)
    ]


def order_of_coherent_masks(masks: Sequence[tuple[str, Size]], first: int) -> Order | None:
    """The order in which hardly a run goes on beyond the end of a line, and outlines are shorter; None if none is sure.

    Of few masks, and of photos one of whose sides is a multiple of the other, none is, as there the ends of rows are
    also ends of columns, or the other way round.
    """
    telling = [(text, size) for text, size in masks if max(size) % min(size)]
    crossing = {order: _least_crossing(telling, order) for order in ORDERS}
    right, wrong = sorted(ORDERS, key=lambda order: crossing[order])
    if crossing[right] > COHERENT or crossing[wrong] <= 2 * COHERENT:
        return None
    try:
        lengths = {order: sum(_outline(rle.decode(*mask, order, first)) for mask in telling) for order in ORDERS}
    except ValueError:  # of other photos than that
        return None
    return right if lengths[right] <= SHORTER * lengths[wrong] else None


def only_first_that_fits(masks: Sequence[tuple[str, Size]]) -> int | None:
    """The one number of the first pixel from which on no run begins before its photo, or ends behind it; or None.

    Masks that fit from neither on, as damaged ones, say nothing.
    """
    fitting = [[first for first in FIRSTS if _fits(text, size, first)] for text, size in masks]
    sure = {firsts[0] for firsts in fitting if len(firsts) == 1}
    return sure.pop() if len(sure) == 1 else None


def _fits(text: str, size: Size, first: int) -> bool:
    try:
        rle.parse(text, size[0] * size[1], first)
    except ValueError:
        return False
    return True


def first_of_coherent_masks(masks: Sequence[tuple[str, Size]], order: Order) -> int | None:
    """The number of the first pixel from which on hardly a run goes on beyond the end of a line; None if none is sure.

    From the other one on, masks that reach an end of lines have a pixel of theirs in the line beside. Masks must reach
    both ends: where all that reach one go on at the other, they look as if the wrong number was right.
    """
    shares = [crossing_share(masks, Numbering(order, first)) for first in FIRSTS]
    for first, share, other in zip(FIRSTS, shares, reversed(shares), strict=True):
        if share is not None and other is not None and other >= max(LEAST_SHARE, LEAST_RATIO * share):
            edges = np.sum([_runs_at_edges(*mask, Numbering(order, first)) for mask in masks], axis=0)
            return first if edges.min() >= LEAST_EDGES else None
    return None


def _runs_at_edges(text: str, size: Size, numbering: Numbering) -> tuple[int, int]:
    """How many runs begin where a line does, and how many end where it does, of those within one line."""
    begins, ends = rle.parse(text, size[0] * size[1], numbering.first).cumsum(axis=1).T
    line = size[1] if numbering.order == "row-major" else size[0]
    is_within = begins // line == (ends - 1) // line
    is_part = ends - begins < line  # a whole line reaches both, whichever is the first number
    at_begin, at_end = begins % line == 0, ends % line == 0
    return int((is_within & is_part & at_begin).sum()), int((is_within & is_part & at_end).sum())


def _least_crossing(masks: Sequence[tuple[str, Size]], order: Order) -> float:
    """The share of runs that go on beyond the end of a line, from whichever first number on; 1 if it is not known."""
    shares = [crossing_share(masks, Numbering(order, first)) for first in FIRSTS]
    return min((share for share in shares if share is not None), default=1.0)


def _outline(mask_HW: NDArray[np.bool_]) -> int:
    """How many neighbouring pixels differ, one above or beside the other."""
    return int((mask_HW[1:] != mask_HW[:-1]).sum() + (mask_HW[:, 1:] != mask_HW[:, :-1]).sum())


def crossing_share(masks: Sequence[tuple[str, Size]], numbering: Numbering) -> float | None:
    """The share of runs that go on beyond the end of a line; None if there are few, or one does not fit its photo."""
    found = [_crossing(text, size, numbering) for text, size in masks]
    crossing, runs = np.sum([one for one in found if one], axis=0) if any(found) else (0, 0)
    return float(crossing / runs) if None not in found and runs >= LEAST_RUNS else None


def _crossing(text: str, size: Size, numbering: Numbering) -> tuple[int, int] | None:
    """How many runs go on beyond the end of a line, and how many there are; None where they do not fit the photo."""
    try:
        runs = rle.parse(text, size[0] * size[1], numbering.first)
    except ValueError:
        return None
    line = size[1] if numbering.order == "row-major" else size[0]
    begun_in, ended_in = runs[:, 0] // line, (runs.sum(axis=1) - 1) // line
    return int((begun_in != ended_in).sum()), len(runs)


def votes_of_outlines(masks: Iterable[tuple[str, NDArray[np.uint8]]], first: int) -> dict[Order, int]:
    """Of how many masks the outlines lie on stronger edges of the gray photos beside them, (H, W), in each order.

    It also tells rows from columns where photos are as high as they are wide.
    """
    votes = dict.fromkeys(ORDERS, 0)
    for text, gray_HW in masks:
        smooth_HW = cv2.GaussianBlur(gray_HW.astype(np.float32), (0, 0), 1)
        change_HW = np.hypot(cv2.Sobel(smooth_HW, cv2.CV_32F, 1, 0), cv2.Sobel(smooth_HW, cv2.CV_32F, 0, 1))
        edges = {order: _edges(text, change_HW, order, first) for order in ORDERS}
        if len(set(edges.values())) > 1:
            votes[max(ORDERS, key=lambda order: edges[order])] += 1
    return votes


def gray_photo(path: Path) -> NDArray[np.uint8]:
    """The photo as its outlines are looked for, (H, W).

    Raises:
        InputError: it cannot be read.
    """
    return np.asarray(Image.fromarray(read_photo(path)).convert("L"))


def majority(votes: Mapping[Order, int]) -> Order | None:
    """The order with more votes than chance gives; None where there is none."""
    most, least = sorted(ORDERS, key=lambda order: -votes[order])
    is_sure = votes[most] - votes[least] > SURE * sqrt(votes[most] + votes[least])
    return most if is_sure else None


def _edges(text: str, change_HW: NDArray[np.float32], order: Order, first: int) -> float:
    """How much more the photo changes along the mask's outline than around it, which may be full of edges itself."""
    try:
        mask_HW = rle.decode(text, change_HW.shape, order, first).astype(np.uint8)
    except ValueError:  # of another photo than that
        return 0.0
    outline_HW = cv2.morphologyEx(mask_HW, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    around_HW = cv2.dilate(outline_HW, np.ones((AROUND, AROUND), np.uint8)).astype(bool)
    if not (outline_HW.any() and change_HW[around_HW].any()):
        return 0.0
    return float(change_HW[outline_HW.astype(bool)].mean() / change_HW[around_HW].mean())
