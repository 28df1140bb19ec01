import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoding import counted_decoding

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, OutOfTimeError
from kaggle_tools.results import fold_table, pred_folder, run_folder
from kaggle_tools.results.records.masks import Record
from kaggle_tools.system.files import sha256
from kaggle_tools.training import cross_validation
from kaggle_tools.training.cross_validation import CrossValidation, train, train_in_parallel, train_one_by_one

HERE = Execution(devices="1", workers=0)


@pytest.fixture
def config(tiles: Competition) -> TrainingConfig:
    tiny = {"width": 4, "depth": 1, "image_size": (16, 24), "epochs": 1, "batch_size": 2, "folds": 3}
    return config_from("demo", tiles.slug, tiny)


@pytest.fixture
def fold_by_stem(photos: list[Photo]) -> dict[str, int]:
    return {photo.stem: number % 3 for number, photo in enumerate(photos)}


class TestOneByOne:
    @pytest.fixture
    def train(self, photos: list[Photo], tiles: Competition, fold_by_stem: dict[str, int]) -> Any:
        def train(run: Path, folds: list[int], config: TrainingConfig, execution: Execution = HERE) -> None:
            train_one_by_one(CrossValidation(run, tiles, run, photos, fold_by_stem, config), folds, execution)

        return train

    def test_finished_folds_are_not_trained_again(
        self, train: Any, config: TrainingConfig, tmp_path: Path, capsys: Any
    ) -> None:
        train(tmp_path, [0, 2], config)
        said = capsys.readouterr().out
        assert "fold 0: 8 photos to train on, 5 held out" in said
        assert "fold 2: 9 photos to train on, 4 held out" in said
        assert run_folder.finished_folds(tmp_path) == [0, 2]
        before = (tmp_path / "fold0" / "model.safetensors").stat().st_mtime_ns
        train(tmp_path, [0, 1], config)
        said = capsys.readouterr().out
        assert said.startswith("fold 0: finished before\n")
        assert "fold 1: 9 photos" in said
        assert (tmp_path / "fold0" / "model.safetensors").stat().st_mtime_ns == before

    def test_probabilities_of_finished_folds_are_kept_when_they_are_asked_for_later(
        self,
        photos: list[Photo],
        tiles: Competition,
        fold_by_stem: dict[str, int],
        config: TrainingConfig,
        tmp_path: Path,
    ) -> None:
        def files(run: Path) -> dict[str, bytes]:
            return {path.name: path.read_bytes() for path in (run / "fold0" / "oof" / "probabilities").glob("*")}

        keep = replace(HERE, save_oof_probabilities=True)
        first, later = (
            CrossValidation(tmp_path / name, tiles, tmp_path, photos, fold_by_stem, config)
            for name in ("first", "later")
        )
        train(first, [0], keep)
        train(later, [0], HERE)
        assert files(later.run) == {}
        untouched = [later.run / "fold0" / name for name in ("oof.csv", "model.safetensors", "oof/masks/0.png")]
        before = [path.stat().st_mtime_ns for path in untouched]
        train(later, [0], keep)
        assert len(files(first.run)) == 5
        assert files(later.run) == files(first.run)
        assert [path.stat().st_mtime_ns for path in untouched] == before

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"model": "smp:PAN/mobilenet_v2", "image_size": (160, 240), "tta_scales": (0.5, 1.0)},
                r"smp:PAN/mobilenet_v2 cannot take 1 photo of 80x120 in evaluation \(--tta-scales 0.5\): ",
            ),
            (
                {"model": "smp:DeepLabV3Plus/mobilenet_v2", "batch_size": 1},
                r"smp:DeepLabV3Plus/mobilenet_v2 cannot take 1 photo of 16x24 in training \(--batch-size 1\): ",
            ),
            (
                {"model": "smp:Unet/tu-swin_tiny_patch4_window7_224"},
                "smp:Unet/tu-swin_tiny_patch4_window7_224 cannot take 2 photos .*\nIt takes 224x224",
            ),
            ({"model": "smp:Unet/tu-hf-hub:timm/resnet18"}, "--model smp:Unet/tu-hf-hub:timm/resnet18: no encoder"),
        ],
        ids=["scale", "batch", "size", "hub"],
    )
    def test_a_network_that_cannot_take_the_photos_is_refused_before_the_training(
        self,
        train: Any,
        config: TrainingConfig,
        tmp_path: Path,
        options: dict[str, Any],
        message: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for step in ("estimated_hours", "train_fold"):
            monkeypatch.setattr(cross_validation, step, lambda *_, **__: pytest.fail("the training began"))
        with pytest.raises(InputError, match=message):
            train(tmp_path, [0], replace(config, **options))

    def test_levels_of_another_network_than_the_u_net_are_not_computed_twice(
        self,
        photos: list[Photo],
        tiles: Competition,
        fold_by_stem: dict[str, int],
        config: TrainingConfig,
        tmp_path: Path,
    ) -> None:
        work = CrossValidation(
            tmp_path, tiles, tmp_path, photos, fold_by_stem, replace(config, model="smp:Unet/resnet18")
        )
        with pytest.raises(InputError, match="^--recompute: knows the levels of --model unet alone; leave it out$"):
            train_one_by_one(work, [0], replace(HERE, recompute=1))
        assert not (tmp_path / "fold0").exists()

    def test_the_smallest_fold_decides_how_many_photos_there_are_to_train_on(
        self, train: Any, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[set[Any], int]] = []
        monkeypatch.setattr(
            cross_validation, "require_passes", lambda _, sizes, count, __: asked.append((sizes, count))
        )
        monkeypatch.setattr(cross_validation, "train_fold", lambda *_, **__: None)
        train(tmp_path, [0, 1], config)
        train(tmp_path, [2], config)
        assert asked == [({(20, 30)}, 8), ({(20, 30)}, 9)]

    def test_with_a_cache_the_weights_have_the_same_bytes_and_photos_are_decoded_once(
        self, train: Any, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of 13 photos each, in all folds and epochs."""
        config = replace(config, epochs=3, augmentation="mild")
        train(tmp_path / "plain", [0, 1], config)
        decoded = counted_decoding(monkeypatch)
        train(tmp_path / "cached", [0, 1], config, replace(HERE, cache=str(tmp_path / "cache")))
        assert len(decoded) == 13
        for file in ("model.safetensors", "metrics.csv", "oof.csv"):
            for fold in ("fold0", "fold1"):
                assert (tmp_path / "cached" / fold / file).read_bytes() == (
                    tmp_path / "plain" / fold / file
                ).read_bytes()

    def test_masks_that_changed_between_two_folds_of_one_command_are_refused(
        self,
        photos: list[Photo],
        tiles: Competition,
        fold_by_stem: dict[str, int],
        config: TrainingConfig,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        changed = tmp_path / "changed.png"
        assert photos[0].mask is not None
        shutil.copy(photos[0].mask, changed)
        run, photos = tmp_path / "run", [replace(photos[0], mask=changed), *photos[1:]]
        trained = []

        def train_fold(run: Path, fold: int, *_: Any, **__: Any) -> None:
            trained.append(fold)
            (run / f"fold{fold}").mkdir()
            (run / f"fold{fold}" / "model.json").touch()
            if fold == 1:
                write_mask(changed, np.zeros((20, 30), dtype=bool))

        monkeypatch.setattr(cross_validation, "train_fold", train_fold)
        fold_table.keep_files(run, photos)
        with pytest.raises(InputError, match=r"begun with other photos or masks \(1 masks changed: 0\)"):
            train_one_by_one(CrossValidation(run, tiles, run, photos, fold_by_stem, config), [0, 1, 2], HERE)
        assert trained == [0, 1]

    def test_only_the_epochs_that_are_left_count_for_the_hours_that_are_announced(
        self,
        photos: list[Photo],
        tiles: Competition,
        fold_by_stem: dict[str, int],
        config: TrainingConfig,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: Any,
    ) -> None:
        """Of three folds with 30 epochs one has had two, and the table of another one is damaged."""
        monkeypatch.setattr(cross_validation, "estimated_hours", lambda _, __, epochs, ___: epochs / 10)
        monkeypatch.setattr(cross_validation, "train_fold", lambda *_, **__: None)
        table = "epoch,lr,train_loss,val_loss,val_dice,val_iou\n0,1,1,1,1,1\n1,1,1,1,1,1\n"
        for fold, content in ((0, table), (1, "damaged")):
            (tmp_path / f"fold{fold}").mkdir()
            (tmp_path / f"fold{fold}" / "metrics.csv").write_text(content)
        work = CrossValidation(tmp_path, tiles, tmp_path, photos, fold_by_stem, replace(config, epochs=30))
        train_one_by_one(work, [0, 1, 2], replace(HERE, max_hours=8.9))
        assert capsys.readouterr().out.startswith("about 8.8 h for 3 of 3 folds on this machine")

    def test_initial_weights_that_were_trained_on_held_out_photos_are_refused(
        self, train: Any, config: TrainingConfig, fold_by_stem: dict[str, int], tmp_path: Path
    ) -> None:
        parent = tmp_path / "parent"
        parent.mkdir()
        rows = [f"{stem},{stem},{(fold + 1) % 3}" for stem, fold in fold_by_stem.items()]
        (parent / "folds.csv").write_text("\n".join(["image,group,fold", *rows, ""]))
        config = replace(config, init=str(parent))
        with pytest.raises(InputError, match="leak: its fold"):
            train(tmp_path / "run", [0], config)


class TestExtra:
    @pytest.fixture
    def pred(self, photos: list[Photo], tiles: Competition, tmp_path: Path) -> Path:
        """Masks of the last three photos, the last of which is doubtful."""
        pred = tmp_path / "pred"
        record = Record(competition=tiles.slug)
        with pred_folder.begun(pred, record):
            for photo, dice in zip(photos[10:], (0.995, 0.992, 0.9), strict=True):
                assert photo.mask is not None
                notes = {"area": 0.2, "expected_dice": dice, "photo_sha256": sha256(photo.path)}
                write_mask(pred_folder.mask_path(pred, photo.stem), read_mask(photo.mask), notes)
            pred_folder.finish(pred, record, photos[10:])
        return pred

    def test_extra_masks_are_trained_on_if_confident_and_never_held_out(
        self, photos: list[Photo], tiles: Competition, config: TrainingConfig, pred: Path, tmp_path: Path, capsys: Any
    ) -> None:
        known = photos[:9]
        folds = {photo.stem: number % 3 for number, photo in enumerate(known)}
        config = replace(config, extra=str(pred), extra_confidence=0.99)
        train_one_by_one(CrossValidation(tmp_path / "run", tiles, tmp_path, known, folds, config), [0], HERE)
        assert f"fold 0: 6 photos and 2 of {pred} to train on, 3 held out" in capsys.readouterr().out
        assert set(run_folder.read_oof(tmp_path / "run", [0])["image"]) == {"0", "3", "6"}

    def test_extra_masks_that_changed_between_two_folds_are_refused(
        self, photos: list[Photo], tiles: Competition, config: TrainingConfig, pred: Path, tmp_path: Path
    ) -> None:
        known = photos[:9]
        folds = {photo.stem: number % 3 for number, photo in enumerate(known)}
        config = replace(config, extra=str(pred), extra_confidence=0.99)
        work = CrossValidation(tmp_path / "run", tiles, tmp_path, known, folds, config)
        train_one_by_one(work, [0], HERE)
        notes = {"expected_dice": 0.992, "photo_sha256": sha256(photos[11].path)}
        write_mask(pred_folder.mask_path(pred, "11"), np.ones((20, 30), dtype=bool), notes)
        with pytest.raises(InputError, match=r"begun with other photos or masks \(1 masks changed: 11\)"):
            train_one_by_one(work, [1], HERE)
        assert run_folder.finished_folds(tmp_path / "run") == [0]

    def test_photos_of_ones_own_may_be_extra(
        self, photos: list[Photo], tiles: Competition, config: TrainingConfig, pred: Path, tmp_path: Path, capsys: Any
    ) -> None:
        """They are not named as the competition's, and so of none of its groups."""
        work = self.of_groups(photos[:9], tiles, replace(config, extra=str(pred), extra_confidence=0.99), tmp_path)
        train_one_by_one(work, [0], HERE)
        assert "photos and 2 of" in capsys.readouterr().out

    def test_a_held_out_photo_is_a_leak_also_under_a_name_of_ones_own(
        self, photos: list[Photo], tiles: Competition, config: TrainingConfig, pred: Path, tmp_path: Path
    ) -> None:
        known = [*photos[:8], replace(photos[8], path=photos[11].path)]
        work = self.of_groups(known, tiles, replace(config, extra=str(pred)), tmp_path)
        with pytest.raises(InputError, match="leak, as it holds photos that are held out in a fold: 11$"):
            train_one_by_one(work, [0], HERE)

    def of_groups(
        self, known: list[Photo], tiles: Competition, config: TrainingConfig, folder: Path
    ) -> CrossValidation:
        """A training on photos whose names have a group, unlike those of the masks."""
        named = [replace(photo, stem=f"tile_{photo.stem}") for photo in known]
        folds = {photo.stem: number % 3 for number, photo in enumerate(named)}
        spec = replace(tiles, stem_format="{group}_{view}")
        return CrossValidation(folder / "run", spec, folder, named, folds, config)

    def test_extra_masks_of_held_out_photos_are_refused(
        self, photos: list[Photo], tiles: Competition, config: TrainingConfig, pred: Path, tmp_path: Path
    ) -> None:
        folds = {photo.stem: number % 3 for number, photo in enumerate(photos)}
        work = CrossValidation(tmp_path / "run", tiles, tmp_path, photos, folds, replace(config, extra=str(pred)))
        with pytest.raises(InputError, match="leak, as it holds photos that are held out in a fold: 10, 11"):
            train_one_by_one(work, [0], HERE)


class TestInParallel:
    """The folds' processes only write down how they were called."""

    @pytest.fixture
    def work(self, tiles: Competition, config: TrainingConfig, tmp_path: Path) -> CrossValidation:
        return CrossValidation(tmp_path, tiles, tmp_path / "data", [], {}, config)

    @pytest.fixture
    def exits_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Let each fold's process end with its exit code."""
        monkeypatch.setattr(cross_validation, "visible_gpus", lambda _: ["0", "1"])
        monkeypatch.setattr(cross_validation, "on_a_gpu", lambda *given: float(given[4]))
        code = (
            "import json, pathlib, sys\n"
            "fold = sys.argv[sys.argv.index('--fold') + 1]\n"
            f"pathlib.Path({str(tmp_path)!r}, fold).write_text(json.dumps(sys.argv[2:]))\n"
            "sys.exit(json.loads(sys.argv[1])[int(fold)])"
        )

        def exits_with(*exit_codes: int) -> None:
            command = [sys.executable, "-c", code, json.dumps(exit_codes)]
            monkeypatch.setattr(cross_validation, "own_command", lambda *words: [*command, *words])

        return exits_with

    def test_every_parallel_fold_repeats_the_configuration_of_the_run_on_one_gpu(
        self, work: CrossValidation, exits_with: Any, tmp_path: Path
    ) -> None:
        exits_with(0, 0)
        execution = Execution(devices="2", nodes=2, workers=3, compiled=True, pictures_every=5, wandb="cars")
        train_in_parallel(work, [0, 1], replace(execution, parallel_folds=True, save_oof_probabilities=True))
        command, *given = json.loads((tmp_path / "1").read_text())
        assert command == "train"
        folder = ["--data", str(tmp_path / "data"), "--out", str(tmp_path), "--fold", "1"]
        decided = ["--config", str(tmp_path / "config.json"), "--competition", str(tmp_path / "competition.json")]
        machine = ["--devices", "1", "--workers", "3", "--compile"]
        beside = ["--pictures-every", "5", "--wandb", "cars", "--save-oof-probabilities", "--no-report"]
        assert given == [*folder, *decided, *machine, *beside]

    def test_each_parallel_fold_gets_the_hours_that_are_left(
        self, work: CrossValidation, exits_with: Any, tmp_path: Path
    ) -> None:
        exits_with(0)
        train_in_parallel(work, [0], HERE, deadline=time.monotonic() + 3600)
        given = json.loads((tmp_path / "0").read_text())
        assert 0.9 < float(given[given.index("--max-hours") + 1]) < 1

    def test_the_hours_of_parallel_folds_are_those_of_the_busiest_gpu(
        self, work: CrossValidation, exits_with: Any, capsys: Any
    ) -> None:
        """Three folds of one epoch, which takes an hour here, on two GPUs."""
        exits_with(0, 0, 0)
        train_in_parallel(work, [0, 1, 2], replace(HERE, max_hours=1.5), deadline=time.monotonic() + 5400)
        said = "about 2.0 h for 3 of 3 folds on this machine, more than --max-hours allows: the same command continues"
        assert f"warning: {said}, about 2 times in all" in capsys.readouterr().err

    def test_parallel_folds_that_ran_out_of_time_are_distinguished_from_those_that_failed(
        self, work: CrossValidation, exits_with: Any
    ) -> None:
        exits_with(75, 0, 75)
        with pytest.raises(OutOfTimeError, match="stopped before 2 of 3 folds were done"):
            train_in_parallel(work, [0, 1, 2], HERE)
        exits_with(75, 1, 0)
        with pytest.raises(InputError, match="1 of 3 folds failed: fold 1; see above"):
            train_in_parallel(work, [0, 1, 2], HERE)

    def test_without_a_gpu_parallel_folds_are_refused(
        self, work: CrossValidation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cross_validation, "visible_gpus", lambda _: [])
        with pytest.raises(InputError, match="without it the folds are trained one by one"):
            train_in_parallel(work, [0], HERE)
