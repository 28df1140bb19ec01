"""Predictions to files: the mask, what can be said of it without the truth, and what people look at.

The device applies the threshold and packs the mask's bits; threads write files while the networks work. Only a few
photos wait to be written at once, so that memory does not grow where the disk is slow.

H height, W width.
"""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Self, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.values import AUTO
from kaggle_tools.data.draw_outlines import draw_outlines
from kaggle_tools.data.images import read_photo, write_gray, write_packed_mask, write_photo
from kaggle_tools.data.listing import Photo, targets_of
from kaggle_tools.data.loading.datasets import equal_size_batches
from kaggle_tools.errors import InputError, OutOfTimeError, counted, first_few
from kaggle_tools.inference.ensemble import Ensemble
from kaggle_tools.inference.predict import (
    LARGEST_BATCH,
    Prediction,
    Unreadable,
    as_bytes,
    batch_size_that_fits,
    predict,
)
from kaggle_tools.metrics import Overlap
from kaggle_tools.precision import FP32, FixedPrecision, Precision
from kaggle_tools.results.after_care import AfterCare
from kaggle_tools.results.pred_folder import (
    Outputs,
    forget_outdated,
    is_complete,
    mask_path,
    overlay_path,
    photo_note,
    probability_path,
    record_if_begun,
)
from kaggle_tools.results.records.masks import MaskNotes
from kaggle_tools.system.hardware import fast_precision
from kaggle_tools.system.output import say
from kaggle_tools.system.processes import gathered, is_orphan, of_the_first, rank_and_ranks
from kaggle_tools.system.progress import track, warned_of_deadline

DOUBTFUL = (0.1, 0.9)
"""With a probability between these a pixel is neither foreground nor background for sure."""
THREADS = 4
DIGITS = 6


def mask_photos(
    pred: Path,
    competition: Competition,
    ensemble: Ensemble,
    photos: Sequence[Photo],
    outputs: Outputs,
    *,
    batch_size: int,
    workers: int,
    care: AfterCare | None = None,
    deadline: float = math.inf,
) -> list[str]:
    """Write the masks that PRED lacks or has of other photos, of several processes that work together each its share.

    Masks are made with the ensemble's threshold, or where `care` says more, in that way.
    Batches are the same however often the work was interrupted and whoever shares it, and so are the masks.
    Returns what is wrong with the photos that could not be read, in any of the processes.

    Raises:
        InputError: the networks gave NaN or infinity, the memory does not suffice, or a photo or mask that is there
            cannot be read.
        OutOfTimeError: `deadline`, as `time.monotonic` counts, came before the end; the same call continues.
    """
    rank, ranks = rank_and_ranks()
    if rank == 0:
        say_outdated(forget_outdated(pred, targets_of(photos)))
    # Others may find more or fewer, while the first one deletes and writes.
    unfinished = of_the_first(_unfinished_batches(pred, photos, outputs, batch_size))
    share = unfinished[rank::ranks]
    masks_of_batches = [sum(len(photos[index].targets) for index in batch) for batch in share]
    predictions = predict(ensemble, photos, share, workers=workers)
    if rank == 0:
        shared = f", shared by {ranks} processes" if ranks > 1 else ""
        count = sum(len(batch) for batch in unfinished)
        by = counted(len(ensemble.members), "network")
        say(f"{count:,} of {counted(len(photos), 'photo')} to mask with {by}{shared}")
        own_count = sum(masks_of_batches)
        predictions = track(warned_of_deadline(predictions, own_count, deadline), own_count, "masks")
    failures: dict[str, None] = {}  # each once, however many masks of its photo are missing
    late = False
    ends = set(accumulate(masks_of_batches))  # within a batch, all would be masked anew
    care = care or AfterCare(ensemble.threshold)
    with MaskWriter(pred, competition, care, len(ensemble.members), outputs) as writer:
        for done, prediction in enumerate(predictions, start=1):
            if isinstance(prediction, Unreadable):
                failures[prediction.error] = None
            else:
                writer.put(prediction)
            if rank > 0 and is_orphan():
                raise InputError("the process that started this one has ended")
            late = done in ends and time.monotonic() > deadline
            if late:
                break
    if any(gathered(late)):
        raise OutOfTimeError("stopped before all photos were masked, as --max-hours asks; the same command continues")
    return [error for errors in gathered([*failures]) for error in errors]


def say_outdated(stems: list[str]) -> None:
    """Say of which photos masks are made again, if of any."""
    if stems:
        say(f"made anew, as their photos changed: {counted(len(stems), 'mask')} ({first_few(stems)})")


def batch_size_for(pred: Path, ensemble: Ensemble, photos: Sequence[Photo]) -> int:
    """How many photos go through the networks at once: what PRED was begun with, or what fits on all devices.

    Raises:
        InputError: PRED's record is damaged, or has more photos than would be taken without it; or not even one fits.
    """
    begun = record_if_begun(pred)
    recorded = begun and begun.batch_size
    if recorded and recorded > LARGEST_BATCH:  # a folder that came from elsewhere must not ask for all memory
        raise InputError(f"{pred}: begun with --batch-size {recorded}; give it as well, if that is meant")
    return min(gathered(recorded or batch_size_that_fits(ensemble, photos)))


def precision_for(pred: Path, device: torch.device, asked: Precision) -> FixedPrecision:
    """The arithmetic of the networks: what is asked for, or else what PRED was begun with, or else the fastest.

    Raises:
        InputError: PRED's record is damaged, or names an arithmetic that is not known.
    """
    if asked != AUTO:
        return asked
    begun = record_if_begun(pred)
    if begun is None:
        return fast_precision(device)
    if begun.precision is None:  # of an older version, which computed in float32 on processors
        return FP32 if device.type == "cpu" else fast_precision(device)
    known = [precision for precision in get_args(FixedPrecision) if precision == begun.precision]
    if not known:
        raise InputError(f"{pred}: begun with --precision {begun.precision}, which is not known; give another --out")
    return cast(FixedPrecision, known[0])


def _unfinished_batches(pred: Path, photos: Sequence[Photo], outputs: Outputs, batch_size: int) -> list[list[int]]:
    return [
        batch
        for batch in equal_size_batches(photos, batch_size)
        if not all(is_complete(pred, one.stem, outputs) for index in batch for one in photos[index].targets)
    ]


class MaskWriter:
    """Writes predictions into the folder PRED, in threads; its `with` block ends when all is on disk.

    Args:
        pred: the folder.
        competition: whose score is expected.
        care: how probabilities become a mask.
        voters: how many networks, or folders, voted.
        outputs: what to write of each photo beside its mask.

    Raises:
        InputError: in any call, for an earlier photo: its probabilities are NaN or infinite.
        OSError: likewise: a file could not be written.
    """

    def __init__(self, pred: Path, competition: Competition, care: AfterCare, voters: int, outputs: Outputs) -> None:
        self.pred = pred
        self.competition = competition
        self.care = care
        self.voters = voters
        self.outputs = outputs
        self.pool = ThreadPoolExecutor(THREADS)
        self.unwritten: deque[Future[None]] = deque()

    def put(self, prediction: Prediction) -> None:
        """Begin to write a prediction; waits for the oldest one where many are unwritten."""
        probability_HW, votes_HW = prediction.probability_HW, prediction.votes_HW
        made_of = photo_note(prediction.photo_sha256)
        care = self.care.of(self.competition.stem_and_class(prediction.photo.stem)[1])
        try:
            results = self._results(probability_HW, votes_HW, care)
        except torch.OutOfMemoryError:  # on the GPU, where other photos wait to be written
            results = self._results(probability_HW.cpu(), votes_HW.cpu(), care)
        self.unwritten.append(self.pool.submit(self._write, prediction.photo, made_of, _Arrival(results)))
        if len(self.unwritten) > 4 * THREADS:
            self.unwritten.popleft().result()

    def _results(self, probability_HW: Tensor, votes_HW: Tensor, care: AfterCare) -> list[Tensor]:
        """What is written of a photo: its mask, what is measured, and its probabilities where they are wanted."""
        mask_HW = probability_HW >= care.threshold
        if care.is_more_than_a_threshold:
            mask_HW = torch.from_numpy(care.applied(mask_HW.cpu().numpy())).to(mask_HW.device)
        results = [packed(mask_HW), measured(probability_HW, mask_HW, votes_HW)]
        return [*results, as_bytes(probability_HW)] if self.outputs.probabilities else results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown()
        if error[0] is None:
            for future in self.unwritten:
                future.result()

    def _write(self, photo: Photo, made_of: Mapping[str, str], arrival: "_Arrival") -> None:
        """The mask last: where it is, all is."""
        bits, numbers, *maps = arrival.wait()
        notes = notes_of(sums_of(numbers.tolist(), photo), photo, self.voters, self.competition)
        for map_HW in maps:
            write_gray(probability_path(self.pred, photo.stem), map_HW, made_of)
        if self.outputs.overlays:
            mask_HW = np.unpackbits(bits, axis=1, count=photo.size[1]).astype(bool)
            drawn = draw_outlines(read_photo(photo.path), mask_HW)
            write_photo(overlay_path(self.pred, photo.stem), drawn)
        write_packed_mask(mask_path(self.pred, photo.stem), bits, photo.size[1], {**notes.recorded(), **made_of})


def packed(mask_HW: Tensor) -> Tensor:
    """Eight pixels of a row in each byte, uint8 (H, ceil(W / 8)), as `numpy.packbits` packs them."""
    height, width = mask_HW.shape
    bits_HN8 = F.pad(mask_HW.byte(), (0, -width % 8)).view(height, -1, 8)
    # Made on the device: a list brought there would wait for all that the device has still to do.
    places_8 = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=mask_HW.device)
    return (bits_HN8 * places_8).sum(dim=-1, dtype=torch.uint8)


class MaskSums(NamedTuple):
    """Sums over the pixels of a photo, from which `MaskNotes` follow."""

    area: float
    """Pixels in the mask."""
    inside: float
    """The probabilities in the mask, added up."""
    probability: float
    """All probabilities, added up."""
    doubtful: float
    """Pixels with a probability between those of `DOUBTFUL`."""
    outline: float
    """Pairs of pixels, one below or beside the other, of which only one is in the mask."""
    votes_inside: float
    """Votes for pixels in the mask."""
    votes: float
    """All votes."""
    peak: float
    """The largest probability."""

    @property
    def expected_dice(self) -> float:
        """The Dice to be expected if the probabilities are right.

        Twice the probability inside the mask over the mask's area and all probability.
        """
        total = self.area + self.probability
        return 2 * self.inside / total if total > 0 else 1.0

    @property
    def expected_overlap(self) -> Overlap:
        """The counts of pixels to be expected if the probabilities are right."""
        return Overlap(self.inside, self.area, self.probability)

    def expected_score(self, competition: Competition) -> float:
        """The competition's score to be expected if the probabilities are right: that of the expected counts of pixels.

        A blank mask is either wholly right or wholly wrong. Where that is usual, it is taken for right with the
        probability that even the likeliest pixel is background, the most that the pixels together can have.
        """
        if self.area == 0 and competition.blank_usual:
            return 1 - self.peak
        return float(competition.score(self.expected_overlap))


def measured(probability_HW: Tensor, mask_HW: Tensor, votes_HW: Tensor) -> Tensor:
    """The values of `MaskSums` in their order, float64 (8,): in one tensor, as each that is fetched costs a wait."""
    low, high = DOUBTFUL
    doubtful_HW = (probability_HW > low) & (probability_HW < high)
    edges = [(mask_HW.diff(dim=dim)).sum() for dim in (0, 1)]
    sums = (
        mask_HW.sum(),
        # In double precision, so that the order of a sum does not show in the digits kept.
        (probability_HW * mask_HW).sum(dtype=torch.float64),
        probability_HW.sum(dtype=torch.float64),
        doubtful_HW.sum(),
        edges[0] + edges[1],
        (votes_HW * mask_HW).sum(),
        votes_HW.sum(),
        probability_HW.max(),
    )
    return torch.stack([one.double() for one in sums])


def sums_of(values: Sequence[float], photo: Photo) -> MaskSums:
    """The values that `measured` gave of a photo, by their names.

    Raises:
        InputError: a probability is NaN or infinite, and so is then their sum.
    """
    sums = MaskSums(*values)
    if not math.isfinite(sums.probability):
        raise InputError(f"{photo.path}: the model gave NaN or infinity; train it again")
    return sums


def notes_of(sums: MaskSums, photo: Photo, voters: int, competition: Competition) -> MaskNotes:
    """What is known of a mask without the truth, to six digits; `voters` is how many networks, or folders, voted."""
    agreement = None
    if voters > 1:
        total = sums.votes + voters * sums.area
        agreement = round(2 * sums.votes_inside / total if total > 0 else 1.0, DIGITS)
    pixels = photo.size[0] * photo.size[1]
    return MaskNotes(
        area=round(sums.area / pixels, DIGITS),
        expected_dice=round(sums.expected_dice, DIGITS),
        border_width=round(sums.doubtful / max(1.0, sums.outline), DIGITS),
        agreement=agreement,
        expected_score=round(sums.expected_score(competition), DIGITS),
        expected_truth=round(sums.probability / pixels, DIGITS) if competition.pools_pixels else None,
    )


class _Arrival:
    """Results that are being copied from the device to main memory."""

    def __init__(self, results: Sequence[Tensor]) -> None:
        on_gpu = results[0].device.type == "cuda"
        self.tensors = [result.to("cpu", non_blocking=on_gpu) for result in results]
        self.event = torch.cuda.current_stream().record_event() if on_gpu else None

    def wait(self) -> list[NDArray[Any]]:
        """The results, once they have arrived."""
        if self.event:
            self.event.synchronize()
        return [tensor.numpy() for tensor in self.tensors]
