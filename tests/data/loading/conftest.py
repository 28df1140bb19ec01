from pathlib import Path

import pytest
from noise import draw

from kaggle_tools.data.listing import Photo


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    """Seven photos of noise with masks of noise."""
    return [draw(tmp_path, number) for number in range(7)]
