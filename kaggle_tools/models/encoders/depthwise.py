"""Depthwise convolutions, each channel with a kernel of its own: in float32 where all else is trained in bfloat16.

PyTorch's CPU kernels compute their gradients in bfloat16 up to a hundred times as slowly as in float32: they took
almost half of the time of a training step of EfficientNet-Lite (benchmarks/RESULTS.md, 2026-11-28).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

GROUPS = 6
"""The place of `groups` among the arguments of a convolution."""


class DepthwiseInFloat32(TorchFunctionMode):
    """While it is active, depthwise convolutions on a CPU are computed in float32 where autocast would take bfloat16.

    Their results are rounded to bfloat16 as before, so that all other layers compute as they did.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        options = kwargs or {}
        if function is not torch.conv2d or not torch.is_autocast_enabled("cpu") or not _is_depthwise(args, options):
            return function(*args, **options)
        features_BCHW, weight, *rest = args
        with torch.autocast("cpu", enabled=False):
            result_BCHW = function(features_BCHW.float(), weight.float(), *rest, **options)
        return result_BCHW.to(torch.get_autocast_dtype("cpu"))


def _is_depthwise(args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    groups = options.get("groups", args[GROUPS] if len(args) > GROUPS else 1)
    return bool(groups == args[0].shape[1] > 1)
