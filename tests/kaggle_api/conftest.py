"""What all tests of the client of Kaggle share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kaggle_server import SECRET

CSV = b"img,rle_mask\na_01.jpg,1 1\n"


@pytest.fixture(autouse=True)
def no_secret_in_the_output(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever happens, neither the credentials nor a signed address reach the terminal."""
    yield
    shown = "".join(capfd.readouterr())
    assert SECRET not in shown
    assert "signature" not in shown


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """A file to be submitted."""
    path = tmp_path / "submission.csv"
    path.write_bytes(CSV)
    return path
