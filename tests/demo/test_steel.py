"""The drawn pictures of steel sheets."""

from dataclasses import replace

import numpy as np

from kaggle_tools.demo.steel import SHARES, Sheet, random_sheet

NONE: tuple[tuple[float, float, float, float, float], ...] = ()
SHEET = Sheet((NONE, NONE, NONE, NONE), brightness=120, seed=1)


def test_each_kind_of_defect_has_a_mask_of_its_own_and_they_may_overlap() -> None:
    dot, line = (1.0, 0.5, 0.25, 0.25, 0.0), (1.0, 0.5, 0.5, 0.125, 0.0)
    _, masks_CHW = replace(SHEET, defects=((dot,), NONE, (line,), NONE)).draw((40, 80))
    row, column = np.indices((40, 80)) + 0.5
    assert np.array_equal(masks_CHW[0], np.hypot(row - 20, column - 40) < 10)
    assert np.array_equal(masks_CHW[2], np.hypot((row - 20) / 5, (column - 40) / 20) < 1)
    assert (masks_CHW[0] & masks_CHW[2]).any()
    assert not masks_CHW[[1, 3]].any()


def test_a_line_lies_at_its_angle() -> None:
    crack = (0.5, 0.5, 0.4, 0.1, np.pi / 2)
    _, masks_CHW = replace(SHEET, defects=(NONE, (crack,), NONE, NONE)).draw((100, 100))
    rows, columns = np.nonzero(masks_CHW[1])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (80, 20)
    down_right = (0.5, 0.5, 0.4, 0.05, np.pi / 4)
    _, masks_CHW = replace(SHEET, defects=(NONE, (down_right,), NONE, NONE)).draw((100, 100))
    assert masks_CHW[1, [30, 70], [30, 70]].all()
    assert not masks_CHW[1, [30, 95], [70, 95]].any()


def test_dots_and_cracks_are_dark_scratches_bright_and_scale_rough() -> None:
    whole = (1.0, 0.5, 1.0, 0.4, 0.0)
    plain_HW3, masks_CHW = replace(SHEET, defects=(NONE, NONE, NONE, (whole,))).draw((64, 128))
    inside_HW = masks_CHW[3]
    sheets = [replace(SHEET, defects=tuple((whole,) if at == kind else NONE for at in range(4))) for kind in range(4)]
    pits, cracks, scratches, scale = (sheet.draw((64, 128))[0][inside_HW, 0].astype(float) for sheet in sheets)
    bare = SHEET.draw((64, 128))[0][inside_HW, 0].astype(float)
    assert (plain_HW3[..., :1] == plain_HW3).all()
    assert max(pits.mean(), cracks.mean()) + 40 < bare.mean() < scratches.mean() - 40
    assert abs(scale.mean() - bare.mean()) < 10
    assert scale.std() > 2 * bare.std()


def test_a_larger_picture_of_a_sheet_shows_the_same_defects() -> None:
    sheet = random_sheet(np.random.default_rng(3))
    small, large = (sheet.draw(size)[1] for size in ((32, 200), (96, 600)))
    assert small.any()
    assert np.array_equal(large[:, 1::3, 1::3], small)


def test_most_sheets_lack_most_kinds_of_defects() -> None:
    drawn = [random_sheet(np.random.default_rng(seed)).draw((32, 200))[1].any((1, 2)) for seed in range(200)]
    assert np.abs(np.mean(drawn, axis=0) - SHARES).max() < 0.1
    assert {int(np.sum(kinds)) for kinds in drawn} == {0, 1, 2, 3, 4}


def test_the_seed_of_a_sheet_decides_its_picture() -> None:
    one, again, other = (random_sheet(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one == again != other
    assert np.array_equal(one.draw((32, 64))[0], again.draw((32, 64))[0])
