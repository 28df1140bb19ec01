"""A device that holds only so many pixels of photos in training: injected into real trainings on the processor."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from kaggle_tools.models.segmenter import Segmenter
from kaggle_tools.training.plan import batch

SAID = "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"
"""What the library says whose blocks no longer fit; PyTorch's own OutOfMemoryError is one of several errors."""


def limit_memory(monkeypatch: pytest.MonkeyPatch, pixels: int) -> list[int]:
    """Let training steps with more pixels than that fail for want of memory; gives the photos of each step so far."""
    forward, tried = Segmenter.forward, []

    def limited(self: Segmenter, photos_B3HW: Tensor) -> Tensor:
        if self.training and photos_B3HW.device.type != "meta":
            tried.append(len(photos_B3HW))
            if photos_B3HW[:, 0].numel() > pixels:
                raise RuntimeError(SAID)
        return forward(self, photos_B3HW)

    monkeypatch.setattr(Segmenter, "forward", limited)
    return tried


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let batches be tried here as on a GPU, in this process; gives the GPUs that were to be used so far."""
    gpus: list[str] = []

    def here(gpu: str, function: Callable[..., Any], *given: object) -> Any:
        gpus.append(gpu)
        return function(*given)

    monkeypatch.setattr(batch, "has_its_own_memory", lambda _: True)
    monkeypatch.setattr(batch, "on_a_gpu", here)
    monkeypatch.setattr(batch, "require_working_gpu", lambda: None)
    monkeypatch.setattr(batch, "RESERVE", 0)
    return gpus
