import importlib.util
import json
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from known_competitions import CARVANA
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from kaggle_tools import metrics
from kaggle_tools.config.execution import Execution
from kaggle_tools.data.images import read_gray, read_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, KaggleToolsError, OutOfTimeError
from kaggle_tools.inference import out_of_fold, predict, write_masks
from kaggle_tools.inference.ensemble import Ensemble, load_members
from kaggle_tools.inference.write_masks import measured
from kaggle_tools.models import unet
from kaggle_tools.models.unet import recomputed
from kaggle_tools.results.pred_folder import Outputs
from kaggle_tools.system.hardware import fast_precision
from kaggle_tools.training import fold as one_fold
from kaggle_tools.training.callbacks import TimeLimit
from kaggle_tools.training.task import SegmentationTask


def weights(fold: Path) -> dict[str, Tensor]:
    return load_file(fold / "model.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "lr": 0.1},
        {"schedule": "cosine", "warm_up": 0.3, "clip_norm": 1.0},
        {"schedule": "constant", "lovasz_weight": 1.0},
        {"border_weight": 2.0, "border_width": 2, "optimizer": "adam"},
        {"accumulate": 2, "ema_decay": 0.9},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_way_of_training_learns(options: dict[str, Any], fold: Any) -> None:
    curve = pd.read_csv(fold("run", epochs=8, **options) / "metrics.csv")
    assert curve["train_loss"].iloc[-1] < 0.8 * curve["train_loss"].iloc[0]
    assert curve["val_dice"].iloc[-1] > curve["val_dice"].iloc[0]


def test_levels_that_are_computed_twice_change_no_byte(fold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the option is given to a training that was begun without it, as after a lack of memory."""
    kept = fold("kept", ema_decay=0.9)
    monkeypatch.setattr(TimeLimit, "on_train_epoch_start", one_epoch)
    with pytest.raises(OutOfTimeError):
        fold("recomputed", time_limit=TimeLimit(0.0, [1.0] * 9), ema_decay=0.9)
    calls = []
    monkeypatch.setattr(unet, "recomputed", lambda *given: (calls.append(given), recomputed(*given))[1])
    folder = fold("recomputed", Execution(devices="1", workers=0, recompute=2), ema_decay=0.9)
    assert calls
    for name in ("model.safetensors", "metrics.csv", "oof.csv"):
        assert (folder / name).read_bytes() == (kept / name).read_bytes(), name


def test_accumulated_batches_make_one_gradient_step(fold: Any) -> None:
    """Nine photos in batches of two: four whole batches, so two steps of two batches."""
    assert pd.read_csv(fold("run", accumulate=2) / "metrics.csv")["step"].tolist() == [2, 4, 6]
    assert pd.read_csv(fold("whole") / "metrics.csv")["step"].tolist() == [4, 8, 12]


def test_the_moving_average_of_the_weights_is_validated_and_kept(fold: Any) -> None:
    averaged = fold("averaged", ema_decay=0.5)
    last = torch.load(averaged / "checkpoints" / "last.ckpt", weights_only=True)
    average, current = last["state_dict"], last["current_model_state"]
    assert any(not torch.equal(average[name], current[name]) for name in average)
    best = torch.load(averaged / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, tensor in weights(averaged).items():
        assert torch.equal(tensor, best[f"model.net.{name}"])


@pytest.fixture
def falling_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is best after its first epoch and then gets worse, whatever it learns."""
    calls = iter(range(1, 100))
    monkeypatch.setattr(metrics, "dice", lambda counts: np.zeros(np.shape(counts.truth)) + 1 / next(calls))


def one_epoch(self: Any, *_: Any) -> None:
    """In the place of the clock: the second epoch of a command is too late."""
    if hasattr(self, "begun"):
        raise OutOfTimeError("after one epoch")
    self.begun = True


def test_the_seconds_of_training_and_the_hardware_are_recorded(fold: Any) -> None:
    started = time.monotonic()
    recorded = json.loads((fold("run") / "timing.json").read_text())
    assert 0 < recorded["training_seconds"] <= round(time.monotonic() - started, 1)
    assert (recorded["epochs"], recorded["devices"], recorded["precision"]) == (
        3,
        1,
        fast_precision(torch.device("cpu")),
    )
    assert "GiB of memory" in recorded["hardware"]


def test_the_seconds_of_training_before_an_interruption_count(fold: Any) -> None:
    """As if the epochs before had taken an hour."""
    folder = fold("run")
    last = folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] = 3600.0
    torch.save(checkpoint, last)
    (folder / "oof.csv").unlink()
    fold("run")
    assert 3600 <= json.loads((folder / "timing.json").read_text())["training_seconds"] < 4200


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema_decay": 0.9, "accumulate": 2, "patience": 2},
        {"ema_decay": 0.9, "image_size": (32, 48), "early_sizes": ((16, 24, 2),)},
        {"image_size": (32, 48), "crop": (16, 32), "unshuffle": 2},
    ],
    ids=["plain", "averaged", "growing", "cropped"],
)
def test_a_training_stopped_after_every_epoch_ends_with_the_same_bytes(
    options: dict[str, Any], fold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fold("whole", **options)
    monkeypatch.setattr(TimeLimit, "on_train_epoch_start", one_epoch)
    for _ in range(2):
        with pytest.raises(OutOfTimeError):
            fold("stopped", time_limit=TimeLimit(0.0, [1.0] * 9), **options)
    stopped = fold("stopped", time_limit=TimeLimit(0.0, [1.0] * 9), **options)
    for name in ("model.safetensors", "metrics.csv", "oof.csv", "oof_histograms.npz"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_last_epoch_is_kept_beside_the_best(fold: Any, falling_dice: None) -> None:
    folder = fold("run")
    assert pd.read_csv(folder / "metrics.csv")["val_dice"].idxmax() == 0
    best, last = (torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert (best["epoch"], last["epoch"]) == (0, 2)
    for name, tensor in weights(folder).items():
        assert torch.equal(tensor, best["state_dict"][f"model.net.{name}"])


class TestSizesThatGrow:
    EARLY: ClassVar[dict[str, Any]] = {
        "early_sizes": ((16, 24, 1), (24, 36, 1)),
        "image_size": (32, 48),
        "epochs": 4,
    }

    def test_each_epoch_trains_and_validates_at_its_size(self, fold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = set()
        computed = SegmentationTask.logits

        def logits(task: SegmentationTask, photos_B3HW: Tensor) -> Tensor:
            seen.add((task.current_epoch, task.training, *photos_B3HW.shape[-2:]))
            return computed(task, photos_B3HW)

        monkeypatch.setattr(SegmentationTask, "logits", logits)
        fold("run", Execution(devices="1", workers=1), **self.EARLY)
        sizes = [(16, 24), (24, 36), (32, 48), (32, 48)]
        assert seen == {(epoch, training, *size) for epoch, size in enumerate(sizes) for training in (True, False)}

    def test_parts_of_photos_are_trained_on_and_whole_ones_validated(
        self, fold: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Four photos of 16x24 have as many pixels as one of 32x48."""
        seen = set()
        computed = SegmentationTask.logits

        def logits(task: SegmentationTask, photos_B3HW: Tensor) -> Tensor:
            seen.add((task.training, *photos_B3HW.shape))
            return computed(task, photos_B3HW)

        monkeypatch.setattr(SegmentationTask, "logits", logits)
        fold("run", crop=(16, 24), image_size=(32, 48), batch_size=4, epochs=1)
        assert seen == {(True, 4, 3, 16, 24), (False, 1, 3, 32, 48)}

    def test_the_best_epoch_is_one_of_the_last_size(self, fold: Any, falling_dice: None) -> None:
        folder = fold("run", **self.EARLY)
        assert pd.read_csv(folder / "metrics.csv")["val_dice"].idxmax() == 0
        assert torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 2
        assert json.loads((folder / "model.json").read_text())["image_size"] == [32, 48]

    def test_patience_counts_from_the_first_epoch_of_the_last_size(self, fold: Any, falling_dice: None) -> None:
        folder = fold("run", **self.EARLY | {"epochs": 9, "patience": 1})
        assert len(pd.read_csv(folder / "metrics.csv")) == 4

    def test_the_rate_falls_over_the_epochs_of_all_sizes(self, fold: Any) -> None:
        options = {"schedule": "cosine", "warm_up": 0.0, "epochs": 4}
        growing = pd.read_csv(fold("growing", **self.EARLY | options) / "metrics.csv")
        assert growing["lr"].tolist() == pd.read_csv(fold("same", **options) / "metrics.csv")["lr"].tolist()


def test_an_epoch_is_saved_before_its_line_is_printed(fold: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The reader of the lines is gone before the second one, as after `| head -1`."""

    def closed(text: str = "", **_: Any) -> None:
        if "epoch 2/3" in text:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("builtins.print", closed)
    with pytest.raises(BrokenPipeError):
        fold("run")
    assert torch.load(tmp_path / "run" / "fold1" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


def test_patience_ends_a_training_without_progress_and_a_resumed_one_at_once(fold: Any, falling_dice: None) -> None:
    folder = fold("run", epochs=9, patience=2)
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [0, 1, 2]
    last = (folder / "checkpoints" / "last.ckpt").read_bytes()
    (folder / "oof.csv").unlink()
    fold("run", epochs=9, patience=2)
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [0, 1, 2]
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == last


def test_out_of_memory_in_a_later_epoch_continues_by_the_same_command(
    fold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another program takes memory: the batch did fit, so that it shall stay as it is."""
    step = SegmentationTask.training_step

    def fails(task: SegmentationTask, *batch: Any) -> Tensor:
        if task.current_epoch == 1:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return step(task, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", fails)
        with pytest.raises(InputError) as raised:
            fold("run")
    assert str(raised.value) == (
        "out of memory in epoch 2 (cuDNN error: CUDNN_STATUS_ALLOC_FAILED). Does another program use the GPU? "
        "The same command continues from the last whole epoch; --recompute 3 takes half the memory, "
        "for the same weights."
    )
    resumed, whole = fold("run"), fold("whole")
    for name in ("model.safetensors", "metrics.csv", "oof.csv"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


class TestUnderSlurm:
    @pytest.fixture(autouse=True)
    def slurm(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """As `srun` starts a job of one process; its signal to make room for others comes after the first epoch."""
        for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7"}.items():
            monkeypatch.setenv(name, value)
        for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
            monkeypatch.setenv(name, "0")
        monkeypatch.setenv("SLURM_NODELIST", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", "0")
        monkeypatch.chdir(tmp_path)

    def test_a_fold_never_begins_with_the_weights_of_another_one(
        self, fold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those have seen its held-out photos. Lightning would take up a checkpoint that it finds where it works."""
        first = fold("run", number=1, epochs=2)
        stray = torch.load(first / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (tmp_path, tmp_path / "run", tmp_path / "run" / "fold2"):
            folder.mkdir(exist_ok=True)
            torch.save(stray, folder / "hpc_ckpt_1.ckpt")
        second = fold("run", number=2, epochs=2)
        assert pd.read_csv(second / "metrics.csv")["epoch"].tolist() == [0, 1]
        monkeypatch.delenv("SLURM_NTASKS")
        without = fold("elsewhere", number=2, epochs=2)
        assert weights(second).keys() == weights(without).keys()
        assert all(torch.equal(tensor, weights(without)[name]) for name, tensor in weights(second).items())

    def test_lightning_does_not_answer_the_signals_of_slurm(self, fold: Any, tmp_path: Path) -> None:
        before = signal.getsignal(signal.SIGUSR1)
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SegmentationTask, "on_train_start", lambda _: seen.append(signal.getsignal(signal.SIGUSR1)))
            fold("run", epochs=1)
        assert seen == [before]
        assert list(tmp_path.rglob("hpc_ckpt*")) == []


class TestInit:
    def test_initial_weights_are_those_of_the_same_fold_of_the_other_run(self, fold: Any, tmp_path: Path) -> None:
        parent = fold("parent")
        child = fold("child", init=str(tmp_path / "parent"), image_size=(20, 30), lr=1e-12, epochs=1, weight_decay=0.0)
        for name, tensor in weights(child).items():
            if "running" not in name and "num_batches" not in name:
                assert torch.allclose(tensor, weights(parent)[name], atol=1e-6), name

    def test_initial_weights_of_another_network_are_refused(self, fold: Any, tmp_path: Path) -> None:
        fold("parent", epochs=1)
        with pytest.raises(
            InputError, match="its network is --model unet --width 4 --depth 2, not --model unet --width 5 --d"
        ):
            fold("child", init=str(tmp_path / "parent"), width=5)


def test_two_commands_do_not_train_one_fold(fold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_fold, "LOCK_SECONDS", 0.1)
    (tmp_path / "run" / "fold1").mkdir(parents=True)
    with (
        FileLock(tmp_path / "run" / "fold1" / ".lock"),
        pytest.raises(InputError, match="another command trains this fold"),
    ):
        fold("run")


def test_saved_probabilities_agree_with_the_out_of_fold_masks(fold: Any) -> None:
    folder = fold("run", Execution(devices="1", workers=0, save_oof_probabilities=True))
    maps = sorted((folder / "oof" / "probabilities").glob("*.png"))
    assert [path.stem for path in maps] == ["10", "11", "12", "9"]
    for path in maps:
        mask_HW, map_HW = read_mask(folder / "oof" / "masks" / path.name), read_gray(path)
        assert map_HW.shape == (20, 30)
        assert (map_HW[mask_HW] >= 127).all()
        assert (map_HW[~mask_HW] <= 128).all()


def test_pictures_of_held_out_photos_are_logged_to_tensorboard(fold: Any) -> None:
    folder = fold("run", Execution(devices="1", workers=0, pictures_every=2))
    events = b"".join(path.read_bytes() for path in (folder / "tensorboard").iterdir())
    assert b"held out/9" in events
    assert b"held out/0" not in events


class TestInterruption:
    @pytest.mark.parametrize(
        ("epochs", "kept"), [(0, "this fold from the start: no epoch is whole"), (1, "from the last whole epoch")]
    )
    def test_after_ctrl_c_the_message_says_from_where_the_same_command_continues(
        self, epochs: int, kept: str, fold: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(task: SegmentationTask, *_: Any) -> None:
            if task.current_epoch == epochs:
                raise KeyboardInterrupt

        monkeypatch.setattr(SegmentationTask, "on_train_batch_start", interrupt)
        handler = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(KaggleToolsError, match=f"^interrupted; the same command continues {kept}$"):
                fold("run")
        finally:
            signal.signal(signal.SIGINT, handler)  # which Lightning ignores from then on


def test_a_full_disk_at_the_end_of_a_training_is_named_and_the_same_command_ends_it(
    fold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        if b"__metadata__" in data[:99] or b"F32" in data[:999]:
            raise OSError(28, "No space left on device")
        return write(self, data)

    write = Path.write_bytes
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*/model\.safetensors'"):
            fold("run")
    folder = tmp_path / "run" / "fold1"
    assert not list(folder.glob("*model*"))
    fold("run")
    assert (folder / "oof.csv").exists()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="Weights & Biases is installed here")
def test_without_wandb_installed_the_message_says_what_to_install(fold: Any) -> None:
    with pytest.raises(InputError, match="pip install wandb"):
        fold("run", Execution(devices="1", workers=0, wandb="cars"))


class _NoFloat64(TorchDispatchMode):
    """An imitation of a device that lacks float64: fails at every operation that takes or gives it.

    What was fetched from the device may be added up in it.
    """

    operations = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = operation(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, results)) if isinstance(one, Tensor)]
        assert not any(one.dtype == torch.float64 for one in tensors), f"{operation} in float64"
        self.operations += 1
        return results


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9, "lovasz_weight": 1.0, "border_weight": 2.0}], ids=str)
def test_a_device_without_float64_trains_scores_and_masks(
    options: dict[str, Any], fold: Any, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Apple's GPUs."""
    fetched: list[Tensor] = []
    cpu = Tensor.cpu

    def fetching(tensor: Tensor) -> Tensor:
        fetched.append(cpu(tensor))
        return fetched[-1]

    def on_the_cpu(*tensors: Tensor) -> Tensor:
        storages = [one.untyped_storage().data_ptr() for one in fetched]
        assert tensors[0].untyped_storage().data_ptr() in storages
        with _disable_current_modes():
            return measured(*tensors)

    monkeypatch.setattr(predict, "has_float64", lambda _: False)
    monkeypatch.setattr(Tensor, "cpu", fetching)
    monkeypatch.setattr(out_of_fold, "measured", on_the_cpu)
    monkeypatch.setattr(write_masks, "measured", on_the_cpu)
    with _NoFloat64() as mode:
        folder = fold("run", epochs=1, **options)
        trained = mode.operations
        ensemble = Ensemble(load_members([folder.parent]), torch.device("cpu"), tta="hflip")
        assert write_masks.mask_photos(tmp_path, CARVANA, ensemble, photos, Outputs(), batch_size=2, workers=0) == []
    assert 0 < trained < mode.operations
    assert len(list((tmp_path / "masks").iterdir())) == len(photos)
