import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from known_competitions import CARVANA
from seven_cars import FOLDS, PHOTOS, refusal

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.fingerprint import fingerprint_of
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.results import fold_table, run_folder


class TestFolds:
    def test_folds_are_drawn_by_car_and_written_to_folds_csv(self, tmp_path: Path) -> None:
        folds = fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        table = pd.read_csv(tmp_path / "folds.csv")
        assert list(table.columns) == ["image", "group", "fold"]
        assert table["image"].tolist() == [photo.stem for photo in PHOTOS]
        assert (table["group"] == table["image"].str[:-3]).all()
        assert (table.groupby("group")["fold"].nunique() == 1).all()
        assert dict(zip(table["image"], table["fold"], strict=True)) == folds
        assert set(folds.values()) == {0, 1, 2}

    def test_the_folds_in_folds_csv_are_used_again_whatever_the_seed(self, tmp_path: Path) -> None:
        rows = [f"{photo.stem},{photo.stem[:-3]},{ {'5': 1, '6': 2}.get(photo.stem[3], 0) }" for photo in PHOTOS]
        (tmp_path / "folds.csv").write_text("\n".join(["image,group,fold", *rows]))
        for seed in (0, 1):
            folds = fold_table.folds_of(tmp_path, CARVANA, PHOTOS, replace(FOLDS, seed=seed))
            assert [stem for stem, fold in folds.items() if fold == 1] == ["car5_01", "car5_02", "car5_03"]

    def test_another_number_of_folds_is_refused(self, tmp_path: Path) -> None:
        fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        message = refusal(fold_table.folds_of, tmp_path, CARVANA, PHOTOS, replace(FOLDS, folds=4))
        assert "its folds are [0, 1, 2], but 4 were asked for" in message

    def test_the_order_of_the_rows_in_folds_csv_does_not_matter(self, tmp_path: Path) -> None:
        folds = fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        header, *rows = (tmp_path / "folds.csv").read_text().splitlines()
        (tmp_path / "folds.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
        assert fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS) == folds

    def test_how_many_photos_each_fold_holds_out_is_known_before_they_are_written(self, tmp_path: Path) -> None:
        expected = fold_table.held_out_counts(tmp_path, CARVANA, PHOTOS, FOLDS)
        assert not (tmp_path / "folds.csv").exists()
        folds = list(fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS).values())
        assert expected == [folds.count(fold) for fold in range(3)]
        own = [f"{photo.stem},{photo.stem[:-3]},{ {'5': 1, '6': 2}.get(photo.stem[3], 0) }" for photo in PHOTOS]
        (tmp_path / "folds.csv").write_text("\n".join(["image,group,fold", *own]))
        assert fold_table.held_out_counts(tmp_path, CARVANA, PHOTOS, FOLDS) == [len(PHOTOS) - 6, 3, 3]
        message = refusal(fold_table.held_out_counts, tmp_path, CARVANA, PHOTOS, replace(FOLDS, folds=2))
        assert "its folds are [0, 1, 2], but 2 were asked for" in message

    def test_folds_that_will_be_drawn_anew_are_counted_as_they_will_be(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, FOLDS, tmp_path, "train")
        fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        counts = fold_table.held_out_counts(tmp_path, CARVANA, PHOTOS, replace(FOLDS, folds=2))
        assert (len(counts), sum(counts)) == (2, len(PHOTOS))

    def test_the_seed_decides_the_folds(self, tmp_path: Path) -> None:
        drawn = [
            fold_table.folds_of(tmp_path / name, CARVANA, PHOTOS, replace(FOLDS, seed=seed))
            for name, seed in (("first", 0), ("second", 0), ("third", 1))
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_a_group_in_two_folds_is_refused_as_a_leak(self, tmp_path: Path) -> None:
        folds = fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        text = (tmp_path / "folds.csv").read_text()
        row = f"car4_02,car4,{folds['car4_02']}"
        assert row in text
        (tmp_path / "folds.csv").write_text(text.replace(row, f"car4_02,car4,{(folds['car4_02'] + 1) % 3}"))
        assert "folds.csv: leak: 1 car is in two folds or more (" in refusal(
            fold_table.folds_of, tmp_path, CARVANA, PHOTOS, FOLDS
        )

    def test_a_group_that_somebody_called_otherwise_is_a_leak_all_the_same(self, tmp_path: Path) -> None:
        rows = [f"{photo.stem},{photo.stem},{number % 3}" for number, photo in enumerate(PHOTOS)]
        (tmp_path / "folds.csv").write_text("\n".join(["image,group,fold", *rows]))
        assert "folds.csv: leak: 7 cars are in two folds or more (car0, car1, car2 and 4 more)" in refusal(
            fold_table.folds_of, tmp_path, CARVANA, PHOTOS, FOLDS
        )

    def test_folds_that_were_changed_after_one_was_trained_are_refused(self, tmp_path: Path) -> None:
        folds = fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        held_out = [stem for stem, fold in folds.items() if fold == 1]
        (tmp_path / "fold1").mkdir()
        table = ["image,fold,score,dice,iou", *(f"{stem},1,0.5,0.5,0.5" for stem in held_out)]
        (tmp_path / "fold1" / "oof.csv").write_text("\n".join(table))
        assert fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS) == folds
        rows = [f"{stem},{stem[:-3]},{(fold + 1) % 3}" for stem, fold in folds.items()]
        (tmp_path / "folds.csv").write_text("\n".join(["image,group,fold", *rows]))
        said = refusal(fold_table.folds_of, tmp_path, CARVANA, PHOTOS, FOLDS)
        assert "folds.csv: not the folds that were trained: fold 1 held out other photos, as its oof.csv says" in said

    @pytest.mark.parametrize("photos", [PHOTOS[:-1], [*PHOTOS, replace(PHOTOS[0], stem="car9_01")]])
    def test_folds_of_other_photos_are_refused(self, tmp_path: Path, photos: list[Photo]) -> None:
        fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        stranger = ({photo.stem for photo in photos} ^ {photo.stem for photo in PHOTOS}).pop()
        assert refusal(fold_table.folds_of, tmp_path, CARVANA, photos, FOLDS) == (
            f"{tmp_path / 'folds.csv'}: not about the photos in the data folder; they differ in {stranger}"
        )

    @pytest.mark.parametrize(
        "text", ["", "image,group\na_01,a\n", "image,fold\na_01,1\n", "image,group,fold\na_01,a,first\n", "\0\1\2"]
    )
    def test_a_damaged_folds_csv_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "folds.csv").write_text(text)
        message = refusal(fold_table.folds_of, tmp_path, CARVANA, PHOTOS, FOLDS)
        assert f"{tmp_path / 'folds.csv'}: not a table of image,group,fold" in message

    def test_fewer_cars_than_folds_are_refused_and_nothing_is_written(self, tmp_path: Path) -> None:
        assert refusal(fold_table.folds_of, tmp_path, CARVANA, PHOTOS[:6], FOLDS) == (
            "--folds 3: only 2 cars are there, of which none may be in two folds; give --folds 2 or fewer"
        )
        assert list(tmp_path.iterdir()) == []
        fold_table.require_enough_groups(CARVANA, PHOTOS[:6], 2)

    def test_stems_that_look_like_numbers_stay_as_they_are(self, tmp_path: Path, tiles: Competition) -> None:
        photos = [replace(PHOTOS[0], stem=stem) for stem in ("0012", "12", "1e3", "1000")]
        for _ in range(2):
            assert fold_table.folds_of(tmp_path, tiles, photos, FOLDS).keys() == {"0012", "12", "1e3", "1000"}

    def test_strata_give_each_fold_as_many_small_and_large_masks(self, tmp_path: Path, tiles: Competition) -> None:
        photos = []
        for number in range(24):
            mask = np.zeros((4, 6), dtype=bool)
            mask[: 1 if number < 12 else 3] = True
            write_mask(tmp_path / f"{number}.png", mask)
            photos.append(Photo(str(number), Path("photo"), (4, 6), tmp_path / f"{number}.png"))
        stratified = replace(tiles, coverage_strata=(0.5,))
        folds = fold_table.folds_of(tmp_path, stratified, photos, FOLDS)
        small = [fold for stem, fold in folds.items() if int(stem) < 12]
        large = [fold for stem, fold in folds.items() if int(stem) >= 12]
        assert [small.count(fold) for fold in range(3)] == [4, 4, 4]
        assert [large.count(fold) for fold in range(3)] == [4, 4, 4]

    def test_more_folds_than_a_stratum_has_photos_are_refused(self, tmp_path: Path, tiles: Competition) -> None:
        photos = []
        for number in range(6):
            write_mask(tmp_path / f"{number}.png", np.full((4, 6), number < 3))
            photos.append(Photo(str(number), Path("photo"), (4, 6), tmp_path / f"{number}.png"))
        stratified = replace(tiles, coverage_strata=(0.5,))
        message = refusal(fold_table.folds_of, tmp_path / "run", stratified, photos, replace(FOLDS, folds=5))
        why = "no stratum of its coverage_strata has so many photos"
        assert message == f"--folds 5: too many for Roof Tiles, as {why}; give fewer"

    def test_strata_of_several_classes_are_their_combinations(self, tmp_path: Path, tiles: Competition) -> None:
        """Of 24 photos each combination of two classes, there or not, has 6."""
        for name, is_there in (("blank", False), ("there", True)):
            write_mask(tmp_path / f"{name}.png", np.full((4, 6), is_there))
        photos = []
        for number in range(24):
            masks = (tmp_path / f"{'there' if number & bit else 'blank'}.png" for bit in (1, 2))
            targets = (Photo(f"{number}_{at}", Path("photo"), (4, 6), mask) for at, mask in enumerate(masks))
            photos.append(Photo(str(number), Path("photo"), (4, 6), of_classes=tuple(targets)))
        folds = fold_table.folds_of(tmp_path / "run", replace(tiles, coverage_strata=(0.0,)), photos, FOLDS)
        for combination in range(4):
            of_it = [fold for stem, fold in folds.items() if int(stem) % 4 == combination]
            assert [of_it.count(fold) for fold in range(3)] == [2, 2, 2]

    def test_a_fold_is_held_out_and_the_others_are_trained_on(self) -> None:
        folds = {photo.stem: int(photo.stem[3]) % 3 for photo in PHOTOS}
        split = fold_table.split(PHOTOS, folds, 1)
        assert {photo.stem[:4] for photo in split.held_out} == {"car1", "car4"}
        assert sorted([*split.training, *split.held_out], key=lambda photo: photo.stem) == PHOTOS


class TestFiles:
    @pytest.fixture
    def drawn(self, tmp_path: Path) -> list[Photo]:
        """Three photos and masks, each of other bytes."""
        (tmp_path / "data").mkdir()
        photos = []
        for stem in ("a_01", "a_02", "b_01"):
            photo, mask = tmp_path / "data" / f"{stem}.jpg", tmp_path / "data" / f"{stem}_mask.gif"
            photo.write_text(f"photo of {stem}")
            mask.write_text(f"mask of {stem}")
            photos.append(Photo(stem, photo, (4, 6), mask))
        return photos

    @pytest.fixture
    def run(self, tmp_path: Path, drawn: list[Photo]) -> Path:
        """A run that has recorded them, of which a fold is begun."""
        fold_table.keep_files(tmp_path / "run", drawn)
        begin(tmp_path / "run")
        return tmp_path / "run"

    def test_photos_and_masks_are_recorded_by_the_sha256_of_their_files(self, run: Path, drawn: list[Photo]) -> None:
        header, *rows = (run / "data.csv").read_text().splitlines()
        assert header == "image,photo_sha256,mask_sha256"
        hashes = [hashlib.sha256(f"{what} of a_02".encode()).hexdigest() for what in ("photo", "mask")]
        assert rows[1] == f"a_02,{hashes[0]},{hashes[1]}"
        assert len(rows) == 3

    def test_a_run_goes_on_with_the_same_files_whatever_their_folder_order_and_dates(
        self, run: Path, drawn: list[Photo], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = (run / "data.csv").read_bytes()
        (tmp_path / "data").rename(tmp_path / "moved")
        new = tmp_path / "moved"
        moved = [replace(one, path=new / one.path.name, mask=new / f"{one.stem}_mask.gif") for one in reversed(drawn)]
        os.utime(moved[0].path, (1, 1))
        fold_table.keep_files(run, moved)
        assert (run / "data.csv").read_bytes() == before
        assert capsys.readouterr().out == ""

    def test_the_files_that_a_run_recorded_are_read_again_and_none_where_it_recorded_none(
        self, run: Path, tmp_path: Path, drawn: list[Photo]
    ) -> None:
        assert fold_table.recorded_files(run) == fingerprint_of(drawn)
        assert fold_table.recorded_files(tmp_path / "older") == {}

    def test_other_photos_and_masks_are_refused_and_the_differences_named(self, run: Path, drawn: list[Photo]) -> None:
        drawn[2].path.write_text("another photo")
        for photo in drawn[:2]:
            assert photo.mask is not None
            photo.mask.write_text("a corrected mask")
        assert refusal(fold_table.keep_files, run, drawn) == (
            f"{run}: begun with other photos or masks (1 photos changed: b_01; 2 masks changed: a_01, a_02). "
            "Its folds would have no common score: restore these files, or give another --out."
        )

    def test_files_may_be_corrected_until_a_fold_is_begun(self, tmp_path: Path, drawn: list[Photo]) -> None:
        run = tmp_path / "run"
        fold_table.keep_files(run, drawn)
        drawn[0].path.write_text("a corrected photo")
        fold_table.keep_files(run, drawn)
        begin(run)
        fold_table.keep_files(run, drawn)
        drawn[0].path.write_text("photo of a_01")
        assert "(1 photos changed: a_01)" in refusal(fold_table.keep_files, run, drawn)

    def test_a_run_of_an_older_version_records_its_files_from_now_on_and_says_so(
        self, tmp_path: Path, drawn: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = tmp_path / "run"
        begin(run)
        fold_table.keep_files(run, drawn)
        assert capsys.readouterr().out == (
            f"{run / 'data.csv'}: photos and masks are recorded from now on; what they were before is not known\n"
        )
        drawn[0].path.write_text("another photo")
        assert "(1 photos changed: a_01)" in refusal(fold_table.keep_files, run, drawn)

    def test_a_damaged_table_is_refused_and_kept(self, run: Path, drawn: list[Photo]) -> None:
        (run / "data.csv").write_text("image\n")
        assert refusal(fold_table.keep_files, run, drawn) == (
            f"{run / 'data.csv'}: damaged (not a table of image,photo_sha256,mask_sha256); "
            "without it, photos and masks count as they are now"
        )
        assert (run / "data.csv").read_text() == "image\n"

    def test_of_two_machines_that_begin_at_once_the_second_compares_its_files(
        self, tmp_path: Path, drawn: list[Photo]
    ) -> None:
        """It found none recorded, and records its own when the first has begun to train."""
        run = tmp_path / "run"
        assert not fold_table.are_unchanged(run, fingerprint_of(drawn))
        fold_table.keep_files(run, drawn)
        begin(run)
        drawn[0].path.write_text("another photo")
        assert "begun with other photos" in refusal(fold_table.record_files, run, fingerprint_of(drawn))


def begin(run: Path) -> None:
    checkpoint = run_folder.checkpoint_path(run_folder.fold_folder(run, 0), "last")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()


class TestUnseen:
    def parent(self, folder: Path, **fold_by_car: int) -> Path:
        rows = [f"{car}_{angle:02},{car},{fold}" for car, fold in fold_by_car.items() for angle in (1, 2)]
        folder.mkdir()
        (folder / "folds.csv").write_text("\n".join(["image,group,fold", *rows, ""]))
        return folder

    def test_weights_may_start_from_a_fold_that_held_out_the_same_cars(self, tmp_path: Path) -> None:
        parent = self.parent(tmp_path / "parent", car1=2, car2=2, car3=0)
        fold_table.require_unseen(parent, 2, [photo for photo in PHOTOS if photo.stem[:4] in ("car1", "car2")], CARVANA)

    def test_cars_that_the_parent_called_otherwise_were_seen_all_the_same(self, tmp_path: Path) -> None:
        rows = [f"{photo.stem},{photo.stem},0" for photo in PHOTOS]
        (tmp_path / "folds.csv").write_text("\n".join(["image,group,fold", *rows]))
        assert "leak: its fold 1 was trained on car0, car1, car2 and 4 more" in refusal(
            fold_table.require_unseen, tmp_path, 1, PHOTOS, CARVANA
        )

    def test_cars_that_the_parent_does_not_know_at_all_are_unseen(self, tmp_path: Path) -> None:
        fold_table.require_unseen(self.parent(tmp_path / "parent", other=0), 2, PHOTOS, CARVANA)

    def test_a_held_out_car_that_the_parent_was_trained_on_is_refused_as_a_leak(self, tmp_path: Path) -> None:
        parent = self.parent(tmp_path / "parent", car1=2, car2=1)
        held_out = [photo for photo in PHOTOS if photo.stem[:4] in ("car1", "car2")]
        said = refusal(fold_table.require_unseen, parent, 2, held_out, CARVANA)
        assert said.startswith(f"--init {parent}: leak: its fold 2 was trained on car2, held out in fold 2 here")

    def test_a_parent_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        said = refusal(fold_table.require_unseen, tmp_path / "gone", 0, PHOTOS, CARVANA)
        assert said.startswith(f"--init {tmp_path / 'gone'}: no such folder; ")

    def test_a_parent_without_folds_is_refused(self, tmp_path: Path) -> None:
        assert "folds.csv: missing" in refusal(fold_table.require_unseen, tmp_path, 0, PHOTOS, CARVANA)
