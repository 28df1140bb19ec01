"""What an hour buys: the score on held-out photos over the minutes of training, of contestants on the same photos.

    python benchmarks/time_to_score.py DATA OUT [--minutes 5,10,20] [--pretrained FILE] [--milesial CHECKOUT]

Each contestant trains on the photos of all folds but the first, and masks the photos of the first at their own size:

- unet, smp: `train.py --preset laptop --budget MINUTES --fold 0`, the network from scratch and one of
  segmentation-models-pytorch, whose whole command takes that long, its out-of-fold masks included;
- pretrained: the same smp network, its encoder with the weights of --pretrained;
- milesial: the training loop of a checkout of milesial/Pytorch-UNet with its defaults (a U-Net of width 64, RMSprop,
  batch 1, half the size), stopped after so many minutes;
- notebook: the loop that smp's documentation shows for binary masks (Adam 2e-4 with a cosine schedule, Dice loss,
  batch 16, photos at 256x256), with the network of `smp` and without pretrained weights, for so many minutes.

The time of the two loops is that of training alone: what their masks take is not counted. Both learn from the same
files. Writes OUT/scores.csv, a row for each contestant and time, and OUT/curve.svg. What is in OUT is not done again.
"""

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.train_throughput import EndOfMeasurement, peer
from kaggle_tools import metrics
from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.images import read_mask, read_photo, resize
from kaggle_tools.data.listing import Photo, training_photos
from kaggle_tools.results.fold_table import Split, folds_of, split
from kaggle_tools.results.run_folder import read_oof
from kaggle_tools.system.files import write_text
from kaggle_tools.system.hardware import best_device
from kaggle_tools.system.version import commit

CARVANA = packaged_competition(DEFAULT_SLUG)

ROOT = Path(__file__).resolve().parents[1]
FOLD = 0
SMP = "smp:Unet/timm-tf_efficientnet_lite0"
NOTEBOOK_SIZE, NOTEBOOK_BATCH = (256, 256), 16
MILESIAL_SCALE = 0.5

Mask = Callable[[Photo], NDArray[np.bool_]]
"""The mask, (H, W), of a photo."""
Snapshots = dict[float, Mask]
"""What a network answers after so many minutes of training."""


def of_ours(data: Path, out: Path, minutes: float, *options: str) -> float:
    """The mean out-of-fold Dice of a command of ours that may take so many minutes."""
    budget = ["--preset", "laptop", "--fold", str(FOLD), "--budget", f"{round(minutes * 60)}s"]
    command = [sys.executable, str(ROOT / "train.py"), "--data", str(data), "--out", str(out), *budget, *options]
    subprocess.run(command, check=True)
    return float(read_oof(out, [FOLD])["score"].mean())


class Marks:
    """Copies a network each time that one of the minutes is over; the time of the copies does not count."""

    def __init__(self, network: nn.Module, minutes: Sequence[float]) -> None:
        self.network = network
        self.left = sorted(minutes)
        self.copies: dict[float, nn.Module] = {}
        self.started = time.perf_counter()

    def look(self) -> bool:
        """Whether all minutes are over."""
        now = time.perf_counter()
        while self.left and now - self.started >= 60 * self.left[0]:
            self.copies[self.left.pop(0)] = copy.deepcopy(self.network).eval()
        self.started += time.perf_counter() - now
        return not self.left


def milesial(photos: Split, minutes: Sequence[float], checkout: Path) -> Snapshots:
    """Its own training loop, network and defaults, for the longest of these minutes."""
    with tempfile.TemporaryDirectory() as folder, peer(checkout) as (module, counter):
        module.dir_img, module.dir_mask = Path(folder) / "imgs", Path(folder) / "masks"
        for path in (module.dir_img, module.dir_mask):
            path.mkdir()
        for photo in photos.training:
            assert photo.mask is not None
            (module.dir_img / photo.path.name).symlink_to(photo.path.resolve())
            (module.dir_mask / photo.mask.name).symlink_to(photo.mask.resolve())
        network = module.UNet(n_channels=3, n_classes=2).to(best_device(), memory_format=torch.channels_last)
        marks = Marks(network, minutes)
        counter.is_enough = marks.look
        with suppress(EndOfMeasurement):
            module.train_model(network, best_device(), epochs=10**6, save_checkpoint=False, img_scale=MILESIAL_SCALE)
    return {after: _answers_of_milesial(network) for after, network in marks.copies.items()}


def _answers_of_milesial(network: nn.Module) -> Mask:
    """As its `predict.py` masks a photo: scaled by bicubic interpolation, logits brought back, the larger one taken."""

    def mask(photo: Photo) -> NDArray[np.bool_]:
        with Image.open(photo.path) as image:
            size = tuple(int(side * MILESIAL_SCALE) for side in image.size)
            pixels_HW3 = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        photos_13HW = torch.from_numpy(pixels_HW3.transpose(2, 0, 1)[None] / 255.0).float().to(best_device())
        logits_12HW = F.interpolate(network(photos_13HW), photo.size, mode="bilinear")
        return logits_12HW.argmax(dim=1)[0].bool().cpu().numpy()

    return mask


def notebook(photos: Split, minutes: Sequence[float]) -> Snapshots:
    """The loop of smp's example of binary segmentation, which learns at 256x256."""
    architecture, encoder = SMP.removeprefix("smp:").split("/")
    network = smp.create_model(architecture, encoder_name=encoder, encoder_weights=None, classes=1).to(best_device())
    loss = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)
    marks = Marks(network, minutes)
    seconds = 60 * max(minutes)
    for photos_B3HW, masks_B1HW in _endless_batches(photos.training):
        share = min(1.0, (time.perf_counter() - marks.started) / seconds)
        optimizer.param_groups[0]["lr"] = 1e-5 + (2e-4 - 1e-5) * (1 + np.cos(np.pi * share)) / 2
        optimizer.zero_grad()
        loss(network(_normalised(photos_B3HW)), masks_B1HW.to(best_device())).backward()
        optimizer.step()
        if marks.look():
            break
    return {after: _answers_of_smp(network) for after, network in marks.copies.items()}


def _endless_batches(photos: Sequence[Photo]) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in count():
        order = np.random.default_rng(epoch).permutation(len(photos))
        for at in range(0, len(order) - NOTEBOOK_BATCH + 1, NOTEBOOK_BATCH):
            some = [photos[index] for index in order[at : at + NOTEBOOK_BATCH]]
            yield torch.cat([_small(photo) for photo in some]), torch.cat([_small_mask(photo) for photo in some])


def _small(photo: Photo) -> Tensor:
    return torch.from_numpy(resize(read_photo(photo.path), NOTEBOOK_SIZE).transpose(2, 0, 1)[None].copy())


def _small_mask(photo: Photo) -> Tensor:
    assert photo.mask is not None
    mask_HW = resize(read_mask(photo.mask).view(np.uint8) * np.uint8(255), NOTEBOOK_SIZE)
    return torch.from_numpy(mask_HW[None, None] > 127).float()


def _normalised(photos_B3HW: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((photos_B3HW.float() / 255 - mean) / std).to(best_device())


def _answers_of_smp(network: nn.Module) -> Mask:
    def mask(photo: Photo) -> NDArray[np.bool_]:
        logits_11HW = F.interpolate(network(_normalised(_small(photo))), photo.size, mode="bilinear")
        return (logits_11HW[0, 0] > 0).cpu().numpy()

    return mask


@torch.inference_mode()
def score(mask: Mask, photos: Sequence[Photo]) -> float:
    """The mean Dice of masks at the photos' own size."""
    dice = []
    for photo in photos:
        assert photo.mask is not None
        dice.append(float(metrics.dice(metrics.overlap(mask(photo), read_mask(photo.mask)))))
    return float(np.mean(dice))


def draw(table: pd.DataFrame, path: Path) -> None:
    """The share of pixels that a Dice of 1 would have beside, on a logarithmic scale, over the minutes."""
    figure = Figure(figsize=(6.4, 4))
    axes = figure.subplots()
    for name, rows in table.groupby("contestant", sort=False):
        axes.plot(rows["minutes"], 1 - rows["dice"], "o-", label=name)
    axes.set(xlabel="minutes", ylabel="1 - mean Dice of held-out photos", xscale="log", yscale="log")
    axes.set_xticks(sorted(set(table["minutes"])), [f"{minutes:g}" for minutes in sorted(set(table["minutes"]))])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(
    data: Annotated[Path, typer.Argument(help="Folder with the competition's data.")],
    out: Annotated[Path, typer.Argument(help="Folder of the results.")],
    minutes: Annotated[str, typer.Option(help="For how long each contestant trains.")] = "5,10,20",
    pretrained: Annotated[Path | None, typer.Option(help="Weights for the encoder of smp.")] = None,
    checkout: Annotated[Path | None, typer.Option("--milesial", help="A checkout of milesial/Pytorch-UNet.")] = None,
    only: Annotated[str | None, typer.Option(help="Of the contestants only this one.")] = None,
) -> None:
    """Let them train, one after the other."""
    out.mkdir(parents=True, exist_ok=True)
    times = [float(part) for part in minutes.split(",")]
    photos = training_photos(CARVANA, data)
    fold_by_stem = folds_of(out, CARVANA, photos, config_from("laptop", CARVANA.slug, {}))
    parts = split(photos, fold_by_stem, FOLD)
    ours = {"unet": [], "smp": ["--model", SMP, "--batch-size", "4"]}
    if pretrained:
        ours["pretrained"] = [*ours["smp"], "--pretrained", str(pretrained)]
    peers: dict[str, Callable[[], Snapshots]] = {"notebook": lambda: notebook(parts, times)}
    if checkout:
        peers["milesial"] = lambda: milesial(parts, times, checkout)
    path = out / "scores.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []

    def keep(name: str, after: float, dice: float) -> None:
        rows.append({"contestant": name, "minutes": after, "dice": round(dice, 6), "commit": commit() or ""})
        table = pd.DataFrame(rows)
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
        draw(table, out / "curve.svg")
        print(f"{name} after {after:g} min: mean Dice {dice:.5f} of {len(parts.held_out)} held-out photos", flush=True)

    done = {(row["contestant"], row["minutes"]) for row in rows}
    for after in times:
        for name, options in ours.items():
            if (name, after) not in done and only in (None, name):
                keep(name, after, of_ours(data, out / f"{name}-{after:g}", after, *options))
    for name, train in peers.items():
        if not all((name, after) in done for after in times) and only in (None, name):
            for after, mask in train().items():
                keep(name, after, score(mask, parts.held_out))


if __name__ == "__main__":
    typer.run(main)
