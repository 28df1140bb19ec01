"""One look at all photos and true masks before a training: can they be read, and do the masks look as masks do?

A mask that was misunderstood, such as one that is blank by mistake, would otherwise show in no number.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from kaggle_tools.data.checks.foreground import lines_of_ambiguous
from kaggle_tools.data.images import read_foreground, read_photo, shrink_for
from kaggle_tools.data.listing import NAMED, Photo, targets_of
from kaggle_tools.errors import InputError, counted, counted_of, first_few, in_lines
from kaggle_tools.system.processes import CORES
from kaggle_tools.system.progress import track

SURROUNDS = 0.9
"""Foreground on so much of the photo's edge surrounds what is not."""
RARELY_AT_EDGE = 0.1
"""Masks of which half have less of the photo's edge than this show things that lie within the photo."""


@dataclass(frozen=True)
class MaskReport:
    """What the true masks of a training look like; files by their names, in the order of the photos."""

    masks: int
    coverage: float
    """The mean over the masks of the share of their pixels that is foreground."""
    blank: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    inverted: tuple[str, ...] = ()
    """Those whose foreground is probably the background."""
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those that are not plain, by what was taken as their foreground."""

    def warnings(self, blank_usual: bool) -> list[str]:
        """What a person should look at. `blank_usual`: many photos have no foreground."""
        kinds = {
            "blank": () if blank_usual else self.blank,
            "full": self.full,
            "probably inverted, as their foreground surrounds the rest": self.inverted,
        }
        odd = [
            f"{counted_of(len(names), self.masks, 'mask')} {kind}: {first_few([*names])}"
            for kind, names in kinds.items()
            if names
        ]
        return odd + lines_of_ambiguous(self.ambiguous, self.masks)


def inspect_masks(photos: Sequence[Photo]) -> MaskReport:
    """Decode every photo and its mask once, on all cores.

    Raises:
        InputError: photos or masks that cannot be read, all in one message; or all masks are blank, or all full.
    """
    pool = ThreadPoolExecutor(CORES)
    try:
        targets = targets_of(photos)
        looks = list(track(pool.map(_look, targets), len(targets), "photos and masks looked at"))
    finally:
        pool.shutdown(cancel_futures=True)
    faults = [fault for look in looks for fault in look.faults]
    if faults:
        them = "it" if len(faults) == 1 else "them"
        count = counted(len(faults), "photo or mask", "photos or masks")
        found = f"{count} cannot be read; repair or remove {them} first"
        raise InputError(in_lines(found, faults, NAMED))
    report = _report(looks)
    for kind, names in (("blank", report.blank), ("full", report.full)):
        if len(names) == len(looks):
            raise InputError(
                f"{counted_of(len(looks), len(looks), 'true mask')} {kind}: {first_few([*names])}; "
                "what is foreground in which kind of file: docs/competitions.md"
            )
    return report


class _Look(NamedTuple):
    """What is seen of one photo and its mask."""

    name: str
    faults: tuple[str, ...] = ()
    coverage: float = 0.0
    at_edge: float = 0.0
    """The share of the photo's outermost pixels that is foreground."""
    taken: str = ""


def _look(photo: Photo) -> _Look:
    assert photo.mask is not None, f"{photo.stem} has no mask"
    faults = []
    try:
        # As small as the decoder can make it: what is damaged shows all the same.
        read_photo(photo.path, shrink_for(photo.path, photo.size, (1, 1)))
    except InputError as error:
        faults.append(str(error))
    try:
        mask_HW, taken = read_foreground(photo.mask)
    except InputError as error:
        return _Look(photo.mask.name, (*faults, str(error)))
    edges = np.concatenate([mask_HW[0], mask_HW[-1], mask_HW[:, 0], mask_HW[:, -1]])
    return _Look(photo.mask.name, tuple(faults), float(mask_HW.mean()), float(edges.mean()), taken)


def _report(looks: Sequence[_Look]) -> MaskReport:
    partly = [look for look in looks if 0 < look.coverage < 1]
    surrounding = [look.name for look in partly if look.at_edge > SURROUNDS]
    # Where things often reach the edge, as salt does, some surround the rest by right.
    odd = partly and (2 * len(surrounding) > len(partly) or median(look.at_edge for look in partly) < RARELY_AT_EDGE)
    ambiguous: dict[str, list[str]] = {}
    for look in looks:
        if look.taken:
            ambiguous.setdefault(look.taken, []).append(look.name)
    return MaskReport(
        masks=len(looks),
        coverage=fmean(look.coverage for look in looks),
        blank=tuple(look.name for look in looks if look.coverage == 0),
        full=tuple(look.name for look in looks if look.coverage == 1),
        inverted=tuple(surrounding) if odd else (),
        ambiguous={taken: tuple(names) for taken, names in ambiguous.items()},
    )
