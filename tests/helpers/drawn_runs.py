"""Runs as train.py would leave them, of tiny networks that were never trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from known_competitions import CARVANA

from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.models.weights import ModelCard, save


def run_of_constants(run: Path, logits: Sequence[float], **card: Any) -> Path:
    """A fold for each logit, which its network gives everywhere."""
    for fold, logit in enumerate(logits):
        save_fold(run, fold, weight=0.0, bias=logit, **card)
    return run


def run_of_unets(run: Path, folds: int, **card: Any) -> Path:
    """Folds of networks with different weights, which call about half of a grey photo foreground."""
    for fold in range(folds):
        save_fold(run, fold, weight=400, bias=None, **card)
    return run


def save_fold(run: Path, fold: int, *, weight: float, bias: float | None, **card: Any) -> None:
    """A network whose last layer is multiplied by `weight`, with this bias, or one for which the median logit is 0."""
    torch.manual_seed(fold)
    architecture = Architecture("unet", width=2, depth=1)
    model = build(architecture).eval()
    with torch.no_grad():
        model.net.head.weight *= weight
        model.net.head.bias.fill_(bias or 0)
        if bias is None:
            noise_13HW = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
            model.net.head.bias -= model(noise_13HW).median()
    known = {"image_size": None, "competition": CARVANA.slug, "fold": fold, **card}
    save(model, ModelCard(architecture, **known), run / f"fold{fold}")
