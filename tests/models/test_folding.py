import copy

import pytest
import torch
from torch import Tensor, nn

from kaggle_tools.models.folding import without_normalisation
from kaggle_tools.models.segmenter import Architecture, build


def trained(net: nn.Module) -> nn.Module:
    """With statistics as after a training, of which none is 0 or 1."""
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.2)
    return net.eval()


def normalisations(net: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())


def photos(height: int = 96, width: int = 160) -> Tensor:
    return torch.randint(256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("unet", 10, 0),
        ("smp:Unet/resnet18", 30, 0),
        ("smp:Unet/tu-efficientnet_b0", 58, 0),  # with activations inside the normalisation
        ("smp:Linknet/resnet18", 35, 5),  # after transposed convolutions they stay
    ],
)
def test_convolutions_do_the_normalisation_and_the_answer_is_the_same(name: str, before: int, after: int) -> None:
    model = trained(build(Architecture(name, width=4, depth=2)))
    as_it_was = copy.deepcopy(model.state_dict())
    folded = without_normalisation(model)
    with torch.inference_mode():
        found, expected = folded(photos()), model(photos())
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert normalisations(folded) == after
    assert normalisations(model) == before
    assert all(torch.equal(tensor, as_it_was[key]) for key, tensor in model.state_dict().items())


class ByHand(nn.Module):
    """1 * x + 2, normalised with mean 3, variance 4 - 1e-5, weight 6 and bias 5."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 1, 1)
        self.normalisation = nn.BatchNorm2d(1)
        self.convolution.weight.data[:] = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        self.convolution.bias.data.fill_(2)
        self.normalisation.running_mean.fill_(3)
        self.normalisation.running_var.fill_(4 - 1e-5)
        self.normalisation.weight.data.fill_(6)
        self.normalisation.bias.data.fill_(5)

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        return self.normalisation(self.convolution(photos_B3HW.float()))


def test_the_weights_are_those_that_are_worked_out_by_hand() -> None:
    folded = without_normalisation(ByHand().eval())
    assert folded.convolution.weight.flatten().tolist() == pytest.approx([3, 0, 0])  # 6 / 2
    assert folded.convolution.bias.tolist() == pytest.approx([2])  # (2 - 3) * 3 + 5


class Between(ByHand):
    """An activation changes the result of the convolution, in place, before it is normalised."""

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        return self.normalisation(self.convolution(photos_B3HW.float() - 99).relu_())


class Beside(ByHand):
    """The result of the convolution is also used as it is."""

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        convolved = self.convolution(photos_B3HW.float())
        return self.normalisation(convolved) + convolved


class Twice(ByHand):
    """The convolution is used once more."""

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        pixels = photos_B3HW.float()
        return self.normalisation(self.convolution(pixels)) + self.convolution(pixels.flip(1))


class Large(ByHand):
    """Takes no image as small as that of the trial."""

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        if photos_B3HW.shape[-1] < 160:
            raise RuntimeError("too small")
        return super().forward(photos_B3HW)


class NotANumber(ByHand):
    """Its weights overflowed."""

    def __init__(self) -> None:
        super().__init__()
        self.normalisation.running_mean.fill_(float("nan"))


@pytest.mark.parametrize("kind", [Between, Beside, Twice, Large, NotANumber])
def test_what_cannot_be_folded_stays_as_it_is(kind: type[ByHand]) -> None:
    model = kind().eval()
    folded = without_normalisation(model)
    assert normalisations(folded) == 1
    with torch.inference_mode():
        torch.testing.assert_close(folded(photos()), model(photos()), rtol=0, atol=0, equal_nan=True)


def test_folding_draws_no_random_number() -> None:
    model = trained(build(Architecture("unet", width=4, depth=2)))
    before = torch.get_rng_state()
    without_normalisation(model)
    assert torch.equal(torch.get_rng_state(), before)
