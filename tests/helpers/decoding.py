"""Which photos are decoded, and how often."""

import pytest

from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading import datasets
from kaggle_tools.data.loading.pixel_cache import Pixels


def counted_decoding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stems of the photos that datasets for training have decoded so far."""
    decode, stems = datasets._decoded, []

    def counted(photo: Photo, size: Size) -> Pixels:
        stems.append(photo.stem)
        return decode(photo, size)

    monkeypatch.setattr(datasets, "_decoded", counted)
    return stems
