"""Networks whose answers are known, and the way from photo to mask once more, in NumPy and double precision."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kaggle_tools.data.images import Size, resize
from kaggle_tools.data.listing import Photo
from kaggle_tools.inference.ensemble import Ensemble, Member, Mix
from kaggle_tools.models.segmenter import Architecture, Segmenter, build
from kaggle_tools.models.weights import ModelCard

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]

CPU = torch.device("cpu")


class RampNet(nn.Module):
    """Logits that depend on the colours and, as a trained network's may, on where in the image a pixel lies.

    A mask that is flipped back wrongly, or by one pixel too many, differs everywhere from the right one.
    """

    def forward(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[-2:]
        rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
        red, green, blue = images_BCHW.split(1, dim=1)
        return 4 * red - 3 * green + 2 * blue + 0.01 * rows - 0.02 * columns


class Constant(nn.Module):
    """The same logit everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return torch.full_like(images_BCHW[:, :1], self.logit)


class BatchNet(nn.Module):
    """Logits that depend on how many photos there are at once, and on the place of each among them."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        batch = len(images_BCHW)
        places = torch.arange(batch, dtype=torch.float32).view(-1, 1, 1, 1)
        return images_BCHW[:, :1] + 0.1 * batch + 0.01 * places


def member(net: nn.Module, image_size: Size | None = None, *, multiple: int = 1, weight: float = 1.0) -> Member:
    segmenter = Segmenter(net, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), multiple=multiple).eval()
    return Member(segmenter, card_of(image_size), Path("fold0"), weight)


def unet(seed: int = 0, image_size: Size | None = None) -> Member:
    """A real network with weights of its own."""
    torch.manual_seed(seed)
    return Member(build(Architecture("unet", width=2, depth=2)).eval(), card_of(image_size), Path("fold0"))


def card_of(image_size: Size | None, **fields: Any) -> ModelCard:
    return replace(ModelCard(Architecture(), image_size, "roof-tiles", 0), **fields)


def ramp_probabilities(photo_HW3: Pixels) -> Floats:
    """What `RampNet` makes of one photo."""
    red, green, blue = photo_HW3.transpose(2, 0, 1) / 255
    rows, columns = np.indices(red.shape)
    return sigmoid(4 * red - 3 * green + 2 * blue + 0.01 * rows - 0.02 * columns)


def sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))


def bilinear(image_HW: Floats, size: Size) -> Floats:
    """Brought to `size` so that the areas of both images are the same: pixel centres lie at halves."""

    def weights(new: int, old: int) -> Floats:
        centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))

    return weights(size[0], image_HW.shape[0]) @ image_HW @ weights(size[1], image_HW.shape[1]).T


UNFLIPPED: dict[str, list[Callable[[NDArray], NDArray]]] = {
    "none": [lambda image: image],
    "hflip": [lambda image: image, lambda image: image[:, ::-1]],
    "flips": [
        lambda image: image,
        lambda image: image[:, ::-1],
        lambda image: image[::-1],
        lambda image: image[::-1, ::-1],
    ],
}
"""By name, the flips; each undoes itself."""


def flipped_mean(network: Callable[[Pixels], Floats], photo_HW3: Pixels, tta: str) -> Floats:
    return np.mean([flip(network(flip(photo_HW3))) for flip in UNFLIPPED[tta]], axis=0)


def scaled_mean(photo_HW3: Pixels, image_size: Size | None, tta: str, scales: tuple[float, ...] = (1.0,)) -> Floats:
    """The mean of what `RampNet` sees in every scale and flip, at the photo's own size."""
    own_size = photo_HW3.shape[:2]
    height, width = image_size or own_size
    seen = [resize(photo_HW3, (round(height * scale), round(width * scale))) for scale in scales]
    return np.mean([bilinear(flipped_mean(ramp_probabilities, photo, tta), own_size) for photo in seen], axis=0)


def noise(size: Size, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save_photo(folder: Path, stem: str, pixels: Pixels) -> Photo:
    Image.fromarray(pixels).save(folder / f"{stem}.png", compress_level=1)
    return Photo(stem, folder / f"{stem}.png", pixels.shape[:2])


def mix_of(members: list[Member], *photos: Pixels, tta: str = "none", **settings: Any) -> Mix:
    """What an ensemble says of a batch of these photos, all of one size."""
    return batch_through(Ensemble(members, CPU, tta=tta, **settings), *photos)


def batch_through(ensemble: Ensemble, *photos: Pixels) -> Mix:
    own_size = photos[0].shape[:2]
    return ensemble({size: stacked(photos, size.of(own_size)) for size in ensemble.input_sizes}, own_size)


def stacked(photos: tuple[Pixels, ...], size: Size) -> Tensor:
    return torch.stack([torch.from_numpy(resize(photo, size).transpose(2, 0, 1).copy()) for photo in photos])


def probability(members: list[Member], photo: Pixels, tta: str = "none", **settings: Any) -> Floats:
    ((probability_HW,),) = mix_of(members, photo, tta=tta, **settings).probability_BCHW
    return probability_HW.numpy()
