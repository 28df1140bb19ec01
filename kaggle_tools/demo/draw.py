"""Draws a small competition in Kaggle's layout, so that every step can be tried without Kaggle.

File names, columns and run lengths are those of the given `Competition`, which also names what its photos show, one of
`subjects.SUBJECTS`. Where it gives training masks as run lengths, so does the demo. The true masks of the test photos,
which Kaggle keeps to itself, are in `hidden_truth.csv`: only the final `score` may read it.
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

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import save_image
from kaggle_tools.demo.subjects import SUBJECTS, Kind, Scene
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.submission.mask_size import as_submitted
from kaggle_tools.system import files

SMALLEST_SIDE = 32
"""Pixels; below, details such as mirrors and lamps vanish."""
JPEG_QUALITY = 92
SETTINGS_FILE = "demo.json"
"""Its presence marks a folder as a drawn demo; any other folder may hold files of the user's."""
TRUTH_FILE = "hidden_truth.csv"
DRAWING = 1
"""To be raised when the same settings give other pictures, so that old and new ones never mix."""

_PHOTO_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_MASK_FORMATS = {".gif": "GIF", ".png": "PNG"}

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
    train_groups: int | None = None,
    test_groups: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
) -> DemoCompetition:
    """Draw a competition of invented groups: cars, each photographed from all around, or what its `demo` names.

    A photo depends only on the seed, the number of its group and its own number within the group: more groups leave
    the others as they are. A folder that already holds this demo is left alone; one whose drawing was interrupted is
    drawn again, to the same bytes. Nothing is ever deleted.

    Args:
        folder: where to draw; must be new, empty (but for hidden files) or an earlier demo.
        competition: whose file names, columns and run lengths to use, and whose kind of picture.
        train_groups: how many groups have masks; by default as many as its kind of picture needs.
        test_groups: how many groups have hidden masks; the default likewise.
        size: (height, width) of all photos in pixels; by default that of its kind of picture.
        seed: another seed draws other groups.

    Raises:
        InputError: fewer than one group, a side below 32 pixels, a negative seed, a folder with
            something else in it, or a competition whose file formats or classes cannot be drawn.
    """
    kind = SUBJECTS[competition.demo]
    counts: dict[Role, int] = {
        "train": kind.train if train_groups is None else train_groups,
        "test": kind.test if test_groups is None else test_groups,
    }
    size = size or kind.size
    _check_options(kind, counts, size, seed)
    _check_formats(competition)
    _check_classes(competition, kind)
    train, test = (
        [_invent(competition, kind, role, number, seed) for number in range(count)] for role, count in counts.items()
    )
    demo = DemoCompetition(folder, _stems(train), _stems(test))

    height, width = size
    numbers = {"train_groups": len(train), "test_groups": len(test), "height": height, "width": width, "seed": seed}
    _claim(folder, json.dumps({"competition": competition.slug, **numbers, "drawing": DRAWING}, indent=2) + "\n")
    if not _is_complete(demo, competition):
        _draw_train(folder, competition, train, size)
        truth = _draw_test(folder, competition, test, size)
        if competition.metadata is not None:
            _write_metadata(folder / competition.metadata, competition, [*train, *test])
        _write_masks(demo.hidden_truth, competition, truth)
        # Last, because its presence says that everything else is there.
        sample = folder / competition.sample_submission
        _write_masks(sample, competition, dict.fromkeys(truth, "1 1"))
    return demo


@dataclass(frozen=True)
class _Entry:
    """A group of the demo."""

    facts: dict[str, str]
    """What the table about the groups says of it, by column."""
    photos: tuple[tuple[str, Scene], ...]
    """The stem of each photo, and how it is taken."""


def _invent(competition: Competition, kind: Kind, role: Role, number: int, seed: int) -> _Entry:
    # Numbers from 1: NumPy takes (seed, 1, 2) and (seed, 1, 2, 0) for the same seed.
    source = (seed, ("train", "test").index(role) + 1, number + 1)
    rng = np.random.default_rng(source)
    group = f"{rng.integers(16**12):012x}"
    subject = kind.invent(rng)
    photos = [
        (_stem(competition, group, f"{i + 1:02d}"), subject.scene(i, np.random.default_rng((*source, i + 1))))
        for i in range(kind.photos)
    ]
    return _Entry(subject.facts, tuple(photos))


def _stem(competition: Competition, group: str, view: str) -> str:
    """The photo's stem; where stems hold only one of the two, group and view are joined, so that it is unique."""
    if all(part in competition.stem_format for part in ("{group}", "{view}")):
        return competition.stem(group, view)
    return competition.stem(group + view, group + view)


def _stems(entries: Iterable[_Entry]) -> tuple[str, ...]:
    return tuple(sorted(stem for entry in entries for stem, _ in entry.photos))


def _check_options(kind: Kind, counts: dict[Role, int], size: tuple[int, int], seed: int) -> None:
    for role, count in counts.items():
        if count < 1:
            raise InputError(f"{count} {role} {kind.plural}: the demo needs at least 1 to train and 1 to test")
    height, width = size
    if min(size) < SMALLEST_SIDE:
        raise InputError(f"photos of {height}x{width} pixels: either side must be at least {SMALLEST_SIDE}")
    if seed < 0:
        raise InputError(f"seed {seed}: must be 0 or more")


def _check_formats(competition: Competition) -> None:
    patterns = (
        (competition.train_photos, _PHOTO_FORMATS),
        (competition.test_photos, _PHOTO_FORMATS),
        *([] if competition.masks_are_run_lengths else [(competition.train_masks, _MASK_FORMATS)]),
    )
    for pattern, formats in patterns:
        if Path(pattern).suffix.lower() not in formats:
            raise InputError(
                f"{competition.title} has files like {pattern}, but the demo can only draw "
                f"{', '.join(formats)} there; choose another competition for it"
            )


def _check_classes(competition: Competition, kind: Kind) -> None:
    needed = len(competition.classes)
    if needed > kind.classes:
        able = [name for name, other in SUBJECTS.items() if other.classes >= needed]
        instead = f"write demo = {' or '.join(map(repr, able))} into its file" if able else "choose another competition"
        raise InputError(
            f"{competition.title} has {needed} classes, but of {kind.plural} the demo can draw only {kind.classes}; "
            f"{instead}"
        )


def _claim(folder: Path, settings: str) -> None:
    """Mark the folder as this demo's, or check that it is already.

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
    expected += [competition.train_photos.format(stem=stem) for stem in demo.train_stems]
    expected += [_mask_file(competition, name) for stem in demo.train_stems for name in competition.names_of(stem)]
    return all((demo.folder / name).is_file() for name in expected)


def _mask_file(competition: Competition, name: str) -> str:
    """Where a training mask lies: in a file of its own or in the table of all."""
    stem, of_class = competition.stem_and_class(name)
    return competition.train_masks.format(stem=stem, **{"class": of_class})


def _draw_train(folder: Path, competition: Competition, entries: Iterable[_Entry], size: tuple[int, int]) -> None:
    texts: dict[str, str] = {}
    for entry in entries:
        for stem, scene in entry.photos:
            masks = _draw_photo(folder / competition.train_photos.format(stem=stem), competition, stem, scene, size)
            for name, mask_HW in masks:
                if competition.masks_are_run_lengths:
                    texts[name] = rle.encode(mask_HW, competition.rle_order, competition.rle_first)
                else:
                    _write_mask(folder / _mask_file(competition, name), mask_HW)
    if competition.masks_are_run_lengths:
        _write_masks(folder / competition.train_masks, competition.as_in_train_table, texts)


def _draw_test(
    folder: Path, competition: Competition, entries: Iterable[_Entry], size: tuple[int, int]
) -> dict[str, str]:
    """Write the test photos and return the run lengths of their masks, at the size that is submitted, by name."""
    truth = {}
    for entry in entries:
        for stem, scene in entry.photos:
            path = folder / competition.test_photos.format(stem=stem)
            for name, mask_HW in _draw_photo(path, competition, stem, scene, size):
                submitted_HW = as_submitted(mask_HW, competition)
                truth[name] = rle.encode(submitted_HW, competition.rle_order, competition.rle_first)
    return truth


def _draw_photo(
    path: Path, competition: Competition, stem: str, scene: Scene, size: tuple[int, int]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Write a photo and return the names and the masks, (H, W), of its classes, the first ones that are drawn."""
    photo_HW3, masks = scene.draw(size)
    _write_photo(path, photo_HW3)
    return list(zip(competition.names_of(stem), masks.reshape(-1, *size), strict=False))


def _write_photo(path: Path, photo_HW3: NDArray[np.uint8]) -> None:
    """Write an RGB photo of shape (H, W, 3) in the format of the path's extension."""
    save_image(path, Image.fromarray(photo_HW3), _PHOTO_FORMATS[path.suffix.lower()], quality=JPEG_QUALITY)


def _write_mask(path: Path, mask_HW: NDArray[np.bool_]) -> None:
    """Write a mask of shape (H, W) as Kaggle does: pixels 0 and 1, which the palette shows black and white."""
    image = Image.fromarray(mask_HW.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    save_image(path, image, _MASK_FORMATS[path.suffix.lower()], optimize=False)


def _write_masks(path: Path, competition: Competition, texts: dict[str, str]) -> None:
    """Write run lengths in the competition's columns, by the names of their masks, which are sorted by photo."""
    order = {name: (competition.stem_of(name), place) for place, name in enumerate(texts)}
    rows = [
        (*competition.id_fields(name), texts[name] or competition.blank_mask)
        for name in sorted(texts, key=order.__getitem__)
    ]
    _write_csv(path, [competition.columns, *rows], csv.QUOTE_MINIMAL)


def _write_metadata(path: Path, competition: Competition, entries: Sequence[_Entry]) -> None:
    rows = {
        (competition.group_and_view(stem)[0], *entry.facts.values()) for entry in entries for stem, _ in entry.photos
    }
    _write_csv(path, [("id", *entries[0].facts), *sorted(rows)], csv.QUOTE_ALL)


def _write_csv(path: Path, rows: Sequence[tuple[str, ...]], quoting: Literal[0, 1]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows(rows)
    files.write_text(path, text.getvalue())
