"""The drawn pictures of clouds."""

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.demo.clouds import SHARE, Patch, Sky, random_sky

FISH, FLOWER, GRAVEL, SUGAR = range(4)


def gray_in(kind: int) -> NDArray[np.float64]:
    """A picture full of clouds of one kind."""
    return Sky((Patch(kind, 0, 0, 2, 1),), haze=0.1, seed=1).draw((100, 150))[0].mean(axis=2)


def test_the_mask_of_clouds_is_their_box_and_boxes_may_overlap() -> None:
    sky = Sky((Patch(FISH, 0.1, 0.2, 0.5, 0.8), Patch(SUGAR, 0.4, 0.0, 1.5, 0.3)), haze=0.1, seed=1)
    _, masks_CHW = sky.draw((10, 15))
    expected = np.zeros((4, 10, 15), dtype=bool)
    expected[FISH, 2:8, 1:5] = expected[SUGAR, 0:3, 4:15] = True
    assert np.array_equal(masks_CHW, expected)


def test_clouds_of_each_kind_are_smaller_than_those_of_the_kind_before() -> None:
    flower, gravel, sugar = (np.abs(np.diff(gray_in(kind), axis=1)).mean() for kind in (FLOWER, GRAVEL, SUGAR))
    assert 1.5 * flower < gravel < sugar / 1.5


def test_fish_lie_along_the_picture() -> None:
    along, down = (np.abs(np.diff(gray_in(FISH), axis=axis)).mean() for axis in (1, 0))
    assert 2 * along < down


def test_clouds_of_all_kinds_are_equally_bright_and_brighter_than_the_sea() -> None:
    brightness = [gray_in(kind).mean() for kind in range(4)]
    sea = Sky((), haze=0.1, seed=1).draw((100, 150))[0].mean()
    assert max(brightness) - min(brightness) < 15
    assert min(brightness) > sea + 40


def test_skies_have_clouds_of_each_kind_about_as_often_as_not_within_the_picture() -> None:
    skies = [random_sky(np.random.default_rng(seed)) for seed in range(200)]
    kinds = [{patch.kind for patch in sky.patches} for sky in skies]
    assert all(abs(np.mean([kind in there for there in kinds]) - SHARE) < 0.1 for kind in range(4))
    patches = [patch for sky in skies for patch in sky.patches]
    assert min(min(patch.left, patch.top) for patch in patches) >= 0
    assert max(patch.right for patch in patches) <= 1.5
    assert max(patch.bottom for patch in patches) <= 1


def test_the_seed_of_a_sky_decides_its_picture() -> None:
    one, again, other = (random_sky(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one == again != other
    assert np.array_equal(one.draw((32, 48))[0], again.draw((32, 48))[0])
