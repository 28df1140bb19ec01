from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaggle_tools.models.unet import UNet, Up, pad_to_multiple


def images(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def small_unet(width: int = 4, depth: int = 3) -> UNet:
    """Fresh weights, and the normalisations as a training leaves them."""
    torch.manual_seed(0)
    net = UNet(width, depth)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return net.eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (17, 31), (61, 93), (127, 191)])
@torch.inference_mode()
def test_the_output_of_the_unet_has_the_size_of_its_input(size: tuple[int, int]) -> None:
    logits = small_unet(depth=4)(images(*size, batch=2))
    assert logits.shape == (2, 1, *size)
    assert logits.dtype == torch.float32


def test_the_default_unet_has_31_million_parameters() -> None:
    with torch.device("meta"):
        net = UNet()
    assert sum(parameter.numel() for parameter in net.parameters()) == 31_037_633


def test_width_depth_and_input_channels_of_the_unet_are_options() -> None:
    with torch.device("meta"):
        net = UNet(width=6, depth=3, in_channels=1)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[0].weight.shape == (6, 1, 3, 3)
    assert max(convolution.out_channels for convolution in convolutions) == 6 * 2**3
    assert len([module for module in net.modules() if isinstance(module, nn.MaxPool2d)]) == 3


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": 0}, {"width": -4}, {"unshuffle": 0}])
def test_a_unet_without_channels_or_levels_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must all be at least 1"):
        UNet(**options)


def test_the_weights_of_the_unet_have_the_order_of_the_original() -> None:
    def normalisation(channels: int) -> list[tuple[int, ...]]:
        return [(channels,)] * 4 + [()]  # weight, bias, running mean, running variance, batches seen

    def double_convolution(channels_in: int, channels: int) -> list[tuple[int, ...]]:
        first, second = (channels, channels_in, 3, 3), (channels, channels, 3, 3)
        return [first, *normalisation(channels), second, *normalisation(channels)]

    expected = double_convolution(3, 64)
    for channels in (64, 128, 256, 512):
        expected += double_convolution(channels, 2 * channels)
    for channels in (512, 256, 128, 64):
        expected += [(2 * channels, channels, 2, 2), (channels,), *double_convolution(2 * channels, channels)]
    expected += [(1, 64, 1, 1), (1,)]
    with torch.device("meta"):
        state = UNet().state_dict()
    assert [tuple(weights.shape) for weights in state.values()] == expected


def test_3x3_convolutions_of_the_unet_have_no_bias_and_the_others_have_one() -> None:
    with torch.device("meta"):
        modules = list(UNet().modules())
    with_weights = [module for module in modules if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    biased = {module.kernel_size: set() for module in with_weights}
    for module in with_weights:
        biased[module.kernel_size].add(module.bias is not None)
    assert biased == {(3, 3): {False}, (2, 2): {True}, (1, 1): {True}}


def test_every_parameter_of_the_unet_gets_a_gradient() -> None:
    net = small_unet().train()
    net(images(40, 24, batch=2)).square().mean().backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


def reference_forward(net: UNet, images_BCHW: Tensor, depth: int) -> Tensor:
    """The network of the paper, written down again on the bare weights in their order."""
    weights = iter(net.state_dict(keep_vars=True).values())

    def take(count: int) -> Iterator[Tensor]:
        return (next(weights) for _ in range(count))

    def double_convolution(features: Tensor) -> Tensor:
        for _ in range(2):
            kernel, scale, shift, mean, variance, _ = take(6)
            convolved = functional.conv2d(features, kernel, padding=1)
            features = torch.relu(functional.batch_norm(convolved, mean, variance, scale, shift))
        return features

    skips = [double_convolution(images_BCHW)]
    for _ in range(depth):
        skips.append(double_convolution(functional.max_pool2d(skips[-1], 2)))
    features = skips.pop()
    for _ in range(depth):
        kernel, bias = take(2)
        upsampled = functional.conv_transpose2d(features, kernel, bias, stride=2)
        features = double_convolution(torch.cat([skips.pop(), upsampled], dim=1))
    kernel, bias = take(2)
    assert next(weights, None) is None
    return functional.conv2d(features, kernel, bias)


@pytest.mark.parametrize("depth", [1, 3])
@torch.inference_mode()
def test_the_unet_computes_what_the_paper_describes(depth: int) -> None:
    net, batch = small_unet(depth=depth), images(48, 32, batch=2)
    assert torch.allclose(net(batch), reference_forward(net, batch, depth), atol=1e-5)


@torch.inference_mode()
def test_with_unshuffle_the_unet_sees_squares_as_channels_and_answers_for_each_of_their_pixels() -> None:
    torch.manual_seed(0)
    net, image = UNet(width=4, depth=2, unshuffle=2).eval(), images(16, 24)
    # Of each colour the pixel at the top left of each square, the one beside it, and those below.
    squares = [image[:, colour, row::2, column::2] for colour in range(3) for row in (0, 1) for column in (0, 1)]
    expected = reference_forward(net, torch.stack(squares, dim=1), depth=2)
    logits = net(image)
    assert expected.shape == (1, 4, 8, 12)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert torch.allclose(logits[:, 0, row::2, column::2], expected[:, place], atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (61, 93)])
@torch.inference_mode()
def test_with_unshuffle_the_unet_takes_photos_of_any_size(size: tuple[int, int]) -> None:
    assert UNet(width=4, depth=2, unshuffle=3).eval()(images(*size, batch=2)).shape == (2, 1, *size)


def test_the_gradients_of_the_unet_are_those_of_the_paper() -> None:
    net, batch = small_unet(), images(48, 32)
    weights = list(net.parameters())
    gradients = torch.autograd.grad(net(batch).square().mean(), weights)
    expected = torch.autograd.grad(reference_forward(net, batch, depth=3).square().mean(), weights)
    assert all(torch.allclose(one, two, rtol=1e-3, atol=1e-5) for one, two in zip(gradients, expected, strict=True))


@torch.inference_mode()
def test_the_unet_crops_exactly_its_padding() -> None:
    net = small_unet(depth=4)
    photo = images(67, 107)
    padded = np.pad(photo.numpy(), [(0, 0), (0, 0), (0, 80 - 67), (0, 112 - 107)], mode="edge")
    expected = reference_forward(net, torch.from_numpy(padded), depth=4)[:, :, :67, :107]
    assert torch.allclose(net(photo), expected, atol=1e-5)


def test_the_padding_of_the_unet_repeats_the_last_row_and_column() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None]
    padded = pad_to_multiple(image, 4)
    assert padded[0, 0].tolist() == [[1, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [4, 5, 6, 6]]
    assert pad_to_multiple(padded, 4) is padded


def test_the_skip_channels_come_before_the_upsampled_ones() -> None:
    up = Up(4, 2)
    up.convolve = nn.Identity()
    nn.init.zeros_(up.upsample.weight)
    nn.init.constant_(up.upsample.bias, 7)
    joined = up(torch.ones(1, 4, 3, 5), torch.full((1, 2, 6, 10), 3.0))
    assert joined[0, :, 0, 0].tolist() == [3, 3, 7, 7]


def trained(levels: int, half: bool = False) -> dict[str, Tensor]:
    """The weights, statistics and last gradients of a U-Net after three gradient steps."""
    net = small_unet().train()
    net.recomputed_levels = levels
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for step in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = net(images(45, 61, batch=2) + step)
        functional.softplus(logits.float()).mean().backward()
        optimizer.step()
    gradients = {
        f"gradient of {name}": weight.grad for name, weight in net.named_parameters() if weight.grad is not None
    }
    return {**net.state_dict(), **gradients}


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("levels", [1, 2, 9])
def test_features_that_are_computed_again_change_no_bit_of_a_training(levels: int, half: bool) -> None:
    """Neither the statistics of the normalisation, which the second pass sees as well."""
    kept, recomputed = trained(0, half), trained(levels, half)
    assert len(kept) == len(recomputed) > 90
    assert [name for name, tensor in kept.items() if not torch.equal(tensor, recomputed[name])] == []


def kept_bytes(net: UNet, batch_B3HW: Tensor) -> int:
    """What is kept for the backward pass, each storage once, the weights not counted."""
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    sizes: dict[int, int] = {}
    held = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held.append(storage)
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(batch_B3HW).sum().backward()
    return sum(size for pointer, size in sizes.items() if pointer not in weights)


def test_a_level_that_is_computed_again_keeps_only_what_enters_and_leaves_it() -> None:
    """Ten tensors with four channels: two for each layer, and two where the skip joins. Of them two stay."""
    net, batch = small_unet().train(), images(64, 96, batch=2)
    kept = []
    for levels in (0, 1, 9):
        net.recomputed_levels = levels
        kept.append(kept_bytes(net, batch))
    features = 2 * 4 * 64 * 96 * 4
    assert kept[0] - kept[1] == pytest.approx(8 * features, rel=1e-3)
    assert kept[2] < kept[1]


def test_masking_computes_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaggle_tools.models.unet.recomputed", lambda *_: pytest.fail("computed again"))
    net = small_unet()
    net.recomputed_levels = 3
    net(images(16, 16))
    with torch.no_grad():
        net.train()(images(16, 16))
