import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known_networks import (
    UNFLIPPED,
    Floats,
    Pixels,
    RampNet,
    Size,
    bilinear,
    card_of,
    flipped_mean,
    member,
    mix_of,
    noise,
    probability,
    ramp_probabilities,
    scaled_mean,
    sigmoid,
)
from torch import Tensor, nn

from kaggle_tools.data.images import resize
from kaggle_tools.inference import tta as tta_module
from kaggle_tools.inference.ensemble import Member
from kaggle_tools.inference.tta import enlarge, warn_of_untrained_flips
from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.system import output


class TestFlips:
    @pytest.mark.parametrize("multiple", [1, 32])
    @pytest.mark.parametrize("tta", UNFLIPPED)
    def test_the_right_flips_are_averaged_and_undone_to_the_pixel(self, tta: str, multiple: int) -> None:
        found = probability([member(RampNet(), multiple=multiple)], noise((127, 191)), tta)
        assert found.shape == (127, 191)
        assert found.dtype == np.float32
        assert np.allclose(found, flipped_mean(ramp_probabilities, noise((127, 191)), tta), atol=1e-5)

    def test_flips_are_undone_to_the_pixel_at_a_size_near_to_that_of_the_competition(self) -> None:
        rows, columns = np.indices((1279, 1917))
        pixels = np.stack([rows * 7 + columns * 13, rows * 3 + columns, rows ^ columns], axis=-1).astype(np.uint8)
        found = probability([member(RampNet(), multiple=32)], pixels, "flips")
        assert np.allclose(found, flipped_mean(ramp_probabilities, pixels, "flips"), atol=1e-5)

    def test_a_mask_that_follows_the_colours_alone_is_not_moved_by_any_flip(self) -> None:
        class Red(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                return images_BCHW[:, :1] * 10 - 5

        for tta in UNFLIPPED:
            found = probability([member(Red(), multiple=32)], noise((61, 93)), tta)
            assert np.allclose(found, sigmoid(noise((61, 93))[..., 0] / 25.5 - 5), atol=1e-6)

    @torch.inference_mode()
    def test_a_real_network_at_an_odd_size_gives_the_mean_over_photos_turned_by_hand(self) -> None:
        torch.manual_seed(0)
        network = build(Architecture("unet", width=2, depth=4)).eval()

        def answer(photo_HW3: Pixels) -> Floats:
            image_13HW = torch.from_numpy(photo_HW3.transpose(2, 0, 1)[None].copy())
            return torch.sigmoid(network(image_13HW))[0, 0].numpy()

        found = probability([Member(network, card_of(None), Path("fold0"))], noise((127, 191)), "flips")
        assert np.allclose(found, flipped_mean(answer, noise((127, 191)), "flips"), atol=1e-5)

    def test_probabilities_of_flips_are_averaged_not_their_logits(self) -> None:
        class LeftHalf(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                logits = torch.full_like(images_BCHW[:, :1], -2)
                logits[..., : images_BCHW.shape[-1] // 2] = 4
                return logits

        found = probability([member(LeftHalf())], noise((4, 6)), "hflip")
        assert found == pytest.approx(0.5506084)  # (0.9820138 + 0.1192029) / 2; the mean logit 1 would give 0.73


class TestEnlarging:
    @pytest.mark.parametrize(
        ("small", "large"),
        [((5, 7), (13, 11)), ((64, 96), (127, 191)), ((1, 1), (3, 4)), ((16, 24), (127, 24)), ((19, 28), (13, 19))],
    )
    def test_enlarging_is_bilinear_with_the_areas_of_pixels_aligned(self, small: Size, large: Size) -> None:
        image = np.random.default_rng(0).random(small)
        found = enlarge(torch.from_numpy(image)[None, None], large)
        assert np.allclose(found[0, 0].numpy(), bilinear(image, large))

    def test_enlarging_two_pixels_to_four_agrees_with_the_result_by_hand(self) -> None:
        assert enlarge(torch.tensor([[[[0.0, 1.0]]]]), (1, 4)).tolist() == [[[[0, 0.25, 0.75, 1]]]]

    def test_probabilities_that_have_their_size_are_left_as_they_are(self) -> None:
        image = torch.rand(1, 1, 5, 7)
        assert enlarge(image, (5, 7)) is image

    @pytest.mark.parametrize("tta", UNFLIPPED)
    def test_a_photo_is_seen_small_and_its_probabilities_are_brought_back(self, tta: str) -> None:
        found = probability([member(RampNet(), (40, 56), multiple=32)], noise((127, 191)), tta)
        seen = resize(noise((127, 191)), (40, 56))
        assert np.allclose(found, bilinear(flipped_mean(ramp_probabilities, seen, tta), (127, 191)), atol=1e-5)


class TestScales:
    @pytest.mark.parametrize("tta", UNFLIPPED)
    @pytest.mark.parametrize("image_size", [None, (40, 56)])
    @pytest.mark.parametrize("scales", [(0.5, 1.0, 1.5), (0.75,), (1.0, 2.0)])
    def test_probabilities_are_brought_back_from_every_scale_and_averaged(
        self, image_size: Size | None, scales: tuple[float, ...], tta: str
    ) -> None:
        found = probability([member(RampNet(), image_size, multiple=32)], noise((127, 191)), tta, scales=scales)
        assert found.shape == (127, 191)
        assert np.allclose(found, scaled_mean(noise((127, 191)), image_size, tta, scales), atol=1e-5)

    def test_the_mean_over_scales_agrees_with_that_by_hand(self) -> None:
        class Width(nn.Module):
            """A probability that tells how wide the photo is."""

            def forward(self, images_BCHW: Tensor) -> Tensor:
                return torch.full_like(images_BCHW[:, :1], images_BCHW.shape[-1] / 100).logit()

        found = probability([member(Width())], noise((10, 20)), scales=(0.5, 1, 1.5))
        assert found == pytest.approx((0.1 + 0.2 + 0.3) / 3)
        assert probability([member(Width(), (20, 40))], noise((10, 20)), scales=(0.5, 2)) == pytest.approx(0.5)

    def test_each_photo_of_a_batch_has_its_own_mean_over_scales(self) -> None:
        photos = [noise((31, 47), seed) for seed in range(3)]
        found = mix_of([member(RampNet(), (16, 24))], *photos, tta="hflip", scales=(1.0, 1.5)).probability_BCHW
        expected = [scaled_mean(photo, (16, 24), "hflip", (1.0, 1.5)) for photo in photos]
        assert np.allclose(found[:, 0].numpy(), expected, atol=1e-5)

    def test_each_class_has_its_own_mean_over_flips(self) -> None:
        network = build(Architecture("unet", width=2, depth=1, classes=3)).eval()
        photo = noise((6, 9))
        (found_CHW,) = mix_of([Member(network, card_of(None), Path("fold0"))], photo, tta="hflip").probability_BCHW
        image_13HW = torch.from_numpy(photo.transpose(2, 0, 1)[None].copy())
        with torch.no_grad():
            plain, turned = (torch.sigmoid(network(image))[0] for image in (image_13HW, image_13HW.flip(-1)))
        assert torch.allclose(found_CHW, (plain + turned.flip(-1)) / 2, atol=1e-5)


class Overflowing(nn.Module):
    """Its logits are beyond the largest number of float16 on the way, as of a network with large activations."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[torch.dtype] = []

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        device = photos_B3HW.device.type
        half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        self.passes.append(half)
        return ((photos_B3HW[:, :1].float() + 1).to(half) * 60_000) / 60_000


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_what_float16_cannot_hold_is_computed_again_in_float32(
    half: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    output.warn_once.cache_clear()
    network, photos = Overflowing(), torch.full((1, 3, 2, 2), 9, dtype=torch.uint8)
    logits = tta_module.logits_of(network, photos, half)
    assert network.passes == ([half, torch.float32] if half is torch.float16 else [half])
    torch.testing.assert_close(logits, torch.full((1, 1, 2, 2), 10.0), rtol=1e-2, atol=0)
    tta_module.logits_of(network, photos, half)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "overflow float16" in line]
    assert len(warnings) == (1 if half is torch.float16 else 0)
    network.passes.clear()
    tta_module.logits_of(network, photos * 0, half)
    assert network.passes == [half]


class TestUntrainedFlips:
    def test_flips_that_no_training_photo_shows_are_named_with_the_largest_choice_that_is_known(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        warn_of_untrained_flips("flips", ["mild", "mild"])
        assert capsys.readouterr().err == (
            "warning: --tta flips: photos that are upside down were never shown in a training with --augmentation mild,"
            " and are usually masked worse; --tta hflip leaves them out\n"
        )
        warn_of_untrained_flips("flips", ["none"])
        assert re.search("left to right or upside down were .* none, .*; --tta none leaves", capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("tta", "augmentations"),
        [("flips", ["seed"]), ("hflip", ["mild", "seed"]), ("none", ["none"]), ("flips", ["?"])],
    )
    def test_flips_that_were_trained_or_are_not_known_are_nothing_to_say(
        self, tta: Any, augmentations: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        warn_of_untrained_flips(tta, augmentations)
        assert capsys.readouterr().err == ""

    def test_of_several_runs_each_is_held_against_its_own_augmentation(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        warn_of_untrained_flips("flips", ["seed", "mild", "none"])
        assert re.findall(r"--augmentation (\w+)", capsys.readouterr().err) == ["mild", "none"]
