"""How much memory a training takes, computed without a GPU, and what computing levels twice saves and costs.

    python benchmarks/train_memory.py

First the peak of a gradient step of the default preset in bfloat16: weights, gradients, optimiser and what is kept for
the backward pass, on tensors without contents (PyTorch's MemTracker). A GPU takes more by what its libraries hold, a
few hundred MiB, and by what lies unused between its blocks. Then, on this machine, steps of the preset `laptop`
with and without `--recompute`, in turns.
"""

import statistics
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import typer
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.models.segmenter import build, design, recompute_levels
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import GIB
from kaggle_tools.training.optim import make_optimizer
from kaggle_tools.training.task import loss_of

CARVANA = packaged_competition(DEFAULT_SLUG)

LEVELS = (0, 1, 2, 5)
FULL_SIZE = (1280, 1918)
BATCHES = [
    *((1, FULL_SIZE), (2, FULL_SIZE), (4, FULL_SIZE), (8, FULL_SIZE)),
    *((4, (1024, 1536)), (8, (512, 768)), (16, (256, 384)), (32, (160, 240))),
]
ROUNDS = 11


def training_peak(config: TrainingConfig, batch_size: int, size: tuple[int, int], levels: int) -> int:
    """Bytes that the second gradient step holds at most, in bfloat16."""
    tracker = MemTracker()
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracker's, of modules that it looks at twice
        model = build(design(config)).train()
        recompute_levels(model, levels)
        optimizer, loss = make_optimizer(config, model.parameters()), loss_of(config)
        photos_B3HW = torch.zeros(batch_size, 3, *size, dtype=torch.uint8)
        targets_B1HW = torch.zeros(batch_size, 1, *size)
        tracker.track_external(model, optimizer)
        with tracker:
            for _ in range(2):
                tracker.reset_mod_stats()
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    logits_B1HW = model(photos_B3HW)
                optimizer.zero_grad()
                loss(logits_B1HW.float(), targets_B1HW).backward()
                optimizer.step()
    return _peak(tracker)


def masking_peak(config: TrainingConfig, size: tuple[int, int]) -> int:
    """Bytes that a network and one photo hold at most where it is masked, in bfloat16."""
    tracker = MemTracker()
    with FakeTensorMode(), torch.no_grad():
        model = build(design(config)).eval()
        photo_13HW = torch.zeros(1, 3, *size, dtype=torch.uint8)
        tracker.track_external(model)
        with tracker, torch.autocast("cpu", dtype=torch.bfloat16):
            model(photo_13HW).float().sigmoid()
    return _peak(tracker)


def _peak(tracker: MemTracker) -> int:
    return sum(of_device["Total"] for of_device in tracker.get_tracker_snapshot("peak").values())


def seconds_of_a_step(config: TrainingConfig, levels: int) -> float:
    """Of the second of two gradient steps: of one core's own time, so that other work beside it counts little."""
    torch.manual_seed(0)
    model = build(design(config)).train().to(memory_format=torch.channels_last)
    recompute_levels(model, levels)
    optimizer, loss = make_optimizer(config, model.parameters()), loss_of(config)
    assert config.image_size is not None
    photos_B3HW = torch.zeros(config.batch_size, 3, *config.image_size, dtype=torch.uint8)
    targets_B1HW = torch.zeros(config.batch_size, 1, *config.image_size)
    for _ in range(2):
        start = time.process_time()
        optimizer.zero_grad()
        loss(model(photos_B3HW.to(memory_format=torch.channels_last)), targets_B1HW).backward()
        optimizer.step()
    return time.process_time() - start


def main() -> None:
    """Print both tables as Markdown."""
    config = config_from("carvana", CARVANA.slug, {})
    print("| photos | GiB | " + " | ".join(f"`--recompute {levels}`" for levels in LEVELS[1:]) + " |")
    print("|---" * (len(LEVELS) + 1) + "|")
    for batch_size, size in BATCHES:
        peaks = (f"{training_peak(config, batch_size, size, levels) / GIB:.1f}" for levels in LEVELS)
        print(f"| {batch_size} of {size[0]}x{size[1]} | " + " | ".join(peaks) + " |", flush=True)
    print(f"\nmasking one photo of {FULL_SIZE[0]}x{FULL_SIZE[1]}: {masking_peak(config, FULL_SIZE) / GIB:.1f} GiB\n")
    memory.keep_freed_memory()
    torch.set_num_threads(1)
    small = replace(config_from("laptop", CARVANA.slug, {}), batch_size=2)
    turns = [[seconds_of_a_step(small, levels) for levels in LEVELS] for _ in range(ROUNDS)]
    for place, levels in enumerate(LEVELS[1:], start=1):
        ratios = [turn[place] / turn[0] for turn in turns]
        print(
            f"--recompute {levels}: {statistics.median(ratios):.2f} times as long a step "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    typer.run(main)
