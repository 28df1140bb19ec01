"""All submissions beside each other, cross-validation against leaderboard: a table for the terminal, and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kaggle_tools.errors import InputError
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.results.scores import Estimate
from kaggle_tools.results.tables import Column, NumberInWords, Table
from kaggle_tools.system.files import replacing
from kaggle_tools.system.output import printable

COLUMNS = [
    Column("submission"),
    Column("expected", "{:.5f}"),
    Column("public", "{:.5f}"),
    Column("private", "{:.5f}"),
    Column("public - expected", "{:+.5f}"),
    Column("cross-validation"),
    Column("made of"),
    Column("code"),
]


def table(entries: Sequence[Entry]) -> Table:
    """One row for each submission."""
    return Table(COLUMNS, [_row(entry) for entry in entries])


def _row(entry: Entry) -> list[str | float | None]:
    expected = expected_score(entry)
    return [
        f"{entry.time[:16].replace('T', ' ')}\n{entry.id}\n{entry.message}",
        NumberInWords(expected.score, str(expected)) if expected else None,
        _state(entry) if entry.public_score is None else entry.public_score,
        entry.private_score,
        None if expected is None or entry.public_score is None else entry.public_score - expected.score,
        "\n".join(f"{run.run} {run.score}" for run in entry.cross_validation),
        _made_of(entry),
        _code(entry),
    ]


def plot(entries: Sequence[Entry], path: Path) -> int:
    """Draw public scores over expected ones into a PNG file, and return how many submissions have both.

    Raises:
        InputError: the name is not that of a PNG file, or no submission has both scores.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--plot {path}: must be the name of a .png file")
    known = known_scores(entries)
    if not known:
        raise InputError("nothing to plot: no submission has both an expected and a public score")
    figure = Figure(figsize=(7, 6), layout="constrained")
    draw_scores(figure.subplots(), known)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return len(known)


class KnownScores(NamedTuple):
    """What a submission was expected to score, and what it did."""

    expected: Estimate
    public: float
    name: str


def known_scores(entries: Sequence[Entry]) -> list[KnownScores]:
    """Of the submissions that have both an expected and a public score."""
    both = [(expected_score(entry), entry.public_score, printable(entry.id[:7])) for entry in entries]
    return [KnownScores(expected, public, name) for expected, public, name in both if expected and public is not None]


def draw_scores(axes: Axes, known: Sequence[KnownScores], points: str | None = None, diagonal: str = "gray") -> None:
    """Draw public scores over expected ones; `points` and `diagonal` are colours."""
    for expected, public, name in known:
        axes.errorbar(expected.score, public, xerr=expected.spread, fmt="o", capsize=3, color=points)
        axes.annotate(
            name, (expected.score, public), textcoords="offset points", xytext=(6, 4), parse_math=False
        )  # a $ is a $
    axes.axline(
        (known[0].expected.score, known[0].expected.score), slope=1, color=diagonal, linewidth=1, linestyle="--"
    )
    axes.set_xlabel("expected score, with its 95 % interval")
    axes.set_ylabel("public score")
    axes.ticklabel_format(useOffset=False)


def expected_score(entry: Entry) -> Estimate | None:
    """What the submission was expected to score; without an estimate the mean score of its run, if it is only one."""
    if entry.expected.estimate:
        return entry.expected.estimate
    return entry.cross_validation[0].score if len(entry.cross_validation) == 1 else None


def _made_of(entry: Entry) -> str:
    if not entry.pred:
        return "made elsewhere"
    threshold = "" if entry.threshold is None else f", threshold {entry.threshold:g}"
    runs = ", ".join(entry.runs) or "unknown models"
    scales = "" if entry.tta_scales in ((), (1.0,)) else " at " + ", ".join(f"{scale:g}" for scale in entry.tta_scales)
    return f"{runs}\nTTA {entry.tta or 'unknown'}{scales}{threshold}\nCSV {entry.sha256[:12]}"


def _code(entry: Entry) -> str:
    commit, _, dirty = (entry.commit or "").partition("-")
    return f"{commit[:7]}\n{'with changes' if dirty else 'clean'}" if commit else ""


def _state(entry: Entry) -> str:
    """Why there is no score."""
    if entry.submission and entry.submission.odd:
        return f"unclear: Kaggle lists {entry.submission.odd}"
    if entry.made is None:
        return "not at Kaggle, as far as is known"
    shown = {"ERROR": f"error: {entry.made.error}", "COMPLETE": "not shown"}
    return shown.get(entry.made.status, "pending")
