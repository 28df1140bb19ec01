"""How much memory inference takes: whether it grows with the number of photos, and what one full-size photo needs.

    python benchmarks/infer_memory.py

First `infer.py` itself, in a process of its own, on 32, 320 and 3,200 photos of 64x96 with a U-Net of width 8: the
peak of its main process, the only one that could collect anything. Then one photo of 1280x1918 through each of
several networks with a flip: on a GPU the memory that PyTorch allocates at most, on a CPU what the process takes.
"""

import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.inference.ensemble import Ensemble, Member
from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.models.weights import ModelCard, save
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import best_device

CARVANA = packaged_competition(DEFAULT_SLUG)

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (32, 320, 3200)
FULL_SIZE = (1280, 1918)
NETWORKS = (("unet", 64), ("unet", 16), ("smp:Unet/resnet34", 64), ("smp:Linknet/mobilenet_v2", 64))
MIB = 2**20


def many_photos(count: int, folder: Path) -> int:
    """Peak bytes of the main process of infer.py on `count` small photos."""
    run, photos = folder / "run", folder / "photos"
    photos.mkdir()
    torch.manual_seed(0)
    architecture = Architecture("unet", width=8)
    save(build(architecture), ModelCard(architecture, None, CARVANA.slug, 0), run / "fold0")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    for number in range(count):
        (photos / f"car_{number:05}.jpg").hardlink_to(folder / "photo.jpg")
    command = [sys.executable, str(ROOT / "infer.py"), str(run), "--images", str(photos), "--out", str(folder / "pred")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)  # of this process alone, its workers not counted
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"infer.py ended with exit code {process.returncode}")
    return usage.ru_maxrss * 1024


def one_photo(name: str, width: int) -> int:
    """Peak bytes of one full-size photo through a network with a flip; to be run in a fresh process."""
    memory.keep_freed_memory()
    device = best_device()
    architecture = Architecture(name, width)
    model = build(architecture).eval().to(memory_format=torch.channels_last)
    ensemble = Ensemble([Member(model, ModelCard(architecture, None, CARVANA.slug, 0), Path())], device, tta="hflip")
    photo_13HW = torch.zeros(1, 3, *FULL_SIZE, dtype=torch.uint8, device=device)
    ensemble({InputSize(None): photo_13HW}, FULL_SIZE)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure both."""
    peaks = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            peaks.append(many_photos(count, Path(folder)))
        print(
            f"{count:,} photos of 64x96: {peaks[-1] / MIB:.0f} MiB, {peaks[-1] / peaks[0]:.3f} of the first", flush=True
        )
    print(f"{COUNTS[-1]:,} photos to {COUNTS[-2]:,}: {peaks[-1] / peaks[-2]:.3f}")
    for name, width in NETWORKS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            peak = fresh.submit(one_photo, name, width).result()
        of_width = f" of width {width}" if name == "unet" else ""
        print(f"{name}{of_width}, one photo of 1280x1918 on {best_device().type}: {peak / MIB:,.0f} MiB", flush=True)


if __name__ == "__main__":
    typer.run(main)
