import json
from dataclasses import replace
from pathlib import Path

import pytest
from known_competitions import CARVANA
from seven_cars import FOLDS, PHOTOS, SEED, refusal

from kaggle_tools.config.recorded import config_of_settings
from kaggle_tools.models import weights
from kaggle_tools.results import fold_table, run_folder
from kaggle_tools.system import version
from kaggle_tools.system.files import locked


def begin_training(run: Path) -> None:
    (run / "fold0" / "checkpoints").mkdir(parents=True)
    (run / "fold0" / "checkpoints" / "last.ckpt").touch()


class TestConfig:
    def test_config_json_holds_everything_that_is_needed_to_repeat_the_run(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py --preset seed")
        config = run_folder.read_config(tmp_path)
        assert config_of_settings(dict(config.settings)) == SEED
        assert (config.data, config.command) == (str(Path.cwd() / "somewhere"), "train.py --preset seed")
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

    def test_a_run_of_an_earlier_version_that_recorded_no_pretrained_weights_as_false_is_continued(
        self, tmp_path: Path
    ) -> None:
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py")
        config = json.loads((tmp_path / "config.json").read_text())
        config["settings"]["pretrained"] = False
        (tmp_path / "config.json").write_text(json.dumps(config))
        begin_training(tmp_path)
        run_folder.write_config(tmp_path, SEED, Path("somewhere"), "train.py")

    def test_the_file_of_pretrained_weights_is_recorded_with_its_hash_and_must_stay_the_same(
        self, tmp_path: Path
    ) -> None:
        run, weights_file = tmp_path / "run", tmp_path / "weights.pth"
        config = replace(SEED, model="smp:Unet/resnet18", pretrained=str(weights_file))
        assert refusal(run_folder.write_config, run, config, Path("somewhere"), "train.py") == (
            f"--pretrained {weights_file}: cannot be read (No such file or directory)"
        )
        weights_file.write_bytes(b"abc")
        run_folder.write_config(run, config, Path("somewhere"), "train.py")
        of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert json.loads((run / "config.json").read_text())["pretrained_sha256"] == of_abc
        begin_training(run)
        run_folder.write_config(run, config, Path("somewhere"), "train.py")
        weights_file.write_bytes(b"other")
        assert refusal(run_folder.write_config, run, config, Path("somewhere"), "train.py") == (
            f"{run}: begun with other weights than now in {weights_file}; put those back, or give another --out"
        )

    def test_settings_under_which_nothing_was_trained_may_be_corrected(self, tmp_path: Path) -> None:
        run_folder.write_config(tmp_path, replace(FOLDS, folds=2), Path("somewhere"), "train.py")
        fold_table.folds_of(tmp_path, CARVANA, PHOTOS, replace(FOLDS, folds=2))
        run_folder.write_config(tmp_path, FOLDS, Path("somewhere"), "train.py")
        assert run_folder.read_config(tmp_path).settings["folds"] == 3
        assert set(fold_table.folds_of(tmp_path, CARVANA, PHOTOS, FOLDS).values()) == {0, 1, 2}

    def test_folds_stay_where_other_settings_are_corrected(self, tmp_path: Path) -> None:
        """They may be somebody's own."""
        run_folder.write_config(tmp_path, FOLDS, Path("somewhere"), "train.py")
        (tmp_path / "folds.csv").write_text("of my own")
        run_folder.write_config(tmp_path, replace(FOLDS, batch_size=3), Path("somewhere"), "train.py")
        assert (tmp_path / "folds.csv").read_text() == "of my own"
        run_folder.write_config(tmp_path, replace(FOLDS, batch_size=3, seed=7), Path("somewhere"), "train.py")
        assert not (tmp_path / "folds.csv").exists()

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

    def test_a_run_that_recorded_a_path_as_it_was_typed_is_continued_from_the_same_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As older versions did."""
        run = tmp_path / "run"
        run_folder.write_config(run, replace(SEED, init="runs/first", extra="preds/a"), Path("data"), "train.py")
        begin_training(run)
        monkeypatch.chdir(tmp_path)
        given = replace(SEED, init=str(tmp_path / "runs" / "first"), extra=str(tmp_path / "preds" / "a"))
        run_folder.write_config(run, given, Path("data"), "train.py")
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        said = refusal(run_folder.write_config, run, given, Path("data"), "train.py")
        assert f"(init was runs/first, now {tmp_path}/runs/first; extra was preds/a, now " in said

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
        said = refusal(run_folder.asked_batch_size, tmp_path)
        assert said == f"{tmp_path / 'config.json'}: damaged (no batch_size in its settings, or not a whole number)"


class TestOwnFolder:
    @pytest.mark.parametrize(
        ("own", "there", "holds"),
        [
            ("config.json", "run.json", "masks of `infer` or `blend`"),
            ("config.json", "model.json", "the network of a fold"),
            ("run.json", "config.json", "a run of `train`"),
            ("run.json", "model.json", "the network of a fold"),
        ],
    )
    def test_a_folder_of_another_kind_is_refused(self, tmp_path: Path, own: str, there: str, holds: str) -> None:
        (tmp_path / there).touch()
        said = refusal(run_folder.require_own_folder, tmp_path, own, [])
        assert said == f"--out {tmp_path}: holds {holds}; give a folder of its own"

    def test_the_folder_of_the_photos_is_refused_however_it_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "data")
        said = refusal(run_folder.require_own_folder, tmp_path / "link", "run.json", [tmp_path / "data"])
        assert said == f"--out {tmp_path / 'link'}: holds the photos; give a folder of its own"

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        said = refusal(run_folder.require_own_folder, tmp_path / "file", "run.json", [])
        assert said == f"--out {tmp_path / 'file'}: is a file; give a folder"

    @pytest.mark.parametrize("there", [None, "folds.csv", "config.json"])
    def test_a_new_folder_one_with_folds_and_one_of_the_same_kind_are_accepted(
        self, tmp_path: Path, there: str | None
    ) -> None:
        """The last also among photos, as where an older version made it."""
        if there:
            (tmp_path / there).touch()
        run_folder.require_own_folder(tmp_path, "config.json", [tmp_path] if there == "config.json" else [])
        run_folder.require_own_folder(tmp_path / "new", "config.json", [tmp_path])
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("inner", ["masks", "fold0", "fold1/checkpoints", "fold1/oof/masks"])
    def test_a_link_that_leads_elsewhere_what_is_written_is_refused(self, tmp_path: Path, inner: str) -> None:
        victim, link = tmp_path / "victim", tmp_path / "out" / inner
        victim.mkdir()
        link.parent.mkdir(parents=True)
        link.symlink_to(victim)
        (tmp_path / "out" / "config.json").touch()
        said = refusal(run_folder.require_own_folder, tmp_path / "out", "config.json", [])
        assert said == f"{link}: a link to {victim}; put what is meant in its place"

    @pytest.mark.parametrize("inner", ["fold1/tensorboard/hparams.yaml", "masks/a.png", "fold0/checkpoints/last.ckpt"])
    def test_a_link_to_a_file_or_to_nothing_is_refused_too(self, tmp_path: Path, inner: str) -> None:
        link = tmp_path / "out" / inner
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "planted")
        (tmp_path / "out" / "config.json").touch()
        said = refusal(run_folder.require_own_folder, tmp_path / "out", "config.json", [])
        assert said == f"{link}: a link to {tmp_path / 'planted'}; put what is meant in its place"

    def test_a_folder_may_be_reached_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "disk" / "masks").mkdir(parents=True)
        (tmp_path / "out").symlink_to(tmp_path / "disk")
        run_folder.require_own_folder(tmp_path / "out", "run.json", [])


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
        fault = "missing" if text is None else "not a table of epoch,lr,train_loss,val_loss,val_dice,val_iou ("
        assert f"{path}: {fault}" in said

    @pytest.mark.parametrize(
        ("epoch", "possible"), [("1000000", True), ("1000001", False), ("0.5", False), ("-1", False)]
    )
    def test_the_number_of_an_epoch_is_a_whole_one_up_to_a_million(
        self, tmp_path: Path, epoch: str, possible: bool
    ) -> None:
        (tmp_path / "fold3").mkdir()
        path = tmp_path / "fold3" / "metrics.csv"
        path.write_text(f"epoch,lr,train_loss,val_loss,val_dice,val_iou\n{epoch},1,1,1,1,1\n")
        if possible:
            assert len(run_folder.read_metrics(tmp_path, 3)) == 1
        else:
            assert f"{path}: " in refusal(run_folder.read_metrics, tmp_path, 3)

    def test_the_table_of_folds_keeps_names_that_look_like_numbers(self, tmp_path: Path) -> None:
        (tmp_path / "folds.csv").write_text("fold,group,image\n2,007,007_01\n0,1e3,12\n")
        table = run_folder.read_folds(tmp_path)
        assert list(table) == ["image", "group", "fold"]
        assert table.to_numpy().tolist() == [["007_01", "007", 2], ["12", "1e3", 0]]


def test_what_is_kept_of_a_held_out_photo_lies_in_the_folder_of_its_fold() -> None:
    fold = Path("run/fold0")
    assert run_folder.oof_mask_path(fold, "a_01") == fold / "oof" / "masks" / "a_01.png"
    assert run_folder.oof_probability_path(fold, "a_01") == fold / "oof" / "probabilities" / "a_01.png"
