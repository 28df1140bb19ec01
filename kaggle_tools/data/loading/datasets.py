"""Photos and masks to tensors: decoded, resized and augmented in worker processes, as uint8.

Normalisation is the model's: a quarter of the bytes then travel to the device.

H height, W width; the size of a photo is (height, width) in pixels, None where it keeps its own.
"""

from collections.abc import Iterator, Sequence, Sized
from functools import partial
from itertools import groupby, islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, Sampler

from kaggle_tools.config.training import Fit
from kaggle_tools.data.fingerprint import sha256_of
from kaggle_tools.data.images import Size, read_mask, read_photo, shrink_for
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.augment import Augmenter
from kaggle_tools.data.loading.fitting import InputSize, fitted
from kaggle_tools.data.loading.pixel_cache import PixelCache, Pixels
from kaggle_tools.errors import InputError

CHANGED = "changed while it was being worked on"


class MaskedPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Photos, uint8 (3, H, W), and masks, uint8 (classes, H, W) from 0 to 255, at the size for training.

    A mask value between 0 and 255 is the share of the pixel that is covered.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        image_size: Size | None,
        cache: PixelCache | None = None,
        fit: Fit = "stretch",
    ) -> None:
        self.photos = photos
        self.input = InputSize(image_size, fit=fit)
        self.cache = cache

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The photo and the mask at this place."""
        return _to_tensors(*self.pixels(index))

    def pixels(self, index: int) -> Pixels:
        """The photo, (H, W, 3), and the mask, (H, W), or the masks of several classes, (H, W, C), as arrays.

        Raises:
            InputError: a file cannot be read.
        """
        photo = self.photos[index]
        decode = partial(_decoded, photo, self.input)
        return self.cache.pixels(photo, self.input, decode) if self.cache else decode()


class AugmentedPhotos(Dataset[tuple[Tensor, Tensor]]):
    """`MaskedPhotos`, changed at random as an `Augmenter` does. Asked with (epoch, index), as samplers give them."""

    def __init__(self, photos: MaskedPhotos, augment: Augmenter) -> None:
        self.photos = photos
        self.augment = augment

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.photos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The photo and the mask at this index, changed as this epoch changes them."""
        epoch, index = key
        return _to_tensors(*self.augment(*self.photos.pixels(index), epoch, index))


class PhotosByEpoch(Dataset[tuple[Tensor, Tensor]]):
    """In each epoch the photos at its size. Asked with (epoch, index), as the samplers give them."""

    def __init__(self, epochs: Sequence[AugmentedPhotos]) -> None:
        self.epochs = epochs

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.epochs[0])

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The photo and the mask at this index, as this epoch takes them."""
        epoch, _ = key
        return self.epochs[epoch][key]


class InOrder(Sampler[tuple[int, int]]):
    """Gives the dataset these indices, and with each the epoch, which Lightning sets."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = indices
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """How many photos come in each epoch."""
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (epoch, index)."""
        return ((self.epoch, index) for index in self.indices)


class EpochSampler(DistributedSampler[Any]):
    """Shuffles by (seed, epoch) and gives the dataset the epoch with each index.

    The worker processes live on from epoch to epoch and would not know it otherwise. Lightning calls `set_epoch`.

    Of each process's photos only so many come that they make whole gradient steps, or where they are too few for one,
    whole batches: a last batch of one photo would upset the batch normalisation. Each epoch leaves out other photos.
    """

    def __init__(self, photos: Sized, batch_size: int = 1, accumulate: int = 1, **settings: Any) -> None:
        super().__init__(cast(Dataset[Any], photos), **settings)
        self.parts = (batch_size * accumulate, batch_size, 1)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (epoch, index)."""
        return ((self.epoch, index) for index in islice(super().__iter__(), len(self)))

    def __len__(self) -> int:
        """How many photos come in each epoch."""
        return next(whole for part in self.parts if (whole := self.num_samples // part * part))


class ResizedPhotos(Dataset[tuple[list[Tensor], str, str]]):
    """Each photo at each of several sizes, uint8 (3, H, W), what is wrong with it, and the SHA-256 of its file.

    What is wrong is an empty text where nothing is; where something is, the SHA-256 is empty.

    A photo that cannot be read is black, so that the results for the others in its batch are as if it could.
    """

    def __init__(self, photos: Sequence[Photo], sizes: Sequence[InputSize]) -> None:
        self.photos = photos
        self.sizes = sizes

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[list[Tensor], str, str]:
        """The photo at this place, once for each size."""
        photo = self.photos[index]
        sizes = [size.of(photo.size) for size in self.sizes]
        try:
            # Hashed before it is decoded: what is made of a photo that is replaced in between is found to be outdated.
            photo_sha256 = sha256_of(photo.path)
            return [_channels_first(pixels_HW3) for pixels_HW3 in _at_sizes(photo, self.sizes)], "", photo_sha256
        except InputError as error:
            return [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes], str(error), ""


def equal_size_batches(photos: Sequence[Photo], batch_size: int) -> list[list[int]]:
    """The indices of consecutive photos of one size, in batches: photos of different sizes do not stack."""
    batches = []
    for _, run in groupby(range(len(photos)), key=lambda index: photos[index].size):
        indices = list(run)
        batches += [indices[at : at + batch_size] for at in range(0, len(indices), batch_size)]
    return batches


def _decoded(photo: Photo, wanted: InputSize) -> Pixels:
    size, frame = wanted.of(photo.size), wanted.frame(photo.size)
    photo_HW3 = fitted(_read(photo, shrink_for(photo.path, photo.size, frame.size)), size, frame)
    masks_HW = [fitted(_read_mask(target), size, frame) for target in photo.targets]
    return photo_HW3, np.dstack(masks_HW) if photo.of_classes else masks_HW[0]


def _read_mask(photo: Photo) -> NDArray[np.uint8]:
    """The mask, (H, W), with 255 for foreground.

    Raises:
        InputError: the file cannot be read, or is not of the photo's size.
    """
    assert photo.mask is not None, f"{photo.stem} has no mask"
    mask_HW = read_mask(photo.mask).view(np.uint8) * np.uint8(255)
    if mask_HW.shape != photo.size:
        raise InputError(f"{photo.mask}: {CHANGED}")
    return mask_HW


def _read(photo: Photo, shrink: int) -> NDArray[np.uint8]:
    """The photo, (H, W, 3), as the decoder shrinks it.

    Raises:
        InputError: the file cannot be read, or is not of the size that it had before.
    """
    photo_HW3 = read_photo(photo.path, shrink)
    if photo_HW3.shape[:2] != (photo.size[0] // shrink, photo.size[1] // shrink):
        raise InputError(f"{photo.path}: {CHANGED}")
    return photo_HW3


def _at_sizes(photo: Photo, sizes: Sequence[InputSize]) -> list[NDArray[np.uint8]]:
    """The photo, (H, W, 3), at each size; decoded once for all sizes that the decoder shrinks alike.

    Raises:
        InputError: the file cannot be read, or is not of the size that it had before.
    """
    frames = [size.frame(photo.size) for size in sizes]
    shrinks = [shrink_for(photo.path, photo.size, frame.size) for frame in frames]
    decoded = {shrink: _read(photo, shrink) for shrink in set(shrinks)}
    return [
        fitted(decoded[shrink], size.of(photo.size), frame)
        for shrink, size, frame in zip(shrinks, sizes, frames, strict=True)
    ]


def _to_tensors(photo_HW3: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    masks_HWC = mask if mask.ndim == 3 else mask[..., None]
    return _channels_first(photo_HW3), _channels_first(masks_HWC)


def _channels_first(pixels_HWC: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)))
