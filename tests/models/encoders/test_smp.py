import json
from pathlib import Path
from typing import Any

import huggingface_hub.errors as hub
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor
from trained_networks import SMP, designed

from kaggle_tools.errors import InputError
from kaggle_tools.models.encoders import smp as smp_module
from kaggle_tools.models.segmenter import Architecture, build


class FakeHub:
    """Hands out the files of an encoder, or fails as the hub's client does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure: Exception | None = None
        self.asked: list[str] = []

    def download(self, *_: Any, filename: str, **__: Any) -> str:
        self.asked.append(filename)
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


class TestNames:
    @pytest.mark.parametrize(
        ("encoder", "nearest"),
        [("resnet19", "resnet18"), ("tu-resnet19", "tu-resnet18"), ("resnet10t", "tu-resnet10t")],
    )
    def test_of_an_unknown_encoder_the_nearest_are_named_and_not_all(self, encoder: str, nearest: str) -> None:
        with pytest.raises(InputError) as refusal:
            build(designed(f"smp:Unet/{encoder}"))
        said = str(refusal.value)
        assert said.startswith(f"--model smp:Unet/{encoder}: no encoder {encoder}; the nearest are ")
        assert f"{nearest}," in said
        assert "https://smp.readthedocs.io/" in said
        assert len(said) < 350

    def test_an_unknown_architecture_is_refused_with_those_that_there_are(self) -> None:
        with pytest.raises(InputError, match="--model smp:Nonet/resnet18: not an architecture .* Unet, .* FPN, .*DPT"):
            build(designed("smp:Nonet/resnet18"))

    @pytest.mark.parametrize("pretrained", [None, "imagenet"])
    @pytest.mark.parametrize(
        "encoder",
        [
            "tu-hf-hub:timm/resnet18.a1_in1k",
            "tu-hf_hub:timm/resnet18",
            "tu-HF-HUB:timm/resnet18",
            "timm-hf-hub:timm/resnet18",
            "timm-resnesthf-hub:timm/resnet18",
            "tu-https://huggingface.co/timm/resnet18",
            "tu-local-dir:/tmp",
            "tu-/tmp",
            "hf-hub:timm/resnet18",
        ],
    )
    def test_an_encoder_from_a_hub_or_a_folder_is_refused_and_nothing_is_asked(
        self, fake_hub: FakeHub, encoder: str, pretrained: str | None
    ) -> None:
        with pytest.raises(InputError, match=f"--model smp:Unet/{encoder}: no encoder {encoder}"):
            build(designed(f"smp:Unet/{encoder}", pretrained=pretrained), pretrained)
        assert not fake_hub.asked

    @pytest.mark.parametrize("encoder", ["tu-resnet18.hf-hub:timm/resnet18", "tu-resnet18.nonsense"])
    def test_a_tag_that_timm_does_not_know_is_refused_and_nothing_is_asked(
        self, fake_hub: FakeHub, encoder: str
    ) -> None:
        with pytest.raises(InputError, match="cannot build it"):
            build(designed(f"smp:Unet/{encoder}"))
        assert not fake_hub.asked

    @pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
    @pytest.mark.parametrize("encoder", ["tu-resnet10t.c3_in1k", "timm-mobilenetv3_small_minimal_100"])
    def test_names_with_a_tag_and_names_of_earlier_versions_are_known(self, encoder: str) -> None:
        with torch.device("meta"):
            build(designed(f"smp:Unet/{encoder}"))


class TestPretrained:
    def test_a_pretrained_encoder_gets_the_weights_and_the_normalisation_of_the_hub(self, fake_hub: FakeHub) -> None:
        weights = fake_hub.hold("mobilenet_v2", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], input_range=[0, 1])
        architecture = designed(SMP, pretrained="imagenet")
        assert architecture == Architecture(SMP, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
        encoder = build(architecture, pretrained="imagenet").net.encoder.state_dict()
        assert encoder.keys() == weights.keys()
        assert all(torch.equal(encoder[name], weights[name]) for name in weights)

    def test_without_pretrained_the_hub_is_not_asked(self, fake_hub: FakeHub) -> None:
        fake_hub.failure = AssertionError("the hub was asked")
        build(designed(SMP))
        build(designed("smp:Unet/tu-resnet10t"))

    @pytest.mark.parametrize(
        ("given", "mean", "std"),
        [
            ({"input_range": [0, 1]}, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
            ({"input_range": [0, 255], "mean": [51, 102, 153], "std": [255, 51, 102]}, (0.2, 0.4, 0.6), (1, 0.2, 0.4)),
            ({"input_range": [0, 1], "input_space": "BGR"}, (0.3, 0.2, 0.1), (0.6, 0.5, 0.4)),
        ],
        ids=["0 to 1", "0 to 255", "BGR"],
    )
    def test_the_normalisation_of_the_hub_is_converted_to_rgb_from_0_to_1(
        self,
        monkeypatch: pytest.MonkeyPatch,
        given: dict[str, Any],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        params = {"input_space": "RGB", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]} | given
        monkeypatch.setattr(smp.encoders, "get_preprocessing_params", {"mobilenet_v2": params}.__getitem__)
        architecture = designed(SMP, pretrained="imagenet")
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
    def test_pretrained_weights_without_internet_are_refused_with_what_to_do(
        self, fake_hub: FakeHub, encoder: str, failure: Exception
    ) -> None:
        fake_hub.failure = failure
        with pytest.raises(InputError) as refusal:
            build(designed(f"smp:Unet/{encoder}", pretrained="imagenet"), pretrained="imagenet")
        reason, advice = str(refusal.value).splitlines()
        expected = str(failure).splitlines()[0] if str(failure) else "TimeoutError"
        assert reason == (
            f"--pretrained imagenet: the weights of {encoder} could not be fetched from huggingface.co ({expected})."
        )
        assert "without --pretrained" in advice

    def test_without_internet_a_cached_normalisation_alone_is_not_enough(self, fake_hub: FakeHub) -> None:
        fake_hub.failure = hub.OfflineModeIsEnabled("offline")
        with pytest.raises(InputError, match=r"the weights of mobilenet_v2 could not be fetched .* \(offline\)"):
            build(designed(SMP), pretrained="imagenet")


@pytest.mark.parametrize(("encoder", "weights"), [("tu-resnet18", True), ("resnet18", "imagenet")])
def test_pretrained_weights_are_asked_for_as_each_kind_of_encoder_names_them(
    encoder: str, weights: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of timm have no name for them."""
    asked: list[object] = []
    monkeypatch.setattr(smp_module, "_create", lambda _, weights, *__: asked.append(weights))
    smp_module.build(f"smp:Unet/{encoder}", pretrained="imagenet")
    smp_module.build(f"smp:Unet/{encoder}", pretrained=None)
    assert asked == [weights, None]


def test_a_decoder_has_the_channels_that_are_asked_for() -> None:
    net = build(designed(SMP, decoder_channels=(64, 32, 16, 8, 4))).net
    assert [block.conv2[0].out_channels for block in net.decoder.blocks] == [64, 32, 16, 8, 4]
    assert build(designed(SMP)).net.decoder.blocks[-1].conv2[0].out_channels == 16  # smp's own


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SMP, f"--model {SMP}: segmentation-models-pytorch cannot build it"),
        ("smp:FPN/mobilenet_v2", "--decoder-channels: FPN of smp has none to choose; leave it out"),
    ],
)
def test_decoder_channels_that_do_not_fit_the_architecture_are_refused(model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(designed(model, decoder_channels=(64, 32)))
