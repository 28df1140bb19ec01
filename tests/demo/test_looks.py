"""That drawn photos and masks look as they always did: figures that were measured with them depend on it.

Each is recorded as its brightness in 8 rows and 12 columns, which small differences between libraries do not change.
After a change that is meant, `PYTHONPATH=. python tests/demo/test_looks.py` writes them anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools.demo.subjects import SUBJECTS

RECORDED = Path(__file__).parent / "looks.json"
SIZE = (96, 144)
GRID = (12, 8)
WEIGHTS = (0.5, 0.3, 0.2)
"""Of red, green and blue, no two alike."""
TOLERANCE = 0.3
"""Of 255 levels, as the mean of the 144 pixels in a field of the grid: far below what anybody sees."""
DRAWN = {"cars": (8, (0, 5)), "salt": (8, (0,)), "steel": (6, (0,)), "clouds": (4, (0,))}
"""Of each kind the number of subjects, and which scenes of each."""


def looks(kind: str) -> dict[str, list[float]]:
    """The brightness of every photo and mask of this kind, and what is said of each subject."""
    return {name: np.round(grid.ravel(), 2).tolist() for name, grid in grids(kind)}


def grids(kind: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    subjects, scenes = DRAWN[kind]
    for seed in range(subjects):
        subject = SUBJECTS[kind].invent(np.random.default_rng((1, seed)))
        for scene in scenes:
            photo_HW3, masks = subject.scene(scene, np.random.default_rng((1, seed, scene + 1))).draw(SIZE)
            name = f"{seed} {scene} {' '.join(subject.facts.values())}"
            yield f"photo {name}", cv2.resize(photo_HW3 @ np.array(WEIGHTS), GRID, interpolation=cv2.INTER_AREA)
            for number, mask_HW in enumerate(masks.reshape(-1, *SIZE)):
                called = f"mask {name}" if masks.ndim == 2 else f"mask {number} {name}"
                yield called, cv2.resize(mask_HW * 255.0, GRID, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_what_is_drawn_looks_as_recorded(kind: str) -> None:
    recorded = json.loads(RECORDED.read_text())[kind]
    drawn = looks(kind)
    assert drawn.keys() == recorded.keys()
    for name, grid in drawn.items():
        assert grid == pytest.approx(recorded[name], abs=TOLERANCE), name


@pytest.mark.parametrize(
    ("kind", "train", "test"), [("cars", 192, 64), ("salt", 240, 80), ("steel", 96, 32), ("clouds", 96, 32)]
)
def test_a_demo_has_as_many_photos_as_the_figures_were_measured_with(kind: str, train: int, test: int) -> None:
    subject = SUBJECTS[kind]
    assert (subject.train * subject.photos, subject.test * subject.photos) == (train, test)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({kind: looks(kind) for kind in SUBJECTS}, indent=0).replace(",\n", ",") + "\n")
