from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from known_competitions import CARVANA
from process_group import together
from torch import Tensor, nn

from kaggle_tools import metrics
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.precision import BF16, FP32
from kaggle_tools.results.fold_table import Split
from kaggle_tools.training import task as task_module
from kaggle_tools.training.task import FoldData, SegmentationTask, overlap_of_batch, precision_of


def logged_by(task: SegmentationTask, photos: torch.Tensor, masks: torch.Tensor) -> dict[str, float]:
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    task._trainer = SimpleNamespace(world_size=1)
    task.on_validation_epoch_start()
    with torch.no_grad():
        task.validation_step((photos, masks), 0)
    return {name: float(mean.compute()) for name, mean in task.means.items()}


def test_validation_scores_are_means_over_photos_not_over_pixels(task: SegmentationTask) -> None:
    photos = torch.zeros(2, 3, 1, 4, dtype=torch.uint8)
    photos[0, 0, 0] = torch.tensor([255, 255, 0, 0])
    photos[1, 0, 0] = torch.tensor([255, 0, 0, 0])
    masks = torch.tensor([[255, 0, 0, 0], [255, 0, 0, 0]], dtype=torch.uint8).view(2, 1, 1, 4)
    values = logged_by(task, photos, masks)
    assert values["val_dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert values["val_iou"] == pytest.approx((1 / 2 + 1) / 2)
    assert values["val_foreground"] == pytest.approx(3 / 8)
    assert values["val_foreground_true"] == pytest.approx(2 / 8)


def test_an_empty_prediction_of_an_empty_mask_has_a_validation_dice_of_1(task: SegmentationTask) -> None:
    empty = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    assert logged_by(task, torch.zeros(1, 3, 2, 2, dtype=torch.uint8), empty)["val_dice"] == 1


def test_the_loss_is_of_the_covered_share_of_a_pixel(task: SegmentationTask) -> None:
    photos = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    masks = torch.full((1, 1, 1, 1), 51, dtype=torch.uint8)  # a fifth
    logit = 0.5
    by_hand = np.log1p(np.exp(logit)) - 0.2 * logit
    assert logged_by(task, photos, masks)["val_loss"] == pytest.approx(by_hand, rel=1e-6)


def test_overlap_counts_each_photo_by_itself() -> None:
    predicted = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool).view(2, 1, 1, 3)
    truth = torch.tensor([[1, 0, 0], [1, 0, 1]], dtype=torch.bool).view(2, 1, 1, 3)
    counts = overlap_of_batch(predicted, truth)
    assert [count.tolist() for count in counts] == [[[1], [1]], [[2], [1]], [[1], [2]]]
    assert metrics.dice(counts).ravel().tolist() == pytest.approx([2 / 3, 2 / 3])


def test_overlap_counts_each_class_by_itself() -> None:
    predicted = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool).view(1, 2, 1, 3)
    truth = torch.tensor([[1, 0, 0], [1, 0, 0]], dtype=torch.bool).view(1, 2, 1, 3)
    counts = overlap_of_batch(predicted, truth)
    assert [count.tolist() for count in counts] == [[[1, 0]], [[2, 1]], [[1, 1]]]


def test_scores_are_the_means_over_photos_and_classes(task: SegmentationTask) -> None:
    class FirstClassEverywhere(nn.Module):
        def forward(self, photos_B3HW: Tensor) -> Tensor:
            return torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(len(photos_B3HW), 2, *photos_B3HW.shape[2:])

    task.model = FirstClassEverywhere()  # type: ignore[assignment]
    photos = torch.zeros(1, 3, 1, 4, dtype=torch.uint8)
    masks = torch.tensor([[255, 255, 0, 0], [0, 0, 0, 0]], dtype=torch.uint8).view(1, 2, 1, 4)
    found = logged_by(task, photos, masks)
    assert found["val_dice"] == pytest.approx((2 * 2 / (4 + 2) + 1) / 2)
    assert found["val_iou"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["val_foreground"] == pytest.approx(1 / 2)
    assert found["val_foreground_true"] == pytest.approx(1 / 4)


def test_precision_auto_is_the_fastest_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in (BF16, FP32):
        monkeypatch.setattr(task_module, "fast_precision", lambda _, precision=precision: precision)
        assert precision_of(config_from("laptop", "roof-tiles", {})) == precision
        assert precision_of(config_from("laptop", "roof-tiles", {"precision": "16-mixed"})) == "16-mixed"


def test_every_seed_that_is_taken_begins_a_batch(task: SegmentationTask) -> None:
    task.config = replace(task.config, seed=2**32 - 1)
    task._trainer = SimpleNamespace(current_epoch=0, global_rank=0, world_size=1)
    task.on_train_batch_start(None, 3)
    # (4294967295 x 10007 + 0) x 1000003 + 3, of which torch takes 64 bits
    assert torch.initial_seed() == 42979866660278163198 % 2**64


def test_dropout_differs_between_the_shares_of_a_batch(task: SegmentationTask) -> None:
    seeds = []
    for rank in range(3):
        task._trainer = SimpleNamespace(current_epoch=0, global_rank=rank)
        task.on_train_batch_start(None, 3)
        seeds.append(torch.initial_seed())
    assert len(set(seeds)) == 3
    assert seeds[0] == 3  # as of one process, so that a training that was begun goes on as it began


def test_two_processes_find_the_means_over_photos_that_one_finds(task: SegmentationTask, tmp_path: Path) -> None:
    """Five photos, three for one of them and two for the other."""
    generator = torch.Generator().manual_seed(0)
    photos = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=generator)
    masks = (torch.rand(5, 1, 4, 6, generator=generator) > 0.6).to(torch.uint8) * 255

    def validated(indices: range) -> dict[str, float]:
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
        task._trainer = SimpleNamespace(world_size=1)
        task.loss.eval()
        task.on_validation_epoch_start()
        for at in indices:
            task.validation_step((photos[at : at + 1], masks[at : at + 1]), at)
        return {name: float(mean.compute()) for name, mean in task.means.items()}

    with torch.no_grad():
        shared = together(lambda rank: validated(range(rank, 5, 2)), tmp_path / "store")
        alone = validated(range(5))
    assert shared == [pytest.approx(alone, rel=1e-6)] * 2
    assert 0 < alone["val_foreground"] < 1


class TestLossThatIsNotFinite:
    KEPT = "The last whole epoch is kept."
    NONE_KEPT = "No epoch was whole yet, so none is kept."

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), torch.zeros(1, 1, 2, 2, dtype=torch.uint8)

    def at(self, epoch: int, weight: float, task: SegmentationTask) -> SegmentationTask:
        task.model.net.weight.data.fill_(weight)
        groups = [SimpleNamespace(param_groups=[{"lr": 0.00125}])]
        task._trainer = SimpleNamespace(
            optimizers=groups, global_step=7, current_epoch=epoch, world_size=1, num_val_batches=[1]
        )
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
        task.on_validation_epoch_start()
        return task

    @pytest.mark.parametrize(("epoch", "kept"), [(0, NONE_KEPT), (1, KEPT)])
    @pytest.mark.parametrize(("weight", "became"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
    def test_it_ends_the_training_with_advice(
        self, weight: float, became: str, epoch: int, kept: str, task: SegmentationTask
    ) -> None:
        message = rf"^the loss became {became} at gradient step 7, where the learning rate was 0\.00125\. "
        with pytest.raises(InputError, match=message) as raised:
            self.at(epoch, weight, task).training_step(self.batch(), 0)
        assert f"{kept} Train into another --out with a lower --lr (was 0.001)" in str(raised.value)

    @pytest.mark.parametrize(("epoch", "kept"), [(0, NONE_KEPT), (1, KEPT)])
    def test_on_held_out_photos_it_ends_the_training_too(self, epoch: int, kept: str, task: SegmentationTask) -> None:
        self.at(epoch, float("nan"), task).validation_step(self.batch(), 0)
        with pytest.raises(InputError, match=f"^the loss on held-out photos became NaN at gradient step 7.*{kept}"):
            task.on_validation_batch_end(None, self.batch(), 0)


class TestFoldData:
    """Thirteen photos to train on and four held out, batches of four."""

    @pytest.fixture
    def data(self, photos: list[Photo]) -> FoldData:
        config = config_from("demo", CARVANA.slug, {"batch_size": 4, "image_size": (16, 24), "seed": 5})
        return FoldData(Split(photos, photos[:4]), config, Execution(workers=0))

    def order(self, data: FoldData, step: int = 0, rank: int = 0, ranks: int = 1) -> list[tuple[int, int]]:
        """(epoch, index) of the photos in training, from so many gradient steps on."""
        data.trainer = SimpleNamespace(world_size=ranks, global_rank=rank, global_step=step)  # type: ignore[assignment]
        return list(data.train_dataloader().sampler)

    def test_training_takes_each_photo_once_in_an_order_of_its_own_for_each_epoch_and_seed(
        self, data: FoldData
    ) -> None:
        epochs = [[index for _, index in self.order(data, step)] for step in (0, 3, 6)]
        assert all(len(order) == len(set(order)) == 12 for order in epochs)  # three batches
        assert all(order != sorted(order) for order in epochs)
        assert epochs[0] != epochs[1] != epochs[2]
        assert epochs[0] == [index for _, index in self.order(data)]

    def test_a_training_that_goes_on_takes_the_order_of_its_epoch(self, data: FoldData) -> None:
        """Three full batches of thirteen photos: the fourth gradient step begins the second epoch."""
        assert {epoch for epoch, _ in self.order(data, step=2)} == {0}
        assert {epoch for epoch, _ in self.order(data, step=3)} == {1}
        assert data.steps_per_epoch() == 3

    def test_processes_that_train_together_share_the_photos_and_the_batch(self, data: FoldData) -> None:
        shares = [{index for _, index in self.order(data, rank=rank, ranks=2)} for rank in (0, 1)]
        assert [len(share) for share in shares] == [6, 6]  # three batches of two
        assert len(shares[0] | shares[1]) >= 11  # of 13, one is taken twice to make 14
        assert data.train_dataloader().batch_size == 2
        held_out = data.val_dataloader()
        assert (list(held_out.sampler), held_out.batch_size) == ([(0, 1), (0, 3)], 2)  # those of the second process

    def test_a_last_batch_that_is_not_full_is_left_out_unless_there_is_no_other(self, data: FoldData) -> None:
        self.order(data)
        assert [len(photos) for photos, _ in data.train_dataloader()] == [4, 4, 4]
        data.config = replace(data.config, batch_size=14)
        assert [len(photos) for photos, _ in data.train_dataloader()] == [13]

    @pytest.mark.parametrize(("accumulate", "batches"), [(1, [4, 4, 4]), (2, [4, 4]), (3, [4, 4, 4]), (4, [4, 4, 4])])
    def test_a_last_gradient_step_of_fewer_batches_is_left_out_unless_there_is_no_other(
        self, data: FoldData, accumulate: int, batches: list[int]
    ) -> None:
        """Lightning divides the gradient by `accumulate`, however many batches it has added up."""
        data.config = replace(data.config, accumulate=accumulate)
        self.order(data)
        assert [len(photos) for photos, _ in data.train_dataloader()] == batches
        assert data.steps_per_epoch() == {1: 3, 2: 1, 3: 1, 4: 1}[accumulate]
