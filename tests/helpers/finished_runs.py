"""Runs and masks as train.py and infer.py would leave them, whose errors are known to the pixel.

Every photo is 60 pixels high and 90 wide and holds a box of 20 rows and 30 columns. The first `negative` of these
columns, 20 pixels each, are false negative in a prediction, and so many as `positive` behind the box false positive.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from known_competitions import CARVANA
from PIL import Image

from kaggle_tools.config.presets import config_from
from kaggle_tools.config.recorded import settings_of
from kaggle_tools.data.fingerprint import FileHashes, write_fingerprint
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.results import pred_folder
from kaggle_tools.results.pred_folder import photo_note
from kaggle_tools.results.records.masks import Network, Record
from kaggle_tools.system.files import sha256

HEIGHT, WIDTH, TOP, LEFT, ROWS, COLUMNS = 60, 90, 20, 25, 20, 30
SURE = 0.9
"""The probability inside a predicted mask; outside it is 0.1."""
Errors = Mapping[str, tuple[int, int]]
"""For each photo the columns that are false negative and false positive."""


def box(negative: int = 0, positive: int = 0) -> np.ndarray:
    mask_HW = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask_HW[TOP : TOP + ROWS, LEFT + negative : LEFT + COLUMNS + positive] = True
    return mask_HW


def dice(negative: int, positive: int) -> float:
    """By hand: twice the shared columns over the columns of both."""
    return 2 * (COLUMNS - negative) / (2 * COLUMNS - negative + positive)


def iou(negative: int, positive: int) -> float:
    return (COLUMNS - negative) / (COLUMNS + positive)


def expected_dice(negative: int, positive: int) -> float:
    """The expected Dice if the probabilities are right, by hand."""
    area = ROWS * (COLUMNS - negative + positive)
    return 2 * SURE * area / (area + SURE * area + (1 - SURE) * (HEIGHT * WIDTH - area))


def draw_photos(data: Path, stems: list[str]) -> None:
    """Bright boxes on a dark ground, in Carvana's layout."""
    for folder in ("train", "train_masks"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    pixels = np.where(box()[..., None], 200, 60).astype(np.uint8).repeat(3, axis=2)
    for stem in stems:
        Image.fromarray(pixels).save(data / "train" / f"{stem}.jpg")
        Image.fromarray(box().astype(np.uint8) * 255).save(data / "train_masks" / f"{stem}_mask.gif")


def write_run(run: Path, data: Path, folds: dict[int, Errors], /, **settings: Any) -> Path:
    """A run of two epochs with these folds finished, of as many as `settings` say, or else of these."""
    for fold, errors in folds.items():
        _write_fold(run / f"fold{fold}", fold, errors)
    held_out = [(stem, stem.rpartition("_")[0] or stem, fold) for fold, errors in folds.items() for stem in errors]
    pd.DataFrame(held_out, columns=["image", "group", "fold"]).to_csv(run / "folds.csv", index=False)
    config = config_from("demo", CARVANA.slug, {"folds": max(2, len(folds)), "epochs": 2, **settings})
    recorded = {
        "settings": settings_of(config),
        "data": str(data),
        "command": "train.py --data data --out run",
        "commit": "0123456789abcdef",
        "versions": {"python": "3.11.7", "timm": None},
        "machine": "Linux",
    }
    (run / "config.json").write_text(json.dumps(recorded))
    paths = {stem: (data / "train" / f"{stem}.jpg", data / "train_masks" / f"{stem}_mask.gif") for stem, *_ in held_out}
    files = {stem: FileHashes(*map(sha256, pair)) for stem, pair in paths.items() if all(map(Path.exists, pair))}
    if files:
        write_fingerprint(run / "data.csv", files)
    return run


PHOTOS_OF_TWO_RUNS = [f"{car}_{view:02}" for car in "abcdef" for view in (1, 2)]
"""Six cars from two sides each."""


def write_two_runs(folder: Path) -> list[Path]:
    """Two runs of two folds on the same photos that are not beside each other, the second of which is better."""
    draw_photos(folder / "data", PHOTOS_OF_TWO_RUNS)
    return [
        write_run(
            folder / name / "run",
            folder / "data",
            {fold: dict.fromkeys(PHOTOS_OF_TWO_RUNS[fold::2], (negative, fold)) for fold in (0, 1)},
        )
        for name, negative in (("worse", 5), ("better", 1))
    ]


def _write_fold(folder: Path, fold: int, errors: Errors) -> None:
    rows, histograms = [], []
    for stem, (negative, positive) in errors.items():
        score = dice(negative, positive)
        rows.append((stem, fold, score, score, iou(negative, positive), expected_dice(negative, positive)))
        write_mask(folder / "oof" / "masks" / f"{stem}.png", box(negative, positive))
        counts = np.zeros((2, 256), dtype=np.uint32)
        counts[1, int(SURE * 256)] = ROWS * (COLUMNS - negative)
        counts[1, 25] = ROWS * negative
        counts[0, int(SURE * 256)] = ROWS * positive
        counts[0, 25] = HEIGHT * WIDTH - ROWS * (COLUMNS + positive)
        histograms.append(counts)
    np.savez_compressed(folder / "oof_histograms.npz", images=np.array(list(errors)), histograms=np.stack(histograms))
    pd.DataFrame(rows, columns=["image", "fold", "score", "dice", "iou", "expected_dice"]).to_csv(
        folder / "oof.csv", index=False
    )
    epochs = [(0, 0.001, 0.5 + fold, 0.6, 0.8, 0.7), (1, 0.0005, 0.3 + fold, 0.4, 0.9, 0.8)]
    names = ["epoch", "lr", "train_loss", "val_loss", "val_dice", "val_iou"]
    pd.DataFrame(epochs, columns=names).to_csv(folder / "metrics.csv", index=False)
    timing = {
        "training_seconds": 120.0,
        "epochs": 2,
        "devices": 1,
        "precision": "32-true",
        "hardware": "2 cores of Abacus",
    }
    (folder / "timing.json").write_text(json.dumps(timing))


def write_pred(pred: Path, photos: Path, areas: Mapping[str, int], /, enlarged: int = 1, **record: Any) -> Path:
    """Masks of so many columns of 20 pixels; the narrower, the more doubtful. Sides are `enlarged` times as long."""
    masked = []
    for stem, columns in areas.items():
        mask_HW = box(positive=columns - COLUMNS).repeat(enlarged, 0).repeat(enlarged, 1)
        notes = {"area": float(mask_HW.mean()), "expected_dice": 0.5 + columns / 100, "border_width": 1.5}
        photo = Photo(stem, photos / f"{stem}.jpg", mask_HW.shape)
        made_of = photo_note(sha256(photo.path) if photo.path.exists() else "")
        write_mask(pred_folder.mask_path(pred, stem), mask_HW, {**notes, **made_of})
        masked.append(photo)
    made_by = {"models": (network("unet"),), "tta": "hflip", "tta_scales": (1.0,), "threshold": 0.5}
    pred_folder.finish(pred, Record(competition=CARVANA.slug, **{**made_by, **record}), masked)
    return pred


def network(run: str, **fields: Any) -> Network:
    """What run.json says of a network of this run."""
    known = {"fold": 0, "model": "unet", "image_size": (96, 160), "weight": 1.0, "sha256": "0" * 64}
    return Network(run=run, **{**known, **fields})
