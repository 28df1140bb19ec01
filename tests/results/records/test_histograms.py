import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools.errors import InputError
from kaggle_tools.results.records.histograms import HeldOut, read_histograms
from kaggle_tools.results.run_folder import BINS, HISTOGRAMS_FILE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of two photos, all of whose pixels have the probability 0, and of the second one 7 are foreground."""
    histograms = np.zeros((2, 2, BINS), np.uint32)
    histograms[:, 0, 0] = 9
    histograms[1, 1, 0] = 7
    np.savez_compressed(tmp_path / HISTOGRAMS_FILE, images=np.array(["a_01", "a_02"]), histograms=histograms)
    return tmp_path / HISTOGRAMS_FILE


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_histograms(folder)
    return str(raised.value)


def test_a_part_of_the_photos_keeps_their_order(path: Path) -> None:
    found = read_histograms(path.parent)
    assert found.stems == ["a_01", "a_02"]
    assert found.histograms.sum(axis=(1, 2)).tolist() == [9, 16]
    assert found.levels is None
    part = found.part(np.array([False, True]))
    assert part.stems == ["a_02"]
    assert part.histograms[0, :, 0].tolist() == [9, 7]


def test_levels_are_taken_along(path: Path) -> None:
    levels = np.arange(8).reshape(2, 2, 1, 2)
    part = HeldOut(["a", "b"], np.zeros((2, 2, BINS), np.int64), levels).part(np.array([False, True]))
    assert part.levels is not None
    assert part.levels.ravel().tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("keep", [None, 0, 3, 200])
def test_missing_or_damaged_histograms_are_refused(path: Path, keep: int | None) -> None:
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[:keep])
    message = refusal(path.parent)
    assert f"{path}: {'missing' if keep is None else 'damaged'}" in message
    assert f"delete {path.parent / 'oof.csv'} and run `train` again" in message


@pytest.mark.parametrize(
    ("images", "histograms", "message"),
    [
        (np.zeros(10**8, "<U0"), np.zeros((1, 2, 256), np.uint32), "images of shape"),  # no byte in the file
        (np.array(["a_01"]), np.zeros((2, 2, 256), np.uint32), "images of shape"),
        (np.array("a_01"), np.zeros((1, 2, 256), np.uint32), "images of shape"),
        (np.zeros(300_000, "<U1"), np.zeros((300_000, 2, 256), np.uint8), "300,000 histograms"),  # 1.2 GB as int64
    ],
    ids=["no letters", "another number", "no list", "small numbers"],
)
def test_histograms_that_ask_for_more_memory_than_their_file_has_are_refused(
    tmp_path: Path, images: NDArray[Any], histograms: NDArray[Any], message: str
) -> None:
    np.savez_compressed(tmp_path / HISTOGRAMS_FILE, images=images, histograms=histograms)
    assert f"damaged ({message}" in refusal(tmp_path)


def test_histograms_in_an_archive_that_swells_in_memory_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "damaged (packed in another way than deflate)" in refusal(path.parent)
