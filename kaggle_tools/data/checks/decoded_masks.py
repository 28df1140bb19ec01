"""Whether training masks that were decoded from run lengths look as if their pixels were numbered otherwise.

Masks read in a wrong order are noise, or lie on their side, and those from a wrong first number on lie a pixel off: a
training goes on all the same.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.numbering import (
    Numbering,
    crossing_share,
    first_of_coherent_masks,
    gray_photo,
    majority,
    order_of_coherent_masks,
    votes_of_outlines,
)
from kaggle_tools.data.images import Size, read_mask
from kaggle_tools.data.listing import Photo, targets_of

MOST_MASKS = 100
"""So many are looked at."""


class _Mask(NamedTuple):
    """A mask that is not blank."""

    photo: Photo
    text: str
    """Its run lengths."""


def doubt_of_numbering(photos: Sequence[Photo], competition: Competition) -> str | None:
    """What speaks against the competition's order of pixels, or their first number; None where nothing does.

    Raises:
        InputError: a photo or a mask cannot be read.
    """
    given = Numbering(competition.rle_order, competition.rle_first)
    masks = [*islice(_masks(photos, given), MOST_MASKS)]
    texts = [(mask.text, mask.photo.size) for mask in masks]
    order = order_of_coherent_masks(texts, given.first)
    if order is None:
        found = _doubt_by_outlines(masks, given)
    elif order != given.order:
        found = f"read as {given.order}, the masks are noise, as {order} they hold together; look up rle_order"
    else:
        found = _doubt_of_first(texts, given)
    return f"{competition.train_masks}: {found} on the competition's Data page" if found else None


def _masks(photos: Sequence[Photo], numbering: Numbering) -> Iterator[_Mask]:
    """In random order, as photos whose names are alike may show the same."""
    targets = targets_of(photos)
    for target in random.Random(0).sample(targets, len(targets)):
        if target.mask and (mask_HW := read_mask(target.mask)).any():
            yield _Mask(target, rle.encode(mask_HW, *numbering))


def _doubt_of_first(masks: Sequence[tuple[str, Size]], given: Numbering) -> str:
    other = Numbering(given.order, 1 - given.first)
    if first_of_coherent_masks(masks, given.order) != other.first:
        return ""
    share, from_other = (crossing_share(masks, numbering) for numbering in (given, other))
    return (
        f"counted from {given.first}, {share:.0%} of the runs go on beyond the end of a line, from {other.first} "
        f"{from_other:.1%}: the masks may lie a pixel off; look up rle_first"
    )


def _doubt_by_outlines(masks: Sequence[_Mask], given: Numbering) -> str:
    grays = ((mask.text, gray_photo(mask.photo.path)) for mask in masks)
    votes = votes_of_outlines(grays, given.first)
    order = majority(votes)
    if order in (None, given.order):
        return ""
    return (
        f"read as {order}, the outlines of {votes[order]} masks lie on stronger edges of their photos, as "
        f"{given.order} those of {votes[given.order]}: the masks may lie on their side; look up rle_order"
    )
