"""The figures of the pages: learning curves, scores, thresholds, calibration, differences, areas, submissions.

Every one has an alternative text that says what is to be seen. Plain values in, plain values out.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from kaggle_tools.errors import counted
from kaggle_tools.kaggle_api.overview import KnownScores, draw_scores
from kaggle_tools.report.graphics.svg import INK, SERIES, Plot, new_drawing
from kaggle_tools.results.scores import Estimate


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
    _Curve("Loss", "loss; dashed: of the held-out photos", "train_loss", dashed="val_loss"),
    _Curve("Dice", "Dice of the held-out photos", "val_dice"),
    _Curve("IoU", "IoU of the held-out photos", "val_iou"),
    _Curve("Learning rate", "learning rate at the epoch's end", "lr"),
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
            axes.plot(epochs, table[shown.column], "-", color=colour, label=f"fold {fold}", marker=marker)
            if shown.dashed:
                axes.plot(epochs, table[shown.dashed], "--", color=colour, marker=marker)
        axes.set_xlabel("epoch")
        axes.set_ylabel(shown.label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(curves) > 1:
            axes.legend(fontsize=8)
        if shown.is_score:  # the first epochs would leave no room for the others
            high, middle = (
                max(getattr(table[shown.column], of)() for table in curves.values()) for of in ("max", "median")
            )
            axes.set_ylim(bottom=max(axes.get_ylim()[0], high - 5 * (high - middle) - 1e-4))
        for first, size in sizes.items():
            axes.axvline(first - 0.5, color=INK, linewidth=0.5, linestyle=":")
            at = axes.get_xaxis_transform()  # epochs along, a share of the height up
            axes.text(first - 0.4, 0.02, size, transform=at, fontsize=8, rotation=90, clip_on=True)
        ends = ", ".join(f"fold {fold} from {_ends(table[shown.column])}" for fold, table in curves.items())
        changes = ", ".join(f"{size} from epoch {first}" for first, size in sizes.items())
        drawing.alt = f"{shown.title} by epoch: {ends}{changes and f'; photos of {changes}'}."
    return drawing.plot


def distribution(scores: NDArray[np.float64], score_name: str) -> Plot:
    """How many photos have which score."""
    with new_drawing(f"{score_name} of the single photos") as drawing:
        axes = drawing.axes
        median, low = np.median(scores), np.quantile(scores, 0.05)
        axes.hist(scores, bins=_bins(scores), color=SERIES[0])
        axes.axvline(median, color=INK, linewidth=1)
        axes.axvline(low, color=INK, linewidth=1, linestyle="--")
        axes.set_xlabel(f"{score_name} of a photo; line: median, dashed: 5th percentile")
        axes.set_ylabel("photos")
        drawing.alt = (
            f"Histogram of {counted(len(scores), 'photo')}: median {median:.5f}, 5th percentile {low:.5f}, "
            f"the worst {scores.min():.5f}."
        )
    return drawing.plot


def by_view(scores: Mapping[str, Estimate], score_name: str, view_name: str) -> Plot:
    """The mean score of each view, with its interval."""
    with new_drawing(f"{score_name} by {view_name}") as drawing:
        axes = drawing.axes
        for at, estimate in enumerate(scores.values()):
            _estimate(axes, at, estimate, SERIES[0])
        axes.set_xticks(range(len(scores)), [_short(view) for view in scores], rotation=90 if len(scores) > 8 else 0)
        axes.set_xlabel(f"{view_name}; bars: 95 % interval")
        axes.set_ylabel(f"{score_name} (mean)")
        worst = min(scores, key=lambda view: scores[view].score)
        best = max(scores, key=lambda view: scores[view].score)
        drawing.alt = (
            f"Mean {score_name} of {len(scores)} {view_name}s: the lowest is {worst} with {scores[worst].score:.5f}, "
            f"the highest {best} with {scores[best].score:.5f}."
        )
    return drawing.plot


def by_group(scores: pd.DataFrame, score_name: str, group_name: str) -> Plot:
    """The mean score of each group and the range of its photos, the worst group first.

    `scores` has the columns mean, min and max, in ascending order of the mean, and the groups as index.
    """
    with new_drawing(f"{score_name} by {group_name}") as drawing:
        axes = drawing.axes
        ranks = np.arange(1, len(scores) + 1)
        axes.vlines(
            ranks, scores["min"], scores["max"], color=SERIES[0], alpha=0.35, linewidth=min(3, 300 / len(ranks))
        )
        axes.plot(ranks, scores["mean"], ".", color=SERIES[0], markersize=min(6, 60 / len(ranks) + 3))
        axes.set_xlabel(f"{group_name}s, the worst first; lines: its worst to its best photo")
        axes.set_ylabel(f"{score_name} (mean)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        worst = ", ".join(f"{name} with {mean:.5f}" for name, mean in scores["mean"].head(3).items())
        drawing.alt = f"Mean {score_name} of {len(scores)} {group_name}s; the worst: {worst}."
    return drawing.plot


def threshold_curve(curve: pd.DataFrame, chosen: float, score: float, score_name: str) -> Plot:
    """The mean score at each threshold, and the one chosen."""
    with new_drawing("Threshold curve") as drawing:
        axes = drawing.axes
        axes.plot(curve["threshold"], curve["score"], color=SERIES[0])
        axes.plot([chosen], [score], "o", color=SERIES[1])
        axes.annotate(
            f"{chosen:.4g}: {score:.5f}", (chosen, score), xytext=(0, 7), textcoords="offset points", ha="center"
        )
        worst = curve.loc[curve["threshold"].between(0.1, 0.9), "score"].min()
        axes.set_ylim(worst - 0.1 * (score - worst + 1e-6), score + 0.3 * (score - worst + 1e-6))
        axes.set_xlabel("threshold, a probability")
        axes.set_ylabel(f"{score_name} (mean)")
        drawing.alt = f"Mean {score_name} by threshold: highest at {chosen:.4g}, with {score:.5f}."
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
        upper.plot(means, counts[1, some] / pixels[some], ".-", color=SERIES[0])
        upper.set_ylabel("share that\nis foreground")
        upper.set_ylim(0, 1)
        lower.bar((np.flatnonzero(some) + 0.5) / 16, pixels[some], width=0.055, color=SERIES[0])
        lower.set_yscale("log")
        lower.yaxis.set_major_formatter(EngFormatter(sep=""))  # 10M, where others would write mathematics
        lower.set_ylabel("pixels")
        lower.set_xlabel("mean predicted probability; dotted: perfectly calibrated")
        expected, real = expected_share(histograms)
        drawing.alt = (
            f"Share of foreground by predicted probability. Between 0.1 and 0.9 the mean probability is {expected:.3f} "
            f"and {real:.3f} of the pixels are foreground."
        )
    return drawing.plot


def expected_share(histograms: NDArray[np.int64]) -> tuple[float, float]:
    """Of pixels with a probability between 0.1 and 0.9 the mean probability, and the share that is foreground."""
    bins = histograms.shape[1]
    middles = (np.arange(bins) + 0.5) / bins
    doubtful = (middles > 0.1) & (middles < 0.9)
    pixels = histograms[:, doubtful].sum(axis=0)
    total = max(1, int(pixels.sum()))
    return float((pixels * middles[doubtful]).sum() / total), float(histograms[1, doubtful].sum() / total)


def differences(
    values: NDArray[np.float64], mean: float, interval: Sequence[float] | None, names: tuple[str, str]
) -> Plot:
    """How much more the first of two runs scores than the other, photo by photo."""
    with new_drawing(f"{names[0]} minus {names[1]}, photo by photo") as drawing:
        axes = drawing.axes
        span = max(np.quantile(np.abs(values), 0.99), 1e-6)
        bins = np.linspace(-span, span, 41).tolist()
        axes.hist(np.clip(values, -span, span), bins=bins, color=SERIES[0])
        axes.axvline(0, color=INK, linewidth=1)
        axes.axvline(mean, color=SERIES[1], linewidth=1.5)
        if interval:
            axes.axvspan(*interval, color=SERIES[1], alpha=0.3, linewidth=0)
        axes.set_xlabel("difference; in colour: its mean, with 95 % interval")
        axes.set_ylabel("photos")
        higher = int((values > 0).sum())
        drawing.alt = f"Histogram of differences: {names[0]} is better on {higher:,} of {len(values):,} photos."
    return drawing.plot


def coverage(areas: NDArray[np.float64]) -> Plot:
    """How much of the photos the masks cover."""
    with new_drawing("Coverage") as drawing:
        axes = drawing.axes
        axes.hist(areas * 100, bins=min(40, max(5, len(areas) // 2)), color=SERIES[0])
        axes.set_xlabel("share of the photo that the mask covers, in %")
        axes.set_ylabel("photos")
        drawing.alt = (
            f"Histogram of {counted(len(areas), 'mask')}: they cover {areas.min():.1%} to {areas.max():.1%} of "
            f"their photos, at the median {np.median(areas):.1%}."
        )
    return drawing.plot


def deviations(ratios: NDArray[np.float64], limits: tuple[float, float], group_name: str) -> Plot:
    """Areas as multiples of what the other photos of the group suggest; outliers lie outside of `limits`."""
    with new_drawing(f"Area against the same {group_name}'s other photos") as drawing:
        axes = drawing.axes
        low, high = min(limits[0] * 0.98, 0.8), max(limits[1] * 1.02, 1.25)
        axes.hist(np.clip(ratios, low, high), bins=np.linspace(low, high, 46).tolist(), color=SERIES[0])
        for limit in limits:
            axes.axvline(limit, color=INK, linewidth=1, linestyle="--")
        axes.set_xlabel("area, as multiple of what is expected; dashed: outliers beyond")
        axes.set_ylabel("photos")
        outside = int(((ratios < limits[0]) | (ratios > limits[1])).sum())
        drawing.alt = (
            f"Histogram of {len(ratios):,} areas; {outside:,} are below {limits[0]:.3f} or above {limits[1]:.3f}."
        )
    return drawing.plot


def over_time(times: Sequence[datetime], expected: Sequence[Estimate | None], public: Sequence[float | None]) -> Plot:
    """Cross-validation and leaderboard, submission by submission."""
    with new_drawing("Over time") as drawing:
        axes = drawing.axes
        for time, estimate in zip(times, expected, strict=True):
            if estimate:
                _estimate(axes, date2num(time), estimate, SERIES[0])
        known = [(date2num(time), score) for time, score in zip(times, public, strict=True) if score is not None]
        axes.plot([], [], "o", color=SERIES[0], label="expected, with 95 % interval")
        axes.plot([time for time, _ in known], [score for _, score in known], "D", color=SERIES[1], label="public")
        stamps = date2num(times)
        margin = 0.05 * (stamps.max() - stamps.min()) or 0.5  # half a day around a single submission
        axes.set_xlim(stamps.min() - margin, stamps.max() + margin)
        days = AutoDateLocator(minticks=2, maxticks=6)
        axes.xaxis.set_major_locator(days)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(days))
        axes.set_xlabel("time of the submission, UTC")
        axes.set_ylabel("score")
        axes.legend(fontsize=8)
        best = max((score for _, score in known), default=None)
        drawing.alt = f"{len(times)} submissions over time; " + (
            "none has a public score." if best is None else f"the best public score is {best:.5f}."
        )
    return drawing.plot


def against_leaderboard(known: Sequence[KnownScores]) -> Plot:
    """Public scores over expected ones."""
    with new_drawing("Cross-validation against leaderboard") as drawing:
        draw_scores(drawing.axes, known, points=SERIES[0], diagonal=INK)
        drawing.axes.xaxis.set_major_locator(MaxNLocator(5))
        above = sum(one.public > one.expected.score for one in known)
        drawing.alt = f"{len(known)} submissions; {above} have a higher public score than expected."
    return drawing.plot


def _estimate(axes: Axes, at: float, estimate: Estimate, colour: str) -> None:
    axes.errorbar([at], [estimate.score], yerr=estimate.spread, fmt="o", capsize=2, markersize=4, color=colour)


def _bins(scores: NDArray[np.float64]) -> list[float]:
    """From the worst photo to the best, but fine enough for the bulk of the photos."""
    low, high = float(scores.min()), float(scores.max())
    bulk = max(float(np.quantile(scores, 0.95) - np.quantile(scores, 0.05)), (high - low) / 20, 1e-6)
    count = int(np.clip(25 * (high - low) / bulk, 10, 120))
    return [float(edge) for edge in np.linspace(low, max(high, low + 1e-6), count)]


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def _ends(values: Iterable[float]) -> str:
    first, *_, last = [*values] if len([*values]) > 1 else [*values] * 2
    return f"{first:.4g} to {last:.4g}"
