"""What all tests of the client of Kaggle share."""

from pathlib import Path

import pytest

CSV = b"img,rle_mask\na_01.jpg,1 1\n"


@pytest.fixture(autouse=True)
def no_secret_in_any_output(no_secret_in_the_output: None) -> None:
    """Every test of a call to Kaggle checks what was printed."""


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """A file to be submitted."""
    path = tmp_path / "submission.csv"
    path.write_bytes(CSV)
    return path
