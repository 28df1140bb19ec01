"""The figures of runs and of masks: learning curves, scores, thresholds, calibration, differences, areas.

Every one has an alternative text that says what is to be seen. No axis goes where there can be no value, and a mark at
an axis's end is drawn whole. Plain values in, plain values out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, NullFormatter
from numpy.typing import NDArray

from kaggle_tools.errors import counted
from kaggle_tools.report.graphics.axes import (
    RoomyTicks,
    bound,
    count_photos,
    draw_estimate,
    draw_points_whole,
    names_below,
)
from kaggle_tools.report.graphics.svg import INK, SERIES, Key, Plot, new_drawing
from kaggle_tools.results.scores import Estimate

LEAST_SPAN = 0.005
"""Of an axis of scores: of less, its labels would have digits that no score has."""


class _Curve(NamedTuple):
    """What one of the learning curves shows."""

    title: str
    label: str
    column: str
    """Of the table of epochs, drawn as a line."""
    dashed: str | None = None
    """Another column, drawn dashed."""

    @property
    def is_score(self) -> bool:
        return self.column in ("val_dice", "val_iou")


_CURVES = (
    _Curve("Loss", "loss", "train_loss", dashed="val_loss"),
    _Curve("Dice", "Dice of the held-out photos", "val_dice"),
    _Curve("IoU", "IoU of the held-out photos", "val_iou"),
    _Curve("Learning rate", "at the end of the epoch", "lr"),
)


def learning_curves(curves: Mapping[int, pd.DataFrame], sizes: Mapping[int, str] | None = None) -> list[Plot]:
    """Loss, Dice, IoU and learning rate over the epochs, a line for each fold.

    `curves` are the tables that `callbacks.MetricsTable` writes, by fold. `sizes` are the sizes to which photos were
    brought, by the first epoch, from 1, that had them.
    """
    return [_learning_curve(shown, curves, sizes or {}) for shown in _CURVES]


def _learning_curve(shown: _Curve, curves: Mapping[int, pd.DataFrame], sizes: Mapping[int, str]) -> Plot:
    with new_drawing(shown.title) as drawing:
        axes = drawing.axes
        for number, (fold, table) in enumerate(curves.items()):
            colour, marker = SERIES[number % len(SERIES)], "." if len(table) == 1 else None
            epochs = table["epoch"] + 1
            axes.plot(epochs, table[shown.column], "-", color=colour, marker=marker)
            if shown.dashed:
                axes.plot(epochs, table[shown.dashed], "--", color=colour, marker=marker)
            if len(curves) > 1:
                drawing.keys.append(Key(f"fold {fold}", colour))
        if shown.dashed:
            colour = SERIES[0] if len(curves) == 1 else INK
            drawing.keys += [Key("training", colour), Key("held-out photos", colour, "dashed")]
        axes.set_xlim(0.5, max(table["epoch"].max() for table in curves.values()) + 1.5)
        axes.set_xlabel("epoch")
        axes.set_ylabel(shown.label)
        axes.xaxis.set_major_locator(RoomyTicks(integer=True))
        if shown.is_score:
            _show_late_scores(axes, [table[shown.column] for table in curves.values()])
        draw_points_whole(axes)
        for first in sizes:
            axes.axvline(first - 0.5, color=INK, linewidth=0.5, linestyle=":")
        changes = ", ".join(f"{size} from epoch {first}" for first, size in sizes.items())
        if sizes:
            drawing.keys.append(Key(f"photos of {changes}", INK, "dotted"))
        ends = ", ".join(f"fold {fold} {_ends(table[shown.column])}" for fold, table in curves.items())
        drawing.alt = f"{shown.title} by epoch: {ends}{changes and f'; photos of {changes}'}."
    return drawing.plot


def _show_late_scores(axes: Axes, scores: "Sequence[pd.Series[float]]") -> None:
    """Leave out what lies far below the median: the first epochs would leave no room for the others."""
    high, middle = max(values.max() for values in scores), max(values.median() for values in scores)
    least = min(values.min() for values in scores)
    low = high - max(5 * (high - middle), 0.02 * (high - least))  # of epochs that are alike, some room below
    if least < low:
        axes.set_ylim(bottom=low - 1e-4)
    bound(axes, "y")


def distribution(scores: NDArray[np.float64], score_name: str) -> Plot:
    """How many photos have which score."""
    with new_drawing(f"{_capital(score_name)} of the single photos") as drawing:
        axes = drawing.axes
        median, low = np.median(scores), np.quantile(scores, 0.05)
        axes.hist(scores, bins=_bins(scores), color=SERIES[0], histtype="stepfilled")
        axes.axvline(median, color=INK, linewidth=1)
        axes.axvline(low, color=INK, linewidth=1, linestyle="--")
        bound(axes, "x")
        axes.set_xlabel(f"{score_name} of a photo")
        count_photos(axes)
        drawing.keys = [Key("median", INK), Key("5th percentile", INK, "dashed")]
        drawing.alt = (
            f"Histogram of {counted(len(scores), 'photo')}: median {median:.5f}, 5th percentile {low:.5f}, "
            f"the worst {scores.min():.5f}."
        )
    return drawing.plot


def by_view(scores: Mapping[str, Estimate], score_name: str, view_name: str) -> Plot:
    """The mean score of each view, with its interval."""
    with new_drawing(f"{_capital(score_name)} by {view_name}") as drawing:
        axes = drawing.axes
        for at, estimate in enumerate(scores.values()):
            draw_estimate(axes, at, estimate, SERIES[0])
        names_below(axes, [_short(view) for view in scores])
        bound(axes, "y")
        axes.set_xlabel(view_name)
        axes.set_ylabel(of_many(score_name))
        intervals = " with its 95 % interval" if any(estimate.interval for estimate in scores.values()) else ""
        drawing.keys = [Key(f"mean{intervals}", SERIES[0], "dot")]
        worst = min(scores, key=lambda view: scores[view].score)
        best = max(scores, key=lambda view: scores[view].score)
        ends = f"the lowest is {worst} with {scores[worst].score:.5f}, " if len(scores) > 1 else ""
        drawing.alt = (
            f"{_capital(of_many(score_name))} of {counted(len(scores), view_name)}: "
            f"{ends}{'the highest ' if ends else ''}{best} with {scores[best].score:.5f}."
        )
    return drawing.plot


def by_group(scores: pd.DataFrame, score_name: str, group_name: str) -> Plot:
    """The mean score of each group and the range of its photos, the worst group first.

    `scores` has the columns mean, min and max, in ascending order of the mean, and the groups as index.
    """
    with new_drawing(f"{_capital(score_name)} by {group_name}") as drawing:
        axes = drawing.axes
        ranks = np.arange(1, len(scores) + 1)
        ends = np.column_stack([scores["min"], scores["max"], np.full(len(scores), np.nan)])
        broad, dots = min(3, 300 / len(ranks)), min(6, 60 / len(ranks) + 3)
        (lines,) = axes.plot(ranks.repeat(3), ends.ravel(), color=SERIES[0], linewidth=broad)  # one path, with gaps
        lines.set(alpha=0.35, solid_capstyle="butt", clip_on=False)
        axes.plot(ranks, scores["mean"], ".", color=SERIES[0], markersize=dots, clip_on=False)
        bound(axes, "y")
        axes.set_xlim(0.5, len(ranks) + 0.5)
        axes.set_xlabel(f"{group_name}s, the worst first")
        axes.set_ylabel(of_many(score_name))
        axes.xaxis.set_major_locator(RoomyTicks(integer=True))
        drawing.keys = [Key("mean", SERIES[0], "dot"), Key("from its worst to its best photo", SERIES[0])]
        worst = ", ".join(f"{name} with {mean:.5f}" for name, mean in scores["mean"].head(3).items())
        told = "; the worst" if len(scores) > 1 else ""
        drawing.alt = f"{_capital(of_many(score_name))} of {counted(len(scores), group_name)}{told}: {worst}."
    return drawing.plot


def threshold_curve(curve: pd.DataFrame, best: float, score: float, score_name: str) -> Plot:
    """The mean score at each threshold, and the best one."""
    with new_drawing("Threshold curve") as drawing:
        axes = drawing.axes
        axes.plot(curve["threshold"], curve["score"], color=SERIES[0])
        axes.plot([best], [score], "o", color=SERIES[1], clip_on=False)
        worst = curve.loc[curve["threshold"].between(0.1, 0.9), "score"].min()
        room = 0.1 * max(score - worst, LEAST_SPAN)
        axes.set_ylim(worst - room, score + room)
        axes.set_xlim(0, 1)
        bound(axes, "y")
        axes.set_xlabel("threshold, a probability")
        axes.set_ylabel(of_many(score_name))
        drawing.keys = [Key(f"best: {best:.4g}, with {score:.5f}", SERIES[1], "dot")]
        drawing.alt = f"{_capital(of_many(score_name))} by threshold: highest at {best:.4g}, with {score:.5f}."
    return drawing.plot


def calibration(histograms: NDArray[np.int64]) -> Plot:
    """A reliability diagram: how often pixels of a probability are foreground, and how many there are.

    `histograms` has shape (2, bins): pixels of the background and of the foreground by probability.
    """
    with new_drawing("Calibration", rows=2) as drawing:
        upper, lower = drawing.all_axes
        counts = histograms.reshape(2, 16, -1).sum(axis=2)
        pixels = counts.sum(axis=0)
        some = pixels > 0
        bins = histograms.shape[1]
        sums = (histograms.sum(axis=0) * (np.arange(bins) + 0.5) / bins).reshape(16, -1).sum(axis=1)
        means = sums[some] / pixels[some]  # of what was predicted: in the first and last part far from its middle
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        upper.plot(means, counts[1, some] / pixels[some], ".-", color=SERIES[0], clip_on=False)
        upper.set_ylabel("share that is foreground")
        upper.set_ylim(0, 1)
        upper.set_xlim(0, 1)
        lower.bar((np.flatnonzero(some) + 0.5) / 16, pixels[some], width=0.055, color=SERIES[0])
        lower.set_yscale("log")
        lower.set_ylim(*_decades(pixels[some]))
        lower.yaxis.set_major_formatter(EngFormatter(sep=""))  # 10M, where others would write mathematics
        lower.yaxis.set_minor_formatter(NullFormatter())
        lower.set_ylabel("pixels, on a log scale")
        lower.set_xlabel("mean predicted probability")
        drawing.keys = [Key("perfectly calibrated", INK, "dotted")]
        expected, real = expected_share(histograms)
        drawing.alt = (
            f"Share of foreground by predicted probability. Between 0.1 and 0.9 the mean probability is {expected:.3f} "
            f"and {real:.3f} of the pixels are foreground."
        )
    return drawing.plot


def _decades(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Ends of a log scale: half a power of ten, so that a bar of that height is seen, and a whole one."""
    return 0.5 * 10 ** math.floor(math.log10(counts.min())), 10 ** math.ceil(math.log10(counts.max()))


def expected_share(histograms: NDArray[np.int64]) -> tuple[float, float]:
    """Of pixels with a probability between 0.1 and 0.9 the mean probability, and the share that is foreground."""
    bins = histograms.shape[1]
    middles = (np.arange(bins) + 0.5) / bins
    doubtful = (middles > 0.1) & (middles < 0.9)
    pixels = histograms[:, doubtful].sum(axis=0)
    total = max(1, int(pixels.sum()))
    return float((pixels * middles[doubtful]).sum() / total), float(histograms[1, doubtful].sum() / total)


def differences(
    values: NDArray[np.float64],
    of_all: float,
    interval: Sequence[float] | None,
    names: tuple[str, str],
    kind: str = "mean",
) -> Plot:
    """How much more the first of two runs scores than the other, photo by photo, and `of_all` their `kind` score."""
    with new_drawing(f"{names[0]} minus {names[1]}, photo by photo") as drawing:
        axes = drawing.axes
        span = max(np.quantile(np.abs(values), 0.99), 1e-6)
        bins = np.linspace(-span, span, 41).tolist()
        axes.hist(np.clip(values, -span, span), bins=bins, color=SERIES[0], histtype="stepfilled")
        axes.axvline(0, color=INK, linewidth=1)
        axes.axvline(of_all, color=SERIES[1], linewidth=1.5)
        drawing.keys = [Key(kind, SERIES[1])]
        if interval:
            axes.axvspan(*interval, color=SERIES[1], alpha=0.3, linewidth=0)
            drawing.keys.append(Key("its 95 % interval", SERIES[1], "area"))
        bound(axes, "x", -1)
        axes.set_xlabel("difference")
        count_photos(axes)
        higher = int((values > 0).sum())
        drawing.alt = (
            f"Histogram of differences: {names[0]} is better on {higher:,} of {counted(len(values), 'photo')}."
        )
    return drawing.plot


def coverage(areas: NDArray[np.float64]) -> Plot:
    """How much of the photos the masks cover."""
    with new_drawing("Coverage") as drawing:
        axes = drawing.axes
        middle, half = (areas.max() + areas.min()) * 50, max((areas.max() - areas.min()) * 50, 0.5)  # in %
        least, most = max(0, middle - half), min(100, middle + half)
        bins = np.linspace(least, most, min(40, max(5, len(areas) // 2)) + 1).tolist()
        axes.hist(areas * 100, bins=bins, color=SERIES[0], histtype="stepfilled")
        bound(axes, "x", 0, 100)
        axes.set_xlabel("% that the mask covers")
        count_photos(axes)
        low, high = (f"{area:.1%}" for area in (areas.min(), areas.max()))
        whose = "their photos" if len(areas) > 1 else "its photo"
        told = (
            f"{low} to {high} of {whose}, at the median {np.median(areas):.1%}" if low != high else f"{low} of {whose}"
        )
        drawing.alt = f"Histogram of {counted(len(areas), 'mask: it covers', 'masks: they cover')} {told}."
    return drawing.plot


def deviations(ratios: NDArray[np.float64], limits: tuple[float, float], group_name: str) -> Plot:
    """Areas as multiples of what the other photos of the group suggest; outliers lie outside of `limits`."""
    with new_drawing(f"Area against the same {group_name}'s other photos") as drawing:
        axes = drawing.axes
        low, high = min(limits[0] * 0.98, 0.8), max(limits[1] * 1.02, 1.25)
        bins = np.linspace(low, high, 46).tolist()
        axes.hist(np.clip(ratios, low, high), bins=bins, color=SERIES[0], histtype="stepfilled")
        for limit in limits:
            axes.axvline(limit, color=INK, linewidth=1, linestyle="--")
        axes.set_xlabel("multiple of the expected area")
        count_photos(axes)
        drawing.keys = [Key("outliers lie beyond", INK, "dashed")]
        outside = int(((ratios < limits[0]) | (ratios > limits[1])).sum())
        drawing.alt = (
            f"Histogram of {counted(len(ratios), 'area')}; {counted(outside, 'is', 'are')} "
            f"below {limits[0]:.3f} or above {limits[1]:.3f}."
        )
    return drawing.plot


def _bins(scores: NDArray[np.float64]) -> list[float]:
    """From the worst photo to the best, but fine enough for the bulk of the photos."""
    high = max(float(scores.max()), 1e-4)
    low = min(float(scores.min()), high - 1e-4)
    bulk = max(float(np.quantile(scores, 0.95) - np.quantile(scores, 0.05)), (high - low) / 20, 1e-6)
    count = int(np.clip(25 * (high - low) / bulk, 10, 120))
    return [float(edge) for edge in np.linspace(low, high, count)]


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def _ends(values: Iterable[float]) -> str:
    first, *others = values
    return f"from {first:.4g} to {others[-1]:.4g}" if others else f"at {first:.4g}"


def of_many(score_name: str) -> str:
    """Some scores have the word in their names."""
    return score_name if score_name.startswith(("mean ", "global ")) else f"mean {score_name}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
