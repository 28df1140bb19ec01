"""Test-time augmentation (TTA): one network's probabilities, averaged over flips and scales of the photos.

B batch, C classes, H height, W width. Probabilities are averaged, not logits.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kaggle_tools.config.training import Tta
from kaggle_tools.data.images import Size
from kaggle_tools.data.loading.augment import TRANSFORMS, flipped_axes
from kaggle_tools.data.loading.fitting import Frame
from kaggle_tools.system.hardware import fast_memory_format
from kaggle_tools.system.output import warn, warn_once

FLIPPED_AXES: dict[Tta, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "hflip": ((), (-1,)),
    "flips": ((), (-1,), (-2,), (-2, -1)),
}
"""The axes of each flip over which is averaged; flipping them again undoes it."""
TURNED = {-1: "mirrored left to right", -2: "upside down"}
"""What flipping an axis makes of a photo."""


def warn_of_untrained_flips(tta: Tta, augmentations: Iterable[str]) -> None:
    """Say which of the flips a training with one of these augmentations never shows: such photos are masked worse.

    An augmentation that is not known is passed over.
    """
    for augmentation in sorted(TRANSFORMS.keys() & set(augmentations)):
        trained = flipped_axes(augmentation)
        unseen = [axis for axis in TURNED if axis not in trained and any(axis in flip for flip in FLIPPED_AXES[tta])]
        if unseen:
            known = [name for name, flips in FLIPPED_AXES.items() if all(set(flip) <= trained for flip in flips)]
            warn(
                f"--tta {tta}: photos that are {' or '.join(TURNED[axis] for axis in unseen)} were never shown in a "
                f"training with --augmentation {augmentation}, and are usually masked worse; --tta {known[-1]} leaves "
                "them out"
            )


def tta_mean(
    model: nn.Module,
    photos_at_scales: Sequence[tuple[Tensor, Frame]],
    tta: Tta,
    own_size: Size,
    half: torch.dtype | None = None,
) -> Tensor:
    """Mean probabilities (B, C, H, W) at `own_size` over the scales and flips.

    `photos_at_scales` are the same photos, uint8 (B, 3, h, w), once for each scale, and where in these they lie; `half`
    are the 16-bit numbers in which the network computes, if it does.
    """
    at_scales = [frame.cut(flip_mean(model, photos_B3HW, tta, half)) for photos_B3HW, frame in photos_at_scales]
    probabilities = [enlarge(probability_BCHW, own_size) for probability_BCHW in at_scales]
    return torch.stack(probabilities).mean(dim=0)


def flip_mean(model: nn.Module, photos_B3HW: Tensor, tta: Tta, half: torch.dtype | None = None) -> Tensor:
    """Mean probabilities (B, C, H, W) over the flips, each flipped back.

    Photos are flipped before the network pads them, and its padding is cropped before they are flipped
    back: no flip can move a mask by what was padded.
    """
    flips = [torch.sigmoid(logits_of(model, photos_B3HW.flip(axes), half)).flip(axes) for axes in FLIPPED_AXES[tta]]
    return torch.stack(flips).mean(dim=0)


def logits_of(model: nn.Module, photos_B3HW: Tensor, half: torch.dtype | None = None) -> Tensor:
    """Logits in float32, computed with these 16-bit numbers where they are given.

    What float16 cannot hold is computed again in float32: its largest number is 65,504.
    """
    device = photos_B3HW.device
    photos_B3HW = photos_B3HW.to(memory_format=fast_memory_format(device))
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        logits_BCHW: Tensor = model(photos_B3HW).float()
    if half is torch.float16 and not bool(logits_BCHW.isfinite().all()):
        warn_once("activations overflow float16; these photos are masked in float32, which is slower")
        logits_BCHW = model(photos_B3HW).float()
    return logits_BCHW


def enlarge(probabilities_BCHW: Tensor, size: Size) -> Tensor:
    """Bring probabilities to `size` by bilinear interpolation, pixel areas aligned.

    Also where they become smaller, as after a scale above 1: the neighbouring pixels are as good as their mean.
    """
    if probabilities_BCHW.shape[-2:] == size:
        return probabilities_BCHW
    return F.interpolate(probabilities_BCHW, size=size, mode="bilinear", align_corners=False)
