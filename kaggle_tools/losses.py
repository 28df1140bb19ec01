"""What training minimises. Not what is reported: the scores are in `metrics`."""

from segmentation_models_pytorch.losses import DiceLoss, SoftBCEWithLogitsLoss
from torch import Tensor, nn


class BceDiceLoss(nn.Module):
    """A weighted sum of binary cross-entropy and soft Dice, the loss of most Carvana winners.

    Takes logits (B, 1, H, W) and targets in [0, 1] of the same shape; a target between 0 and 1 is a
    pixel that the outline crosses. Gives a scalar.

    The soft Dice is taken over the whole batch, which is steadier than the mean over images.

    Raises:
        ValueError: a weight is negative, or both are 0.
    """

    def __init__(self, bce_weight: float = 1.0, dice_weight: float = 1.0) -> None:
        super().__init__()
        if min(bce_weight, dice_weight) < 0 or bce_weight + dice_weight == 0:
            raise ValueError(f"BCE weight {bce_weight} and Dice weight {dice_weight}: neither negative, not both 0")
        self.weights = (bce_weight, dice_weight)
        self.bce = SoftBCEWithLogitsLoss()
        self.dice = DiceLoss(mode="binary", from_logits=True, smooth=1.0)

    def forward(self, logits_B1HW: Tensor, targets_B1HW: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        bce_weight, dice_weight = self.weights
        return bce_weight * self.bce(logits_B1HW, targets_B1HW) + dice_weight * self.dice(logits_B1HW, targets_B1HW)
