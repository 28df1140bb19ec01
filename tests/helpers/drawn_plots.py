"""Figures of values that are hard to draw: scores at 1, many digits, long names, many folds, groups and submissions."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from kaggle_tools.kaggle_api.overview import KnownScores
from kaggle_tools.report.graphics import figures, submission_figures, svg
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.results.scores import Estimate

Draw = Callable[[], Plot]
SVG = "{http://www.w3.org/2000/svg}"
NOISE = np.random.default_rng(0)
NEAR_1 = np.clip(1 - 0.004 * NOISE.gamma(1.5, 1, 500), 0, 1)
DAYS = [datetime(2026, 9, 12, 12, tzinfo=UTC) + timedelta(days=2.3 * number) for number in range(12)]
HOURS = [datetime(2026, 10, 1, 22, 50, tzinfo=UTC) + timedelta(minutes=31 * number) for number in range(12)]


def curves() -> dict[int, pd.DataFrame]:
    epochs = np.arange(20)
    return {
        fold: pd.DataFrame(
            {
                "epoch": epochs,
                "train_loss": 0.5 * np.exp(-epochs / 4) + 0.01 * fold,
                "val_loss": 0.6 * np.exp(-epochs / 4),
                "val_dice": 1 - 0.3 * np.exp(-epochs / 2) - 0.001 * fold,
                "val_iou": 1 - 0.5 * np.exp(-epochs),
                "lr": 3e-4 * np.cos(epochs / 13) ** 2,
            }
        )
        for fold in range(5)
    }


def views(*names: str) -> dict[str, Estimate]:
    """The mean scores of views, the last of which is at 1."""
    means = np.linspace(0.995, 1, len(names)).tolist()
    return {name: Estimate(mean, (mean - 0.001, min(1, mean + 0.002))) for name, mean in zip(names, means, strict=True)}


def cars(count: int) -> pd.DataFrame:
    means = np.linspace(0.985, 1, count)
    return pd.DataFrame({"mean": means, "min": means - 0.00421, "max": np.minimum(1, means + 0.002)})


def pixels() -> np.ndarray:
    """Of each of 256 probabilities, from a few of background to millions of foreground."""
    counts = np.exp(np.linspace(3, 17, 256))
    share = np.linspace(0, 1, 256)
    return np.stack([counts * (1 - share), counts * share]).astype(np.int64)


def submissions() -> list[KnownScores]:
    """The last of them has a public score of 1."""
    means = [0.99 + 0.0008 * number for number in range(12)]
    return [
        KnownScores(Estimate(mean, (mean - 0.001, min(1, mean + 0.003))), min(1, mean + 0.0012), f"{number:x}afe123")
        for number, mean in enumerate(means)
    ]


def over_time(times: list[datetime]) -> Plot:
    known = submissions()
    return submission_figures.over_time(times, [one.expected for one in known], [one.public for one in known])


CURVE = pd.DataFrame({"threshold": np.linspace(0.004, 0.996, 249)}).assign(
    score=lambda table: 1 - 0.01 * (table["threshold"] - 0.484375) ** 2
)
HARD: dict[str, Draw] = {
    **{
        title: lambda at=at: figures.learning_curves(curves(), {1: "256x384", 5: "512x768", 9: "1024x1536"})[at]
        for at, title in enumerate(["loss", "dice", "iou", "learning rate"])
    },
    "distribution": lambda: figures.distribution(NEAR_1, "mean precision"),
    "all at 1": lambda: figures.distribution(np.ones(9), "Dice"),
    "all at 0": lambda: figures.distribution(np.zeros(9), "Dice"),
    "views": lambda: figures.by_view(views(*(f"{view:02}" for view in range(1, 17))), "Dice", "angle"),
    "a view at 1": lambda: figures.by_view({"01": Estimate(1.0, None)}, "Dice", "angle"),
    "long views": lambda: figures.by_view(views("front-left-1", "rear-right-corner", "top"), "Dice", "view"),
    "many views": lambda: figures.by_view(views(*(f"view-{view:03}" for view in range(100))), "Dice", "view"),
    "cars": lambda: figures.by_group(cars(318), "Dice", "car"),
    "few cars": lambda: figures.by_group(cars(3), "Dice", "car"),
    "thresholds": lambda: figures.threshold_curve(CURVE, 0.484375, 1.0, "Dice"),
    "calibration": lambda: figures.calibration(pixels()),
    "differences": lambda: figures.differences(
        NOISE.normal(0.0003, 0.002, 500), 0.0003, (0.0001, 0.0005), ("a-run-with-a-long-name", "b")
    ),
    "opposite": lambda: figures.differences(np.array([1.0, -1.0]), 0.0, None, ("a", "b")),
    "coverage": lambda: figures.coverage(NOISE.uniform(0.5, 1, 200)),
    "nothing covered": lambda: figures.coverage(np.zeros(9)),
    "deviations": lambda: figures.deviations(NOISE.normal(1, 0.03, 200), (0.93, 1.07), "car"),
    "days": lambda: over_time(DAYS),
    "hours": lambda: over_time(HOURS),
    "leaderboard": lambda: submission_figures.against_leaderboard(submissions()),
}


def smallest(plot: Plot) -> ElementTree.Element:
    """The drawing that a phone shows."""
    return ElementTree.fromstring(f"<plot>{plot.svg}</plot>")[0]


def texts(plot: Plot) -> list[str]:
    return ["".join(element.itertext()) for element in smallest(plot).iter(f"{SVG}text")]


def look_at(draw: Draw, look: Callable[[Figure], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a look at matplotlib's own figure in each of the sizes in which it is drawn."""

    def drawn(figure: Figure, _: str) -> Markup:
        figure.draw_without_rendering()
        look(figure)
        return Markup()

    with monkeypatch.context() as patched:
        patched.setattr(svg, "_svg", drawn)
        draw()
