from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from process_group import together
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kaggle_tools.training.losses import PooledDice, SegmentationLoss
from kaggle_tools.training.ranks.sums import of_all_ranks, whole_batch

LOSSES: dict[str, Callable[[], SegmentationLoss]] = {
    "bce": lambda: SegmentationLoss(1, 0),
    "dice": lambda: SegmentationLoss(0, 1),
    "lovasz": lambda: SegmentationLoss(0, 0, 1),
    "border": lambda: SegmentationLoss(1, 0, border=3.0, border_width=2),
    "all": lambda: SegmentationLoss(1, 1, 1, border=2.0, border_width=2),
}


def batch() -> tuple[Tensor, Tensor]:
    """Four photos, the first two with much less foreground than the others: pooling shows."""
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(4, 3, 9, 12, generator=generator)
    targets = torch.rand(4, 1, 9, 12, generator=generator)
    targets[:2] **= 6
    return photos, targets


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


def learnt(of_rank: slice, model: nn.Module) -> dict[str, tuple[float, list[float]]]:
    """The loss and the gradients of each loss, from this share of the photos."""
    photos, targets = batch()
    found = {}
    for name, loss in LOSSES.items():
        model.zero_grad()
        value = loss()(model(photos[of_rank]), targets[of_rank])
        value.backward()
        found[name] = value.item(), torch.cat([weight.grad.ravel() for weight in model.parameters()]).tolist()
    return found


def test_two_processes_find_the_loss_and_the_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    def work(rank: int) -> dict[str, tuple[float, list[float]]]:
        return learnt(slice(2 * rank, 2 * rank + 2), DistributedDataParallel(network()))

    alone, shared = learnt(slice(None), network()), together(work, tmp_path / "store")
    for name, (loss, gradients) in alone.items():
        assert sum(of_rank[name][0] for of_rank in shared) / 2 == pytest.approx(loss, rel=1e-5), name
        for of_rank in shared:
            assert of_rank[name][1] == pytest.approx(gradients, rel=1e-4, abs=1e-7), name


def test_shares_are_joined_in_the_order_of_the_processes_and_stay_as_they_are(tmp_path: Path) -> None:
    def work(rank: int) -> list[list[float]]:
        share = torch.full((1, 1, 2, 3), rank + 1.0)
        whole, total = whole_batch(share), of_all_ranks(share)
        return [whole[:, 0, 0, 0].tolist(), total.unique().tolist(), share.unique().tolist()]

    assert together(work, tmp_path / "store") == [[[1, 2], [3], [1]], [[1, 2], [3], [2]]]


def test_processes_with_different_numbers_of_photos_validate_without_waiting_for_each_other(tmp_path: Path) -> None:
    photos, targets = batch()

    def work(rank: int) -> list[float]:
        loss = LOSSES["all"]().eval()
        return [loss(photos[at : at + 1, :1], targets[at : at + 1]).item() for at in range(rank, 3, 2)]

    loss = LOSSES["all"]()
    alone = [loss(photos[at : at + 1, :1], targets[at : at + 1]).item() for at in range(3)]
    assert together(work, tmp_path / "store") == [[alone[0], alone[2]], [alone[1]]]


@pytest.mark.parametrize("targets", ["soft", "hard", "blank"])
def test_in_one_process_the_dice_loss_is_that_of_smp_to_the_bit(targets: str) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = (torch.randn(3, 1, 37, 41, generator=generator) * 4).to(memory_format=torch.channels_last)
    shares = torch.rand(3, 1, 37, 41, generator=generator)
    shares = {"soft": shares, "hard": shares.round(), "blank": shares * 0}[targets]
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss, expected = PooledDice()(ours, shares), DiceLoss(mode="binary", smooth=1.0)(theirs, shares)
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(ours.grad, theirs.grad)
