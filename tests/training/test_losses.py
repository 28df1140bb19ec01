import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools.training.losses import BorderBce, SegmentationLoss, near_outline

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
def test_the_loss_is_the_weighted_sum_of_bce_and_dice_loss(targets: str, bce_weight: float, dice_weight: float) -> None:
    batch = draw(targets)
    expected = bce_weight * bce(*batch) + dice_weight * dice_loss(*batch)
    loss = SegmentationLoss(bce_weight, dice_weight)(*batch)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_bce_and_dice_loss_have_equal_weights_by_default() -> None:
    batch = draw("soft")
    assert SegmentationLoss()(*batch).item() == pytest.approx(bce(*batch) + dice_loss(*batch), rel=1e-5)


def test_bce_and_dice_loss_agree_with_a_hand_counted_batch() -> None:
    logits = torch.zeros(1, 1, 2, 2)  # probability 1/2 everywhere: BCE ln 2, Dice 1 - (2 * 1 + 2) / (2 + 2 + 2)
    targets = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert SegmentationLoss(1, 0)(logits, targets).item() == pytest.approx(np.log(2))
    assert SegmentationLoss(0, 1)(logits, targets).item() == pytest.approx(1 / 3)


def test_a_perfect_prediction_has_a_loss_of_0() -> None:
    targets = draw("hard")[1]
    assert SegmentationLoss()((targets - 0.5) * 100, targets).item() == pytest.approx(0, abs=1e-6)


def test_predicting_the_share_of_soft_pixels_has_a_dice_loss_of_0() -> None:
    targets = draw("soft")[1]
    assert SegmentationLoss(0, 1)(targets.logit(), targets).item() == pytest.approx(0, abs=1e-6)


def test_an_inverted_prediction_has_the_highest_loss() -> None:
    targets = draw("hard")[1]
    inverted = (0.5 - targets) * 100
    assert SegmentationLoss(1, 0)(inverted, targets).item() == pytest.approx(50)
    assert SegmentationLoss(0, 1)(inverted, targets).item() == pytest.approx(1 - 2 / (targets.numel() + 2))


def test_the_gradient_of_the_loss_is_finite_for_extreme_logits() -> None:
    logits, targets = draw("soft", scale=1e4)
    logits.requires_grad_()
    SegmentationLoss()(logits, targets).backward()
    assert logits.grad.isfinite().all()


def test_a_gradient_step_lowers_the_loss() -> None:
    logits, targets = draw("soft")
    logits.requires_grad_()
    loss = SegmentationLoss()(logits, targets)
    loss.backward()
    assert SegmentationLoss()(logits.detach() - logits.grad, targets) < loss


@pytest.mark.parametrize(
    "weights", [(0, 0), (-1, 1), (1, -0.5), (1, 1, -1), (1, 1, 0, -2), (math.nan, 1), (1, math.inf)]
)
def test_negative_or_unbounded_weights_and_only_zeros_are_refused_for_the_loss(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite, none negative, not all 0"):
        SegmentationLoss(*weights)


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_pixels_near_the_outline_have_both_classes_in_their_window() -> None:
    targets = row(0, 0, 0, 1, 1, 1, 1)
    assert near_outline(targets, 1).flatten().tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert near_outline(targets, 2).flatten().tolist() == [0, 1, 1, 1, 1, 0, 0]
    assert near_outline(torch.ones(1, 1, 4, 4), 2).sum() == 0, "the edge of the photo is no outline"


def test_a_border_wider_than_the_photo_reaches_all_of_it_and_asks_for_no_more_memory() -> None:
    targets = row(0, 0, 0, 1, 1, 1, 1)
    for width in (6, 7, 10**12):
        assert near_outline(targets, width).flatten().tolist() == [1] * 7


def test_pixels_near_the_outline_are_found_in_both_directions() -> None:
    targets = torch.zeros(1, 1, 5, 5)
    targets[..., 2, 2] = 1
    assert near_outline(targets, 1)[0, 0].tolist() == [
        [float(max(abs(y), abs(x)) <= 1) for x in range(-2, 3)] for y in range(-2, 3)
    ]


def test_border_bce_weights_pixels_near_the_outline_more_with_a_mean_weight_of_1() -> None:
    targets, logits = row(0, 0, 0, 1, 1, 1), row(-1, 2, 0.5, -3, 1, 4)
    losses = [
        np.log1p(np.exp(-z if t else z))
        for z, t in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True)
    ]
    by_hand = np.average(losses, weights=[1, 1, 3, 3, 1, 1])
    assert BorderBce(weight=2, width=1)(logits, targets).item() == pytest.approx(by_hand, rel=1e-6)
    assert SegmentationLoss(bce=0.5, dice=0, border=2, border_width=1)(logits, targets).item() == pytest.approx(
        by_hand / 2, rel=1e-6
    )


def test_the_lovasz_hinge_agrees_with_a_hand_counted_batch() -> None:
    # Errors 1 - z for foreground, 1 + z for background, in falling order: 3 (foreground), 1.5, 0.5 (background).
    # The IoU loss once these are wrong: 1 - 1/2, then 1 - 1/3, then 1 - 1/4; its increments weigh the errors.
    targets, logits = row(1, 1, 0, 0), row(-2, 3, 0.5, -0.5)
    by_hand = 3 * 1 / 2 + 1.5 * (2 / 3 - 1 / 2) + 0.5 * (3 / 4 - 2 / 3)
    assert SegmentationLoss(bce=0, dice=0, lovasz=1)(logits, targets).item() == pytest.approx(by_hand, rel=1e-5)


def test_the_lovasz_hinge_rounds_soft_pixels() -> None:
    logits = row(-2, 3, 0.5, -0.5)
    lovasz = SegmentationLoss(bce=0, dice=0, lovasz=1)
    assert lovasz(logits, row(0.5, 0.9, 0.49, 0)) == lovasz(logits, row(1, 1, 0, 0))


def test_the_loss_is_the_weighted_sum_of_bce_dice_and_lovasz() -> None:
    batch = draw("hard")
    parts = [SegmentationLoss(*weights)(*batch).item() for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert SegmentationLoss(0.5, 2, 3)(*batch).item() == pytest.approx(np.dot(parts, (0.5, 2, 3)), rel=1e-5)


@pytest.mark.parametrize("weights", [(1, 1, 0, 0), (0, 1, 0, 0), (1, 0, 1, 2), (0, 0, 1, 0)])
def test_a_batch_of_blank_masks_has_a_finite_loss_and_gradient(weights: tuple[float, ...]) -> None:
    logits = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = SegmentationLoss(*weights)(logits, torch.zeros(SHAPE))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert (logits.grad.isfinite() & (logits.grad >= 0)).all()  # the less foreground the better


def test_blank_masks_that_are_predicted_blank_have_a_loss_of_0() -> None:
    loss = SegmentationLoss(1, 1, 1, 2)(torch.full(SHAPE, -50.0), torch.zeros(SHAPE))
    assert loss.item() == pytest.approx(0, abs=1e-6)


class TestClasses:
    """Two photos, three classes of 2x3 pixels; the targets of the second class are blank."""

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(2, 3, 2, 3, generator=generator, dtype=torch.float64)
        targets = torch.rand(2, 3, 2, 3, generator=generator, dtype=torch.float64).round()
        targets[:, 1] = 0
        return logits, targets

    @staticmethod
    def expected(logits: Tensor, targets: Tensor) -> float:
        """The mean over the classes; smp's Dice loss of a class of which a batch has no foreground is 0."""
        classes = [(logits[:, of], targets[:, of]) for of in range(3)]
        return sum(bce(*one) + (dice_loss(*one) if one[1].any() else 0) for one in classes) / 3

    def test_the_loss_is_the_mean_over_the_classes(self) -> None:
        logits, targets = self.batch()
        assert SegmentationLoss()(logits, targets).item() == pytest.approx(self.expected(logits, targets), rel=1e-6)

    def test_its_gradient_is_that_of_the_mean_over_the_classes(self) -> None:
        logits, targets = self.batch()
        logits.requires_grad_()
        SegmentationLoss()(logits, targets).backward()
        step, plain = 1e-5, logits.detach()
        for at in np.ndindex(*plain.shape):
            higher, lower = plain.clone(), plain.clone()
            higher[at] += step
            lower[at] -= step
            slope = (self.expected(higher, targets) - self.expected(lower, targets)) / (2 * step)
            assert logits.grad is not None
            assert logits.grad[at].item() == pytest.approx(slope, abs=1e-7)

    def test_classes_cannot_be_swapped(self) -> None:
        logits, targets = (one.float() for one in self.batch())  # smp's Lovasz hinge is for float32
        loss = SegmentationLoss(lovasz=1)
        assert loss(logits.flip(1), targets.flip(1)).item() == pytest.approx(loss(logits, targets).item())
        assert loss(logits.flip(1), targets).item() != pytest.approx(loss(logits, targets).item(), rel=0.01)
