"""Where in the photos masks are doubtful: maps of all photos of a view, and of single photos.

A pixel is doubtful with a probability between 0.1 and 0.9, as for the border width in `photos.csv`. Where `infer` saved
the probabilities, they say which pixels are. Without them a PRED holds how many there are for each pixel of a mask's
outline, and these are spread along the outline.

H height, W width, of a map.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import groups_and_views_of_masks
from kaggle_tools.data.images import read_gray, read_mask, resize
from kaggle_tools.errors import InputError
from kaggle_tools.report.graphics.pictures import data_uri
from kaggle_tools.results import pred_folder
from kaggle_tools.results.records.masks import MaskedPhoto
from kaggle_tools.results.run_folder import DEFAULT_THRESHOLD

MAP_WIDTH = 240
TALLEST_MAP = 4 * MAP_WIDTH
MOST_VIEWS, READ = 16, 192
"""So many photos are read for all maps together: reading takes most of the time of a page."""
SINGLE = 12
"""Photos with a map of their own."""
DOUBTFUL = (26, 229)
"""The lowest and the highest byte of a doubtful probability."""
OUTLINE = (150, 150, 150)
QUALITY = 80  # of a JPEG


@dataclass(frozen=True)
class DoubtMap:
    """One picture: the brighter, the more doubtful."""

    name: str
    image: str
    """Its `src`."""
    masks: int
    """How many it is the mean of."""


@dataclass(frozen=True)
class DoubtPart:
    """Where masks are doubtful, as the page has it."""

    maps: list[DoubtMap]
    """Of each view, or of all photos; empty where nothing is known."""
    brightest: float
    """The share of the masks that are doubtful at the brightest point of these."""
    single: list[DoubtMap]
    """Of the most doubtful photos; only with saved probabilities."""
    known: bool
    """Whether the probabilities were saved."""
    scale: str
    """The `src` of the colours, from sure to doubtful."""


@dataclass(frozen=True)
class _Mean:
    """Of some photos, what share is doubtful, and what share foreground, at each point."""

    doubt_HW: NDArray[np.float64]
    mask_HW: NDArray[np.float64]
    masks: int


Read = Callable[[MaskedPhoto], tuple[NDArray[np.uint8], NDArray[np.bool_]]]
"""Of a photo what share of each pixel is doubtful, 0 to 255, and its mask, at the same size."""


def doubt_part(
    pred: Path, photos: Sequence[MaskedPhoto], threshold: float | None, competition: Competition
) -> DoubtPart:
    """Gather where the masks of these photos, of which the most doubtful come first, are doubtful.

    `threshold` is the one that the masks were made with, if it is known.
    """
    saved = [photo for photo in photos if pred_folder.probability_path(pred, photo.image).exists()]
    bounded = [photo for photo in photos if photo.border_width is not None]
    cut = 255 * (DEFAULT_THRESHOLD if threshold is None else threshold)

    def read(photo: MaskedPhoto) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        if saved:
            gray_HW = read_gray(pred_folder.probability_path(pred, photo.image))
            return _doubtful(gray_HW), gray_HW >= cut
        mask_HW = read_mask(pred_folder.mask_path(pred, photo.image))
        return _along_outline(mask_HW, photo.border_width or 0.0), mask_HW

    views = _by_view(sorted(saved or bounded, key=lambda photo: photo.image), competition)
    means = {
        name: mean for name, of_view in views.items() if (mean := _mean(_evenly(of_view, READ // len(views)), read))
    }
    brightest = max((float(mean.doubt_HW.max()) for mean in means.values()), default=0.0)
    return DoubtPart(
        maps=[DoubtMap(name, _drawn(mean, brightest), mean.masks) for name, mean in means.items()],
        brightest=brightest,
        single=[drawn for photo in saved[:SINGLE] if (drawn := _single(pred, photo, cut))],
        known=bool(saved),
        scale=data_uri(_coloured(np.linspace(0, 1, 128)[None].repeat(12, axis=0)), QUALITY),
    )


def _by_view(photos: Sequence[MaskedPhoto], competition: Competition) -> Mapping[str, list[MaskedPhoto]]:
    """By what a map is called; all together where there are no views, or too many."""
    try:
        views = groups_and_views_of_masks([photo.image for photo in photos], competition)[1]
    except InputError:  # not named as the competition's
        views = []
    if not competition.has_groups or not 1 < len(set(views)) <= MOST_VIEWS:
        return {"all photos": list(photos)} if photos else {}
    named = list(zip(views, photos, strict=True))
    return {
        f"{competition.view_name} {view}": [photo for own, photo in named if own == view] for view in sorted(set(views))
    }


def _mean(photos: Sequence[MaskedPhoto], read: Read) -> _Mean | None:
    """Of the photos whose files can be read, at the size of the first one's map; None where none can."""
    doubts: list[NDArray[np.float64]] = []
    masks: list[NDArray[np.float64]] = []
    for photo in photos:
        try:
            doubt_HW, mask_HW = read(photo)
        except InputError:
            continue
        size = doubts[0].shape if doubts else _map_size(mask_HW.shape)
        doubts.append(resize(doubt_HW, size).astype(np.float64) / 255)
        masks.append(resize(mask_HW.astype(np.uint8) * 255, size).astype(np.float64) / 255)
    return _Mean(np.mean(doubts, axis=0), np.mean(masks, axis=0), len(doubts)) if doubts else None


def _single(pred: Path, photo: MaskedPhoto, cut: float) -> DoubtMap | None:
    """How near to 0.5 each pixel's probability is, with the outline of its mask."""
    try:
        gray_HW = read_gray(pred_folder.probability_path(pred, photo.image))
    except InputError:
        return None
    size = _map_size(gray_HW.shape)
    nearness_HW = resize((255 - np.abs(2 * gray_HW.astype(np.int16) - 255)).astype(np.uint8), size)
    mask_HW = resize((gray_HW >= cut).astype(np.uint8) * 255, size)
    return DoubtMap(photo.image, _drawn(_Mean(nearness_HW / 255, mask_HW / 255, 1), 1.0), 1)


def _doubtful(gray_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    low, high = DOUBTFUL
    return ((gray_HW >= low) & (gray_HW <= high)).astype(np.uint8) * 255


def _along_outline(mask_HW: NDArray[np.bool_], width: float) -> NDArray[np.uint8]:
    """For each pair of neighbours of which one is in the mask, so many doubtful pixels, half of them on either side.

    A larger mask than a map is brought to the size of one first, which takes a sixth of the time.
    """
    pairs_HW = np.zeros(mask_HW.shape, dtype=np.uint8)
    for axis in (0, 1):
        edge_HW = np.diff(mask_HW, axis=axis).view(np.uint8)
        for side in (slice(1, None), slice(None, -1)):
            pairs_HW[(slice(None),) * axis + (side,)] += edge_HW
    size = min(_map_size(mask_HW.shape), mask_HW.shape, key=lambda size: size[1])
    density_HW = cv2.resize(pairs_HW.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    width = min(width, *mask_HW.shape)  # of a damaged table it may be infinite
    reach = 2 * max(1, round(width / 2 * size[1] / mask_HW.shape[1])) + 1  # in pixels: a band that is as broad
    spread_HW = cv2.blur(density_HW * (width / 2), (reach, reach))
    return (spread_HW.clip(0, 1) * 255).astype(np.uint8)


def _drawn(mean: _Mean, brightest: float) -> str:
    """In colours, with the outline of what half of the masks hold."""
    pixels_HW3 = _coloured(mean.doubt_HW / max(brightest, 1e-9))
    lines, _ = cv2.findContours((mean.mask_HW > 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return data_uri(cv2.drawContours(pixels_HW3.copy(), lines, -1, OUTLINE, thickness=1).astype(np.uint8), QUALITY)


def _coloured(values_HW: NDArray[np.float64]) -> NDArray[np.uint8]:
    """0 to 1 as black over violet and orange to pale yellow, whose lightness grows evenly, (H, W, 3), RGB."""
    coloured_HW3 = cv2.applyColorMap((values_HW.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(coloured_HW3[..., ::-1], dtype=np.uint8)


def _map_size(shape: Sequence[int]) -> tuple[int, int]:
    return min(max(round(MAP_WIDTH * shape[0] / shape[1]), 1), TALLEST_MAP), MAP_WIDTH


def _evenly(photos: list[MaskedPhoto], count: int) -> list[MaskedPhoto]:
    if len(photos) <= count:
        return photos
    return [photos[at] for at in np.linspace(0, len(photos) - 1, count).astype(int)]
