import pytest
import torch
from trained_networks import two_photos

from kaggle_tools.errors import InputError
from kaggle_tools.models.frozen_weights import freeze_idle_weights, freeze_levels
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


RESNET = Architecture("smp:Unet/resnet18")


def frozen_by(levels: int) -> set[str]:
    """The layers of a ResNet whose weights are frozen."""
    model = build(RESNET)
    freeze_levels(model, RESNET, (64, 96), levels)
    return {
        name.removeprefix("net.encoder.").partition(".")[0]
        for name, one in model.named_parameters()
        if not one.requires_grad
    }


def test_levels_of_an_encoder_are_frozen_from_the_largest_on() -> None:
    """Of a ResNet the first convolution halves the size, the pooling after it too, and each layer but the first."""
    assert frozen_by(0) == set()
    assert frozen_by(1) == {"conv1", "bn1"}
    assert frozen_by(2) == {"conv1", "bn1", "layer1"}
    assert frozen_by(3) == {"conv1", "bn1", "layer1", "layer2"}


def test_frozen_weights_stay_as_they_are_and_the_others_learn() -> None:
    model = build(RESNET)
    freeze_levels(model, RESNET, (64, 96), 1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    model.train()(two_photos(64, 96)).square().sum().backward()
    torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1).step()
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert before.keys() - changed == {"net.encoder.conv1.weight", "net.encoder.bn1.weight", "net.encoder.bn1.bias"}


def test_idle_weights_leave_frozen_levels_frozen() -> None:
    model = build(RESNET)
    freeze_levels(model, RESNET, (64, 96), 1)
    freeze_idle_weights(model, RESNET, (64, 96))
    assert sum(not weight.requires_grad for weight in model.parameters()) == 3


def test_an_encoder_without_layers_as_large_as_that_is_refused() -> None:
    architecture = Architecture("smp:Unet/tu-convnext_atto")  # which begins with a quarter of the size
    with pytest.raises(InputError, match="--frozen-levels 1: the encoder of .* has no layer as large as that"):
        freeze_levels(build(architecture), architecture, (64, 96), 1)
