import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaggle_tools import pred_folder
from kaggle_tools.errors import InputError
from kaggle_tools.files import sha256
from kaggle_tools.images import write_mask

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


def test_a_mask_is_named_after_its_photo() -> None:
    assert pred_folder.mask_path(Path("pred"), "a.b_01") == Path("pred/masks/a.b_01.png")


def test_the_record_says_from_the_start_what_makes_the_masks_and_in_the_end_how_many_there_are(tmp_path: Path) -> None:
    written = json.loads(json.dumps(SETTINGS))
    pred_folder.begin(tmp_path, SETTINGS)
    assert pred_folder.read_record(tmp_path) == {**written, "count": None}
    pred_folder.finish(tmp_path, SETTINGS, [(20, 30), (7, 9), (20, 30)])
    assert pred_folder.read_record(tmp_path) == {**written, "count": 3, "sizes": {"7x9": 1, "20x30": 2}}


def test_masks_of_the_same_making_are_continued(tmp_path: Path) -> None:
    pred_folder.begin(tmp_path, SETTINGS)
    write_mask(pred_folder.mask_path(tmp_path, "a_01"), np.ones((2, 3), dtype=bool))
    pred_folder.begin(tmp_path, SETTINGS)
    pred_folder.finish(tmp_path, SETTINGS, [(2, 3)])
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
    assert f"{tmp_path / 'run.json'}: missing or damaged" in refusal(pred_folder.read_record, tmp_path)


def test_the_sum_that_tells_weights_apart_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights" * 100_000)
    assert sha256(tmp_path / "model") == hashlib.sha256(b"weights" * 100_000).hexdigest()
