"""How long the page of a whole training set takes, and how large it is: 5,088 held-out photos, in five folds.

    python benchmarks/report_scale.py DATA [--cars 318] [--preds 100064] [--folder /tmp/scale]

The photos and masks in DATA are linked, again and again, under as many names as Carvana's training set has cars. A
network is imitated: its probabilities are the true masks, shifted by a few pixels and blurred, so that photos are as
large, borders as long and pictures as hard to compress as real ones. Then `python -m kaggle_tools report` writes
the page of the run, of two runs beside each other, and of a PRED with as many masks as the test set has, without and
with saved probabilities.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import typer
from submission_scale import MB, VIEWS, link_masks, measure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools import metrics
from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.recorded import settings_of
from kaggle_tools.data.images import read_mask, write_gray, write_mask
from kaggle_tools.data.listing import Photo, training_photos
from kaggle_tools.results import pred_folder, run_folder
from kaggle_tools.results.records.masks import PHOTO_COLUMNS, Record
from kaggle_tools.results.records.run import RunConfig
from kaggle_tools.system.files import write_json, write_text

CARVANA = packaged_competition(DEFAULT_SLUG)

FOLDS = 5


def main(
    data: Annotated[Path, typer.Argument(help="Folder with photos and masks, as Kaggle delivers them.")],
    cars: Annotated[int, typer.Option(min=FOLDS, help="How many cars the imitated training set has.")] = 318,
    preds: Annotated[int, typer.Option(min=0, help="How many masks the imitated PRED has.")] = 100_064,
    folder: Annotated[Path | None, typer.Option(help="Where to work; everything is removed at the end.")] = None,
) -> None:
    """Make two runs and a PRED, then measure the pages."""
    photos = training_photos(CARVANA, data)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        stems = [f"{car:012x}_{view:02}" for car in range(cars) for view in range(1, VIEWS + 1)]
        link_photos(work / "data", photos, stems)
        for run, shift in (("one", 2), ("other", 3)):
            imitate_run(work / run, work / "data", photos, stems, shift)
        named = ("--data", str(work / "data"))  # without it, no photo is shown whose SHA-256 is not recorded
        report("one run", work / "one.html", str(work / "one"), *named)
        report("two runs", work / "two.html", str(work / "one"), str(work / "other"), *named)
        if preds:
            imitate_pred(work / "pred", data / "train_masks", photos, preds)
            masks = ("--pred", str(work / "pred"), "--data", str(data / "train"))
            report("PRED", work / "pred.html", *masks)
            imitate_probabilities(work / "pred", photos, preds)
            report("PRED with saved probabilities", work / "probabilities.html", *masks)


def report(name: str, page: Path, *arguments: str) -> None:
    """Write a page, and print what it took."""
    measure(f"report of {name}", ["-m", "kaggle_tools", "report", *arguments, "--out", str(page)])
    print(f"{page.name}: {page.stat().st_size / MB:.2f} MB", flush=True)


def link_photos(folder: Path, photos: list[Photo], stems: list[str]) -> None:
    """Give the photos and masks as many names."""
    for at, stem in enumerate(stems):
        photo = photos[at % len(photos)]
        assert photo.mask is not None
        for pattern, file in ((CARVANA.train_photos, photo.path), (CARVANA.train_masks, photo.mask)):
            link = folder / pattern.format(stem=stem)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())


def imitate_run(run: Path, data: Path, photos: list[Photo], stems: list[str], shift: int) -> None:
    """A finished run of five folds; photos that are the same file have the same mask and nearly the same score."""
    generator = np.random.default_rng(shift)
    predicted = [imitate_prediction(run, photo, shift) for photo in photos]
    for fold in range(FOLDS):
        of_fold = [at for at in range(len(stems)) if at // VIEWS % FOLDS == fold]
        folder = run_folder.fold_folder(run, fold)
        rows = []
        for at in of_fold:
            _, dice, iou, written = predicted[at % len(photos)]
            score = dice - generator.exponential(1e-4)
            rows.append((stems[at], fold, score, score, iou))
            link = run_folder.oof_mask_path(folder, stems[at])
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(written)
        histograms = np.stack([predicted[at % len(photos)][0] for at in of_fold])
        np.savez_compressed(
            folder / run_folder.HISTOGRAMS_FILE, images=[stems[at] for at in of_fold], histograms=histograms
        )
        table = pd.DataFrame(rows, columns=["image", "fold", "score", "dice", "iou"])
        write_text(folder / run_folder.OOF_FILE, table.to_csv(index=False))
        curve = pd.DataFrame({name: np.linspace(0.9, 1, 30) for name in run_folder.METRICS_COLUMNS})
        write_text(folder / run_folder.METRICS_FILE, curve.assign(epoch=range(30)).to_csv(index=False))
    config = RunConfig(settings_of(config_from("carvana", CARVANA.slug, {})), str(data))
    write_json(run / run_folder.CONFIG_FILE, config.to_json())
    folds = [at // VIEWS % FOLDS for at in range(len(stems))]
    groups = pd.DataFrame({"image": stems, "group": [stem[:12] for stem in stems], "fold": folds})
    write_text(run / run_folder.FOLDS_FILE, groups.to_csv(index=False))


def imitate_prediction(run: Path, photo: Photo, shift: int) -> tuple[np.ndarray, float, float, Path]:
    """Histogram, Dice, IoU and mask file of the true mask, shifted and blurred."""
    assert photo.mask is not None
    truth_HW = read_mask(photo.mask)
    shifted_HW = np.roll(truth_HW, shift, axis=1).astype(np.float32)
    probability_HW = cv2.GaussianBlur(shifted_HW, (0, 0), 2)
    mask_HW = probability_HW >= run_folder.DEFAULT_THRESHOLD
    counts = metrics.overlap(mask_HW, truth_HW)
    written = run / "written" / f"{photo.stem}.png"
    write_mask(written, mask_HW)
    bins_HW = (probability_HW * run_folder.BINS).astype(int).clip(max=run_folder.BINS - 1)
    histogram = np.stack([np.bincount(bins_HW[truth_HW == of], minlength=run_folder.BINS) for of in (False, True)])
    return histogram, float(metrics.dice(counts)), float(metrics.iou(counts)), written


def imitate_pred(pred: Path, masks: Path, photos: list[Photo], count: int) -> None:
    """A finished PRED; its figures, but for the areas, are drawn at random."""
    stems = pred_stems(count)
    link_masks(masks, pred, stems)
    generator = np.random.default_rng(0)
    areas = [float(read_mask(photo.mask).mean()) for photo in photos if photo.mask]
    rows = pd.DataFrame(
        {
            "image": stems,
            "file": [str(photos[at % len(photos)].path.resolve()) for at in range(count)],
            "area": [areas[at % len(areas)] for at in range(count)],
            "expected_dice": np.sort(1 - generator.exponential(0.004, count)),
            "border_width": generator.exponential(2, count),
            "agreement": 1 - generator.exponential(0.004, count),
        }
    )
    write_text(pred / pred_folder.PHOTOS_FILE, rows.reindex(columns=PHOTO_COLUMNS).to_csv(index=False))
    record = Record(competition=CARVANA.slug, tta="hflip", tta_scales=(1.0,), threshold=0.5)
    write_json(pred / pred_folder.RECORD_FILE, record.to_json())


def imitate_probabilities(pred: Path, photos: list[Photo], count: int) -> None:
    """Blurred masks, each under every so many of the names."""
    for at, photo in enumerate(photos):
        assert photo.mask is not None
        map_HW = cv2.GaussianBlur(read_mask(photo.mask).astype(np.float32), (0, 0), 2)
        write_gray(pred / "written" / f"{at}.map.png", (map_HW * 255).round().astype(np.uint8))
    (pred / "probabilities").mkdir()
    for at, stem in enumerate(pred_stems(count)):
        pred_folder.probability_path(pred, stem).hardlink_to(pred / "written" / f"{at % len(photos)}.map.png")


def pred_stems(count: int) -> list[str]:
    """As Carvana's test photos are named."""
    return [f"{number // VIEWS:012x}_{number % VIEWS + 1:02}" for number in range(count)]


if __name__ == "__main__":
    typer.run(main)
