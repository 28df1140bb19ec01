"""Batch normalisation whose statistics are those of the whole batch, also where several GPUs share it."""

from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn


class SyncNorms(TorchSyncBatchNorm):
    """Lightning's, for timm's layers too.

    PyTorch's own conversion replaces a BatchNormAct2d of timm, which holds an activation as well, by normalisation
    alone. The names of the weights stay, so that they would load into a network with activations, which nobody trained.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace all layers of batch normalisation; weights and statistics stay."""
        converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
