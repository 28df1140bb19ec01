import pytest
import torch

from kaggle_tools.models.idle_weights import freeze_idle_weights
from kaggle_tools.models.segmenter import Architecture, build


@pytest.mark.parametrize(
    ("name", "idle"),
    [("unet", 0), ("smp:Unet/resnet18", 0), ("smp:Unet/efficientnet-b0", 3), ("smp:PSPNet/resnet18", 30)],
)
def test_exactly_the_weights_that_get_no_gradient_are_frozen(name: str, idle: int) -> None:
    """Held against a real step."""
    architecture = Architecture(name, width=4, depth=2)
    model = build(architecture)
    freeze_idle_weights(model, architecture, (64, 96))
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    model.requires_grad_(True).train()
    model(torch.zeros(2, 3, 64, 96, dtype=torch.uint8)).sum().backward()
    assert frozen == {name for name, weight in model.named_parameters() if weight.grad is None}
    assert len(frozen) == idle


def test_looking_for_idle_weights_draws_no_random_number() -> None:
    architecture = Architecture("smp:Unet/tu-efficientnet_b0")
    model = build(architecture)
    before = torch.get_rng_state()
    freeze_idle_weights(model, architecture, (64, 96))
    assert torch.equal(torch.get_rng_state(), before)
