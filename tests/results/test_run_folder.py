import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kaggle_tools.competition import CARVANA, Competition
from kaggle_tools.config import config_from, config_of_settings
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.models import weights
from kaggle_tools.results import run_folder
from kaggle_tools.system import version
from kaggle_tools.system.files import locked

SEED = config_from("seed", CARVANA.slug, {})
FOLDS = replace(SEED, folds=3)

PHOTOS = [
    Photo(f"car{car}_{angle:02}", Path(f"car{car}_{angle:02}.jpg"), (4, 6)) for car in range(7) for angle in (1, 2, 3)
]


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as raised:
        function(*arguments)
    return str(raised.value)


def begin_training(run: Path) -> None:
    (run / "fold0" / "checkpoints").mkdir(parents=True)
    (run / "fold0" / "checkpoints" / "last.ckpt").touch()


class TestConfig:
    def test_config_json_holds_everything_that_is_needed_to_repeat_the_run(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py --preset seed")
        config = run_folder.read_config(tmp_path)
        assert config_of_settings(dict(config.settings)) == SEED
        assert (config.data, config.command) == ("somewhere", "train.py --preset seed")
        assert config.commit == version.commit()
        assert config.versions["torch"]
        assert config.versions.keys() >= {"python", "torch", "lightning", "albumentations", "numpy"}

    def test_a_run_that_is_continued_with_the_same_settings_keeps_its_config_json(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "the first command")
        before = (tmp_path / "config.json").read_bytes()
        run_folder.write_config(tmp_path, SEED, Path("elsewhere"), "the second command")
        assert (tmp_path / "config.json").read_bytes() == before

    def test_a_run_begun_with_other_settings_is_refused_and_each_difference_named(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py")
        begin_training(tmp_path)
        other = replace(SEED, lr=0.5, image_size=None)
        assert refusal(run_folder.write_config, tmp_path, other, Path("somewhere"), "train.py") == (
            f"{tmp_path}: begun with other settings (image_size was [160, 240], now None; lr was 0.0001, now 0.5). "
            "Give those, or another --out."
        )

    def test_settings_under_which_nothing_was_trained_may_be_corrected(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, replace(FOLDS, folds=2), Path("somewhere"), "train.py")
        run_folder.folds_of(tmp_path, CARVANA, PHOTOS, replace(FOLDS, folds=2))
        run_folder.write_config(tmp_path, FOLDS, Path("somewhere"), "train.py")
        assert run_folder.read_config(tmp_path).settings["folds"] == 3
        assert set(run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS).values()) == {0, 1, 2}

    @pytest.mark.parametrize("trace", ["model.json", "oof.csv"])
    def test_a_run_whose_checkpoints_were_deleted_keeps_its_settings(self, tmp_path: Path, trace: str) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py")
        (tmp_path / "fold0").mkdir()
        (tmp_path / "fold0" / trace).touch()
        assert "begun with other settings" in refusal(
            run_folder.write_config, tmp_path, replace(SEED, epochs=3), Path("somewhere"), "train.py"
        )

    def test_a_run_in_its_first_epoch_keeps_its_settings(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py")
        with locked(tmp_path / "fold0", "trains this fold"):
            assert "begun with other settings" in refusal(
                run_folder.write_config, tmp_path, replace(SEED, epochs=3), Path("somewhere"), "train.py"
            )

    def test_a_setting_that_an_older_version_did_not_record_counts_as_a_difference(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py")
        config = json.loads((tmp_path / "config.json").read_text())
        del config["settings"]["tta"]
        (tmp_path / "config.json").write_text(json.dumps(config))
        begin_training(tmp_path)
        message = refusal(run_folder.write_config, tmp_path, SEED, Path("somewhere"), "train.py")
        assert "(tta was None, now none)" in message

    def test_a_folder_without_config_json_is_no_run(self, tmp_path: Path) -> None:
        assert "missing; is" in refusal(run_folder.read_config, tmp_path)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", "null", '{"settings": {}, "data": 5}', '{"settings": {}, "versions": 5}']
    )
    def test_a_damaged_config_json_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "config.json").write_text(text)
        assert f"{tmp_path / 'config.json'}: damaged" in refusal(run_folder.read_config, tmp_path)

    @pytest.mark.parametrize("settings", ["{}", '{"batch_size": "4"}'])
    def test_a_config_json_without_a_batch_size_is_refused_where_that_is_needed(
        self, tmp_path: Path, settings: str
    ) -> None:
        (tmp_path / "config.json").write_text(f'{{"settings": {settings}}}')
        said = refusal(run_folder.recorded_batch_size, tmp_path)
        assert said == f"{tmp_path / 'config.json'}: damaged (no batch_size in its settings, or not a whole number)"


class TestFolds:
    def test_folds_are_drawn_by_car_and_written_to_folds_csv(self, tmp_path: Path) -> None:
        folds = run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
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
            folds = run_folder.folds_of(tmp_path, CARVANA, PHOTOS, replace(FOLDS, seed=seed))
            assert [stem for stem, fold in folds.items() if fold == 1] == ["car5_01", "car5_02", "car5_03"]

    def test_another_number_of_folds_is_refused(self, tmp_path: Path) -> None:
        run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        message = refusal(run_folder.folds_of, tmp_path, CARVANA, PHOTOS, replace(FOLDS, folds=4))
        assert "its folds are [0, 1, 2], but 4 were asked for" in message

    def test_the_order_of_the_rows_in_folds_csv_does_not_matter(self, tmp_path: Path) -> None:
        folds = run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        header, *rows = (tmp_path / "folds.csv").read_text().splitlines()
        (tmp_path / "folds.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
        assert run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS) == folds

    def test_the_seed_decides_the_folds(self, tmp_path: Path) -> None:
        drawn = [
            run_folder.folds_of(tmp_path / name, CARVANA, PHOTOS, replace(FOLDS, seed=seed))
            for name, seed in (("first", 0), ("second", 0), ("third", 1))
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_a_group_in_two_folds_is_refused_as_a_leak(self, tmp_path: Path) -> None:
        folds = run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        text = (tmp_path / "folds.csv").read_text()
        row = f"car4_02,car4,{folds['car4_02']}"
        assert row in text
        (tmp_path / "folds.csv").write_text(text.replace(row, f"car4_02,car4,{(folds['car4_02'] + 1) % 3}"))
        assert "folds.csv: leak: a group is in two folds" in refusal(
            run_folder.folds_of, tmp_path, CARVANA, PHOTOS, FOLDS
        )

    @pytest.mark.parametrize("photos", [PHOTOS[:-1], [*PHOTOS, replace(PHOTOS[0], stem="car9_01")]])
    def test_folds_of_other_photos_are_refused(self, tmp_path: Path, photos: list[Photo]) -> None:
        run_folder.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS)
        stranger = ({photo.stem for photo in photos} ^ {photo.stem for photo in PHOTOS}).pop()
        assert refusal(run_folder.folds_of, tmp_path, CARVANA, photos, FOLDS) == (
            f"{tmp_path / 'folds.csv'}: not about the photos in the data folder; they differ in {stranger}"
        )

    @pytest.mark.parametrize(
        "text", ["", "image,group\na_01,a\n", "image,fold\na_01,1\n", "image,group,fold\na_01,a,first\n", "\0\1\2"]
    )
    def test_a_damaged_folds_csv_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "folds.csv").write_text(text)
        message = refusal(run_folder.folds_of, tmp_path, CARVANA, PHOTOS, FOLDS)
        assert f"{tmp_path / 'folds.csv'}: not a table of image,group,fold" in message

    def test_fewer_cars_than_folds_are_refused_and_nothing_is_written(self, tmp_path: Path) -> None:
        assert refusal(run_folder.folds_of, tmp_path, CARVANA, PHOTOS[:6], FOLDS) == (
            "--folds 3: 3 folds need at least as many groups, but there are only 2"
        )
        assert list(tmp_path.iterdir()) == []

    def test_stems_that_look_like_numbers_stay_as_they_are(self, tmp_path: Path, tiles: Competition) -> None:
        photos = [replace(PHOTOS[0], stem=stem) for stem in ("0012", "12", "1e3", "1000")]
        for _ in range(2):
            assert run_folder.folds_of(tmp_path, tiles, photos, FOLDS).keys() == {"0012", "12", "1e3", "1000"}

    def test_strata_give_each_fold_as_many_small_and_large_masks(self, tmp_path: Path, tiles: Competition) -> None:
        photos = []
        for number in range(24):
            mask = np.zeros((4, 6), dtype=bool)
            mask[: 1 if number < 12 else 3] = True
            write_mask(tmp_path / f"{number}.png", mask)
            photos.append(Photo(str(number), Path("photo"), (4, 6), tmp_path / f"{number}.png"))
        stratified = replace(tiles, coverage_strata=(0.5,))
        folds = run_folder.folds_of(tmp_path, stratified, photos, FOLDS)
        small = [fold for stem, fold in folds.items() if int(stem) < 12]
        large = [fold for stem, fold in folds.items() if int(stem) >= 12]
        assert [small.count(fold) for fold in range(3)] == [4, 4, 4]
        assert [large.count(fold) for fold in range(3)] == [4, 4, 4]

    def test_a_fold_is_held_out_and_the_others_are_trained_on(self) -> None:
        folds = {photo.stem: int(photo.stem[3]) % 3 for photo in PHOTOS}
        split = run_folder.split(PHOTOS, folds, 1)
        assert {photo.stem[:4] for photo in split.held_out} == {"car1", "car4"}
        assert sorted([*split.training, *split.held_out], key=lambda photo: photo.stem) == PHOTOS


class TestWhichFoldsThereAre:
    def test_folds_are_listed_by_number_not_by_spelling(self, tmp_path: Path) -> None:
        for fold in (10, 2, 0):
            folder = run_folder.fold_folder(tmp_path, fold)
            folder.mkdir()
            (folder / "oof.csv").touch()
            (folder / "model.json").touch()
        (tmp_path / "fold3").mkdir()
        (tmp_path / "fold2 old").mkdir()
        (tmp_path / "fold2 old" / "oof.csv").touch()
        assert run_folder.finished_folds(tmp_path) == [0, 2, 10]
        assert run_folder.trained_folds(tmp_path) == [0, 2, 10]

    def test_a_fold_is_finished_with_its_out_of_fold_table_and_trained_with_its_card(self, tmp_path: Path) -> None:
        folder = run_folder.fold_folder(tmp_path, 1)
        folder.mkdir()
        assert not run_folder.is_finished(tmp_path, 1)
        (folder / "model.json").touch()
        assert run_folder.trained_folds(tmp_path) == [1]
        assert not run_folder.is_finished(tmp_path, 1)
        assert run_folder.finished_folds(tmp_path) == []
        (folder / "oof.csv").touch()
        assert run_folder.is_finished(tmp_path, 1)

    def test_the_card_by_which_a_trained_fold_is_known_is_that_which_is_written_with_its_weights(self) -> None:
        assert run_folder.CARD_FILE == weights.CARD_FILE

    def test_a_fold_is_begun_with_its_first_epoch(self, tmp_path: Path) -> None:
        for fold, name in ((10, "metrics.csv"), (1, "oof.csv"), (2, "metrics.csv")):
            run_folder.fold_folder(tmp_path, fold).mkdir()
            (run_folder.fold_folder(tmp_path, fold) / name).touch()
        assert run_folder.begun_folds(tmp_path) == [2, 10]

    def test_a_run_without_a_trained_fold_is_refused(self, tmp_path: Path) -> None:
        assert f"{tmp_path}: no trained fold in it" in refusal(run_folder.trained_folds, tmp_path)


class TestTables:
    def test_learning_curves_are_a_row_for_each_epoch_of_what_is_shown(self, tmp_path: Path) -> None:
        (tmp_path / "fold3").mkdir()
        (tmp_path / "fold3" / "metrics.csv").write_text(
            "epoch,step,lr,val_iou,val_dice,train_loss,val_loss,other\n0,8,0.1,0.4,0.5,0.7,0.6,9\n1,16,0.2,0.8,0.9,0.3,,9\n"
        )
        table = run_folder.read_metrics(tmp_path, 3)
        assert list(table) == ["epoch", "lr", "train_loss", "val_loss", "val_dice", "val_iou"]
        assert table.iloc[0].tolist() == [0, 0.1, 0.7, 0.6, 0.5, 0.4]
        assert table["val_loss"].isna().tolist() == [False, True]

    @pytest.mark.parametrize("text", [None, "", "epoch,lr,train_loss,val_loss,val_dice\n0,1,1,1,1\n"])
    def test_missing_or_damaged_curves_are_refused(self, tmp_path: Path, text: str | None) -> None:
        (tmp_path / "fold3").mkdir()
        path = tmp_path / "fold3" / "metrics.csv"
        if text is not None:
            path.write_text(text)
        said = refusal(run_folder.read_metrics, tmp_path, 3)
        assert f"{path}: not a table of epoch,lr,train_loss,val_loss,val_dice,val_iou (" in said

    def test_the_table_of_folds_keeps_names_that_look_like_numbers(self, tmp_path: Path) -> None:
        (tmp_path / "folds.csv").write_text("fold,group,image\n2,007,007_01\n0,1e3,12\n")
        table = run_folder.read_folds(tmp_path)
        assert list(table) == ["image", "group", "fold"]
        assert table.to_numpy().tolist() == [["007_01", "007", 2], ["12", "1e3", 0]]


class TestUnseen:
    def parent(self, folder: Path, **fold_by_car: int) -> Path:
        rows = [f"{car}_{angle:02},{car},{fold}" for car, fold in fold_by_car.items() for angle in (1, 2)]
        folder.mkdir()
        (folder / "folds.csv").write_text("\n".join(["image,group,fold", *rows, ""]))
        return folder

    def test_weights_may_start_from_a_fold_that_held_out_the_same_cars(self, tmp_path: Path) -> None:
        parent = self.parent(tmp_path / "parent", car1=2, car2=2, car3=0)
        run_folder.require_unseen(parent, 2, [photo for photo in PHOTOS if photo.stem[:4] in ("car1", "car2")], CARVANA)

    def test_cars_that_the_parent_does_not_know_at_all_are_unseen(self, tmp_path: Path) -> None:
        run_folder.require_unseen(self.parent(tmp_path / "parent", other=0), 2, PHOTOS, CARVANA)

    def test_a_held_out_car_that_the_parent_was_trained_on_is_refused_as_a_leak(self, tmp_path: Path) -> None:
        parent = self.parent(tmp_path / "parent", car1=2, car2=1)
        held_out = [photo for photo in PHOTOS if photo.stem[:4] in ("car1", "car2")]
        said = refusal(run_folder.require_unseen, parent, 2, held_out, CARVANA)
        assert said.startswith(f"--init {parent}: leak: its fold 2 was trained on car2, held out in fold 2 here")

    def test_a_parent_without_folds_is_refused(self, tmp_path: Path) -> None:
        assert "not a table of image,group,fold" in refusal(run_folder.require_unseen, tmp_path, 0, PHOTOS, CARVANA)
