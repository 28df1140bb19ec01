"""Photos to probabilities at the photos' own size: the one path for test photos and out-of-fold photos alike.

While a batch is in the networks, workers decode the next ones. Nothing here waits for the device: what is
yielded on a GPU may not be computed yet; to copy it to the CPU is to wait for it.

B batch, C classes, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo, largest_size
from kaggle_tools.data.loading.datasets import ResizedPhotos
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.data.loading.workers import loader, plain_worker_errors
from kaggle_tools.errors import InputError
from kaggle_tools.inference.ensemble import Ensemble, Mix
from kaggle_tools.models import probe
from kaggle_tools.models.segmenter import Architecture
from kaggle_tools.system.hardware import has_float64, one_kind_of_out_of_memory, wait_for
from kaggle_tools.system.output import warn_once

LARGEST_BATCH = 64
"""No more photos are taken at once unless somebody asks for it."""
BATCH_PIXELS = 8 * 1280 * 1918
"""A batch chosen automatically holds no more pixels than this: more of them are no faster, but need more memory."""
MOST_ELEMENTS = 2**31 - 1
"""Nor has any tensor more elements: kernels that count them in 32 bits fail, or take a slower way."""


class Prediction(NamedTuple):
    """What is known of one photo, or of one class in it."""

    photo: Photo
    """One of its `targets`."""
    probability_HW: Tensor
    """Of foreground, float32, at the photo's own size, on the networks' device."""
    votes_HW: Tensor
    """How many networks by themselves call a pixel foreground, uint8."""
    photo_sha256: str = ""
    """Of the photo's file; empty where it is not known."""


class Unreadable(NamedTuple):
    """A photo, or one class in it, of which there is no prediction."""

    photo: Photo
    error: str
    """What is wrong with its file, and where it is."""


def require_sizes(ensemble: Ensemble, photos: Sequence[Photo]) -> None:
    """Check, before photos are read, that the networks take them at the sizes that they will be given.

    Raises:
        InputError: one of the networks does not; says which size, and which it would take.
    """
    sizes = probe.some_sizes(photo.size for photo in photos)
    passes: dict[Architecture, list[probe.Pass]] = {}
    for member in ensemble.members:
        at = ensemble.inputs_of(member)
        passes.setdefault(member.card.architecture, []).extend(
            probe.Pass(1, one.of(size), training=False, given_by=f"--tta-scales {one.scale:g}")
            for one in at
            for size in sizes
        )
    for architecture, wanted in passes.items():
        probe.require(architecture, wanted)


def predict(
    ensemble: Ensemble, photos: Sequence[Photo], batches: Sequence[list[int]], *, workers: int
) -> Iterator[Prediction | Unreadable]:
    """Yield the predictions of each photo, one for each class, batch by batch.

    `batches` are indices of photos of one size.
    The bits of a prediction depend on its batch, so give the same batches where they shall be the same.
    Memory does not grow with the number of photos.

    Raises:
        InputError: the device's memory does not suffice, not even for one photo.
    """
    device, sizes = ensemble.device, ensemble.input_sizes
    dataset = ResizedPhotos(photos, sizes)
    decoded = loader(dataset, batch_sampler=batches, workers=workers, device=device.type)
    with plain_worker_errors():
        for indices, (images, errors, hashes) in zip(batches, decoded, strict=True):
            own_size = photos[indices[0]].size
            try:
                with one_kind_of_out_of_memory():
                    photos_at = {
                        size: tensor.to(device, non_blocking=True) for size, tensor in zip(sizes, images, strict=True)
                    }
                mix = _mix(ensemble, photos_at, own_size)
                if not has_float64(device):  # in which what is known of a mask is added up
                    mix = Mix(*(tensor.cpu() for tensor in mix))
            except torch.OutOfMemoryError as error:
                raise _out_of_memory(own_size, error) from error
            for index, *masks, wrong, photo_sha256 in zip(indices, *mix, errors, hashes, strict=True):
                for target, probability_HW, votes_HW in zip(photos[index].targets, *masks, strict=True):
                    if wrong:  # what the networks say is of a black photo
                        yield Unreadable(target, wrong)
                    else:
                        yield Prediction(target, probability_HW, votes_HW, photo_sha256)


def as_bytes(probability_HW: Tensor) -> Tensor:
    """Probabilities as 0 to 255, uint8, rounded."""
    return (probability_HW * 255).round().byte()


def batch_size_that_fits(ensemble: Ensemble, photos: Sequence[Photo]) -> int:
    """How many photos to take at once: on a GPU the largest power of two that it holds, elsewhere one.

    Raises:
        InputError: not even one photo fits.
    """
    if ensemble.device.type != "cuda" or not photos:
        return 1
    height, width = largest_size(photos)
    most = min(BATCH_PIXELS // (height * width), MOST_ELEMENTS // _largest_tensor(ensemble, (height, width)))
    fits = 0
    for batch_size in (2**power for power in range(LARGEST_BATCH.bit_length())):
        if fits and batch_size > most:
            break
        try:
            _try(ensemble, batch_size, (height, width))
        except torch.OutOfMemoryError as error:
            if not fits:
                raise _out_of_memory((height, width), error) from error
            break
        fits = batch_size
    torch.cuda.empty_cache()
    return fits


def _largest_tensor(ensemble: Ensemble, own_size: Size) -> int:
    """The elements of the largest tensor in any of the networks while it masks one photo of this size."""
    passes = {
        (member.card.architecture, size.of(own_size))
        for member in ensemble.members
        for size in ensemble.inputs_of(member)
    }
    return max(probe.largest_tensor(architecture, size) for architecture, size in passes)


def _try(ensemble: Ensemble, batch_size: int, own_size: Size) -> None:
    def black(size: InputSize) -> Tensor:
        return torch.zeros(batch_size, 3, *size.of(own_size), dtype=torch.uint8, device=ensemble.device)

    mixes = []
    for _ in range(2):  # as in `predict`, where the last mix is still being written during the next
        photos_at = {size: black(size) for size in ensemble.input_sizes}
        mixes.append(ensemble(photos_at, own_size) if batch_size > 1 else _mix(ensemble, photos_at, own_size))
    wait_for(ensemble.device)


def _mix(ensemble: Ensemble, photos_at: Mapping[InputSize, Tensor], own_size: Size) -> Mix:
    """The ensemble's answer, for the halves of a batch that does not fit.

    Where not even one photo fits beside all of its networks, these work in turn.
    """
    count = len(next(iter(photos_at.values())))
    try:
        return ensemble(photos_at, own_size)
    except torch.OutOfMemoryError:
        if count == 1 and not ensemble.take_turns():
            raise
    if count == 1:
        return ensemble(photos_at, own_size)  # here the memory of the failed attempt is free again
    warn_once(f"out of memory with {count} photos at once; they are taken in halves, which may change single pixels")
    halves = (slice(0, count // 2), slice(count // 2, count))
    mixes = [
        _mix(ensemble, {size: photos_B3HW[half] for size, photos_B3HW in photos_at.items()}, own_size)
        for half in halves
    ]
    return Mix(*(torch.cat(of_halves) for of_halves in zip(*mixes, strict=True)))


def _out_of_memory(size: Size, error: Exception) -> InputError:
    reason = str(error).splitlines()[0]
    return InputError(
        f"out of memory with photos of {size[0]}x{size[1]}, 1 at once ({reason}); "
        "train a model with a smaller --image-size or --width"
    )
