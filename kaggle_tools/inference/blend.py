"""Folders of saved probabilities to one folder of masks: the weighted mean of what other days and machines predicted.

H height, W width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kaggle_tools.competitions import named
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import image_size, read_gray
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.workers import loader, plain_worker_errors
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.inference.predict import Prediction
from kaggle_tools.inference.write_masks import MaskWriter, say_outdated
from kaggle_tools.results import pred_folder
from kaggle_tools.results.after_care import AfterCare
from kaggle_tools.results.pred_folder import Outputs
from kaggle_tools.results.records.masks import Blended, Record
from kaggle_tools.results.scores import ExpectedScore
from kaggle_tools.system.output import say
from kaggle_tools.system.progress import track


def blend_folders(
    preds: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    competition: Competition,
    outputs: Outputs,
    *,
    threshold: float,
    workers: int,
) -> int:
    """Write the masks of the weighted mean of the probabilities in several PRED into another, and count them.

    The same call continues an interrupted blend.

    Raises:
        InputError: the folders are not of the same photos, not finished or made without `--save-probabilities`, a map
            in them cannot be read, `out` was begun with another blend, or a photo to draw on is not the one.
    """
    photos = _common_photos(preds)
    noted = _common_hashes(preds, photos)
    if outputs.overlays:  # which show the photos that the first folder names
        pred_folder.require_known(preds[0], {photo.stem: photo.path for photo in photos}, pred_folder.probability_path)
    record = _record(preds, weights, threshold)
    with pred_folder.begun(out, record):
        named.record(out, competition)
        say_outdated(pred_folder.forget_outdated(out, photos, lambda there: [noted[photo.stem] for photo in there]))
        missing = [photo for photo in photos if not pred_folder.is_complete(out, photo.stem, outputs)]
        say(f"{len(missing):,} of {counted(len(photos), 'photo')} to mask from {counted(len(preds), 'folder')}")
        maps = loader(SavedProbabilities(missing, preds, weights, threshold), batch_size=None, workers=workers)
        with plain_worker_errors(), MaskWriter(out, competition, AfterCare(threshold), len(preds), outputs) as writer:
            blended = zip(missing, maps, strict=True)
            for photo, (probability_HW, votes_HW) in track(blended, len(missing), "masks"):
                writer.put(Prediction(photo, probability_HW, votes_HW, noted[photo.stem]))
        return pred_folder.finish(out, record, photos)


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
            if map_HW.shape != maps[0].shape:
                raise InputError(f"{path}: has another size than {paths[0]}")
        mean_HW = np.average(maps, axis=0, weights=self.weights).astype(np.float32)
        votes_HW = np.sum([map_HW >= self.threshold for map_HW in maps], axis=0, dtype=np.uint8)
        return torch.from_numpy(mean_HW), torch.from_numpy(votes_HW)


def _common_photos(preds: Sequence[Path]) -> list[Photo]:
    """The photos that all the folders hold, at the size of their probabilities, in the order of their stems."""
    files = [pred_folder.photo_files(pred) for pred in preds]
    for pred, of_pred in zip(preds, files, strict=True):
        strange = sorted(files[0].keys() ^ of_pred.keys())
        if strange:
            raise InputError(f"{pred} and {preds[0]} are not of the same photos; they differ in {first_few(strange)}")
        lacking = [stem for stem in of_pred if not pred_folder.probability_path(pred, stem).exists()]
        if lacking:
            found = f"{pred}: {counted(len(lacking), 'photo')} without probabilities ({first_few(lacking)})"
            raise InputError(f"{found}; run `infer` with --save-probabilities")
    sizes = {stem: image_size(pred_folder.probability_path(preds[0], stem)) for stem in sorted(files[0])}
    return [Photo(stem, files[0][stem], size) for stem, size in sizes.items()]


def _common_hashes(preds: Sequence[Path], photos: Sequence[Photo]) -> dict[str, str]:
    """By stem, the SHA-256 of the photo that all folders' probabilities were made of; empty where none notes it."""
    noted = {
        photo.stem: {pred_folder.noted_photo(pred_folder.probability_path(pred, photo.stem)) for pred in preds} - {""}
        for photo in photos
    }
    different = [stem for stem, hashes in noted.items() if len(hashes) > 1]
    if different:
        found = (
            f"{counted(len(different), 'photo has', 'photos have')} "
            f"the same name, but not the same content: {first_few(different)}"
        )
        raise InputError(f"{', '.join(map(str, preds))}: {found}; run `infer` again where they are not the right ones")
    return {stem: next(iter(hashes), "") for stem, hashes in noted.items()}


def _record(preds: Sequence[Path], weights: Sequence[float], threshold: float) -> Record:
    """What makes the masks of a blend, and what is known of their scores."""
    records = [pred_folder.read_record(pred) for pred in preds]
    slugs = sorted({record.competition for record in records})
    if len(slugs) > 1:
        raise InputError(f"{', '.join(map(str, preds))}: of different competitions: {', '.join(slugs)}")
    blended = (
        Blended(
            pred=pred.resolve().name,
            weight=weight,
            models=record.models,
            blend=record.blend,
            tta=record.tta,
            tta_scales=record.tta_scales,
        )
        for pred, weight, record in zip(preds, weights, records, strict=True)
    )
    return Record(
        competition=slugs[0],
        photos=records[0].photos,
        blend=tuple(blended),
        threshold=threshold,
        cross_validation=tuple(dict.fromkeys(run for record in records for run in record.cross_validation)),
        expected=ExpectedScore(None, "the out-of-fold photos were not blended"),
    )
