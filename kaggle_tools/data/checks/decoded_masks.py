"""Whether training masks that were decoded from run lengths look as if their pixels were numbered otherwise.

Masks decoded in a wrong order are noise, and those from a wrong first number on lie beside what they show: a training
goes on all the same.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from PIL import Image

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.numbering import Numbering, crossing_shares, most_coherent, order_of_outlines
from kaggle_tools.data.images import read_mask, read_photo
from kaggle_tools.data.listing import Photo, targets_of
from kaggle_tools.errors import counted

SOME = 200
"""So many masks are looked at."""
TIMES = 10
"""By a wrong first number so many times as many runs, at least, go on beyond the end of a line."""
FEW = 0.01
"""Of so few runs nothing is concluded."""


class _Mask(NamedTuple):
    """A mask that is not blank."""

    photo: Photo
    text: str
    """Its run lengths."""


def doubt_of_numbering(photos: Sequence[Photo], competition: Competition) -> str | None:
    """What speaks against the competition's order of pixels, or their first number; None where nothing does."""
    given = Numbering(competition.rle_order, competition.rle_first)
    masks = [*islice(_masks(photos, given), SOME)]
    of = f"{competition.train_masks}: of {counted(len(masks), 'mask')}"
    shares = crossing_shares([(mask.text, mask.photo.size) for mask in masks])
    best = most_coherent(shares)
    if best and best.order != given.order:
        crossing = f"{shares[given]:.0%} of the runs go on beyond the end of a line, as {best.order} {shares[best]:.1%}"
        return f"{of} {crossing}; look up rle_order, which is {given.order}"
    other = Numbering(given.order, 1 - given.first)
    if best and shares[given] > max(FEW, TIMES * shares.get(other, 1)):
        crossing = f"{shares[given]:.0%} of the runs go on beyond the end of a line, from {other.first} on "
        return f"{of} {crossing}{shares[other]:.1%}; look up rle_first, which is {given.first}"
    if best is None and _order_by_outlines(masks, given.first) not in (None, given.order):
        return f"{of} most outlines lie off the edges in their photos; look up rle_order, which is {given.order}"
    return None


def _masks(photos: Sequence[Photo], numbering: Numbering) -> Iterator[_Mask]:
    for target in targets_of(photos):
        if target.mask and (mask_HW := read_mask(target.mask)).any():
            yield _Mask(target, rle.encode(mask_HW, *numbering))


def _order_by_outlines(masks: Sequence[_Mask], first: int) -> str | None:
    grays = ((mask.text, np.asarray(Image.fromarray(read_photo(mask.photo.path)).convert("L"))) for mask in masks)
    return order_of_outlines(grays, first)
