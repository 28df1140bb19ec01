"""What infer.py records of its runs, so that submit.py can say what score is to be expected."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import infer
from kaggle_tools.competition import Competition
from kaggle_tools.data.images import write_gray, write_mask
from kaggle_tools.inference.out_of_fold import probability_path
from kaggle_tools.results import run_folder

TRUTH = np.array([[1, 1, 0, 0]], dtype=bool)


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    infer.held_out_photos.cache_clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos of four pixels, of which the first two are foreground."""
    for stem in ("7", "8"):
        write_mask(tmp_path / "data" / "masks" / f"{stem}.png", TRUTH)
        (tmp_path / "data" / "images").mkdir(exist_ok=True)
        Image.new("RGB", (4, 1)).save(tmp_path / "data" / "images" / f"{stem}.png")
    return tmp_path / "data"


def finish(run: Path, data: Path, maps: dict[str, list[int]], number: int = 0) -> Path:
    """A run with a fold that held out these photos, with these probabilities of 255."""
    fold = run / f"fold{number}"
    histograms = []
    for stem, pixels in maps.items():
        write_gray(probability_path(fold, stem), np.array([pixels], dtype=np.uint8))
        histograms.append([np.bincount(pixels[2:], minlength=256), np.bincount(pixels[:2], minlength=256)])
    np.savez_compressed(fold / run_folder.HISTOGRAMS_FILE, images=np.array(list(maps)), histograms=np.array(histograms))
    table = pd.DataFrame({"image": list(maps), "fold": number, "score": 0.5, "dice": 0.6, "iou": 0.5})
    table.to_csv(fold / "oof.csv", index=False)
    (fold / "model.json").touch()
    (run / "config.json").write_text(json.dumps({"settings": {}, "data": str(data)}))
    return run


@pytest.fixture
def runs(tmp_path: Path, data: Path) -> list[Path]:
    first = finish(tmp_path / "a", data, {"7": [200, 200, 0, 160], "8": [200, 200, 0, 0]})
    return [first, finish(tmp_path / "b", data, {"7": [200, 200, 0, 20], "8": [40, 200, 0, 0]})]


def expected(runs: list[Path], spec: Competition, threshold: float | None, **given: Any) -> dict[str, Any]:
    return infer.what_to_expect(runs, given.get("folds"), given.get("weights"), spec, None, threshold)


def test_of_a_run_it_is_the_score_at_the_threshold_of_the_masks(runs: list[Path], tiles: Competition) -> None:
    """At 0.5 the first photo has one pixel too many, an IoU of 2/3; at 0.75 it has none."""
    found = expected(runs[:1], tiles, 0.5)
    assert found["estimate"] == {"score": pytest.approx((2 / 3 + 1) / 2), "interval": pytest.approx([2 / 3, 1])}
    assert [(run["run"], run["score_mean"]) for run in found["cross_validation"]] == [("a", 0.5)]
    assert expected(runs[:1], tiles, 0.75)["estimate"]["score"] == 1


@pytest.mark.parametrize(("weights", "score"), [(None, 0.75), ((3.0, 1.0), (2 / 3 + 1) / 2), ((1.0, 3.0), 0.75)])
def test_of_a_mix_it_is_the_score_of_the_mean_of_the_saved_probabilities(
    runs: list[Path], tiles: Competition, weights: tuple[float, ...] | None, score: float
) -> None:
    """At 0.48: alike 90 and 120 of 255 stay below it; three to one, 125 and 160 are above; one to three, 55 and 80."""
    found = expected(runs, tiles, 0.48, weights=weights)
    assert found["estimate"]["score"] == pytest.approx(score)
    assert [run["run"] for run in found["cross_validation"]] == ["a", "b"]


@pytest.fixture
def of_two_folds(tmp_path: Path, data: Path) -> Path:
    """The first fold is best cut between 60 and 80, the second between 160 and 200."""
    finish(tmp_path / "c", data, {"7": [80, 200, 0, 60]}, number=0)
    return finish(tmp_path / "c", data, {"8": [200, 200, 0, 160]}, number=1)


@pytest.mark.parametrize(("folds", "threshold"), [([0], 80 / 256), ([1], 161 / 256)])
@pytest.mark.parametrize("runs_of_it", [1, 2])
def test_only_the_folds_that_mask_the_photos_tell_the_threshold_and_the_score(
    of_two_folds: Path, tiles: Competition, folds: list[int], threshold: float, runs_of_it: int
) -> None:
    """A fold's network has learned the photos of the other folds. Run twice, it is a mix of a run with itself."""
    runs = [of_two_folds] * runs_of_it
    assert infer.choose_threshold("auto", runs, folds, None, tiles, None) == threshold
    assert expected(runs, tiles, threshold, folds=folds)["estimate"]["score"] == 1


def reason(runs: list[Path], spec: Competition, threshold: float | None = 0.5) -> str:
    return expected(runs, spec, threshold)["estimate"]["unavailable"]


def test_a_mix_without_saved_probabilities_cannot_tell(runs: list[Path], tiles: Competition) -> None:
    for path in runs[1].glob("fold0/oof/probabilities/*"):
        path.unlink()
    assert reason(runs, tiles) == "not all runs of the mix were trained with --save-oof-probabilities"


def test_a_mix_of_folds_without_them_cannot_tell(of_two_folds: Path, tiles: Competition) -> None:
    for path in of_two_folds.glob("fold0/oof/probabilities/*"):
        path.unlink()
    assert infer.choose_threshold("auto", [of_two_folds] * 2, [0], None, tiles, None) == 0.5
    assert "unavailable" in expected([of_two_folds] * 2, tiles, 0.5, folds=[0])["estimate"]


def test_a_run_that_was_not_scored_cannot_tell(runs: list[Path], tiles: Competition) -> None:
    (runs[0] / "fold0" / "oof.csv").unlink()
    assert reason(runs[:1], tiles) == f"there are no out-of-fold photos in {runs[0]}"
    assert expected(runs[:1], tiles, 0.5)["cross_validation"] == []


def test_another_tta_cannot_tell(runs: list[Path], tiles: Competition) -> None:
    assert reason(runs[:1], tiles, None) == "the out-of-fold photos were masked with another TTA"


def test_damaged_tables_are_named_and_keep_no_masks_from_being_made(runs: list[Path], tiles: Competition) -> None:
    (runs[0] / "fold0" / run_folder.HISTOGRAMS_FILE).write_bytes(b"")
    assert f"{run_folder.HISTOGRAMS_FILE}: missing or damaged" in reason(runs[:1], tiles)
