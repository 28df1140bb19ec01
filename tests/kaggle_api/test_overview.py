from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from kaggle_tools.errors import InputError
from kaggle_tools.kaggle_api import overview
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.results.scores import Estimate, ExpectedScore, ValidatedRun

RUN = ValidatedRun("unet", (0, 1), "Dice", Estimate(0.9961, (0.9957, 0.9965)))
UNKNOWN = ExpectedScore(None, "…")
AT_KAGGLE = Submission("tiles", 17, "[cafe00112233] [best] of 5", "COMPLETE", public_score=0.9960)
SCORED = Entry(
    id="cafe00112233",
    slug="tiles",
    message="[best] of 5",
    sha256="abcdef0123456789",
    pred="/preds/a",
    runs=("unet",),
    cross_validation=(RUN,),
    expected=ExpectedScore(Estimate(0.9963, (0.9959, 0.9967))),
    threshold=0.48,
    tta="hflip",
    commit="1234567890-dirty",
    time="2026-10-01T12:34:56+00:00",
    submission=AT_KAGGLE,
)


UNSCORED = replace(SCORED, submission=replace(AT_KAGGLE, public_score=None))


def shown(*entries: Entry) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(overview.table(entries).for_terminal())
    return capture.get()


def test_a_row_holds_what_is_known_of_a_submission() -> None:
    said = shown(SCORED)
    for known in (
        ["2026-10-01 12:34", "cafe00112233", "[best] of 5"],
        ["unet", "TTA hflip, threshold 0.48", "CSV abcdef012345", "1234567", "with changes"],
        ["unet 0.99610 (0.99570 to 0.99650)", "0.99630 (0.99590 to 0.99670)", "0.99600", "-0.00030"],
    ):
        assert all(text in said for text in known), said


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tta_scales": (0.75, 1.0)}, "TTA hflip at 0.75, 1, threshold"),
        ({"submission": None}, "not at Kaggle, as far as is known"),
        ({"submission": Submission("tiles", 17, "")}, "pending"),
        ({"submission": Submission("tiles", 17, "", "ERROR", error="bad row 5")}, "error: bad row 5"),
        ({"submission": Submission("tiles", 17, "", "COMPLETE")}, "not shown"),
        ({"pred": ""}, "made elsewhere"),
        ({"runs": ()}, "unknown models"),
        ({"commit": "1234567890"}, "clean"),
        ({"expected": UNKNOWN}, "-0.00010"),  # against the mean score of the only run
    ],
)
def test_a_row_says_what_is_not_known_of_a_submission(change: dict[str, Any], text: str) -> None:
    assert text not in shown(SCORED)
    assert text in shown(replace(SCORED, **change))


def test_several_runs_without_an_estimate_have_no_expected_score() -> None:
    mix = replace(SCORED, cross_validation=(RUN, RUN), expected=UNKNOWN)
    assert overview.expected_score(mix) is None


def test_the_plot_shows_submissions_that_have_both_scores(tmp_path: Path) -> None:
    no_interval = replace(SCORED, expected=ExpectedScore(Estimate(0.99, None)))
    assert overview.plot([SCORED, UNSCORED, no_interval], tmp_path / "plot.png") == 2
    with Image.open(tmp_path / "plot.png") as image:
        assert (image.format, image.size) == ("PNG", (1050, 900))
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.parametrize("name", [r"$\frac$", "\udcff\udcffab", "\x1b[31m"], ids=ascii)
def test_whatever_a_submission_is_called_it_can_be_plotted(tmp_path: Path, name: str) -> None:
    assert overview.plot([replace(SCORED, id=name)], tmp_path / "scores.png") == 1


def test_a_plot_without_any_submission_that_has_both_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to plot"):
        overview.plot([UNSCORED], tmp_path / "plot.png")
    assert list(tmp_path.iterdir()) == []


def test_a_plot_into_a_file_that_is_no_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be the name of a \.png file"):
        overview.plot([SCORED], tmp_path / "plot.pdf")
