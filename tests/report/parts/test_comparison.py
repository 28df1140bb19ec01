from pathlib import Path

import pytest
from finished_runs import Errors, dice, draw_photos, write_run
from known_competitions import CARVANA

from kaggle_tools.report.parts.comparison import ComparisonPart, comparison_part, shortened
from kaggle_tools.results.comparison import Comparison, compare

COLUMNS = {
    "a_01": {"good": (0, 0), "poor": (9, 0), "worst": (20, 0)},
    "a_02": {"good": (0, 1), "poor": (0, 7), "worst": (20, 0)},
    "b_01": {"good": (1, 0), "poor": (2, 0), "worst": (20, 0)},
    "b_02": {"good": (2, 2), "poor": (0, 0), "worst": (20, 0)},
    "c_01": {"good": (3, 0), "poor": (8, 0), "worst": (20, 0)},
    "c_02": {"good": (6, 0), "poor": (1, 0), "worst": (20, 0)},
    "d_01": {"good": (4, 0), "poor": (3, 0), "worst": (20, 0)},
    "d_02": {"good": (5, 5), "poor": (5, 5), "worst": (20, 0)},
}
"""The columns that each of the runs misses and invents."""


def score(stem: str, run: str) -> float:
    return dice(*COLUMNS[stem][run])


def folds(run: str) -> dict[int, Errors]:
    errors = {stem: by_run[run] for stem, by_run in COLUMNS.items()}
    return {fold: {stem: errors[stem] for stem in errors if stem[0] in cars} for fold, cars in ((1, "ab"), (3, "cd"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs; their photos were moved meanwhile."""
    folder = tmp_path_factory.mktemp("runs")
    draw_photos(folder / "moved", list(COLUMNS))
    for run in ("good", "poor", "worst"):
        write_run(folder / run, folder / "data", folds(run))
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> Comparison:
    return compare([folder / run for run in ("worst", "poor", "good")], CARVANA)


@pytest.fixture(scope="module")
def part(folder: Path, compared: Comparison) -> ComparisonPart:
    """As the page about the poor run has it."""
    return comparison_part(compared, 1, folder / "moved")


def of_cars(folder: Path, cars: int) -> Comparison:
    """Of the poor run three columns are missed in every second car, and four in the others; of the good one none."""
    columns = {"poor": [3 + car % 2 for car in range(cars)], "good": [0] * cars}
    runs = [
        write_run(folder / run, folder, {0: {f"{car}_01": (missed, 0) for car, missed in enumerate(of_run)}})
        for run, of_run in columns.items()
    ]
    return compare(runs, CARVANA)


def mean(run: str) -> float:
    return sum(score(stem, run) for stem in COLUMNS) / len(COLUMNS)


def test_the_best_run_is_compared_with_the_second_best_and_the_table_with_the_first(part: ComparisonPart) -> None:
    assert (part.best, part.shown, part.first) == ("good", "poor", "worst")
    assert part.best_score.score == pytest.approx(mean("good"))
    assert f" {mean('good') - mean('poor'):.5f} (" in part.verdict


def test_a_comparison_says_how_many_photos_of_which_folds_it_is_about(part: ComparisonPart) -> None:
    assert (part.scored, part.folds) == (8, [1, 3])


def test_a_comparison_says_in_words_whether_the_best_run_is_better(part: ComparisonPart, compared: Comparison) -> None:
    assert compared.difference(2, 1).verdict == "cannot tell"
    assert part.verdict == compared.against(2, 1)
    assert "better than poor" in part.verdict
    assert part.in_words == f"good is the best with {part.best_score}; {part.verdict}"
    assert not part.is_significant


def test_the_run_that_the_page_is_about_is_compared_with_the_best(part: ComparisonPart, compared: Comparison) -> None:
    assert part.standing == compared.against(1, 2)
    assert f" {mean('poor') - mean('good'):.5f} (" in part.standing


def test_a_difference_on_six_cars_can_be_significant(tmp_path: Path) -> None:
    compared = of_cars(tmp_path, 6)
    poor, good = (comparison_part(compared, shown) for shown in (0, 1))
    gain = (3 / 57 + 4 / 56) / 2  # 1 - 2 * (30 - missed) / (60 - missed) of 3 and 4 missed
    assert (poor.is_significant, good.is_significant) == (True, True)
    assert poor.verdict == good.verdict
    assert poor.verdict.startswith(f"it is better than poor, by {gain:.5f} (")
    assert poor.standing.startswith(f"it is worse than good, by {gain:.5f} (")
    assert (poor.shown, good.shown, good.standing) == ("poor", "good", "")


def test_a_difference_on_five_cars_is_never_significant(tmp_path: Path) -> None:
    compared = of_cars(tmp_path, 5)
    part = comparison_part(compared, 0)
    low, _ = compared.difference(1, 0).interval or (0, 0)
    assert low > 0
    assert not part.is_significant
    assert not part.verdict.startswith("it is better")
    assert "of too few cars" in part.verdict


def test_the_table_of_a_comparison_has_the_best_run_first(part: ComparisonPart) -> None:
    assert [row[0] for row in part.table.rows] == ["good", "poor", "worst"]
    assert part.table.rows[0][4] == pytest.approx(mean("good") - mean("worst"))


def test_a_run_that_is_neither_best_nor_second_is_held_against_the_best(folder: Path, compared: Comparison) -> None:
    part = comparison_part(compared, 0, folder / "moved", of_one=True)
    assert (part.shown, part.rank, part.of_one) == ("worst", 3, True)
    assert part.lead == pytest.approx(mean("worst") - mean("good"))
    assert part.standing == compared.against(0, 2)
    assert part.plot.title == "good minus worst, photo by photo"
    (ahead,) = part.galleries  # on no photo is it ahead of the best
    assert ahead.title == "Where good is most ahead of worst"
    assert [picture.caption for picture in ahead.pictures[:2]] == [
        f"good: Dice {1:.5f}",
        f"worst: Dice {2 * 10 / 40:.5f}",
    ]


def test_the_best_run_is_held_against_the_second(compared: Comparison) -> None:
    part = comparison_part(compared, 2, of_one=True)
    assert (part.shown, part.rank, part.standing) == ("good", 1, "")
    assert part.lead == pytest.approx(mean("good") - mean("poor"))
    assert part.plot.title == "good minus poor, photo by photo"


def test_the_plot_of_differences_counts_the_photos_on_which_the_best_run_is_better(part: ComparisonPart) -> None:
    assert part.plot.title == "good minus poor, photo by photo"
    assert part.plot.alt == "Histogram of differences: good is better on 4 of 8 photos."


def test_photos_on_which_one_run_is_most_ahead_are_shown_of_both_runs(part: ComparisonPart) -> None:
    ahead, behind = part.galleries
    assert ahead.title == "Where good is most ahead of poor"
    assert [picture.stem for picture in ahead.pictures] == ["a_01", "a_01", "c_01", "c_01", "a_02", "a_02"]
    assert behind.title == "Where poor is most ahead of good"
    assert ahead.together == behind.together == 2
    assert [picture.stem for picture in behind.pictures] == ["c_02", "c_02", "b_02", "b_02", "d_01", "d_01"]


def test_each_picture_of_a_comparison_has_the_score_and_errors_of_its_run(part: ComparisonPart) -> None:
    ahead, behind = part.galleries
    first, second = ahead.pictures[:2]
    assert (first.caption, first.errors) == ("good: Dice 1.00000", "0 false negative, 0 false positive pixels")
    assert (second.caption, second.errors) == (
        "poor: Dice 0.82353",
        "180 false negative, 0 false positive pixels",
    )  # 2 * 21 / 51
    poor = behind.pictures[0]
    assert (poor.caption, poor.errors) == (
        f"poor: Dice {score('c_02', 'poor'):.5f}",
        "20 false negative, 0 false positive pixels",
    )


def test_photos_of_a_comparison_are_where_they_were_in_the_training_unless_a_folder_is_given(folder: Path) -> None:
    compared = compare([folder / "good", folder / "poor"], CARVANA)
    picture = comparison_part(compared, 0).galleries[0].pictures[0]
    assert picture.full == ""
    assert picture.errors.startswith(f"{folder}/data/train/a_01.jpg: not shown, as its SHA-256 is not recorded")


def test_photos_on_which_neither_is_ahead_are_not_shown(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / str(missed), tmp_path, {0: {"a_01": (missed, 0), "a_02": (0, 0)}}) for missed in (5, 0)
    ]
    part = comparison_part(compare(runs, CARVANA), 0)
    assert (part.best, part.is_significant) == ("0", False)
    assert f" {(5 / 55) / 2:.5f}, of too few cars" in part.verdict  # a single car has no interval
    assert [[picture.stem for picture in gallery.pictures] for gallery in part.galleries] == [
        ["a_01", "a_01"],
    ]


def test_a_name_too_long_for_a_caption_keeps_its_beginning_and_its_end() -> None:
    assert shortened("a" * 40) == "a" * 40
    assert shortened("a" * 30 + "b" * 30) == "a" * 19 + "…" + "b" * 20


def test_the_captions_of_a_comparison_have_room_for_names_of_any_length(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / (200 * name), tmp_path, {0: {"a_01": (missed, 0)}})
        for missed, name in ((5, "x"), (0, "y"))
    ]
    (gallery,) = comparison_part(compare(runs, CARVANA), 0).galleries
    assert [len(picture.caption) for picture in gallery.pictures] == [40 + len(": Dice 0.00000")] * 2
