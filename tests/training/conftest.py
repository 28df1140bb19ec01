"""What several tests of training share."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.listing import Photo
from kaggle_tools.models.segmenter import Segmenter
from kaggle_tools.results.fold_table import Split
from kaggle_tools.training.callbacks import TimeLimit
from kaggle_tools.training.fold import train_fold
from kaggle_tools.training.task import SegmentationTask

TINY: dict[str, Any] = {"width": 4, "depth": 2, "image_size": (16, 24), "epochs": 3, "batch_size": 2, "lr": 1e-2}


@pytest.fixture
def fold(photos: list[Photo], tiles: Competition, tmp_path: Path) -> Any:
    """Trains a fold, by default fold 1, in a run of this name; gives the fold's folder."""

    def train(
        name: str,
        execution: Execution | None = None,
        time_limit: TimeLimit | None = None,
        number: int = 1,
        **options: Any,
    ) -> Path:
        config = config_from("demo", tiles.slug, TINY | options)
        execution = execution or Execution(devices="1", workers=0)
        turned = photos[number - 1 :] + photos[: number - 1]  # each fold holds out other photos
        train_fold(
            tmp_path / name, number, tiles, Split(turned[:9], turned[9:]), config, execution, time_limit=time_limit
        )
        return tmp_path / name / f"fold{number}"

    return train


@pytest.fixture
def task() -> SegmentationTask:
    """Its network answers with the red channel, from -0.5 to 0.5."""
    red = nn.Conv2d(3, 1, kernel_size=1, bias=False)
    red.weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    config = config_from("laptop", "roof-tiles", {"dice_weight": 0.0})
    return SegmentationTask(Segmenter(red, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), multiple=1), config)
