"""What `progress.json` records of a fold while it is trained: how far it is, and a few photos as it masks them now.

The file lies in the fold's folder until the fold is finished. Who reads it needs neither the training nor the photos.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from PIL import Image

from kaggle_tools.errors import InputError
from kaggle_tools.results.records.run import COUNT
from kaggle_tools.system.files import read_json, write_json
from kaggle_tools.system.json_values import Fields, MalformedError, between, each, floating, nullable, text, whole

PROGRESS_FILE = "progress.json"
LONGEST_SIDE = 320  # pixels of a picture
MOST_PICTURES = 8
"""Of a fold: a page has room for those of ten folds. What a text may be bounds each one at 75 kB; of pure noise, at the
quality that ours have, so many pixels take 70 kB."""
LATEST = 2**33
"""Seconds since 1970, in the year 2242: sums of two such times are dates that a calendar has."""


@dataclass(frozen=True)
class HeldOutPicture:
    """A held-out photo with the outline of the mask that the last epoch's weights give it."""

    stem: str
    dice: float
    """At the size for training."""
    jpeg: str
    """The picture, in base64."""

    @classmethod
    def from_json(cls, recorded: Any) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            MalformedError: it is not of this form.
        """
        values = Fields(recorded)
        return cls(
            stem=values.required("stem", text),
            dice=values.required("dice", between(floating, 0, 1)),
            jpeg=values.required("jpeg", _jpeg),
        )


@dataclass(frozen=True)
class Progress:
    """The contents of `progress.json`."""

    epochs_done: int
    epochs: int
    """At most."""
    written: float
    """When this was true, in seconds since 1970."""
    seconds_left: float | None
    """Of this fold, 0 where it is trained; None while that is not known."""
    folds_left: int
    """How many folds the command is to train, this one included."""
    all_seconds_left: float | None
    """Of all these folds."""
    pictures: tuple[HeldOutPicture, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether all epochs are over, so that the held-out photos are masked at their own size."""
        return self.seconds_left == 0

    def to_json(self) -> dict[str, Any]:
        """The contents of `progress.json`."""
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        return known | {"pictures": [vars(picture) for picture in self.pictures]}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            MalformedError: it is not of this form.
        """
        values = Fields(recorded)
        return cls(
            epochs_done=values.required("epochs_done", whole),
            epochs=values.required("epochs", COUNT),
            written=values.required("written", between(floating, 0, LATEST)),
            seconds_left=values.required("seconds_left", nullable(between(floating, 0, LATEST))),
            folds_left=values.required("folds_left", COUNT),
            all_seconds_left=values.required("all_seconds_left", nullable(between(floating, 0, LATEST))),
            pictures=values.required("pictures", _few_pictures),
        )


def write_progress(fold_folder: Path, progress: Progress) -> None:
    """Write `progress.json`."""
    write_json(fold_folder / PROGRESS_FILE, progress.to_json())


def read_progress(fold_folder: Path) -> Progress | None:
    """The contents of `progress.json`; None where there is none, as before the fold is begun and once it is finished.

    Raises:
        InputError: it is damaged.
    """
    path = fold_folder / PROGRESS_FILE
    try:
        return read_json(path, "", Progress.from_json)
    except InputError:
        if path.exists():
            raise
        return None


def remove_progress(fold_folder: Path) -> None:
    """Remove `progress.json`, as the fold is finished."""
    (fold_folder / PROGRESS_FILE).unlink(missing_ok=True)


def _few_pictures(recorded: Any) -> tuple[HeldOutPicture, ...]:
    if isinstance(recorded, list) and len(recorded) > MOST_PICTURES:
        raise MalformedError(f"more than {MOST_PICTURES} pictures")
    return each(HeldOutPicture.from_json)(recorded)


def _jpeg(recorded: Any) -> str:
    """A whole JPEG, not larger than ours are, as a browser would show it whatever it is."""
    encoded = text(recorded)
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=["JPEG"]) as image:
            if max(image.size) > LONGEST_SIDE:
                raise ValueError(f"{image.width}x{image.height} pixels")
            image.load()
    except Exception as error:  # Pillow has no common class for what it finds in damaged files
        raise MalformedError(f"no JPEG of at most {LONGEST_SIDE} pixels ({type(error).__name__})") from error
    return encoded
