"""Folders of saved probabilities to one folder of masks: the weighted mean of what other days and machines predicted.

H height, W width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kaggle_tools.data.datasets import loader, plain_worker_errors
from kaggle_tools.data.images import image_size, read_gray
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, first_few, require
from kaggle_tools.inference.predict import Prediction
from kaggle_tools.inference.write_masks import MaskWriter
from kaggle_tools.results import pred_folder
from kaggle_tools.results.pred_folder import PathOf
from kaggle_tools.system.progress import track


def blend(
    preds: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    outputs: Sequence[PathOf],
    *,
    threshold: float,
    workers: int,
) -> int:
    """Write the masks of the weighted mean of the probabilities in several PRED into another, and count them.

    An interrupted blend goes on with the same call. `outputs` is what is to be there of each photo, as
    `pred_folder.outputs` gives it.

    Raises:
        InputError: the folders are not of the same photos, not finished or made without `--save-probabilities`,
            a map in them cannot be read, or `out` was begun with another blend.
    """
    photos = _common_photos(preds)
    settings = _settings(preds, weights, threshold)
    known = _known(preds)
    with pred_folder.begun(out, settings, known=known):
        missing = [photo for photo in photos if not pred_folder.is_complete(out, photo.stem, outputs)]
        print(f"{len(missing):,} of {len(photos):,} photos to mask from {len(preds)} folders", flush=True)
        maps = loader(SavedProbabilities(missing, preds, weights, threshold), batch_size=None, workers=workers)
        with plain_worker_errors(), MaskWriter(out, threshold, len(preds), outputs) as writer:
            blended = zip(missing, maps, strict=True)
            for photo, (probability_HW, votes_HW) in track(blended, len(missing), "masks"):
                writer.put(Prediction(photo, probability_HW, votes_HW, ""))
        return pred_folder.finish(out, settings, photos, known)


class SavedProbabilities(Dataset[tuple[Tensor, Tensor]]):
    """The weighted mean of each photo's saved probabilities, float32 (H, W), and the votes for foreground, uint8."""

    def __init__(
        self, photos: Sequence[Photo], preds: Sequence[Path], weights: Sequence[float], threshold: float
    ) -> None:
        self.photos = photos
        self.preds = preds
        self.weights = weights
        self.threshold = threshold

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The mean and the votes for the photo at this place.

        Raises:
            InputError: a map cannot be read, or they differ in size.
        """
        paths = [pred_folder.probability_path(pred, self.photos[index].stem) for pred in self.preds]
        maps = [read_gray(path) / np.float64(255) for path in paths]
        for path, map_HW in zip(paths, maps, strict=True):
            require(map_HW.shape == maps[0].shape, f"{path}: has another size than {paths[0]}")
        mean_HW = np.average(maps, axis=0, weights=self.weights).astype(np.float32)
        votes_HW = np.sum([map_HW >= self.threshold for map_HW in maps], axis=0, dtype=np.uint8)
        return torch.from_numpy(mean_HW), torch.from_numpy(votes_HW)


def _common_photos(preds: Sequence[Path]) -> list[Photo]:
    """The photos that all the folders hold, at the size of their probabilities, in the order of their stems."""
    files = [pred_folder.photo_files(pred) for pred in preds]
    for pred, of_pred in zip(preds, files, strict=True):
        strange = sorted(files[0].keys() ^ of_pred.keys())
        require(not strange, f"{pred} and {preds[0]} are not of the same photos; they differ in {first_few(strange)}")
        lacking = [stem for stem in of_pred if not pred_folder.probability_path(pred, stem).exists()]
        message = f"{pred}: {len(lacking):,} photos without probabilities ({first_few(lacking)})"
        require(not lacking, f"{message}; run infer.py with --save-probabilities")
    sizes = {stem: image_size(pred_folder.probability_path(preds[0], stem)) for stem in sorted(files[0])}
    return [Photo(stem, files[0][stem], size) for stem, size in sizes.items()]


def _settings(preds: Sequence[Path], weights: Sequence[float], threshold: float) -> dict[str, Any]:
    """What the record says of a blend."""
    records = [pred_folder.read_record(pred) for pred in preds]
    slugs = {record["competition"] for record in records}
    if len(slugs) > 1:
        raise InputError(f"{', '.join(map(str, preds))}: of different competitions: {', '.join(sorted(slugs))}")
    made_of = ("models", "blend", "tta", "tta_scales")
    blended = [
        {"pred": pred.resolve().name, "weight": weight, **{name: record[name] for name in made_of if name in record}}
        for pred, weight, record in zip(preds, weights, records, strict=True)
    ]
    return {"competition": slugs.pop(), "photos": records[0].get("photos"), "blend": blended, "threshold": threshold}


def _known(preds: Sequence[Path]) -> dict[str, Any]:
    """What `submit.py` is told of the runs' cross-validation, and of the score to be expected."""
    scores = [score for pred in preds for score in pred_folder.read_record(pred).get("cross_validation", [])]
    once = [score for at, score in enumerate(scores) if score not in scores[:at]]
    return {"cross_validation": once, "estimate": {"unavailable": "the out-of-fold photos were not blended"}}
