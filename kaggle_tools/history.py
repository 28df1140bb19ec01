"""All submissions beside each other, cross-validation against leaderboard: a table for the terminal, and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from kaggle_tools.errors import require
from kaggle_tools.files import replacing
from kaggle_tools.ledger import Entry

COLUMNS = ["submission", "made of", "code", "cross-validation", "expected", "public", "private", "public - expected"]


class Estimate(NamedTuple):
    """A score with its 95 % interval, which a single group of photos does not have."""

    score: float
    interval: list[float] | None

    def __str__(self) -> str:
        """`0.99612 (0.99580 to 0.99640)`."""
        return f"{self.score:.5f}" + (" ({:.5f} to {:.5f})".format(*self.interval) if self.interval else "")


def table(entries: Sequence[Entry]) -> Table:
    """One row for each submission."""
    found = Table(*COLUMNS, show_lines=True)
    for entry in entries:
        expected = expected_score(entry)
        cells = [
            f"{entry.time[:16].replace('T', ' ')}\n{entry.id}\n{entry.message}",
            _made_of(entry),
            _code(entry),
            "\n".join(f"{run['run']} {_cross_validated(run)}" for run in entry.cross_validation),
            str(expected or ""),
            _shown(entry.public_score) or _state(entry),
            _shown(entry.private_score),
            "" if expected is None or entry.public_score is None else f"{entry.public_score - expected.score:+.5f}",
        ]
        found.add_row(*map(Text, cells))  # as plain text: a message may hold brackets, which are rich's markup
    return found


def plot(entries: Sequence[Entry], path: Path) -> int:
    """Draw public scores over expected ones into a PNG file, and return how many submissions have both.

    Raises:
        InputError: the name is not that of a PNG file, or no submission has both scores.
    """
    require(path.suffix.lower() == ".png", f"--plot {path}: must be the name of a .png file")
    both = [(expected_score(entry), entry.public_score, entry.id) for entry in entries]
    known = [(expected, public, name) for expected, public, name in both if expected and public is not None]
    require(bool(known), "nothing to plot: no submission has both an expected and a public score")
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for expected, public, name in known:
        low, high = expected.interval or (expected.score, expected.score)
        axes.errorbar(
            expected.score, public, xerr=[[expected.score - low], [high - expected.score]], fmt="o", capsize=3
        )
        axes.annotate(name[:7], (expected.score, public), textcoords="offset points", xytext=(6, 4))
    axes.axline((known[0][0].score, known[0][0].score), slope=1, color="gray", linewidth=1, linestyle="--")
    axes.set_xlabel("expected score, from cross-validation, with its 95 % interval")
    axes.set_ylabel("public score")
    axes.ticklabel_format(useOffset=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return len(known)


def expected_score(entry: Entry) -> Estimate | None:
    """What the submission was expected to score; without an estimate the mean score of its run, if it is only one."""
    if "score" in entry.estimate:
        return Estimate(entry.estimate["score"], entry.estimate.get("interval"))
    return _cross_validated(entry.cross_validation[0]) if len(entry.cross_validation) == 1 else None


def _cross_validated(run: dict) -> Estimate:
    return Estimate(run["score_mean"], run["score_interval"])


def _made_of(entry: Entry) -> str:
    if not entry.pred:
        return "made elsewhere"
    cut = "" if entry.threshold is None else f", cut at {entry.threshold:g}"
    runs = ", ".join(entry.runs) or "unknown networks"
    scales = "" if entry.tta_scales in ([], [1.0]) else " at " + ", ".join(f"{scale:g}" for scale in entry.tta_scales)
    return f"{runs}\nTTA {entry.tta or 'unknown'}{scales}{cut}\nCSV {entry.sha256[:12]}"


def _code(entry: Entry) -> str:
    commit, _, dirty = (entry.commit or "").partition("-")
    return f"{commit[:7]}\n{'with changes' if dirty else 'clean'}" if commit else ""


def _state(entry: Entry) -> str:
    """Why there is no score."""
    if entry.ref is None:
        return "not at Kaggle, as far as is known"
    return {"ERROR": f"error: {entry.error}", "COMPLETE": "not shown"}.get(entry.status, "pending")


def _shown(score: float | None) -> str:
    return "" if score is None else f"{score:.5f}"
