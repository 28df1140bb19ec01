"""How long a full submission takes, and how much memory: from a folder of 100,064 masks to a checked, compressed CSV.

    python benchmarks/submission_scale.py MASKS [--count 5000] [--folder /tmp/scale]

The real masks in MASKS are written as `infer.py` writes them and linked, again and again, under as many names as
Carvana's sample submission has. Then `submit.py --dry-run` makes the CSV, and `python -m kaggle_tools check` reads
it once more, each in a process of its own. Its peak memory is that of the largest process it started, itself
included. Last, the CSV is compressed in the forms that Kaggle takes, at several levels. All that needs 2 GB of disk
for all masks.
"""

import gzip
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import write_text

CARVANA = packaged_competition(DEFAULT_SLUG)

ROOT = Path(__file__).resolve().parents[1]
ALL = 100_064
VIEWS = 16
MB = 10**6
LEVELS = (1, 2, 3, 6)


def main(
    masks: Annotated[Path, typer.Argument(help="Folder of mask images.")],
    count: Annotated[int, typer.Option(min=1, help="How many masks are submitted.")] = ALL,
    folder: Annotated[Path | None, typer.Option(help="Where to work; everything is removed at the end.")] = None,
    compression: Annotated[bool, typer.Option(help="Compare the forms and levels of compression.")] = True,
) -> None:
    """Make the folder, then measure the two commands and the compression."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        pred, sample = Path(work) / "pred", Path(work) / "sample_submission.csv"
        stems = [f"{number // VIEWS:012x}_{number % VIEWS + 1:02}" for number in range(count)]
        link_masks(masks, pred, stems)
        write_text(sample, "img,rle_mask\n" + "".join(f"{CARVANA.id_of(stem)},1 1\n" for stem in stems))
        measure("submit.py --dry-run", ["submit.py", str(pred), "--sample", str(sample), "--dry-run"])
        csv = pred / "submission.csv"
        print(f"{csv.name}: {csv.stat().st_size / MB:,.1f} MB")
        measure("check", ["-m", "kaggle_tools", "check", str(csv), "--sample", str(sample)])
        if compression:
            compare_compression(csv)


def link_masks(masks: Path, pred: Path, stems: list[str]) -> None:
    """Write each mask once, and link it under every so many of the names."""
    paths = sorted(path for path in masks.iterdir() if not path.name.startswith("."))
    if not paths:
        raise InputError(f"{masks}: no masks in it")
    paths = paths[: len(stems)]
    for at, path in enumerate(paths):
        write_mask(pred / "written" / f"{at}.png", read_mask(path))
    (pred / "masks").mkdir()
    for at, stem in enumerate(stems):
        (pred / "masks" / f"{stem}.png").hardlink_to(pred / "written" / f"{at % len(paths)}.png")


def measure(name: str, arguments: list[str]) -> None:
    """Run one of our commands and print how long it took and the memory of its largest process."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)  # its memory: the largest of it and its descendants
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name} ended with exit code {process.returncode}")
    seconds = time.perf_counter() - start
    processor = usage.ru_utime + usage.ru_stime
    print(f"{name}: {seconds:.1f} s, {processor:.1f} CPU-s, {usage.ru_maxrss * 1024 / MB:.0f} MB at most", flush=True)


def compare_compression(csv: Path) -> None:
    """Compress the CSV in every form, and print how long it took and what share of the size is left."""
    for form, pack in (("gzip", pack_gzip), ("zip", pack_zip)):
        for level in LEVELS:
            packed = csv.with_name(f"packed.{form}")
            seconds = seconds_of(pack, csv, packed, level)
            share = packed.stat().st_size / csv.stat().st_size
            speed = csv.stat().st_size / MB / seconds
            print(f"{form}, level {level}: {seconds:.1f} s, {speed:.0f} MB/s, {share:.3f} of the size", flush=True)


def pack_gzip(csv: Path, packed: Path, level: int) -> None:
    """As `submission.write.compress` does."""
    with csv.open("rb") as source, gzip.open(packed, "wb", compresslevel=level) as target:
        copy(source.read, target.write)


def pack_zip(csv: Path, packed: Path, level: int) -> None:
    """One member."""
    with (
        csv.open("rb") as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive,
        archive.open(csv.name, "w") as target,
    ):
        copy(source.read, target.write)


def copy(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
    """All bytes, a mebibyte at a time."""
    while piece := read(2**20):
        write(piece)


def seconds_of(pack: Callable[[Path, Path, int], None], csv: Path, packed: Path, level: int) -> float:
    """How long it takes."""
    start = time.perf_counter()
    pack(csv, packed, level)
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
