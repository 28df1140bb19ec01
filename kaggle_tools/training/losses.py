"""What training minimises. Not what is reported: the scores are in `metrics`.

In training, where several processes share a batch, the losses are those of the whole batch, and so are their gradients
(see `ranks.sums`). In evaluation they are those of a process's own photos, whose number may differ.

B batch, C classes, H height, W width.
"""

import math

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss, SoftBCEWithLogitsLoss
from torch import Tensor, nn

from kaggle_tools.system.processes import rank_and_ranks
from kaggle_tools.training.ranks.sums import of_all_ranks, whole_batch


class SegmentationLoss(nn.Module):
    """A weighted sum of binary cross-entropy, soft Dice and Lovasz hinge; BCE + Dice won Carvana.

    Takes logits (B, C, H, W) and targets in [0, 1] of the same shape; a target between 0 and 1 is a
    pixel that the outline crosses. Gives a scalar: the mean over the classes, each of which is masked by itself.

    Dice and Lovasz are taken over the whole batch, which is steadier than the mean over images.

    Args:
        bce: weight of the binary cross-entropy.
        dice: weight of the soft Dice.
        lovasz: weight of the Lovasz hinge.
        border: how much more pixels near the outline count in the binary cross-entropy.
        border_width: how far, in pixels, the outline reaches to either side.

    Raises:
        ValueError: a weight is negative, NaN or infinite, or all are 0.
    """

    def __init__(
        self, bce: float = 1.0, dice: float = 1.0, lovasz: float = 0.0, border: float = 0.0, border_width: int = 5
    ) -> None:
        super().__init__()
        if not all(0 <= weight < math.inf for weight in (bce, dice, lovasz, border)) or bce + dice + lovasz == 0:
            raise ValueError(
                f"weights BCE {bce}, Dice {dice}, Lovasz {lovasz}, border {border}: finite, none negative, not all 0"
            )
        parts = (
            (bce, BorderBce(border, border_width) if border else SoftBCEWithLogitsLoss()),
            (dice, PooledDice()),
            (lovasz, HardLovasz()),
        )
        self.weights = [weight for weight, _ in parts if weight > 0]
        self.parts = nn.ModuleList(part for weight, part in parts if weight > 0)

    def forward(self, logits_BCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        classes = [*zip(*(torch.split(one, 1, dim=1) for one in (logits_BCHW, targets_BCHW)), strict=True)]
        losses: list[Tensor] = [
            weight * part(*of_class)
            for of_class in classes
            for weight, part in zip(self.weights, self.parts, strict=True)
        ]
        return sum(losses[1:], start=losses[0]) / len(classes)


class BorderBce(nn.Module):
    """Binary cross-entropy in which pixels near the outline count `1 + weight` times.

    Near is what lies within `width` pixels of both foreground and background. The weights of a batch are
    scaled to a mean of 1, so that its place beside other losses does not depend on how long outlines are.
    """

    def __init__(self, weight: float, width: int) -> None:
        super().__init__()
        self.weight = weight
        self.width = width

    def forward(self, logits_B1HW: Tensor, targets_B1HW: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        weights_B1HW = 1 + self.weight * near_outline(targets_B1HW, self.width)
        mean = weights_B1HW.mean()
        if self.training:
            mean = of_all_ranks(mean) / rank_and_ranks()[1]  # all have as many photos
        return F.binary_cross_entropy_with_logits(logits_B1HW, targets_B1HW, weights_B1HW / mean)


class PooledDice(DiceLoss):  # type: ignore[misc]  # smp has no types
    """One minus the soft Dice of all pixels of the batch: smp's loss, also where several processes share the batch."""

    def __init__(self) -> None:
        super().__init__(mode="binary", from_logits=True, smooth=1.0)

    def forward(self, logits_B1HW: Tensor, targets_B1HW: Tensor) -> Tensor:
        """The loss of a batch, a scalar; 0 where it has no foreground."""
        if not (self.training and rank_and_ranks()[1] > 1):
            loss: Tensor = super().forward(logits_B1HW, targets_B1HW)
            return loss
        probability_B1HW = F.logsigmoid(logits_B1HW).exp()
        difference = (probability_B1HW - targets_B1HW).abs().sum()
        sums = of_all_ranks(torch.stack([probability_B1HW.sum(), targets_B1HW.sum(), difference]))
        predicted, true, difference = sums
        shared = (predicted + true - difference) / 2  # of each pixel the lesser of the two, as smp has it
        dice = (shared + self.smooth) / ((predicted + true) / 2 + self.smooth)
        whole: Tensor = (1 - dice) * (true > 0)
        return whole


class HardLovasz(nn.Module):
    """The Lovasz hinge (Berman et al., 2018), which takes hard masks only: targets are thresholded at 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.lovasz = LovaszLoss(mode="binary", per_image=False)

    def forward(self, logits_B1HW: Tensor, targets_B1HW: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        hard_B1HW = (targets_B1HW >= 0.5).float()
        if self.training:
            logits_B1HW, hard_B1HW = whole_batch(logits_B1HW), whole_batch(hard_B1HW)
        loss: Tensor = self.lovasz(logits_B1HW, hard_B1HW)
        return loss


def near_outline(targets_B1HW: Tensor, width: int) -> Tensor:
    """1.0 for pixels within `width` pixels (in rows and in columns) of both foreground and background, else 0.0."""
    width = min(width, max(targets_B1HW.shape[-2:]))  # which reaches every pixel from every other
    window = 2 * width + 1
    highest_B1HW = F.max_pool2d(targets_B1HW, window, stride=1, padding=width)
    lowest_B1HW = -F.max_pool2d(-targets_B1HW, window, stride=1, padding=width)
    return ((highest_B1HW >= 0.5) & (lowest_B1HW < 0.5)).float()
