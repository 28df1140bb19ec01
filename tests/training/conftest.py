"""What several tests of training share."""

import pytest
import torch
from torch import nn

from kaggle_tools.config import config_from
from kaggle_tools.models.segmenter import Segmenter
from kaggle_tools.training.task import SegmentationTask


@pytest.fixture
def task() -> SegmentationTask:
    """Its network answers with the red channel, from -0.5 to 0.5."""
    red = nn.Conv2d(3, 1, kernel_size=1, bias=False)
    red.weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    config = config_from("laptop", "roof-tiles", {"dice_weight": 0.0})
    return SegmentationTask(Segmenter(red, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), multiple=1), config)
