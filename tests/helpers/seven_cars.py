"""Photos of seven invented cars, three of each, and a configuration that puts them into three folds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from known_competitions import CARVANA

from kaggle_tools.config.presets import config_from
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError

SEED = config_from("seed", CARVANA.slug, {})
FOLDS = replace(SEED, folds=3)

PHOTOS = [
    Photo(f"car{car}_{angle:02}", Path(f"car{car}_{angle:02}.jpg"), (4, 6)) for car in range(7) for angle in (1, 2, 3)
]


def refusal(function: Any, *arguments: Any) -> str:
    """The message with which the function refuses these arguments."""
    with pytest.raises(InputError) as raised:
        function(*arguments)
    return str(raised.value)
