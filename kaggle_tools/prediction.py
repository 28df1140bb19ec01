"""Photos to masks at the photos' own size: the one path for test photos and out-of-fold photos alike.

One photo's way: decoded and resized in a worker, through every network in every flip, probabilities
flipped back and averaged, brought to the photo's own size, and only there cut at the threshold.

B batch, H height, W width. Probabilities are averaged, not logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kaggle_tools import run_folder
from kaggle_tools.data import EqualSizeBatches, ResizedPhotos, Size, loader, plain_worker_errors
from kaggle_tools.errors import InputError
from kaggle_tools.images import Photo
from kaggle_tools.model import ModelCard, Segmenter, load
from kaggle_tools.presets import Tta

_FLIPPED_AXES: dict[Tta, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "hflip": ((), (-1,)),
    "flips": ((), (-1,), (-2,), (-2, -1)),
}


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    model: Segmenter
    """In evaluation mode, on the device where it is to run."""
    card: ModelCard
    """What is known of it, as the size to which photos are brought for it."""
    folder: Path
    """The fold that it was trained in."""


def load_members(run_folders: Sequence[Path], folds: Sequence[int] | None, device: torch.device) -> list[Member]:
    """Load the networks of these folds, all there are by default, of several runs.

    Raises:
        InputError: a run has no trained fold, or not the one that is asked for, or a file is damaged.
    """
    members = []
    for run in run_folders:
        trained = run_folder.trained_folds(run) if folds is None else sorted(set(folds))
        for folder in (run_folder.fold_folder(run, fold) for fold in trained):
            model, card = load(folder)
            members.append(Member(model.to(device).to(memory_format=torch.channels_last), card, folder))
    return members


def predict(
    members: Sequence[Member], photos: Sequence[Photo], *, tta: Tta, batch_size: int, workers: int
) -> Iterator[tuple[Photo, Tensor]]:
    """Yield each photo with its probabilities of foreground, float32 (H, W) at its own size, on the networks' device.

    The mean over members and flips. Memory does not grow with the number of photos.

    Raises:
        InputError: a photo cannot be read, or the network gives no numbers for it.
    """
    device = members[0].model.mean.device
    sizes = list(dict.fromkeys(member.card.image_size for member in members))
    batches = EqualSizeBatches(photos, batch_size)
    resized = loader(
        ResizedPhotos(photos, sizes), batch_sampler=batches, workers=workers, pin_memory=device.type == "cuda"
    )
    with plain_worker_errors():
        for indices, images in zip(batches, resized, strict=True):
            at_size = {size: tensor.to(device, non_blocking=True) for size, tensor in zip(sizes, images, strict=True)}
            probabilities_BHW = ensemble_probabilities(members, at_size, photos[indices[0]].size, tta)
            if not bool(probabilities_BHW.isfinite().all()):
                raise InputError(f"{photos[indices[0]].path}: the network's answer is not a number; train it again")
            for index, probability_HW in zip(indices, probabilities_BHW, strict=True):
                yield photos[index], probability_HW


@torch.inference_mode()
def ensemble_probabilities(
    members: Sequence[Member], photos_at_size: dict[Size | None, Tensor], own_size: Size, tta: Tta
) -> Tensor:
    """Mean probabilities (B, H, W) at `own_size`, from the photos (B, 3, h, w) at each member's size.

    Members of one size are averaged at that size, so that each size is enlarged only once.
    """
    total = torch.zeros(())
    for size, photos_B3HW in photos_at_size.items():
        alike = [member.model for member in members if member.card.image_size == size]
        sum_B1HW = torch.stack([flip_mean(model, photos_B3HW, tta) for model in alike]).sum(dim=0)
        total = total.to(sum_B1HW.device) + enlarge(sum_B1HW, own_size)
    return total[:, 0] / len(members)


def flip_mean(model: Segmenter, photos_B3HW: Tensor, tta: Tta) -> Tensor:
    """Mean probabilities (B, 1, H, W) over the flips, each flipped back.

    Photos are flipped before the network pads them, and its padding is cropped before they are flipped
    back: no flip can move a mask by what was padded.
    """
    flips = [torch.sigmoid(_logits(model, photos_B3HW.flip(axes))).flip(axes) for axes in _FLIPPED_AXES[tta]]
    return torch.stack(flips).mean(dim=0)


def enlarge(probabilities_B1HW: Tensor, size: Size) -> Tensor:
    """Bring probabilities to `size` by bilinear interpolation, pixel areas aligned."""
    if probabilities_B1HW.shape[-2:] == size:
        return probabilities_B1HW
    return F.interpolate(probabilities_B1HW, size=size, mode="bilinear", align_corners=False)


def mask_notes(probability_HW: Tensor, mask_HW: Tensor) -> dict[str, float]:
    """What can be said of a mask without the truth.

    `area`: the share of the photo that it covers. `expected_dice`: the Dice to be expected if the
    probabilities are right: twice the probability inside the mask over the mask's area and all probability.
    """
    probability_HW = probability_HW.double()  # so that the order of the sum does not show in the digits kept
    inside, total = float(probability_HW[mask_HW].sum()), float(probability_HW.sum())
    area = int(mask_HW.sum())
    expected = 2 * inside / (area + total) if area + total > 0 else 1.0
    return {"area": round(area / mask_HW.numel(), 6), "expected_dice": round(expected, 6)}


def best_device() -> torch.device:
    """The fastest device of this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether the GPU itself computes in bfloat16; older ones only imitate it, slowly."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _logits(model: Segmenter, photos_B3HW: Tensor) -> Tensor:
    """Logits in float32, computed in half precision where the device is made for it."""
    on_gpu = photos_B3HW.device.type == "cuda"
    half = torch.bfloat16 if on_gpu and has_bfloat16() else torch.float16
    with torch.autocast(photos_B3HW.device.type, dtype=half, enabled=on_gpu):
        return model(photos_B3HW.to(memory_format=torch.channels_last)).float()
