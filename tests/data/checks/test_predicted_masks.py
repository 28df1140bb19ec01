import pytest
from known_competitions import CARVANA, SALT

from kaggle_tools.data.checks.predicted_masks import doubts


@pytest.mark.parametrize(("masks", "blank"), [(500, 195), (500, 130), (500, 260), (80, 30), (10, 1), (1, 0)])
def test_about_as_many_blank_masks_as_usual_are_nothing_to_say(masks: int, blank: int) -> None:
    """Of 500 photos 39 % are blank, give or take 10 % and two standard errors of 2.2 %."""
    assert doubts(masks, blank, 0, SALT) == []


@pytest.mark.parametrize(("blank", "share"), [(120, "24%"), (275, "55%"), (0, "0%")])
def test_far_fewer_or_far_more_blank_masks_than_usual_are_odd(blank: int, share: str) -> None:
    assert doubts(500, blank, 0, SALT) == [f"{blank} of 500 masks are blank ({share}), where usually 39% are"]


def test_masks_that_are_all_blank_are_said_to_score_as_many_as_are_usual() -> None:
    assert doubts(80, 80, 0, SALT) == ["all 80 masks are blank, which scores about 0.39"]
    assert doubts(1200, 1200, 0, CARVANA) == ["all 1,200 masks are blank, which scores about 0.00"]


def test_where_every_photo_has_foreground_each_blank_mask_is_odd() -> None:
    assert doubts(1200, 1, 0, CARVANA) == ["1 of 1,200 masks is blank, where every photo has foreground"]


def test_full_masks_are_odd_in_every_competition() -> None:
    assert doubts(3, 0, 1, CARVANA) == ["1 of 3 masks is full, the whole photo being foreground"]
    assert doubts(100, 39, 2, SALT) == ["2 of 100 masks are full, the whole photo being foreground"]
    assert doubts(0, 0, 0, SALT) == []
