"""The photos that a fold never saw: masked at their own size, scored, and counted for the best threshold.

A histogram of each photo's probabilities, by what is really there, is enough to know its score at every
threshold, and how far its probabilities can be trusted.

H height, W width.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools import metrics
from kaggle_tools.competition import Competition
from kaggle_tools.data.datasets import equal_size_batches
from kaggle_tools.data.images import read_gray, read_mask, write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import require
from kaggle_tools.inference.ensemble import Ensemble, Member
from kaggle_tools.inference.predict import as_bytes, predict
from kaggle_tools.inference.write_masks import expected_from, measured
from kaggle_tools.results import run_folder
from kaggle_tools.results.summary import HeldOut
from kaggle_tools.system.files import replacing, write_text
from kaggle_tools.system.processes import gathered, rank_and_ranks
from kaggle_tools.system.progress import track


def score_fold(
    member: Member,
    competition: Competition,
    photos: Sequence[Photo],
    *,
    device: torch.device,
    batch_size: int,
    workers: int,
    save_probabilities: bool = False,
) -> None:
    """Predict a fold's held-out photos: masks, histograms and, last, `oof.csv`.

    Processes that trained together share the photos; the first one writes the tables.

    Raises:
        InputError: a photo cannot be read, the network's answer is no number, or the memory does not suffice.
    """
    rank, ranks = rank_and_ranks()
    share = photos[rank::ranks]
    ensemble = Ensemble([member], device, tta=member.card.tta, scales=member.card.tta_scales)
    predictions = predict(ensemble, share, equal_size_batches(share, batch_size), workers=workers)
    found: list[tuple[tuple[Any, ...], NDArray[np.uint32]]] = []
    for photo, probability_HW, _, error in track(predictions, len(share), "out-of-fold masks"):
        require(not error, error)
        finite = bool(probability_HW.isfinite().all())
        require(finite, f"{photo.path}: the network's answer is not a number; train it again")
        assert photo.mask is not None, f"{photo.stem} has no mask"
        truth_HW = read_mask(photo.mask)
        mask_HW = (probability_HW >= run_folder.DEFAULT_THRESHOLD).cpu().numpy()
        write_mask(run_folder.oof_mask_path(member.folder, photo.stem), mask_HW)
        if save_probabilities:
            write_gray(probability_path(member.folder, photo.stem), as_bytes(probability_HW).cpu().numpy())
        counts = metrics.overlap(mask_HW, truth_HW)
        row = (*_row(photo.stem, member.card.fold, counts, competition), expected_dice(probability_HW))
        found.append((row, histogram(probability_HW, torch.from_numpy(truth_HW).to(probability_HW.device))))
    found = [entry for share in gathered(found) for entry in share]
    if rank == 0:
        _write_tables(member.folder, sorted(found, key=lambda entry: entry[0]))


def held_out_by_mix(
    runs: Sequence[Path], weights: Sequence[float], photos: Sequence[Photo], folds: Collection[int] = ()
) -> HeldOut:
    """The photos that all of the runs held out, by the weighted mean of the runs' probabilities.

    Only photos of these `folds` count, if any are named.

    Raises:
        InputError: the runs hold out no photo in common, or its probabilities were not saved.
    """
    by_run = [_saved_probabilities(run, folds) for run in runs]
    common = [photo for photo in photos if all(photo.stem in saved for saved in by_run)]
    require(bool(common), f"no out-of-fold probabilities that {', '.join(map(str, runs))} have in common")
    histograms = []
    for photo in common:
        assert photo.mask is not None, f"{photo.stem} has no mask"
        maps_HW = [read_gray(saved[photo.stem]) / 255 for saved in by_run]
        mean_HW = np.average(maps_HW, axis=0, weights=weights)
        histograms.append(histogram(torch.from_numpy(mean_HW), torch.from_numpy(read_mask(photo.mask))))
    return HeldOut([photo.stem for photo in common], np.stack(histograms).astype(np.int64))


def has_probabilities(run: Path, folds: Collection[int] = ()) -> bool:
    """Whether the run, or these of its folds, was trained with `--save-oof-probabilities`."""
    return bool(_saved_probabilities(run, folds))


def histogram(probability_HW: Tensor, truth_HW: Tensor) -> NDArray[np.uint32]:
    """Pixels of background and foreground by probability, shape (2, BINS)."""
    bins_HW = (probability_HW * run_folder.BINS).long().clamp(max=run_folder.BINS - 1)
    counts = torch.bincount((bins_HW + truth_HW * run_folder.BINS).ravel(), minlength=2 * run_folder.BINS)
    return counts.view(2, run_folder.BINS).cpu().numpy().astype(np.uint32)


def expected_dice(probability_HW: Tensor) -> float:
    """The Dice to be expected if the probabilities are right, as it is noted of masks without a truth."""
    mask_HW = probability_HW >= run_folder.DEFAULT_THRESHOLD
    return expected_from(measured(probability_HW, mask_HW, mask_HW).cpu().numpy())


def probability_path(fold_folder: Path, stem: str) -> Path:
    """Where the probabilities of a held-out photo are."""
    return fold_folder / "oof" / "probabilities" / f"{stem}.png"


def _saved_probabilities(run: Path, folds: Collection[int] = ()) -> dict[str, Path]:
    names = {run_folder.fold_folder(run, fold).name for fold in folds}
    found = (path for path in run.glob("fold*/oof/probabilities/*.png") if not path.name.startswith("."))
    return {path.stem: path for path in found if not names or path.parents[2].name in names}


def _write_tables(folder: Path, found: list[tuple[tuple[Any, ...], NDArray[np.uint32]]]) -> None:
    images = np.array([row[0] for row, _ in found])
    with replacing(folder / run_folder.HISTOGRAMS_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=images, histograms=np.stack([counts for _, counts in found]))
    table = pd.DataFrame([row for row, _ in found], columns=[*run_folder.OOF_COLUMNS, run_folder.EXPECTED_DICE])
    write_text(folder / run_folder.OOF_FILE, table.to_csv(index=False, lineterminator="\n"))


def _row(stem: str, fold: int, counts: metrics.Overlap, competition: Competition) -> tuple[Any, ...]:
    return stem, fold, float(competition.score(counts)), float(metrics.dice(counts)), float(metrics.iou(counts))
