import os
import pickle
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kaggle_tools import metrics
from kaggle_tools.errors import InputError, OutOfTimeError
from kaggle_tools.training.callbacks import TimeLimit
from kaggle_tools.training.checkpoints import Checkpoint, CheckpointFiles

REPEATABLE = ("model.safetensors", "metrics.csv", "oof.csv", "oof_histograms.npz")


class Until(TimeLimit):
    """Stops before this epoch, counted from 0."""

    def __init__(self, epoch: int) -> None:
        super().__init__(deadline=float("inf"), efforts=[1.0] * 9)
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if pl_module.current_epoch == self.epoch:
            raise OutOfTimeError("stopped")


@pytest.fixture
def stopped(fold: Any, tmp_path: Path) -> Callable[..., Path]:
    """Trains as `fold` does, but only so many epochs."""

    def train(name: str, epochs: int, **options: Any) -> Path:
        with pytest.raises(OutOfTimeError):
            fold(name, time_limit=Until(epochs), **options)
        return tmp_path / name / "fold1"

    return train


@pytest.fixture
def rising_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that gets better with each epoch, whatever it learns."""
    calls = iter(range(1, 1000))
    monkeypatch.setattr(metrics, "dice", lambda counts: np.full(np.shape(counts.truth), next(calls) / 1000))


@pytest.fixture
def falling_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that gets worse with each epoch, whatever it learns."""
    calls = iter(range(1000))
    monkeypatch.setattr(metrics, "dice", lambda counts: np.full(np.shape(counts.truth), 1 - next(calls) / 1000))


def saved(folder: Path, name: str) -> Path:
    """Where the checkpoint of this name is."""
    return folder / "checkpoints" / f"{name}.ckpt"


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def same_files(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in REPEATABLE)


class TestPaths:
    def state(self, folder: Path, monitor: str | None = "val_dice") -> dict[str, Any]:
        checkpoints = Checkpoint(folder, "best", monitor)
        checkpoints.best_model_path = checkpoints.kth_best_model_path = str(folder / "best.ckpt")
        checkpoints.best_model_score = torch.tensor(0.75)
        checkpoints.best_k_models = {str(folder / "best.ckpt"): torch.tensor(0.75)}
        return checkpoints.state_dict()

    @pytest.mark.parametrize("name", ["before", "after"])
    def test_the_best_epoch_is_known_after_the_run_was_moved(self, tmp_path: Path, name: str) -> None:
        state = self.state(tmp_path / "before")
        resumed = Checkpoint(tmp_path / name, "best", monitor="val_dice")
        resumed.load_state_dict(state)
        assert resumed.best_model_score == 0.75
        assert resumed.best_model_path == str(tmp_path / name / "best.ckpt")
        assert resumed.best_k_models == {str(tmp_path / name / "best.ckpt"): torch.tensor(0.75)}

    @pytest.mark.parametrize("theirs", ["../../victim", "best.ckpt", "timing.json", "/nowhere/../../../victim"])
    @pytest.mark.parametrize("monitor", ["val_dice", None])
    def test_no_path_is_taken_from_a_checkpoint(self, tmp_path: Path, theirs: str, monitor: str | None) -> None:
        path = str(tmp_path / theirs)
        names = ("best_model_path", "last_model_path", "kth_best_model_path", "dirpath")
        state = self.state(tmp_path) | dict.fromkeys(names, path) | {"best_k_models": {path: torch.tensor(0.75)}}
        resumed = Checkpoint(tmp_path / "run", "mine", monitor)
        resumed.load_state_dict(state)
        mine = str(tmp_path / "run" / "mine.ckpt")
        paths = {resumed.best_model_path, resumed.last_model_path, resumed.kth_best_model_path, *resumed.best_k_models}
        assert paths <= {mine, ""}
        assert resumed.dirpath == str(tmp_path / "run")

    def test_a_checkpoint_from_a_stranger_removes_nothing(
        self, fold: Any, stopped: Any, rising_dice: None, tmp_path: Path
    ) -> None:
        """Its paths lie in the folder of checkpoints as they are written, and outside of it as the system sees them."""
        victim = tmp_path / "victim"
        victim.mkdir()
        (victim / "thesis.txt").write_text("years of work")
        folder = stopped("run", 1)

        def attack(checkpoint: dict[str, Any]) -> None:
            path = str(folder / "checkpoints" / "nowhere" / ".." / ".." / ".." / ".." / "victim")
            paths = dict.fromkeys(["best_model_path", "last_model_path", "kth_best_model_path"], path)
            for name, state in checkpoint["callbacks"].items():
                if name.startswith("Checkpoint"):
                    state |= {**paths, "best_k_models": {path: torch.tensor(0.0)}}

        edit(saved(folder, "last"), attack)
        (folder / "checkpoints" / "nowhere").mkdir()
        with suppress(InputError):  # whether it is refused or not
            fold("run")
        assert (victim / "thesis.txt").read_text() == "years of work"


class TestWriting:
    @pytest.fixture
    def files(self) -> CheckpointFiles:
        return CheckpointFiles({"fold": 1, "width": 4})

    def test_checkpoints_are_written_in_their_own_folder_alone(
        self, fold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the folder for temporary files is on another disk, no file is moved from there in one step."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        folder = fold("run")
        assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]

    def test_a_checkpoint_that_cannot_be_replaced_ends_the_training(self, fold: Any, stopped: Any) -> None:
        folder = stopped("run", 1)
        last = saved(folder, "last")
        shutil.rmtree(folder / "checkpoints")
        (last / "in the way").mkdir(parents=True)
        with pytest.raises(InputError, match=r"(best|last)\.ckpt: cannot be written \(Is a directory\)\. The epochs"):
            fold("run")
        assert not (folder / "model.safetensors").exists()

    def test_a_checkpoint_is_the_one_before_until_the_next_one_is_whole(
        self, files: CheckpointFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "last.ckpt"
        files.save_checkpoint(contents(epoch=0), path)
        whole = Path.write_bytes

        def half(self: Path, data: Any) -> int:
            whole(self, bytes(data)[: len(data) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", half)
        with pytest.raises(InputError, match=r"last\.ckpt: cannot be written \(No space left on device\)"):
            files.save_checkpoint(contents(epoch=1), path)
        assert files.load_checkpoint(path)["epoch"] == 0
        assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]

    def test_a_training_killed_while_it_writes_a_checkpoint_continues_from_the_one_before(
        self, fold: Any, tmp_path: Path
    ) -> None:
        whole = fold("whole")
        child = os.fork()
        if child == 0:
            _kill_at_replacement(of="last.ckpt", time=2)
            fold("killed")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        folder = tmp_path / "killed" / "fold1"
        assert torch.load(saved(folder, "last"), weights_only=True)["epoch"] == 0
        assert same_files(fold("killed"), whole)
        assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def _kill_at_replacement(of: str, time: int) -> None:
    replace, seen = Path.replace, iter(range(1, 100))

    def killed(self: Path, target: Path) -> Path:
        if target.name == of and next(seen) == time:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = killed  # type: ignore[method-assign]


def contents(**parts: Any) -> dict[str, Any]:
    """The least that a checkpoint holds."""
    whole = {"epoch": 0, "global_step": 4, "state_dict": {"weight": torch.zeros(999)}, "callbacks": {}, "loops": {}}
    return {**whole, "optimizer_states": [], "lr_schedulers": [], **parts}


class Touch:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class TestReading:
    @pytest.fixture
    def files(self) -> CheckpointFiles:
        return CheckpointFiles({"fold": 1, "width": 4, "seed": 0})

    @pytest.fixture
    def path(self, files: CheckpointFiles, tmp_path: Path) -> Path:
        files.save_checkpoint(contents(), tmp_path / "last.ckpt")
        return tmp_path / "last.ckpt"

    def test_a_checkpoint_is_read_as_it_was_written(self, files: CheckpointFiles, path: Path) -> None:
        read = files.load_checkpoint(path)
        assert torch.equal(read["state_dict"]["weight"], torch.zeros(999))
        assert read["kaggle_tools"] == {"fold": 1, "width": 4, "seed": 0}

    @pytest.mark.parametrize("kept", [0, 1, 30, 500, -1])
    def test_a_checkpoint_that_is_cut_off_is_refused(self, files: CheckpointFiles, path: Path, kept: int) -> None:
        path.write_bytes(path.read_bytes()[:kept])
        self.refused(files, path, r"damaged \(")

    def test_a_changed_weight_is_noticed(self, files: CheckpointFiles, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[content.index(bytes(999 * 4)) + 400] = 63
        path.write_bytes(content)
        self.refused(files, path, r"damaged \(\S*data/0 in it has changed\)")

    @pytest.mark.parametrize(
        "made", [[], 3, {}, contents(epoch="1"), contents(loops=None)], ids=["list", "number", "empty", "text", "None"]
    )
    def test_a_file_of_torch_that_is_no_checkpoint_is_refused(
        self, files: CheckpointFiles, path: Path, made: Any
    ) -> None:
        torch.save(made, path)
        self.refused(files, path, r"damaged \(no .*in it\)")

    def test_nothing_in_a_checkpoint_is_run(self, files: CheckpointFiles, path: Path, tmp_path: Path) -> None:
        for save in (torch.save, lambda made, to: to.write_bytes(pickle.dumps(made))):
            save(contents(loops=Touch(tmp_path / "run")), path)
            self.refused(files, path, r"damaged \(")
        assert not (tmp_path / "run").exists()

    def test_a_small_file_cannot_ask_for_much_memory(self, files: CheckpointFiles, path: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as packed:
            for part in stored.namelist():
                packed.writestr(part, stored.read(part))
        (tmp_path / "z").replace(path)
        self.refused(files, path, r"damaged \(compressed\)")

    def test_a_named_pipe_is_not_waited_for(self, files: CheckpointFiles, path: Path) -> None:
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(InputError, match=f"^{path}: not a regular file$"):
            files.load_checkpoint(path)

    def test_what_takes_memory_without_contents_is_refused_before_it_is_unpickled(
        self, files: CheckpointFiles, path: Path, tmp_path: Path
    ) -> None:
        """`bytearray(4 * 10**12)`: torch takes it for harmless."""
        torch.save(contents(loops={"x": 1}), path)
        with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "z", "w") as changed:
            for part in stored.namelist():
                content = stored.read(part)
                if part.endswith("data.pkl"):
                    asks = b"cbuiltins\nbytearray\n" + pickle.dumps((4 * 10**12,), 2)[2:-1] + b"R"
                    content = content[:2] + asks + b"0" + content[2:]
                changed.writestr(part, content)
        (tmp_path / "z").replace(path)
        self.refused(files, path, r"damaged \(asks for memory\)")

    def test_lists_in_each_other_that_are_billions_of_values_are_refused(
        self, files: CheckpointFiles, path: Path
    ) -> None:
        laughs: list[Any] = [0.0] * 8
        for _ in range(11):
            laughs = [laughs] * 8
        torch.save(contents(loops={"x": laughs}), path)
        self.refused(files, path, r"damaged \(more than 1,000,000 values\)")

    @pytest.mark.parametrize(
        ("made_by", "named"),
        [
            ({"fold": 0, "width": 4, "seed": 0}, r"\(fold was 0, now 1\)"),
            ({"fold": 1, "width": 8, "seed": 7}, r"\(width was 8, now 4; seed was 7, now 0\)"),
        ],
    )
    def test_a_checkpoint_of_another_training_is_refused_with_the_difference(
        self, files: CheckpointFiles, path: Path, made_by: dict[str, int], named: str
    ) -> None:
        CheckpointFiles(made_by).save_checkpoint(contents(), path)
        with pytest.raises(InputError, match=rf"last\.ckpt: of another training {named}\. .*or delete {path.parent}"):
            files.load_checkpoint(path)

    def test_a_checkpoint_of_a_version_that_knew_fewer_settings_is_read(
        self, files: CheckpointFiles, path: Path
    ) -> None:
        for made_by in ({}, {"fold": 1}, {"fold": 1, "width": 4, "seed": 0, "phase of the moon": 3}):
            CheckpointFiles(made_by).save_checkpoint(contents(), path)
            files.load_checkpoint(path)
        torch.save(contents(), path)  # as before checkpoints said of which training they are
        files.load_checkpoint(path)

    def refused(self, files: CheckpointFiles, path: Path, reason: str) -> None:
        with pytest.raises(InputError, match=rf"^{path}: {reason}.*Delete it: the same command then continues from"):
            files.load_checkpoint(path)


class TestResuming:
    def test_each_checkpoint_is_read_once_to_find_out_from_which_to_continue(
        self, fold: Any, stopped: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stopped("run", 1)
        read, whole = [], CheckpointFiles.load_checkpoint

        def noted(self: CheckpointFiles, path: Any, *others: Any, **named: Any) -> dict[str, Any]:
            read.append(Path(path).name)
            return whole(self, path, *others, **named)

        monkeypatch.setattr(CheckpointFiles, "load_checkpoint", noted)
        fold("run")
        lightning, best_of_all = "last.ckpt", "best.ckpt"
        assert read == ["last.ckpt", "best.ckpt", lightning, best_of_all]

    @pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}], ids=["plain", "averaged"])
    def test_without_its_last_checkpoint_a_training_continues_from_the_best_one(
        self, options: dict[str, Any], fold: Any, stopped: Any, capsys: Any
    ) -> None:
        whole = fold("whole", **options)
        folder = stopped("run", 2, **options)
        saved(folder, "last").write_bytes(b"")
        with pytest.raises(InputError, match=r"last\.ckpt: damaged .* continues from best\.ckpt"):
            fold("run", **options)
        saved(folder, "last").unlink()
        capsys.readouterr()
        assert same_files(fold("run", **options), whole)
        begun = 1 + torch.load(saved(whole, "best"), weights_only=True)["epoch"]
        assert capsys.readouterr().out.startswith(f"epoch {begun + 1}/3") or begun == 3

    def test_a_training_that_an_older_version_began_is_continued(self, fold: Any, stopped: Any) -> None:
        """Its checkpoints do not say of which training they are."""
        whole = fold("whole")
        folder = stopped("run", 2)
        for name in ("best", "last"):
            edit(saved(folder, name), lambda checkpoint: checkpoint.pop("kaggle_tools"))
        assert same_files(fold("run"), whole)

    def test_a_training_killed_between_its_two_checkpoints_continues_from_the_newer_one(
        self, fold: Any, stopped: Any, rising_dice: None, capsys: Any
    ) -> None:
        folder = stopped("run", 1)
        first = saved(folder, "last").read_bytes()
        stopped("run", 2)
        saved(folder, "last").write_bytes(first)
        capsys.readouterr()
        fold("run")
        assert capsys.readouterr().out.startswith("epoch 3/3")

    def test_the_weights_of_an_epoch_are_not_taken_for_those_of_another(
        self, fold: Any, stopped: Any, rising_dice: None
    ) -> None:
        folder = stopped("run", 1)
        first = saved(folder, "best").read_bytes()
        stopped("run", 2)
        saved(folder, "best").write_bytes(first)
        refusal = r"best\.ckpt: not that of the best epoch \(val_dice is 0.0015 in it and was 0.00\d+\)\. Delete last"
        with pytest.raises(InputError, match=refusal):
            fold("run")
        saved(folder, "last").unlink()
        fold("run")
        assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [0, 1, 2]

    @pytest.mark.parametrize("damage", ["missing", "damaged"])
    def test_a_best_checkpoint_that_is_gone_is_named_before_the_training_goes_on(
        self, damage: str, fold: Any, stopped: Any, capsys: Any
    ) -> None:
        folder = stopped("run", 1)
        if damage == "missing":
            saved(folder, "best").unlink()
        else:
            saved(folder, "best").write_bytes(b"PK")
        capsys.readouterr()
        with pytest.raises(InputError, match=rf"best\.ckpt: {damage}.* Delete best\.ckpt and last\.ckpt: this fold is"):
            fold("run")
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("weights", "reason"), [(None, r"its weights do not fit \("), (np.nan, "its weights are NaN or infinite")]
    )
    def test_best_weights_that_cannot_be_used_are_named_before_the_training_goes_on(
        self, weights: float | None, reason: str, fold: Any, stopped: Any, capsys: Any
    ) -> None:
        folder = stopped("run", 1)

        def spoil(checkpoint: dict[str, Any]) -> None:
            state = checkpoint["state_dict"]
            name = next(iter(state))
            state[name] = torch.zeros(1) if weights is None else torch.full_like(state[name], weights)

        edit(saved(folder, "best"), spoil)
        capsys.readouterr()
        with pytest.raises(InputError, match=rf"best\.ckpt: {reason}.* Delete best\.ckpt and last\.ckpt"):
            fold("run")
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("options", "named"),
        [({"width": 6}, "width was 4, now 6"), ({"seed": 3, "lr": 0.5}, "lr was 0.01, now 0.5; seed was 0, now 3")],
        ids=["width", "seed"],
    )
    def test_a_fold_does_not_continue_with_other_settings(
        self, options: dict[str, Any], named: str, fold: Any, stopped: Any
    ) -> None:
        stopped("run", 1)
        with pytest.raises(InputError, match=rf"last\.ckpt: of another training \({named}\)"):
            fold("run", **options)

    def test_a_fold_does_not_continue_from_weights_that_saw_what_it_holds_out(
        self, fold: Any, stopped: Any, tmp_path: Path
    ) -> None:
        folder = stopped("run", 1)
        shutil.copytree(folder / "checkpoints", tmp_path / "run" / "fold2" / "checkpoints", dirs_exist_ok=True)
        with pytest.raises(InputError, match=r"of another training \(fold was 1, now 2; held_out was \w+, now \w+\)"):
            fold("run", number=2)

    @pytest.mark.parametrize(
        "part", ["state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step"]
    )
    def test_what_a_training_cannot_be_restored_from_is_named(self, part: str, fold: Any, stopped: Any) -> None:
        folder = stopped("run", 1)

        def spoil(checkpoint: dict[str, Any]) -> None:
            checkpoint[part] = {
                "state_dict": {"other": torch.zeros(1)},
                "optimizer_states": [{}],
                "lr_schedulers": [7],
                "loops": {"fit_loop": {}},
                "callbacks": {**checkpoint["callbacks"], "MetricsTable": {}},
                "epoch": 1,
                "global_step": 3,
            }[part]

        edit(saved(folder, "last"), spoil)
        with pytest.raises(InputError, match=r"last\.ckpt: .*Delete it: the same command then continues from best"):
            fold("run")

    @pytest.mark.parametrize("part", ["exp_avg", "betas", "best_score"])
    def test_what_the_first_gradient_step_cannot_use_is_named(self, part: str, fold: Any, stopped: Any) -> None:
        folder = stopped("run", 1, patience=9)

        def spoil(checkpoint: dict[str, Any]) -> None:
            optimizer = checkpoint["optimizer_states"][0]
            patience = next(state for name, state in checkpoint["callbacks"].items() if name.startswith("Patience"))
            where = {"exp_avg": optimizer["state"][0], "betas": optimizer["param_groups"][0], "best_score": patience}
            where[part][part] = {"exp_avg": torch.zeros(7), "betas": "ab", "best_score": "x"}[part]

        edit(saved(folder, "last"), spoil)
        with pytest.raises(InputError, match=r"last\.ckpt: cannot be continued from .*Delete it"):
            fold("run", patience=9)
