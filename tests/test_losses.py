import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools.losses import BceDiceLoss

SHAPE = (3, 1, 8, 11)


def draw(targets: str, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits, shares = torch.randn(SHAPE, generator=generator) * scale, torch.rand(SHAPE, generator=generator)
    shares[0] **= 4  # little foreground in one photo: a mean over photos would be another number
    return logits, shares if targets == "soft" else shares.round()


def bce(logits: Tensor, targets: Tensor) -> float:
    z, t = as_numpy(logits), as_numpy(targets)
    p = 1 / (1 + np.exp(-z))
    return float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())


def dice_loss(logits: Tensor, targets: Tensor) -> float:
    """Over the whole batch, with 1 added to the shared area; what prediction and soft target share is the lesser."""
    z, t = as_numpy(logits), as_numpy(targets)
    p = 1 / (1 + np.exp(-z))
    return float(1 - (2 * np.minimum(p, t).sum() + 2) / (p.sum() + t.sum() + 2))


def as_numpy(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.numpy().astype(np.float64)


@pytest.mark.parametrize("targets", ["hard", "soft"])
@pytest.mark.parametrize(("bce_weight", "dice_weight"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.25, 3.0)])
def test_it_is_the_weighted_sum_of_the_two_formulas(targets: str, bce_weight: float, dice_weight: float) -> None:
    batch = draw(targets)
    expected = bce_weight * bce(*batch) + dice_weight * dice_loss(*batch)
    loss = BceDiceLoss(bce_weight, dice_weight)(*batch)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_both_weigh_alike_by_default() -> None:
    batch = draw("soft")
    assert BceDiceLoss()(*batch).item() == pytest.approx(bce(*batch) + dice_loss(*batch), rel=1e-5)


def test_a_hand_counted_batch() -> None:
    logits = torch.zeros(1, 1, 2, 2)  # probability 1/2 everywhere: BCE ln 2, Dice 1 - (2 * 1 + 2) / (2 + 2 + 2)
    targets = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert BceDiceLoss(1, 0)(logits, targets).item() == pytest.approx(np.log(2))
    assert BceDiceLoss(0, 1)(logits, targets).item() == pytest.approx(1 / 3)


def test_a_perfect_prediction_costs_nothing() -> None:
    targets = draw("hard")[1]
    assert BceDiceLoss()((targets - 0.5) * 100, targets).item() == pytest.approx(0, abs=1e-6)


def test_the_right_share_of_a_soft_pixel_costs_no_dice() -> None:
    targets = draw("soft")[1]
    assert BceDiceLoss(0, 1)(targets.logit(), targets).item() == pytest.approx(0, abs=1e-6)


def test_an_inverted_prediction_costs_the_most() -> None:
    targets = draw("hard")[1]
    inverted = (0.5 - targets) * 100
    assert BceDiceLoss(1, 0)(inverted, targets).item() == pytest.approx(50)
    assert BceDiceLoss(0, 1)(inverted, targets).item() == pytest.approx(1 - 2 / (targets.numel() + 2))


def test_extreme_logits_leave_the_gradient_finite() -> None:
    logits, targets = draw("soft", scale=1e4)
    logits.requires_grad_()
    BceDiceLoss()(logits, targets).backward()
    assert logits.grad.isfinite().all()


def test_a_step_along_the_gradient_lowers_the_loss() -> None:
    logits, targets = draw("soft")
    logits.requires_grad_()
    loss = BceDiceLoss()(logits, targets)
    loss.backward()
    assert BceDiceLoss()(logits.detach() - logits.grad, targets) < loss


@pytest.mark.parametrize("weights", [(0, 0), (-1, 1), (1, -0.5)])
def test_weights_that_cannot_be_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="neither negative, not both 0"):
        BceDiceLoss(*weights)
