"""Runs as train.py leaves them while it trains."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from finished_runs import Errors, write_run
from PIL import Image

from kaggle_tools.results.records.progress import HeldOutPicture, Progress, write_progress

NOON = 1_700_049_600.0
"""In seconds since 1970: 12:00 UTC on 2023-11-15."""


def progress(done: int, epochs: int, stems: Sequence[str] = (), dice: float = 0.75, **known: Any) -> Progress:
    """After so many epochs, of 100 seconds each, of the only fold; with a grey picture of each photo."""
    left = 100.0 * (epochs - done) if done else None
    values = {"written": NOON, "seconds_left": left, "folds_left": 1, "all_seconds_left": left, **known}
    pictures = tuple(HeldOutPicture(stem, dice, jpeg(96, 64)) for stem in stems)
    return Progress(epochs_done=done, epochs=epochs, pictures=pictures, **values)


def jpeg(width: int, height: int) -> str:
    """A grey picture, in base64."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (120, 120, 120)).save(file, format="JPEG")
    return base64.b64encode(file.getvalue()).decode()


def write_unfinished_run(
    run: Path, folds: dict[int, Progress], finished: dict[int, Errors] | None = None, **settings: Any
) -> Path:
    """A run of five folds and ten epochs, with these folds begun: the validation Dice is 0.5, 0.6, 0.7, 0.8, 0.7, …"""
    run.mkdir(parents=True)
    write_run(run, run.parent / "data", finished or {}, **{"folds": 5, "epochs": 10, **settings})
    for fold, known in folds.items():
        folder = run / f"fold{fold}"
        folder.mkdir(parents=True)
        write_progress(folder, known)
        rows = [(epoch, 0.01, 1, 1, round(0.8 - abs(3 - epoch) / 10, 1), 0.5) for epoch in range(known.epochs_done)]
        if rows:
            names = ["epoch", "lr", "train_loss", "val_loss", "val_dice", "val_iou"]
            pd.DataFrame(rows, columns=names).to_csv(folder / "metrics.csv", index=False)
    return run
