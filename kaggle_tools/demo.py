"""Draws a small competition in Kaggle's layout, so that the whole way can be gone without Kaggle.

File names, columns and run lengths are those of the given `Competition`; what is on the photos comes
from `drawing`. The truth about the test photos, which Kaggle keeps to itself, lies aside in
`hidden_truth.csv`: nothing may read it but the final `score`.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools import files, rle
from kaggle_tools.competition import Competition
from kaggle_tools.drawing import cars, studio
from kaggle_tools.errors import InputError, first_few

VIEWS = 16
"""Photos of each car, in equal steps around it."""
SMALLEST_SIDE = 32
"""Pixels; below, mirrors and lamps vanish."""
JPEG_QUALITY = 92
SETTINGS_FILE = "demo.json"
"""Tells a drawn folder from one that holds something of the user's."""
TRUTH_FILE = "hidden_truth.csv"
DRAWING = 1
"""To be raised when the same settings give other pictures, so that old and new ones never mix."""

_PHOTO_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_MASK_FORMATS = {".gif": "GIF", ".png": "PNG"}
_MAKES = {"Aldera": ("Vento", "Lumo", "Strada"), "Korvin": ("K2", "K5", "Pavo"), "Miruna": ("Sol", "Brisa", "Onda")}
_TRIMS = ("Base", "Comfort", "Sport", "Limited")

Role = Literal["train", "test"]


@dataclass(frozen=True)
class DemoCompetition:
    """What was drawn, and where."""

    folder: Path
    """The data folder, laid out like the competition's."""
    train_stems: tuple[str, ...]
    """The photos that have masks, in ascending order."""
    test_stems: tuple[str, ...]
    """The photos to be masked, in ascending order."""

    @property
    def hidden_truth(self) -> Path:
        """The CSV with the true masks of the test photos, written like a submission."""
        return self.folder / TRUTH_FILE


def draw_competition(
    folder: Path,
    competition: Competition,
    *,
    train_cars: int = 12,
    test_cars: int = 4,
    size: tuple[int, int] = (320, 479),
    seed: int = 0,
) -> DemoCompetition:
    """Draw a competition of invented cars, each photographed from all around.

    A photo depends on the seed, its car's number and its view alone: more cars leave the others as
    they are. A folder that already holds this very demo is left alone; one whose drawing was broken
    off is drawn again, to the same bytes. Nothing is ever deleted.

    Args:
        folder: where to; must be new, empty (hidden files aside) or an earlier demo.
        competition: whose file names, columns and run lengths to use.
        train_cars: cars with masks.
        test_cars: cars whose masks are hidden.
        size: (height, width) of all photos in pixels. The default divides by nothing that a network
            would like it to.
        seed: another seed draws other cars.

    Raises:
        InputError: fewer than one car, a side below 32 pixels, a negative seed, a folder with
            something else in it, or a competition whose file formats cannot be drawn.
    """
    _check_options(train_cars, test_cars, size, seed)
    _check_formats(competition)
    train = [_invent(competition, "train", number, seed) for number in range(train_cars)]
    test = [_invent(competition, "test", number, seed) for number in range(test_cars)]
    demo = DemoCompetition(folder, _stems(train), _stems(test))

    height, width = size
    numbers = {"train_cars": train_cars, "test_cars": test_cars, "height": height, "width": width, "seed": seed}
    _claim(folder, json.dumps({"competition": competition.slug, **numbers, "drawing": DRAWING}, indent=2) + "\n")
    if not _is_complete(demo, competition):
        _draw_train(folder, competition, train, size)
        truth = _draw_test(folder, competition, test, size)
        if competition.metadata is not None:
            _write_metadata(folder / competition.metadata, [*train, *test])
        _write_submission(demo.hidden_truth, competition, ((stem, truth[stem]) for stem in demo.test_stems))
        # Last, because its presence says that everything else is there.
        sample = folder / competition.sample_submission
        _write_submission(sample, competition, ((stem, "1 1") for stem in demo.test_stems))
    return demo


@dataclass(frozen=True)
class _Entry:
    """A car of the demo."""

    group: str
    """Its name in the competition."""
    car: cars.Car
    """What it looks like."""
    year: int
    make: str
    model: str
    trim: str
    views: tuple[tuple[str, studio.View], ...]
    """The stem of each photo, and how it is taken."""


def _invent(competition: Competition, role: Role, number: int, seed: int) -> _Entry:
    # Numbers from 1: NumPy takes (seed, 1, 2) and (seed, 1, 2, 0) for the same seed.
    source = (seed, ("train", "test").index(role) + 1, number + 1)
    rng = np.random.default_rng(source)
    group = f"{rng.integers(16**12):012x}"
    make = str(rng.choice(list(_MAKES)))
    year, model, trim = int(rng.integers(2005, 2017)), str(rng.choice(_MAKES[make])), str(rng.choice(_TRIMS))
    car = cars.random_car(rng)
    views = []
    for i in range(VIEWS):
        view = studio.random_view(i * 360 / VIEWS, np.random.default_rng((*source, i + 1)))
        views.append((_stem(competition, group, f"{i + 1:02d}"), view))
    return _Entry(group, car, year, make, model, trim, tuple(views))


def _stem(competition: Competition, group: str, view: str) -> str:
    """The photo's stem; where stems name only one of the two, the one is made of both to be unique."""
    if all(part in competition.stem_format for part in ("{group}", "{view}")):
        return competition.stem(group, view)
    return competition.stem(group + view, group + view)


def _stems(entries: Iterable[_Entry]) -> tuple[str, ...]:
    return tuple(sorted(stem for entry in entries for stem, _ in entry.views))


def _check_options(train_cars: int, test_cars: int, size: tuple[int, int], seed: int) -> None:
    for name, count in (("train", train_cars), ("test", test_cars)):
        if count < 1:
            raise InputError(f"{count} {name} cars: the demo needs at least 1 car to train and 1 to test")
    height, width = size
    if min(size) < SMALLEST_SIDE:
        raise InputError(f"photos of {height}x{width} pixels: either side must be at least {SMALLEST_SIDE}")
    if seed < 0:
        raise InputError(f"seed {seed}: must be 0 or more")


def _check_formats(competition: Competition) -> None:
    patterns = (
        (competition.train_photos, _PHOTO_FORMATS),
        (competition.test_photos, _PHOTO_FORMATS),
        (competition.train_masks, _MASK_FORMATS),
    )
    for pattern, formats in patterns:
        if Path(pattern).suffix.lower() not in formats:
            raise InputError(
                f"{competition.title} has files like {pattern}, but the demo can only draw "
                f"{', '.join(formats)} there; choose another competition for it"
            )


def _claim(folder: Path, settings: str) -> None:
    """Make the folder the demo's, or see that it is already.

    Raises:
        InputError: it holds something else.
    """
    settings_path = folder / SETTINGS_FILE
    if settings_path.is_file():
        found = settings_path.read_text(encoding="utf-8")
        if found != settings:
            raise InputError(
                f"{folder} holds a demo drawn with other settings ({' '.join(found.split())}); "
                "choose another folder, or delete this one to have it drawn anew"
            )
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the demo needs the name of a new folder")
    present = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.exists() else []
    if present:
        raise InputError(
            f"{folder} is not empty and holds no demo (no {SETTINGS_FILE}, but {first_few(present)}); "
            "choose a new or an empty folder"
        )
    files.write_text(settings_path, settings)


def _is_complete(demo: DemoCompetition, competition: Competition) -> bool:
    expected = [competition.sample_submission, TRUTH_FILE]
    expected += [] if competition.metadata is None else [competition.metadata]
    expected += [competition.test_photos.format(stem=stem) for stem in demo.test_stems]
    for stem in demo.train_stems:
        expected += [pattern.format(stem=stem) for pattern in (competition.train_photos, competition.train_masks)]
    return all((demo.folder / name).is_file() for name in expected)


def _draw_train(folder: Path, competition: Competition, entries: Iterable[_Entry], size: tuple[int, int]) -> None:
    for entry in entries:
        for stem, view in entry.views:
            photo, mask = studio.draw(entry.car, view, size)
            _write_photo(folder / competition.train_photos.format(stem=stem), photo)
            _write_mask(folder / competition.train_masks.format(stem=stem), mask)


def _draw_test(
    folder: Path, competition: Competition, entries: Iterable[_Entry], size: tuple[int, int]
) -> dict[str, str]:
    """Write the test photos and return the run lengths of their masks."""
    truth = {}
    for entry in entries:
        for stem, view in entry.views:
            photo, mask = studio.draw(entry.car, view, size)
            _write_photo(folder / competition.test_photos.format(stem=stem), photo)
            truth[stem] = rle.encode(mask, competition.rle_order, competition.rle_first)
    return truth


def _write_photo(path: Path, photo_HW3: NDArray[np.uint8]) -> None:
    """Write an RGB photo of shape (H, W, 3) in the format of the path's extension."""
    with files.replacing(path) as temporary:
        Image.fromarray(photo_HW3).save(temporary, format=_PHOTO_FORMATS[path.suffix.lower()], quality=JPEG_QUALITY)


def _write_mask(path: Path, mask_HW: NDArray[np.bool_]) -> None:
    """Write a mask of shape (H, W) as Kaggle does: pixels 0 and 1, which the palette shows black and white."""
    image = Image.fromarray(mask_HW.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    with files.replacing(path) as temporary:
        image.save(temporary, format=_MASK_FORMATS[path.suffix.lower()], optimize=False)


def _write_submission(path: Path, competition: Competition, masks: Iterable[tuple[str, str]]) -> None:
    """Write (stem, run lengths) in the competition's two columns."""
    rows = [(competition.id_of(stem), text) for stem, text in masks]
    _write_csv(path, [(competition.id_column, competition.rle_column), *rows], csv.QUOTE_MINIMAL)


def _write_metadata(path: Path, entries: Iterable[_Entry]) -> None:
    rows = sorted((e.group, str(e.year), e.make, e.model, e.trim, e.car.shape.name) for e in entries)
    _write_csv(path, [("id", "year", "make", "model", "trim1", "trim2"), *rows], csv.QUOTE_ALL)


def _write_csv(path: Path, rows: Sequence[tuple[str, ...]], quoting: Literal[0, 1]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows(rows)
    files.write_text(path, text.getvalue())
