import torch
from torch import Tensor, nn
from torch.nn import functional
from trained_networks import SMP

from kaggle_tools.models.encoders import smp
from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.models.unet import UNet
from kaggle_tools.models.unshuffled import Unshuffled, unshuffled


class Colour(nn.Module):
    """Answers each pixel of a square with one of its colours."""

    def __init__(self, place: int, colours: int) -> None:
        super().__init__()
        self.place, self.colours = place, colours

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW[:, self.place :: self.colours]


def test_the_channels_of_a_square_are_the_colours_of_its_pixels_row_by_row() -> None:
    # Pixel (row, column) of colour c is 100 * c + 10 * row + column.
    rows, columns = torch.arange(4.0).view(4, 1), torch.arange(6.0)
    image = torch.stack([100 * colour + 10 * rows + columns for colour in range(3)])[None]
    squares = unshuffled(image, 2)
    assert squares.shape == (1, 12, 2, 3)
    assert squares[0, :, 0, 0].tolist() == [0, 100, 200, 1, 101, 201, 10, 110, 210, 11, 111, 211]
    assert squares[0, :, 1, 2].tolist() == [24, 124, 224, 25, 125, 225, 34, 134, 234, 35, 135, 235]


def test_the_logits_of_a_square_come_back_to_its_pixels() -> None:
    image = torch.rand(2, 3, 12, 18, generator=torch.Generator().manual_seed(0))
    for side in (1, 2, 3):
        for place in range(3):
            assert torch.equal(Unshuffled(Colour(place, 3), side)(image), image[:, place : place + 1])


@torch.inference_mode()
def test_a_unet_that_sees_squares_takes_photos_of_any_size_and_works_at_a_fraction_of_it() -> None:
    model = build(Architecture("unet", width=4, depth=2, unshuffle=2)).eval()
    sizes = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-2:]))
    photos = torch.randint(256, (1, 3, 61, 93), dtype=torch.uint8)
    assert model(photos).shape == (1, 1, 61, 93)
    assert max(sizes) == (32, 48)  # 31x47 and the padding to multiples of 4
    (inner,) = [module for module in model.modules() if isinstance(module, UNet)]
    assert (inner.stem[0].in_channels, inner.head.out_channels) == (12, 4)


@torch.inference_mode()
def test_an_encoder_that_sees_squares_begins_with_seeing_their_mean() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    alone = smp.build(SMP, None).eval()
    torch.manual_seed(0)
    squares = smp.build(SMP, None, square=2).eval()
    expected = alone.encoder(functional.avg_pool2d(image, 2))
    found = squares.encoder(unshuffled(image, 2))
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert squares(unshuffled(image, 2)).shape == (1, 4, 32, 32)
