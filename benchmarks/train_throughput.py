"""How much of a training is the model itself: photos per second of the real training over those without data.

    python benchmarks/train_throughput.py DATA [--preset laptop] [--image-size 256x384] [--milesial CHECKOUT]

They take turns within one run, as the speed of a machine changes from minute to minute:

- real: the trainer of `train.py` on the photos in DATA, decoded, augmented and logged, after its first gradient steps;
- cached: the same, where the photos are in a cache (`train --cache`) by then;
- data-free: the same model, loss and optimiser on one batch that stays on the device;
- milesial: the training loop of a checkout of milesial/Pytorch-UNet on the same photos, model, size and batch.
  Its loop needs wandb and tqdm; both are replaced by what only counts its batches. Its photos are scaled by one
  factor, so DATA must hold photos of the shape of --image-size.
"""

import importlib
import io
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.config.execution import DEFAULT_WORKERS, Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.listing import Photo, training_photos
from kaggle_tools.models.segmenter import Segmenter, blueprint, build, design, recompute_levels
from kaggle_tools.options import parse_size
from kaggle_tools.results.fold_table import Split
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import best_device
from kaggle_tools.training.fold import callbacks_of, make_trainer
from kaggle_tools.training.optim import make_optimizer
from kaggle_tools.training.task import FoldData, SegmentationTask, loss_of, masked_photos, precision_of, quiet_lightning

CARVANA = packaged_competition(DEFAULT_SLUG)

WARM_UP_STEPS = 4


class Stopwatch(Callback):
    """Notes when each batch was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note it, once the device has finished."""
        _wait()
        self.times.append(time.perf_counter())


def real(photos: list[Photo], config: TrainingConfig, workers: int, steps: int, cache: Path | None = None) -> float:
    """Seconds for each photo in the real training; with a cache, in which they are put before."""
    needed = photos[: (steps + WARM_UP_STEPS) * config.batch_size]
    execution = Execution(devices="1", workers=workers, cache=None if cache is None else str(cache))
    if cache:
        kept = masked_photos(needed, config.image_size, config.fit, execution)
        for index in range(len(kept)):
            kept.pixels(index)
    task = SegmentationTask(_network(config), config)
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, _silence():
        data = FoldData(Split(needed, photos[: config.batch_size]), config, execution)
        callbacks = [*callbacks_of(Path(folder), data, execution), stopwatch]
        trainer = make_trainer(Path(folder), config, execution, callbacks)
        trainer.fit(task, datamodule=data)
    return _seconds_per_photo(stopwatch.times, config.batch_size)


def data_free(
    photos: list[Photo], config: TrainingConfig, steps: int, compiled: bool = False, recompute: int = 0
) -> float:
    """Seconds for each photo of the same model, loss and optimiser on one batch that stays on the device."""
    device, precision = best_device(), precision_of(config)
    model, loss = _network(config).to(device).train(), loss_of(config)
    recompute_levels(model, recompute)
    if compiled:
        model.compile()
    optimizer = make_optimizer(config, model.parameters())
    height, width = config.image_size or photos[0].size
    batch_B3HW = torch.randint(0, 256, (config.batch_size, 3, height, width), dtype=torch.uint8, device=device)
    batch_B3HW = batch_B3HW.to(memory_format=torch.channels_last)
    targets_B1HW = torch.rand(config.batch_size, 1, height, width, device=device).round()
    times = []
    for _ in range(steps + WARM_UP_STEPS):
        optimizer.zero_grad()
        half = torch.float16 if precision == "16-mixed" else torch.bfloat16
        with torch.autocast(device.type, dtype=half, enabled=precision != "32-true"):
            logits_B1HW = model(batch_B3HW)
        loss(logits_B1HW.float(), targets_B1HW).backward()
        optimizer.step()
        _wait()
        times.append(time.perf_counter())
    return _seconds_per_photo(times, config.batch_size)


def milesial(photos: list[Photo], config: TrainingConfig, steps: int, checkout: Path) -> float:
    """Seconds for each photo in the training loop of a checkout of milesial/Pytorch-UNet."""
    height, width = config.image_size or photos[0].size
    scale = width / photos[0].size[1]
    if (int(photos[0].size[0] * scale), int(photos[0].size[1] * scale)) != (height, width):
        raise typer.BadParameter(
            f"milesial's loop cannot bring {photos[0].size} to {(height, width)}: it keeps the shape"
        )
    if len(photos) * 0.9 < 5 * config.batch_size * (steps + WARM_UP_STEPS + 1):
        raise typer.BadParameter(f"{len(photos)} photos are too few for {steps} steps before the peer first evaluates")
    with tempfile.TemporaryDirectory() as folder, peer(checkout) as (module, counter):
        module.dir_img, module.dir_mask = Path(folder) / "imgs", Path(folder) / "masks"
        for path in (module.dir_img, module.dir_mask):
            path.mkdir()
        for photo in photos:  # all: its loop evaluates five times an epoch, which must not fall into what is timed
            (module.dir_img / photo.path.name).symlink_to(photo.path.resolve())
            assert photo.mask is not None
            (module.dir_mask / photo.mask.name).symlink_to(photo.mask.resolve())
        network = build(design(config)).net.to(memory_format=torch.channels_last)
        network.n_channels, network.n_classes = 3, 1
        counter.is_enough = lambda: len(counter.times) == steps + WARM_UP_STEPS
        cuda = best_device().type == "cuda"
        with suppress(EndOfMeasurement):
            module.train_model(
                network.to(best_device()),
                best_device(),
                1,
                config.batch_size,
                save_checkpoint=False,
                img_scale=scale,
                amp=cuda,
            )
        return _seconds_per_photo(counter.times, config.batch_size)


class EndOfMeasurement(Exception):  # noqa: N818  # not an error
    """Leaves the peer's loop when enough batches are counted."""


class BatchCounter:
    """Stands in for tqdm's bar in the peer's loop, and notes when each batch was done."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.is_enough: Callable[[], bool] = lambda: False
        """Asked after each batch whether to leave the loop."""

    def __call__(self, iterable: Any = None, **_: Any) -> Any:
        """The bar itself where there is nothing to iterate over."""
        return self if iterable is None else iterable

    def __enter__(self) -> "BatchCounter":
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def set_postfix(self, **_: Any) -> None:
        """Nothing: only batches are counted."""

    def update(self, _: int) -> None:
        """Note the time of a batch."""
        _wait()
        self.times.append(time.perf_counter())
        if self.is_enough():
            raise EndOfMeasurement


@contextmanager
def peer(checkout: Path) -> Iterator[tuple[Any, BatchCounter]]:
    """The peer's `train` module, with the counter in the place of tqdm and without wandb."""
    counter = BatchCounter()
    wandb = types.ModuleType("wandb")
    wandb.Histogram = wandb.Image = lambda *_: None  # type: ignore[attr-defined]
    wandb.init = lambda **_: types.SimpleNamespace(config={}, log=lambda *_: None)  # type: ignore[attr-defined]
    before = set(sys.modules)
    sys.modules["wandb"] = wandb
    sys.path.insert(0, str(checkout))
    try:
        module = importlib.import_module("train")
        module.tqdm = counter  # type: ignore[attr-defined]
        yield module, counter
    finally:
        sys.path.remove(str(checkout))
        for name in set(sys.modules) - before:
            if name.split(".")[0] in {"train", "unet", "utils", "evaluate", "wandb"}:
                del sys.modules[name]


def flop_per_photo(config: TrainingConfig, photos: list[Photo]) -> int:
    """Floating-point operations of forward and backward for one photo, counted without computing them."""
    height, width = config.image_size or photos[0].size
    model = blueprint(design(config))
    photo_13HW = torch.empty(1, 3, height, width, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(photo_13HW).sum().backward()
    return counter.get_total_flops()


def matmul_flops() -> float:
    """Floating-point operations a second that this machine reaches in a large matrix product."""
    device = best_device()
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        left @ right
        _wait()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def main(
    data: Annotated[Path, typer.Argument(help="Folder with the competition's data.")],
    preset: Annotated[str, typer.Option(help="Network, loss and augmentation.")] = "laptop",
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Pixels that the network sees.")] = "256x384",
    batch_size: Annotated[int, typer.Option(help="Photos a gradient step.")] = 4,
    steps: Annotated[int, typer.Option(help="Gradient steps of each contestant, each round.")] = 16,
    rounds: Annotated[int, typer.Option(help="How often they take turns.")] = 5,
    workers: Annotated[int, typer.Option(help="Processes that load photos.")] = DEFAULT_WORKERS,
    checkout: Annotated[Path | None, typer.Option("--milesial", help="A checkout of milesial/Pytorch-UNet.")] = None,
) -> None:
    """Measure, in turns."""
    size = parse_size("--image-size", image_size)
    config = replace(config_from(preset, CARVANA.slug, {}), image_size=size, batch_size=batch_size, epochs=1)
    photos = training_photos(CARVANA, data)
    memory.keep_freed_memory()
    contestants: dict[str, Callable[[Path], float]] = {
        "data-free": lambda _: data_free(photos, config, steps),
        "real": lambda _: real(photos, config, workers, steps),
        "cached": lambda folder: real(photos, config, workers, steps, folder / "cache"),
    }
    if checkout:
        contestants["milesial"] = lambda _: milesial(photos, config, steps, checkout)
    found: dict[str, list[float]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for name, measure in contestants.items():
                found[name].append(measure(Path(folder)))
                print(f"round {turn + 1} {name}: {1 / found[name][-1]:.2f} photos a second", flush=True)
    _report(found, flop_per_photo(config, photos), matmul_flops())


def _report(found: dict[str, list[float]], flop: int, peak: float) -> None:
    seconds = {name: statistics.median(values) for name, values in found.items()}
    for name, value in seconds.items():
        share = f"{flop / value / peak:.2f} of the matrix product's {peak / 1e9:.0f} GFLOP/s"
        print(f"{name}: {1 / value:.2f} photos a second, {share}")
    for name, other in (("real", "data-free"), ("cached", "real"), ("cached", "data-free"), ("real", "milesial")):
        if other in found:
            ratios = [theirs / ours for ours, theirs in zip(found[name], found[other], strict=True)]
            print(f"{name} / {other}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def _network(config: TrainingConfig) -> Segmenter:
    torch.manual_seed(0)
    return build(design(config)).to(memory_format=torch.channels_last)


def _seconds_per_photo(times: list[float], batch_size: int) -> float:
    """From the times at which batches were done."""
    return (times[-1] - times[WARM_UP_STEPS - 1]) / (len(times) - WARM_UP_STEPS) / batch_size


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def _silence() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), quiet_lightning():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    typer.run(main)
