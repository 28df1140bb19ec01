import base64
import json
from pathlib import Path
from typing import Any

import pytest
from unfinished_runs import jpeg, progress

from kaggle_tools.errors import InputError
from kaggle_tools.results.records.progress import read_progress, remove_progress, write_progress


def test_how_far_a_fold_is_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    for known in (progress(0, 10), progress(3, 10, stems=("a_01", "b_02"), folds_left=2, all_seconds_left=1700.0)):
        write_progress(tmp_path, known)
        assert read_progress(tmp_path) == known


def test_of_a_fold_that_is_finished_or_not_begun_nothing_is_recorded(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    write_progress(tmp_path, progress(3, 10))
    remove_progress(tmp_path)
    remove_progress(tmp_path)
    assert read_progress(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_fold_without_time_left_is_trained_and_one_whose_time_is_not_known_is_not() -> None:
    assert progress(10, 10).is_trained
    assert not progress(0, 10).is_trained
    assert not progress(9, 10).is_trained


@pytest.mark.parametrize(
    "picture",
    [
        "no base64",
        base64.b64encode(b"<svg onload='alert()'>").decode(),
        jpeg(321, 10),
        base64.b64encode(base64.b64decode(jpeg(96, 64))[:200]).decode(),
    ],
    ids=["text", "another kind", "too large", "cut off"],
)
def test_a_record_whose_picture_is_no_small_whole_jpeg_is_refused(tmp_path: Path, picture: str) -> None:
    write_progress(tmp_path, progress(3, 10, stems=("a_01",)))
    path = tmp_path / "progress.json"
    recorded: dict[str, Any] = json.loads(path.read_text())
    recorded["pictures"][0]["jpeg"] = picture
    path.write_text(json.dumps(recorded))
    with pytest.raises(InputError, match=r"progress.json: damaged \(pictures\[0\].jpeg: no JPEG of at most 320 pixels"):
        read_progress(tmp_path)


@pytest.mark.parametrize(
    ("pictures", "fault"),
    [
        ([jpeg(96, 64)] * 9, r"pictures: more than 8 pictures"),
        (
            [base64.b64encode(base64.b64decode(jpeg(96, 64)) + bytes(75_000)).decode()],
            r"pictures\[0\].jpeg: .* 100,000",
        ),
    ],
)
def test_a_record_of_more_pictures_or_bytes_than_a_page_has_room_for_is_refused(
    tmp_path: Path, pictures: list[str], fault: str
) -> None:
    """What follows the end of a JPEG is no part of the picture, but of the page."""
    write_progress(tmp_path, progress(3, 10, stems=("a_01",)))
    path = tmp_path / "progress.json"
    recorded: dict[str, Any] = json.loads(path.read_text())
    recorded["pictures"] = [recorded["pictures"][0] | {"jpeg": picture} for picture in pictures]
    path.write_text(json.dumps(recorded))
    with pytest.raises(InputError, match=rf"progress.json: damaged \({fault}"):
        read_progress(tmp_path)
