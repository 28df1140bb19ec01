"""How much of inference is the network itself: photos per second from JPEG to PNG over those of the network alone.

    python benchmarks/infer_throughput.py RUN PHOTOS [--size 640x960] [--milesial CHECKOUT] [--ttach CHECKOUT]

RUN is a run with one trained fold, PHOTOS a folder of JPEGs; they are brought to --size beforehand, so that no
contestant has anything to resize: the peers' resizing is another. The contestants take turns within one run, and each
is timed from its first finished mask to its last, so that nobody's start counts:

- network: the forward passes alone, of every flip, on photos that are on the device already;
- unfolded: the same with the normalisation as layers of its own, not done by the convolutions;
- ours: `write_masks.mask_photos`, from JPEG files to PNG files;
- milesial: `predict.py` of a checkout of milesial/Pytorch-UNet with the same weights; a U-Net of width 64 with
  --tta none;
- notebook: the loop that people write with ttach (github.com/qubvel/ttach): read, flip, average, threshold, write.

Each peer's masks are compared with ours, pixel by pixel.
"""

import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, cast

import cv2
import numpy as np
import torch
import typer
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train_throughput import matmul_flops

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.config.execution import DEFAULT_WORKERS
from kaggle_tools.config.training import Tta
from kaggle_tools.data.images import read_mask, read_photo, resize
from kaggle_tools.data.listing import Photo, photos_in
from kaggle_tools.inference.ensemble import Ensemble, load_members
from kaggle_tools.inference.tta import FLIPPED_AXES, logits_of
from kaggle_tools.inference.write_masks import mask_photos
from kaggle_tools.models.segmenter import Segmenter
from kaggle_tools.models.weights import load
from kaggle_tools.options import parse_size
from kaggle_tools.results import pred_folder, run_folder
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import best_device

CARVANA = packaged_competition(DEFAULT_SLUG)

JPEG_QUALITY = 95
THRESHOLD = 0.5


def network(ensemble: Ensemble, photos: list[Photo], batch_size: int) -> float:
    """Seconds for each photo of the forward passes alone."""
    model, size = ensemble.members[0].model, photos[0].size
    pixels_B3HW = torch.stack([torch.from_numpy(read_photo(photo.path)) for photo in photos[:batch_size]])
    batch_B3HW = pixels_B3HW.permute(0, 3, 1, 2).contiguous().to(ensemble.device)
    assert batch_B3HW.shape[-2:] == size
    with torch.inference_mode():
        logits_of(model, batch_B3HW)
        _wait()
        start = time.perf_counter()
        for _ in range(len(photos) // batch_size):
            for axes in FLIPPED_AXES[ensemble.tta]:
                logits_of(model, batch_B3HW.flip(axes))
        _wait()
    return (time.perf_counter() - start) / (len(photos) // batch_size * batch_size)


def ours(ensemble: Ensemble, photos: list[Photo], batch_size: int, workers: int, pred: Path) -> float:
    """Seconds for each photo from JPEG to PNG."""
    mask_photos(pred, CARVANA, ensemble, photos, pred_folder.Outputs(), batch_size=batch_size, workers=workers)
    return _between((pred_folder.mask_path(pred, photo.stem) for photo in photos), batch_size)


def milesial(checkout: Path, model: nn.Module, photos: list[Photo], out: Path) -> float:
    """Seconds for each photo of the peer's `predict.py`, run as it is."""
    out.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(dict(zip(_peer_names(checkout), model.state_dict().values(), strict=True)), weights)
        options = ["--model", weights, "--classes", 1, "--scale", 1.0, "--input", *(photo.path for photo in photos)]
        options += ["--output", *(out / f"{photo.stem}.png" for photo in photos)]
        command = [sys.executable, "-u", str(checkout / "predict.py"), *map(str, options)]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    return _between(out / f"{photo.stem}.png" for photo in photos)


def _peer_names(checkout: Path) -> list[str]:
    """What the peer calls the tensors of its network, in their order."""
    names = "from unet import UNet; print(*UNet(n_channels=3, n_classes=1, bilinear=False).state_dict())"
    done = subprocess.run([sys.executable, "-c", names], cwd=checkout, capture_output=True, text=True, check=True)
    return done.stdout.split()


def notebook(checkout: Path, run: Path, tta: Tta, photos: list[Photo], out: Path) -> float:
    """Seconds for each photo in a loop as people write it, in a process of its own."""
    out.mkdir()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        fresh.submit(_notebook, checkout, run, tta, photos, out).result()
    return _between(out / f"{photo.stem}.png" for photo in photos)


def _notebook(checkout: Path, run: Path, tta: Tta, photos: list[Photo], out: Path) -> None:
    sys.path.insert(0, str(checkout))
    import ttach

    flips = {"none": [], "hflip": [ttach.HorizontalFlip()], "flips": [ttach.HorizontalFlip(), ttach.VerticalFlip()]}
    device = best_device()
    segmenter = as_trained(run)
    net = nn.Sequential(segmenter.net, nn.Sigmoid()).to(device, memory_format=torch.contiguous_format).eval()
    model = ttach.SegmentationTTAWrapper(net, ttach.Compose(flips[tta]))
    mean_311, std_311 = (segmenter.mean / 255).to(device), (segmenter.std / 255).to(device)
    for photo in photos:
        pixels = cv2.cvtColor(cv2.imread(str(photo.path)), cv2.COLOR_BGR2RGB)
        image = torch.from_numpy(pixels.transpose(2, 0, 1)).float()[None].to(device) / 255
        with torch.no_grad():
            mask = model((image - mean_311) / std_311)[0, 0].cpu().numpy() > THRESHOLD
        cv2.imwrite(str(out / f"{photo.stem}.png"), mask.astype(np.uint8) * 255)


def as_trained(run: Path) -> Segmenter:
    """The network with its normalisation as layers, as the peers have it."""
    return load(run_folder.fold_folder(run, run_folder.trained_folds(run)[0]))[0]


def unfolded(ensemble: Ensemble, run: Path) -> Ensemble:
    """The same ensemble with the normalisation as layers."""
    model = as_trained(run).to(memory_format=torch.channels_last)
    return Ensemble([replace(ensemble.members[0], model=model)], ensemble.device, tta=ensemble.tta)


def shrunken(folder: Path, photos: list[Photo], size: tuple[int, int]) -> list[Photo]:
    """Copies of the photos at `size`, as JPEGs in `folder`."""
    copies = []
    for photo in photos:
        path = folder / f"{photo.stem}.jpg"
        Image.fromarray(resize(read_photo(photo.path), size)).save(path, quality=JPEG_QUALITY)
        copies.append(Photo(photo.stem, path, size))
    return copies


def differing(mine: Path, theirs: Path, photos: list[Photo]) -> float:
    """The share of all pixels in which two folders of masks differ."""
    pairs = ((read_mask(folder / f"{photo.stem}.png") for folder in (mine, theirs)) for photo in photos)
    return float(np.mean([one_HW != other_HW for one_HW, other_HW in pairs]))


def main(
    run: Annotated[Path, typer.Argument(help="A run; its first fold is taken.")],
    folder: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A folder of photos.")],
    size: Annotated[str, typer.Option(metavar="HxW", help="The size of the photos.")] = "640x960",
    count: Annotated[int, typer.Option(help="How many photos.")] = 12,
    tta: Annotated[str, typer.Option(help="none, hflip or flips.")] = "none",
    batch_size: Annotated[int, typer.Option(help="Photos at once, for us and for the network alone.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that load photos.")] = DEFAULT_WORKERS,
    rounds: Annotated[int, typer.Option(help="How often they take turns.")] = 3,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network, for us and alone.")] = False,
    peer: Annotated[Path | None, typer.Option("--milesial", help="A checkout of milesial/Pytorch-UNet.")] = None,
    loop: Annotated[Path | None, typer.Option("--ttach", help="A checkout of qubvel/ttach.")] = None,
) -> None:
    """Measure, in turns."""
    memory.keep_freed_memory()
    member = load_members([run])[0]
    member = replace(member, card=replace(member.card, image_size=None))
    ensemble = Ensemble([member], best_device(), tta=cast(Tta, tta), threshold=THRESHOLD)
    if compiled:
        ensemble.compile()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        (here / "photos").mkdir()
        photos = shrunken(here / "photos", photos_in(folder)[0][:count], parse_size("--size", size))
        for turn in range(rounds):
            at = here / str(turn)
            contestants: dict[str, Callable[[], float]] = {
                "network": partial(network, ensemble, photos, batch_size),
                "unfolded": partial(network, unfolded(ensemble, run), photos, batch_size),
                "ours": partial(ours, ensemble, photos, batch_size, workers, at),
            }
            if peer:
                contestants["milesial"] = partial(milesial, peer, as_trained(run).net, photos, at / "milesial")
            if loop:
                contestants["notebook"] = partial(notebook, loop, run, cast(Tta, tta), photos, at / "notebook")
            for name, measure in contestants.items():
                found.setdefault(name, []).append(measure())
                print(f"round {turn + 1} {name}: {1 / found[name][-1]:.3f} photos a second", flush=True)
        different = {
            name: differing(at / "masks", at / name, photos) for name in found.keys() & {"milesial", "notebook"}
        }
        ours(unfolded(ensemble, run), photos, batch_size, workers, here / "unfolded")
        different["unfolded"] = differing(at / "masks", here / "unfolded" / "masks", photos)
    _report(found, different, len(FLIPPED_AXES[cast(Tta, tta)]) * _flop(member.model, photos[0].size))


def _report(found: dict[str, list[float]], different: dict[str, float], flop: int) -> None:
    peak = matmul_flops()
    for name, values in found.items():
        rate = 1 / statistics.median(values)
        share = f"{flop * rate / peak:.2f} of the matrix product's {peak / 1e9:.0f} GFLOP/s"
        print(f"{name}: {rate:.3f} photos a second, {share}")
    pairs = [("network", "unfolded"), *(("ours", name) for name in found if name not in ("ours", "unfolded"))]
    for name, other in pairs:
        ratios = [theirs / mine for mine, theirs in zip(found[name], found[other], strict=True)]
        print(f"{name} / {other}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    for name, share in different.items():
        print(f"{name}: {share:.2e} of the pixels differ from ours")


def _flop(model: nn.Module, size: tuple[int, int]) -> int:
    """Floating-point operations of one forward pass, counted without computing it."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        copy.deepcopy(model).to("meta")(torch.zeros(1, 3, *size, dtype=torch.uint8))
    return counter.get_total_flops()


def _between(masks: Iterable[Path], batch_size: int = 1) -> float:
    """Seconds for each photo after the first batch, by the times of the files: those of a batch come together."""
    times = sorted(mask.stat().st_mtime_ns for mask in masks)
    return (times[-1] - times[batch_size - 1]) / 1e9 / (len(times) - batch_size)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    typer.run(main)
