"""How much memory a training step of the default network needs on a GPU, computed without one.

    python benchmarks/training_memory.py

On tensors without contents, in bfloat16 as on a GPU that has it: all tensors that are kept for the backward pass, each
once, and the weights with their gradients and the two averages of AdamW. What convolutions work in, a context of CUDA
and what the allocator rounds up come on top; `benchmarks/gpu.py` measures the sum.
"""

import sys
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kaggle_tools.competition import CARVANA
from kaggle_tools.config import config_from
from kaggle_tools.models.segmenter import build, design
from kaggle_tools.system.hardware import GIB
from kaggle_tools.training.task import loss_of

BATCHES = ((1280, 1918, 1), (1280, 1918, 2), (1280, 1918, 4), (1280, 1918, 8), (1024, 1536, 4), (512, 768, 8))
BYTES_A_WEIGHT = 4 * 4
"""Of a weight, its gradient and two averages, in float32."""


def needed(height: int, width: int, photos: int) -> float:
    """GiB for a step with so many photos of this size."""
    config = config_from("carvana", CARVANA.slug, {})
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with FakeTensorMode():
        model, loss = build(design(config.model, config.width, config.depth)).train(), loss_of(config)
        photos_B3HW = torch.empty(photos, 3, height, width, dtype=torch.uint8).to(memory_format=torch.channels_last)
        targets_B1HW = torch.empty(photos, 1, height, width)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with torch.autocast("cpu", dtype=torch.bfloat16):  # casts the same operations as on a GPU
                logits_B1HW = model(photos_B3HW)
            loss(logits_B1HW.float(), targets_B1HW)
        weights = list(model.parameters())
        for weight in weights:
            kept.pop(weight.untyped_storage()._cdata, None)
        activations = sum(storage.nbytes() for storage in kept.values())
        return (activations + sum(weight.numel() for weight in weights) * BYTES_A_WEIGHT) / GIB


if __name__ == "__main__":
    for height, width, photos in BATCHES:
        print(f"{height}x{width}, {photos} at once: {needed(height, width, photos):.1f} GiB")
