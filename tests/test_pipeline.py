"""The whole way through the scripts as a user runs them, on a tiny drawn demo, in processes of their own."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import warm_python
from kaggle_server import KaggleServer
from PIL import Image
from safetensors.numpy import load_file

from kaggle_tools import rle
from kaggle_tools.kaggle_api import ledger

ROOT = Path(__file__).resolve().parents[1]
SIZE = (49, 73)
TINY = ["--preset", "demo", "--folds", "2", "--width", "8", "--depth", "2", "--image-size", "24x36"]
TINY += ["--epochs", "3", "--batch-size", "2", "--workers", "0", "--ema-decay", "0.9"]


IN_BATCHES = ["--batch-size", "3", "--save-probabilities", "--workers", "1"]

REPEATABLE = {".safetensors", ".csv", ".json", ".npz", ".png"}
"""Files in which the same training leaves the same bytes; checkpoints and logs hold times."""


class Demo(NamedTuple):
    data: Path
    run: Path
    pred: Path
    infer_says: str
    training_seconds: float


def run(*command: object) -> str:
    """What the command prints; it must succeed."""
    done = warm_python.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_in_fresh_python(*arguments: object) -> str:
    """The same in an interpreter that starts as for a user, with imports and a seed of its hashes of its own."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refusal(*command: object, exit_code: int = 1) -> str:
    """The one message with which the command fails, or stops."""
    done = warm_python.run(*command)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo drawn, trained in two folds, masked and turned into a CSV."""
    folder = tmp_path_factory.mktemp("demo")
    data, trained, pred = folder / "data", folder / "run", folder / "pred"
    height, width = SIZE
    options = ["--train-groups", 3, "--test-groups", 1, "--size", f"{height}x{width}"]
    run("-m", "kaggle_tools", "demo-data", data, *options)
    started = time.monotonic()
    run("train.py", "--data", data, "--out", trained, *TINY)
    seconds = time.monotonic() - started
    said = run("infer.py", trained, "--data", data, "--out", pred, "--workers", 1)
    run("submit.py", pred, "--data", data, "--dry-run")
    return Demo(data, trained, pred, said, seconds)


@pytest.fixture(scope="module")
def saved(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test photos masked in batches, the last of which is not full, with probabilities."""
    pred = tmp_path_factory.mktemp("saved")
    run("infer.py", demo.run, "--data", demo.data, "--out", pred, *IN_BATCHES)
    return pred


def mask_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) > 0


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


def test_each_training_photo_is_held_out_once_with_its_car(demo: Demo) -> None:
    folds = pd.read_csv(demo.run / "folds.csv")
    oof = pd.read_csv(demo.run / "oof.csv")
    photos = sorted(path.stem for path in (demo.data / "train").iterdir())
    assert list(folds.columns) == ["image", "group", "fold"]
    assert sorted(folds["image"]) == sorted(oof["image"]) == photos
    assert folds.groupby("group")["fold"].nunique().eq(1).all()
    assert oof.set_index("image")["fold"].to_dict() == folds.set_index("image")["fold"].to_dict()


def test_the_score_of_a_run_is_that_of_its_masks_at_the_photos_own_size(demo: Demo) -> None:
    summary = json.loads((demo.run / "summary.json").read_text())
    by_hand = {}
    for path in demo.run.glob("fold*/oof/masks/*.png"):
        truth = mask_of(demo.data / "train_masks" / f"{path.stem}_mask.gif")
        assert truth.shape == SIZE
        by_hand[path.stem] = dice(mask_of(path), truth)
    assert summary["score_mean"] == pytest.approx(np.mean(list(by_hand.values())))
    assert summary["dice_mean"] == summary["score_mean"]
    oof = pd.read_csv(demo.run / "oof.csv").set_index("image")
    assert oof["dice"].to_dict() == pytest.approx(by_hand)


def test_a_trained_fold_leaves_its_weights_curves_and_events(demo: Demo) -> None:
    for fold in (0, 1):
        folder = demo.run / f"fold{fold}"
        curves = pd.read_csv(folder / "metrics.csv")
        assert curves["epoch"].tolist() == [0, 1, 2]
        assert {"train_loss", "val_loss", "val_dice", "val_iou", "lr"} <= set(curves.columns)
        card = json.loads((folder / "model.json").read_text())
        assert (card["fold"], card["image_size"], card["architecture"]["width"]) == (fold, [24, 36], 8)
        assert list((folder / "tensorboard").glob("events*"))


def expected_score(demo: Demo) -> float:
    """That of the held-out photos at the threshold of the masks: the best one, or 0.5 where that is not sure to pay."""
    threshold = json.loads((demo.pred / "run.json").read_text())["threshold"]
    assert threshold in (0.5, json.loads((demo.run / "summary.json").read_text())["threshold"])
    curve = pd.read_csv(demo.run / "thresholds.csv").set_index("threshold")["score"]
    return float(curve[threshold])


def test_the_run_and_its_masks_have_pages(demo: Demo) -> None:
    summary = json.loads((demo.run / "summary.json").read_text())
    run_page, masks_page = ((folder / "report.html").read_text() for folder in (demo.run, demo.pred))
    assert f"{summary['score_mean']:.5f}" in run_page
    assert f"page: {demo.pred / 'report.html'}" in demo.infer_says
    assert f"expected score {expected_score(demo):.5f}" in masks_page
    for page in (run_page, masks_page):
        assert len(page) < 10_000_000
        assert "cannot be shown:" not in page


def test_the_weights_of_a_fold_are_those_of_its_best_epoch_not_of_its_last(demo: Demo) -> None:
    import torch

    for fold in (0, 1):
        folder = demo.run / f"fold{fold}"
        best_epoch = int(pd.read_csv(folder / "metrics.csv")["val_dice"].idxmax())
        checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
        assert checkpoint["epoch"] == best_epoch
        saved = load_file(folder / "model.safetensors")
        for name, tensor in saved.items():
            assert np.array_equal(checkpoint["state_dict"][f"model.net.{name}"].numpy(), tensor)


def test_config_json_is_enough_to_repeat_the_run(demo: Demo) -> None:
    config = json.loads((demo.run / "config.json").read_text())
    assert config["settings"]["seed"] == 0
    assert config["settings"]["image_size"] == [24, 36]
    assert config["command"].startswith("train.py --data")
    assert {"python", "torch", "lightning"} <= config["versions"].keys()
    assert "commit" in config


def test_a_finished_training_is_not_repeated(demo: Demo) -> None:
    weights = demo.run / "fold0" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert run("train.py", "--data", demo.data, "--out", demo.run, *TINY).count("finished before") == 2
    assert weights.stat().st_mtime_ns == before


def test_other_settings_for_an_existing_run_are_refused_and_named(demo: Demo) -> None:
    said = refusal("train.py", "--data", demo.data, "--out", demo.run, *TINY, "--lr", 0.5)
    assert "lr was 0.005, now 0.5" in said


def test_a_run_whose_masks_changed_is_refused_and_the_difference_named(demo: Demo, tmp_path: Path) -> None:
    data, trained = shutil.copytree(demo.data, tmp_path / "data"), shutil.copytree(demo.run, tmp_path / "run")
    first, second, *_ = sorted((data / "train_masks").iterdir())
    shutil.copy(second, first)
    said = refusal("train.py", "--data", data, "--out", trained, *TINY)
    stem = first.stem.removesuffix("_mask")
    assert said.startswith(f"error: {trained}: begun with other photos or masks (1 masks changed: {stem}). ")
    assert (trained / "data.csv").read_bytes() == (demo.run / "data.csv").read_bytes()


def test_a_run_is_not_made_in_a_folder_of_photos_or_masks(demo: Demo) -> None:
    for folder, holds in (
        (demo.data, "the photos"),
        (demo.data / "train_masks", "the photos"),
        (demo.pred, "masks of"),
    ):
        before = set(folder.iterdir())
        said = refusal("train.py", "--data", demo.data, "--out", folder, *TINY)
        assert said.startswith(f"error: --out {folder}: holds {holds}")
        assert set(folder.iterdir()) == before


def test_every_test_photo_has_a_mask_of_its_size_and_one_bit_a_pixel(demo: Demo) -> None:
    masks = sorted((demo.pred / "masks").iterdir())
    assert [path.stem for path in masks] == sorted(path.stem for path in (demo.data / "test").iterdir())
    for path in masks:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("1", (SIZE[1], SIZE[0]))


def test_run_json_records_what_made_the_masks(demo: Demo) -> None:
    record = json.loads((demo.pred / "run.json").read_text())
    summary = json.loads((demo.run / "summary.json").read_text())
    assert [(model["run"], model["fold"]) for model in record["models"]] == [("run", 0), ("run", 1)]
    assert (record["tta"], record["count"]) == ("hflip", 16)
    assert record["estimate"]["score"] == pytest.approx(expected_score(demo), abs=1e-6)
    (scores,) = record["cross_validation"]
    assert (scores["run"], scores["score_mean"]) == ("run", summary["score_mean"])
    assert scores["score_interval"] == summary["score_interval"]


def test_inference_that_is_run_again_makes_only_the_missing_masks(demo: Demo) -> None:
    lost = sorted((demo.pred / "masks").iterdir())[3]
    content = lost.read_bytes()
    lost.unlink()
    said = run("infer.py", demo.run, "--data", demo.data, "--out", demo.pred, "--workers", 1)
    assert said.startswith("1 of 16 photos")
    assert lost.read_bytes() == content


def test_inference_with_other_settings_into_the_same_folder_is_refused(demo: Demo) -> None:
    said = refusal("infer.py", demo.run, "--data", demo.data, "--out", demo.pred, "--tta", "none")
    assert "tta was hflip, now none" in said


def test_any_folder_of_photos_can_be_masked(demo: Demo, tmp_path: Path) -> None:
    Image.new("RGB", (50, 31), "gray").save(tmp_path / "mine.png")
    Image.new("RGB", (20, 44), "gray").save(tmp_path / "yours.jpg")
    out = tmp_path / "out"
    run("infer.py", demo.run, "--images", tmp_path, "--out", out, "--fold", 1, "--threshold", 0.4, "--batch-size", 2)
    assert mask_of(out / "masks" / "mine.png").shape == (31, 50)
    assert mask_of(out / "masks" / "yours.png").shape == (44, 20)


def test_the_csv_holds_the_masks_in_the_order_of_the_sample(demo: Demo) -> None:
    sample = pd.read_csv(demo.data / "sample_submission.csv")
    submission = pd.read_csv(demo.pred / "submission.csv", keep_default_na=False)
    assert submission["img"].tolist() == sample["img"].tolist()
    for name, text in zip(submission["img"], submission["rle_mask"], strict=True):
        assert np.array_equal(rle.decode(text, SIZE), mask_of(demo.pred / "masks" / f"{Path(name).stem}.png"))


def test_score_prints_the_dice_of_the_hidden_photos(demo: Demo) -> None:
    truth = demo.data / "hidden_truth.csv"
    said = run("-m", "kaggle_tools", "score", demo.pred / "submission.csv", truth)
    hidden = pd.read_csv(truth).set_index("img")["rle_mask"]
    expected = np.mean(
        [
            dice(mask_of(demo.pred / "masks" / f"{Path(name).stem}.png"), rle.decode(text, SIZE))
            for name, text in hidden.items()
        ]
    )
    assert f"score) {expected:.5f}" in said


def test_compare_shows_a_run_beside_itself(demo: Demo) -> None:
    said = run("-m", "kaggle_tools", "compare", demo.run, demo.run)
    summary = json.loads((demo.run / "summary.json").read_text())
    assert re.search(r"unet, width 8 .*unet, width 8", said)
    assert said.count(f"{summary['score_mean']:.5f}") == 3  # of both, and of the best
    assert "+0.00000" in said
    assert "; whether that is better than " in said


def test_masks_are_submitted_and_their_score_is_noted_in_the_ledger(
    demo: Demo, server: KaggleServer, ledger_path: Path
) -> None:
    said = run("submit.py", demo.pred, "--data", demo.data, "-m", "tiny demo", "--timeout", 60, "--force")
    assert f"expected leaderboard score: {expected_score(demo):.5f} (95 % interval" in said
    assert "public score 0.99612" in said
    assert len(server.submissions) == 1
    (entry,) = ledger.read(ledger_path)
    assert (entry.public_score, entry.runs) == (0.99612, ("run",))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_training_killed_again_and_again_ends_with_the_same_bytes(
    demo: Demo, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Both folds; killed once after the first checkpoint, then at random moments (`--kills` of them)."""
    arguments = ["train.py", "--data", demo.data, "--out", tmp_path, *TINY]
    moments = random.Random(0)
    for kill in range(1 + pytestconfig.getoption("--kills")):
        with warm_python.Process(*arguments) as killed:
            if kill == 0:
                wait_for(lambda: (tmp_path / "fold0" / "checkpoints" / "last.ckpt").exists())
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    killed.wait(timeout=moments.uniform(0, demo.training_seconds))
            killed.kill()
    run_in_fresh_python(*arguments)
    made = {path.relative_to(demo.run) for path in demo.run.rglob("*") if path.suffix in REPEATABLE and path.is_file()}
    made = {path for path in made if path.name not in ("config.json", "timing.json")}  # the command, and seconds
    assert {path.name for path in made} >= {"model.safetensors", "metrics.csv", "oof.csv", "summary.json"}
    for path in sorted(made):
        assert (tmp_path / path).read_bytes() == (demo.run / path).read_bytes(), path


@pytest.mark.slow
def test_two_processes_score_the_held_out_photos_as_one_does(demo: Demo, tmp_path: Path) -> None:
    """Trained before, the fold is only scored again: each process takes half of the photos."""
    shutil.copytree(demo.run, tmp_path / "run")
    fold = tmp_path / "run" / "fold0"
    before = pd.read_csv(fold / "oof.csv").set_index("image")
    (fold / "oof.csv").unlink()
    shutil.rmtree(fold / "oof")
    said = run(
        "train.py", "--data", demo.data, "--out", tmp_path / "run", *TINY, "--fold", 0, "--devices", 2, "--workers", 1
    )
    after = pd.read_csv(fold / "oof.csv").set_index("image")
    pd.testing.assert_frame_equal(after, before, check_like=True, rtol=0, atol=1e-6)
    assert len(list((fold / "oof" / "masks").iterdir())) == len(before)
    assert said.count("held-out photos") == 1


class TestTwoProcesses:
    """They train together, without a GPU: what happens between them is the same."""

    TRAIN = ("--preset", "demo", "--folds", 2, "--fold", 0, "--image-size", "32x48", "--no-report", "--devices", 2)

    def command(self, demo: Demo, out: Path, *options: object) -> list[object]:
        return ["train.py", "--data", demo.data, "--out", out, *self.TRAIN, *options]

    @pytest.mark.slow
    def test_weights_that_no_answer_depends_on_do_not_end_the_training(self, demo: Demo, tmp_path: Path) -> None:
        options = ["--model", "smp:Unet/efficientnet-b0", "--epochs", 1, "--batch-size", 4]
        assert "fold 0:" in run(*self.command(demo, tmp_path, *options))

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize("held_out", [False, True])
    def test_a_photo_that_one_of_them_cannot_read_ends_both_with_one_message(
        self, held_out: bool, workers: int, demo: Demo, tmp_path: Path
    ) -> None:
        shutil.copytree(demo.data, tmp_path / "data")
        demo = demo._replace(data=tmp_path / "data")
        said, wrong = tmp_path / "out", tmp_path / "err"
        command = self.command(demo, tmp_path / "run", "--batch-size", 2, "--epochs", 500, "--workers", workers)
        with (
            said.open("w") as stdout,
            wrong.open("w") as stderr,
            warm_python.Process(*command, stdout=stdout, stderr=stderr) as started,
        ):
            wait_for(lambda: "epoch 1/" in said.read_text())
            folds = pd.read_csv(tmp_path / "run" / "folds.csv")
            stem = folds[(folds["fold"] == 0) == held_out]["image"].iloc[1]
            (demo.data / "train" / f"{stem}.jpg").write_bytes(b"no photo")
            assert started.wait(300) == 1
        (line,) = (line for line in wrong.read_text().splitlines() if not line.startswith("warning: "))
        assert line.startswith(f"error: {demo.data / 'train' / stem}.jpg: ")

    @pytest.mark.slow
    @pytest.mark.parametrize("killed", ["first", "second"])
    def test_after_the_kill_of_one_of_them_the_other_ends_and_the_same_command_goes_on(
        self, killed: str, demo: Demo, tmp_path: Path
    ) -> None:
        said, wrong = tmp_path / "out", tmp_path / "err"
        command = self.command(demo, tmp_path / "run", "--batch-size", 4, "--epochs", 20, "--workers", 0)
        words = [sys.executable, *map(str, command)]
        with (
            said.open("w") as stdout,
            wrong.open("w") as stderr,
            subprocess.Popen(words, cwd=ROOT, stdout=stdout, stderr=stderr) as started,
        ):
            wait_for(lambda: "epoch 1/" in said.read_text())
            (other,) = processes_of(str(tmp_path)) - {started.pid}
            os.kill(started.pid if killed == "first" else other, signal.SIGKILL)
            assert started.wait(300) != 0
            wait_for(lambda: not processes_of(str(tmp_path)), 300)
        assert wrong.read_text().count("error: ") == (killed == "second")
        assert "Traceback" not in wrong.read_text()
        again = run(*command)
        assert "epoch 1/" not in again
        assert "epoch 20/20" in again


def processes_of(text: str) -> set[int]:
    """The training processes that still run with this in their command line."""
    listed = subprocess.run(["ps", "-ewwo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return {int(pid) for pid, state, args in rows if text in args and "train" in args and state[0] != "Z"}


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_photos_that_cannot_be_read_are_named_after_the_others_are_masked(demo: Demo, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    whole = sorted((demo.data / "test").iterdir())[:3]
    for path in whole:
        shutil.copy(path, photos)
    content = whole[0].read_bytes()
    (photos / "0_cut.jpg").write_bytes(content[: len(content) // 2])
    (photos / "1_header.jpg").write_bytes(b"no photo" + content)
    said = refusal("infer.py", demo.run, "--images", photos, "--out", out, "--workers", 1)
    lines = said.splitlines()
    assert lines[0] == "error: 2 photos could not be masked; repair them, and the same command continues:"
    assert lines[1] == f"  {photos / '0_cut.jpg'}: not a photo that can be read; fetch it again"
    assert lines[2].startswith(f"  {photos / '1_header.jpg'}: not an image that can be read (")
    assert len(lines) == 3
    assert {path.stem for path in (out / "masks").iterdir()} == {path.stem for path in whole}
    for path in whole:
        name = Path("masks") / f"{path.stem}.png"
        assert (out / name).read_bytes() == (demo.pred / name).read_bytes()
    assert sorted(pd.read_csv(out / "photos.csv")["image"]) == [path.stem for path in whole]
    assert json.loads((out / "run.json").read_text())["count"] == 3


def files_of(pred: Path) -> dict[Path, bytes]:
    """All that is in the folder, but for the locks, the page, which names the hour, and what submit.py made of it."""
    files = (path for path in pred.rglob("*") if path.is_file() and not re.fullmatch(LOCK, path.name))
    files = (path for path in files if path.name != "report.html")
    return {path.relative_to(pred): path.read_bytes() for path in files if not path.name.startswith("subm")}


LOCK = r"\.process[01]\.lock"


@pytest.mark.slow
def test_inference_in_two_processes_stops_in_both_and_then_makes_the_masks_of_one(
    demo: Demo, saved: Path, tmp_path: Path
) -> None:
    arguments = ["infer.py", demo.run, "--data", demo.data, "--out", tmp_path, *IN_BATCHES, "--devices", 2]
    said = refusal(*arguments, "--max-hours", 0, exit_code=75)
    assert said == "stopped before all photos were masked, as --max-hours asks; the same command continues\n"
    stems = sorted(path.stem for path in (demo.data / "test").iterdir())
    # each process has made its first batch of three photos
    assert {path.stem for path in (tmp_path / "masks").iterdir()} == set(stems[:6])
    said = run(*arguments)
    assert "10 of 16 photos to mask with 2 networks, shared by 2 processes" in said
    assert said.count(f"{tmp_path}: 16 masks") == 1
    assert files_of(tmp_path) == files_of(saved)
    assert len([path for path in tmp_path.iterdir() if re.fullmatch(LOCK, path.name)]) == 2


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("options", [["--workers", "0"], IN_BATCHES], ids=["one by one", "in batches"])
def test_an_inference_killed_again_and_again_ends_with_the_same_bytes(
    demo: Demo, saved: Path, tmp_path: Path, options: list[str], pytestconfig: pytest.Config
) -> None:
    """Killed `--kills` times at random moments after a new mask appeared; where it had ended, another one is begun."""
    expected = files_of(saved if options is IN_BATCHES else demo.pred)
    arguments = ["infer.py", demo.run, "--data", demo.data, *options, "--out"]
    moments = random.Random(0)
    out = tmp_path / "pred"
    for kill in range(pytestconfig.getoption("--kills")):
        if ended_before_kill(out, [*arguments, out], moments.uniform(0, 0.1)):
            assert files_of(out) == expected
            out = tmp_path / f"pred{kill}"
    run(*arguments, out)
    assert files_of(out) == expected


def ended_before_kill(pred: Path, command: list[object], seconds: float) -> bool:
    """Start an inference and kill it so many seconds after it made a mask, unless it has ended."""

    def masks() -> int:
        return len(list(pred.glob("masks/*.png")))

    before = masks()
    with warm_python.Process(*command) as killed:
        wait_for(lambda: killed.poll() is not None or masks() > before)
        time.sleep(seconds)
        killed.kill()
    return killed.returncode == 0


HELP = """
import runpy, sys
sys.argv = ["command", "--help"]
try:
    {start}
finally:
    print("heavy:", sorted({{"torch", "pandas", "numpy", "cv2", "kaggle"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize("script", ["train.py", "infer.py", "submit.py", "kaggle_tools"])
def test_help_imports_no_large_library(script: str) -> None:
    start = f"runpy.run_path({script!r}, run_name='__main__')"
    if script == "kaggle_tools":
        start = f"runpy.run_module({script!r}, run_name='__main__')"
    said = run_in_fresh_python("-c", HELP.format(start=start))
    assert "Usage" in said
    assert "heavy: []" in said


def test_the_page_of_masks_loads_no_library_that_it_does_not_need(demo: Demo) -> None:
    """Of those that take half a second or more."""
    code = f"""
import sys
sys.argv = ["kaggle_tools", "report", "--pred", {str(demo.pred)!r}, "--data", {str(demo.data)!r}]
from kaggle_tools.__main__ import main
try:
    main()
finally:
    print("heavy:", sorted({{"torch", "sklearn", "scipy"}} & sys.modules.keys()))
"""
    assert run_in_fresh_python("-c", code).splitlines()[-1] == "heavy: []"


def test_submit_never_loads_torch(demo: Demo) -> None:
    code = f"""
import runpy, sys
sys.argv = ["submit.py", {str(demo.pred)!r}, "--data", {str(demo.data)!r}, "--dry-run"]
try:
    runpy.run_path("submit.py", run_name="__main__")
finally:
    print("torch" in sys.modules)
"""
    said = run_in_fresh_python("-c", code)
    assert said.splitlines()[-2:] == ["dry run: nothing was sent", "False"]
