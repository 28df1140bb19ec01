from contextlib import nullcontext

import pytest
import torch

from kaggle_tools.errors import InputError
from kaggle_tools.models import probe
from kaggle_tools.models.probe import Pass, largest_tensor, require, smallest_batch, some_sizes
from kaggle_tools.models.segmenter import Architecture, blueprint, build

PAN, DEEPLAB, SWIN = (
    Architecture(f"smp:{name}")
    for name in ("PAN/mobilenet_v2", "DeepLabV3Plus/mobilenet_v2", "Unet/tu-swin_tiny_patch4_window7_224")
)


def batch(photos: int, size: tuple[int, int], training: bool) -> Pass:
    return Pass(photos, size, training, "--option")


def refusal(architecture: Architecture, wanted: Pass) -> list[str]:
    with pytest.raises(InputError) as refused:
        require(architecture, [wanted])
    return str(refused.value).split("\n")


@pytest.mark.parametrize(
    ("architecture", "wanted", "begins", "advice"),
    [
        (PAN, batch(1, (80, 120), False), "cannot take 1 photo of 80x120 in evaluation (--option): ", "takes 160x240"),
        (
            DEEPLAB,
            batch(1, (96, 96), True),
            "cannot take 1 photo of 96x96 in training (--option): ",
            "at least 2 photos",
        ),
        (SWIN, batch(3, (96, 96), True), "cannot take 3 photos of 96x96 in training (--option): ", "takes 224x224"),
        (Architecture(), batch(1, (16, 16), True), "cannot take 1 photo of 16x16 in training", "at least 2 photos"),
    ],
    ids=["pyramid", "single value", "one size", "U-Net"],
)
def test_a_batch_that_a_network_cannot_take_is_refused_with_what_it_takes(
    architecture: Architecture, wanted: Pass, begins: str, advice: str
) -> None:
    first, second = refusal(architecture, wanted)
    assert first.startswith(f"{architecture.name} {begins}")
    assert advice in second


@pytest.mark.parametrize(
    ("architecture", "wanted"),
    [
        (PAN, batch(1, (160, 240), False)),
        (DEEPLAB, batch(1, (96, 96), False)),
        (DEEPLAB, batch(2, (96, 96), True)),
        (SWIN, batch(1, (224, 224), True)),
        (Architecture(), batch(1, (32, 16), True)),
        (Architecture(), batch(8, (1280, 1918), True)),
    ],
)
def test_a_batch_that_a_network_takes_is_not_refused(architecture: Architecture, wanted: Pass) -> None:
    require(architecture, [wanted])


@pytest.mark.parametrize(
    ("architecture", "wanted", "taken"),
    [
        (PAN, batch(1, (80, 120), False), False),
        (PAN, batch(1, (160, 240), False), True),
        (DEEPLAB, batch(1, (96, 96), True), False),
        (DEEPLAB, batch(2, (96, 96), True), True),
        (SWIN, batch(1, (96, 96), True), False),
        (SWIN, batch(1, (224, 224), True), True),
        (Architecture(width=4), batch(1, (16, 16), True), False),
        (Architecture(width=4), batch(1, (32, 16), True), True),
    ],
)
def test_a_network_with_weights_agrees_with_its_probe(architecture: Architecture, wanted: Pass, taken: bool) -> None:
    photos = torch.zeros(wanted.photos, 3, *wanted.size, dtype=torch.uint8)
    network = build(architecture).to(memory_format=torch.channels_last).train(wanted.training)
    with nullcontext() if taken else pytest.raises((RuntimeError, ValueError, AssertionError)):
        logits = network(photos.to(memory_format=torch.channels_last))
        assert logits.shape == (wanted.photos, 1, *wanted.size)
        logits.square().mean().backward()
    assert (probe._failure(blueprint(architecture), wanted) is None) == taken


def test_an_answer_of_another_size_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halves(torch.nn.Module):
        classes = 1

        def forward(self, photos_B3HW: torch.Tensor) -> torch.Tensor:
            return photos_B3HW[:, :1, ::2, ::2]

    monkeypatch.setattr(probe, "blueprint", lambda _: Halves())
    first, second = refusal(Architecture(), batch(2, (32, 48), False))
    assert "its answer has the shape (2, 1, 16, 24), not (2, 1, 32, 48)" in first
    assert second == "It takes none of the usual sizes either: give another --model."


def test_a_probe_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    require(SWIN, [batch(2, (224, 224), True)])  # with stochastic depth
    require(Architecture("smp:FPN/mobilenet_v2"), [batch(2, (64, 64), True)])  # with dropout
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("architecture", "size", "photos"), [(Architecture(), (32, 16), 1), (PAN, (160, 240), 2), (SWIN, (224, 224), 1)]
)
def test_the_smallest_batch_of_a_training_follows_from_the_network(
    architecture: Architecture, size: tuple[int, int], photos: int
) -> None:
    assert smallest_batch(architecture, size) == photos


def test_a_size_of_which_no_batch_is_small_enough_is_refused() -> None:
    with pytest.raises(InputError, match="cannot take 2 photos of 96x96 in training"):
        smallest_batch(SWIN, (96, 96))


def test_each_size_is_tried_once_and_of_many_the_smallest_and_the_largest_among_others() -> None:
    assert some_sizes([(20, 30), (10, 10), (20, 30), (30, 20)]) == [(10, 10), (20, 30), (30, 20)]
    few = some_sizes((side, 7) for side in range(1, 1001))
    assert (len(few), few[0], few[-1]) == (32, (1, 7), (1000, 7))
    assert few == sorted(set(few))


@pytest.mark.parametrize(
    ("width", "size", "elements"),
    [
        (64, (1280, 1918), 2 * 64 * 1280 * 1920),  # what the encoder saw beside what came from below, padded
        (16, (33, 32), 2 * 16 * 48 * 32),
    ],
)
def test_the_largest_tensor_of_a_u_net_is_what_its_last_block_is_given(
    width: int, size: tuple[int, int], elements: int
) -> None:
    assert largest_tensor(Architecture(width=width), size) == elements


def test_the_largest_tensor_is_as_large_on_the_cpu_as_without_contents() -> None:
    """Of PyTorch's own hooks, which see the results of layers."""
    architecture, sizes = Architecture("smp:Unet/resnet18"), []
    model = build(architecture).eval()
    for layer in model.modules():
        layer.register_forward_hook(
            lambda _, inputs, result: sizes.extend(
                one.numel() for one in (*inputs, result) if isinstance(one, torch.Tensor)
            )
        )
    with torch.inference_mode():
        model(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    assert largest_tensor(architecture, (64, 96)) == max(sizes)


def test_an_answer_of_another_number_of_classes_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Architecture("unet", width=1, depth=1)
    network = probe.blueprint(one)
    network.classes = 4  # as if it were built for so many, and answered with one
    monkeypatch.setattr(probe, "blueprint", lambda _: network)
    with pytest.raises(InputError, match=r"its answer has the shape \(2, 1, 32, 48\), not \(2, 4, 32, 48\)"):
        probe.require(one, [probe.Pass(2, (32, 48), training=False, given_by="--option")])
