"""What training minimises. Not what is reported: the scores are in `metrics`.

B batch, H height, W width.
"""

import math

import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss, SoftBCEWithLogitsLoss
from torch import Tensor, nn


class SegmentationLoss(nn.Module):
    """A weighted sum of binary cross-entropy, soft Dice and Lovasz hinge; BCE + Dice won Carvana.

    Takes logits (B, 1, H, W) and targets in [0, 1] of the same shape; a target between 0 and 1 is a
    pixel that the outline crosses. Gives a scalar.

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
            (dice, DiceLoss(mode="binary", from_logits=True, smooth=1.0)),
            (lovasz, HardLovasz()),
        )
        self.weights = [weight for weight, _ in parts if weight > 0]
        self.parts = nn.ModuleList(part for weight, part in parts if weight > 0)

    def forward(self, logits_B1HW: Tensor, targets_B1HW: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        losses: list[Tensor] = [
            weight * part(logits_B1HW, targets_B1HW) for weight, part in zip(self.weights, self.parts, strict=True)
        ]
        return sum(losses[1:], start=losses[0])


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
        return F.binary_cross_entropy_with_logits(logits_B1HW, targets_B1HW, weights_B1HW / weights_B1HW.mean())


class HardLovasz(nn.Module):
    """The Lovasz hinge (Berman et al., 2018), which takes hard masks only: targets are thresholded at 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.lovasz = LovaszLoss(mode="binary", per_image=False)

    def forward(self, logits_B1HW: Tensor, targets_B1HW: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        loss: Tensor = self.lovasz(logits_B1HW, (targets_B1HW >= 0.5).float())
        return loss


def near_outline(targets_B1HW: Tensor, width: int) -> Tensor:
    """1.0 for pixels within `width` pixels (in rows and in columns) of both foreground and background, else 0.0."""
    width = min(width, max(targets_B1HW.shape[-2:]))  # which reaches every pixel from every other
    window = 2 * width + 1
    highest_B1HW = F.max_pool2d(targets_B1HW, window, stride=1, padding=width)
    lowest_B1HW = -F.max_pool2d(-targets_B1HW, window, stride=1, padding=width)
    return ((highest_B1HW >= 0.5) & (lowest_B1HW < 0.5)).float()
