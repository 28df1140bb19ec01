import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kaggle_tools import pred_folder
from kaggle_tools.competition import CARVANA, Competition
from kaggle_tools.errors import InputError
from kaggle_tools.files import sha256
from kaggle_tools.images import Photo, write_mask

SETTINGS = {
    "competition": "roof-tiles",
    "models": [{"run": "a", "fold": 0, "image_size": (96, 160), "sha256": "0" * 64}],
    "tta": "hflip",
    "threshold": 0.5,
}


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as raised:
        function(*arguments)
    return str(raised.value)


SIZES = [(20, 30), (7, 9), (20, 30)]


def masked(pred: Path, stem: str, size: tuple[int, int] = (4, 6), expected_dice: float = 0.9) -> Photo:
    """A photo, and the mask that infer.py would leave of it."""
    path = pred.parent / "photos" / f"{stem}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size[::-1]).save(path)
    notes = {"area": 0.25, "expected_dice": expected_dice}
    write_mask(pred_folder.mask_path(pred, stem), np.ones(size, dtype=bool), notes)
    return Photo(stem, path, size)


def test_a_mask_is_named_after_its_photo() -> None:
    assert pred_folder.mask_path(Path("pred"), "a.b_01") == Path("pred/masks/a.b_01.png")


def test_the_record_says_from_the_start_what_makes_the_masks_and_in_the_end_how_many_there_are(tmp_path: Path) -> None:
    written = json.loads(json.dumps(SETTINGS))
    pred_folder.begin(tmp_path, SETTINGS)
    assert pred_folder.read_record(tmp_path) == {**written, "count": None}
    pred_folder.finish(tmp_path, SETTINGS, [masked(tmp_path, f"a_{n}", size) for n, size in enumerate(SIZES)])
    assert pred_folder.read_record(tmp_path) == {**written, "count": 3, "sizes": {"7x9": 1, "20x30": 2}}


def test_masks_of_the_same_making_are_continued(tmp_path: Path) -> None:
    pred_folder.begin(tmp_path, SETTINGS)
    photo = masked(tmp_path, "a_01", (2, 3))
    pred_folder.begin(tmp_path, SETTINGS)
    pred_folder.finish(tmp_path, SETTINGS, [photo])
    pred_folder.begin(tmp_path, SETTINGS)
    assert pred_folder.read_record(tmp_path)["count"] == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tta": "flips"}, "tta was hflip, now flips"),
        ({"threshold": 0.25}, "threshold was 0.5, now 0.25"),
        ({"models": []}, "models was .*, now \\[\\]"),
        ({"threshold": 0.25, "tta": "none"}, "tta was hflip, now none; threshold was 0.5, now 0.25"),
    ],
)
def test_masks_of_another_making_are_not_mixed_in(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    pred_folder.begin(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=rf"begun with other settings \({named}\)\. Give those, or another --out\."):
        pred_folder.begin(tmp_path, SETTINGS | change)


def test_weights_of_another_training_are_noticed(tmp_path: Path) -> None:
    pred_folder.begin(tmp_path, SETTINGS)
    retrained = [SETTINGS["models"][0] | {"sha256": "1" * 64}]
    assert "begun with other settings" in refusal(pred_folder.begin, tmp_path, SETTINGS | {"models": retrained})


def test_masks_of_unknown_origin_are_left_alone(tmp_path: Path) -> None:
    write_mask(pred_folder.mask_path(tmp_path, "a_01"), np.ones((2, 3), dtype=bool))
    assert refusal(pred_folder.begin, tmp_path, SETTINGS) == (
        f"{tmp_path / 'masks'}: holds masks of unknown origin; give another --out"
    )
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", "null", '"competition"'])
def test_a_missing_or_damaged_record_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    said = refusal(pred_folder.read_record, tmp_path)
    assert f"{tmp_path / 'run.json'}: {'missing' if text is None else 'damaged'}" in said


def test_the_most_doubtful_photos_come_first(tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    photos = [masked(pred, "a_01", expected_dice=0.99), masked(pred, "a_02", expected_dice=0.7), masked(pred, "b_01")]
    pred_folder.finish(pred, SETTINGS, photos)
    table = pd.read_csv(pred / "photos.csv")
    assert table["image"].tolist() == ["a_02", "b_01", "a_01"]
    assert table["expected_dice"].tolist() == [0.7, 0.9, 0.99]
    assert table["file"].tolist() == [str(photos[at].path) for at in (1, 2, 0)]


class TestConfidentPhotos:
    @pytest.fixture
    def pred(self, tmp_path: Path, tiles: Competition) -> Path:
        pred = tmp_path / "pred"
        settings = SETTINGS | {"competition": tiles.slug}
        pred_folder.begin(pred, settings)
        photos = [masked(pred, stem, expected_dice=dice) for stem, dice in (("7", 0.98), ("0012", 0.995), ("3", 0.99))]
        pred_folder.finish(pred, settings, photos)
        return pred

    def test_they_are_those_that_expect_enough_with_their_predicted_masks(self, pred: Path, tiles: Competition) -> None:
        photos = pred_folder.confident_photos(pred, tiles, 0.99)
        assert [photo.stem for photo in photos] == ["0012", "3"]
        assert photos[0] == Photo("0012", pred.parent / "photos" / "0012.png", (4, 6), pred / "masks" / "0012.png")

    def test_none_is_refused_and_the_best_is_named(self, pred: Path, tiles: Competition) -> None:
        said = refusal(pred_folder.confident_photos, pred, tiles, 0.999)
        assert said == f"{pred}: no mask has an expected Dice of 0.999; the best has 0.9950"

    def test_another_competition_is_refused(self, pred: Path) -> None:
        said = refusal(pred_folder.confident_photos, pred, CARVANA, 0.9)
        assert said == f"{pred}: holds masks of roof-tiles, not of {CARVANA.slug}"

    def test_an_unfinished_folder_is_refused(self, pred: Path, tiles: Competition) -> None:
        (pred / "photos.csv").unlink()
        assert "run infer.py to its end first" in refusal(pred_folder.confident_photos, pred, tiles, 0.9)

    def test_a_damaged_table_is_refused(self, pred: Path, tiles: Competition) -> None:
        (pred / "photos.csv").write_text("image,file\n")
        assert "not a table of image,file,area,expected_dice" in refusal(pred_folder.confident_photos, pred, tiles, 0.9)


def test_the_sum_that_tells_weights_apart_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights" * 100_000)
    assert sha256(tmp_path / "model") == hashlib.sha256(b"weights" * 100_000).hexdigest()


def test_what_is_known_besides_is_recorded_but_may_change_when_the_folder_is_continued(tmp_path: Path) -> None:
    with pred_folder.begun(tmp_path, SETTINGS, known={"estimate": {"score": 0.9}}):
        assert pred_folder.read_record(tmp_path)["estimate"] == {"score": 0.9}
    with pred_folder.begun(tmp_path, SETTINGS, known={"estimate": {"unavailable": "…"}}):
        pred_folder.finish(tmp_path, SETTINGS, [], {"estimate": {"unavailable": "…"}})
    assert pred_folder.read_record(tmp_path)["estimate"] == {"unavailable": "…"}


def test_the_runs_of_a_blend_are_those_of_its_parts_each_named_once() -> None:
    part = {"models": [{"run": "a"}, {"run": "a"}, {"run": "b"}]}
    assert pred_folder.runs_in(part) == ["a", "b"]
    assert pred_folder.runs_in({"blend": [part, {"blend": [{"models": [{"run": "c"}]}]}]}) == ["a", "b", "c"]
    assert pred_folder.runs_in({"competition": "roof-tiles"}) == []
