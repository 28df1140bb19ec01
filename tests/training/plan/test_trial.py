from typing import Any

import pytest
import torch

from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.images import Size
from kaggle_tools.training.plan import trial
from kaggle_tools.training.plan.trial import trial_steps
from kaggle_tools.training.task import SegmentationTask

TINY: dict[str, Any] = {"width": 4, "depth": 2, "image_size": (16, 24), "epochs": 3, "batch_size": 2, "lr": 1e-2}


class TestPasses:
    """What a training brings: 13 photos, of which 8 are trained on."""

    sizes = frozenset({(20, 30), (40, 50)})

    def passes(self, photos: int = 8, devices: str = "1", **options: Any) -> list[tuple[int, Size, bool, str]]:
        config = config_from("demo", "roof-tiles", TINY | options)
        return [tuple(one) for one in trial._passes(config, self.sizes, photos, Execution(devices=devices))]

    def test_the_batch_is_tried_in_training_and_single_photos_in_evaluation_at_each_scale(self) -> None:
        assert self.passes(batch_size=4, tta_scales=(0.5, 2.0)) == [
            (4, (16, 24), True, "--batch-size 4"),
            (1, (16, 24), False, "--image-size"),
            (1, (8, 12), False, "--tta-scales 0.5"),
            (1, (32, 48), False, "--tta-scales 2"),
        ]

    def test_of_larger_photos_the_crop_is_tried_in_training_and_the_whole_in_evaluation(self) -> None:
        early = ((16, 24, 1), (24, 48, 1))
        assert self.passes(crop=(16, 40), image_size=(32, 48), early_sizes=early) == [
            (2, (16, 24), True, "--early-sizes"),
            (1, (16, 24), False, "--early-sizes"),
            (2, (16, 40), True, "--early-sizes"),
            (1, (24, 48), False, "--early-sizes"),
            (2, (16, 40), True, "--batch-size 2"),
            (1, (32, 48), False, "--image-size"),
            (1, (32, 48), False, "--tta-scales 1"),
        ]

    def test_the_batch_is_what_the_photos_and_the_devices_leave_of_it(self) -> None:
        assert self.passes(batch_size=16)[0] == (8, (16, 24), True, "8 photos to train on")
        assert self.passes(batch_size=4, devices="2")[0] == (2, (16, 24), True, "--batch-size 4")
        assert self.passes(batch_size=16, devices="2", photos=3)[0] == (2, (16, 24), True, "3 photos to train on")
        assert self.passes(batch_size=4, devices="4")[0] == (1, (16, 24), True, "--batch-size 4")

    def test_gpus_that_share_the_statistics_of_a_batch_count_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert self.passes(batch_size=4, devices="4")[0] == (4, (16, 24), True, "--batch-size 4")

    def test_photos_of_their_own_sizes_are_each_tried(self) -> None:
        tried = self.passes(image_size=None, batch_size=1)
        assert {one[:3] for one in tried} == {(1, size, training) for size in self.sizes for training in (True, False)}


def test_frozen_levels_are_tried_without_the_pretrained_weights_that_they_come_with() -> None:
    options = {"model": "smp:Unet/resnet18", "image_size": (32, 32), "pretrained": "imagenet", "frozen_levels": 1}
    task = trial.untrained(config_from("demo", "roof-tiles", TINY | options), Execution(devices="1"))
    frozen = [name for name, weight in task.named_parameters() if not weight.requires_grad]
    assert frozen == ["model.net.encoder.conv1.weight", "model.net.encoder.bn1.weight", "model.net.encoder.bn1.bias"]


def test_trial_steps_leave_the_network_as_it_was(task: SegmentationTask) -> None:
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with trial_steps(task, torch.device("cpu")) as step:
        step(2, (8, 8))
        assert any(not torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    assert all(parameter.grad is None for parameter in task.parameters())
