import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from finished_runs import network
from known_competitions import CARVANA
from PIL import Image

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.toml_file import as_recorded
from kaggle_tools.data.images import write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.results import pred_folder
from kaggle_tools.results.pred_folder import Outputs
from kaggle_tools.results.records.masks import MaskedPhoto, Record
from kaggle_tools.results.scores import Estimate, ExpectedScore
from kaggle_tools.system.files import sha256, write_json

RECORD = Record(competition="roof-tiles", models=(network("a"),), tta="hflip", threshold=0.5)


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as raised:
        function(*arguments)
    return str(raised.value)


def begin(pred: Path, record: Record, process: int = 0) -> None:
    """Begin, and let go of the folder at once."""
    with pred_folder.begun(pred, record, process):
        pass


ELSEWHERE = Path("elsewhere")
"""A folder of data without the photos that were masked."""
SIZES = [(20, 30), (7, 9), (20, 30)]


def masked(
    pred: Path, stem: str, size: tuple[int, int] = (4, 6), expected_dice: float = 0.9, noted: bool = False
) -> Photo:
    """A photo, and the mask that infer.py would leave of it."""
    path = pred.parent / "photos" / f"{stem}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size[::-1]).save(path)
    notes = {"area": 0.25, "expected_dice": expected_dice} | (pred_folder.photo_note(sha256(path)) if noted else {})
    write_mask(pred_folder.mask_path(pred, stem), np.ones(size, dtype=bool), notes)
    return Photo(stem, path, size)


def test_a_mask_is_named_after_its_photo() -> None:
    assert pred_folder.mask_path(Path("pred"), "a.b_01") == Path("pred/masks/a.b_01.png")


def test_run_json_says_from_the_start_what_makes_the_masks_and_in_the_end_how_many_there_are(tmp_path: Path) -> None:
    with pred_folder.begun(tmp_path, RECORD):
        assert pred_folder.read_record(tmp_path) == RECORD
        assert json.loads((tmp_path / "run.json").read_text())["count"] is None
        photos = [masked(tmp_path, f"a_{n}", size) for n, size in enumerate(SIZES)]
        assert pred_folder.finish(tmp_path, RECORD, photos) == 3
    assert pred_folder.read_record(tmp_path) == replace(RECORD, count=3, sizes={"7x9": 1, "20x30": 2})


def test_masks_that_the_same_settings_made_are_continued(tmp_path: Path) -> None:
    begin(tmp_path, RECORD)
    photo = masked(tmp_path, "a_01", (2, 3))
    begin(tmp_path, RECORD)
    pred_folder.finish(tmp_path, RECORD, [photo])
    begin(tmp_path, RECORD)
    assert pred_folder.read_record(tmp_path).count == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tta": "flips"}, "tta was hflip, now flips"),
        ({"threshold": 0.25}, "threshold was 0.5, now 0.25"),
        ({"models": 2 * RECORD.models}, "models was .*, now .*"),
        ({"models": (network("a", image_size=None),)}, r"models\[0\]\.image_size was \[96, 160\], now None"),
        ({"tta_scales": (1.0, 1.25)}, r"tta_scales was None, now \[1\.0, 1\.25\]"),
        ({"threshold": 0.25, "tta": "none"}, "tta was hflip, now none; threshold was 0.5, now 0.25"),
    ],
)
def test_masks_that_other_settings_made_are_refused_and_the_differences_named(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    begin(tmp_path, RECORD)
    with pytest.raises(InputError, match=rf"begun with other settings \({named}\)\. Give those, or another --out\."):
        begin(tmp_path, replace(RECORD, **change))


def test_other_weights_of_a_model_are_refused_by_their_sha256(tmp_path: Path) -> None:
    begin(tmp_path, RECORD)
    retrained = replace(RECORD, models=(network("a", sha256="1" * 64),))
    change = f"models[0].sha256 was {'0' * 64}, now {'1' * 64}"
    assert f"begun with other settings ({change})" in refusal(begin, tmp_path, retrained)


def test_a_long_difference_between_settings_is_shortened_in_the_message(tmp_path: Path) -> None:
    begin(tmp_path, RECORD)
    said = refusal(begin, tmp_path, replace(RECORD, models=2 * RECORD.models))
    shown = '[{"run": "a", "fold": 0, "model": "unet", "image_size": [96, 160], "weight": …'
    assert len(shown) == 78
    assert f"(models was {shown}, now {shown})" in said


@pytest.mark.parametrize("process", [0, 1])
def test_masks_of_unknown_origin_are_left_alone(tmp_path: Path, process: int) -> None:
    write_mask(pred_folder.mask_path(tmp_path, "a_01"), np.ones((2, 3), dtype=bool))
    assert refusal(begin, tmp_path, RECORD, process) == (
        f"{tmp_path / 'masks'}: holds masks of unknown origin; give another --out"
    )
    assert not (tmp_path / "run.json").exists()


def test_what_a_killed_command_left_beside_masks_and_probabilities_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "sys.path[:0] = [sys.argv[1]]\n"
        "from kaggle_tools.system import files\n"
        "with files.replacing(pathlib.Path(sys.argv[2])): os._exit(9)"
    )
    package = str(Path(pred_folder.__file__).parents[2])
    begin(tmp_path, RECORD)
    for path in (pred_folder.mask_path(tmp_path, "a"), pred_folder.probability_path(tmp_path, "a")):
        subprocess.run([sys.executable, "-c", code, package, str(path)], check=False)
        assert len(list(path.parent.iterdir())) == 1
    begin(tmp_path, RECORD)
    assert [path.name for path in tmp_path.rglob("*.part")] == []


def test_neither_a_run_nor_the_folder_of_the_photos_is_taken_for_masks(tmp_path: Path) -> None:
    record = replace(RECORD, photos=str(tmp_path / "photos"))
    for name in ("run", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "config.json").touch()
    assert refusal(begin, tmp_path / "run", record) == (
        f"--out {tmp_path / 'run'}: holds a run of `train`; give a folder of its own"
    )
    assert refusal(begin, tmp_path / "photos", record) == (
        f"--out {tmp_path / 'photos'}: holds the photos; give a folder of its own"
    )
    assert list((tmp_path / "photos").iterdir()) == []


class TestSeveralProcesses:
    @pytest.fixture(autouse=True)
    def no_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pred_folder, "LOCK_SECONDS", 0.1)

    def test_only_the_first_process_writes_the_record(self, tmp_path: Path) -> None:
        begin(tmp_path, RECORD, process=1)
        assert not (tmp_path / "run.json").exists()
        begin(tmp_path, RECORD, process=0)
        assert (tmp_path / "run.json").exists()

    def test_each_process_compares_the_settings_with_the_record(self, tmp_path: Path) -> None:
        begin(tmp_path, RECORD)
        assert "tta was hflip, now none" in refusal(begin, tmp_path, replace(RECORD, tta="none"), 1)

    def test_processes_of_one_command_hold_the_folder_together(self, tmp_path: Path) -> None:
        with pred_folder.begun(tmp_path, RECORD, 0), pred_folder.begun(tmp_path, RECORD, 1):
            assert sorted(path.name for path in tmp_path.glob(".*.lock")) == [".process0.lock", ".process1.lock"]

    def test_another_command_is_kept_out_of_the_folder_until_the_first_has_ended(self, tmp_path: Path) -> None:
        with pred_folder.begun(tmp_path, RECORD):
            assert refusal(begin, tmp_path, RECORD) == (
                f"{tmp_path}: another command masks photos into it, or submits its masks; wait for it, or end it first"
            )
        begin(tmp_path, RECORD)

    def test_a_command_that_was_refused_does_not_hold_the_folder(self, tmp_path: Path) -> None:
        begin(tmp_path, RECORD)
        refusal(begin, tmp_path, replace(RECORD, tta="none"))
        begin(tmp_path, RECORD)


class TestOutputs:
    PATHS = ("probabilities/a.b_01.png", "overlays/a.b_01.jpg", "masks/a.b_01.png")

    @pytest.mark.parametrize(
        ("probabilities", "overlays", "wanted"),
        [(0, 0, PATHS[2:]), (1, 0, PATHS[::2]), (0, 1, PATHS[1:]), (1, 1, PATHS)],
    )
    def test_of_the_files_of_a_photo_the_mask_is_the_last(
        self, probabilities: int, overlays: int, wanted: tuple[str, ...]
    ) -> None:
        found = Outputs(bool(probabilities), bool(overlays)).paths(Path("pred"), "a.b_01")
        assert found == [Path("pred") / path for path in wanted]

    @pytest.mark.parametrize("lost", [None, *PATHS])
    def test_a_photo_is_complete_with_all_that_is_asked_for(self, tmp_path: Path, lost: str | None) -> None:
        for path in {*self.PATHS} - {lost}:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).touch()
        assert pred_folder.is_complete(tmp_path, "a.b_01", Outputs(probabilities=True, overlays=True)) == (lost is None)
        assert pred_folder.is_complete(tmp_path, "a.b_01", Outputs()) == (lost != self.PATHS[2])


def recorded_batch_size(pred: Path) -> int | None:
    begun = pred_folder.record_if_begun(pred)
    return begun and begun.batch_size


class TestRecordOfAFolderThatWasBegun:
    def test_the_recorded_batch_size_is_that_with_which_the_folder_was_begun(self, tmp_path: Path) -> None:
        begin(tmp_path, replace(RECORD, batch_size=6))
        assert recorded_batch_size(tmp_path) == 6

    def test_a_new_folder_has_no_record(self, tmp_path: Path) -> None:
        assert pred_folder.record_if_begun(tmp_path / "new") is None

    def test_a_damaged_record_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text("{")
        assert "run.json: damaged" in refusal(pred_folder.record_if_begun, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{", "[]", "{}", "null", '"competition"'),
        '{"competition": "roof-tiles", "models": [{"fold": 0}]}',
        '{"competition": "roof-tiles", "models": 5}',
        '{"competition": "roof-tiles", "models": ["unet"]}',
        '{"competition": "roof-tiles", "estimate": 3}',
        '{"competition": "roof-tiles", "threshold": "abc"}',
        '{"competition": "roof-tiles", "count": "x"}',
    ],
)
def test_a_missing_or_damaged_record_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    said = refusal(pred_folder.read_record, tmp_path)
    assert f"{tmp_path / 'run.json'}: {'missing' if text is None else 'damaged'}" in said


def test_the_most_doubtful_photos_come_first(tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    photos = [masked(pred, "a_01", expected_dice=0.99), masked(pred, "a_02", expected_dice=0.7), masked(pred, "b_01")]
    pred_folder.finish(pred, RECORD, photos)
    table = pd.read_csv(pred / "photos.csv")
    assert table["image"].tolist() == ["a_02", "b_01", "a_01"]
    assert table["expected_dice"].tolist() == [0.7, 0.9, 0.99]
    assert table["file"].tolist() == [str(photos[at].path) for at in (1, 2, 0)]


def test_photos_without_a_mask_are_left_out(tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    photos = [masked(pred, "a_01"), masked(pred, "a_02", (7, 9)), masked(pred, "a_03")]
    pred_folder.mask_path(pred, "a_02").unlink()
    assert pred_folder.finish(pred, RECORD, photos) == 2
    record = pred_folder.read_record(pred)
    assert (record.count, record.sizes) == (2, {"4x6": 2})
    assert pred_folder.photo_files(pred) == {photo.stem: photo.path for photo in (photos[0], photos[2])}


def test_photos_csv_holds_the_numbers_of_each_mask_and_nothing_where_one_is_not_known(tmp_path: Path) -> None:
    photos = [Photo(stem, tmp_path / f"{stem}.jpg", (4, 6)) for stem in ("a", "b", "edited")]
    mask_HW = np.ones((4, 6), dtype=bool)
    notes = {"area": 1.0, "expected_dice": 0.875, "border_width": 2.5}
    write_mask(pred_folder.mask_path(tmp_path, "a"), mask_HW, notes)
    write_mask(pred_folder.mask_path(tmp_path, "b"), mask_HW, {**notes, "agreement": 0.75, "expected_dice": 0.5})
    write_mask(pred_folder.mask_path(tmp_path, "edited"), mask_HW)
    pred_folder.finish(tmp_path, RECORD, photos)
    assert (tmp_path / "photos.csv").read_text().splitlines() == [
        "image,file,area,expected_dice,border_width,agreement,expected_score",
        f"edited,{tmp_path}/edited.jpg,,,,,",
        f"b,{tmp_path}/b.jpg,1.0,0.5,2.5,0.75,",
        f"a,{tmp_path}/a.jpg,1.0,0.875,2.5,,",
    ]


def test_photos_csv_is_read_in_its_order_with_none_where_a_number_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text(
        "image,file,area,expected_dice,border_width,agreement\n0012,/photos/0012.jpg,,,,\n7,a b.jpg,0,0.5,2,0.75\n"
    )
    numbers = {"area": 0.0, "expected_dice": 0.5, "border_width": 2.0, "agreement": 0.75}
    assert pred_folder.read_photos(tmp_path) == [
        MaskedPhoto(image="0012", file=Path("/photos/0012.jpg")),
        MaskedPhoto(image="7", file=Path("a b.jpg"), **numbers),
    ]


def test_the_photos_of_an_unfinished_folder_are_not_known(tmp_path: Path) -> None:
    begin(tmp_path, RECORD)
    said = refusal(pred_folder.photo_files, tmp_path)
    assert said == f"{tmp_path / 'photos.csv'}: missing; run `infer` to its end first"


def test_a_photos_csv_that_breaks_off_is_refused(tmp_path: Path) -> None:
    pred_folder.finish(tmp_path, RECORD, [masked(tmp_path, "a_01")])
    table = tmp_path / "photos.csv"
    table.write_text(table.read_text().rstrip().rpartition(",0.9")[0])
    assert refusal(pred_folder.photo_files, tmp_path) == f"{table}: damaged (a line of 3 fields); run `infer` again"


class TestOutdated:
    OLD, NEW = "a" * 64, "b" * 64

    def now(self, photos: Sequence[Photo]) -> list[str]:
        return [self.NEW for _ in photos]

    def files(self, pred: Path) -> list[str]:
        return sorted(path.relative_to(pred).as_posix() for path in pred.glob("*/*.*g"))

    def write(self, pred: Path, stem: str, photo_sha256: str, size: tuple[int, int] = (4, 6)) -> Photo:
        notes = {"area": 1.0, **pred_folder.photo_note(photo_sha256)}
        write_mask(pred_folder.mask_path(pred, stem), np.ones(size, dtype=bool), notes)
        return Photo(stem, pred / f"{stem}.jpg", (4, 6))

    def test_what_was_made_of_another_photo_is_deleted_and_all_that_goes_with_it(self, tmp_path: Path) -> None:
        photos = [self.write(tmp_path, "new", self.NEW), self.write(tmp_path, "old", self.OLD)]
        for path in Outputs(True, True).paths(tmp_path, "old")[:2]:
            path.parent.mkdir()
            write_gray(path, np.zeros((4, 6), dtype=np.uint8))
        assert pred_folder.forget_outdated(tmp_path, photos, self.now) == ["old"]
        assert self.files(tmp_path) == ["masks/new.png"]

    def test_probabilities_of_another_photo_are_found_where_their_mask_was_deleted(self, tmp_path: Path) -> None:
        photo = self.write(tmp_path, "old", self.NEW)
        write_gray(
            pred_folder.probability_path(tmp_path, "old"), np.zeros((4, 6), np.uint8), pred_folder.photo_note(self.OLD)
        )
        pred_folder.mask_path(tmp_path, "old").unlink()
        assert pred_folder.forget_outdated(tmp_path, [photo], self.now) == ["old"]
        assert self.files(tmp_path) == []

    def test_masks_that_do_not_note_their_photo_stay_as_long_as_they_have_its_size(self, tmp_path: Path) -> None:
        """As older versions wrote them."""
        photos = [self.write(tmp_path, "same", ""), self.write(tmp_path, "larger", "", (5, 6))]
        assert pred_folder.forget_outdated(tmp_path, photos, self.now) == ["larger"]
        assert self.files(tmp_path) == ["masks/same.png"]

    def test_a_mask_that_someone_edited_is_never_deleted(self, tmp_path: Path) -> None:
        write_mask(pred_folder.mask_path(tmp_path, "edited"), np.ones((5, 6), dtype=bool))
        photo = Photo("edited", tmp_path / "edited.jpg", (4, 6))
        assert pred_folder.forget_outdated(tmp_path, [photo], self.now) == []
        assert self.files(tmp_path) == ["masks/edited.png"]

    def test_masks_stay_where_the_photo_of_today_is_not_known(self, tmp_path: Path) -> None:
        photo = self.write(tmp_path, "old", self.OLD)
        assert pred_folder.forget_outdated(tmp_path, [photo], lambda photos: [""] * len(photos)) == []

    def test_the_mask_goes_last_so_that_an_interrupted_deletion_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photo = self.write(tmp_path, "old", self.OLD)
        gone: list[str] = []
        monkeypatch.setattr(Path, "unlink", lambda path, **_: gone.append(path.parent.name))
        pred_folder.forget_outdated(tmp_path, [photo], self.now)
        assert gone == ["probabilities", "overlays", "masks"]


class TestConfidentPhotos:
    @pytest.fixture
    def pred(self, tmp_path: Path, tiles: Competition) -> Path:
        pred = tmp_path / "pred"
        record = replace(RECORD, competition=tiles.slug)
        begin(pred, record)
        dices = {"7": 0.98, "0012": 0.995, "3": 0.99}
        photos = [masked(pred, stem, expected_dice=dice, noted=True) for stem, dice in dices.items()]
        pred_folder.finish(pred, record, photos)
        return pred

    def test_confident_photos_have_a_high_expected_dice_and_their_predicted_masks(
        self, pred: Path, tiles: Competition
    ) -> None:
        photos = pred_folder.confident_photos(pred, tiles, 0.99, ELSEWHERE)
        assert [photo.stem for photo in photos] == ["0012", "3"]
        assert photos[0] == Photo("0012", pred.parent / "photos" / "0012.png", (4, 6), pred / "masks" / "0012.png")

    @pytest.mark.parametrize(("excess", "taken"), [(0.003, ["0012"]), (-0.02, ["0012", "3", "7"])])
    def test_what_probabilities_promised_too_much_on_held_out_photos_is_taken_off(
        self, pred: Path, tiles: Competition, excess: float, taken: list[str]
    ) -> None:
        """0.98, 0.99 and 0.995 are promised."""
        expected = ExpectedScore(None, "another TTA", excess)
        record = replace(pred_folder.read_record(pred), expected=expected)
        write_json(pred / pred_folder.RECORD_FILE, record.to_json())
        photos = pred_folder.confident_photos(pred, tiles, 0.99, ELSEWHERE)
        assert [photo.stem for photo in photos] == taken

    def test_a_folder_without_confident_photos_is_refused_and_the_best_expected_dice_named(
        self, pred: Path, tiles: Competition
    ) -> None:
        said = refusal(pred_folder.confident_photos, pred, tiles, 0.999, ELSEWHERE)
        found = f"no mask in {pred} has an expected IoU as high as that; the best has 0.9950"
        assert said == f"--extra-confidence 0.999: {found}"

    def test_a_confident_photo_that_is_not_the_one_that_was_masked_is_refused(
        self, pred: Path, tiles: Competition
    ) -> None:
        for stem, made_of in (("0012", sha256(pred.parent / "photos" / "0012.png")), ("3", "a" * 64), ("7", "a" * 64)):
            notes = {"expected_dice": 0.99, **pred_folder.photo_note(made_of)}
            write_mask(pred_folder.mask_path(pred, stem), np.ones((4, 6), dtype=bool), notes)
        assert refusal(pred_folder.confident_photos, pred, tiles, 0.99, ELSEWHERE) == (
            f"{pred}: 1 mask is of other photos than those that are there now: 3; "
            "run `infer` again, which makes them anew"
        )

    def test_a_photo_of_which_only_the_path_is_recorded_is_not_taken(self, pred: Path, tiles: Competition) -> None:
        """Whoever writes photos.csv could name any picture of this machine."""
        masked(pred, "3", expected_dice=0.99, noted=False)
        assert refusal(pred_folder.confident_photos, pred, tiles, 0.99, ELSEWHERE) == (
            f"{pred}: 1 photo is known by their paths alone, without their SHA-256: 3; "
            "run `infer` again, into another folder"
        )

    def test_a_photo_of_the_data_that_the_user_names_is_taken_without_its_sha256(
        self, pred: Path, tiles: Competition
    ) -> None:
        photo = masked(pred, "3", expected_dice=0.99, noted=False)
        data = pred.parent / "data"
        moved = data / "unseen" / "images" / "3.png"
        moved.parent.mkdir(parents=True)
        photo.path.rename(moved)
        found = {photo.stem: photo.path for photo in pred_folder.confident_photos(pred, tiles, 0.99, data)}
        assert found == {"0012": pred.parent / "photos" / "0012.png", "3": moved}

    def test_confident_photos_of_another_competition_are_refused(self, pred: Path) -> None:
        said = refusal(pred_folder.confident_photos, pred, CARVANA, 0.9, ELSEWHERE)
        assert said == f"{pred}: holds masks of roof-tiles, not of {CARVANA.slug}"

    def test_confident_photos_of_other_classes_are_refused(self, pred: Path, tiles: Competition) -> None:
        write_json(pred / "competition.json", as_recorded(tiles))
        assert pred_folder.confident_photos(pred, tiles, 0.99, ELSEWHERE)
        changed = replace(tiles, classes=("1", "2"), class_column="kind")
        said = refusal(pred_folder.confident_photos, pred, changed, 0.99, ELSEWHERE)
        assert said == f"{pred}: holds masks of other classes (none) than {tiles.title} has (1, 2)"

    def test_confident_photos_of_an_unfinished_folder_are_refused(self, pred: Path, tiles: Competition) -> None:
        (pred / "photos.csv").unlink()
        assert "run `infer` to its end first" in refusal(pred_folder.confident_photos, pred, tiles, 0.9, ELSEWHERE)

    def test_a_photos_csv_without_its_columns_is_refused(self, pred: Path, tiles: Competition) -> None:
        (pred / "photos.csv").write_text("image,file\n")
        said = refusal(pred_folder.confident_photos, pred, tiles, 0.9, ELSEWHERE)
        assert "not a table of image,file,area,expected_dice,border_width,agreement" in said

    def test_a_photos_csv_with_words_for_numbers_is_refused(self, pred: Path, tiles: Competition) -> None:
        table = pred / "photos.csv"
        table.write_text(table.read_text().replace("0.98", "high"))
        said = refusal(pred_folder.confident_photos, pred, tiles, 0.9, ELSEWHERE)
        assert said == f"{table}: damaged (could not convert string to float: 'high'); run `infer` again"


def test_the_recorded_scores_may_change_when_a_folder_is_continued(tmp_path: Path) -> None:
    first = replace(RECORD, expected=ExpectedScore(Estimate(0.9, None)))
    second = replace(RECORD, expected=ExpectedScore(None, "…"))
    with pred_folder.begun(tmp_path, first):
        assert pred_folder.read_record(tmp_path).expected == first.expected
    with pred_folder.begun(tmp_path, second):
        pred_folder.finish(tmp_path, second, [])
    assert pred_folder.read_record(tmp_path).expected == second.expected


def test_the_precision_of_a_folder_with_masks_cannot_change_where_it_is_recorded(tmp_path: Path) -> None:
    for pred, precision in ((tmp_path / "old", None), (tmp_path / "new", "32-true")):
        begin(pred, replace(RECORD, precision=precision))
        write_mask(pred_folder.mask_path(pred, "a"), np.ones((1, 1), dtype=bool))
    begin(tmp_path / "old", replace(RECORD, precision="bf16-mixed"))
    assert "(precision was 32-true, now bf16-mixed)" in refusal(
        begin, tmp_path / "new", replace(RECORD, precision="bf16-mixed")
    )


def test_a_batch_size_with_which_no_mask_was_made_may_be_corrected(tmp_path: Path) -> None:
    """Out of memory at the first batch, the advice is to take a smaller one."""
    for batch_size in (8, 4):
        with pred_folder.begun(tmp_path, replace(RECORD, batch_size=batch_size)):
            assert recorded_batch_size(tmp_path) == batch_size
    write_mask(pred_folder.mask_path(tmp_path, "a"), np.ones((1, 1), dtype=bool))
    with (
        pytest.raises(InputError, match="batch_size was 4, now 2"),
        pred_folder.begun(tmp_path, replace(RECORD, batch_size=2)),
    ):
        pass
