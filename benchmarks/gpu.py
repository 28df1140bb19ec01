"""What a machine with a GPU does with this project, in slices of a few minutes that can be continued.

    python benchmarks/gpu.py pack DATA photos.tar                 # where the competition's data are: one file of 60 MB
    python benchmarks/gpu.py measure photos.tar OUT --minutes 9   # where the GPU is, as often as there is time
    python benchmarks/gpu.py measure photos.tar OUT --tiny        # tries every part with tiny networks, on a CPU too

OUT/results.json holds each figure as soon as it is known, OUT/tables.md shows them as Markdown. The same command goes
on with what is missing, the figures of most value first; one that runs out of memory, or ends its process, costs no
other. Last come folds of real photos, by `train.py`, which go on in OUT/run as long as the time lasts.

With `--milesial CHECKOUT`, a checkout of milesial/Pytorch-UNet trains and predicts beside ours.
"""

import json
import math
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import infer_throughput
import train_throughput

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.config.execution import DEFAULT_WORKERS
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig, Tta
from kaggle_tools.data.listing import Photo, training_photos
from kaggle_tools.inference.ensemble import Ensemble, load_members
from kaggle_tools.models.segmenter import build, design
from kaggle_tools.models.weights import ModelCard, save
from kaggle_tools.results import run_folder
from kaggle_tools.results.summary import SUMMARY_FILE
from kaggle_tools.system import memory
from kaggle_tools.system.files import replacing, temporary_folder, write_text
from kaggle_tools.system.hardware import GIB, best_device, hardware

CARVANA = packaged_competition(DEFAULT_SLUG)

ROOT = Path(__file__).resolve().parents[1]
Figures = dict[str, float | str]
"""Of one row, by the name of the column."""
Results = dict[str, dict[str, Figures]]
"""By part and row."""
STEPS = 12
ROUNDS = 3
MOST_MEGABYTES = 60
LEAST_SECONDS = 20.0
"""With less time than this left, nothing new is begun."""
FOLD_MINUTES = 2.0
"""With less time than this left, no fold is trained: reading the photos and scoring take that long."""


@dataclass(frozen=True)
class Place:
    """Where everything is, and what is measured."""

    photos: Path
    """The unpacked photos, in Kaggle's layout."""
    out: Path
    milesial: Path | None
    tiny: bool

    def training(self) -> list[Photo]:
        """The photos and masks."""
        return training_photos(CARVANA, self.photos)

    def config(self, height: int, width: int, batch_size: int, **options: object) -> TrainingConfig:
        """The default preset at this size."""
        if self.tiny:
            options |= {"width": 4}
            height, width = height // 10, width // 10
        fields = {"image_size": (height, width), "batch_size": batch_size, "epochs": 1, **options}
        return config_from("carvana", CARVANA.slug, fields)


class Row(NamedTuple):
    """A row of a table."""

    part: str
    name: str
    measure: Callable[[], Figures]


def rows(place: Place) -> Iterator[Row]:
    """Everything that is measured, what is worth most first."""
    yield Row("Machine", "this one", _machine)
    sizes = [(1280, 1918, 4), (512, 768, 8), (1280, 1918, 1), (1280, 1918, 2), (1280, 1918, 8), (1024, 1536, 4)]
    for height, width, batch_size in [*sizes, (256, 384, 16), (160, 240, 32)]:
        config = place.config(height, width, batch_size)
        yield Row("Training steps, photos on the device", f"{_name(config)}", partial(_steps, place, config))
    variants = {
        "float16": place.config(512, 768, 8, precision="16-mixed"),
        "float32": place.config(512, 768, 8, precision="32-true"),
        "smp:Unet/resnet34": place.config(512, 768, 8, model="smp:Unet/resnet34"),
    }
    for name, config in variants.items():
        yield Row("Training steps, photos on the device", f"{_name(config)}, {name}", partial(_steps, place, config))
    compiled = place.config(512, 768, 8)
    yield Row(
        "Training steps, photos on the device",
        f"{_name(compiled)}, compiled",
        partial(_steps, place, compiled, compiled=True),
    )
    whole = place.config(1280, 1918, 4)
    for levels in (1, 2, 5):
        measure = partial(_steps, place, whole, recompute=levels)
        yield Row("Training steps, photos on the device", f"{_name(whole)}, --recompute {levels}", measure)
    for size in ((1280, 1918, 1), (1280, 1918, 4), (640, 960, 8)):
        config = place.config(*size)
        yield Row("Inference, left to right and back", _name(config), partial(_inference, place, config))
    for size in ((1280, 1918, 4), (512, 768, 8), (256, 384, 16)):
        config = place.config(*size)
        yield Row("Training from JPEG files", _name(config), partial(_real, place, config))
    for size in ((512, 768, 8), (256, 384, 16), (160, 240, 32)):
        config = place.config(*size)
        yield Row("Training from a cache", _name(config), partial(_real, place, config, cached=True))
    if place.milesial:
        half = place.config(640, 959, 2)  # half of each side, as its loop keeps the shape of photos
        if place.tiny:
            half = replace(half, image_size=(63, 95))
        yield Row("Beside milesial/Pytorch-UNet", f"training, {_name(half)}", partial(_peer_training, place, half))
        for size in ((640, 960, 1), (1280, 1918, 1)):
            config = replace(place.config(*size), width=64)  # its network has no other
            measure = partial(_peer_prediction, place, config)
            yield Row("Beside milesial/Pytorch-UNet", f"predict, {_name(config)}", measure)


def _machine() -> Figures:
    device = best_device()
    figures: Figures = {"hardware": hardware(), "torch": torch.__version__}
    figures["matrix product, TFLOP/s"] = train_throughput.matmul_flops() / 1e12
    source = torch.empty(GIB if device.type == "cuda" else GIB // 16, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        train_throughput._wait()
        seconds.append(time.perf_counter() - start)
    figures["copy, GB/s read and written"] = 2 * source.nbytes / min(seconds) / 1e9
    return figures


def _steps(place: Place, config: TrainingConfig, compiled: bool = False, recompute: int = 0) -> Figures:
    with _peak_memory() as peak:
        seconds = train_throughput.data_free(place.training(), config, STEPS, compiled, recompute)
    flop = train_throughput.flop_per_photo(config, place.training())
    share = flop / seconds / train_throughput.matmul_flops()
    return {"photos/s": 1 / seconds, "share of the matrix product's rate": share, **peak}


def _inference(place: Place, config: TrainingConfig) -> Figures:
    """The network alone, and all of the way from JPEG files to PNG files, in turns."""
    found: dict[str, list[float]] = {"alone": [], "files": []}
    with _run_and_photos(place, config) as (run, photos), tempfile.TemporaryDirectory() as folder:
        ensemble = _ensemble(run, "hflip")
        with _peak_memory() as peak:
            for turn in range(ROUNDS):
                found["alone"].append(infer_throughput.network(ensemble, photos, config.batch_size))
                pred = Path(folder) / str(turn)
                found["files"].append(infer_throughput.ours(ensemble, photos, config.batch_size, DEFAULT_WORKERS, pred))
    alone, files = (statistics.median(found[name]) for name in ("alone", "files"))
    return {"network alone, photos/s": 1 / alone, "JPEG to PNG, photos/s": 1 / files, "ratio": alone / files, **peak}


def _real(place: Place, config: TrainingConfig, cached: bool = False) -> Figures:
    """The trainer of `train.py`, and the same steps on one batch that stays on the device, in turns."""
    photos, found = place.training(), []
    steps = min(STEPS, len(photos) // config.batch_size - train_throughput.WARM_UP_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            cache = Path(folder) / "cache" if cached else None
            real = train_throughput.real(photos, config, DEFAULT_WORKERS, steps, cache)
            found.append((real, train_throughput.data_free(photos, config, steps)))
    ratios = [free / real for real, free in found]
    return {
        "photos/s": 1 / statistics.median(real for real, _ in found),
        "of the steps alone": statistics.median(ratios),
        "from": min(ratios),
        "to": max(ratios),
        "workers": DEFAULT_WORKERS,
    }


def _peer_training(place: Place, config: TrainingConfig) -> Figures:
    assert place.milesial
    photos, found = place.training(), []
    for _ in range(ROUNDS):
        ours = train_throughput.real(photos, config, DEFAULT_WORKERS, STEPS)
        found.append((ours, train_throughput.milesial(photos, config, STEPS, place.milesial)))
    return _compared(found)


def _peer_prediction(place: Place, config: TrainingConfig) -> Figures:
    assert place.milesial
    found = []
    with _run_and_photos(place, config) as (run, photos), tempfile.TemporaryDirectory() as folder:
        ensemble = _ensemble(run, "none")
        net = ensemble.members[0].model.net
        for turn in range(ROUNDS):
            at = Path(folder) / str(turn)
            ours = infer_throughput.ours(ensemble, photos, 1, DEFAULT_WORKERS, at)
            found.append((ours, infer_throughput.milesial(place.milesial, net, photos, at / "milesial")))
        differing = infer_throughput.differing(at / "masks", at / "milesial", photos)
    return {**_compared(found), "share of pixels that differ": f"{differing:.1e}"}


def _compared(found: list[tuple[float, float]]) -> Figures:
    ours, theirs = (1 / statistics.median(values) for values in zip(*found, strict=True))
    ratios = [their / our for our, their in found]
    return {
        "ours, photos/s": ours,
        "milesial, photos/s": theirs,
        "ratio": statistics.median(ratios),
        "from": min(ratios),
        "to": max(ratios),
    }


@contextmanager
def _run_and_photos(place: Place, config: TrainingConfig) -> Iterator[tuple[Path, list[Photo]]]:
    """A run of a network that was not trained, and photos at the size of the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        architecture = design(config)
        save(build(architecture), ModelCard(architecture, None, CARVANA.slug, 0), Path(folder) / "run" / "fold0")
        (Path(folder) / "photos").mkdir()
        assert config.image_size
        count = max(12, 3 * config.batch_size)
        photos = place.training()[: count // config.batch_size * config.batch_size]
        yield Path(folder) / "run", infer_throughput.shrunken(Path(folder) / "photos", photos, config.image_size)


def _ensemble(run: Path, tta: str) -> Ensemble:
    return Ensemble(load_members([run]), best_device(), tta=cast(Tta, tta))


@contextmanager
def _peak_memory() -> Iterator[Figures]:
    """The most memory that PyTorch allocates meanwhile, in GiB; not measured without a GPU."""
    figures: Figures = {"memory, GiB": "not measured"}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield figures
    if torch.cuda.is_available():
        figures["memory, GiB"] = torch.cuda.max_memory_allocated() / GIB


def train_folds(place: Place, deadline: float) -> Figures | None:
    """Train folds of the real photos by `train.py` until the time is over; what is known of those that are finished."""
    run = place.out / "run"
    size = ["--image-size", "32x48", "--width", "4", "--epochs", "2"] if place.tiny else ["--image-size", "640x960"]
    hours = (deadline - time.monotonic() - 60 * FOLD_MINUTES / 2) / 3600
    command = [sys.executable, str(ROOT / "train.py"), "--data", str(place.photos), "--out", str(run)]
    command += [*size, "--batch-size", "8", "--no-report", "--max-hours", f"{hours:.4f}"]
    subprocess.run(command, cwd=ROOT, timeout=max(1.0, deadline - time.monotonic()), check=False)
    if not (run / SUMMARY_FILE).exists():
        return None
    summary = json.loads((run / SUMMARY_FILE).read_text())
    folders = [run_folder.fold_folder(run, fold) for fold in run_folder.finished_folds(run)]
    seconds = [timing.training_seconds for folder in folders if (timing := run_folder.read_timing(folder))]
    low, high = summary["score_interval"] or (math.nan, math.nan)
    return {
        "folds": len(summary["folds"]),
        "held-out photos": summary["photos"],
        summary["score_name"]: f"{summary['score_mean']:.5f}",
        "95 % interval": f"{low:.5f} to {high:.5f}",
        "minutes of training": sum(seconds) / 60,
    }


def known(out: Path) -> Results:
    """What has been measured before."""
    path = out / "results.json"
    return cast(Results, json.loads(path.read_text())) if path.exists() else {}


def keep(out: Path, part: str, name: str, figures: Mapping[str, float | str]) -> None:
    """Write a row into both files."""
    results = known(out)
    results.setdefault(part, {})[name] = dict(figures)
    with replacing(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1))
    write_text(out / "tables.md", "\n".join(_table(part, table) for part, table in results.items()))


def _table(part: str, table: Mapping[str, Figures]) -> str:
    columns = list(dict.fromkeys(column for figures in table.values() for column in figures))
    lines = [f"### {part}", "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in table.items():
        cells = (_cell(figures.get(column, "")) for column in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _cell(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _name(config: TrainingConfig) -> str:
    assert config.image_size
    return f"{config.image_size[0]}x{config.image_size[1]}, batch {config.batch_size}"


def missing(place: Place) -> list[Row]:
    """The rows that are not known yet, in their order."""
    have = known(place.out)
    return [row for row in rows(place) if row.name not in have.get(row.part, {})]


app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def pack(data: Path, packed: Path, megabytes: int = MOST_MEGABYTES) -> None:
    """Put whole cars with their masks into one file, as many as there is room for."""
    photos, size = training_photos(CARVANA, data), 0
    with replacing(packed) as temporary, tarfile.open(temporary, "w") as archive:
        for photo in photos:
            assert photo.mask
            size += photo.path.stat().st_size + photo.mask.stat().st_size + 2048
            if size > megabytes * 1e6:
                break
            for path in (photo.path, photo.mask):
                archive.add(path, f"{path.parent.name}/{path.name}")
    print(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB")


@app.command()
def measure(
    packed: Annotated[Path, typer.Argument(help="The file that `pack` wrote.")],
    out: Annotated[Path, typer.Argument(help="Where results are, and what goes on there.")],
    minutes: Annotated[float, typer.Option(help="Then this slice ends.")] = 9.0,
    milesial: Annotated[Path | None, typer.Option(help="A checkout of milesial/Pytorch-UNet.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Tiny networks and photos: does everything work?")] = False,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Measure what is missing in OUT."""
    deadline = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    photos = out / "photos"
    if not photos.exists():
        with temporary_folder(out) as temporary, tarfile.open(packed) as archive:
            archive.extractall(temporary / "whole", filter="data")
            (temporary / "whole").rename(photos)
    place = Place(photos, out, milesial and milesial.resolve(), tiny)
    if child:
        _measure_here(place, deadline)
        return
    begun = out / "begun"
    while (left := missing(place)) and deadline - time.monotonic() > LEAST_SECONDS:
        begun.unlink(missing_ok=True)
        remaining = deadline - time.monotonic()
        command = [
            sys.executable,
            __file__,
            "measure",
            str(packed),
            str(out),
            "--child",
            "--minutes",
            f"{remaining / 60}",
        ]
        command += ["--tiny"] * tiny + (["--milesial", str(milesial)] if milesial else [])
        try:
            exit_code = subprocess.run(command, timeout=remaining, check=False).returncode
        except subprocess.TimeoutExpired:
            break  # what was being measured is measured again in the next slice
        if exit_code and begun.exists() and (name := begun.read_text()):
            row = next(row for row in left if f"{row.part}\n{row.name}" == name)
            keep(out, row.part, row.name, {"failed": f"exit code {exit_code}"})
    if not missing(place) and deadline - time.monotonic() > 60 * FOLD_MINUTES:
        figures = train_folds(place, deadline)
        if figures:
            keep(out, "Folds of real photos", "640x960, default preset", figures)
    left = missing(place)
    print(f"{out / 'tables.md'}: {len(left)} rows are missing" + ("; the same command goes on" if left else ""))


def _measure_here(place: Place, deadline: float) -> None:
    """Measure row after row in this process."""
    memory.keep_freed_memory()
    for row in missing(place):
        if deadline - time.monotonic() < LEAST_SECONDS:
            return
        (place.out / "begun").write_text(f"{row.part}\n{row.name}")
        try:
            figures = row.measure()
        except torch.OutOfMemoryError:
            figures = {"failed": "out of memory"}
        keep(place.out, row.part, row.name, figures)
        print(f"{row.part}: {row.name}: {figures}", flush=True)


if __name__ == "__main__":
    app()
