import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import huggingface_hub.errors as hub
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kaggle_tools.errors import InputError
from kaggle_tools.models.segmenter import (
    CARD_FILE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    WEIGHTS_FILE,
    Architecture,
    ModelCard,
    Segmenter,
    build,
    design,
    load,
    read_card,
    save,
)
from kaggle_tools.models.unet import UNet

SMALL_UNET = Architecture("unet", width=4, depth=2)
SMP = "smp:Unet/mobilenet_v2"


pytestmark = pytest.mark.usefixtures("one_thread")


def card_of(architecture: Architecture) -> ModelCard:
    return ModelCard(architecture, (96, 160), "roof-tiles", fold=3, tta="hflip", tta_scales=(0.75, 1.0))


def photos(height: int = 61, width: int = 93) -> Tensor:
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def trained(architecture: Architecture) -> Segmenter:
    """A network that has seen a batch, so that its normalisations are no longer as they were built."""
    torch.manual_seed(0)
    model = build(architecture)
    with torch.no_grad():
        model.train()(photos())
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(trained(SMALL_UNET), card_of(SMALL_UNET), tmp_path)
    return tmp_path


class TestSavingAndLoading:
    @pytest.mark.parametrize(
        "architecture",
        [SMALL_UNET, Architecture(SMP, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)), design("smp:FPN/tu-resnet10t")],
        ids=lambda architecture: architecture.name,
    )
    @torch.inference_mode()
    def test_a_network_comes_back_as_it_was(self, tmp_path: Path, architecture: Architecture) -> None:
        model = trained(architecture)
        save(model, card_of(architecture), tmp_path)
        loaded, card = load(tmp_path)
        assert card == card_of(architecture)
        assert not loaded.training
        assert torch.equal(loaded(photos()), model(photos()))

    def test_the_weights_are_those_of_the_bare_network(self, saved: Path) -> None:
        expected = UNet(4, 2).state_dict()
        weights = load_file(saved / WEIGHTS_FILE)
        assert weights.keys() == expected.keys()
        assert all(weights[name].shape == tensor.shape for name, tensor in expected.items())

    def test_a_network_in_another_memory_format_is_saved_alike(self, saved: Path, tmp_path: Path) -> None:
        model = trained(SMALL_UNET).to(memory_format=torch.channels_last)
        save(model, card_of(SMALL_UNET), tmp_path / "other")
        assert (tmp_path / "other" / WEIGHTS_FILE).read_bytes() == (saved / WEIGHTS_FILE).read_bytes()

    def test_the_card_says_how_to_build_and_use_it(self, tmp_path: Path) -> None:
        architecture = Architecture(SMP, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
        save(build(architecture), card_of(architecture), tmp_path)
        assert json.loads((tmp_path / CARD_FILE).read_text()) == {
            "architecture": {"name": SMP, "width": 64, "depth": 4, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
            "image_size": [96, 160],
            "competition": "roof-tiles",
            "fold": 3,
            "tta": "hflip",
            "tta_scales": [0.75, 1.0],
        }

    def test_a_card_from_before_there_was_tta_on_it_has_none(self, saved: Path) -> None:
        fields = asdict(card_of(SMALL_UNET))
        del fields["tta"], fields["tta_scales"]
        (saved / CARD_FILE).write_text(json.dumps(fields))
        assert read_card(saved) == replace(card_of(SMALL_UNET), tta="none", tta_scales=(1.0,))

    def test_a_network_for_photos_of_their_own_size_has_no_size_on_its_card(self, saved: Path) -> None:
        card = replace(card_of(SMALL_UNET), image_size=None)
        save(trained(SMALL_UNET), card, saved)
        assert read_card(saved) == card

    def test_nothing_else_is_left_in_the_folder(self, saved: Path) -> None:
        assert {path.name for path in saved.iterdir()} == {WEIGHTS_FILE, CARD_FILE}


class TestDamage:
    def refusal(self, folder: Path) -> str:
        with pytest.raises(InputError) as refusal:
            load(folder)
        return str(refusal.value)

    def edit_card(self, folder: Path, **fields: Any) -> None:
        (folder / CARD_FILE).write_text(json.dumps(asdict(card_of(SMALL_UNET)) | fields))

    def test_a_missing_card_is_refused(self, saved: Path) -> None:
        (saved / CARD_FILE).unlink()
        assert self.refusal(saved) == (
            f"{saved / CARD_FILE}: missing; is {saved} a fold of a run that train.py has finished?"
        )

    @pytest.mark.parametrize("text", ["", "{", "[]", "null"])
    def test_a_damaged_card_is_refused(self, saved: Path, text: str) -> None:
        (saved / CARD_FILE).write_text(text)
        assert f"{saved / CARD_FILE}: damaged" in self.refusal(saved)

    @pytest.mark.parametrize("text", ["{}", '{"architecture": {}}', '{"architecture": 3}'])
    def test_what_is_no_card_is_refused(self, saved: Path, text: str) -> None:
        (saved / CARD_FILE).write_text(text)
        assert f"{saved / CARD_FILE}: not a model card of this version" in self.refusal(saved)

    @pytest.mark.parametrize("wrong", [{"tta": "sideways"}, {"tta_scales": []}, {"tta_scales": [1, 0]}])
    def test_a_tta_that_cannot_be_is_refused(self, saved: Path, wrong: dict) -> None:
        self.edit_card(saved, **wrong)
        assert "not a model card of this version (no such test-time augmentation" in self.refusal(saved)

    def test_a_card_of_another_version_is_refused(self, saved: Path) -> None:
        self.edit_card(saved, tricks=3)
        assert f"{saved / CARD_FILE}: not a model card of this version" in self.refusal(saved)

    def test_a_card_with_an_unknown_network_is_refused(self, saved: Path) -> None:
        self.edit_card(saved, architecture={"name": "unet3"})
        assert "must be `unet` or `smp:ARCHITECTURE/ENCODER`" in self.refusal(saved)

    @pytest.mark.parametrize("field", [{"width": 0}, {"depth": "deep"}, {"mean": [0.5]}, {"std": None}])
    def test_a_card_with_a_network_that_cannot_be_is_refused(self, saved: Path, field: dict[str, Any]) -> None:
        self.edit_card(saved, architecture=asdict(SMALL_UNET) | field)
        assert str(saved) in self.refusal(saved)

    def test_weights_of_another_network_are_refused(self, saved: Path) -> None:
        self.edit_card(saved, architecture=asdict(replace(SMALL_UNET, width=8)))
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded as the {CARD_FILE} beside it says" in self.refusal(saved)

    def test_missing_weights_are_refused(self, saved: Path) -> None:
        (saved / WEIGHTS_FILE).unlink()
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded" in self.refusal(saved)

    @pytest.mark.parametrize("keep", [0, 7, 1000, -1])
    def test_weights_that_are_cut_off_are_refused(self, saved: Path, keep: int) -> None:
        content = (saved / WEIGHTS_FILE).read_bytes()
        (saved / WEIGHTS_FILE).write_bytes(content[:keep])
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded" in self.refusal(saved)

    def test_weights_without_one_of_the_tensors_are_refused(self, saved: Path) -> None:
        weights = load_file(saved / WEIGHTS_FILE)
        del weights["head.bias"]
        save_file(weights, saved / WEIGHTS_FILE)
        assert f"{saved / WEIGHTS_FILE}: cannot be loaded" in self.refusal(saved)


class Recorder(nn.Module):
    """Gives back the first channel, and keeps what it was given."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.given = images_BCHW
        return images_BCHW[:, :1]


class TestSegmenter:
    def test_photos_are_normalised_channel_by_channel(self) -> None:
        net = Recorder()
        Segmenter(net, mean=(0.5, 0.25, 0.0), std=(0.5, 0.1, 1.0), multiple=1)(photos())
        red, green, blue = photos().numpy().astype(np.float64).transpose(1, 0, 2, 3) / 255
        expected = np.stack([(red - 0.5) / 0.5, (green - 0.25) / 0.1, blue], axis=1)
        assert net.given.dtype == torch.float32
        assert np.allclose(net.given.numpy(), expected, atol=1e-5)

    def test_photos_are_padded_below_and_to_the_right_and_exactly_that_is_cropped(self) -> None:
        net = Recorder()
        logits = Segmenter(net, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), multiple=32)(photos(61, 93))
        padded = np.pad(photos(61, 93).numpy() / 255, [(0, 0), (0, 0), (0, 3), (0, 3)], mode="edge")
        assert net.given.shape == (2, 3, 64, 96)
        assert np.allclose(net.given.numpy(), padded)
        assert torch.equal(logits, net.given[:, :1, :61, :93])

    @torch.inference_mode()
    def test_an_smp_network_sees_padded_photos_of_any_size(self) -> None:
        model = trained(design(SMP))
        padded = np.pad(photos(61, 93).numpy(), [(0, 0), (0, 0), (0, 3), (0, 3)], mode="edge")
        images = (torch.from_numpy(padded) / 255 - colours(IMAGENET_MEAN)) / colours(IMAGENET_STD)
        assert torch.allclose(model(photos(61, 93)), model.net(images)[..., :61, :93], atol=1e-5)

    @torch.inference_mode()
    def test_the_unet_pads_itself(self) -> None:
        model = trained(SMALL_UNET)
        assert torch.allclose(model(photos(61, 93)), model.net(photos(61, 93) / 255), atol=1e-6)


def colours(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


class TestDesign:
    def test_the_unet_takes_its_options_and_colours_as_they_are(self) -> None:
        assert design("unet", width=16, depth=3) == Architecture("unet", 16, 3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def test_fresh_encoders_get_imagenets_normalisation(self) -> None:
        architecture = design(SMP)
        assert (architecture.mean, architecture.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    @pytest.mark.parametrize(
        "name", ["", "u-net", "UNet", "smp", "smp:", "smp:Unet", "smp:Unet/", "smp:/resnet34", ":a/b"]
    )
    def test_a_name_of_another_form_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match=f"--model {name}: must be `unet` or `smp:ARCHITECTURE/ENCODER`"):
            design(name)

    @pytest.mark.parametrize("name", ["smp:Nonet/resnet18", "smp:Unet/resnet19", "smp:Unet/tu-resnet19"])
    def test_what_smp_does_not_have_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match=f"--model {name}: segmentation-models-pytorch cannot build it"):
            build(design(name))

    def test_the_unet_has_no_pretrained_weights(self) -> None:
        with pytest.raises(InputError, match="--pretrained: there are no pretrained weights for `unet`"):
            design("unet", pretrained=True)

    def test_an_encoder_that_smp_does_not_have_has_no_pretrained_weights_either(self) -> None:
        with pytest.raises(InputError, match="--model smp:Unet/resnet19: segmentation-models-pytorch cannot build it"):
            design("smp:Unet/resnet19", pretrained=True)


class FakeHub:
    """Hands out the files of an encoder, or fails as the hub's client does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure: Exception | None = None

    def download(self, *_: Any, filename: str, **__: Any) -> str:
        if self.failure is not None:
            raise self.failure
        return str(self.folder / filename)

    def hold(self, encoder: str, **settings: Any) -> dict[str, Tensor]:
        torch.manual_seed(7)
        weights = smp.encoders.get_encoder(encoder, weights=None).state_dict()
        save_file(weights, self.folder / "model.safetensors")
        (self.folder / "config.json").write_text(json.dumps(settings))
        return weights


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path)
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", fake.download)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", fake.download)
    return fake


class TestPretrained:
    def test_the_encoder_gets_the_weights_and_the_normalisation_of_the_hub(self, fake_hub: FakeHub) -> None:
        weights = fake_hub.hold("mobilenet_v2", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], input_range=[0, 1])
        architecture = design(SMP, pretrained=True)
        assert architecture == Architecture(SMP, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
        encoder = build(architecture, pretrained=True).net.encoder.state_dict()
        assert encoder.keys() == weights.keys()
        assert all(torch.equal(encoder[name], weights[name]) for name in weights)

    def test_without_pretrained_the_hub_is_not_asked(self, fake_hub: FakeHub) -> None:
        fake_hub.failure = AssertionError("the hub was asked")
        build(design(SMP))
        build(design("smp:Unet/tu-resnet10t"))

    @pytest.mark.parametrize(
        ("given", "mean", "std"),
        [
            ({"input_range": [0, 1]}, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
            ({"input_range": [0, 255], "mean": [51, 102, 153], "std": [255, 51, 102]}, (0.2, 0.4, 0.6), (1, 0.2, 0.4)),
            ({"input_range": [0, 1], "input_space": "BGR"}, (0.3, 0.2, 0.1), (0.6, 0.5, 0.4)),
        ],
        ids=["0 to 1", "0 to 255", "BGR"],
    )
    def test_the_normalisation_is_for_photos_from_0_to_1_in_rgb(
        self,
        monkeypatch: pytest.MonkeyPatch,
        given: dict[str, Any],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        params = {"input_space": "RGB", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]} | given
        monkeypatch.setattr(smp.encoders, "get_preprocessing_params", {"mobilenet_v2": params}.__getitem__)
        architecture = design(SMP, pretrained=True)
        assert architecture.mean == pytest.approx(mean)
        assert architecture.std == pytest.approx(std)

    @pytest.mark.parametrize(
        "failure",
        [
            hub.LocalEntryNotFoundError("Cannot find the requested files in the disk cache\nmore"),
            hub.OfflineModeIsEnabled("Cannot reach the hub: offline mode is enabled."),
            ConnectionResetError(104, "Connection reset by peer"),
            TimeoutError(),
        ],
        ids=lambda failure: type(failure).__name__,
    )
    @pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-resnet10t"])
    def test_without_network_the_message_says_what_to_do(
        self, fake_hub: FakeHub, encoder: str, failure: Exception
    ) -> None:
        fake_hub.failure = failure
        with pytest.raises(InputError) as refusal:
            build(design(f"smp:Unet/{encoder}", pretrained=True), pretrained=True)
        reason, advice = str(refusal.value).splitlines()
        expected = str(failure).splitlines()[0] if str(failure) else "TimeoutError"
        assert reason == (
            f"--pretrained: the ImageNet weights of {encoder} could not be fetched from huggingface.co ({expected})."
        )
        assert "without --pretrained" in advice

    def test_so_it_does_where_only_the_normalisation_is_at_hand(self, fake_hub: FakeHub) -> None:
        fake_hub.failure = hub.OfflineModeIsEnabled("offline")
        with pytest.raises(
            InputError, match=r"the ImageNet weights of mobilenet_v2 could not be fetched .* \(offline\)"
        ):
            build(design(SMP), pretrained=True)
