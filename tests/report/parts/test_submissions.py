from collections.abc import Sequence

import pytest

from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.report.parts.submissions import submissions_part
from kaggle_tools.results.scores import Estimate, ExpectedScore


def entry(
    number: int, expected: float | None, public: float | None, time: str = "2026-10-{:02}T12:00:00+00:00"
) -> Entry:
    return Entry(
        id=f"{number:012}",
        slug="tiles",
        message=f"number {number}",
        expected=ExpectedScore(None, "…") if expected is None else ExpectedScore(Estimate(expected, None)),
        time=time.format(number),
        submission=Submission("tiles", number, f"number {number}", "COMPLETE", public),
    )


def entries(*scores: tuple[float | None, float | None]) -> list[Entry]:
    return [entry(number, *both) for number, both in enumerate(scores, start=1)]


ORDERLY = [(number / 10, number / 20) for number in (3, 1, 4, 2, 6, 5)]
FIVE = entries((0.5, 0.6), (0.6, 0.65), (0.8, None), (None, 0.9), (0.9, 0.62))


def titles(submissions: Sequence[Entry]) -> list[str]:
    return [plot.title for plot in submissions_part(submissions).plots]


def test_submissions_are_counted_and_those_with_a_public_score() -> None:
    part = submissions_part(FIVE)
    assert (part.count, part.scored) == (5, 4)


def test_the_best_submission_has_the_highest_public_score() -> None:
    assert submissions_part(FIVE).best == FIVE[3]


def test_a_public_score_of_0_is_a_score() -> None:
    lowest, _ = submissions = entries((0.5, 0.0), (0.9, None))
    part = submissions_part(submissions)
    assert (part.scored, part.best, part.mean_gap) == (1, lowest, -0.5)


def test_the_mean_gap_is_the_mean_of_public_minus_expected_scores() -> None:
    assert submissions_part(FIVE).mean_gap == pytest.approx((0.1 + 0.05 - 0.28) / 3)


def test_the_agreement_of_scores_is_their_rank_correlation() -> None:
    # ranks 1, 2, 3, 4, 5, 6 against 2, 1, 4, 3, 6, 5: 1 - 6 * 6 / (6 * 35)
    of_both = [(0.1, 0.5), (0.2, 0.4), (0.3, 0.65), (0.4, 0.6), (0.6, 0.99), (0.9, 0.7)]
    part = submissions_part(entries(*of_both, (None, 0.1), (0.5, None)))
    assert part.agreement == pytest.approx(29 / 35)


@pytest.mark.parametrize(("sign", "agreement"), [(1, 1), (-1, -1)])
def test_scores_of_the_same_order_agree_and_of_the_opposite_order_disagree(sign: int, agreement: float) -> None:
    orderly = entries(*((number / 10, 0.5 + sign * number**3 / 1000) for number in (3, 1, 4, 2, 6, 5)))
    assert submissions_part(orderly).agreement == pytest.approx(agreement)


def test_scores_that_differ_only_once_have_an_agreement() -> None:
    """Six expected scores, the highest of which has another public score: ranks 1 to 6 against five times 3, and 6."""
    part = submissions_part(entries(*((number / 10, 0.9 if number == 6 else 0.6) for number in range(1, 7))))
    assert part.agreement == pytest.approx(7.5 / (17.5 * 7.5) ** 0.5)


@pytest.mark.parametrize(
    "submissions",
    [
        entries(*ORDERLY[:5]),
        entries(*ORDERLY[:5], (0.9, None), (None, 0.9)),
        entries(*((0.5, public) for _, public in ORDERLY)),
        entries(*((expected, 0.6) for expected, _ in ORDERLY)),
    ],
    ids=["five", "five with both", "all expected alike", "all scored alike"],
)
def test_the_agreement_of_scores_needs_six_that_differ(submissions: list[Entry]) -> None:
    assert submissions_part(submissions).agreement is None


def messages(submissions: Sequence[Entry]) -> list[str]:
    return [row[0].rpartition("\n")[2] for row in submissions_part(submissions).table.texts()]


def test_the_table_has_a_row_for_each_submission_the_newest_first() -> None:
    shuffled = [FIVE[at] for at in (2, 0, 4, 1, 3)]
    assert messages(shuffled) == [f"number {number}" for number in (5, 4, 3, 2, 1)]


def test_a_submission_without_a_time_comes_last_and_of_two_at_once_the_later_line_first() -> None:
    undated, first, second = (entry(1, 0.5, 0.6, ""), *(entry(number, 0.5, 0.6, FIVE[0].time) for number in (2, 3)))
    assert messages([first, undated, second]) == ["number 3", "number 2", "number 1"]


def test_the_plots_of_submissions_say_how_many_they_show() -> None:
    over_time, against = submissions_part(FIVE).plots
    assert over_time.alt == "5 submissions over time; the best public score is 0.90000."
    assert against.alt == "3 submissions; 2 have a higher public score than expected."


@pytest.mark.filterwarnings("error")
def test_submissions_of_a_few_days_are_drawn_without_a_warning() -> None:
    assert titles(FIVE) == ["Over time", "Cross-validation against leaderboard"]


def test_a_submission_without_a_time_is_not_drawn_over_time() -> None:
    timeless = [entry(number, 0.5, 0.6, time="") for number in (1, 2)]
    assert titles(timeless) == ["Cross-validation against leaderboard"]
    over_time = submissions_part([*timeless, *FIVE[:2]]).plots[0]
    assert over_time.alt == "2 submissions over time; the best public score is 0.65000."


@pytest.mark.parametrize(
    "times",
    [
        ["2026-10-02T12:00:00", "2026-10-03T12:00:00+00:00", "last week"],
        ["last week", "2026-10-03T14:00:00.5+02:00", "2026-10-02T12:00:00"],
    ],
)
def test_submissions_are_drawn_over_times_with_and_without_a_zone(times: list[str]) -> None:
    part = submissions_part([entry(number, 0.5, 0.6, time) for number, time in enumerate(times)])
    assert (part.count, part.plots[0].title) == (3, "Over time")
    assert part.plots[0].alt == "2 submissions over time; the best public score is 0.60000."


def test_submissions_without_public_scores_have_no_best_and_no_gap() -> None:
    unscored = submissions_part(entries((0.5, None), (0.6, None), (0.7, None)))
    assert (unscored.scored, unscored.best, unscored.agreement, unscored.mean_gap) == (0, None, None, None)
    assert [plot.alt for plot in unscored.plots] == ["3 submissions over time; none has a public score."]


def test_an_empty_ledger_has_nothing_to_show() -> None:
    empty = submissions_part([])
    assert (empty.count, empty.scored, empty.best, empty.agreement, empty.mean_gap) == (0, 0, None, None, None)
    assert (list(empty.table.rows), empty.plots) == ([], [])
