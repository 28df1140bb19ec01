import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trained_networks import SMALL_UNET, SMP, designed, trained, two_photos

from kaggle_tools.errors import InputError
from kaggle_tools.models.encoders.smp import IMAGENET_MEAN, IMAGENET_STD
from kaggle_tools.models.segmenter import Architecture, Segmenter, blueprint, build


class Recorder(nn.Module):
    """Gives back the first channel, and keeps what it was given."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.given = images_BCHW
        return images_BCHW[:, :1]


def colours(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


class TestSegmenter:
    def test_photos_are_normalised_channel_by_channel(self) -> None:
        net = Recorder()
        Segmenter(net, mean=(0.5, 0.25, 0.0), std=(0.5, 0.1, 1.0), multiple=1)(two_photos())
        red, green, blue = two_photos().numpy().astype(np.float64).transpose(1, 0, 2, 3) / 255
        expected = np.stack([(red - 0.5) / 0.5, (green - 0.25) / 0.1, blue], axis=1)
        assert net.given.dtype == torch.float32
        assert np.allclose(net.given.numpy(), expected, atol=1e-5)

    def test_photos_are_padded_below_and_to_the_right_and_exactly_that_is_cropped(self) -> None:
        net = Recorder()
        logits = Segmenter(net, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), multiple=32)(two_photos(61, 93))
        padded = np.pad(two_photos(61, 93).numpy() / 255, [(0, 0), (0, 0), (0, 3), (0, 3)], mode="edge")
        assert net.given.shape == (2, 3, 64, 96)
        assert np.allclose(net.given.numpy(), padded)
        assert torch.equal(logits, net.given[:, :1, :61, :93])

    @torch.inference_mode()
    def test_an_smp_network_sees_padded_photos_of_any_size(self) -> None:
        model = trained(designed(SMP))
        padded = np.pad(two_photos(61, 93).numpy(), [(0, 0), (0, 0), (0, 3), (0, 3)], mode="edge")
        images = (torch.from_numpy(padded) / 255 - colours(IMAGENET_MEAN)) / colours(IMAGENET_STD)
        assert torch.allclose(model(two_photos(61, 93)), model.net(images)[..., :61, :93], atol=1e-5)

    @torch.inference_mode()
    def test_the_unet_is_given_photos_without_padding(self) -> None:
        model = trained(SMALL_UNET)
        assert torch.allclose(model(two_photos(61, 93)), model.net(two_photos(61, 93) / 255), atol=1e-6)


class TestBlueprint:
    @pytest.mark.parametrize("name", ["unet", SMP, "smp:Unet/mit_b0"])
    def test_a_blueprint_has_the_shapes_of_the_network_and_draws_no_random_numbers(self, name: str) -> None:
        architecture = Architecture(name, width=4, depth=2)
        torch.manual_seed(0)
        before = torch.get_rng_state()
        planned = blueprint(architecture).state_dict()
        assert torch.equal(torch.get_rng_state(), before)
        assert {str(tensor.device) for tensor in planned.values()} == {"meta"}
        built = build(architecture).state_dict()
        assert {name: t.shape for name, t in planned.items()} == {name: t.shape for name, t in built.items()}

    def test_a_network_larger_than_the_memory_is_refused_before_it_is_built(self) -> None:
        with pytest.raises(
            InputError,
            match=r"--width 1024 --depth 10: the weights of this U-Net need [\d,]+ GiB, and this machine has",
        ):
            build(Architecture("unet", width=1024, depth=10))


class TestDesign:
    def test_the_unet_takes_its_options_and_colours_as_they_are(self) -> None:
        assert designed("unet", width=16, depth=3) == Architecture("unet", 16, 3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def test_each_kind_of_network_takes_the_options_that_it_knows(self) -> None:
        options = {"width": 16, "depth": 3, "unshuffle": 2, "decoder_channels": (64, 32, 16)}
        unet = designed("unet", **options)
        assert (unet.unshuffle, unet.decoder_channels) == (2, ())
        assert unet.options == "--model unet --width 16 --depth 3 --unshuffle 2"
        assert designed("unet", width=8).options == "--model unet --width 8 --depth 4"
        of_smp = designed(SMP, **options)
        assert (of_smp.width, of_smp.unshuffle, of_smp.decoder_channels) == (64, 1, (64, 32, 16))
        assert of_smp.options == f"--model {SMP} --decoder-channels 64,32,16"
        assert designed(SMP).options == f"--model {SMP}"

    def test_fresh_encoders_get_imagenets_normalisation(self) -> None:
        architecture = designed(SMP)
        assert (architecture.mean, architecture.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    @pytest.mark.parametrize(
        "name", ["", "u-net", "UNet", "smp", "smp:", "smp:Unet", "smp:Unet/", "smp:/resnet34", ":a/b"]
    )
    def test_a_network_name_of_another_form_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match=f"--model {name}: must be `unet` or `smp:ARCHITECTURE/ENCODER`"):
            designed(name)

    @pytest.mark.parametrize("name", ["smp:Nonet/resnet18", "smp:Unet/tu-nest_tiny"])
    def test_a_network_that_smp_does_not_have_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match=f"--model {name}: (not an architecture of smp|.* cannot build it)"):
            build(designed(name))

    def test_an_encoder_that_smp_does_not_have_has_no_pretrained_weights_either(self) -> None:
        with pytest.raises(InputError, match="--model smp:Unet/resnet19: no encoder resnet19"):
            designed("smp:Unet/resnet19", pretrained="imagenet")


def test_the_normalisation_of_a_network_is_no_weight_of_it() -> None:
    """It stands in `model.json`, and no file of weights holds it."""
    model = Segmenter(Recorder(), mean=(0.5, 0.25, 0.0), std=(0.5, 0.1, 1.0), multiple=1)
    assert model.state_dict() == {}
    assert {name for name, _ in model.named_buffers()} == {"mean", "std"}
