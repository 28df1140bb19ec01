import numpy as np
import pytest
import torch
from torch import nn

from kaggle_tools import metrics
from kaggle_tools.errors import InputError
from kaggle_tools.model import Segmenter
from kaggle_tools.presets import config_from
from kaggle_tools.training import MetricsTable, SegmentationTask, _histogram, _overlap, _precision


@pytest.fixture
def task() -> SegmentationTask:
    """Its network answers with the red channel, from -0.5 to 0.5."""
    red = nn.Conv2d(3, 1, kernel_size=1, bias=False)
    red.weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    config = config_from("laptop", "roof-tiles", {"dice_weight": 0.0})
    return SegmentationTask(Segmenter(red, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), multiple=1), config)


def logged_by(task: SegmentationTask, photos: torch.Tensor, masks: torch.Tensor) -> dict[str, float]:
    logged: dict[str, float] = {}
    task.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign]
    with torch.no_grad():
        task.validation_step((photos, masks), 0)
    return {name: float(value) for name, value in logged.items()}


def test_validation_is_the_mean_over_photos_not_over_pixels(task: SegmentationTask) -> None:
    photos = torch.zeros(2, 3, 1, 4, dtype=torch.uint8)
    photos[0, 0, 0] = torch.tensor([255, 255, 0, 0])
    photos[1, 0, 0] = torch.tensor([255, 0, 0, 0])
    masks = torch.tensor([[255, 0, 0, 0], [255, 0, 0, 0]], dtype=torch.uint8).view(2, 1, 1, 4)
    values = logged_by(task, photos, masks)
    assert values["val_dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert values["val_iou"] == pytest.approx((1 / 2 + 1) / 2)


def test_an_empty_prediction_of_an_empty_mask_is_perfect(task: SegmentationTask) -> None:
    empty = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    assert logged_by(task, torch.zeros(1, 3, 2, 2, dtype=torch.uint8), empty)["val_dice"] == 1


def test_the_loss_sees_the_covered_share_of_a_pixel(task: SegmentationTask) -> None:
    photos = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    masks = torch.full((1, 1, 1, 1), 51, dtype=torch.uint8)  # a fifth
    logit = 0.5
    by_hand = np.log1p(np.exp(logit)) - 0.2 * logit
    assert logged_by(task, photos, masks)["val_loss"] == pytest.approx(by_hand, rel=1e-6)


def test_the_table_of_metrics_travels_in_the_checkpoint(tmp_path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    table.rows = [{"epoch": 0, "val_dice": 0.5}]
    resumed = MetricsTable(tmp_path / "metrics.csv")
    resumed.load_state_dict(table.state_dict())
    assert resumed.rows == table.rows


def test_histograms_count_every_pixel_once_by_truth_and_probability() -> None:
    probability = torch.tensor([[0.0, 0.5, 1.0], [0.499999, 0.999, 0.25]])
    truth = torch.tensor([[False, True, True], [True, False, False]])
    counts = _histogram(probability, truth)
    assert counts.shape == (2, 256)
    assert {at: int(counts[0, at]) for at in np.flatnonzero(counts[0])} == {0: 1, 255: 1, 64: 1}
    assert {at: int(counts[1, at]) for at in np.flatnonzero(counts[1])} == {128: 1, 255: 1, 127: 1}


def test_overlap_counts_each_photo_by_itself() -> None:
    predicted = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.bool).view(2, 1, 1, 3)
    truth = torch.tensor([[1, 0, 0], [1, 0, 1]], dtype=torch.bool).view(2, 1, 1, 3)
    counts = _overlap(predicted, truth)
    assert [list(count) for count in counts] == [[1, 1], [2, 1], [1, 2]]
    assert metrics.dice(counts).tolist() == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("cuda", "bf16", "expected"), [(False, False, "32-true"), (True, True, "bf16-mixed"), (True, False, "16-mixed")]
)
def test_arithmetic_is_as_short_as_the_device_allows(
    cuda: bool, bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert _precision(config_from("laptop", "roof-tiles", {})) == expected
    assert _precision(config_from("laptop", "roof-tiles", {"precision": "32-true"})) == "32-true"


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_one_that_is_named(name: str, kind: type, task: SegmentationTask) -> None:
    task.config = config_from("seed", "roof-tiles", {"optimizer": name})
    optimizer = task.configure_optimizers()
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["lr"] == 1e-4


def test_a_loss_that_is_no_number_ends_the_training_with_what_to_do(task: SegmentationTask) -> None:
    task.model.net.weight.data.fill_(float("nan"))
    batch = (torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(InputError, match="the loss became nan at step 0: lower --lr"):
        task.training_step(batch, 0)
