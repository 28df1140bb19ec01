"""The drawn pictures of salt under the ground."""

from dataclasses import replace

import numpy as np

from kaggle_tools.demo.salt import Fault, Salt, Section, Wave, random_section

LEVEL = (Wave(0.0, 1.0, 0.0),)
CIRCLE = Salt(centre=(0.5, 0.5), radius=0.25, aspect=1.0, bulges=())
QUIET = Section(LEVEL, Fault(x=2.0, lean=0.0, throw=0.1), CIRCLE, loudness=1.0, noise=0.0, seed=1)


def test_the_mask_of_a_drawn_section_is_its_salt() -> None:
    _, mask_HW = QUIET.draw((101, 101))
    row, column = np.indices((101, 101))
    assert np.array_equal(mask_HW, np.hypot(row - 50, column - 50) < 0.25 * 101)


def test_a_larger_picture_of_a_section_shows_the_same_place() -> None:
    _, small_HW = QUIET.draw((101, 101))
    _, large_HW = QUIET.draw((303, 303))
    assert np.array_equal(large_HW[1::3, 1::3], small_HW)


def test_a_section_without_salt_has_a_blank_mask_and_level_layers() -> None:
    picture_HW3, mask_HW = replace(QUIET, salt=None).draw((40, 60))
    assert not mask_HW.any()
    assert (picture_HW3.dtype, picture_HW3.shape) == (np.uint8, (40, 60, 3))
    assert (picture_HW3 == picture_HW3[:, :1, :1]).all()
    assert picture_HW3.std() > 20


def test_beyond_a_fault_the_layers_of_a_section_lie_higher() -> None:
    picture_HW3, _ = replace(QUIET, salt=None, fault=Fault(x=0.5, lean=0.0, throw=0.1)).draw((100, 100))
    left, right = picture_HW3[:, 0, 0], picture_HW3[:, -1, 0]
    assert np.array_equal(left[10:], right[:-10])
    assert not np.array_equal(left, right)


def test_the_seed_of_a_section_decides_its_picture_and_mask() -> None:
    sections = [random_section(np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert sections[0] == sections[1] != sections[2]
    first, again = (section.draw((32, 32)) for section in sections[:2])
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_third_of_the_drawn_sections_is_blank_and_salt_is_as_bright_as_rock() -> None:
    drawn = [random_section(np.random.default_rng(seed)).draw((101, 101)) for seed in range(200)]
    blank = np.mean([not mask_HW.any() for _, mask_HW in drawn])
    assert 0.25 < blank < 0.45
    salt = np.concatenate([picture_HW3[mask_HW, 0] for picture_HW3, mask_HW in drawn])
    rock = np.concatenate([picture_HW3[~mask_HW, 0] for picture_HW3, mask_HW in drawn])
    assert abs(float(salt.mean()) - float(rock.mean())) < 10
