"""The photos that a fold never saw: masked at their own size, scored, and counted for the best threshold.

A histogram of each photo's probabilities, by what is really there, is enough to know its score at every
threshold, and how far its probabilities can be trusted.

H height, W width.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import read_gray, read_mask, write_gray, write_mask
from kaggle_tools.data.listing import Photo, targets_of
from kaggle_tools.data.loading.datasets import equal_size_batches
from kaggle_tools.errors import InputError
from kaggle_tools.inference.ensemble import Ensemble, Member
from kaggle_tools.inference.predict import Prediction, Unreadable, as_bytes, predict
from kaggle_tools.inference.write_masks import measured, sums_of
from kaggle_tools.models.folding import without_normalisation
from kaggle_tools.precision import FixedPrecision
from kaggle_tools.results import run_folder
from kaggle_tools.results.after_care import levels_of
from kaggle_tools.results.records.histograms import HeldOut
from kaggle_tools.results.scores import COUNTS, EXPECTED_COUNTS
from kaggle_tools.system.files import replacing, write_text
from kaggle_tools.system.hardware import fast_memory_format
from kaggle_tools.system.processes import gathered, rank_and_ranks
from kaggle_tools.system.progress import track


class ScoredPhoto(NamedTuple):
    """A row of `oof.csv`, and of the histograms beside it: a photo, or one class in it."""

    image: str
    fold: int
    score: float
    dice: float
    iou: float
    expected_dice: float
    expected_score: float
    histogram: NDArray[np.uint32]
    """Pixels of background and foreground by probability, shape (2, BINS)."""
    levels: NDArray[np.int64]
    """Pixels of the mask's parts and holes, shape (2, LEVELS, 2): see `after_care.levels_of`."""
    counts: metrics.Overlap
    """Pixels of the masks; recorded where the competition's score is one over all pixels, as `expected` is."""
    expected: metrics.Overlap
    """Those to be expected if the probabilities are right."""


NOT_IN_THE_TABLE = ["histogram", "levels", "counts", "expected"]


def score_fold(
    member: Member,
    competition: Competition,
    photos: Sequence[Photo],
    *,
    device: torch.device,
    precision: FixedPrecision,
    batch_size: int,
    workers: int,
    save_probabilities: bool = False,
) -> None:
    """Predict a fold's held-out photos: masks, histograms and, last, `oof.csv`.

    Processes that trained together share the photos; the first one writes the tables.

    Raises:
        InputError: a photo cannot be read, the model gave NaN or infinity, or the memory does not suffice.
    """
    rank, ranks = rank_and_ranks()
    share = photos[rank::ranks]
    one_by_one = scored_photos(
        member,
        competition,
        share,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        save_probabilities=save_probabilities,
    )
    scored = [*track(one_by_one, len(targets_of(share)), "out-of-fold masks")]
    scored = [photo for of_process in gathered(scored) for photo in of_process]
    if rank == 0:
        _write_tables(member.folder, sorted(scored, key=lambda photo: photo.image), competition)


def scored_photos(
    member: Member,
    competition: Competition,
    photos: Sequence[Photo],
    *,
    device: torch.device,
    precision: FixedPrecision,
    batch_size: int,
    workers: int,
    save_probabilities: bool = False,
) -> Iterator[ScoredPhoto]:
    """Yield the scores of photos, whose masks, and where asked for their probabilities, are written into the fold.

    Raises:
        InputError: a photo cannot be read, the model gave NaN or infinity, or the memory does not suffice.
    """
    for prediction in _predictions(member, photos, device, precision, batch_size, workers):
        if save_probabilities:
            _save_probability(prediction, member.folder)
        yield _scored(prediction, member, competition)


def save_probabilities(
    member: Member,
    photos: Sequence[Photo],
    *,
    device: torch.device,
    precision: FixedPrecision,
    batch_size: int,
    workers: int,
) -> None:
    """Write the probabilities of photos that a finished fold held out; masks and scores remain as they are.

    Raises:
        InputError: a photo cannot be read, the model gave NaN or infinity, or the memory does not suffice.
    """
    predictions = _predictions(member, photos, device, precision, batch_size, workers)
    for prediction in track(
        predictions, len(targets_of(photos)), f"out-of-fold probabilities of fold {member.card.fold}"
    ):
        _save_probability(prediction, member.folder)


def held_out_by_mix(
    runs: Sequence[Path], weights: Sequence[float], photos: Sequence[Photo], folds: Collection[int] = ()
) -> HeldOut:
    """The photos that all of the runs held out, by the weighted mean of the runs' probabilities.

    Only photos of these `folds` count, if any are named.

    Raises:
        InputError: the runs hold out no photo in common, or its probabilities were not saved, or are of another photo.
    """
    by_run = [run_folder.saved_oof_probabilities(run, folds) for run in runs]
    common = [photo for photo in photos if all(photo.stem in saved for saved in by_run)]
    if not common:
        raise InputError(f"no out-of-fold probabilities that {', '.join(map(str, runs))} have in common")
    histograms = []
    for photo in common:
        assert photo.mask is not None, f"{photo.stem} has no mask"
        truth_HW = read_mask(photo.mask)
        maps_HW = [_probabilities(saved[photo.stem], truth_HW.shape, photo) for saved in by_run]
        mean_HW = np.average(maps_HW, axis=0, weights=weights)
        histograms.append(histogram(torch.from_numpy(mean_HW), torch.from_numpy(truth_HW)))
    return HeldOut([photo.stem for photo in common], np.stack(histograms).astype(np.int64))


def histogram(probability_HW: Tensor, truth_HW: Tensor) -> NDArray[np.uint32]:
    """Pixels of background and foreground by probability, shape (2, BINS)."""
    bins_HW = (probability_HW * run_folder.BINS).long().clamp(max=run_folder.BINS - 1)
    counts = torch.bincount((bins_HW + truth_HW * run_folder.BINS).ravel(), minlength=2 * run_folder.BINS)
    return counts.view(2, run_folder.BINS).cpu().numpy().astype(np.uint32)


def _predictions(
    member: Member,
    photos: Sequence[Photo],
    device: torch.device,
    precision: FixedPrecision,
    batch_size: int,
    workers: int,
) -> Iterator[Prediction]:
    """What the fold's network says of photos, averaged as its card says."""
    member = replace(member, model=without_normalisation(member.model).to(memory_format=fast_memory_format(device)))
    tta, scales = member.card.tta, member.card.tta_scales
    ensemble = Ensemble([member], device, tta=tta, scales=scales, precision=precision)
    for prediction in predict(ensemble, photos, equal_size_batches(photos, batch_size), workers=workers):
        if isinstance(prediction, Unreadable):
            raise InputError(prediction.error)
        yield prediction


def _save_probability(prediction: Prediction, folder: Path) -> None:
    path = run_folder.oof_probability_path(folder, prediction.photo.stem)
    write_gray(path, as_bytes(prediction.probability_HW).cpu().numpy())


def _scored(prediction: Prediction, member: Member, competition: Competition) -> ScoredPhoto:
    """The scores of a held-out photo, whose mask is written."""
    photo, probability_HW = prediction.photo, prediction.probability_HW
    mask_HW = probability_HW >= run_folder.DEFAULT_THRESHOLD
    sums = sums_of(measured(probability_HW, mask_HW, prediction.votes_HW).tolist(), photo)
    assert photo.mask is not None, f"{photo.stem} has no mask"
    truth_HW = read_mask(photo.mask)
    predicted_HW = mask_HW.cpu().numpy()
    write_mask(run_folder.oof_mask_path(member.folder, photo.stem), predicted_HW)
    counts = metrics.overlap(predicted_HW, truth_HW)
    return ScoredPhoto(
        image=photo.stem,
        fold=member.card.fold,
        score=float(competition.score(counts)),
        dice=float(metrics.dice(counts)),
        iou=float(metrics.iou(counts)),
        expected_dice=sums.expected_dice,
        expected_score=sums.expected_score(competition),
        histogram=histogram(probability_HW, torch.from_numpy(truth_HW).to(probability_HW.device)),
        levels=levels_of(predicted_HW, truth_HW),
        counts=counts,
        expected=sums.expected_overlap,
    )


def _probabilities(path: Path, shape: tuple[int, ...], photo: Photo) -> NDArray[np.float64]:
    map_HW = read_gray(path)
    if map_HW.shape != shape:
        raise InputError(f"{path}: has another size than the true mask {photo.mask}; was the photo replaced?")
    return map_HW / 255


def _write_tables(folder: Path, scored: Sequence[ScoredPhoto], competition: Competition) -> None:
    images = np.array([photo.image for photo in scored])
    histograms, levels = (np.stack([getattr(photo, name) for photo in scored]) for name in ("histogram", "levels"))
    with replacing(folder / run_folder.HISTOGRAMS_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=images, histograms=histograms, levels=levels)
    table = pd.DataFrame(scored, columns=ScoredPhoto._fields).drop(columns=NOT_IN_THE_TABLE)
    if competition.pools_pixels:
        expected = dict(zip(EXPECTED_COUNTS, zip(*(photo.expected for photo in scored), strict=True), strict=True))
        counts = dict(zip(COUNTS, zip(*(photo.counts for photo in scored), strict=True), strict=True))
        table = table.assign(**{**expected, **counts})
    write_text(folder / run_folder.OOF_FILE, table.to_csv(index=False, lineterminator="\n"))
