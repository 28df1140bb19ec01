import itertools

import matplotlib as mpl
import pytest
from drawn_plots import HARD, look_at
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure

from kaggle_tools.report.graphics.axes import RoomyTicks, bound, names_below


def axes_of(width: float, high: float) -> Axes:
    """So wide in inches, from 0 to `high` both ways."""
    figure = Figure(figsize=(width, 3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, high), ylim=(0, high))
    return axes


@pytest.mark.parametrize(("width", "ticks"), [(8, 9), (2, 5), (0.6, 2)])
def test_an_axis_has_as_many_ticks_as_have_room_for_their_digits(width: float, ticks: int) -> None:
    """Labels of `0.0` to `0.8` are taken for three characters of 0.64 and a gap of 0.7, 2.62 sizes of 10 points.

    So there is room for 21 steps on 8 inches, of which eight are taken; for five on 2 inches, of which four make round
    numbers; and for one on 0.6 inches.
    """
    axes = axes_of(width, 0.8)
    axes.xaxis.set_major_locator(RoomyTicks())
    with mpl.rc_context({"font.size": 10}):
        shown = [at for at in axes.get_xticks() if 0 <= at <= 0.8 + 1e-9]
    assert len(shown) == ticks


@pytest.mark.parametrize("name", HARD)
def test_labels_of_ticks_do_not_overlap_and_lie_within_the_figure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at(HARD[name], require_readable_ticks, monkeypatch)


def require_readable_ticks(figure: Figure) -> None:
    for axis in itertools.chain.from_iterable((axes.xaxis, axes.yaxis) for axes in figure.axes):
        labels = [tick.label1 for tick in ticks_of(axis) if tick.label1.get_visible() and tick.label1.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        assert boxes or axis.axes.get_xlabel() == ""  # of two axes above each other the lower one has the labels
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
        assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def ticks_of(axis: Axis) -> list[Tick]:
    """Those between the ends of the axis: there may be one beyond either."""
    low, high = axis.get_view_interval()
    return [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


@pytest.mark.parametrize(
    ("width", "names", "shown", "rotation"),
    [
        (4, ["front", "left", "rear"], ["front", "left", "rear"], 0),
        (1.5, ["front", "left", "rear"], ["front", "left", "rear"], 90),
        (1.5, ["01", "02", "03", "04", "05", "06", "07", "08"], ["01", "03", "05", "07"], 0),
    ],
)
def test_names_without_room_beside_each_other_stand_upright_or_are_fewer(
    width: float, names: list[str], shown: list[str], rotation: float
) -> None:
    axes = axes_of(width, 1)
    names_below(axes, names)
    axes.figure.draw_without_rendering()
    assert [tick.label1.get_text() for tick in ticks_of(axes.xaxis)] == shown
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {rotation}


def test_an_axis_ends_only_where_it_would_go_beyond() -> None:
    axes = axes_of(4, 1)
    axes.set(xlim=(-0.05, 1.05), ylim=(0.2, 0.8))
    bound(axes, "x")
    bound(axes, "y")
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0.2, 0.8))
