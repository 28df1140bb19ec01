"""What only a GPU can show: `pytest -m gpu` on a machine with CUDA. Elsewhere these tests are skipped.

Everything goes through the commands, on the drawn demo. With two GPUs, also what happens between them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from known_competitions import CARVANA
from PIL import Image
from safetensors.torch import load_file, save_file

from kaggle_tools.config.presets import config_from
from kaggle_tools.models.segmenter import build, design
from kaggle_tools.system.hardware import GIB
from kaggle_tools.training.task import loss_of

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS, reason="this machine has no GPU with CUDA"),
    pytest.mark.filterwarnings("default"),  # of libraries that only a GPU brings along
]
two_gpus = pytest.mark.skipif(GPUS < 2, reason=f"needs two GPUs, this machine has {GPUS}")

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--preset", "demo", "--folds", "2", "--fold", "0", "--image-size", "96x144", "--epochs", "3", "--no-report"]
SHARED = [*SMALL, "--devices", "2", "--batch-size", "8"]
ENDS = 90.0
"""Seconds after which a process that should have ended hangs."""


def start(*words: object) -> "subprocess.Popen[str]":
    """A command, in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(*words: object) -> str:
    """What a command prints; it must succeed."""
    with start(*words) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn demo: twelve cars to train on."""
    folder = tmp_path_factory.mktemp("gpu") / "data"
    run("-m", "kaggle_tools", "demo-data", folder)
    return folder


def curve(out: Path, fold: int = 0) -> pd.DataFrame:
    return pd.read_csv(out / f"fold{fold}" / "metrics.csv")


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        (["--precision", "bf16-mixed"], "bf16-mixed"),
        (["--precision", "16-mixed"], "16-mixed"),
        (["--precision", "32-true"], "32-true"),
        (["--ema-decay", "0.9"], None),
        (["--compile"], None),
        (["--recompute", "2"], None),
        (["--accumulate", "2", "--batch-size", "4"], None),
        (["--lovasz-weight", "0.5", "--border-weight", "1"], None),
        (["--model", "smp:Unet/resnet18"], None),
        (["--batch-size", "auto"], None),
    ],
    ids=lambda value: "-".join(value).strip("-") if isinstance(value, list) else str(value),
)
def test_every_way_of_training_learns_on_a_gpu(
    options: list[str], precision: str | None, data: Path, tmp_path: Path
) -> None:
    run("train.py", "--data", data, "--out", tmp_path, *SMALL, "--devices", 1, *options)
    losses = curve(tmp_path)["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    timing = json.loads((tmp_path / "fold0" / "timing.json").read_text())
    assert torch.cuda.get_device_name(0) in timing["hardware"]
    assert precision in (None, timing["precision"])


def test_masks_of_held_out_photos_score_as_the_validation_did(data: Path, tmp_path: Path) -> None:
    """The network that was trained is the one that masks: at another size, so not to the digit."""
    run("train.py", "--data", data, "--out", tmp_path, *SMALL, "--devices", 1, "--epochs", 8)
    validated = curve(tmp_path)["val_dice"].max()
    assert pd.read_csv(tmp_path / "oof.csv")["dice"].mean() == pytest.approx(validated, abs=0.02)


def test_a_training_that_was_killed_goes_on_from_the_last_epoch(data: Path, tmp_path: Path) -> None:
    command = ["train.py", "--data", data, "--out", tmp_path, *SMALL, "--devices", 1, "--epochs", 6]
    with start(*command) as killed:
        assert killed.stdout
        for line in killed.stdout:
            if line.startswith("epoch 2/6"):
                break
        os.killpg(killed.pid, signal.SIGKILL)
    assert "epoch 1/6" not in (output := run(*command)), output
    assert curve(tmp_path)["epoch"].tolist() == list(range(6))


def test_a_gpu_and_the_cpu_make_the_same_masks(data: Path, tmp_path: Path) -> None:
    """Both in float32: but for rounding, which decides where the probability is next to the threshold."""
    run("train.py", "--data", data, "--out", tmp_path / "run", *SMALL, "--devices", 1, "--precision", "32-true")
    masks = {}
    for name, visible in (("gpu", None), ("cpu", "")):
        environment = os.environ | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
        words = [tmp_path / "run", "--data", data, "--out", tmp_path / name, "--threshold", "0.5"]
        subprocess.run([sys.executable, "infer.py", *map(str, words)], cwd=ROOT, env=environment, check=True)
        paths = sorted((tmp_path / name / "masks").iterdir())
        masks[name] = np.stack([np.asarray(Image.open(path)) for path in paths])
    share = float(np.mean(masks["gpu"] != masks["cpu"]))
    print(f"share of pixels in which the GPU and the CPU differ: {share:.2e}")
    assert share < 1e-3


def test_the_default_preset_trains_eight_whole_photos_at_once() -> None:
    needed = 70 * GIB
    if torch.cuda.get_device_properties(0).total_memory < needed:
        pytest.skip("needs a GPU of 80 GB")
    config = config_from("carvana", CARVANA.slug, {"batch_size": 8})
    model = build(design(config)).to("cuda", memory_format=torch.channels_last)
    photos_B3HW = torch.randint(0, 256, (8, 3, 1280, 1918), dtype=torch.uint8, device="cuda")
    targets_B1HW = torch.rand(8, 1, 1280, 1918, device="cuda").round()
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits_B1HW = model(photos_B3HW.to(memory_format=torch.channels_last))
    loss_of(config)(logits_B1HW.float(), targets_B1HW).backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters())
    print(f"8 photos of 1280x1918 in bfloat16: {torch.cuda.max_memory_allocated() / GIB:.1f} GiB")


def processes_of(group: int) -> list[int]:
    """Those of a group that still run."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return [int(process) for process, of_group, state in rows if int(of_group) == group and state[0] != "Z"]


def wait_until_ended(group: int) -> None:
    deadline = time.monotonic() + ENDS
    while processes_of(group):
        assert time.monotonic() < deadline, f"processes that do not end: {processes_of(group)}"
        time.sleep(0.2)


@two_gpus
class TestTwoGpus:
    @pytest.mark.parametrize("model", ["unet", "smp:Unet/tu-efficientnet_b0", "smp:Unet/efficientnet-b0"])
    def test_the_network_that_was_trained_is_the_one_that_masks(self, model: str, data: Path, tmp_path: Path) -> None:
        command = ["train.py", "--data", data, "--out", tmp_path, *SHARED, "--model", model, "--epochs", 8]
        run(*command)
        validated = curve(tmp_path)["val_dice"].max()
        assert pd.read_csv(tmp_path / "oof.csv")["dice"].mean() == pytest.approx(validated, abs=0.02)

    def test_two_gpus_learn_what_one_does(self, data: Path, tmp_path: Path) -> None:
        for name, devices in (("one", 1), ("two", 2)):
            options = ["--devices", devices, "--batch-size", 8, "--precision", "32-true", "--epochs", 1]
            run("train.py", "--data", data, "--out", tmp_path / name, *SMALL, *options)
        one, two = (curve(tmp_path / name)["train_loss"].iloc[0] for name in ("one", "two"))
        assert two == pytest.approx(one, rel=0.01)

    def test_after_the_kill_of_the_first_process_the_other_ends(self, data: Path, tmp_path: Path) -> None:
        command = ["train.py", "--data", data, "--out", tmp_path, *SHARED, "--epochs", 500]
        with start(*command) as first:
            assert first.stdout
            for line in first.stdout:
                if line.startswith("epoch 1/"):
                    break
            os.kill(first.pid, signal.SIGKILL)
            wait_until_ended(first.pid)

    def test_nan_on_one_gpu_ends_both_with_one_message(self, data: Path, tmp_path: Path) -> None:
        """The weights of another run, of which one is NaN."""
        run("train.py", "--data", data, "--out", tmp_path / "good", *SMALL, "--devices", 1, "--epochs", 1)
        path = tmp_path / "good" / "fold0" / "model.safetensors"
        weights = load_file(path)
        weights["head.bias"].fill_(float("nan"))
        save_file(weights, path)
        with start(
            "train.py", "--data", data, "--out", tmp_path / "bad", *SHARED, "--init", tmp_path / "good"
        ) as process:
            output, _ = process.communicate(timeout=ENDS)
        assert process.returncode == 1
        assert output.count("became NaN") == 1
        assert "Traceback" not in output
        wait_until_ended(process.pid)
