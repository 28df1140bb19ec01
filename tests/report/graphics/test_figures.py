import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn_plots import HARD, SVG, look_at, smallest, texts
from matplotlib.figure import Figure

from kaggle_tools.kaggle_api.overview import KnownScores
from kaggle_tools.report.graphics import figures, submission_figures
from kaggle_tools.report.graphics.svg import INK, SERIES, Key, Plot
from kaggle_tools.results.scores import Estimate

Draw, Values = Callable[..., Plot], tuple[Any, ...]
DAYS = [datetime(2026, 10, 1, 12, tzinfo=UTC) + timedelta(days=days) for days in (0, 3, 40)]
NAME = "$a_1$ & <b>"


def curve(*losses: float) -> pd.DataFrame:
    """Of as many epochs as there are losses; the other columns follow from them."""
    loss = np.array(losses)
    epochs = {"epoch": range(len(loss)), "train_loss": loss, "val_loss": 2 * loss, "lr": loss / 1000}
    return pd.DataFrame(epochs | {"val_dice": 1 - loss, "val_iou": 1 - 2 * loss})


def groups(**means: float) -> pd.DataFrame:
    rows = [(mean, mean - 0.1, mean + 0.05) for mean in means.values()]
    return pd.DataFrame(rows, list(means), ["mean", "min", "max"])


def histograms(*bins: tuple[int, int, int]) -> np.ndarray:
    """Pixels of background and foreground in some of 256 bins of probability."""
    counts = np.zeros((2, 256), dtype=np.int64)
    for at, background, foreground in bins:
        counts[:, at] = background, foreground
    return counts


def known(expected: float, public: float, name: str = "cafe") -> KnownScores:
    return KnownScores(Estimate(expected, [expected - 0.1, expected + 0.1]), public, name)


SCORES, AREAS = np.arange(100, 79, -1) / 100, np.linspace(0.4, 0.1, 1201)
GAINS, RATIOS = np.array([0.1, -0.2, 0.0, 0.3]), np.array([0.5, 0.95, 1.0, 1.2, 3.0])
CARS = groups(d=0.5, b=0.6, a=0.7, c=0.9)
KNOWN = [known(0.9, 0.91), known(0.8, 0.8), known(0.7, 0.6)]
CURVE = pd.DataFrame({"threshold": [0.25, 0.5, 0.75], "score": [0.8, 0.9, 0.7]})
VIEWS = {"01": Estimate(0.9, [0.8, 0.95]), "02": Estimate(0.7, None), "03": Estimate(0.8, None)}
# Doubtful are four pixels of probability 64.5 / 256 and four of 192.5 / 256, 0.502 at the mean; five are foreground.
PROBABILITIES = histograms((0, 900, 1), (64, 3, 1), (192, 0, 4), (255, 2, 700))
DRAWN: list[tuple[Draw, Values, str]] = [
    (figures.distribution, (SCORES, "IoU"), "21 photos: median 0.90000, 5th percentile 0.81000, the worst 0.80000."),
    (figures.by_view, (VIEWS, "Dice", "view"), "3 views: the lowest is 02 with 0.70000, the highest 01 with 0.90000."),
    (figures.by_group, (CARS, "Dice", "car"), "4 cars; the worst: d with 0.50000, b with 0.60000, a with 0.70000."),
    (figures.threshold_curve, (CURVE, 0.484375, 0.90123, "Dice"), "highest at 0.4844, with 0.90123."),
    (figures.calibration, (PROBABILITIES,), "probability is 0.502 and 0.625 of the pixels are foreground."),
    (figures.differences, (GAINS, 0.05, [-0.1, 0.2], ("new", "old")), "new is better on 2 of 4 photos."),
    (figures.coverage, (AREAS,), "1,201 masks: they cover 10.0% to 40.0% of their photos, at the median 25.0%."),
    (figures.deviations, (RATIOS, (0.9, 1.1), "car"), "5 areas; 3 are below 0.900 or above 1.100."),
    (
        submission_figures.over_time,
        (DAYS, list(VIEWS.values()), [0.91, 0.93, None]),
        "the best public score is 0.93000.",
    ),
    (submission_figures.over_time, (DAYS, [None] * 3, [None, 0.0, None]), "the best public score is 0.00000."),
    (submission_figures.over_time, (DAYS, list(VIEWS.values()), [None] * 3), "none has a public score."),
    (submission_figures.against_leaderboard, (KNOWN,), "3 submissions; 1 has a higher public score than expected."),
]
LONE = Estimate(0.9, None)
LEAST: list[tuple[Draw, Values]] = [
    (lambda table: figures.learning_curves({0: table})[0], (curve(0.5),)),
    (figures.distribution, (np.array([0.9]), "Dice")),
    (figures.distribution, (np.ones(9), "Dice")),
    (figures.by_view, ({"01": LONE}, "Dice", "view")),
    (figures.by_view, ({"正面": LONE}, "Dice", "view")),
    (figures.by_group, (groups(a=0.9), "Dice", "car")),
    (figures.threshold_curve, (CURVE.assign(score=0.9), 0.5, 0.9, "Dice")),
    (figures.calibration, (histograms((0, 9, 0), (255, 0, 9)),)),
    (figures.differences, (np.zeros(1), 0.0, None, ("new", "old"))),
    (figures.coverage, (np.zeros(9),)),
    (figures.deviations, (np.ones(1), (0.9, 1.1), "car")),
    (submission_figures.over_time, (DAYS[:1], [LONE], [0.9])),
    (submission_figures.over_time, (DAYS[:2], [LONE, None], [0.9, 0.91])),
    (submission_figures.over_time, (DAYS[:2], [None, None], [None, None])),
    (submission_figures.against_leaderboard, ([known(0.9, 0.9)],)),
]


def points(plot: Plot) -> np.ndarray:
    """How far right and up the dots in the first colour are of the first one, the last one being one away."""
    dots = [use for use in smallest(plot).iter(f"{SVG}use") if "series-1)" in use.get("style", "")]
    found = np.array([(float(dot.get("x", "")), float(dot.get("y", ""))) for dot in dots])
    steps = (found - found[0]) * (1, -1)
    return steps / abs(steps[-1])


@pytest.mark.parametrize(("draw", "values", "alt"), DRAWN)
def test_a_plot_has_the_page_s_colours_and_says_what_it_shows(draw: Draw, values: Values, alt: str) -> None:
    plot = draw(*values)
    assert plot.alt.endswith(alt)
    assert all(colour in plot.svg for colour in ("currentColor", "var(--line)", "var(--series-"))
    assert not re.search("#0[1-4]0[1-4]0", plot.svg)
    assert smallest(plot).tag == f"{SVG}svg"


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
@pytest.mark.parametrize(("draw", "values"), LEAST)
def test_little_to_show_is_shown_without_a_warning(draw: Draw, values: Values) -> None:
    plot = draw(*values)
    assert texts(plot)
    assert not re.search(r"\b(nan|inf)\b", plot.svg + plot.alt)


def test_the_same_figure_is_drawn_to_the_same_bytes() -> None:
    assert figures.coverage(np.ones(3)) == figures.coverage(np.ones(3))


def test_there_are_four_learning_curves_with_a_line_for_each_fold() -> None:
    plots = figures.learning_curves({0: curve(0.5, 0.4, 0.25), 3: curve(0.3)})
    assert {plot.title: plot.alt for plot in plots} == {
        "Loss": "Loss by epoch: fold 0 from 0.5 to 0.25, fold 3 at 0.3.",
        "Dice": "Dice by epoch: fold 0 from 0.5 to 0.75, fold 3 at 0.7.",
        "IoU": "IoU by epoch: fold 0 from 0 to 0.5, fold 3 at 0.4.",
        "Learning rate": "Learning rate by epoch: fold 0 from 0.0005 to 0.00025, fold 3 at 0.0003.",
    }
    for plot in plots:
        assert plot.keys[:2] == (Key("fold 0", SERIES[0]), Key("fold 3", SERIES[1]))
        assert all(f"stroke: var(--series-{number})" in plot.svg for number in (1, 2))


@pytest.mark.parametrize(
    ("draw", "values"),
    [
        (figures.by_view, ({NAME: LONE}, "Dice", "view")),
        (figures.by_group, (groups(a=0.9), NAME, "car")),
        (submission_figures.against_leaderboard, ([known(0.9, 0.9, NAME)],)),
    ],
)
def test_a_name_in_a_figure_stays_text(draw: Draw, values: Values) -> None:
    assert any(NAME in text for text in texts(draw(*values)))


def test_only_a_name_of_more_than_twelve_characters_is_shortened_and_only_below_the_axis() -> None:
    plot = figures.by_view({"front-left-1": LONE, "front-right-1": Estimate(0.8, None)}, "Dice", "view")
    assert {"front-left-1", "front-right…"} < set(texts(plot))
    assert plot.alt.endswith("the lowest is front-right-1 with 0.80000, the highest front-left-1 with 0.90000.")


@pytest.mark.parametrize(
    ("draw", "values", "title"),
    [
        (figures.threshold_curve, (CURVE, 0.5, 0.9, "Dice"), "Threshold curve"),
        (figures.calibration, (PROBABILITIES,), "Calibration"),
    ],
)
def test_the_plots_of_probabilities_have_the_usual_names(draw: Draw, values: Values, title: str) -> None:
    assert draw(*values).title == title


def test_the_title_of_a_figure_is_not_escaped_before_the_page_does() -> None:
    plot = figures.differences(np.ones(2), 1.0, None, (NAME, "old"))
    assert (type(plot.title), plot.title) == (str, f"{NAME} minus old, photo by photo")
    assert (type(plot.alt), plot.alt) == (str, f"Histogram of differences: {NAME} is better on 2 of 2 photos.")


def test_the_points_of_groups_lie_at_their_means() -> None:
    plot = figures.by_group(CARS, "Dice", "car")
    assert points(plot) == pytest.approx(np.array([(0, 0), (1 / 3, 0.25), (2 / 3, 0.5), (1, 1)]), abs=1e-4)


def test_shares_of_foreground_stand_over_the_mean_probabilities_of_their_sixteenths() -> None:
    counts = histograms((0, 8, 0), (128, 3, 0), (136, 0, 1), (255, 0, 9))  # the first sixteenth, the ninth, the last
    # In 256ths these are 0.5, 255.5 and (3 * 128.5 + 136.5) / 4 = 130.5, which is 130 of 255 to the right of the first.
    assert points(figures.calibration(counts)) == pytest.approx(np.array([(0, 0), (130 / 255, 0.25), (1, 1)]), abs=1e-4)


def test_the_expected_share_is_that_of_doubtful_pixels() -> None:
    counts = np.zeros((2, 10), dtype=np.int64)  # of probabilities 0.05, 0.15, …
    counts[0, [0, 1, 8, 9]] = 99, 3, 1, 99
    counts[1, [0, 1, 8, 9]] = 99, 0, 4, 99
    assert figures.expected_share(counts) == pytest.approx(((3 * 0.15 + 5 * 0.85) / 8, 4 / 8))


def test_without_doubtful_pixels_the_expected_share_is_0() -> None:
    assert figures.expected_share(histograms((0, 9, 9))) == (0, 0)


@pytest.mark.parametrize(
    ("estimates", "public"), [([LONE], [0.9]), ([LONE, None], [0.9, None]), ([None, None], [None, None])]
)
def test_the_axis_of_time_covers_the_submissions(estimates: list[Estimate | None], public: list[float | None]) -> None:
    plot = submission_figures.over_time(DAYS[: len(public)], estimates, public)
    assert set(re.findall(r"\b\d{4}\b", " ".join(texts(plot)))) == {"2026"}


def test_every_expected_score_is_drawn_over_time() -> None:
    """Each by as many marks as the others, beside those of the legend."""

    def marks(*estimates: Estimate | None) -> int:
        drawn = smallest(submission_figures.over_time(DAYS, estimates, [0.9] * 3)).iter(f"{SVG}use")
        return sum("var(--series-1)" in use.get("style", "") for use in drawn)

    none, one, two = marks(None, None, None), marks(LONE, None, None), marks(LONE, None, LONE)
    assert two - one == one - none > 0


def test_the_bars_of_the_calibration_stand_in_the_middle_of_their_parts() -> None:
    """Pixels in bins 8 and 248 of 256: their parts are the first and the last of 16, whose middles are 15/16 apart."""
    plot = figures.calibration(histograms((8, 9, 1), (248, 1, 9)))
    starts = [
        float(re.findall(r"[-\d.]+", path.get("d", ""))[0])
        for path in smallest(plot).iter(f"{SVG}path")
        if "fill: var(--series-1)" in path.get("style", "") and (path.get("d") or "").rstrip().endswith("z")
    ]
    dotted = [use for use in smallest(plot).iter(f"{SVG}use") if "series-1)" in use.get("style", "")]
    between = float(dotted[1].get("x", "")) - float(dotted[0].get("x", ""))
    assert starts[1] - starts[0] == pytest.approx(between * (15 / 16) / (240 / 256), rel=1e-3)


@pytest.mark.parametrize(
    ("draw", "values", "alt"),
    [
        (figures.distribution, (np.array([0.9]), "Dice"), "Histogram of 1 photo: median 0.90000"),
        (figures.by_view, ({"01": LONE}, "Dice", "view"), "Mean Dice of 1 view: 01 with 0.90000."),
        (figures.by_group, (groups(a=0.9), "Dice", "car"), "Mean Dice of 1 car: a with 0.90000."),
        (figures.differences, (np.ones(1), 1.0, None, ("new", "old")), "differences: new is better on 1 of 1 photo."),
        (figures.coverage, (np.array([0.25]),), "Histogram of 1 mask: it covers 25.0% of its photo."),
        (figures.coverage, (np.full(2, 0.25),), "Histogram of 2 masks: they cover 25.0% of their photos."),
        (figures.deviations, (np.array([2.0]), (0.9, 1.1), "car"), "Histogram of 1 area; 1 is below 0.900 or above"),
        (submission_figures.over_time, (DAYS[:1], [LONE], [0.9]), "1 submission over time; the best public score"),
        (submission_figures.against_leaderboard, ([known(0.9, 0.9)],), "1 submission; 0 have a higher public score"),
    ],
)
def test_of_one_thing_a_plot_speaks_in_the_singular(draw: Draw, values: Values, alt: str) -> None:
    assert alt in draw(*values).alt


SHARES = {"distribution": "x", "all at 1": "x", "all at 0": "x", "views": "y", "a view at 1": "y", "long views": "y"}
SHARES |= {"cars": "y", "few cars": "y", "thresholds": "xy", "calibration": "xy", "days": "y", "leaderboard": "xy"}


@pytest.mark.parametrize("name", SHARES)
def test_no_axis_of_scores_or_probabilities_goes_beyond_0_or_1(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[float, float]] = []
    look_at(HARD[name], lambda figure: ends.extend(ends_of(figure, SHARES[name])), monkeypatch)
    assert len(ends) == 3 * len(SHARES[name])
    assert all(0 <= low < high <= 1 for low, high in ends)


def ends_of(figure: Figure, axes: str) -> list[tuple[float, float]]:
    return [getattr(figure.axes[0], f"get_{which}lim")() for which in axes]


def test_no_learning_curve_of_a_score_goes_beyond_1(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[float, float]] = []
    look_at(HARD["loss"], lambda figure: ends.extend(ends_of(figure, "y")), monkeypatch)  # draws all four
    assert [high for _, high in ends[3:9]] == 6 * [1]


@pytest.mark.parametrize(
    ("losses", "low", "high"),
    [
        ((0.2, 0.2, 0.2), 0.75, 0.79),
        ((0.2,), 0.75, 0.79),
        ((0.8, 0.1, 0.1), 0.8859, 0.8860),  # a fiftieth of 0.7 and 0.0001 below 0.9
        ((0.8, 0.14, 0.12, 0.1, 0.1), 0.7998, 0.8),  # five times the 0.02 to the median, and 0.0001
    ],
)
def test_learning_curves_of_scores_leave_out_early_epochs_but_no_room_below_the_others(
    losses: tuple[float, ...], low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all epochs are alike, matplotlib's own margin of a twentieth of the value stays: the line is seen whole."""
    ends: list[tuple[float, float]] = []
    look_at(
        lambda: figures.learning_curves({0: curve(*losses)})[1],
        lambda figure: ends.extend(ends_of(figure, "y")),
        monkeypatch,
    )
    assert all(low <= bottom < high for bottom, _ in ends[3:6])


def test_a_flat_threshold_curve_has_no_labels_of_more_digits_than_scores_have() -> None:
    labels = texts(figures.threshold_curve(CURVE.assign(score=0.947368421), 0.5, 0.947368421, "Dice"))
    assert max(len(label) for label in labels if label.startswith("0.9")) <= len("0.94735")


@pytest.mark.parametrize(
    ("name", "least", "most"), [("coverage", 0, 100), ("nothing covered", 0, 100), ("opposite", -1, 1)]
)
def test_no_axis_of_percentages_or_differences_goes_beyond_what_they_can_be(
    name: str, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[tuple[float, float]] = []
    look_at(HARD[name], lambda figure: ends.extend(ends_of(figure, "x")), monkeypatch)
    assert all(least <= low < high <= most for low, high in ends)
    assert ends


@pytest.mark.parametrize("name", ["a view at 1", "few cars", "thresholds", "days", "leaderboard"])
def test_a_mark_at_the_end_of_an_axis_is_drawn_whole(name: str) -> None:
    """A clip path would cut it in half."""
    drawing = smallest(HARD[name]())
    marks = [use for use in drawing.iter(f"{SVG}use") if "var(--series" in use.get("style", "")]
    cut = [use for group in drawing.iter(f"{SVG}g") if "clip-path" in group.attrib for use in group.iter(f"{SVG}use")]
    assert marks
    assert [use for use in marks if use in cut] == []


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_the_point_of_a_single_epoch_is_drawn_whole_also_at_the_end_of_its_axis(loss: float) -> None:
    """A Dice of 1 or 0, of one epoch or beside a curve of several."""
    for curves in ({0: curve(loss)}, {0: curve(0.5, loss), 1: curve(loss)}):
        drawing = smallest(figures.learning_curves(curves)[1])
        cut = [
            use for group in drawing.iter(f"{SVG}g") if "clip-path" in group.attrib for use in group.iter(f"{SVG}use")
        ]
        marks = [use for use in drawing.iter(f"{SVG}use") if "var(--series" in use.get("style", "")]
        assert len(marks) == 1
        assert not set(marks) & set(cut)


def test_the_point_of_a_single_epoch_far_below_the_others_is_not_drawn_below_the_axis() -> None:
    late = {0: curve(*[0.1, 0.05, 0.04, 0.03, 0.02]), 1: curve(0.9)}
    drawing = smallest(figures.learning_curves(late)[1])
    cut = [use for group in drawing.iter(f"{SVG}g") if "clip-path" in group.attrib for use in group.iter(f"{SVG}use")]
    assert len([use for use in cut if "var(--series-2)" in use.get("style", "")]) == 1


def test_a_log_scale_is_called_one() -> None:
    assert "pixels, on a log scale" in texts(HARD["calibration"]())


def test_what_the_marks_of_a_plot_mean_stands_above_it() -> None:
    assert {key.words: (key.colour, key.mark) for key in figures.distribution(SCORES, "IoU").keys} == {
        "median": (INK, "line"),
        "5th percentile": (INK, "dashed"),
    }
    loss, dice = figures.learning_curves({0: curve(0.5, 0.4)}, {1: "64x96", 2: "128x192"})[:2]
    assert loss.keys[:2] == (Key("training", SERIES[0]), Key("held-out photos", SERIES[0], "dashed"))
    assert dice.keys == (Key("photos of 64x96 from epoch 1, 128x192 from epoch 2", INK, "dotted"),)


def test_of_submissions_in_each_other_s_way_the_last_one_is_named() -> None:
    crowd = [known(0.9, 0.9 + number / 10_000, f"crowd{number}") for number in range(5)]
    names = set(texts(submission_figures.against_leaderboard([*crowd, known(0.5, 0.5, "alone")])))
    assert {name for name in names if name.startswith(("crowd", "alone"))} == {"crowd4", "alone"}


def test_a_score_that_is_a_mean_by_its_name_is_not_called_the_mean_of_one() -> None:
    plot = figures.threshold_curve(CURVE, 0.5, 0.9, "mean precision")
    assert plot.alt == "Mean precision by threshold: highest at 0.5, with 0.90000."
    assert "mean precision" in texts(plot)
    assert "mean Dice" in texts(figures.threshold_curve(CURVE, 0.5, 0.9, "Dice"))
    assert figures.distribution(SCORES, "mean precision").title == "Mean precision of the single photos"
