"""Whether a network takes photos of a size and a number: tried without photos and without weights.

On PyTorch's meta device tensors have shapes but no contents. All that depends on shapes fails there as it would with
real photos: padding that needs more pixels, attention made for one size, batch normalisation of a single value. A pass
takes about a tenth of a second at any size, and no memory.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kaggle_tools.errors import InputError
from kaggle_tools.models.segmenter import Architecture, Segmenter, blueprint

USUAL_SIDES = (224, 256, 384, 512)
"""Networks that are made for one size are made for one of these, as squares."""
MOST_SIZES = 32
"""So many sizes of photos are tried; where there are more, the smallest, the largest and some between."""


class Pass(NamedTuple):
    """A batch that is to go through a network."""

    photos: int
    """How many at once."""
    size: tuple[int, int]
    """Their (height, width) in pixels, as the network is given them."""
    training: bool
    """Whether in training, where some layers need more than one value, or in evaluation."""
    given_by: str
    """The option that makes it so, for the message."""

    def __str__(self) -> str:
        photos = "1 photo" if self.photos == 1 else f"{self.photos} photos"
        mode = "training" if self.training else "evaluation"
        return f"{photos} of {self.size[0]}x{self.size[1]} in {mode} ({self.given_by})"


def require(architecture: Architecture, passes: Iterable[Pass]) -> None:
    """Check that a network takes all of these batches.

    Raises:
        InputError: there is no such network, or it does not take one of them; says which, and what it would take.
    """
    network = blueprint(architecture)
    for wanted in dict.fromkeys(passes):
        reason = _failure(network, wanted)
        if reason is not None:
            raise InputError(
                f"{architecture.name} cannot take {wanted}: {reason or 'it fails'}.\n{_what_to_do(network, wanted)}"
            )


def smallest_batch(architecture: Architecture, size: tuple[int, int]) -> int:
    """How many photos of this size a training step needs: 1, or 2 where batch normalisation would see one value.

    Raises:
        InputError: the network does not take the size.
    """
    network = blueprint(architecture)
    one, two = (Pass(photos, size, True, "--image-size") for photos in (1, 2))
    if _failure(network, one) is None:
        return 1
    require(architecture, [two])
    return 2


def largest_tensor(architecture: Architecture, size: tuple[int, int]) -> int:
    """How many elements the largest tensor has while one photo of this (height, width) is masked.

    Raises:
        InputError: there is no such network.
    """
    network = blueprint(architecture).eval()
    with torch.inference_mode(), _Largest() as largest:  # type: ignore[no-untyped-call]
        network(torch.empty(1, 3, *size, dtype=torch.uint8, device="meta"))
    elements: int = largest.elements
    return elements


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the number of elements of the largest result of all operations."""

    elements = 0

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = operation(*args, **(kwargs or {}))
        sizes = (one.numel() for one in tree_leaves(results) if isinstance(one, Tensor))
        self.elements = max(self.elements, *sizes, 0)
        return results


def some_sizes(sizes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each size once, from the smallest to the largest; of many only some."""
    each = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    if len(each) <= MOST_SIZES:
        return each
    return [each[round(place * (len(each) - 1) / (MOST_SIZES - 1))] for place in range(MOST_SIZES)]


def _failure(network: Segmenter, wanted: Pass) -> str | None:
    """Why the network does not take a batch, in the words of its library; None where it does."""
    photos_B3HW = torch.empty(wanted.photos, 3, *wanted.size, dtype=torch.uint8, device="meta")
    try:
        with torch.no_grad():
            logits_BCHW = network.train(wanted.training)(photos_B3HW.to(memory_format=torch.channels_last))
    except Exception as error:  # hundreds of networks raise what they like
        return str(error).strip().partition("\n")[0].rstrip(".")
    expected, shape = (wanted.photos, network.classes, *wanted.size), tuple(logits_BCHW.shape)
    return None if shape == expected else f"its answer has the shape {shape}, not {expected}"


def _what_to_do(network: Segmenter, wanted: Pass) -> str:
    """What it would take instead, and the options for that."""
    more = wanted._replace(photos=max(2, wanted.photos))
    if wanted.training and more != wanted and _failure(network, more) is None:
        return (
            "In training it needs at least 2 photos at once on each device: give a larger --batch-size, or more photos."
        )
    works = [size for size in _other_sizes(wanted.size) if _failure(network, more._replace(size=size)) is None]
    if works:
        return f"It takes {works[0][0]}x{works[0][1]}: give another --image-size or --tta-scales, or another --model."
    return "It takes none of the usual sizes either: give another --model."


def _other_sizes(size: tuple[int, int]) -> Sequence[tuple[int, int]]:
    height, width = size
    return [(2 * height, 2 * width), (4 * height, 4 * width), *((side, side) for side in USUAL_SIDES)]
